package jose

import (
	"crypto"
	"errors"
)

// Fits is a stub.
func (k Key) Fits(algorithm string) bool { return true }

// KeysFromPEM is a stub.
func KeysFromPEM(pem []byte) (crypto.PublicKey, error) { return nil, errors.New("not yet") }
