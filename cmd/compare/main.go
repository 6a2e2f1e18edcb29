// Command compare measures what the plugin adds to Caddy, beside HAProxy doing the same check:
//
//	go run ./cmd/compare [-o directory]
//
// It builds cmd/caddy and starts each subject as a process of its own on loopback: Caddy and HAProxy as plain proxies,
// and both with the check of a signed Vonage callback. It drives them in turn with the same genuine callbacks, each with
// a token of its own, and reads the CPU time, user and system, that the operating system has counted for the process. So
// neither the load nor the receiver, which share the machine, count. What another program does meanwhile disturbs all
// subjects alike: the ratios are what to look at.
//
// It writes results.md and results.svg to the directory, takes about ten minutes and at most fifteen, and ends what it
// started. HAProxy and wrk are taken from the PATH (Debian: apt-get install haproxy wrk). Without HAProxy Caddy is measured
// alone, and the table says so; without wrk the load is one of our own, which takes more of the machine.
package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"time"
)

const (
	// limit bounds the whole run.
	limit = 15 * time.Minute

	// share bounds one of its six parts, and firstShare the first: on a busy machine there are fewer rounds, but never less
	// than two.
	share, firstShare = 110 * time.Second, 280 * time.Second

	// forASecond is more requests than are answered in a second.
	forASecond = 40000
)

func main() {
	log.SetFlags(0)
	directory := flag.String("o", "compare", "directory for results.md and results.svg")
	rounds := flag.Int("rounds", 9, "how often each subject is measured, if time allows; four times as often where HAProxy's check is the goal")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := run(ctx, *directory, *rounds); err != nil {
		log.Fatalf("compare: %v", err)
	}
}

func run(ctx context.Context, directory string, rounds int) error {
	if err := os.MkdirAll(directory, 0o755); err != nil { // before all that takes minutes
		return err
	}
	scratch, err := os.MkdirTemp("", "compare")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	receiver, err := startReceiver()
	if err != nil {
		return err
	}
	defer func() { _ = receiver.Close() }()

	bench := &bench{scratch: scratch, receiver: receiver.Addr, caddy: filepath.Join(scratch, "caddy"), rounds: rounds}
	defer bench.stop()
	if bench.keys, err = newKeys(scratch); err != nil {
		return err
	}
	log.Print("building cmd/caddy")
	build := exec.CommandContext(ctx, "go", "build", "-o", bench.caddy, "github.com/caddyauth/callbacks/cmd/caddy")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building cmd/caddy: %v\n%s", err, out)
	}
	if bench.haproxy, err = exec.LookPath("haproxy"); err != nil {
		log.Print("haproxy is not in the PATH (Debian: apt-get install haproxy): Caddy is measured alone")
	}
	if bench.wrk, err = exec.LookPath("wrk"); err != nil {
		log.Print("wrk is not in the PATH (Debian: apt-get install wrk): the load is a slower one of our own")
	}

	results, err := bench.measure(ctx)
	if err != nil {
		return err
	}
	table := results.markdown()
	fmt.Print(table)
	if err := os.WriteFile(filepath.Join(directory, "results.md"), []byte(table), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(directory, "results.svg"), []byte(results.svg()), 0o644)
}

// bench is one run.
type bench struct {
	scratch, receiver string
	caddy             string // the programs; of the next two, each may be ""
	haproxy, wrk      string
	keys              *keys
	rounds            int
	large             bool // the bodies need more than HAProxy's own 16 KiB of buffer
	running           []*subject
}

// measure runs everything there is to measure.
func (b *bench) measure(ctx context.Context) (*results, error) {
	r := &results{versions: b.versions(ctx), digest: digestTime()}
	for _, size := range []struct {
		bytes, requests, rounds int
		share                   time.Duration
	}{{512, 5000, 4 * b.rounds, firstShare}, {64 << 10, 2000, b.rounds, share}} {
		b.stop() // HAProxy has other buffers for each
		b.large = size.bytes > 8<<10
		row, err := b.cpu(ctx, kindsOfProxy(b.haproxy != ""), size.bytes, size.requests, 32, size.rounds, size.share)
		if err != nil {
			return nil, err
		}
		r.cpu = append(r.cpu, row)
	}
	var err error
	if r.stream, err = b.cpu(ctx, []kind{caddyRespond, caddyStream, caddyStreamRSA, caddyStreamECDSA}, hookSize, 5000, 32, b.rounds, share); err != nil {
		return nil, err
	}
	for _, connections := range []int{1, 16, 256} {
		row, err := b.cpu(ctx, []kind{caddyPlain, caddyGate}, 512, 2000, connections, (b.rounds+1)/2, share)
		if err != nil {
			return nil, err
		}
		r.connections = append(r.connections, row)
	}
	if r.latency, err = b.latency(ctx); err != nil {
		return nil, err
	}
	r.memory, err = b.memory(ctx)
	return r, err
}

// digestTime is how long SHA-256 of 64 KiB takes, in µs, at best: a measure of the machine.
func digestTime() float64 {
	body, best := make([]byte, 64<<10), time.Hour
	for range 100 {
		start := time.Now()
		sha256.Sum256(body)
		best = min(best, time.Since(start))
	}
	return float64(best.Nanoseconds()) / 1000
}

// row is the CPU time per request of some subjects for one size of body and number of connections, in µs, by round.
type row struct {
	bytes, connections int
	samples            map[kind][]float64
}

// cpu measures the CPU time per request of each subject, in turn, in so many rounds or until share is over.
func (b *bench) cpu(ctx context.Context, kinds []kind, bytes, requests, connections, rounds int, share time.Duration) (row, error) {
	log.Printf("CPU time: %d bytes, %d connections", bytes, connections)
	r := row{bytes, connections, make(map[kind][]float64)}
	start := time.Now()
	for round := range rounds + 1 {
		if round > 2 && time.Since(start) > share {
			break
		}
		order := slices.Clone(kinds)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, k := range order {
			s, err := b.start(ctx, k)
			if err != nil {
				return r, err
			}
			load := b.newLoad(s, bytes, requests)
			if b.wrk != "" {
				load = b.newLoad(s, bytes, forASecond)
			}
			before, err := s.cpuTime()
			if err != nil {
				return r, err
			}
			answered := requests
			if b.wrk != "" {
				answered, err = b.wrkRun(ctx, load, connections)
			} else {
				err = load.run(ctx, connections)
			}
			if err != nil {
				return r, fmt.Errorf("%s: %v", k, err)
			}
			after, err := s.cpuTime()
			if err != nil {
				return r, err
			}
			if round > 0 { // the first warms up
				r.samples[k] = append(r.samples[k], float64((after-before).Microseconds())/float64(answered))
			}
		}
	}
	return r, nil
}

// latency is the time to the answer at a steady 500 requests a second, in ms.
type latency struct{ p50, p99 float64 }

// latency measures Caddy without and with the plugin, in turn.
func (b *bench) latency(ctx context.Context) (map[kind][]latency, error) {
	const perSecond, seconds = 500, 3
	log.Printf("latency at %d requests a second", perSecond)
	found := make(map[kind][]latency)
	for range 3 {
		for _, k := range []kind{caddyPlain, caddyReplay} {
			s, err := b.start(ctx, k)
			if err != nil {
				return nil, err
			}
			took, err := b.newLoad(s, 1<<10, perSecond*seconds).paced(ctx, 32, time.Second/perSecond)
			if err != nil {
				return nil, fmt.Errorf("%s: %v", k, err)
			}
			slices.Sort(took)
			at := func(share float64) float64 { return took[int(share*float64(len(took)-1))].Seconds() * 1000 }
			found[k] = append(found[k], latency{at(.5), at(.99)})
		}
	}
	return found, nil
}

// memory is the resident memory of Caddy with the plugin, in MiB: before, and at its highest with bodies at once.
type memory struct{ bodies, before, highest int }

// memory sends 200 bodies of 1 MiB at once to a Caddy that has done nothing yet.
func (b *bench) memory(ctx context.Context) (memory, error) {
	log.Print("memory: 200 bodies of 1 MiB at once")
	m := memory{bodies: 200}
	b.stop()
	s, err := b.start(ctx, caddyGate)
	if err != nil {
		return m, err
	}
	if err := b.newLoad(s, 512, 100).run(ctx, 4); err != nil {
		return m, err
	}
	if m.before, err = s.resident("VmRSS"); err != nil {
		return m, err
	}
	if err := b.newLoad(s, 1<<20, m.bodies).atOnce(ctx); err != nil {
		return m, err
	}
	m.highest, err = s.resident("VmHWM")
	return m, err
}
