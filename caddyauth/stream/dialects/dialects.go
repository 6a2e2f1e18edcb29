// Package dialects has the media servers that stream_auth answers, one file each. This one has what they share: how a
// hook's form is held to, and how a denial is written so that no server takes it for an allowance.
package dialects

import (
	"mime"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// The media types of hooks.
const (
	formType = "application/x-www-form-urlencoded"
	jsonType = "application/json"
)

// checkPost refuses what is not a POST of this media type, and returns the charset that the request names, in lower
// case. Charsets other than those listed are refused; none is always taken.
func checkPost(r *http.Request, mediaType string, charsets ...string) (charset string, err error) {
	if r.Method != http.MethodPost {
		return "", verdict.Errorf(verdict.Malformed, "a hook is a POST").WithStatus(http.StatusMethodNotAllowed)
	}
	types := r.Header.Values("Content-Type")
	if len(types) == 1 && r.Header.Get("Content-Encoding") == "" {
		if types[0] == mediaType { // as most send it
			return "", nil
		}
		given, parameters, err := mime.ParseMediaType(types[0])
		charset = strings.ToLower(parameters["charset"])
		if err == nil && given == mediaType && (charset == "" || slices.Contains(charsets, charset)) {
			return charset, nil
		}
	}
	return "", verdict.Errorf(verdict.Malformed, "the body is not of the type %s", mediaType).WithStatus(http.StatusUnsupportedMediaType)
}

// caller is the address that a hook comes from. It tells media servers apart that do not name themselves.
func caller(r *http.Request) string {
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return ""
	}
	return addr.Addr().Unmap().String()
}

// parseArgs reads the query that a client gave a media server, which hands it on as it is. A pair that does not decode is
// left out: it must not lock out the client that wrote it. A credential that stands twice is refused when it is asked for.
func parseArgs(query string) url.Values {
	values, _ := url.ParseQuery(query)
	return values
}

// isPlainName reports whether a stream can be renamed to name: the servers take it as it is, some as a part of a URL.
func isPlainName(name string) bool {
	return stream.CheckName(name) == nil && !strings.ContainsFunc(name, func(char rune) bool {
		return !('a' <= char && char <= 'z' || 'A' <= char && char <= 'Z' || '0' <= char && char <= '9' ||
			strings.ContainsRune("._~-/", char))
	})
}

// form is the body of a hook: no field stands twice, for two readers might take the one and the other.
type form map[string]string

// parseForm reads a body of the type application/x-www-form-urlencoded. The query of the hook's own URL is no part of it.
func parseForm(r *http.Request, body []byte) (form, error) {
	if _, err := checkPost(r, formType, "utf-8"); err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, verdict.Errorf(verdict.Malformed, "the form does not parse")
	}
	fields := make(form, len(values))
	for name, list := range values {
		if len(list) != 1 {
			return nil, verdict.Errorf(verdict.Malformed, "a field of the form stands %d times", len(list))
		}
		fields[name] = list[0]
	}
	return fields, nil
}

// parseIP reads the client's address as a server reports it; "" is none.
func parseIP(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}, verdict.Errorf(verdict.Malformed, "the client's address is none")
	}
	return addr.Unmap().WithZone(""), nil
}

// obeyed are the headers, beside those that begin with obeyedPrefixes, that one or another media server takes for an
// order.
var (
	obeyed = []string{
		"location", "mountpoint", "ice-username", "icecast-slave", "icecast-www-authenticate", "preroll", "postroll",
	}
	obeyedPrefixes = []string{"icecast-auth-", "x-icecast-auth-"}
)

// clean removes what an earlier handler set and a media server would obey.
func clean(header http.Header) {
	for name := range header {
		lower := strings.ToLower(name)
		if slices.Contains(obeyed, lower) ||
			slices.ContainsFunc(obeyedPrefixes, func(prefix string) bool { return strings.HasPrefix(lower, prefix) }) {
			delete(header, name)
		}
	}
}

// denialStatus is the status of a denial: one of an error, whatever d says. 2xx is an allowance to many servers, and 3xx
// makes some of them ask elsewhere.
func denialStatus(d stream.Decision) int {
	if status := d.HTTPStatus(); status >= 400 && status <= 599 {
		return status
	}
	return http.StatusForbidden
}

// denialText is what a denial says to servers that show a text: the rule's own reason, else no more than that it is one.
func denialText(d stream.Decision) string {
	switch {
	case d.Reason != "":
		return d.Reason
	case d.Code == verdict.Unavailable:
		return "unavailable"
	default:
		return "denied"
	}
}

// refuse writes the status of a denial.
func refuse(w http.ResponseWriter, d stream.Decision) {
	status := denialStatus(d)
	setAllow(w.Header(), status)
	w.WriteHeader(status)
}

// setAllow says with a 405 which method is taken (RFC 9110 §15.5.6).
func setAllow(header http.Header, status int) {
	if status == http.StatusMethodNotAllowed {
		header.Set("Allow", http.MethodPost)
	}
}

// notification reports whether q asks for nothing.
func notification(q *stream.Request) bool {
	return q != nil && (q.Event == stream.Close || q.Event == stream.Notice)
}
