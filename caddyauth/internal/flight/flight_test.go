package flight

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

const limit = 5 * time.Second

// hang lasts as long as it may, and tells how it ended.
func hang(ended *error) func(context.Context) {
	return func(ctx context.Context) {
		<-ctx.Done()
		*ended = ctx.Err()
	}
}

func TestACallEndsInTime(t *testing.T) {
	for _, closed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var g Group
			if closed {
				g.Close()
			}
			var ended error
			start := time.Now()
			if err := g.Go(limit, hang(&ended)).Wait(t.Context()); err != nil || !errors.Is(ended, context.DeadlineExceeded) || time.Since(start) != limit {
				t.Errorf("group closed %v: %v, %v after %s", closed, err, ended, time.Since(start))
			}
			if len(g.calls) != 0 {
				t.Error("the group holds a call that has ended")
			}
		})
	}
}

func TestACallOutlivesTheFirstWhoWaitedForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		var ended error
		c := g.Go(limit, func(ctx context.Context) {
			select {
			case <-time.After(3 * time.Second):
			case <-ctx.Done():
				ended = ctx.Err()
			}
		})
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.Wait(impatient); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the first one: %v", err)
		}
		if !c.Join() {
			t.Fatal("a call under way cannot be joined")
		}
		if err := c.Wait(t.Context()); err != nil || ended != nil {
			t.Errorf("the second one: %v, %v", err, ended)
		}
	})
}

func TestAClosedGroupEndsWhatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Group
		start := time.Now()
		var left, waited, later error
		g.Go(limit, hang(&left)).Leave()
		c := g.Go(limit, hang(&waited))
		if !c.Join() {
			t.Fatal("a call under way cannot be joined")
		}
		g.Close()
		synctest.Wait()
		if !errors.Is(left, context.Canceled) || waited != nil {
			t.Errorf("closed: the one that was left ended with %v, the other with %v", left, waited)
		}
		c.Leave()
		synctest.Wait()
		if waited != nil {
			t.Errorf("a call ended with %v while one still waits for it", waited)
		}
		c.Leave()
		if c.Join() {
			t.Error("a call that is ending is joined")
		}
		synctest.Wait()
		if !errors.Is(waited, context.Canceled) {
			t.Errorf("a call that the last one left ended with %v", waited)
		}
		g.Go(limit, hang(&later)).Leave()
		synctest.Wait()
		if !errors.Is(later, context.Canceled) || time.Since(start) != 0 {
			t.Errorf("a later call that nobody waits for ended with %v after %s", later, time.Since(start))
		}
	})
}
