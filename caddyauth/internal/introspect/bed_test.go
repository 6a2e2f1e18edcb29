package introspect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	clientID     = "caddy"
	clientSecret = "introspection-client-secret-0123456789"
)

// hands is a clock whose hands a test moves.
type hands struct{ at atomic.Int64 }

func newHands() *hands {
	h := &hands{}
	h.at.Store(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC).UnixNano())
	return h
}

func (h *hands) now(context.Context) time.Time { return time.Unix(0, h.at.Load()) }
func (h *hands) move(d time.Duration)          { h.at.Add(int64(d)) }
func (h *hands) in(d time.Duration) int64      { return h.now(nil).Add(d).Unix() }

// server is an introspection endpoint that counts its calls and keeps the last of them.
type server struct {
	*httptest.Server
	calls  atomic.Int64
	mu     sync.Mutex
	answer func(w http.ResponseWriter, token string)
	last   *http.Request
}

func newServer(t testing.TB, answer func(w http.ResponseWriter, token string)) *server {
	t.Helper()
	s := &server{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.calls.Add(1)
		_ = r.ParseForm()
		s.mu.Lock()
		s.last = r
		answer := s.answer
		s.mu.Unlock()
		answer(w, r.PostForm.Get("token"))
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *server) serve(answer func(w http.ResponseWriter, token string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// says answers with one document, whatever the token.
func says(format string, args ...any) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, _ string) { _, _ = fmt.Fprintf(w, format, args...) }
}

// config is that of a client of s.
func (s *server) config(h *hands) Config {
	return Config{URL: s.URL, ClientID: clientID, ClientSecret: secret.New("1", []byte(clientSecret)), Cache: time.Minute, Now: h.now}
}

// open makes a client that is closed with the test.
func open(t testing.TB, config Config) *Client {
	t.Helper()
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// reason gives the reason for which a token is refused; OK where it is not.
func reason(t testing.TB, c *Client, token string) verdict.Reason {
	t.Helper()
	answer, err := c.Check(t.Context(), token)
	if err == nil {
		if answer == nil || !answer.Active {
			t.Fatalf("a yes with the answer %v", answer)
		}
		return verdict.OK
	}
	var refusal *verdict.Error
	if !errors.As(err, &refusal) || answer != nil {
		t.Fatalf("the answer %v with the error %v", answer, err)
	}
	// Long enough to be no word of ours.
	for _, hidden := range []string{token, clientSecret} {
		if len(hidden) > 12 && strings.Contains(err.Error(), hidden) {
			t.Errorf("the error shows what it must not: %s", err)
		}
	}
	return refusal.Reason
}

// want fails the test where a token does not come to a reason.
func want(t testing.TB, c *Client, token string, expected verdict.Reason) {
	t.Helper()
	if got := reason(t, c, token); got != expected {
		t.Errorf("%s, want %s", got, expected)
	}
}

// quoted gives a string as JSON.
func quoted(text string) string {
	document, _ := json.Marshal(text)
	return string(document)
}
