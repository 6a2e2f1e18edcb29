package integration

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
)

// The reliability suite is `go test -run Reliability ./caddyauth/...`: a test for each promise R1 to R26, bounded to a
// few seconds each. `go test -run Reliability ./caddyauth/integration -long -timeout 2h -v` holds the promises at their
// full length; the lines `R01 held: …` of it are the README's table. No test asserts a time: those are printed, beside
// those of the same Caddy without the plugin.
var long = flag.Bool("long", false, "run the reliability tests at their full length")

// bound gives one figure for every run of the tests, and another for -long.
func bound[T any](short, full T) T {
	if *long {
		return full
	}
	return short
}

// held prints what a reliability test has held, under its number.
func held(t *testing.T, format string, args ...any) {
	t.Helper()
	number, _, _ := strings.Cut(strings.TrimPrefix(t.Name(), "TestReliability"), "/")
	t.Logf("%.3s held: %s", number, fmt.Sprintf(format, args...))
}

// eventually asks until it is so, for 20 s at most.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-limit.C:
			t.Fatalf("it never came that %s", what)
		case <-tick.C:
		}
	}
}

// usage is what a process has taken. Where the system does not show it, descriptors and resident are 0.
type usage struct {
	goroutines, descriptors int
	heap, resident          uint64 // bytes; the heap after a collection
}

// measure collects garbage, and looks. Collected twice, what sync.Pool held is gone too.
func measure() usage {
	runtime.GC()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	return usage{runtime.NumGoroutine(), openDescriptors("self"), memory.HeapAlloc, resident("self")}
}

func (u usage) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, heap %s, resident %s",
		u.goroutines, u.descriptors, humanize.IBytes(u.heap), humanize.IBytes(u.resident))
}

// settles waits until no more is taken than before and this much. What ends does so a little after its test is done with
// it: connections, timers, servers that are shut down.
func settles(t *testing.T, before, more usage) usage {
	t.Helper()
	var now usage
	within := func() bool {
		now = measure()
		return now.goroutines <= before.goroutines+more.goroutines && now.descriptors <= before.descriptors+more.descriptors &&
			now.heap <= before.heap+more.heap
	}
	for end := time.Now().Add(20 * time.Second); !within(); {
		if time.Now().After(end) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%v; before: %v; allowed above it: %v\n%s", now, before, more, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(20 * time.Millisecond) // between two looks
	}
	return now
}

// openDescriptors counts the file descriptors of a process, where the system shows them.
func openDescriptors(process string) int {
	entries, err := os.ReadDir("/proc/" + process + "/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// resident gives the bytes that a process has in memory, where the system shows it.
func resident(process string) uint64 {
	text, err := os.ReadFile("/proc/" + process + "/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if size, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseUint(strings.Fields(size)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}

// firstLoad lets Caddy start, once, what lives as long as the process, so that it is part of a baseline.
func firstLoad(t *testing.T) {
	t.Helper()
	testbed.Run(t, "http:// {\n\trespond \"first\"\n}\n")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
}

// steadily calls do so many times a second for a while, each in a goroutine of its own: slow answers do not slow the
// senders down. It returns how many there were, once all of them are done.
func steadily(perSecond int, length time.Duration, do func(n int)) int {
	var all sync.WaitGroup
	defer all.Wait()
	start := time.Now()
	tick := time.NewTicker(max(time.Second/time.Duration(perSecond), time.Millisecond))
	defer tick.Stop()
	n := 0
	for now := start; now.Sub(start) < length; now = <-tick.C {
		for due := int(now.Sub(start)*time.Duration(perSecond)/time.Second) + 1; n < due; n++ {
			number := n
			all.Go(func() { do(number) })
		}
	}
	return n
}

// times collects how long things took. They are figures to print, and no test fails on them.
type times struct {
	mu  sync.Mutex
	all []time.Duration
}

// since takes one.
func (ts *times) since(start time.Time) {
	took := time.Since(start)
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.all = append(ts.all, took)
}

// at gives a percentile, 0 where there are none.
func (ts *times) at(percent int) time.Duration {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if len(ts.all) == 0 {
		return 0
	}
	slices.Sort(ts.all)
	return ts.all[min(len(ts.all)*percent/100, len(ts.all)-1)]
}

func (ts *times) String() string {
	return fmt.Sprintf("p50 %v, p99 %v", ts.at(50).Round(10*time.Microsecond), ts.at(99).Round(10*time.Microsecond))
}
