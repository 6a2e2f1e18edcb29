package store

import (
	"errors"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// What a server may send in answer to one request. Our own scripts answer with 40 bytes; the table of a large cluster is
// the longest that is ever asked for. What has no length before it, a line, is a word or an error.
const (
	maxReplyBytes    = 1 << 20
	maxLineBytes     = 1 << 12
	maxReplyElements = 1 << 16
)

// ErrReplyTooLarge is wrapped by the error of an answer that is, or says that it will be, longer than any that a Redis
// gives to this store. go-redis makes room for as many bytes as a reply announces, up to 2 GiB, before any of them came:
// a server that is confused or hostile must not be able to take the memory of Caddy.
var ErrReplyTooLarge = errors.New("the reply is too large")

// boundConn is a connection on which the answer to each request is bounded. It follows the frames of RESP
// (https://redis.io/docs/latest/develop/reference/protocol-spec/) as they come by, and fails the Read that brings a
// length beyond the bounds.
type boundConn struct {
	net.Conn
	frames frames
}

// boundSocket bounds conn and, where it can, leaves its file descriptor within reach: the pool looks there, before it
// uses a connection again, for bytes that nobody asked for.
func boundSocket(conn net.Conn) net.Conn {
	bound := &boundConn{Conn: conn}
	if raw, ok := conn.(syscall.Conn); ok {
		return struct {
			*boundConn
			syscall.Conn
		}{bound, raw}
	}
	return bound
}

// Write sends a request. The bounds begin anew.
func (c *boundConn) Write(p []byte) (int, error) {
	c.frames.budget()
	return c.Conn.Write(p)
}

// Read receives a part of an answer.
func (c *boundConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if tooLarge := c.frames.follow(p[:n]); tooLarge != nil {
		return 0, tooLarge
	}
	return n, err
}

// frames is where a stream of RESP stands.
type frames struct {
	bytes    int    // received since the last request
	elements int    // announced since the last request
	skip     int    // bytes of a bulk string, with its CRLF, that are still to come
	line     []byte // the beginning of the line that is not complete yet: its type and its number
	length   int    // of that line
}

// maxHeader is the longest line that can be a length: the type and the digits of an int64. Of longer lines, which are
// texts, only as much is held.
const maxHeader = 24

// budget begins the bounds anew.
func (f *frames) budget() { f.bytes, f.elements = 0, 0 }

// follow takes the bytes that came.
func (f *frames) follow(p []byte) error {
	f.bytes += len(p)
	if f.bytes > maxReplyBytes {
		return ErrReplyTooLarge
	}
	for len(p) > 0 {
		if f.skip > 0 {
			n := min(f.skip, len(p))
			f.skip, p = f.skip-n, p[n:]
			continue
		}
		b := p[0]
		p = p[1:]
		if b != '\n' {
			if f.length++; f.length > maxLineBytes {
				return ErrReplyTooLarge
			}
			if len(f.line) < maxHeader {
				f.line = append(f.line, b)
			}
			continue
		}
		if err := f.header(f.line); err != nil {
			return err
		}
		f.line, f.length = f.line[:0], 0
	}
	return nil
}

// header looks at one line, without its line feed.
func (f *frames) header(line []byte) error {
	if len(line) < 2 {
		return nil
	}
	if len(line) == maxHeader && strings.IndexByte("$!=*~>%|", line[0]) >= 0 {
		return ErrReplyTooLarge // a length with more digits than any has
	}
	number := line[1:]
	if number[len(number)-1] == '\r' {
		number = number[:len(number)-1]
	}
	n, err := strconv.Atoi(string(number))
	length := err == nil && n >= 0
	switch line[0] {
	case '$', '!', '=': // strings
		if !length {
			return nil // not a length, or that of nothing: go-redis refuses the one and waits for no bytes after the other
		}
		if n > maxReplyBytes-f.bytes {
			return ErrReplyTooLarge
		}
		f.skip = n + len("\r\n")
	case '*', '~', '>', '%', '|': // arrays, sets, pushes, maps, attributes
		if !length {
			return nil
		}
		if n > maxReplyElements-f.elements {
			return ErrReplyTooLarge
		}
		f.elements += n
	}
	return nil
}
