package schemes

import (
	"errors"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/internal/signature"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(StandardWebhooks{})
}

// StandardWebhooks accepts what follows the Standard Webhooks specification, and Svix, whose headers begin with `Svix-`
// in place of `Webhook-`: Clerk, OpenAI, Replicate, Resend, Supabase and many others. With `secret` (`whsec_…`) it takes
// `v1` signatures, HMAC-SHA256; with `public_key` (`whpk_…`) `v1a` ones, Ed25519; with both, either. A message passes only
// once, by its id.
type StandardWebhooks struct {
	Sender

	families []family
}

// family is the set of headers under one prefix, and what verifies them.
type family struct {
	names     []string
	verifiers []*signature.Verifier
	accounts  []string // the fingerprints of all keys, whichever verifier has them
}

// CaddyModule returns the Caddy module information.
func (StandardWebhooks) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.standard_webhooks",
		New: func() caddy.Module { return &StandardWebhooks{Sender: Sender{name: "standard_webhooks"}} },
	}
}

// Check refuses options that are missing, or say nothing here.
func (s *StandardWebhooks) Check() error {
	if len(s.Secrets)+len(s.PublicKeys) == 0 {
		return errors.New("standard_webhooks needs a secret or a public_key")
	}
	r, err := s.configured()
	if err != nil {
		return err
	}
	_, err = s.rings("Webhook", r.spec.Tolerance)
	return err
}

// rings gives the signatures under the header names with this prefix: one for each kind of key that there is.
func (s *StandardWebhooks) rings(prefix string, tolerance time.Duration) (rings []keyring, err error) {
	v1, v1a := standardWebhooks(prefix), standardWebhooksKey(prefix)
	v1.Tolerance, v1a.Tolerance = tolerance, tolerance
	if len(s.Secrets) > 0 {
		ring, err := newKeyring(s.name, v1, s.Secrets, nil)
		if err != nil {
			return nil, err
		}
		rings = append(rings, ring)
	}
	if len(s.PublicKeys) > 0 {
		ring, err := newKeyring(s.name, v1a, nil, s.PublicKeys)
		if err != nil {
			return nil, err
		}
		rings = append(rings, ring)
	}
	return rings, nil
}

// Provision compiles the signatures under both sets of names, for the keys that there are.
func (s *StandardWebhooks) Provision(ctx caddy.Context) (err error) {
	if err := s.Check(); err != nil {
		return err
	}
	if s.row, err = s.configured(); err != nil {
		return err
	}
	s.families = nil
	logger := ctx.Logger()
	for _, prefix := range []string{"Webhook", "Svix"} {
		f := family{names: []string{prefix + "-Id", prefix + "-Timestamp", prefix + "-Signature"}}
		rings, err := s.rings(prefix, s.row.spec.Tolerance)
		if err != nil {
			return err
		}
		for _, ring := range rings {
			verifier, values, err := ring.open(logger)
			if err != nil {
				return err
			}
			f.verifiers = append(f.verifiers, verifier)
			for _, value := range values {
				f.accounts = append(f.accounts, value.Fingerprint())
			}
		}
		s.families = append(s.families, f)
		logger = zap.NewNop() // the keys are the same: one warning is enough
	}
	return nil
}

// Traits says where the signature is, under either name.
func (s *StandardWebhooks) Traits() callback.Traits {
	t := s.Sender.Traits()
	t.Places = []callback.Place{{Header: "Webhook-Signature"}, {Header: "Svix-Signature"}}
	if len(s.PublicKeys) > 0 {
		t.Cost = callback.CostKey
	}
	return t
}

// Verify checks the headers of the one family that there may be, then the signature over the body.
func (s *StandardWebhooks) Verify(q *callback.Request) callback.Verdict {
	var present []family
	for _, f := range s.families {
		for _, name := range f.names {
			if len(q.HTTP.Header.Values(name)) > 0 {
				present = append(present, f)
				break
			}
		}
	}
	switch len(present) {
	case 0:
		return callback.Refuse(verdict.Errorf(verdict.Missing, "no Webhook-Signature and no Svix-Signature header"))
	case 1:
	default:
		// The receiver might read the set that nobody verified.
		return callback.Refuse(verdict.Errorf(verdict.Malformed, "both Webhook- and Svix- headers"))
	}
	var begun []*signature.Pending
	var first error
	for _, v := range present[0].verifiers {
		pending, err := v.Begin(signedMessage(v.Scheme, q), q.Now)
		if err == nil {
			begun = append(begun, pending)
		} else if first == nil {
			first = err
		}
	}
	if len(begun) == 0 {
		return callback.Refuse(first)
	}
	return callback.Verdict{Reason: verdict.OK, Then: func(body []byte) callback.Verdict {
		var v callback.Verdict
		for _, pending := range begun { // to the end, so that the time taken does not tell which kind matched
			if next := matched(pending.Finish(body)); !v.OK() {
				v = next
			}
		}
		if v.OK() {
			v.Others = nil
			for _, account := range present[0].accounts {
				if account != v.Account {
					v.Others = append(v.Others, callback.Name{Account: account, ID: v.ID})
				}
			}
		}
		return v
	}}
}

// Interface guards
var (
	_ caddy.Provisioner = (*StandardWebhooks)(nil)
	_ callback.Scheme   = (*StandardWebhooks)(nil)
)
