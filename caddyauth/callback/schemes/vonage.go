// Package schemes has the schemes of callback_auth, one file each.
package schemes

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(Vonage{})
}

const (
	// defaultMaxAge is the freshness window where Vonage gives none; its SDKs use the same for the older signatures.
	defaultMaxAge = 5 * time.Minute

	// clockLeeway is how far in the future a sender's clock may be (RFC 7519 §4.1.4: "no more than a few minutes").
	clockLeeway = time.Minute
)

// Vonage accepts signed webhooks of Vonage: the secure callbacks of the Video API, and those of Messages, Dispatch,
// Voice and Verify (developer.vonage.com, "Signed webhooks"). Each carries a JWT, signed with HS256 and the signature
// secret of the account, whose claim `payload_hash` is the SHA-256 of the body; or, for a GET, of the JSON object that
// its query parameters make in their order. A POST's query is not covered.
//
// The token has no `exp`: its `iat` must be fresh. Its `jti` makes it pass only once.
type Vonage struct {
	// The signature secrets; any of them matches. Vonage takes up to 30 minutes to switch to a new one: list both
	// meanwhile. Values take `{env.*}` and `{file.*}` placeholders.
	Secrets []credential.Secret `json:"secrets,omitempty"`

	// Accounts, each with secrets of its own, in place of secrets: a token must name one of them in `api_key`, and be
	// signed with a secret of that one.
	Accounts []Account `json:"accounts,omitempty"`

	// The values of `application_id` of which a token must have one. Default: any, or none.
	ApplicationIDs []string `json:"application_ids,omitempty"`

	// How long after its `iat` a token is accepted. Default: 5m.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	// `auto`: the payload must be the one in the token, and only an empty one needs no `payload_hash`. `off`: the body is
	// not verified, and may have been written by anybody who saw the token. Default: auto.
	PayloadHash string `json:"payload_hash,omitempty"`

	// The header with the token: `Vonage-Signature` for the Contact Center, `X-Vonage-Webhook-Auth-Token` behind the
	// Cloud Runtime's router. Default: Authorization.
	Header string `json:"header,omitempty"`

	// How the secrets are written: `text`, or `base64` for the Contact Center. Default: text.
	SecretEncoding string `json:"secret_encoding,omitempty"`

	// The status, 401 or 503, of a request without a token. Vonage says that it may, rarely, send a callback unsigned,
	// and signed again after a 5xx. Default: 401.
	UnsignedStatus int `json:"unsigned_status,omitempty"`

	policy         jose.Policy
	applicationIDs []string
}

// Account is a Vonage account, or project, that has signature secrets of its own.
type Account struct {
	// The account's API key. It is not secret. It takes placeholders.
	APIKey string `json:"api_key,omitempty"`

	// The account's signature secrets; any of them matches. The default labels are the API key, and the API key with
	// `/2`, `/3`, … for further ones.
	Secrets []credential.Secret `json:"secrets,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Vonage) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.vonage",
		New: func() caddy.Module { return new(Vonage) },
	}
}

// Check refuses options that exclude each other, or are missing.
func (v *Vonage) Check() error {
	switch {
	case len(v.Secrets) > 0 && len(v.Accounts) > 0:
		return fmt.Errorf("vonage takes secret or account, not both: with account, only those accounts are accepted")
	case len(v.Secrets) == 0 && len(v.Accounts) == 0:
		return fmt.Errorf("vonage needs a secret or an account")
	case v.Header != "" && !httpguts.ValidHeaderFieldName(v.Header):
		return fmt.Errorf("header: %q is not the name of a header", v.Header)
	}
	decode, err := v.decode()
	if err != nil {
		return err
	}
	if _, err := credential.Written("secret", v.Secrets, decode); err != nil {
		return err
	}
	return checkAccounts(v.Accounts, decode)
}

// decode gives what turns a secret as it is written into its bytes; nil: nothing has to.
func (v *Vonage) decode() (func(string) ([]byte, error), error) {
	switch v.SecretEncoding {
	case "", "text":
		return nil, nil
	case "base64":
		return base64.StdEncoding.Strict().DecodeString, nil
	}
	return nil, fmt.Errorf("secret_encoding is %q: it is text or base64", v.SecretEncoding)
}

// Provision resolves the secrets.
func (v *Vonage) Provision(ctx caddy.Context) error {
	if err := v.Check(); err != nil {
		return err
	}
	if v.MaxAge == 0 {
		v.MaxAge = caddy.Duration(defaultMaxAge)
	}
	if v.Header == "" {
		v.Header = "Authorization"
	}
	switch v.UnsignedStatus {
	case 0, http.StatusUnauthorized, http.StatusServiceUnavailable:
	default:
		return fmt.Errorf("unsigned_status is %d: it is 401 or 503", v.UnsignedStatus)
	}
	switch v.PayloadHash {
	case "", "auto":
	case "off":
		ctx.Logger().Warn("payload_hash is off: bodies are not verified")
	default:
		return fmt.Errorf("payload_hash is %q: it is auto or off", v.PayloadHash)
	}
	decode, err := v.decode()
	if err != nil {
		return err
	}
	keys, err := v.resolveKeys(ctx.Logger(), decode)
	if err != nil {
		return err
	}
	if v.applicationIDs, err = credential.Texts("application_id", v.ApplicationIDs); err != nil {
		return err
	}
	v.policy = jose.Policy{
		Algorithms: []string{"HS256"},
		Keys:       keys,
		Issuers:    []string{"Vonage"},
		MaxAge:     time.Duration(v.MaxAge),
		Leeway:     clockLeeway,
	}
	return v.policy.Check()
}

// resolveKeys gives the source of keys: the same for every token, or by the account that a token names.
func (v *Vonage) resolveKeys(logger *zap.Logger, decode func(string) ([]byte, error)) (jose.KeySource, error) {
	if len(v.Secrets) > 0 {
		values, err := credential.Resolve("secret", v.Secrets, decode)
		if err != nil {
			return nil, err
		}
		credential.WarnWeak(logger, "secret", values)
		keys := hmacKeys(values)
		return func(context.Context, *jose.Token) ([]jose.Key, error) { return keys, nil }, nil
	}
	secrets, err := resolveAccounts(logger, v.Accounts, decode)
	if err != nil {
		return nil, err
	}
	accounts := make(map[string][]jose.Key, len(secrets))
	for apiKey, values := range secrets {
		accounts[apiKey] = hmacKeys(values)
	}
	return func(_ context.Context, unverified *jose.Token) ([]jose.Key, error) {
		claim, _ := unverified.Claims.Get("api_key")
		apiKey, ok := claim.Text()
		keys := accounts[apiKey]
		if !ok || keys == nil {
			return nil, verdict.Errorf(verdict.UnknownKey, "api_key is not one of the accounts")
		}
		return keys, nil
	}, nil
}

func hmacKeys(values []secret.Value) []jose.Key {
	keys := make([]jose.Key, len(values))
	for i, value := range values {
		keys[i] = jose.SecretKey(value.Label(), value.Bytes())
	}
	return keys
}

// Traits says where the token is, and that a message passes once.
func (v *Vonage) Traits() callback.Traits {
	return callback.Traits{
		Cost:      callback.CostMAC,
		Places:    []callback.Place{{Header: v.Header}},
		Challenge: bearerChallenge,
		Window:    time.Duration(v.MaxAge),
		Leeway:    clockLeeway,
		Replay:    true,
	}
}

// Verify checks the token, then the hash of the query, for a GET, or of the body.
func (v *Vonage) Verify(q *callback.Request) callback.Verdict {
	compact, err := headerToken(q, v.Header)
	if err != nil {
		refusal := callback.Refuse(err)
		if refusal.Reason == verdict.Missing && v.UnsignedStatus != 0 {
			refusal.Status = v.UnsignedStatus
		}
		return refusal
	}
	t, err := v.policy.Verify(q.HTTP.Context(), compact, q.Now)
	accepted := tokenVerdict(t, err)
	if !accepted.OK() {
		return accepted
	}
	refuse := func(reason verdict.Reason, detail string) callback.Verdict {
		return refused(t.Key, verdict.Errorf(reason, "%s", detail))
	}

	accepted.User = accepted.Key
	if claim, present := t.Claims.Get("api_key"); present {
		apiKey, ok := claim.Text()
		if !ok || apiKey == "" {
			return refuse(verdict.BadClaim, "api_key is not a text")
		}
		accepted.User, accepted.Account = apiKey, apiKey
	}
	if claim, present := t.Claims.Get("application_id"); present || len(v.applicationIDs) > 0 {
		id, ok := claim.Text()
		if !ok || (len(v.applicationIDs) > 0 && !slices.Contains(v.applicationIDs, id)) {
			return refuse(verdict.BadClaim, "application_id is not one of those configured")
		}
	}
	if _, present := t.Claims.Get("jti"); present && accepted.ID == "" {
		return refuse(verdict.BadClaim, "jti is empty")
	}
	if v.PayloadHash == "off" {
		return accepted
	}

	hash, present := t.Claims.Get("payload_hash")
	if q.Method == http.MethodGet || q.Method == http.MethodHead {
		if q.HTTP.ContentLength > 0 {
			return malformed("a GET or HEAD with a body")
		}
		if _, err := q.Query(); err != nil {
			return callback.Refuse(err)
		}
		if !queryMatches(q.URL.RawQuery, hash, present) {
			return refuse(verdict.BodyMismatch, "payload_hash is not that of the query")
		}
		return withoutBody(q, accepted)
	}
	said, ok := hash.Text()
	accepted.Then = func(body []byte) callback.Verdict {
		if (present || len(body) > 0) && !(ok && isLowerHex(said, sha256.Sum256(body))) {
			return callback.Refuse(verdict.Errorf(verdict.BodyMismatch, "payload_hash is not that of the body"))
		}
		return callback.Verdict{Reason: verdict.OK}
	}
	return accepted
}

// withoutBody holds an accepted request to having no body, where its signature covers none. HTTP/2 and HTTP/3 need not say
// beforehand that none comes.
func withoutBody(q *callback.Request, accepted callback.Verdict) callback.Verdict {
	if q.HTTP.ContentLength == 0 || q.Upgrade {
		return accepted
	}
	accepted.Then = func(body []byte) callback.Verdict {
		if len(body) > 0 {
			return malformed("a GET or HEAD with a body")
		}
		return callback.Verdict{Reason: verdict.OK}
	}
	return accepted
}

// isLowerHexDigest reports whether a claim is the digest in the one form that Vonage writes.
func isLowerHexDigest(claim strictjson.Value, digest [sha256.Size]byte) bool {
	text, ok := claim.Text()
	return ok && isLowerHex(text, digest)
}

// isLowerHex reports whether text is the digest in lower-case hexadecimal.
func isLowerHex(text string, digest [sha256.Size]byte) bool {
	var written [2 * sha256.Size]byte
	hex.Encode(written[:], digest[:])
	return subtle.ConstantTimeCompare([]byte(text), written[:]) == 1
}

// UnmarshalCaddyfile sets up the scheme from Caddyfile tokens. Syntax:
//
//	vonage {
//		secret          <value> [<label>]
//		account         <api_key> <secret>...
//		application_id  <id>...
//		max_age         <duration>
//		payload_hash    auto|off
//		header          <name>
//		secret_encoding text|base64
//		unsigned_status 401|503
//	}
func (v *Vonage) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return readBlock(d, v.option) }

func (v *Vonage) option(d *caddyfile.Dispenser) error {
	switch option := d.Val(); option {
	case "secret":
		return credential.Append(d, &v.Secrets)
	case "account":
		return appendAccount(d, &v.Accounts)
	case "application_id":
		return credential.Many(d, &v.ApplicationIDs)
	case "max_age":
		return credential.Duration(d, &v.MaxAge)
	case "payload_hash":
		return credential.OneOf(d, &v.PayloadHash, "auto", "off")
	case "header":
		return credential.One(d, &v.Header)
	case "secret_encoding":
		return credential.OneOf(d, &v.SecretEncoding, "text", "base64")
	case "unsigned_status":
		var status string
		if v.UnsignedStatus != 0 {
			return d.Errf("unsigned_status: %v", credential.ErrRepeated)
		}
		if err := credential.OneOf(d, &status, "401", "503"); err != nil {
			return err
		}
		v.UnsignedStatus, _ = strconv.Atoi(status)
	default:
		return d.Errf("unknown option '%s' of vonage", option)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Module          = (*Vonage)(nil)
	_ caddy.Provisioner     = (*Vonage)(nil)
	_ caddyfile.Unmarshaler = (*Vonage)(nil)
	_ callback.Scheme       = (*Vonage)(nil)
)
