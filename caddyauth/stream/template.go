package stream

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
)

// maxValueBytes bounds what one placeholder of an effect may stand for. A longer value is left out: a part of a name is
// another name.
const maxValueBytes = 255

// streamPrefix begins the placeholders that are replaced for each request; all others are, once, when the config is
// loaded.
const streamPrefix = "stream."

// mark stands around a placeholder for each request while the others are replaced.
const mark = "\x00"

// template is the text of an effect. What it puts in is never read again for placeholders.
type template struct {
	// Literal text and, at odd places, names of placeholders without the prefix.
	parts []string
}

// parseTemplate reads the value of an effect. {env.*} and the like are replaced now; one that is empty or unknown, and
// control characters, are errors.
func parseTemplate(text string) (template, error) {
	if text == "" {
		return template{}, errors.New("is empty")
	}
	repl := caddy.NewReplacer()
	repl.Map(func(key string) (any, bool) {
		name, ok := strings.CutPrefix(key, streamPrefix)
		return mark + name + mark, ok
	})
	resolved, err := repl.ReplaceOrErr(text, true, true)
	if err != nil {
		return template{}, errors.New("has a placeholder that is empty or not known")
	}
	t := template{parts: strings.Split(resolved, mark)}
	if len(t.parts)%2 == 0 || strings.Contains(text, mark) {
		return template{}, errors.New("has control characters")
	}
	for i, part := range t.parts {
		if i%2 == 1 {
			if !knownPlaceholder(part) {
				return template{}, fmt.Errorf("has the placeholder {%s%s}; there are {stream.app}, {stream.name}, "+
					"{stream.user}, {stream.subject}, {stream.ip} and {stream.claim.<name>}", streamPrefix, part)
			}
			continue
		}
		if cleanText(part) != part {
			return template{}, errors.New("has control characters, or is not UTF-8")
		}
	}
	return t, nil
}

// knownPlaceholder reports whether values has something for name.
func knownPlaceholder(name string) bool {
	claim, isClaim := strings.CutPrefix(name, "claim.")
	return isClaim && claim != "" || slices.Contains([]string{"app", "name", "user", "subject", "ip"}, name)
}

// parseURLTemplate is parseTemplate for a URL. It leads where the config says, whatever a client chose: scheme and host
// stand before the first placeholder.
func parseURLTemplate(text string) (template, error) {
	t, err := parseTemplate(text)
	if err != nil {
		return template{}, err
	}
	sample := t.expand(func(string) string { return "x" }, nil)
	if strings.ContainsFunc(sample, func(char rune) bool {
		return char <= ' ' || char >= utf8.RuneSelf || strings.ContainsRune(`"<>\^{|}`+"`", char)
	}) {
		return template{}, errors.New("has characters that stand percent-encoded in a URL")
	}
	parsed, err := url.Parse(sample)
	if err != nil || (parsed.Scheme != "http" && parsed.Scheme != "https") || parsed.Hostname() == "" {
		return template{}, errors.New("is not a URL that begins with http:// or https:// and a host")
	}
	if parsed.User != nil {
		return template{}, errors.New("has a user name or password: they would be shown to every client")
	}
	_, rest, _ := strings.Cut(t.parts[0], "://")
	if len(t.parts) > 1 && !strings.ContainsAny(rest, "/?#") {
		return template{}, errors.New("has a placeholder in its host: scheme and host are to stand before the first one")
	}
	return t, nil
}

// parseNameTemplate is parseTemplate for the name of a stream.
func parseNameTemplate(text string) (template, error) {
	t, err := parseTemplate(text)
	if err != nil {
		return template{}, err
	}
	if CheckName(t.expand(func(string) string { return "x" }, nil)) != nil {
		return template{}, errors.New("is no name of a stream")
	}
	return t, nil
}

// expand puts in what values has for each placeholder, after escape, which may be nil.
func (t template) expand(values, escape func(string) string) string {
	var b strings.Builder
	for i, part := range t.parts {
		if i%2 == 1 {
			if part = values(part); len(part) > maxValueBytes {
				part = ""
			}
			if escape != nil {
				part = escape(part)
			}
		}
		b.WriteString(part)
	}
	return b.String()
}

// cleanText leaves out of text what could end a header line or change how a log reads.
func cleanText(text string) string {
	return strings.Map(func(char rune) rune {
		if char == utf8.RuneError || unicode.IsControl(char) || unicode.Is(unicode.Cf, char) ||
			unicode.Is(unicode.Zl, char) || unicode.Is(unicode.Zp, char) {
			return -1
		}
		return char
	}, text)
}

// escapeURL percent-encodes all but the unreserved characters (RFC 3986 §2.3), slashes too, so that a value stays within
// the part of the URL where its placeholder stands. A value of dots alone, which would be a step through the path, is
// left out.
func escapeURL(text string) string {
	if strings.Trim(text, ".") == "" {
		return ""
	}
	var b strings.Builder
	for i := range len(text) {
		char := text[i]
		if 'a' <= char && char <= 'z' || 'A' <= char && char <= 'Z' || '0' <= char && char <= '9' ||
			strings.IndexByte("-._~", char) >= 0 {
			b.WriteByte(char)
		} else {
			fmt.Fprintf(&b, "%%%02X", char)
		}
	}
	return b.String()
}
