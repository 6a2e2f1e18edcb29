// Package token configures how tokens are checked, for callbacks and streams alike: `jwt` as a scheme of callback_auth
// and as a block of stream_auth's `token` have the same options, and the same strictness.
package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// DefaultLeeway is how far the clocks of sender and receiver may differ where leeway is not set.
const DefaultLeeway = time.Minute

// JWT says what a signed token must be (RFC 7519). A token must carry `exp`, unless `max_age` bounds its age by `iat`.
type JWT struct {
	// The secrets of HMAC-signed tokens; any of them matches. Values take `{env.*}` and `{file.*}` placeholders.
	Secrets []credential.Secret `json:"secrets,omitempty"`

	// The files with the PEM public keys of tokens signed with a private key; any of them matches. A value may also be
	// the PEM text itself, by way of a placeholder.
	PublicKeys []credential.Secret `json:"public_keys,omitempty"`

	// The algorithms that a token may be signed with, of one family (RFC 7518 §3.1): HS256, HS384, HS512; RS256, RS384,
	// RS512; PS256, PS384, PS512; ES256, ES384, ES512; EdDSA. Default: HS256 with secrets, else the usual one of the
	// public keys' type: RS256, ES256, ES384, ES512 or EdDSA.
	Algorithms []string `json:"algorithms,omitempty"`

	// The issuers (`iss`) of which a token must have one. Default: any, or none.
	Issuers []string `json:"issuers,omitempty"`

	// The audiences (`aud`) of which a token must have one. Default: any, or none.
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
}

// Claim is a claim that must have one of several values.
type Claim struct {
	// The name of the claim; case counts.
	Name string `json:"name,omitempty"`

	// The values, any of which will do. A claim that is a list of strings must hold one of them. Values take
	// placeholders.
	Values []string `json:"values,omitempty"`
}

// Provision resolves the secrets and keys, and refuses what could not hold.
func (j *JWT) Provision(ctx caddy.Context) error {
	var err error
	if (len(j.Secrets) > 0) == (len(j.PublicKeys) > 0) {
		return fmt.Errorf("jwt needs either secret or public_key")
	}
	var keys []jose.Key
	var usual []string
	if len(j.Secrets) > 0 {
		secrets, err := credential.Resolve("secret", j.Secrets, nil)
		if err != nil {
			return err
		}
		credential.WarnWeak(ctx.Logger(), "secret", secrets)
		for _, s := range secrets {
			keys = append(keys, jose.SecretKey(s.Label(), s.Bytes()))
		}
		usual = []string{"HS256"}
	} else if keys, usual, err = loadPublicKeys(j.PublicKeys); err != nil {
		return err
	}

	j.policy = jose.Policy{
		Algorithms:    j.Algorithms,
		Keys:          func(context.Context, *jose.Token) ([]jose.Key, error) { return keys, nil },
		MaxAge:        time.Duration(j.MaxAge),
		RequireExpiry: j.MaxAge == 0,
		Leeway:        time.Duration(j.Leeway),
		Proofs:        new(jose.Proofs),
	}
	if len(j.Algorithms) == 0 {
		j.policy.Algorithms = usual
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
		if claim.Name == "" || len(claim.Values) == 0 {
			return fmt.Errorf("claim needs a name and one or more values")
		}
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
	return nil
}

// loadPublicKeys reads PEM files, and gives the usual algorithms of their keys.
func loadPublicKeys(files []credential.Secret) (keys []jose.Key, algorithms []string, err error) {
	values, err := credential.Resolve("public_key", files, nil)
	if err != nil {
		return nil, nil, err
	}
	for _, value := range values {
		pem := value.Bytes()
		if !strings.Contains(string(pem), "-----BEGIN ") {
			name := string(pem)
			if pem, err = os.ReadFile(name); err != nil {
				return nil, nil, fmt.Errorf("public_key: %v", err)
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

// Verify checks a token. Its errors are of package verdict; on one that a genuine token came to, the token is returned
// too.
func (j *JWT) Verify(ctx context.Context, compact string, now time.Time) (*jose.Token, error) {
	t, err := j.policy.Verify(ctx, compact, now)
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

// UnmarshalCaddyfile sets up the token's policy from Caddyfile tokens. Syntax:
//
//	jwt {
//		secret     <value> [<label>]
//		public_key <pem file> [<label>]
//		algorithm  <name>...
//		issuer     <value>...
//		audience   <value>...
//		claim      <name> <value>...
//		max_age    <duration>
//		leeway     <duration>
//	}
func (j *JWT) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // its own name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		known, err := j.Option(d)
		if err != nil {
			return err
		}
		if !known {
			return d.Errf("unknown option '%s' of jwt", d.Val())
		}
	}
	return nil
}

// Option reads one line of a block, if it is one of these options.
func (j *JWT) Option(d *caddyfile.Dispenser) (known bool, err error) {
	switch d.Val() {
	case "secret":
		secret, err := credential.Parse(d)
		if err != nil {
			return true, err
		}
		j.Secrets = append(j.Secrets, secret)
	case "public_key":
		file, err := credential.Parse(d)
		if err != nil {
			return true, err
		}
		j.PublicKeys = append(j.PublicKeys, file)
	case "algorithm":
		return true, credential.Many(d, &j.Algorithms)
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

// Interface guards
var (
	_ caddy.Provisioner     = (*JWT)(nil)
	_ caddyfile.Unmarshaler = (*JWT)(nil)
)
