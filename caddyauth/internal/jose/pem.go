package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// KeysFromPEM reads the one public key of a PEM file: PUBLIC KEY (RFC 5280's SubjectPublicKeyInfo), RSA PUBLIC KEY
// (RFC 8017) or CERTIFICATE, whose key alone counts: neither its dates nor its issuer are looked at. It gives an
// *rsa.PublicKey of at least 2048 bits, an *ecdsa.PublicKey on P-256, P-384 or P-521, or an ed25519.PublicKey.
// Private keys and files with more than one block are refused. The error holds nothing of the file.
func KeysFromPEM(file []byte) (crypto.PublicKey, error) {
	const begin = "-----BEGIN "
	if bytes.Contains(file, []byte("PRIVATE KEY-----")) {
		return nil, errors.New("this is a private key: give the public one")
	}
	// pem.Decode skips text before a block, and a block that it cannot read.
	if file = bytes.TrimSpace(file); !bytes.HasPrefix(file, []byte(begin)) {
		return nil, errors.New("not a PEM file")
	}
	if bytes.Count(file, []byte(begin)) > 1 {
		return nil, errors.New("more than one PEM block")
	}
	block, rest := pem.Decode(file)
	if block == nil || len(bytes.TrimSpace(rest)) > 0 || len(block.Headers) > 0 {
		return nil, errors.New("not one PEM block without headers")
	}
	public, err := publicKey(block)
	if err != nil {
		return nil, err
	}
	switch key := public.(type) {
	case *rsa.PublicKey:
		if !strongRSA(key) {
			return nil, fmt.Errorf("the RSA key has less than %d bits, or an exponent that is not odd and above 2", minModulusBits)
		}
		return key, nil
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() && key.Curve != elliptic.P521() {
			return nil, errors.New("the EC key is on a curve that no algorithm uses")
		}
		return key, nil
	case ed25519.PublicKey:
		return key, nil
	default:
		return nil, errors.New("the key is of a kind that no algorithm uses")
	}
}

func publicKey(block *pem.Block) (crypto.PublicKey, error) {
	switch block.Type {
	case "PUBLIC KEY":
		if key, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			return key, nil
		}
	case "RSA PUBLIC KEY":
		if key, err := x509.ParsePKCS1PublicKey(block.Bytes); err == nil {
			return key, nil
		}
	case "CERTIFICATE":
		if certificate, err := x509.ParseCertificate(block.Bytes); err == nil {
			return certificate.PublicKey, nil
		}
	default:
		return nil, errors.New("not a PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE")
	}
	return nil, errors.New("the " + strings.ToLower(block.Type) + " does not parse")
}
