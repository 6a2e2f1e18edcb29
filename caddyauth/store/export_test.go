package store

import (
	"testing"
	"time"
)

// What the conformance test, which is outside of the package, needs from inside.

// NewMemoryForTest returns a memory of its own, and what moves its clock.
func NewMemoryForTest(limit int) (*Memory, func(time.Duration)) {
	m, clock := testMemory(limit)
	return m, clock.advance
}

// NewRedisForTest returns a store on the server at url, which has the given prefix.
func NewRedisForTest(t *testing.T, url, prefix string) *Redis {
	return testRedis(t, url, prefix, 5*time.Second)
}

// RealRedis returns the URLs of real servers by how they are reached, or skips the test.
var RealRedis = realRedis

// Age makes what a Redis store holds older by d.
func Age(t *testing.T, r *Redis, d time.Duration) { age(t, r, d) }
