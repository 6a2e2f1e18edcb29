// Package secret holds values that never print: not with any verb of fmt, not as JSON, not as text.
package secret

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// mask is what every way of printing a secret gives.
const mask = "REDACTED"

// MinBytes is the length below which a shared secret is weak: RFC 7518 §3.2 asks an HS256 key for 256 bits.
const MinBytes = 32

// Value is one resolved secret and the label that stands for it in logs and metrics. The zero Value matches nothing.
type Value struct {
	label  string
	bytes  []byte
	digest [sha256.Size]byte
}

// New returns a secret of these bytes under a label. It keeps the slice.
func New(label string, bytes []byte) Value {
	return Value{label: label, bytes: bytes, digest: sha256.Sum256(bytes)}
}

// Label returns the name under which the secret may be shown.
func (v Value) Label() string { return v.label }

// Bytes returns the secret itself. It is for keys of hashes, never for anything that is written.
func (v Value) Bytes() []byte { return v.bytes }

// Empty reports whether there is no secret at all.
func (v Value) Empty() bool { return len(v.bytes) == 0 }

// Weak reports whether the secret is shorter than MinBytes.
func (v Value) Weak() bool { return len(v.bytes) < MinBytes }

// Equal compares the secret with what a client sent, in time that depends on neither: digests are compared, so that
// not even the length shows. An empty secret equals nothing.
func (v Value) Equal(presented []byte) bool {
	digest := sha256.Sum256(presented)
	return subtle.ConstantTimeCompare(v.digest[:], digest[:]) == 1 && len(v.bytes) > 0
}

// Fingerprint returns a text that stands for the secret, is the same in every process, and from which the secret cannot
// be told unless it can be guessed. It is for keys of stores, which are hashed once more; it is not for logs.
func (v Value) Fingerprint() string {
	mac := hmac.New(sha256.New, v.bytes)
	mac.Write([]byte("caddyauth fingerprint"))
	return hex.EncodeToString(mac.Sum(nil))
}

// Match returns the first of values that equals presented. It looks at all of them, so that the time taken does not
// tell which one matched.
func Match(values []Value, presented []byte) (Value, bool) {
	found := -1
	for i := range values {
		if values[i].Equal(presented) && found < 0 {
			found = i
		}
	}
	if found < 0 {
		return Value{}, false
	}
	return values[found], true
}

// String and the methods below print the mask.
func (v Value) String() string { return mask }

// Format prints the mask for every verb and flag.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, mask) }

// GoString prints the mask.
func (v Value) GoString() string { return mask }

// MarshalJSON prints the mask.
func (v Value) MarshalJSON() ([]byte, error) { return json.Marshal(mask) }

// MarshalText prints the mask.
func (v Value) MarshalText() ([]byte, error) { return []byte(mask), nil }

// LogValue prints the mask.
func (v Value) LogValue() slog.Value { return slog.StringValue(mask) }
