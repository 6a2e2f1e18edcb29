package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/internal/shorttoken"
	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	"github.com/caddyauth/callbacks/caddyauth/token"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

// Token is one way of judging the credential that a client gave the media server: where it is, and what it must be.
// One of JWT, OAuth2, Static and Signed is set.
type Token struct {
	// The name by which the rules' `token` condition asks for it. One of several may be without. Default: none.
	Name string `json:"name,omitempty"`

	// Where the credential may be, in order: the first place that holds one counts, and another place that holds
	// another one makes the request malformed. Default: the dialect's usual places.
	From []Source `json:"from,omitempty"`

	// What a signed token must be.
	JWT *token.JWT `json:"jwt,omitempty"`

	// What an OAuth 2.0 access token must be. It says for which streams it is good in the same claims; an opaque one in
	// those of the authorization server's answer.
	OAuth2 *token.OAuth2 `json:"oauth2,omitempty"`

	// Fixed tokens, any of which will do. They say nothing about a stream: one is good for whatever the rules allow to
	// it. Values take `{env.*}` and `{file.*}` placeholders.
	Static []string `json:"static,omitempty"`

	// The secrets of short signed tokens, which are bound to a stream, a mode and a time; any of them matches. Values take
	// placeholders.
	Signed []credential.Secret `json:"signed,omitempty"`

	// The claim that names the streams a token is good for: `name`, `app/name`, a list, or patterns of those, where `*`
	// stands within a path segment and `**` across them. What has a slash names the app too, where the server has apps.
	// A token without the claim is not valid. `mediamtx_permissions` is read as MediaMTX does: it says what a token is
	// good for, too. Default: `stream`.
	StreamClaim string `json:"stream_claim,omitempty"`

	// Whether a token without that claim is good for every stream; of the short signed ones, whether those are good that
	// were made for every stream.
	AnyStream bool `json:"any_stream,omitempty"`

	// The claim that says what a token is good for: `publish`, `play` or a list. A token without it is good for playing
	// only. Default: `mode`.
	ModeClaim string `json:"mode_claim,omitempty"`

	// The claim that binds a token to the client's address, as the media server reports it, where it is present.
	// Default: `ip`.
	IPClaim string `json:"ip_claim,omitempty"`

	static []secret.Value
	signed []secret.Value
}

// accepted is a credential that is good for the request.
type accepted struct {
	subject   string
	key       string    // the label of the secret, behind the token's name if it has one; empty where none tells
	expires   time.Time // zero: never
	claims    *jose.Token
	presented string
}

// checkOptions refuses what could not hold with a server that is able to do what ability says.
func (t *Token) checkOptions(ability Ability) error {
	claims := t.JWT != nil || t.OAuth2 != nil
	switch {
	case t.Name == "valid" || t.Name == "absent":
		return fmt.Errorf("a token cannot be named %s: the word has a meaning of its own", t.Name)
	case howMany(t.JWT != nil, t.OAuth2 != nil, len(t.Static) > 0, len(t.Signed) > 0) != 1:
		return errors.New("needs one of jwt, oauth2, static and signed")
	case !claims && (t.StreamClaim != "" || t.ModeClaim != "" || t.IPClaim != ""):
		return errors.New("only tokens of jwt and oauth2 carry claims: stream_claim, mode_claim and ip_claim say nothing about others")
	case t.AnyStream && len(t.Static) > 0:
		return errors.New("static tokens name no stream: any_stream says nothing about them")
	case t.StreamClaim == mediaMTXClaim && (t.ModeClaim != "" || t.AnyStream):
		return errors.New("the claim " + mediaMTXClaim + " says what a token is good for: it goes without mode_claim and any_stream")
	}
	sources := t.sources(ability)
	for i, source := range sources {
		if err := source.check(ability); err != nil {
			return fmt.Errorf("from: %w", err)
		}
		if slices.Contains(sources[:i], source) {
			return fmt.Errorf("from %s %s stands twice", source.From, source.Name)
		}
	}
	if _, err := credential.Written("static", t.fixed(), nil); err != nil {
		return err
	}
	_, err := credential.Written("signed", t.Signed, nil)
	return err
}

// sources gives the places for the credential: those of the options, else the dialect's usual ones.
func (t *Token) sources(ability Ability) []Source {
	if len(t.From) == 0 {
		return ability.Sources
	}
	return t.From
}

// fixed gives the fixed tokens as secrets.
func (t *Token) fixed() []credential.Secret {
	fixed := make([]credential.Secret, len(t.Static))
	for i, value := range t.Static {
		fixed[i].Value = value
	}
	return fixed
}

// provision resolves the token's keys and secrets, once its options have been checked.
func (t *Token) provision(ctx caddy.Context, ability Ability) error {
	if t.JWT != nil {
		if err := t.JWT.Provision(ctx); err != nil {
			return fmt.Errorf("jwt: %w", err)
		}
	}
	if t.OAuth2 != nil {
		if err := t.OAuth2.Provision(ctx); err != nil {
			return fmt.Errorf("oauth2: %w", err)
		}
	}
	if err := t.provisionSecrets(ctx); err != nil {
		return err
	}
	for target, usual := range map[*string]string{&t.StreamClaim: "stream", &t.ModeClaim: "mode", &t.IPClaim: "ip"} {
		if *target == "" {
			*target = usual
		}
	}
	t.From = t.sources(ability)
	return nil
}

// label is what the inspector and `explain` call the token block.
func (t *Token) label() string { return strings.TrimSpace("token " + t.Name) }

// waits reports whether the check may take another server.
func (t *Token) waits() bool { return t.OAuth2 != nil || t.JWT != nil && t.JWT.Waits() }

// cleanup lets go of keys that others publish, and of connections to authorization servers.
func (t *Token) cleanup() error {
	switch {
	case t != nil && t.JWT != nil:
		return t.JWT.Cleanup()
	case t != nil && t.OAuth2 != nil:
		return t.OAuth2.Cleanup()
	default:
		return nil
	}
}

// provisionSecrets resolves fixed tokens, and the secrets of short ones.
func (t *Token) provisionSecrets(ctx caddy.Context) (err error) {
	if t.static, err = credential.Resolve("static", t.fixed(), nil); err != nil {
		return err
	}
	credential.WarnWeak(ctx.Logger(), "static token", t.static)
	if t.signed, err = credential.Resolve("signed", t.Signed, nil); err != nil {
		return err
	}
	credential.WarnWeak(ctx.Logger(), "signed", t.signed)
	return nil
}

// howMany says how many of conditions are true.
func howMany(conditions ...bool) int {
	n := 0
	for _, is := range conditions {
		if is {
			n++
		}
	}
	return n
}

// judge checks the credential of q. Without one the error is verdict.Missing.
func (t *Token) judge(ctx context.Context, q *Request, now time.Time) (*accepted, error) {
	presented, err := t.credential(q)
	if err != nil {
		return nil, err
	}
	if presented == "" {
		err = verdict.Errorf(verdict.Missing, "no token")
	} else {
		var a *accepted
		if a, err = t.check(ctx, q, presented, now); err == nil {
			a.presented = presented
			if t.Name != "" && a.key != "" {
				a.key = t.Name + "/" + a.key
			}
			return a, nil
		}
	}
	if refusal := verdict.Of(err); q.Truncated && refusal.Reason != verdict.Unavailable {
		reason := verdict.BadCredential
		if presented == "" {
			reason = verdict.Missing
		}
		return nil, verdict.Errorf(reason, "the media server passed on only the beginning of what the client asked for (truncated): the token is cut off")
	}
	return nil, err
}

// check checks a credential that there is.
func (t *Token) check(ctx context.Context, q *Request, presented string, now time.Time) (*accepted, error) {
	switch {
	case len(t.static) > 0:
		known, ok := secret.Match(t.static, []byte(presented))
		if !ok {
			return nil, verdict.Errorf(verdict.BadSignature, "not a known token")
		}
		return &accepted{key: known.Label()}, nil
	case len(t.signed) > 0:
		short, label, err := shorttoken.Verify(presented, t.signed, t.streams(q), string(q.Mode), now)
		if err != nil {
			return nil, err
		}
		return &accepted{subject: short.Subject, key: label, expires: short.Expires}, nil
	}
	claims, err := t.verify(ctx, presented, now)
	if err != nil {
		return nil, err
	}
	checks := []func(*Request, strictjson.Value) error{t.checkStream, t.checkMode, t.checkIP}
	if t.StreamClaim == mediaMTXClaim {
		checks = []func(*Request, strictjson.Value) error{checkMediaMTX, t.checkIP}
	}
	for _, check := range checks {
		if err := check(q, claims.Claims); err != nil {
			return nil, err
		}
	}
	return &accepted{subject: claims.Subject, key: claims.Key, expires: t.expires(claims), claims: claims}, nil
}

// verify checks a token that carries claims.
func (t *Token) verify(ctx context.Context, presented string, now time.Time) (*jose.Token, error) {
	if t.OAuth2 != nil {
		return t.OAuth2.Verify(ctx, presented, now)
	}
	return t.JWT.Verify(ctx, presented, now)
}

// identify tells whose credential it is, if nothing more: of one that is genuine it gives the subject and the claims,
// though it may be over, or for something else.
func (t *Token) identify(ctx context.Context, q *Request, presented string, now time.Time) *accepted {
	a := &accepted{presented: presented}
	switch {
	case t.JWT != nil || t.OAuth2 != nil:
		if claims, _ := t.verify(ctx, presented, now); claims != nil {
			a.subject, a.claims = claims.Subject, claims
		}
	case len(t.signed) > 0:
		short, _, _ := shorttoken.Verify(presented, t.signed, t.streams(q), string(q.Mode), now)
		a.subject = short.Subject
	}
	return a
}

// streams are the names under which a short token may have been made for the stream of q. As with claims, only a name
// without a slash goes without its app.
func (t *Token) streams(q *Request) []string {
	names := []string{q.Stream()}
	if q.App != "" && !strings.Contains(q.Name, "/") {
		names = append(names, q.Name)
	}
	if t.AnyStream {
		names = append(names, "")
	}
	return names
}
