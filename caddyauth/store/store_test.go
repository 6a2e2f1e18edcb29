package store

import (
	"strings"
	"testing"
)

func TestKeysOfDifferentPartsAreDifferent(t *testing.T) {
	seen := make(map[[32]byte][]string)
	for _, parts := range [][]string{
		nil, {""}, {"", ""}, {"a", "bc"}, {"ab", "c"}, {"abc"}, {"abc", ""}, {"", "abc"}, {"a\x00", "bc"},
		{"vonage", "key-a", "jti"}, {"vonage", "key-b", "jti"}, {"vonage", "key-", "ajti"},
	} {
		key := Key(parts...)
		if other, found := seen[key]; found {
			t.Errorf("%q and %q have the same key", parts, other)
		}
		seen[key] = parts
	}
	if again := Key("a", "b"); Key("a", "b") != again {
		t.Error("the same parts have different keys")
	}
}

func TestNoOwnerIsTheOneOfWhatIsKept(t *testing.T) {
	seen := make(map[Owner]bool)
	for range 1000 {
		owner := NewOwner()
		if owner == kept || seen[owner] {
			t.Fatalf("owner %v", owner)
		}
		seen[owner] = true
	}
}

// checkCaddyfile holds the error of a Caddyfile to the words that it must have, none where want is empty.
func checkCaddyfile(t *testing.T, input string, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%q: %v", input, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%q: error %v; want %q", input, err, want)
	}
}
