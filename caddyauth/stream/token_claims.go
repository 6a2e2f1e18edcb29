package stream

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	"github.com/caddyauth/callbacks/caddyauth/token"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// expires returns when a token ends: at its `exp`, or when max_age is over.
func (t *Token) expires(claims *jose.Token) time.Time {
	end := claims.Expires
	if t.JWT == nil {
		return end
	}
	if age := t.JWT.Window(); age > 0 && !claims.IssuedAt.IsZero() {
		if byAge := claims.IssuedAt.Add(age); end.IsZero() || byAge.Before(end) {
			end = byAge
		}
	}
	return end
}

// checkStream holds the stream claim against the stream of q.
func (t *Token) checkStream(q *Request, claims strictjson.Value) error {
	value, ok := claims.Get(t.StreamClaim)
	if !ok {
		if t.AnyStream {
			return nil
		}
		return verdict.Errorf(verdict.BadClaim, "the token has no claim %s, which names its streams", t.StreamClaim)
	}
	patterns, ok := texts(value)
	if !ok {
		return verdict.Errorf(verdict.BadClaim, "the token's claim %s is neither a name nor a list of names", t.StreamClaim)
	}
	for _, pattern := range patterns {
		g, err := compileGlob(pattern, '/')
		if err != nil {
			return verdict.Errorf(verdict.BadClaim, "the token's claim %s holds what is no name", t.StreamClaim)
		}
		// On a server with apps, a name with a slash would else be good for that name in every other app.
		named := q.Name
		if strings.Contains(pattern, "/") {
			named = q.Stream()
		}
		if g.match(named) {
			return nil
		}
	}
	return verdict.Errorf(verdict.BadClaim, "the token is for another stream")
}

// checkMode holds the mode claim against the mode of q.
func (t *Token) checkMode(q *Request, claims strictjson.Value) error {
	modes := []string{string(Play)}
	if value, ok := claims.Get(t.ModeClaim); ok {
		if modes, ok = texts(value); !ok {
			return verdict.Errorf(verdict.BadClaim, "the token's claim %s is neither a mode nor a list of modes", t.ModeClaim)
		}
	}
	if !slices.Contains(modes, string(q.Mode)) {
		return verdict.Errorf(verdict.BadClaim, "the token is not good to %s", q.Mode)
	}
	return nil
}

// checkIP holds the address claim, if there is one, against the address of q.
func (t *Token) checkIP(q *Request, claims strictjson.Value) error {
	value, ok := claims.Get(t.IPClaim)
	if !ok {
		return nil
	}
	text, ok := value.Text()
	bound, err := netip.ParseAddr(text)
	if !ok || err != nil {
		return verdict.Errorf(verdict.BadClaim, "the token's claim %s is not an address", t.IPClaim)
	}
	if !q.IP.IsValid() || bound.Unmap() != q.IP.Unmap().WithZone("") {
		return verdict.Errorf(verdict.BadClaim, "the token is for another address")
	}
	return nil
}

// texts reads a claim that is a text or a list of texts, none of them empty.
func texts(value strictjson.Value) ([]string, bool) {
	items := []strictjson.Value{value}
	if value.Kind() == strictjson.Array {
		items = value.Items()
	}
	list := make([]string, 0, len(items))
	for _, item := range items {
		text, ok := item.Text()
		if !ok || text == "" {
			return nil, false
		}
		list = append(list, text)
	}
	return list, len(list) > 0
}

// hasAll reports whether the token has all of claims, each with one of its values.
func (a *accepted) hasAll(claims []token.Claim) bool {
	for _, claim := range claims {
		if a.claims == nil || !claim.Holds(a.claims.Claims) {
			return false
		}
	}
	return true
}

// claim gives a claim as text, or "".
func (a *accepted) claim(name string) string {
	if a == nil || a.claims == nil {
		return ""
	}
	text, _ := a.claims.Text(name)
	return text
}
