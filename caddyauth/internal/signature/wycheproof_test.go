package signature

import (
	"encoding/json"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
)

// The file says in its first line where the vectors are from, and under which licence.
func TestWycheproof(t *testing.T) {
	data, err := os.ReadFile("testdata/wycheproof.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Sets map[string][]struct {
			Bits  int
			Key   []byte
			Tests []struct {
				ID              int
				Comment, Result string
				Key, Msg, Sig   []byte
			}
		}
	}
	if err := json.Unmarshal(data, &document); err != nil {
		t.Fatal(err)
	}
	for set, algorithm := range map[string]Algorithm{
		"hmac_sha1": HMACSHA1, "hmac_sha256": HMACSHA256, "hmac_sha384": HMACSHA384, "hmac_sha512": HMACSHA512,
		"ed25519": Ed25519, "ecdsa_secp256r1_sha256": ECDSAP256, "rsa_signature_2048_sha256": RSASHA256,
	} {
		t.Run(set, func(t *testing.T) {
			scheme, err := Compile(Spec{Header: "X-Signature", Encoding: Base64, Algorithm: algorithm, Key: TextKey, Payload: "{body}"})
			if err != nil {
				t.Fatal(err)
			}
			ran := 0
			for _, group := range document.Sets[set] {
				for _, c := range group.Tests {
					ran++
					key := group.Key
					if algorithm == Ed25519 {
						key = key[len(key)-32:] // what stands behind the head of its SubjectPublicKeyInfo
					} else if !algorithm.Public() {
						key = c.Key
					}
					v, err := scheme.Verifier([]secret.Value{secret.New("1", key)})
					if err != nil {
						t.Fatalf("%d: %v", c.ID, err)
					}
					held := false
					p, err := v.Begin(Message{Header: http.Header{"X-Signature": {Base64.encode(c.Sig)}}}, time.Time{})
					if err == nil {
						_, err = p.Finish(c.Msg)
						held = err == nil
					}
					// A MAC that is cut short is right for its label, and refused here: no sender cuts one.
					cut := !algorithm.Public() && group.Bits != 8*algorithm.hash()().Size()
					if want := c.Result == "valid" && !cut; held != want {
						t.Errorf("%d %s: holds %v, labelled %s", c.ID, c.Comment, held, c.Result)
					}
				}
			}
			if ran < 100 {
				t.Errorf("%d vectors", ran)
			}
		})
	}
}
