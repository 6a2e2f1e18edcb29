package token

import (
	"fmt"
	"slices"

	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
)

// Claim is a claim that must have one of several values.
type Claim struct {
	// The name of the claim; case counts.
	Name string `json:"name,omitempty"`

	// The values, any of which will do. A claim that is a list of strings must hold one of them. Values take
	// placeholders.
	Values []string `json:"values,omitempty"`
}

// Holds reports whether the claim among claims has one of the values.
func (c Claim) Holds(claims strictjson.Value) bool {
	value, ok := claims.Get(c.Name)
	if !ok {
		return false
	}
	if value.Kind() == strictjson.Array {
		return slices.ContainsFunc(value.Items(), c.is)
	}
	return c.is(value)
}

func (c Claim) is(value strictjson.Value) bool {
	switch value.Kind() {
	case strictjson.String:
		text, _ := value.Text()
		return slices.Contains(c.Values, text)
	case strictjson.Number:
		text, _ := value.Number()
		return slices.Contains(c.Values, text)
	case strictjson.Bool:
		truth, _ := value.Bool()
		return slices.Contains(c.Values, fmt.Sprint(truth))
	default:
		return false
	}
}
