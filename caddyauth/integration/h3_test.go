package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"golang.org/x/net/http2/hpack"
)

// h3 is a bare HTTP/3 connection (RFC 9114): it writes what no client would.
type h3 struct {
	*quic.Conn
	t testing.TB
}

// Frame types of RFC 9114 §7.2.
const (
	dataFrame    = 0
	headersFrame = 1
)

// h3Cancelled is H3_REQUEST_CANCELLED of RFC 9114 §8.1.
const h3Cancelled quic.StreamErrorCode = 0x10c

func dialH3(t testing.TB, bed *testbed.Secure) *h3 {
	t.Helper()
	return dialH3With(t, bed, bed.TLS("h3"), func(conn net.PacketConn) net.PacketConn { return conn })
}

// dialH3With dials by a socket that wrap has seen. With a session in config it returns before the handshake is complete,
// and what is written then is early data.
func dialH3With(t testing.TB, bed *testbed.Secure, config *tls.Config, wrap func(net.PacketConn) net.PacketConn) *h3 {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	server, err := net.ResolveUDPAddr("udp", bed.UDP)
	if err != nil {
		t.Fatal(err)
	}
	transport := &quic.Transport{Conn: wrap(socket)}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	conn, err := transport.DialEarly(ctx, server, config, &quic.Config{MaxIdleTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	done := func() {
		_ = conn.CloseWithError(0x100, "") // H3_NO_ERROR
		_ = transport.Close()
		_ = socket.Close()
	}
	t.Cleanup(func() { once.Do(done) })
	return &h3{conn, t}
}

// fields are the field lines of a request, in their order, as a name and a value each.
type fields []string

// fieldsOf are those of an HTTP request.
func fieldsOf(r *http.Request) fields {
	list := fields{":method", r.Method, ":scheme", "https", ":authority", "example.com", ":path", r.URL.RequestURI()}
	for name, values := range r.Header {
		for _, value := range values {
			list = append(list, strings.ToLower(name), value)
		}
	}
	return list
}

// with adds field lines.
func (f fields) with(more ...string) fields { return append(f[:len(f):len(f)], more...) }

// block encodes field lines without table or Huffman code (RFC 9204 §4.5.6).
func (f fields) block() []byte {
	block := []byte{0, 0}
	for i := 0; i < len(f); i += 2 {
		block = appendPrefixed(block, 0x20, 3, len(f[i]))
		block = append(block, f[i]...)
		block = appendPrefixed(block, 0, 7, len(f[i+1]))
		block = append(block, f[i+1]...)
	}
	return block
}

// appendPrefixed appends an integer of n bits behind flags (RFC 7541 §5.1).
func appendPrefixed(b []byte, flags byte, n, value int) []byte {
	most := 1<<n - 1
	if value < most {
		return append(b, flags|byte(value))
	}
	b = append(b, flags|byte(most))
	for value -= most; value >= 0x80; value >>= 7 {
		b = append(b, byte(value)|0x80)
	}
	return append(b, byte(value))
}

// frame encodes one frame.
func frame(kind uint64, payload []byte) []byte {
	return append(quicvarint.Append(quicvarint.Append(nil, kind), uint64(len(payload))), payload...)
}

// begin opens a stream and writes bytes on it.
func (c *h3) begin(bytes ...[]byte) *quic.Stream {
	c.t.Helper()
	stream, err := c.OpenStreamSync(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	if err := stream.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		c.t.Fatal(err)
	}
	for _, one := range bytes {
		if _, err := stream.Write(one); err != nil {
			break // the server has had enough: its answer says of what
		}
	}
	return stream
}

// ask sends a whole request and returns the answer's status; 0 if the stream or the connection ends without one.
func (c *h3) ask(f fields, body string) int {
	c.t.Helper()
	stream := c.begin(frame(headersFrame, f.block()), frame(dataFrame, []byte(body)))
	_ = stream.Close()
	return c.status(stream)
}

// status reads the answer's status; 0 if there is none.
func (c *h3) status(stream *quic.Stream) int {
	c.t.Helper()
	answer, err := io.ReadAll(stream)
	if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		c.t.Fatalf("no answer: %v", err)
	}
	reader := quicvarint.NewReader(bytes.NewReader(answer))
	for {
		kind, err := quicvarint.Read(reader)
		if err != nil {
			return 0
		}
		length, err := quicvarint.Read(reader)
		if err != nil {
			return 0
		}
		payload := make([]byte, length)
		if _, err := io.ReadFull(reader, payload); err != nil {
			return 0
		}
		if kind == headersFrame {
			status, err := statusOf(payload)
			if err != nil {
				c.t.Fatal(err)
			}
			return status
		}
	}
}

func isTimeout(err error) bool {
	var stream net.Error
	return errors.As(err, &stream) && stream.Timeout()
}

// statuses are those of the static table (RFC 9204 appendix A), by their place.
var statuses = map[int]int{24: 103, 25: 200, 26: 304, 27: 404, 28: 503, 63: 100, 64: 204, 65: 206, 66: 302, 67: 400, 68: 403, 69: 421, 70: 425, 71: 500}

// statusOf reads the first field line of an answer, which is its status.
func statusOf(block []byte) (int, error) {
	failed := fmt.Errorf("the answer's first field line cannot be read: % x", block[:min(8, len(block))])
	if len(block) < 5 {
		return 0, failed
	}
	switch first := block[2]; {
	case first&0xc0 == 0xc0: // an indexed line
		index := int(first & 0x3f)
		if index == 0x3f {
			index += int(block[3])
		}
		if status, ok := statuses[index]; ok {
			return status, nil
		}
	case first&0xf0 == 0x50: // a literal value under an indexed name
		rest := block[3:]
		if first&0x0f == 0x0f {
			rest = rest[1:]
		}
		size := int(rest[0] & 0x7f)
		if len(rest) < 1+size {
			return 0, failed
		}
		text := string(rest[1 : 1+size])
		if rest[0]&0x80 != 0 {
			var err error
			if text, err = hpack.HuffmanDecodeToString(rest[1 : 1+size]); err != nil {
				return 0, err
			}
		}
		return strconv.Atoi(text)
	}
	return 0, failed
}

// deaf is a socket that hears nothing until it is opened.
type deaf struct {
	net.PacketConn
	opened chan struct{}
}

// ReadFrom waits for the opening.
func (d deaf) ReadFrom(p []byte) (int, net.Addr, error) {
	n, from, err := d.PacketConn.ReadFrom(p)
	<-d.opened
	return n, from, err
}

// tickets is a cache of TLS sessions that tells when it has got one.
type tickets struct {
	tls.ClientSessionCache
	got chan struct{}
}

func newTickets() tickets { return tickets{tls.NewLRUClientSessionCache(1), make(chan struct{}, 16)} }

// Put keeps a session.
func (c tickets) Put(key string, session *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, session)
	if session != nil {
		select {
		case c.got <- struct{}{}:
		default:
		}
	}
}
