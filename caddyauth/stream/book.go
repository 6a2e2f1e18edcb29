package stream

import (
	"container/heap"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// maxBook bounds how many open sessions one process remembers. Beyond it, those that would end first are forgotten: they
// still count in the store, and the close of such a session is understood from what it says itself.
const maxBook = 100_000

// session is one that is open, as far as this process was told.
type session struct {
	key     [32]byte
	dialect string
	start   time.Time // when it was opened
	end     time.Time // when its lease is over
	group   [32]byte  // what it counts in
	counted bool
	limit   int           // how many may be in the group
	lease   time.Duration // how long it counts without a word
	place   int           // in the heap

	herald [32]byte // by what the one is known that takes its place; zero: none does

	onAir bool     // the server has said so
	next  *session // who was allowed to open it since then: the server may have refused that one, and says nothing of it
}

// countsAs reports whether two sessions of one key are counted as one.
func (s *session) countsAs(other *session) bool {
	return s.counted && other.counted && s.group == other.group
}

// book remembers open sessions: since when each has been open, and what it counts in. There is one for the process, which
// survives reloads.
type book struct {
	mu    sync.Mutex
	open  map[[32]byte]*session
	ends  byEnd
	first map[[32]byte][]*session        // heralds that nobody has followed yet: two clients may be asked about in turn
	sizes map[string]int                 // open ones by dialect
	gauge func(dialect string, open int) // may be nil
}

// pool holds what outlives a config. The new config loads the book before the old one lets go.
var pool = caddy.NewUsagePool()

// bookKey is the book's place in the pool.
const bookKey = "sessions"

// openBook takes hold of the process's book. Who did calls closeBook.
func openBook(gauge func(string, int)) (*book, error) {
	value, _, err := pool.LoadOrNew(bookKey, func() (caddy.Destructor, error) { return newBook(gauge), nil })
	if err != nil {
		return nil, err
	}
	return value.(*book), nil
}

// closeBook lets go of it.
func closeBook() error {
	_, err := pool.Delete(bookKey)
	return err
}

func newBook(gauge func(string, int)) *book {
	return &book{open: make(map[[32]byte]*session), first: make(map[[32]byte][]*session), sizes: make(map[string]int), gauge: gauge}
}

// Destruct implements caddy.Destructor. There is nothing to close.
func (b *book) Destruct() error { return nil }

// get returns a session as it was last put.
func (b *book) get(key [32]byte) (session, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.open[key]
	if !ok {
		return session{}, false
	}
	return *s, true
}

// put remembers a session, in place of what its key stood for, and forgets those that are over.
func (b *book) put(s *session, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sweep(now)
	if old, ok := b.open[s.key]; ok {
		b.drop(old)
	}
	for len(b.ends) >= maxBook {
		b.drop(b.ends[0])
	}
	b.add(s)
}

// await remembers a session beside the one of its key that is on the air. Where that one is over by now, it is put.
func (b *book) await(s *session, now time.Time) {
	b.mu.Lock()
	b.sweep(now)
	open, ok := b.open[s.key]
	if ok {
		open.next = s
	}
	b.mu.Unlock()
	if !ok {
		b.put(s, now)
	}
}

// begin remembers that a session is on the air: that of who was allowed last. It returns what was open before, too.
func (b *book) begin(key [32]byte, now time.Time) (before, begun session, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s, ok := b.open[key]
	if !ok {
		return session{}, session{}, false
	}
	before = *s
	b.drop(s)
	if s.next != nil && s.next.end.After(now) {
		s = s.next
	}
	s.onAir, s.next, s.end = true, nil, now.Add(s.lease)
	b.add(s)
	return before, *s, true
}

// forget forgets this session, and no other that has its key. It says whether another counts as this one.
func (b *book) forget(s *session) (was session, shared bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	open, ok := b.open[s.key]
	switch {
	case ok && open == s:
		b.drop(s)
		return *s, false
	case ok && open.next == s:
		open.next = nil
	}
	return *s, ok && open.countsAs(s)
}

// remove forgets a session, and those that are over, and returns it.
func (b *book) remove(key [32]byte, now time.Time) (session, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.take(b.open[key], now)
}

// follow forgets the oldest herald that a session may follow, and returns it.
func (b *book) follow(herald [32]byte, now time.Time) (session, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if heralds := b.first[herald]; len(heralds) > 0 {
		return b.take(heralds[0], now)
	}
	return session{}, false
}

// take forgets a session, and those that are over, and returns it; nil is none.
func (b *book) take(s *session, now time.Time) (session, bool) {
	ok := s != nil
	if ok {
		b.drop(s)
	}
	b.sweep(now)
	if !ok {
		return session{}, false
	}
	return *s, true
}

func (b *book) sweep(now time.Time) {
	for len(b.ends) > 0 && !b.ends[0].end.After(now) {
		b.drop(b.ends[0])
	}
}

func (b *book) add(s *session) {
	b.open[s.key] = s
	if s.herald != [32]byte{} {
		b.first[s.herald] = append(b.first[s.herald], s)
	}
	heap.Push(&b.ends, s)
	b.sizes[s.dialect]++
	b.show(s.dialect)
}

func (b *book) drop(s *session) {
	heap.Remove(&b.ends, s.place)
	delete(b.open, s.key)
	if heralds := slices.DeleteFunc(b.first[s.herald], func(other *session) bool { return other == s }); len(heralds) > 0 {
		b.first[s.herald] = heralds
	} else {
		delete(b.first, s.herald)
	}
	b.sizes[s.dialect]--
	b.show(s.dialect)
}

func (b *book) show(dialect string) {
	if b.gauge != nil {
		b.gauge(dialect, b.sizes[dialect])
	}
}

// byEnd is a heap: the session that is over first is the first.
type byEnd []*session

// Len implements heap.Interface.
func (h byEnd) Len() int { return len(h) }

// Less implements heap.Interface.
func (h byEnd) Less(i, j int) bool { return h[i].end.Before(h[j].end) }

// Swap implements heap.Interface.
func (h byEnd) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *byEnd) Push(x any) {
	s := x.(*session)
	s.place = len(*h)
	*h = append(*h, s)
}

// Pop implements heap.Interface.
func (h *byEnd) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
