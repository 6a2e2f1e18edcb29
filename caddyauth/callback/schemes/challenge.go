package schemes

import (
	"encoding/json"
	"io"
	"net/http"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// maxChallengeToken bounds the token of a challenge.
const maxChallengeToken = 128

// plainToken refuses a challenge whose token is not short and plain. Some challenges are answered with a MAC of their
// token, by the key that signs the events too: who could have a body signed in this way would have a forged event. No
// `v0:…` text is made of these characters alone, nor a JSON object; and a body that is, is no event (Sender.finish). It
// also keeps what is echoed from being markup.
func plainToken(token string) error {
	if token == "" || len(token) > maxChallengeToken {
		return verdict.Errorf(verdict.BadCredential, "the token of the challenge is empty or over %d characters", maxChallengeToken)
	}
	for _, char := range []byte(token) {
		switch {
		case char >= '0' && char <= '9', char >= 'A' && char <= 'Z', char >= 'a' && char <= 'z', char == '-', char == '_':
		default:
			return verdict.Errorf(verdict.BadCredential, "the token of the challenge has characters other than A-Z a-z 0-9 - _")
		}
	}
	return nil
}

// answered is the verdict on a challenge that came outside the ordinary signature.
func answered(key string, answer answerFunc) callback.Verdict {
	return callback.Verdict{Reason: verdict.OK, Key: key, User: key, Answer: answer}
}

// answerText answers with plain text that no browser takes for anything else.
func answerText(text string) answerFunc {
	return func(w http.ResponseWriter) error { return answer(w, "text/plain; charset=utf-8", text) }
}

// answerJSON answers with a JSON object.
func answerJSON(object any) (answerFunc, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	return func(w http.ResponseWriter) error { return answer(w, "application/json", string(text)) }, nil
}

func answer(w http.ResponseWriter, contentType, text string) error {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	_, err := io.WriteString(w, text)
	return err
}

// answerEmpty answers with status 200 alone.
func answerEmpty(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusOK)
	return nil
}
