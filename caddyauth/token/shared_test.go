package token_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	jwk "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"

	"github.com/caddyserver/caddy/v2"
)

// issuer publishes one key, and answers introspection with yes.
type issuer struct {
	*httptest.Server
	key     *rsa.PrivateKey
	fetches atomic.Int64
	asked   atomic.Int64
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{key: key}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/keys":
			i.fetches.Add(1)
			_ = json.NewEncoder(w).Encode(jwk.JSONWebKeySet{Keys: []jwk.JSONWebKey{{Key: key.Public(), KeyID: "k1"}}})
		case "/introspect":
			i.asked.Add(1)
			_, _ = io.WriteString(w, `{"active":true}`)
		default:
			_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
		}
	}))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) token(t *testing.T) string {
	t.Helper()
	made := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": i.URL, "aud": "us", "exp": time.Now().Add(time.Hour).Unix(), "stream": "live/cam1",
	})
	made.Header["kid"] = "k1"
	text, err := made.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// site has every kind of scheme and token whose keys are not ours. mark makes one config differ from another.
func (i *issuer) site(mark string) string {
	return strings.NewReplacer("ISSUER", i.URL, "MARK", mark).Replace(`http:// {
	handle /jwt {
		callback_auth jwt {
			jwks ISSUER/keys
			audience us
		}
		respond MARK
	}
	handle /azure {
		callback_auth azure_call_automation {
			audience us
			openid_configuration ISSUER/.well-known/openid-configuration
		}
		respond MARK
	}
	handle /opaque {
		callback_auth oauth2 {
			introspection ISSUER/introspect {
				client_id gate
				client_secret a-client-secret-0123456789abcdef
				cache 1h
			}
		}
		respond MARK
	}
	handle /oauth2 {
		callback_auth oauth2 {
			issuer ISSUER https://another.example
			audience us
		}
		respond MARK
	}
	handle /stream {
		stream_auth antmedia {
			token {
				jwt {
					jwks ISSUER/keys
					audience us
				}
			}
			allow {
				token valid
			}
		}
	}
}`)
}

func ask(t *testing.T, bed *testbed.Bed, path, token string) int {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	return bed.Do(t, r).Status
}

// hook asks stream_auth whether a client may play.
func hook(t *testing.T, bed *testbed.Bed, token string) int {
	t.Helper()
	body := fmt.Sprintf(`{"appName":"live","streamId":"cam1","mode":"play","queryParams":"{token=%s}"}`, token)
	r := httptest.NewRequest(http.MethodPost, "/stream", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return bed.Do(t, r).Status
}

// quiet ends what an HTTP client keeps, so that goroutines can be counted.
func quiet(ignore goleak.Option) error {
	return goleak.Find(ignore,
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"), // wakes every 5 s to find itself done
		goleak.IgnoreAnyFunction("net/http/httptest.(*Server).goServe.func1"),
		goleak.IgnoreAnyFunction("net/http.(*conn).serve")) // of the test's issuer
}

func TestReloads(t *testing.T) {
	i := newIssuer(t)
	token := i.token(t)
	// The first load starts what lives as long as the process.
	testbed.Run(t, "http:// {\n\trespond \"first\"\n}\n")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()

	bed := testbed.Run(t, i.site("start"))
	paths := []string{"/jwt", "/azure", "/opaque", "/oauth2"}
	use := func() {
		t.Helper()
		for _, path := range paths {
			if status := ask(t, bed, path, token); status != 200 {
				t.Fatalf("%s: %d", path, status)
			}
		}
		if status := hook(t, bed, token); status != 200 {
			t.Fatalf("stream: %d", status)
		}
	}
	use()
	// The keys of jwt and of the stream's tokens are one set; those of the other two are found through metadata.
	fetches, asked := i.fetches.Load(), i.asked.Load()
	if fetches != 3 || asked != 1 {
		t.Errorf("%d key sets were fetched and %d tokens asked about; want 3 and 1", fetches, asked)
	}

	t.Run("jwks-reload-leak", func(t *testing.T) {
		for round := range 1000 {
			bed.Reload(t, i.site(fmt.Sprint("round-", round)))
		}
		use()
	})
	t.Run("jwks-reload-fail-leak", func(t *testing.T) {
		for n := range 100 {
			mistake := []string{
				"api_key {\n\t\theader X\n\t\tkey {env.NOBODY_SET_THIS}\n\t}",
				"oauth2 {\n\t\tissuer " + i.URL + " http://plain.example\n\t\taudience us\n\t}", // the first of them is opened
			}[n%2]
			if err := bed.TryReload(t, i.site("broken")+"\nhttp://broken.example {\n\tcallback_auth "+mistake+"\n}\n"); err == nil {
				t.Fatal("a config with a mistake was loaded")
			}
		}
		use()
	})
	if i.fetches.Load() != fetches || i.asked.Load() != asked {
		t.Errorf("reloads fetched keys %d times and asked %d times anew", i.fetches.Load()-fetches, i.asked.Load()-asked)
	}

	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	i.CloseClientConnections()
	if err := quiet(before); err != nil {
		t.Error(err)
	}
	// Nothing is held any more: the next config starts anew.
	bed.Reload(t, i.site("again"))
	use()
	if i.fetches.Load() != 2*fetches || i.asked.Load() != 2*asked {
		t.Error("keys and answers outlived the last config that used them")
	}
}

// slow answers introspection when the test lets it, or not at all.
type slow struct {
	*httptest.Server
	asked, answer, given chan struct{} // given up: the client has gone
}

func newSlow(t *testing.T) *slow {
	t.Helper()
	s := &slow{asked: make(chan struct{}), answer: make(chan struct{}), given: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		s.asked <- struct{}{}
		select {
		case <-s.answer:
			_, _ = io.WriteString(w, `{"active":true}`)
		case <-r.Context().Done():
			close(s.given)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// A request that a config has begun to decide is decided by it, though another config has taken its place: what it asks
// is not cut off, and what it has yet to ask is asked.
func TestARequestUnderWayIsDecidedThoughItsConfigIsGone(t *testing.T) {
	i, s := newIssuer(t), newSlow(t)
	bed := testbed.Run(t, strings.NewReplacer("ISSUER", i.URL, "SLOW", s.URL).Replace(`http:// {
	callback_auth oauth2 {
		introspection SLOW {
			client_id one
			client_secret a-client-secret-0123456789abcdef
		}
	}
	callback_auth oauth2 {
		introspection ISSUER/introspect {
			client_id two
			client_secret a-client-secret-0123456789abcdef
		}
	}
	callback_auth jwt {
		jwks ISSUER/keys
		audience us
	}
	respond old
}`))
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://example.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+i.token(t))
	outcome := make(chan string, 1)
	go func() {
		response, err := bed.Client().Do(r)
		if err != nil {
			outcome <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		outcome <- response.Status + " " + string(body)
	}()
	<-s.asked
	bed.Reload(t, "http:// {\n\trespond new\n}\n")
	s.answer <- struct{}{}
	if got := <-outcome; got != "200 OK old" {
		t.Errorf("the request got %s", got)
	}
	if i.asked.Load() != 1 || i.fetches.Load() != 1 {
		t.Errorf("asked %d times, keys fetched %d times; want once each", i.asked.Load(), i.fetches.Load())
	}
}

// A server that never answers holds nothing of a config that is gone, once its client has gone, too.
func TestAConfigThatIsGoneAsksForNobody(t *testing.T) {
	s := newSlow(t)
	testbed.Run(t, "http:// {\n\trespond \"first\"\n}\n")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()
	bed := testbed.Run(t, strings.ReplaceAll(`http:// {
	callback_auth oauth2 {
		introspection SLOW {
			client_id one
			client_secret a-client-secret-0123456789abcdef
		}
	}
	respond old
}`, "SLOW", s.URL))
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://example.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer opaque")
	left := make(chan struct{})
	go func() {
		defer close(left)
		if response, err := bed.Client().Do(r); err == nil {
			response.Body.Close()
			t.Errorf("an answer out of nothing: %s", response.Status)
		}
	}()
	<-s.asked
	bed.Reload(t, "http:// {\n\trespond new\n}\n")
	select {
	case <-s.given:
		t.Error("the call was cut off while its request waited")
	default:
	}
	leave()
	<-left
	<-s.given
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := quiet(before); err != nil {
		t.Error(err)
	}
}

func TestAFetchIsCountedAndToldByTheNewestConfig(t *testing.T) {
	i := newIssuer(t)
	bed := testbed.Run(t, i.site("one"))
	bed.Reload(t, i.site("two"))
	before := failures(t)
	i.CloseClientConnections()
	i.Close()
	if status := ask(t, bed, "/jwt", i.token(t)); status != 503 {
		t.Errorf("status %d", status)
	}
	lines := bed.Logs.Lines(t, "keys could not be fetched")
	if len(lines) != 1 || lines[0]["result"] != "unreachable" {
		t.Errorf("%v", lines)
	}
	if count := failures(t) - before; count != 1 {
		t.Errorf("caddy_caddyauth_jwks_refresh_total{result=error} grew by %v; want 1", count)
	}
}

// failures is how many fetches have failed, in this process and not in this test alone.
func failures(t *testing.T) float64 {
	t.Helper()
	running := caddy.ActiveContext()
	metrics, err := running.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range metrics {
		if family.GetName() != "caddy_caddyauth_jwks_refresh_total" {
			continue
		}
		for _, metric := range family.Metric {
			if metric.Label[0].GetValue() == "error" {
				return metric.Counter.GetValue()
			}
		}
	}
	return 0
}
