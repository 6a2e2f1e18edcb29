package schemes_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"golang.org/x/net/websocket"
)

const (
	callResource = "00000000-1111-2222-3333-444444444444"
	callIssuer   = "https://acscallautomation.communication.azure.com"
)

// calls is a site for Call Automation whose keys come from i.
func calls(i *issuer) string {
	return site(`callback_auth azure_call_automation {
		audience ` + callResource + `
		openid_configuration ` + i.URL + `/calling/.well-known/acsopenidconfiguration
	}`)
}

func TestCallAutomationAcceptsItsOwnCallbacksOnly(t *testing.T) {
	i := newIssuer(t, callIssuer)
	bed := testbed.New(t, calls(i))
	now := time.Now()
	for _, c := range []struct {
		name   string
		token  string
		status int
		reason string
	}{
		{"a callback of ours", i.token(t, map[string]any{"aud": callResource}), 200, "ok"},
		{"one without subject or nbf, as documented", i.token(t, map[string]any{"aud": callResource, "sub": nil}), 200, "ok"},
		{"another customer's", i.token(t, map[string]any{"aud": "99999999-1111-2222-3333-444444444444"}), 401, "bad_claim"},
		{"no audience", i.token(t, map[string]any{"aud": nil}), 401, "bad_claim"},
		{"another issuer", i.token(t, map[string]any{"aud": callResource, "iss": callIssuer + "/"}), 401, "bad_claim"},
		{"no issuer", i.token(t, map[string]any{"aud": callResource, "iss": nil}), 401, "bad_claim"},
		{"no end", i.token(t, map[string]any{"aud": callResource, "exp": nil}), 401, "bad_claim"},
		{"over, within the leeway", i.token(t, map[string]any{"aud": callResource, "exp": now.Add(-50 * time.Second).Unix()}), 200, "ok"},
		{"over", i.token(t, map[string]any{"aud": callResource, "exp": now.Add(-61 * time.Second).Unix()}), 401, "expired"},
		{"a key of nobody's", i.tokenBy(t, "k9", nil, map[string]any{"aud": callResource}), 401, "unknown_key"},
		{"a forged signature", i.tokenBy(t, "k9", map[string]any{"kid": "k1"}, map[string]any{"aud": callResource}), 401, "bad_signature"},
		{"an HMAC", testbed.HS256(t, "x", map[string]any{"kid": "k1"}, map[string]any{"aud": callResource}), 401, "bad_credential"},
		{"no token", "", 401, "missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			expect(t, bed.Do(t, hook(c.token)), c.status)
			if lines := bed.Logs.Lines(t, "callback refused"); c.status != 200 && lines[len(lines)-1]["reason"] != c.reason {
				t.Errorf("reason %v; want %s", lines[len(lines)-1]["reason"], c.reason)
			}
		})
	}
	// The unknown key id made one fetch more than the first token.
	if n := i.fetches.Load(); n != 4 {
		t.Errorf("%d fetches; want 4, of metadata and keys twice", n)
	}
}

func TestMadeUpKeyIdsCostTheIssuerNothing(t *testing.T) {
	i := newIssuer(t, callIssuer)
	bed := testbed.New(t, calls(i))
	good := i.token(t, map[string]any{"aud": callResource})
	expect(t, bed.Do(t, hook(good)), 200)
	t.Run("jwks-unknown-kid-flood", func(t *testing.T) {
		parts := strings.Split(good, ".")
		for range 1000 {
			header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"` + rand.Text() + `"}`))
			if status := bed.Do(t, hook(header+"."+parts[1]+"."+parts[2])).Status; status != 401 {
				t.Fatalf("status %d", status)
			}
		}
		expect(t, bed.Do(t, hook(good)), 200)
	})
	t.Run("jwks-badsig-known-kid-flood", func(t *testing.T) {
		for range 1000 {
			if status := bed.Do(t, hook(good[:len(good)-40]+strings.Repeat("A", 40))).Status; status != 401 {
				t.Fatalf("status %d", status)
			}
		}
	})
	if n := i.fetches.Load(); n != 4 {
		t.Errorf("%d fetches; want 4, of metadata and keys twice", n)
	}
}

func TestCallAutomationFetchesNothingWhileLoading(t *testing.T) {
	testbed.New(t, site(`callback_auth azure_call_automation {
		audience `+callResource+`
	}`))
}

// issuerSites are all the ways of having an issuer's keys, each with the claims of a token that it accepts. trusted says
// that the metadata's word for the issuer is taken.
var issuerSites = map[string]struct {
	issuer  string // empty: its URL
	site    func(*issuer) string
	claims  map[string]any
	trusted bool
}{
	"jwt": {callIssuer, func(i *issuer) string {
		return site("callback_auth jwt {\nopenid_configuration " + i.metadata() + "\nissuer " + callIssuer + "\naudience " + callResource + "\n}")
	}, map[string]any{"aud": callResource}, false},
	"jwt by jwks": {callIssuer, func(i *issuer) string {
		return site("callback_auth jwt {\njwks " + i.URL + "/keys\naudience " + callResource + "\n}")
	}, map[string]any{"aud": callResource}, true},
	"oauth2": {"", func(i *issuer) string {
		return site("callback_auth oauth2 {\nissuer " + i.URL + "\naudience our-api\n}")
	}, nil, false},
	"azure_call_automation": {callIssuer, calls, map[string]any{"aud": callResource}, true},
	"azure_event_grid": {"https://login.microsoftonline.com/" + gridTenant + "/v2.0", func(i *issuer) string {
		return site("callback_auth azure_event_grid {\nentra {\ntenant " + gridTenant + "\naudience a\nopenid_configuration " + i.metadata() + "\n}\n}")
	}, map[string]any{"aud": "a", "azp": gridApp}, true},
}

// What cannot be decided is never called bad: the sender tries again. Keys that were held go on serving.
func TestAnIssuerThatFails(t *testing.T) {
	for scheme, c := range issuerSites {
		for name := range failures(nil) {
			if name == "wrong issuer" && c.trusted {
				continue
			}
			slow := name == "hanging" || name == "slow drip"
			t.Run(scheme+", "+name, func(t *testing.T) {
				t.Run("at start", func(t *testing.T) {
					i := newIssuer(t, c.issuer)
					i.broken = failures(i)[name]
					bed := testbed.New(t, c.site(i))
					undecided(t, bed.Do(t, impatient(t, hook(i.token(t, c.claims)))))
					undecided(t, bed.Do(t, impatient(t, hook(i.token(t, c.claims)))))
					// Nothing is asked again for half a minute, and the next one is good.
					i.set(func() { i.broken = nil })
					undecided(t, bed.Do(t, impatient(t, hook(i.token(t, c.claims)))))
					if !slow { // whose fetch may still be under way
						expect(t, bed.Do(t, later(hook(i.token(t, c.claims)), 31*time.Second)), 200)
					}
				})
				t.Run("later", func(t *testing.T) {
					i := newIssuer(t, c.issuer)
					bed := testbed.New(t, c.site(i))
					expect(t, bed.Do(t, hook(i.token(t, c.claims))), 200)
					i.set(func() { i.broken = failures(i)[name] })
					servesOn(t, bed, i, c.claims)
					if !slow || scheme == "jwt" { // for which a token then waits a second: once is enough
						servesForADay(t, bed, i, c.claims)
					}
				})
			})
		}
		t.Run(scheme+", connections refused", func(t *testing.T) {
			t.Run("at start", func(t *testing.T) {
				i := newIssuer(t, c.issuer)
				i.Close()
				bed := testbed.New(t, c.site(i))
				undecided(t, bed.Do(t, hook(i.token(t, c.claims))))
			})
			t.Run("later", func(t *testing.T) {
				i := newIssuer(t, c.issuer)
				bed := testbed.New(t, c.site(i))
				expect(t, bed.Do(t, hook(i.token(t, c.claims))), 200)
				i.Close()
				servesOn(t, bed, i, c.claims)
				servesForADay(t, bed, i, c.claims)
			})
		})
	}
}

// servesOn says that the keys that are held go on serving when their issuer fails, and that no other token is called bad.
func servesOn(t *testing.T, bed *testbed.Bed, i *issuer, claims map[string]any) {
	t.Helper()
	expect(t, bed.Do(t, hook(i.token(t, claims))), 200)
	undecided(t, bed.Do(t, impatient(t, hook(i.tokenBy(t, "k2", nil, claims)))))
	expect(t, bed.Do(t, hook(i.token(t, claims))), 200)
}

// servesForADay says for how long.
func servesForADay(t *testing.T, bed *testbed.Bed, i *issuer, claims map[string]any) {
	t.Helper()
	lasting := map[string]any{"exp": time.Now().Add(48 * time.Hour).Unix()}
	maps.Copy(lasting, claims)
	long := i.token(t, lasting)
	expect(t, bed.Do(t, later(hook(long), 23*time.Hour)), 200)
	undecided(t, bed.Do(t, impatient(t, later(hook(long), 25*time.Hour))))
}

func TestACallsWebSocketIsVerifiedOnItsHandshake(t *testing.T) {
	i := newIssuer(t, callIssuer)
	reached := make(chan struct{}, 10)
	echo := httptest.NewServer(websocket.Handler(func(conn *websocket.Conn) {
		reached <- struct{}{}
		_, _ = io.Copy(conn, conn)
	}))
	t.Cleanup(echo.Close)
	for name, schemes := range map[string]string{"": `azure_call_automation {
		audience ` + callResource + `
		openid_configuration ` + i.metadata() + `
	}`, "and a key": `api_key {
		query key
		key a-key-in-the-query-0123456789abcdef
	}
	azure_call_automation {
		audience ` + callResource + `
		openid_configuration ` + i.metadata() + `
	}`} {
		t.Run("ht-websocket-good "+name, func(t *testing.T) {
			bed := testbed.Run(t, "http:// {\n callback_auth {\n"+schemes+"\n}\n reverse_proxy "+echo.Listener.Addr().String()+"\n}")
			handshake := func(query, token string) (*websocket.Conn, error) {
				config, err := websocket.NewConfig("ws://example.com/media?"+query, "http://example.com")
				if err != nil {
					t.Fatal(err)
				}
				config.Header.Set("X-Ms-Call-Connection-Id", "c1")
				if token != "" {
					config.Header.Set("Authorization", "Bearer "+token)
				}
				return websocket.NewClient(config, bed.Dial(t))
			}
			const key = "key=a-key-in-the-query-0123456789abcdef"
			day := map[string]any{"aud": callResource, "exp": time.Now().Add(24 * time.Hour).Unix()}
			conn, err := handshake(key, i.token(t, day))
			if err != nil {
				t.Fatalf("a genuine handshake was refused: %v", err)
			}
			<-reached
			for _, frame := range []string{`{"kind":"AudioMetadata"}`, `{"kind":"AudioData"}`} {
				if err := websocket.Message.Send(conn, frame); err != nil {
					t.Fatal(err)
				}
				var got string
				if err := websocket.Message.Receive(conn, &got); err != nil || got != frame {
					t.Fatalf("sent %q, got back %q: %v", frame, got, err)
				}
			}
			_ = conn.Close()
			forged := i.tokenBy(t, "k9", map[string]any{"kid": "k1"}, day)
			attempts := [][2]string{{key, ""}, {key, forged}, {key, i.token(t, map[string]any{"aud": "another"})}}
			if name != "" {
				attempts = append(attempts, [2]string{"", i.token(t, day)}, [2]string{"key=wrong", i.token(t, day)})
			}
			for _, attempt := range attempts {
				if _, err := handshake(attempt[0], attempt[1]); err == nil {
					t.Errorf("a handshake with %q was accepted", attempt)
				}
			}
			if len(reached) > 0 {
				t.Error("a refused handshake reached the receiver")
			}
			raw := bed.Raw(t, "GET /media?"+key+" HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", false)
			if raw.Status != http.StatusUnauthorized {
				t.Errorf("a handshake without a token got %d", raw.Status)
			}
		})
	}
}

func TestCallAutomationConfigs(t *testing.T) {
	adaptsBothWays(t, "azure_call_automation", []fixture{{"every option", `azure_call_automation {
		audience a b
		openid_configuration https://example.com/x
		leeway 5s
	}`, mustJSON(t, map[string]any{
		"audiences": []string{"a", "b"}, "openid_configuration": "https://example.com/x", "leeway": 5 * time.Second,
	})}})
	refusesMistakes(t, []mistake{
		{"no audience", "azure_call_automation", []string{"audience is required"}},
		{"an empty audience", "azure_call_automation {\naudience {env.NOBODY_SET_THIS}\n}", []string{"audience is empty"}},
		{"jwks-http-url-config", "azure_call_automation {\naudience a\nopenid_configuration http://keys.example.com/\n}", []string{"https"}},
		{"a secret", "azure_call_automation {\nsecret hush\n}", []string{"unknown option 'secret'"}},
		{"an argument", "azure_call_automation a", nil},
	})
}

func mustJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
