package callback

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/dustin/go-humanize"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("callback_auth", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("callback_auth", httpcaddyfile.Before, "forward_auth")
}

// parseCaddyfile sets up the handler from Caddyfile tokens.
func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// options are the words of the long form's block that are no schemes.
var options = []string{"max_body", "replay", "strip_credentials", "public_url", "report_only"}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	callback_auth [<matcher>] <scheme> [<args...>] {
//		<options of that scheme>
//	}
//
//	callback_auth [<matcher>] {
//		<scheme> [<args...>] { … }
//		any {
//			<scheme> …
//		}
//		max_body          <size>
//		replay            off | { … }
//		strip_credentials
//		public_url        <scheme://host>
//		report_only
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		short := *d
		raw, err := parseScheme(d)
		if err != nil {
			return cmp.Or(misplaced(&short), err)
		}
		h.SchemesRaw = append(h.SchemesRaw, raw)
		return nil
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := h.option(d); err != nil {
			return err
		}
	}
	if h.SchemesRaw == nil {
		return d.Err("callback_auth has no scheme: nothing would be verified")
	}
	return nil
}

// option reads one line of the long form's block.
func (h *Handler) option(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "max_body":
		var text string
		if h.MaxBody != 0 {
			return d.Err("max_body: already specified")
		}
		if err := credential.One(d, &text); err != nil {
			return err
		}
		size, err := humanize.ParseBytes(text)
		if err != nil || size == 0 || size > maxMaxBody {
			return d.Errf("max_body: '%s' is not a size, such as 2MiB", text)
		}
		h.MaxBody = int64(size)
	case "replay":
		if h.Replay != nil {
			return d.Errf("replay: %v", credential.ErrRepeated)
		}
		h.Replay = new(Replay)
		return h.Replay.UnmarshalCaddyfile(d)
	case "strip_credentials":
		return credential.Flag(d, &h.StripCredentials)
	case "report_only":
		return credential.Flag(d, &h.ReportOnly)
	case "public_url":
		if err := credential.One(d, &h.PublicURL); err != nil {
			return err
		}
		if !strings.Contains(h.PublicURL, "{") && !isOrigin(h.PublicURL) {
			return d.WrapErr(errPublicURL)
		}
	default:
		raw, err := parseScheme(d)
		if err != nil {
			return err
		}
		h.SchemesRaw = append(h.SchemesRaw, raw)
	}
	return nil
}

// misplaced finds an option of callback_auth in the block of the short form, which is the scheme's; nil: there is none. d is
// on the scheme's name.
func misplaced(d *caddyfile.Dispenser) error {
	scheme := d.Val()
	block := d.NewFromNextSegment()
	block.Next()
	for nesting := block.Nesting(); block.NextBlock(nesting); block.RemainingArgs() {
		if slices.Contains(options, block.Val()) {
			return block.Errf("'%s' is an option of callback_auth, and this block is that of %s: write callback_auth { %s { … } … }",
				block.Val(), scheme, scheme)
		}
	}
	return nil
}

// parseScheme reads a scheme, with its block, from the cursor on, which is on its name.
func parseScheme(d *caddyfile.Dispenser) (json.RawMessage, error) {
	name, place := d.Val(), *d // where it begins: a cursor behind a block names the line of its end
	if _, err := caddy.GetModule(Namespace + "." + name); err != nil {
		return nil, d.Errf("'%s' is neither a scheme nor an option of callback_auth", name)
	}
	module, err := caddyfile.UnmarshalModule(d, Namespace+"."+name)
	if err != nil {
		return nil, err
	}
	if _, ok := module.(Scheme); !ok {
		return nil, d.Errf("%s is a module but no scheme: %T does not implement callback.Scheme", name, module)
	}
	if checker, ok := module.(Checker); ok {
		if err := checker.Check(); err != nil {
			return nil, place.WrapErr(err)
		}
	}
	return caddyconfig.JSONModuleObject(module, "scheme", name, nil), nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Handler)(nil)
