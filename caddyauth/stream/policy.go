package stream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/internal/errands"
	"github.com/caddyauth/callbacks/caddyauth/store"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

// fallbackName stands for the fallback where a rule's name would.
const fallbackName = "fallback"

// policy decides by rules.
type policy struct {
	rules   []*Rule
	tokens  []*Token
	allow   bool // the fallback
	limits  bool // whether the server can end an allowance
	waits   bool // whether a decision may wait for others
	observe bool // whether nothing is denied, and no session counted

	dialect string
	ability Ability
	book    *book
	store   store.Store
	errands errands.List // what the store could not be told
	logger  *zap.Logger
}

// provision compiles tokens and rules for a server that is able to do what ability says.
func (p *policy) provision(ctx caddy.Context, ability Ability) error {
	for i, t := range p.tokens {
		if t == nil {
			return errors.New("a token that is null")
		}
		if err := checkToken(i, p.tokens, ability); err != nil {
			return err
		}
		if err := t.provision(ctx, ability); err != nil {
			return fmt.Errorf("%s: %w", t.label(), err)
		}
	}
	for i, rule := range p.rules {
		if rule == nil {
			return errors.New("a rule that is null")
		}
		if err := checkRule(i, p.rules, p.tokens, ability); err != nil {
			return err
		}
		rule.known = rule.label(i)
		if err := rule.Conditions.provision(); err != nil {
			return fmt.Errorf("rule %s: %w", rule.known, err)
		}
		p.waits = p.waits || rule.waits()
	}
	p.waits = p.waits || slices.ContainsFunc(p.tokens, (*Token).waits)
	return nil
}

// checkToken refuses the token at the place i where it could not hold, or be told from those before it. It looks at nothing
// that a placeholder stands for, and so is for the Caddyfile too, where it is known which line is wrong.
func checkToken(i int, tokens []*Token, ability Ability) error {
	t := tokens[i]
	if slices.ContainsFunc(tokens[:i], func(other *Token) bool { return other.Name == t.Name }) {
		return fmt.Errorf("two tokens are named '%s': rules could not tell them apart", t.Name)
	}
	if err := t.checkOptions(ability); err != nil {
		return fmt.Errorf("%s: %w", t.label(), err)
	}
	return nil
}

// checkRule is the same for a rule.
func checkRule(i int, rules []*Rule, tokens []*Token, ability Ability) error {
	label := rules[i].label(i)
	taken := label == fallbackName
	for before, other := range rules[:i] {
		taken = taken || other.label(before) == label
	}
	if taken {
		return fmt.Errorf("rule %s: the name stands for something else already", label)
	}
	if err := rules[i].check(ability, tokens); err != nil {
		return fmt.Errorf("rule %s: %w", label, err)
	}
	return nil
}

// evaluation is one request on its way through the rules.
type evaluation struct {
	*policy
	ctx context.Context
	q   *Request
	now time.Time

	presented []presented    // by the place of the token block
	refusal   *verdict.Error // the first credential that was refused, else that there was none
	latest    *verdict.Error // the same of the rule that is being asked, and the last
	left      time.Duration  // how long an allowance lasts, by the rules that deny
	steps     []app.Step     // the tokens and rules that were asked
}

// presented is what a token block says to the request's credential.
type presented struct {
	judged   bool
	accepted *accepted
	err      error
}

// decide asks the rules in their order; the first whose conditions all hold decides.
func (p *policy) decide(ctx context.Context, q *Request, now time.Time) Decision {
	e := &evaluation{
		policy: p, ctx: ctx, q: q, now: now, left: never,
		presented: make([]presented, len(p.tokens)), steps: make([]app.Step, 0, min(len(p.tokens)+len(p.rules), 8)),
	}
	for i, rule := range p.rules {
		m, err := rule.judge(e)
		if err != nil {
			d := Deny(err)
			d.Rule = rule.label(i)
			return d.asked(e.steps, d.Rule, string(d.Code))
		}
		if m.holds {
			return e.conclude(rule, rule.label(i), m).asked(e.steps, rule.label(i), "holds: "+rule.Action)
		}
		e.steps = append(e.steps, app.Step{Name: rule.label(i), Outcome: "does not hold", Detail: m.why})
	}
	if p.allow {
		return e.conclude(&Rule{Action: "allow"}, fallbackName, match{left: never}).asked(e.steps, fallbackName, "allow")
	}
	return e.deny(fallbackName, "no rule allows it").asked(e.steps, fallbackName, "deny")
}

// conclude makes the decision of a rule whose conditions hold.
func (e *evaluation) conclude(rule *Rule, name string, m match) Decision {
	if rule.Forward {
		d := Decision{Forward: true, Rule: name, Code: verdict.OK, Subject: m.subject(), Key: m.key(), Detail: "left to the next handler"}
		_ = rule.apply(&d, e.q, m.token) // which fails on a rename alone
		return d
	}
	if rule.denies() {
		d := e.deny(name, "the rule denies it")
		if m.doubt != nil {
			d.Detail = "the rule denies it, for want of an answer to when: " + m.doubt.Error()
		}
		d.Subject, d.Key = m.subject(), m.key()
		_ = rule.apply(&d, e.q, m.token)
		return d
	}
	d := Decision{Allow: true, Rule: name, Code: verdict.OK, Subject: m.subject(), Key: m.key()}
	left := never
	if e.limits {
		left = min(e.left, m.left)
	}
	if rule.TimeLimit != 0 {
		left = min(left, time.Duration(rule.TimeLimit)-e.now.Sub(e.start()))
	}
	if rule.TimeLimitToken {
		if m.token == nil || m.token.expires.IsZero() {
			return e.expired(name, "the token does not say when it ends")
		}
		left = min(left, m.token.expires.Sub(e.now))
	}
	if left != never {
		d.TimeLimit = min(left.Truncate(time.Second), maxTimeLimit)
		if d.TimeLimit < time.Second {
			return e.expired(name, "no time is left")
		}
	}
	err := rule.apply(&d, e.q, m.token)
	if err == nil {
		err = e.admit(rule, name, &d, m)
	}
	if err != nil {
		refused := Deny(err)
		refused.Rule, refused.Subject, refused.Key, refused.Reason = name, d.Subject, d.Key, d.Reason
		return refused
	}
	return d
}

// forwards reports whether a notification goes to the next handler, as the question did or would have.
func (p *policy) forwards(q *Request) bool {
	return slices.ContainsFunc(p.rules, func(rule *Rule) bool { return rule.Forward && rule.hold(q, true) == "" })
}

// subject is who the token is for, else the user.
func (m match) subject() string {
	if m.token != nil && m.token.subject != "" {
		return m.token.subject
	}
	return m.user
}

// key is the label of the token's secret.
func (m match) key() string {
	if m.token == nil {
		return ""
	}
	return m.token.key
}

// deny makes a denial. The status is that of a rule; the code tells, where a credential was refused on the way, why.
func (e *evaluation) deny(name, detail string) Decision {
	d := Decision{Rule: name, Code: verdict.Denied, Status: http.StatusForbidden, Detail: detail}
	if e.refusal != nil {
		d.Code, d.Detail = e.refusal.Reason, e.refusal.Detail
	}
	return d
}

// expired denies what a rule would allow for no time at all: to some servers, a limit of 0 is none.
func (e *evaluation) expired(name, detail string) Decision {
	return Decision{Rule: name, Code: verdict.Expired, Status: http.StatusForbidden, Detail: detail}
}

// note remembers why a credential did not count, for the log of a later denial. That there is none says less than that
// one was refused.
func (e *evaluation) note(refusal *verdict.Error) {
	e.latest = refusal
	if e.refusal == nil || e.refusal.Reason == verdict.Missing {
		e.refusal = refusal
	}
}

// why says why a rule's tokens do not count.
func (e *evaluation) why() string {
	if e.latest == nil {
		return "token, or a claim of it"
	}
	return "token: " + e.latest.Error()
}

// refuse takes a refused credential: what is undecided, and what can be read in two ways, ends the evaluation as an
// error; else it is noted, and the next rule is asked.
func (e *evaluation) refuse(err error) error {
	refusal := verdict.Of(err)
	if refusal.Reason == verdict.Unavailable || refusal.Reason == verdict.Malformed {
		return refusal
	}
	e.note(refusal)
	return nil
}

// findToken looks for a valid token as the rule's conditions `token` and `claim` want it. It is found, too, where the
// rule wants none and there is none; then there is no accepted.
func (e *evaluation) findToken(rule *Rule) (found bool, a *accepted, err error) {
	var undecided error
	e.latest = nil
	absent := rule.wantsAbsent()
	for i, t := range e.tokens {
		if !rule.takes(t) && !absent {
			continue
		}
		p := e.present(i)
		switch {
		case p.err == nil:
			absent = false
			if rule.takes(t) && p.accepted.hasAll(rule.claims) {
				return true, p.accepted, nil
			}
		case verdict.Of(p.err).Reason == verdict.Missing:
			_ = e.refuse(p.err)
		case verdict.Of(p.err).Reason == verdict.Unavailable:
			absent, undecided = false, p.err
		default:
			absent = false
			if err := e.refuse(p.err); err != nil {
				return false, nil, err
			}
		}
	}
	return absent && len(rule.claims) == 0, nil, undecided
}

// present judges the credential by one token block, once.
func (e *evaluation) present(i int) presented {
	p := &e.presented[i]
	if !p.judged {
		p.judged = true
		p.accepted, p.err = e.tokens[i].judge(e.ctx, e.q, e.now)
		step := app.Step{Name: e.tokens[i].label(), Outcome: string(verdict.OK)}
		if p.err != nil {
			refusal := verdict.Of(p.err)
			step.Outcome, step.Detail = string(refusal.Reason), refusal.Detail
		}
		e.steps = append(e.steps, step)
	}
	return *p
}
