package callback_test

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// siteWith is a site whose callback_auth has these lines in its block.
func siteWith(block string) string {
	return "http:// {\n\tcallback_auth {\n" + block + "\n\t}\n\treverse_proxy RECEIVER\n}\n"
}

// Each of them would leave the gate open, or open to somebody, if it were taken.
func badGates(t *testing.T) map[string]string {
	t.Helper()
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"cf-no-method":                      siteWith("max_body 1MiB"),
		"cf-no-method, in an any":           siteWith("any {\n}"),
		"cf-secret-file-missing":            siteWith("vonage {\nsecret {file./does/not/exist}\n}"),
		"cf-secret-file-missing, empty":     siteWith("vonage {\nsecret {file." + empty + "}\n}"),
		"cf-alg-none":                       siteWith("jwt {\nsecret " + testbed.Secret + "\nalgorithm none\n}"),
		"cf-alg-none, RS256 with a secret":  siteWith("jwt {\nsecret " + testbed.Secret + "\nalgorithm RS256\n}"),
		"cf-alg-none, two families":         siteWith("jwt {\nsecret " + testbed.Secret + "\nalgorithm HS256 ES256\n}"),
		"cf-dup-apikey":                     siteWith("vonage {\naccount a b\naccount a c\n}"),
		"cf-unknown-option":                 siteWith("vonage {\nsecrets " + testbed.Secret + "\n}"),
		"cf-unknown-option, of the handler": siteWith("max_bodys 1MiB\nvonage {\nsecret " + testbed.Secret + "\n}"),
	}
}

func TestConfigurationsThatWouldLeaveTheGateOpen(t *testing.T) {
	for name, site := range badGates(t) {
		t.Run(name, func(t *testing.T) {
			refusal := testbed.Refusal(t, site)
			if strings.HasPrefix(name, "cf-unknown-option") && !regexp.MustCompile(`Caddyfile:\d+`).MatchString(refusal) {
				t.Errorf("the error names no line: %s", refusal)
			}
		})
	}
	t.Run("cf-short-secret", func(t *testing.T) {
		bed := testbed.New(t, siteWith("vonage {\nsecret short\n}"))
		if lines := bed.Logs.Lines(t, "secret is short: it should have at least 32 random bytes"); len(lines) != 1 || lines[0]["level"] != "warn" {
			t.Errorf("%d warnings", len(lines))
		}
	})
	t.Run("cf-secret-file-missing, a newline at its end is none of the secret", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(file, []byte(testbed.Secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		accepted(t, testbed.New(t, siteWith("vonage {\nsecret {file."+file+"}\n}")).Do(t, testbed.Vonage(t, event, nil)), event)
	})
}

// answered sends a request over a connection of its own and returns the status; 0 where the config that ends closed the
// connection without a verdict. TestReliabilityR01ReloadUnderLoad is about that.
func answered(t *testing.T, bed *testbed.Bed, r *http.Request) int {
	conn := bed.Dial(t)
	defer func() { _ = conn.Close() }()
	if r.Write(conn) != nil {
		return 0
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		return 0
	}
	return response.StatusCode
}

func TestReloadsOfTheGate(t *testing.T) {
	const other = "another-secret-of-the-sender-0123456789"
	old, both, next := "secret "+testbed.Secret+" old", "secret "+testbed.Secret+" old\nsecret "+other+" next", "secret "+other+" next"
	vonage := func(secrets string) string { return siteWith("vonage {\n" + secrets + "\n}\nreplay off") }
	bed := testbed.Run(t, vonage(old))
	t.Run("cf-reload-bad", func(t *testing.T) {
		for name, site := range badGates(t) {
			if err := bed.TryReload(t, site); err == nil {
				t.Errorf("%s was loaded", name)
			}
			accepted(t, bed.Do(t, testbed.Vonage(t, event, nil)), event)
			refused(t, bed.Do(t, testbed.Vonage(t, event, map[string]any{"iss": "x"})), http.StatusUnauthorized)
		}
	})
	t.Run("cf-reload-secret-rotation", func(t *testing.T) {
		stop := make(chan struct{})
		var senders sync.WaitGroup
		var mu sync.Mutex
		seen := map[string]int{}
		for _, secret := range []string{testbed.Secret, "a-guess-that-is-long-enough-0123456789"} {
			senders.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
					r.Header.Set("Authorization", "Bearer "+testbed.HS256(t, secret, nil, testbed.VonageClaims(event, nil)))
					if status := answered(t, bed, r); status != 0 {
						mu.Lock()
						seen[fmt.Sprint(secret == testbed.Secret, " ", status)]++
						mu.Unlock()
					}
				}
			})
		}
		for range 20 {
			bed.Reload(t, vonage(both))
			bed.Reload(t, vonage(old))
		}
		close(stop)
		senders.Wait()
		if len(seen) != 2 {
			t.Errorf("outcomes by whether the secret is right: %v", seen)
		}
		for outcome := range seen {
			if outcome != "true 200" && outcome != "false 401" {
				t.Errorf("outcomes by whether the secret is right: %v", seen)
			}
		}
		bed.Reload(t, vonage(next))
		// Caddy ends the server of the config before in the background: it may take a request or two yet.
		status := 0
		for tries := 0; status != http.StatusUnauthorized && tries < 1000; tries++ {
			status = answered(t, bed, testbed.Vonage(t, event, nil))
		}
		if status != http.StatusUnauthorized {
			t.Errorf("after the old secret is gone: %d", status)
		}
	})
}

func TestTheGateStandsBeforeTheReceiverWhereverItIsWritten(t *testing.T) {
	const scheme = "callback_auth vonage {\nsecret " + testbed.Secret + "\n}\n"
	for name, body := range map[string]string{
		"cf-order":                        scheme + "reverse_proxy RECEIVER",
		"cf-order, written behind":        "reverse_proxy RECEIVER\n" + scheme,
		"cf-order, in handle":             "handle /hook {\nreverse_proxy RECEIVER\n" + scheme + "}",
		"cf-order, in handle_path":        "handle_path /ho* {\nreverse_proxy RECEIVER\n" + scheme + "}",
		"cf-order, in route":              "route {\n" + scheme + "reverse_proxy RECEIVER\n}",
		"cf-order, with rewrite":          "rewrite * /elsewhere\nreverse_proxy RECEIVER\n" + scheme,
		"cf-subroute-error, in an invoke": "invoke gate",
	} {
		t.Run(name, func(t *testing.T) {
			site := "http:// {\n" + body + "\n}\n"
			if strings.Contains(body, "invoke") {
				site = "&(gate) {\nroute {\n" + scheme + "reverse_proxy RECEIVER\n}\n}\n" + site // of several directives Caddy keeps the last
			}
			bed := testbed.New(t, site)
			refused(t, bed.Do(t, httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))), http.StatusUnauthorized)
			accepted(t, bed.Do(t, testbed.Vonage(t, event, nil)), event)
		})
	}
	t.Run("cf-subroute-error", func(t *testing.T) {
		bed := testbed.New(t, "http:// {\nerror 404\nhandle_errors {\nreverse_proxy RECEIVER\n"+scheme+"}\n}\n")
		result := bed.Do(t, httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event)))
		if len(result.Received) != 0 {
			t.Error("an unsigned request reached the receiver by the error route")
		}
	})
}

func TestTwoSitesAreTwoGates(t *testing.T) {
	t.Run("cf-two-servers", func(t *testing.T) {
		bed := testbed.New(t, `
http:// {
	handle /one {
		callback_auth vonage {
			secret `+testbed.Secret+`
		}
		reverse_proxy RECEIVER
	}
	handle /two {
		callback_auth vonage {
			secret another-secret-of-the-sender-0123456789
		}
		reverse_proxy RECEIVER
	}
}`)
		send := func(path string) testbed.Result {
			r := testbed.Vonage(t, event, nil)
			r.URL.Path, r.RequestURI = path, path
			return bed.Do(t, r)
		}
		accepted(t, send("/one"), event)
		refused(t, send("/two"), http.StatusUnauthorized)
	})
}

func TestStepsOfTheWallClockMoveNoReplayMemory(t *testing.T) {
	bed := testbed.New(t, vonageSite)
	at := func(r *http.Request, step time.Duration) testbed.Result {
		again := httptest.NewRequest(r.Method, r.URL.String(), strings.NewReader(event))
		again.Header = r.Header
		return bed.Do(t, again.WithContext(clock.At(again.Context(), time.Now().Add(step))))
	}
	t.Run("rp-clock-back", func(t *testing.T) {
		genuine := testbed.Vonage(t, event, nil)
		accepted(t, at(genuine, 0), event)
		refused(t, at(genuine, -30*time.Second), http.StatusConflict)
		refused(t, at(genuine, -time.Hour), http.StatusUnauthorized) // from the future, by that clock
		refused(t, at(genuine, 0), http.StatusConflict)
	})
	t.Run("rp-clock-forward", func(t *testing.T) {
		genuine := testbed.Vonage(t, event, nil)
		accepted(t, at(genuine, 0), event)
		refused(t, at(genuine, time.Hour), http.StatusUnauthorized)
		refused(t, at(genuine, 0), http.StatusConflict)
	})
}
