package jose

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/golang-jwt/jwt/v5"
)

func TestKnownTokens(t *testing.T) {
	// Tokens that others made: the examples of RFC 7515 A.1 to A.3, and Vonage's form from our reference vectors.
	const rfcClaims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	point := append([]byte{4}, unsegment(t, "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU")...)
	point = append(point, unsegment(t, "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0")...)
	p256, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		t.Fatal(err)
	}
	modulus := unsegment(t, "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ")
	rfcTime := time.Unix(1300819379, 0)
	for _, test := range []struct {
		name, alg, token string
		key              Key
		at               time.Time
		maxAge           time.Duration
	}{
		{
			"RFC 7515 A.1", "HS256",
			"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + rfcClaims + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
			Key{Secret: unsegment(t, "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")},
			rfcTime, 0,
		},
		{
			"RFC 7515 A.2", "RS256",
			"eyJhbGciOiJSUzI1NiJ9." + rfcClaims +
				".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
			Key{Public: &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537}},
			rfcTime, 0,
		},
		{
			"RFC 7515 A.3", "ES256",
			"eyJhbGciOiJFUzI1NiJ9." + rfcClaims +
				".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
			Key{Public: p256},
			rfcTime, 0,
		},
		{
			"Vonage", "HS256",
			"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDAsImp0aSI6IjBiOWYxYzFlLTAwMDAtNDAwMC04MDAwLTAwMDAwMDAwMDAwMSIsImlzcyI6IlZvbmFnZSIsInBheWxvYWRfaGFzaCI6IjRmZjk1ODE4MDdmZTRjZDE4MDE5NWI3YjBjMGJmNzY5NzUzMWI4ZDE3N2E4Y2FjODhiOTg0YmRmMDU1YTNkNzgiLCJhcGlfa2V5IjoiNDcwMDAwMDEiLCJhcHBsaWNhdGlvbl9pZCI6IjExMTExMTExLTIyMjItMzMzMy00NDQ0LTU1NTU1NTU1NTU1NSJ9.D2z3Onh1_PTpMGuRaK3lA58kUw0LQ4ZJ7UEZh1gP9dA",
			Key{Secret: []byte(secretA)},
			now, 5 * time.Minute,
		},
		{
			"Vonage, as its own package signs", "HS256",
			"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDAsImp0aSI6ImM1YmE4ZjI0LTFhMTQtNGMxMC1iZmRmLTNmYmU4Y2U1MTFiNSIsImlzcyI6IlZvbmFnZSIsInBheWxvYWRfaGFzaCI6IjZiYjY3MzA0MWJkZjAzZWM0OWRlMDUwZDc4YWI0MGY4YWE4ZDVmODljODdiNzczMWVkMDZiMmMyNWNhZjI1ODQiLCJhcGlfa2V5IjoiYTFiMmMzZCIsImFwcGxpY2F0aW9uX2lkIjoiYWFhYWFhYWEtYmJiYi1jY2NjLWRkZGQtMDEyMzQ1Njc4OWFiIn0.ZXAGuYXVLGuqS53C55oEzC0OpvUvz597wzS9rY6MrjI",
			Key{Secret: []byte("0123456789abcdef0123456789abcdef")},
			now, 5 * time.Minute,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.key.Label = "k"
			p := &Policy{Algorithms: []string{test.alg}, Keys: keys(test.key), MaxAge: test.maxAge}
			if got := reason(t, p, test.token, test.at); got != ok {
				t.Error(got)
			}
		})
	}
}

func TestEveryAlgorithmVerifiesItsOwnKeyOnly(t *testing.T) {
	ring := newKeyring(t)
	secret := []byte(secretA)
	type signer struct {
		method  jwt.SigningMethod
		private any
		key     Key
	}
	signers := map[string]signer{
		"EdDSA":   {jwt.SigningMethodEdDSA, ring.ed25519, Key{Public: ring.ed25519.Public()}},
		"Ed25519": {jwt.SigningMethodEdDSA, ring.ed25519, Key{Public: ring.ed25519.Public()}},
		"ES256":   {jwt.SigningMethodES256, ring.p256, Key{Public: &ring.p256.PublicKey}},
		"ES384":   {jwt.SigningMethodES384, ring.p384, Key{Public: &ring.p384.PublicKey}},
		"ES512":   {jwt.SigningMethodES512, ring.p521, Key{Public: &ring.p521.PublicKey}},
	}
	for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodHS384, jwt.SigningMethodHS512} {
		signers[method.Alg()] = signer{method, secret, Key{Secret: secret}}
	}
	for _, method := range []jwt.SigningMethod{
		jwt.SigningMethodRS256, jwt.SigningMethodRS384, jwt.SigningMethodRS512,
		jwt.SigningMethodPS256, jwt.SigningMethodPS384, jwt.SigningMethodPS512,
	} {
		signers[method.Alg()] = signer{method, ring.rsa, Key{Public: &ring.rsa.PublicKey}}
	}
	for alg, by := range signers {
		t.Run(alg, func(t *testing.T) {
			if _, known := algorithmOf(alg); !known {
				t.Fatal("unknown")
			}
			token := mint(t, by.method, by.private, `{"alg":"`+alg+`"}`, claimsVonage)
			for other, of := range signers {
				a, _ := algorithmOf(alg)
				b, _ := algorithmOf(other)
				same := a.family == b.family || a.family <= familyPSS && b.family <= familyPSS && a.family*b.family == familyRSA*familyPSS
				if a.family == familyECDSA {
					same = alg == other
				}
				want := unknownKey
				if same {
					want = ok
				}
				key := of.key
				key.Label = other
				p := with(vonage(), func(p *Policy) { p.Algorithms, p.Keys = []string{alg}, keys(key) })
				if got := reason(t, p, token, now); got != want {
					t.Errorf("with the key of %s: got %s, want %s", other, got, want)
				}
				if p.Algorithms = []string{other}; alg != other && reason(t, p, token, now) != badCredential {
					t.Errorf("a policy of %s took it", other)
				}
			}
		})
	}
}

func TestKeysThatNeverVerify(t *testing.T) {
	ring := newKeyring(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("this Go makes no small RSA keys")
	}
	claims := claimsVonage
	rs := func(key *rsa.PrivateKey) string {
		return mint(t, jwt.SigningMethodRS256, key, `{"alg":"RS256"}`, claims)
	}
	es := mint(t, jwt.SigningMethodES256, ring.p256, `{"alg":"ES256"}`, claims)
	hs := hs256(t, headerHS256, claims)
	for _, test := range []struct {
		name, alg, token string
		key              Key
	}{
		{"nothing", "HS256", hs, Key{}},
		{"an RSA key of 1024 bits", "RS256", rs(small), Key{Public: &small.PublicKey}},
		{"a nil RSA key", "RS256", rs(ring.rsa), Key{Public: (*rsa.PublicKey)(nil)}},
		{"an RSA key without a modulus", "RS256", rs(ring.rsa), Key{Public: &rsa.PublicKey{E: 65537}}},
		{"an RSA key with the exponent 1", "RS256", rs(ring.rsa), Key{Public: &rsa.PublicKey{N: ring.rsa.N, E: 1}}},
		{"an RSA key by value", "RS256", rs(ring.rsa), Key{Public: ring.rsa.PublicKey}},
		{"an RSA private key", "RS256", rs(ring.rsa), Key{Public: ring.rsa}},
		{"a nil EC key", "ES256", es, Key{Public: (*ecdsa.PublicKey)(nil)}},
		{"an EC key without a curve", "ES256", es, Key{Public: &ecdsa.PublicKey{}}},
		{
			"a short Ed25519 key", "EdDSA", mint(t, jwt.SigningMethodEdDSA, ring.ed25519, `{"alg":"EdDSA"}`, claims),
			Key{Public: ed25519.PublicKey{1, 2, 3}},
		},
		{"a secret that is a public key too", "HS256", hs, Key{Secret: []byte(secretA), Public: &ring.rsa.PublicKey}},
		{"a public key that is a secret too", "RS256", rs(ring.rsa), Key{Secret: []byte(secretA), Public: &ring.rsa.PublicKey}},
		{"a key for another algorithm", "HS256", hs, Key{Secret: []byte(secretA), Algorithms: []string{"HS512"}}},
		{"a key of another id", "HS256", hs256(t, `{"alg":"HS256","kid":"x"}`, claims), Key{Secret: []byte(secretA), ID: "X"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.key.Label = "k"
			p := with(vonage(), func(p *Policy) { p.Algorithms, p.Keys = []string{test.alg}, keys(test.key) })
			if got := reason(t, p, test.token, now); got != unknownKey {
				t.Error(got)
			}
		})
	}
	t.Run("an EC key without a point, or off the curve", func(t *testing.T) {
		for _, point := range []*ecdsa.PublicKey{
			{Curve: elliptic.P256()},
			{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}, //nolint:staticcheck // wrong on purpose
			{Curve: elliptic.P256(), X: big.NewInt(0), Y: big.NewInt(0)}, //nolint:staticcheck // wrong on purpose
		} {
			p := with(vonage(), func(p *Policy) { p.Algorithms, p.Keys = []string{"ES256"}, keys(Key{Label: "k", Public: point}) })
			if got := reason(t, p, es, now); got != unknownKey && got != badSignature {
				t.Error(got)
			}
		}
	})
}

func TestTheKeyThatMatchedIsNamed(t *testing.T) {
	token := hs256(t, headerHS256, claimsVonage)
	for _, test := range []struct {
		name, want string
		keys       []Key
	}{
		{"the first", "new", []Key{{Label: "new", Secret: []byte(secretA)}, {Label: "old", Secret: []byte(secretB)}}},
		{"the second", "old", []Key{{Label: "new", Secret: []byte(secretB)}, {Label: "old", Secret: []byte(secretA)}}},
		{"the first of two that are equal", "a", []Key{{Label: "a", Secret: []byte(secretA)}, {Label: "b", Secret: []byte(secretA)}}},
		{"one that is for this algorithm", "b", []Key{
			{Label: "a", Secret: []byte(secretA), Algorithms: []string{"HS512"}},
			{Label: "b", Secret: []byte(secretA), Algorithms: []string{"HS512", "HS256"}},
		}},
		{"one with an id, for a token without", "a", []Key{{Label: "a", ID: "x", Secret: []byte(secretA)}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := with(vonage(), func(p *Policy) { p.Keys = keys(test.keys...) })
			got, err := p.Verify(context.Background(), token, now)
			if err != nil || got.Key != test.want {
				t.Errorf("got %v, %v", got, err)
			}
			// A genuine token that is too old says so too.
			got, err = p.Verify(context.Background(), token, now.Add(time.Hour))
			if verdict.Of(err).Reason != expired || got == nil || got.Key != test.want {
				t.Errorf("expired: got %v, %v", got, err)
			}
		})
	}
}

func TestClaimsAreJudgedAfterTheSignature(t *testing.T) {
	forged := func(claims string) string {
		return mint(t, jwt.SigningMethodHS256, []byte(secretB), headerHS256, claims)
	}
	for name, claims := range map[string]string{
		"expired":       `{"iss":"Vonage","iat":1600000000,"exp":1600000001}`,
		"not yet valid": `{"iss":"Vonage","iat":1700000000,"nbf":1800000000}`,
		"another iss":   `{"iss":"evil","iat":1700000000}`,
		"without iat":   `{"iss":"Vonage"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got := reason(t, vonage(), forged(claims), now); got != badSignature {
				t.Error(got)
			}
		})
	}
}

func TestKeysOwnErrors(t *testing.T) {
	token := hs256(t, headerHS256, claimsVonage)
	for _, test := range []struct {
		name string
		err  error
		want verdict.Reason
	}{
		{"an error nobody foresaw is unavailable", errors.New(secretA), verdict.Unavailable},
		{"a refusal is passed on", verdict.Errorf(unknownKey, "account"), unknownKey},
		{"a wrapped refusal is passed on", fmt.Errorf("x: %w", verdict.Errorf(verdict.Denied, "")), verdict.Denied},
		{"a context's end is unavailable", context.Canceled, verdict.Unavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := with(vonage(), func(p *Policy) {
				p.Keys = func(context.Context, *Token) ([]Key, error) { return nil, test.err }
			})
			got, err := p.Verify(context.Background(), token, now)
			if got != nil || verdict.Of(err).Reason != test.want || strings.Contains(err.Error(), secretA) {
				t.Errorf("got %v", verdict.Of(err).Reason)
			}
		})
	}
	t.Run("no key source is unavailable", func(t *testing.T) {
		if got := reason(t, with(vonage(), func(p *Policy) { p.Keys = nil }), token, now); got != verdict.Unavailable {
			t.Error(got)
		}
	})
	t.Run("the zero policy refuses", func(t *testing.T) {
		if got := reason(t, &Policy{}, token, now); got != badCredential {
			t.Error(got)
		}
	})
	t.Run("a token that does not parse asks for no keys", func(t *testing.T) {
		p := with(vonage(), func(p *Policy) {
			p.Keys = func(context.Context, *Token) ([]Key, error) { t.Error("asked"); return nil, nil }
		})
		reason(t, p, token+".", now)
	})
}

func TestCheck(t *testing.T) {
	set := func(algorithms ...string) func(*Policy) { return func(p *Policy) { p.Algorithms = algorithms } }
	for _, test := range []struct {
		name   string
		change func(*Policy)
		holds  bool
	}{
		{"the control", func(*Policy) {}, true},
		{"all HMACs", set("HS256", "HS384", "HS512"), true},
		{"all PKCS #1 v1.5", set("RS256", "RS384", "RS512"), true},
		{"all PSS", set("PS256", "PS384", "PS512"), true},
		{"all ECDSA", set("ES256", "ES384", "ES512"), true},
		{"both names of Ed25519", set("EdDSA", "Ed25519"), true},
		{"no algorithm", set(), false},
		{"none", set("none"), false},
		{"none beside another", set("HS256", "none"), false},
		{"an empty algorithm", set(""), false},
		{"lower case", set("hs256"), false},
		{"an unknown one", set("ES256K"), false},
		{"HMAC and RSA", set("HS256", "RS256"), false},
		{"RSA and PSS", set("RS256", "PS256"), false},
		{"RSA and ECDSA", set("RS256", "ES256"), false},
		{"ECDSA and EdDSA", set("ES256", "EdDSA"), false},
		{"no keys", func(p *Policy) { p.Keys = nil }, false},
		{"an empty type", func(p *Policy) { p.Types = []string{"JWT", ""} }, false},
		{"an empty issuer", func(p *Policy) { p.Issuers = []string{""} }, false},
		{"an empty audience", func(p *Policy) { p.Audiences = []string{"a", ""} }, false},
		{"a negative age", func(p *Policy) { p.MaxAge = -1 }, false},
		{"a negative leeway", func(p *Policy) { p.Leeway = -1 }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := with(vonage(), test.change).Check(); (err == nil) != test.holds {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestWhatATokenSays(t *testing.T) {
	p := &Policy{
		Algorithms: []string{"HS256"}, Types: []string{"at+jwt"},
		Keys: func(_ context.Context, unverified *Token) ([]Key, error) {
			if unverified.KeyID != "k" || unverified.Issuer != "i" || unverified.Algorithm != "HS256" || unverified.Key != "" {
				t.Errorf("the key source saw %+v", unverified)
			}
			return []Key{{Label: "label", ID: "k", Secret: []byte(secretA)}}, nil
		},
	}
	token, err := p.Verify(context.Background(), hs256(t, `{"alg":"HS256","kid":"k","typ":"AT+jwt"}`,
		`{"iss":"i","sub":"s","jti":"j","aud":["a","b"],"exp":1700000100.25,"nbf":1,"iat":1700000000,"n":1.50,"big":9007199254740993,`+
			`"t":true,"f":false,"z":null,"e":"","list":[1, "x"],"object":{"a" : null}}`), now)
	if err != nil {
		t.Fatal(err)
	}
	if token.Algorithm != "HS256" || token.Type != "AT+jwt" || token.KeyID != "k" || token.Key != "label" ||
		token.Issuer != "i" || token.Subject != "s" || token.ID != "j" || !slices.Equal(token.Audience, []string{"a", "b"}) {
		t.Errorf("got %+v", token)
	}
	if !token.Expires.Equal(time.Unix(1700000100, 25e7)) || token.NotBefore.Unix() != 1 || token.IssuedAt.Unix() != 1700000000 {
		t.Errorf("times %v %v %v", token.Expires, token.NotBefore, token.IssuedAt)
	}
	for name, want := range map[string]string{
		"iss": "i", "exp": "1700000100.25", "n": "1.50", "big": "9007199254740993", "t": "true", "f": "false", "e": "",
		"list": `[1,"x"]`, "object": `{"a":null}`, "aud": `["a","b"]`,
	} {
		if got, ok := token.Text(name); !ok || got != want {
			t.Errorf("%s: got %q", name, got)
		}
	}
	for _, name := range []string{"z", "absent", "ISS", ""} {
		if got, ok := token.Text(name); ok {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if got, ok := new(Token).Text("x"); ok {
		t.Errorf("the empty token says %q", got)
	}
}

func TestAKeyDoesNotPrint(t *testing.T) {
	key := Key{Label: "label", Secret: []byte(secretA)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%q", "%d"} {
		if got := fmt.Sprintf(verb, key) + fmt.Sprintf(verb, []Key{key}); strings.Contains(got, secretA) ||
			strings.Contains(got, fmt.Sprintf("%x", secretA)) || !strings.Contains(got, "label") {
			t.Errorf("%s prints more than the label", verb)
		}
	}
	if data, err := json.Marshal([]any{key, &key}); err != nil || string(data) != `["label","label"]` {
		t.Error("JSON holds more than the label")
	}
}

func TestASegmentHasBase64urlsLettersOnly(t *testing.T) {
	for which := range 3 {
		for c := range 256 {
			parts := []string{segment(headerHS256), segment(claimsVonage), "AAAA"}
			parts[which] = parts[which][:4] + string([]byte{byte(c)}) + parts[which][4:]
			_, err := base64.RawURLEncoding.DecodeString("AAA" + string([]byte{byte(c)}))
			if letter := err == nil && c != '\r' && c != '\n'; letter {
				continue
			}
			if _, _, refusal := vonage().parse(strings.Join(parts, ".")); refusal == nil || refusal.Reason != verdict.BadCredential {
				t.Errorf("byte %d in segment %d is not refused", c, which)
			}
		}
	}
}

func TestAPreparedSecretHoldsWhatTheSecretHolds(t *testing.T) {
	for alg, method := range map[string]jwt.SigningMethod{
		"HS256": jwt.SigningMethodHS256, "HS384": jwt.SigningMethodHS384, "HS512": jwt.SigningMethodHS512,
	} {
		p := with(vonage(), func(p *Policy) {
			p.Algorithms, p.Issuers = []string{alg}, nil
			p.Keys = keys(SecretKey("b", []byte(secretB)), SecretKey("a", []byte(secretA)))
		})
		genuine := mint(t, method, []byte(secretA), `{"alg":"`+alg+`"}`, claimsVonage)
		forged := mint(t, method, []byte("another secret"), `{"alg":"`+alg+`"}`, claimsVonage)
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for range 50 {
					if got := reason(t, p, genuine, now); got != ok {
						t.Errorf("%s: a genuine token is %s", alg, got)
					}
					if got := reason(t, p, forged, now); got != verdict.BadSignature {
						t.Errorf("%s: a forged token is %s", alg, got)
					}
				}
			})
		}
		group.Wait()
	}
}

// FuzzVerify holds Verify to golang-jwt: whatever we accept, its parser accepts with the same key, and the token is the
// only spelling of what it says. It signs any header and any claims, and tries any text.
func FuzzVerify(f *testing.F) {
	f.Add(headerHS256, claimsVonage, hs256(f, headerHS256, claimsVonage))
	f.Add(`{"alg":"HS256","kid":"x"}`, `{"iss":"Vonage","iat":1700000000.5,"exp":17000001e2,"aud":["a"]}`, "a.b.c")
	f.Add(`{"alg":"HS256","crit":["b64"]}`, `{"iss":"Vonage","iat":1700000000,"iat":1}`, "..")
	f.Add(`{"alg":"none"}`, `{"exp":0,"x":[[[[{}]]]]}`, "eyJhbGciOiJub25lIn0.e30.")
	for _, claims := range []string{ // of the attacks in attack_test.go
		`{"iat":1700000000,"exp":17000000600.5,"nbf":1.7e9,"aud":"b"}`, `{"iat":1700000000,"sub":null}`, `{"exp":"1700000600"}`, `{"iat":1e300}`,
		`{"iat":1700000000,"EXP":1}`, `{"iat":1700000000,"exp":-0}`, `{"iat":1700000000,"aud":[1]}`, claimsVonage + " x", `{"iat":1700000000,"x":"\ud800"}`,
	} {
		f.Add(headerHS256, claims, "x")
	}
	ring := newKeyring(f)
	secret := []byte(secretA)
	type signer struct {
		policy       *Policy
		method       jwt.SigningMethod
		sign, verify any
	}
	var signers []signer
	for _, by := range []signer{
		{nil, jwt.SigningMethodHS256, secret, secret},
		{nil, jwt.SigningMethodES256, ring.p256, &ring.p256.PublicKey},
		{nil, jwt.SigningMethodEdDSA, ring.ed25519, ring.ed25519.Public()},
	} {
		by.policy = vonage()
		by.policy.Issuers, by.policy.Algorithms, by.policy.Keys = nil, []string{by.method.Alg()}, keys(Key{Label: "k", Public: by.verify})
		if by.method == jwt.SigningMethodHS256 {
			by.policy.Keys = keys(SecretKey("k", secret))
		}
		signers = append(signers, by)
	}
	f.Fuzz(func(t *testing.T, header, claims, text string) {
		for _, by := range signers {
			header := strings.ReplaceAll(header, "HS256", by.method.Alg()) // so that what is found for one is tried with the others
			for _, compact := range []string{mint(t, by.method, by.sign, header, claims), text} {
				if reason(t, by.policy, compact, now) != ok {
					continue
				}
				ours, err := by.policy.Verify(t.Context(), compact, now)
				if err != nil {
					t.Fatalf("accepted once, and then not: %v", err)
				}
				parser := jwt.NewParser(jwt.WithStrictDecoding(), jwt.WithValidMethods([]string{by.method.Alg()}), jwt.WithIssuedAt(),
					jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithLeeway(time.Minute+time.Second)) // it cuts fractions off
				theirs := jwt.MapClaims{}
				if _, err := parser.ParseWithClaims(compact, theirs, func(*jwt.Token) (any, error) { return by.verify, nil }); err != nil {
					t.Fatalf("golang-jwt refuses: %v", err)
				}
				if !reflect.DeepEqual(ours.Claims.Any(), map[string]any(theirs)) {
					t.Fatal("golang-jwt reads other claims")
				}
				for part := range strings.SplitSeq(compact, ".") {
					if base64.RawURLEncoding.EncodeToString(unsegment(t, part)) != part {
						t.Fatal("a segment has another spelling")
					}
				}
				dot := strings.LastIndexByte(compact, '.')
				if err := by.method.Verify(compact[:dot], unsegment(t, compact[dot+1:]), by.verify); err != nil {
					t.Fatal("not the signature of this text")
				}
				mac := hmac.New(sha256.New, secret)
				mac.Write([]byte(compact[:dot]))
				if by.method == jwt.SigningMethodHS256 && base64.RawURLEncoding.EncodeToString(mac.Sum(nil)) != compact[dot+1:] {
					t.Fatal("not the signature of this text")
				}
			}
		}
	})
}
