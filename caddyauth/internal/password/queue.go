package password

import (
	"context"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// queue lets a few in at once and a few more wait. The rest is turned away, so that a flood of guesses can neither take
// all cores nor pile up.
type queue struct {
	places   chan struct{} // inside or waiting
	slots    chan struct{} // inside
	patience time.Duration
}

// newQueue returns a queue that lets slots in, keeps waiters waiting, and each of these no longer than patience.
func newQueue(slots, waiters int, patience time.Duration) *queue {
	return &queue{
		places:   make(chan struct{}, slots+waiters),
		slots:    make(chan struct{}, slots),
		patience: patience,
	}
}

// enter waits for a slot. After a nil error, leave must be called.
func (q *queue) enter(ctx context.Context) error {
	select {
	case q.places <- struct{}{}:
	default:
		return verdict.Errorf(verdict.Unavailable, "too many passwords are being checked")
	}
	timer := time.NewTimer(q.patience)
	defer timer.Stop()
	select {
	case q.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-q.places
		return verdict.Errorf(verdict.Unavailable, "the request ended before its password was checked")
	case <-timer.C:
		<-q.places
		return verdict.Errorf(verdict.Unavailable, "too many passwords are being checked")
	}
}

// leave gives the slot back.
func (q *queue) leave() {
	<-q.slots
	<-q.places
}
