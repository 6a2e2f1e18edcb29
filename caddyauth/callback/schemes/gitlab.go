package schemes

import (
	"errors"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(GitLab{})
	caddy.RegisterModule(GitLabSigning{})
}

// gitLabToken is the header with GitLab's secret token.
const gitLabToken = "X-Gitlab-Token"

// GitLab accepts GitLab's webhooks by their secret token, which stands in `X-Gitlab-Token` as it is. It proves who sent
// a message and nothing about its body or its age; a GitLab that can sign is better verified by `gitlab_signing`.
type GitLab struct {
	// The secret tokens; any of them matches. Values take `{env.*}` and `{file.*}` placeholders.
	Secrets []credential.Secret `json:"secrets,omitempty"`

	secrets []secret.Value
}

// CaddyModule returns the Caddy module information.
func (GitLab) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.gitlab",
		New: func() caddy.Module { return new(GitLab) },
	}
}

// Check refuses what lacks a secret.
func (g *GitLab) Check() error {
	if len(g.Secrets) == 0 {
		return errors.New("gitlab needs a secret")
	}
	_, err := credential.Written("secret", g.Secrets, nil)
	return err
}

// Provision resolves the secrets.
func (g *GitLab) Provision(ctx caddy.Context) (err error) {
	if err := g.Check(); err != nil {
		return err
	}
	if g.secrets, err = credential.Resolve("secret", g.Secrets, nil); err != nil {
		return err
	}
	credential.WarnWeak(ctx.Logger(), "secret", g.secrets)
	return nil
}

// Traits says where the token is.
func (g *GitLab) Traits() callback.Traits {
	return callback.Traits{
		Cost:      callback.CostCompare,
		Places:    []callback.Place{{Header: gitLabToken}},
		Challenge: signatureChallenge,
	}
}

// Verify compares the token.
func (g *GitLab) Verify(q *callback.Request) callback.Verdict {
	presented, err := q.Header(gitLabToken)
	if err != nil {
		return callback.Refuse(err)
	}
	match, ok := secret.Match(g.secrets, []byte(presented))
	if !ok {
		return callback.Refuse(verdict.Errorf(verdict.BadSignature, "the token is not one of those configured"))
	}
	return callback.Verdict{Reason: verdict.OK, Key: match.Label(), User: match.Label()}
}

// UnmarshalCaddyfile sets up the scheme from Caddyfile tokens. Syntax:
//
//	gitlab {
//		secret <value> [<label>]
//	}
func (g *GitLab) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return readBlock(d, func(d *caddyfile.Dispenser) error {
		if d.Val() != "secret" {
			return d.Errf("unknown option '%s' of gitlab", d.Val())
		}
		return credential.Append(d, &g.Secrets)
	})
}

// GitLabSigning accepts webhooks that GitLab signs with a signing token (`whsec_…`), as Standard Webhooks says. A
// message passes only once, by its id.
type GitLabSigning struct{ Sender }

// CaddyModule returns the Caddy module information.
func (GitLabSigning) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.gitlab_signing",
		New: func() caddy.Module { return &GitLabSigning{Sender{name: "gitlab_signing"}} },
	}
}

// Interface guards
var (
	_ caddy.Provisioner     = (*GitLab)(nil)
	_ caddyfile.Unmarshaler = (*GitLab)(nil)
	_ callback.Scheme       = (*GitLab)(nil)
	_ callback.Scheme       = (*GitLabSigning)(nil)
)
