package token

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/introspect"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Introspection says whom to ask about opaque tokens, and as whom (RFC 7662 §2).
type Introspection struct {
	// The URL of the introspection endpoint: https, or http to this machine. Takes placeholders.
	URL string `json:"url,omitempty"`

	// Our own name at the authorization server. Takes placeholders.
	ClientID string `json:"client_id,omitempty"`

	// Our own secret there. Takes `{env.*}` and `{file.*}` placeholders.
	ClientSecret string `json:"client_secret,omitempty"`

	// How they are sent: `basic`, in a header, or `body`, in the form (RFC 6749 §2.3.1). Default: `basic`.
	ClientAuth string `json:"client_auth,omitempty"`

	// How long an answer may be used again, never past the token's own end. For so long a revoked token is still
	// accepted. Default: 30s.
	Cache caddy.Duration `json:"cache,omitempty"`
}

// check refuses what lacks an option.
func (i *Introspection) check() error {
	if err := credential.WrittenText("introspection", i.URL); err != nil {
		return err
	}
	if err := CheckURL("introspection", i.URL); err != nil {
		return err
	}
	if err := credential.WrittenText("client_id", i.ClientID); err != nil {
		return err
	}
	_, err := credential.Written("client_secret", i.secret(), nil)
	return err
}

// secret gives the secret as one that can be resolved.
func (i *Introspection) secret() []credential.Secret {
	return []credential.Secret{{Value: i.ClientSecret}}
}

// provisionIntrospection is for opaque tokens.
func (o *OAuth2) provisionIntrospection() error {
	i := o.Introspection
	place, err := credential.Text("introspection", i.URL)
	if err != nil {
		return err
	}
	id, err := credential.Text("client_id", i.ClientID)
	if err != nil {
		return err
	}
	secrets, err := credential.Resolve("client_secret", i.secret(), nil)
	if err != nil {
		return err
	}
	config := introspect.Config{
		URL: place, ClientID: id, ClientSecret: secrets[0], Auth: introspect.Auth(i.ClientAuth),
		Cache: time.Duration(i.Cache), Leeway: o.policy.Leeway, Policy: o.policyName(),
	}
	if i.Cache == 0 {
		config.Cache = introspect.DefaultCache
	}
	o.asked, err = openClient(config)
	return err
}

// policyName stands for all that an answer is judged by, so that answers are shared only among equals.
func (o *OAuth2) policyName() string {
	hash := sha256.New()
	for _, list := range [][]string{o.policy.Issuers, o.policy.Audiences, o.scopes} {
		_, _ = fmt.Fprintf(hash, "%q\n", list)
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// checkOpaque asks the authorization server about a token, and gives its scopes.
func (o *OAuth2) checkOpaque(ctx context.Context, presented string, _ time.Time) (*jose.Token, []string, error) {
	answer, err := o.asked.Check(ctx, presented)
	if err != nil {
		return nil, nil, err
	}
	t := &jose.Token{
		Claims: answer.Claims, Issuer: answer.Issuer, Subject: answer.Subject, Audience: answer.Audience,
		Expires: answer.Expires, NotBefore: answer.NotBefore, IssuedAt: answer.IssuedAt,
	}
	if issuers := o.policy.Issuers; len(issuers) > 0 && !slices.Contains(issuers, t.Issuer) {
		return t, nil, verdict.Errorf(verdict.BadClaim, "iss is not an allowed issuer")
	}
	ours := func(audience string) bool { return slices.Contains(o.policy.Audiences, audience) }
	if len(o.policy.Audiences) > 0 && !slices.ContainsFunc(t.Audience, ours) {
		return t, nil, verdict.Errorf(verdict.BadClaim, "aud names no allowed audience")
	}
	return t, answer.Scopes, nil
}

// UnmarshalCaddyfile sets up introspection from Caddyfile tokens. The syntax is with OAuth2.
func (i *Introspection) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // its own name
	if err := credential.One(d, &i.URL); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "client_id":
			err = credential.One(d, &i.ClientID)
		case "client_secret":
			err = credential.One(d, &i.ClientSecret)
		case "client_auth":
			err = credential.OneOf(d, &i.ClientAuth, string(introspect.Basic), string(introspect.Body))
		case "cache":
			err = credential.Duration(d, &i.Cache)
		default:
			err = d.Errf("unknown option '%s' of introspection", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Introspection)(nil)
