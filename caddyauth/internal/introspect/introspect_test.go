package introspect

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

func TestAConfigurationThatCannotWorkIsRefused(t *testing.T) {
	good := Config{URL: "https://idp.example.com/introspect", ClientID: clientID, ClientSecret: secret.New("1", []byte(clientSecret))}
	for name, change := range map[string]func(*Config){
		"no URL":               func(c *Config) { c.URL = "" },
		"plain http elsewhere": func(c *Config) { c.URL = "http://idp.example.com/introspect" },
		"user info":            func(c *Config) { c.URL = "https://a:b@idp.example.com/introspect" },
		"no client_id":         func(c *Config) { c.ClientID = "" },
		"no client_secret":     func(c *Config) { c.ClientSecret = secret.Value{} },
		"another client_auth":  func(c *Config) { c.Auth = "none" },
		"a negative cache":     func(c *Config) { c.Cache = -1 },
		"a negative leeway":    func(c *Config) { c.Leeway = -1 },
	} {
		config := good
		change(&config)
		if _, err := New(config); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	open(t, good)
}

func TestTheClientAuthenticatesItselfInTheHeaderOrTheBody(t *testing.T) {
	h := newHands()
	id, code := "a:b c", "p%&=+:ä-0123456789-0123456789-0123456789"
	s := newServer(t, says(`{"active":true}`))
	config := s.config(h)
	config.ClientID, config.ClientSecret = id, secret.New("1", []byte(code))
	for _, auth := range []Auth{"", Basic} {
		config.Auth = auth
		want(t, open(t, config), "token", verdict.OK)
		user, password, ok := s.last.BasicAuth()
		gotID, _ := url.QueryUnescape(user)
		gotCode, _ := url.QueryUnescape(password)
		if !ok || gotID != id || gotCode != code || len(s.last.PostForm) != 2 {
			t.Errorf("sent as %v with the header %v", s.last.PostForm, ok)
		}
	}
	config.Auth = Body
	want(t, open(t, config), "token", verdict.OK)
	form := s.last.PostForm
	if _, _, ok := s.last.BasicAuth(); ok || form.Get("client_id") != id || form.Get("client_secret") != code || len(form) != 4 {
		t.Errorf("sent as %v with the header %v", len(form), ok)
	}
	r := s.last
	if r.Method != http.MethodPost || r.Header.Get("Accept") != "application/json" ||
		r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || len(r.Header["Idempotency-Key"]) != 0 {
		t.Errorf("%s %v", r.Method, r.Header.Get("Content-Type"))
	}
}

func TestAServerThatFailsDecidesNothing(t *testing.T) {
	good := says(`{"active":true}`)
	answered := func(code int) func(http.ResponseWriter, string) {
		return func(w http.ResponseWriter, _ string) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
			if code >= 200 && code != 204 && code != 304 {
				_, _ = io.WriteString(w, `{"active":true}`)
			}
		}
	}
	for name, answer := range map[string]func(http.ResponseWriter, string){
		"500": answered(500), "201": answered(201), "204": answered(204), "302": answered(302), "307": answered(307), "429": answered(429),
		"HTML": says("<html>"), "nothing": says(""), "text": says("active"), "a list": says(`[{"active":true}]`), "a boolean": says("true"),
		"two answers": says(`{"active":true}{"active":true}`), "half an answer": says(`{"active":true`), "a comment": says(`{"active":true}//`),
		"bytes that are no text":  says("{\"active\":true,\"sub\":\"\xff\"}"),
		"more than 64 KiB":        says(`{"active":true,"x":"%065536d"}`, 0),
		"a broken connection":     func(http.ResponseWriter, string) { panic(http.ErrAbortHandler) },
		"an exp that is text":     says(`{"active":true,"exp":"1700000000"}`),
		"an exp that is null":     says(`{"active":true,"exp":null}`),
		"an exp before 1970":      says(`{"active":true,"exp":-1}`),
		"an exp after 9999":       says(`{"active":true,"exp":253402300800}`),
		"an exp of 1e300":         says(`{"active":true,"exp":1e300}`),
		"an nbf that is a list":   says(`{"active":true,"nbf":[1]}`),
		"an iat that is true":     says(`{"active":true,"iat":true}`),
		"a sub that is a number":  says(`{"active":true,"sub":1}`),
		"an iss that is a list":   says(`{"active":true,"iss":["a"]}`),
		"an aud of numbers":       says(`{"active":true,"aud":[1]}`),
		"a scope that is a dict":  says(`{"active":true,"scope":{"a":1}}`),
		"a scope that is numbers": says(`{"active":true,"scope":[1]}`),
	} {
		t.Run(name, func(t *testing.T) {
			h := newHands()
			s := newServer(t, answer)
			c := open(t, s.config(h))
			want(t, c, "token", verdict.Unavailable)
			s.serve(good)
			want(t, c, "token", verdict.OK) // nothing was remembered
			s.serve(answer)
			h.move(30 * time.Second)
			want(t, c, "token", verdict.OK)
			h.move(30 * time.Second)
			want(t, c, "token", verdict.Unavailable)
		})
	}
}

// Ory Hydra writes null where a token is for no audience in particular (ory/hydra#1405): that is none, and no riddle.
func TestAnAudienceOfNullIsNone(t *testing.T) {
	s := newServer(t, says(`{"active":true,"aud":null}`))
	a, err := open(t, s.config(newHands())).Check(t.Context(), "token")
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Audience) != 0 {
		t.Errorf("audience %q", a.Audience)
	}
}

func TestAnAnswerIsReadAsTheStandardHasIt(t *testing.T) {
	h := newHands()
	s := newServer(t, says(`{"active":true,"scope":" a  b ","client_id":"c","username":"u","token_type":"Bearer","exp":%d.5,"iat":1,"nbf":1e3,
		"sub":"s","aud":["x","y"],"iss":"i","jti":"j","extension_field":{"n":[1]}}`, h.in(time.Hour)))
	a, err := open(t, s.config(h)).Check(t.Context(), "token")
	if err != nil {
		t.Fatal(err)
	}
	if a.Subject != "s" || a.ClientID != "c" || a.Username != "u" || a.Issuer != "i" || !slices.Equal(a.Scopes, []string{"a", "b"}) ||
		!slices.Equal(a.Audience, []string{"x", "y"}) || a.Expires.UnixMilli() != h.in(time.Hour)*1000+500 || a.NotBefore.Unix() != 1000 || a.IssuedAt.Unix() != 1 {
		t.Errorf("%+v", a)
	}
	if extension, ok := a.Claims.Get("extension_field"); !ok || len(extension.Members()) != 1 {
		t.Error("the other members are lost")
	}
	s.serve(says(`{"active":true,"aud":"x","scope":["a b","c"]}`))
	a, err = open(t, s.config(h)).Check(t.Context(), "token")
	if err != nil || !slices.Equal(a.Audience, []string{"x"}) || !slices.Equal(a.Scopes, []string{"a", "b", "c"}) || !a.Expires.IsZero() {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestAMemberThatIsThereTwiceMakesATokenInactive(t *testing.T) {
	s := newServer(t, says(`{"active":true,"scope":"a","scope":"b"}`))
	want(t, open(t, s.config(newHands())), "token", verdict.BadSignature)
}

func TestTimesAreJudgedByTheClockOfTheRequest(t *testing.T) {
	h := newHands()
	s := newServer(t, says(`{"active":true,"exp":%d,"nbf":%d}`, h.in(time.Hour), h.in(0)))
	config := s.config(h)
	config.Now = nil
	c := open(t, config)
	for offset, expected := range map[time.Duration]verdict.Reason{0: verdict.OK, time.Hour: verdict.Expired, -time.Second: verdict.NotYetValid} {
		_, err := c.Check(clock.At(t.Context(), h.now(nil).Add(offset)), "token")
		if got := verdict.Of(err); expected == verdict.OK && got != nil || expected != verdict.OK && (got == nil || got.Reason != expected) {
			t.Errorf("%s away: %v, want %s", offset, err, expected)
		}
	}
}

// hanging is a server that never answers.
type hanging struct{}

func (hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// broken is a transport with a defect.
type broken struct{}

func (broken) RoundTrip(*http.Request) (*http.Response, error) { panic("a defect") }

func TestAnAnswerThatBreaksTheReaderDecidesNothing(t *testing.T) {
	want(t, open(t, Config{
		URL: "https://idp.example.com/introspect", ClientID: clientID, ClientSecret: secret.New("1", []byte(clientSecret)),
		Client: &http.Client{Transport: broken{}},
	}), "token", verdict.Unavailable)
}

func TestASlowServerHoldsUpSixtyFourCallsAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{
			URL: "https://idp.example.com/introspect", ClientID: clientID, ClientSecret: secret.New("1", []byte(clientSecret)),
			Cache: time.Minute, Client: &http.Client{Transport: hanging{}},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		var all sync.WaitGroup
		start := time.Now()
		for n := range maxInFlight {
			all.Go(func() {
				want(t, c, fmt.Sprint(n), verdict.Unavailable)
				if took := time.Since(start); took != timeout {
					t.Errorf("call %d took %s", n, took)
				}
			})
		}
		synctest.Wait()
		want(t, c, "one more", verdict.Unavailable)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Check(ctx, "0"); verdict.Of(err) == nil {
			t.Error("a yes from nobody")
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("giving up took %s", took)
		}
		all.Wait()
	})
}

func TestAClosedClientAnswersRequestsUnderWayAndKeepsNoConnection(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	s := newServer(t, func(w http.ResponseWriter, _ string) {
		asked <- struct{}{}
		<-answer
		_, _ = io.WriteString(w, `{"active":true}`)
	})
	c := open(t, s.config(newHands()))
	callers := map[string]bool{}
	for _, token := range []string{"asked about when it is closed", "asked about later", "and another"} {
		var waiting sync.WaitGroup
		waiting.Go(func() { want(t, c, token, verdict.OK) })
		<-asked
		c.Close()
		answer <- struct{}{}
		waiting.Wait()
		callers[s.last.RemoteAddr] = true
	}
	if len(callers) != 3 {
		t.Errorf("%d connections for three calls: one was kept", len(callers))
	}
}

func TestACallOfAClosedClientEndsWithTheLastRequestThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := New(Config{
			URL: "https://idp.example.com/introspect", ClientID: clientID, ClientSecret: secret.New("1", []byte(clientSecret)),
			Client: &http.Client{Transport: hanging{}},
		})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		leave := func() context.CancelFunc {
			ctx, cancel := context.WithCancel(t.Context())
			go func() { _, _ = c.Check(ctx, "token") }()
			synctest.Wait()
			return cancel
		}
		first, second := leave(), leave()
		c.Close()
		third := leave()
		for n, last := range []context.CancelFunc{first, third, second} {
			last()
			synctest.Wait()
			c.mu.Lock()
			if ended := len(c.asked) == 0; ended != (n == 2) {
				t.Errorf("after %d of three requests have gone: ended %v", n+1, ended)
			}
			c.mu.Unlock()
		}
		if time.Since(start) != 0 {
			t.Errorf("it took %s", time.Since(start))
		}
	})
}

// late is a server whose first call ends a while after it was given up, and that answers the second.
type late struct{ calls atomic.Int64 }

func (l *late) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.calls.Add(1) == 1 {
		<-r.Context().Done()
		time.Sleep(time.Second)
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(`{"active":true}`))}, nil
}

func TestACallThatEverybodyHasLeftIsJoinedByNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := new(late)
		c, err := New(Config{
			URL: "https://idp.example.com/introspect", ClientID: clientID, ClientSecret: secret.New("1", []byte(clientSecret)),
			Client: &http.Client{Transport: server}, Cache: time.Minute,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(t.Context())
		go func() { _, _ = c.Check(ctx, "token") }()
		synctest.Wait()
		c.Close()
		leave()
		synctest.Wait()
		want(t, c, "token", verdict.OK)
		time.Sleep(2 * time.Second) // the first call's end takes nothing of it back
		want(t, c, "token", verdict.OK)
		if server.calls.Load() != 2 || len(c.asked) != 0 {
			t.Errorf("%d calls, %d under way", server.calls.Load(), len(c.asked))
		}
	})
}

func TestACacheForgetsWhatEndsSoonestWhenItIsFull(t *testing.T) {
	h := newHands()
	now := h.now(nil)
	c := newCache(4, 100)
	id := func(n int) key { return key{byte(n)} }
	for n := range 4 {
		c.put(id(n), &Answer{size: 10}, now, now.Add(time.Duration(n+1)*time.Minute))
	}
	c.put(id(4), &Answer{size: 10}, now, now.Add(time.Hour))
	if _, ok := c.get(id(0), now); ok || len(c.entries) != 4 || c.size != 40 {
		t.Errorf("%d entries of %d bytes", len(c.entries), c.size)
	}
	c.put(id(4), &Answer{size: 80}, now, now.Add(time.Hour))
	if _, ok := c.get(id(4), now); !ok || c.size > 100 {
		t.Errorf("%d bytes", c.size)
	}
	c.put(id(5), &Answer{size: 101}, now, now.Add(time.Hour))
	c.put(id(6), &Answer{size: 1}, now, now)
	for _, n := range []int{5, 6} {
		if _, ok := c.get(id(n), now); ok {
			t.Errorf("%d is kept", n)
		}
	}
	if _, ok := c.get(id(4), now.Add(-time.Second)); ok {
		t.Error("a clock that was set back makes an entry last")
	}
	for n := range 7 {
		c.drop(id(n))
	}
	if c.size != 0 || len(c.entries) != 0 {
		t.Errorf("%d bytes left", c.size)
	}
}

func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"active":true}`, `{"active":false}`, `{"active":true,"active":false}`, `{"Active":true}`, `{"active":true,"exp":1.5,"aud":["a"],"scope":"a b"}`,
		`{"active":true,"exp":1e300}`, `{"active":"true"}`, `[]`, ``, `{"active":true}{}`, `{"active":true,"scope":["a",1]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		answer, err := parse(document)
		if err != nil {
			if refusal := verdict.Of(err); answer != nil || refusal.Reason != verdict.Unavailable {
				t.Fatalf("%v with %v", answer, err)
			}
			return
		}
		if answer.Active {
			active, ok := answer.Claims.Get("active")
			if truth, isBool := active.Bool(); !ok || !isBool || !truth {
				t.Fatal("active, but for what it says")
			}
		}
		for _, at := range []time.Time{answer.Expires, answer.NotBefore, answer.IssuedAt} {
			if !at.IsZero() && (at.Unix() < 0 || at.Unix() > maxTime) {
				t.Fatalf("a time out of range: %s", at)
			}
		}
	})
}
