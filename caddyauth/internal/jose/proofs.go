package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"sync"
)

// maxProofs is how many signatures each of the two generations of Proofs holds: some 100 KiB together.
const maxProofs = 1024

// Proofs remembers signatures of public keys that held, for tokens that come again and again: a check costs as much as
// all the rest of a request. An entry only says that this key has signed exactly this text. Claims and times are judged
// every time, and a key counts only as long as the KeySource gives it. Nothing is remembered of tokens that were refused
// by their signature, so that strangers cannot push others out.
type Proofs struct {
	mu               sync.Mutex
	current, earlier map[proof]struct{}
}

// proof is a signature that held.
type proof struct {
	key       any // where the key is: a pointer, which no other key can have while the entry is there
	algorithm string
	token     [sha256.Size]byte
}

// identity gives where a key is in memory. A key that was loaded anew is another one.
func identity(public crypto.PublicKey) any {
	switch public := public.(type) {
	case *rsa.PublicKey, *ecdsa.PublicKey:
		return public
	case ed25519.PublicKey:
		return &public[0]
	}
	return nil
}

// has reports whether this signature is known to hold.
func (p *Proofs) has(of proof) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.current[of]; ok {
		return true
	}
	if _, ok := p.earlier[of]; ok {
		p.keep(of)
		return true
	}
	return false
}

// add remembers a signature.
func (p *Proofs) add(of proof) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep(of)
}

// keep puts an entry into the current generation. When that is full, the earlier one is forgotten.
func (p *Proofs) keep(of proof) {
	if len(p.current) >= maxProofs {
		p.earlier, p.current = p.current, nil
	}
	if p.current == nil {
		p.current = make(map[proof]struct{})
	}
	p.current[of] = struct{}{}
}
