package callback

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestErrandsAreBoundedAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e errands
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
		keep := time.Now().Add(time.Hour)
		e.add(keep, call)
		for range maxErrands + 1000 {
			e.add(time.Now().Add(time.Minute), call)
		}
		if len(e.list) != maxErrands || !e.list[0].until.Equal(keep) {
			t.Errorf("%d errands, the first until %v", len(e.list), e.list[0].until)
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if len(e.list) == 0 || calls.Load() > int64(5*time.Minute/longestRest)+10 {
			t.Errorf("%d errands left after %d calls", len(e.list), calls.Load())
		}
		away.Store(false)
		time.Sleep(longestRest)
		synctest.Wait()
		if done.Load() != 1 || len(e.list) != 0 || e.running {
			t.Errorf("%d done and %d left: only one still mattered", done.Load(), len(e.list))
		}
		away.Store(true)
		e.add(time.Now().Add(time.Minute), call)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(e.list) != 0 || e.running {
			t.Error("what does not matter any more is still run")
		}
	})
}
