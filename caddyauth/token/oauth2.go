package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/internal/jwks"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// accessToken is the type of JWT access tokens (RFC 9068 §2.1). Many issuers still write JWT.
const accessToken = "at+jwt"

// OAuth2 says what an OAuth 2.0 access token must be: either a signed one, by the keys of its issuer (RFC 9068), or an
// opaque one that the authorization server is asked about (RFC 7662).
type OAuth2 struct {
	// The issuers of which a token must have one. With neither a key set nor introspection, the keys of each are found in
	// its metadata, at `<issuer>/.well-known/openid-configuration`, or that of RFC 8414 where there is none, and hold for
	// its own tokens alone. Values take placeholders.
	Issuers []string `json:"issuers,omitempty"`

	// The URL or the file of the JWK Set with the issuer's keys (RFC 7517 §5). A URL is https, or http to this machine.
	// Takes placeholders.
	JWKS string `json:"jwks,omitempty"`

	// The audiences of which a token must have one. Required, but with introspection. Values take placeholders.
	Audiences []string `json:"audiences,omitempty"`

	// The scopes that a token must have, all of them: of its `scope`, words between spaces, else of its `scp`, words or a
	// list. Default: none.
	Scopes []string `json:"scopes,omitempty"`

	// The types that a signed token may have in its header, such as `at+jwt`; it must then have one. Default: `at+jwt`,
	// `JWT` or none. Values take placeholders.
	Types []string `json:"types,omitempty"`

	// The algorithms that a token may be signed with, of one family: RS256, RS384, RS512; PS256, PS384, PS512; ES256,
	// ES384, ES512; EdDSA. Default: RS256.
	Algorithms []string `json:"algorithms,omitempty"`

	// How far clocks may differ. Default: 1m.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	// The authorization server to ask about opaque tokens. Default: none, and tokens are signed ones.
	Introspection *Introspection `json:"introspection,omitempty"`

	policy jose.Policy
	scopes []string
	keys   map[string]*Keys // by issuer; those of jwks, or of one issuer alone, under ""; nil with introspection
	asked  *asked           // nil without
}

// Check refuses options that exclude each other, or are missing.
func (o *OAuth2) Check() error {
	for _, scope := range o.Scopes {
		if err := checkScope(scope); err != nil && !strings.Contains(scope, "{") {
			return err
		}
	}
	switch {
	case o.Leeway < 0:
		return errors.New("negative leeway")
	case o.Introspection != nil && o.JWKS != "":
		return errors.New("oauth2 takes either jwks or introspection")
	case o.Introspection != nil && (len(o.Types) > 0 || len(o.Algorithms) > 0):
		return errors.New("type and algorithm are of signed tokens; with introspection the authorization server judges those")
	case o.Introspection != nil:
		return o.Introspection.check()
	case o.JWKS == "" && len(o.Issuers) == 0:
		return errors.New("oauth2 needs one source of trust: issuer, jwks or introspection")
	case len(o.Audiences) == 0:
		return errors.New("audience is required with issuer and jwks: their tokens are made for others too")
	case o.JWKS != "":
		if err := checkSet(o.JWKS); err != nil {
			return err
		}
	default: // the keys are where the issuers say
		for _, issuer := range o.Issuers {
			if err := CheckURL("issuer", issuer); err != nil {
				return err
			}
		}
	}
	return checkPublished(o.Algorithms)
}

// Provision resolves secrets, and refuses what could not hold. It calls nobody.
func (o *OAuth2) Provision(ctx caddy.Context) (err error) {
	if err := o.Check(); err != nil {
		return err
	}
	leeway := time.Duration(o.Leeway)
	if leeway == 0 {
		leeway = DefaultLeeway
	}
	o.policy = jose.Policy{
		RequireType:   len(o.Types) > 0,
		Leeway:        leeway,
		RequireExpiry: true,
		Proofs:        new(jose.Proofs),
	}
	for _, option := range []struct {
		name   string
		values []string
		target *[]string
	}{
		{"issuer", o.Issuers, &o.policy.Issuers},
		{"audience", o.Audiences, &o.policy.Audiences},
		{"type", o.Types, &o.policy.Types},
		{"algorithm", o.Algorithms, &o.policy.Algorithms},
		{"scope", o.Scopes, &o.scopes},
	} {
		if *option.target, err = credential.Texts(option.name, option.values); err != nil {
			return err
		}
	}
	for _, scope := range o.scopes {
		if err := checkScope(scope); err != nil {
			return err
		}
	}
	if o.Introspection != nil {
		return o.provisionIntrospection()
	}
	return o.provisionKeys(ctx)
}

// provisionKeys is for signed tokens.
func (o *OAuth2) provisionKeys(ctx caddy.Context) error {
	if len(o.policy.Algorithms) == 0 {
		o.policy.Algorithms = []string{"RS256"}
	}
	if len(o.policy.Types) == 0 {
		o.policy.Types = []string{accessToken, "JWT"}
	}
	o.policy.Keys = o.find
	if err := o.policy.Check(); err != nil {
		return err
	}
	if err := checkPublished(o.policy.Algorithms); err != nil {
		return err
	}
	o.keys = map[string]*Keys{}
	if o.JWKS != "" {
		keys, err := openSet(ctx, o.JWKS)
		o.keys[""] = keys
		return err
	}
	issuers := slices.Compact(slices.Sorted(slices.Values(o.policy.Issuers)))
	for _, issuer := range issuers {
		keys, err := OpenKeys(ctx, jwks.Config{Issuer: issuer})
		if err != nil {
			return fmt.Errorf("issuer: %w", err)
		}
		if len(issuers) == 1 {
			issuer = ""
		}
		o.keys[issuer] = keys
	}
	return nil
}

// find gives the keys that a token may have been signed with: of several issuers, those of the one that it names and of
// no other, or one could speak for another (RFC 8725 §3.8). One alone is asked whatever the token names: where its
// metadata turns out to be another's, the configuration is wrong, and no token bad. It is a jose.KeySource.
func (o *OAuth2) find(ctx context.Context, unverified *jose.Token) ([]jose.Key, error) {
	keys := o.keys[""]
	if keys == nil {
		keys = o.keys[unverified.Issuer]
	}
	if keys == nil {
		return nil, verdict.Errorf(verdict.BadClaim, "iss is not an allowed issuer")
	}
	return keys.Find(ctx, unverified)
}

// RequiredScopes are the scopes that a token must have, as they stand in a challenge; "" where none is required.
func (o *OAuth2) RequiredScopes() string { return strings.Join(o.scopes, " ") }

// Verify checks an access token. Its errors are of package verdict: verdict.Denied where a good token lacks a scope,
// verdict.Unavailable where keys or the authorization server are out of reach. On an error that a genuine token came to,
// the token is returned too. What came by introspection is a token with the claims of the answer.
func (o *OAuth2) Verify(ctx context.Context, presented string, now time.Time) (*jose.Token, error) {
	check := o.checkSigned
	if o.asked != nil {
		check = o.checkOpaque
	}
	t, granted, err := check(ctx, presented, now)
	if err != nil {
		return t, err
	}
	if isIDOrRefreshToken(t, granted) {
		return t, verdict.Errorf(verdict.BadClaim, "an ID token or a refresh token is not an access token")
	}
	for _, scope := range o.scopes {
		if !slices.Contains(granted, scope) {
			return t, verdict.Errorf(verdict.Denied, "the token lacks the scope %s", scope)
		}
	}
	return t, nil
}

// checkSigned checks all of a signed token but its scopes, and gives those.
func (o *OAuth2) checkSigned(ctx context.Context, presented string, now time.Time) (*jose.Token, []string, error) {
	t, err := o.policy.Verify(ctx, presented, now)
	if err != nil {
		return t, nil, err
	}
	return t, scopes(t.Claims), nil
}

// isIDOrRefreshToken reports whether a token is no access token: an ID token, which tells a client who has logged in
// rather than us what the client may do, holds on its way through browsers and must open nothing (RFC 9068 §5), or a
// refresh token, which is for the authorization server alone (RFC 6749 §1.5) and which that calls active too. Those typed
// at+jwt are neither; old issuers put a nonce into access tokens too, but always with a scope.
func isIDOrRefreshToken(t *jose.Token, granted []string) bool {
	if typ := strings.ToLower(t.Type); strings.TrimPrefix(typ, "application/") == accessToken {
		return false
	}
	typ, _ := t.Text("typ")       // of Keycloak
	use, _ := t.Text("token_use") // of Cognito and Ory Hydra
	if slices.Contains([]string{"ID", "Refresh", "Offline"}, typ) || slices.Contains([]string{"id", "refresh_token"}, use) {
		return true
	}
	for _, name := range []string{"nonce", "at_hash", "c_hash", "s_hash"} {
		if _, ok := t.Claims.Get(name); ok {
			return len(granted) == 0
		}
	}
	return false
}

// Cleanup lets go of keys and connections.
func (o *OAuth2) Cleanup() error {
	for _, keys := range o.keys {
		keys.Close()
	}
	if o.asked != nil {
		o.asked.end()
	}
	return nil
}

// UnmarshalCaddyfile sets up the token's policy from Caddyfile tokens. Syntax:
//
//	oauth2 {
//		issuer    <url>...
//		jwks      <url|file>
//		audience  <value>...
//		scope     <scope>...
//		type      <typ>...
//		algorithm <name>...
//		leeway    <duration>
//		introspection <url> {
//			client_id     <id>
//			client_secret <secret>
//			client_auth   basic|body
//			cache         <duration>
//		}
//	}
func (o *OAuth2) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // its own name
	if d.NextArg() {
		return d.ArgErr()
	}
	place := *d // where the block begins
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := o.option(d); err != nil {
			return err
		}
	}
	if err := o.Check(); err != nil {
		return place.WrapErr(err)
	}
	return nil
}

// option reads one line of the block.
func (o *OAuth2) option(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "issuer":
		return credential.Many(d, &o.Issuers)
	case "jwks":
		return credential.One(d, &o.JWKS)
	case "audience":
		return credential.Many(d, &o.Audiences)
	case "scope":
		return credential.Many(d, &o.Scopes)
	case "type":
		return credential.Many(d, &o.Types)
	case "algorithm":
		return algorithm(d, &o.Algorithms)
	case "leeway":
		return credential.Duration(d, &o.Leeway)
	case "introspection":
		if o.Introspection != nil {
			return d.WrapErr(fmt.Errorf("introspection: %w", credential.ErrRepeated))
		}
		o.Introspection = new(Introspection)
		return o.Introspection.UnmarshalCaddyfile(d.NewFromNextSegment())
	default:
		return d.Errf("unknown option '%s' of oauth2", d.Val())
	}
}

// Interface guards
var (
	_ caddy.Provisioner     = (*OAuth2)(nil)
	_ caddy.CleanerUpper    = (*OAuth2)(nil)
	_ caddyfile.Unmarshaler = (*OAuth2)(nil)
)
