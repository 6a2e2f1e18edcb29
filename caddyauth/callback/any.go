package callback

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(Any{})
}

// Any is a scheme that accepts what at least one of the schemes within it accepts. Put only schemes into it each of
// which is proof enough by itself.
//
// If none accepts, and one of them could not decide, the answer is 503: with the others alone nobody can tell.
type Any struct {
	// The schemes, one of which must accept. The cheap ones are asked first, whatever the order here.
	SchemesRaw []json.RawMessage `json:"schemes,omitempty" caddy:"namespace=http.callback_auth.schemes inline_key=scheme"`

	guards []guard
}

// CaddyModule returns the Caddy module information.
func (Any) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.any",
		New: func() caddy.Module { return new(Any) },
	}
}

// Provision loads the schemes.
func (a *Any) Provision(ctx caddy.Context) (err error) {
	a.guards, err = loadSchemes(ctx, a, a.SchemesRaw)
	return err
}

// Traits are those of the schemes within, taken together.
func (a *Any) Traits() Traits {
	var traits Traits
	var challenges []string
	for _, g := range a.guards {
		traits.Cost = max(traits.Cost, g.traits.Cost)
		traits.Places = append(traits.Places, g.traits.Places...)
		traits.Window = max(traits.Window, g.traits.Window)
		traits.Leeway = max(traits.Leeway, g.traits.Leeway)
		traits.Identified = traits.Identified || g.traits.Identified
		traits.Replay = traits.Replay || g.traits.Replay
		traits.Partial = traits.Partial || g.traits.Partial
		if g.traits.Challenge != "" {
			challenges = append(challenges, g.traits.Challenge)
		}
	}
	traits.Challenge = strings.Join(challenges, ", ")
	return traits
}

// Verify asks the schemes within until one accepts.
func (a *Any) Verify(q *Request) Verdict {
	var refusal Verdict
	var pending []int
	var seen trail
	verdicts := make([]Verdict, len(a.guards))
	for i := range a.guards {
		v := a.guards[i].verify(q)
		seen.addScheme(a.guards[i].name, &v)
		switch {
		case v.OK() && v.Then == nil:
			v.within = seen
			return v
		case v.OK():
			verdicts[i] = v
			pending = append(pending, i)
		default:
			refusal = worse(refusal, v)
		}
	}
	if pending == nil {
		return a.refuse(refusal, seen)
	}
	return Verdict{
		Reason: verdict.OK,
		Scheme: verdicts[pending[0]].Scheme,
		within: seen,
		Then: func(body []byte) Verdict {
			var seen trail
			for _, i := range pending {
				v := a.guards[i].finish(q, &verdicts[i], body)
				seen.addScheme(a.guards[i].name, &v)
				if v.OK() {
					v.within = seen
					return v
				}
				refusal = worse(refusal, v)
			}
			return a.refuse(refusal, seen)
		},
	}
}

// refuse says no, and in a 401 with the challenges of all schemes, any of which would do.
func (a *Any) refuse(v Verdict, seen trail) Verdict {
	v.within = seen
	if v.HTTPStatus() == http.StatusUnauthorized {
		v.Challenge = a.Traits().Challenge
	}
	return v
}

// worse picks, of two refusals, the one that tells the sender more: that we could not decide, before what was wrong
// with a credential, before that it is not of this scheme (it may be of the other), before that there was none, before
// that the address would have been good enough by itself. Of those who miss one, whoever has a status of its own for that
// counts.
func worse(a, b Verdict) Verdict {
	rank := func(v Verdict) int {
		switch {
		case v.Reason == "":
			return 0
		case v.Reason == verdict.Denied && v.Key == "" && v.Challenge == "":
			return 1
		case v.Reason == verdict.Missing && v.Status == 0:
			return 2
		case v.Reason == verdict.Missing:
			return 3
		case v.Reason == verdict.BadCredential:
			return 4
		case v.Reason == verdict.Unavailable:
			return 6
		default:
			return 5
		}
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}

// UnmarshalCaddyfile sets up the scheme from Caddyfile tokens. Syntax:
//
//	any {
//		<scheme> [<args...>] { … }
//		…
//	}
func (a *Any) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // its own name
	if d.NextArg() {
		return d.ArgErr()
	}
	place := *d
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		raw, err := parseScheme(d)
		if err != nil {
			return err
		}
		a.SchemesRaw = append(a.SchemesRaw, raw)
	}
	if a.SchemesRaw == nil {
		return place.Err("any has no scheme in it")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Module          = (*Any)(nil)
	_ caddy.Provisioner     = (*Any)(nil)
	_ caddyfile.Unmarshaler = (*Any)(nil)
	_ Scheme                = (*Any)(nil)
)
