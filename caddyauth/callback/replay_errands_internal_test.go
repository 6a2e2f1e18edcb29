package callback

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestErrandsAreBoundedAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e errands
		away, calls, done := true, 0, 0
		call := func() error {
			calls++
			if away {
				return errors.New("away")
			}
			done++
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
		if len(e.list) == 0 || calls > int(5*time.Minute/longestRest)+10 {
			t.Errorf("%d errands left after %d calls", len(e.list), calls)
		}
		away = false
		time.Sleep(longestRest)
		synctest.Wait()
		if done != 1 || len(e.list) != 0 || e.running {
			t.Errorf("%d done and %d left: only one still mattered", done, len(e.list))
		}
		away = true
		e.add(time.Now().Add(time.Minute), call)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if len(e.list) != 0 || e.running {
			t.Error("what does not matter any more is still run")
		}
	})
}
