package jose

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"sync"
)

// SecretKey returns a Key with a secret, prepared for HS256: the key's two blocks are hashed once, not with each token.
func SecretKey(label string, secret []byte) Key {
	return Key{Label: label, Secret: secret, macs: &sync.Pool{New: func() any {
		return &mac{Hash: hmac.New(sha256.New, secret)}
	}}}
}

// mac is an HMAC that is used again, with memory for what goes in and what comes out.
type mac struct {
	hash.Hash
	input, sum []byte
}

// hmacHolds compares in constant time.
func (k *Key) hmacHolds(h func() hash.Hash, size int, input string, signature []byte) bool {
	if k.macs == nil || size != sha256.Size {
		fresh := hmac.New(h, k.Secret)
		fresh.Write([]byte(input))
		return hmac.Equal(fresh.Sum(nil), signature)
	}
	m := k.macs.Get().(*mac)
	defer k.macs.Put(m)
	m.Reset()
	m.input = append(m.input[:0], input...)
	_, _ = m.Write(m.input)
	m.sum = m.Sum(m.sum[:0])
	return hmac.Equal(m.sum, signature)
}
