package jose

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
)

// block encodes DER as PEM.
func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// spki encodes a public key, as a PUBLIC KEY block.
func spki(tb testing.TB, public any) []byte {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		tb.Fatal(err)
	}
	return block("PUBLIC KEY", der)
}

// certificate encodes a self-signed CERTIFICATE.
func certificate(tb testing.TB, key crypto.Signer) []byte {
	tb.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return block("CERTIFICATE", der)
}

func TestPublicKeysFromPEM(t *testing.T) {
	ring := newKeyring(t)
	for _, test := range []struct {
		name string
		file []byte
		want crypto.PublicKey
	}{
		{"an RSA key", spki(t, &ring.rsa.PublicKey), &ring.rsa.PublicKey},
		{"an RSA key by PKCS #1", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&ring.rsa.PublicKey)), &ring.rsa.PublicKey},
		{"a P-256 key", spki(t, &ring.p256.PublicKey), &ring.p256.PublicKey},
		{"a P-384 key", spki(t, &ring.p384.PublicKey), &ring.p384.PublicKey},
		{"a P-521 key", spki(t, &ring.p521.PublicKey), &ring.p521.PublicKey},
		{"an Ed25519 key", spki(t, ring.ed25519.Public()), ring.ed25519.Public()},
		{"a certificate", certificate(t, ring.p256), &ring.p256.PublicKey},
		{"an RSA certificate", certificate(t, ring.rsa), &ring.rsa.PublicKey},
		{"white space around it", append([]byte("\r\n \n"), append(spki(t, &ring.p256.PublicKey), " \n\n"...)...), &ring.p256.PublicKey},
		{"CR LF", bytes.ReplaceAll(spki(t, &ring.p256.PublicKey), []byte("\n"), []byte("\r\n")), &ring.p256.PublicKey},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := KeysFromPEM(test.file)
			if err != nil {
				t.Fatal(err)
			}
			if !got.(interface{ Equal(crypto.PublicKey) bool }).Equal(test.want) {
				t.Error("another key")
			}
		})
	}
}

func TestFilesThatHoldNoPublicKey(t *testing.T) {
	ring := newKeyring(t)
	good := spki(t, &ring.p256.PublicKey)
	private, err := x509.MarshalPKCS8PrivateKey(ring.p256)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ring.p256)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small := &rsa.PublicKey{N: new(big.Int).Rsh(ring.rsa.N, 1024), E: 65537}
	small.N.SetBit(small.N, 0, 1)
	with := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, test := range []struct {
		name string
		file []byte
		say  string
	}{
		{"nothing", nil, "not a PEM file"},
		{"text", []byte("secret"), "not a PEM file"},
		{"DER", private, "not a PEM file"},
		{"text before it", with([]byte("# my key\n"), good), "not a PEM file"},
		{"text after it", with(good, []byte("x")), "not one PEM block"},
		{"a private key", block("PRIVATE KEY", private), "private key"},
		{"an EC private key", block("EC PRIVATE KEY", sec1), "private key"},
		{"an RSA private key", block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(ring.rsa)), "private key"},
		{"a private key after a public one", with(good, block("PRIVATE KEY", private)), "private key"},
		{"a private key labelled public", block("PUBLIC KEY", private), "does not parse"},
		{"two keys", with(good, good), "more than one"},
		{"a chain", with(certificate(t, ring.p256), certificate(t, ring.rsa)), "more than one"},
		{"a broken block before a good one", with([]byte("-----BEGIN X-----\n!\n-----END X-----\n"), good), "more than one"},
		{"a cut block", good[:len(good)/2], "not one PEM block"},
		{"PEM headers", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Headers: map[string]string{"A": "b"}, Bytes: []byte{1}}), "headers"},
		{"a certificate request", block("CERTIFICATE REQUEST", private), "not a PUBLIC KEY"},
		{"a block that is no DER", block("PUBLIC KEY", []byte("x")), "the public key does not parse"},
		{"a PKCS #1 block that is none", block("RSA PUBLIC KEY", []byte("x")), "the rsa public key does not parse"},
		{"a certificate that is none", block("CERTIFICATE", []byte("x")), "the certificate does not parse"},
		{"an RSA key of 1024 bits", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(small)), "less than 2048 bits"},
		{"an RSA key with the exponent 1", block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: ring.rsa.N, E: 1})), "exponent"},
		{"a P-224 key", spki(t, &p224.PublicKey), "curve"},
		{"an X25519 key", spki(t, x25519.PublicKey()), "kind"},
	} {
		t.Run(test.name, func(t *testing.T) {
			key, err := KeysFromPEM(test.file)
			if err == nil || key != nil || !strings.Contains(err.Error(), test.say) {
				t.Errorf("got %v, want an error about %q", err, test.say)
			}
		})
	}
}

// FuzzKeysFromPEM holds what is accepted to the promise: a public key of a kind that some algorithm uses, which reads
// back the same from its own encoding.
func FuzzKeysFromPEM(f *testing.F) {
	ring := newKeyring(f)
	for _, file := range [][]byte{
		spki(f, &ring.rsa.PublicKey), spki(f, &ring.p521.PublicKey), spki(f, ring.ed25519.Public()),
		certificate(f, ring.p256), block("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(&ring.rsa.PublicKey)),
	} {
		f.Add(file)
	}
	algorithms := []string{"RS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	f.Fuzz(func(t *testing.T, file []byte) {
		public, err := KeysFromPEM(file)
		if err != nil {
			return
		}
		fits := 0
		for _, name := range algorithms {
			a, _ := algorithmOf(name)
			key := Key{Public: public}
			if key.fits(a, name, "") {
				fits++
				if a.method.Verify("x", make([]byte, 64), public) == nil {
					if _, isEd := public.(ed25519.PublicKey); !isEd { // a small-order Ed25519 point verifies zeros
						t.Error("zeros are no signature")
					}
				}
			}
		}
		if fits == 0 {
			t.Error("no algorithm uses this key")
		}
		again, err := KeysFromPEM(spki(t, public))
		if err != nil || !again.(interface{ Equal(crypto.PublicKey) bool }).Equal(public) {
			t.Errorf("it does not read back: %v", err)
		}
	})
}
