package callback

import (
	"sync"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/store"
)

const (
	// renewAfter is how old a reservation is when its lease begins anew.
	renewAfter = store.ReservationLease / 2

	// renewEvery is how often they are looked at: the lease never runs out in between.
	renewEvery = store.ReservationLease / 8
)

// renewals watch over the reservations that are in flight, so that a receiver that takes longer than the lease still has
// the id to itself. One timer serves them all: nearly every reservation is over long before it would need one. The zero
// value is ready.
type renewals struct {
	mu           sync.Mutex
	oldest, last *reservation // a list in the order in which their leases began
	running      bool
}

// add watches over res, whose lease has just begun; start, which may be earlier, counts as its begin.
func (w *renewals) add(res *reservation, start time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.push(res, start)
	if !w.running {
		w.running = true
		time.AfterFunc(renewEvery, w.look)
	}
}

// remove forgets res.
func (w *renewals) remove(res *reservation) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.take(res)
}

// look renews what is old enough, each in a goroutine of its own, for a store may take its time. It comes back as long as
// there is something to watch over.
func (w *renewals) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for w.oldest != nil && now.Sub(w.oldest.begun) >= renewAfter {
		res := w.oldest
		w.take(res)
		w.push(res, now)
		go res.extend()
	}
	if w.running = w.oldest != nil; w.running {
		time.AfterFunc(renewEvery, w.look)
	}
}

func (w *renewals) push(res *reservation, now time.Time) {
	res.begun, res.before, res.after, res.isListed = now, w.last, nil, true
	if w.last == nil {
		w.oldest = res
	} else {
		w.last.after = res
	}
	w.last = res
}

func (w *renewals) take(res *reservation) {
	if !res.isListed {
		return
	}
	if res.before == nil {
		w.oldest = res.after
	} else {
		res.before.after = res.after
	}
	if res.after == nil {
		w.last = res.before
	} else {
		res.after.before = res.before
	}
	res.before, res.after, res.isListed = nil, nil, false
}
