package stream

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/token"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("stream_auth", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("stream_auth", httpcaddyfile.Before, "respond")
}

// parseCaddyfile sets up the handler from Caddyfile tokens.
func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	stream_auth [<matcher>] <dialect> {
//		<options of that dialect>
//		token [<name>] {
//			from query <name> | password | user | field <name>
//			jwt {
//				<options of jwt>
//			}
//			oauth2 {
//				<options of oauth2>
//			}
//			static       <token>...
//			signed       <secret>...
//			stream_claim <name>
//			any_stream
//			mode_claim   <name>
//			ip_claim     <name>
//		}
//		allow|deny [<name>] {
//			<condition> <values...>
//			<effect>    <values...>
//		}
//		fallback    deny|allow
//		report_only
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if !d.NextArg() {
		return d.Err("stream_auth needs a dialect: the media server's name")
	}
	name := d.Val()
	info, err := caddy.GetModule(Namespace + "." + name)
	if err != nil {
		return d.Errf("'%s' is not a dialect", name)
	}
	module := info.New()
	dialect, ok := module.(Dialect)
	if !ok {
		return d.Errf("%s is a module but no dialect: %T does not implement stream.Dialect", name, module)
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	own, _ := module.(OptionParser)
	var places []caddyfile.Dispenser // where each rule stands
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if own != nil {
			known, err := own.ParseOption(d)
			if err != nil {
				return err
			}
			if known {
				continue
			}
		}
		place := *d
		if err := h.option(d); err != nil {
			return err
		}
		if len(h.Rules) > len(places) {
			places = append(places, place)
		}
	}
	for i, rule := range h.Rules { // now that all tokens are known
		if err := rule.check(dialect.Can(), h.Tokens); err != nil {
			return places[i].WrapErr(fmt.Errorf("rule %s: %w", rule.label(i), err))
		}
	}
	var warnings []caddyconfig.Warning
	h.DialectRaw = caddyconfig.JSONModuleObject(module, "dialect", name, &warnings)
	if len(warnings) > 0 {
		return d.Errf("%s: %s", name, warnings[0].Message)
	}
	return nil
}

// option reads one line of the block.
func (h *Handler) option(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "token":
		t := new(Token)
		if err := t.UnmarshalCaddyfile(d.NewFromNextSegment()); err != nil {
			return err
		}
		h.Tokens = append(h.Tokens, t)
	case "allow", "deny":
		rule := new(Rule)
		if err := rule.UnmarshalCaddyfile(d.NewFromNextSegment()); err != nil {
			return err
		}
		h.Rules = append(h.Rules, rule)
	case "fallback":
		if err := credential.One(d, &h.Fallback); err != nil {
			return err
		}
		if h.Fallback != "allow" && h.Fallback != "deny" {
			return d.Errf("fallback: '%s' is neither allow nor deny", h.Fallback)
		}
	case "report_only":
		return credential.Flag(d, &h.ReportOnly)
	default:
		return d.Errf("unknown option '%s' of stream_auth", d.Val())
	}
	return nil
}

// UnmarshalCaddyfile sets up the token from the Caddyfile tokens of its block.
func (t *Token) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // token
	if d.NextArg() {
		t.Name = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "from":
			source, err := parseSource(d)
			if err != nil {
				return err
			}
			t.From = append(t.From, source)
		case "jwt":
			if t.JWT != nil {
				return d.WrapErr(fmt.Errorf("jwt: %w", credential.ErrRepeated))
			}
			t.JWT = new(token.JWT)
			if err := t.JWT.UnmarshalCaddyfile(d.NewFromNextSegment()); err != nil {
				return err
			}
		case "oauth2":
			if t.OAuth2 != nil {
				return d.WrapErr(fmt.Errorf("oauth2: %w", credential.ErrRepeated))
			}
			t.OAuth2 = new(token.OAuth2)
			if err := t.OAuth2.UnmarshalCaddyfile(d.NewFromNextSegment()); err != nil {
				return err
			}
		case "static":
			if err := credential.Many(d, &t.Static); err != nil {
				return err
			}
		case "signed":
			var secrets []string
			if err := credential.Many(d, &secrets); err != nil {
				return err
			}
			for _, value := range secrets {
				t.Signed = append(t.Signed, credential.Secret{Value: value})
			}
		case "stream_claim":
			if err := credential.One(d, &t.StreamClaim); err != nil {
				return err
			}
		case "any_stream":
			if err := credential.Flag(d, &t.AnyStream); err != nil {
				return err
			}
		case "mode_claim":
			if err := credential.One(d, &t.ModeClaim); err != nil {
				return err
			}
		case "ip_claim":
			if err := credential.One(d, &t.IPClaim); err != nil {
				return err
			}
		default:
			return d.Errf("unknown option '%s' of token", d.Val())
		}
	}
	return nil
}

// parseSource reads the place of a credential.
func parseSource(d *caddyfile.Dispenser) (Source, error) {
	args := d.RemainingArgs()
	switch {
	case len(args) == 2 && (args[0] == "query" || args[0] == "field") && args[1] != "":
		return Source{From: args[0], Name: args[1]}, nil
	case len(args) == 1 && (args[0] == "password" || args[0] == "user"):
		return Source{From: args[0]}, nil
	default:
		return Source{}, d.Err("from takes one of: query <name>, field <name>, password, user")
	}
}

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

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*Token)(nil)
	_ caddyfile.Unmarshaler = (*Rule)(nil)
)
