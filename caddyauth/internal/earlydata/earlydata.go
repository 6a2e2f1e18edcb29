// Package earlydata refuses requests that came in TLS early data.
package earlydata

import (
	"net/http"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// Check refuses a request in early data with 425: anybody who saw it can send it again, and its source address proves
// nothing (RFC 8470 §3, §5.2). Whatever an Early-Data header says, and however often it stands, it is one (RFC 8470
// §5.1). The error is verdict.Unavailable.
func Check(r *http.Request) error {
	if (r.TLS != nil && !r.TLS.HandshakeComplete) || len(r.Header.Values("Early-Data")) > 0 {
		return verdict.Errorf(verdict.Unavailable, "the request came in TLS early data").WithStatus(http.StatusTooEarly)
	}
	return nil
}
