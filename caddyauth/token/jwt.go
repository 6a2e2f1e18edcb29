// Package token configures how tokens are checked, for callbacks and streams alike: `jwt` as a scheme of callback_auth
// and as a block of stream_auth's `token` have the same options, and the same strictness.
package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/endpoint"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/internal/jwks"
	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
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

// Claim is a claim that must have one of several values.
type Claim struct {
	// The name of the claim; case counts.
	Name string `json:"name,omitempty"`

	// The values, any of which will do. A claim that is a list of strings must hold one of them. Values take
	// placeholders.
	Values []string `json:"values,omitempty"`
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

// ownKeys gives the keys that stand in the configuration, and the usual algorithms.
func (j *JWT) ownKeys(ctx caddy.Context) (keys []jose.Key, usual []string, err error) {
	switch {
	case j.isShared():
		return nil, []string{"RS256"}, nil
	case len(j.PublicKeys) > 0:
		return loadPublicKeys(j.PublicKeys)
	}
	secrets, err := credential.Resolve("secret", j.Secrets, nil)
	if err != nil {
		return nil, nil, err
	}
	credential.WarnWeak(ctx.Logger(), "secret", secrets)
	for _, s := range secrets {
		keys = append(keys, jose.SecretKey(s.Label(), s.Bytes()))
	}
	return keys, []string{"HS256"}, nil
}

// openKeys opens the set of keys that others publish.
func (j *JWT) openKeys(ctx caddy.Context) (*Keys, error) {
	if j.JWKS != "" {
		return openSet(ctx, j.JWKS)
	}
	place, err := credential.Text("openid_configuration", j.OpenIDConfiguration)
	if err != nil {
		return nil, err
	}
	config := jwks.Config{Metadata: place}
	if len(j.policy.Issuers) == 1 {
		config.Issuer = j.policy.Issuers[0]
	}
	keys, err := OpenKeys(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("openid_configuration: %w", err)
	}
	return keys, nil
}

// openSet opens the key set of a jwks option: a URL, else the path of a file.
func openSet(ctx caddy.Context, value string) (*Keys, error) {
	place, err := credential.Text("jwks", value)
	if err != nil {
		return nil, err
	}
	config := jwks.Config{File: place}
	if isURL(place) {
		config = jwks.Config{JWKS: place}
	}
	keys, err := OpenKeys(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("jwks: %w", err)
	}
	return keys, nil
}

// isURL tells the two forms of a jwks option apart.
func isURL(place string) bool { return strings.Contains(place, "://") }

// checkSet refuses what openSet would refuse of a value that stands there as it is.
func checkSet(value string) error {
	if !isURL(value) {
		return nil
	}
	return CheckURL("jwks", value)
}

// CheckURL refuses a URL that stands in the configuration as it is and may not be called. With a placeholder in it, it is
// looked at when that is known. Its error names the option, and does not hold the URL.
func CheckURL(option, value string) error {
	if value == "" || strings.Contains(value, "{") {
		return nil
	}
	if _, err := endpoint.Parse(value); err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	return nil
}

// checkPublished refuses algorithms whose keys nobody publishes: what everybody can read is no secret.
func checkPublished(algorithms []string) error {
	for _, name := range algorithms {
		if strings.HasPrefix(name, "HS") {
			return fmt.Errorf("algorithm %s takes a secret, and published keys are none", name)
		}
	}
	return nil
}

// loadPublicKeys reads PEM files, and gives the usual algorithms of their keys.
func loadPublicKeys(files []credential.Secret) (keys []jose.Key, algorithms []string, err error) {
	values, err := credential.Resolve("public_key", files, nil)
	if err != nil {
		return nil, nil, err
	}
	for i, value := range values {
		pem := value.Bytes()
		if !strings.Contains(string(pem), "-----BEGIN ") {
			name := string(pem)
			if pem, err = os.ReadFile(name); err != nil {
				// As it is configured: what a placeholder stands for may be a key, or a secret, in the wrong place.
				if path, ok := errors.AsType[*fs.PathError](err); ok {
					err = path.Err
				}
				return nil, nil, fmt.Errorf("public_key: %s: %v", files[i].Value, err)
			}
		}
		public, err := jose.KeysFromPEM(pem)
		if err != nil {
			return nil, nil, fmt.Errorf("public_key %s: %v", value.Label(), err)
		}
		algorithm := usualAlgorithm(public)
		if !slices.Contains(algorithms, algorithm) {
			algorithms = append(algorithms, algorithm)
		}
		keys = append(keys, jose.Key{Label: value.Label(), Public: public})
	}
	return keys, algorithms, nil
}

func usualAlgorithm(public crypto.PublicKey) string {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return "RS256"
	case *ecdsa.PublicKey:
		switch key.Curve.Params().BitSize {
		case 384:
			return "ES384"
		case 521:
			return "ES512"
		}
		return "ES256"
	case ed25519.PublicKey:
		return "EdDSA"
	}
	return ""
}

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

// Holds reports whether the claim among claims has one of the values.
func (c Claim) Holds(claims strictjson.Value) bool {
	value, ok := claims.Get(c.Name)
	if !ok {
		return false
	}
	if value.Kind() == strictjson.Array {
		return slices.ContainsFunc(value.Items(), c.is)
	}
	return c.is(value)
}

func (c Claim) is(value strictjson.Value) bool {
	switch value.Kind() {
	case strictjson.String:
		text, _ := value.Text()
		return slices.Contains(c.Values, text)
	case strictjson.Number:
		text, _ := value.Number()
		return slices.Contains(c.Values, text)
	case strictjson.Bool:
		truth, _ := value.Bool()
		return slices.Contains(c.Values, fmt.Sprint(truth))
	default:
		return false
	}
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
