package callback_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/golang-jwt/jwt/v5"
)

// replaySite is a site whose callbacks pass once, with these options of replay and of the app.
func replaySite(replay, store string) string {
	return `
{
	caddyauth {
		` + store + `
	}
}
http:// {
	callback_auth {
		vonage {
			account 47000001 ` + testbed.Secret + `
			account 47000002 ` + testbed.Secret + `
			max_age 10m
		}
		` + replay + `
	}
	reverse_proxy RECEIVER
}
`
}

func TestReplay(t *testing.T) {
	id := func() map[string]any { return map[string]any{"jti": rand.Text()} }
	send := func(t *testing.T, bed *testbed.Bed, body string, claims map[string]any) testbed.Result {
		t.Helper()
		return bed.Do(t, testbed.Vonage(t, body, claims))
	}

	t.Run("rp-same: a message passes once", func(t *testing.T) {
		bed := testbed.New(t, replaySite("", ""))
		r := testbed.Vonage(t, event, nil)
		again := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
		again.Header = r.Header.Clone()
		accepted(t, bed.Do(t, r), event)
		refused(t, bed.Do(t, again), 409)
	})
	t.Run("rp-same-jti-new-body", func(t *testing.T) {
		bed, claims := testbed.New(t, replaySite("", "")), id()
		accepted(t, send(t, bed, event, claims), event)
		refused(t, send(t, bed, event+" ", claims), 409)
	})
	t.Run("rp-jti-other-apikey", func(t *testing.T) {
		bed, claims := testbed.New(t, replaySite("", "")), id()
		accepted(t, send(t, bed, event, claims), event)
		claims["api_key"] = "47000002"
		accepted(t, send(t, bed, event, claims), event)
	})
	t.Run("rp-alias-scheme-case", func(t *testing.T) {
		bed := testbed.New(t, replaySite("", ""))
		r := testbed.Vonage(t, event, nil)
		accepted(t, bed.Do(t, r), event)
		again := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
		again.Header.Set("Authorization", "bEARER"+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer"))
		refused(t, bed.Do(t, again), 409)
	})
	t.Run("rp-alias-trailing-bits", func(t *testing.T) {
		bed := testbed.New(t, replaySite("", ""))
		r := testbed.Vonage(t, event, nil)
		accepted(t, bed.Do(t, r), event)
		token := r.Header.Get("Authorization")
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		last := strings.IndexByte(alphabet, token[len(token)-1])
		again := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
		again.Header.Set("Authorization", token[:len(token)-1]+string(alphabet[last^1]))
		refused(t, bed.Do(t, again), 401, 409)
	})
	t.Run("rp-alias-ecdsa", func(t *testing.T) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "public.pem")
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		bed := testbed.New(t, "http:// {\ncallback_auth {\njwt {\npublic_key "+file+"\nmax_age 5m\n}\nreplay {\nwindow 1h\n}\n}\nreverse_proxy RECEIVER\n}")
		token, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iat": time.Now().Unix(), "jti": rand.Text()}).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		post := func(token string) testbed.Result {
			r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
			r.Header.Set("Authorization", "Bearer "+token)
			return bed.Do(t, r)
		}
		accepted(t, post(token), event)
		input, encoded := token[:strings.LastIndexByte(token, '.')], token[strings.LastIndexByte(token, '.')+1:]
		signature, err := base64.RawURLEncoding.DecodeString(encoded)
		if err != nil {
			t.Fatal(err)
		}
		s := new(big.Int).Sub(key.Params().N, new(big.Int).SetBytes(signature[32:]))
		s.FillBytes(signature[32:])
		refused(t, post(input+"."+base64.RawURLEncoding.EncodeToString(signature)), 401, 409)
	})
	t.Run("rp-after-window", func(t *testing.T) {
		bed := testbed.New(t, replaySite("", ""))
		r := testbed.Vonage(t, event, nil)
		accepted(t, bed.Do(t, r), event)
		again := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
		again.Header = r.Header.Clone()
		refused(t, bed.Do(t, again.WithContext(clock.At(again.Context(), time.Now().Add(10*time.Minute+2*time.Second)))), 401)
	})
	t.Run("rp-retry-after-5xx", func(t *testing.T) {
		for _, failure := range []http.HandlerFunc{
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
			func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) },
			func(w http.ResponseWriter, _ *http.Request) { // an answer that breaks off
				w.Header().Set("Content-Length", "100")
				_, _ = io.WriteString(w, "x")
				panic(http.ErrAbortHandler)
			},
		} {
			bed, claims := testbed.Run(t, replaySite("", "")), id()
			bed.Receiver.Answer(failure)
			func() {
				defer func() { _ = recover() }()
				conn := bed.Dial(t)
				r := testbed.Vonage(t, event, claims)
				r.Close = true
				_ = r.Write(conn)
				_, _ = io.Copy(io.Discard, conn)
			}()
			if len(bed.Receiver.Received()) != 1 {
				t.Fatal("the receiver was not asked")
			}
			bed.Receiver.Answer(nil)
			var result testbed.Result
			until(t, func() bool {
				result = send(t, bed, event, claims)
				return result.Status != http.StatusConflict // the gate may still be ending the first
			})
			accepted(t, result, event)
			refused(t, send(t, bed, event, claims), 409)
		}
	})
	t.Run("rp-retry-after-2xx", func(t *testing.T) {
		bed, claims := testbed.New(t, replaySite("", "")), id()
		accepted(t, send(t, bed, event, claims), event)
		refused(t, send(t, bed, event, claims), 409)

		bed, claims = testbed.New(t, replaySite("replay {\non_duplicate acknowledge\n}", "")), id()
		accepted(t, send(t, bed, event, claims), event)
		refused(t, send(t, bed, event, claims), 200)
	})
	t.Run("rp-invalid-not-stored", func(t *testing.T) {
		server := miniredis.RunT(t)
		bed := testbed.New(t, replaySite("", "store redis redis://"+server.Addr()+" {\ntimeout 5s\n}"))
		for range 100 {
			claims := id()
			claims["payload_hash"] = strings.Repeat("0", 64)
			refused(t, send(t, bed, event, claims), 401)
		}
		if keys := server.Keys(); len(keys) != 0 {
			t.Errorf("what was refused left %d keys", len(keys))
		}
		accepted(t, send(t, bed, event, nil), event)
		if keys := server.Keys(); len(keys) != 1 {
			t.Errorf("what was accepted left %d keys", len(keys))
		}
	})
	t.Run("jti-control-chars", func(t *testing.T) {
		server := miniredis.RunT(t)
		for name, options := range map[string]string{"memory": "", "redis": "store redis redis://" + server.Addr() + " {\ntimeout 5s\n}"} {
			bed := testbed.New(t, replaySite("", options))
			for _, jti := range []string{"\r\nSET x y\r\n", "a\x00b", "a b", "\n", "*1\r\n$8\r\nFLUSHALL\r\n", strings.Repeat("j", 4000)} {
				claims := map[string]any{"jti": jti + rand.Text()}
				accepted(t, send(t, bed, event, claims), event)
				refused(t, send(t, bed, event, claims), 409)
				if name == "redis" && server.Exists("x") {
					t.Error("an id was a command")
				}
			}
		}
		for _, key := range server.Keys() {
			if len(key) > 200 || strings.ContainsAny(key, "\r\n\x00 ") {
				t.Errorf("a key of %d bytes, with the id in it", len(key))
			}
		}
		if got := len(server.Keys()); got != 6 {
			t.Errorf("%d keys for 6 ids", got)
		}
	})
	t.Run("a full memory forgets nothing, and lets nothing pass", func(t *testing.T) {
		refused(t, send(t, testbed.New(t, replaySite("", "store memory {\nmax_entries 1\n}")), event, nil), 503)
	})
	t.Run("rp-poison-body", func(t *testing.T) {
		bed := testbed.New(t, replaySite("", ""))
		r := testbed.Vonage(t, event, nil)
		poison := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event+" "))
		poison.Header = r.Header.Clone()
		refused(t, bed.Do(t, poison), 401)
		accepted(t, bed.Do(t, r), event)
	})
	t.Run("ip-signature-wrong-ip", func(t *testing.T) {
		bed := testbed.New(t, strings.Replace(replaySite("", ""), "vonage {", "ip_range 198.51.100.0/24\nvonage {", 1))
		r := testbed.Vonage(t, event, nil)
		elsewhere := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
		elsewhere.Header = r.Header.Clone()
		refused(t, bed.Do(t, elsewhere), 403)
		r.RemoteAddr = "198.51.100.1:1"
		accepted(t, bed.Do(t, r), event)
	})
	t.Run("a message without an id", func(t *testing.T) {
		claims := map[string]any{"jti": nil}
		refused(t, send(t, testbed.New(t, replaySite("", "")), event, claims), 401)
		bed := testbed.New(t, replaySite("replay off", ""))
		accepted(t, send(t, bed, event, claims), event)
		accepted(t, send(t, bed, event, claims), event)
	})
}

func TestReplayAcrossReloads(t *testing.T) {
	bed := testbed.Run(t, replaySite("", ""))
	r := testbed.Vonage(t, event, nil)
	again := func() *http.Request {
		again := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
		again.Header = r.Header.Clone()
		return again
	}
	accepted(t, bed.Do(t, r), event)
	for range 3 {
		bed.Reload(t, replaySite("replay {\nwindow 30m\n}", ""))
		refused(t, bed.Do(t, again()), 409)
		bed.Reload(t, replaySite("", ""))
		refused(t, bed.Do(t, again()), 409)
	}
}

// Caddy cleans the old config up at once, and does not wait for requests of it. What becomes of their messages is
// remembered by the store they came from, also where the new config has another.
func TestAMessageThatIsUnderWayDuringAReload(t *testing.T) {
	server := miniredis.RunT(t)
	redis := func(timeout string) string {
		return "store redis redis://" + server.Addr() + " {\ntimeout " + timeout + "\n}"
	}
	bed := testbed.Run(t, replaySite("", redis("5s")))
	arrived, answer := make(chan struct{}), make(chan struct{})
	bed.Receiver.Answer(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-answer
	})
	claims, conn := map[string]any{"jti": rand.Text()}, bed.Dial(t)
	_ = testbed.Vonage(t, event, claims).Write(conn)
	<-arrived
	bed.Receiver.Received()
	bed.Reload(t, replaySite("", redis("6s")))
	refused(t, bed.Do(t, testbed.Vonage(t, event, claims)), 409)
	close(answer)
	result, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _ = result.Body.Close(); result.StatusCode != http.StatusOK {
		t.Fatalf("status %d", result.StatusCode)
	}
	server.FastForward(3 * time.Minute) // a reservation is over by then
	refused(t, bed.Do(t, testbed.Vonage(t, event, claims)), 409)
}

// copies sends one message many times at once, and returns how many copies were answered with each status.
func copies(t *testing.T, n int, beds ...*testbed.Bed) map[int]int {
	t.Helper()
	r := testbed.Vonage(t, event, nil)
	var mu sync.Mutex
	var done sync.WaitGroup
	statuses := make(map[int]int)
	for i := range n {
		done.Go(func() {
			one := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
			one.Header = r.Header.Clone()
			status := beds[i%len(beds)].Status(one)
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
		})
	}
	done.Wait()
	return statuses
}

func TestOneOfManyCopiesPasses(t *testing.T) {
	rounds := 50
	if os.Getenv("CADDYAUTH_REAL") == "require" {
		rounds = 1000
	}
	server := miniredis.RunT(t)
	for _, tc := range []struct {
		name, store string
		rounds      int
	}{
		{"rp-concurrent-100", "", rounds},
		{"rp-two-nodes-redis", "store redis redis://" + server.Addr() + " {\ntimeout 5s\n}", rounds / 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			// Two configurations share the memory of the process, or the Redis, as two Caddys would.
			one, other := testbed.New(t, replaySite("", tc.store)), testbed.New(t, replaySite("", tc.store))
			for range tc.rounds {
				statuses := copies(t, 100, one, other)
				got := len(one.Receiver.Received()) + len(other.Receiver.Received())
				if statuses[200] != 1 || statuses[409] != 99 || got != 1 {
					t.Fatalf("answers %v, the receivers got %d; want 1 accepted, and 99 refused with 409", statuses, got)
				}
			}
		})
	}
}

func TestACopyInFlightIsNotAcknowledged(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	bed := testbed.New(t, replaySite("replay {\non_duplicate acknowledge\n}", ""))
	bed.Receiver.Answer(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived)
		<-release
		w.WriteHeader(http.StatusInternalServerError)
	})
	claims := map[string]any{"jti": rand.Text()}
	first := make(chan int)
	go func() { first <- bed.Status(testbed.Vonage(t, event, claims)) }()
	<-arrived
	if status := bed.Status(testbed.Vonage(t, event, claims)); status != http.StatusServiceUnavailable {
		t.Errorf("a copy got %d while nobody knew whether the first would be delivered; want 503", status)
	}
	close(release)
	if status := <-first; status != http.StatusInternalServerError {
		t.Errorf("the first got %d", status)
	}
}

func TestAClientThatGoesAwayBurnsNothing(t *testing.T) {
	arrived, gone := make(chan struct{}), make(chan struct{})
	bed := testbed.New(t, replaySite("", ""))
	bed.Receiver.Answer(func(http.ResponseWriter, *http.Request) {
		close(arrived)
		<-gone
	})
	claims := map[string]any{"jti": rand.Text()}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = recover() }()
		bed.Status(testbed.Vonage(t, event, claims).WithContext(ctx))
	}()
	<-arrived
	cancel()
	<-done
	close(gone)
	bed.Receiver.Received()
	bed.Receiver.Answer(nil)
	accepted(t, bed.Do(t, testbed.Vonage(t, event, claims)), event)
}

// The receiver answers 2xx, and the client goes away while the answer is on its way: the message was delivered. One whose
// answer said that it failed was not.
func TestAClientThatGoesAwayInTheMiddleOfAnAnswer(t *testing.T) {
	for status, want := range map[int]int{http.StatusOK: http.StatusOK, http.StatusInternalServerError: http.StatusAccepted} {
		bed := testbed.Run(t, replaySite("replay {\non_duplicate acknowledge\n}", ""))
		bed.Receiver.Answer(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		claims := map[string]any{"jti": rand.Text()}
		conn := bed.Dial(t)
		_ = testbed.Vonage(t, event, claims).Write(conn)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || answer.StatusCode != status {
			t.Fatalf("%v, error %v", answer, err)
		}
		_ = conn.Close()
		_ = answer.Body.Close()
		bed.Receiver.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
		var got int
		until(t, func() bool {
			got = bed.Do(t, testbed.Vonage(t, event, claims)).Status
			return got != http.StatusServiceUnavailable // the gate may still be ending the first
		})
		if got != want {
			t.Errorf("after a %d that did not reach the client a copy got %d, should be %d", status, got, want)
		}
	}
}

// That a client goes away is not that the store is: its message does not pass twice where on_store_error lets some.
func TestAClientThatGoesAwayIsNoFailureOfTheStore(t *testing.T) {
	server := miniredis.RunT(t)
	for name, options := range map[string]string{"memory": "", "redis": "store redis redis://" + server.Addr() + " {\ntimeout 5s\n}"} {
		bed := testbed.New(t, strings.Replace(replaySite("replay {\non_store_error allow\n}", options), "reverse_proxy RECEIVER", "respond received", 1))
		gone, leave := context.WithCancel(t.Context())
		leave()
		claims := map[string]any{"jti": rand.Text()}
		first, copied := bed.Status(testbed.Vonage(t, event, claims).WithContext(gone)), bed.Status(testbed.Vonage(t, event, claims).WithContext(gone))
		if first != http.StatusOK || copied != http.StatusConflict {
			t.Errorf("%s: a message of a client that is gone got %d, and its copy %d", name, first, copied)
		}
		if len(bed.Logs.Lines(t, "the replay store failed")) > 0 {
			t.Errorf("%s: the log says that the store failed", name)
		}
	}
}

func TestReplayWithoutItsStore(t *testing.T) {
	const away = "store redis redis://127.0.0.1:1 {\ntimeout 50ms\n}"
	result := testbed.New(t, replaySite("", away)).Do(t, testbed.Vonage(t, event, nil))
	refused(t, result, http.StatusServiceUnavailable)
	if result.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	t.Run("rp-redis-down-failopen", func(t *testing.T) {
		bed := testbed.New(t, replaySite("replay {\non_store_error allow\n}", away))
		accepted(t, bed.Do(t, testbed.Vonage(t, event, nil)), event)
		if !strings.Contains(bed.Logs.String(), "messages may pass twice") || len(bed.Logs.Lines(t, "the replay store failed")) == 0 {
			t.Error("the log does not say so")
		}
	})
	t.Run("nothing that is forged passes while it is away", func(t *testing.T) {
		bed := testbed.New(t, replaySite("replay {\non_store_error allow\n}", away))
		refused(t, bed.Do(t, testbed.Vonage(t, event, map[string]any{"iss": "x"})), 401)
	})
}

func TestReplayConfigurationErrors(t *testing.T) {
	for name, tc := range map[string]struct{ block, want string }{
		"a window shorter than freshness": {"vonage {\nsecret a\n}\nreplay {\nwindow 1m\n}", "shorter than"},
		"a freshness that overflows":      {"vonage {\nsecret a\nmax_age 2562047h\n}", "cannot be remembered"},
		"a leeway that overflows":         {"jwt {\nsecret a\nmax_age 5m\nleeway 2562047h\n}\nreplay {\nwindow 1h\n}", "cannot be remembered"},
		"schemes without ids":             {"api_key {\nheader X\nkey a\n}\nreplay {\nwindow 1m\n}", "no signed id"},
		"no clock and no window":          {"jwt {\nsecret a\n}\nreplay {\non_duplicate reject\n}", "needs a window"},
		"another word":                    {"vonage {\nsecret a\n}\nreplay on", "replay takes"},
		"an empty block":                  {"vonage {\nsecret a\n}\nreplay {\n}", "replay takes"},
		"an unknown option":               {"vonage {\nsecret a\n}\nreplay {\nttl 5m\n}", "'ttl'"},
		"twice":                           {"vonage {\nsecret a\n}\nreplay off\nreplay off", "already specified"},
		"a wrong word in it":              {"vonage {\nsecret a\n}\nreplay {\non_duplicate drop\n}", "'drop'"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := testbed.Refusal(t, "http:// {\ncallback_auth {\n"+tc.block+"\n}\n}"); !strings.Contains(got, tc.want) {
				t.Errorf("the error is %q; want it to say %q", got, tc.want)
			}
		})
	}
}
