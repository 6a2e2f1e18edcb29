package schemes_test

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback/schemes"
	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// The subtests of this file are named after rows of the attack table. 200 means that the receiver got the request, and
// got it as it was; anything else, that it got nothing.

const (
	swSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	swOld    = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	swBody   = `{"test": 2432232314}`
	swID     = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	swTime   = "1614265330"
	swSig    = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

// gate is a site with these lines in callback_auth.
func gate(t *testing.T, lines string) *testbed.Bed {
	t.Helper()
	return testbed.New(t, "http://\ncallback_auth {\n"+lines+"\n}\nreverse_proxy RECEIVER\n")
}

func standardGate(t *testing.T, options ...string) *testbed.Bed {
	t.Helper()
	if len(options) == 0 {
		options = []string{"secret " + swSecret}
	}
	// These rows send one message several times; hm-id-replay is the one about that.
	return gate(t, "standard_webhooks {\n"+strings.Join(options, "\n")+"\n}\nreplay off")
}

func macOf(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func swSign(secret, id, timestamp, body string) string {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		panic(err)
	}
	return "v1," + base64.StdEncoding.EncodeToString(macOf(key, id+"."+timestamp+"."+body))
}

func post(body string, at time.Time, header ...string) *http.Request {
	r := httptest.NewRequest("POST", "http://example.com/hook", strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header[http.CanonicalHeaderKey(header[i])] = append(r.Header[http.CanonicalHeaderKey(header[i])], header[i+1])
	}
	return r.WithContext(clock.At(r.Context(), at))
}

func swPost(id, timestamp, sig, body string) *http.Request {
	return post(body, time.Unix(1614265330, 0), "webhook-id", id, "webhook-timestamp", timestamp, "webhook-signature", sig)
}

func want(t *testing.T, result testbed.Result, body string, statuses ...int) {
	t.Helper()
	switch {
	case !slices.Contains(statuses, result.Status):
		t.Errorf("status %d, want %v", result.Status, statuses)
	case result.Status == http.StatusOK && (len(result.Received) != 1 || string(result.Received[0].Body) != body):
		t.Errorf("accepted, and the receiver got %d requests, or another body", len(result.Received))
	case result.Status != http.StatusOK && len(result.Received) != 0:
		t.Errorf("refused, and the receiver got %d requests", len(result.Received))
	}
}

func TestAttacksOnHMAC(t *testing.T) {
	github := "hmac {\nsecret It's-a-secret\nheader X-Hub-Signature-256\nprefix sha256=\n}"
	hex256 := hex.EncodeToString(macOf([]byte("It's-a-secret"), "Hello, World!"))

	t.Run("hm-sw-vector", func(t *testing.T) {
		want(t, standardGate(t).Do(t, swPost(swID, swTime, swSig, swBody)), swBody, 200)
	})
	t.Run("hm-bad-sig", func(t *testing.T) {
		bed := standardGate(t)
		for _, sig := range []string{"v1,h0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", "v1,", "v1", ""} {
			want(t, bed.Do(t, swPost(swID, swTime, sig, swBody)), swBody, 401)
		}
	})
	t.Run("hm-multi-one-good", func(t *testing.T) {
		want(t, standardGate(t).Do(t, swPost(swID, swTime, "v1,bad v2,x "+swSig+" v1,bad", swBody)), swBody, 200)
	})
	t.Run("hm-multi-1000", func(t *testing.T) {
		// Refused unread, so that the work does not grow: no clock is needed to know.
		for _, sig := range []string{strings.Repeat("v1,"+strings.Repeat("A", 43)+"= ", 1000), strings.Repeat("v1,A ", 1000) + swSig, strings.Repeat(" ", 1000) + swSig} {
			want(t, standardGate(t).Do(t, swPost(swID, swTime, sig, swBody)), swBody, 401)
		}
	})
	t.Run("hm-ts-old-new", func(t *testing.T) {
		bed := standardGate(t)
		for timestamp, status := range map[string]int{"1614265029": 401, "1614265030": 200, "1614265630": 200, "1614265631": 401} {
			want(t, bed.Do(t, swPost("msg_"+timestamp, timestamp, swSign(swSecret, "msg_"+timestamp, timestamp, swBody), swBody)), swBody, status)
		}
	})
	t.Run("hm-ts-tampered", func(t *testing.T) {
		want(t, standardGate(t).Do(t, swPost(swID, "1614265331", swSig, swBody)), swBody, 401)
	})
	t.Run("hm-ts-overflow", func(t *testing.T) {
		bed := standardGate(t)
		for _, timestamp := range []string{"9223372036854775807", "-1", "1e400", "99999999999999999999", " 1614265330", "+1614265330", "01614265330", "1614265330.0", "1614265330000", "0", ""} {
			want(t, bed.Do(t, swPost(swID, timestamp, swSign(swSecret, swID, timestamp, swBody), swBody)), swBody, 401)
		}
	})
	t.Run("hm-id-dot-shift", func(t *testing.T) {
		bed := standardGate(t)
		sig := swSign(swSecret, "msg.1", swTime, swBody)
		want(t, bed.Do(t, swPost("msg.1", swTime, sig, swBody)), swBody, 401)
		want(t, bed.Do(t, swPost("msg", "1."+swTime, sig, swBody)), swBody, 401)
		want(t, bed.Do(t, swPost(swID+"."+swTime, "2", swSig, swBody)), swBody, 401)
	})
	t.Run("hm-id-replay", func(t *testing.T) {
		bed := gate(t, "standard_webhooks {\nsecret "+swSecret+"\n}")
		id, once := "msg_"+rand.Text(), rand.Text() // ids outlive a test
		sig := swSign(swSecret, id, swTime, swBody)
		want(t, bed.Do(t, swPost(id, swTime, sig, swBody)), swBody, 200)
		want(t, bed.Do(t, swPost(id, swTime, sig, swBody)), swBody, 409)
		want(t, bed.Do(t, swPost("msg_renamed", swTime, sig, swBody)), swBody, 401)
		// A sender without ids or a clock, whose message is known by what was signed, however its signature is spelt.
		bed = gate(t, "hmac {\nsecret replay-secret\nheader Sig\n}\nreplay {\nwindow 1h\n}")
		mac := hex.EncodeToString(macOf([]byte("replay-secret"), once))
		want(t, bed.Do(t, post(once, time.Now(), "Sig", mac)), once, 200)
		want(t, bed.Do(t, post(once, time.Now(), "Sig", mac)), once, 409)
		want(t, bed.Do(t, post(once, time.Now(), "Sig", strings.ToUpper(mac))), once, 409)
	})
	t.Run("hm-sig-hex-case", func(t *testing.T) {
		// The generic scheme compares decoded bytes, and GitHub's own accepts the one spelling that GitHub has.
		upper := "sha256=" + strings.ToUpper(hex256)
		want(t, gate(t, github).Do(t, post("Hello, World!", time.Now(), "X-Hub-Signature-256", upper)), "Hello, World!", 200)
		named := gate(t, "github {\nsecret It's-a-secret\n}")
		want(t, named.Do(t, post("Hello, World!", time.Now(), "X-Hub-Signature-256", upper)), "", 401)
		want(t, named.Do(t, post("Hello, World!", time.Now(), "X-Hub-Signature-256", "sha256="+hex256)), "Hello, World!", 200)
	})
	t.Run("hm-sig-missing-prefix", func(t *testing.T) {
		bed := gate(t, github)
		for _, sig := range []string{hex256, "sha256:" + hex256, "SHA256=" + hex256, "sha256= " + hex256, "sha1=" + hex256, "sha256=sha256=" + hex256} {
			want(t, bed.Do(t, post("Hello, World!", time.Now(), "X-Hub-Signature-256", sig)), "", 401)
		}
	})
	t.Run("hm-sig-truncated", func(t *testing.T) {
		bed := gate(t, github)
		for _, sig := range []string{hex256[:32], hex256[:63], hex256[:62], hex256[:2], "", hex256 + "00"} {
			want(t, bed.Do(t, post("Hello, World!", time.Now(), "X-Hub-Signature-256", "sha256="+sig)), "", 401)
		}
	})
	t.Run("hm-sig-urlsafe", func(t *testing.T) {
		bed := gate(t, "hmac {\nsecret key\nheader Sig\nencoding base64\n}")
		body := "body"
		for !strings.ContainsAny(base64.StdEncoding.EncodeToString(macOf([]byte("key"), body)), "+/") {
			body += "."
		}
		mac := macOf([]byte("key"), body)
		want(t, bed.Do(t, post(body, time.Now(), "Sig", base64.StdEncoding.EncodeToString(mac))), body, 200)
		for _, sig := range []string{base64.URLEncoding.EncodeToString(mac), base64.RawURLEncoding.EncodeToString(mac), base64.RawStdEncoding.EncodeToString(mac), hex.EncodeToString(mac)} {
			want(t, bed.Do(t, post(body, time.Now(), "Sig", sig)), "", 401)
		}
	})
	t.Run("hm-body-reserialized", func(t *testing.T) {
		bed := standardGate(t)
		for _, body := range []string{`{"test":2432232314}`, swBody + "\n", "\ufeff" + swBody, ""} {
			want(t, bed.Do(t, swPost(swID, swTime, swSig, body)), "", 401)
		}
	})
	t.Run("hm-header-underscore", func(t *testing.T) {
		bed := standardGate(t)
		for _, name := range []string{"Webhook_signature", "Webhook.signature", "Webhook_Signature", "WEBHOOK_SIGNATURE"} {
			r := swPost(swID, swTime, swSig, swBody)
			r.Header[name] = r.Header["Webhook-Signature"]
			r.Header.Del("Webhook-Signature")
			want(t, bed.Do(t, r), "", 401)
		}
	})
	t.Run("hm-empty-secret", func(t *testing.T) {
		t.Setenv("HMAC_EMPTY", "")
		for _, option := range []string{`secret ""`, "secret whsec_", "secret {env.HMAC_EMPTY}", "secret {env.HMAC_UNSET}", "secret", ""} {
			text := testbed.Refusal(t, "http://\ncallback_auth {\nstandard_webhooks {\n"+option+"\n}\n}\nrespond ok\n")
			if !strings.Contains(text, "secret") {
				t.Errorf("%q: the error does not name the option: %s", option, text)
			}
		}
	})
	t.Run("hm-rotation", func(t *testing.T) {
		both := standardGate(t, "secret "+swSecret+" new", "secret "+swOld+" old")
		want(t, both.Do(t, swPost("msg_1", swTime, swSign(swSecret, "msg_1", swTime, swBody), swBody)), swBody, 200)
		want(t, both.Do(t, swPost("msg_2", swTime, swSign(swOld, "msg_2", swTime, swBody), swBody)), swBody, 200)
		only := standardGate(t, "secret "+swSecret+" new")
		want(t, only.Do(t, swPost("msg_2", swTime, swSign(swOld, "msg_2", swTime, swBody), swBody)), swBody, 401)
	})
	t.Run("hm-ed25519", func(t *testing.T) {
		seed, _ := base64.StdEncoding.DecodeString("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
		private := ed25519.NewKeyFromSeed(seed)
		raw := ed25519.Sign(private, []byte(swID+"."+swTime+"."+swBody))
		bed := standardGate(t, "public_key whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=")
		sig := func(raw []byte) string { return "v1a," + base64.StdEncoding.EncodeToString(raw) }
		want(t, bed.Do(t, swPost(swID, swTime, sig(raw), swBody)), swBody, 200)
		for name, forged := range invalidEd25519(raw) {
			result := bed.Do(t, swPost("msg_other", swTime, sig(forged), swBody))
			want(t, result, "", 401)
			if result = bed.Do(t, swPost(swID, swTime, sig(forged), swBody)); result.Status == 200 {
				t.Errorf("%s is accepted", name)
			}
		}
		// The other version, by the key's own bytes as an HMAC secret: the algorithm is the configuration's.
		public := "whsec_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
		want(t, bed.Do(t, swPost(swID, swTime, swSign(public, swID, swTime, swBody), swBody)), "", 401)
	})
}

// invalidEd25519 are signatures of the kinds in Project Wycheproof's invalid sets: S beyond the group's order, cut,
// lengthened, of zeros, with points that are none or of small order.
func invalidEd25519(raw []byte) map[string][]byte {
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := new(big.Int)
	little := slices.Clone(raw[32:])
	slices.Reverse(little)
	s.SetBytes(little).Add(s, order)
	big := s.FillBytes(make([]byte, 32))
	slices.Reverse(big)
	identity := append([]byte{1}, make([]byte, 31)...)
	return map[string][]byte{
		"S plus the order":        slices.Concat(raw[:32], big),
		"S of ones":               slices.Concat(raw[:32], []byte(strings.Repeat("\xff", 32))),
		"S of zeros":              slices.Concat(raw[:32], make([]byte, 32)),
		"all zeros":               make([]byte, 64),
		"R of small order":        slices.Concat(identity, raw[32:]),
		"R of ones":               slices.Concat([]byte(strings.Repeat("\xff", 32)), raw[32:]),
		"the halves exchanged":    slices.Concat(raw[32:], raw[:32]),
		"cut":                     raw[:63],
		"lengthened":              append(slices.Clone(raw), 0),
		"R alone":                 raw[:32],
		"the sign bit of R moved": func() []byte { b := slices.Clone(raw); b[31] ^= 0x80; return b }(),
	}
}

// A sender signs the URL that it called. Behind a proxy that ends TLS, and calls us by another name, public_url says which.
func TestURLsAreVerifiedBehindAProxyThatEndsTLS(t *testing.T) {
	for _, sender := range []string{"twilio", "square", "plivo", "plivo_v2", "messagebird"} {
		t.Run(sender, func(t *testing.T) {
			config := "http://\ncallback_auth {\n" + sender + " {\nsecret 0123456789abcdef0123456789abcdef\n}\npublic_url PUBLIC\nreplay off\n}\nrewrite * /rewritten?x=y\nreverse_proxy RECEIVER\n"
			var bed *testbed.Bed
			transport := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return bed.Dial(t), nil }}
			proxy := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) {
				r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "internal:8080", "internal:8080"
			}}
			front := httptest.NewTLSServer(proxy)
			defer front.Close()
			for _, public := range []string{"https://hooks.example.com", "https://hooks.example.com:443", front.URL} {
				written := public
				if public == front.URL {
					t.Setenv("CADDYAUTH_TEST_PUBLIC_URL", public)
					written = "{env.CADDYAUTH_TEST_PUBLIC_URL}"
				}
				bed = testbed.Run(t, strings.ReplaceAll(config, "PUBLIC", written))
				for _, called := range []string{"https://hooks.example.com", "https://hooks.example.com:443", front.URL} {
					address, _ := url.Parse(called + "/cb/a%2Fb?b=2&a=1")
					r := &http.Request{Method: "POST", URL: address, Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
					body := "From=%2B1&To=2"
					if sender == "plivo_v2" {
						body = ""
					}
					if err := schemes.Sign(sender, r, []byte(body), schemes.Signing{Secret: "0123456789abcdef0123456789abcdef", ID: "id" + called[len(called)-3:], Now: time.Now()}); err != nil {
						t.Fatal(err)
					}
					sent, err := http.NewRequestWithContext(t.Context(), "POST", front.URL+r.URL.RequestURI(), strings.NewReader(body))
					if err != nil {
						t.Fatal(err)
					}
					sent.Header = r.Header
					response, err := front.Client().Do(sent)
					if err != nil {
						t.Fatal(err)
					}
					_ = response.Body.Close()
					same := strings.TrimSuffix(public, ":443") == strings.TrimSuffix(called, ":443")
					if (response.StatusCode == 200) != same {
						t.Errorf("public_url %s, called as %s: %d", public, called, response.StatusCode)
					}
				}
			}
		})
	}
}

// The words of a payload that are shorthands of Caddy's own stay words.
func TestAPayloadKeepsItsWordsInACaddyfile(t *testing.T) {
	bed := gate(t, "hmac {\nsecret key\nheader Sig\npayload \"{method} {path} {header.X-Kind} {body}\"\n}")
	sig := hex.EncodeToString(macOf([]byte("key"), "POST /hook k body"))
	want(t, bed.Do(t, post("body", time.Now(), "Sig", sig, "X-Kind", "k")), "body", 200)
	want(t, bed.Do(t, post("body", time.Now(), "Sig", sig, "X-Kind", "other")), "", 401)
}

// Challenges are answered, however often they come, with replay memory on.
func TestChallengesAreAnsweredBesideReplayMemory(t *testing.T) {
	bed := gate(t, "x {\nsecret whk-test-secret\nanswer_challenge\n}\nreplay {\nwindow 1h\n}")
	for range 2 {
		result := bed.Do(t, httptest.NewRequest("GET", "http://example.com/hook?crc_token=9b4507b3-9040-4669-9ca3-6b94edb50553", nil))
		if result.Status != 200 || !strings.Contains(result.Body, "3GPV/dnCg/7rVd8Es4qcpcgdh4AcMHJM+Xbk/5w5iO8=") || len(result.Received) != 0 {
			t.Errorf("%d %s", result.Status, result.Body)
		}
	}
}
