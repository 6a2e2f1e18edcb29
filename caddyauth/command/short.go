package command

import (
	"errors"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/shorttoken"
)

// shortToken makes the token that `signed` checks. It has room for a stream, a mode, an expiry and a subject.
func (m *minting) shortToken(secret string, expires, _ time.Time) (string, error) {
	if m.ip != "" || len(m.claims) > 0 {
		return "", errors.New("--ip and --claim: a short token has no claims")
	}
	if strings.Contains(m.stream, "*") {
		return "", errors.New("--stream: a short token is for one stream, not for a pattern")
	}
	return shorttoken.Mint([]byte(secret), shorttoken.Token{Mode: m.mode, Expires: expires, Subject: m.subject}, m.stream)
}
