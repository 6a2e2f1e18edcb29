package jwks

import (
	"bytes"
	"crypto"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	jwk "github.com/go-jose/go-jose/v4"
)

// key reads one key from an object.
func key(t *testing.T, o object) (jose.Key, bool, Skip) {
	t.Helper()
	document, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	v, err := strictjson.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	return parseKey(v)
}

func TestAKeyServesItsOwnAlgorithmsOnly(t *testing.T) {
	rsaKey := public(t, anRSA().Public(), "k")
	for name, c := range map[string]struct {
		key        object
		algorithms []string
	}{
		"RSA":                   {rsaKey, rsaAlgorithms},
		"RSA for RS256":         {rsaKey.with("alg", "RS256"), []string{"RS256"}},
		"RSA to verify":         {rsaKey.with("key_ops", []string{"sign", "verify"}), rsaAlgorithms},
		"RSA for signatures":    {rsaKey.with("use", "sig"), rsaAlgorithms},
		"RSA and certificates":  {rsaKey.with("x5c", []string{"not a certificate"}).with("x5t", "AA").with("x5u", "http://x/"), rsaAlgorithms},
		"RSA with more members": {rsaKey.with("issuer", "https://login.example.com/{tenantid}/v2.0").with("exp", 1), rsaAlgorithms},
		"P-256":                 {curve(t, elliptic.P256(), "k"), []string{"ES256"}},
		"P-384":                 {curve(t, elliptic.P384(), "k"), []string{"ES384"}},
		"P-521":                 {curve(t, elliptic.P521(), "k").with("alg", "ES512"), []string{"ES512"}},
		"Ed25519":               {ed(t, "k"), edAlgorithms},
		"Ed25519 as EdDSA":      {ed(t, "k").with("alg", "EdDSA"), edAlgorithms},
		"Ed25519 by its name":   {ed(t, "k").with("alg", "Ed25519"), edAlgorithms},
	} {
		t.Run(name, func(t *testing.T) {
			got, private, skip := key(t, c.key)
			if skip != "" || private || got.ID != "k" || got.Label != "k" || !slices.Equal(got.Algorithms, c.algorithms) || len(got.Secret) != 0 {
				t.Errorf("%+v, private %v, skipped %q", got.Algorithms, private, skip)
			}
		})
	}
}

func TestAKeyThatCannotBeUsedIsSkippedForAReason(t *testing.T) {
	rsaKey := public(t, anRSA().Public(), "k")
	bits := func(n int) string {
		b := bytes.Repeat([]byte{0xff}, (n+7)/8)
		b[0] >>= (8 - n%8) % 8
		return base64.RawURLEncoding.EncodeToString(b)
	}
	for name, c := range map[string]struct {
		key  object
		skip Skip
	}{
		"RSA of 2047 bits":              {rsaKey.with("n", bits(2047)), SkipStrength},
		"RSA of 2048 bits":              {rsaKey.with("n", bits(2048)), ""},
		"RSA of 8192 bits":              {rsaKey.with("n", bits(8192)), ""},
		"RSA of 8193 bits":              {rsaKey.with("n", bits(8193)), SkipStrength},
		"RSA of an even modulus":        {rsaKey.with("n", base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xfe}, 256))), SkipStrength},
		"RSA of exponent 0":             {rsaKey.with("e", "AA"), SkipStrength},
		"RSA of exponent 1":             {rsaKey.with("e", "AQ"), SkipStrength},
		"RSA of exponent 3":             {rsaKey.with("e", "Aw"), ""},
		"RSA of exponent 65536":         {rsaKey.with("e", "AQAA"), SkipStrength},
		"RSA of exponent 2^32+1":        {rsaKey.with("e", "AQAAAAE"), SkipStrength},
		"RSA of exponent 2^64+1":        {rsaKey.with("e", "AQAAAAAAAAAB"), SkipStrength},
		"RSA without modulus":           {object{"kty": "RSA", "e": "AQAB"}, SkipMalformed},
		"RSA of an empty modulus":       {rsaKey.with("n", ""), SkipMalformed},
		"RSA with padding":              {rsaKey.with("e", "Aw=="), SkipMalformed},
		"RSA with unused bits":          {rsaKey.with("e", "Ax"), SkipMalformed},
		"RSA with a line end":           {rsaKey.with("e", "AQ\nAB"), SkipMalformed},
		"RSA with a number for text":    {rsaKey.with("e", 65537), SkipMalformed},
		"RSA to encrypt":                {rsaKey.with("use", "enc"), SkipUse},
		"RSA to wrap keys":              {rsaKey.with("key_ops", []string{"wrapKey"}), SkipUse},
		"RSA by an algorithm of JWE":    {rsaKey.with("alg", "RSA-OAEP"), SkipAlgorithm},
		"RSA by HS256":                  {rsaKey.with("alg", "HS256"), SkipAlgorithm},
		"RSA by an algorithm of no one": {rsaKey.with("alg", 1), SkipMalformed},
		"a symmetric key":               {object{"kty": "oct", "k": "AAAA"}, SkipType},
		"X25519":                        {ed(t, "k").with("crv", "X25519"), SkipType},
		"Ed448":                         {ed(t, "k").with("crv", "Ed448"), SkipType},
		"Ed25519 too short":             {ed(t, "k").with("x", "AAAA"), SkipMalformed},
		"Ed25519 of low order":          {ed(t, "k").with("x", strings.Repeat("A", 43)), SkipMalformed},
		"Ed25519 on an EC key":          {ec(t, "k").with("crv", "Ed25519"), SkipType},
		"P-256 on an OKP key":           {ed(t, "k").with("crv", "P-256"), SkipType},
		"a curve without a point":       {object{"kty": "EC", "crv": "P-256"}, SkipMalformed},
		"no type":                       {object{"kid": "k"}, SkipMalformed},
		"a type in small letters":       {ec(t, "k").with("kty", "ec"), SkipType},
		"nothing":                       {object{}, SkipMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, skip := key(t, c.key)
			if skip != c.skip || (skip != "") != (got.Public == nil) {
				t.Errorf("skipped %q, want %q", skip, c.skip)
			}
		})
	}
}

func TestATokenWithoutKeyIDIsTriedWithSixteenKeysOfItsOwnType(t *testing.T) {
	keys := []object{public(t, anRSA().Public(), "rsa"), ed(t, ""), curve(t, elliptic.P384(), "p384")}
	for n := range 20 {
		keys = append(keys, ec(t, []string{"", fmt.Sprint("ec", n)}[n%2]))
	}
	parsed, err := parse([]byte(set(keys...)))
	if err != nil {
		t.Fatal(err)
	}
	for algorithm, expected := range map[string]int{
		"RS256": 1, "PS512": 1, "ES256": maxTrials, "ES384": 1, "ES512": 0, "EdDSA": 1, "Ed25519": 1, "HS256": 0, "none": 0, "": 0,
	} {
		found, known := parsed.find("", algorithm)
		if len(found) != expected || known != (expected > 0) {
			t.Errorf("%s: %d keys, want %d", algorithm, len(found), expected)
		}
		for _, key := range found {
			if !slices.Contains(key.Algorithms, algorithm) {
				t.Errorf("%s: a key for %v", algorithm, key.Algorithms)
			}
		}
	}
	if found, known := parsed.find("rsa", "ES256"); len(found) != 0 || !known {
		t.Errorf("a key of another type under the id: %d, known %v", len(found), known)
	}
}

// Where nothing says which key is meant, none is; a token's algorithm may say it (RFC 7517 §4.5).
func TestOneKeyListedTwiceIsOneKeyAndTwoUnderOneIDAreNone(t *testing.T) {
	a, b, r := ec(t, "a"), ec(t, "a"), public(t, anRSA().Public(), "r")
	for name, c := range map[string]struct {
		keys []object
		left int
	}{
		"the same key twice":                 {[]object{a, a}, 1},
		"two keys under one id":              {[]object{a, b}, 0},
		"a third does not settle it":         {[]object{a, b, a}, 0},
		"with and without its algorithm":     {[]object{a, a.with("alg", "ES256"), a}, 1},
		"keys of two types under one id":     {[]object{a, ed(t, "a")}, 2},
		"a third of another type, of three":  {[]object{a, ed(t, "a"), b}, 1},
		"one key for two algorithms":         {[]object{r.with("alg", "RS256"), r.with("alg", "PS256")}, 2},
		"one key for some, and for all":      {[]object{r.with("alg", "RS256"), r}, 2},
		"one that is not used does not harm": {[]object{a, b.with("use", "enc")}, 1},
		"keys without id are all kept":       {[]object{ec(t, ""), ec(t, "")}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := parse([]byte(set(c.keys...)))
			if err != nil || len(parsed.all) != c.left || len(parsed.byID) > c.left {
				t.Errorf("%d keys left, want %d (%v)", len(parsed.all), c.left, err)
			}
		})
	}
}

func TestALabelIsShortAndPlain(t *testing.T) {
	for id, plain := range map[string]bool{
		"2026-11": true, "AbC_1.=": true, "": false, strings.Repeat("k", 65): false, "new\nline": false, "{env.SECRET}": false, "ключ": false,
	} {
		got, _, skip := key(t, ec(t, id))
		if skip != "" || (got.Label == id) != plain || got.Label == "" || len(got.Label) > 64 {
			t.Errorf("id %q has the label %q", id, got.Label)
		}
	}
}

// alike holds one key that we take to go-jose: of the members that a key of its type has, it makes the same key. It reads
// those of the other types too, and knows no RSA key above 4096 bits.
func alike(t *testing.T, item strictjson.Value) {
	t.Helper()
	ours, _, skip := parseKey(item)
	if skip != "" {
		return
	}
	if size, ok := ours.Public.(*rsa.PublicKey); ok && size.N.BitLen() > 4096 {
		return
	}
	kty, _ := item.Get("kty")
	kind, _ := kty.Text()
	public := map[string]string{}
	for _, name := range map[string][]string{"RSA": {"kty", "n", "e"}, "EC": {"kty", "crv", "x", "y"}, "OKP": {"kty", "crv", "x"}}[kind] {
		if member, ok := item.Get(name); ok {
			public[name], _ = member.Text()
		}
	}
	document, err := json.Marshal(public)
	if err != nil {
		t.Fatal(err)
	}
	var theirs jwk.JSONWebKey
	if err := theirs.UnmarshalJSON(document); err != nil || !theirs.Valid() {
		t.Fatalf("go-jose refuses a key that we take: %v", err)
	}
	want, err := theirs.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	got, err := (&jwk.JSONWebKey{Key: ours.Public}).Thumbprint(crypto.SHA256)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("go-jose has another key of the same members: %v", err)
	}
}

// FuzzParse: a set has only keys that can verify, each of which can be found, and is to go-jose what it is to us.
func FuzzParse(f *testing.F) {
	one := ec(f, "one")
	for _, seed := range []string{
		set(), set(one), set(one, one), set(one.with("d", "AA")), set(public(f, anRSA().Public(), "r"), ed(f, "")), `{"keys":null}`,
		`{"keys":[{"kty":"RSA","n":"AA","e":"AQAAAAAAAAAB"},{"kty":"EC","crv":"P-256","x":"","y":""},1,null,[],{}]}`, `[]`,
		`{"issuer":"https://idp.example.com","jwks_uri":"https://idp.example.com/jwks"}`, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`,
		"max-age=600, must-revalidate", `private,max-age="86400"`, "max-age=-1", "max-age=99999999999999999999,no-store",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		if youth := youthOf(http.Header{"Cache-Control": {string(document)}}); youth != 0 && (youth < minYouth || youth > maxYouth) {
			t.Errorf("%q is fresh for %v", document, youth)
		}
		if said, err := parseMetadata(document); err == nil {
			var theirs map[string]any
			if json.Unmarshal(document, &theirs) != nil || theirs["issuer"] != said.issuer || theirs["jwks_uri"] != said.keys {
				t.Errorf("encoding/json reads other metadata than %+v", said)
			}
		}
		parsed, err := parse(document)
		if err != nil {
			return
		}
		if len(parsed.all) > maxKeys || len(parsed.byID) > len(parsed.all) {
			t.Fatalf("%d keys, %d by id", len(parsed.all), len(parsed.byID))
		}
		for _, key := range parsed.all {
			if key.Public == nil || key.Secret != nil || key.Label == "" || len(key.Algorithms) == 0 {
				t.Fatalf("a key that is none: %v", key)
			}
			for _, algorithm := range key.Algorithms {
				if !slices.Contains(algorithms(key.Public), algorithm) {
					t.Fatalf("%s with a key of another type", algorithm)
				}
			}
			if found, known := parsed.find(key.ID, key.Algorithms[0]); !known || len(found) == 0 {
				t.Fatal("a key that cannot be found")
			}
		}
		root, err := strictjson.Parse(document)
		if err != nil {
			t.Fatal(err)
		}
		list, _ := root.Get("keys")
		for _, item := range list.Items() {
			alike(t, item)
		}
		for _, id := range slices.Collect(maps.Keys(parsed.byID)) {
			if id == "" {
				t.Fatal("a key under no id")
			}
		}
	})
}
