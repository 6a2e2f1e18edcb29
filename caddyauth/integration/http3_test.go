package integration

import (
	"crypto/md5"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// wireSite has a gate that remembers ids, and a hook.
const wireSite = `
https:// {
	log
	handle /stream {
		stream_auth icecast {
			token {
				static a-good-token-0123456789
			}
			allow {
				token valid
			}
		}
	}
	handle {
		callback_auth {
			vonage {
				secret ` + testbed.Secret + `
			}
			max_body 64KiB
		}
		reverse_proxy RECEIVER {
			header_up X-Sender {http.auth.user.id}
		}
	}
}
`

const wireBody = `{"event":"connectionCreated"}`

// genuine are the fields of a callback that is good once.
func genuine(t testing.TB, body string) fields { return fieldsOf(testbed.Vonage(t, body, nil)) }

// get gives the value of a field.
func (f fields) get(name string) string {
	for i := 0; i < len(f); i += 2 {
		if f[i] == name {
			return f[i+1]
		}
	}
	return ""
}

// set replaces the value of a field.
func (f fields) set(name, value string) fields {
	f = slices.Clone(f)
	for i := 0; i < len(f); i += 2 {
		if f[i] == name {
			f[i+1] = value
		}
	}
	return f
}

// without removes a field.
func (f fields) without(name string) fields {
	var rest fields
	for i := 0; i < len(f); i += 2 {
		if f[i] != name {
			rest = append(rest, f[i], f[i+1])
		}
	}
	return rest
}

// unharmed fails the test unless the receiver got at most most requests, each of them the genuine one and under the name
// of its sender alone.
func unharmed(t *testing.T, bed *testbed.Secure, most int) {
	t.Helper()
	received := bed.Receiver.Received()
	if len(received) > most {
		t.Errorf("the receiver got %d requests, and may get %d", len(received), most)
	}
	for _, r := range received {
		if string(r.Body) != wireBody || r.Host != "example.com" {
			t.Errorf("the receiver got a body of %d bytes for %s", len(r.Body), r.Host)
		}
		names := 0
		for name, values := range r.Header {
			if strings.EqualFold(strings.NewReplacer("_", "-", ".", "-").Replace(name), "X-Sender") {
				names += len(values)
				if values[0] != "47000001" {
					t.Errorf("the receiver saw %s: %q", name, values)
				}
			}
		}
		if names != 1 {
			t.Errorf("the receiver saw %d headers that say who sent it", names)
		}
	}
}

// The callbacks that a sender or an attacker can send as well-formed HTTP/3.
func TestHTTP3JudgesAsHTTP1Does(t *testing.T) {
	bed := testbed.RunSecure(t, wireSite)
	c := dialH3(t, bed)
	token := func(f fields) string { return f.get("authorization") }
	one := genuine(t, wireBody)
	for _, attack := range []struct {
		name   string
		fields fields
		body   string
		want   []int
	}{
		{"CONTROL a genuine callback", one, wireBody, []int{200}},
		{"the same once more", one, wireBody, []int{409}},
		{"CONTROL with its length", genuine(t, wireBody).with("content-length", fmt.Sprint(len(wireBody))), wireBody, []int{200}},
		{"another secret", one.set("authorization", "Bearer "+testbed.HS256(t, "another secret, of 32 characters", nil, testbed.VonageClaims(wireBody, nil))), wireBody, []int{401}},
		{"no credential", one.without("authorization"), wireBody, []int{401}},
		{"another body", genuine(t, wireBody), wireBody + " ", []int{401}},
		{"no body", genuine(t, wireBody), "", []int{401}},
		{"ht-h2-dup-auth", genuine(t, wireBody).with("authorization", token(genuine(t, wireBody))), wireBody, []int{400}},
		{"too old", fieldsOf(testbed.Vonage(t, wireBody, map[string]any{"iat": time.Now().Add(-time.Hour).Unix()})), wireBody, []int{401}},
		{"too big, and says so", genuine(t, wireBody).with("content-length", "70000"), strings.Repeat("x", 70000), []int{413}},
		{"too big, and does not say so", genuine(t, wireBody), strings.Repeat("x", 70000), []int{413}},
		{"TRACE", genuine(t, wireBody).set(":method", "TRACE"), "", []int{405, 0}},
		{"a method in lower case", genuine(t, wireBody).set(":method", "post"), wireBody, []int{405}},
		{"CONNECT without a credential", fields{":method", "CONNECT", ":authority", "example.com:443"}, "", []int{401, 404, 0}},
		{"CONNECT for WebTransport", genuine(t, "").set(":method", "CONNECT").with(":protocol", "webtransport").without("authorization"), "", []int{401, 404, 0}},
		{"OPTIONS", one.set(":method", "OPTIONS").without("authorization"), "", []int{401}},
		{"Early-Data, by a proxy in front", genuine(t, wireBody).with("early-data", "1"), wireBody, []int{425}},
		{"a token in a trailer's announcement", one.without("authorization").with("trailer", "authorization"), wireBody, []int{401}},
		{"a query with a token", one.without("authorization").set(":path", "/hook?access_token="+strings.TrimPrefix(token(one), "Bearer ")), wireBody, []int{401}},
		{"a fragment", one.without("authorization").set(":path", "/hook#x"), wireBody, []int{401, 400, 0}},
		{"headers of a megabyte", genuine(t, wireBody).with("x-big", strings.Repeat("b", 1<<20)), wireBody, []int{431, 0}},
		{
			"a hook without a token", fieldsOf(httptest.NewRequest(http.MethodPost, "/stream", nil)).with("content-type", "application/x-www-form-urlencoded"),
			"action=listener_add&server=s&port=8000&client=7&mount=%2Fa.mp3&user=&pass=&ip=192.0.2.7&agent=VLC",
			[]int{403},
		},
		{
			"CONTROL a hook with one", fieldsOf(httptest.NewRequest(http.MethodPost, "/stream", nil)).with("content-type", "application/x-www-form-urlencoded"),
			"action=listener_add&server=s&port=8000&client=7&mount=%2Fa.mp3%3Ftoken%3Da-good-token-0123456789&user=&pass=&ip=192.0.2.7&agent=VLC",
			[]int{200},
		},
	} {
		t.Run(attack.name, func(t *testing.T) {
			if c.Context().Err() != nil {
				c = dialH3(t, bed) // an attack before this one has ended it
			}
			c := &h3{c.Conn, t}
			got := c.ask(attack.fields, attack.body)
			if !slices.Contains(attack.want, got) {
				t.Errorf("status %d, want one of %v", got, attack.want)
			}
			most := 0
			if got == http.StatusOK && attack.fields.get(":path") == "/hook" {
				most = 1
			}
			unharmed(t, bed, most)
		})
	}
}

// Header names that a receiver could take for the one that says who sent it.
func TestHTTP3IdentityIsNotSpoofed(t *testing.T) {
	bed := testbed.RunSecure(t, wireSite)
	c := dialH3(t, bed)
	for _, alias := range [][]string{
		{"x-sender", "admin"},
		{"x_sender", "admin"},
		{"x.sender", "admin"},
		{"X-Sender", "admin"},
		{"x-sender", "admin", "x-sender", "root"},
		{"x-sender", ""},
		{"x-sender", "admin", "x_sender", "root"},
		{"connection", "x-sender"},
		{"connection", "close, x-sender", "x-sender", "admin"},
		{"proxy-connection", "x-sender"},
		{"keep-alive", "x-sender"},
		{"te", "x-sender"},
		{"upgrade", "x-sender"},
		{"trailer", "x-sender"},
		{"transfer-encoding", "chunked"},
	} {
		t.Run(fmt.Sprintf("%q", alias), func(t *testing.T) {
			if c.Context().Err() != nil {
				c = dialH3(t, bed)
			}
			got := (&h3{c.Conn, t}).ask(genuine(t, wireBody).with(alias...), wireBody)
			if got != http.StatusOK && got != 0 && got < 400 {
				t.Errorf("status %d", got)
			}
			unharmed(t, bed, 1)
		})
	}
}

// What is no HTTP/3, or ends in the middle. The receiver gets the genuine request, or nothing.
func TestHTTP3BrokenRequestsReachNobody(t *testing.T) {
	bed := testbed.RunSecure(t, wireSite)
	head := func(f fields) []byte { return frame(headersFrame, f.block()) }
	data := frame(dataFrame, []byte(wireBody))
	length := func(n int) fields { return genuine(t, wireBody).with("content-length", fmt.Sprint(n)) }
	for _, attack := range []struct {
		name  string
		bytes func() [][]byte
		reset bool // the sender gives up, where otherwise it ends the stream
		most  int
	}{
		{"CONTROL", func() [][]byte { return [][]byte{head(genuine(t, wireBody)), data} }, false, 1},
		{"CONTROL in single bytes", func() [][]byte { return singly(append(head(genuine(t, wireBody)), data...)) }, false, 1},
		{"fewer bytes than announced", func() [][]byte { return [][]byte{head(length(len(wireBody) + 1)), data} }, false, 0},
		{"more bytes than announced", func() [][]byte { return [][]byte{head(length(len(wireBody))), data, data} }, false, 1},
		{"announced as 0", func() [][]byte { return [][]byte{head(length(0)), data} }, false, 0},
		{"announced twice", func() [][]byte {
			return [][]byte{head(length(0).with("content-length", fmt.Sprint(len(wireBody)))), data}
		}, false, 0},
		{"announced as less than 0", func() [][]byte { return [][]byte{head(length(-1)), data} }, false, 0},
		{"a body that is cut off in its frame", func() [][]byte { return [][]byte{head(genuine(t, wireBody)), data[:len(data)-1]} }, false, 0},
		{"given up within the body", func() [][]byte { return [][]byte{head(genuine(t, wireBody)), data[:9]} }, true, 0},
		{"given up after the headers", func() [][]byte { return [][]byte{head(genuine(t, wireBody))} }, true, 0},
		{"headers that are cut off", func() [][]byte { return [][]byte{head(genuine(t, wireBody))[:90]} }, false, 0},
		{"a body before its headers", func() [][]byte { return [][]byte{data, head(genuine(t, wireBody))} }, false, 0},
		{"no headers", func() [][]byte { return [][]byte{data} }, false, 0},
		{"nothing", func() [][]byte { return nil }, false, 0},
		{"headers twice", func() [][]byte { return [][]byte{head(genuine(t, wireBody)), head(genuine(t, wireBody)), data} }, false, 0},
		{"a token in the trailers", func() [][]byte {
			f := genuine(t, wireBody)
			return [][]byte{head(f.without("authorization")), data, head(fields{"authorization", f.get("authorization")})}
		}, false, 0},
		{"an identity in the trailers", func() [][]byte {
			return [][]byte{head(genuine(t, wireBody).with("trailer", "x-sender")), data, head(fields{"x-sender", "admin"})}
		}, false, 1},
		{"an identity in trailers that nothing announces", func() [][]byte {
			return [][]byte{head(genuine(t, wireBody)), data, head(fields{"x-sender", "admin"})}
		}, false, 1},
		{"pseudo-headers in the trailers", func() [][]byte {
			return [][]byte{head(genuine(t, wireBody)), data, head(fields{":path", "/admin"})}
		}, false, 1},
		{"two paths", func() [][]byte { return [][]byte{head(genuine(t, wireBody).with(":path", "/")), data} }, false, 0},
		{"two hosts", func() [][]byte { return [][]byte{head(genuine(t, wireBody).with("host", "evil.example")), data} }, false, 1},
		{"two authorities", func() [][]byte { return [][]byte{head(genuine(t, wireBody).with(":authority", "evil.example")), data} }, false, 0},
		{"a zero byte", func() [][]byte { return [][]byte{head(genuine(t, wireBody).with("x-a", "a\x00b")), data} }, false, 1},
		{"a line break", func() [][]byte { return [][]byte{head(genuine(t, wireBody).with("x-a", "a\r\nx-sender: admin")), data} }, false, 0},
		{"a name with a line break", func() [][]byte { return [][]byte{head(genuine(t, wireBody).with("x-a: b\r\nx-sender", "admin")), data} }, false, 0},
		{"an empty name", func() [][]byte { return [][]byte{head(genuine(t, wireBody).with("", "admin")), data} }, false, 0},
		{"a frame of a gigabyte that never comes", func() [][]byte {
			return [][]byte{head(genuine(t, wireBody)), quicvarintFrame(dataFrame, 1<<30), []byte(wireBody)} // what came is what was signed, and quic-go takes the stream's end for the frame's
		}, false, 1},
		{"headers of a gigabyte that never come", func() [][]byte { return [][]byte{quicvarintFrame(headersFrame, 1<<30)} }, false, 0},
	} {
		t.Run(attack.name, func(t *testing.T) {
			c := dialH3(t, bed) // such requests may cost the connection
			stream := c.begin(attack.bytes()...)
			if attack.reset {
				stream.CancelWrite(h3Cancelled)
			} else {
				_ = stream.Close()
			}
			status := c.status(stream)
			if status == http.StatusOK && attack.most == 0 {
				t.Errorf("it was accepted")
			}
			if strings.HasPrefix(attack.name, "CONTROL") && status != http.StatusOK {
				t.Errorf("status %d", status)
			}
			unharmed(t, bed, attack.most)
		})
	}
	c := dialH3(t, bed)
	if got := c.ask(genuine(t, wireBody), wireBody); got != http.StatusOK {
		t.Errorf("after all that, a genuine callback gets %d", got)
	}
}

// singly cuts bytes into single ones.
func singly(all []byte) [][]byte {
	var list [][]byte
	for i := range all {
		list = append(list, all[i:i+1])
	}
	return list
}

// quicvarintFrame is the beginning of a frame, with the length that it claims to have.
func quicvarintFrame(kind byte, length uint32) []byte {
	return []byte{kind, 0xc0, 0, 0, 0, byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length)}
}

// A request in 0-RTT, which anybody who saw it can send again, is asked for again: after the handshake it passes.
func TestReliabilityR21EarlyDataIsAskedForAgain(t *testing.T) {
	const mount = "action=listener_add&server=s&port=8000&client=7&mount=%2Fa.mp3%3Ftoken%3Da-good-token-0123456789&user=&pass=&ip=192.0.2.7&agent=VLC"
	for name, early := range map[string]struct {
		fields func(t *testing.T) fields
		body   string
	}{
		"a callback": {func(t *testing.T) fields { return genuine(t, wireBody) }, wireBody},
		"a hook": {func(*testing.T) fields {
			return fieldsOf(httptest.NewRequest(http.MethodPost, "/stream", nil)).with("content-type", "application/x-www-form-urlencoded")
		}, mount},
	} {
		t.Run(name, func(t *testing.T) {
			bed := testbed.RunSecure(t, wireSite)
			config, cache := bed.TLS("h3"), newTickets()
			config.ClientSessionCache = cache
			whole := func(conn net.PacketConn) net.PacketConn { return conn }
			first := dialH3With(t, bed, config, whole)
			if got := first.ask(genuine(t, wireBody), wireBody); got != http.StatusOK {
				t.Fatalf("CONTROL: status %d", got)
			}
			bed.Receiver.Received()
			<-cache.got
			_ = first.CloseWithError(0x100, "")

			// The client hears nothing until the server has dealt with the request: so that is before its handshake is
			// complete, however slow this machine is.
			opened := make(chan struct{})
			handled := len(bed.Logs.Lines(t, "handled request"))
			again := dialH3With(t, bed, config, func(conn net.PacketConn) net.PacketConn { return deaf{conn, opened} })
			sent := early.fields(t)
			stream := again.begin(frame(headersFrame, sent.block()), frame(dataFrame, []byte(early.body)))
			_ = stream.Close()
			eventually(t, "the early request is answered", func() bool { return len(bed.Logs.Lines(t, "handled request")) > handled })
			select {
			case <-again.HandshakeComplete():
				t.Error("the handshake was complete already: this test proves nothing")
			default:
			}
			close(opened)
			if got := again.status(stream); got != http.StatusTooEarly {
				t.Errorf("status %d in early data", got)
			}
			<-again.HandshakeComplete()
			if !again.ConnectionState().Used0RTT {
				t.Error("the server took no early data: this test proves nothing")
			}
			if received := bed.Receiver.Received(); len(received) != 0 {
				t.Errorf("the receiver got %d requests of early data", len(received))
			}
			if got := again.ask(sent, early.body); got != http.StatusOK {
				t.Errorf("status %d after the handshake", got)
			}
			held(t, "%s in 0-RTT: 425; after the handshake: 200", name)
			if name == "a callback" {
				if received := bed.Receiver.Received(); len(received) != 1 {
					t.Errorf("the receiver got %d requests after the handshake", len(received))
				}
			}
		})
	}
}

// A GET over HTTP/3 does not say that no body comes: it is judged as the same one over HTTP/1.1 is.
func TestHTTP3GETsWithoutABody(t *testing.T) {
	bed := testbed.RunSecure(t, strings.Replace(wireSite, "\thandle {", `	handle /sms {
		callback_auth vonage_sms {
			secret a-secret-of-an-older-kind
		}
		reverse_proxy RECEIVER
	}
	handle {`, 1))
	c := dialH3(t, bed)
	get := func(path string, f fields) fields { return f.set(":method", "GET").set(":path", path) }
	sms := fmt.Sprintf("msisdn=447700900000&timestamp=%d", time.Now().Unix())
	signed := fmt.Sprintf("%s&sig=%x", sms, md5.Sum([]byte("&"+sms+"a-secret-of-an-older-kind")))
	for _, one := range []struct {
		name   string
		fields fields
		body   string
		want   int
	}{
		{"a callback", get("/hook", genuine(t, "")), "", 200},
		{"a callback of length 0", get("/hook", genuine(t, "").with("content-length", "0")), "", 200},
		{"a callback with a body", get("/hook", genuine(t, "")), wireBody, 400},
		{"a text message", get("/sms?"+signed, fieldsOf(httptest.NewRequest(http.MethodGet, "/sms", nil))), "", 200},
		{"a text message with a body", get("/sms?"+signed, fieldsOf(httptest.NewRequest(http.MethodGet, "/sms", nil))), "to=me", 400},
	} {
		t.Run(one.name, func(t *testing.T) {
			if got := (&h3{c.Conn, t}).ask(one.fields, one.body); got != one.want {
				t.Errorf("status %d, want %d", got, one.want)
			}
			for _, r := range bed.Receiver.Received() {
				if one.want != http.StatusOK || len(r.Body) > 0 || r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
					t.Errorf("the receiver got %d bytes in %v", len(r.Body), r.TransferEncoding)
				}
			}
		})
	}
}
