package schemes

import (
	"fmt"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/internal/signature"
	"go.uber.org/zap"
)

// keyring is a signature, and the keys for it as they are configured.
type keyring struct {
	scheme *signature.Scheme
	option string // under which the keys stand
	keys   []credential.Secret
}

// newKeyring compiles the signature of whoever is called name. It refuses keys that are missing, of the other kind, or
// written, without a placeholder, as none can be.
func newKeyring(name string, spec signature.Spec, secrets, publicKeys []credential.Secret) (keyring, error) {
	scheme, err := signature.Compile(spec)
	if err != nil {
		return keyring{}, err
	}
	ring, other := keyring{scheme, "secret", secrets}, publicKeys
	if spec.Algorithm.Public() {
		ring, other = keyring{scheme, "public_key", publicKeys}, secrets
	}
	if len(ring.keys) == 0 || len(other) > 0 {
		return ring, fmt.Errorf("%s takes %s, and needs at least one", name, ring.option)
	}
	written, err := credential.Written(ring.option, ring.keys, spec.DecodeKey)
	if err == nil && len(written) > 0 {
		_, err = scheme.Verifier(written)
	}
	return ring, err
}

// open resolves the keys, and warns of short secrets.
func (k keyring) open(logger *zap.Logger) (*signature.Verifier, []secret.Value, error) {
	spec := k.scheme.Spec()
	values, err := credential.Resolve(k.option, k.keys, spec.DecodeKey)
	if err != nil {
		return nil, nil, err
	}
	if !spec.Algorithm.Public() {
		credential.WarnWeak(logger, k.option, values)
	}
	verifier, err := k.scheme.Verifier(values)
	return verifier, values, err
}
