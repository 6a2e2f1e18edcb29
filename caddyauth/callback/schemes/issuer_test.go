package schemes_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
	jwk "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// issuer is an OpenID provider that a test breaks in any way: it publishes metadata and keys, and answers introspection.
type issuer struct {
	*httptest.Server
	name    string // the issuer that the metadata names
	fetches atomic.Int64

	mu         sync.Mutex
	keys       map[string]*rsa.PrivateKey // published, by kid
	broken     http.HandlerFunc           // answers everything, where it is set
	introspect http.HandlerFunc
	gone       chan struct{}
}

// keyOf gives one key for each kid, for all tests: they take long to make.
var keyOf = func() func(kid string) *rsa.PrivateKey {
	var mu sync.Mutex
	keys := map[string]*rsa.PrivateKey{}
	return func(kid string) *rsa.PrivateKey {
		mu.Lock()
		defer mu.Unlock()
		if keys[kid] == nil {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				panic(err)
			}
			keys[kid] = key
		}
		return keys[kid]
	}
}()

// newIssuer starts an issuer with the key k1. name is what it calls itself; empty: its URL.
func newIssuer(t testing.TB, name string) *issuer {
	t.Helper()
	i := &issuer{name: name, keys: map[string]*rsa.PrivateKey{"k1": keyOf("k1")}, gone: make(chan struct{})}
	i.Server = httptest.NewServer(http.HandlerFunc(i.serve))
	if name == "" {
		i.name = i.URL
	}
	t.Cleanup(func() {
		close(i.gone)
		i.Close()
	})
	return i
}

func (i *issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.fetches.Add(1)
	i.mu.Lock()
	broken, introspect := i.broken, i.introspect
	set := jwk.JSONWebKeySet{}
	for kid, key := range i.keys {
		set.Keys = append(set.Keys, jwk.JSONWebKey{Key: key.Public(), KeyID: kid, Use: "sig"})
	}
	i.mu.Unlock()
	switch {
	case broken != nil:
		broken(w, r)
	case strings.HasSuffix(r.URL.Path, "configuration"):
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.name, "jwks_uri": i.URL + "/keys"})
	case r.URL.Path == "/keys":
		_ = json.NewEncoder(w).Encode(set)
	case r.URL.Path == "/introspect" && introspect != nil:
		introspect(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (i *issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

// metadata is the URL of the issuer's provider metadata.
func (i *issuer) metadata() string { return i.URL + "/.well-known/openid-configuration" }

// token makes a genuine token of five minutes. change adds to its claims, or replaces them; a nil value removes one.
func (i *issuer) token(t testing.TB, change map[string]any) string {
	t.Helper()
	return i.tokenBy(t, "k1", nil, change)
}

// tokenBy makes a token with the key of this kid, whether it is published or not.
func (i *issuer) tokenBy(t testing.TB, kid string, header, change map[string]any) string {
	t.Helper()
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": i.name, "aud": "our-api", "sub": "client-1", "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	made := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
	made.Header["kid"] = kid
	maps.Copy(made.Header, header)
	text, err := made.SignedString(keyOf(kid))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// hook is a callback with this token; none if it is empty.
func hook(token string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/hook", strings.NewReader(`[{"id":"e1"}]`))
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

// impatient is r from a sender who waits for a moment only.
func impatient(t *testing.T, r *http.Request) *http.Request {
	ctx, cancel := context.WithTimeout(r.Context(), 100*time.Millisecond)
	t.Cleanup(cancel)
	return r.WithContext(ctx)
}

// later is r at a later time.
func later(r *http.Request, by time.Duration) *http.Request {
	return r.WithContext(clock.At(r.Context(), time.Now().Add(by)))
}

// undecided wants 503 with Retry-After, and nothing at the receiver.
func undecided(t *testing.T, result testbed.Result) {
	t.Helper()
	expect(t, result, http.StatusServiceUnavailable)
	if result.Header.Get("Retry-After") == "" {
		t.Error("a 503 without Retry-After")
	}
}

// failures are the ways in which an issuer fails, at its metadata and keys or at its introspection endpoint.
func failures(i *issuer) map[string]http.HandlerFunc {
	wait := func(r *http.Request) {
		select {
		case <-i.gone:
		case <-r.Context().Done():
		}
	}
	return map[string]http.HandlerFunc{
		"connections reset": func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err == nil {
				_ = conn.(*net.TCPConn).SetLinger(0)
				_ = conn.Close()
			}
		},
		"hanging": func(_ http.ResponseWriter, r *http.Request) { wait(r) },
		"slow drip": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"active":true,"issuer":"`)
			_ = http.NewResponseController(w).Flush()
			wait(r)
		},
		"500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"HTML": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "<html>please log in</html>")
		},
		"huge": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"active":true,"keys":[],"x":"`+strings.Repeat("x", 2<<20)+`"}`)
		},
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"wrong issuer": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				_, _ = io.WriteString(w, `{"keys":[]}`)
				return
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": "https://other.example", "jwks_uri": i.URL + "/keys"})
		},
	}
}
