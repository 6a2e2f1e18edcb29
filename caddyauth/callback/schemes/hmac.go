package schemes

import (
	"errors"
	"fmt"
	"slices"
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
	caddy.RegisterModule(HMAC{})
}

// HMAC accepts requests that carry an HMAC (RFC 2104) of their body, or of a text made of their parts, in a header; or, in
// its place, a signature by a private key. It is for senders that have no scheme of their own here. Of
//
//	Acme-Signature: t=1700000000,v1=5257a869…
//
// with an HMAC of `1700000000.<body>` the configuration is
//
//	hmac {
//		secret    {env.ACME_SECRET}
//		header    Acme-Signature
//		payload   {timestamp}.{body}
//		timestamp pair t
//		signature pair v1
//	}
//
// A timestamp and an id count only where the payload has them; a configuration that says otherwise is refused. A payload
// without the body, its hash or its form lets only requests with an empty body through.
type HMAC struct {
	// The secrets; any of them matches. Values take `{env.*}` and `{file.*}` placeholders.
	Secrets []credential.Secret `json:"secrets,omitempty"`

	// The public keys, in place of secrets, for the algorithms that have them; any of them matches. For Ed25519 the 32
	// bytes, as `secret_encoding` says; else a SubjectPublicKeyInfo, in PEM or as the base64 of its DER. Values take
	// placeholders.
	PublicKeys []credential.Secret `json:"public_keys,omitempty"`

	// How the secrets, or the public keys of Ed25519, are written: `text`, `base64`, `hex`, or `whsec`, which is base64
	// behind `whsec_` or `whpk_`. Default: text; for Ed25519, base64.
	SecretEncoding string `json:"secret_encoding,omitempty"`

	// The header with the signature.
	Header string `json:"header,omitempty"`

	// The hash of the HMAC: `sha1`, `sha256`, `sha384` or `sha512`; or `ed25519` (RFC 8032), `ecdsa_p256` (with SHA-256, in
	// ASN.1) or `rsa_sha256` (RSASSA-PKCS1-v1_5), with public keys. Default: sha256.
	Algorithm string `json:"algorithm,omitempty"`

	// How the signature is written: `hex` in either case, `base64` with padding, or `base64url` with or without.
	// Default: hex.
	Encoding string `json:"encoding,omitempty"`

	// What stands before the signature, such as `sha256=`. Default: nothing.
	Prefix string `json:"prefix,omitempty"`

	// What parts several signatures, or the pairs, in the header. It makes the header a list, of which one signature has
	// to match. Default: with pairs, a comma; else the header is one signature.
	Separator string `json:"separator,omitempty"`

	// The name of the pairs that hold signatures, such as `v1` in `t=1700000000,v1=…`. Default: the header has no pairs.
	SignaturePair string `json:"signature_pair,omitempty"`

	// What is signed, made of these words and any other text: `{body}`, `{body_sha256}` (its SHA-256 in hex),
	// `{form_sorted}` (the names and values of a form, in order), `{timestamp}`, `{id}`, `{method}`, `{url}` (the public
	// one), `{path}` and `{header.<name>}`. `\n` is a line break. Default: {body}.
	Payload string `json:"payload,omitempty"`

	// Where the timestamp is. Default: there is none.
	Timestamp *HMACTimestamp `json:"timestamp,omitempty"`

	// How far the timestamp may be from now, in both directions. Default: 5m, where there is a timestamp.
	Tolerance caddy.Duration `json:"tolerance,omitempty"`

	// The header with the message's own id. With it, a message passes only once, where it also has a timestamp.
	// Default: there is none.
	IDHeader string `json:"id_header,omitempty"`

	verifier *signature.Verifier
}

// HMACTimestamp says where the timestamp is: in one of two places.
type HMACTimestamp struct {
	// The header with the timestamp.
	Header string `json:"header,omitempty"`

	// The name of the pair, in the signature header, with the timestamp.
	Pair string `json:"pair,omitempty"`

	// How it is written: `s` or `ms` since 1970, or `rfc3339`. Default: s.
	Unit string `json:"unit,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (HMAC) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.hmac",
		New: func() caddy.Module { return new(HMAC) },
	}
}

// Check refuses options that are missing, exclude each other, or promise more than is signed.
func (h *HMAC) Check() error {
	_, err := h.ring()
	return err
}

// ring compiles the signature, with the keys for it.
func (h *HMAC) ring() (keyring, error) {
	spec, err := h.spec()
	if err != nil {
		return keyring{}, err
	}
	return newKeyring("hmac with "+string(spec.Algorithm), spec, h.Secrets, h.PublicKeys)
}

// Provision compiles the signature and resolves the secrets.
func (h *HMAC) Provision(ctx caddy.Context) error {
	ring, err := h.ring()
	if err != nil {
		return err
	}
	h.verifier, _, err = ring.open(ctx.Logger())
	return err
}

// The words of the options, and what they mean.
var (
	hmacEncodings  = map[string]signature.Encoding{"": signature.Hex, "hex": signature.Hex, "base64": signature.Base64, "base64url": signature.Base64URLPad}
	hmacAlgorithms = map[string]signature.Algorithm{
		"": signature.HMACSHA256, "sha1": signature.HMACSHA1, "sha256": signature.HMACSHA256, "sha384": signature.HMACSHA384, "sha512": signature.HMACSHA512,
		"ed25519": signature.Ed25519, "ecdsa_p256": signature.ECDSAP256, "rsa_sha256": signature.RSASHA256,
	}
	hmacKeyForms    = map[string]signature.KeyForm{"": signature.TextKey, "text": signature.TextKey, "base64": signature.Base64Key, "hex": signature.HexKey, "whsec": signature.StandardWebhooksKey}
	ed25519KeyForms = map[string]signature.KeyForm{"": signature.Base64Key, "base64": signature.Base64Key, "hex": signature.HexKey, "whsec": signature.StandardWebhooksKey}
	spkiKeyForms    = map[string]signature.KeyForm{"": signature.SPKIKey}
	hmacUnits       = map[string]signature.Unit{"": signature.Seconds, "s": signature.Seconds, "ms": signature.Milliseconds, "rfc3339": signature.RFC3339}
)

// spec says the options in the words of the engine.
func (h *HMAC) spec() (signature.Spec, error) {
	spec := signature.Spec{
		Header:    h.Header,
		Grammar:   signature.Grammar{Prefix: h.Prefix, Separator: h.Separator, Signature: h.SignaturePair},
		Payload:   strings.ReplaceAll(h.Payload, `\n`, "\n"),
		ID:        h.IDHeader,
		Tolerance: time.Duration(h.Tolerance),
	}
	var known [3]bool
	spec.Encoding, known[0] = hmacEncodings[h.Encoding]
	spec.Algorithm, known[1] = hmacAlgorithms[h.Algorithm]
	forms := hmacKeyForms
	if spec.Algorithm == signature.Ed25519 {
		forms = ed25519KeyForms
	} else if spec.Algorithm.Public() {
		forms = spkiKeyForms
	}
	spec.Key, known[2] = forms[h.SecretEncoding]
	if i := slices.Index(known[:], false); i >= 0 {
		return spec, fmt.Errorf("hmac: the %s is not known, or does not go with the algorithm", [...]string{"encoding", "algorithm", "secret_encoding"}[i])
	}
	if spec.Payload == "" {
		spec.Payload = "{body}"
	}
	if h.SignaturePair == "" {
		spec.Grammar.List = h.Separator != ""
	} else if h.Separator == "" {
		spec.Grammar.Separator = ","
	}
	if h.Timestamp != nil {
		unit, ok := hmacUnits[h.Timestamp.Unit]
		if !ok {
			return spec, errors.New("hmac: the unit of the timestamp is not known")
		}
		spec.Time = signature.Time{Header: h.Timestamp.Header, Unit: unit}
		spec.Grammar.Timestamp = h.Timestamp.Pair
		if spec.Tolerance == 0 {
			spec.Tolerance = defaultTolerance
		}
	}
	return spec, nil
}

// Traits says where the signature is, and for how long one holds.
func (h *HMAC) Traits() callback.Traits {
	spec := h.verifier.Spec()
	cost := callback.CostMAC
	if spec.Algorithm.Public() {
		cost = callback.CostKey
	}
	return callback.Traits{
		Cost:       cost,
		Places:     []callback.Place{{Header: spec.Header}},
		Challenge:  signatureChallenge,
		Identified: true,
		Window:     spec.Tolerance,
		Leeway:     spec.Tolerance,
		Replay:     spec.ID != "" && spec.Tolerance > 0,
	}
}

// Verify checks the headers, then the signature over the body.
func (h *HMAC) Verify(q *callback.Request) callback.Verdict {
	pending, err := h.verifier.Begin(signedMessage(h.verifier.Scheme, q), q.Now)
	if err != nil {
		return callback.Refuse(err)
	}
	return callback.Verdict{Reason: verdict.OK, Then: func(body []byte) callback.Verdict {
		return matched(pending.Finish(body))
	}}
}

// UnmarshalCaddyfile sets up the scheme from Caddyfile tokens. Syntax:
//
//	hmac {
//		secret          <value> [<label>]
//		public_key      <value> [<label>]
//		secret_encoding text|base64|hex|whsec
//		header          <name>
//		algorithm       sha1|sha256|sha384|sha512|ed25519|ecdsa_p256|rsa_sha256
//		encoding        hex|base64|base64url
//		prefix          <text>
//		separator       <text>
//		signature       pair <name>
//		payload         <template>
//		timestamp       header|pair <name> [s|ms|rfc3339]
//		tolerance       <duration>
//		id              header <name>
//	}
func (h *HMAC) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return readBlock(d, h.option) }

func (h *HMAC) option(d *caddyfile.Dispenser) error {
	switch option := d.Val(); option {
	case "secret":
		return credential.Append(d, &h.Secrets)
	case "public_key":
		return credential.Append(d, &h.PublicKeys)
	case "secret_encoding":
		return credential.OneOf(d, &h.SecretEncoding, "text", "base64", "hex", "whsec")
	case "header":
		return credential.One(d, &h.Header)
	case "algorithm":
		return credential.OneOf(d, &h.Algorithm, "sha1", "sha256", "sha384", "sha512", "ed25519", "ecdsa_p256", "rsa_sha256")
	case "encoding":
		return credential.OneOf(d, &h.Encoding, "hex", "base64", "base64url")
	case "prefix":
		return credential.One(d, &h.Prefix)
	case "separator":
		return credential.One(d, &h.Separator)
	case "payload":
		if err := credential.One(d, &h.Payload); err != nil {
			return err
		}
		h.Payload = asWritten.Replace(h.Payload)
	case "tolerance":
		return credential.Duration(d, &h.Tolerance)
	case "timestamp":
		return h.timestamp(d)
	case "signature":
		return place(d, &h.SignaturePair, "pair")
	case "id":
		return place(d, &h.IDHeader, "header")
	default:
		return d.Errf("unknown option '%s' of hmac", option)
	}
	return nil
}

// asWritten undoes what the Caddyfile adapter makes of words that it knows as placeholders of its own.
var asWritten = strings.NewReplacer(
	"{http.request.method}", "{method}",
	"{http.request.uri.path}", "{path}",
	"{http.request.header.", "{header.",
)

func (h *HMAC) timestamp(d *caddyfile.Dispenser) error {
	if h.Timestamp != nil {
		return d.Errf("timestamp: %v", credential.ErrRepeated)
	}
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 || args[1] == "" {
		return d.Err("timestamp takes header or pair, a name and, optionally, a unit")
	}
	h.Timestamp = new(HMACTimestamp)
	switch args[0] {
	case "header":
		h.Timestamp.Header = args[1]
	case "pair":
		h.Timestamp.Pair = args[1]
	default:
		return d.Errf("timestamp: '%s' is neither header nor pair", args[0])
	}
	if len(args) == 3 {
		if _, ok := hmacUnits[args[2]]; !ok {
			return d.Errf("timestamp: '%s' is none of s, ms, rfc3339", args[2])
		}
		h.Timestamp.Unit = args[2]
	}
	return nil
}

// place reads an option of the form `<word> <name>`, which may stand once, into target.
func place(d *caddyfile.Dispenser, target *string, word string) error {
	option := d.Val()
	if *target != "" {
		return d.Errf("%s: %v", option, credential.ErrRepeated)
	}
	args := d.RemainingArgs()
	if len(args) != 2 || args[0] != word || args[1] == "" {
		return d.Errf("%s takes the word %s and a name", option, word)
	}
	*target = args[1]
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*HMAC)(nil)
	_ caddyfile.Unmarshaler = (*HMAC)(nil)
	_ callback.Scheme       = (*HMAC)(nil)
)
