package token

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/introspect"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/internal/jwks"
	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
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

// checkScope refuses what is not one scope-token (RFC 6749 §3.3). It has no quote, so that it may stand in a header.
func checkScope(text string) error {
	if text == "" || strings.ContainsFunc(text, func(r rune) bool {
		return r < '!' || r > '~' || r == '"' || r == '\\'
	}) {
		return fmt.Errorf("scope: %q is not one word of RFC 6749 §3.3; several stand one after another", text)
	}
	return nil
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
	if isOther(t, granted) {
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

// isOther reports whether a token is another than an access token: an ID token, which tells a client who has logged in
// rather than us what the client may do, holds on its way through browsers and must open nothing (RFC 9068 §5), or a
// refresh token, which is for the authorization server alone (RFC 6749 §1.5) and which that calls active too. Those typed
// at+jwt are neither; old issuers put a nonce into access tokens too, but always with a scope.
func isOther(t *jose.Token, granted []string) bool {
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

// scopes gives the scopes of `scope`, a text of words between spaces (RFC 8693 §4.2), else of `scp`, as Entra and Okta
// write: such a text, or a list. Anything else grants nothing.
func scopes(claims strictjson.Value) []string {
	if value, ok := claims.Get("scope"); ok {
		return words(value)
	}
	value, _ := claims.Get("scp")
	if value.Kind() != strictjson.Array {
		return words(value)
	}
	var list []string
	for _, item := range value.Items() {
		text, ok := item.Text()
		if !ok {
			return nil
		}
		list = append(list, text)
	}
	return list
}

// words gives the words of a text; none of anything else.
func words(value strictjson.Value) []string {
	text, ok := value.Text()
	if !ok {
		return nil
	}
	return strings.FieldsFunc(text, func(r rune) bool { return r == ' ' })
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
var (
	_ caddy.Provisioner     = (*OAuth2)(nil)
	_ caddy.CleanerUpper    = (*OAuth2)(nil)
	_ caddyfile.Unmarshaler = (*OAuth2)(nil)
	_ caddyfile.Unmarshaler = (*Introspection)(nil)
)
