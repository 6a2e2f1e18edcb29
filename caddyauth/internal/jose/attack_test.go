package jose

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/golang-jwt/jwt/v5"
)

// attack is tokens that come to one verdict. Neighbours of one name are together the corpus's row of that name.
type attack struct {
	name   string
	policy *Policy   // nil: the control's
	at     time.Time // zero: now
	want   verdict.Reason
	tokens []string
}

func run(t *testing.T, attacks []attack) {
	t.Helper()
	for len(attacks) > 0 {
		row := 1
		for row < len(attacks) && attacks[row].name == attacks[0].name {
			row++
		}
		t.Run(attacks[0].name, func(t *testing.T) {
			for i, attack := range attacks[:row] {
				attack.check(t, i)
			}
		})
		attacks = attacks[row:]
	}
}

func (a attack) check(t *testing.T, nr int) {
	t.Helper()
	if a.policy == nil {
		a.policy = vonage()
	}
	if a.at.IsZero() {
		a.at = now
	}
	if err := a.policy.Check(); err != nil {
		t.Fatalf("%d: the policy does not hold: %v", nr, err)
	}
	if len(a.tokens) == 0 {
		t.Fatalf("%d: no token", nr)
	}
	for i, token := range a.tokens {
		if got := reason(t, a.policy, token, a.at); got != a.want {
			t.Errorf("%d: token %d: got %s, want %s", nr, i, got, a.want)
		}
	}
}

const (
	ok            = verdict.OK
	badCredential = verdict.BadCredential
	badSignature  = verdict.BadSignature
	badClaim      = verdict.BadClaim
	unknownKey    = verdict.UnknownKey
	expired       = verdict.Expired
	notYetValid   = verdict.NotYetValid
)

func TestStructureAttacks(t *testing.T) {
	good := hs256(t, headerHS256, claimsVonage)
	parts := strings.Split(good, ".")
	header, claims, signature := parts[0], parts[1], parts[2]
	mac := unsegment(t, signature)
	resigned := func(mac []byte) string {
		return header + "." + claims + "." + base64.RawURLEncoding.EncodeToString(mac)
	}
	padded := func(segment string) string { return segment + strings.Repeat("=", (4-len(segment)%4)%4) }
	// input signs segments that are no clean encodings, as their sender would.
	input := func(header, claims string) string {
		return seal(t, jwt.SigningMethodHS256, []byte(secretA), header+"."+claims)
	}
	withBits := func(segment string) string { return segment[:len(segment)-1] + nextLetter(segment[len(segment)-1]) }

	// The longest token that is taken, and one more byte: 36 of header, 2 dots, 43 of signature.
	sized := func(bytes int) string {
		head, tail := claimsVonage[:len(claimsVonage)-1]+`,"pad":"`, `"}`
		return hs256(t, headerHS256, head+strings.Repeat("x", bytes-len(head)-len(tail))+tail)
	}
	longest, tooLong := sized(6083), sized(6084)
	if len(longest) != MaxTokenBytes || len(tooLong) <= MaxTokenBytes {
		t.Fatalf("tokens of %d and %d bytes", len(longest), len(tooLong))
	}

	// Texts whose length leaves unused bits: 1 or 2 bytes in the last group.
	headerBits, claimsBits := headerHS256+" ", claimsVonage+" "
	if len(headerBits)%3 == 0 || len(claimsBits)%3 == 0 {
		t.Fatal("no unused bits to set")
	}
	// A standard-alphabet segment needs a character that differs.
	slashes := segment(claimsVonage[:len(claimsVonage)-1] + `,"x":"???>>>~~~ÿÿÿ"}`)
	standard := strings.NewReplacer("-", "+", "_", "/").Replace(slashes)
	if standard == slashes {
		t.Fatal("the alphabets do not differ here")
	}

	jwe := `{"alg":"dir","enc":"A128GCM"}`
	bomb := `{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2s":"c2FsdA","p2c":2147483647}`
	zip := `{"alg":"dir","enc":"A128GCM","zip":"DEF"}`
	flattened, err := json.Marshal(map[string]string{"protected": header, "payload": claims, "signature": signature})
	if err != nil {
		t.Fatal(err)
	}

	run(t, []attack{
		{name: "ctl-jwt-valid", want: ok, tokens: []string{good, input(segment(headerBits), segment(claimsBits)), input(header, slashes)}},
		{name: "jwt-latin1-header", want: badCredential, tokens: []string{
			good + "\xFF\xFE", "\xFF\xFE" + good, header + ".\xFF\xFE" + claims + "." + signature,
		}},
		{name: "jwt-4-parts", want: badCredential, tokens: []string{good + ".x"}},
		{name: "jwt-extra-empty-part", want: badCredential, tokens: []string{good + "."}},
		{name: "jwt-leading-dot", want: badCredential, tokens: []string{"." + good}},
		{name: "jwt-double-dot", want: badCredential, tokens: []string{
			header + ".." + claims + "." + signature, header + "." + claims + ".." + signature,
			header + ".." + signature, "." + claims + "." + signature, header + "." + claims + ".",
		}},
		{name: "jwt-dots-only", want: badCredential, tokens: []string{"", ".", "..", "...", strings.Repeat(".", MaxTokenBytes)}},
		{name: "jwt-jwe-5-parts", want: badCredential, tokens: []string{
			segment(jwe) + "..AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA",
			segment(jwe) + ".AAAA.AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA",
		}},
		{name: "jwt-jwe-p2c-bomb", want: badCredential, tokens: []string{
			segment(bomb) + ".AAAA.AAAAAAAAAAAAAAAA.AAAA.AAAAAAAAAAAAAAAAAAAAAA",
			hs256(t, strings.Replace(bomb, "PBES2-HS256+A128KW", "HS256", 1), claimsVonage),
		}},
		{name: "jwt-jwe-zip-bomb", want: badCredential, tokens: []string{
			segment(zip) + "..AAAAAAAAAAAAAAAA." + strings.Repeat("A", 1<<20) + ".AAAAAAAAAAAAAAAAAAAAAA",
			hs256(t, `{"alg":"HS256","zip":"DEF"}`, claimsVonage),
		}},
		{name: "jwt-1mb-token", want: badCredential, tokens: []string{
			strings.Repeat("A", 1<<20), header + "." + strings.Repeat("A", 1<<20) + "." + signature, tooLong,
			strings.Repeat(".", 1<<20),
		}},
		{name: "jwt-at-own-cap", want: ok, tokens: []string{longest}},
		{name: "jwt-json-flattened", want: badCredential, tokens: []string{string(flattened)}},
		{name: "jwt-padding", want: badCredential, tokens: []string{
			header + "." + padded(claims) + "." + padded(signature), header + "." + claims + "." + padded(signature),
			header + "." + claims + "." + signature + "==", input(header, padded(segment(claimsBits))),
		}},
		{name: "jwt-header-trailing-bits", want: badCredential, tokens: []string{
			input(withBits(segment(headerBits)), claims), input(header, withBits(segment(claimsBits))),
			header + "." + claims + "." + withBits(signature),
		}},
		{name: "jwt-newline-inside", want: badCredential, tokens: []string{
			header[:5] + "\r\n" + header[5:] + "." + claims + "." + signature,
			input(header[:5]+"\r\n"+header[5:], claims), input(header, claims[:8]+"\n"+claims[8:]),
			header + "." + claims + "." + signature[:7] + "\r" + signature[7:],
		}},
		{name: "jwt-newline-suffix", want: badCredential, tokens: []string{good + "\n", good + "\r\n", "\n" + good}},
		{name: "jwt-std-alphabet", want: badCredential, tokens: []string{input(header, standard)}},
		{name: "jwt-space-inside", want: badCredential, tokens: []string{
			input(header, claims[:8]+" "+claims[8:]), good + " ", " " + good, header + " ." + claims + "." + signature,
		}},
		{name: "jwt-fullwidth-dot", want: badCredential, tokens: []string{
			header + "．" + claims + "．" + signature, header + "。" + claims + "。" + signature,
		}},
		{name: "jwt-sig-truncated", want: badSignature, tokens: []string{
			resigned(mac[:16]), resigned(mac[:31]), resigned(mac[:1]),
		}},
		{name: "jwt-sig-extended", want: badSignature, tokens: []string{
			resigned(append(bytes.Clone(mac), 0)), resigned(append(bytes.Clone(mac), mac...)),
		}},
		{name: "jwt-sig-zero", want: badSignature, tokens: []string{resigned(make([]byte, 32))}},
		{name: "jwt-header-bom", want: badCredential, tokens: []string{
			hs256(t, "\uFEFF"+headerHS256, claimsVonage), hs256(t, headerHS256, "\uFEFF"+claimsVonage),
		}},
		{name: "jwt-header-trailing", want: badCredential, tokens: []string{
			hs256(t, headerHS256+" x", claimsVonage), hs256(t, headerHS256+headerHS256, claimsVonage),
			hs256(t, headerHS256+"\x00", claimsVonage), hs256(t, "["+headerHS256+"]", claimsVonage),
			hs256(t, "null", claimsVonage), hs256(t, `"HS256"`, claimsVonage),
		}},
		{name: "jwt-header-dup-kid", want: badCredential, tokens: []string{
			hs256(t, `{"alg":"HS256","kid":"a","kid":"b"}`, claimsVonage),
			hs256(t, `{"alg":"HS256","kid":"a","\u006bid":"b"}`, claimsVonage),
			hs256(t, `{"alg":"HS256","alg":"HS256"}`, claimsVonage),
			hs256(t, `{"alg":"none","alg":"HS256"}`, claimsVonage),
		}},
	})

	t.Run("jwt-bitflip-sweep", func(t *testing.T) {
		policy := vonage()
		flip := func(text string, sent func(flipped string) string) {
			for i := range len(text) * 8 {
				flipped := []byte(text)
				flipped[i/8] ^= 1 << (i % 8)
				token := sent(string(flipped))
				if got := reason(t, policy, token, now); got != badCredential && got != badSignature {
					t.Errorf("bit %d: %s", i, got)
				}
			}
		}
		flip(good, func(flipped string) string { return flipped })
		flip(headerHS256, func(flipped string) string { return segment(flipped) + "." + claims + "." + signature })
		flip(claimsVonage, func(flipped string) string { return header + "." + segment(flipped) + "." + signature })
		flip(string(mac), func(flipped string) string { return resigned([]byte(flipped)) })
	})
}

// nextLetter gives the letter of base64url that differs from c in its last bit only.
func nextLetter(c byte) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(letters[strings.IndexByte(letters, c)^1])
}

func TestAlgorithmAttacks(t *testing.T) {
	ring := newKeyring(t)
	secret := []byte(secretA)
	good := hs256(t, headerHS256, claimsVonage)
	unsigned := func(header string) string { return segment(header) + "." + segment(claimsVonage) + "." }
	signature := good[strings.LastIndexByte(good, '.')+1:]
	header := func(alg string) string { return `{"alg":"` + alg + `"}` }
	only := func(alg string, public crypto.PublicKey) *Policy {
		return with(vonage(), func(p *Policy) {
			p.Algorithms, p.Keys = []string{alg}, keys(Key{Label: "p", Public: public})
		})
	}

	// What an attacker who has the public key may take for a shared secret.
	spki, err := x509.MarshalPKIXPublicKey(&ring.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	spkiEC, err := x509.MarshalPKIXPublicKey(&ring.p256.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	point, err := ring.p256.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	modulus := ring.rsa.N.Bytes()
	confusedRSA := [][]byte{
		spki, x509.MarshalPKCS1PublicKey(&ring.rsa.PublicKey), modulus, append([]byte{0}, modulus...),
		pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}),
		bytes.TrimSpace(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})),
	}
	confusedEC := [][]byte{spkiEC, point, point[1:], pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spkiEC})}
	forged := func(secrets [][]byte) (tokens []string) {
		for _, secret := range secrets {
			tokens = append(tokens, mint(t, jwt.SigningMethodHS256, secret, headerHS256, claimsVonage))
		}
		return tokens
	}
	// A verifier that a public key was configured for by mistake: HS256 with a key of another type.
	mistaken := func(public crypto.PublicKey) *Policy { return only("HS256", public) }

	rs256 := mint(t, jwt.SigningMethodRS256, ring.rsa, header("RS256"), claimsVonage)
	salted := func(length int) string {
		method := &jwt.SigningMethodRSAPSS{
			SigningMethodRSA: jwt.SigningMethodPS256.SigningMethodRSA, Options: &rsa.PSSOptions{SaltLength: length},
		}
		return mint(t, method, ring.rsa, header("PS256"), claimsVonage)
	}

	es256 := mint(t, jwt.SigningMethodES256, ring.p256, header("ES256"), claimsVonage)
	inputES := es256[:strings.LastIndexByte(es256, '.')]
	order := ring.p256.Params().N
	pair := func(r, s *big.Int) string {
		raw := make([]byte, 64)
		r.FillBytes(raw[:32])
		s.FillBytes(raw[32:])
		return inputES + "." + base64.RawURLEncoding.EncodeToString(raw)
	}
	rawES := unsegment(t, es256[len(inputES)+1:])
	r, s := new(big.Int).SetBytes(rawES[:32]), new(big.Int).SetBytes(rawES[32:])
	zero, one, two := new(big.Int), big.NewInt(1), big.NewInt(2)
	less, prime := new(big.Int).Sub(order, one), ring.p256.Params().P
	var edges []string
	for _, r := range []*big.Int{zero, one, two, less, order, prime} {
		for _, s := range []*big.Int{zero, one, two, less, order, prime} {
			edges = append(edges, pair(r, s))
		}
	}
	der, err := ecdsa.SignASN1(rand.Reader, ring.p256, digest(inputES))
	if err != nil {
		t.Fatal(err)
	}

	eddsa := mint(t, jwt.SigningMethodEdDSA, ring.ed25519, header("EdDSA"), claimsVonage)
	public := ring.ed25519.Public().(ed25519.PublicKey)

	run(t, []attack{
		{name: "alg-none", want: badCredential, tokens: []string{
			unsigned(header("none")), unsigned(header("None")), unsigned(header("NONE")), unsigned(header("none")) + "A",
			segment(header("none")) + "." + segment(claimsVonage),
		}},
		{name: "alg-none-with-sig", want: badCredential, tokens: []string{unsigned(header("none")) + signature}},
		{name: "alg-none-space", want: badCredential, tokens: []string{
			hs256(t, header("none "), claimsVonage), hs256(t, header(" none"), claimsVonage),
			hs256(t, header(`none\u0000`), claimsVonage), hs256(t, header(`n\u006fne`), claimsVonage),
			hs256(t, header("HS256 "), claimsVonage), hs256(t, header(`HS256\u0000`), claimsVonage),
		}},
		{name: "alg-missing", want: badCredential, tokens: []string{
			hs256(t, `{"typ":"JWT"}`, claimsVonage), hs256(t, `{}`, claimsVonage),
		}},
		{name: "alg-wrong-type", want: badCredential, tokens: []string{
			hs256(t, `{"alg":null}`, claimsVonage), hs256(t, `{"alg":""}`, claimsVonage), hs256(t, `{"alg":1}`, claimsVonage),
			hs256(t, `{"alg":true}`, claimsVonage), hs256(t, `{"alg":["HS256"]}`, claimsVonage),
			hs256(t, `{"alg":{"a":"HS256"}}`, claimsVonage),
		}},
		{name: "alg-lowercase", want: badCredential, tokens: []string{
			hs256(t, header("hs256"), claimsVonage), hs256(t, header("Hs256"), claimsVonage),
		}},
		{name: "alg-upper-member", want: badCredential, tokens: []string{
			hs256(t, `{"ALG":"HS256"}`, claimsVonage), hs256(t, `{"Alg":"HS256"}`, claimsVonage),
		}},
		{name: "alg-not-allowed-hs512", want: badCredential, tokens: []string{
			mint(t, jwt.SigningMethodHS384, secret, header("HS384"), claimsVonage),
			mint(t, jwt.SigningMethodHS512, secret, header("HS512"), claimsVonage),
		}},
		{name: "alg-rs-on-hmac-config", want: badCredential, tokens: []string{rs256}},
		{name: "alg-confusion-der", policy: only("RS256", &ring.rsa.PublicKey), want: badCredential, tokens: forged(confusedRSA)},
		{name: "alg-confusion-der", policy: mistaken(&ring.rsa.PublicKey), want: unknownKey, tokens: forged(confusedRSA)},
		{name: "alg-confusion-ec", policy: only("ES256", &ring.p256.PublicKey), want: badCredential, tokens: forged(confusedEC)},
		{name: "alg-confusion-ec", policy: mistaken(&ring.p256.PublicKey), want: unknownKey, tokens: forged(confusedEC)},
		{name: "alg-confusion-ec", policy: mistaken(public), want: unknownKey, tokens: forged([][]byte{public})},
		{name: "alg-jwk-without-alg", policy: mistaken(&ring.rsa.PublicKey), want: unknownKey, tokens: forged([][]byte{{}})},
		{name: "alg-empty-key-mac", want: badSignature, tokens: forged([][]byte{{}})},
		{name: "alg-empty-key-mac", policy: with(vonage(), func(p *Policy) {
			p.Keys = keys(Key{Label: "nil"}, Key{Label: "empty", Secret: []byte{}})
		}), want: unknownKey, tokens: forged([][]byte{{}, nil})},
		{name: "alg-pss-salt", policy: only("PS256", &ring.rsa.PublicKey), want: badSignature, tokens: []string{
			salted(8), salted(20), salted(31), salted(33), salted(64), salted(rsa.PSSSaltLengthAuto),
		}},
		{name: "alg-es256-p384", policy: only("ES256", &ring.p384.PublicKey), want: unknownKey, tokens: []string{es256}},
		{name: "alg-es256-zero", policy: only("ES256", &ring.p256.PublicKey), want: badSignature, tokens: edges},
		{name: "alg-es256-long-sig", policy: only("ES256", &ring.p256.PublicKey), want: badCredential, tokens: []string{
			inputES + "." + strings.Repeat("A", 16<<10),
		}},
		{name: "alg-es256-long-sig", policy: only("ES256", &ring.p256.PublicKey), want: badSignature, tokens: []string{
			inputES + "." + strings.Repeat("A", 4<<10), es256 + "AAAA", inputES + "." + base64.RawURLEncoding.EncodeToString(der),
			inputES + "." + base64.RawURLEncoding.EncodeToString(rawES[:63]),
		}},
		// It holds: so the handlers' replay memory goes by claims, never by the text of a token.
		{name: "alg-es256-malleable", policy: only("ES256", &ring.p256.PublicKey), want: ok, tokens: []string{
			es256, pair(r, new(big.Int).Sub(order, s)),
		}},
		{name: "alg-eddsa-malleable", policy: only("EdDSA", public), want: badSignature, tokens: []string{
			malleableEd25519(t, eddsa),
		}},
		{name: "alg-unregistered", want: badCredential, tokens: []string{
			hs256(t, header("HS1"), claimsVonage), hs256(t, header("ES256K"), claimsVonage),
			hs256(t, header("XY9999"), claimsVonage), hs256(t, header("dir"), claimsVonage),
			hs256(t, header("RSA1_5"), claimsVonage),
		}},
		{name: "alg-ed25519-rfc9864", policy: only("Ed25519", public), want: ok, tokens: []string{
			mint(t, jwt.SigningMethodEdDSA, ring.ed25519, header("Ed25519"), claimsVonage),
		}},
		{name: "alg-ed25519-rfc9864", policy: only("Ed25519", public), want: badCredential, tokens: []string{eddsa}},
		{name: "alg-ed25519-rfc9864", policy: only("EdDSA", public), want: badCredential, tokens: []string{
			mint(t, jwt.SigningMethodEdDSA, ring.ed25519, header("Ed25519"), claimsVonage),
		}},
	})
}

func digest(input string) []byte {
	h := crypto.SHA256.New()
	h.Write([]byte(input))
	return h.Sum(nil)
}

// malleableEd25519 adds the group's order to S, which a verifier without RFC 8032 §5.1.7's check takes for the same.
func malleableEd25519(t *testing.T, token string) string {
	t.Helper()
	at := strings.LastIndexByte(token, '.') + 1
	raw := unsegment(t, token[at:])
	order, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	order.Add(order, new(big.Int).Lsh(big.NewInt(1), 252))
	s := raw[32:]
	reverse(s)
	new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(s)
	reverse(s)
	return token[:at] + base64.RawURLEncoding.EncodeToString(raw)
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}

func TestHeaderAttacks(t *testing.T) {
	ring := newKeyring(t)
	var canary atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { canary.Add(1) }))
	defer server.Close()

	named := func(ids ...string) *Policy {
		return with(vonage(), func(p *Policy) {
			var list []Key
			for _, id := range ids {
				list = append(list, Key{Label: id, ID: id, Secret: []byte(secretA)})
			}
			p.Keys = keys(list...)
		})
	}
	// kid signs with the right secret: not even a genuine signature makes up for a kid that is not the key's.
	kid := func(quoted string) []string {
		return []string{hs256(t, `{"alg":"HS256","kid":`+quoted+`}`, claimsVonage)}
	}
	member := func(member string) string { return hs256(t, `{"alg":"HS256",`+member+`}`, claimsVonage) }
	public := with(vonage(), func(p *Policy) {
		p.Algorithms, p.Keys = []string{"RS256"}, keys(Key{Label: "r", Public: &ring.rsa.PublicKey})
	})
	mallory, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	self, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)},
		&x509.Certificate{}, &mallory.PublicKey, mallory)
	if err != nil {
		t.Fatal(err)
	}
	jwk := fmt.Sprintf(`{"kty":"RSA","n":"%s","e":"AQAB"}`, base64.RawURLEncoding.EncodeToString(mallory.N.Bytes()))
	own := func(member string) string {
		return mint(t, jwt.SigningMethodRS256, mallory, `{"alg":"RS256",`+member+`}`, claimsVonage)
	}
	rawPayload := func(header string) string { // RFC 7797: the signature is over the payload as it is
		signature, err := jwt.SigningMethodHS256.Sign(segment(header)+"."+claimsVonage, []byte(secretA))
		if err != nil {
			t.Fatal(err)
		}
		return segment(header) + "." + segment(claimsVonage) + "." + base64.RawURLEncoding.EncodeToString(signature)
	}
	typed := func(typ string) string { return hs256(t, `{"typ":"`+typ+`","alg":"HS256"}`, claimsVonage) }
	access := with(vonage(), func(p *Policy) { p.Types, p.RequireType = []string{"at+jwt"}, true })
	// A hundred public keys, as a key set may have, of which the one at this place is the token's.
	others, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	many := func(at int) *Policy {
		return with(vonage(), func(p *Policy) {
			p.Algorithms = []string{"EdDSA"}
			list := make([]Key, 100)
			for i := range list {
				list[i] = Key{Label: "other", ID: fmt.Sprint(i), Public: others}
			}
			list[at] = Key{Label: "a", ID: "a", Public: ring.ed25519.Public()}
			p.Keys = keys(list...)
		})
	}
	eddsa := func(header string) []string {
		return []string{mint(t, jwt.SigningMethodEdDSA, ring.ed25519, header, claimsVonage)}
	}

	run(t, []attack{
		{name: "kid-path", policy: named("k1"), want: unknownKey, tokens: kid(`"../../../../dev/null"`)},
		{name: "kid-path", want: badSignature, tokens: []string{
			mint(t, jwt.SigningMethodHS256, []byte{}, `{"alg":"HS256","kid":"../../../../dev/null"}`, claimsVonage),
			mint(t, jwt.SigningMethodHS256, []byte("\n"), `{"alg":"HS256","kid":"/etc/hostname"}`, claimsVonage),
		}},
		{name: "kid-sql-ldap", policy: named("k1"), want: unknownKey, tokens: append(
			kid(`"' UNION SELECT 'x'--"`), kid(`"*)(uid=*"`)...)},
		{name: "kid-command", policy: named("k1"), want: unknownKey, tokens: append(append(append(
			kid(`"|id"`), kid(`"$(id)"`)...), kid(`"{env.SECRET}"`)...), kid(`"{file./etc/passwd}"`)...)},
		{name: "kid-crlf", policy: named("k1"), want: unknownKey, tokens: kid(`"a\r\nlevel=info \u001b[31m"`)},
		{name: "kid-long", policy: named("k1"), want: badCredential, tokens: append(
			kid(`"`+strings.Repeat("k", 10<<10)+`"`), kid(`"`+strings.Repeat("k", 1025)+`"`)...)},
		{name: "kid-types", policy: named("7", "null"), want: badCredential, tokens: append(append(append(
			kid(`7`), kid(`null`)...), kid(`[]`)...), kid(`{}`)...)},
		{name: "kid-missing-many-keys", policy: many(99), want: badSignature, tokens: eddsa(`{"alg":"EdDSA"}`)},
		{name: "kid-missing-many-keys", policy: many(16), want: badSignature, tokens: eddsa(`{"alg":"EdDSA"}`)},
		{name: "kid-missing-many-keys", policy: many(15), want: ok, tokens: eddsa(`{"alg":"EdDSA"}`)},
		// With a kid, only that key is tried.
		{name: "kid-missing-many-keys", policy: many(99), want: ok, tokens: eddsa(`{"alg":"EdDSA","kid":"a"}`)},
		{name: "hdr-jku-canary", policy: public, want: badSignature, tokens: []string{
			own(`"jku":"` + server.URL + `/jwks"`), own(`"x5u":"` + server.URL + `/certificate"`),
		}},
		{name: "hdr-x5c", policy: public, want: badSignature, tokens: []string{
			own(`"x5c":["` + base64.StdEncoding.EncodeToString(self) + `"]`),
		}},
		{name: "hdr-jwk-embedded", policy: public, want: badSignature, tokens: []string{own(`"jwk":` + jwk)}},
		{name: "hdr-crit-registered", want: badCredential, tokens: []string{member(`"crit":["alg"]`)}},
		{name: "hdr-crit-types", want: badCredential, tokens: []string{
			member(`"crit":"b64"`), member(`"crit":null`), member(`"crit":[1]`), member(`"crit":[]`), member(`"crit":{}`),
			member(`"crit":["x","x"],"x":1`), member(`"crit":["exp"]`), member(`"crit":["b64"],"b64":true`),
		}},
		{name: "hdr-b64-false", want: badCredential, tokens: []string{
			member(`"b64":false,"crit":["b64"]`), rawPayload(`{"alg":"HS256","b64":false,"crit":["b64"]}`),
		}},
		{name: "hdr-b64-nocrit", want: badCredential, tokens: []string{
			member(`"b64":false`), member(`"b64":true`), rawPayload(`{"alg":"HS256","b64":false}`),
		}},
		{name: "hdr-cty-nested", want: badCredential, tokens: []string{
			hs256(t, `{"alg":"HS256","cty":"JWT"}`, hs256(t, headerHS256, claimsVonage)), member(`"cty":"JWT"`),
		}},
		{name: "hdr-typ-other", want: badCredential, tokens: []string{
			typed("secevent+jwt"), typed("logout+jwt"), typed("dpop+jwt"), typed("at+jwt"), typed("application/at+jwt"),
			typed(""), typed("JWT "), typed("application/"), typed("application/application/jwt"), typed("x/jwt"),
			hs256(t, `{"alg":"HS256","typ":null}`, claimsVonage), hs256(t, `{"alg":"HS256","typ":["JWT"]}`, claimsVonage),
		}},
		{name: "hdr-typ-other", policy: access, want: badCredential, tokens: []string{
			typed("JWT"), typed("at+jwt2"), typed("Kt+jwt"), hs256(t, `{"alg":"HS256"}`, claimsVonage),
		}},
		{name: "hdr-typ-prefix", policy: access, want: ok, tokens: []string{
			typed("application/at+jwt"), typed("at+jwt"), typed("AT+JWT"), typed("Application/at+JWT"),
		}},
		{name: "hdr-enc", want: badCredential, tokens: []string{
			member(`"enc":"A128GCM"`), member(`"epk":{}`), member(`"p2c":1000`),
		}},
	})
	if hits := canary.Load(); hits != 0 {
		t.Errorf("the canary was asked %d times", hits)
	}
}

func TestClaimAttacks(t *testing.T) {
	at := now.Unix()
	// expiring is a policy by exp alone, with a minute of leeway.
	expiring := func() *Policy { return with(vonage(), func(p *Policy) { p.MaxAge, p.RequireExpiry = 0, true }) }
	exp := func(number string) string { return withMember(t, `"exp":`+number) }
	nbf := func(number string) string { return withMember(t, `"nbf":`+number) }
	iat := func(number string) string { return withClaim(t, "1700000000", number) }
	each := func(make func(string) string, values ...string) (tokens []string) {
		for _, value := range values {
			tokens = append(tokens, make(value))
		}
		return tokens
	}
	seconds := func(delta int64) string { return fmt.Sprint(at + delta) }

	audience := with(vonage(), func(p *Policy) { p.Audiences = []string{"my-api", "my-other-api"} })
	aud := func(value string) string { return withMember(t, `"aud":`+value) }

	// accounts takes the key from api_key, as callback schemes do.
	accounts := with(vonage(), func(p *Policy) {
		list := map[string]Key{
			"47000001": {Label: "A", Secret: []byte(secretA)}, "a1b2c3d": {Label: "a", Secret: []byte(secretA)},
			"B": {Label: "B", Secret: []byte(secretB)}, "9007199254740992": {Label: "n", Secret: []byte(secretA)},
		}
		p.Keys = func(_ context.Context, unverified *Token) ([]Key, error) {
			claim, _ := unverified.Claims.Get("api_key")
			account, isText := claim.Text()
			key, known := list[account]
			if !isText || !known {
				return nil, nil
			}
			return []Key{key}, nil
		}
	})
	apikey := func(value string) string { return withClaim(t, `"47000001"`, value) }
	jti := func(value string) string { return withClaim(t, `"0b9f1c1e-0000-4000-8000-000000000001"`, value) }
	iss := func(value string) string { return withClaim(t, `"Vonage"`, value) }
	access := with(expiring(), func(p *Policy) {
		p.Types, p.RequireType, p.Audiences = []string{"at+jwt"}, true, []string{"my-api"}
	})

	run(t, []attack{
		{name: "exp-past", policy: expiring(), want: expired, tokens: each(exp, seconds(-61), seconds(-60), seconds(-99999))},
		{name: "exp-now", policy: with(expiring(), func(p *Policy) { p.Leeway = 0 }), want: expired, tokens: each(exp, seconds(0))},
		{name: "exp-in-skew", policy: expiring(), want: ok, tokens: each(exp, seconds(-59), seconds(0), seconds(60))},
		{name: "exp-missing-required", policy: expiring(), want: badClaim, tokens: []string{hs256(t, headerHS256, claimsVonage)}},
		{name: "exp-missing-required", policy: with(vonage(), func(p *Policy) { p.MaxAge = 0 }), want: badClaim, tokens: []string{
			hs256(t, headerHS256, claimsVonage), // with neither, a token would be good for ever
		}},
		{
			name: "exp-missing-required", policy: with(vonage(), func(p *Policy) { p.RequireExpiry = true }), want: badClaim,
			tokens: []string{hs256(t, headerHS256, claimsVonage)},
		},
		{name: "exp-zero", policy: expiring(), want: expired, tokens: each(exp, "0", "0.0", "-0", "0e9")},
		{name: "exp-zero", want: expired, tokens: each(exp, "0")},
		{name: "exp-string", policy: expiring(), want: badCredential, tokens: each(exp, `"9999999999"`, `""`, `null`)},
		{name: "exp-bool-array-object", want: badCredential, tokens: each(exp, `true`, `false`, `[]`, `{}`, `[9999999999]`)},
		{name: "exp-negative", policy: expiring(), want: badCredential, tokens: each(exp, `-1`, `-0.5`, `-1e300`)},
		// A far exp does not lengthen what the greatest age allows.
		{
			name: "exp-too-far", policy: with(vonage(), func(p *Policy) { p.MaxAge = 24 * time.Hour }), at: now.Add(25 * time.Hour),
			want: expired, tokens: each(exp, seconds(10*365*86400)),
		},
		{name: "exp-too-far", policy: expiring(), want: badCredential, tokens: each(exp, `1e18`, `253402300800`, `9223372036854775808`)},
		{name: "exp-fraction", policy: expiring(), want: ok, tokens: each(exp, seconds(60)+".5", seconds(-60)+".5", "17000000.1e3")},
		{name: "nbf-future", want: notYetValid, tokens: each(nbf, seconds(120), seconds(61), "253402300799")},
		{name: "nbf-in-skew", want: ok, tokens: each(nbf, seconds(59), seconds(60), seconds(-5), "0")},
		{name: "nbf-types", want: badCredential, tokens: each(nbf, `"x"`, `true`, `1e300`, `null`, `[]`, `{}`, `-1`)},
		{name: "iat-old", want: expired, tokens: each(iat, seconds(-361), seconds(-301), "0")},
		{name: "iat-on-the-edge", want: ok, tokens: each(iat, seconds(-300))},
		{name: "iat-missing", want: badClaim, tokens: []string{withClaim(t, `"iat":1700000000,`, "")}},
		{name: "iat-negative", want: badCredential, tokens: each(iat, "-5")},
		{name: "iat-1e300", want: badCredential, tokens: each(iat, "1e300", "1e18", "99999999999999999999", "1e400")},
		{name: "iat-fraction", want: ok, tokens: each(iat, seconds(0)+".7", "1.7e9")},
		{name: "iat-milliseconds", want: badCredential, tokens: each(iat, "1700000000000")},
		{name: "iss-wrong", want: badClaim, tokens: append(each(iss, `"evil"`, `""`), withClaim(t, `"iss":"Vonage",`, ""))},
		{name: "iss-case", want: badClaim, tokens: each(iss, `"vonage"`, `"VONAGE"`)},
		{name: "iss-padding", want: badClaim, tokens: each(iss, `"Vonage "`, `"Vonage\u0000"`, `"Vonage."`, `" Vonage"`)},
		{name: "aud-wrong", policy: audience, want: badClaim, tokens: append(
			each(aud, `"other"`, `"my-api/"`, `"MY-API"`, `""`, `[]`), hs256(t, headerHS256, claimsVonage))},
		{name: "aud-array-match", policy: audience, want: ok, tokens: each(aud, `["other","my-api"]`, `"my-api"`, `["my-other-api"]`)},
		{name: "aud-array-of-others", policy: audience, want: badCredential, tokens: each(aud, `["my-api",1]`, `["my-api",null]`, `["my-api",["my-api"]]`)},
		{name: "aud-array-bypass", policy: audience, want: badClaim, tokens: each(aud, `["other"]`, `["",""]`, `["my-api,other"]`)},
		{name: "apikey-unknown", policy: accounts, want: unknownKey, tokens: each(apikey, `"nobody"`, `""`)},
		{name: "apikey-type", policy: accounts, want: unknownKey, tokens: each(apikey, `123`, `null`, `["a1b2c3d"]`, `47000001`)},
		{name: "apikey-case", policy: accounts, want: unknownKey, tokens: each(apikey, `"A1B2C3D"`)},
		{name: "apikey-cross", policy: accounts, want: badSignature, tokens: each(apikey, `"B"`)},
		{name: "apikey-placeholder", policy: accounts, want: unknownKey, tokens: each(apikey, `"{env.HOME}"`)},
		{name: "jti-empty", want: badCredential, tokens: each(jti, `""`)},
		{name: "jti-type", want: badCredential, tokens: each(jti, `1`, `null`, `[]`, `{}`, `true`)},
		{name: "jti-long", want: badCredential, tokens: each(jti, `"`+strings.Repeat("j", 64<<10)+`"`)},
		{name: "jti-control-chars", want: ok, tokens: each(jti, `"\r\nSET x y\r\n\u0000 "`)},
		{name: "claims-dup-iss", want: badCredential, tokens: []string{
			withMember(t, `"iss":"evil"`), withClaim(t, `"iss":"Vonage"`, `"iss":"Vonage","iss":"evil"`),
			withMember(t, `"\u0069ss":"evil"`),
		}},
		{name: "claims-dup-apikey", want: badCredential, tokens: []string{
			withMember(t, `"api_key":"B"`), withMember(t, `"deep":{"a":1,"a":2}`),
		}},
		{name: "claims-case-exp", policy: expiring(), want: expired, tokens: []string{
			withMember(t, `"exp":1699990000,"EXP":`+seconds(999)), withMember(t, `"EXP":`+seconds(999)+`,"exp":1699990000`),
		}},
		{name: "claims-case-exp", policy: expiring(), want: badClaim, tokens: []string{withMember(t, `"EXP":`+seconds(999))}},
		{name: "claims-payload-null", want: badCredential, tokens: []string{
			hs256(t, headerHS256, "null"), hs256(t, headerHS256, "[]"), hs256(t, headerHS256, "["+claimsVonage+"]"),
			hs256(t, headerHS256, `"x"`), hs256(t, headerHS256, "1"), hs256(t, headerHS256, " "),
		}},
		{name: "claims-trailing", want: badCredential, tokens: []string{
			hs256(t, headerHS256, claimsVonage+" x"), hs256(t, headerHS256, claimsVonage+`{"iss":"evil"}`),
			hs256(t, headerHS256, claimsVonage+"\x00"),
		}},
		{name: "claims-invalid-utf8", want: badCredential, tokens: []string{
			withMember(t, "\"x\":\"\xFF\xFE\""), withMember(t, `"x":"\ud800"`), withMember(t, "\"\xC0\xAF\":1"),
		}},
		{name: "claims-utf16", want: badCredential, tokens: []string{
			hs256(t, headerHS256, utf16Of(claimsVonage, false)), hs256(t, headerHS256, utf16Of(claimsVonage, true)),
		}},
		{name: "claims-depth-10001", want: badCredential, tokens: []string{
			withMember(t, `"x":`+strings.Repeat("[", 10001)+strings.Repeat("]", 10001)),
			withMember(t, `"x":`+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)),
		}},
		{name: "claims-number-precision", policy: accounts, want: unknownKey, tokens: each(apikey, `9007199254740993`, `9007199254740992`)},
		{name: "oidc-id-token-as-access", policy: access, want: badCredential, tokens: []string{
			hs256(t, headerHS256, `{"iss":"Vonage","aud":"my-api","nonce":"n","iat":1700000000,"exp":1700000600}`),
			hs256(t, `{"alg":"HS256"}`, `{"iss":"Vonage","aud":"my-api","nonce":"n","iat":1700000000,"exp":1700000600}`),
		}},
	})
}

func utf16Of(text string, mark bool) string {
	units := utf16.Encode([]rune(text))
	if mark {
		units = append([]uint16{0xFEFF}, units...)
	}
	var out []byte
	for _, unit := range units {
		out = binary.LittleEndian.AppendUint16(out, unit)
	}
	return string(out)
}
