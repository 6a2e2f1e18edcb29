package schemes

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(APIKey{})
}

// maxAPIKey is how many bytes a key may have: as many as fit into a URL that every server takes (RFC 9110 §4.1).
const maxAPIKey = 4096

// APIKey accepts requests that carry a shared key, in a header or in a query parameter.
//
// The whole value of the header is the key. A query parameter is decoded before it is compared, so that a `+` that is
// meant as itself has to be sent as `%2B`. A key in the query ends up in access logs, unless they filter it.
type APIKey struct {
	// The name of the header with the key. Either this or query must be set.
	Header string `json:"header,omitempty"`

	// The name of the query parameter with the key, as it is once decoded.
	Query string `json:"query,omitempty"`

	// The keys, any of which is right. Values take `{env.*}` and `{file.*}` placeholders.
	Keys []credential.Secret `json:"keys,omitempty"`

	keys []secret.Value
}

// CaddyModule returns the Caddy module information.
func (APIKey) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.api_key",
		New: func() caddy.Module { return new(APIKey) },
	}
}

// Check refuses what lacks a key or a place for it.
func (a *APIKey) Check() error {
	if (a.Header == "") == (a.Query == "") {
		return errors.New("api_key needs either header or query, to say where the key is")
	}
	if a.Header != "" && !httpguts.ValidHeaderFieldName(a.Header) {
		return fmt.Errorf("header: %q is not the name of a header", a.Header)
	}
	if len(a.Keys) == 0 {
		return errors.New("api_key needs a key")
	}
	written, err := credential.Written("key", a.Keys, nil)
	return cmp.Or(err, checkKeys(written))
}

// checkKeys refuses a key that no request could carry.
func checkKeys(keys []secret.Value) error {
	for _, key := range keys {
		if len(key.Bytes()) > maxAPIKey {
			return fmt.Errorf("key %s is longer than %d bytes", key.Label(), maxAPIKey)
		}
	}
	return nil
}

// Provision resolves the keys.
func (a *APIKey) Provision(ctx caddy.Context) error {
	if err := a.Check(); err != nil {
		return err
	}
	keys, err := credential.Resolve("key", a.Keys, nil)
	if err != nil {
		return err
	}
	if err := checkKeys(keys); err != nil {
		return err
	}
	credential.WarnWeak(ctx.Logger(), "key", keys)
	a.keys = keys
	return nil
}

// Traits says where the key is.
func (a *APIKey) Traits() callback.Traits {
	return callback.Traits{
		Cost:      callback.CostCompare,
		Places:    []callback.Place{{Header: a.Header, Query: a.Query}},
		Challenge: `ApiKey realm="` + defaultRealm + `"`,
	}
}

// Verify compares the key with all those configured.
func (a *APIKey) Verify(r *callback.Request) callback.Verdict {
	read, name := r.Parameter, a.Query
	if a.Header != "" {
		read, name = r.Header, a.Header
	}
	presented, err := read(name)
	if err != nil {
		return callback.Refuse(err)
	}
	if len(presented) > maxAPIKey {
		return callback.Refuse(verdict.Errorf(verdict.BadCredential, "the key is longer than %d bytes", maxAPIKey))
	}
	key, ok := secret.Match(a.keys, []byte(presented))
	if !ok {
		return callback.Refuse(verdict.Errorf(verdict.BadSignature, "wrong key"))
	}
	return callback.Verdict{Reason: verdict.OK, User: key.Label(), Key: key.Label()}
}

// UnmarshalCaddyfile sets up the scheme from Caddyfile tokens. Syntax:
//
//	api_key {
//		header <name>
//		query  <name>
//		key    <value> [<label>]
//	}
//
// Either `header` or `query` is needed. `key` may be repeated: any of them is right.
func (a *APIKey) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // its own name
	if d.NextArg() {
		return d.Err("api_key takes no arguments: its keys stand in its block")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); option {
		case "header":
			if err := credential.One(d, &a.Header); err != nil {
				return err
			}
		case "query":
			if err := credential.One(d, &a.Query); err != nil {
				return err
			}
		case "key":
			if err := credential.Append(d, &a.Keys); err != nil {
				return err
			}
		default:
			return d.Errf("unknown option '%s' of api_key", option)
		}
		if a.Header != "" && a.Query != "" {
			return d.Err("api_key takes either header or query: a key in two places could be two keys")
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Module          = (*APIKey)(nil)
	_ caddy.Provisioner     = (*APIKey)(nil)
	_ caddyfile.Unmarshaler = (*APIKey)(nil)
	_ callback.Scheme       = (*APIKey)(nil)
)
