package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// forger is the secret of somebody who does not know ours.
const forger = "another secret, of 32 characters"

// traffic sends requests to one server and holds each answer to what it should be.
type traffic struct {
	t      *testing.T
	client *http.Client
	mark   string // no other run's: ids and names begin with it

	mu       sync.Mutex
	failures []string
	counts   map[string]int
	took     map[string]*times
}

// runs tells the traffic of one run from that of another.
var runs atomic.Int64

// newTraffic sends over connections that are kept, to a server at network and address.
func newTraffic(t *testing.T, network, address string) *traffic {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
		MaxIdleConns: 256, MaxIdleConnsPerHost: 256,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &traffic{
		t: t, client: &http.Client{Transport: transport, Timeout: time.Minute},
		mark:   fmt.Sprintf("run-%d-%d", time.Now().UnixNano(), runs.Add(1)),
		counts: make(map[string]int), took: make(map[string]*times),
	}
}

// trafficTo is traffic to a bed with a socket.
func trafficTo(t *testing.T, bed *testbed.Bed) *traffic {
	t.Helper()
	network, address := bed.Address()
	return newTraffic(t, network, address)
}

// send sends a request, and wants one of these statuses. It returns the one that came, 0 for none.
//
// net/http closes a connection that was accepted before its server began to shut down and whose request was read after
// that: no handler sees that request, and every sender tries again. So does this one, and counts it; a request that came
// to anything the first time would fail the second.
func (l *traffic) send(kind string, r *http.Request, want ...int) int {
	start := time.Now()
	response, err := l.client.Do(r)
	for again := 0; again < 20 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)); again++ {
		l.count("closed without an answer")
		r.Body, _ = r.GetBody()
		response, err = l.client.Do(r)
	}
	if err != nil {
		l.fail(kind, "%v", err)
		return 0
	}
	_, err = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	l.time(kind).since(start)
	// Icecast allows by a header: no denial may have it.
	allowed := response.Header.Get("Icecast-Auth-User") != ""
	switch {
	case err != nil:
		l.fail(kind, "%v", err)
	case !slices.Contains(want, response.StatusCode):
		l.fail(kind, "status %d, should be %v", response.StatusCode, want)
	case allowed && response.StatusCode != http.StatusOK:
		l.fail(kind, "status %d, and yet allowed", response.StatusCode)
	}
	l.count(fmt.Sprint(kind, " ", response.StatusCode))
	return response.StatusCode
}

func (l *traffic) count(kind string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[kind]++
}

// counted tells how often kind was counted.
func (l *traffic) counted(kind string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[kind]
}

// time gives the times of one kind of request.
func (l *traffic) time(kind string) *times {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.took[kind] == nil {
		l.took[kind] = new(times)
	}
	return l.took[kind]
}

func (l *traffic) fail(kind, format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, kind+": "+fmt.Sprintf(format, args...))
}

// judge fails the test where an answer was not as it should be.
func (l *traffic) judge() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.t.Logf("sent: %s", strings.TrimPrefix(fmt.Sprint(l.counts), "map"))
	for i, failure := range l.failures {
		if i == 10 {
			l.t.Fatalf("… and %d more", len(l.failures)-i)
		}
		l.t.Error(failure)
	}
}

// sent is how many answers there were.
func (l *traffic) sent() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for count := range maps.Values(l.counts) {
		n += count
	}
	return n - l.counts["closed without an answer"]
}

func (l *traffic) request(path, contentType, body, authorization string) *http.Request {
	r, err := http.NewRequest(http.MethodPost, "http://gate.test"+path, strings.NewReader(body))
	if err != nil {
		panic(err) // this is called from many goroutines
	}
	r.Header.Set("Content-Type", contentType)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return r
}

// callback is one of Vonage's, genuine if secret is. Its id is what makes it pass once.
func (l *traffic) callback(path, secret, id string) *http.Request {
	const body = `{"event":"connectionCreated"}`
	token := testbed.HS256(l.t, secret, nil, testbed.VonageClaims(body, map[string]any{"jti": l.mark + id}))
	return l.request(path, "application/json", body, "Bearer "+token)
}

// hook is one of Icecast's, for a user's listener.
func (l *traffic) hook(action, client, user, secret string) *http.Request {
	token := testbed.HS256(l.t, secret, nil, map[string]any{"sub": user, "stream": "live.mp3", "exp": time.Now().Add(time.Hour).Unix()})
	form := url.Values{
		"action": {action}, "server": {l.mark}, "port": {"8000"}, "client": {client}, "mount": {"/live.mp3?token=" + token},
		"user": {""}, "pass": {""}, "ip": {"192.0.2.7"}, "agent": {"VLC"},
	}
	return l.request("/hook", "application/x-www-form-urlencoded", form.Encode(), "")
}
