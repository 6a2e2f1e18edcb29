package body

import (
	"net/http"
	"sync"
	"time"
)

// watch ends reads that take too long. One timer serves them all: a deadline for each would wake Go's network poller
// with each request, which costs more than all the rest of checking a small callback. The zero watch is ready.
type watch struct {
	mu      sync.Mutex
	reads   map[*read]struct{}
	running bool
}

// read is a body that is being read.
type read struct {
	w     http.ResponseWriter
	until time.Time
	over  bool
}

// begin watches a read that is to take no longer than within, and at most a second more. It does nothing, and gives nil,
// where within is 0.
func (w *watch) begin(writer http.ResponseWriter, within time.Duration) *read {
	if within <= 0 {
		return nil
	}
	r := &read{w: writer, until: time.Now().Add(within)}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reads == nil {
		w.reads = make(map[*read]struct{})
	}
	w.reads[r] = struct{}{}
	if !w.running {
		w.running = true
		time.AfterFunc(min(within, time.Second), func() { w.look(min(within, time.Second)) })
	}
	return r
}

// end stops watching r, and reports whether it has a deadline by now.
func (w *watch) end(r *read) bool {
	if r == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.reads, r)
	return r.over
}

// look ends what is overdue, and comes back as long as there is something to watch. It holds the lock while it sets a
// deadline, so that no connection is touched after its request.
func (w *watch) look(again time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	for r := range w.reads {
		if !r.over && !now.Before(r.until) {
			r.over = http.NewResponseController(r.w).SetReadDeadline(now) == nil
		}
	}
	if w.running = len(w.reads) > 0; w.running {
		time.AfterFunc(again, func() { w.look(again) })
	}
}
