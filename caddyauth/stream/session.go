package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/store"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// closeLease is how long a session counts whose end the server tells, if it does not: it may have crashed, or could not
// reach us. Listeners who stay for longer than this stop to count.
const closeLease = 12 * time.Hour

// beginsWithin is how long a session counts that was opened while another of its name was on the air, until the server
// says that it is on the air itself. Icecast says so at once, after hooks that it has waited for: for 15s at most.
const beginsWithin = 15 * time.Second

// renewals is how many of its askings a server that renews sessions may miss.
const renewals = 3

// MaxSessions bounds how many sessions may be open at once; over it, the rule denies. They are counted in the store: by
// every Caddy that shares it, under the dialect and the rule's name. Rules of that name in several hooks count together.
//
// A session counts from when it is allowed until the server tells its end, and for as long as its lease lasts if that
// never comes. One that the server opens again under the same id is not a second one.
type MaxSessions struct {
	// How many may be open.
	Limit int `json:"limit,omitempty"`

	// What they are counted by: `user` (the subject of the token, else the user name that was checked), `token` (the
	// token's `jti` where it has one, else the token itself), `ip` or `stream`.
	Per string `json:"per,omitempty"`

	// How long a session counts that is neither renewed nor ended. It is required where the server never says that a
	// session has ended, and is to be longer than the server takes to renew one where that is not as it comes configured.
	// Default: three times as long as the server takes to renew a session, else 12h.
	Lease caddy.Duration `json:"lease,omitempty"`
}

// check refuses what could not be counted.
func (m *MaxSessions) check(r *Rule, ability Ability, tokens []*Token) error {
	switch {
	case m.Limit < 1:
		return fmt.Errorf("max_sessions: %d is not a number of sessions", m.Limit)
	case !slices.Contains(sessionKinds, m.Per):
		return fmt.Errorf("max_sessions: '%s' is none of %s", m.Per, strings.Join(sessionKinds, ", "))
	case m.Per == "ip" && !ability.Has(FeatureIP):
		return fmt.Errorf("max_sessions: %s does not tell addresses", ability.Server)
	case m.Per == "token" && !r.needsToken():
		return errors.New("max_sessions per token: the rule must require a valid token")
	case m.Per == "user" && len(r.User) == 0 && !r.needsToken():
		return errors.New("max_sessions per user: the rule must require a user or a valid token")
	case m.Lease < 0 || m.Lease != 0 && time.Duration(m.Lease) < time.Second:
		return errors.New("max_sessions: the lease must be at least 1s")
	case m.Lease == 0 && ability.lease() == 0:
		return fmt.Errorf("max_sessions: %s never tells that a session has ended; say how long one counts, such as: "+
			"max_sessions %d per %s 2h", ability.Server, m.Limit, m.Per)
	}
	if m.Per == "user" && len(r.User) == 0 {
		for _, t := range tokens {
			if r.takes(t) && len(t.Static) > 0 {
				return errors.New("max_sessions per user: static tokens name no user")
			}
		}
	}
	return nil
}

// sessionKinds are what sessions are counted by.
var sessionKinds = []string{"user", "token", "ip", "stream"}

// lease is how long a session lasts at most without a word of the server; 0 if the server never has one.
func (a Ability) lease() time.Duration {
	switch {
	case a.Renew > 0:
		return renewals * a.Renew
	case a.Closes:
		return closeLease
	default:
		return 0
	}
}

// who is by whom or what a session is counted, in parts for store.Key; nil where it is not known.
func (m *MaxSessions) who(q *Request, subject string, a *accepted) []string {
	switch {
	case m.Per == "user" && subject != "":
		return []string{"user", subject}
	case m.Per == "token" && a != nil && a.claims != nil && a.claims.ID != "":
		return []string{"jti", a.claims.Issuer, a.claims.ID}
	case m.Per == "token" && a != nil && a.presented != "":
		return []string{"token", a.signed()}
	case m.Per == "ip" && q.IP.IsValid():
		return []string{"ip", q.IP.String()}
	case m.Per == "stream":
		return []string{"stream", q.Stream()}
	default:
		return nil
	}
}

// signed is what tells one credential from another: of a signed token all but its signature, for whoever holds one with
// an ECDSA signature can write another that holds as well, and would count as somebody else.
func (a *accepted) signed() string {
	if end := strings.LastIndexByte(a.presented, '.'); end > 0 && a.claims != nil && a.claims.Algorithm != "" {
		return a.presented[:end]
	}
	return a.presented
}

// sessionKey names a session.
func (p *policy) sessionKey(q *Request) [32]byte {
	return store.Key("session", p.dialect, q.Server, string(q.Mode), q.Session)
}

// heraldKey names what is asked before a session, of the same client and stream.
func (p *policy) heraldKey(q *Request, group [32]byte) [32]byte {
	return store.Key("herald", p.dialect, q.Server, string(q.Mode), q.IP.String(), q.Stream(), string(group[:]))
}

// group names what the sessions of a rule are counted in.
func (p *policy) group(rule string, who []string) [32]byte {
	return store.Key(append([]string{"sessions", p.dialect, rule}, who...)...)
}

// admit counts the session of a request that a rule allows, and remembers it. It comes last of all that may deny: what
// is counted is allowed. An error is a denial.
func (e *evaluation) admit(rule *Rule, name string, d *Decision, m match) error {
	lease := e.ability.lease()
	if d.TimeLimit > 0 && e.ability.Renew == 0 && !(e.ability.EndsPlayersOnly && e.q.Mode == Publish) {
		lease = min(lease, d.TimeLimit+time.Minute) // the server ends it by itself
	}
	limit := rule.MaxSessions
	if limit != nil && limit.Lease != 0 {
		lease = time.Duration(limit.Lease)
	}
	switch {
	case e.observe, e.q.NoSession, limit == nil && (e.book == nil || e.q.Session == "" || lease == 0):
		return nil
	case e.q.Session == "":
		return verdict.Errorf(verdict.Denied, "the server did not name the session, which cannot be counted")
	}
	now := &session{key: e.sessionKey(e.q), dialect: e.dialect, start: e.start(), end: e.now.Add(lease), lease: lease}
	if d.TimeLimit > 0 && e.ability.Renew > 0 {
		// However seldom the server asks again, it is known then since when.
		now.end = e.now.Add(d.TimeLimit + closeLease)
	}
	if limit != nil {
		who := limit.who(e.q, d.Subject, m.token)
		if who == nil {
			return verdict.Errorf(verdict.Denied, "it is not known by which %s to count the session", limit.Per)
		}
		now.group, now.counted, now.limit = e.group(name, who), true, limit.Limit
		switch herald := e.heraldKey(e.q, now.group); {
		case e.q.Herald:
			now.herald = herald
		case e.q.Heralded:
			if first, ok := e.book.follow(herald, e.now); ok {
				_ = e.leave(e.ctx, first.group, first.key, first.end.Sub(e.now))
			}
		}
	}
	before, known := e.book.get(now.key)
	// Of two on one mount the server refuses the second, after it has asked us.
	contested := known && before.onAir && e.q.Event == Open
	if contested {
		now.end = e.now.Add(min(lease, beginsWithin))
		if !before.countsAs(now) {
			lease = min(lease, beginsWithin)
		}
	}
	// The server gives out the id anew, or the rules count it elsewhere now: what it stood for is no more.
	replaced := before.counted && !before.countsAs(now) && !contested
	granted := true
	if now.counted {
		var err error
		if granted, err = e.store.Acquire(e.ctx, now.group, now.key, limit.Limit, lease); err != nil {
			// What waits for the decision waits for the store no longer.
			if replaced {
				e.book.remove(now.key, e.now)
				e.leaveLater(before.group, now.key, before.end.Sub(e.now))
			}
			if e.q.Event == Open {
				e.leaveLater(now.group, now.key, lease) // it may have happened all the same
			}
			return verdict.Errorf(verdict.Unavailable, "the store of sessions cannot tell")
		}
	}
	if replaced {
		_ = e.leave(e.ctx, before.group, now.key, before.end.Sub(e.now))
	}
	if !granted {
		if !contested {
			e.book.remove(now.key, e.now)
		}
		return verdict.Errorf(verdict.Denied, "there are %d sessions per %s already", limit.Limit, limit.Per)
	}
	if contested {
		e.book.await(now, e.now)
	} else {
		e.book.put(now, e.now)
	}
	d.opened = now
	return nil
}

// start is when the session began: now, unless the server asks about one that is known.
func (e *evaluation) start() time.Time {
	if e.q.Event == Renew && e.q.Session != "" && e.book != nil {
		if before, known := e.book.get(e.sessionKey(e.q)); known {
			return before.start
		}
	}
	return e.now
}

// release takes back what an allowance opened that did not reach the server.
func (p *policy) release(ctx context.Context, s *session, now time.Time) {
	if s == nil {
		return
	}
	if was, shared := p.book.forget(s); was.counted && !shared {
		_ = p.leave(ctx, was.group, was.key, was.end.Sub(now))
	}
}

// begin notes that a session is on the air. Where one was in its place, that is no more.
func (p *policy) begin(ctx context.Context, q *Request, now time.Time) {
	if p.book == nil || q.Session == "" {
		return
	}
	before, s, ok := p.book.begin(p.sessionKey(q), now)
	if !ok {
		return
	}
	if before.counted && !before.countsAs(&s) {
		_ = p.leave(ctx, before.group, s.key, before.end.Sub(now))
	}
	if s.counted {
		p.extend(ctx, &s, s.lease)
	}
}

// extend has a session count for so long from now, even when the client is gone.
func (p *policy) extend(ctx context.Context, s *session, lease time.Duration) {
	if _, err := p.store.Acquire(context.WithoutCancel(ctx), s.group, s.key, s.limit, lease); err != nil {
		p.logger.Error("the store of sessions failed: one counts for longer or shorter than it lasts", zap.String("dialect", p.dialect), zap.Error(err))
	}
}

// end closes the session of a Close. Where this Caddy was not the one that opened it, the event itself says by whom it
// may have been counted: its user, its token, its address, its stream. Where it says too little, the lease ends it. One
// that does not say for sure whether it was a publisher's or a player's is taken for either's.
func (p *policy) end(ctx context.Context, q *Request, now time.Time) {
	if p.book == nil || q.Session == "" {
		return
	}
	if q.Mode == "" || q.EitherMode {
		for _, mode := range []Mode{Publish, Play} {
			either := *q
			either.Mode, either.EitherMode = mode, false
			p.end(ctx, &either, now)
		}
		return
	}
	key := p.sessionKey(q)
	if s, known := p.book.remove(key, now); known {
		next := s.next
		if next != nil && !next.end.After(now) {
			next = nil
		}
		switch {
		case next != nil && s.countsAs(next): // and is not to be uncounted in between
			p.extend(ctx, next, max(next.end.Sub(now), time.Second))
		case s.counted:
			_ = p.leave(ctx, s.group, key, s.end.Sub(now))
		}
		if next != nil {
			p.book.put(next, now) // and has perhaps begun: the server tells that next
		}
		return
	}
	var away error
	for i, rule := range p.rules {
		if rule.MaxSessions == nil {
			continue
		}
		for _, who := range p.candidates(ctx, rule, q, now) {
			group, lease := p.group(rule.label(i), who), max(closeLease, time.Duration(rule.MaxSessions.Lease))
			if away == nil {
				away = p.leave(ctx, group, key, lease)
			} else {
				p.leaveLater(group, key, lease)
			}
		}
	}
}

// candidates are by whom or what the session of a Close may have been counted. A token that is over by now, or is for
// something else, still says for whom it was; nothing is allowed by it.
func (p *policy) candidates(ctx context.Context, rule *Rule, q *Request, now time.Time) [][]string {
	var list [][]string
	add := func(subject string, a *accepted) {
		if who := rule.MaxSessions.who(q, subject, a); who != nil {
			list = append(list, who)
		}
	}
	add(q.User, nil)
	if rule.MaxSessions.Per != "user" && rule.MaxSessions.Per != "token" {
		return list
	}
	for _, t := range p.tokens {
		presented, err := t.credential(q)
		if err != nil || presented == "" || !rule.takes(t) {
			continue
		}
		a := t.identify(ctx, q, presented, now)
		add(a.subject, a)
	}
	return list
}

// leave gives up a counted session, whose lease lasts for so long. The store does so even when the client is gone. It is
// told later where there is an error.
func (p *policy) leave(ctx context.Context, group, key [32]byte, lease time.Duration) error {
	err := p.store.Leave(ctx, group, key)
	if err != nil {
		p.logger.Error("the store of sessions failed: the end of one counts later", zap.String("dialect", p.dialect), zap.Error(err))
		p.leaveLater(group, key, lease)
	}
	return err
}

// leaveLater gives up a session when the store is back, unless the server has opened it again by then.
func (p *policy) leaveLater(group, key [32]byte, lease time.Duration) {
	p.errands.Add(time.Now().Add(lease), func() error {
		if s, open := p.book.get(key); open && s.counted && s.group == group {
			return nil
		}
		return p.store.Leave(context.Background(), group, key)
	})
}

// parse reads `max_sessions <n> per user|token|ip|stream [<lease>]`.
func (m *MaxSessions) parse(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 3 || len(args) > 4 || args[1] != "per" {
		return d.Err("max_sessions is written: max_sessions <n> per user|token|ip|stream [<lease>]")
	}
	var err error
	if m.Limit, err = strconv.Atoi(args[0]); err != nil || m.Limit < 1 {
		return d.Errf("max_sessions: '%s' is not a number of sessions", args[0])
	}
	if m.Per = args[2]; !slices.Contains(sessionKinds, m.Per) {
		return d.Errf("max_sessions: '%s' is none of %s", m.Per, strings.Join(sessionKinds, ", "))
	}
	if len(args) == 4 {
		lease, err := caddy.ParseDuration(args[3])
		if err != nil || lease < time.Second {
			return d.Errf("max_sessions: '%s' is not a lease of at least 1s, such as 2h", args[3])
		}
		m.Lease = caddy.Duration(lease)
	}
	return nil
}
