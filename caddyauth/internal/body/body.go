// Package body reads the body of a request whole, within bounds, and puts back exactly what it read.
package body

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// Within is how long a body may take to arrive, from when it is first wanted. Senders give up sooner: Vonage after 5 s,
// most others after 15 s. Without it, slow bodies would hold memory for as long as their sender likes.
const Within = 10 * time.Second

// The most, in bytes, that is set aside before a body comes, and once so much of it is there: who announces a long one and
// sends nothing makes us hold little.
const (
	before   = 64 << 10
	reserved = 1 << 20
)

// Capture reads r's body, at most limit bytes of it, and puts the same bytes back for the next reader, with
// Content-Length set to their number. The bytes are those on the wire: nothing is decompressed.
//
// A body over the limit is verdict.TooLarge, where its length is announced before a byte of it is read. One shorter
// than announced, or broken, is verdict.Malformed, and so is, with status 408, one that takes longer than within, which
// is without bound where it is 0. On an error r's body gives what was read, then the rest or the same failure, so that
// it still stands for what was sent.
//
// The bytes are not to be used after Release of r's body.
func (b *Buffers) Capture(w http.ResponseWriter, r *http.Request, limit int64, within time.Duration) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		// Whatever comes all the same, HTTP/2's trailers among it, nobody has verified.
		r.Body, r.Trailer = http.NoBody, nil
		return nil, nil
	}
	if r.ContentLength > limit {
		return nil, verdict.Errorf(verdict.TooLarge, "a body of %d bytes; max_body is %d", r.ContentLength, limit)
	}

	// Not every connection has deadlines (a recorder in a test has none); the server's own timeouts hold all the same.
	slow := b.begin(w, within)

	original := r.Body
	pool, memory := b.get(min(r.ContentLength, before))
	buffer := bytes.NewBuffer((*memory)[:0])
	var err error
	if r.ContentLength > before {
		if _, err = buffer.ReadFrom(io.LimitReader(original, before)); buffer.Len() == before {
			begun, small, first := buffer.Bytes(), pool, memory
			pool, memory = b.get(r.ContentLength)
			buffer = bytes.NewBuffer(append((*memory)[:0], begun...))
			small.Put(first)
		}
	}
	if err == nil {
		_, err = buffer.ReadFrom(io.LimitReader(original, limit+1-int64(buffer.Len())))
	}
	data := buffer.Bytes()
	failed := err != nil || int64(len(data)) > limit
	switch hasDeadline := b.end(slow); {
	case failed && slow != nil:
		// Before answering, net/http reads what is left of a body, and would wait for a slow one.
		_ = http.NewResponseController(w).SetReadDeadline(slow.until)
	case hasDeadline:
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}

	switch {
	case err != nil:
		r.Body = broken{io.MultiReader(bytes.NewReader(data), failing{err}), original}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, verdict.Errorf(verdict.Malformed, "the body did not arrive within %v", within).WithStatus(http.StatusRequestTimeout)
		}
		if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok { // the site's own request_body limit, which is the smaller one
			return nil, verdict.Errorf(verdict.TooLarge, "a body over the site's limit of %d bytes", tooLarge.Limit)
		}
		return nil, verdict.Errorf(verdict.Malformed, "the body is broken or shorter than announced")
	case int64(len(data)) > limit:
		r.Body = broken{io.MultiReader(bytes.NewReader(data), original), original}
		return nil, verdict.Errorf(verdict.TooLarge, "a body over max_body, which is %d bytes", limit)
	case r.ContentLength > 0 && int64(len(data)) != r.ContentLength: // HTTP/1 and HTTP/2 servers see that themselves, HTTP/3's does not
		r.Body = broken{io.MultiReader(bytes.NewReader(data), failing{io.ErrUnexpectedEOF}), original}
		return nil, verdict.Errorf(verdict.Malformed, "the body is broken or shorter than announced")
	}

	data = slices.Clip(data)
	r.Body = &restored{original: original, data: data, memory: memory, pool: pool}
	r.ContentLength = int64(len(data))
	r.TransferEncoding = nil
	// Trailers came behind what is verified, and some servers take them for headers.
	r.Trailer = nil
	return data, nil
}

// restored is a body that was captured whole. A proxy's transport may go on reading for a moment after the answer is
// there, in a goroutine of its own: so what is read is copied under a lock, and nothing is left to read after Release.
type restored struct {
	original io.Closer

	mu     sync.Mutex
	data   []byte // what is left
	memory *[]byte
	pool   *sync.Pool // where memory came from, if from one
	gone   bool
}

// Read gives the next bytes.
func (b *restored) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.gone:
		return 0, http.ErrBodyReadAfterClose
	case len(b.data) == 0:
		return 0, io.EOF
	}
	n := copy(p, b.data)
	b.data = b.data[n:]
	return n, nil
}

// Close closes the body that was there before.
func (b *restored) Close() error { return b.original.Close() }

// Release gives the memory of a captured body back, once its receiver is done with the request. Any other body stays as
// it is.
func Release(body io.ReadCloser) {
	b, ok := body.(*restored)
	if !ok {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pool == nil || b.gone {
		return
	}
	b.pool.Put(b.memory)
	b.gone, b.data, b.memory = true, nil, nil
}

// Forgo is for a request that is refused before its body was read: HTTP/1 reads what is left of a body before it answers,
// and would wait for a slow one. It takes no longer than within from now, or the connection ends with the answer.
func Forgo(w http.ResponseWriter, r *http.Request, within time.Duration) {
	if r.ProtoMajor != 1 || r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return
	}
	switch r.Body.(type) {
	case *restored, broken: // Capture has read it, or set a deadline of its own
	default:
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(within))
	}
}

// broken reads what was put back and closes what was there.
type broken struct {
	io.Reader
	original io.Closer
}

// Close closes the body that was there before.
func (b broken) Close() error { return b.original.Close() }

// failing fails as the reader did whose place it takes.
type failing struct{ err error }

// Read fails.
func (f failing) Read([]byte) (int, error) { return 0, f.err }
