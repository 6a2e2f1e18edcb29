package jose

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// Policy is what a token must be. Its zero value refuses every token.
type Policy struct {
	// Algorithms are the values of alg that are allowed, all of one family: HS256, HS384 and HS512; RS256, RS384 and
	// RS512; PS256, PS384 and PS512; ES256, ES384 and ES512; or EdDSA and Ed25519, two names of one algorithm
	// (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2).
	Algorithms []string

	// Keys gives the keys.
	Keys KeySource

	// Types are the values of typ that are allowed; empty: JWT. See RFC 7515 §4.1.9 for how they compare.
	Types []string

	// RequireType refuses a token without a typ.
	RequireType bool

	// Issuers are the values of iss that are allowed; empty: any, and none.
	Issuers []string

	// Audiences are those of whom aud must name one; empty: any, and none.
	Audiences []string

	// MaxAge is how long after its iat a token is good; 0: until its exp. No leeway is added.
	MaxAge time.Duration

	// Leeway is how far clocks may differ where exp, nbf and a future iat are judged.
	Leeway time.Duration

	// RequireExpiry refuses a token without an exp even where there is a MaxAge.
	RequireExpiry bool

	// Proofs remembers signatures of public keys that held; nil: each token is checked anew. It changes no verdict.
	Proofs *Proofs

	headers *headers // nil until Check
}

// Check refuses a policy that could not hold, or that has an empty entry where a placeholder came out empty. What Verify
// reads headers by, Algorithms, Types and RequireType, is not to be changed after it.
func (p *Policy) Check() error {
	if p.Keys == nil {
		return errors.New("no keys")
	}
	if len(p.Algorithms) == 0 {
		return errors.New("no algorithm")
	}
	if err := CheckAlgorithms(p.Algorithms); err != nil {
		return err
	}
	switch {
	case slices.Contains(p.Types, ""):
		return errors.New("empty type")
	case slices.Contains(p.Issuers, ""):
		return errors.New("empty issuer")
	case slices.Contains(p.Audiences, ""):
		return errors.New("empty audience")
	case p.MaxAge < 0:
		return errors.New("negative max age")
	case p.Leeway < 0:
		return errors.New("negative leeway")
	}
	p.headers = new(headers)
	return nil
}

// CheckAlgorithms refuses names of which one is no algorithm, or which are not of one family.
func CheckAlgorithms(names []string) error {
	var one family
	for _, name := range names {
		a, ok := algorithmOf(name)
		if !ok {
			return fmt.Errorf("unknown algorithm %q", name)
		}
		if one != 0 && a.family != one {
			return fmt.Errorf("algorithms %q and %q take keys of different kinds", names[0], name)
		}
		one = a.family
	}
	return nil
}

// Verify checks a token in compact form at the time now.
//
// The error is always a *verdict.Error, and its text holds nothing of the token:
//
//   - BadCredential: not of the narrow form, or an alg or typ that is not allowed
//   - UnknownKey: none of the keys that Keys gave fits the token
//   - BadSignature: none of those that fit signed it
//   - BadClaim: iss or aud is another, or a claim that is needed is missing
//   - Expired, NotYetValid: exp, nbf, iat and MaxAge
//   - what Keys returned; Unavailable if that carries no *verdict.Error
//
// Claims are judged only after the signature held. A token that is genuine and yet refused, for BadClaim, Expired or
// NotYetValid, comes back together with the error, for logs that say which key signed it. Any other refusal comes
// without a token: whether there is an error is the verdict, never whether there is a token.
func (p *Policy) Verify(ctx context.Context, compact string, now time.Time) (*Token, error) {
	token, signed, refusal := p.parse(compact)
	if refusal != nil {
		return nil, refusal
	}
	if p.Keys == nil {
		return nil, verdict.Errorf(verdict.Unavailable, "no keys")
	}
	keys, err := p.Keys(ctx, token)
	if err != nil {
		return nil, verdict.Of(err)
	}
	key, tried := signed.match(token, keys, p.Proofs)
	if !tried {
		return nil, verdict.Errorf(verdict.UnknownKey, "no key fits the token")
	}
	if key == nil {
		return nil, verdict.Errorf(verdict.BadSignature, "no key has signed the token")
	}
	token.Key = key.Label
	p.headers.keep(token, signed.header)
	if refusal := p.judge(token, now); refusal != nil {
		return token, refusal
	}
	return token, nil
}

// judge looks at the claims of a genuine token.
func (p *Policy) judge(t *Token, now time.Time) *verdict.Error {
	expires, issued := !t.Expires.IsZero(), !t.IssuedAt.IsZero()
	switch {
	case len(p.Issuers) > 0 && !slices.Contains(p.Issuers, t.Issuer):
		return verdict.Errorf(verdict.BadClaim, "iss is not an allowed issuer")
	case len(p.Audiences) > 0 && !slices.ContainsFunc(t.Audience, p.allowsAudience):
		return verdict.Errorf(verdict.BadClaim, "aud names no allowed audience")
	case !expires && (p.RequireExpiry || p.MaxAge <= 0):
		return verdict.Errorf(verdict.BadClaim, "exp is missing")
	case !issued && p.MaxAge > 0:
		return verdict.Errorf(verdict.BadClaim, "iat is missing")
	case expires && !now.Before(t.Expires.Add(p.Leeway)): // "on or after", RFC 7519 §4.1.4
		return verdict.Errorf(verdict.Expired, "exp is past")
	case p.MaxAge > 0 && now.Sub(t.IssuedAt) > p.MaxAge:
		return verdict.Errorf(verdict.Expired, "iat is longer ago than the greatest age")
	case t.NotBefore.After(now.Add(p.Leeway)):
		return verdict.Errorf(verdict.NotYetValid, "nbf is in the future")
	case t.IssuedAt.After(now.Add(p.Leeway)):
		return verdict.Errorf(verdict.NotYetValid, "iat is in the future")
	}
	return nil
}

func (p *Policy) allowsAudience(audience string) bool { return slices.Contains(p.Audiences, audience) }
