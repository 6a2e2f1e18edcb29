package integration

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// maxAsked is how many introspection calls the plugin has under way at most.
const maxAsked = 64

const introspectionSite = `http:// {
	callback_auth /opaque oauth2 {
		introspection SERVER/introspect {
			client_id gate
			client_secret 0123456789abcdef0123456789abcdef
		}
	}
	callback_auth /signed jwt {
		secret ` + testbed.Secret + `
	}
	respond received
}
`

// R8: while the authorization server hangs, 64 tokens wait for it, others are answered with 503 at once, and what does
// not need it is served as before.
func TestReliabilityR08SlowIntrospection(t *testing.T) {
	var now, most, asked atomic.Int64
	var mu sync.Mutex
	released := make(chan struct{})
	hold := func() <-chan struct{} {
		mu.Lock()
		defer mu.Unlock()
		return released
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		for n := now.Add(1); n > most.Load(); n = now.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		select {
		case <-hold():
			_, _ = io.WriteString(w, `{"active":true}`)
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	bed := testbed.Run(t, strings.ReplaceAll(introspectionSite, "SERVER", server.URL))
	l := trafficTo(t, bed)
	good := testbed.HS256(t, testbed.Secret, nil, map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
	signed := func(kind string) {
		l.send("signed, "+kind, l.request("/signed", "application/json", "{}", "Bearer "+good), http.StatusOK)
	}
	opaque := func(n int, want ...int) int {
		return l.send("opaque", l.request("/opaque", "application/json", "{}", fmt.Sprint("Bearer opaque-token-", n)), want...)
	}
	length := bound(time.Second, 10*time.Second)
	steadily(reloadRate/4, length, func(int) { signed("alone") })
	before := measure()

	// The server answers only when all others have their 503: those did not wait for it.
	tokens := bound(200, 600)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		steadily(reloadRate, time.Duration(tokens)*time.Second/reloadRate, func(n int) {
			if n < tokens {
				opaque(n, http.StatusOK, http.StatusServiceUnavailable)
			}
			if n%4 == 0 {
				signed("while it hangs")
			}
		})
	})
	eventually(t, "all but those that wait are answered", func() bool { return l.counted("opaque 503") >= tokens-maxAsked })
	during := measure()
	mu.Lock()
	close(released)
	mu.Unlock()
	waiting.Wait()
	if got := l.counted("opaque 200"); got > maxAsked {
		t.Errorf("%d tokens waited and were let through; the bound is %d", got, maxAsked)
	}
	opaque(-1, http.StatusOK)

	if *long { // each answer takes 5 s, as long as the plugin waits at most
		var slow atomic.Bool
		slow.Store(true)
		mu.Lock()
		released = make(chan struct{})
		mu.Unlock()
		stop := make(chan struct{})
		var letting sync.WaitGroup
		letting.Go(func() {
			tick := time.NewTicker(5 * time.Second)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					mu.Lock()
					close(released)
					released = make(chan struct{})
					mu.Unlock()
				case <-stop:
					mu.Lock()
					close(released)
					mu.Unlock()
					return
				}
			}
		})
		steadily(reloadRate, 30*time.Second, func(n int) {
			opaque(1_000_000+n, http.StatusOK, http.StatusServiceUnavailable)
			if n%4 == 0 {
				signed("while it is slow")
			}
			if n%1000 == 0 {
				bed.Logs.Forget()
			}
		})
		close(stop)
		letting.Wait()
		eventually(t, "tokens are let through again", func() bool {
			return opaque(2_000_000, http.StatusOK, http.StatusServiceUnavailable) == http.StatusOK
		})
	}
	if most.Load() > maxAsked {
		t.Errorf("%d calls at once; the bound is %d", most.Load(), maxAsked)
	}
	l.judge()
	l.client.CloseIdleConnections()
	bed.Logs.Forget()
	after := settles(t, before, usage{goroutines: 30, descriptors: 20, heap: 10 << 20}) // 8 connections are kept, with 3 goroutines for each at both ends
	slowly := ""
	if *long {
		slowly = fmt.Sprintf(", while it takes 5 s %v", l.time("signed, while it is slow"))
	}
	held(t, "%d opaque tokens at %d/s: at most %d calls at once, %d let through, %d answered with 503 at once; %d calls in all; signed tokens all served: alone %v, while it hangs %v%s; while waiting %v; after %v",
		l.counted("opaque 200")+l.counted("opaque 503"), reloadRate, most.Load(), l.counted("opaque 200"), l.counted("opaque 503"), asked.Load(),
		l.time("signed, alone"), l.time("signed, while it hangs"), slowly, during, after)
}
