package jose

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// refuse makes a refusal for a token that is not of the narrow form. The detail is a constant: no token text.
func refuse(detail string) *verdict.Error {
	return &verdict.Error{Reason: verdict.BadCredential, Detail: detail}
}

// signed is what a signature is checked by.
type signed struct {
	compact   string // the whole token
	header    string // its first segment
	input     string // header and claims as they were sent, with the dot
	signature []byte
}

// parse takes a token apart. Nothing in it is to be believed yet.
func (p *Policy) parse(compact string) (*Token, signed, *verdict.Error) {
	if len(compact) > MaxTokenBytes {
		return nil, signed{}, refuse("token is too long")
	}
	first, second, ok := dots(compact)
	if !ok {
		return nil, signed{}, refuse("token is not three base64url segments")
	}

	// The buffer is on the stack for tokens of the usual length. It takes all three segments, and one string the two of
	// them that are JSON.
	var small [1024]byte
	decoded := small[:]
	if base64.RawURLEncoding.DecodedLen(len(compact)) > len(small) {
		decoded = make([]byte, base64.RawURLEncoding.DecodedLen(len(compact)))
	}
	token := new(Token)
	known := p.headers.know(token, compact[:first])
	header, ok1 := 0, true
	if !known {
		header, ok1 = decode(decoded, compact[:first])
	}
	claims, ok2 := decode(decoded[header:], compact[first+1:second])
	signature, ok3 := decode(decoded[header+claims:], compact[second+1:])
	if !ok1 || !ok2 || !ok3 {
		return nil, signed{}, refuse("token is not canonical base64url")
	}
	text := string(decoded[:header+claims])

	if !known {
		if refusal := p.header(token, text[:header]); refusal != nil {
			return nil, signed{}, refusal
		}
	}
	if refusal := token.claims(text[header:]); refusal != nil {
		return nil, signed{}, refusal
	}
	return token, signed{
		compact:   compact,
		header:    compact[:first],
		input:     compact[:second],
		signature: append([]byte(nil), decoded[header+claims:header+claims+signature]...),
	}, nil
}

// dots finds the first two dots of a token whose three segments are not empty. A third one is no letter of base64url.
// Neither are CR and LF, but Go's decoder skips them even when it is strict. Splitting would allocate for every dot
// (CVE-2025-30204).
func dots(compact string) (first, second int, ok bool) {
	first = strings.IndexByte(compact, '.')
	second = first + 1 + strings.IndexByte(compact[first+1:], '.')
	if first < 1 || second < first+2 || second == len(compact)-1 {
		return 0, 0, false
	}
	return first, second, strings.IndexByte(compact, '\r') < 0 && strings.IndexByte(compact, '\n') < 0
}

// strict refuses unused bits. Strict makes a copy of the whole encoding each time.
var strict = base64.RawURLEncoding.Strict()

// decode writes what a segment stands for to the beginning of to.
func decode(to []byte, segment string) (length int, ok bool) {
	length, err := strict.Decode(to, []byte(segment))
	return length, err == nil
}

// object reads one JSON object.
func object(text string) (strictjson.Value, bool) {
	value, err := strictjson.ParseString(text)
	return value, err == nil && value.Kind() == strictjson.Object
}

// header reads the header into t.
func (p *Policy) header(t *Token, text string) *verdict.Error {
	header, ok := object(text)
	if !ok {
		return refuse("header is not one strict JSON object")
	}
	typed := false
	for _, member := range header.Members() {
		switch member.Name {
		case "alg":
			t.Algorithm, _ = member.Value.Text()
		case "typ":
			if t.Type, typed = member.Value.Text(); !typed {
				return refuse("typ is not a string")
			}
		case "kid":
			if t.KeyID, ok = member.Value.Text(); !ok {
				return refuse("kid is not a string")
			}
			if len(t.KeyID) > maxKeyIDBytes {
				return refuse("kid is too long")
			}
		case "crit", "b64", "cty", "enc", "epk", "zip", "p2c":
			return refuse("header has a member that is not supported: " + member.Name)
		}
	}
	if !slices.Contains(p.Algorithms, t.Algorithm) {
		return refuse("alg is not an allowed algorithm")
	}
	if !typed && p.RequireType {
		return refuse("typ is missing")
	}
	if typed && !p.allowsType(t.Type) {
		return refuse("typ is not an allowed type")
	}
	return nil
}

// claims reads the claims into t.
func (t *Token) claims(text string) *verdict.Error {
	var ok bool
	if t.Claims, ok = object(text); !ok {
		return refuse("claims are not one strict JSON object")
	}
	for _, member := range t.Claims.Members() {
		ok := true
		switch member.Name {
		case "iss":
			t.Issuer, ok = member.Value.Text()
		case "sub":
			t.Subject, ok = member.Value.Text()
		case "jti":
			t.ID, ok = member.Value.Text()
			ok = ok && t.ID != "" // all empty ones would be one and the same
		case "aud":
			t.Audience, ok = texts(member.Value)
		case "exp":
			t.Expires, ok = numericDate(member.Value)
		case "nbf":
			t.NotBefore, ok = numericDate(member.Value)
		case "iat":
			t.IssuedAt, ok = numericDate(member.Value)
		}
		if !ok {
			return refuse("claim is not of its type or out of range: " + member.Name)
		}
	}
	return nil
}

// texts reads a string or an array of strings.
func texts(value strictjson.Value) ([]string, bool) {
	if text, ok := value.Text(); ok {
		return []string{text}, true
	}
	if value.Kind() != strictjson.Array {
		return nil, false
	}
	list := make([]string, len(value.Items()))
	for i, item := range value.Items() {
		text, ok := item.Text()
		if !ok {
			return nil, false
		}
		list[i] = text
	}
	return list, true
}

// numericDate reads seconds since 1970 (RFC 7519 §2), up to the last second of the year 9999: what is beyond is a
// number of milliseconds, or one that overflows.
func numericDate(value strictjson.Value) (time.Time, bool) {
	const last = 253402300799
	text, ok := value.Number()
	if !ok {
		return time.Time{}, false
	}
	if whole, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(whole, 0), 0 <= whole && whole <= last
	}
	number, err := strconv.ParseFloat(text, 64)
	if err != nil || !(0 <= number && number <= last) {
		return time.Time{}, false
	}
	whole, fraction := math.Modf(number)
	return time.Unix(int64(whole), int64(fraction*1e9)), true
}

// allowsType compares typ as a media type (RFC 7515 §4.1.9): in any case, with or without "application/".
func (p *Policy) allowsType(typ string) bool {
	if len(p.Types) == 0 {
		return sameType(typ, "JWT")
	}
	return slices.ContainsFunc(p.Types, func(allowed string) bool { return sameType(typ, allowed) })
}

func sameType(a, b string) bool {
	a, b = shortType(a), shortType(b)
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// shortType leaves out "application/" where RFC 7515 §4.1.9 says that it may be: no other slash follows.
func shortType(typ string) string {
	const prefix = "application/"
	if len(typ) > len(prefix) && sameType(typ[:len(prefix)-1], prefix[:len(prefix)-1]) && typ[len(prefix)-1] == '/' &&
		!strings.Contains(typ[len(prefix):], "/") {
		return typ[len(prefix):]
	}
	return typ
}

// lower folds ASCII only: strings.EqualFold takes the Kelvin sign for a k.
func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
