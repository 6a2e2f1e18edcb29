// Package errands has what a store could not be told at once.
package errands

import (
	"errors"
	"slices"
	"sync"
	"time"
)

// Bounds of a List.
const (
	maxErrands  = 4096
	firstPause  = 100 * time.Millisecond
	longestRest = time.Second
)

// List holds calls of a store that had an error, and makes each until it has none: that a message was delivered, that an
// id is free, that a session has ended. Untold, a delivered message could pass again when its reservation ends, before its
// window does; and whoever was asked to try again would be turned away until then, by what the store carried out after
// we had given it up.
//
// They are made one at a time, so that a store that is in trouble does not get all of them at once, and are dropped when
// their time is over. They outlive the configuration that they came from, by as much. The zero value is ready.
type List struct {
	mu      sync.Mutex
	list    []errand
	running bool
}

// errand is one call of the store that is made until it has no error, and until when it matters.
type errand struct {
	until time.Time
	call  func() error
}

// Add takes on a call that matters until then. Where there are too many, the one goes that matters for the shortest time:
// that an id is free before that it is kept.
func (e *List) Add(until time.Time, call func() error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.put(errand{until, call})
	if !e.running {
		e.running = true
		time.AfterFunc(firstPause, func() { e.run(firstPause) })
	}
}

func (e *List) put(one errand) {
	e.list = append(e.list, one)
	if len(e.list) > maxErrands {
		least := 0
		for i := range e.list {
			if e.list[i].until.Before(e.list[least].until) {
				least = i
			}
		}
		e.list = slices.Delete(e.list, least, least+1)
	}
}

// run does what there is to do, until the store fails again: then it rests, for longer each time. What failed comes last
// then, for it may have a reason of its own.
func (e *List) run(pause time.Duration) {
	for next, more := e.next(time.Now()); more; next, more = e.next(time.Now()) {
		if next.try() != nil {
			e.mu.Lock()
			e.put(next)
			e.mu.Unlock()
			pause = min(2*pause, longestRest)
			time.AfterFunc(pause, func() { e.run(pause) })
			return
		}
		pause = firstPause
	}
}

// next takes the first that still matters from the list. Where there is none, the running ends.
func (e *List) next(now time.Time) (first errand, more bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.list) > 0 {
		first, e.list = e.list[0], e.list[1:]
		if !now.After(first.until) {
			return first, true
		}
	}
	e.list, e.running = nil, false
	return errand{}, false
}

// try makes the call. A panic in a store is an error: here it would end the process.
func (one errand) try() (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("panic")
		}
	}()
	return one.call()
}
