package signature

import (
	"errors"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

func (g Grammar) check() error {
	switch {
	case g.Signature != "":
		if g.Separator == "" || g.List || g.Prefix != "" {
			return errors.New("pairs have a separator, and neither a prefix nor a list")
		}
		if g.Signature == g.Timestamp {
			return errors.New("the signature and the timestamp have one name")
		}
		if strings.Contains(g.Signature+g.Timestamp, "=") {
			return errors.New("the name of a pair holds =")
		}
	case g.Timestamp != "":
		return errors.New("a timestamp in the signature header needs pairs")
	case g.List != (g.Separator != ""):
		return errors.New("a list has a separator, and one signature has none")
	}
	return nil
}

// read finds the signatures, still encoded, and the timestamp in the value of a header. It looks at no more than
// MaxSignatures entries; a header with more is refused, for the work must not grow with what a stranger sends.
func (g Grammar) read(value string) (signatures []string, timestamp string, err error) {
	if len(value) > MaxHeaderBytes {
		return nil, "", verdict.Errorf(verdict.BadCredential, "the signature header is too long")
	}
	if g.Separator == "" {
		signature, ok := strings.CutPrefix(value, g.Prefix)
		if !ok {
			return nil, "", verdict.Errorf(verdict.BadCredential, "the signature lacks its prefix")
		}
		return []string{signature}, "", nil
	}
	if strings.Count(value, g.Separator) >= MaxSignatures {
		return nil, "", verdict.Errorf(verdict.BadCredential, "more than %d entries in the signature header", MaxSignatures)
	}
	timestamps := 0
	for entry := range strings.SplitSeq(value, g.Separator) {
		entry = strings.Trim(entry, " \t")
		if g.Signature == "" {
			if signature, ok := strings.CutPrefix(entry, g.Prefix); ok {
				signatures = append(signatures, signature)
			}
			continue
		}
		switch name, content, ok := strings.Cut(entry, "="); {
		case !ok:
			return nil, "", verdict.Errorf(verdict.BadCredential, "the signature header is not a list of pairs")
		case name == g.Signature:
			signatures = append(signatures, content)
		case name == g.Timestamp && g.Timestamp != "":
			timestamps++
			timestamp = content
		}
	}
	if len(signatures) == 0 {
		return nil, "", verdict.Errorf(verdict.BadCredential, "the signature header has no signature of the expected version")
	}
	if g.Timestamp != "" && timestamps != 1 {
		return nil, "", verdict.Errorf(verdict.BadCredential, "%d timestamps in the signature header", timestamps)
	}
	return signatures, timestamp, nil
}

// write is the reverse of read, for one signature.
func (g Grammar) write(signature, timestamp string) string {
	if g.Signature == "" {
		return g.Prefix + signature
	}
	pair := g.Signature + "=" + signature
	if g.Timestamp != "" {
		pair = g.Timestamp + "=" + timestamp + g.Separator + pair
	}
	return pair
}
