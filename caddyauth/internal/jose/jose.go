// Package jose checks signed tokens: a policy over golang-jwt's signature methods, not over its parser.
//
// A parser that is kind to its input leaves room for two readers to disagree about one token. So the accepted form is
// narrow, and everything else is refused:
//
//   - JWS compact serialization only (RFC 7515 §7.1): exactly three non-empty segments of [A-Za-z0-9_-] in canonical
//     base64url, at most MaxTokenBytes together. No padding, no line breaks, no unused bits, no JSON form, no JWE.
//   - The header is one JSON object in the form of package strictjson. alg is a string of Policy.Algorithms, spelled
//     exactly so. typ, if there, is one of Policy.Types. kid, if there, is a string of at most 1024 bytes. A header
//     with crit, b64, cty, enc, epk, zip or p2c is refused; jku, x5u, jwk, x5c and x5t are never looked at.
//   - The claims are one such object. iss, sub and jti are strings (jti not empty), aud is a string or an array of
//     strings, exp, nbf and iat are numbers, fractions allowed, from 0 to the end of the year 9999. Any other type
//     refuses the token, even where the claim is not used (RFC 7519 §4.1). An exp of 0 is long past, not absent.
//   - The algorithms of one policy are of one family, so that a public key can never serve as a shared secret
//     (RFC 8725 §3.1), and a key is only tried with the algorithms of its own type. No empty secret, no RSA modulus
//     under 2048 bits, ECDSA signatures in their fixed length, PSS salts as long as the hash (RFC 7518 §3).
//   - A token has an exp, or the policy a MaxAge: none is good for ever.
//
// The text of a token is no identity: whoever saw an ECDSA signature can write a second one that holds as well.
package jose

import (
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
)

// MaxTokenBytes bounds a token. It is checked before anything else.
const MaxTokenBytes = 8 << 10

// maxKeyIDBytes bounds a kid.
const maxKeyIDBytes = 1024

// Token is what a token says.
type Token struct {
	// Algorithm, Type and KeyID are the header's alg, typ and kid; "" stands for absent.
	Algorithm, Type, KeyID string

	// Claims are all claims, an Object.
	Claims strictjson.Value

	// Issuer, Subject and ID are iss, sub and jti; "" stands for absent.
	Issuer, Subject, ID string

	// Audience is aud, one or many.
	Audience []string

	// Expires, NotBefore and IssuedAt are exp, nbf and iat; the zero Time stands for absent.
	Expires, NotBefore, IssuedAt time.Time

	// Key is the label of the key that matched.
	Key string
}

// Text gives a claim as text: a string as it is, a number as it was written, true or false, and an array or an object
// as compact JSON. A claim that is absent or null has no text.
func (t *Token) Text(name string) (string, bool) {
	claim, ok := t.Claims.Get(name)
	if !ok || claim.Kind() == strictjson.Null {
		return "", false
	}
	if text, ok := claim.Text(); ok {
		return text, true
	}
	if number, ok := claim.Number(); ok {
		return number, true
	}
	return string(claim.AppendJSON(nil)), true
}
