package schemes

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(MessageBird{})
}

// messageBirdHeader is the header with the token.
const messageBirdHeader = "Messagebird-Signature-Jwt"

// messageBirdWindow is longer than MessageBird's tokens live.
const messageBirdWindow = 15 * time.Minute

// MessageBird accepts webhooks of MessageBird (developers.messagebird.com/api/#verifying-http-requests): a JWT in
// `MessageBird-Signature-JWT`, signed with HS256, HS384 or HS512, whose claims `url_hash` and `payload_hash` are the
// hashes of the public URL and of the body. Set `public_url` behind a proxy that changes scheme or host. A message
// passes only once, by its `jti`. Bird, as MessageBird is called now, signs its newer webhooks otherwise, in
// `MessageBird-Signature`: these are not covered.
type MessageBird struct {
	// The signing keys; any of them matches. Values take `{env.*}` and `{file.*}` placeholders.
	Secrets []credential.Secret `json:"secrets,omitempty"`

	// How far MessageBird's clock may be from this machine's, both ways. Default: `1m`.
	Tolerance caddy.Duration `json:"tolerance,omitempty"`

	policy jose.Policy
}

// CaddyModule returns the Caddy module information.
func (MessageBird) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.messagebird",
		New: func() caddy.Module { return new(MessageBird) },
	}
}

// Check refuses what lacks a secret.
func (m *MessageBird) Check() error {
	if len(m.Secrets) == 0 {
		return errors.New("messagebird needs a secret")
	}
	if m.Tolerance < 0 {
		return errors.New("tolerance is negative")
	}
	_, err := credential.Written("secret", m.Secrets, nil)
	return err
}

// Provision resolves the secrets.
func (m *MessageBird) Provision(ctx caddy.Context) error {
	if err := m.Check(); err != nil {
		return err
	}
	if m.Tolerance == 0 {
		m.Tolerance = caddy.Duration(clockLeeway)
	}
	values, err := credential.Resolve("secret", m.Secrets, nil)
	if err != nil {
		return err
	}
	credential.WarnWeak(ctx.Logger(), "secret", values)
	keys := hmacKeys(values)
	m.policy = jose.Policy{
		Algorithms:    []string{"HS256", "HS384", "HS512"},
		Keys:          func(context.Context, *jose.Token) ([]jose.Key, error) { return keys, nil },
		Issuers:       []string{"MessageBird"},
		Leeway:        time.Duration(m.Tolerance),
		RequireExpiry: true,
	}
	return m.policy.Check()
}

// Traits says where the token is, and that a message passes once.
func (m *MessageBird) Traits() callback.Traits {
	return callback.Traits{
		Cost:      callback.CostMAC,
		Places:    []callback.Place{{Header: messageBirdHeader}},
		Challenge: signatureChallenge,
		Window:    messageBirdWindow,
		Leeway:    time.Duration(m.Tolerance),
		Replay:    true,
	}
}

// Verify checks the token and the hash of the URL, then that of the body.
func (m *MessageBird) Verify(q *callback.Request) callback.Verdict {
	compact, err := q.Header(messageBirdHeader)
	if err != nil {
		return callback.Refuse(err)
	}
	t, err := m.policy.Verify(q.HTTP.Context(), compact, q.Now)
	accepted := tokenVerdict(t, err)
	if !accepted.OK() {
		return accepted
	}
	accepted.User = accepted.Key
	if t.ID == "" {
		return refused(t.Key, verdict.Errorf(verdict.BadClaim, "the token has no jti"))
	}
	if t.Expires.After(q.Now.Add(messageBirdWindow)) {
		// The id of a longer-lived one would be forgotten before it expires.
		return refused(t.Key, verdict.Errorf(verdict.BadClaim, "the token lives longer than MessageBird's do"))
	}
	hash, _ := t.Claims.Get("url_hash")
	held := false
	for _, address := range publicURLs(q) {
		held = isLowerHexDigest(hash, sha256.Sum256([]byte(address))) || held
	}
	if !held {
		return refused(t.Key, verdict.Errorf(verdict.BadClaim, "url_hash is not that of the public URL"))
	}
	payload, present := t.Claims.Get("payload_hash")
	return overBody(accepted, func(body []byte) error {
		if (present || len(body) > 0) && !isLowerHexDigest(payload, sha256.Sum256(body)) {
			return verdict.Errorf(verdict.BodyMismatch, "payload_hash is not that of the body")
		}
		return nil
	})
}

// UnmarshalCaddyfile sets up the scheme from Caddyfile tokens. Syntax:
//
//	messagebird {
//		secret    <value> [<label>]
//		tolerance <duration>
//	}
func (m *MessageBird) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return readBlock(d, m.option) }

func (m *MessageBird) option(d *caddyfile.Dispenser) error {
	switch option := d.Val(); option {
	case "secret":
		return credential.Append(d, &m.Secrets)
	case "tolerance":
		return credential.Duration(d, &m.Tolerance)
	default:
		return d.Errf("unknown option '%s' of messagebird", option)
	}
}

// Interface guards
var (
	_ caddy.Provisioner     = (*MessageBird)(nil)
	_ caddyfile.Unmarshaler = (*MessageBird)(nil)
	_ callback.Scheme       = (*MessageBird)(nil)
)
