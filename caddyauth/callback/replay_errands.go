package callback

import (
	"slices"
	"sync"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/store"
)

// Bounds of errands.
const (
	maxErrands  = 4096
	firstPause  = 100 * time.Millisecond
	longestRest = time.Second
)

// errands are what the store could not be told at once: that a message was delivered, or that an id is free. Untold, a
// delivered message could pass again when its reservation ends, before its window does; and a sender who was asked to
// try again would be turned away until then: by a reservation that the store carried out after we had given it up.
//
// They are run one at a time, so that a store that is in trouble does not get all of them at once, and are dropped when
// their time is over. They outlive the configuration that they came from, by as much.
type errands struct {
	mu      sync.Mutex
	list    []*errand
	running bool
}

// errand is one call of the store that is made until it has no error, and until when it matters.
type errand struct {
	until time.Time
	call  func() error
}

// add takes one on. Where there are too many, the one goes that matters for the shortest time: a release before a keep.
func (e *errands) add(until time.Time, call func() error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, &errand{until, call})
	if len(e.list) > maxErrands {
		first := slices.MinFunc(e.list, func(a, b *errand) int { return a.until.Compare(b.until) })
		e.drop(first)
	}
	if !e.running {
		e.running = true
		time.AfterFunc(firstPause, func() { e.run(firstPause) })
	}
}

func (e *errands) drop(done *errand) {
	e.list = slices.DeleteFunc(e.list, func(one *errand) bool { return one == done })
}

// run does what there is to do, until the store fails again: then it rests, for longer each time.
func (e *errands) run(pause time.Duration) {
	for next := e.next(time.Now()); next != nil; next = e.next(time.Now()) {
		if next.call() != nil {
			pause = min(2*pause, longestRest)
			time.AfterFunc(pause, func() { e.run(pause) })
			return
		}
		pause = firstPause
		e.mu.Lock()
		e.drop(next)
		e.mu.Unlock()
	}
}

// next gives the first that still matters; nil where there is none, which ends the running.
func (e *errands) next(now time.Time) *errand {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.list) > 0 && now.After(e.list[0].until) {
		e.drop(e.list[0])
	}
	if len(e.list) == 0 {
		e.list, e.running = nil, false
		return nil
	}
	return e.list[0]
}

// releaseLater releases an id, not at once: what waits for the verdict waits for the store no longer.
func (g *replayGuard) releaseLater(res *reservation) {
	later := res.apart()
	g.errands.add(time.Now().Add(min(res.window, store.ReservationLease)), func() error { return g.release(later) })
}

// keepLater keeps an id that could not be kept at once.
func (g *replayGuard) keepLater(res *reservation) {
	later := res.apart()
	g.errands.add(time.Now().Add(res.window), func() error { return g.keep(later) })
}

// apart gives what an errand needs. The rest holds on to a request's answer, and so to its connection.
func (res *reservation) apart() *reservation {
	return &reservation{guard: res.guard, keys: slices.Clone(res.keys), owner: res.owner, window: res.window}
}
