package jwks

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// failures is every way in which an issuer can fail at once, and what comes of each.
func failures(i *issuer, document string) map[string]struct {
	answer http.HandlerFunc
	result Result
} {
	return map[string]struct {
		answer http.HandlerFunc
		result Result
	}{
		"an answer cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "{")
		}, "unreachable"},
		"a connection that breaks": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "unreachable"},
		"status 500":               {status(500, document), "status"},
		"HTML":                     {text("<html></html>"), "invalid"},
		"a huge answer": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.Copy(w, io.LimitReader(zeros{}, 100<<20))
		}, "too_large"},
		"a redirect to good keys": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/good" {
				_, _ = io.WriteString(w, document)
				return
			}
			http.Redirect(w, r, i.URL+"/good", http.StatusMovedPermanently)
		}, "status"},
	}
}

func TestAnIssuerThatFailsDecidesNothing(t *testing.T) {
	one := ec(t, "one")
	i := newIssuer(t, text(set(one)))
	cases := failures(i, set(one))
	other := func(w http.ResponseWriter, r *http.Request) { metadataOf("https://other", i.URL, set(one))(w, r) }
	good := metadataOf(i.URL, i.URL+"/keys", set(one))
	for _, discovered := range []bool{false, true} {
		config := Config{JWKS: i.URL}
		ok := text(set(one))
		if discovered {
			config, ok = Config{Issuer: i.URL}, good
			cases["another issuer in the metadata"] = struct {
				answer http.HandlerFunc
				result Result
			}{other, WrongIssuer}
			cases["metadata without jwks_uri"] = struct {
				answer http.HandlerFunc
				result Result
			}{text(`{"issuer":"` + i.URL + `"}`), Invalid}
		}
		for name, c := range cases {
			t.Run(name+" at the start", func(t *testing.T) {
				h := newHands()
				config.Now = h.now
				i.serve(c.answer)
				before := i.calls.Load()
				s := open(t, config)
				for range 10 {
					want(t, s, token("one"), verdict.Unavailable)
				}
				if health := s.Health(); health.LastResult != c.result || health.Loaded || i.calls.Load()-before != 1 {
					t.Errorf("%+v after %d calls, want %s after 1", health, i.calls.Load()-before, c.result)
				}
				i.serve(ok)
				h.move(30 * time.Second)
				want(t, s, token("one"), verdict.OK)
			})
			t.Run(name+" later", func(t *testing.T) {
				h := newHands()
				config.Now = h.now
				i.serve(ok)
				s := open(t, config)
				want(t, s, token("one"), verdict.OK)
				i.serve(c.answer)
				h.move(youth)
				want(t, s, token("one"), verdict.OK)
				settled(t, s)
				want(t, s, token("one"), verdict.OK)
				if got := s.Health().LastResult; got != c.result {
					t.Errorf("result %s, want %s", got, c.result)
				}
				before := i.calls.Load()
				for range 10 {
					want(t, s, token("other"), verdict.Unavailable)
				}
				if i.calls.Load() != before {
					t.Error("a failure holds no later fetch off")
				}
				h.move(staleFor - youth)
				want(t, s, token("one"), verdict.OK)
				settled(t, s)
				h.move(time.Second)
				want(t, s, token("one"), verdict.Unavailable)
				i.serve(ok)
				h.move(30 * time.Second)
				want(t, s, token("one"), verdict.OK)
			})
		}
	}
}

func TestAnIssuerThatRefusesConnectionsDecidesNothing(t *testing.T) {
	i := newIssuer(t, nil)
	i.Close()
	for _, config := range []Config{{JWKS: i.URL}, {Metadata: i.URL}, {Issuer: i.URL}} {
		s := open(t, config)
		want(t, s, token("one"), verdict.Unavailable)
		if got := s.Health().LastResult; got != "unreachable" {
			t.Errorf("result %s", got)
		}
		if _, err := s.Issuer(t.Context()); config.Issuer == "" && config.Metadata != "" && verdict.Of(err) == nil {
			t.Error("an issuer that nobody named")
		}
	}
}

// slow says that an issuer who does not answer for half a minute holds up no token under a known key, and others for no
// longer than one fetch may take.
func slow(t *testing.T) {
	document := set(ec(t, "one"))
	synctest.Test(t, func(t *testing.T) {
		var hang atomic.Bool
		client, stop := piped(func(w http.ResponseWriter, r *http.Request) {
			if hang.Load() {
				select {
				case <-time.After(30 * time.Second):
				case <-r.Context().Done():
				}
			}
			_, _ = io.WriteString(w, document)
		})
		defer stop()
		s, err := New(Config{JWKS: "http://127.0.0.1/", Client: client})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		took := func(id string, expected verdict.Reason, most time.Duration) {
			t.Helper()
			start := time.Now()
			want(t, s, token(id), expected)
			if took := time.Since(start); took > most {
				t.Errorf("token under %q took %s", id, took)
			}
		}
		hang.Store(true)
		took("one", verdict.Unavailable, timeout)
		hang.Store(false)
		time.Sleep(pause)
		took("one", verdict.OK, 0)
		hang.Store(true)
		for range 100 {
			time.Sleep(17 * time.Second)
			took("one", verdict.OK, 0)
			took("other", verdict.Unavailable, timeout)
			took("one", verdict.OK, 0)
		}
	})
}

// drip says that an answer of a byte a second is given up in time.
func drip(t *testing.T) {
	document := set(ec(t, "one"))
	synctest.Test(t, func(t *testing.T) {
		client, stop := piped(func(w http.ResponseWriter, r *http.Request) {
			for n := range document {
				if _, err := io.WriteString(w, document[n:n+1]); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				select {
				case <-time.After(time.Second):
				case <-r.Context().Done():
					return
				}
			}
		})
		defer stop()
		s, err := New(Config{JWKS: "http://127.0.0.1/", Client: client})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		start := time.Now()
		want(t, s, token("one"), verdict.Unavailable)
		if took := time.Since(start); took != timeout || s.Health().LastResult != "timeout" {
			t.Errorf("given up after %s: %+v", took, s.Health())
		}
	})
}

func TestAWaitingTokenGivesUpWithItsRequestAndTheFetchGoesOn(t *testing.T) {
	document := set(ec(t, "one"))
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		client, stop := piped(func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			time.Sleep(3 * time.Second)
			_, _ = io.WriteString(w, document)
		})
		defer stop()
		s, err := New(Config{JWKS: "http://127.0.0.1/", Client: client})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := s.Keys(ctx, token("one")); verdict.Of(err) == nil || verdict.Of(err).Reason != verdict.Unavailable {
			t.Errorf("error %v", err)
		}
		if time.Since(start) != time.Second {
			t.Errorf("gave up after %s", time.Since(start))
		}
		want(t, s, token("one"), verdict.OK)
		if time.Since(start) != 3*time.Second || calls.Load() != 1 {
			t.Errorf("%d fetches, %s", calls.Load(), time.Since(start))
		}
	})
}
