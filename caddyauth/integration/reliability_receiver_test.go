package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/dustin/go-humanize"
)

// faultyReceiver is the application behind the gate, with faults that a test chooses. It counts what reaches it.
type faultyReceiver struct {
	t       *testing.T
	addr    string
	arrived atomic.Int64 // requests, or connections where none is read

	mu    sync.Mutex
	stop  func()
	conns []net.Conn
}

// newFaultyReceiver takes a port. Nobody listens there yet.
func newFaultyReceiver(t *testing.T) *faultyReceiver {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rc := &faultyReceiver{t: t, addr: listener.Addr().String()}
	_ = listener.Close()
	t.Cleanup(rc.down)
	return rc
}

// down has nobody listen any more.
func (rc *faultyReceiver) down() {
	if rc.stop != nil {
		rc.stop()
		rc.stop = nil
	}
}

func (rc *faultyReceiver) listen() net.Listener {
	rc.t.Helper()
	rc.down()
	rc.arrived.Store(0)
	var listener net.Listener
	eventually(rc.t, "the receiver's port is free again", func() (free bool) {
		var err error
		listener, err = net.Listen("tcp", rc.addr)
		return err == nil
	})
	return listener
}

// up answers requests so.
func (rc *faultyReceiver) up(answer http.HandlerFunc) {
	rc.t.Helper()
	listener := rc.listen()
	ctx, cancel := context.WithCancel(context.Background())
	server := &http.Server{BaseContext: func(net.Listener) context.Context { return ctx }, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		rc.arrived.Add(1)
		answer(w, r)
	})}
	go func() { _ = server.Serve(listener) }()
	rc.stop = func() {
		cancel()
		_ = server.Close()
	}
}

// raw takes connections and gives each to take, which closes it or does not.
func (rc *faultyReceiver) raw(take func(net.Conn)) {
	rc.t.Helper()
	listener := rc.listen()
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			rc.arrived.Add(1)
			rc.mu.Lock()
			rc.conns = append(rc.conns, conn)
			rc.mu.Unlock()
			take(conn)
		}
	})
	rc.stop = func() {
		_ = listener.Close()
		rc.mu.Lock()
		for _, conn := range rc.conns {
			_ = conn.Close()
		}
		rc.conns = nil
		rc.mu.Unlock()
		all.Wait()
	}
}

// received answers as an application does that is well.
func received(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "received") }

// until answers so, once this is closed or the receiver ends.
func until(released <-chan struct{}, answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
			answer(w, r)
		case <-r.Context().Done():
		}
	}
}

// R4: while the receiver is down, hangs, is slow, resets connections or fails, the proxy says so, the receiver gets each
// message once and no more, and the sender's own retry passes when the receiver is back: exactly once.
func TestReliabilityR04ReceiverFaults(t *testing.T) {
	rc := newFaultyReceiver(t)
	bed := testbed.Run(t, strings.ReplaceAll(`http:// {
	callback_auth /callback vonage {
		secret `+testbed.Secret+`
	}
	reverse_proxy ADDRESS {
		transport http {
			dial_timeout 1s
			response_header_timeout `+bound("1s", "5s")+`
			keepalive off
		}
	}
}
`, "ADDRESS", rc.addr))
	l := trafficTo(t, bed)
	messages := bound(10, 100)
	each := func(kind string, want ...int) {
		t.Helper()
		message, _, _ := strings.Cut(kind, ",")
		var all sync.WaitGroup
		for n := range messages {
			all.Go(func() { l.send(kind, l.callback("/callback", testbed.Secret, fmt.Sprint(message, n)), want...) })
		}
		all.Wait()
	}
	arrived := func(kind string, want int) {
		t.Helper()
		if got := int(rc.arrived.Load()); got != want {
			t.Errorf("%s: %d messages and %d attempts at the receiver", kind, want, got)
		}
	}

	for _, c := range []struct {
		kind     string
		bring    func()
		want     int
		attempts int
	}{
		{"down", rc.down, http.StatusBadGateway, 0},
		{"hanging", func() { rc.up(until(nil, nil)) }, http.StatusGatewayTimeout, messages},
		{"hanging before it reads", func() { rc.raw(func(net.Conn) {}) }, http.StatusGatewayTimeout, messages},
		{"resetting", func() { rc.raw(reset) }, http.StatusBadGateway, messages},
		{"closing in the middle", func() {
			rc.up(func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) })
		}, http.StatusBadGateway, messages},
		{"failing", func() { rc.up(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }) }, 500, messages},
		{"busy", func() { rc.up(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }) }, 503, messages},
	} {
		rc.arrived.Store(0)
		c.bring()
		each(c.kind, c.want)
		arrived(c.kind, c.attempts)
		rc.up(received)
		each(c.kind+", the sender tries again", http.StatusOK)
		arrived(c.kind, messages)
		each(c.kind+", a replay", http.StatusConflict)
		arrived(c.kind, messages)
	}

	// A receiver that is only slow has the message to itself meanwhile.
	released := make(chan struct{})
	rc.up(until(released, received))
	var slow sync.WaitGroup
	slow.Go(func() { each("slow", http.StatusOK) })
	eventually(t, "all are waiting", func() bool { return int(rc.arrived.Load()) == messages })
	each("slow, a copy meanwhile", http.StatusConflict)
	time.AfterFunc(bound(100*time.Millisecond, time.Second), func() { close(released) })
	slow.Wait()
	arrived("slow", messages)
	each("slow, a replay", http.StatusConflict)

	// Many that wait take little: compared with the same requests past the gate.
	waiting := bound(200, 500)
	grown := func(path string) (usage, usage) {
		released := make(chan struct{})
		rc.up(until(released, received))
		l.client.CloseIdleConnections()
		bed.Logs.Forget()
		before := measure()
		var all sync.WaitGroup
		for n := range waiting {
			// The proxy gives them the time that it gives a receiver: the test ends before that.
			all.Go(func() {
				l.send("waiting", l.callback(path, testbed.Secret, fmt.Sprint("waiting", path, n)), http.StatusOK, http.StatusGatewayTimeout)
			})
		}
		eventually(t, "all are waiting", func() bool { return int(rc.arrived.Load()) == waiting })
		during := measure()
		close(released)
		all.Wait()
		return before, during
	}
	// The proxy's and the client's own pools grow once.
	_, _ = grown("/past")
	plainBefore, plain := grown("/past")
	gatedBefore, gated := grown("/callback")
	perRequest := func(before, during usage) uint64 {
		return max(during.heap, before.heap) - before.heap
	}
	with, without := perRequest(gatedBefore, gated), perRequest(plainBefore, plain)
	if with > without+10<<20 {
		t.Errorf("%d waiting requests hold %s; past the gate %s", waiting, humanize.IBytes(with), humanize.IBytes(without))
	}
	l.client.CloseIdleConnections()
	bed.Logs.Forget()
	after := settles(t, gatedBefore, usage{goroutines: 5, descriptors: 5, heap: 10 << 20})
	l.judge()
	held(t, "down, hanging, resetting, closing, failing and slow with %d messages each: 502/504/5xx of the proxy, one attempt a message, every retry passed once; "+
		"%d requests that wait hold %s of heap (past the gate %s), resident %s; after: %v",
		messages, waiting, humanize.IBytes(with), humanize.IBytes(without), humanize.IBytes(gated.resident), after)
}
