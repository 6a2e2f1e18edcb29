package jose

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/golang-jwt/jwt/v5"
)

// Every kind of token, genuine and not, comes three times to a policy that remembers and to one that does not.
func TestRememberedSignaturesAndHeadersChangeNoVerdict(t *testing.T) {
	ring := newKeyring(t)
	const claims = `{"iss":"issuer","iat":1700000000,"exp":1700003600}`
	rsaHeader, ecHeader := `{"alg":"RS256"}`, `{"alg":"ES256"}`
	rs := mint(t, jwt.SigningMethodRS256, ring.rsa, rsaHeader, claims)
	es := mint(t, jwt.SigningMethodES256, ring.p256, ecHeader, claims)
	other := mint(t, jwt.SigningMethodES256, ring.p256, ecHeader, strings.Replace(claims, "issuer", "nobody", 1))
	first, second, _ := dots(es)
	_, otherSecond, _ := dots(other)
	tokens := map[string]string{
		"RS256": rs, "ES256": es, "another issuer": other,
		"claims of another token":     other[:otherSecond] + es[second:],
		"a signature cut short":       es[:len(es)-4],
		"a signature that is another": es[:second+1] + strings.Repeat("A", len(es)-second-1),
		"another header":              segment(`{"alg":"ES256","kid":"x"}`) + es[first:],
		"no token":                    "a.b.c",
	}
	for name, policy := range map[string]Policy{
		"RS256": {Algorithms: []string{"RS256"}, Keys: keys(Key{Label: "rsa", Public: &ring.rsa.PublicKey})},
		"ES256": {Algorithms: []string{"ES256"}, Keys: keys(Key{Label: "p256", Public: &ring.p256.PublicKey}), Issuers: []string{"issuer"}},
	} {
		plain, remembering := policy, policy
		remembering.Proofs = new(Proofs)
		if err := remembering.Check(); err != nil { // from here on, headers are remembered
			t.Fatal(err)
		}
		for at := range 3 {
			when := time.Unix(1_700_000_000+int64(at)*3000, 0) // the third is past exp
			for title, compact := range tokens {
				want, wantErr := plain.Verify(context.Background(), compact, when)
				for range 2 {
					got, err := remembering.Verify(context.Background(), compact, when)
					if fmt.Sprint(err) != fmt.Sprint(wantErr) || (got == nil) != (want == nil) || got != nil &&
						(got.Key != want.Key || got.Algorithm != want.Algorithm || got.Type != want.Type || got.KeyID != want.KeyID) {
						t.Errorf("%s, %s: %v where it was %v", name, title, err, wantErr)
					}
				}
			}
		}
	}
}

func TestAWithdrawnKeyStopsWorkingThoughItsSignatureIsRemembered(t *testing.T) {
	ring := newKeyring(t)
	compact := mint(t, jwt.SigningMethodES256, ring.p256, `{"alg":"ES256"}`, `{"exp":1700003600}`)
	held := []Key{{Label: "p256", Public: &ring.p256.PublicKey}}
	p := &Policy{
		Algorithms: []string{"ES256"}, Proofs: new(Proofs),
		Keys: func(context.Context, *Token) ([]Key, error) { return held, nil },
	}
	at := time.Unix(1_700_000_000, 0)
	for range 2 {
		if got := reason(t, p, compact, at); got != ok {
			t.Fatalf("got %s", got)
		}
	}
	if len(p.Proofs.current) != 1 {
		t.Fatalf("%d signatures are remembered, want 1", len(p.Proofs.current))
	}
	held = []Key{{Label: "other", Public: &newKeyring(t).p256.PublicKey}}
	if got := reason(t, p, compact, at); got != verdict.BadSignature {
		t.Errorf("with another key in its place: %s", got)
	}
	held = nil
	if got := reason(t, p, compact, at); got != verdict.UnknownKey {
		t.Errorf("without it: %s", got)
	}
}

func TestRememberedSignaturesAreBoundedAndTheLastOnesStay(t *testing.T) {
	p := new(Proofs)
	of := func(i int) proof { return proof{algorithm: fmt.Sprint(i)} }
	for i := range 5 * maxProofs {
		p.add(of(i))
		if !p.has(of(0)) && i < maxProofs {
			t.Fatalf("forgotten after %d", i)
		}
		if len(p.current)+len(p.earlier) > 2*maxProofs {
			t.Fatalf("%d are held", len(p.current)+len(p.earlier))
		}
	}
	for i := range maxProofs {
		if !p.has(of(5*maxProofs - 1 - i)) {
			t.Fatalf("the last but %d is forgotten", i)
		}
	}
}

func TestOnlyAGenuineTokensHeaderIsRemembered(t *testing.T) {
	p := vonage()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	genuine := hs256(t, headerHS256, claimsVonage)
	first, second, _ := dots(genuine)
	for _, forged := range []string{
		genuine[:second+1] + strings.Repeat("A", len(genuine)-second-1),
		segment(`{"alg":"HS256","kid":"stranger"}`) + genuine[first:],
		segment(`{"alg":"none"}`) + genuine[first:],
	} {
		if _, err := p.Verify(context.Background(), forged, now); err == nil || p.headers.last.Load() != nil {
			t.Fatalf("a stranger's header is remembered, after %v", err)
		}
	}
	for range 2 {
		token, err := p.Verify(context.Background(), genuine, now)
		if last := p.headers.last.Load(); err != nil || token.Algorithm != "HS256" || last == nil || last.segment != genuine[:first] {
			t.Fatalf("a genuine header is not remembered: %v", err)
		}
	}
}
