package schemes_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/golang-jwt/jwt/v5"
)

func jwtBed(t *testing.T, options string) *testbed.Bed {
	t.Helper()
	return testbed.New(t, "http:// {\ncallback_auth jwt {\n"+options+"\n}\nreverse_proxy RECEIVER {\nheader_up X-Who {http.auth.user.id}\n}\n}")
}

func posted(authorization string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(vonageEvent))
	r.Header.Set("Authorization", authorization)
	return r
}

func pemFile(t *testing.T, public crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "public.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestJWTByPublicKey(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, algorithm string
		method          jwt.SigningMethod
		private         any
		public          crypto.PublicKey
		want            int
	}{
		{"RS256 by default", "", jwt.SigningMethodRS256, rsaKey, &rsaKey.PublicKey, 200},
		{"RS512 where it is named", "algorithm RS512", jwt.SigningMethodRS512, rsaKey, &rsaKey.PublicKey, 200},
		{"RS512 where it is not", "", jwt.SigningMethodRS512, rsaKey, &rsaKey.PublicKey, 401},
		{"PS256", "algorithm PS256", jwt.SigningMethodPS256, rsaKey, &rsaKey.PublicKey, 200},
		{"ES256 by default", "", jwt.SigningMethodES256, p256, &p256.PublicKey, 200},
		{"ES384 by the curve", "", jwt.SigningMethodES384, p384, &p384.PublicKey, 200},
		{"EdDSA by default", "", jwt.SigningMethodEdDSA, edKey, public, 200},
		{"another key", "", jwt.SigningMethodES256, p256, &rsaKey.PublicKey, 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			token, err := jwt.NewWithClaims(tc.method, jwt.MapClaims{"sub": "alice", "exp": time.Now().Add(time.Hour).Unix()}).SignedString(tc.private)
			if err != nil {
				t.Fatal(err)
			}
			file := pemFile(t, tc.public)
			for _, value := range []string{file, "{file." + file + "}"} {
				result := status(t, jwtBed(t, "public_key "+value+"\n"+tc.algorithm), posted("Bearer "+token), tc.want)
				if tc.want == 200 && result.Received[0].Header.Get("X-Who") != "alice" {
					t.Errorf("it came from %q", result.Received[0].Header.Get("X-Who"))
				}
			}
		})
	}
}

func TestJWTOptions(t *testing.T) {
	const secret = "secret " + testbed.Secret + "\n"
	soon := time.Now().Add(time.Hour).Unix()
	digest := sha256.Sum256([]byte(vonageEvent))
	for _, tc := range []struct {
		name, options string
		claims        map[string]any
		want          int
	}{
		{"a token with exp", secret, map[string]any{"exp": soon}, 200},
		{"exp-missing-required", secret, map[string]any{"iat": time.Now().Unix()}, 401},
		{"max_age in place of exp", secret + "max_age 5m", map[string]any{"iat": time.Now().Unix()}, 200},
		{"max_age and no iat", secret + "max_age 5m", map[string]any{"exp": soon}, 401},
		{"exp past by less than the leeway", secret, map[string]any{"exp": time.Now().Unix() - 30}, 200},
		{"exp past by more", secret + "leeway 10s", map[string]any{"exp": time.Now().Unix() - 30}, 401},
		{"issuer", secret + "issuer a b", map[string]any{"exp": soon, "iss": "b"}, 200},
		{"iss-wrong", secret + "issuer a b", map[string]any{"exp": soon, "iss": "c"}, 401},
		{"aud-array-match", secret + "audience my-api", map[string]any{"exp": soon, "aud": []string{"other", "my-api"}}, 200},
		{"aud-wrong", secret + "audience my-api", map[string]any{"exp": soon, "aud": "other"}, 401},
		{"aud-array-bypass", secret + "audience my-api", map[string]any{"exp": soon, "aud": []string{"other"}}, 401},
		{"claim", secret + "claim role x hook\nclaim level 3", map[string]any{"exp": soon, "role": "hook", "level": 3}, 200},
		{"claim in a list", secret + "claim role hook", map[string]any{"exp": soon, "role": []string{"a", "hook"}}, 200},
		{"one of two claims", secret + "claim role hook\nclaim level 3", map[string]any{"exp": soon, "role": "hook"}, 401},
		{"a claim of another type", secret + "claim role hook", map[string]any{"exp": soon, "role": map[string]any{"hook": true}}, 401},
		{"body_hash hex", secret + "body_hash h hex", map[string]any{"exp": soon, "h": hex.EncodeToString(digest[:])}, 200},
		{"body_hash base64", secret + "body_hash h base64", map[string]any{"exp": soon, "h": base64.StdEncoding.EncodeToString(digest[:])}, 200},
		{"body_hash of another body", secret + "body_hash h hex", map[string]any{"exp": soon, "h": strings.Repeat("0", 64)}, 401},
		{"body_hash absent", secret + "body_hash h hex", map[string]any{"exp": soon}, 401},
		{"body_hash of another type", secret + "body_hash h hex", map[string]any{"exp": soon, "h": 5}, 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status(t, jwtBed(t, tc.options), posted("Bearer "+testbed.HS256(t, testbed.Secret, nil, tc.claims)), tc.want)
		})
	}
}

func TestJWTFrom(t *testing.T) {
	token := testbed.HS256(t, testbed.Secret, nil, map[string]any{"exp": time.Now().Add(time.Hour).Unix()})
	for _, tc := range []struct {
		name, from, header, value, query string
		want                             int
	}{
		{"a header with a prefix", "from header X-Token Token", "X-Token", "token " + token, "", 200},
		{"a header with another prefix", "from header X-Token Token", "X-Token", "Bearer " + token, "", 401},
		{"a header, bare", "from header X-Token", "X-Token", token, "", 200},
		{"a header, behind Bearer", "from header X-Token", "X-Token", "Bearer " + token, "", 200},
		{"a query parameter", "from query t", "", "", "t=" + token, 200},
		{"the header where a parameter is asked for", "from query t", "Authorization", "Bearer " + token, "", 401},
		{"the parameter where a header is asked for", "", "", "", "t=" + token, 401},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "http://example.com/hook?"+tc.query, strings.NewReader(vonageEvent))
			if tc.header != "" {
				r.Header.Set(tc.header, tc.value)
			}
			status(t, jwtBed(t, "secret "+testbed.Secret+"\n"+tc.from), r, tc.want)
		})
	}
}

func TestJWTAlgorithmsTakePlaceholders(t *testing.T) {
	t.Setenv("CADDYAUTH_ALGORITHM", "HS512")
	bed := jwtBed(t, "secret "+testbed.Secret+"\nmax_age 5m\nalgorithm {env.CADDYAUTH_ALGORITHM}")
	r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", nil)
	r.Header.Set("Authorization", "Bearer "+testbed.HS256(t, testbed.Secret, nil, map[string]any{"iat": time.Now().Unix()}))
	status(t, bed, r, 401) // not the one that is usual with a secret

	t.Setenv("CADDYAUTH_ALGORITHM", "RS256")
	if got := testbed.Refusal(t, "http:// {\ncallback_auth jwt {\nsecret a\nalgorithm {env.CADDYAUTH_ALGORITHM}\n}\n}"); !strings.Contains(got, "cannot be used with RS256") {
		t.Errorf("what the placeholder stands for is not checked: %q", got)
	}
}

func TestJWTConfigurationErrors(t *testing.T) {
	for name, tc := range map[string]struct{ options, want string }{
		"no key":                          {"max_age 5m", "jwt needs"},
		"cf-alg-none":                     {"secret a\nalgorithm none", "none"},
		"cf-alg-none: mixed families":     {"secret a\nalgorithm HS256 RS256", "different kinds"},
		"cf-alg-none: not for a secret":   {"secret a\nalgorithm RS256", "cannot be used with RS256"},
		"a file that is not there":        {"public_key /does/not/exist.pem", "/does/not/exist.pem"},
		"an unknown option":               {"secret a\naudiences b", "'audiences'"},
		"from a cookie":                   {"secret a\nfrom cookie b", "from takes"},
		"body_hash without encoding":      {"secret a\nbody_hash h", "body_hash"},
		"body_hash in another encoding":   {"secret a\nbody_hash h octal", "hex or base64"},
		"a claim without value":           {"secret a\nclaim role", "claim"},
		"an issuer that resolves to none": {"secret a\nissuer {env.CADDYAUTH_NOT_SET}", "issuer"},
	} {
		t.Run(name, func(t *testing.T) {
			got := testbed.Refusal(t, "http:// {\ncallback_auth jwt {\n"+tc.options+"\n}\n}")
			if !strings.Contains(got, tc.want) {
				t.Errorf("the error is %q; want it to say %q", got, tc.want)
			}
		})
	}
}
