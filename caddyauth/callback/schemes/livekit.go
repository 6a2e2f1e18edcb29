package schemes

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
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
	caddy.RegisterModule(LiveKit{})
}

// liveKitLifetime is how long LiveKit's webhook tokens live.
const liveKitLifetime = 5 * time.Minute

// LiveKit accepts LiveKit's webhooks (docs.livekit.io/server/webhooks): the header `Authorization` is a JWT, without
// `Bearer`, signed with HS256 by the secret of the API key in `iss`, and its claim `sha256` is the hash of the body.
// The same secret signs the tokens of participants, which have no such claim: one without it is refused whatever the
// body.
type LiveKit struct {
	// The API keys, and their secrets.
	Accounts []Account `json:"accounts,omitempty"`

	// How far LiveKit's clock may be from this machine's, both ways. Default: `1m`.
	Tolerance caddy.Duration `json:"tolerance,omitempty"`

	policy jose.Policy
}

// CaddyModule returns the Caddy module information.
func (LiveKit) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.livekit",
		New: func() caddy.Module { return new(LiveKit) },
	}
}

// Check refuses what lacks an account, or a secret of one.
func (l *LiveKit) Check() error {
	if len(l.Accounts) == 0 {
		return errors.New("livekit needs an account")
	}
	if l.Tolerance < 0 {
		return errors.New("tolerance is negative")
	}
	return checkAccounts(l.Accounts, nil)
}

// Provision resolves the secrets.
func (l *LiveKit) Provision(ctx caddy.Context) error {
	if err := l.Check(); err != nil {
		return err
	}
	if l.Tolerance == 0 {
		l.Tolerance = caddy.Duration(clockLeeway)
	}
	secrets, err := resolveAccounts(ctx.Logger(), l.Accounts, nil)
	if err != nil {
		return err
	}
	accounts := make(map[string][]jose.Key, len(secrets))
	for apiKey, values := range secrets {
		accounts[apiKey] = hmacKeys(values)
	}
	l.policy = jose.Policy{
		Algorithms: []string{"HS256"},
		Keys: func(_ context.Context, unverified *jose.Token) ([]jose.Key, error) {
			keys := accounts[unverified.Issuer]
			if keys == nil {
				return nil, verdict.Errorf(verdict.UnknownKey, "iss is not one of the accounts")
			}
			return keys, nil
		},
		Leeway:        time.Duration(l.Tolerance),
		RequireExpiry: true,
	}
	return l.policy.Check()
}

// Traits says where the token is, and for how long one holds.
func (l *LiveKit) Traits() callback.Traits {
	return callback.Traits{
		Cost:       callback.CostMAC,
		Places:     []callback.Place{{Header: "Authorization"}},
		Challenge:  bearerChallenge,
		Window:     liveKitLifetime,
		Leeway:     time.Duration(l.Tolerance),
		Identified: true,
	}
}

// Verify checks the token, then the hash of the body. A message is known by the body's hash: LiveKit's events have ids,
// inside.
func (l *LiveKit) Verify(q *callback.Request) callback.Verdict {
	compact, err := q.Header("Authorization")
	if err != nil {
		return callback.Refuse(err)
	}
	t, err := l.policy.Verify(q.HTTP.Context(), compact, q.Now)
	accepted := tokenVerdict(t, err)
	if !accepted.OK() {
		return accepted
	}
	accepted.User, accepted.Account = t.Issuer, t.Issuer
	claim, _ := t.Claims.Get("sha256")
	announced, ok := claim.Text()
	if !ok || announced == "" {
		return refused(accepted.Key, verdict.Errorf(verdict.BadClaim, "the token has no sha256: it is not a webhook's"))
	}
	accepted.Then = func(body []byte) callback.Verdict {
		sum := sha256.Sum256(body)
		if subtle.ConstantTimeCompare([]byte(base64.StdEncoding.EncodeToString(sum[:])), []byte(announced)) != 1 {
			return refused(accepted.Key, verdict.Errorf(verdict.BodyMismatch, "sha256 is not the hash of the body"))
		}
		done := accepted
		done.Then, done.ID, done.Digest = nil, hex.EncodeToString(sum[:]), true
		return done
	}
	return accepted
}

// UnmarshalCaddyfile sets up the scheme from Caddyfile tokens. Syntax:
//
//	livekit {
//		account   <api_key> <secret>...
//		tolerance <duration>
//	}
func (l *LiveKit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return readBlock(d, l.option) }

func (l *LiveKit) option(d *caddyfile.Dispenser) error {
	switch option := d.Val(); option {
	case "account":
		return appendAccount(d, &l.Accounts)
	case "tolerance":
		return credential.Duration(d, &l.Tolerance)
	default:
		return d.Errf("unknown option '%s' of livekit", option)
	}
}

// Interface guards
var (
	_ caddy.Provisioner     = (*LiveKit)(nil)
	_ caddyfile.Unmarshaler = (*LiveKit)(nil)
	_ callback.Scheme       = (*LiveKit)(nil)
)
