// Package signature checks, and makes, the signatures that webhook senders put into their requests. How a sender signs
// is data: a Spec says where the signature is and how it is written, which key and algorithm made it, and what was
// signed. Compile refuses a Spec that promises more than it checks.
//
// Checking goes in two steps, so that nothing is buffered for a stranger:
//
//	Compile ─► Verifier ─► Begin (headers, time) ─► Finish (body) ─► Match
//
// The same Spec signs: see Scheme.Sign.
package signature

import "time"

// Spec says how one sender signs. The zero value of every field but Header, Algorithm and Payload has a use.
type Spec struct {
	// Header holds the signature, written as Grammar and Encoding say.
	Header   string
	Grammar  Grammar
	Encoding Encoding

	// Also is a second header with signatures of the same message: by another key of the sender's, or where it renames the
	// first. Either may be missing.
	Also string

	// Algorithm makes the signature from a key, and Key says how that key is written down.
	Algorithm Algorithm
	Key       KeyForm

	// Payload is the template of what is signed. Its words stand in braces:
	//
	//	{body}             the body's bytes
	//	{body_sha256}      their SHA-256 in lower-case hex
	//	{body_md5}         their MD5 in base64
	//	{form_sorted}      each name and value of a form, sorted by name and then by value, each pair once
	//	{url}              the whole public URL
	//	{url_base}         the same without its query
	//	{url_form_sorted}  the URL with its query sorted, then the form as Plivo puts it there
	//	{path}             the path of the URL, as it was escaped
	//	{method}           the HTTP method
	//	{timestamp}        the timestamp, as the sender wrote it
	//	{id}               the message's own id
	//	{header.X}         the value of the header X
	Payload string

	// Time says where the timestamp is and how it is written; without it the sender has no clock. It has to be in the
	// Payload: a time that nobody signed proves nothing.
	Time Time

	// Tolerance is how far the timestamp may be from now, in both directions. It is above 0 where there is a Time.
	Tolerance time.Duration

	// ID is the header with the message's own id; it has to be in the Payload too.
	ID string

	// BodyUnsigned says that this sender's signature does not cover the body. Otherwise a Payload without the body
	// lets only requests with an empty body through.
	BodyUnsigned bool
}

// Grammar is how the value of the signature header is written. There are three forms:
//
//   - one signature behind a Prefix, which may be empty: `sha256=…`
//   - with List, several such signatures with Separator between them; the ones with another prefix are of another
//     version, and ignored: `v1,… v1,… v2,…`
//   - with Signature, pairs `name=value` with Separator between them, of which those called Signature are signatures and
//     the one called Timestamp is the timestamp: `t=…,v1=…,v1=…`
type Grammar struct {
	Prefix    string
	Separator string
	List      bool
	Signature string
	Timestamp string
}

// Time says where the timestamp is: in Header, or, where Header is empty, in the pair Grammar.Timestamp. The zero Time
// means that there is none.
type Time struct {
	Header string
	Unit   Unit
}

// Unit is how a timestamp is written.
type Unit string

// The units.
const (
	Seconds      Unit = "s"       // decimal seconds since 1970
	Milliseconds Unit = "ms"      // decimal milliseconds since 1970
	RFC3339      Unit = "rfc3339" // as in RFC 3339, fractions allowed

	// ISO8601 is RFC3339, or the same with an offset that lacks its colon.
	ISO8601 Unit = "iso8601"

	// EitherSeconds is Milliseconds where there are 13 digits or more, which are more than Seconds have, and else Seconds:
	// for senders who send the one and document the other.
	EitherSeconds Unit = "s or ms"
)

// Encoding is how the bytes of a signature are written.
type Encoding string

// The encodings. All of them are exact: one signature has one spelling, but for the two that say otherwise.
const (
	HexLower     Encoding = "hex_lower"     // lower-case hex
	Hex          Encoding = "hex"           // hex in either case
	Base64       Encoding = "base64"        // RFC 4648 §4, padded
	Base64URL    Encoding = "base64url"     // RFC 4648 §5, without padding
	Base64URLPad Encoding = "base64url_pad" // RFC 4648 §5, with or without padding
)

// Algorithm makes a signature.
type Algorithm string

// The algorithms.
const (
	HMACSHA1   Algorithm = "sha1"
	HMACSHA256 Algorithm = "sha256"
	HMACSHA384 Algorithm = "sha384"
	HMACSHA512 Algorithm = "sha512"
	Ed25519    Algorithm = "ed25519"    // RFC 8032
	ECDSAP256  Algorithm = "ecdsa_p256" // with SHA-256, ASN.1 DER
	RSASHA256  Algorithm = "rsa_sha256" // RSASSA-PKCS1-v1_5 with SHA-256
)

// KeyForm is how a secret or a public key is written down.
type KeyForm string

// The forms of keys. Of public keys, the Ed25519 ones are the 32 bytes in Base64Key, HexKey or StandardWebhooksKey, and
// the others are a SubjectPublicKeyInfo, in PEM or as the base64 of its DER (SPKIKey).
const (
	TextKey             KeyForm = "text"   // the text's own bytes
	Base64Key           KeyForm = "base64" // RFC 4648 §4, padded
	HexKey              KeyForm = "hex"
	StandardWebhooksKey KeyForm = "whsec" // base64 behind `whsec_` (secret), `whpk_` (public) or `whsk_` (private)
	SPKIKey             KeyForm = "spki"
)

// The bounds of what is looked at.
const (
	// MaxSignatures is how many signatures, or pairs, one header may hold. Each costs a comparison or, with a public
	// key, a verification.
	MaxSignatures = 16

	// MaxHeaderBytes bounds the signature header, and MaxIDBytes the id.
	MaxHeaderBytes = 8 << 10
	MaxIDBytes     = 256
)
