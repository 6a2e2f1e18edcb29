package jose

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"

	"github.com/golang-jwt/jwt/v5"
)

// maxTries bounds how many public keys one token is tried with, so that a token without a kid cannot cost a hundred
// checks. Secrets are our own configuration and cheap: all of them count.
const maxTries = 16

// minModulusBits is RFC 7518 §3.3's least size of an RSA key.
const minModulusBits = 2048

// Key is one key that a token may be signed with: a Secret or a Public key.
type Key struct {
	// Label is what logs and metrics call it.
	Label string

	// ID is its kid, "" if it has none. A token that names another kid is not tried with a key that has one.
	ID string

	// Algorithms are what the key may be used with; empty: all that fit its type.
	Algorithms []string

	// Secret keys an HMAC.
	Secret []byte

	// Public is an *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey. It is never changed.
	Public crypto.PublicKey

	macs *sync.Pool // of *mac for Secret; nil: made for each token
}

// Format prints the label only, for every verb and flag: a Secret must not print.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "key "+k.Label) }

// MarshalText gives the label only, to encoding/json too.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.Label), nil }

// KeySource gives the keys that an unverified token may have been signed with. It may read its header and claims to
// choose among keys that it has, and must do nothing else that they say. At most 16 of the keys that fit are tried.
// An error that carries no *verdict.Error means that it could not be told: verdict.Unavailable.
type KeySource func(ctx context.Context, unverified *Token) ([]Key, error)

// family is a kind of signature. The algorithms of a policy are of one family.
type family uint8

const (
	familyHMAC family = iota + 1
	familyRSA
	familyPSS
	familyECDSA
	familyEd25519
)

// algorithm is one value of alg.
type algorithm struct {
	family family
	hash   func() hash.Hash  // of HMAC
	size   int               // of its sum
	curve  elliptic.Curve    // of ECDSA
	method jwt.SigningMethod // of all but HMAC
}

// algorithmOf gives the algorithm that alg names exactly. There is no "none".
func algorithmOf(alg string) (algorithm, bool) {
	switch alg {
	case "HS256":
		return algorithm{family: familyHMAC, hash: sha256.New, size: sha256.Size}, true
	case "HS384":
		return algorithm{family: familyHMAC, hash: sha512.New384, size: sha512.Size384}, true
	case "HS512":
		return algorithm{family: familyHMAC, hash: sha512.New, size: sha512.Size}, true
	case "RS256":
		return algorithm{family: familyRSA, method: jwt.SigningMethodRS256}, true
	case "RS384":
		return algorithm{family: familyRSA, method: jwt.SigningMethodRS384}, true
	case "RS512":
		return algorithm{family: familyRSA, method: jwt.SigningMethodRS512}, true
	case "PS256":
		return algorithm{family: familyPSS, method: strictPSS(jwt.SigningMethodPS256)}, true
	case "PS384":
		return algorithm{family: familyPSS, method: strictPSS(jwt.SigningMethodPS384)}, true
	case "PS512":
		return algorithm{family: familyPSS, method: strictPSS(jwt.SigningMethodPS512)}, true
	case "ES256":
		return algorithm{family: familyECDSA, curve: elliptic.P256(), method: jwt.SigningMethodES256}, true
	case "ES384":
		return algorithm{family: familyECDSA, curve: elliptic.P384(), method: jwt.SigningMethodES384}, true
	case "ES512":
		return algorithm{family: familyECDSA, curve: elliptic.P521(), method: jwt.SigningMethodES512}, true
	case "EdDSA", "Ed25519": // RFC 9864 §2.2 gives the second name to what the first means with this key
		return algorithm{family: familyEd25519, method: jwt.SigningMethodEdDSA}, true
	}
	return algorithm{}, false
}

// strictPSS is method without its leniency: golang-jwt verifies any length of salt, RFC 7518 §3.5 wants the hash's.
func strictPSS(method *jwt.SigningMethodRSAPSS) jwt.SigningMethod {
	return &jwt.SigningMethodRSAPSS{SigningMethodRSA: method.SigningMethodRSA, Options: method.Options}
}

// Fits reports whether k can be used with an algorithm at all: for a configuration that could never accept a token.
func (k *Key) Fits(alg string) bool {
	a, ok := algorithmOf(alg)
	return ok && k.fits(a, alg, "")
}

// fits reports whether a token with this alg and kid can be signed with k.
func (k *Key) fits(a algorithm, alg, kid string) bool {
	if len(k.Algorithms) > 0 && !slices.Contains(k.Algorithms, alg) {
		return false
	}
	if k.ID != "" && kid != "" && k.ID != kid {
		return false
	}
	if a.family == familyHMAC {
		return k.Public == nil && len(k.Secret) > 0
	}
	if len(k.Secret) > 0 {
		return false
	}
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		return (a.family == familyRSA || a.family == familyPSS) && strongRSA(public)
	case *ecdsa.PublicKey:
		return a.family == familyECDSA && public != nil && public.Curve == a.curve &&
			public.X != nil && public.Y != nil //nolint:staticcheck // without them ecdsa.Verify panics
	case ed25519.PublicKey:
		return a.family == familyEd25519 && len(public) == ed25519.PublicKeySize
	}
	return false
}

// strongRSA reports whether a key is large enough, and its exponent no toy: with 1, anybody can sign.
func strongRSA(public *rsa.PublicKey) bool {
	return public != nil && public.N != nil && public.N.BitLen() >= minModulusBits && public.E > 2 && public.E&1 == 1
}

// match finds the key among keys that t was signed with. tried is false if none of them fits it at all. proofs may be nil.
func (s signed) match(t *Token, keys []Key, proofs *Proofs) (found *Key, tried bool) {
	a, ok := algorithmOf(t.Algorithm)
	if !ok {
		return nil, false
	}
	if a.family != familyHMAC {
		return s.matchPublic(a, t, keys, proofs)
	}
	for i := range keys {
		key := &keys[i]
		if !key.fits(a, t.Algorithm, t.KeyID) {
			continue
		}
		tried = true
		// All secrets are tried, so that the time taken does not tell which one matched.
		if key.hmacHolds(a.hash, a.size, s.input, s.signature) && found == nil {
			found = key
		}
	}
	return found, tried
}

// matchPublic is match for public keys: those that fit are looked up in proofs first, then tried.
func (s signed) matchPublic(a algorithm, t *Token, keys []Key, proofs *Proofs) (found *Key, tried bool) {
	fitting := make([]*Key, 0, min(len(keys), maxTries))
	for i := range keys {
		if len(fitting) < maxTries && keys[i].fits(a, t.Algorithm, t.KeyID) {
			fitting = append(fitting, &keys[i])
		}
	}
	known := proof{algorithm: t.Algorithm}
	if proofs != nil {
		known.token = sha256.Sum256([]byte(s.compact))
		for _, key := range fitting {
			if known.key = identity(key.Public); proofs.has(known) {
				return key, true
			}
		}
	}
	for _, key := range fitting {
		if a.method.Verify(s.input, s.signature, key.Public) == nil {
			if proofs != nil {
				known.key = identity(key.Public)
				proofs.add(known)
			}
			return key, true
		}
	}
	return nil, len(fitting) > 0
}
