package integration

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"go.uber.org/goleak"

	"github.com/caddyserver/caddy/v2"
)

const (
	reloadRate  = 200 // requests a second
	reloadUsers = 10  // each with one session
	nextSecret  = "the-secret-after-a-rotation-0123456789"
)

// gates has a gate for callbacks and a hook that counts sessions. SECRETS are the callbacks' and MARK makes each config
// another one.
const gates = `http:// {
	handle /callback {
		callback_auth vonage {
			SECRETS
		}
		respond "received, MARK"
	}
	handle /hook {
		stream_auth icecast {
			token {
				jwt {
					secret ` + testbed.Secret + `
				}
			}
			allow under-load {
				token valid
				max_sessions 1 per user
			}
		}
	}
}
`

// rotation is what an operator loads, one after another, to change a secret and to change it back. In each the sender
// signs with its secret, which the config before and the one after know too.
var rotation = []struct{ secrets, sender string }{
	{"secret " + testbed.Secret + " old", testbed.Secret},
	{"secret " + testbed.Secret + " old\n\t\t\tsecret " + nextSecret + " new", nextSecret},
	{"secret " + nextSecret + " new", nextSecret},
	{"secret " + nextSecret + " new\n\t\t\tsecret " + testbed.Secret + " old", testbed.Secret},
}

func gatesConfig(n int) string {
	return strings.NewReplacer("SECRETS", rotation[n%len(rotation)].secrets, "MARK", fmt.Sprint("config ", n)).Replace(gates)
}

// mixed is good requests and attacks on gates, half and half, by a sender whose secret may change between two requests.
type mixed struct {
	*traffic
	signing sync.RWMutex // held from the signing of a callback to its answer
	secret  string
}

// rotate changes the secret that callbacks are signed with, when none is under way.
func (m *mixed) rotate(secret string) {
	m.signing.Lock()
	defer m.signing.Unlock()
	m.secret = secret
}

// remember sends what has to be remembered: a message that was delivered, and a session of each user.
func (m *mixed) remember() {
	m.send("good callback", m.callback("/callback", m.secret, "first"), http.StatusOK)
	for user := range reloadUsers {
		m.send("good session", m.hook("listener_add", fmt.Sprint(user), fmt.Sprint("user-", user), testbed.Secret), http.StatusOK)
	}
}

// remembered says that it still is; and a session that is closed makes room, as it did before the first reload.
func (m *mixed) remembered() {
	m.send("replay", m.callback("/callback", m.secret, "first"), http.StatusConflict)
	m.send("second session", m.hook("listener_add", "1000", "user-0", testbed.Secret), http.StatusForbidden)
	m.send("close", m.hook("listener_remove", "0", "user-0", testbed.Secret), http.StatusOK)
	m.send("good session", m.hook("listener_add", "1000", "user-0", testbed.Secret), http.StatusOK)
}

// one sends the n-th request.
func (m *mixed) one(n int) {
	user := n / 8 % reloadUsers
	m.signing.RLock()
	defer m.signing.RUnlock()
	switch n % 8 {
	case 0, 2:
		m.send("good callback", m.callback("/callback", m.secret, fmt.Sprint(n)), http.StatusOK)
	case 1:
		m.send("replay", m.callback("/callback", m.secret, "first"), http.StatusConflict)
	case 3:
		m.send("forged callback", m.callback("/callback", forger, fmt.Sprint(n)), http.StatusUnauthorized)
	case 4, 6:
		m.send("good session", m.hook("listener_add", fmt.Sprint(user), fmt.Sprint("user-", user), testbed.Secret), http.StatusOK)
	case 5:
		m.send("second session", m.hook("listener_add", fmt.Sprint(2000+n), fmt.Sprint("user-", user), testbed.Secret), http.StatusForbidden)
	default:
		m.send("forged token", m.hook("listener_add", fmt.Sprint(2000+n), "user-0", forger), http.StatusForbidden)
	}
}

// while sends at the rate for a time, and calls do that many times meanwhile, evenly.
func while(length time.Duration, one func(n int), times int, do func(n int)) {
	var sending sync.WaitGroup
	sending.Go(func() { steadily(reloadRate, length, one) })
	tick := time.NewTicker(length / time.Duration(times+1))
	defer tick.Stop()
	for n := range times {
		<-tick.C
		do(n)
	}
	sending.Wait()
}

// R1: while configs are swapped and a secret is rotated under load, every good request is answered as it should be, no
// attack passes, and what must be remembered is remembered.
func TestReliabilityR01ReloadUnderLoad(t *testing.T) {
	firstLoad(t)
	leaks, before := goleak.IgnoreCurrent(), measure()
	length := bound(3*time.Second, time.Minute)
	const reloads = 30

	bed := testbed.Run(t, gatesConfig(0))
	m := &mixed{traffic: trafficTo(t, bed), secret: testbed.Secret}
	m.remember()
	while(length, m.one, reloads, func(n int) {
		bed.Reload(t, gatesConfig(n+1))
		m.rotate(rotation[(n+1)%len(rotation)].sender)
		bed.Logs.Forget()
	})
	m.remembered()
	// The last config of a rotation knows one secret: the other one has ended.
	bed.Reload(t, gatesConfig(2))
	eventually(t, "the secret that was taken out ends", func() bool {
		return m.send("secret taken out", m.callback("/callback", testbed.Secret, "late"), http.StatusOK, http.StatusConflict, http.StatusUnauthorized) == http.StatusUnauthorized
	})
	m.judge()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	m.client.CloseIdleConnections()
	bed.Logs.Forget()
	goleak.VerifyNone(t, leaks,
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"), // wakes every 5 s to find itself done
		goleak.IgnoreAnyFunction("net/http/httptest.(*Server).goServe.func1"))
	after := settles(t, before, usage{goroutines: 5, descriptors: 5, heap: 10 << 20})

	// The same reloads of a Caddy without the plugin.
	plain := testbed.Run(t, "http:// {\n\trespond first\n}\n")
	p := trafficTo(t, plain)
	while(length, func(int) {
		p.send("plain", p.request("/callback", "application/json", "{}", ""), http.StatusOK)
	}, reloads, func(n int) { plain.Reload(t, fmt.Sprintf("http:// {\n\trespond \"%d\"\n}\n", n)) })
	p.judge()
	held(t, "%d requests in %v at %d/s over kept connections, %d reloads with a secret rotated: 0 good ones failed, 0 attacks passed, replay memory and sessions kept; "+
		"connections closed by the reload itself before a request was read: %d (the same Caddy without the plugin: %d of %d); good callback %v (without the plugin %v); after: %v",
		m.sent(), length, reloadRate, reloads, m.counted("closed without an answer"), p.counted("closed without an answer"), p.sent(),
		m.time("good callback"), p.time("plain"), after)
}

// broken is configs that cannot be loaded, and what the error must name. The first gate of each is good: what was made
// ready for it has to go again.
func broken(t *testing.T) map[string]string {
	t.Helper()
	good := "callback_auth vonage {\n secret " + testbed.Secret + "\n}\n"
	site := func(gate string) string {
		return "http:// {\n handle /callback {\n" + good + "respond broken\n}\n handle /other {\n" + gate + "\nrespond broken\n}\n}\n"
	}
	return map[string]string{
		"secret":        site("callback_auth vonage {\n secret {env.NOBODY_SET_THIS}\n}"),
		"file":          site("callback_auth github {\n secret {file." + filepath.Join(t.TempDir(), "gone") + "}\n}"),
		"secrte":        site("callback_auth vonage {\n secrte " + testbed.Secret + "\n}"),
		"max_age":       site("callback_auth vonage {\n secret " + testbed.Secret + "\n max_age soon\n}"),
		"window":        site("callback_auth {\n vonage {\n secret " + testbed.Secret + "\n}\n replay {\n window 1s\n}\n}"),
		"jwks":          site("callback_auth jwt {\n jwks http://192.0.2.1/keys\n audience us\n}"),
		"audience":      site("callback_auth jwt {\n jwks https://issuer.example/keys\n}"),
		"public_key":    site("callback_auth jwt {\n public_key " + filepath.Join(t.TempDir(), "gone.pem") + "\n}"),
		"introspection": site("callback_auth oauth2 {\n introspection http://192.0.2.1/ {\n client_id a\n client_secret b\n}\n}"),
		"preroll":       site("stream_auth antmedia {\n allow all {\n mode play\n preroll https://cdn.example.com/ad.mp3\n}\n}"),
		"when":          site("stream_auth icecast {\n allow all {\n when stream.nam==1\n}\n}"),
		"redis":         "{\n caddyauth {\n store redis http://127.0.0.1\n}\n}\n" + site(good),
		"timeout":       "{\n caddyauth {\n store redis redis://127.0.0.1 {\n timeout 1us\n}\n}\n}\n" + site(good),
	}
}

// R2: a config that cannot be loaded completely is not loaded at all: the one before serves on, and the error names what
// is wrong.
func TestReliabilityR02BrokenReloadUnderLoad(t *testing.T) {
	firstLoad(t)
	bed := testbed.Run(t, gatesConfig(0))
	m := &mixed{traffic: trafficTo(t, bed), secret: testbed.Secret}
	m.remember()
	configs := broken(t)
	var names []string
	for name := range configs {
		names = append(names, name)
	}
	length, tries := bound(2*time.Second, time.Minute), bound(2*len(names), 60)
	before := measure()
	while(length, m.one, tries, func(n int) {
		name := names[n%len(names)]
		err := bed.TryReload(t, configs[name])
		if err == nil {
			t.Fatalf("%s: a broken config was loaded", name)
		}
		if !strings.Contains(err.Error(), name) {
			t.Errorf("the error does not name %s: %v", name, err)
		}
		bed.Logs.Forget()
	})
	m.remembered()
	m.judge()
	if n := m.counted("closed without an answer"); n > 0 {
		t.Errorf("%d connections were closed", n)
	}
	m.client.CloseIdleConnections()
	after := settles(t, before, usage{goroutines: 5, descriptors: 5, heap: 10 << 20})
	held(t, "%d broken configs of %d kinds under %d requests in %v: the old one served on, 0 failures, 0 connections closed, every error named its option; before %v, after %v",
		tries, len(names), m.sent(), length, before, after)
}

// R3: a thousand reloads, and a hundred that fail, leave nothing behind: with keys, Redis and replay memory in use.
func TestReliabilityR03ManyReloads(t *testing.T) {
	need(t, "redis-server")
	redis := startRedisServer(t)
	keys := newKeyServer(t)
	reloads, failed := bound(60, 1000), bound(20, 100)
	config := func(n int) string {
		return strings.NewReplacer("REDIS", redis.url(), "KEYS", keys.URL, "MARK", fmt.Sprint("config ", n)).Replace(`{
	caddyauth {
		store redis REDIS {
			timeout 5s
		}
	}
}
http:// {
	handle /callback {
		callback_auth vonage {
			secret ` + testbed.Secret + `
		}
		respond "received, MARK"
	}
	handle /keys {
		callback_auth jwt {
			jwks KEYS
			algorithm ES256
			audience us
		}
		respond "received, MARK"
	}
}
`)
	}
	firstLoad(t)
	leaks := goleak.IgnoreCurrent()
	bed := testbed.Run(t, config(0))
	m := trafficTo(t, bed)
	use := func(n int) {
		m.send("callback", m.callback("/callback", testbed.Secret, fmt.Sprint(n)), http.StatusOK)
		m.send("token", m.request("/keys", "application/json", "{}", "Bearer "+keys.token("one", nil)), http.StatusOK)
		m.client.CloseIdleConnections() // before a reload does
	}
	use(0)
	for n := range 10 { // what grows once has grown
		bed.Reload(t, config(n+1))
	}
	use(10)
	bed.Logs.Forget()
	before := measure()
	for n := range reloads {
		bed.Reload(t, config(n%2))
		if n%50 == 0 {
			use(100 + n)
		}
		bed.Logs.Forget()
	}
	for range failed {
		if bed.TryReload(t, config(0)+"http://other {\n callback_auth vonage {\n secret {env.NOBODY_SET_THIS}\n}\n}\n") == nil {
			t.Fatal("a broken config was loaded")
		}
		bed.Logs.Forget()
	}
	use(10_000)
	bed.Logs.Forget()
	after := settles(t, before, usage{goroutines: 5, descriptors: 5, heap: 10 << 20})
	if fetched := keys.fetched.Load(); fetched > 2 {
		t.Errorf("the keys were fetched %d times", fetched)
	}
	m.judge()
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, leaks,
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		goleak.IgnoreAnyFunction("net/http/httptest.(*Server).goServe.func1"))
	held(t, "%d reloads and %d that failed, with keys, Redis and replay in use: before %v; after %v; the keys were fetched %d times", reloads, failed, before, after, keys.fetched.Load())
}
