package schemes

import (
	"cmp"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// bearerChallenge is the challenge of schemes whose credential is a bearer token (RFC 6750 §3).
const bearerChallenge = `Bearer realm="callback"`

// bearer returns the token behind `Bearer` in Authorization. A second one in the query, where RFC 6750 §2.3 puts it,
// is refused: the receiver might look at that one.
func bearer(q *callback.Request) (string, error) {
	compact, err := q.Authorization("Authorization", "Bearer")
	if err != nil {
		return "", err
	}
	if q.URL.RawQuery != "" {
		query, err := q.Query()
		if err != nil {
			return "", err
		}
		if query.Has("access_token") {
			return "", verdict.Errorf(verdict.Malformed, "a token in Authorization and one in the query")
		}
	}
	return compact, nil
}

// headerToken returns the token in a header: behind `Bearer` where there is one, and bare else, for senders use both
// forms in headers of their own.
func headerToken(q *callback.Request, header string) (string, error) {
	if strings.EqualFold(header, "Authorization") {
		return bearer(q)
	}
	value, err := q.Header(header)
	if err != nil {
		return "", err
	}
	if strings.Contains(value, " ") {
		return q.Authorization(header, "Bearer")
	}
	return value, nil
}

// tokenVerdict says what a token came to. A genuine token that is refused still names its key.
func tokenVerdict(token *jose.Token, err error) callback.Verdict {
	if err != nil {
		if token != nil {
			return refused(token.Key, err)
		}
		return callback.Refuse(err)
	}
	return callback.Verdict{
		Reason: verdict.OK,
		Key:    token.Key,
		User:   cmp.Or(token.Subject, token.Key),
		// RFC 7519 §4.1.7: jti is unique among the tokens of one issuer.
		Account: token.Issuer,
		ID:      token.ID,
		Claims:  token.Text,
	}
}

// accessVerdict says what a token came to that is shown with many messages: its id is the id of none of them.
func accessVerdict(token *jose.Token, err error) callback.Verdict {
	v := tokenVerdict(token, err)
	v.Account, v.ID = "", ""
	return v
}
