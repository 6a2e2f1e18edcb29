package integration

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// Caddy's read timeouts do not hold for HTTP/3: there the gate's own deadline, of 10 s, is what ends a slow body.
func TestReliabilityR10SlowBodiesOverHTTP3(t *testing.T) {
	if !*long {
		t.Skip("it waits for a deadline of 10 s: -long")
	}
	const perConnection, connections = 50, 4
	bed := testbed.RunSecure(t, wireSite)
	client := dialH3(t, bed)
	if got := client.ask(genuine(t, wireBody), wireBody); got != http.StatusOK {
		t.Fatalf("CONTROL: status %d", got)
	}
	before := measure()
	var mu sync.Mutex
	var got []int
	var all sync.WaitGroup
	var slow []*h3
	for range connections {
		c := dialH3(t, bed)
		slow = append(slow, c)
		for range perConnection {
			stream := c.begin(frame(headersFrame, genuine(t, wireBody).block()), frame(dataFrame, []byte(wireBody[:1])))
			all.Go(func() {
				status := c.status(stream)
				mu.Lock()
				defer mu.Unlock()
				got = append(got, status)
			})
		}
	}
	bed.Receiver.Received()
	var failed int
	sent := 0
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); sent++ {
		if client.ask(genuine(t, wireBody), wireBody) != http.StatusOK {
			failed++
		}
	}
	all.Wait()
	if received := bed.Receiver.Received(); len(received) != sent-failed || failed > 0 {
		t.Errorf("%d of %d good callbacks failed, and the receiver got %d", failed, sent, len(received))
	}
	cut := len(got) - len(slices.DeleteFunc(slices.Clone(got), func(status int) bool { return status == http.StatusRequestTimeout }))
	if cut != perConnection*connections {
		t.Errorf("%d of %d slow bodies were answered with 408; all: %v", cut, perConnection*connections, got)
	}
	for _, c := range slow {
		c.end()
	}
	bed.Logs.Forget()
	settles(t, before, usage{goroutines: 15, descriptors: 15, heap: 16 << 20})
	held(t, "%d slow bodies over HTTP/3, each answered with 408 by the gate's own deadline; %d of %d good callbacks answered meanwhile", cut, sent-failed, sent)
}
