package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/dustin/go-humanize"
	jwk "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// keyServer publishes ES256 keys. What it answers can be changed, to what broken issuers answer.
type keyServer struct {
	*httptest.Server
	fetched atomic.Int64
	private map[string]*ecdsa.PrivateKey // by key id

	mu     sync.Mutex
	answer http.HandlerFunc
}

// newKeyServer publishes the key `one`; `two` and `three` exist.
func newKeyServer(t *testing.T) *keyServer {
	t.Helper()
	k := &keyServer{private: make(map[string]*ecdsa.PrivateKey)}
	for _, id := range []string{"one", "two", "three"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k.private[id] = key
	}
	k.publish("one")
	k.Server = httptest.NewServer(k)
	t.Cleanup(k.Close)
	return k
}

// ServeHTTP implements http.Handler.
func (k *keyServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.fetched.Add(1)
	k.mu.Lock()
	answer := k.answer
	k.mu.Unlock()
	answer(w, r)
}

// serve makes it answer so from now on.
func (k *keyServer) serve(answer http.HandlerFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answer = answer
}

// publish makes it answer with these keys.
func (k *keyServer) publish(ids ...string) {
	var set jwk.JSONWebKeySet
	for _, id := range ids {
		set.Keys = append(set.Keys, jwk.JSONWebKey{Key: k.private[id].Public(), KeyID: id})
	}
	document, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	k.serve(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(document) })
}

// token is a good one, signed by that key. It holds for a hundred days, whatever the clock of the request says.
func (k *keyServer) token(id string, change map[string]any) string {
	claims := jwt.MapClaims{"aud": "us", "sub": "sender", "exp": time.Now().Add(100 * 24 * time.Hour).Unix()}
	maps.Copy(claims, change)
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["kid"] = id
	text, err := token.SignedString(k.private[id])
	if err != nil {
		panic(err) // this is called from many goroutines
	}
	return text
}

// underUnknown gives a good token another key id, which nobody publishes.
func underUnknown(token string, n int) string {
	_, rest, _ := strings.Cut(token, ".")
	header := fmt.Sprintf(`{"alg":"ES256","kid":"unknown-%d"}`, n)
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + rest
}

// keysSite is a gate for tokens signed by the keys at KEYS.
const keysSite = `http:// {
	callback_auth /gate jwt {
		jwks KEYS
		algorithm ES256
		audience us
	}
	respond received
}
`

// R6: while the issuer is down, slow, dripping, or answers with 100 MB or with HTML, tokens under keys that are known
// are served, for 24 hours; new keys work at once, old ones until they are withdrawn. The clock is the test's own.
func TestReliabilityR06IssuerFaults(t *testing.T) {
	keys, issuer := newKeyServer(t), newFaultyReceiver(t)
	bed := testbed.New(t, strings.ReplaceAll(keysSite, "KEYS", "http://"+issuer.addr+"/keys"))
	now, batch, served := time.Now(), bound(50, 1000), 0
	status := func(token string) int {
		r := httptest.NewRequest(http.MethodPost, "http://gate.test/gate", strings.NewReader("{}"))
		r.Header.Set("Authorization", "Bearer "+token)
		served++
		return bed.Status(r.WithContext(clock.At(r.Context(), now)))
	}
	all := func(when, id string, want int) {
		t.Helper()
		token, answers := keys.token(id, nil), make(map[int]int)
		var mu sync.Mutex
		var sent sync.WaitGroup
		for range batch {
			sent.Go(func() {
				r := httptest.NewRequest(http.MethodPost, "http://gate.test/gate", strings.NewReader("{}"))
				r.Header.Set("Authorization", "Bearer "+token)
				got := bed.Status(r.WithContext(clock.At(r.Context(), now)))
				mu.Lock()
				defer mu.Unlock()
				answers[got]++
			})
		}
		sent.Wait()
		served += batch
		if answers[want] != batch {
			t.Errorf("%s: tokens under the key %s: %v, should all be %d", when, id, answers, want)
		}
		bed.Logs.Forget()
	}

	all("down at the start", "one", http.StatusServiceUnavailable)
	issuer.up(keys.ServeHTTP)
	now = now.Add(30 * time.Second)
	all("up", "one", http.StatusOK)

	issuer.down()
	for since, step := time.Duration(0), bound(2*time.Hour, 9*time.Minute); since+step <= 24*time.Hour; since += step {
		now = now.Add(step)
		all("down later", "one", http.StatusOK)
	}
	now = now.Add(2 * time.Hour)
	all("down for more than a day", "one", http.StatusServiceUnavailable)
	issuer.up(keys.ServeHTTP)
	now = now.Add(30 * time.Second)
	all("up again", "one", http.StatusOK)

	// In each case the batch is answered while the issuer's own answer is still under way.
	before := measure()
	var dripped, poured atomic.Int64
	var begun, ended chan struct{}
	faults := map[string]http.HandlerFunc{
		"slow": until(nil, nil),
		"dripping": func(w http.ResponseWriter, r *http.Request) {
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, " ")
				_ = http.NewResponseController(w).Flush()
				dripped.Add(1)
				<-tick.C
			}
		},
		"100 MB": func(w http.ResponseWriter, _ *http.Request) {
			piece := []byte(strings.Repeat(" ", 64<<10))
			for poured.Load() < 100<<20 {
				n, err := w.Write(piece)
				poured.Add(int64(n))
				if err != nil {
					break
				}
			}
		},
		"HTML": func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>maintenance</html>") },
	}
	for name, answer := range faults {
		begun, ended = make(chan struct{}), make(chan struct{})
		var once sync.Once
		issuer.up(func(w http.ResponseWriter, r *http.Request) {
			once.Do(func() {
				close(begun)
				defer close(ended)
				answer(w, r)
			})
		})
		now = now.Add(11 * time.Minute)
		all(name, "one", http.StatusOK)
		<-begun
		all(name, "one", http.StatusOK)
		if name == "100 MB" || name == "HTML" {
			<-ended
		}
		all(name, "one", http.StatusOK)
		issuer.up(keys.ServeHTTP)
		<-ended
		// A fetch that failed is made again no sooner than after 30 s.
		now = now.Add(30 * time.Second)
		all(name+", up again", "one", http.StatusOK)
		eventually(t, "the keys are fetched", func() bool {
			now = now.Add(31 * time.Second)
			status(keys.token("one", nil))
			return issuer.arrived.Load() > 0
		})
	}
	bed.Logs.Forget()
	after := settles(t, before, usage{goroutines: 5, descriptors: 5, heap: 2 << 20})
	if poured.Load() > 50<<20 {
		t.Errorf("%s of an endless answer were taken", humanize.IBytes(uint64(poured.Load())))
	}

	keys.publish("one", "two")
	now = now.Add(31 * time.Second)
	all("rotation", "two", http.StatusOK)
	all("rotation", "one", http.StatusOK)
	keys.publish("two")
	now = now.Add(11 * time.Minute)
	eventually(t, "a withdrawn key ends", func() bool { return status(keys.token("one", nil)) == http.StatusUnauthorized })
	all("withdrawn", "one", http.StatusUnauthorized)
	all("withdrawn", "two", http.StatusOK)
	held(t, "%d tokens: 503 while no key was ever known, then all served through an issuer that is down (24 h), slow, dripping, HTML and 100 MB (%s of it taken, over the socket's buffers); "+
		"after 24 h 503; a new key worked at its first token, the old one without a failure, a withdrawn one no more; before %v; after %v",
		served, humanize.IBytes(uint64(poured.Load())), before, after)
}

// R7: a flood of tokens under key ids that nobody publishes has the keys fetched at most twice in 30 s, and good tokens
// are served as before.
func TestReliabilityR07UnknownKeyFlood(t *testing.T) {
	keys := newKeyServer(t)
	bed := testbed.Run(t, strings.ReplaceAll(keysSite, "KEYS", keys.URL))
	l := trafficTo(t, bed)
	good := keys.token("one", nil)
	length, rate := bound(time.Second, 30*time.Second), bound(500, 1000)
	run := func(kind, path string, flood int, want int) {
		steadily(rate, length, func(n int) {
			switch {
			case n%20 == 0: // 50 a second
				l.send("good, "+kind, l.request(path, "application/json", "{}", "Bearer "+good), http.StatusOK)
			case flood > 0:
				l.send("unknown, "+kind, l.request(path, "application/json", "{}", "Bearer "+underUnknown(good, n)), want)
			}
			if n%1000 == 0 {
				bed.Logs.Forget()
			}
		})
	}
	run("to warm up", "/past", rate, http.StatusOK) // connections are made once
	run("alone", "/gate", 0, 0)
	before, fetched := measure(), keys.fetched.Load()
	run("in the flood", "/gate", rate, http.StatusUnauthorized)
	fetched = keys.fetched.Load() - fetched
	if fetched > 2 {
		t.Errorf("%d fetches", fetched)
	}
	run("in the flood, past the gate", "/past", rate, http.StatusOK)
	l.judge()
	l.client.CloseIdleConnections()
	bed.Logs.Forget()
	after := settles(t, before, usage{goroutines: 5, descriptors: 5, heap: 10 << 20})
	held(t, "%d unknown key ids in %v at %d/s: %d fetches, all refused: %v; good tokens: %d, all served: alone %v, in the flood %v, in a flood past the gate %v; after: %v",
		l.counted("unknown, in the flood 401"), length, rate, fetched, l.time("unknown, in the flood"), l.counted("good, in the flood 200"),
		l.time("good, alone"), l.time("good, in the flood"), l.time("good, in the flood, past the gate"), after)
}
