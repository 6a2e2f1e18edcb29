package testbed

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// Secret is the secret of the tests' senders.
const Secret = "caddyauth-test-secret-0123456789"

// HS256 makes a token by hand, so that it can be wrong in any way. header adds to, or replaces, the usual members; a
// nil value removes one.
func HS256(t testing.TB, secret string, header, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"alg": "HS256", "typ": "JWT"}
	maps.Copy(all, header)
	maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
	return Sign(secret, encode(t, all)+"."+encode(t, claims))
}

// Sign adds the HMAC-SHA256 of a signing input to it.
func Sign(secret, input string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(input))
	return input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func encode(t testing.TB, value map[string]any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// VonageClaims are those of a genuine Vonage callback with this body, made now. change adds to, or replaces, them; a nil
// value removes one.
func VonageClaims(body string, change map[string]any) map[string]any {
	digest := sha256.Sum256([]byte(body))
	claims := map[string]any{
		"iat": time.Now().Unix(), "jti": rand.Text(), "iss": "Vonage", "api_key": "47000001",
		"application_id": "11111111-2222-3333-4444-555555555555", "payload_hash": hex.EncodeToString(digest[:]),
	}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return claims
}

// Vonage makes a genuine Vonage callback to /hook, signed with Secret.
func Vonage(t testing.TB, body string, change map[string]any) *http.Request {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+HS256(t, Secret, nil, VonageClaims(body, change)))
	return r
}
