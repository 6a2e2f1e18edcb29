package schemes

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// The challenges here are not ordinary signed messages: anybody may send one.

// asks reports whether a request is a GET with a query parameter.
func asks(q *callback.Request, parameter string) bool {
	if q.Method != http.MethodGet {
		return false
	}
	query, err := q.Query()
	return err == nil && query.Has(parameter)
}

// askX answers X's challenge-response check with the MAC of its token, by the key that signs the events. Where X
// signed the check, over its query, the signature must hold.
func askX(s *Sender, q *callback.Request) (callback.Verdict, bool) {
	const parameter = "crc_token"
	if !asks(q, parameter) {
		return callback.Verdict{}, false
	}
	token, err := q.Parameter(parameter)
	if err == nil {
		err = plainToken(token)
	}
	if err != nil {
		return callback.Refuse(err), true
	}
	key := s.keys[0]
	if len(q.HTTP.Header.Values(s.row.spec.Header)) > 0 {
		pending, err := s.verifier.Begin(signedMessage(s.verifier.Scheme, q), q.Now)
		if err != nil {
			return callback.Refuse(err), true
		}
		match, err := pending.Finish([]byte(q.URL.RawQuery))
		if err != nil {
			return callback.Refuse(err), true
		}
		key = match.Key
	}
	answer, err := answerJSON(struct {
		ResponseToken string `json:"response_token"`
	}{"sha256=" + base64.StdEncoding.EncodeToString(tokenMAC(key, token))})
	if err != nil {
		return callback.Refuse(err), true
	}
	return answered(key.Label(), answer), true
}

// askDropbox echoes Dropbox's challenge.
func askDropbox(_ *Sender, q *callback.Request) (callback.Verdict, bool) {
	const parameter = "challenge"
	if !asks(q, parameter) {
		return callback.Verdict{}, false
	}
	token, err := q.Parameter(parameter)
	if err == nil {
		err = plainToken(token)
	}
	if err != nil {
		return callback.Refuse(err), true
	}
	return answered("", answerText(token)), true
}

// askMeta echoes the challenge of Meta's subscription, which carries the verify token that was agreed on.
func askMeta(s *Sender, q *callback.Request) (callback.Verdict, bool) {
	if !asks(q, "hub.mode") {
		return callback.Verdict{}, false
	}
	mode, err := q.Parameter("hub.mode")
	if err != nil {
		return callback.Refuse(err), true
	}
	if mode != "subscribe" {
		return callback.Refuse(verdict.Errorf(verdict.BadCredential, "a challenge of an unknown mode")), true
	}
	presented, err := q.Parameter("hub.verify_token")
	if err != nil {
		return callback.Refuse(err), true
	}
	agreed, ok := secret.Match(s.verifyTokens, []byte(presented))
	if !ok {
		return callback.Refuse(verdict.Errorf(verdict.BadSignature, "the verify token is not one of those configured")), true
	}
	token, err := q.Parameter("hub.challenge")
	if err == nil {
		err = plainToken(token)
	}
	if err != nil {
		return callback.Refuse(err), true
	}
	return answered(agreed.Label(), answerText(token)), true
}

// maxSSLCheck bounds Slack's check of a certificate: `ssl_check=1` and a token.
const maxSSLCheck = 512

// askSlack acknowledges Slack's check of the certificate behind a slash command's URL, which is not signed
// (docs.slack.dev/interactivity/implementing-slash-commands). Nothing is learned from the answer, and nothing is passed on.
func askSlack(s *Sender, q *callback.Request) (callback.Verdict, bool) {
	if q.Method != http.MethodPost || q.HTTP.ContentLength <= 0 || q.HTTP.ContentLength > maxSSLCheck || !isForm(q.HTTP) ||
		len(q.HTTP.Header.Values(s.row.spec.Header)) > 0 {
		return callback.Verdict{}, false
	}
	return callback.Verdict{Reason: verdict.OK, Then: func(body []byte) callback.Verdict {
		form, err := url.ParseQuery(string(body))
		if err != nil || !slices.Equal(form["ssl_check"], []string{"1"}) {
			return callback.Refuse(verdict.Errorf(verdict.Missing, "no %s header", s.row.spec.Header))
		}
		return answered("", answerEmpty)
	}}, true
}

// dailyTest is the body that Daily sends, signed or not, when a webhook is made.
const dailyTest = `{"test":"test"}`

// askDaily acknowledges Daily's test where it is not signed; signedDaily, where it is. Nothing is learned from the answer,
// and nothing is passed on.
func askDaily(s *Sender, q *callback.Request) (callback.Verdict, bool) {
	if q.Method != http.MethodPost || q.HTTP.ContentLength != int64(len(dailyTest)) ||
		len(q.HTTP.Header.Values(s.row.spec.Header)) > 0 {
		return callback.Verdict{}, false
	}
	return callback.Verdict{Reason: verdict.OK, Then: func(body []byte) callback.Verdict {
		if string(body) != dailyTest {
			return callback.Refuse(verdict.Errorf(verdict.Missing, "no %s header", s.row.spec.Header))
		}
		return answered("", answerEmpty)
	}}, true
}
