package schemes

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/token"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(JWT{})
}

// JWT accepts a request with a signed token (RFC 7519). A token proves who made it and what it claims; the body only
// where `body_hash` names a claim that covers it.
type JWT struct {
	token.JWT

	// Where the token is. Default: behind `Bearer` in the Authorization header.
	From *From `json:"from,omitempty"`

	// The claim that holds the body's SHA-256. Default: none, and the body is not verified.
	BodyHash *BodyHash `json:"body_hash,omitempty"`
}

// From is where a token is: in a header or in a query parameter.
type From struct {
	// The name of the header.
	Header string `json:"header,omitempty"`

	// The auth-scheme that stands before the token, and one space; case does not count. Default: none, but `Bearer` for
	// the Authorization header.
	Prefix string `json:"prefix,omitempty"`

	// The name of the query parameter. It shows in logs: prefer a header.
	Query string `json:"query,omitempty"`
}

// BodyHash is a claim that holds the SHA-256 of the body.
type BodyHash struct {
	// The name of the claim. A token without it is accepted with an empty body only.
	Claim string `json:"claim,omitempty"`

	// How the hash is written: `hex` or `base64` (standard alphabet, padded).
	Encoding string `json:"encoding,omitempty"`
}

func (b *BodyHash) ok() bool { return b.Claim != "" && (b.Encoding == "hex" || b.Encoding == "base64") }

// CaddyModule returns the Caddy module information.
func (JWT) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.jwt",
		New: func() caddy.Module { return new(JWT) },
	}
}

// Check refuses options that exclude each other, or are missing.
func (j *JWT) Check() error {
	if f := j.From; f != nil {
		if (f.Header == "") == (f.Query == "") || (f.Query != "" && f.Prefix != "") {
			return fmt.Errorf("from names either a header, with an optional prefix, or a query parameter")
		}
		if f.Header != "" && !httpguts.ValidHeaderFieldName(f.Header) {
			return fmt.Errorf("from: %q is not the name of a header", f.Header)
		}
	}
	if j.BodyHash != nil && !j.BodyHash.ok() {
		return fmt.Errorf("body_hash needs a claim and its encoding, hex or base64")
	}
	return j.JWT.Check()
}

// Provision resolves keys and claims.
func (j *JWT) Provision(ctx caddy.Context) error {
	if err := j.Check(); err != nil {
		return err
	}
	if j.From == nil {
		j.From = &From{Header: "Authorization"}
	}
	return j.JWT.Provision(ctx)
}

// Traits says where the token is and how dear it is to check.
func (j *JWT) Traits() callback.Traits {
	cost := callback.CostMAC
	if len(j.Secrets) == 0 {
		cost = callback.CostKey
	}
	return callback.Traits{
		Cost:      cost,
		Places:    []callback.Place{{Header: j.From.Header, Query: j.From.Query}},
		Challenge: bearerChallenge,
		Window:    j.Window(),
		Leeway:    j.Skew(),

		Identified: true, // by jti
	}
}

// Verify checks the token, then the body's hash if a claim has it.
func (j *JWT) Verify(q *callback.Request) callback.Verdict {
	compact, err := j.find(q)
	if err != nil {
		return callback.Refuse(err)
	}
	t, err := j.JWT.Verify(q.HTTP.Context(), compact, q.Now)
	v := tokenVerdict(t, err)
	if !v.OK() {
		return v
	}
	if j.MaxAge == 0 {
		v.Until = t.Expires.Add(j.Skew())
	}
	if j.BodyHash == nil {
		return v
	}
	return overBody(v, func(body []byte) error {
		claim, present := t.Claims.Get(j.BodyHash.Claim)
		if !present && len(body) == 0 {
			return nil
		}
		text, ok := claim.Text()
		if !ok || !isDigest(text, j.BodyHash.Encoding, sha256.Sum256(body)) {
			return verdict.Errorf(verdict.BodyMismatch, "claim %s", j.BodyHash.Claim)
		}
		return nil
	})
}

// find returns the token from the one place where it may be.
func (j *JWT) find(q *callback.Request) (string, error) {
	switch {
	case j.From.Query != "":
		return q.Parameter(j.From.Query)
	case j.From.Prefix != "":
		return q.Authorization(j.From.Header, j.From.Prefix)
	default:
		return headerToken(q, j.From.Header)
	}
}

// isDigest reports whether text, which was signed, is the digest in that encoding.
func isDigest(text, encoding string, digest [sha256.Size]byte) bool {
	var decoded []byte
	var err error
	if encoding == "hex" {
		decoded, err = hex.DecodeString(text)
	} else {
		decoded, err = base64.StdEncoding.Strict().DecodeString(text)
	}
	return err == nil && subtle.ConstantTimeCompare(decoded, digest[:]) == 1
}

// UnmarshalCaddyfile sets up the scheme from Caddyfile tokens. Syntax:
//
//	jwt {
//		secret               <value> [<label>]
//		public_key           <pem file> [<label>]
//		jwks                 <url|file>
//		openid_configuration <url>
//		algorithm            <name>...
//		issuer               <value>...
//		audience             <value>...
//		claim                <name> <value>...
//		body_hash            <claim> hex|base64
//		max_age              <duration>
//		leeway               <duration>
//		from                 header <name> [<prefix>] | query <name>
//	}
func (j *JWT) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // its own name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		known, err := j.Option(d)
		if err != nil {
			return err
		}
		if known {
			continue
		}
		switch option := d.Val(); option {
		case "from":
			if j.From != nil {
				return d.Errf("from: %v", credential.ErrRepeated)
			}
			args := d.RemainingArgs()
			switch {
			case len(args) == 2 && args[0] == "query":
				j.From = &From{Query: args[1]}
			case (len(args) == 2 || len(args) == 3) && args[0] == "header":
				j.From = &From{Header: args[1]}
				if len(args) == 3 {
					j.From.Prefix = args[2]
				}
			default:
				return d.Errf("from takes `header <name> [<prefix>]` or `query <name>`, not '%s'", strings.Join(args, " "))
			}
		case "body_hash":
			if j.BodyHash != nil {
				return d.Errf("body_hash: %v", credential.ErrRepeated)
			}
			j.BodyHash = new(BodyHash)
			if !d.AllArgs(&j.BodyHash.Claim, &j.BodyHash.Encoding) || !j.BodyHash.ok() {
				return d.Err("body_hash takes a claim and its encoding, hex or base64")
			}
		default:
			return d.Errf("unknown option '%s' of jwt", option)
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Module          = (*JWT)(nil)
	_ caddy.Provisioner     = (*JWT)(nil)
	_ caddy.CleanerUpper    = (*JWT)(nil)
	_ caddyfile.Unmarshaler = (*JWT)(nil)
	_ callback.Scheme       = (*JWT)(nil)
)
