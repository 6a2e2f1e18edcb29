package stream

import (
	"fmt"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/token"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

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
