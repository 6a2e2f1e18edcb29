package schemes

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

const challengeSecret = "whk-test-secret"

// challengeKey is the secret as the sender shows it.
func challengeKey(name string) string {
	if name == "daily" {
		return base64.StdEncoding.EncodeToString([]byte(challengeSecret))
	}
	return challengeSecret
}

// challenged sends a request that is signed as the sender signs, and gives its verdict and answer.
func challenged(t testing.TB, s callback.Scheme, name, body string, prepare func(*http.Request)) (callback.Verdict, *httptest.ResponseRecorder) {
	t.Helper()
	r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
	by, _ := signing(t, name)
	if name != "discord" {
		by.Secret = challengeKey(name)
	}
	if err := Sign(name, r, []byte(body), by); err != nil {
		t.Fatal(err)
	}
	if prepare != nil {
		prepare(r)
	}
	return answerOf(t, send(s, r, body, senderNow))
}

func answerOf(t testing.TB, v callback.Verdict) (callback.Verdict, *httptest.ResponseRecorder) {
	t.Helper()
	w := httptest.NewRecorder()
	if v.OK() && v.Answer != nil {
		if err := v.Answer(w); err != nil {
			t.Fatal(err)
		}
		if w.Body.Len() > 0 && w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Error("the answer may be sniffed")
		}
	}
	return v, w
}

func get(t testing.TB, s callback.Scheme, query string, header http.Header) (callback.Verdict, *httptest.ResponseRecorder) {
	t.Helper()
	r := httptest.NewRequest("GET", "https://hooks.example.com/cb?"+query, nil)
	for name, values := range header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	return answerOf(t, send(s, r, "", senderNow))
}

func challengeScheme(t testing.TB, name string) callback.Scheme {
	t.Helper()
	options := []string{"secret " + challengeKey(name), "answer_challenge"}
	switch name {
	case "discord":
		_, own := signing(t, name)
		options[0] = own[0]
	case "meta":
		options = append(options, "verify_token agreed-token agreed")
	}
	return mustLoad(t, name, options...)
}

func TestChallengesAreAnsweredAsTheSenderExpects(t *testing.T) {
	twitch := func(r *http.Request) {
		r.Header.Set("Twitch-Eventsub-Message-Type", "webhook_callback_verification")
	}
	for _, test := range []struct {
		name, sender, body, want, contentType string
		status                                int
		prepare                               func(*http.Request)
	}{
		{
			"zoom_crc", "zoom", `{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680,"event":"endpoint.url_validation"}`,
			`{"plainToken":"qgg8vlvZRS6UYooatFL8Aw","encryptedToken":"6da50b17587d927fce9827d4da015c16a190793db99920bd6cb5e60eecfc7574"}`, "application/json", 200, nil,
		},
		{
			"slack", "slack", `{"type":"url_verification","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}`,
			"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P", "text/plain; charset=utf-8", 200, nil,
		},
		{"twitch", "twitch", `{"challenge":"pogchamp-kappa-360noscope-vohiyo","subscription":{}}`, "pogchamp-kappa-360noscope-vohiyo", "text/plain; charset=utf-8", 200, twitch},
		{"discord interactions", "discord", `{"type":1,"id":"1","token":"x"}`, `{"type":1}`, "application/json", 200, nil},
		{"discord webhook events", "discord", `{"version":1,"application_id":"1","type":0}`, "", "application/json", 204, nil},
		{"daily", "daily", `{"test":"test"}`, "", "", 200, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, w := challenged(t, challengeScheme(t, test.sender), test.sender, test.body, test.prepare)
			if !v.OK() || v.Answer == nil || w.Code != test.status || w.Body.String() != test.want || w.Header().Get("Content-Type") != test.contentType {
				t.Errorf("%s %s: %d %s %q", v.Reason, v.Detail, w.Code, w.Header().Get("Content-Type"), w.Body)
			}
			// Without the option, it is a message as any other.
			_, own := signing(t, test.sender)
			if test.sender != "discord" {
				own[0] = "secret " + challengeKey(test.sender)
			}
			if v, _ := challenged(t, mustLoad(t, test.sender, own[0]), test.sender, test.body, test.prepare); !v.OK() || v.Answer != nil {
				t.Errorf("without answer_challenge: %s, answer %v", v.Reason, v.Answer != nil)
			}
		})
	}
	for _, test := range []struct{ name, sender, query, want, contentType string }{
		{"x_crc", "x", "crc_token=9b4507b3-9040-4669-9ca3-6b94edb50553", `{"response_token":"sha256=3GPV/dnCg/7rVd8Es4qcpcgdh4AcMHJM+Xbk/5w5iO8="}`, "application/json"},
		{"dropbox", "dropbox", "challenge=abc_123-X", "abc_123-X", "text/plain; charset=utf-8"},
		{"meta", "meta", "hub.mode=subscribe&hub.verify_token=agreed-token&hub.challenge=1158201444", "1158201444", "text/plain; charset=utf-8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, w := get(t, challengeScheme(t, test.sender), test.query, nil)
			if !v.OK() || w.Code != 200 || w.Body.String() != test.want || w.Header().Get("Content-Type") != test.contentType {
				t.Errorf("%s %s: %d %s %q", v.Reason, v.Detail, w.Code, w.Header().Get("Content-Type"), w.Body)
			}
			if v, _ := get(t, mustLoad(t, test.sender, "secret a"), test.query, nil); v.Reason != verdict.Missing {
				t.Errorf("without answer_challenge: %s", v.Reason)
			}
		})
	}
}

// forged are texts that would be of use to whoever had them signed, or echoed.
func forged() []string {
	return []string{
		`{"for_user_id":"1","tweet_create_events":[]}`, `v0:1700000000:{"event":"meeting.started"}`, "1700000000.{}", "crc_token=a",
		"<script>alert(1)</script>", "a b", "a.b", "a/b", "a+b", "a=", "ä", "a\r\nSet-Cookie: a=b", "%00", "", strings.Repeat("a", 129),
	}
}

// No answer to a challenge may serve as the signature of an event, nor be anything but a short plain token: for X and
// Zoom, one key and one format sign both.
func TestChallengesAreNoSigningOracle(t *testing.T) {
	for _, token := range forged() {
		query := url.QueryEscape(token)
		quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", `\r`, "\n", `\n`).Replace(token)
		refuse := func(sender string, v callback.Verdict, w *httptest.ResponseRecorder) {
			t.Helper()
			if v.OK() || w.Body.Len() > 0 {
				t.Errorf("%s answers the challenge %.30q: %s %q", sender, token, v.Reason, w.Body)
			}
			mac := hmac.New(sha256.New, []byte(challengeSecret))
			mac.Write([]byte(token))
			if sum := mac.Sum(nil); strings.Contains(w.Body.String(), hex.EncodeToString(sum)) || strings.Contains(w.Body.String(), base64.StdEncoding.EncodeToString(sum)) {
				t.Errorf("%s signs %.30q for a stranger", sender, token)
			}
		}
		v, w := get(t, challengeScheme(t, "x"), "crc_token="+query, nil)
		refuse("x", v, w)
		v, w = get(t, challengeScheme(t, "dropbox"), "challenge="+query, nil)
		refuse("dropbox", v, w)
		v, w = get(t, challengeScheme(t, "meta"), "hub.mode=subscribe&hub.verify_token=agreed-token&hub.challenge="+query, nil)
		refuse("meta", v, w)
		v, w = challenged(t, challengeScheme(t, "zoom"), "zoom", `{"event":"endpoint.url_validation","payload":{"plainToken":"`+quoted+`"}}`, nil)
		refuse("zoom", v, w)
		v, w = challenged(t, challengeScheme(t, "slack"), "slack", `{"type":"url_verification","challenge":"`+quoted+`"}`, nil)
		refuse("slack", v, w)
		v, w = challenged(t, challengeScheme(t, "twitch"), "twitch", `{"challenge":"`+quoted+`"}`, func(r *http.Request) {
			r.Header.Set("Twitch-Eventsub-Message-Type", "webhook_callback_verification")
		})
		refuse("twitch", v, w)
	}
}

// Whoever has a token signed by a challenge, as anybody can have with X, has not signed an event: it would reach the receiver.
func TestTheAnswerToAChallengeSignsNoEvent(t *testing.T) {
	s := challengeScheme(t, "x")
	for _, token := range []string{"token", "1", "true", "null", "-1", "1e9", "9b4507b3-9040-4669-9ca3-6b94edb50553", strings.Repeat("a", 128)} {
		v, w := get(t, s, "crc_token="+token, nil)
		var answer struct {
			Token string `json:"response_token"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || !v.OK() {
			t.Fatalf("CONTROL: the challenge is not answered: %s %v", v.Reason, err)
		}
		r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
		r.Header.Set("X-Twitter-Webhooks-Signature", answer.Token)
		if got := send(s, r, token, senderNow); got.Reason != verdict.BadSignature {
			t.Errorf("the body %.20q with the answer to a challenge as its signature: %s", token, got.Reason)
		}
	}
}

// What is no text is no token, whatever it looks like as one, and what is no number is no type.
func TestChallengesOfAnotherTypeAreNoChallenges(t *testing.T) {
	for sender, body := range map[string]string{
		"zoom":    `{"event":"endpoint.url_validation","payload":{"plainToken":7}}`,
		"slack":   `{"type":"url_verification","challenge":7}`,
		"twitch":  `{"challenge":7}`,
		"discord": `{"type":"1"}`,
	} {
		v, w := challenged(t, challengeScheme(t, sender), sender, body, func(r *http.Request) {
			r.Header.Set("Twitch-Eventsub-Message-Type", "webhook_callback_verification")
		})
		if v.Answer != nil || w.Body.Len() > 0 || v.OK() != (sender == "discord") {
			t.Errorf("%s: %s, answered with %q", sender, v.Reason, w.Body)
		}
	}
}

// A challenge that the sender signs is not answered to anybody else.
func TestSignedChallengesOfStrangersAreRefused(t *testing.T) {
	for sender, body := range map[string]string{
		"zoom":    `{"event":"endpoint.url_validation","payload":{"plainToken":"token"}}`,
		"slack":   `{"type":"url_verification","challenge":"token"}`,
		"twitch":  `{"challenge":"token"}`,
		"discord": `{"type":1}`,
	} {
		s := challengeScheme(t, sender)
		unsigned := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
		unsigned.Header.Set("Twitch-Eventsub-Message-Type", "webhook_callback_verification")
		if v := send(s, unsigned, body, senderNow); v.OK() || v.Answer != nil {
			t.Errorf("%s, unsigned: %s", sender, v.Reason)
		}
		v, _ := challenged(t, s, sender, body, func(r *http.Request) {
			r.Header.Set("Twitch-Eventsub-Message-Type", "webhook_callback_verification")
			carrier := s.Traits().Places[0].Header
			value := r.Header.Get(carrier)
			last := "0"
			if strings.HasSuffix(value, "0") {
				last = "1"
			}
			r.Header.Set(carrier, value[:len(value)-1]+last)
		})
		if v.Reason != verdict.BadSignature {
			t.Errorf("%s, signed by a stranger: %s", sender, v.Reason)
		}
	}
}

func TestXChecksTheSignatureOfACheckWhereThereIsOne(t *testing.T) {
	s := challengeScheme(t, "x")
	query := "crc_token=token&nonce=1"
	mac := hmac.New(sha256.New, []byte(challengeSecret))
	mac.Write([]byte(query))
	signature := "sha256=" + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	if v, _ := get(t, s, query, http.Header{"x-twitter-webhooks-signature": {signature}}); !v.OK() || v.Answer == nil {
		t.Errorf("signed: %s", v.Reason)
	}
	for name, header := range map[string]http.Header{
		"of another query": {"x-twitter-webhooks-signature": {"sha256=" + base64.StdEncoding.EncodeToString(make([]byte, 32))}},
		"empty":            {"x-twitter-webhooks-signature": {""}},
		"twice":            {"x-twitter-webhooks-signature": {signature, signature}},
	} {
		if v, _ := get(t, s, query, header); v.OK() {
			t.Errorf("a signature %s is accepted", name)
		}
	}
	if v, _ := get(t, s, "crc_token=a&crc_token=b", nil); v.Reason != verdict.Malformed {
		t.Errorf("two tokens: %s", v.Reason)
	}
}

func TestMetaAnswersOnlyForItsVerifyToken(t *testing.T) {
	s := challengeScheme(t, "meta")
	for query, want := range map[string]verdict.Reason{
		"hub.mode=subscribe&hub.verify_token=agreed-token&hub.challenge=1":                        verdict.OK,
		"hub.mode=subscribe&hub.verify_token=other&hub.challenge=1":                               verdict.BadSignature,
		"hub.mode=subscribe&hub.verify_token=&hub.challenge=1":                                    verdict.Missing,
		"hub.mode=subscribe&hub.challenge=1":                                                      verdict.Missing,
		"hub.mode=subscribe&hub.verify_token=agreed-token":                                        verdict.Missing,
		"hub.mode=unsubscribe&hub.verify_token=agreed-token&hub.challenge=1":                      verdict.BadCredential,
		"hub.mode=subscribe&hub.verify_token=agreed-token&hub.verify_token=b&hub.challenge=1":     verdict.Malformed,
		"hub.mode=subscribe&hub.verify_token=agreed-token&hub.challenge=1&hub.challenge=<script>": verdict.Malformed,
	} {
		if v, _ := get(t, s, query, nil); v.Reason != want {
			t.Errorf("%s: %s, want %s", query, v.Reason, want)
		}
	}
}

func TestDailysTestIsAcknowledgedAndNothingElseIs(t *testing.T) {
	s := challengeScheme(t, "daily")
	for body, ok := range map[string]bool{`{"test":"test"}`: true, `{"test":"TEST"}`: false, `{"test": "test"}`: false, "": false} {
		r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
		v, w := answerOf(t, send(s, r, body, senderNow))
		if v.OK() != ok || ok && (v.Answer == nil || w.Code != 200) {
			t.Errorf("%q: %s", body, v.Reason)
		}
	}
	// Daily signs it, with a secret that it was given: a signature that is there has to hold.
	v, _ := challenged(t, s, "daily", `{"test":"test"}`, func(r *http.Request) { r.Header.Set("X-Webhook-Timestamp", "1700000001") })
	if v.Reason != verdict.BadSignature {
		t.Errorf("a test that is signed otherwise: %s", v.Reason)
	}
}

// An ordinary message stays one: only what is a challenge is answered here.
func TestOrdinaryMessagesPassWithAnswerChallenge(t *testing.T) {
	for sender, body := range map[string]string{
		"zoom": senderBody, "slack": "token=a&challenge=b", "discord": `{"type":1,"event":{"type":"x"}}`, "twitch": `{"event":{}}`,
		"x": senderBody, "meta": senderBody, "dropbox": senderBody,
	} {
		v, _ := challenged(t, challengeScheme(t, sender), sender, body, nil)
		if !v.OK() || v.Answer != nil {
			t.Errorf("%s: %s, answer %v", sender, v.Reason, v.Answer != nil)
		}
	}
}
