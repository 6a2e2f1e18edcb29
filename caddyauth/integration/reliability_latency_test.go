package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/golang-jwt/jwt/v5"
)

// Every callback is delivered at a steady rate, whatever it is signed with. How much later than by the same Caddy without
// the plugin is printed, and depends on the machine.
func TestReliabilityR12AddedLatency(t *testing.T) {
	dir := t.TempDir()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public := func(name string, key any) string {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	gate := func(path, config string) string {
		return "handle /" + path + " {\n" + config + "\nreverse_proxy RECEIVER\n}\n"
	}
	bed := testbed.Run(t, "http:// {\n"+
		gate("plain", "")+
		gate("HS256", "callback_auth vonage {\nsecret "+testbed.Secret+"\n}")+
		gate("RS256", "callback_auth jwt {\npublic_key "+public("rsa.pem", rsaKey.Public())+"\n}")+
		gate("ES256", "callback_auth jwt {\npublic_key "+public("ec.pem", ecKey.Public())+"\n}")+"}\n")
	client := keepAlive(t, bed)
	body := strings.Repeat("x", 1024)
	signed := func(method jwt.SigningMethod, key any) string {
		token, err := jwt.NewWithClaims(method, jwt.MapClaims{"exp": time.Now().Add(time.Hour).Unix()}).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	fixed := map[string]string{"plain": "none", "RS256": signed(jwt.SigningMethodRS256, rsaKey), "ES256": signed(jwt.SigningMethodES256, ecKey)}
	request := func(path string) *http.Request {
		token := fixed[path]
		if token == "" {
			token = testbed.HS256(t, testbed.Secret, nil, testbed.VonageClaims(body, nil))
		}
		r := httptest.NewRequest(http.MethodPost, "http://example.com/"+path, strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		return r
	}
	var failed atomic.Int64
	rate, length, repetitions := bound(100, 500), bound(200*time.Millisecond, 5*time.Second), bound(2, 3)
	sent := 0
	for n := range repetitions {
		figures := fmt.Sprintf("repetition %d at %d/s:", n+1, rate)
		for _, path := range []string{"plain", "HS256", "RS256", "ES256"} {
			var took times
			sent += steadily(rate, length, func(int) {
				r := request(path)
				start := time.Now()
				if status(client, r) != http.StatusOK {
					failed.Add(1)
				}
				took.since(start)
			})
			bed.Receiver.Received()
			figures += fmt.Sprintf(" %s %v;", path, &took)
		}
		held(t, "%s", figures)
	}
	if failed.Load() > 0 {
		t.Errorf("%d of %d callbacks failed", failed.Load(), sent)
	}
	held(t, "%d of %d callbacks delivered, signed in three ways and not at all", sent-int(failed.Load()), sent)
}

// A media server that asks one client after the other gets an answer to each, and a denial where something that the
// decision needs does not answer.
func TestReliabilityR13HookDecisions(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	bed := testbed.Run(t, `http:// {
	handle /plain {
		respond "plain"
	}
	handle /jwt {
		stream_auth antmedia {
			token {
				jwt {
					secret `+testbed.Secret+`
				}
			}
			allow {
				token valid
			}
		}
	}
	handle /hangs {
		stream_auth antmedia {
			token {
				oauth2 {
					audience us
					introspection http://`+silent.Addr().String()+`/introspect {
						client_id we
						client_secret introspection-secret-0123456789
					}
				}
			}
			allow {
				token valid
			}
		}
	}
}
`)
	client := keepAlive(t, bed)
	good := testbed.HS256(t, testbed.Secret, nil, map[string]any{"exp": time.Now().Add(time.Hour).Unix(), "stream": "live/cam1"})
	ask := func(path, token string, took *times) int {
		r := httptest.NewRequest(http.MethodPost, "http://example.com"+path, strings.NewReader(
			`{"appName":"live","streamId":"cam1","mode":"play","token":"`+url.QueryEscape(token)+`"}`))
		r.Header.Set("Content-Type", "application/json")
		start := time.Now()
		got := status(client, r)
		took.since(start)
		return got
	}
	var plain, right, wrong, hanging times
	hooks, hangs := bound(200, 5000), bound(3, 10)
	for n := range hooks { // one after the other, as Ant Media does
		ask("/plain", good, &plain)
		if got := ask("/jwt", good, &right); got != http.StatusOK {
			t.Fatalf("a good token gets %d", got)
		}
		if got := ask("/jwt", fmt.Sprint("bad", n), &wrong); got != http.StatusForbidden {
			t.Fatalf("a bad token gets %d", got)
		}
	}
	for n := range hangs {
		if got := ask("/hangs", fmt.Sprint("opaque-", n), &hanging); got < 400 {
			t.Errorf("with an authorization server that is silent, a hook gets %d", got)
		}
	}
	held(t, "%d hooks one after the other, each answered: good token %v, bad token %v, the same Caddy without the plugin %v; %d with a silent authorization server: each denied, %v",
		hooks, &right, &wrong, &plain, hangs, &hanging)
}
