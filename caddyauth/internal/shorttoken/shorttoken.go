// Package shorttoken makes and checks stream tokens that fit where media servers leave little room: nginx-rtmp keeps 255
// bytes of a stream's name and all of its arguments together, SRT 512 of a stream id, some cameras 128 of a whole URL.
//
// A token says what it is good for, and until when, for whom if anybody, and ends with a signature:
//
//	<mode>.<expiry>[.<subject>].<signature>
//
//	play.1800000000.noUtNFqeXOhspKK74gRXLw
//	publish.1800000000.alice._hdoNyv1tbZBnUN-In0SoQ
//
// The mode is `play` or `publish`. The expiry is Unix time in seconds, decimal, without leading zeros: from that second on
// the token is over. The subject is 1 to 47 of `A-Z a-z 0-9 . _ ~ -`. A token has 89 characters at most.
//
// The stream is signed and not carried: the signature is the first 16 bytes of the HMAC-SHA256 (RFC 2104, cut as its §5
// allows) of three lines, the last of which has no newline behind it, in base64url without padding (RFC 4648 §5):
//
//	caddyauth short token 1
//	<mode>.<expiry>[.<subject>]
//	<stream>
//
// that is, "caddyauth short token 1\n" + head + "\n" + stream. The stream is `app/name`, or the name where there is no
// app; one that is empty is every stream, where the checking side takes such tokens. Names of streams have no newlines.
//
// In a shell:
//
//	head=play.$(($(date +%s) + 3600))
//	mac=$(printf 'caddyauth short token 1\n%s\n%s' "$head" live/cam1 |
//		openssl dgst -sha256 -hmac "$SECRET" -binary | head -c 16 | openssl base64 -A | tr +/ -_ | tr -d =)
//	echo "$head.$mac"
//
// testdata/vectors.json has tokens that any other implementation must make, too.
package shorttoken

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// MaxBytes is the length of the longest token.
const MaxBytes = 89

const (
	// version stands before all that is signed: a signature made for anything else is none of a token.
	version = "caddyauth short token 1\n"

	macBytes      = 16
	signatureSize = 22 // of macBytes in base64url
	maxSubject    = 47
	maxDigits     = 11 // of the expiry: to the year 5138
)

// Token is what a token says by itself.
type Token struct {
	// Mode is `publish` or `play`.
	Mode string

	// Expires is the first second at which the token is over.
	Expires time.Time

	// Subject is who it is for; "" is nobody in particular.
	Subject string
}

// Mint makes a token for a stream, which is `app/name` or a name alone; "" is every stream.
func Mint(key []byte, t Token, stream string) (string, error) {
	switch {
	case len(key) == 0:
		return "", fmt.Errorf("no secret")
	case t.Mode != "publish" && t.Mode != "play":
		return "", fmt.Errorf("the mode %q is neither publish nor play", t.Mode)
	case t.Subject != "" && !isSubject(t.Subject):
		return "", fmt.Errorf("the subject is not of 1 to %d letters, digits, '.', '_', '~' and '-'", maxSubject)
	case strings.ContainsRune(stream, '\n'):
		return "", fmt.Errorf("the stream has a newline")
	}
	expiry := strconv.FormatInt(t.Expires.Unix(), 10)
	if !isExpiry(expiry) {
		return "", fmt.Errorf("the expiry %s is no time that a token can have", expiry)
	}
	head := t.Mode + "." + expiry
	if t.Subject != "" {
		head += "." + t.Subject
	}
	text := head + "." + sign(key, head, stream)
	if len(text) > MaxBytes {
		return "", fmt.Errorf("a token of %d characters, with this subject; it may have %d", len(text), MaxBytes)
	}
	return text, nil
}

// Verify checks a token: that one of secrets signed it for one of streams, that it is good for mode, and that it is not
// over. It returns the label of the secret. Errors are of package verdict; on one that a genuine token came to, the
// token is returned too. A token for another stream is verdict.BadSignature, for its signature is all that tells.
func Verify(text string, secrets []secret.Value, streams []string, mode string, now time.Time) (t Token, label string, err error) {
	t, head, signature, ok := parse(text)
	if !ok {
		return Token{}, "", verdict.Errorf(verdict.BadCredential, "not a short token")
	}
	// All are tried, whichever matches: the time it takes says nothing.
	found := 0
	for _, value := range secrets {
		for _, stream := range streams {
			match := subtle.ConstantTimeCompare([]byte(sign(value.Bytes(), head, stream)), []byte(signature))
			if found == 0 && match == 1 {
				label = value.Label()
			}
			found |= match
		}
	}
	switch {
	case found == 0:
		return Token{}, "", verdict.Errorf(verdict.BadSignature, "the short token is for another stream, or of another secret")
	case !now.Before(t.Expires):
		return t, label, verdict.Errorf(verdict.Expired, "the short token is over")
	case t.Mode != mode:
		return t, label, verdict.Errorf(verdict.BadClaim, "the short token is not good to %s", mode)
	}
	return t, label, nil
}

// parse takes a token apart. There is one way to write each token.
func parse(text string) (t Token, head, signature string, ok bool) {
	if len(text) > MaxBytes {
		return Token{}, "", "", false
	}
	last := strings.LastIndexByte(text, '.')
	if last < 0 || len(text)-last-1 != signatureSize {
		return Token{}, "", "", false
	}
	head, signature = text[:last], text[last+1:]
	mode, rest, _ := strings.Cut(head, ".")
	expiry, subject, hasSubject := strings.Cut(rest, ".")
	if mode != "publish" && mode != "play" || !isExpiry(expiry) || hasSubject && !isSubject(subject) {
		return Token{}, "", "", false
	}
	seconds, err := strconv.ParseInt(expiry, 10, 64)
	if err != nil {
		return Token{}, "", "", false
	}
	return Token{Mode: mode, Expires: time.Unix(seconds, 0), Subject: subject}, head, signature, true
}

// sign gives the signature's text. Comparing texts, not bytes, leaves no second spelling of one signature.
func sign(key []byte, head, stream string) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(version))
	mac.Write([]byte(head))
	mac.Write([]byte{'\n'})
	mac.Write([]byte(stream))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:macBytes])
}

// isExpiry reports whether text is a positive decimal number as Go would write it.
func isExpiry(text string) bool {
	return text != "" && len(text) <= maxDigits && text[0] != '0' && strings.Trim(text, "0123456789") == ""
}

// isSubject reports whether text can be a subject: characters that no URL has to encode (RFC 3986 §2.3).
func isSubject(text string) bool {
	if text == "" || len(text) > maxSubject {
		return false
	}
	for i := range len(text) {
		char := text[i]
		if !('a' <= char && char <= 'z' || 'A' <= char && char <= 'Z' || '0' <= char && char <= '9' ||
			strings.IndexByte("-._~", char) >= 0) {
			return false
		}
	}
	return true
}
