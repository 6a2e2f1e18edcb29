package stream

import (
	"fmt"

	"github.com/caddyauth/callbacks/caddyauth/credential"

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
	start := *d
	var tokenAt, ruleAt []caddyfile.Dispenser // where each stands
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
		if len(h.Tokens) > len(tokenAt) {
			tokenAt = append(tokenAt, place)
		}
		if len(h.Rules) > len(ruleAt) {
			ruleAt = append(ruleAt, place)
		}
	}
	if whole, ok := module.(Checker); ok {
		if err := whole.Check(); err != nil {
			return start.WrapErr(fmt.Errorf("%s: %w", name, err))
		}
	}
	for i := range h.Tokens {
		if err := checkToken(i, h.Tokens, dialect.Can()); err != nil {
			return tokenAt[i].WrapErr(err)
		}
	}
	for i := range h.Rules { // now that all tokens are known
		if err := checkRule(i, h.Rules, h.Tokens, dialect.Can()); err != nil {
			return ruleAt[i].WrapErr(err)
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

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*Token)(nil)
	_ caddyfile.Unmarshaler = (*Rule)(nil)
)
