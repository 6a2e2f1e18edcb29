package stream

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/token"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the rule from the Caddyfile tokens of its block. Syntax:
//
//	allow|deny [<name>] {
//		mode      publish|play
//		app       <pattern>...
//		stream    <pattern>...
//		ip        <cidr>...
//		origin    <pattern>...
//		transport <name>...
//		agent     <pattern>...
//		user      <name> <password or hash>
//		token     valid|absent|<name>...
//		claim     <name> <value>...
//		listeners <|<=|>|>= <number>
//		listened  24h|7d <|<=|>|>= <duration>
//		when      <expression>
//
//		time_limit   <duration>|token
//		max_sessions <n> per user|token|ip|stream [<lease>]
//		preroll      <url>
//		postroll     <url>
//		redirect     <url>
//		rename       <stream>
//		reason       <text>
//		forward
//	}
func (r *Rule) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the action
	r.Action = d.Val()
	if d.NextArg() {
		r.Name = d.Val()
		if r.Name == "" {
			return d.Errf("the name of a rule is empty")
		}
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		known, err := r.condition(d)
		if err == nil && !known {
			known, err = r.effect(d)
		}
		if err != nil {
			return err
		}
		if err := r.checkWords(); err != nil { // here, where the line is known
			return d.WrapErr(err)
		}
		if !known {
			return d.Errf("unknown condition or effect '%s'", d.Val())
		}
	}
	return nil
}

// condition reads one line of the block, if it is a condition.
func (c *Conditions) condition(d *caddyfile.Dispenser) (known bool, err error) {
	switch d.Val() {
	case "mode":
		return true, values(d, &c.Mode)
	case "app":
		return true, values(d, &c.App)
	case "stream":
		return true, values(d, &c.Stream)
	case "ip":
		return true, values(d, &c.IP)
	case "origin":
		return true, values(d, &c.Origin)
	case "transport":
		return true, values(d, &c.Transport)
	case "agent":
		return true, values(d, &c.Agent)
	case "token":
		return true, values(d, &c.Token)
	case "user":
		args := d.RemainingArgs()
		if len(args) != 2 || args[0] == "" || args[1] == "" {
			return true, d.Errf("user takes a name and a password: %d arguments given", len(args))
		}
		c.User = append(c.User, User{Name: args[0], Password: args[1]})
	case "claim":
		args := d.RemainingArgs()
		if len(args) < 2 {
			return true, d.Err("claim takes a name and one or more values")
		}
		c.Claim = append(c.Claim, token.Claim{Name: args[0], Values: args[1:]})
	case "listeners":
		args := d.RemainingArgs()
		if len(args) != 2 {
			return true, d.Err("listeners takes a comparison and a number, such as: listeners >= 100")
		}
		number, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return true, d.Errf("listeners: '%s' is not a number", args[1])
		}
		c.Listeners = append(c.Listeners, Listeners{Is: args[0], Number: number})
	case "listened":
		args := d.RemainingArgs()
		if len(args) != 3 {
			return true, d.Err("listened takes 24h or 7d, a comparison and a duration, such as: listened 7d >= 10h")
		}
		duration, err := caddy.ParseDuration(args[2])
		if err != nil {
			return true, d.Errf("listened: '%s' is not a duration, such as 10h", args[2])
		}
		c.Listened = append(c.Listened, Listened{Within: args[0], Is: args[1], Duration: caddy.Duration(duration)})
	case "when":
		text, err := whenText(d)
		if err != nil {
			return true, err
		}
		c.When = append(c.When, text)
	default:
		return false, nil
	}
	return true, nil
}

// whenText reads an expression: one quoted argument, or the rest of the line as it is written, quotes too.
func whenText(d *caddyfile.Dispenser) (string, error) {
	if d.CountRemainingArgs() == 0 {
		return "", d.Err("when takes an expression")
	}
	if d.CountRemainingArgs() == 1 {
		d.NextArg()
		return d.Val(), nil
	}
	return strings.Join(d.RemainingArgsRaw(), " "), nil
}

// effect reads one line of the block, if it is an effect.
func (e *Effects) effect(d *caddyfile.Dispenser) (known bool, err error) {
	switch d.Val() {
	case "time_limit":
		return true, e.timeLimit(d)
	case "max_sessions":
		if e.MaxSessions != nil {
			return true, d.WrapErr(fmt.Errorf("max_sessions: %w", credential.ErrRepeated))
		}
		e.MaxSessions = new(MaxSessions)
		return true, e.MaxSessions.parse(d)
	case "rename":
		return true, credential.One(d, &e.Rename)
	case "forward":
		return true, credential.Flag(d, &e.Forward)
	case "preroll":
		return true, credential.One(d, &e.Preroll)
	case "postroll":
		return true, credential.One(d, &e.Postroll)
	case "redirect":
		return true, credential.One(d, &e.Redirect)
	case "reason":
		return true, credential.One(d, &e.Reason)
	default:
		return false, nil
	}
}

// timeLimit reads a duration, `token`, or both.
func (e *Effects) timeLimit(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 {
		return d.Errf("time_limit takes a duration, token, or both: %d arguments given", len(args))
	}
	for _, arg := range args {
		switch duration, err := caddy.ParseDuration(arg); {
		case arg == "token" && e.TimeLimitToken, arg != "token" && e.TimeLimit != 0:
			return d.WrapErr(fmt.Errorf("time_limit: %w", credential.ErrRepeated))
		case arg == "token":
			e.TimeLimitToken = true
		case err != nil || duration <= 0:
			return d.Errf("time_limit: '%s' is neither token nor a positive duration, such as 1h", arg)
		default:
			e.TimeLimit = caddy.Duration(duration)
		}
	}
	return nil
}

// values reads the arguments of a condition that may stand once into target: two lines of it would leave open whether
// one or both must hold.
func values(d *caddyfile.Dispenser, target *[]string) error {
	if *target != nil {
		return d.WrapErr(fmt.Errorf("%s: %w; write several values in one line", d.Val(), credential.ErrRepeated))
	}
	return credential.Many(d, target)
}
