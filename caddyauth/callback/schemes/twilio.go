package schemes

import (
	"crypto/sha256"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/internal/signature"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(Twilio{})
}

// Twilio accepts Twilio's webhooks (twilio.com/docs/usage/security): an HMAC-SHA1 of the public URL and, in order of
// their names, of the fields of a form; or, for any other body, of a URL whose parameter `bodySHA256` is the body's hash.
// It takes the auth token as `secret`, the secondary one too. Set `public_url` behind a proxy that changes scheme or
// host. Twilio signs no clock: see `replay`.
type Twilio struct {
	Sender

	url *signature.Verifier
}

// CaddyModule returns the Caddy module information.
func (Twilio) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.twilio",
		New: func() caddy.Module { return &Twilio{Sender: Sender{name: "twilio"}} },
	}
}

// twilioBody is the query parameter with the hash of a body that is not a form. The URL, and so the hash, is signed.
const twilioBody = "bodySHA256"

// twilioURL is the signature of such a request: over the URL alone.
func twilioURL() signature.Spec {
	spec := senders["twilio"].spec
	spec.Payload = "{url}"
	spec.BodyUnsigned = true
	return spec
}

// twilioSpellings gives the others under which Twilio may have signed a URL: it escapes the apostrophe of a query, or does
// not, in what it signs and in what it calls, each on its own (github.com/twilio/twilio-node/pull/1061); and it signs a
// WebSocket handshake with a slash behind the path (twilio.com/docs/usage/security). Each of them means the same.
func twilioSpellings(address string, handshake bool) (others []string) {
	path, query, hasQuery := strings.Cut(address, "?")
	if handshake && !hasQuery && !strings.HasSuffix(path, "/") {
		others = append(others, path+"/")
	}
	for _, spelt := range []string{strings.ReplaceAll(query, "'", "%27"), strings.ReplaceAll(query, "%27", "'")} {
		if spelt != query {
			others = append(others, path+"?"+spelt)
		}
	}
	return others
}

// Provision compiles both forms of the signature.
func (t *Twilio) Provision(ctx caddy.Context) error {
	if err := t.Sender.Provision(ctx); err != nil {
		return err
	}
	scheme, err := signature.Compile(twilioURL())
	if err != nil {
		return err
	}
	t.url, err = scheme.Verifier(t.keys)
	return err
}

// Verify checks the signature over URL and form, or over the URL that holds the hash of the body.
func (t *Twilio) Verify(q *callback.Request) callback.Verdict {
	query, err := q.Query()
	if err != nil {
		return callback.Refuse(err)
	}
	if !query.Has(twilioBody) {
		return t.Sender.Verify(q)
	}
	announced, err := q.Parameter(twilioBody)
	if err != nil {
		return callback.Refuse(err)
	}
	accepted := t.verify(t.url, q)
	if !accepted.OK() {
		return accepted
	}
	return overBody(accepted, func(body []byte) error {
		if !isLowerHex(announced, sha256.Sum256(body)) {
			return verdict.Errorf(verdict.BodyMismatch, "%s is not the hash of the body", twilioBody)
		}
		return nil
	})
}

// Interface guards
var (
	_ caddy.Provisioner = (*Twilio)(nil)
	_ callback.Scheme   = (*Twilio)(nil)
)
