package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// handClock is a monotonic clock that a test moves.
type handClock struct{ nanoseconds atomic.Int64 }

func (c *handClock) now() time.Duration      { return time.Duration(c.nanoseconds.Load()) }
func (c *handClock) advance(d time.Duration) { c.nanoseconds.Add(int64(d)) }

// testMemory returns a memory of its own, on a clock that the test moves.
func testMemory(limit int) (*Memory, *handClock) {
	clock := new(handClock)
	return &Memory{MaxEntries: limit, memory: newMemory(clock.now)}, clock
}

func testKey(n int) [32]byte { return Key("test", fmt.Sprint(n)) }

func mustReserve(t *testing.T, s Store, key [32]byte, want bool) {
	t.Helper()
	fresh, err := isFresh(s.Reserve(t.Context(), key, NewOwner(), time.Minute))
	if err != nil || fresh != want {
		t.Fatalf("fresh %v, error %v; want fresh %v", fresh, err, want)
	}
}

func TestAMemoryThatIsFullRefusesAndForgetsNothing(t *testing.T) {
	m, clock := testMemory(100)
	for n := range 100 {
		mustReserve(t, m, testKey(n), true)
		if n%2 == 0 {
			if err := m.Keep(t.Context(), testKey(n), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := 100; n < 200; n++ {
		if fresh, err := isFresh(m.Reserve(t.Context(), testKey(n), NewOwner(), time.Minute)); fresh || !errors.Is(err, ErrFull) {
			t.Fatalf("fresh %v, error %v; want %v", fresh, err, ErrFull)
		}
	}
	if granted, err := m.Acquire(t.Context(), testKey(1), testKey(2), 1, time.Minute); granted || !errors.Is(err, ErrFull) {
		t.Fatalf("granted %v, error %v; want %v", granted, err, ErrFull)
	}
	for n := range 100 {
		mustReserve(t, m, testKey(n), false) // what is seen can be said without room
	}
	clock.advance(time.Minute) // the reservations are over, what is kept is not
	for n := 100; n < 150; n++ {
		mustReserve(t, m, testKey(n), true)
	}
	if _, err := m.Reserve(t.Context(), testKey(1000), NewOwner(), time.Minute); !errors.Is(err, ErrFull) {
		t.Fatalf("error %v; want %v", err, ErrFull)
	}
	for n := 0; n < 100; n += 2 {
		mustReserve(t, m, testKey(n), false)
	}
}

func TestALimitThatAReloadMakesSmallerForgetsNothing(t *testing.T) {
	m, _ := testMemory(100)
	for n := range 100 {
		mustReserve(t, m, testKey(n), true)
	}
	smaller := &Memory{MaxEntries: 10, memory: m.memory}
	for n := range 100 {
		mustReserve(t, smaller, testKey(n), false)
	}
	if _, err := smaller.Reserve(t.Context(), testKey(100), NewOwner(), time.Minute); !errors.Is(err, ErrFull) {
		t.Fatalf("error %v; want %v", err, ErrFull)
	}
}

func TestAMemoryThatEverythingLeftIsEmpty(t *testing.T) {
	m, clock := testMemory(10_000)
	owner := NewOwner()
	for n := range 1000 {
		if _, err := m.Reserve(t.Context(), testKey(n), owner, time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Acquire(t.Context(), testKey(n%10), testKey(n), 1000, time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.memory.count.Load(); got != 2010 { // ids, sessions, and their groups
		t.Fatalf("%d entries; want 2010", got)
	}
	for n := range 500 {
		if err := m.Release(t.Context(), testKey(n), owner); err != nil {
			t.Fatal(err)
		}
		if err := m.Leave(t.Context(), testKey(n%10), testKey(n)); err != nil {
			t.Fatal(err)
		}
	}
	clock.advance(time.Minute)
	m.memory.makeRoom(0) // sweeps every shard
	if got := m.memory.count.Load(); got != 0 {
		t.Fatalf("%d entries are left", got)
	}
	for i := range m.memory.shards {
		if s := &m.memory.shards[i]; len(s.marks)+len(s.leases)+len(s.groups) != 0 {
			t.Fatalf("shard %d holds something", i)
		}
	}
}

func TestAWindowOfCenturiesDoesNotEndAtOnce(t *testing.T) {
	m, clock := testMemory(10)
	clock.advance(time.Hour)
	mustReserve(t, m, testKey(1), true)
	if err := m.Keep(t.Context(), testKey(1), never); err != nil {
		t.Fatal(err)
	}
	clock.advance(100 * 365 * 24 * time.Hour)
	mustReserve(t, m, testKey(1), false)
}

func TestTheClockOfTheMemoryOnlyGoesForward(t *testing.T) {
	now := steady(clocks())
	before := now()
	if after := now(); before < 0 || after < before {
		t.Errorf("%v and then %v", before, after)
	}
}

// twoClocks are a wall clock, which steps, and a monotonic one, which does not.
type twoClocks struct{ wall, monotonic time.Duration }

func (c *twoClocks) pass(d time.Duration) { c.wall, c.monotonic = c.wall+d, c.monotonic+d }

func TestStepsOfTheWallClockForgetNoID(t *testing.T) {
	const window = 10 * time.Minute
	for _, test := range []struct {
		name string
		step time.Duration
	}{{"none", 0}, {"rp-clock-forward", time.Hour}, {"rp-clock-back", -time.Hour}, {"a little", -time.Second}} {
		t.Run(test.name, func(t *testing.T) {
			c := new(twoClocks)
			m := &Memory{MaxEntries: 10, memory: newMemory(steady(func() (time.Duration, time.Duration) { return c.wall, c.monotonic }))}
			c.pass(5 * time.Hour)
			mustReserve(t, m, testKey(1), true)
			if err := m.Keep(t.Context(), testKey(1), window); err != nil {
				t.Fatal(err)
			}
			end := c.wall + window // until when a message of now is fresh, by the wall clock
			c.wall += test.step
			mustReserve(t, m, testKey(1), false)
			mustReserve(t, m, testKey(2), true) // and its reservation
			later := max(window, end-c.wall)
			c.pass(later - time.Second)
			mustReserve(t, m, testKey(1), false)
			mustReserve(t, m, testKey(2), later > 2*time.Minute)
			c.pass(2 * time.Second)
			mustReserve(t, m, testKey(1), true)
		})
	}
}

// After a step back nothing is held for longer that came after it.
func TestAStepBackDoesNotFillTheMemory(t *testing.T) {
	c := new(twoClocks)
	m := &Memory{MaxEntries: 100_000, memory: newMemory(steady(func() (time.Duration, time.Duration) { return c.wall, c.monotonic }))}
	for n := range 20_000 {
		c.pass(100 * time.Millisecond)
		if n == 10_000 {
			c.wall -= 24 * time.Hour
		}
		mustReserve(t, m, testKey(n), true) // for a minute
	}
	if held := m.memory.count.Load(); held > 10_000 {
		t.Errorf("%d ids are held", held)
	}
}

func TestTheMemorySurvivesReloads(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	first, second := new(Memory), &Memory{MaxEntries: 5}
	if err := first.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	mustReserve(t, first, testKey(1), true)
	if err := second.Provision(ctx); err != nil { // the new config, before the old one goes
		t.Fatal(err)
	}
	if err := first.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if err := first.Cleanup(); err != nil { // twice must not take the other's reference
		t.Fatal(err)
	}
	mustReserve(t, second, testKey(1), false)
	if err := second.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if n, exists := pool.References(memoryKey); exists {
		t.Errorf("the memory is still held %d times", n)
	}
	if err := new(Memory).Cleanup(); err != nil {
		t.Errorf("a store that was never provisioned: %v", err)
	}
	if err := (&Memory{MaxEntries: -1}).Provision(ctx); err == nil {
		t.Error("a limit of -1 is taken")
	}
}

func TestAMillionEntriesTakeAtMost150BytesEach(t *testing.T) {
	if testing.Short() {
		t.Skip("fills a store of a million")
	}
	const n, most = 1_000_000, 150
	for name, fill := range map[string]func(*Memory, int) error{
		"ids": func(m *Memory, i int) error {
			key := testKey(i)
			_, err := m.Reserve(context.Background(), key, NewOwner(), time.Hour)
			return errors.Join(err, m.Keep(context.Background(), key, time.Hour))
		},
		"sessions, of which every user has one": func(m *Memory, i int) error { // two entries each
			if i%2 == 1 {
				return nil
			}
			_, err := m.Acquire(context.Background(), testKey(i), testKey(-i), 1, time.Hour)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := testMemory(n)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for i := range n {
				if err := fill(m, i); err != nil {
					t.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			each := float64(after.HeapAlloc-before.HeapAlloc) / float64(m.memory.count.Load())
			t.Logf("%.1f bytes an entry, %d entries", each, m.memory.count.Load())
			if each > most {
				t.Errorf("%.1f bytes an entry; want at most %d", each, most)
			}
			runtime.KeepAlive(m)
		})
	}
}

func TestManyAtOnceOnAFullMemoryNeverPassTheLimit(t *testing.T) {
	m, clock := testMemory(50)
	var all sync.WaitGroup
	for worker := range 8 {
		all.Go(func() {
			for i := range 500 {
				owner := NewOwner()
				if fresh, err := isFresh(m.Reserve(context.Background(), testKey(worker*500+i), owner, time.Minute)); err == nil && fresh && i%3 == 0 {
					_ = m.Release(context.Background(), testKey(worker*500+i), owner)
				}
				if _, err := m.Acquire(context.Background(), testKey(i%5), testKey(i), 10, time.Minute); err != nil && !errors.Is(err, ErrFull) {
					t.Error(err)
				}
				if got := m.memory.count.Load(); got > 50+16 { // each worker may be about to give two back
					t.Errorf("%d entries", got)
				}
				if i%100 == 99 {
					clock.advance(30 * time.Second)
				}
			}
		})
	}
	all.Wait()
	if got := m.memory.count.Load(); got > 50 {
		t.Errorf("%d entries; want at most 50", got)
	}
}

// BenchmarkMemoryWhileExpiring reports how long operations take at most while a million entries run out under it.
func BenchmarkMemoryWhileExpiring(b *testing.B) {
	const n = 1_000_000
	m, clock := testMemory(2 * n)
	for i := range n {
		clock.advance(10 * time.Minute / n)
		if _, err := m.Reserve(context.Background(), testKey(i), NewOwner(), time.Minute); err != nil {
			b.Fatal(err)
		}
		if err := m.Keep(context.Background(), testKey(i), 10*time.Minute); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	var pauses []time.Duration
	i := n
	b.ResetTimer()
	for b.Loop() {
		key := testKey(i)
		i++
		clock.advance(10 * time.Minute / n)
		start := time.Now()
		if _, err := m.Reserve(context.Background(), key, NewOwner(), time.Minute); err != nil {
			b.Fatal(err)
		}
		if err := m.Keep(context.Background(), key, 10*time.Minute); err != nil {
			b.Fatal(err)
		}
		pauses = append(pauses, time.Since(start))
	}
	report(b, pauses)
}

// BenchmarkMemorySweep reports how long the sweep of all that a million entries leave behind holds one lock.
func BenchmarkMemorySweep(b *testing.B) {
	const n = 1_000_000
	var pauses []time.Duration
	for b.Loop() {
		m, clock := testMemory(n)
		for i := range n {
			if _, err := m.Reserve(context.Background(), testKey(i), NewOwner(), time.Minute); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		clock.advance(time.Minute)
		for i := range m.memory.shards {
			start := time.Now()
			m.memory.shards[i].mu.Lock()
			m.memory.sweep(&m.memory.shards[i], clock.now())
			m.memory.shards[i].mu.Unlock()
			pauses = append(pauses, time.Since(start))
		}
	}
	report(b, pauses)
}

// report gives the median pause, that which 99 of 100 do not reach, and the longest. On a machine that does other things
// too, the longest is a matter of when the kernel let somebody else run.
func report(b *testing.B, pauses []time.Duration) {
	slices.Sort(pauses)
	for unit, i := range map[string]int{"p50-ms": len(pauses) / 2, "p99-ms": len(pauses) * 99 / 100, "longest-ms": len(pauses) - 1} {
		b.ReportMetric(float64(pauses[i].Microseconds())/1000, unit)
	}
}

func TestTheMemoryInACaddyfile(t *testing.T) {
	for input, want := range map[string]struct {
		max int
		err string
	}{
		"memory":                                    {max: 0},
		"memory {\n}":                               {max: 0},
		"memory {\nmax_entries 5\n}":                {max: 5},
		"memory /path":                              {err: "takes no argument: '/path' given"},
		"memory {\nmax_entries\n}":                  {err: "max_entries takes one argument"},
		"memory {\nmax_entries 1 2\n}":              {err: "max_entries takes one argument"},
		"memory {\nmax_entries 0\n}":                {err: "max_entries: '0' is not a positive number"},
		"memory {\nmax_entries many\n}":             {err: "max_entries: 'many' is not a positive number"},
		"memory {\nmax_entries 1\nmax_entries 1\n}": {err: "max_entries is already specified"},
		"memory {\nmax_entrys 1\n}":                 {err: "unknown option of store memory: 'max_entrys'"},
	} {
		m := new(Memory)
		checkCaddyfile(t, input, m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)), want.err)
		if want.err == "" && m.MaxEntries != want.max {
			t.Errorf("%q: max_entries %d; want %d", input, m.MaxEntries, want.max)
		}
	}
}

// isFresh makes a yes or no of what Reserve found.
func isFresh(state State, err error) (bool, error) { return state == Fresh, err }
