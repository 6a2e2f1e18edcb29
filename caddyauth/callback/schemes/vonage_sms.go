package schemes

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/internal/vonagesms"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(VonageSMS{})
}

// VonageSMS accepts inbound messages and delivery receipts of Vonage's SMS API that carry the older signature, the
// parameter `sig` (developer.vonage.com, "Signing messages"). Vonage's support turns signing on.
//
// The parameters are those of the query for a GET; for a POST, those of a form or of a flat JSON object in the body, and
// then there must be no query. The signature covers all of them, but takes `&`, `=` and `_` in values for the same
// character. The message's `timestamp` must be fresh. Every signed parameter can be read as a claim, such as
// `{http.callback_auth.claim.msisdn}`.
type VonageSMS struct {
	// The signature secrets of the account, any of which matches. Values take `{env.*}` and `{file.*}` placeholders.
	Secrets []credential.Secret `json:"secrets,omitempty"`

	// How the account signs, as its settings say: `md5hash`, `md5`, `sha1`, `sha256` or `sha512`, the last four being an
	// HMAC. Prefer sha256 or sha512. Default: md5hash.
	Method string `json:"method,omitempty"`

	// How far `timestamp` may be from the time of the request, before or after it. Default: 5m.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	secrets []secret.Value
}

// CaddyModule returns the Caddy module information.
func (VonageSMS) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.vonage_sms",
		New: func() caddy.Module { return new(VonageSMS) },
	}
}

// Check refuses what lacks a secret.
func (v *VonageSMS) Check() error {
	if len(v.Secrets) == 0 {
		return errors.New("vonage_sms needs a secret")
	}
	_, err := credential.Written("secret", v.Secrets, nil)
	return err
}

// Provision resolves the secrets.
func (v *VonageSMS) Provision(ctx caddy.Context) error {
	if err := v.Check(); err != nil {
		return err
	}
	if v.Method == "" {
		v.Method = vonagesms.MD5Hash
	}
	if !slices.Contains(vonagesms.Methods(), v.Method) {
		return fmt.Errorf("method is %q: it is one of %s", v.Method, strings.Join(vonagesms.Methods(), ", "))
	}
	if v.MaxAge < 0 {
		return errors.New("max_age is negative")
	}
	if v.MaxAge == 0 {
		v.MaxAge = caddy.Duration(defaultMaxAge)
	}
	secrets, err := credential.Resolve("secret", v.Secrets, nil)
	if err != nil {
		return err
	}
	credential.WarnWeak(ctx.Logger(), "secret", secrets)
	v.secrets = secrets
	return nil
}

// Traits says that the signature is in the query, where it is not in the body.
func (v *VonageSMS) Traits() callback.Traits {
	return callback.Traits{
		Cost:      callback.CostMAC,
		Places:    []callback.Place{{Query: vonagesms.SignatureName}},
		Challenge: `VonageSMS realm="` + defaultRealm + `"`,
		Window:    time.Duration(v.MaxAge),
		Leeway:    time.Duration(v.MaxAge),
	}
}

// Verify checks a GET at once, and a POST once its body is there.
func (v *VonageSMS) Verify(r *callback.Request) callback.Verdict {
	switch r.Method {
	case http.MethodGet:
		if r.HTTP.ContentLength > 0 {
			return malformed("a GET with a body")
		}
		values, err := r.Query()
		if err != nil {
			return callback.Refuse(err)
		}
		accepted := v.verify(r.Now)(vonagesms.FromValues(values))
		if !accepted.OK() {
			return accepted
		}
		return withoutBody(r, accepted)

	case http.MethodPost:
		// The vendor does not say what a signature covers where parameters are in both.
		if r.URL.RawQuery != "" {
			return malformed("a POST with a query")
		}
		if r.HTTP.ContentLength == 0 {
			return callback.Refuse(verdict.Errorf(verdict.Missing, "a POST without a body"))
		}
		parse, err := smsParser(r.HTTP.Header.Values("Content-Type"))
		if err != nil {
			return callback.Refuse(err)
		}
		return callback.Verdict{Reason: verdict.OK, Then: func(body []byte) callback.Verdict {
			return v.verify(r.Now)(parse(body))
		}}

	default:
		return malformed("neither GET nor POST")
	}
}

// verify judges parameters, and the signature before the time: what an unsigned timestamp says does not matter.
func (v *VonageSMS) verify(now time.Time) func(vonagesms.Parameters, error) callback.Verdict {
	return func(parameters vonagesms.Parameters, err error) callback.Verdict {
		if err != nil {
			return callback.Refuse(err)
		}
		label, err := vonagesms.Verify(v.Method, parameters, v.secrets)
		if err != nil {
			return callback.Refuse(err)
		}
		accepted := callback.Verdict{Reason: verdict.OK, Key: label, User: label, Claims: func(name string) (string, bool) {
			if name == vonagesms.SignatureName {
				return "", false // it would let the message be sent again
			}
			value, ok := parameters[name]
			return value, ok
		}}
		if apiKey := parameters["api-key"]; apiKey != "" {
			accepted.User, accepted.Account = apiKey, apiKey
		}
		if err := fresh(parameters[vonagesms.TimestampName], now, time.Duration(v.MaxAge)); err != nil {
			return refused(label, err)
		}
		return accepted
	}
}

// fresh refuses a timestamp, in seconds since 1970, that is further than maxAge from now.
func fresh(timestamp string, now time.Time, maxAge time.Duration) error {
	seconds, err := strconv.ParseUint(timestamp, 10, 63)
	if err != nil || len(timestamp) > 12 {
		return verdict.Errorf(verdict.BadCredential, "timestamp is not a number of seconds")
	}
	switch made := time.Unix(int64(seconds), 0); {
	case now.Sub(made) > maxAge:
		return verdict.Errorf(verdict.Expired, "timestamp is older than %s", maxAge)
	case made.Sub(now) > maxAge:
		return verdict.Errorf(verdict.NotYetValid, "timestamp is more than %s ahead", maxAge)
	}
	return nil
}

// smsParser picks how to read a body by its media type.
func smsParser(contentTypes []string) (func([]byte) (vonagesms.Parameters, error), error) {
	if len(contentTypes) != 1 {
		return nil, verdict.Errorf(verdict.Malformed, "%d Content-Type headers", len(contentTypes))
	}
	mediaType, parameters, err := mime.ParseMediaType(contentTypes[0])
	if charset := parameters["charset"]; err != nil || (charset != "" && !strings.EqualFold(charset, "utf-8")) {
		return nil, verdict.Errorf(verdict.Malformed, "the Content-Type does not parse or is not UTF-8")
	}
	switch mediaType {
	case "application/json":
		return vonagesms.FromJSON, nil
	case "application/x-www-form-urlencoded":
		return func(body []byte) (vonagesms.Parameters, error) {
			values, err := url.ParseQuery(string(body))
			if err != nil {
				return nil, verdict.Errorf(verdict.Malformed, "the form does not parse")
			}
			return vonagesms.FromValues(values)
		}, nil
	default:
		return nil, verdict.Errorf(verdict.Malformed, "the body is neither a form nor JSON")
	}
}

func malformed(detail string) callback.Verdict {
	return callback.Refuse(verdict.Errorf(verdict.Malformed, "%s", detail))
}

// UnmarshalCaddyfile sets up the scheme from Caddyfile tokens. Syntax:
//
//	vonage_sms {
//		secret  <value> [<label>]
//		method  md5hash|md5|sha1|sha256|sha512
//		max_age <duration>
//	}
//
// `secret` may be repeated: any of them matches.
func (v *VonageSMS) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // its own name
	if d.NextArg() {
		return d.Err("vonage_sms takes no arguments: its secrets stand in its block")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); option {
		case "secret":
			if err := credential.Append(d, &v.Secrets); err != nil {
				return err
			}
		case "method":
			if err := credential.OneOf(d, &v.Method, vonagesms.Methods()...); err != nil {
				return err
			}
		case "max_age":
			if err := credential.Duration(d, &v.MaxAge); err != nil {
				return err
			}
		default:
			return d.Errf("unknown option '%s' of vonage_sms", option)
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Module          = (*VonageSMS)(nil)
	_ caddy.Provisioner     = (*VonageSMS)(nil)
	_ caddyfile.Unmarshaler = (*VonageSMS)(nil)
	_ callback.Scheme       = (*VonageSMS)(nil)
)
