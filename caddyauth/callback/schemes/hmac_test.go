package schemes

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

func macHex(key, text string) string {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil))
}

// Senders met in the wild that have no scheme of their own can be written down with the options of hmac.
func TestHMACCanSayHowOtherSendersSign(t *testing.T) {
	const body = `{"a":1}`
	sha512MAC := hmac.New(sha512.New, []byte("key"))
	sha512MAC.Write([]byte("POST /cb application/json " + body))
	hash := sha256.Sum256([]byte(body))
	decoded := hmac.New(sha256.New, []byte("abc"))
	decoded.Write([]byte("1700000000\n" + body))
	for name, test := range map[string]struct {
		options []string
		header  map[string]string
		id      bool
	}{
		"the body alone, bare": {
			[]string{"secret key", "header Sig"},
			map[string]string{"Sig": macHex("key", body)},
			false,
		},
		"iron.xyz: time and body, hex behind v1=": {
			[]string{"secret key", "header X-Signature", "prefix v1=", "payload {timestamp}{body}", "timestamp header X-Timestamp"},
			map[string]string{"X-Signature": "v1=" + macHex("key", "1700000000"+body), "X-Timestamp": "1700000000"},
			false,
		},
		"HaloPSA: a space behind the prefix": {
			[]string{"secret key", "header Sig", `prefix "sha256= "`},
			map[string]string{"Sig": "sha256= " + macHex("key", body)},
			false,
		},
		"as Stripe": {
			[]string{"secret key", "header Sig", "signature pair v1", "timestamp pair t", "payload {timestamp}.{body}"},
			map[string]string{"Sig": "t=1700000000,v1=" + macHex("key", "1700000000."+body)},
			false,
		},
		"as Paddle": {
			[]string{"secret key", "header Sig", "signature pair h1", "separator ;", "timestamp pair ts", "payload {timestamp}:{body}"},
			map[string]string{"Sig": "ts=1700000000;h1=" + macHex("key", "1700000000:"+body)},
			false,
		},
		"a list of signatures": {
			[]string{"secret key", "header Sig", `separator " "`, "prefix v1,", "payload {id}.{timestamp}.{body}", "timestamp header T ms", "id header I"},
			map[string]string{"Sig": "v1,00 v1," + macHex("key", "m.1700000000000."+body), "T": "1700000000000", "I": "m"},
			true,
		},
		"method, path and a header, SHA-512 in base64url": {
			[]string{"secret key", "header Sig", "algorithm sha512", "encoding base64url", `payload "{method} {path} {header.Content-Type} {body}"`},
			map[string]string{"Sig": base64.RawURLEncoding.EncodeToString(sha512MAC.Sum(nil)), "Content-Type": "application/json"},
			false,
		},
		"the hash of the body, and the public URL": {
			[]string{"secret key", "header Sig", "payload {url}.{body_sha256}"},
			map[string]string{"Sig": macHex("key", "https://hooks.example.com/cb."+hex.EncodeToString(hash[:]))},
			false,
		},
		"lines, and a secret in base64": {
			[]string{"secret YWJj", "secret_encoding base64", "encoding base64", "header Sig", `payload {timestamp}\n{body}`, "timestamp header T"},
			map[string]string{"Sig": base64.StdEncoding.EncodeToString(decoded.Sum(nil)), "T": "1700000000"},
			false,
		},
		"a time in RFC 3339": {
			[]string{"secret key", "header Sig", "payload {timestamp}{body}", "timestamp header T rfc3339", "tolerance 10s"},
			map[string]string{"Sig": macHex("key", "2023-11-14T22:13:20Z"+body), "T": "2023-11-14T22:13:20Z"},
			false,
		},
	} {
		s := mustLoad(t, "hmac", test.options...)
		request := func() *vector {
			return &vector{Method: "POST", URL: "https://hooks.example.com/cb", Header: test.header}
		}
		if got := send(s, request().request(), body, senderNow); !got.OK() || (test.id && got.ID != "m") || got.ID == "" {
			t.Errorf("%s: %s %s, id %q", name, got.Reason, got.Detail, got.ID)
		}
		if got := send(s, request().request(), body+" ", senderNow); got.Reason != verdict.BadSignature {
			t.Errorf("%s, another body: %s", name, got.Reason)
		}
		traits := s.Traits()
		if timed := strings.Contains(strings.Join(test.options, " "), "timestamp"); timed != (traits.Window > 0) || traits.Replay != test.id {
			t.Errorf("%s: window %s, replay %v", name, traits.Window, traits.Replay)
		} else if timed {
			if got := send(s, request().request(), body, senderNow.Add(traits.Window+time.Second)); got.Reason != verdict.Expired {
				t.Errorf("%s, too late: %s", name, got.Reason)
			}
		}
	}
}

func TestHMACConfigurationsThatPretendAreRefused(t *testing.T) {
	t.Setenv("HMAC_EMPTY", "")
	good := "secret key\nheader Sig\n"
	for _, options := range []string{
		"header Sig", "secret key", "secret {env.HMAC_EMPTY}\nheader Sig", "secret {env.HMAC_UNSET}\nheader Sig",
		good + "tolerance 5m",                           // of no timestamp
		good + "timestamp header T",                     // that is not in the payload
		good + "timestamp header T\npayload {body}",     //
		good + "payload {timestamp}{body}",              // and there is none
		good + "id header I",                            // that is not in the payload
		good + "payload {id}{body}",                     // and there is none
		good + "id header I\npayload {id}{body}",        // whose end nobody knows
		good + "payload {body}{nonce}",                  // an unknown word
		good + "payload text",                           // without a word
		good + "payload {http.request.uri.query}{body}", // a placeholder, and no word
		good + "payload {header.Sig}{body}",             // the signature in itself
		good + "timestamp pair t\npayload {timestamp}",  // a pair without pairs
		good + "signature pair v1\nprefix x",            //
		good + "timestamp cookie T", good + "timestamp T", good + "timestamp header T s s", good + "timestamp header T m", good + "id I",
		good + "timestamp header T\ntimestamp header U\npayload {timestamp}{body}",
		good + "algorithm md5", good + "algorithm sha256\nalgorithm sha256", good + "encoding base32", good + "secret_encoding rot13",
		good + "header Other", good + "unknown x", "secret not-hex\nsecret_encoding hex\nheader Sig", "secret whsec_\nsecret_encoding whsec\nheader Sig",
		"secret key\nheader \"a b\"",
	} {
		if _, err := load(t, "hmac", strings.Split(options, "\n")...); err == nil {
			t.Errorf("accepted: %q", options)
		} else if strings.Contains(err.Error(), "not-hex") {
			t.Errorf("the error holds the secret: %v", err)
		}
	}
}

func TestHMACWithoutTheBodyTakesNoBody(t *testing.T) {
	s := mustLoad(t, "hmac", "secret key", "header Sig", `payload "{method} {url}"`)
	r := httptest.NewRequest("GET", "https://hooks.example.com/cb?a=1", nil)
	r.Header.Set("Sig", macHex("key", "GET https://hooks.example.com/cb?a=1"))
	if got := send(s, r, "", senderNow); !got.OK() {
		t.Errorf("%s %s", got.Reason, got.Detail)
	}
	if got := send(s, r, "b", senderNow); got.Reason != verdict.BodyMismatch {
		t.Errorf("with a body: %s", got.Reason)
	}
}

// What hmac signs by its own configuration, it accepts.
func TestHMACSignsWhatItAccepts(t *testing.T) {
	s := mustLoad(t, "hmac", "secret key", "header Sig", `separator " "`, "prefix v1,", `payload "{method}:{url}:{id}:{timestamp}:{body}"`, "timestamp header T ms", "id header I")
	r := httptest.NewRequest("POST", "https://hooks.example.com/cb?a=1", nil)
	if err := s.(*HMAC).Sign(r, []byte("body"), Signing{Secret: "key", ID: "m", Now: senderNow}); err != nil {
		t.Fatal(err)
	}
	if got := send(s, r, "body", senderNow); !got.OK() || got.ID != "m" {
		t.Errorf("%s %s", got.Reason, got.Detail)
	}
}

// Worldpay's triples, Bridge's RSA and a secret of which nobody knows how it is encoded are met in the wild, and can be
// written down.
func TestHMACCanSayHowStrangerSendersSign(t *testing.T) {
	const body = `{"a":1}`
	worldpay := mustLoad(t, "hmac", "secret key", "header Event-Signature", "prefix 7/SHA256/", "separator ,")
	r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
	r.Header.Set("Event-Signature", "6/SHA256/"+macHex("old", body)+", 7/SHA256/"+macHex("key", body))
	if got := send(worldpay, r, body, senderNow); !got.OK() {
		t.Errorf("Worldpay: %s %s", got.Reason, got.Detail)
	}
	r.Header.Set("Event-Signature", "6/SHA256/"+macHex("key", body)+",7/SHA512/"+macHex("key", body))
	if got := send(worldpay, r, body, senderNow); got.Reason != verdict.BadCredential {
		t.Errorf("Worldpay, by another key or algorithm: %s", got.Reason)
	}

	pemOf := func(kind string, der []byte, err error) string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edKey := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	edPublic := edKey.Public().(ed25519.PublicKey)
	for name, test := range map[string]struct {
		private crypto.Signer
		lines   []string
	}{
		"rsa_sha256": {rsaKey, []string{"public_key {env.HMAC_TEST_PUBLIC}"}},
		"ecdsa_p256": {ecKey, []string{"public_key {env.HMAC_TEST_PUBLIC} spki"}},
		"ed25519":    {edKey, []string{"public_key " + base64.StdEncoding.EncodeToString(edPublic)}},
		"ed25519 in hex": {
			edKey, []string{"public_key " + strings.Repeat("00", 32) + " older", "public_key " + hex.EncodeToString(edPublic), "secret_encoding hex"},
		},
		"ed25519 as Standard Webhooks write it": {
			edKey, []string{"public_key whpk_" + base64.StdEncoding.EncodeToString(edPublic), "secret_encoding whsec"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			public, err := x509.MarshalPKIXPublicKey(test.private.Public())
			t.Setenv("HMAC_TEST_PUBLIC", pemOf("PUBLIC KEY", public, err))
			private, err := x509.MarshalPKCS8PrivateKey(test.private)
			by := Signing{PrivateKey: pemOf("PRIVATE KEY", private, err), Now: senderNow}
			algorithm, _, _ := strings.Cut(name, " ")
			s := mustLoad(t, "hmac", append(test.lines, "algorithm "+algorithm, "header X-Webhook-Signature", "encoding base64", "signature pair v0", "timestamp pair t ms", "payload {timestamp}.{body}")...)
			r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
			if err := s.(*HMAC).Sign(r, []byte(body), by); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(r.Header.Get("X-Webhook-Signature"), "t=1700000000000,v0=") {
				t.Error(r.Header)
			}
			if got := send(s, r, body, senderNow); !got.OK() || got.ID == "" {
				t.Errorf("%s %s", got.Reason, got.Detail)
			}
			for i := range len(body) {
				other := []byte(body)
				other[i] ^= 1
				if got := send(s, r, string(other), senderNow); got.Reason != verdict.BadSignature {
					t.Errorf("another body: %s", got.Reason)
				}
			}
			// What everybody may read is no secret of an HMAC: the algorithm is the configuration's.
			forged := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
			mac := hmac.New(sha256.New, public)
			mac.Write([]byte("1700000000000." + body))
			forged.Header.Set("X-Webhook-Signature", "t=1700000000000,v0="+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
			if got := send(s, forged, body, senderNow); got.OK() {
				t.Error("an HMAC by the public key is accepted")
			}
			if s.Traits().Cost != callback.CostKey {
				t.Error("it counts as cheap")
			}
		})
	}

	for _, options := range []string{
		"public_key a", "algorithm ed25519", "secret a\nalgorithm ed25519", "secret a\nalgorithm rsa_sha256",
		"public_key AAAA\nalgorithm ed25519", "public_key AAAA\nalgorithm rsa_sha256", "public_key AAAA\nalgorithm ecdsa_p256",
		"public_key " + base64.StdEncoding.EncodeToString(edPublic) + "\nalgorithm rsa_sha256",
		"public_key " + base64.StdEncoding.EncodeToString(edPublic) + "\nsecret a\nalgorithm ed25519",
		"public_key " + base64.StdEncoding.EncodeToString(edPublic) + "\nalgorithm sha256",
		"public_key " + base64.StdEncoding.EncodeToString(edPublic) + "\nalgorithm ed25519\nsecret_encoding text",
		"public_key {env.HMAC_TEST_UNSET}\nalgorithm rsa_sha256",
	} {
		if _, err := load(t, "hmac", append(strings.Split(options, "\n"), "header Sig")...); err == nil {
			t.Errorf("accepted: %q", options)
		}
	}
}
