package jwks

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	jwk "github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// object is a JSON object in the making.
type object map[string]any

// with returns a copy of o with one member more, or another value of it.
func (o object) with(name string, value any) object {
	copied := object{name: value}
	for n, v := range o {
		if n != name {
			copied[n] = v
		}
	}
	return copied
}

// public gives the JWK of a public key as an object.
func public(t testing.TB, key crypto.PublicKey, id string) object {
	t.Helper()
	text, err := json.Marshal(jwk.JSONWebKey{Key: key, KeyID: id})
	if err != nil {
		t.Fatal(err)
	}
	var o object
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	return o
}

// ec makes a P-256 key.
func ec(t testing.TB, id string) object { return curve(t, elliptic.P256(), id) }

func curve(t testing.TB, c elliptic.Curve, id string) object {
	t.Helper()
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return public(t, key.Public(), id)
}

func ed(t testing.TB, id string) object {
	t.Helper()
	key, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return public(t, key, id)
}

// anRSA is one key for all tests that need any.
var anRSA = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// set gives a JWK Set document.
func set(keys ...object) string {
	if keys == nil {
		keys = []object{}
	}
	text, err := json.Marshal(object{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// hands is a clock whose hands a test moves.
type hands struct{ at atomic.Int64 }

func newHands() *hands {
	h := &hands{}
	h.at.Store(time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC).UnixNano())
	return h
}

func (h *hands) now(context.Context) time.Time { return time.Unix(0, h.at.Load()) }
func (h *hands) move(d time.Duration)          { h.at.Add(int64(d)) }

// issuer is a server of keys whose answer a test changes, and that counts what it is asked.
type issuer struct {
	*httptest.Server
	calls  atomic.Int64
	answer atomic.Pointer[http.HandlerFunc]
}

func newIssuer(t testing.TB, answer http.HandlerFunc) *issuer {
	t.Helper()
	i := &issuer{}
	i.serve(answer)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.calls.Add(1)
		(*i.answer.Load())(w, r)
	}))
	t.Cleanup(i.Server.Close)
	return i
}

func (i *issuer) serve(answer http.HandlerFunc) { i.answer.Store(&answer) }

// text answers with a document.
func text(document string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(document)) }
}

// status answers with a status and a document of keys.
func status(code int, document string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		if code != http.StatusNoContent && code != http.StatusNotModified {
			_, _ = w.Write([]byte(document))
		}
	}
}

// open makes a set that is closed with the test.
func open(t testing.TB, config Config) *Set {
	t.Helper()
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// token is one that names a key.
func token(id string) *jose.Token { return &jose.Token{Algorithm: "ES256", KeyID: id} }

// reason gives the reason for which a set has no keys for a token; OK where it has.
func reason(t testing.TB, s *Set, token *jose.Token) verdict.Reason {
	t.Helper()
	keys, err := s.Keys(t.Context(), token)
	if err == nil {
		if len(keys) == 0 {
			t.Fatal("neither keys nor an error")
		}
		return verdict.OK
	}
	var refusal *verdict.Error
	if !errors.As(err, &refusal) || len(keys) != 0 {
		t.Fatalf("keys %v with the error %v", keys, err)
	}
	return refusal.Reason
}

// want fails the test where a token does not come to a reason.
func want(t testing.TB, s *Set, token *jose.Token, expected verdict.Reason) {
	t.Helper()
	if got := reason(t, s, token); got != expected {
		t.Errorf("token under %q by %s: %s, want %s; %+v", token.KeyID, token.Algorithm, got, expected, s.Health())
	}
}

// settled waits until no fetch is under way.
func settled(t testing.TB, s *Set) {
	t.Helper()
	s.mu.Lock()
	f := s.fetching
	joined := f != nil && f.Join()
	s.mu.Unlock()
	if joined {
		_ = f.Wait(t.Context())
	}
}

// pipes listens where only this process can call, so that a test can run server and client by a clock of its own.
type pipes struct {
	calls chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.calls:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }

// piped serves handler over pipes and returns a client that reaches nothing else. stop ends it.
func piped(handler http.HandlerFunc) (client *http.Client, stop func()) {
	listener := &pipes{calls: make(chan net.Conn), done: make(chan struct{})}
	server := &http.Server{Handler: handler}
	go func() { _ = server.Serve(listener) }()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		here, there := net.Pipe()
		select {
		case listener.calls <- there:
			return here, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}, func() { _ = server.Close() }
}
