package signature

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha1" // HMAC-SHA-1 is what Twilio, Webex and Vercel sign with; its collisions do not touch HMAC
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
)

// key is one key that may have signed: a shared secret, or a public key.
type key struct {
	value  secret.Value
	public crypto.PublicKey
}

func (a Algorithm) check() error {
	switch a {
	case HMACSHA1, HMACSHA256, HMACSHA384, HMACSHA512, Ed25519, ECDSAP256, RSASHA256:
		return nil
	}
	return fmt.Errorf("the algorithm %q is not known", string(a))
}

// Public reports whether the algorithm has public keys.
func (a Algorithm) Public() bool { return a == Ed25519 || a == ECDSAP256 || a == RSASHA256 }

func (a Algorithm) hash() func() hash.Hash {
	switch a {
	case HMACSHA1:
		return sha1.New
	case HMACSHA384:
		return sha512.New384
	case HMACSHA512:
		return sha512.New
	default:
		return sha256.New
	}
}

// fits reports whether a signature has a length that the algorithm makes. A cut MAC never fits.
func (a Algorithm) fits(signature []byte) bool {
	switch a {
	case Ed25519:
		return len(signature) == ed25519.SignatureSize
	case ECDSAP256:
		return len(signature) >= 8 && len(signature) <= 72
	case RSASHA256:
		return len(signature) >= minRSABits/8 && len(signature) <= maxRSABits/8
	default:
		return len(signature) == a.hash()().Size()
	}
}

// The bounds of an RSA modulus (RFC 7518 §3.3; a larger one only costs time).
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// mac computes the MAC of a message that comes in pieces.
func (a Algorithm) mac(key []byte, pieces [][]byte) []byte {
	h := hmac.New(a.hash(), key)
	write(h, pieces)
	return h.Sum(nil)
}

// verify checks a signature that was made with a private key.
func (a Algorithm) verify(public crypto.PublicKey, pieces [][]byte, signature []byte) bool {
	switch pub := public.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(pub, bytes.Join(pieces, nil), signature)
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(pub, digest(pieces), signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(pub, crypto.SHA256, digest(pieces), signature) == nil
	}
	return false
}

// digest is the SHA-256 of a message that comes in pieces.
func digest(pieces [][]byte) []byte {
	h := sha256.New()
	write(h, pieces)
	return h.Sum(nil)
}

func write(w io.Writer, pieces [][]byte) {
	for _, piece := range pieces {
		_, _ = w.Write(piece) // a hash returns no errors
	}
}

// The prefixes of keys in the Standard Webhooks specification. Supabase shows its secrets as `v1,whsec_…`.
const (
	secretPrefix  = "whsec_"
	publicPrefix  = "whpk_"
	privatePrefix = "whsk_"
	versionPrefix = "v1,"
)

// DecodeKey turns a secret or a public key, as the sender shows it, into the bytes that Verifier takes. Its errors
// never hold the key.
func (spec Spec) DecodeKey(text string) ([]byte, error) {
	decoded, err := spec.Key.decode(text, spec.Algorithm.Public())
	if err != nil || !spec.Algorithm.Public() {
		return decoded, err
	}
	_, err = parsePublic(spec.Algorithm, decoded)
	return decoded, err
}

func (f KeyForm) decode(text string, public bool) ([]byte, error) {
	failed := fmt.Errorf("the key is not in the form %s", f)
	switch f {
	case TextKey:
		return []byte(text), nil
	case HexKey:
		decoded, err := hex.DecodeString(text)
		if err != nil {
			return nil, failed
		}
		return decoded, nil
	case StandardWebhooksKey:
		prefix := secretPrefix
		if public {
			prefix = publicPrefix
		}
		return base64Key(strings.TrimPrefix(strings.TrimPrefix(text, versionPrefix), prefix), failed)
	case Base64Key:
		return base64Key(text, failed)
	case SPKIKey:
		if block, rest := pem.Decode([]byte(text)); block != nil {
			if block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
				return nil, failed
			}
			return block.Bytes, nil
		}
		return base64Key(text, failed)
	}
	return nil, fmt.Errorf("the key form %q is not known", string(f))
}

func base64Key(text string, failed error) ([]byte, error) {
	decoded, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, failed
	}
	return decoded, nil
}

// parsePublic reads a public key of exactly the kind that the algorithm uses.
func parsePublic(a Algorithm, encoded []byte) (crypto.PublicKey, error) {
	if a == Ed25519 {
		if len(encoded) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("an Ed25519 public key has %d bytes", ed25519.PublicKeySize)
		}
		return ed25519.PublicKey(encoded), nil
	}
	parsed, err := x509.ParsePKIXPublicKey(encoded)
	if err != nil {
		return nil, errors.New("it is not a public key")
	}
	switch public := parsed.(type) {
	case *ecdsa.PublicKey:
		if a == ECDSAP256 && public.Curve == elliptic.P256() {
			return public, nil
		}
	case *rsa.PublicKey:
		if bits := public.N.BitLen(); a == RSASHA256 && bits >= minRSABits && bits <= maxRSABits {
			return public, nil
		}
	}
	return nil, fmt.Errorf("it is not a public key for %s", a)
}
