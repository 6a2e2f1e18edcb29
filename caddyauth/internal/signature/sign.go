package signature

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
	"time"
)

// Signer is what a sender has: a key, the id of a message and the time.
type Signer struct {
	Secret  []byte        // of an HMAC
	Private crypto.Signer // of a signature with a public key, see Spec.DecodePrivate
	ID      string        // of the message, where the scheme has one
	Now     time.Time
}

// Sign gives the headers that the sender would add to a message. Of the spellings of the URL it signs the first.
func (s *Scheme) Sign(m Message, body []byte, by Signer) (http.Header, error) {
	added := make(http.Header)
	timestamp := s.spec.Time.Unit.Format(by.Now)
	if s.spec.Time.Header != "" {
		added.Set(s.spec.Time.Header, timestamp)
	}
	if s.spec.ID != "" {
		if !s.allows(by.ID) {
			return nil, errors.New("the id of the message is not one that this sender could use")
		}
		added.Set(s.spec.ID, by.ID)
	}
	p := &Pending{verifier: &Verifier{Scheme: s}, message: m, timestamp: timestamp, id: by.ID}
	if err := p.readHeaders(); err != nil {
		return nil, err
	}
	address := ""
	if s.SignsURL() {
		if len(m.URLs) == 0 {
			return nil, errors.New("this sender signs the URL, and there is none")
		}
		address = m.URLs[0]
	}
	pieces, err := p.pieces(address, body)
	if err != nil {
		return nil, err
	}
	signature, err := s.make(pieces, by)
	if err != nil {
		return nil, err
	}
	added.Set(s.spec.Header, s.spec.Grammar.write(s.spec.Encoding.encode(signature), timestamp))
	return added, nil
}

func (s *Scheme) make(pieces [][]byte, by Signer) ([]byte, error) {
	if !s.spec.Algorithm.Public() {
		if len(by.Secret) == 0 {
			return nil, errors.New("no secret to sign with")
		}
		return s.spec.Algorithm.mac(by.Secret, pieces), nil
	}
	if by.Private == nil {
		return nil, errors.New("no private key to sign with")
	}
	if s.spec.Algorithm == Ed25519 {
		var message []byte
		for _, piece := range pieces {
			message = append(message, piece...)
		}
		return by.Private.Sign(rand.Reader, message, crypto.Hash(0))
	}
	return by.Private.Sign(rand.Reader, digest(pieces), crypto.SHA256)
}

// DecodePrivate reads a private key: PKCS #8 in PEM, or for Ed25519 the 32-byte seed (or seed and public key) in the
// form in which the public key is written, behind `whsk_` for Standard Webhooks. Its errors never hold the key.
func (spec Spec) DecodePrivate(text string) (crypto.Signer, error) {
	if block, _ := pem.Decode([]byte(text)); block != nil {
		parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, errors.New("the private key is not PKCS #8")
		}
		if signer, ok := parsed.(crypto.Signer); ok {
			return signer, nil
		}
		return nil, errors.New("the private key is not one that signs")
	}
	if spec.Algorithm != Ed25519 {
		return nil, errors.New("the private key is not PKCS #8 in PEM")
	}
	seed, err := spec.Key.decode(strings.TrimPrefix(text, privatePrefix), true)
	if err != nil {
		return nil, err
	}
	switch len(seed) {
	case ed25519.SeedSize:
		return ed25519.NewKeyFromSeed(seed), nil
	case ed25519.PrivateKeySize:
		return ed25519.NewKeyFromSeed(seed[:ed25519.SeedSize]), nil
	}
	return nil, errors.New("an Ed25519 private key has 32 or 64 bytes")
}
