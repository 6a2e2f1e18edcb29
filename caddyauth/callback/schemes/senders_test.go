package schemes

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/internal/signature"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/golang-jwt/jwt/v5"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

const senderBody = `{"id":"evt_1","type":"call.ended","ok":true}`

var senderNow = time.Unix(1700000000, 0)

// vector is a genuine request of a sender.
type vector struct {
	Name    string            `json:"name"`
	Sender  string            `json:"sender"`
	Origin  string            `json:"origin"`
	Options []string          `json:"options"`
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Header  map[string]string `json:"header"`
	Body    string            `json:"body"`
	Now     int64             `json:"now"`
}

func vectors(t testing.TB) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

// load reads a scheme from its lines in a Caddyfile, by way of JSON, and provisions it.
func load(t testing.TB, name string, options ...string) (callback.Scheme, error) {
	t.Helper()
	id := callback.Namespace + "." + name
	module, err := caddyfile.UnmarshalModule(dispenser(name, strings.Join(options, "\n")), id)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(module)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	loaded, err := ctx.LoadModuleByID(id, text)
	if err != nil {
		return nil, err
	}
	return loaded.(callback.Scheme), nil
}

func mustLoad(t testing.TB, name string, options ...string) callback.Scheme {
	t.Helper()
	s, err := load(t, name, options...)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

// send gives a request to a scheme as the handler does.
func send(s callback.Scheme, r *http.Request, body string, now time.Time) callback.Verdict {
	r.ContentLength = int64(len(body))
	q := &callback.Request{HTTP: r, Method: r.Method, URL: r.URL, PublicURL: "https://" + r.Host, Now: now}
	v := s.Verify(q)
	if v.OK() && v.Then != nil {
		v = v.Then([]byte(body))
	}
	return v
}

func (v vector) request() *http.Request {
	r := httptest.NewRequest(v.Method, v.URL, nil)
	for name, value := range v.Header {
		r.Header.Set(name, value)
	}
	return r
}

func senderNames() (names []string) {
	for _, facts := range Senders() {
		names = append(names, facts.Name)
	}
	return names
}

// Every sender is a module, stands in the table if it needs no code, and has a vector.
func TestEverySenderHasAModuleARowAndAVector(t *testing.T) {
	have := make(map[string]bool)
	for _, v := range vectors(t) {
		have[v.Sender] = true
		if v.Origin == "" {
			t.Errorf("the vector %s has no origin", v.Name)
		}
	}
	for _, name := range senderNames() {
		info, err := caddy.GetModule(callback.Namespace + "." + name)
		if err != nil {
			t.Errorf("%s has no module", name)
			continue
		}
		if _, ok := info.New().(callback.Scheme); !ok {
			t.Errorf("%s is no scheme", name)
		}
		if !have[name] {
			t.Errorf("%s has no vector", name)
		}
		if _, err := load(t, name, "bogus"); err == nil || !strings.Contains(err.Error(), "'bogus' of "+name) {
			t.Errorf("%s, of an unknown option: %v", name, err)
		}
	}
	for name, row := range senders {
		if !strings.HasPrefix(row.source, "https://") || row.checked == "" {
			t.Errorf("%s has no source or no date", name)
		}
		if _, err := signature.Compile(row.spec); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVectorsAreAccepted(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			s := mustLoad(t, v.Sender, v.Options...)
			got := send(s, v.request(), v.Body, time.Unix(v.Now, 0))
			if !got.OK() || got.Key == "" || got.User == "" {
				t.Fatalf("%s: %s; key %q, user %q", got.Reason, got.Detail, got.Key, got.User)
			}
		})
	}
}

// TestVectorsHoldForOneRequestAlone is the negative suite: of each genuine request, what else than it is refused.
func TestVectorsHoldForOneRequestAlone(t *testing.T) {
	for _, v := range vectors(t) {
		if v.Name == "ovenmediaengine_padded" {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			s := mustLoad(t, v.Sender, v.Options...)
			at := time.Unix(v.Now, 0)
			carrier := s.Traits().Places[0].Header
			if len(v.request().Header.Values(carrier)) == 0 {
				carrier = s.Traits().Places[1].Header
			}
			genuine := v.request().Header.Get(carrier)
			refuse := func(what string, r *http.Request, body string, now time.Time, want ...verdict.Reason) {
				t.Helper()
				got := send(s, r, body, now)
				if got.OK() || len(want) > 0 && !slices.Contains(want, got.Reason) || got.Reason == verdict.Unavailable {
					t.Errorf("%s: %s (%s), want %v", what, got.Reason, got.Detail, want)
				}
				if strings.Contains(got.Detail, genuine) {
					t.Errorf("%s: the detail holds the signature", what)
				}
			}
			with := func(value string) *http.Request {
				r := v.request()
				r.Header.Set(carrier, value)
				return r
			}
			r := v.request()
			r.Header.Del(carrier)
			refuse("no signature", r, v.Body, at, verdict.Missing)
			refuse("an empty signature", with(""), v.Body, at, verdict.Missing)
			for _, value := range []string{"x", "sha256=", "v0=", "v1,", "t=1700000000,v1=", "=", ",", strings.Repeat("a", 9000), genuine + "x", genuine[1:], "\x00"} {
				refuse("the signature "+strconv.Quote(value[:min(len(value), 20)]), with(value), v.Body, at)
			}
			// Half of the value, at the least, is the signature itself: every character of it counts.
			for i := len(genuine) / 2; i < len(genuine); i++ {
				other := byte('A')
				if genuine[i] == 'A' {
					other = 'B'
				}
				if genuine[i] == '=' && i >= len(genuine)-2 {
					continue // padding, tested with the encodings
				}
				refuse("another character in the signature", with(genuine[:i]+string(other)+genuine[i+1:]), v.Body, at)
			}
			r = v.request()
			r.Header.Add(carrier, genuine)
			refuse("two signature headers", r, v.Body, at, verdict.Malformed)

			underscore := v.request()
			underscore.Header.Del(carrier)
			underscore.Header[strings.ReplaceAll(carrier, "-", "_")] = []string{genuine}
			if strings.Contains(carrier, "-") {
				refuse("a header spelt with underscores", underscore, v.Body, at, verdict.Missing)
			}

			if v.Sender != "gitlab" && v.Sender != "plivo_v2" {
				bodies := []string{v.Body + "\n", v.Body + " ", "\ufeff" + v.Body}
				if v.Body != "" {
					bodies = append(bodies, v.Body[1:], v.Body[:len(v.Body)-1], "")
				}
				if v.Body == senderBody {
					bodies = append(bodies, `{"id": "evt_1", "type": "call.ended", "ok": true}`)
				}
				if v.Method == http.MethodGet {
					bodies = []string{"a=1"}
				}
				for _, body := range bodies {
					refuse("another body", v.request(), body, at)
				}
			}
			if v.Name == "ovenmediaengine" || v.Name == "ovenmediaengine_padded" {
				return // bodies of the documentation, without the time that every real one has
			}
			if window := s.Traits().Window; window > 0 && v.Sender != "livekit" && v.Sender != "messagebird" {
				refuse("a message beyond the window", v.request(), v.Body, at.Add(window+time.Second), verdict.Expired)
				refuse("a message from the future", v.request(), v.Body, at.Add(-window-time.Second), verdict.NotYetValid)
				if got := send(s, v.request(), v.Body, at.Add(window-time.Second)); !got.OK() {
					t.Errorf("inside the window: %s", got.Reason)
				}
				if got := send(s, v.request(), v.Body, at.Add(-window+time.Second)); !got.OK() {
					t.Errorf("inside the window, ahead: %s", got.Reason)
				}
			} else if window > 0 {
				refuse("a token that has expired", v.request(), v.Body, at.Add(window+s.Traits().Leeway+time.Second), verdict.Expired)
			}
		})
	}
}

// signing gives a secret or a private key in the form of a sender, and the options that go with it.
func signing(t testing.TB, name string) (Signing, []string) {
	t.Helper()
	const raw = "0123456789abcdef0123456789abcdef"
	by := Signing{Secret: raw, Account: "key-1", ID: "msg_1", Now: senderNow}
	options := []string{"secret " + raw}
	row := senders[name]
	switch row.spec.Key {
	case signature.Base64Key:
		by.Secret = base64.StdEncoding.EncodeToString([]byte(raw))
	case signature.StandardWebhooksKey:
		by.Secret = "whsec_" + base64.StdEncoding.EncodeToString([]byte(raw))
	default:
	}
	options[0] = "secret " + by.Secret
	switch name {
	case "livekit":
		options[0] = "account key-1 " + raw
	case "sinch":
		by.Secret = base64.StdEncoding.EncodeToString([]byte(raw))
		options[0] = "account key-1 " + by.Secret
	case "discord":
		by.PrivateKey = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
		options[0] = "public_key 03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
	case "telnyx":
		by.PrivateKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
		options[0] = "public_key A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
	case "sendgrid":
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		der, _ := x509.MarshalPKCS8PrivateKey(private)
		public, _ := x509.MarshalPKIXPublicKey(&private.PublicKey)
		by.PrivateKey = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		options[0] = "public_key " + base64.StdEncoding.EncodeToString(public)
	}
	return by, options
}

// What we sign, we accept, for every sender; and after one flipped bit anywhere in what is signed, we do not.
func TestWhatIsSignedIsAcceptedAndNothingElse(t *testing.T) {
	for _, name := range senderNames() {
		t.Run(name, func(t *testing.T) {
			by, options := signing(t, name)
			s := mustLoad(t, name, options...)
			body := senderBody
			switch name {
			case "ovenmediaengine":
				body = `{"client":{"address":"192.0.2.7"},"request":{"direction":"incoming","time":"2023-11-14T22:13:20.000Z"}}`
			case "linear":
				body = `{"webhookTimestamp":1700000000000}`
			case "plivo":
				body = "To=1&From=2"
			case "plivo_v2":
				body = ""
			}
			r := httptest.NewRequest("POST", "https://hooks.example.com:8443/cb/a?b=2&a=1", nil)
			r.Header.Set("Content-Type", "application/json")
			if name == "plivo" {
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			}
			if err := Sign(name, r, []byte(body), by); err != nil {
				t.Fatal(err)
			}
			first := send(s, r.Clone(t.Context()), body, senderNow)
			if !first.OK() {
				t.Fatalf("%s: %s", first.Reason, first.Detail)
			}
			if name == "gitlab" {
				return // it signs nothing
			}
			if first.ID == "" {
				t.Error("the message has no id for replay memory")
			}
			if again := send(s, r.Clone(t.Context()), body, senderNow); again.ID != first.ID {
				t.Error("one message has two ids")
			}
			for i := range len(body) {
				if name == "plivo" && (body[i] == '&' || body[i] == '=') {
					continue // a form with other separators may have the same text
				}
				altered := []byte(body)
				altered[i] ^= 1
				if got := send(s, r.Clone(t.Context()), string(altered), senderNow); got.OK() {
					t.Fatalf("a flipped bit in byte %d of the body is accepted", i)
				}
			}
			for header, values := range r.Header {
				if header == "Content-Type" && name != "sinch" {
					continue
				}
				for i := range len(values[0]) {
					for _, bit := range []byte{1, 2, 32} {
						value := []byte(values[0])
						value[i] ^= bit
						altered := r.Clone(t.Context())
						altered.Header.Set(header, string(value))
						if got := send(s, altered, body, senderNow); got.OK() && !sameMeaning(name, header, values[0], string(value)) {
							t.Fatalf("a flipped bit in byte %d of %s is accepted", i, header)
						}
					}
				}
			}
			signsURL := name == "messagebird" || strings.Contains(senders[name].spec.Payload, "{url")
			for _, change := range []func(*url.URL){
				func(u *url.URL) { u.Path += "x" },
				func(u *url.URL) { u.RawQuery += "&c=3" },
			} {
				altered := r.Clone(t.Context())
				change(altered.URL)
				if altered.URL.Path == r.URL.Path && name == "plivo_v2" {
					continue // the query is not covered
				}
				if got := send(s, altered, body, senderNow); got.OK() && signsURL {
					t.Errorf("another URL is accepted")
				}
			}
			stranger := by
			stranger.Secret = strings.Repeat("QUJD", 11)
			if name == "adyen" {
				stranger.Secret = strings.Repeat("ab", 32)
			}
			if !senders[name].spec.Algorithm.Public() {
				forged := httptest.NewRequest("POST", "https://hooks.example.com:8443/cb/a?b=2&a=1", nil)
				forged.Header.Set("Content-Type", r.Header.Get("Content-Type"))
				if err := Sign(name, forged, []byte(body), stranger); err != nil {
					t.Fatal(err)
				}
				if got := send(s, forged, body, senderNow); got.Reason != verdict.BadSignature {
					t.Errorf("another tenant's secret: %s", got.Reason)
				}
			}
		})
	}
}

// sameMeaning excuses the one change that leaves a header saying the same: auth-schemes are case-insensitive (RFC 9110
// §11.1).
func sameMeaning(name, header, before, after string) bool {
	return name == "sinch" && header == "Authorization" && strings.EqualFold(before[:11], after[:11]) && before[11:] == after[11:]
}

func TestOldAndNewSecretsAreBothAcceptedAndNamed(t *testing.T) {
	for _, name := range senderNames() {
		by, options := signing(t, name)
		if name == "livekit" || name == "sinch" || senders[name].spec.Algorithm.Public() {
			continue
		}
		old := strings.Replace(options[0], "0123", "3210", 1)
		switch senders[name].spec.Key {
		case signature.Base64Key, signature.StandardWebhooksKey:
			old = strings.Replace(options[0], "MDEy", "MTIz", 1)
		default:
		}
		s := mustLoad(t, name, old+" old", options[0]+" new")
		r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
		body := senderBody
		switch name {
		case "linear":
			body = `{"webhookTimestamp":1700000000000}`
		case "plivo", "plivo_v2":
			body = ""
		}
		if err := Sign(name, r, []byte(body), by); err != nil {
			t.Fatal(err)
		}
		if got := send(s, r, body, senderNow); !got.OK() || got.Key != "new" {
			t.Errorf("%s: %s by %q", name, got.Reason, got.Key)
		}
		only := mustLoad(t, name, old+" old")
		if got := send(only, r, body, senderNow); got.Reason != verdict.BadSignature {
			t.Errorf("%s: after the secret is removed: %s", name, got.Reason)
		}
	}
}

func TestSenderConfigurationsThatPretendAreRefused(t *testing.T) {
	t.Setenv("SENDER_EMPTY", "")
	for _, test := range []struct {
		sender, option string
	}{
		{"github", ""},
		{"github", "secret {env.SENDER_EMPTY}"},
		{"github", "secret {env.SENDER_UNSET}"},
		{"github", `secret ""`},
		{"github", "secret a\ntolerance 5m"},
		{"github", "secret a\nanswer_challenge"},
		{"github", "public_key a"},
		{"github", "secret a\nverify_token b"},
		{"github", "secret a\nalgorithm sha1"},
		{"github", "secret a b c"},
		{"github", "secret a x\nsecret b x"},
		{"stripe", "secret a\ntolerance 5m\ntolerance 6m"},
		{"stripe", "secret a\ntolerance 0s"},
		{"stripe", "secret a\ntolerance -5m"},
		{"slack", "secret a\nanswer_challenge yes"},
		{"slack", "secret a\nanswer_challenge\nanswer_challenge"},
		{"meta", "secret a\nanswer_challenge"},
		{"meta", "secret a\nverify_token b"},
		{"discord", "secret a"},
		{"discord", "public_key zz"},
		{"discord", "public_key 00"},
		{"discord", "public_key 03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8\nsecret a"},
		{"telnyx", "public_key AAAA"},
		{"sendgrid", "public_key AAAA"},
		{"standard_webhooks", "secret whsec_"},
		{"standard_webhooks", "secret whsec_not base64"},
		{"standard_webhooks", "secret plain-text-secret"},
		{"standard_webhooks", ""},
		{"standard_webhooks", "public_key whpk_AAAA"},
		{"daily", "secret not-base64!"},
		{"adyen", "secret not-hex"},
		{"gitlab", ""},
		{"gitlab", "secret a\ntolerance 5m"},
		{"livekit", ""},
		{"livekit", "secret a"},
		{"livekit", "account a"},
		{"livekit", "account a b\naccount a c"},
		{"livekit", "account a {env.SENDER_EMPTY}"},
		{"sinch", "account a not-base64!"},
		{"sinch", ""},
		{"messagebird", ""},
		{"messagebird", "account a b"},
	} {
		if _, err := load(t, test.sender, strings.Split(test.option, "\n")...); err == nil {
			t.Errorf("%s { %s } is accepted", test.sender, test.option)
		} else if strings.Contains(err.Error(), "not-base64") || strings.Contains(err.Error(), "plain-text-secret") {
			t.Errorf("%s: the error holds the secret: %v", test.sender, err)
		}
	}
	if _, err := load(t, "stripe", "secret a", "tolerance 1m"); err != nil {
		t.Error(err)
	}
}

// The tokens of these senders have a time that they end at: tolerance is how far the clocks may be apart.
func TestToleranceOfSendersWithTokens(t *testing.T) {
	for _, v := range vectors(t) {
		if v.Name != "livekit" && v.Name != "messagebird" {
			continue
		}
		t.Run(v.Name, func(t *testing.T) {
			late := time.Unix(v.Now, 0).Add(time.Hour)
			if got := send(mustLoad(t, v.Sender, v.Options...), v.request(), v.Body, late); got.Reason != verdict.Expired {
				t.Errorf("an hour late: %s", got.Reason)
			}
			patient := mustLoad(t, v.Sender, append(slices.Clone(v.Options), "tolerance 2h")...)
			if got := send(patient, v.request(), v.Body, late); !got.OK() {
				t.Errorf("an hour late, with a tolerance of two: %s", got.Reason)
			}
			if leeway := patient.Traits().Leeway; leeway != 2*time.Hour {
				t.Errorf("replay memory is told of %s", leeway)
			}
			for _, line := range []string{"tolerance 0", "tolerance -1m", "tolerance", "tolerance 1m\ntolerance 1m"} {
				if _, err := load(t, v.Sender, append(slices.Clone(v.Options), strings.Split(line, "\n")...)...); err == nil {
					t.Errorf("%s is accepted", line)
				}
			}
		})
	}
}

// The id that replay memory is to keep is the signed one, and a copy under another id is refused.
func TestAttacksOnMessageIDs(t *testing.T) {
	for _, name := range []string{"standard_webhooks", "gitlab_signing", "twitch", "messagebird"} {
		t.Run("hm-id-replay/"+name, func(t *testing.T) {
			by, options := signing(t, name)
			s := mustLoad(t, name, options...)
			if !s.Traits().Replay || s.Traits().Window == 0 {
				t.Error("a message would pass twice")
			}
			r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
			if err := Sign(name, r, []byte(senderBody), by); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if got := send(s, r.Clone(t.Context()), senderBody, senderNow); !got.OK() || got.ID != by.ID {
					t.Errorf("%s, id %q", got.Reason, got.ID)
				}
			}
			for _, header := range []string{"Webhook-Id", "Twitch-Eventsub-Message-Id"} {
				if r.Header.Get(header) == "" {
					continue
				}
				copied := r.Clone(t.Context())
				copied.Header.Set(header, "msg_2")
				if got := send(s, copied, senderBody, senderNow); got.Reason != verdict.BadSignature {
					t.Errorf("a copy under another id: %s", got.Reason)
				}
			}
		})
	}
}

// The ids of notifications are base64url with padding, though Twitch documents UUIDs, as only its challenges have them.
func TestTwitchsIDsMayEndInPadding(t *testing.T) {
	by, options := signing(t, "twitch")
	by.ID = "THDbSIv_dReXhJtqBV5rK7thj-0li-kBwJioPnChBc4="
	r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
	if err := Sign("twitch", r, []byte(senderBody), by); err != nil {
		t.Fatal(err)
	}
	if got := send(mustLoad(t, "twitch", options...), r, senderBody, senderNow); !got.OK() || got.ID != by.ID {
		t.Errorf("%s: %s, id %q", got.Reason, got.Detail, got.ID)
	}
}

// Daily sends milliseconds, and its documentation seconds: the MAC is over what was sent, and the window is the same.
func TestDailysTimeMayBeInMilliseconds(t *testing.T) {
	const raw = "0123456789abcdef0123456789abcdef"
	s := mustLoad(t, "daily", "secret "+base64.StdEncoding.EncodeToString([]byte(raw)))
	for timestamp, want := range map[string]verdict.Reason{
		"1700000000": verdict.OK, "1700000000123": verdict.OK, "1699999700000": verdict.OK, "1700000300000": verdict.OK,
		"1699999699999": verdict.Expired, "1700000300001": verdict.NotYetValid, "1700000301": verdict.NotYetValid,
		"1700000000123456": verdict.BadCredential, "1700000000.123": verdict.BadCredential,
	} {
		mac := hmac.New(sha256.New, []byte(raw))
		mac.Write([]byte(timestamp + "." + senderBody))
		r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
		r.Header.Set("X-Webhook-Timestamp", timestamp)
		r.Header.Set("X-Webhook-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		if got := send(s, r.Clone(t.Context()), senderBody, senderNow); got.Reason != want {
			t.Errorf("%s: %s (%s), want %s", timestamp, got.Reason, got.Detail, want)
		}
		r.Header.Set("X-Webhook-Timestamp", timestamp+"000")
		if got := send(s, r, senderBody, senderNow); got.OK() {
			t.Errorf("%s, signed without its last digits, is accepted", timestamp)
		}
	}
}

func TestBothFamiliesOfStandardWebhooksHeadersAreOneTooMany(t *testing.T) {
	by, options := signing(t, "standard_webhooks")
	s := mustLoad(t, "standard_webhooks", options...)
	r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
	if err := Sign("standard_webhooks", r, []byte(senderBody), by); err != nil {
		t.Fatal(err)
	}
	svix := r.Clone(t.Context())
	for _, part := range []string{"Id", "Timestamp", "Signature"} {
		svix.Header.Set("Svix-"+part, r.Header.Get("Webhook-"+part))
		svix.Header.Del("Webhook-" + part)
	}
	if got := send(s, svix, senderBody, senderNow); !got.OK() {
		t.Errorf("under Svix' names: %s", got.Reason)
	}
	for _, extra := range []string{"Svix-Id", "Svix-Timestamp", "Svix-Signature"} {
		both := r.Clone(t.Context())
		both.Header.Set(extra, "x")
		if got := send(s, both, senderBody, senderNow); got.Reason != verdict.Malformed {
			t.Errorf("with %s beside: %s", extra, got.Reason)
		}
	}
	mixed := r.Clone(t.Context())
	mixed.Header.Del("Webhook-Id")
	mixed.Header.Set("Svix-Id", by.ID)
	if got := send(s, mixed, senderBody, senderNow); got.Reason != verdict.Malformed {
		t.Errorf("mixed: %s", got.Reason)
	}
}

func TestATokenOfALiveKitParticipantIsNoWebhook(t *testing.T) {
	by, options := signing(t, "livekit")
	s := mustLoad(t, "livekit", options...)
	for body, claims := range map[string]jwt.MapClaims{
		"":         {"iss": "key-1", "sub": "alice", "exp": senderNow.Add(time.Hour).Unix(), "video": map[string]any{"room": "a"}},
		senderBody: {"iss": "key-1", "exp": senderNow.Add(time.Minute).Unix(), "sha256": ""},
	} {
		token, err := signToken(by, claims)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
		r.Header.Set("Authorization", token)
		if got := send(s, r, body, senderNow); got.Reason != verdict.BadClaim {
			t.Errorf("%v: %s", claims, got.Reason)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		if got := send(s, r, body, senderNow); got.OK() {
			t.Error("behind Bearer it is accepted")
		}
	}
}

// FuzzSenderOptions: whatever stands in a block, nothing panics, and what loads can judge a request.
func FuzzSenderOptions(f *testing.F) {
	for _, seed := range []string{"secret a", "secret a b\ntolerance 5m", "header S\nsecret a\npayload {timestamp}{body}\ntimestamp header T ms", "signature pair v1", "payload {", "account a b c", "}", "{", "secret {env.X}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, options string) {
		for _, name := range []string{"hmac", "stripe", "sinch", "standard_webhooks", "meta"} {
			block := name + " {\n" + options + "\n}\n"
			if _, err := caddyfile.Tokenize([]byte(block), "Caddyfile"); err != nil {
				return // a heredoc without an end: Caddy's dispenser for tests ends the process on it
			}
			d := caddyfile.NewTestDispenser(block)
			d.Next()
			module, err := caddyfile.UnmarshalModule(d, callback.Namespace+"."+name)
			if err != nil {
				continue
			}
			if _, err := json.Marshal(module); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func dispenser(name, options string) *caddyfile.Dispenser {
	d := caddyfile.NewTestDispenser(name + " {\n" + options + "\n}\n")
	d.Next()
	return d
}

// Plivo signs twice: by the token of the account that a call belongs to, which may be a subaccount's, and by that of the
// main account. Whoever has one of them can verify.
func TestPlivoIsVerifiedByTheTokenOfTheMainAccountToo(t *testing.T) {
	for name, header := range map[string]string{"plivo": "X-Plivo-Signature-V3", "plivo_v2": "X-Plivo-Signature-V2"} {
		sub, _ := signing(t, name)
		parent := sub
		parent.Secret = "the-token-of-the-main-account-of-the-tests"
		signed := func(by Signing) string {
			r := httptest.NewRequest("GET", "https://hooks.example.com/cb?b=2", nil)
			if err := Sign(name, r, nil, by); err != nil {
				t.Fatal(err)
			}
			return r.Header.Get(header)
		}
		ma := strings.Replace(header, "Signature", "Signature-Ma", 1)
		stranger := parent
		stranger.Secret = "the-token-of-somebody-else-in-the-tests"
		for _, test := range []struct {
			what, own, main string
			secret          Signing
			want            verdict.Reason
		}{
			{"the main account's token", signed(sub), signed(parent), parent, verdict.OK},
			{"the subaccount's token", signed(sub), signed(parent), sub, verdict.OK},
			{"the main account's signature alone", "", signed(parent), parent, verdict.OK},
			{"several in one header", signed(sub), signed(stranger) + ", " + signed(parent), parent, verdict.OK},
			{"another's token", signed(sub), signed(parent), stranger, verdict.BadSignature},
			{"neither", "", "", parent, verdict.Missing},
		} {
			s := mustLoad(t, name, "secret "+test.secret.Secret)
			r := httptest.NewRequest("GET", "https://hooks.example.com/cb?b=2", nil)
			r.Header.Set(header+"-Nonce", sub.ID)
			if test.own != "" {
				r.Header.Set(header, test.own)
			}
			if test.main != "" {
				r.Header.Set(ma, test.main)
			}
			if got := send(s, r, "", senderNow); got.Reason != test.want {
				t.Errorf("%s, %s: %s (%s)", name, test.what, got.Reason, got.Detail)
			}
			r.Header.Add(ma, test.main)
			r.Header.Add(ma, test.main)
			if got := send(s, r, "", senderNow); got.Reason != verdict.Malformed {
				t.Errorf("%s, %s, and two headers more: %s", name, test.what, got.Reason)
			}
		}
		places := mustLoad(t, name, "secret a").Traits().Places
		if len(places) != 4 || places[1].Header != ma {
			t.Errorf("%s: strip_credentials leaves %s: %v", name, ma, places)
		}
	}
}

// A WebSocket handshake, such as that of Twilio's media streams, is signed under the URL that was called: `wss://`.
func TestAWebSocketHandshakeIsSignedUnderItsOwnScheme(t *testing.T) {
	for public, called := range map[string][]string{
		"https://hooks.example.com":     {"wss://hooks.example.com", "wss://hooks.example.com:443", "https://hooks.example.com"},
		"https://hooks.example.com:443": {"wss://hooks.example.com", "wss://hooks.example.com:443"},
		"http://127.0.0.1:8080":         {"ws://127.0.0.1:8080"},
	} {
		for _, base := range called {
			by, options := signing(t, "twilio")
			s := mustLoad(t, "twilio", options...)
			address, _ := url.Parse(base + "/media?a=1")
			signed := &http.Request{Method: "GET", URL: address, Header: make(http.Header)}
			if err := Sign("twilio", signed, nil, by); err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest("GET", "/media?a=1", nil)
			r.Header = signed.Header
			q := &callback.Request{HTTP: r, Method: "GET", URL: r.URL, PublicURL: public, Now: senderNow, Upgrade: true}
			v := s.Verify(q)
			if v.OK() {
				v = v.Then(nil)
			}
			if !v.OK() {
				t.Errorf("called as %s at %s: %s (%s)", base, public, v.Reason, v.Detail)
			}
			if q.Upgrade = false; strings.HasPrefix(base, "ws") {
				if v = s.Verify(q); v.OK() {
					v = v.Then(nil)
				}
				if v.Reason != verdict.BadSignature {
					t.Errorf("no handshake, called as %s at %s: %s", base, public, v.Reason)
				}
			}
		}
	}
}

// Agora's clock is in the body, and signed. It counts where somebody says how far it may be off.
func TestAgorasTimeCountsWithATolerance(t *testing.T) {
	by, options := signing(t, "agora")
	for body, want := range map[string]verdict.Reason{
		`{"notifyMs":1700000000000,"eventType":10}`: verdict.OK,
		`{"notifyMs":1699999699999}`:                verdict.Expired,
		`{"notifyMs":1700000300001}`:                verdict.NotYetValid,
		`{"notifyMs":"1700000000000"}`:              verdict.BadCredential,
		`{"eventType":10}`:                          verdict.BadCredential,
		`not JSON`:                                  verdict.BadCredential,
	} {
		r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
		if err := Sign("agora", r, []byte(body), by); err != nil {
			t.Fatal(err)
		}
		timed := mustLoad(t, "agora", append(slices.Clone(options), "tolerance 5m")...)
		if got := send(timed, r, body, senderNow); got.Reason != want {
			t.Errorf("%s: %s, want %s", body, got.Reason, want)
		}
		if timed.Traits().Window != 5*time.Minute {
			t.Error("replay memory is not told how long a message is fresh")
		}
		untimed := mustLoad(t, "agora", options...)
		if got := send(untimed, r, body, senderNow); !got.OK() || untimed.Traits().Window != 0 {
			t.Errorf("%s, without a tolerance: %s", body, got.Reason)
		}
	}
}

// Linear sends a failed delivery again after a minute, an hour and six hours, with the time of the first: with a
// `tolerance` of 8h they pass, as the same message.
func TestLinearsRetriesPassWithATolerance(t *testing.T) {
	by, options := signing(t, "linear")
	const body = `{"webhookTimestamp":1700000000000}`
	r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
	if err := Sign("linear", r, []byte(body), by); err != nil {
		t.Fatal(err)
	}
	recommended, wide := mustLoad(t, "linear", options...), mustLoad(t, "linear", append(options, "tolerance 8h")...)
	first := send(wide, r.Clone(t.Context()), body, senderNow)
	for _, age := range []time.Duration{61 * time.Second, time.Hour + 61*time.Second, 7*time.Hour + 62*time.Second} {
		if got := send(recommended, r.Clone(t.Context()), body, senderNow.Add(age)); got.Reason != verdict.Expired {
			t.Errorf("after %s, with the tolerance that Linear recommends: %s", age, got.Reason)
		}
		if got := send(wide, r.Clone(t.Context()), body, senderNow.Add(age)); !got.OK() || got.ID == "" || got.ID != first.ID {
			t.Errorf("after %s: %s, %q; the first was %q", age, got.Reason, got.ID, first.ID)
		}
	}
}

// Grafana signs a time only if its `Timestamp header` is filled in, and has no name for it of its own: what comes under
// another name, or without one, is for `hmac`. An absent time is not made up for, since a signature over time and body is
// also one over a body that begins so.
func TestGrafanasTimeStandsUnderItsName(t *testing.T) {
	const secret = "whk-test-secret"
	signed := func(name string) *http.Request {
		r := httptest.NewRequest("PUT", "https://hooks.example.com/cb", nil)
		mac := hmac.New(sha256.New, []byte(secret)) // as github.com/grafana/alerting, http/hmac.go
		if name != "" {
			r.Header.Set(name, "1700000000")
			mac.Write([]byte("1700000000:"))
		}
		mac.Write([]byte(senderBody))
		r.Header.Set("X-Grafana-Alerting-Signature", hex.EncodeToString(mac.Sum(nil)))
		return r
	}
	const ours, theirs = "X-Grafana-Alerting-Timestamp", "X-Grafana-Alerting-Signature-Timestamp"
	named := mustLoad(t, "grafana", "secret "+secret)
	for name, want := range map[string]verdict.Reason{ours: verdict.OK, theirs: verdict.Missing, "": verdict.Missing} {
		if got := send(named, signed(name), senderBody, senderNow); got.Reason != want {
			t.Errorf("a time in %q: %s, want %s", name, got.Reason, want)
		}
	}
	untimed := signed(ours)
	untimed.Header.Del(ours)
	if got := send(named, untimed, "1700000000:"+senderBody, senderNow); got.OK() {
		t.Error("the time may move into the body")
	}
	lines := []string{"secret " + secret, "header X-Grafana-Alerting-Signature"}
	if got := send(mustLoad(t, "hmac", lines...), signed(""), senderBody, senderNow); !got.OK() {
		t.Errorf("hmac, without a time: %s", got.Reason)
	}
	lines = append(lines, "payload {timestamp}:{body}", "timestamp header "+theirs)
	if got := send(mustLoad(t, "hmac", lines...), signed(theirs), senderBody, senderNow); !got.OK() {
		t.Errorf("hmac, with a time under another name: %s", got.Reason)
	}
}
