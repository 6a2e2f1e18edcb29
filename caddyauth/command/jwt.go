package command

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/golang-jwt/jwt/v5"
)

// privateKey reads a PEM private key, and the algorithm that is usual with it unless another is given.
func privateKey(text, algorithm string) (key any, name string, err error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, "", errors.New("the private key is not PEM")
	}
	for _, parse := range []func([]byte) (any, error){
		x509.ParsePKCS8PrivateKey,
		func(der []byte) (any, error) { return x509.ParsePKCS1PrivateKey(der) },
		func(der []byte) (any, error) { return x509.ParseECPrivateKey(der) },
	} {
		if key, err = parse(block.Bytes); err == nil {
			break
		}
	}
	if err != nil {
		return nil, "", errors.New("the private key is neither PKCS #8, PKCS #1 nor SEC 1")
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		name = "RS256"
	case *ecdsa.PrivateKey:
		name = map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[key.Curve.Params().BitSize]
	case ed25519.PrivateKey:
		name = "EdDSA"
	}
	if algorithm != "" {
		name = algorithm
	}
	return key, name, nil
}

// parseClaims reads name=value pairs. A value that is JSON, such as a number or a list, is taken as that.
func parseClaims(pairs []string) (jwt.MapClaims, error) {
	claims := jwt.MapClaims{}
	for _, pair := range pairs {
		name, text, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--claim takes name=value, not %q", pair)
		}
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			value = text
		}
		claims[name] = value
	}
	return claims, nil
}
