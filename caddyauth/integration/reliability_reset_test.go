package integration

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// resetSite has a route for each of our bounds: ids in flight, passwords being hashed, tokens being introspected.
const resetSite = `
https:// {
	handle /hook {
		callback_auth vonage {
			secret ` + testbed.Secret + `
		}
		reverse_proxy RECEIVER
	}
	handle /basic {
		callback_auth basic {
			user alice HASH
		}
		respond "received"
	}
	handle /opaque {
		callback_auth oauth2 {
			audience us
			introspection http://ISSUER/introspect {
				client_id we
				client_secret introspection-secret-0123456789
			}
		}
		respond "received"
	}
}
`

// What is in flight at most: internal/introspect and internal/password say so.
const (
	introspected = 64
	hashWaiters  = 16
)

// A sender that opens streams and resets them at once takes nothing with it: after ten thousand of them, over HTTP/2 and
// HTTP/3, every place in every queue is free, every id that was in flight can be sent again, and no goroutine is left.
func TestReliabilityR21RapidReset(t *testing.T) {
	firstLoad(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("a long right password"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	issuer := newMeetingPoint(t)
	site := strings.NewReplacer("HASH", string(hash), "ISSUER", issuer.address).Replace(resetSite)
	streams := bound(300, 10_000)

	for _, protocol := range []struct {
		name string
		open func(t *testing.T, bed *testbed.Secure) resetting
	}{
		{"HTTP/2", func(t *testing.T, bed *testbed.Secure) resetting { return dialH2(t, bed) }},
		{"HTTP/3", func(t *testing.T, bed *testbed.Secure) resetting { return dialH3(t, bed) }},
	} {
		t.Run(protocol.name, func(t *testing.T) {
			bed := testbed.RunSecure(t, site)
			client := dialH3(t, bed) // for what comes after the flood
			// As many at once as there are places for: it takes every place, and with them what stays open for the next.
			places := max(1, runtime.GOMAXPROCS(0)/2) + hashWaiters
			full := func(when string) {
				t.Helper()
				// On a slow machine, who waits may have waited for too long: one round that is whole shows it.
				eventually(t, "every place for a password is free", func() bool {
					return together(places, http.StatusUnauthorized, func(n int) int {
						return client.ask(basicFields("alice", fmt.Sprint("wrong password ", when, n)), "")
					})
				})
				round := 0
				eventually(t, "every place for an introspection is free", func() bool {
					issuer.meet(introspected)
					defer issuer.meet(0)
					round++
					return together(introspected, http.StatusOK, func(n int) int {
						return client.ask(opaqueFields(fmt.Sprint("good-token-", protocol.name, when, round, "-", n)), "")
					})
				})
			}
			full("before")
			before := measure()

			// The receiver holds what it gets until the sender is gone.
			var inFlight, arrived atomic.Int64
			bed.Receiver.Answer(func(_ http.ResponseWriter, r *http.Request) {
				inFlight.Add(1)
				defer inFlight.Add(-1)
				arrived.Add(1)
				<-r.Context().Done()
			})
			var given []fields // delivered to nobody, and good still
			for range 20 {
				given = append(given, genuine(t, wireBody))
			}
			c := protocol.open(t, bed)
			var resets []func()
			for _, f := range given {
				resets = append(resets, c.send(f, wireBody))
			}
			eventually(t, "the receiver has all of them", func() bool { return arrived.Load() == int64(len(given)) })
			for _, reset := range resets {
				reset()
			}
			eventually(t, "nothing is in flight at the receiver", func() bool { return inFlight.Load() == 0 })
			c.end()

			// The flood. The server may end a connection that it finds too busy; then comes the next one.
			kinds := []func(n int) fields{
				func(int) fields { return given[0] },
				func(n int) fields { return basicFields("alice", fmt.Sprint("wrong password ", n)) },
				func(n int) fields { return opaqueFields(fmt.Sprint("opaque-token-", protocol.name, n)) },
			}
			connections := 0
			for n := 0; n < streams; {
				c := protocol.open(t, bed)
				connections++
				for ; n < streams && c.alive(); n++ {
					body := ""
					if n%2 == 0 {
						body = wireBody[:5]
					}
					c.send(kinds[n%len(kinds)](n), body)()
				}
				c.end()
			}

			bed.Receiver.Answer(nil)
			bed.Receiver.Received()
			eventually(t, "no token is being introspected", func() bool { return issuer.waiting.Load() == 0 })
			for _, f := range given {
				if got := client.ask(f, wireBody); got != http.StatusOK {
					t.Errorf("an id whose delivery was reset gets %d", got)
				}
				if got := client.ask(f, wireBody); got != http.StatusConflict {
					t.Errorf("an id that was delivered gets %d", got)
				}
			}
			eventually(t, "no password is being hashed", func() bool { return client.ask(basicFields("alice", "a long right password"), "") == http.StatusOK })
			full("after")
			after := settles(t, before, usage{goroutines: 10, descriptors: 5, heap: 16 << 20})
			held(t, "%s: %d streams opened and reset on %d connections: %d places for passwords, %d for introspection and %d ids free again; before: %v; after: %v",
				protocol.name, streams, connections, places, introspected, len(given), before, after)
		})
	}
}

// A token or an identity in the trailers, which come behind what is verified, is neither seen nor handed on.
func TestReliabilityR21Trailers(t *testing.T) {
	bed := testbed.RunSecure(t, wireSite)
	for _, trailer := range []struct {
		name         string
		want         int
		head, behind func(f fields) fields
	}{
		{"CONTROL none", 200, func(f fields) fields { return f }, func(fields) fields { return nil }},
		{"a token", 401, func(f fields) fields { return f.without("authorization") }, func(f fields) fields { return fields{"authorization", f.get("authorization")} }},
		{"a token that is announced", 401, func(f fields) fields { return f.without("authorization").with("trailer", "authorization") },
			func(f fields) fields { return fields{"authorization", f.get("authorization")} }},
		{"an identity", 200, func(f fields) fields { return f.with("trailer", "x-sender") }, func(fields) fields { return fields{"x-sender", "admin"} }},
	} {
		t.Run(trailer.name, func(t *testing.T) {
			for protocol, send := range map[string]func(head, behind fields) int{
				"HTTP/2": func(head, behind fields) int { return dialH2(t, bed).whole(head, wireBody, behind) },
				"HTTP/3": func(head, behind fields) int {
					c := dialH3(t, bed)
					stream := c.begin(frame(headersFrame, head.block()), frame(dataFrame, []byte(wireBody)))
					if behind != nil {
						_, _ = stream.Write(frame(headersFrame, behind.block()))
					}
					_ = stream.Close()
					return c.status(stream)
				},
			} {
				var seen atomic.Int64
				bed.Receiver.Answer(func(_ http.ResponseWriter, r *http.Request) { seen.Add(int64(len(r.Trailer))) })
				f := genuine(t, wireBody)
				// Go's HTTP/2 resets a stream that announces such a trailer.
				if got := send(trailer.head(f), trailer.behind(f)); got != trailer.want && (got != 0 || trailer.want == http.StatusOK) {
					t.Errorf("%s: status %d, want %d", protocol, got, trailer.want)
				}
				unharmed(t, bed, trailer.want/200%2) // one with 200, none with 401
				if seen.Load() > 0 {
					t.Errorf("%s: the receiver got trailers", protocol)
				}
			}
		})
	}
	held(t, "trailers over HTTP/2 and HTTP/3 neither authorize nor reach the receiver")
}

// resetting is a connection on which streams are begun and reset.
type resetting interface {
	send(f fields, body string) (reset func()) // a body that is whole ends the stream
	alive() bool
	end()
}

func (c *h3) send(f fields, body string) func() {
	bytes := [][]byte{frame(headersFrame, f.block())}
	if body != "" {
		bytes = append(bytes, frame(dataFrame, []byte(body)))
	}
	stream, err := c.OpenStreamSync(c.t.Context())
	if err != nil {
		return func() {}
	}
	for _, one := range bytes {
		_, _ = stream.Write(one)
	}
	if body == wireBody {
		_ = stream.Close()
	}
	return func() {
		stream.CancelWrite(h3Cancelled)
		stream.CancelRead(h3Cancelled)
	}
}

func (c *h3) alive() bool { return c.Context().Err() == nil }

func (c *h3) end() { _ = c.CloseWithError(0x100, "") }

// h2 is a bare HTTP/2 connection.
type h2 struct {
	*http2.Framer
	t       *testing.T
	conn    *tls.Conn
	encoder *hpack.Encoder
	block   bytes.Buffer
	next    uint32
	broken  bool

	reading  sync.WaitGroup
	answered chan int // the status of an answer
}

func dialH2(t *testing.T, bed *testbed.Secure) *h2 {
	t.Helper()
	conn, err := tls.Dial("tcp", bed.TCP, bed.TLS("h2"))
	if err != nil {
		t.Fatal(err)
	}
	c := &h2{Framer: http2.NewFramer(conn, conn), t: t, conn: conn, next: 1, answered: make(chan int, 1)}
	t.Cleanup(c.end)
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	c.encoder = hpack.NewEncoder(&c.block)
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	if err := c.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	c.reading.Go(func() { // the server's frames must be read, or it stops
		for {
			read, err := c.ReadFrame()
			if err != nil {
				close(c.answered)
				return
			}
			status := 0
			switch read := read.(type) {
			case *http2.MetaHeadersFrame:
				_, _ = fmt.Sscan(read.PseudoValue("status"), &status)
			case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			default:
				continue
			}
			select {
			case c.answered <- status:
			default:
			}
		}
	})
	return c
}

func (c *h2) headers(stream uint32, f fields, end bool) {
	c.block.Reset()
	for i := 0; i < len(f); i += 2 {
		_ = c.encoder.WriteField(hpack.HeaderField{Name: f[i], Value: f[i+1]}) // to a buffer
	}
	c.broken = c.broken || c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: c.block.Bytes(), EndHeaders: true, EndStream: end}) != nil
}

func (c *h2) data(stream uint32, body string, end bool) {
	c.broken = c.broken || c.WriteData(stream, end, []byte(body)) != nil
}

func (c *h2) send(f fields, body string) func() {
	stream := c.next
	c.next += 2
	c.headers(stream, f, false)
	if body != "" {
		c.data(stream, body, body == wireBody)
	}
	return func() { c.broken = c.broken || c.WriteRSTStream(stream, http2.ErrCodeCancel) != nil }
}

// whole sends a request with trailers and returns the answer's status; 0 if there is none.
func (c *h2) whole(f fields, body string, trailers fields) int {
	stream := c.next
	c.next += 2
	c.headers(stream, f, false)
	c.data(stream, body, trailers == nil)
	if trailers != nil {
		c.headers(stream, trailers, true)
	}
	return <-c.answered
}

func (c *h2) alive() bool { return !c.broken }

func (c *h2) end() {
	_ = c.conn.Close()
	c.reading.Wait()
}

// together does something n times at once, and reports whether all had the same status.
func together(n, want int, do func(n int) int) bool {
	var all sync.WaitGroup
	var others atomic.Int64
	for i := range n {
		all.Go(func() {
			if do(i) != want {
				others.Add(1)
			}
		})
	}
	all.Wait()
	return others.Load() == 0
}

func basicFields(name, word string) fields {
	r := httptest.NewRequest(http.MethodPost, "/basic", nil)
	r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(name+":"+word)))
	return fieldsOf(r)
}

func opaqueFields(token string) fields {
	r := httptest.NewRequest(http.MethodPost, "/opaque", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return fieldsOf(r)
}

// meetingPoint is an issuer that finds every token good, as soon as so many questions are there at once.
type meetingPoint struct {
	address string
	waiting atomic.Int64

	mu      sync.Mutex
	missing int
	all     chan struct{}
}

func newMeetingPoint(t *testing.T) *meetingPoint {
	m := new(meetingPoint)
	m.meet(0)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.waiting.Add(1)
		defer m.waiting.Add(-1)
		m.mu.Lock()
		all := m.all
		if m.missing--; m.missing == 0 {
			close(all)
		}
		m.mu.Unlock()
		<-all
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"active":true,"aud":"us","sub":"somebody","exp":%d}`, time.Now().Add(time.Hour).Unix())
	}))
	t.Cleanup(server.Close)
	m.address = server.Listener.Addr().String()
	return m
}

// meet makes it wait for n questions from now on; with 0 it answers at once.
func (m *meetingPoint) meet(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.missing > 0 {
		close(m.all) // who waits for more than ever came
	}
	m.missing, m.all = n, make(chan struct{})
	if n == 0 {
		close(m.all)
	}
}
