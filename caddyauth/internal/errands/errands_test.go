package errands

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestErrandsAreBoundedAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e List
		var away atomic.Bool
		var calls, done atomic.Int64
		away.Store(true)
		call := func() error {
			calls.Add(1)
			if away.Load() {
				return errors.New("away")
			}
			done.Add(1)
			return nil
		}
		left := func() (list []errand, running bool) {
			e.mu.Lock()
			defer e.mu.Unlock()
			return slices.Clone(e.list), e.running
		}
		keep := time.Now().Add(time.Hour)
		e.Add(keep, call)
		for range maxErrands + 1000 {
			e.Add(time.Now().Add(time.Minute), call)
		}
		if list, _ := left(); len(list) != maxErrands || !list[0].until.Equal(keep) {
			t.Errorf("%d errands, the first until %v", len(list), list[0].until)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if list, _ := left(); len(list) == 0 || calls.Load() > int64(5*time.Minute/longestRest)+10 {
			t.Errorf("%d errands left after %d calls", len(list), calls.Load())
		}
		away.Store(false)
		time.Sleep(longestRest)
		synctest.Wait()
		if list, running := left(); done.Load() != 1 || len(list) != 0 || running {
			t.Errorf("%d done and %d left: only one still mattered", done.Load(), len(list))
		}
		away.Store(true)
		e.Add(time.Now().Add(time.Minute), call)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if list, running := left(); len(list) != 0 || running {
			t.Error("what does not matter any more is still run")
		}
	})
}

func TestAnErrandThatFailsKeepsNoOtherFromBeingDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e List
		var done atomic.Int64
		until := time.Now().Add(time.Hour)
		e.Add(until, func() error { return errors.New("a reason of its own") })
		e.Add(until, func() error { panic("another") })
		for range 3 {
			e.Add(until, func() error { done.Add(1); return nil })
		}
		time.Sleep(10 * longestRest)
		synctest.Wait()
		if done.Load() != 3 {
			t.Errorf("%d of 3 done", done.Load())
		}
		time.Sleep(2 * time.Hour)
	})
}
