package stream

import (
	"slices"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
)

func TestAnotherSignatureUnderTheSameTokenIsNotAnotherToken(t *testing.T) {
	per := &MaxSessions{Limit: 1, Per: "token"}
	who := func(presented, algorithm string) []string {
		return per.who(new(Request), "", &accepted{presented: presented, claims: &jose.Token{Algorithm: algorithm}})
	}
	if one, other := who("header.claims.r-s", "ES256"), who("header.claims.r-n-s", "ES256"); !slices.Equal(one, other) {
		t.Errorf("counted as %q and as %q", one, other)
	}
	if one, other := who("header.claims.x", "ES256"), who("header.others.x", "ES256"); slices.Equal(one, other) {
		t.Error("two tokens are counted as one")
	}
	if one, other := who("opaque.one", ""), who("opaque.two", ""); slices.Equal(one, other) {
		t.Error("two opaque tokens are counted as one")
	}
}
