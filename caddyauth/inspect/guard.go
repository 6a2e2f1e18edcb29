package inspect

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
)

// policy lets the page load its own two files, and talk to where it came from. Nothing else: if a hostile text ever
// became markup, it could do nothing.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// guarded refuses everything but reading, and everything from another site, and sets the headers that keep an answer
// from other sites and from caches.
func guarded(serve caddy.AdminHandlerFunc) caddy.AdminHandler {
	return caddy.AdminHandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		header := w.Header()
		header.Del("Access-Control-Allow-Origin") // which Caddy sets for origins that its config allows
		header.Set("Content-Security-Policy", policy)
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		header.Set("Cross-Origin-Opener-Policy", "same-origin")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "same-origin") // Caddy's origin check reads the Referer of what the page loads
		header.Set("Cache-Control", "no-store")

		// Browsers say where a request comes from. `none` is the address bar.
		switch r.Header.Get("Sec-Fetch-Site") {
		case "", "none", "same-origin":
		default:
			return caddy.APIError{HTTPStatus: http.StatusForbidden, Err: errors.New("requests of other sites are not answered")}
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			header.Set("Allow", "GET, HEAD")
			return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("the inspector can only be read")}
		}
		return serve(w, r)
	})
}
