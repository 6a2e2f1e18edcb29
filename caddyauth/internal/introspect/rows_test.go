package introspect

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// TestKnownAttacks has one subtest for each known attack on introspection, under its name.
func TestKnownAttacks(t *testing.T) {
	// judged says what the answers about a token come to.
	judged := func(expected verdict.Reason, documents ...string) func(t *testing.T) {
		return func(t *testing.T) {
			for _, document := range documents {
				s := newServer(t, says("%s", document))
				want(t, open(t, s.config(newHands())), "token", expected)
			}
		}
	}
	h := newHands()

	t.Run("in-active", func(t *testing.T) {
		s := newServer(t, says(`{"active":true,"exp":%d,"scope":"hooks:read hooks:write","sub":"ringostat"}`, h.in(time.Hour)))
		c := open(t, s.config(h))
		answer, err := c.Check(t.Context(), "token")
		if err != nil || answer.Subject != "ringostat" || len(answer.Scopes) != 2 || answer.Scopes[1] != "hooks:write" {
			t.Errorf("%+v, %v", answer, err)
		}
	})
	t.Run("in-inactive", judged(verdict.BadSignature, `{"active":false}`, `{"active":false,"exp":99999999999}`))
	t.Run("in-active-missing", judged(verdict.BadSignature, `{}`, `{"sub":"x"}`, `{"active":null}`, `{"active":"true"}`, `{"active":1}`, `{"active":[true]}`))
	t.Run("in-active-case", judged(verdict.BadSignature, `{"Active":true}`, `{"ACTIVE":true}`, `{"active ":true}`, `{"active":false,"Active":true}`))
	t.Run("in-active-dup", judged(verdict.BadSignature, `{"active":false,"active":true}`, `{"active":true,"active":false}`,
		`{"active":true,"active":true}`, `{"active":true,"\u0061ctive":false}`))
	t.Run("in-as-401", func(t *testing.T) {
		for _, code := range []int{401, 403} {
			s := newServer(t, func(w http.ResponseWriter, _ string) {
				w.WriteHeader(code)
				_, _ = io.WriteString(w, `{"active":true}`)
			})
			_, err := open(t, s.config(h)).Check(t.Context(), "token")
			if got := verdict.Of(err); got == nil || got.Reason != verdict.Unavailable || !strings.Contains(got.Detail, "our own client_id") {
				t.Errorf("status %d: %v", code, err)
			}
		}
	})
	t.Run("in-as-refused", func(t *testing.T) {
		s := newServer(t, says(`{"active":true}`))
		s.Close()
		want(t, open(t, s.config(h)), "token", verdict.Unavailable)
	})
	t.Run("in-as-drip-huge", func(t *testing.T) {
		s := newServer(t, func(w http.ResponseWriter, _ string) {
			_, _ = io.WriteString(w, `{"active":true,"x":"`)
			for range 1600 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		})
		want(t, open(t, s.config(h)), "token", verdict.Unavailable)
		drip(t)
	})
	t.Run("in-exp-past", judged(verdict.Expired, fmt.Sprintf(`{"active":true,"exp":%d}`, h.in(-time.Second)),
		fmt.Sprintf(`{"active":true,"exp":%d}`, h.in(0)), `{"active":true,"exp":0}`, `{"active":true,"exp":0.5}`))
	t.Run("in-nbf-future", func(t *testing.T) {
		s := newServer(t, says(`{"active":true,"nbf":%d}`, h.in(10*time.Second)))
		config := s.config(h)
		want(t, open(t, config), "token", verdict.NotYetValid)
		config.Leeway = 10 * time.Second
		want(t, open(t, config), "token", verdict.OK)
	})
	t.Run("in-cache-scope", func(t *testing.T) {
		// The scope is the caller's to judge, from an answer that is the same on every route; routes of different
		// policies share none at all.
		s := newServer(t, says(`{"active":true,"scope":"foo"}`))
		config := s.config(h)
		a := open(t, config)
		want(t, a, "token", verdict.OK)
		answer, err := a.Check(t.Context(), "token")
		if err != nil || len(answer.Scopes) != 1 || answer.Scopes[0] != "foo" || s.calls.Load() != 1 {
			t.Errorf("%+v, %v, %d calls", answer, err, s.calls.Load())
		}
		config.Policy = "bar"
		b := open(t, config)
		for _, other := range []func(*Config){
			func(c *Config) { c.Policy = "" }, func(c *Config) { c.URL += "/" }, func(c *Config) { c.ClientID += "x" },
			func(c *Config) { c.ClientID, c.Policy = "caddyb", "ar" },
		} {
			changed := config
			other(&changed)
			if b.key("token") == open(t, changed).key("token") {
				t.Errorf("%+v shares answers with another policy", changed.Policy)
			}
		}
		if b.key("token") == b.key("tokem") {
			t.Error("two tokens share an answer")
		}
	})
	t.Run("in-cache-ttl", func(t *testing.T) {
		h := newHands()
		s := newServer(t, says(`{"active":true,"exp":%d}`, h.in(5*time.Second)))
		c := open(t, s.config(h))
		want(t, c, "token", verdict.OK)
		h.move(4999 * time.Millisecond)
		want(t, c, "token", verdict.OK)
		if s.calls.Load() != 1 {
			t.Errorf("%d calls", s.calls.Load())
		}
		h.move(time.Millisecond)
		want(t, c, "token", verdict.Expired)
		if s.calls.Load() != 2 {
			t.Error("an answer is kept past the token's exp")
		}
	})
	t.Run("in-cache-revoked", func(t *testing.T) {
		h := newHands()
		s := newServer(t, says(`{"active":true}`))
		c := open(t, s.config(h))
		want(t, c, "token", verdict.OK)
		s.serve(says(`{"active":false}`))
		h.move(time.Minute - 1)
		want(t, c, "token", verdict.OK)
		h.move(1)
		want(t, c, "token", verdict.BadSignature)
		config := s.config(h)
		config.Cache = 0
		s.serve(says(`{"active":true}`))
		uncached := open(t, config)
		want(t, uncached, "token", verdict.OK)
		s.serve(says(`{"active":false}`))
		want(t, uncached, "token", verdict.BadSignature)
		if DefaultCache > time.Minute {
			t.Error("a revoked token lives for more than a minute")
		}
	})
	t.Run("in-cache-negative", func(t *testing.T) {
		h := newHands()
		s := newServer(t, says(`{"active":false}`))
		c := open(t, s.config(h))
		want(t, c, "token", verdict.BadSignature)
		s.serve(says(`{"active":true}`))
		want(t, c, "token", verdict.BadSignature)
		h.move(5 * time.Second)
		want(t, c, "token", verdict.OK)
	})
	t.Run("in-cache-key", func(t *testing.T) {
		good := strings.Repeat("p", 16) + "good" + strings.Repeat("s", 16)
		s := newServer(t, func(w http.ResponseWriter, token string) { _, _ = fmt.Fprintf(w, `{"active":%t}`, token == good) })
		c := open(t, s.config(h))
		want(t, c, good, verdict.OK)
		want(t, c, strings.Replace(good, "good", "evil", 1), verdict.BadSignature)
		want(t, c, good, verdict.OK)
		want(t, c, good[:20], verdict.BadSignature)
		want(t, c, good+"=", verdict.BadSignature)
		want(t, c, strings.ToUpper(good), verdict.BadSignature)
	})
	t.Run("in-cache-flood", func(t *testing.T) {
		s := newServer(t, func(w http.ResponseWriter, token string) { _, _ = fmt.Fprintf(w, `{"active":%t}`, token == "good") })
		c := open(t, s.config(h))
		want(t, c, "good", verdict.OK)
		c.inactive.maxEntries = 100
		for n := range 500 {
			want(t, c, fmt.Sprint("made-up-", n), verdict.BadSignature)
		}
		c.mu.Lock()
		if len(c.inactive.entries) > 100 || len(c.active.entries) != 1 || len(c.asked) != 0 {
			t.Errorf("%d inactive tokens and %d active ones are remembered", len(c.inactive.entries), len(c.active.entries))
		}
		c.mu.Unlock()
		before := s.calls.Load()
		want(t, c, "good", verdict.OK)
		if s.calls.Load() != before {
			t.Error("made-up tokens pushed a good one out")
		}
	})
	t.Run("in-singleflight", func(t *testing.T) {
		release := make(chan struct{})
		s := newServer(t, func(w http.ResponseWriter, token string) {
			<-release
			_, _ = fmt.Fprintf(w, `{"active":%t,"sub":%s}`, token == "A", quoted(token))
		})
		c := open(t, s.config(h))
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				if answer, err := c.Check(t.Context(), "A"); err != nil || answer.Subject != "A" {
					t.Errorf("%+v, %v", answer, err)
				}
			})
			all.Go(func() { want(t, c, "B", verdict.BadSignature) })
		}
		close(release)
		all.Wait()
		if s.calls.Load() != 2 {
			t.Errorf("%d calls", s.calls.Load())
		}
	})
	t.Run("in-form-encoding", func(t *testing.T) {
		s := newServer(t, func(w http.ResponseWriter, token string) { _, _ = fmt.Fprintf(w, `{"active":%t}`, token == "good") })
		c := open(t, s.config(h))
		for _, token := range []string{"x&active=true&token=good", "good%00", "a+b", "a b", "%67ood", "good&token=x", "токен", "a\r\nb;c=d"} {
			want(t, c, token, verdict.BadSignature)
			if form := s.last.PostForm; len(form) != 2 || len(form["token"]) != 1 || form.Get("token") != token || s.last.URL.RawQuery != "" {
				t.Errorf("%q was sent as %v", token, form)
			}
		}
	})
	t.Run("in-empty-long-token", func(t *testing.T) {
		s := newServer(t, says(`{"active":true}`))
		c := open(t, s.config(h))
		for _, token := range []string{"", strings.Repeat("x", 8<<10+1), strings.Repeat("x", 100<<10)} {
			want(t, c, token, verdict.BadCredential)
		}
		if s.calls.Load() != 0 {
			t.Error("the server was asked")
		}
		want(t, c, strings.Repeat("x", 8<<10), verdict.OK)
	})
	t.Run("in-token-logged", func(t *testing.T) {
		// reason holds every error to this; here is the client as a whole.
		s := newServer(t, says(`{"active":false}`))
		config := s.config(h)
		c := open(t, config)
		want(t, c, "a-token-that-nobody-may-read", verdict.BadSignature)
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if text := fmt.Sprintf(verb, config); strings.Contains(text, clientSecret) {
				t.Errorf("%s shows the client secret", verb)
			}
		}
	})
}

// drip says that an answer of a byte a second is given up in time.
func drip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{
			URL: "https://idp.example.com/introspect", ClientID: clientID, ClientSecret: secret.New("1", []byte(clientSecret)),
			Client: &http.Client{Transport: dripping{}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		start := time.Now()
		want(t, c, "token", verdict.Unavailable)
		if took := time.Since(start); took != timeout {
			t.Errorf("given up after %s", took)
		}
	})
}

// dripping is a server that never comes to an end.
type dripping struct{}

func (dripping) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(dripReader{r})}, nil
}

type dripReader struct{ r *http.Request }

func (d dripReader) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	case <-d.r.Context().Done():
		return 0, d.r.Context().Err()
	}
}
