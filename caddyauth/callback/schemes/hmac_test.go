package schemes

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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
