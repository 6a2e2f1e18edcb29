package stream

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// Rule allows or denies, when all of its conditions hold. One without conditions always decides.
type Rule struct {
	// What the rule does: `allow` or `deny`.
	Action string `json:"action,omitempty"`

	// The name under which the rule shows in logs, metrics and placeholders. Default: its action and its place among
	// all rules, such as `allow-2`.
	Name string `json:"name,omitempty"`

	Conditions
	Effects

	known string // the label, once it is provisioned
}

// label is the rule's name; i is its place among all rules, from 0.
func (r *Rule) label(i int) string {
	switch {
	case r.known != "":
		return r.known
	case r.Name != "":
		return r.Name
	}
	return fmt.Sprintf("%s-%d", r.Action, i+1)
}

// waits reports whether to judge by the rule may take others: a queue for password hashes, a store, an expression.
func (r *Rule) waits() bool { return r.checker != nil || r.MaxSessions != nil || len(r.when) > 0 }

// denies says which of the two actions the rule has.
func (r *Rule) denies() bool { return r.Action == "deny" }

// check refuses a rule that the server could not carry out: it would be silence where somebody wrote a rule. It compiles
// what holds no placeholder of the config, and so is for the Caddyfile too, where it is known which line is wrong.
func (r *Rule) check(ability Ability, tokens []*Token) error {
	if r.Action != "allow" && r.Action != "deny" {
		return fmt.Errorf("the action '%s' is neither allow nor deny", r.Action)
	}
	for _, used := range []struct {
		features  []Feature
		sentence  string
		available []Feature
	}{
		{r.Conditions.features(), "does not tell", conditionFeatures},
		{r.Effects.features(), "cannot do", effectFeatures},
	} {
		for _, feature := range used.features {
			if !ability.Has(feature) {
				return fmt.Errorf("%s %s %s; of what differs from server to server it has %s",
					ability.Server, used.sentence, feature, ability.list(used.available))
			}
		}
	}
	if ability.EndsPlayersOnly && slices.Equal(r.Mode, []string{string(Publish)}) && (r.TimeLimit != 0 || r.TimeLimitToken) {
		return fmt.Errorf("%s ends no publisher by time_limit, only players", ability.Server)
	}
	if err := r.Conditions.check(ability, tokens); err != nil {
		return err
	}
	if r.TimeLimitToken {
		if err := r.checkTimeLimitToken(tokens); err != nil {
			return err
		}
	}
	if err := r.Effects.check(r.denies()); err != nil {
		return err
	}
	if r.MaxSessions != nil {
		return r.MaxSessions.check(r, ability, tokens)
	}
	return nil
}

// checkTimeLimitToken refuses `time_limit token` where there may be no token, or none that ends.
func (r *Rule) checkTimeLimitToken(tokens []*Token) error {
	if !r.needsToken() {
		return fmt.Errorf("time_limit token: the rule must require a valid token")
	}
	for _, t := range tokens {
		if r.takes(t) && len(t.Static) > 0 {
			return fmt.Errorf("time_limit token: static tokens do not expire")
		}
	}
	return nil
}

// needsToken reports whether the rule holds only for a client with a valid token.
func (r *Rule) needsToken() bool {
	return !r.wantsAbsent() && len(r.Token)+len(r.Claim) > 0
}

// wantsAbsent reports whether the rule holds, too, where there is no credential.
func (r *Rule) wantsAbsent() bool { return slices.Contains(r.Token, "absent") }

// takes reports whether t is one of the tokens that the rule's conditions ask for.
func (r *Rule) takes(t *Token) bool {
	return len(r.Token) == 0 || slices.Contains(r.Token, "valid") || t.Name != "" && slices.Contains(r.Token, t.Name)
}

// list gives those of features that the server has, for an error message.
func (a Ability) list(features []Feature) string {
	var words []string
	for _, feature := range features {
		if a.Has(feature) {
			words = append(words, string(feature))
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// match is what the conditions of a rule came to.
type match struct {
	holds bool
	left  time.Duration // how much more listening they hold for
	token *accepted     // the token that they held for; nil if none was asked for
	user  string        // the user name that they held for
	doubt error         // why a condition holds that could not be evaluated
	why   string        // the condition that does not hold, for the inspector and `explain`
}

// judge holds the rule's conditions against the request, the cheap ones first, so that a password or a token is judged
// only where it decides. An error is a request that no further rule may decide.
func (r *Rule) judge(e *evaluation) (match, error) {
	if failing := r.hold(e.q, r.denies()); failing != "" {
		return match{why: failing}, nil
	}
	holds, change := r.holdListened(e.q, r.denies())
	if !holds && !(r.denies() && e.limits && change != never) {
		return match{why: "listened"}, nil
	}
	m := match{left: never}
	if ok, err := r.holdWhen(e, &m, false); err != nil || !ok {
		return match{why: "when"}, err
	}
	if r.checker != nil {
		if e.q.User == "" && e.q.Password == "" {
			e.note(verdict.Errorf(verdict.Missing, "no user name and password"))
			return match{why: "user: there is none"}, nil
		}
		if _, err := r.checker.Check(e.ctx, e.q.User, e.q.Password); err != nil {
			return match{why: "user: " + verdict.Of(err).Error()}, e.refuse(err)
		}
		m.user = e.q.User
	}
	if len(r.Token)+len(r.claims) > 0 {
		found, a, err := e.findToken(r)
		if err != nil || !found {
			return match{why: e.why()}, err
		}
		m.token = a
	}
	if ok, err := r.holdWhen(e, &m, true); err != nil || !ok {
		return match{why: "when"}, err
	}
	if !holds {
		// All but the time listened holds: the client may stay until that does too.
		e.left = min(e.left, change)
		return match{why: "listened, so far"}, nil
	}
	m.holds, m.left = true, change
	return m, nil
}

// anyToken is a rule that asks for a valid token of any kind.
var anyToken = &Rule{Conditions: Conditions{Token: []string{"valid"}}}

// holdWhen reports whether the expressions hold: those that look at what a valid token says, or the others. One that
// comes to no answer counts against the client.
func (r *Rule) holdWhen(e *evaluation, m *match, withToken bool) (bool, error) {
	for _, w := range r.when {
		if w.asksToken() != withToken {
			continue
		}
		s := whenSubject{Request: e.q, subject: m.subject()}
		if a := m.token; a != nil || withToken && len(e.tokens) > 0 {
			if a == nil {
				// The rule asks for no token by itself: any that is valid will do, and none leaves the claims empty.
				var err error
				if _, a, err = e.findToken(anyToken); err != nil {
					return false, err
				}
			}
			if a != nil && a.claims != nil {
				s.claims, _ = a.claims.Claims.Any().(map[string]any)
			}
			s.subject = match{token: a, user: m.user}.subject()
		}
		holds, err := w.holds(e.ctx, s, e.now)
		switch {
		case err != nil && verdict.Of(err).Reason == verdict.Unavailable && !errors.Is(err, errWhen):
			return false, err
		case err != nil && r.denies():
			m.doubt = err
		case err != nil:
			e.note(verdict.Errorf(verdict.Denied, "when: %v", err))
			return false, nil
		case !holds:
			return false, nil
		}
	}
	return true, nil
}
