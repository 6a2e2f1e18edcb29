package body

import (
	"bytes"
	"math/bits"
	"sync"
)

// Bodies from 2^smallest to 2^largest bytes are read into memory that is used again. Larger ones are rare, and would
// hold it for nothing.
const (
	smallest = 9
	largest  = 20
)

// Buffers is memory for bodies that is used again, and the watch over how long they take.
type Buffers struct {
	watch
	pools [largest - smallest + 1]sync.Pool // of *[]byte, by the power of two that they have room for
}

// get gives memory for a body of this announced length, with the room that bytes.Buffer wants to see its end, and the
// pool that it goes back to; nil: none. The length is -1 where it is not announced.
func (b *Buffers) get(length int64) (*sync.Pool, *[]byte) {
	class := max(bits.Len64(uint64(max(length, 1)-1)), smallest)
	if length < 0 || class > largest {
		memory := make([]byte, 0, min(max(length, 512), reserved)+bytes.MinRead)
		return nil, &memory
	}
	pool := &b.pools[class-smallest]
	if memory, ok := pool.Get().(*[]byte); ok {
		return pool, memory
	}
	memory := make([]byte, 0, 1<<class+bytes.MinRead)
	return pool, &memory
}
