package callback

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

// guard is a provisioned scheme.
type guard struct {
	Scheme
	name     string
	overBody string // what its look at the body is called
	isAny    bool
	traits   Traits
}

// loadSchemes loads the guests in host's field SchemesRaw, which is raw, and gives them in the order in which they are asked.
func loadSchemes(ctx caddy.Context, host any, raw []json.RawMessage) ([]guard, error) {
	for i, one := range raw {
		// Caddy's own error for this would show the whole of it, secrets included. Like Caddy we read a map: a struct would
		// take `Scheme` for the name too.
		var fields map[string]any
		if err := json.Unmarshal(one, &fields); err != nil {
			fields = nil
		}
		if name, _ := fields["scheme"].(string); name == "" {
			return nil, fmt.Errorf("loading schemes: position %d has no name in the field scheme", i)
		}
	}
	modules, err := ctx.LoadModule(host, "SchemesRaw")
	if err != nil {
		return nil, fmt.Errorf("loading schemes: %v", err)
	}
	var guards []guard
	for _, module := range modules.([]any) {
		scheme, ok := module.(Scheme)
		if !ok {
			return nil, fmt.Errorf("module %T is not a scheme: it does not implement callback.Scheme", module)
		}
		name := module.(caddy.Module).CaddyModule().ID.Name()
		_, isAny := scheme.(*Any)
		guards = append(guards, guard{scheme, name, name + " over the body", isAny, scheme.Traits()})
	}
	if len(guards) == 0 {
		return nil, fmt.Errorf("no scheme: nothing would be verified")
	}
	slices.SortStableFunc(guards, func(a, b guard) int {
		switch {
		case a.traits.Partial == b.traits.Partial:
			return int(a.traits.Cost - b.traits.Cost)
		case a.traits.Partial:
			return 1
		default:
			return -1
		}
	})
	return guards, nil
}

// verify asks one scheme, and puts its name on what it says.
func (g *guard) verify(q *Request) Verdict {
	v := g.Verify(q)
	g.sign(&v, q)
	return v
}

// finish ends the check of one scheme over the body. What its first half found out stands where the second is silent.
func (g *guard) finish(q *Request, first *Verdict, data []byte) Verdict {
	v := first.Then(data)
	g.sign(&v, q)
	v.Then = nil
	fill(&v, first)
	return v
}

// sign puts the scheme's name on a verdict, unless a scheme within it has, and its usual challenge on a 401.
func (g *guard) sign(v *Verdict, q *Request) {
	if v.Scheme == "" {
		v.Scheme = g.name
	}
	if v.Reason == "" {
		v.Reason, v.Detail = verdict.Unavailable, "the scheme came to no verdict"
	}
	if v.Challenge == "" && !v.OK() {
		v.Challenge = g.challenge(v, q.HTTP)
	}
	if !g.isAny { // of those within, the one that accepted counts
		v.identified, v.replay = g.traits.Identified || g.traits.Replay, g.traits.Replay
		if v.ID != "" {
			v.idScheme = v.Scheme
		}
	}
}

// challenge gives the value of WWW-Authenticate on a refusal. Whoever brought a bearer token learns what RFC 6750 §3.1 has
// a word for; who brought none, or something else, learns of no error.
func (g *guard) challenge(v *Verdict, r *http.Request) string {
	word, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	bearer := !g.isAny && strings.HasPrefix(g.traits.Challenge, "Bearer ") && strings.EqualFold(word, "Bearer")
	switch status := v.HTTPStatus(); {
	case status == http.StatusUnauthorized && bearer && v.Reason != verdict.Missing:
		return g.traits.Challenge + `, error="invalid_token"`
	case status == http.StatusUnauthorized:
		return g.traits.Challenge
	case status == http.StatusBadRequest && bearer:
		return g.traits.Challenge + `, error="invalid_request"`
	default:
		return ""
	}
}

// fill takes from other what v does not say about the sender and the message.
func fill(v, other *Verdict) {
	if v.Key == "" {
		v.Key = other.Key
	}
	if v.User == "" {
		v.User = other.User
	}
	if other.ID != "" && (v.ID == "" || other.replay && !v.replay) {
		v.ID, v.Account, v.Others, v.Until = other.ID, other.Account, other.Others, other.Until
		v.Digest = other.Digest
		v.idScheme, v.replay = other.idScheme, other.replay
	}
	if v.Claims == nil {
		v.Claims = other.Claims
	}
	if v.Answer == nil {
		v.Answer = other.Answer
	}
	v.identified = v.identified || other.identified
}

// merge makes one verdict of several that all accept. The dearest scheme, which proves the most, speaks first; but of
// ids the one counts that is made to let a message pass once, and another scheme's stands in for none.
func merge(verdicts []Verdict) Verdict {
	v := verdicts[len(verdicts)-1]
	v.within = nil
	if len(verdicts) > 1 {
		v.matched = matched(verdicts)
	}
	for i := len(verdicts) - 2; i >= 0; i-- {
		fill(&v, &verdicts[i])
	}
	v.lacksID = slices.ContainsFunc(verdicts, func(one Verdict) bool { return one.replay && one.ID == "" })
	return v
}

// matched names the secrets of all of them. It is never nil: that would be to say that Verdict.Key is the only one.
func matched(verdicts []Verdict) []app.Secret {
	secrets := make([]app.Secret, 0, len(verdicts))
	for i := range verdicts {
		if v := &verdicts[i]; v.Key != "" {
			secrets = append(secrets, app.Secret{Scheme: v.Scheme, Key: v.Key})
		}
	}
	return secrets
}
