package schemes

import (
	"cmp"
	"net/url"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/token"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(OAuth2{})
}

// OAuth2 accepts requests with an OAuth 2.0 access token behind `Bearer` in the Authorization header (RFC 6750 §2.1),
// and answers the others as RFC 6750 §3 says. A token proves who holds it; no token covers the body.
type OAuth2 struct {
	token.OAuth2
}

// CaddyModule returns the Caddy module information.
func (OAuth2) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.oauth2",
		New: func() caddy.Module { return new(OAuth2) },
	}
}

// Traits says where the token is and how dear it is to check.
func (o *OAuth2) Traits() callback.Traits {
	cost := callback.CostKey
	if o.Introspection != nil {
		cost = callback.CostNetwork
	}
	return callback.Traits{
		Cost:      cost,
		Places:    []callback.Place{{Header: "Authorization"}},
		Challenge: bearerChallenge,
	}
}

// Verify checks the token.
func (o *OAuth2) Verify(q *callback.Request) callback.Verdict {
	compact, err := bearer(q)
	if err != nil {
		return callback.Refuse(err)
	}
	t, err := o.OAuth2.Verify(q.HTTP.Context(), compact, q.Now)
	v := accessVerdict(t, err)
	if v.Reason == verdict.Denied {
		v.Challenge = bearerChallenge + `, error="insufficient_scope", scope="` + o.RequiredScopes() + `"`
	}
	if !v.OK() {
		return v
	}
	// A token of the client itself may have no subject, or the client as subject (RFC 9068 §2.2).
	v.User = cmp.Or(firstText(t, "sub", "client_id", "azp", "appid"), v.Key)
	if isForm(q.HTTP) {
		return overBody(v, noTokenIn)
	}
	return v
}

// noTokenIn refuses a form with a token, where RFC 6750 §2.2 puts it, besides the one in Authorization: the receiver might
// look at that one.
func noTokenIn(body []byte) error {
	fields, err := url.ParseQuery(string(body))
	if err != nil {
		return verdict.Errorf(verdict.Malformed, "the form does not parse")
	}
	if fields.Has("access_token") {
		return verdict.Errorf(verdict.Malformed, "a token in Authorization and one in the form")
	}
	return nil
}

// firstText gives the first of these claims that is there and not empty.
func firstText(t *jose.Token, names ...string) string {
	for _, name := range names {
		if text, ok := t.Text(name); ok && text != "" {
			return text
		}
	}
	return ""
}

// Interface guards
var (
	_ caddy.Module       = (*OAuth2)(nil)
	_ caddy.Provisioner  = (*OAuth2)(nil)
	_ caddy.CleanerUpper = (*OAuth2)(nil)
	_ callback.Scheme    = (*OAuth2)(nil)
)
