// Package vonagesms makes and checks the signatures of Vonage's older SMS API: the parameter `sig` on inbound messages
// and delivery receipts (developer.vonage.com, "Signing messages").
//
// What is signed is the list of all other parameters, sorted by name, as `&name=value`, in which each `&` and `=` of a
// value is written `_`. So the signature does not tell these three characters apart, and the digest of the default
// method is MD5: this is as much as the vendor's scheme gives.
package vonagesms

import (
	"crypto/hmac"
	"crypto/md5"  //nolint:gosec // the vendor's choice
	"crypto/sha1" //nolint:gosec // the vendor's choice
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"hash"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// The parameters that the signature itself needs.
const (
	SignatureName = "sig"
	TimestampName = "timestamp"
)

// MD5Hash is the default method: the MD5 digest of the list with the secret behind it.
const MD5Hash = "md5hash"

// hashes has the hash of each method. All but MD5Hash are an HMAC under the secret.
var hashes = map[string]func() hash.Hash{
	MD5Hash:  md5.New,
	"md5":    md5.New,
	"sha1":   sha1.New,
	"sha256": sha256.New,
	"sha512": sha512.New,
}

// Methods returns the names of the methods, the default first.
func Methods() []string { return []string{MD5Hash, "md5", "sha1", "sha256", "sha512"} }

// Parameters are those of one message.
type Parameters map[string]string

// FromValues takes the parameters out of a query or form. One that stands twice is refused, for the receiver might read
// the other one; so is a name that could be read as several in the list that is signed. Errors are verdict.Malformed.
func FromValues(values url.Values) (Parameters, error) {
	p := make(Parameters, len(values))
	for name, all := range values {
		if len(all) != 1 {
			return nil, verdict.Errorf(verdict.Malformed, "a parameter stands %d times", len(all))
		}
		if err := p.add(name, all[0]); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// FromJSON takes the parameters out of a JSON object of texts and numbers. Numbers count as they are written. Anything
// else in it is refused, for how it was signed is not known. Errors are verdict.Malformed.
func FromJSON(data []byte) (Parameters, error) {
	object, err := strictjson.Parse(data)
	if err != nil || object.Kind() != strictjson.Object {
		return nil, verdict.Errorf(verdict.Malformed, "the body is not a JSON object")
	}
	p := make(Parameters, len(object.Members()))
	for _, member := range object.Members() {
		value, ok := member.Value.Text()
		if !ok {
			value, ok = member.Value.Number()
		}
		if !ok {
			return nil, verdict.Errorf(verdict.Malformed, "the JSON object holds more than texts and numbers")
		}
		if err := p.add(member.Name, value); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// add takes one parameter. Values are cleaned of `&` and `=` in the signed list, names are not: `a=1&b` would be signed
// like `a` and `b`, and a genuine message could be cut anew.
func (p Parameters) add(name, value string) error {
	if name == "" || strings.ContainsAny(name, "&=") {
		return verdict.Errorf(verdict.Malformed, "a parameter's name is empty or holds & or =")
	}
	if _, twice := p[name]; twice {
		return verdict.Errorf(verdict.Malformed, "a parameter stands twice")
	}
	p[name] = value
	return nil
}

var clean = strings.NewReplacer("&", "_", "=", "_")

// Base returns the list that is signed. Empty values count, as in the vendor's SDKs for PHP and Ruby.
func (p Parameters) Base() string {
	var base strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if name == SignatureName {
			continue
		}
		base.WriteByte('&')
		base.WriteString(name)
		base.WriteByte('=')
		base.WriteString(clean.Replace(p[name]))
	}
	return base.String()
}

// Sign returns the signature of a list by one of Methods; nil for another.
func Sign(method, base string, key []byte) []byte {
	newHash, known := hashes[method]
	if !known {
		return nil
	}
	if method == MD5Hash {
		digest := newHash()
		digest.Write([]byte(base))
		digest.Write(key)
		return digest.Sum(nil)
	}
	mac := hmac.New(newHash, key)
	mac.Write([]byte(base))
	return mac.Sum(nil)
}

// Verify returns the label of the secret with which p was signed by this method. It looks at all secrets, so that the
// time taken does not tell which one matched. Hex digits may be of either case: the vendor writes both. Errors are
// verdict.Missing, verdict.BadCredential or verdict.BadSignature.
func Verify(method string, p Parameters, secrets []secret.Value) (label string, err error) {
	text := p[SignatureName]
	if text == "" {
		return "", verdict.Errorf(verdict.Missing, "no parameter sig")
	}
	newHash, known := hashes[method]
	if !known {
		return "", verdict.Errorf(verdict.Unavailable, "no such method")
	}
	presented, err := hex.DecodeString(text)
	if err != nil || len(presented) != newHash().Size() {
		return "", verdict.Errorf(verdict.BadCredential, "sig is not %d hex digits, as the method %s makes them", 2*newHash().Size(), method)
	}
	base, found := p.Base(), -1
	for i, s := range secrets {
		if hmac.Equal(Sign(method, base, s.Bytes()), presented) && !s.Empty() && found < 0 {
			found = i
		}
	}
	if found < 0 {
		return "", verdict.Errorf(verdict.BadSignature, "sig is not that of the parameters")
	}
	return secrets[found].Label(), nil
}
