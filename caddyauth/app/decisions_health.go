package app

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// The kinds of things whose health is watched.
const (
	KindStore  = "store"
	KindKeySet = "key_set"
)

// maxWatching is how many stores and key sets are shown.
const maxWatching = 256

// The states of what is watched.
const (
	StateOK      = "ok"      // it works
	StateUnused  = "unused"  // it was not needed yet
	StateStale   = "stale"   // it fails, and what it gave before still serves
	StateFailing = "failing" // it fails
)

// Health is how a store or a key set is, for people. It holds no secret.
type Health struct {
	// What it is: `store` or `key_set`.
	Kind string `json:"kind,omitempty"`

	// Its name: the module's, or the place of the keys.
	Name string `json:"name,omitempty"`

	// One of `ok`, `unused`, `stale` and `failing`.
	State string `json:"state,omitempty"`

	// A sentence about it.
	Detail string `json:"detail,omitempty"`

	// When it last worked, where that is known.
	LastOK time.Time `json:"last_ok,omitzero"`

	// When it last failed; absent: never.
	LastError time.Time `json:"last_error,omitzero"`
}

// running are the apps that run. In a reload there are two for a moment, and the last one counts, unless it fails to
// start.
var running apps

type apps struct {
	mu   sync.Mutex
	list []*App
}

func (r *apps) add(a *App) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, a)
	decisions.setLimit(a.DecisionLimit())
}

func (r *apps) remove(a *App) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = slices.DeleteFunc(r.list, func(other *App) bool { return other == a })
	if len(r.list) > 0 {
		decisions.setLimit(r.list[len(r.list)-1].DecisionLimit())
	}
}

func (r *apps) last() *App {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) == 0 {
		return nil
	}
	return r.list[len(r.list)-1]
}

// watched is what an app watches.
type watched struct {
	mu    sync.Mutex
	names map[[2]string]func() Health
}

// Watch adds something to what the inspector shows while this config runs. health is called when somebody looks; it
// must not block. Its Kind and Name are set here. A second one of the same kind and name takes the place of the first.
func (a *App) Watch(kind, name string, health func() Health) {
	a.watched.mu.Lock()
	defer a.watched.mu.Unlock()
	if a.watched.names == nil {
		a.watched.names = make(map[[2]string]func() Health)
	}
	if len(a.watched.names) < maxWatching {
		a.watched.names[[2]string{kind, printable(name)}] = health
	}
}

// Watched returns the health of what the running config watches. It is empty while none runs.
func Watched() []Health {
	list := []Health{}
	a := running.last()
	if a == nil {
		return list
	}
	a.watched.mu.Lock()
	defer a.watched.mu.Unlock()
	for name, health := range a.watched.names {
		h := health()
		h.Kind, h.Name, h.Detail = name[0], name[1], printable(h.Detail)
		list = append(list, h)
	}
	slices.SortFunc(list, func(a, b Health) int {
		return cmp.Or(-cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	return list
}
