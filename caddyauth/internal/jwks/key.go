package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"slices"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	jwk "github.com/go-jose/go-jose/v4"
)

// Skip says why one key of a set is not used, while the others are (RFC 7517 §5). The set is closed.
type Skip string

// The reasons for which a key is left out.
const (
	SkipMalformed Skip = "malformed" // no object, a member of the wrong type, or values that are no key
	SkipType      Skip = "type"      // a key type or a curve that is not known here, symmetric keys among them
	SkipUse       Skip = "use"       // not for verifying signatures: `use`, `key_ops`
	SkipAlgorithm Skip = "algorithm" // an `alg` that is not one of the key's type and curve
	SkipStrength  Skip = "strength"  // RSA of less than 2048 or more than 8192 bits, or with a strange exponent
	SkipAmbiguous Skip = "ambiguous" // another key of the set has the same `kid`, for the same algorithm
)

// The sizes of RSA modulus that are used, in bits: RFC 7518 §3.3 asks for 2048, and above 8192 one check costs more
// than a millisecond.
const (
	minModulus = 2048
	maxModulus = 8192
)

// rsaAlgorithms and edAlgorithms are what a key of that type may be used with; a curve of ECDSA has one each.
var (
	rsaAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	edAlgorithms  = []string{"EdDSA", "Ed25519"} // one algorithm under its two names (RFC 8037, RFC 9864)
)

// parseKey reads one JSON Web Key (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2) as a public key to verify with. Only the
// public members are looked at: private reports that the issuer published the others too, which leaks its key.
// Certificates (`x5c`) are not looked at either.
func parseKey(v strictjson.Value) (key jose.Key, private bool, skip Skip) {
	if v.Kind() != strictjson.Object {
		return key, false, SkipMalformed
	}
	text := map[string]string{}
	for _, name := range []string{"kty", "kid", "use", "alg", "crv", "n", "e", "x", "y"} {
		member, ok := v.Get(name)
		if !ok {
			continue
		}
		if text[name], ok = member.Text(); !ok {
			return key, false, SkipMalformed
		}
	}
	_, private = v.Get("d")
	if text["use"] != "" && text["use"] != "sig" || !mayVerify(v) {
		return key, private, SkipUse
	}
	switch text["kty"] {
	case "RSA":
		key.Public, skip = rsaKey(text["n"], text["e"])
	case "EC", "OKP":
		key.Public, skip = curveKey(text)
	case "":
		skip = SkipMalformed
	default:
		skip = SkipType
	}
	if skip != "" {
		return jose.Key{}, private, skip
	}
	key.Algorithms = algorithms(key.Public)
	if alg, ok := v.Get("alg"); ok {
		name, _ := alg.Text()
		if !slices.Contains(key.Algorithms, name) {
			return jose.Key{}, private, SkipAlgorithm
		}
		if !slices.Contains(edAlgorithms, name) {
			key.Algorithms = []string{name}
		}
	}
	key.ID = text["kid"]
	key.Label = label(key)
	return key, private, ""
}

// mayVerify reports whether `key_ops`, where it is there, is a list with "verify" in it.
func mayVerify(v strictjson.Value) bool {
	operations, ok := v.Get("key_ops")
	if !ok {
		return true
	}
	for _, operation := range operations.Items() {
		if name, _ := operation.Text(); name == "verify" {
			return true
		}
	}
	return false
}

// rsaKey makes an RSA key of its base64url numbers. It is not left to go-jose, which knows no keys above 4096 bits and
// cuts an exponent that is too large down to one that fits.
func rsaKey(modulus, exponent string) (crypto.PublicKey, Skip) {
	n, nOK := number(modulus)
	e, eOK := number(exponent)
	if !nOK || !eOK {
		return nil, SkipMalformed
	}
	if n.BitLen() < minModulus || n.BitLen() > maxModulus || n.Bit(0) == 0 {
		return nil, SkipStrength
	}
	if e.BitLen() < 2 || e.BitLen() > 31 || e.Bit(0) == 0 {
		return nil, SkipStrength
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, ""
}

// curveKey makes an ECDSA or Ed25519 key. go-jose holds the point to its curve and its full length (RFC 7518 §6.2.1.2)
// and refuses the points of low order.
func curveKey(text map[string]string) (crypto.PublicKey, Skip) {
	public := map[string]string{"kty": text["kty"], "crv": text["crv"], "x": text["x"]}
	switch {
	case text["kty"] == "OKP" && text["crv"] == "Ed25519":
	case text["kty"] == "EC" && slices.Contains([]string{"P-256", "P-384", "P-521"}, text["crv"]):
		public["y"] = text["y"]
	default:
		return nil, SkipType
	}
	for _, name := range []string{"x", "y"} {
		if _, ok := number(public[name]); !ok && (name == "x" || text["kty"] == "EC") {
			return nil, SkipMalformed
		}
	}
	document, err := json.Marshal(public)
	if err != nil {
		return nil, SkipMalformed
	}
	var parsed jwk.JSONWebKey
	if err := parsed.UnmarshalJSON(document); err != nil {
		return nil, SkipMalformed
	}
	return parsed.Key, ""
}

// number reads a canonical, unpadded base64url number that is not empty.
func number(text string) (*big.Int, bool) {
	// The decoder skips line ends even where it is strict.
	if text == "" || strings.ContainsAny(text, "\r\n") {
		return nil, false
	}
	bytes, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, false
	}
	return new(big.Int).SetBytes(bytes), true
}

// algorithms returns the JWS algorithms that a key of this type may be used with.
func algorithms(public crypto.PublicKey) []string {
	switch key := public.(type) {
	case *rsa.PublicKey:
		return rsaAlgorithms
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return []string{"ES256"}
		case elliptic.P384():
			return []string{"ES384"}
		case elliptic.P521():
			return []string{"ES512"}
		}
	case ed25519.PublicKey:
		return edAlgorithms
	}
	return nil
}

// label returns what stands for the key in logs and metrics: its id, where that is short and plain, or the beginning of
// its thumbprint (RFC 7638).
func label(key jose.Key) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("-_.=", r)
	}
	if key.ID != "" && len(key.ID) <= 64 && strings.IndexFunc(key.ID, func(r rune) bool { return !plain(r) }) < 0 {
		return key.ID
	}
	thumbprint, err := (&jwk.JSONWebKey{Key: key.Public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "key"
	}
	return base64.RawURLEncoding.EncodeToString(thumbprint)[:16]
}
