package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/endpoint"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/internal/jwks"

	"github.com/caddyserver/caddy/v2"
)

// ownKeys gives the keys that stand in the configuration, and the usual algorithms.
func (j *JWT) ownKeys(ctx caddy.Context) (keys []jose.Key, usual []string, err error) {
	switch {
	case j.isShared():
		return nil, []string{"RS256"}, nil
	case len(j.PublicKeys) > 0:
		return loadPublicKeys(j.PublicKeys)
	}
	secrets, err := credential.Resolve("secret", j.Secrets, nil)
	if err != nil {
		return nil, nil, err
	}
	credential.WarnWeak(ctx.Logger(), "secret", secrets)
	for _, s := range secrets {
		keys = append(keys, jose.SecretKey(s.Label(), s.Bytes()))
	}
	return keys, []string{"HS256"}, nil
}

// openKeys opens the set of keys that others publish.
func (j *JWT) openKeys(ctx caddy.Context) (*Keys, error) {
	if j.JWKS != "" {
		return openSet(ctx, j.JWKS)
	}
	place, err := credential.Text("openid_configuration", j.OpenIDConfiguration)
	if err != nil {
		return nil, err
	}
	config := jwks.Config{Metadata: place}
	if len(j.policy.Issuers) == 1 {
		config.Issuer = j.policy.Issuers[0]
	}
	keys, err := OpenKeys(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("openid_configuration: %w", err)
	}
	return keys, nil
}

// openSet opens the key set of a jwks option: a URL, else the path of a file.
func openSet(ctx caddy.Context, value string) (*Keys, error) {
	place, err := credential.Text("jwks", value)
	if err != nil {
		return nil, err
	}
	config := jwks.Config{File: place}
	if isURL(place) {
		config = jwks.Config{JWKS: place}
	}
	keys, err := OpenKeys(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("jwks: %w", err)
	}
	return keys, nil
}

// isURL tells the two forms of a jwks option apart.
func isURL(place string) bool { return strings.Contains(place, "://") }

// checkSet refuses what openSet would refuse of a value that stands there as it is.
func checkSet(value string) error {
	if !isURL(value) {
		return nil
	}
	return CheckURL("jwks", value)
}

// CheckURL refuses a URL that stands in the configuration as it is and may not be called. With a placeholder in it, it is
// looked at when that is known. Its error names the option, and does not hold the URL.
func CheckURL(option, value string) error {
	if value == "" || strings.Contains(value, "{") {
		return nil
	}
	if _, err := endpoint.Parse(value); err != nil {
		return fmt.Errorf("%s: %w", option, err)
	}
	return nil
}

// checkPublished refuses algorithms whose keys nobody publishes: what everybody can read is no secret.
func checkPublished(algorithms []string) error {
	for _, name := range algorithms {
		if strings.HasPrefix(name, "HS") {
			return fmt.Errorf("algorithm %s takes a secret, and published keys are none", name)
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
	for i, value := range values {
		pem := value.Bytes()
		if !strings.Contains(string(pem), "-----BEGIN ") {
			name := string(pem)
			if pem, err = os.ReadFile(name); err != nil {
				// As it is configured: what a placeholder stands for may be a key, or a secret, in the wrong place.
				if path, ok := errors.AsType[*fs.PathError](err); ok {
					err = path.Err
				}
				return nil, nil, fmt.Errorf("public_key: %s: %v", files[i].Value, err)
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
