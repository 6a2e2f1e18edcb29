package schemes

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/signature"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(Sinch{})
}

// Sinch accepts callbacks of Sinch Voice and Verification
// (developers.sinch.com/docs/voice/api-reference/authentication/callback-signed-request): `Authorization: application
// <key>:<signature>`, an HMAC-SHA256 of method, body, content type, time and path. The path is the one under which Sinch
// knows this site: it must not be rewritten on the way here.
type Sinch struct {
	// The applications: the key of one, and its secrets as Sinch shows them, in base64.
	Accounts []Account `json:"accounts,omitempty"`

	// How far `X-Timestamp` may be from now, in both directions. Default: 5m.
	Tolerance caddy.Duration `json:"tolerance,omitempty"`

	verifiers map[string]*signature.Verifier
}

// CaddyModule returns the Caddy module information.
func (Sinch) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.sinch",
		New: func() caddy.Module { return new(Sinch) },
	}
}

// sinchSpec is the signature, once it is parted from the application's key.
func sinchSpec() signature.Spec {
	return signature.Spec{
		Header: "Authorization", Encoding: signature.Base64, Algorithm: signature.HMACSHA256, Key: signature.Base64Key,
		Payload: "{method}\n{body_md5}\n{header.Content-Type}\nx-timestamp:{timestamp}\n{path}",
		Time:    signature.Time{Header: "X-Timestamp", Unit: signature.RFC3339}, Tolerance: defaultTolerance,
	}
}

// Check refuses what lacks an account, or a secret of one.
func (s *Sinch) Check() error {
	if len(s.Accounts) == 0 {
		return errors.New("sinch needs an account")
	}
	if s.Tolerance < 0 {
		return errors.New("tolerance is negative")
	}
	return checkAccounts(s.Accounts, sinchSpec().DecodeKey)
}

// Provision resolves the secrets.
func (s *Sinch) Provision(ctx caddy.Context) error {
	if err := s.Check(); err != nil {
		return err
	}
	spec := sinchSpec()
	if s.Tolerance != 0 {
		spec.Tolerance = time.Duration(s.Tolerance)
	}
	s.Tolerance = caddy.Duration(spec.Tolerance)
	scheme, err := signature.Compile(spec)
	if err != nil {
		return err
	}
	accounts, err := resolveAccounts(ctx.Logger(), s.Accounts, spec.DecodeKey)
	if err != nil {
		return err
	}
	s.verifiers = make(map[string]*signature.Verifier, len(accounts))
	for key, secrets := range accounts {
		if s.verifiers[key], err = scheme.Verifier(secrets); err != nil {
			return err
		}
	}
	return nil
}

// Traits says where the signature is, and for how long one holds.
func (s *Sinch) Traits() callback.Traits {
	return callback.Traits{
		Cost:       callback.CostMAC,
		Places:     []callback.Place{{Header: "Authorization"}},
		Challenge:  `Application realm="callback"`,
		Window:     time.Duration(s.Tolerance),
		Leeway:     time.Duration(s.Tolerance),
		Identified: true,
	}
}

// Verify finds the application's secrets by its key, then checks headers and body.
func (s *Sinch) Verify(q *callback.Request) callback.Verdict {
	value, err := q.Authorization("Authorization", "application")
	if err != nil {
		return callback.Refuse(err)
	}
	key, encoded, ok := strings.Cut(value, ":")
	if !ok {
		return callback.Refuse(verdict.Errorf(verdict.BadCredential, "Authorization is not a key and a signature"))
	}
	verifier := s.verifiers[key]
	if verifier == nil {
		return callback.Refuse(verdict.Errorf(verdict.UnknownKey, "the application is not one of the accounts"))
	}
	message := signedMessage(verifier.Scheme, q)
	message.Header = http.Header{
		"Authorization": {encoded},
		"X-Timestamp":   q.HTTP.Header.Values("X-Timestamp"),
		"Content-Type":  q.HTTP.Header.Values("Content-Type"),
	}
	pending, err := verifier.Begin(message, q.Now)
	if err != nil {
		return callback.Refuse(err)
	}
	return callback.Verdict{Reason: verdict.OK, Then: func(body []byte) callback.Verdict {
		match, err := pending.Finish(body)
		if err != nil {
			return callback.Refuse(err)
		}
		return callback.Verdict{Reason: verdict.OK, Key: match.Key.Label(), User: key, Account: key, ID: match.Digest, Digest: true}
	}}
}

// UnmarshalCaddyfile sets up the scheme from Caddyfile tokens. Syntax:
//
//	sinch {
//		account   <application_key> <secret>...
//		tolerance <duration>
//	}
func (s *Sinch) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return readBlock(d, s.option) }

func (s *Sinch) option(d *caddyfile.Dispenser) error {
	switch option := d.Val(); option {
	case "account":
		return appendAccount(d, &s.Accounts)
	case "tolerance":
		return credential.Duration(d, &s.Tolerance)
	default:
		return d.Errf("unknown option '%s' of sinch", option)
	}
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Sinch)(nil)
	_ caddyfile.Unmarshaler = (*Sinch)(nil)
	_ callback.Scheme       = (*Sinch)(nil)
)
