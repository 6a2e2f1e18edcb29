package callback_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/store"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/caddyauth"
)

const tlsSite = `
:8443 {
	callback_auth vonage {
		secret ` + testbed.Secret + `
	}
	reverse_proxy RECEIVER
}
`

// h2 is a bare HTTP/2 connection.
type h2 struct {
	*http2.Framer
	t       *testing.T
	encoder *hpack.Encoder
	block   bytes.Buffer
}

func dialH2(t *testing.T, server *httptest.Server) *h2 {
	t.Helper()
	conn, err := tls.Dial("tcp", server.Listener.Addr().String(), &tls.Config{
		RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com", NextProtos: []string{"h2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	c := &h2{Framer: http2.NewFramer(conn, conn), t: t}
	c.encoder = hpack.NewEncoder(&c.block)
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := c.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	return c
}

// open sends the headers of a POST on a stream.
func (c *h2) open(stream uint32, fields ...string) {
	c.t.Helper()
	c.block.Reset()
	fields = append([]string{":method", "POST", ":scheme", "https", ":authority", "example.com", ":path", "/hook"}, fields...)
	for i := 0; i < len(fields); i += 2 {
		if err := c.encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			c.t.Fatal(err)
		}
	}
	block := c.block.Bytes()
	first := min(len(block), 16000)
	err := c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block[:first], EndHeaders: first == len(block)})
	for block = block[first:]; err == nil && len(block) > 0; {
		n := min(len(block), 16000)
		err = c.WriteContinuation(stream, n == len(block), block[:n])
		block = block[n:]
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// status reads frames until a stream is answered; 0 if it, or the connection, is reset instead.
func (c *h2) status(stream uint32) string {
	for {
		frame, err := c.ReadFrame()
		if err != nil {
			return ""
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			if frame.StreamID == stream {
				return frame.PseudoValue("status")
			}
		case *http2.RSTStreamFrame:
			if frame.StreamID == stream {
				return ""
			}
		case *http2.GoAwayFrame:
			return ""
		}
	}
}

func TestHTTP2(t *testing.T) {
	bed := testbed.New(t, tlsSite)
	server := bed.Serve(t)
	bearer := func() string {
		return "Bearer " + testbed.HS256(t, testbed.Secret, nil, testbed.VonageClaims(event, nil))
	}
	nothingReceived := func(t *testing.T) {
		t.Helper()
		if got := len(bed.Receiver.Received()); got != 0 {
			t.Errorf("the receiver got %d requests", got)
		}
	}

	t.Run("CONTROL a genuine callback", func(t *testing.T) {
		c := dialH2(t, server)
		c.open(1, "authorization", bearer())
		_ = c.WriteData(1, true, []byte(event))
		if got := c.status(1); got != "200" {
			t.Fatalf("status %q", got)
		}
		if received := bed.Receiver.Received(); len(received) != 1 || string(received[0].Body) != event {
			t.Errorf("the receiver got %d requests", len(received))
		}
	})
	t.Run("ht-h2-dup-auth", func(t *testing.T) {
		c := dialH2(t, server)
		c.open(1, "authorization", bearer(), "authorization", bearer())
		_ = c.WriteData(1, true, []byte(event))
		if got := c.status(1); got != "400" {
			t.Errorf("status %q", got)
		}
		nothingReceived(t)
	})
	t.Run("ht-h2-cl-mismatch", func(t *testing.T) {
		c := dialH2(t, server)
		c.open(1, "authorization", bearer(), "content-length", "29")
		_ = c.WriteData(1, true, []byte("abc"))
		if got := c.status(1); got != "400" && got != "" {
			t.Errorf("status %q", got)
		}
		nothingReceived(t)
	})
	t.Run("ht-h2-hpack-bomb", func(t *testing.T) {
		c := dialH2(t, server)
		fields := []string{"authorization", bearer()}
		for range 400 {
			fields = append(fields, "x-bomb", strings.Repeat("b", 3000)) // one entry, then references to it
		}
		c.open(1, fields...)
		_ = c.WriteData(1, true, []byte(event))
		if got := c.status(1); got == "200" {
			t.Errorf("a megabyte of headers was accepted")
		}
		nothingReceived(t)
	})
	t.Run("ht-h2-authority-host", func(t *testing.T) {
		// The authority is the request's host; a Host field beside it decides nothing.
		c := dialH2(t, server)
		c.open(1, "authorization", bearer(), "host", "evil.example")
		_ = c.WriteData(1, true, []byte(event))
		if got := c.status(1); got == "200" {
			if received := bed.Receiver.Received(); len(received) != 1 || received[0].Host != "example.com" {
				t.Errorf("the receiver got %v", received)
			}
		}
		bed.Receiver.Received()
	})
	t.Run("ht-h2-rapid-reset", func(t *testing.T) {
		before := runtime.NumGoroutine()
		const perConnection, connections = 1000, 10
		for range connections {
			c := dialH2(t, server)
			drained := make(chan struct{})
			go func() { // the server's frames must be read, or it stops
				defer close(drained)
				for {
					if _, err := c.ReadFrame(); err != nil {
						return
					}
				}
			}()
			token := bearer()
			for i := range uint32(perConnection) {
				c.block.Reset()
				for _, field := range []string{":method=POST", ":scheme=https", ":authority=example.com", ":path=/hook"} {
					name, value, _ := strings.Cut(field, "=")
					_ = c.encoder.WriteField(hpack.HeaderField{Name: name, Value: value})
				}
				_ = c.encoder.WriteField(hpack.HeaderField{Name: "authorization", Value: token})
				if c.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: c.block.Bytes(), EndHeaders: true}) != nil ||
					c.WriteRSTStream(2*i+1, http2.ErrCodeCancel) != nil {
					break // the server has had enough: it may end the connection
				}
			}
			_ = c.WriteGoAway(0, http2.ErrCodeNo, nil)
			server.CloseClientConnections()
			<-drained
		}
		until(t, func() bool { return runtime.NumGoroutine() <= before+10 })
		c := dialH2(t, server)
		c.open(1, "authorization", bearer())
		_ = c.WriteData(1, true, []byte(event))
		if got := c.status(1); got != "200" {
			t.Errorf("after the flood, a genuine callback gets %q", got)
		}
	})
}

// until waits for a condition that nothing announces.
func until(t *testing.T, holds func() bool) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("it did not come about")
		}
	}
}

func TestManyBodiesAtOnce(t *testing.T) {
	const senders, size = 200, 1 << 20
	zero := make([]byte, size)

	t.Run("ht-concurrent-large", func(t *testing.T) {
		// A receiver that has all 200 requests and has not read their bodies: they are held by the gate.
		var arrived sync.WaitGroup
		arrived.Add(senders)
		release := make(chan struct{})
		receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			arrived.Done()
			<-release
		}))
		defer receiver.Close()
		bed := testbed.New(t, strings.ReplaceAll(tlsSite, "RECEIVER", receiver.Listener.Addr().String()))
		server := bed.Serve(t)
		transport := server.Client().Transport.(*http.Transport).Clone()
		transport.ForceAttemptHTTP2, transport.TLSClientConfig.NextProtos = false, []string{"http/1.1"}
		client := &http.Client{Transport: transport}

		base := heap()
		var done sync.WaitGroup
		for range senders {
			r := testbed.Vonage(t, string(zero), nil)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/hook", bytes.NewReader(zero))
			if err != nil {
				t.Fatal(err)
			}
			request.Header = r.Header
			done.Go(func() {
				response, err := client.Do(request)
				if err != nil {
					t.Errorf("a genuine callback failed: %v", err)
					return
				}
				_ = response.Body.Close()
				if response.StatusCode != http.StatusOK {
					t.Errorf("status %d", response.StatusCode)
				}
			})
		}
		arrived.Wait()
		if held := heap() - base; held > senders*size+40<<20 {
			t.Errorf("200 bodies of 1 MiB hold %d MiB", held>>20)
		}
		close(release)
		done.Wait()
	})

	t.Run("ht-200-slow-bodies", func(t *testing.T) {
		bed := testbed.Run(t, strings.Replace(tlsSite, ":8443", "http://", 1))
		stacks := make([]byte, 16<<20)
		// After their connections are closed they end, and are decided, which no test that follows is to see.
		t.Cleanup(func() {
			until(t, func() bool {
				return !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("callback.(*Handler).ServeHTTP("))
			})
		})
		base := heap()
		for range senders {
			r := testbed.Vonage(t, event, nil)
			conn := bed.Dial(t)
			// What a length announces is held when it comes, not before.
			if _, err := io.WriteString(conn, "POST /hook HTTP/1.1\r\nHost: example.com\r\nAuthorization: "+r.Header.Get("Authorization")+
				"\r\nContent-Length: 1048576\r\n\r\n{"); err != nil {
				t.Fatal(err)
			}
		}
		until(t, func() bool { // they are all being read
			return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("Buffers).Capture(")) >= senders
		})
		accepted(t, bed.Do(t, testbed.Vonage(t, event, nil)), event)
		if held := heap() - base; held > senders*128<<10+40<<20 {
			t.Errorf("200 bodies of which one byte has come hold %d MiB", held>>20)
		}
	})
}

func heap() int {
	runtime.GC()
	runtime.GC() // what a pool holds is gone after the second
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int(stats.HeapAlloc)
}

// panics is a scheme with a fault.
type panics struct{}

func init() {
	caddy.RegisterModule(panics{})
}

func (panics) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.callback_auth.schemes.test_panics", New: func() caddy.Module { return new(panics) }}
}
func (*panics) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }
func (*panics) Traits() callback.Traits                       { return callback.Traits{} }
func (*panics) Verify(*callback.Request) callback.Verdict     { panic("a secret may be in here") }

func TestAFaultInASchemeIsNotAYes(t *testing.T) {
	bed := testbed.New(t, "http:// {\ncallback_auth {\ntest_panics\n}\nreverse_proxy RECEIVER\n}")
	t.Run("ht-panic-guard", func(t *testing.T) {
		result := bed.Do(t, testbed.Vonage(t, event, nil))
		refused(t, result, http.StatusServiceUnavailable)
		if strings.Contains(bed.Logs.String(), "a secret may be in here") {
			t.Error("the text of the panic is in the log")
		}
		if len(bed.Logs.Lines(t, "panic while verifying a callback")) != 1 {
			t.Error("no line in the log about the panic")
		}
	})
}

// brokenStore is a store with a fault.
type brokenStore struct{ store.Store }

func init() {
	caddy.RegisterModule(brokenStore{})
}

func (brokenStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddyauth.stores.test_broken", New: func() caddy.Module { return new(brokenStore) }}
}
func (*brokenStore) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

// silentStore is a store that says neither yes nor no.
type silentStore struct{ store.Store }

func init() {
	caddy.RegisterModule(silentStore{})
}

func (silentStore) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddyauth.stores.test_silent", New: func() caddy.Module { return new(silentStore) }}
}
func (*silentStore) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }
func (*silentStore) Reserve(context.Context, [32]byte, store.Owner, time.Duration) (store.State, error) {
	return store.Unknown, nil
}
func (*silentStore) Release(context.Context, [32]byte, store.Owner) error { return nil }

func TestAFaultInAStoreIsNotAYes(t *testing.T) {
	refused(t, testbed.New(t, replaySite("", "store test_silent")).Do(t, testbed.Vonage(t, event, nil)), http.StatusServiceUnavailable)
	for _, options := range []string{"", "replay {\non_store_error allow\n}"} { // a fault is no store that is away
		bed := testbed.New(t, replaySite(options, "store test_broken"))
		refused(t, bed.Do(t, testbed.Vonage(t, event, nil)), http.StatusServiceUnavailable)
	}
}

func TestIdentityIsNeitherSpoofedNorGuessed(t *testing.T) {
	t.Run("hd-underscore-alias", func(t *testing.T) {
		// Every way to write `-`, `_` and `.` in the name, beside the header that header_up sets and without it.
		site := strings.Replace(vonageSite, "header_up X-Sender {http.auth.user.id}", "header_up X-Auth-Subject {http.auth.user.id}", 1)
		if site == vonageSite {
			t.Fatal("the site hands no identity on")
		}
		bed := testbed.New(t, site)
		marks := []string{"-", "_", "."}
		for _, one := range marks {
			for _, two := range marks {
				for _, name := range []string{"x" + one + "auth" + two + "subject", "X" + one + "Auth" + two + "Subject", "X" + one + "AUTH" + two + "subject"} {
					r := testbed.Vonage(t, event, nil)
					r.Header[name] = []string{"admin", "root"}
					r.Header.Set("Connection", "keep-alive, "+name)
					result := bed.Do(t, r)
					accepted(t, result, event)
					said := 0
					for name, values := range result.Received[0].Header {
						if strings.EqualFold(strings.NewReplacer("_", "-", ".", "-").Replace(name), "X-Auth-Subject") {
							said += len(values)
							if name != "X-Auth-Subject" || values[0] != "47000001" {
								t.Errorf("of %s, the receiver saw %s: %q", r.Header[name], name, values)
							}
						}
					}
					if said != 1 {
						t.Errorf("%s: the receiver saw %d headers that say who sent it", name, said)
					}
				}
			}
		}
	})
	t.Run("kid-crlf", func(t *testing.T) {
		bed := testbed.New(t, vonageSite)
		r := testbed.Vonage(t, event, nil)
		kid := "a\r\n{\"level\":\"info\",\"msg\":\"callback refused\"}\x1b[31m"
		r.Header.Set("Authorization", "Bearer "+testbed.HS256(t, "another secret, of 32 characters", map[string]any{"kid": kid}, testbed.VonageClaims(event, nil)))
		refused(t, bed.Do(t, r), 401)
		if got := len(bed.Logs.Lines(t, "callback refused")); got != 1 { // Lines fails on what is not JSON
			t.Errorf("%d lines about one refusal", got)
		}
		if strings.ContainsAny(bed.Logs.String(), "\r\x1b") {
			t.Error("a control character in the log")
		}
	})
	t.Run("hd-candidate-placeholder", func(t *testing.T) {
		bed := testbed.New(t, `
http:// {
	callback_auth vonage {
		secret `+testbed.Secret+`
	}
	handle_errors {
		respond "user={http.auth.user.id}"
	}
}`)
		result := bed.Do(t, testbed.Vonage(t, event, map[string]any{"iat": 1}))
		refused(t, result, 401)
		if result.Body != "user=" {
			t.Errorf("a refused request has a sender: %s", result.Body)
		}
	})
}

// Other handlers say who somebody is in the same placeholder, before and after this one.
func TestTheLastHandlerThatKnowsWhoSomebodyIsCounts(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	basic := "basic_auth {\nalice " + string(hash) + "\n}\n"
	gate := "callback_auth api_key {\nheader X-Key\nkey " + testbed.Secret + " sender\n}\n"
	for _, tc := range []struct{ site, user string }{
		{basic + gate, "sender"},
		{gate + basic, "alice"},
		{gate + basic + gate, "sender"},
		{basic, "alice"},
	} {
		bed := testbed.New(t, "http:// {\nroute {\n"+tc.site+"respond \"user={http.auth.user.id}\"\n}\n}")
		r := httptest.NewRequest(http.MethodPost, "/hook", nil)
		r.SetBasicAuth("alice", "secret")
		r.Header.Set("X-Key", testbed.Secret)
		if result := bed.Do(t, r); result.Status != http.StatusOK || result.Body != "user="+tc.user {
			t.Errorf("%s\nanswered %d with %q; want %s", tc.site, result.Status, result.Body, tc.user)
		}
	}
}
