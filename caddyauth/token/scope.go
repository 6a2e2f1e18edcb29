package token

import (
	"fmt"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
)

// checkScope refuses what is not one scope-token (RFC 6749 §3.3). It has no quote, so that it may stand in a header.
func checkScope(text string) error {
	if text == "" || strings.ContainsFunc(text, func(r rune) bool {
		return r < '!' || r > '~' || r == '"' || r == '\\'
	}) {
		return fmt.Errorf("scope: %q is not one word of RFC 6749 §3.3; several stand one after another", text)
	}
	return nil
}

// scopes gives the scopes of `scope`, a text of words between spaces (RFC 8693 §4.2), else of `scp`, as Entra and Okta
// write: such a text, or a list. Anything else grants nothing.
func scopes(claims strictjson.Value) []string {
	if value, ok := claims.Get("scope"); ok {
		return words(value)
	}
	value, _ := claims.Get("scp")
	if value.Kind() != strictjson.Array {
		return words(value)
	}
	var list []string
	for _, item := range value.Items() {
		text, ok := item.Text()
		if !ok {
			return nil
		}
		list = append(list, text)
	}
	return list
}

// words gives the words of a text; none of anything else.
func words(value strictjson.Value) []string {
	text, ok := value.Text()
	if !ok {
		return nil
	}
	return strings.FieldsFunc(text, func(r rune) bool { return r == ' ' })
}
