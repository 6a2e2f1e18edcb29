package integration

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// storeSite is a gate whose messages pass once, by the word of a Redis.
const storeSite = `{
	caddyauth {
		store redis REDIS
	}
}
http:// {
	callback_auth vonage {
		secret ` + testbed.Secret + `
	}
	respond received
}
`

// once is a sender who takes note of what was answered to each message, so that none is found to have passed twice.
type once struct {
	*traffic
	path string

	mu      sync.Mutex
	episode string         // the fault that goes on, "" while there is none
	begun   int            // which one it is
	passed  map[string]int // by id: how often it was answered with 200
	lives   int            // how often a message may pass: once, and once more for each end of what remembers it in memory
	refused []string       // ids that were answered with 503 and not sent again
	most    int            // goroutines
	decided map[string]*times
}

// message sends the message of that id. While one fault lasts from before it was sent until after it was answered, the
// store cannot have been asked, and the only answer is 503.
func (o *once) message(kind, id string) int {
	o.mu.Lock()
	begun, episode := o.begun, o.episode
	o.mu.Unlock()
	start := time.Now()
	status := o.send(kind, o.callback(o.path, testbed.Secret, id), http.StatusOK, http.StatusConflict, http.StatusServiceUnavailable)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.most = max(o.most, runtime.NumGoroutine())
	if begun == o.begun {
		o.deciding(episode).since(start)
	}
	if status == http.StatusOK {
		o.passed[id]++
		if o.passed[id] > o.lives {
			o.fail(kind, "the message %s passed %d times", id, o.passed[id])
		}
	}
	if begun == o.begun && episode != "" && status != http.StatusServiceUnavailable {
		o.fail(kind, "status %d while the store is %s", status, episode)
	}
	return status
}

// deciding gives the times of the answers that one fault was under way for all along. o.mu is held.
func (o *once) deciding(episode string) *times {
	if o.decided == nil {
		o.decided = make(map[string]*times)
	}
	if o.decided[episode] == nil {
		o.decided[episode] = new(times)
	}
	return o.decided[episode]
}

// one sends the n-th request: a new message, a copy of one that passed, or a forged one.
func (o *once) one(n int) {
	switch n % 4 {
	case 0, 1:
		id := fmt.Sprint("message-", n)
		if o.message("message", id) == http.StatusServiceUnavailable {
			o.mu.Lock()
			o.refused = append(o.refused, id)
			o.mu.Unlock()
		}
	case 2:
		o.mu.Lock()
		id := "first"
		for id = range o.passed { // any
			break
		}
		o.mu.Unlock()
		o.message("copy", id)
	default:
		o.send("forged", o.callback(o.path, forger, fmt.Sprint(n)), http.StatusUnauthorized)
	}
}

// during says that a fault begins, or with "" that it ends.
func (o *once) during(episode string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.episode = episode
	o.begun++
}

// suffers waits until the fault is felt, and has that many requests answered under it.
func (o *once) suffers(episode string, requests int) {
	o.t.Helper()
	n := 0
	eventually(o.t, "the store is "+episode, func() bool {
		n++
		return o.message("probe", fmt.Sprint(episode, o.begun, "-", n)) == http.StatusServiceUnavailable
	})
	o.during(episode)
	steadily(reloadRate, time.Duration(requests)*time.Second/reloadRate, func(n int) { o.one(o.number(n)) })
	o.during("")
}

// number makes the numbers of this episode's requests its own.
func (o *once) number(n int) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.begun<<20 | n
}

// recovers waits until a message passes, and tells how long that took.
func (o *once) recovers() time.Duration {
	o.t.Helper()
	start, n := time.Now(), 0
	eventually(o.t, "a message passes again", func() bool {
		n++
		return o.message("probe", fmt.Sprint("recovery", o.begun, "-", n)) == http.StatusOK
	})
	return time.Since(start)
}

// all sends every message again: what passed passes no more, and what was answered with 503 passes now, for its sender
// was told to try again. Messages whose id a late command of the time of the fault has reserved are given up first.
func (o *once) all() (copies, retries int) {
	o.t.Helper()
	o.mu.Lock()
	var passed []string
	for id := range o.passed {
		passed = append(passed, id)
	}
	refused := o.refused
	o.refused = nil
	o.mu.Unlock()
	for _, id := range passed {
		eventually(o.t, "a copy is told from a new message", func() bool { return o.message("copy", id) == http.StatusConflict })
	}
	for _, id := range refused {
		eventually(o.t, "the sender's retry passes", func() bool { return o.message("retry", id) == http.StatusOK })
	}
	return len(passed), len(refused)
}

// R5: while Redis is away, in whichever way, nothing is decided: 503, no copy passes and no connections pile up. When it
// is back, so is everything: what had passed does not pass again, and what was turned away passes at the sender's retry.
func TestReliabilityR05RedisFaults(t *testing.T) {
	need(t, "redis-server")
	server := startRedisServer(t)
	between := startMiddle(t, server.addr)
	firstLoad(t)
	bed := testbed.Run(t, strings.ReplaceAll(storeSite, "REDIS", "redis://"+between.listener.Addr().String()))
	o := &once{traffic: trafficTo(t, bed), path: "/", passed: make(map[string]int), lives: 1}
	steadily(reloadRate, 100*time.Millisecond, o.one)
	o.client.CloseIdleConnections()
	before := measure()
	requests := bound(40, 2000)

	var report []string
	suffer := func(name string, begin, end func()) {
		t.Helper()
		begin()
		o.suffers(name, requests)
		bed.Logs.Forget()
		end()
		back := o.recovers()
		copies, retries := o.all()
		report = append(report, fmt.Sprintf("%s: decided in %v, back after %v, %d copies refused, %d retries passed", name, o.decided[name], back.Round(time.Millisecond), copies, retries))
	}
	for _, f := range []fault{refused, blackholed, slow, garbage} {
		suffer(string(f), func() { between.set(f) }, func() { between.set(none) })
	}
	suffer("hanging (a real one, stopped)", server.hang, server.resume)
	suffer("restarted (a real one, killed)", server.kill, server.start)

	// Flapping: no request is held to one answer, but none passes twice.
	flaps, period := bound(10, 20), bound(50*time.Millisecond, 2*time.Second)
	o.during("")
	while(period*time.Duration(flaps), func(n int) { o.one(o.number(n)) }, flaps-1, func(n int) {
		between.set([]fault{blackholed, none, refused, none}[n%4])
		bed.Logs.Forget()
	})
	between.set(none)
	back := o.recovers()
	copies, retries := o.all()
	report = append(report, fmt.Sprintf("flapping %d times, every %v: back after %v, %d copies refused, %d retries passed", flaps, period, back.Round(time.Millisecond), copies, retries))

	// What passed is kept for the whole window, not only reserved for two minutes: also where the store was away just
	// when the receiver had answered.
	reserved := func() (n int) {
		for _, key := range server.client.Keys(t.Context(), "caddyauth:id:*").Val() {
			if owner := server.client.Get(t.Context(), key).Val(); owner != strings.Repeat("0", 16) {
				n++
			}
		}
		return n
	}
	eventually(t, "every id is kept or given up", func() bool { return reserved() == 0 })
	o.judge()
	between.mu.Lock()
	connections := between.most
	between.mu.Unlock()
	if connections > 4*64 { // the pool's, and those that the client has closed and the fake has not seen closed yet
		t.Errorf("%d connections at once", connections)
	}
	o.client.CloseIdleConnections()
	bed.Logs.Forget()
	after := settles(t, before, usage{goroutines: 5, descriptors: 5, heap: 10 << 20})
	held(t, "%d requests at %d/s; 503 while away, no message passed twice; %s; at most %d connections to Redis and %d goroutines at once (of client, Caddy and fake); with Redis there: %v; after: %v",
		o.sent(), reloadRate, strings.Join(report, "; "), connections, o.most, o.decided[""], after)
}
