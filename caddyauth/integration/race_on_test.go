//go:build race

package integration

// raced says that the race detector is in, which takes several times the memory.
const raced = true
