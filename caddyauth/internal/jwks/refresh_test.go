package jwks

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/golang-jwt/jwt/v5"
)

func TestNothingIsFetchedBeforeItIsNeeded(t *testing.T) {
	i := newIssuer(t, text(set(ec(t, "one"))))
	s := open(t, Config{JWKS: i.URL})
	if h := s.Health(); i.calls.Load() != 0 || h.Loaded || h.LastResult != "" {
		t.Errorf("%d calls, %+v", i.calls.Load(), h)
	}
}

func TestAConfigurationNamesOnePlace(t *testing.T) {
	for name, config := range map[string]Config{
		"none":                 {},
		"two":                  {JWKS: "https://a.example/", File: "keys.json"},
		"an issuer of no URL":  {Issuer: "accounts.example.com"},
		"an issuer over http":  {Issuer: "http://idp.example.com"},
		"an issuer with query": {Issuer: "https://idp.example.com/?x"},
	} {
		if _, err := New(config); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestManyTokensAtOnceShareOneFetch(t *testing.T) {
	document := set(ec(t, "one"))
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		client, stop := piped(func(w http.ResponseWriter, _ *http.Request) {
			calls.Add(1)
			time.Sleep(time.Second)
			_, _ = io.WriteString(w, document)
		})
		defer stop()
		s, err := New(Config{JWKS: "http://127.0.0.1/", Client: client})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { want(t, s, token("one"), verdict.OK) })
		}
		all.Wait()
		if calls.Load() != 1 {
			t.Errorf("%d fetches", calls.Load())
		}
		for n := range 100 {
			all.Go(func() { want(t, s, token(fmt.Sprint(n)), verdict.UnknownKey) })
		}
		all.Wait()
		if calls.Load() != 2 {
			t.Errorf("%d fetches", calls.Load())
		}
	})
}

func TestAFloodOfUnknownKeyIDsFromTheStartCostsTwoFetchesInHalfAMinute(t *testing.T) {
	h := newHands()
	i := newIssuer(t, text(set(ec(t, "one"))))
	s := open(t, Config{JWKS: i.URL, Now: h.now})
	for n := range 3000 {
		want(t, s, token(fmt.Sprint(n)), verdict.UnknownKey)
		h.move(10 * time.Millisecond)
	}
	if got := i.calls.Load(); got > 2 {
		t.Errorf("%d fetches", got)
	}
	h.move(30 * time.Second)
	want(t, s, token("x"), verdict.UnknownKey)
	if got := i.calls.Load(); got != 3 {
		t.Errorf("%d fetches after another half minute", got)
	}
}

func TestKeysAreYoungForAsLongAsTheirAnswerSays(t *testing.T) {
	for said, expected := range map[string]time.Duration{
		"":                               youth,
		"max-age=300":                    5 * time.Minute,
		"public, max-age=\"300\"":        5 * time.Minute,
		"Max-Age=1":                      time.Minute,
		"max-age=0":                      time.Minute,
		"max-age=86400":                  time.Hour,
		"max-age=99999999999999":         youth,
		"max-age=-1":                     youth,
		"no-store":                       time.Minute,
		"no-cache, max-age=3600":         time.Minute,
		"stale-while-revalidate=1, what": youth,
	} {
		t.Run(said, func(t *testing.T) {
			h := newHands()
			document := set(ec(t, "one"))
			i := newIssuer(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cache-Control", said)
				_, _ = io.WriteString(w, document)
			})
			s := open(t, Config{JWKS: i.URL, Now: h.now})
			want(t, s, token("one"), verdict.OK)
			h.move(expected - time.Second)
			want(t, s, token("one"), verdict.OK)
			settled(t, s)
			if got := i.calls.Load(); got != 1 {
				t.Errorf("%d fetches while the keys are young", got)
			}
			h.move(time.Second)
			want(t, s, token("one"), verdict.OK)
			settled(t, s)
			if got := i.calls.Load(); got != 2 {
				t.Errorf("%d fetches once they are not", got)
			}
		})
	}
}

func TestAKeyWithdrawnWhileNobodyCalledIsNotServedAgain(t *testing.T) {
	h := newHands()
	i := newIssuer(t, text(set(ec(t, "one"))))
	s := open(t, Config{JWKS: i.URL, Now: h.now})
	want(t, s, token("one"), verdict.OK)
	i.serve(text(set(ec(t, "two"))))
	h.move(20 * time.Hour)
	want(t, s, token("one"), verdict.UnknownKey)
	want(t, s, token("two"), verdict.OK)
}

func TestAnIdleSetWaitsASecondForASlowIssuerAndThenServes(t *testing.T) {
	document := set(ec(t, "one"))
	synctest.Test(t, func(t *testing.T) {
		var hang atomic.Bool
		client, stop := piped(func(w http.ResponseWriter, r *http.Request) {
			if hang.Load() {
				<-r.Context().Done()
			}
			_, _ = io.WriteString(w, document)
		})
		defer stop()
		s, err := New(Config{JWKS: "http://127.0.0.1/", Client: client})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		want(t, s, token("one"), verdict.OK)
		hang.Store(true)
		time.Sleep(5 * time.Hour)
		for n := range 100 {
			start := time.Now()
			want(t, s, token("one"), verdict.OK)
			if _, err := s.Issuer(t.Context()); err != nil {
				t.Error(err)
			}
			if took := time.Since(start); took > 0 && n > 0 || took > patience {
				t.Errorf("token %d took %s", n, took)
			}
			time.Sleep(11 * time.Second)
		}
	})
}

func TestAClockSetBackHoldsNothingOff(t *testing.T) {
	h := newHands()
	i := newIssuer(t, status(500, ""))
	s := open(t, Config{JWKS: i.URL, Now: h.now})
	want(t, s, token("one"), verdict.Unavailable)
	h.move(-time.Hour)
	i.serve(text(set(ec(t, "one"))))
	want(t, s, token("one"), verdict.OK)
	h.move(-time.Hour)
	want(t, s, token("one"), verdict.OK)
}

func TestTheIssuerIsWhatTheMetadataSaysOrTheConfigurationDoes(t *testing.T) {
	i := newIssuer(t, nil)
	i.serve(metadataOf("https://acs.example.com", i.URL+"/keys", set(ec(t, "one"))))
	for name, c := range map[string]struct {
		config Config
		issuer string
		reason verdict.Reason
	}{
		"taken from the metadata":        {Config{Metadata: i.URL + "/acsopenid-configuration"}, "https://acs.example.com", verdict.OK},
		"the one that was configured":    {Config{Metadata: i.URL + "/acsopenid-configuration", Issuer: "https://acs.example.com"}, "https://acs.example.com", verdict.OK},
		"one with a slash more":          {Config{Metadata: i.URL + "/acsopenid-configuration", Issuer: "https://acs.example.com/"}, "https://acs.example.com/", verdict.Unavailable},
		"none for a bare set of keys":    {Config{JWKS: i.URL + "/keys"}, "", verdict.OK},
		"the configured one, with a set": {Config{JWKS: i.URL + "/keys", Issuer: "https://acs.example.com"}, "https://acs.example.com", verdict.OK},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, c.config)
			if got, err := s.Issuer(t.Context()); err != nil || got != c.issuer {
				t.Errorf("issuer %q, %v", got, err)
			}
			want(t, s, token("one"), c.reason)
		})
	}
}

func TestAnIssuerThatIsNoOpenIDProviderIsFoundByTheMetadataOfItsAuthorizationServer(t *testing.T) {
	document, asked := set(ec(t, "one")), make(chan string, 20)
	var i *issuer
	i = newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.EscapedPath()
		switch r.URL.EscapedPath() {
		case "/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/a%2Fb/c":
			name := i.URL + strings.TrimPrefix(r.URL.EscapedPath(), "/.well-known/oauth-authorization-server")
			_, _ = fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, name, i.URL+"/keys")
		case "/keys":
			_, _ = io.WriteString(w, document)
		case "/off/.well-known/openid-configuration":
			w.WriteHeader(http.StatusInternalServerError)
		default:
			http.NotFound(w, r)
		}
	})
	for path, c := range map[string]struct {
		reason verdict.Reason
		asked  int
	}{
		"":         {verdict.OK, 3},
		"/a%2Fb/c": {verdict.OK, 3},
		"/other":   {verdict.Unavailable, 2},
		"/off":     {verdict.Unavailable, 1}, // no word of its not being one
	} {
		t.Run(path, func(t *testing.T) {
			want(t, open(t, Config{Issuer: i.URL + path}), token("one"), c.reason)
			if n := len(asked); n != c.asked {
				t.Errorf("%d questions, want %d", n, c.asked)
			}
			if first := <-asked; first != path+"/.well-known/openid-configuration" {
				t.Errorf("%s was asked first", first)
			}
			for len(asked) > 0 {
				<-asked
			}
		})
	}
	t.Run("the metadata at one URL has no second place", func(t *testing.T) {
		want(t, open(t, Config{Metadata: i.URL + "/none"}), token("one"), verdict.Unavailable)
	})
}

func TestAnIssuerMayMoveItsKeys(t *testing.T) {
	h := newHands()
	first, second := newIssuer(t, text(set(ec(t, "one")))), newIssuer(t, text(set(ec(t, "two"))))
	i := newIssuer(t, nil)
	i.serve(metadataOf(i.URL, first.URL, ""))
	s := open(t, Config{Issuer: i.URL, Now: h.now})
	want(t, s, token("one"), verdict.OK)
	i.serve(metadataOf(i.URL, second.URL, ""))
	want(t, s, token("two"), verdict.OK)
	want(t, s, token("one"), verdict.UnknownKey)
}

func TestEveryAttemptIsToldToWhoeverListensNow(t *testing.T) {
	h := newHands()
	i := newIssuer(t, status(500, ""))
	s := open(t, Config{JWKS: i.URL, Now: h.now})
	want(t, s, token("one"), verdict.Unavailable)
	told := make(chan Result, 10)
	s.OnRefresh(func(result Result) { told <- result })
	h.move(30 * time.Second)
	want(t, s, token("one"), verdict.Unavailable)
	if got := <-told; got != "status" {
		t.Errorf("told %s", got)
	}
	i.serve(text(set(ec(t, "one"))))
	h.move(30 * time.Second)
	want(t, s, token("one"), verdict.OK)
	if got := <-told; got != OK {
		t.Errorf("told %s", got)
	}
	s.OnRefresh(nil)
	want(t, s, token("two"), verdict.UnknownKey)
}

func TestHealthSaysWhenTheNextFetchMayBe(t *testing.T) {
	h := newHands()
	i := newIssuer(t, text(set(ec(t, "one"), object{"kty": "oct"})))
	s := open(t, Config{JWKS: i.URL, Now: h.now})
	start := h.now(t.Context())
	want(t, s, token("one"), verdict.OK)
	health := s.Health()
	if !health.Loaded || !health.LastSuccess.Equal(start) || !health.LastAttempt.Equal(start) || health.LastResult != OK ||
		health.Keys != 1 || health.Skipped[SkipType] != 1 || !health.NextRefresh.Equal(start.Add(youth)) {
		t.Errorf("%+v", health)
	}
}

func TestAClosedSetFetchesWhatATokenWaitsForAndNothingElse(t *testing.T) {
	h := newHands()
	i := newIssuer(t, text(set(ec(t, "one"))))
	held, empty := open(t, Config{JWKS: i.URL, Now: h.now}), open(t, Config{JWKS: i.URL, Now: h.now})
	want(t, held, token("one"), verdict.OK)
	held.Close()
	empty.Close()
	h.move(youth)
	want(t, held, token("one"), verdict.OK) // no longer young; a refresh would be for those who come after
	if i.calls.Load() != 1 {
		t.Errorf("%d fetches before a token needed one", i.calls.Load())
	}
	want(t, empty, token("one"), verdict.OK)
	i.serve(text(set(ec(t, "one"), ec(t, "two"))))
	want(t, held, token("two"), verdict.OK)
	if i.calls.Load() != 3 {
		t.Errorf("%d fetches", i.calls.Load())
	}
}

func TestAFetchOfAClosedSetEndsWithTheLastTokenThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		document := set(ec(t, "one"))
		var ended atomic.Bool
		client, stop := piped(func(w http.ResponseWriter, r *http.Request) {
			if ended.Load() {
				_, _ = io.WriteString(w, document)
				return
			}
			<-r.Context().Done()
			ended.Store(true)
		})
		defer stop()
		s, err := New(Config{JWKS: "http://127.0.0.1/", Client: client})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		leave := func() context.CancelFunc {
			ctx, cancel := context.WithCancel(t.Context())
			go func() { _, _ = s.Keys(ctx, token("one")) }()
			synctest.Wait()
			return cancel
		}
		first, second := leave(), leave()
		s.Close()
		third := leave()
		for n, last := range []context.CancelFunc{first, third, second} {
			last()
			synctest.Wait()
			if ended.Load() != (n == 2) {
				t.Errorf("after %d of three tokens have gone: ended %v", n+1, ended.Load())
			}
		}
		want(t, s, token("one"), verdict.OK) // nothing is held against the issuer
		if time.Since(start) != 0 {
			t.Errorf("it took %s", time.Since(start))
		}
	})
}

func TestRotationFailsNoTokenByTheOldKeyOrTheNew(t *testing.T) {
	h := newHands()
	makeKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	old, young := makeKey(), makeKey()
	i := newIssuer(t, text(set(public(t, old.Public(), "old"))))
	s := open(t, Config{JWKS: i.URL, Now: h.now})
	policy := &jose.Policy{
		Algorithms: []string{"ES256"}, Keys: s.Keys, Issuers: []string{i.URL}, Audiences: []string{"us"}, RequireExpiry: true,
	}
	if err := policy.Check(); err != nil {
		t.Fatal(err)
	}
	verify := func(key *ecdsa.PrivateKey, id string) verdict.Reason {
		unsigned := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": i.URL, "aud": "us", "exp": h.now(t.Context()).Add(time.Minute).Unix()})
		if id != "" {
			unsigned.Header["kid"] = id
		}
		compact, err := unsigned.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := policy.Verify(t.Context(), compact, h.now(t.Context())); err != nil {
			return verdict.Of(err).Reason
		}
		return verdict.OK
	}
	check := func(when string, expected verdict.Reason, got ...verdict.Reason) {
		t.Helper()
		for n := range got {
			if got[n] != expected {
				t.Errorf("%s: %d: %s, want %s", when, n, got[n], expected)
			}
		}
	}
	check("before", verdict.OK, verify(old, "old"), verify(old, ""))
	i.serve(text(set(public(t, old.Public(), "old"), public(t, young.Public(), "young"))))
	check("during", verdict.OK, verify(old, "old"), verify(young, "young"), verify(old, "old"), verify(young, ""))
	check("a forged id", verdict.BadSignature, verify(young, "old"), verify(old, "young"))
	i.serve(text(set(public(t, young.Public(), "young"))))
	h.move(youth)
	check("after", verdict.OK, verify(young, "young"))
	settled(t, s)
	check("after", verdict.UnknownKey, verify(old, "old"))
}

func TestADocumentThatBreaksTheReaderDecidesNothing(t *testing.T) {
	s := open(t, Config{JWKS: "https://idp.example.com/"})
	s.source = func(context.Context, *held) (*held, error) { panic("a defect") }
	want(t, s, token("one"), verdict.Unavailable)
}

func TestATokenThatJustHadTheKeysFetchedCausesNoSecondFetch(t *testing.T) {
	i := newIssuer(t, text(set(ec(t, "one"))))
	s := open(t, Config{JWKS: i.URL, Now: newHands().now})
	want(t, s, token("other"), verdict.UnknownKey)
	if got := i.calls.Load(); got != 1 {
		t.Errorf("%d fetches", got)
	}
}
