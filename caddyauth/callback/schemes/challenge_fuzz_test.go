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
	"regexp"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/internal/signature"
)

// challenges are all that an answer to a challenge can be.
var challenges = regexp.MustCompile(`^([A-Za-z0-9_-]{1,128}|\{"type":1\}|\{"plainToken":"([A-Za-z0-9_-]{1,128})","encryptedToken":"([0-9a-f]{64})"\}|\{"response_token":"sha256=([A-Za-z0-9+/]{43}=)"\})?$`)

// FuzzChallenge: whatever a sender signs, and whatever anybody puts into a query, what is answered is a plain token, or
// the MAC of one, and it is the token that encoding/json and net/url find in the challenge.
func FuzzChallenge(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1654503849680,"event":"endpoint.url_validation"}`, "crc_token=9b4507b3-9040-4669-9ca3-6b94edb50553"},
		{`{"type":"url_verification","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}`, "challenge=abc_123-X"},
		{`{"challenge":"pogchamp-kappa-360noscope-vohiyo","subscription":{}}`, "hub.mode=subscribe&hub.verify_token=agreed-token&hub.challenge=1158201444"},
		{`{"type":1,"id":"1","token":"x"}`, "hub.mode=subscribe&hub.verify_token=wrong&hub.verify_token=agreed-token&hub.challenge=1"},
		{`{"version":1,"application_id":"1","type":0}`, "challenge=a&challenge=b"}, {`{"test":"test"}`, "%63hallenge=%61"},
		{`{"type":"url_verification","challenge":"<script>"}`, "challenge=a%0d%0ab"}, {`{"event":"endpoint.url_validation","payload":{"plainToken":7}}`, "crc_token=a;b"},
		{`{"type":"url_verification","challenge":"a","challenge":"b"}`, "challenge=é"}, {`{"Type":"url_verification","challenge":"\u0061"}`, "crc_token"}, {`null`, "&"},
	} {
		f.Add(seed[0], seed[1])
	}
	schemes := map[string]callback.Scheme{}
	for _, sender := range []string{"zoom", "slack", "twitch", "discord", "daily", "x", "dropbox", "meta"} {
		schemes[sender] = challengeScheme(f, sender)
	}
	macOf := func(token string) []byte {
		mac := hmac.New(sha256.New, []byte(challengeSecret))
		mac.Write([]byte(token))
		return mac.Sum(nil)
	}
	// looked fails the test where an answer is none that tokens have.
	looked := func(t *testing.T, sender string, w *httptest.ResponseRecorder, tokens []string) {
		t.Helper()
		found := challenges.FindStringSubmatch(w.Body.String())
		if found == nil || w.Code != http.StatusOK && w.Code != http.StatusNoContent {
			t.Fatalf("%s: %d %q", sender, w.Code, w.Body)
		}
		token := found[1]
		switch {
		case found[3] != "":
			if token = found[2]; hex.EncodeToString(macOf(token)) != found[3] {
				t.Errorf("%s: not the MAC of the token", sender)
			}
		case found[4] != "":
			for _, one := range tokens {
				if base64.StdEncoding.EncodeToString(macOf(one)) == found[4] {
					token = one
				}
			}
		case token == "": // discord's and daily's, who have none
			return
		}
		for _, one := range tokens {
			if one == token && token != "" {
				return
			}
		}
		t.Errorf("%s: %q is none of the tokens of the challenge", sender, w.Body)
	}
	f.Fuzz(func(t *testing.T, body, query string) {
		var message map[string]any // a struct would take names in any capitals
		if json.Unmarshal([]byte(body), &message) != nil {
			message = nil
		}
		challenge, _ := message["challenge"].(string)
		payload, _ := message["payload"].(map[string]any)
		plainToken, _ := payload["plainToken"].(string)
		for _, sender := range []string{"zoom", "slack", "twitch", "discord"} {
			v, w := challenged(t, schemes[sender], sender, body, func(r *http.Request) {
				r.Header.Set("Twitch-Eventsub-Message-Type", "webhook_callback_verification")
			})
			if !v.OK() || v.Answer == nil {
				continue
			}
			looked(t, sender, w, []string{challenge, plainToken})
		}
		for sender, s := range schemes {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				r := httptest.NewRequest(method, "https://hooks.example.com/cb", nil)
				r.URL.RawQuery = query
				v, w := answerOf(t, send(s, r, body, senderNow))
				if !v.OK() {
					continue
				}
				values, err := url.ParseQuery(query)
				if daily := sender == "daily" && method == http.MethodPost && body == dailyTest; v.Answer == nil || !daily && (err != nil || method != http.MethodGet) {
					t.Fatalf("%s takes an unsigned %s with the query %q", sender, method, query)
				}
				if token := values["hub.verify_token"]; sender == "meta" && (len(token) != 1 || token[0] != "agreed-token") {
					t.Errorf("meta takes the verify tokens %q", token)
				}
				var tokens []string
				for _, name := range []string{"crc_token", "challenge", "hub.challenge"} {
					if len(values[name]) == 1 {
						tokens = append(tokens, values[name][0])
					}
				}
				looked(t, sender, w, tokens)
			}
		}
		// The clock in a body is what encoding/json reads there.
		clock := bodyClock{path: "event_ts", unit: signature.Milliseconds, tolerance: time.Minute}
		if clock.check([]byte(body), time.UnixMilli(1654503849680)) == nil {
			at, ok := message["event_ts"].(float64)
			if off := at - 1654503849680; !ok || max(off, -off) > float64(time.Minute.Milliseconds()) {
				t.Errorf("the clock of %q is taken for fresh", body)
			}
		}
	})
}
