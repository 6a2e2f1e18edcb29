package jose

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	jwk "github.com/go-jose/go-jose/v4"
)

// vectors reads a file of testdata whose origin and licence stand in its first line.
func vectors[T any](t *testing.T, file string) map[string]T {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var document struct{ Sets map[string]T }
	if err := json.Unmarshal(data, &document); err != nil || len(document.Sets) == 0 {
		t.Fatalf("%s: %v", file, err)
	}
	return document.Sets
}

// The payload of most of these vectors is not JSON, as claims are. So they go one step past this package's own checks
// of a token's form and header, and around its claims, to the signature.
func holds(compact, algorithm string, keys []Key) bool {
	first, second, ok := dots(compact)
	if !ok || len(compact) > MaxTokenBytes {
		return false
	}
	decoded := make([]byte, len(compact))
	header, ok1 := decode(decoded, compact[:first])
	_, ok2 := decode(make([]byte, len(compact)), compact[first+1:second])
	signature := make([]byte, len(compact))
	n, ok3 := decode(signature, compact[second+1:])
	if !ok1 || !ok2 || !ok3 {
		return false
	}
	p := &Policy{Algorithms: []string{algorithm}, Types: []string{"JWT", "JOSE"}}
	token := new(Token)
	if p.header(token, string(decoded[:header])) != nil {
		return false
	}
	found, _ := signed{compact: compact, input: compact[:second], signature: signature[:n]}.match(token, keys, nil)
	return found != nil
}

// Vectors that are labelled valid and that are refused here, and why.
var narrower = map[int]string{
	259: "an empty payload", 264: "an empty payload", 268: "an empty payload", 272: "an empty payload",
	320: "an empty payload", 325: "an empty payload",
	372: "the label is at fault: base64url has no `?`", 373: "the label is at fault: base64url has no `?`",
	346: "the key says PS256, the figure PS384", 350: "the key says PS256, the figure PS384",
	347: "the key says ES521, which is no algorithm, the figure ES512", 351: "the key says ES521, the figure ES512",
}

// The figures of RFC 7520 whose keys name another algorithm hold with their own.
var ownAlgorithm = map[int]string{346: "PS384", 350: "PS384", 347: "ES512", 351: "ES512"}

// Vectors that are labelled invalid, and are byte for byte the valid number 357.
var twins = map[int]bool{367: true, 370: true}

func TestWycheproofJSONWebSignature(t *testing.T) {
	type group struct {
		Comment string
		Key     json.RawMessage
		Tests   []struct {
			ID                   int
			Comment, JWS, Result string
		}
	}
	ran, refused := 0, 0
	for _, g := range vectors[[]group](t, "wycheproof_jws.json")["json_web_signature"] {
		var key jwk.JSONWebKey
		if err := key.UnmarshalJSON(g.Key); err != nil {
			t.Fatalf("%s: %v", g.Comment, err)
		}
		k := Key{ID: key.KeyID, Public: key.Key}
		if secret, ok := key.Key.([]byte); ok {
			k = Key{ID: key.KeyID, Secret: secret}
		}
		for _, c := range g.Tests {
			ran++
			accepted := holds(c.JWS, key.Algorithm, []Key{k})
			switch _, known := narrower[c.ID]; {
			case known && accepted:
				t.Errorf("%d %s: accepted, and listed as refused", c.ID, c.Comment)
			case known:
				refused++
				if own, ok := ownAlgorithm[c.ID]; ok && !holds(c.JWS, own, []Key{k}) {
					t.Errorf("%d %s: refused with its own algorithm", c.ID, c.Comment)
				}
			case accepted != (c.Result == "valid" || twins[c.ID]):
				t.Errorf("%s %d %s: accepted %v, labelled %s (%s)", g.Comment, c.ID, c.Comment, accepted, c.Result, key.Algorithm)
			}
		}
	}
	if ran != 401 || refused != len(narrower) {
		t.Errorf("%d vectors ran, %d of those listed", ran, refused)
	}
}

func TestWycheproofSignatureMethods(t *testing.T) {
	type group struct {
		Key   []byte
		Tests []struct {
			ID              int
			Comment, Result string
			Msg, Sig        []byte
		}
	}
	sets := vectors[[]group](t, "wycheproof.json")
	algorithms := map[string]string{
		"ecdsa_secp256r1_sha256_p1363": "ES256", "ecdsa_secp384r1_sha384_p1363": "ES384", "ecdsa_secp521r1_sha512_p1363": "ES512",
		"rsa_pss_2048_sha256_mgf1_32": "PS256", "rsa_pss_2048_sha384_mgf1_48": "PS384", "ed25519": "EdDSA",
		// Signatures without salt are good ones, but not in JOSE (RFC 7518 §3.5). Of this set only the one holds whose
		// salt was changed to the length of the hash.
		"rsa_pss_2048_sha256_mgf1_0": "PS256",
	}
	if len(sets) != len(algorithms) {
		t.Fatalf("%d sets", len(sets))
	}
	for set, algorithm := range algorithms {
		t.Run(set, func(t *testing.T) {
			for _, g := range sets[set] {
				public, err := x509.ParsePKIXPublicKey(g.Key)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range g.Tests {
					found, tried := signed{input: string(c.Msg), signature: c.Sig}.match(&Token{Algorithm: algorithm}, []Key{{Public: public}}, nil)
					want := c.Result == "valid"
					if set == "rsa_pss_2048_sha256_mgf1_0" {
						want = c.Comment == "s_len changed to 32"
					}
					if !tried || (found != nil) != want {
						t.Errorf("%d %s: tried %v, holds %v, labelled %s", c.ID, c.Comment, tried, found != nil, c.Result)
					}
				}
			}
		})
	}
}

// Figures 13, 20, 27 and 35 of RFC 7520 are among Wycheproof's.
func TestTheExampleOfRFC8037(t *testing.T) {
	var key jwk.JSONWebKey
	if err := key.UnmarshalJSON([]byte(`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`)); err != nil {
		t.Fatal(err)
	}
	const token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
	if !holds(token, "EdDSA", []Key{{Public: key.Key}}) {
		t.Error("RFC 8037 A.4 is refused")
	}
	for i := range len(token) - 1 {
		if flipped := []byte(token); flipped[i] != '.' {
			flipped[i] ^= 1
			if holds(string(flipped), "EdDSA", []Key{{Public: key.Key}}) {
				t.Errorf("accepted with another character %d: %s", i, fmt.Sprintf("%q", flipped[i]))
			}
		}
	}
}

// The examples of RFC 7515 whose payload is no JSON, or that have no signature, beside A.1, A.2 and A.3 in TestKnownTokens.
func TestTheOtherExamplesOfRFC7515(t *testing.T) {
	var key jwk.JSONWebKey
	if err := key.UnmarshalJSON([]byte(`{"kty":"EC","crv":"P-521",
		"x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
		"y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}`)); err != nil {
		t.Fatal(err)
	}
	const es512 = "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"
	if !holds(es512, "ES512", []Key{{Public: key.Key}}) {
		t.Error("A.4 is refused")
	}
	const unsecured = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ."
	for _, algorithm := range []string{"HS256", "ES512", "none", ""} {
		if holds(unsecured, algorithm, []Key{{Public: key.Key}, {Secret: []byte("x")}, {}}) {
			t.Errorf("A.5, which nobody signed, is accepted where %q is expected", algorithm)
		}
	}
}
