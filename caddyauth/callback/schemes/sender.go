package schemes

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/internal/signature"
	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// signatureChallenge is the challenge of schemes whose credential is a signature in a header of the sender's own.
const signatureChallenge = `Signature realm="callback"`

// Sender has the options of every named sender. How a sender signs is one row of the table in senders.go.
type Sender struct {
	// The secrets that the sender signs with; any of them matches. Write them as the sender shows them: what it encodes
	// in base64 or hex is decoded. Values take `{env.*}` and `{file.*}` placeholders.
	Secrets []credential.Secret `json:"secrets,omitempty"`

	// The public keys, as the sender shows them, in place of secrets, for senders that sign with a private key: discord,
	// sendgrid, telnyx; and standard_webhooks, for its `v1a` signatures. Values take placeholders.
	PublicKeys []credential.Secret `json:"public_keys,omitempty"`

	// How far the signed timestamp may be from now, in both directions. It is only for senders that sign one. Default:
	// what the sender recommends, mostly 5m; for agora, the timestamp is not looked at.
	Tolerance caddy.Duration `json:"tolerance,omitempty"`

	// Whether to answer the sender's challenge, by which it makes sure whose endpoint this is, in place of the next
	// handler. It is for daily, discord, dropbox, meta, slack, twitch, x and zoom. Default: false.
	AnswerChallenge bool `json:"answer_challenge,omitempty"`

	// The verify tokens that you gave to Meta, for its challenge; any of them matches. Values take placeholders.
	VerifyTokens []credential.Secret `json:"verify_tokens,omitempty"`

	name         string
	row          row
	keys         []secret.Value
	verifier     *signature.Verifier
	verifyTokens []secret.Value
}

// Check refuses options that are missing, exclude each other, or say nothing to this sender.
func (s *Sender) Check() error {
	r, err := s.configured()
	if err != nil {
		return err
	}
	_, err = newKeyring(s.name, r.spec, s.Secrets, s.PublicKeys)
	return err
}

// configured gives the sender's row as the options have it, but for the keys, and refuses those that say nothing to it.
func (s *Sender) configured() (row, error) {
	r := senders[s.name]
	switch {
	case s.Tolerance == 0:
	case s.Tolerance < 0:
		return r, errors.New("tolerance is negative")
	case r.spec.Time != (signature.Time{}):
		r.spec.Tolerance = time.Duration(s.Tolerance)
	case r.clock.path != "":
		r.clock.tolerance = time.Duration(s.Tolerance)
	default:
		return r, fmt.Errorf("%s signs no timestamp: it has no tolerance", s.name)
	}
	needs := r.verifyToken && s.AnswerChallenge
	switch {
	case s.AnswerChallenge && r.ask == nil && r.signed == nil:
		return r, fmt.Errorf("%s has no challenge to answer", s.name)
	case needs && len(s.VerifyTokens) == 0:
		return r, fmt.Errorf("answer_challenge of %s needs a verify_token", s.name)
	case !needs && len(s.VerifyTokens) > 0:
		return r, errors.New("verify_token is for meta with answer_challenge")
	}
	_, err := credential.Written("verify_token", s.VerifyTokens, nil)
	return r, err
}

// Provision compiles the sender's row and resolves the keys.
func (s *Sender) Provision(ctx caddy.Context) (err error) {
	if s.row, err = s.configured(); err != nil {
		return err
	}
	ring, err := newKeyring(s.name, s.row.spec, s.Secrets, s.PublicKeys)
	if err != nil {
		return err
	}
	if s.verifier, s.keys, err = ring.open(ctx.Logger()); err != nil {
		return err
	}
	s.verifyTokens, err = credential.Resolve("verify_token", s.VerifyTokens, nil)
	return err
}

// Traits says where the signature is, and for how long one holds.
func (s *Sender) Traits() callback.Traits {
	t := callback.Traits{
		Cost:       callback.CostMAC,
		Places:     []callback.Place{{Header: s.row.spec.Header}},
		Challenge:  signatureChallenge,
		Identified: true,
		Window:     max(s.row.spec.Tolerance, s.row.clock.tolerance),
		Leeway:     max(s.row.spec.Tolerance, s.row.clock.tolerance),
	}
	if also := s.row.spec.Also; also != "" {
		t.Places = append(t.Places, callback.Place{Header: also})
	}
	for _, name := range s.row.unread {
		t.Places = append(t.Places, callback.Place{Header: name})
	}
	if s.row.spec.Algorithm.Public() {
		t.Cost = callback.CostKey
	}
	// An id is remembered only where a clock says for how long.
	t.Replay = s.row.spec.ID != "" && t.Window > 0
	return t
}

// Verify checks the headers, then the signature over the body.
func (s *Sender) Verify(q *callback.Request) callback.Verdict {
	if s.AnswerChallenge && s.row.ask != nil {
		if v, ok := s.row.ask(s, q); ok {
			return v
		}
	}
	return s.verify(s.verifier, q)
}

func (s *Sender) verify(v *signature.Verifier, q *callback.Request) callback.Verdict {
	m := signedMessage(v.Scheme, q)
	if s.row.spell != nil {
		for _, address := range m.URLs {
			m.URLs = append(m.URLs, s.row.spell(address, q.Upgrade)...)
		}
	}
	pending, err := v.Begin(m, q.Now)
	if err != nil {
		return callback.Refuse(err)
	}
	if v.Spec().BodyUnsigned {
		return matched(pending.Finish(nil))
	}
	return callback.Verdict{Reason: verdict.OK, Then: func(body []byte) callback.Verdict {
		match, err := pending.Finish(body)
		return s.finish(q, body, match, err)
	}}
}

// finish judges what a body says that was signed: its clock, and whether it is a challenge.
func (s *Sender) finish(q *callback.Request, body []byte, match signature.Match, err error) callback.Verdict {
	accepted := matched(match, err)
	if !accepted.OK() {
		return accepted
	}
	if s.row.signsTokens && plainToken(string(body)) == nil {
		return refused(accepted.Key, verdict.Errorf(verdict.BadSignature, "the body is a token, as challenges have them: anybody can have one signed"))
	}
	if err := s.row.clock.check(body, q.Now); err != nil {
		return refused(accepted.Key, err)
	}
	if s.AnswerChallenge && s.row.signed != nil {
		answer, err := s.row.signed(q, body, match.Key)
		if err != nil {
			return refused(accepted.Key, err)
		}
		accepted.Answer = answer
	}
	return accepted
}

// matched makes a verdict of a match. A message without an id of its own is known by the digest of what was signed.
func matched(match signature.Match, err error) callback.Verdict {
	if err != nil {
		return callback.Refuse(err)
	}
	label, name := match.Key.Label(), nameOf(match)
	v := callback.Verdict{Reason: verdict.OK, Key: label, User: label, Account: name.Account, ID: name.ID, Digest: match.ID == ""}
	for _, m := range append([]signature.Match{match}, match.Others...) {
		if m.Loose {
			v.Others = append(v.Others, callback.Name{Account: m.Key.Fingerprint(), ID: m.Digest})
		}
	}
	for _, other := range match.Others {
		v.Others = append(v.Others, nameOf(other))
	}
	return v
}

func nameOf(match signature.Match) callback.Name {
	if match.ID == "" {
		return callback.Name{Account: match.Key.Fingerprint(), ID: match.Digest}
	}
	return callback.Name{Account: match.Key.Fingerprint(), ID: match.ID}
}

// signedMessage gives what of a request may be signed: the URL as it arrived, under the name by which senders know us.
func signedMessage(scheme *signature.Scheme, q *callback.Request) signature.Message {
	m := signature.Message{Method: q.Method, Path: q.URL.EscapedPath(), Header: q.HTTP.Header}
	if scheme.SignsURL() {
		m.URLs = publicURLs(q)
	}
	return m
}

func publicURLs(q *callback.Request) []string {
	base := q.PublicURL
	if base == "" {
		base = "http://" + q.HTTP.Host
		if q.HTTP.TLS != nil {
			base = "https://" + q.HTTP.Host
		}
	}
	uri := q.URL.RequestURI()
	spellings := signature.PublicURLs(base, uri)
	if q.Upgrade { // Twilio's media streams are signed as wss://
		spellings = append(spellings, signature.PublicURLs("ws"+strings.TrimPrefix(base, "http"), uri)...)
	}
	return spellings
}

// bodyClock is a timestamp in the signed body: a member of the JSON object that it is.
type bodyClock struct {
	path      string // the names of the members on the way to it, with dots between them
	unit      signature.Unit
	tolerance time.Duration // 0: it is looked at where the option is set
	optional  bool          // whether a signed body may be without it
}

func (c bodyClock) check(body []byte, now time.Time) error {
	if c.tolerance == 0 {
		return nil
	}
	value, err := strictjson.Parse(body)
	if err != nil {
		return verdict.Errorf(verdict.BadCredential, "the body, which holds the timestamp, is not JSON")
	}
	present := true
	for name := range strings.SplitSeq(c.path, ".") {
		value, present = value.Get(name)
	}
	if !present && c.optional {
		return nil
	}
	read := value.Number
	if c.unit == signature.ISO8601 {
		read = value.Text
	}
	text, ok := read()
	if !ok {
		return verdict.Errorf(verdict.BadCredential, "the body has no timestamp %s", c.path)
	}
	at, err := c.unit.Parse(text)
	if err != nil {
		return err
	}
	return signature.Fresh(at, now, c.tolerance)
}

// UnmarshalCaddyfile sets up the sender from Caddyfile tokens. Syntax:
//
//	<sender> {
//		secret           <value> [<label>]
//		public_key       <value> [<label>]
//		tolerance        <duration>
//		answer_challenge
//		verify_token     <value> [<label>]
//	}
func (s *Sender) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return readBlock(d, s.option) }

func (s *Sender) option(d *caddyfile.Dispenser) error {
	switch option := d.Val(); option {
	case "secret":
		return credential.Append(d, &s.Secrets)
	case "public_key":
		return credential.Append(d, &s.PublicKeys)
	case "tolerance":
		return credential.Duration(d, &s.Tolerance)
	case "answer_challenge":
		return credential.Flag(d, &s.AnswerChallenge)
	case "verify_token":
		return credential.Append(d, &s.VerifyTokens)
	default:
		return d.Errf("unknown option '%s' of %s", option, s.name)
	}
}

// answerFunc answers a challenge.
type answerFunc = func(w http.ResponseWriter) error

// Interface guards
var (
	_ caddy.Provisioner     = (*Sender)(nil)
	_ caddyfile.Unmarshaler = (*Sender)(nil)
	_ callback.Scheme       = (*Sender)(nil)
)
