package schemes

import (
	"crypto/sha256"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
)

// queryMatches reports whether a claim is the hash of the parameters of a GET. Vonage hashes the JSON object that they
// make, in their order, as JavaScript writes it (api.support.vonage.com, article 19033783342876). A query without
// parameters is one with nothing to protect: hashed as an empty object or as empty text, or without the claim.
func queryMatches(rawQuery string, hash strictjson.Value, present bool) bool {
	if rawQuery == "" {
		return !present || isLowerHexDigest(hash, sha256.Sum256([]byte("{}"))) || isLowerHexDigest(hash, sha256.Sum256(nil))
	}
	object, ok := queryObject(rawQuery)
	return ok && isLowerHexDigest(hash, sha256.Sum256(object))
}

// VonageQuery writes the parameters of a GET as Vonage hashes them: as the JSON object that they make, in their order.
// ok is false for a query that does not parse, is not UTF-8 or has a name twice.
func VonageQuery(rawQuery string) (object []byte, ok bool) {
	if rawQuery == "" {
		return []byte("{}"), true
	}
	return queryObject(rawQuery)
}

// queryObject writes the parameters of a query as a JSON object. One that does not parse, is not UTF-8, has a name
// twice or a pair that is empty is none: a receiver could read something else in it than what was hashed.
func queryObject(rawQuery string) (object []byte, ok bool) {
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, false
	}
	object = append(object, '{')
	count := 0
	for pair := range strings.SplitSeq(rawQuery, "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, errName := url.QueryUnescape(name)
		value, errValue := url.QueryUnescape(value)
		if pair == "" || errName != nil || errValue != nil || len(values[name]) != 1 || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, false
		}
		if count++; count > 1 {
			object = append(object, ',')
		}
		object = appendJSONString(object, name)
		object = append(object, ':')
		object = appendJSONString(object, value)
	}
	return append(object, '}'), true
}

// appendJSONString writes a string as JSON.stringify does (ECMA-262 §25.5.2.3): encoding/json escapes more.
func appendJSONString(object []byte, text string) []byte {
	const hexDigits = "0123456789abcdef"
	object = append(object, '"')
	for i := range len(text) {
		switch char := text[i]; char {
		case '"', '\\':
			object = append(object, '\\', char)
		case '\b':
			object = append(object, `\b`...)
		case '\f':
			object = append(object, `\f`...)
		case '\n':
			object = append(object, `\n`...)
		case '\r':
			object = append(object, `\r`...)
		case '\t':
			object = append(object, `\t`...)
		default:
			if char < 0x20 {
				object = append(object, '\\', 'u', '0', '0', hexDigits[char>>4], hexDigits[char&15])
			} else {
				object = append(object, char)
			}
		}
	}
	return append(object, '"')
}
