package jose

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/golang-jwt/jwt/v5"
)

// now is when the tests take place: two seconds after the iat of the vectors.
var now = time.Unix(1700000002, 0)

const (
	secretA = "caddyauth-test-secret-0123456789"
	secretB = "caddyauth-test-secret-9876543210"

	headerHS256 = `{"alg":"HS256","typ":"JWT"}`

	// The claims of reference vector "Vonage, signed webhook".
	claimsVonage = `{"iat":1700000000,"jti":"0b9f1c1e-0000-4000-8000-000000000001","iss":"Vonage",` +
		`"payload_hash":"4ff9581807fe4cd180195b7b0c0bf7697531b8d177a8cac88b984bdf055a3d78","api_key":"47000001",` +
		`"application_id":"11111111-2222-3333-4444-555555555555"}`
)

// segment encodes one segment.
func segment(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// unsegment decodes one segment.
func unsegment(tb testing.TB, text string) []byte {
	tb.Helper()
	data, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// mint signs exactly this header and these claims.
func mint(tb testing.TB, method jwt.SigningMethod, key any, header, claims string) string {
	tb.Helper()
	return seal(tb, method, key, segment(header)+"."+segment(claims))
}

// seal appends a signature over input, whatever input is.
func seal(tb testing.TB, method jwt.SigningMethod, key any, input string) string {
	tb.Helper()
	signature, err := method.Sign(input, key)
	if err != nil {
		tb.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// hs256 signs exactly this header and these claims with secretA.
func hs256(tb testing.TB, header, claims string) string {
	tb.Helper()
	return mint(tb, jwt.SigningMethodHS256, []byte(secretA), header, claims)
}

// withClaim signs the control's claims after changing the first of old into new.
func withClaim(tb testing.TB, old, new string) string {
	tb.Helper()
	if !strings.Contains(claimsVonage, old) {
		tb.Fatalf("no %s in the claims", old)
	}
	return hs256(tb, headerHS256, strings.Replace(claimsVonage, old, new, 1))
}

// withMember signs the control's claims and more of them.
func withMember(tb testing.TB, members string) string {
	tb.Helper()
	return withClaim(tb, "{", "{"+members+",")
}

// keys gives always the same keys.
func keys(list ...Key) KeySource {
	return func(context.Context, *Token) ([]Key, error) { return list, nil }
}

// vonage is the control's policy.
func vonage() *Policy {
	return &Policy{
		Algorithms: []string{"HS256"},
		Keys:       keys(SecretKey("a", []byte(secretA))),
		Issuers:    []string{"Vonage"},
		MaxAge:     5 * time.Minute,
		Leeway:     time.Minute,
	}
}

// with changes a policy.
func with(p *Policy, change func(*Policy)) *Policy {
	change(p)
	return p
}

// reason is what Verify came to. It holds Verify to its contract: a *verdict.Error, no text of the token in it, and a
// token only with those reasons that a genuine token can have.
func reason(tb testing.TB, p *Policy, compact string, at time.Time) verdict.Reason {
	tb.Helper()
	token, err := p.Verify(context.Background(), compact, at)
	if err == nil {
		if token == nil || token.Key == "" {
			tb.Error("accepted without a token or without the label of its key")
		}
		return verdict.OK
	}
	var refusal *verdict.Error
	if !errors.As(err, &refusal) {
		tb.Fatalf("%T is not a refusal", err)
	}
	genuine := refusal.Reason == verdict.BadClaim || refusal.Reason == verdict.Expired ||
		refusal.Reason == verdict.NotYetValid
	if genuine != (token != nil) {
		tb.Errorf("%v: token returned: %v", refusal.Reason, token != nil)
	}
	for part := range strings.SplitSeq(compact, ".") {
		if len(part) > 3 && strings.Contains(err.Error(), part) {
			tb.Error("the error holds a part of the token")
		}
	}
	return refusal.Reason
}

// keyring holds one private key of each kind.
type keyring struct {
	rsa              *rsa.PrivateKey
	p256, p384, p521 *ecdsa.PrivateKey
	ed25519          ed25519.PrivateKey
}

func newKeyring(tb testing.TB) keyring {
	tb.Helper()
	var k keyring
	var err error
	if k.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		tb.Fatal(err)
	}
	for curve, to := range map[elliptic.Curve]**ecdsa.PrivateKey{
		elliptic.P256(): &k.p256, elliptic.P384(): &k.p384, elliptic.P521(): &k.p521,
	} {
		if *to, err = ecdsa.GenerateKey(curve, rand.Reader); err != nil {
			tb.Fatal(err)
		}
	}
	if _, k.ed25519, err = ed25519.GenerateKey(rand.Reader); err != nil {
		tb.Fatal(err)
	}
	return k
}
