// Package flight makes calls that several requests wait for together, such as a fetch of keys.
//
// A call is bound to no request: the first one who needed it may be gone while others still wait. It is bound in time,
// and, once its group is closed, to those who wait. So a configuration that was replaced decides the requests that it had
// begun, and nothing of it is left when the last of them has its answer.
package flight

import (
	"context"
	"sync"
	"time"
)

// Group holds calls that end together. Its zero value is ready. It may be used by many goroutines at once.
type Group struct {
	mu     sync.Mutex
	closed bool
	calls  map[*Call]struct{} // under way
}

// Call is one call under way. Whoever got it from Go, or joined it, is waiting, and calls Wait or Leave once.
type Call struct {
	group  *Group
	done   chan struct{}
	cancel context.CancelFunc

	waiting int  // of group.mu
	ending  bool // of group.mu: the last one who waited has left
}

// Go starts a call, which lasts no longer than limit, if it heeds its context. The caller is waiting for it. A closed
// group starts calls, too.
func (g *Group) Go(limit time.Duration, call func(context.Context)) *Call {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	c := &Call{group: g, done: make(chan struct{}), cancel: cancel, waiting: 1}
	g.mu.Lock()
	if g.calls == nil {
		g.calls = map[*Call]struct{}{}
	}
	g.calls[c] = struct{}{}
	g.mu.Unlock()
	go func() {
		defer close(c.done)
		defer c.ended()
		call(ctx)
	}()
	return c
}

// ended takes the call out of its group.
func (c *Call) ended() {
	c.cancel()
	c.group.mu.Lock()
	defer c.group.mu.Unlock()
	delete(c.group.calls, c)
}

// Join makes the caller one of those who are waiting, and reports whether it did: a call that everybody has left may be
// ending already.
func (c *Call) Join() bool {
	c.group.mu.Lock()
	defer c.group.mu.Unlock()
	if c.ending {
		return false
	}
	c.waiting++
	return true
}

// Wait waits for the end of the call, or until ctx ends, whose error it then returns.
func (c *Call) Wait(ctx context.Context) error {
	defer c.Leave()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Leave ends the caller's waiting.
func (c *Call) Leave() {
	c.group.mu.Lock()
	defer c.group.mu.Unlock()
	c.waiting--
	c.endUnheard()
}

// endUnheard cancels the call if its group is closed and nobody waits. group.mu is held.
func (c *Call) endUnheard() {
	if c.group.closed && c.waiting == 0 {
		c.ending = true
		c.cancel()
	}
}

// Close ends the calls for which nobody is waiting, now and from now on. It does not wait for their end.
func (g *Group) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for c := range g.calls {
		c.endUnheard()
	}
}

// Closed reports whether Close was called.
func (g *Group) Closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}
