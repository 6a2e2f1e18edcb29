package testbed

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Received is one request as the receiver got it.
type Received struct {
	Method, RequestURI, Host string
	Header                   http.Header
	Body                     []byte
	ContentLength            int64
	TransferEncoding         []string
}

// Receiver is the application behind the gate. It answers 200 `received`, unless Answer says otherwise.
type Receiver struct {
	// Addr is where it listens: host:port on loopback.
	Addr string

	mu       sync.Mutex
	answer   http.HandlerFunc
	received []Received
}

// Answer makes it answer with this handler from now on; nil: with the 200.
func (rc *Receiver) Answer(answer http.HandlerFunc) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.answer = answer
}

func (rc *Receiver) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	rc.mu.Lock()
	rc.received = append(rc.received, Received{r.Method, r.RequestURI, r.Host, r.Header.Clone(), body, r.ContentLength, r.TransferEncoding})
	answer := rc.answer
	rc.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	_, _ = io.WriteString(w, "received")
}

// Received returns, and forgets, the requests that have come since it was last called.
func (rc *Receiver) Received() []Received {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	received := rc.received
	rc.received = nil
	return received
}

// NewReceiver starts a receiver for the length of the test.
func NewReceiver(t testing.TB) *Receiver {
	t.Helper()
	rc := new(Receiver)
	server := httptest.NewServer(http.HandlerFunc(rc.serve))
	t.Cleanup(server.Close)
	rc.Addr = server.Listener.Addr().String()
	return rc
}
