package jwks

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/goleak"
)

// TestKnownAttacks has one subtest for each known attack on key sets, under its name.
func TestKnownAttacks(t *testing.T) {
	one := ec(t, "one")
	// start gives an issuer who publishes one key, and a set that has fetched it.
	start := func(t *testing.T) (*issuer, *Set, *hands) {
		h := newHands()
		i := newIssuer(t, text(set(one)))
		s := open(t, Config{JWKS: i.URL, Now: h.now})
		want(t, s, token("one"), verdict.OK)
		return i, s, h
	}
	// kept says that an answer replaces nothing.
	kept := func(result Result, answers ...http.HandlerFunc) func(t *testing.T) {
		return func(t *testing.T) {
			i, s, h := start(t)
			for _, answer := range answers {
				i.serve(answer)
				h.move(31 * time.Second)
				want(t, s, token("other"), verdict.Unavailable)
				want(t, s, token("one"), verdict.OK)
				if got := s.Health().LastResult; got != result {
					t.Errorf("result %q, want %q", got, result)
				}
			}
		}
	}
	// skipped says that keys are not used, while a good one beside them is.
	skipped := func(keys ...object) func(t *testing.T) {
		return func(t *testing.T) {
			for _, key := range keys {
				i := newIssuer(t, text(set(key, one)))
				s := open(t, Config{JWKS: i.URL, Now: newHands().now})
				want(t, s, token("bad"), verdict.UnknownKey)
				want(t, s, token("one"), verdict.OK)
				if got := s.Health(); got.Keys != 1 || len(got.Skipped) != 1 {
					t.Errorf("%v: %+v", key, got)
				}
			}
		}
	}
	bad := ec(t, "bad")

	t.Run("jwks-unknown-kid-flood", func(t *testing.T) {
		i, s, h := start(t)
		for n := range 1000 {
			want(t, s, token(fmt.Sprint("made-up-", n)), verdict.UnknownKey)
			want(t, s, token("one"), verdict.OK)
			h.move(5 * time.Millisecond)
		}
		if got := i.calls.Load(); got > 2 {
			t.Errorf("%d fetches", got)
		}
	})
	t.Run("jwks-badsig-known-kid-flood", func(t *testing.T) {
		i, s, h := start(t)
		for range 1000 {
			want(t, s, token("one"), verdict.OK)
			h.move(5 * time.Millisecond)
		}
		if got := i.calls.Load(); got != 1 {
			t.Errorf("%d fetches", got)
		}
	})
	t.Run("jwks-down-later", func(t *testing.T) {
		i, s, h := start(t)
		i.Close()
		for range 23 {
			h.move(time.Hour)
			want(t, s, token("one"), verdict.OK)
			want(t, s, token("other"), verdict.Unavailable)
		}
		h.move(time.Hour + time.Second)
		want(t, s, token("one"), verdict.Unavailable)
		want(t, s, token("other"), verdict.Unavailable)
	})
	t.Run("jwks-slow-30s", slow)
	t.Run("jwks-drip", drip)
	t.Run("jwks-gzip-bomb", kept("too_large",
		func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.Copy(z, io.LimitReader(zeros{}, 64<<20))
			_ = z.Close()
		},
		func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, io.LimitReader(zeros{}, maxDocument+1))
		},
	))
	t.Run("jwks-10k-keys", func(t *testing.T) {
		many := make([]object, 10_000)
		for n := range many {
			many[n] = object{"kty": "RSA", "kid": fmt.Sprint(n)}
		}
		kept("too_many_keys", text(set(many...)))(t)
	})
	t.Run("jwks-html-200", kept("invalid", text("<!DOCTYPE html><title>Log in</title>")))
	t.Run("jwks-500-204-304", kept("status", status(500, set(bad)), status(204, ""), status(304, ""), status(201, set(bad))))
	t.Run("jwks-truncated", kept("invalid", text(set(one, bad)[:200])))
	t.Run("jwks-trailing", kept("invalid", text(set(one)+set(bad))))
	t.Run("jwks-empty-set", func(t *testing.T) {
		i, s, h := start(t)
		i.serve(text(set()))
		h.move(31 * time.Second)
		want(t, s, token("other"), verdict.UnknownKey)
		want(t, s, token("one"), verdict.UnknownKey)
		want(t, s, token(""), verdict.UnknownKey)
		if calls := i.calls.Load(); calls != 2 {
			t.Errorf("%d fetches: an empty answer must hold the next one off too", calls)
		}
	})
	t.Run("jwks-keys-null", kept("invalid", text(`{"keys":null}`), text(`{}`), text(`[]`), text(`null`), text(``),
		text(`{"keys":{}}`), text(`{"keys":[],"keys":[]}`), text(`{"Keys":[]}`)))
	t.Run("jwks-key-removed", func(t *testing.T) {
		i, s, h := start(t)
		i.serve(text(set(bad)))
		h.move(youth)
		_ = reason(t, s, token("one")) // may still serve: this one asks for the refresh
		settled(t, s)
		want(t, s, token("one"), verdict.UnknownKey)
		want(t, s, token("bad"), verdict.OK)
	})
	t.Run("jwks-key-added", func(t *testing.T) {
		i, s, h := start(t)
		i.serve(text(set(one, ec(t, "two"))))
		want(t, s, token("one"), verdict.OK)
		want(t, s, token("two"), verdict.OK)
		i.serve(text(set(one, ec(t, "three"))))
		want(t, s, token("three"), verdict.UnknownKey)
		want(t, s, token("one"), verdict.OK)
		h.move(30 * time.Second)
		want(t, s, token("three"), verdict.OK)
	})
	t.Run("jwks-dup-kid", skipped2(one, bad, ec(t, "bad")))
	t.Run("jwks-redirect-loop", kept("status", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
	}))
	t.Run("jwks-http-url-config", func(t *testing.T) {
		for _, u := range []string{
			"http://idp.example.com/jwks", "http://127.0.0.1.example.com/jwks", "http://localhost.example.com/", "http://10.0.0.1/jwks",
			"http://0.0.0.0/jwks", "ftp://idp.example.com/jwks", "//idp.example.com/jwks", "idp.example.com/jwks", "https:///jwks", "https:idp",
			"https://user:pass@idp.example.com/jwks", "https://idp.example.com/jwks#key", "https://idp.example.com/#", "https://idp.example.com:port/",
			"file:///etc/passwd", "http://[::2]/", "http://2130706433/", "https://idp example/",
		} {
			for _, config := range []Config{{JWKS: u}, {Metadata: u}} {
				if s, err := New(config); err == nil {
					s.Close()
					t.Errorf("%+v is taken", config)
				} else if strings.Contains(err.Error(), "pass@") {
					t.Errorf("the error shows the URL: %v", err)
				}
			}
		}
		for _, u := range []string{
			"https://idp.example.com/jwks?p=policy", "http://127.0.0.1:1/jwks", "http://[::1]/jwks", "http://localhost:1/jwks", "HTTPS://IDP.example.com",
			"https://10.0.0.1/jwks", "http://[::ffff:127.0.0.1]/",
		} {
			s, err := New(Config{JWKS: u})
			if err != nil {
				t.Errorf("%s: %v", u, err)
				continue
			}
			s.Close()
		}
	})
	t.Run("jwks-private-part", func(t *testing.T) {
		i := newIssuer(t, text(set(one.with("d", "c2VjcmV0"))))
		s := open(t, Config{JWKS: i.URL})
		want(t, s, token("one"), verdict.OK)
		if h := s.Health(); h.Private != 1 {
			t.Errorf("%+v: nobody is told", h)
		}
	})
	t.Run("jwks-use-enc", skipped(bad.with("use", "enc"), bad.with("use", "SIG")))
	t.Run("jwks-key-ops", skipped(bad.with("key_ops", []string{"encrypt"}), bad.with("key_ops", []string{}),
		bad.with("key_ops", "verify"), bad.with("key_ops", nil), bad.with("use", "sig").with("key_ops", []string{"sign"})))
	t.Run("jwks-ec-infinity-short", skipped(
		bad.with("x", "").with("y", ""), bad.with("x", ""), bad.with("x", "AA").with("y", "AA"),
		bad.with("x", strings.Repeat("A", 43)).with("y", strings.Repeat("A", 43)), bad.with("x", "AA"+bad["x"].(string)),
		bad.with("x", bad["x"].(string)+"="), bad.with("x", bad["x"].(string)[:42]), bad.with("x", strings.Repeat("_", 42)+"8"),
		bad.with("y", bad["x"]), bad.with("y", bad["y"].(string)+"\n"), bad.with("y", 1)))
	t.Run("jwks-ec-crv-alg-mismatch", skipped(bad.with("alg", "ES384"), bad.with("alg", "RS256"), bad.with("alg", "HS256"),
		bad.with("alg", "none"), bad.with("alg", ""), bad.with("alg", "es256"), bad.with("crv", "P-384"), bad.with("crv", "secp256k1")))
	t.Run("jwks-one-bad-key", skipped(bad.with("kty", "PQ"), object{"kid": "bad"}, object{"kty": 1}, bad.with("crv", nil),
		object{"kty": "oct", "kid": "bad", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}))
	t.Run("jwks-kid-nonstring", skipped(bad.with("kid", 1), bad.with("kid", nil), bad.with("kid", []string{"bad"})))
	t.Run("jwks-many-issuers", func(t *testing.T) {
		release := make(chan struct{})
		t.Cleanup(func() { close(release) })
		hanging := newIssuer(t, func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		})
		good := newIssuer(t, text(set(one)))
		stuck := open(t, Config{JWKS: hanging.URL})
		var waiting sync.WaitGroup
		waiting.Go(func() { _ = reason(t, stuck, token("one")) })
		for range 49 {
			want(t, open(t, Config{JWKS: good.URL}), token("one"), verdict.OK)
		}
		stuck.Close()
		waiting.Wait()
	})
	t.Run("jwks-discovery-issuer-mismatch", func(t *testing.T) {
		i := newIssuer(t, nil)
		i.serve(metadataOf("https://other.example.com", i.URL+"/jwks", set(one)))
		s := open(t, Config{Issuer: i.URL})
		want(t, s, token("one"), verdict.Unavailable)
		if got := s.Health().LastResult; got != WrongIssuer || i.calls.Load() != 1 {
			t.Errorf("%s after %d calls", got, i.calls.Load())
		}
	})
	t.Run("jwks-discovery-jwks-uri-evil", func(t *testing.T) {
		canary := newIssuer(t, text(set(one)))
		for _, evil := range []string{
			"http://idp.example.com/jwks", canary.URL, strings.Replace(canary.URL, "http:", "https:", 1), "https://localhost/",
			"file:///etc/passwd", "https://a:b@idp.example.com/", "/jwks", "https://idp.example.com/#x",
		} {
			client, stop := piped(metadataOf("https://idp.example.com", evil, set(one)))
			s := open(t, Config{Issuer: "https://idp.example.com", Client: plaintext(client)})
			want(t, s, token("one"), verdict.Unavailable)
			if got := s.Health().LastResult; got != RefusedURL {
				t.Errorf("%s: %s", evil, got)
			}
			stop()
		}
		if canary.calls.Load() != 0 {
			t.Error("this machine was called")
		}
	})
	t.Run("jwks-reload-leak", func(t *testing.T) {
		i := newIssuer(t, text(set(one)))
		before := goleak.IgnoreCurrent()
		for range 1000 {
			s, err := New(Config{JWKS: i.URL})
			if err != nil {
				t.Fatal(err)
			}
			want(t, s, token("one"), verdict.OK)
			s.Close()
		}
		i.CloseClientConnections()
		goleak.VerifyNone(t, before)
	})
	t.Run("jwks-reload-fail-leak", func(t *testing.T) {
		before := runtime.NumGoroutine()
		for range 100 {
			s, err := New(Config{JWKS: "https://idp.example.com/jwks"})
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			s.Close()
		}
		if after := runtime.NumGoroutine(); after > before {
			t.Errorf("%d goroutines, %d before", after, before)
		}
	})
}

// skipped2 says that two keys under one id are both out of use, while others work.
func skipped2(good object, twins ...object) func(t *testing.T) {
	return func(t *testing.T) {
		i := newIssuer(t, text(set(append(twins, good)...)))
		s := open(t, Config{JWKS: i.URL})
		want(t, s, token("bad"), verdict.UnknownKey)
		want(t, s, token("one"), verdict.OK)
		if keys, err := s.Keys(t.Context(), &jose.Token{Algorithm: "ES256"}); err != nil || len(keys) != 1 {
			t.Errorf("%d keys for a token without id: %v", len(keys), err)
		}
	}
}

// metadataOf serves provider metadata, and keys at every other path.
func metadataOf(issuer, keysAt, keys string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "-configuration") {
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"extra":[1]}`, issuer, keysAt)
			return
		}
		_, _ = io.WriteString(w, keys)
	}
}

// plaintext lets a client call https URLs of servers that speak plain HTTP.
func plaintext(client *http.Client) *http.Client {
	transport := client.Transport.(*http.Transport)
	transport.DialTLSContext = transport.DialContext
	return client
}

// zeros is a body without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
