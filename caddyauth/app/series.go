package app

import (
	"maps"
	"sync"
	"sync/atomic"
)

// maxSeries is how many of a kind are found again: far more than a configuration has, unless an issuer makes a key for
// each token.
const maxSeries = 512

// series are what was found for some labels, so that a request finds it without a lock, and without hashing all
// the labels again. The zero value is ready.
type series[T any] struct {
	mu    sync.Mutex
	known atomic.Pointer[map[labels]T] // never changed: the next one is put in its place
}

// labels are the values of up to four labels.
type labels [4]string

// of gives what belongs to these labels. find is asked the first time, or each time where there are too many.
func (s *series[T]) of(l labels, find func(labels) T) T {
	if known := s.known.Load(); known != nil {
		if found, ok := (*known)[l]; ok {
			return found
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[labels]T{}
	if known := s.known.Load(); known != nil {
		if found, ok := (*known)[l]; ok {
			return found
		}
		if s.full() {
			return find(l)
		}
		maps.Copy(next, *known)
	}
	next[l] = find(l)
	s.known.Store(&next)
	return next[l]
}

// full reports whether nothing more is kept.
func (s *series[T]) full() bool {
	known := s.known.Load()
	return known != nil && len(*known) >= maxSeries
}
