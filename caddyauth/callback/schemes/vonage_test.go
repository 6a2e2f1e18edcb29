package schemes_test

import (
	"crypto/rand"
	"encoding/base64"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

const vonageEvent = `{"event":"archiveStarted"}`

// vonageBed runs a site with a vonage block of these options.
func vonageBed(t *testing.T, options string) *testbed.Bed {
	t.Helper()
	return testbed.New(t, "http:// {\ncallback_auth vonage {\n"+options+"\n}\nreverse_proxy RECEIVER {\n"+
		"header_up X-Who {http.auth.user.id}\nheader_up X-Key {http.callback_auth.key}\nheader_up X-Id {http.callback_auth.id}\n}\n}")
}

// signedWith makes a callback signed with a secret.
func signedWith(t *testing.T, secret string, change map[string]any) *http.Request {
	t.Helper()
	r := testbed.Vonage(t, vonageEvent, nil)
	r.Header.Set("Authorization", "Bearer "+testbed.HS256(t, secret, nil, testbed.VonageClaims(vonageEvent, change)))
	return r
}

func status(t *testing.T, bed *testbed.Bed, r *http.Request, want int) testbed.Result {
	t.Helper()
	result := bed.Do(t, r)
	if result.Status != want {
		t.Fatalf("status %d, want %d", result.Status, want)
	}
	if received := len(result.Received); (received == 1) != (want == http.StatusOK) {
		t.Fatalf("status %d, and the receiver got %d requests", result.Status, received)
	}
	return result
}

func TestVonageAnySecretMatchesAndItsLabelSaysWhich(t *testing.T) {
	bed := vonageBed(t, "secret first-secret-first-secret-first-1 old\nsecret second-secret-second-secret-two new")
	for secret, label := range map[string]string{"first-secret-first-secret-first-1": "old", "second-secret-second-secret-two": "new"} {
		result := status(t, bed, signedWith(t, secret, nil), 200)
		if got := result.Received[0].Header.Get("X-Key"); got != label {
			t.Errorf("key %q, want %q", got, label)
		}
	}
	status(t, bed, signedWith(t, "third-secret-third-secret-third-3", nil), 401)
	status(t, bed, signedWith(t, "", nil), 401)
}

func TestVonageAccountsAreBoundToTheirSecrets(t *testing.T) {
	bed := vonageBed(t, "account a1b2c3d secret-of-a-secret-of-a-secret-of-a other-of-a-other-of-a-other-of-a\naccount b1b2c3d secret-of-b-secret-of-b-secret-of-b")
	a, b := "secret-of-a-secret-of-a-secret-of-a", "secret-of-b-secret-of-b-secret-of-b"
	for _, tc := range []struct {
		name, secret string
		apiKey       any
		want         int
	}{
		{"CONTROL an account with its secret", a, "a1b2c3d", 200},
		{"CONTROL an account with its other secret", "other-of-a-other-of-a-other-of-a", "a1b2c3d", 200},
		{"CONTROL the other account", b, "b1b2c3d", 200},
		{"apikey-unknown", a, "c1b2c3d", 401},
		{"apikey-type", a, 123, 401},
		{"apikey-type: a list", a, []string{"a1b2c3d"}, 401},
		{"apikey-type: none", a, nil, 401},
		{"apikey-case", a, "A1B2C3D", 401},
		{"apikey-cross", a, "b1b2c3d", 401},
		{"apikey-placeholder", a, "{env.HOME}", 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			result := status(t, bed, signedWith(t, tc.secret, map[string]any{"api_key": tc.apiKey}), tc.want)
			if tc.want == 200 && result.Received[0].Header.Get("X-Who") != tc.apiKey {
				t.Errorf("it came from %q", result.Received[0].Header.Get("X-Who"))
			}
		})
	}
}

func TestVonageOptions(t *testing.T) {
	secret := "secret " + testbed.Secret + "\n"
	raw := "caddyauth\x00binary\xffsecret-0123456789"
	moved := func(name, prefix string) func(r *http.Request) {
		return func(r *http.Request) {
			r.Header.Set(name, prefix+strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
			r.Header.Del("Authorization")
		}
	}
	for _, tc := range []struct {
		name, options, secret string
		claims                map[string]any
		change                func(r *http.Request)
		want                  int
	}{
		{"application_id: one of them", secret + "application_id x 11111111-2222-3333-4444-555555555555", testbed.Secret, nil, nil, 200},
		{"application_id: another", secret + "application_id x y", testbed.Secret, nil, nil, 401},
		{"application_id: none", secret + "application_id x", testbed.Secret, map[string]any{"application_id": nil}, nil, 401},
		{"application_id: of a wrong type, though not asked for", secret, testbed.Secret, map[string]any{"application_id": 5}, nil, 401},
		{"max_age: younger", secret + "max_age 1h", testbed.Secret, map[string]any{"iat": time.Now().Unix() - 3000}, nil, 200},
		{"max_age: older", secret + "max_age 1h", testbed.Secret, map[string]any{"iat": time.Now().Unix() - 3601}, nil, 401},
		{"iat-missing", secret, testbed.Secret, map[string]any{"iat": nil}, nil, 401},
		{"exp counts where there is one", secret, testbed.Secret, map[string]any{"exp": time.Now().Unix() - 61}, nil, 401},
		{"jti-empty", secret, testbed.Secret, map[string]any{"jti": ""}, nil, 401},
		{"header: behind Bearer", secret + "header Vonage-Signature", testbed.Secret, nil, moved("Vonage-Signature", "Bearer "), 200},
		{"header: bare", secret + "header X-Vonage-Webhook-Auth-Token", testbed.Secret, nil, moved("X-Vonage-Webhook-Auth-Token", ""), 200},
		{"header: still in Authorization", secret + "header Vonage-Signature", testbed.Secret, nil, nil, 401},
		{"header: beside a query that does not parse", secret + "header Vonage-Signature", testbed.Secret, nil, func(r *http.Request) {
			moved("Vonage-Signature", "Bearer ")(r)
			r.Method, r.Body, r.ContentLength, r.URL.RawQuery = http.MethodGet, http.NoBody, 0, "a=%zz"
		}, 400},
		{"secret_encoding base64", "secret " + base64.StdEncoding.EncodeToString([]byte(raw)) + "\nsecret_encoding base64", raw, nil, nil, 200},
		{
			"secret_encoding base64: the text itself", "secret " + base64.StdEncoding.EncodeToString([]byte(raw)) + "\nsecret_encoding base64",
			base64.StdEncoding.EncodeToString([]byte(raw)), nil, nil, 401,
		},
		{"payload_hash off: another body", secret + "payload_hash off", testbed.Secret, map[string]any{"payload_hash": "x"}, nil, 200},
		{"a token of HS512", secret, testbed.Secret, nil, func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+testbed.HS256(t, testbed.Secret, map[string]any{"alg": "HS512"}, testbed.VonageClaims(vonageEvent, nil)))
		}, 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := signedWith(t, tc.secret, tc.claims)
			if tc.change != nil {
				tc.change(r)
			}
			status(t, vonageBed(t, tc.options), r, tc.want)
		})
	}
}

func TestVonageWarnsOfAShortSecretAndNeverShowsOne(t *testing.T) {
	bed := vonageBed(t, "secret tiny-secret tiny-label")
	status(t, bed, signedWith(t, "tiny-secret", nil), 200)
	status(t, bed, signedWith(t, "another", nil), 401)
	logs := bed.Logs.String()
	if !strings.Contains(logs, "secret is short") || !strings.Contains(logs, "tiny-label") {
		t.Error("no warning about the short secret")
	}
	if strings.Contains(logs, "tiny-secret") {
		t.Error("the secret is in the log")
	}
}

func TestVonageConfigurationErrors(t *testing.T) {
	for name, tc := range map[string]struct{ options, want string }{
		"no secret":               {"max_age 5m", "secret"},
		"a bad encoding":          {"secret a\nsecret_encoding hex", "'hex'"},
		"not base64":              {"secret !!!\nsecret_encoding base64", "cannot be decoded"},
		"a max_age of nothing":    {"secret a\nmax_age 0s", "max_age"},
		"account without secret":  {"account a", "account"},
		"payload_hash of a word":  {"secret a\npayload_hash maybe", "'maybe'"},
		"two words for a header":  {"secret a\nheader a b", "header"},
		"an argument on its name": {"secret a\n} extra {", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := testbed.Refusal(t, "http:// {\ncallback_auth vonage {\n"+tc.options+"\n}\n}")
			if !strings.Contains(got, tc.want) {
				t.Errorf("the error is %q; want it to say %q", got, tc.want)
			}
			if strings.Contains(got, "!!!") {
				t.Error("the secret is in the error")
			}
		})
	}
}

func TestVonageClaimsArePlaceholders(t *testing.T) {
	bed := testbed.New(t, `
http:// {
	callback_auth vonage {
		secret `+testbed.Secret+`
	}
	respond "{http.callback_auth.claim.application_id}|{http.callback_auth.claim.n}|{http.callback_auth.claim.none}|{http.callback_auth.id}"
}`)
	id := rand.Text()
	claims := testbed.VonageClaims(vonageEvent, map[string]any{"n": 5, "jti": id})
	r := testbed.Vonage(t, vonageEvent, nil)
	r.Header.Set("Authorization", "Bearer "+testbed.HS256(t, testbed.Secret, nil, maps.Clone(claims)))
	if got := bed.Do(t, r).Body; got != "11111111-2222-3333-4444-555555555555|5||"+id {
		t.Errorf("placeholders are %q", got)
	}
}
