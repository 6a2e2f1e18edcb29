// Package jose checks signed tokens.
package jose

import (
	"context"
	"crypto"
	"errors"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
)

// MaxTokenBytes bounds a token.
const MaxTokenBytes = 8 << 10

// Token is what a token says.
type Token struct {
	Algorithm, Type, KeyID       string
	Claims                       strictjson.Value
	Issuer, Subject, ID          string
	Audience                     []string
	Expires, NotBefore, IssuedAt time.Time // zero: absent
	Key                          string    // label of the key that matched
}

// Text gives a claim as text.
func (t *Token) Text(name string) (string, bool) { return "", false }

// Key is one key that a token may be signed with.
type Key struct {
	Label      string           // shown in logs and metrics
	ID         string           // kid; "" if it has none
	Algorithms []string         // what the key may be used with; empty: all that fit its type
	Secret     []byte           // HMAC
	Public     crypto.PublicKey // *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey
}

// KeySource gives the keys that an unverified token may have been signed with.
type KeySource func(ctx context.Context, unverified *Token) ([]Key, error)

// Policy is what a token must be.
type Policy struct {
	Algorithms     []string
	Keys           KeySource
	Types          []string
	RequireType    bool
	Issuers        []string
	Audiences      []string
	MaxAge, Leeway time.Duration
	RequireExpiry  bool
}

// Check refuses a policy that could not hold.
func (p *Policy) Check() error { return errors.New("not yet") }

// Verify checks a token.
func (p *Policy) Verify(ctx context.Context, compact string, now time.Time) (*Token, error) {
	return nil, errors.New("not yet")
}
