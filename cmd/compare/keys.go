package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
)

// keys are the key pairs of a run, and the files with their public halves.
type keys struct {
	rsa                *rsa.PrivateKey
	ecdsa              *ecdsa.PrivateKey
	rsaFile, ecdsaFile string
}

// newKeys makes keys, with files in a directory.
func newKeys(directory string) (*keys, error) {
	k := &keys{rsaFile: filepath.Join(directory, "rsa.pem"), ecdsaFile: filepath.Join(directory, "ecdsa.pem")}
	var err error
	if k.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	if k.ecdsa, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	for file, public := range map[string]any{k.rsaFile: k.rsa.Public(), k.ecdsaFile: k.ecdsa.Public()} {
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// sign makes a token of these claims as the subject of a kind wants it. Nothing here fails with keys that were just made.
func (k *keys) sign(of kind, claims string) string {
	encode := base64.RawURLEncoding.EncodeToString
	switch of {
	case caddyStreamRSA:
		input := encode([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + encode([]byte(claims))
		digest := sha256.Sum256([]byte(input))
		signature, _ := rsa.SignPKCS1v15(nil, k.rsa, crypto.SHA256, digest[:])
		return input + "." + encode(signature)
	case caddyStreamECDSA:
		input := encode([]byte(`{"alg":"ES256","typ":"JWT"}`)) + "." + encode([]byte(claims))
		digest := sha256.Sum256([]byte(input))
		r, s, _ := ecdsa.Sign(rand.Reader, k.ecdsa, digest[:])
		return input + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
	default:
		return sign(claims)
	}
}
