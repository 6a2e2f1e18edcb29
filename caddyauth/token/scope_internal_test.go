package token

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
)

// A scope is granted only where the claims hold it as a whole word, in text.
func FuzzScopes(f *testing.F) {
	for _, claims := range []string{
		`{"scope":"a b"}`, `{"scope":["a"]}`, `{"scope":7}`, `{"scp":["a","b"]}`, `{"scp":"a b"}`, `{"scp":["a b"]}`, `{"scope":"a","scp":"b"}`, `[]`,
	} {
		f.Add(claims)
	}
	f.Fuzz(func(t *testing.T, text string) {
		claims, err := strictjson.ParseString(text)
		if err != nil {
			return
		}
		granted := scopes(claims)
		value, _ := claims.Get("scope")
		if scope, ok := value.Text(); ok && !slices.Equal(granted, slices.DeleteFunc(strings.Split(scope, " "), func(word string) bool { return word == "" })) {
			t.Errorf("%q grants %q", scope, granted)
		}
		if _, present := claims.Get("scope"); present && value.Kind() != strictjson.String && granted != nil {
			t.Errorf("a scope that is no text grants %q", granted)
		}
	})
}
