package jwks

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// Vectors whose label is not what comes out here, and why.
var others = map[int]string{
	2: "refused: a symmetric key is never taken from a set", 13: "refused: symmetric", 14: "refused: symmetric", 15: "refused: symmetric",
	7: "accepted: that an issuer's RSA key was made by a faulty generator (CVE-2017-15361) is not looked for",
}

// The file says in its first line where the vectors are from, and under which licence.
func TestWycheproofJSONWebKey(t *testing.T) {
	data, err := os.ReadFile("testdata/wycheproof_jwk.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Sets map[string][]struct {
			Comment string
			Key     json.RawMessage
			Tests   []struct {
				ID                   int
				Comment, JWS, Result string
			}
		}
	}
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	ran, listed := 0, 0
	for _, group := range document.Sets["json_web_key"] {
		for _, c := range group.Tests {
			ran++
			held := false
			if set, err := parse(group.Key); err == nil {
				held = holds(t, set, c.JWS)
			}
			switch _, known := others[c.ID]; {
			case known && held == (c.Result == "valid"):
				t.Errorf("%d: listed, and as labelled", c.ID)
			case known:
				listed++
			case held != (c.Result == "valid"):
				t.Errorf("%s, %d %s: holds %v, labelled %s: %.300s", group.Comment, c.ID, c.Comment, held, c.Result, group.Key)
			}
		}
	}
	if ran != 26 || listed != len(others) {
		t.Errorf("%d vectors ran, %d of those listed", ran, listed)
	}
}

// holds reports whether a key of the set, as it is found for a token, has signed it.
func holds(t *testing.T, set *keySet, compact string) bool {
	t.Helper()
	parts := strings.Split(compact, ".")
	if len(parts) != 3 {
		return false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	var header struct{ Alg, Kid string }
	if err := json.Unmarshal(text, &header); err != nil {
		t.Fatal(err)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	keys, _ := set.find(header.Kid, header.Alg)
	for _, key := range keys {
		if key.Fits(header.Alg) && jwt.GetSigningMethod(header.Alg).Verify(parts[0]+"."+parts[1], signature, key.Public) == nil {
			return true
		}
	}
	return false
}
