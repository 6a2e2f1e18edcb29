// Package storetest is the test that every store passes: whoever writes one runs it.
package storetest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/store"
)

// Options say how to test one kind of store.
type Options struct {
	// New returns an empty store. Two calls in one test return two that do not share anything.
	New func(t *testing.T) Store

	// Rounds is how often the races are run. Default: 20.
	Rounds int
}

// Store is a store under test.
type Store struct {
	// Store is the store.
	store.Store

	// Other is a second one that shares what the first remembers, as another Caddy would. It may be the same one.
	Other store.Store

	// Advance makes the store believe that d has passed.
	Advance func(d time.Duration)
}

const (
	window = 10 * time.Minute
	second = time.Second
)

// Run holds a store to the contract of store.Store.
func Run(t *testing.T, options Options) {
	if options.Rounds == 0 {
		options.Rounds = 20
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			test(t, &harness{T: t, Store: options.New(t), ctx: t.Context()})
		})
	}
	for name, race := range races {
		t.Run(name, func(t *testing.T) {
			race(t, &harness{T: t, Store: options.New(t), ctx: t.Context()}, options.Rounds)
		})
	}
}

// harness calls a store and fails the test on errors.
type harness struct {
	*testing.T
	Store
	ctx context.Context
}

func (h *harness) reserve(key string, owner store.Owner, want bool) {
	h.Helper()
	h.reserveAt(h.Store, key, owner, want)
}

func (h *harness) reserveAt(s store.Store, key string, owner store.Owner, want bool) {
	h.Helper()
	fresh, err := isFresh(s.Reserve(h.ctx, store.Key(key), owner, window))
	if err != nil || fresh != want {
		h.Fatalf("Reserve(%s): fresh %v, error %v; want fresh %v", key, fresh, err, want)
	}
}

func (h *harness) keep(key string, d time.Duration) {
	h.Helper()
	h.must(h.Keep(h.ctx, store.Key(key), d))
}

func (h *harness) release(key string, owner store.Owner) {
	h.Helper()
	h.must(h.Release(h.ctx, store.Key(key), owner))
}

func (h *harness) acquire(group, session string, limit int, want bool) {
	h.Helper()
	granted, err := h.Acquire(h.ctx, store.Key(group), store.Key(session), limit, 30*second)
	if err != nil || granted != want {
		h.Fatalf("Acquire(%s, %s, %d): granted %v, error %v; want granted %v", group, session, limit, granted, err, want)
	}
}

func (h *harness) leave(group, session string) {
	h.Helper()
	h.must(h.Leave(h.ctx, store.Key(group), store.Key(session)))
}

// count checks how many sessions of a group are open: one more has no place under that limit, and has one above.
func (h *harness) count(group string, want int) {
	h.Helper()
	if want > 0 {
		h.acquire(group, "one more", want, false)
	}
	h.acquire(group, "one more", want+1, true)
	h.leave(group, "one more")
}

func (h *harness) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

var alice, bob = store.NewOwner(), store.NewOwner()

var tests = map[string]func(*testing.T, *harness){
	"an id that is reserved, in flight, counts as seen": func(_ *testing.T, h *harness) {
		h.reserve("id", alice, true)
		h.reserve("id", bob, false)
		h.reserveAt(h.Other, "id", bob, false)
		h.reserve("another id", bob, true)
	},
	"an id that is kept is seen until its window is over": func(_ *testing.T, h *harness) {
		h.reserve("id", alice, true)
		h.keep("id", window)
		h.reserve("id", bob, false)
		h.reserve("id", alice, false)
		h.Advance(window - second)
		h.reserve("id", bob, false)
		h.reserveAt(h.Other, "id", bob, false)
		h.Advance(second)
		h.reserve("id", bob, true)
	},
	"a reservation that is released is fresh for an honest retry": func(_ *testing.T, h *harness) {
		h.reserve("id", alice, true)
		h.release("id", alice)
		h.reserve("id", bob, true)
	},
	"a reservation that nobody keeps lapses with its own lease and not with the window": func(_ *testing.T, h *harness) {
		h.reserve("id", alice, true)
		h.Advance(store.ReservationLease - second)
		h.reserve("id", bob, false)
		h.Advance(second)
		h.reserve("id", bob, true)
	},
	"a reservation never outlasts a window that is shorter than the lease": func(_ *testing.T, h *harness) {
		fresh, err := isFresh(h.Reserve(h.ctx, store.Key("id"), alice, 10*second))
		if err != nil || !fresh {
			h.Fatal(fresh, err)
		}
		h.Advance(10 * second)
		h.reserve("id", bob, true)
	},
	"the same owner reserves again, and the lease begins anew": func(_ *testing.T, h *harness) {
		h.reserve("id", alice, true)
		h.Advance(store.ReservationLease - second)
		h.reserve("id", alice, true)
		h.Advance(store.ReservationLease - second)
		h.reserve("id", bob, false)
	},
	"a late release does not free the reservation of somebody else": func(_ *testing.T, h *harness) {
		h.reserve("id", alice, true)
		h.Advance(store.ReservationLease)
		h.reserve("id", bob, true)
		h.release("id", alice)
		h.reserve("id", alice, false)
	},
	"a release does not free what is kept": func(_ *testing.T, h *harness) {
		h.reserve("id", alice, true)
		h.keep("id", window)
		h.release("id", alice)
		h.release("id", bob)
		h.reserve("id", bob, false)
	},
	"a release of what is not there is nothing": func(_ *testing.T, h *harness) {
		h.release("id", alice)
		h.reserve("id", bob, true)
	},
	"rp-clock-back":    func(t *testing.T, h *harness) { wallClockSteps(t, h, -time.Hour) },
	"rp-clock-forward": func(t *testing.T, h *harness) { wallClockSteps(t, h, time.Hour) },
	"an id that was delivered is kept although its reservation had lapsed": func(_ *testing.T, h *harness) {
		h.reserve("id", alice, true)
		h.Advance(store.ReservationLease)
		h.keep("id", window)
		h.reserve("id", bob, false)
	},
	"an id that was delivered stays kept when a second holder of it releases": func(_ *testing.T, h *harness) {
		h.reserve("id", alice, true)
		h.Advance(store.ReservationLease)
		h.reserve("id", bob, true)
		h.keep("id", window)
		h.release("id", bob)
		h.reserve("id", bob, false)
	},
	"keeping again never shortens": func(_ *testing.T, h *harness) {
		h.reserve("id", alice, true)
		h.keep("id", window)
		h.keep("id", second)
		h.Advance(window - second)
		h.reserve("id", bob, false)
	},
	"a client that has gone away does not keep an id from being kept or released": func(_ *testing.T, h *harness) {
		gone, cancel := context.WithCancel(h.ctx)
		cancel()
		h.reserve("kept", alice, true)
		h.must(h.Keep(gone, store.Key("kept"), window))
		h.reserve("kept", bob, false)
		h.Advance(store.ReservationLease)
		h.reserve("kept", bob, false)

		h.reserve("released", alice, true)
		h.must(h.Release(gone, store.Key("released"), alice))
		h.reserve("released", bob, true)

		h.acquire("group", "one", 1, true)
		h.must(h.Leave(gone, store.Key("group"), store.Key("one")))
		h.acquire("group", "two", 1, true)
	},
	"a client that has gone away reserves nothing": func(_ *testing.T, h *harness) {
		gone, cancel := context.WithCancel(h.ctx)
		cancel()
		if fresh, err := isFresh(h.Reserve(gone, store.Key("id"), alice, window)); err == nil || fresh {
			h.Fatalf("fresh %v, error %v", fresh, err)
		}
		if granted, err := h.Acquire(gone, store.Key("group"), store.Key("one"), 1, window); err == nil || granted {
			h.Fatalf("granted %v, error %v", granted, err)
		}
	},
	"what makes no sense is an error and never a yes": func(_ *testing.T, h *harness) {
		if fresh, err := isFresh(h.Reserve(h.ctx, store.Key("id"), alice, 0)); err == nil || fresh {
			h.Errorf("a window of nothing: fresh %v, error %v", fresh, err)
		}
		if fresh, err := isFresh(h.Reserve(h.ctx, store.Key("id"), alice, -second)); err == nil || fresh {
			h.Errorf("a window before now: fresh %v, error %v", fresh, err)
		}
		if fresh, err := isFresh(h.Reserve(h.ctx, store.Key("id"), 0, window)); err == nil || fresh {
			h.Errorf("no owner: fresh %v, error %v", fresh, err)
		}
		if err := h.Keep(h.ctx, store.Key("id"), 0); err == nil {
			h.Error("kept for no time without an error")
		}
		if granted, err := h.Acquire(h.ctx, store.Key("group"), store.Key("one"), 0, second); err == nil || granted {
			h.Errorf("a limit of 0: granted %v, error %v", granted, err)
		}
		if granted, err := h.Acquire(h.ctx, store.Key("group"), store.Key("one"), 1, 0); err == nil || granted {
			h.Errorf("no lease: granted %v, error %v", granted, err)
		}
	},

	"a group takes sessions up to its limit": func(_ *testing.T, h *harness) {
		h.count("group", 0)
		h.acquire("group", "one", 2, true)
		h.acquire("group", "two", 2, true)
		h.acquire("group", "three", 2, false)
		h.acquire("another group", "three", 2, true)
		h.count("group", 2)
		h.leave("group", "one")
		h.count("group", 1)
		h.acquire("group", "three", 2, true)
	},
	"a session that comes again is not a second one": func(_ *testing.T, h *harness) {
		h.acquire("group", "one", 1, true)
		h.acquire("group", "one", 1, true)
		h.count("group", 1)
		h.Advance(20 * second)
		h.acquire("group", "one", 1, true) // extended
		h.Advance(20 * second)
		h.acquire("group", "two", 1, false)
	},
	"a session whose close never came ends with its lease": func(_ *testing.T, h *harness) {
		h.acquire("group", "one", 1, true)
		h.Advance(29 * second)
		h.acquire("group", "two", 1, false)
		h.Advance(second)
		h.count("group", 0)
		h.acquire("group", "two", 1, true)
		h.acquire("group", "one", 1, false)
	},
	"a session that is renewed stays": func(_ *testing.T, h *harness) {
		h.acquire("group", "one", 1, true)
		for range 5 {
			h.Advance(20 * second)
			h.acquire("group", "one", 1, true)
		}
		h.count("group", 1)
		h.acquire("group", "two", 1, false)
		h.Advance(30 * second)
		h.count("group", 0)
	},
	"the lease of a session that comes again may be shorter": func(_ *testing.T, h *harness) {
		h.acquire("group", "one", 1, true)
		granted, err := h.Acquire(h.ctx, store.Key("group"), store.Key("one"), 1, 10*second)
		if err != nil || !granted {
			h.Fatalf("granted %v, error %v", granted, err)
		}
		h.Advance(9 * second)
		h.count("group", 1)
		h.Advance(second)
		h.count("group", 0)
	},
	"an open session is extended although the limit has fallen below what is open": func(_ *testing.T, h *harness) {
		h.acquire("group", "one", 2, true)
		h.acquire("group", "two", 2, true)
		h.acquire("group", "one", 1, true)
		h.leave("group", "two")
		h.count("group", 1)
	},
	"closing twice frees one place": func(_ *testing.T, h *harness) {
		h.acquire("group", "one", 2, true)
		h.acquire("group", "two", 2, true)
		h.leave("group", "one")
		h.leave("group", "one")
		h.leave("group", "never there")
		h.count("group", 1)
		h.acquire("group", "three", 2, true)
		h.acquire("group", "four", 2, false)
	},
	"one session that stays does not keep the ones that went": func(_ *testing.T, h *harness) {
		h.acquire("group", "stays", 2, true)
		h.acquire("group", "went", 2, true)
		h.Advance(20 * second)
		h.acquire("group", "stays", 2, true)
		h.Advance(20 * second)
		h.count("group", 1)
		h.acquire("group", "new", 2, true)
		h.acquire("group", "newer", 2, false)
	},
}

// wallClockSteps shows that the time of day, which requests carry, neither prolongs what is remembered nor ends it.
func wallClockSteps(_ *testing.T, h *harness, step time.Duration) {
	day := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	h.ctx = clock.At(h.T.Context(), day)
	h.reserve("kept", alice, true)
	h.keep("kept", window)
	h.reserve("reserved", alice, true)
	h.acquire("group", "one", 1, true)

	h.ctx = clock.At(h.T.Context(), day.Add(step))
	h.reserve("kept", bob, false)
	h.reserve("reserved", bob, false)
	h.acquire("group", "two", 1, false)
	h.reserve("another", alice, true) // whatever is swept on the way

	h.Advance(window)
	h.reserve("kept", bob, true)
	h.acquire("group", "two", 1, true)
}

// racers is how many copies of a message come at the same moment.
const racers = 100

var races = map[string]func(*testing.T, *harness, int){
	"rp-concurrent-100": func(t *testing.T, h *harness, rounds int) {
		for round := range rounds {
			key := store.Key("round", time.Duration(round).String())
			fresh := race(t, func(i int) (bool, error) {
				return isFresh(h.either(i).Reserve(h.ctx, key, store.NewOwner(), window))
			})
			if fresh != 1 {
				t.Fatalf("round %d: %d of %d copies were fresh", round, fresh, racers)
			}
		}
	},
	"of 100 sessions at the same moment exactly as many as the limit are granted": func(t *testing.T, h *harness, rounds int) {
		for round := range rounds {
			group := store.Key("round", time.Duration(round).String())
			granted := race(t, func(i int) (bool, error) {
				return h.either(i).Acquire(h.ctx, group, store.Key(time.Duration(i).String()), 7, window)
			})
			more, err := h.Acquire(h.ctx, group, store.Key("one more"), 8, window)
			if granted != 7 || !more || err != nil {
				t.Fatalf("round %d: %d granted, and one more under a limit of 8: %v, %v; want 7", round, granted, more, err)
			}
		}
	},
}

// either returns the store for even i and the other for odd i.
func (h *harness) either(i int) store.Store {
	if i%2 == 0 {
		return h.Store.Store
	}
	return h.Other
}

// race calls f from many goroutines, which start together, and returns how many said yes.
func race(t *testing.T, f func(i int) (bool, error)) int64 {
	t.Helper()
	var yes atomic.Int64
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range racers {
		all.Go(func() {
			<-start
			ok, err := f(i)
			if err != nil {
				t.Error(err)
			}
			if ok {
				yes.Add(1)
			}
		})
	}
	close(start)
	all.Wait()
	return yes.Load()
}

// isFresh makes a yes or no of what Reserve found.
func isFresh(state store.State, err error) (bool, error) { return state == store.Fresh, err }
