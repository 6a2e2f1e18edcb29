package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// hookSize is about how long a media server's hook is.
const hookSize = 400

// load is a number of requests, made ahead: one body, and a head with a token of its own for each.
type load struct {
	addr  string
	heads [][]byte
	body  []byte
}

// newLoad makes requests for s with bodies of this many bytes: callbacks of Vonage, or hooks of Ant Media Server.
func (b *bench) newLoad(s *subject, size, count int) *load {
	l := &load{addr: s.addr, heads: make([][]byte, count)}
	now := time.Now().Unix()
	switch s.kind {
	case caddyRespond, caddyStream, caddyStreamRSA, caddyStreamECDSA:
		token := b.keys.sign(s.kind, fmt.Sprintf(`{"stream":"live/cam1","sub":"alice","iat":%d,"exp":%d}`, now, now+600))
		l.body = fmt.Appendf(nil, `{"appName":"live","streamId":"cam1","mode":"play","token":%q}`, token)
		for i := range l.heads {
			l.heads[i] = l.head("")
		}
		return l
	}
	const head, tail = `{"event":"streamCreated","pad":"`, `"}`
	l.body = []byte(head + strings.Repeat("x", size-len(head)-len(tail)) + tail)
	digest := sha256.Sum256(l.body)
	hash := hex.EncodeToString(digest[:])
	for i := range l.heads {
		l.heads[i] = l.head("Authorization: Bearer " + sign(fmt.Sprintf(
			`{"iat":%d,"jti":%q,"iss":"Vonage","payload_hash":%q,"api_key":"47000001","application_id":"11111111-2222-3333-4444-555555555555"}`,
			now, rand.Text(), hash)) + "\r\n")
	}
	return l
}

func (l *load) head(more string) []byte {
	return fmt.Appendf(nil, "POST /hook HTTP/1.1\r\nHost: %s\r\nUser-Agent: compare\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n",
		l.addr, more, len(l.body))
}

// sign makes an HS256 token of these claims.
func sign(claims string) string {
	input := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// client is one connection that is kept open.
type client struct {
	conn    net.Conn
	answers *bufio.Reader
}

func (l *load) dial(ctx context.Context) (*client, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", l.addr)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return nil, err
	}
	return &client{conn, bufio.NewReader(conn)}, nil
}

// ask sends one request, of which what is given is left, and reads its answer, which must be 200.
func (c *client) ask(request ...[]byte) error {
	buffers := net.Buffers(request)
	if _, err := buffers.WriteTo(c.conn); err != nil {
		return err
	}
	response, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %d", response.StatusCode)
	}
	return nil
}

// each runs work on every one of a number of connections at once, and returns their first error.
func (l *load) each(ctx context.Context, connections int, work func(i int, c *client) error) error {
	var group sync.WaitGroup
	errs := make(chan error, connections)
	for i := range connections {
		group.Go(func() {
			c, err := l.dial(ctx)
			if err != nil {
				errs <- err
				return
			}
			defer func() { _ = c.conn.Close() }()
			if err := work(i, c); err != nil {
				errs <- err
			}
		})
	}
	group.Wait()
	close(errs)
	return <-errs
}

// run sends all requests, as fast as they are answered.
func (l *load) run(ctx context.Context, connections int) error {
	var next atomic.Int64
	return l.each(ctx, connections, func(_ int, c *client) error {
		for i := int(next.Add(1)) - 1; i < len(l.heads); i = int(next.Add(1)) - 1 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := c.ask(l.heads[i], l.body); err != nil {
				return err
			}
		}
		return nil
	})
}

// paced sends one request every interval, and returns how long after its time each was answered.
func (l *load) paced(ctx context.Context, connections int, interval time.Duration) ([]time.Duration, error) {
	took := make([]time.Duration, len(l.heads))
	start := time.Now().Add(50 * time.Millisecond)
	err := l.each(ctx, connections, func(first int, c *client) error {
		for i := first; i < len(l.heads); i += connections {
			due := start.Add(time.Duration(i) * interval)
			time.Sleep(time.Until(due))
			if err := ctx.Err(); err != nil {
				return err
			}
			sent := time.Now() // a timer that is late is not the proxy's doing
			if err := c.ask(l.heads[i], l.body); err != nil {
				return err
			}
			took[i] = time.Since(sent)
		}
		return nil
	})
	return took, err
}

// atOnce sends every request on a connection of its own, all but the last byte, and the last bytes once all have come
// that far: so every body is in flight at the same time.
func (l *load) atOnce(ctx context.Context) error {
	var sent sync.WaitGroup
	sent.Add(len(l.heads))
	return l.each(ctx, len(l.heads), func(i int, c *client) error {
		last := len(l.body) - 1
		_, err := io.Copy(c.conn, io.MultiReader(bytes.NewReader(l.heads[i]), bytes.NewReader(l.body[:last])))
		sent.Done()
		if err != nil {
			return err
		}
		sent.Wait()
		return c.ask(l.body[last:])
	})
}
