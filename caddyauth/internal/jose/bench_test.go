package jose

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// A token of 512 bytes of each algorithm, checked anew each time and, for public keys, remembered.
func BenchmarkVerify(b *testing.B) {
	ring := newKeyring(b)
	claims := claimsVonage[:len(claimsVonage)-1] + `,"pad":"` + strings.Repeat("x", 77) + `"}`
	token := hs256(b, headerHS256, claims)
	if len(token) != 512 {
		b.Fatalf("the token has %d bytes", len(token))
	}
	verify := func(p *Policy, token string) func(*testing.B) {
		return func(b *testing.B) {
			if err := p.Check(); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Verify(context.Background(), token, now); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("HS256", verify(vonage(), token))
	b.Run("HS256 floor", func(b *testing.B) { // the MAC alone
		b.ReportAllocs()
		input, secret := []byte(token[:strings.LastIndexByte(token, '.')]), []byte(secretA)
		for b.Loop() {
			mac := hmac.New(sha256.New, secret)
			mac.Write(input)
			mac.Sum(nil)
		}
	})
	for _, by := range []struct {
		method  jwt.SigningMethod
		private any
		public  crypto.PublicKey
	}{
		{jwt.SigningMethodRS256, ring.rsa, &ring.rsa.PublicKey},
		{jwt.SigningMethodES256, ring.p256, &ring.p256.PublicKey},
		{jwt.SigningMethodEdDSA, ring.ed25519, ring.ed25519.Public()},
	} {
		p := with(vonage(), func(p *Policy) {
			p.Algorithms, p.Keys = []string{by.method.Alg()}, keys(Key{Label: "k", Public: by.public})
		})
		compact := mint(b, by.method, by.private, `{"alg":"`+by.method.Alg()+`"}`, claims)
		b.Run(by.method.Alg(), verify(p, compact))
		remembering := *p
		remembering.Proofs = new(Proofs)
		b.Run(by.method.Alg()+" remembered", verify(&remembering, compact))
	}
	b.Run("refused text", func(b *testing.B) {
		b.ReportAllocs()
		p, dots := vonage(), strings.Repeat(".", MaxTokenBytes)
		for b.Loop() {
			if _, err := p.Verify(context.Background(), dots, now); err == nil {
				b.Fatal("accepted")
			}
		}
	})
}
