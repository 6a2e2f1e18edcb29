// Package token configures how tokens are checked, for callbacks and streams alike: `jwt` as a scheme of callback_auth
// and as a block of stream_auth's `token` have the same options, and the same strictness.
package token

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// DefaultLeeway is how far the clocks of sender and receiver may differ where leeway is not set.
const DefaultLeeway = time.Minute

// JWT says what a signed token must be (RFC 7519). A token must carry `exp`, unless `max_age` bounds its age by `iat`.
// Its keys come from one of secrets, public keys, a key set, or OpenID provider metadata.
type JWT struct {
	// The secrets of HMAC-signed tokens; any of them matches. Values take `{env.*}` and `{file.*}` placeholders.
	Secrets []credential.Secret `json:"secrets,omitempty"`

	// The files with the PEM public keys of tokens signed with a private key; any of them matches. A value may also be
	// the PEM text itself, by way of a placeholder.
	PublicKeys []credential.Secret `json:"public_keys,omitempty"`

	// The URL or the file of a JWK Set (RFC 7517 §5). A URL is https, or http to this machine; it is asked when a token
	// first needs its keys, never while the config is loaded. A file is read anew when it changes. Takes placeholders.
	JWKS string `json:"jwks,omitempty"`

	// The URL of OpenID provider metadata, which names the key set and the issuer. Takes placeholders.
	OpenIDConfiguration string `json:"openid_configuration,omitempty"`

	// The algorithms that a token may be signed with, of one family (RFC 7518 §3.1): HS256, HS384, HS512; RS256, RS384,
	// RS512; PS256, PS384, PS512; ES256, ES384, ES512; EdDSA. Default: HS256 with secrets; the usual one of the public
	// keys' type: RS256, ES256, ES384, ES512 or EdDSA; RS256 with a key set or provider metadata. Takes placeholders.
	Algorithms []string `json:"algorithms,omitempty"`

	// The issuers (`iss`) of which a token must have one. Default: any, or none; with provider metadata, its issuer.
	Issuers []string `json:"issuers,omitempty"`

	// The audiences (`aud`) of which a token must have one. Required with a key set or provider metadata, whose tokens
	// are made for others too. Default: any, or none.
	Audiences []string `json:"audiences,omitempty"`

	// Further claims, every one of which must have one of the values listed for it.
	Claims []Claim `json:"claims,omitempty"`

	// How long after its `iat` a token is accepted. With it, a token needs an `iat` and no `exp`. Default: no limit
	// but `exp`.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	// How far clocks may differ: it is granted on `exp` and `nbf`, and on an `iat` in the future. Default: 1m.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	policy jose.Policy
	claims []Claim
	keys   *Keys // that others publish; nil where the keys are ours
}

// Check refuses options that exclude each other, or are missing.
func (j *JWT) Check() error {
	sources := 0
	for _, given := range []bool{len(j.Secrets) > 0, len(j.PublicKeys) > 0, j.JWKS != "", j.OpenIDConfiguration != ""} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		return fmt.Errorf("jwt needs one source of keys: secret, public_key, jwks or openid_configuration")
	}
	if j.isShared() && len(j.Audiences) == 0 {
		return fmt.Errorf("audience is required with jwks and openid_configuration: their tokens are made for others too")
	}
	if err := checkSet(j.JWKS); err != nil {
		return err
	}
	if err := CheckURL("openid_configuration", j.OpenIDConfiguration); err != nil {
		return err
	}
	if !strings.Contains(strings.Join(j.Algorithms, ""), "{") { // else what the placeholders stand for is checked
		if err := j.checkAlgorithms(j.Algorithms); err != nil {
			return err
		}
	}
	for _, claim := range j.Claims {
		if claim.Name == "" || len(claim.Values) == 0 || slices.Contains(claim.Values, "") {
			return fmt.Errorf("claim needs a name and one or more values")
		}
	}
	if _, err := credential.Written("secret", j.Secrets, nil); err != nil {
		return err
	}
	_, err := credential.Written("public_key", j.PublicKeys, nil)
	return err
}

// Provision resolves the secrets and keys, and refuses what could not hold. Keys that others publish are not fetched yet.
func (j *JWT) Provision(ctx caddy.Context) error {
	if err := j.Check(); err != nil {
		return err
	}
	keys, usual, err := j.ownKeys(ctx)
	if err != nil {
		return err
	}
	algorithms, err := credential.Texts("algorithm", j.Algorithms)
	if err != nil {
		return err
	}
	j.policy = jose.Policy{
		Algorithms:    algorithms,
		Keys:          func(context.Context, *jose.Token) ([]jose.Key, error) { return keys, nil },
		MaxAge:        time.Duration(j.MaxAge),
		RequireExpiry: j.MaxAge == 0,
		Leeway:        time.Duration(j.Leeway),
		Proofs:        new(jose.Proofs),
	}
	if len(j.Algorithms) == 0 {
		j.policy.Algorithms = usual
	}
	if err := j.checkAlgorithms(j.policy.Algorithms); err != nil {
		return err
	}
	if j.Leeway == 0 {
		j.policy.Leeway = DefaultLeeway
	}
	if j.policy.Issuers, err = credential.Texts("issuer", j.Issuers); err != nil {
		return err
	}
	if j.policy.Audiences, err = credential.Texts("audience", j.Audiences); err != nil {
		return err
	}
	for _, claim := range j.Claims {
		values, err := credential.Texts("claim "+claim.Name, claim.Values)
		if err != nil {
			return err
		}
		j.claims = append(j.claims, Claim{claim.Name, values})
	}
	if err := j.policy.Check(); err != nil {
		return err
	}
	for _, key := range keys {
		if !slices.ContainsFunc(j.policy.Algorithms, key.Fits) {
			return fmt.Errorf("key %s cannot be used with %s", key.Label, strings.Join(j.policy.Algorithms, ", "))
		}
	}
	if !j.isShared() {
		return nil
	}
	if j.keys, err = j.openKeys(ctx); err != nil {
		return err
	}
	j.policy.Keys = j.keys.Find
	return nil
}

// checkAlgorithms refuses algorithms that are not of one family, or not for the keys that there are.
func (j *JWT) checkAlgorithms(names []string) error {
	if err := jose.CheckAlgorithms(names); err != nil {
		return err
	}
	for _, name := range names {
		switch isSecret := strings.HasPrefix(name, "HS"); {
		case isSecret && len(j.Secrets) == 0:
			return fmt.Errorf("algorithm %s takes a secret, and a public key is none", name)
		case !isSecret && len(j.Secrets) > 0:
			return fmt.Errorf("a secret cannot be used with %s, which takes a public key", name)
		}
	}
	return nil
}

// isShared reports whether the keys sign tokens for others too.
func (j *JWT) isShared() bool { return j.JWKS != "" || j.OpenIDConfiguration != "" }

// Window is how long after its making a token can be accepted; 0 if only its own `exp` tells.
func (j *JWT) Window() time.Duration {
	return time.Duration(j.MaxAge)
}

// Skew is how far the clocks may differ.
func (j *JWT) Skew() time.Duration {
	return j.policy.Leeway
}

// Waits reports whether Verify may have to fetch keys first.
func (j *JWT) Waits() bool { return j.isShared() }

// Verify checks a token. Its errors are of package verdict; on one that a genuine token came to, the token is returned
// too.
func (j *JWT) Verify(ctx context.Context, compact string, now time.Time) (*jose.Token, error) {
	t, err := j.policy.Verify(ctx, compact, now)
	if err == nil && j.keys != nil {
		err = j.keys.checkIssuer(ctx, t, j.policy.Issuers)
	}
	if err != nil {
		return t, err
	}
	for _, claim := range j.claims {
		if !claim.Holds(t.Claims) {
			return t, verdict.Errorf(verdict.BadClaim, "claim %s", claim.Name)
		}
	}
	return t, nil
}

// Cleanup lets go of the keys that others publish.
func (j *JWT) Cleanup() error {
	j.keys.Close()
	return nil
}

// UnmarshalCaddyfile sets up the token's policy from Caddyfile tokens. Syntax:
//
//	jwt {
//		secret               <value> [<label>]
//		public_key           <pem file> [<label>]
//		jwks                 <url|file>
//		openid_configuration <url>
//		algorithm            <name>...
//		issuer               <value>...
//		audience             <value>...
//		claim                <name> <value>...
//		max_age              <duration>
//		leeway               <duration>
//	}
func (j *JWT) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // its own name
	if d.NextArg() {
		return d.ArgErr()
	}
	place := *d // where the block begins
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		known, err := j.Option(d)
		if err != nil {
			return err
		}
		if !known {
			return d.Errf("unknown option '%s' of jwt", d.Val())
		}
	}
	if err := j.Check(); err != nil {
		return place.WrapErr(err)
	}
	return nil
}

// Option reads one line of a block, if it is one of these options.
func (j *JWT) Option(d *caddyfile.Dispenser) (known bool, err error) {
	switch d.Val() {
	case "secret":
		return true, credential.Append(d, &j.Secrets)
	case "public_key":
		return true, credential.Append(d, &j.PublicKeys)
	case "jwks":
		return true, credential.One(d, &j.JWKS)
	case "openid_configuration":
		return true, credential.One(d, &j.OpenIDConfiguration)
	case "algorithm":
		return true, algorithm(d, &j.Algorithms)
	case "issuer":
		return true, credential.Many(d, &j.Issuers)
	case "audience":
		return true, credential.Many(d, &j.Audiences)
	case "claim":
		args := d.RemainingArgs()
		if len(args) < 2 {
			return true, d.Err("claim takes a name and one or more values")
		}
		j.Claims = append(j.Claims, Claim{args[0], args[1:]})
	case "max_age":
		return true, credential.Duration(d, &j.MaxAge)
	case "leeway":
		return true, credential.Duration(d, &j.Leeway)
	default:
		return false, nil
	}
	return true, nil
}

// algorithm reads the arguments of an option that names algorithms into target. What a placeholder stands for is known
// only at load.
func algorithm(d *caddyfile.Dispenser, target *[]string) error {
	if err := credential.Many(d, target); err != nil {
		return err
	}
	if strings.Contains(strings.Join(*target, ""), "{") {
		return nil
	}
	if err := jose.CheckAlgorithms(*target); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*JWT)(nil)
	_ caddy.CleanerUpper    = (*JWT)(nil)
	_ caddyfile.Unmarshaler = (*JWT)(nil)
)
