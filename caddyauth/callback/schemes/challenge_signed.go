package schemes

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
)

// The challenges here come as ordinary messages, whose signature has held before these functions see them.

// parsed reads a body. One that is not JSON is not a challenge: null has no members.
func parsed(body []byte) strictjson.Value {
	value, err := strictjson.Parse(body)
	if err != nil {
		return strictjson.Value{}
	}
	return value
}

// member gives a text member of a JSON object in a JSON object …, by its path.
func member(value strictjson.Value, path ...string) string {
	for _, name := range path {
		value, _ = value.Get(name)
	}
	text, _ := value.Text()
	return text
}

// signedSlack echoes the challenge of Slack's `url_verification`.
func signedSlack(_ *callback.Request, body []byte, _ secret.Value) (answerFunc, error) {
	event := parsed(body)
	if member(event, "type") != "url_verification" {
		return nil, nil
	}
	token := member(event, "challenge")
	return answerText(token), plainToken(token)
}

// signedTwitch echoes the challenge of a new subscription. What kind of message it is says a header that is not signed:
// so the body, which is, has to hold a challenge too.
func signedTwitch(q *callback.Request, body []byte, _ secret.Value) (answerFunc, error) {
	if q.HTTP.Header.Get("Twitch-Eventsub-Message-Type") != "webhook_callback_verification" {
		return nil, nil
	}
	event := parsed(body)
	if _, ok := event.Get("challenge"); !ok {
		return nil, nil
	}
	token := member(event, "challenge")
	return answerText(token), plainToken(token)
}

// signedZoom answers `endpoint.url_validation` with the MAC of its token, by the key that signs the events.
func signedZoom(_ *callback.Request, body []byte, key secret.Value) (answerFunc, error) {
	event := parsed(body)
	if member(event, "event") != "endpoint.url_validation" {
		return nil, nil
	}
	token := member(event, "payload", "plainToken")
	if err := plainToken(token); err != nil {
		return nil, err
	}
	return answerJSON(struct {
		PlainToken     string `json:"plainToken"`
		EncryptedToken string `json:"encryptedToken"`
	}{token, hex.EncodeToString(tokenMAC(key, token))})
}

// signedDiscord answers the PING of an interactions endpoint, which is of type 1 and has no event, and of webhook
// events, which is of type 0.
func signedDiscord(_ *callback.Request, body []byte, _ secret.Value) (answerFunc, error) {
	message := parsed(body)
	if _, isEvent := message.Get("event"); isEvent {
		return nil, nil
	}
	kind, _ := message.Get("type")
	switch number, _ := kind.Number(); number {
	case "0":
		return func(w http.ResponseWriter) error {
			w.Header().Set("Content-Type", "application/json") // Discord asks for a valid one, though there is no body
			w.WriteHeader(http.StatusNoContent)
			return nil
		}, nil
	case "1":
		return answerJSON(struct {
			Type int `json:"type"`
		}{1})
	}
	return nil, nil
}

// signedDaily acknowledges Daily's test, which it signs with the `hmac` that it was given.
func signedDaily(_ *callback.Request, body []byte, _ secret.Value) (answerFunc, error) {
	if string(body) != dailyTest {
		return nil, nil
	}
	return answerEmpty, nil
}

// tokenMAC is the HMAC-SHA256 of a token that plainToken has passed.
func tokenMAC(key secret.Value, token string) []byte {
	mac := hmac.New(sha256.New, key.Bytes())
	_, _ = mac.Write([]byte(token)) // a hash returns no errors
	return mac.Sum(nil)
}
