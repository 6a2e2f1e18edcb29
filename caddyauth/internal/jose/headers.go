package jose

import (
	"strings"
	"sync/atomic"
)

// headers remembers the header of the last genuine token: most senders write the same one each time. An entry only says
// what this very text reads as under its policy; the text itself is covered by the signature all the same.
type headers struct {
	last atomic.Pointer[header]
}

// header is a header that was read, and allowed by the policy.
type header struct {
	segment               string // as it is in the token
	algorithm, typ, keyID string
}

// know reads the header into t, if it is the one that is remembered. h may be nil.
func (h *headers) know(t *Token, segment string) bool {
	if h == nil {
		return false
	}
	last := h.last.Load()
	if last == nil || last.segment != segment {
		return false
	}
	t.Algorithm, t.Type, t.KeyID = last.algorithm, last.typ, last.keyID
	return true
}

// keep remembers the header of a token whose signature held: strangers cannot push it out.
func (h *headers) keep(t *Token, segment string) {
	if h == nil {
		return
	}
	if last := h.last.Load(); last != nil && last.segment == segment {
		return
	}
	h.last.Store(&header{
		strings.Clone(segment), strings.Clone(t.Algorithm), strings.Clone(t.Type), strings.Clone(t.KeyID), // pieces of the token
	})
}
