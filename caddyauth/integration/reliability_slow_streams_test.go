package integration

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// Caddy's read timeouts do not hold for HTTP/3, nor for one stream among many of HTTP/2: there the gate's own deadline, of
// 10 s, is what ends a slow body.
func TestReliabilityR10SlowBodiesOverHTTP2And3(t *testing.T) {
	perConnection, connections := bound(5, 50), bound(2, 4)
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
	two := &http.Transport{TLSClientConfig: bed.TLS("h2"), ForceAttemptHTTP2: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", bed.TCP)
	}}
	rest, never := io.Pipe()
	for range perConnection * connections {
		r := testbed.Vonage(t, wireBody, nil)
		r.RequestURI, r.URL.Scheme, r.URL.Host = "", "https", "example.com"
		r.Body = io.NopCloser(io.MultiReader(strings.NewReader(wireBody[:1]), rest))
		all.Go(func() {
			status := 0
			if response, err := two.RoundTrip(r); err == nil {
				_ = response.Body.Close()
				status = response.StatusCode
			}
			mu.Lock()
			defer mu.Unlock()
			got = append(got, status)
		})
	}
	bed.Receiver.Received()
	var failed int
	sent := 0
	for end := time.Now().Add(bound(time.Second, 5*time.Second)); time.Now().Before(end); sent++ {
		if client.ask(genuine(t, wireBody), wireBody) != http.StatusOK {
			failed++
		}
	}
	all.Wait()
	_ = never.Close()
	two.CloseIdleConnections()
	if received := bed.Receiver.Received(); len(received) != sent-failed || failed > 0 {
		t.Errorf("%d of %d good callbacks failed, and the receiver got %d", failed, sent, len(received))
	}
	cut := len(got) - len(slices.DeleteFunc(slices.Clone(got), func(status int) bool { return status == http.StatusRequestTimeout }))
	if cut != 2*perConnection*connections {
		t.Errorf("%d of %d slow bodies were answered with 408; all: %v", cut, 2*perConnection*connections, got)
	}
	for _, c := range slow {
		c.end()
	}
	bed.Logs.Forget()
	settles(t, before, usage{goroutines: 15, descriptors: 15, heap: 16 << 20})
	held(t, "%d slow bodies over HTTP/2 and HTTP/3, each answered with 408 by the gate's own deadline; %d of %d good callbacks answered meanwhile", cut, sent-failed, sent)
}
