package dialects

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(HTTP{})
}

// HTTP is for streams that Caddy itself serves or proxies, such as HLS, WHIP, WHEP, or Icecast behind Caddy. The request is
// the client's own: an allowance calls the next handler, and every request is judged, each segment too. Paths say which
// app and stream a request asks for; one that no pattern fits is denied.
//
// A client's fields are `bearer`, the token of `Authorization: Bearer`, and `cookie.<name>`; its user and password are those
// of Basic authentication.
type HTTP struct {
	// Patterns of paths, the first that fits counts.
	Paths []HTTPPath `json:"paths,omitempty"`

	// Where clients should be asked for a user name and a password: the text with which they are. It takes placeholders.
	// Default: they are not.
	Realm string `json:"realm,omitempty"`

	patterns  []pathPattern
	challenge string // empty without a realm
}

// HTTPPath says which stream a path asks for.
type HTTPPath struct {
	// The pattern, such as `/hls/{app}/{stream}/*`. `{app}` and `{stream}` stand for a segment or a part of one, `*` for one
	// segment, and `**` at the end for any number of them. `{stream}` must be there.
	Path string `json:"path,omitempty"`

	// What the request is for, whatever its method: `publish` or `play`. Default: `play` for GET, HEAD and OPTIONS, and
	// `publish` for POST, PUT, PATCH and DELETE.
	Mode string `json:"mode,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (HTTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.stream_auth.dialects.http",
		New: func() caddy.Module { return new(HTTP) },
	}
}

// Provision compiles the patterns.
func (h *HTTP) Provision(caddy.Context) error {
	if err := h.Check(); err != nil {
		return err
	}
	for _, path := range h.Paths {
		pattern, err := compilePath(path)
		if err != nil {
			return fmt.Errorf("path %s: %w", path.Path, err)
		}
		h.patterns = append(h.patterns, pattern)
	}
	if h.Realm == "" {
		return nil
	}
	var err error
	h.challenge, err = credential.BasicChallenge(h.Realm)
	return err
}

// Can says what a request tells, and what can be done about it.
func (h *HTTP) Can() stream.Ability {
	return stream.Ability{
		Server: "Caddy itself",
		Features: []stream.Feature{
			stream.FeatureApp, stream.FeatureIP, stream.FeatureOrigin, stream.FeatureTransport, stream.FeatureAgent,
			stream.FeatureUser, stream.FeatureRedirect,
		},
		Sources: []stream.Source{
			{From: "query", Name: "token"}, {From: "field", Name: "bearer"}, {From: "field", Name: "cookie.token"},
		},
		Inline: true,
	}
}

// httpModes are the modes of methods, where the path says none. No other method asks for a stream.
var httpModes = map[string]stream.Mode{
	http.MethodGet: stream.Play, http.MethodHead: stream.Play, http.MethodOptions: stream.Play,
	http.MethodPost: stream.Publish, http.MethodPut: stream.Publish, http.MethodPatch: stream.Publish, http.MethodDelete: stream.Publish,
}

// Decode reads a client's request as the next handler will see it.
func (h *HTTP) Decode(r *http.Request, _ []byte) (*stream.Request, error) {
	mode, known := httpModes[r.Method]
	if !known {
		return nil, verdict.Errorf(verdict.Malformed, "a method that asks for no stream").WithStatus(http.StatusMethodNotAllowed)
	}
	segments, err := splitPath(r.URL)
	if err != nil {
		return nil, err
	}
	q := &stream.Request{
		Event:     stream.Open,
		Action:    r.Method,
		Mode:      mode,
		Transport: "http",
		IP:        clientIP(r),
		Server:    r.Host,
		Origin:    r.Header.Get("Origin"),
		Agent:     r.UserAgent(),
		Fields:    make(map[string]string),
	}
	if q.Query, err = url.ParseQuery(r.URL.RawQuery); err != nil {
		q.QueryErr = errors.New("the query does not parse")
	}
	if q.Origin == "" {
		q.Origin = r.Referer()
	}
	if err := readCredentials(q, r.Header); err != nil {
		return nil, err
	}
	for _, cookie := range r.Cookies() {
		name := "cookie." + cookie.Name
		if before, twice := q.Fields[name]; twice && before != cookie.Value {
			return nil, verdict.Errorf(verdict.Malformed, "two cookies of one name")
		}
		q.Fields[name] = cookie.Value
	}
	for _, pattern := range h.patterns {
		if app, name, fits := pattern.match(segments); fits {
			q.App, q.Name = app, name
			if pattern.mode != "" {
				q.Mode = pattern.mode
			}
			return q, nil
		}
	}
	return nil, verdict.Errorf(verdict.Denied, "the path is not that of a stream")
}

// Encode answers a client that is denied; on an allowance the next handler does. Who brought no credential is asked for
// one, and who was asked for a password and mistyped it, again.
func (h *HTTP) Encode(w http.ResponseWriter, q *stream.Request, d stream.Decision) error {
	header := w.Header()
	clean(header)
	status := denialStatus(d)
	mistyped := h.challenge != "" && q != nil && q.User+q.Password != "" && d.Code == verdict.BadSignature
	switch {
	case d.Allow:
		return errors.New("an allowance is not encoded")
	case d.Redirect != "":
		header.Set("Location", d.Redirect)
		status = http.StatusFound
	case status == http.StatusForbidden && (d.Code == verdict.Missing || mistyped):
		status = http.StatusUnauthorized
		header.Set("WWW-Authenticate", cmp.Or(h.challenge, "Bearer"))
	case status == http.StatusServiceUnavailable:
		header.Set("Retry-After", "1")
	case status == http.StatusMethodNotAllowed:
		header.Set("Allow", "GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE")
	}
	w.WriteHeader(status)
	return nil
}

// clientIP is the client's address as Caddy sees it, so that `trusted_proxies` counts.
func clientIP(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	if text == "" {
		text = caller(r)
	}
	addr, _ := parseIP(text)
	return addr
}

// readCredentials reads the one Authorization header that there may be.
func readCredentials(q *stream.Request, header http.Header) error {
	values := header.Values("Authorization")
	if len(values) == 0 {
		return nil
	}
	if len(values) > 1 {
		return verdict.Errorf(verdict.Malformed, "%d Authorization headers", len(values))
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if strings.EqualFold(scheme, "Bearer") {
		q.Fields["bearer"] = token
		return nil
	}
	basic := http.Request{Header: header}
	q.User, q.Password, _ = basic.BasicAuth()
	return nil
}

// splitPath gives the segments of a path, decoded once. What a server behind Caddy could take for another path is refused:
// an encoded slash, a backslash, empty and dot segments but for an empty one at the end, and what some servers cut off
// from `;` on.
func splitPath(u *url.URL) ([]string, error) {
	malformed := verdict.Errorf(verdict.Malformed, "a path that can be read in two ways")
	rest, rooted := strings.CutPrefix(u.EscapedPath(), "/")
	if !rooted {
		return nil, malformed
	}
	segments := strings.Split(rest, "/")
	for i, segment := range segments {
		decoded, err := url.PathUnescape(segment)
		last := i == len(segments)-1
		if err != nil || strings.ContainsAny(decoded, "/\\;\x00") || decoded == "." || decoded == ".." || decoded == "" && !last {
			return nil, malformed
		}
		segments[i] = decoded
	}
	return segments, nil
}

// pathPattern is a compiled HTTPPath.
type pathPattern struct {
	segments []pathSegment
	rest     bool // `**` at the end
	mode     stream.Mode
}

// pathSegment is one segment of a pattern: before, what stands for app or stream or anything, after; or the literal before.
type pathSegment struct {
	before, after string
	takes         byte // 'a': the app, 's': the stream, '*': anything; 0: nothing
}

// compilePath reads a pattern.
func compilePath(path HTTPPath) (pathPattern, error) {
	pattern := pathPattern{mode: stream.Mode(path.Mode)}
	if path.Mode != "" && pattern.mode != stream.Publish && pattern.mode != stream.Play {
		return pattern, fmt.Errorf("'%s' is neither publish nor play", path.Mode)
	}
	text, rooted := strings.CutPrefix(path.Path, "/")
	if !rooted {
		return pattern, errors.New("it must begin with a slash")
	}
	if before, found := strings.CutSuffix(text, "/**"); found {
		text, pattern.rest = before, true
	}
	seen := make(map[byte]bool)
	for part := range strings.SplitSeq(text, "/") {
		segment := pathSegment{before: part}
		for word, takes := range map[string]byte{"{app}": 'a', "{stream}": 's', "*": '*'} {
			before, after, found := strings.Cut(part, word)
			if !found {
				continue
			}
			if segment.takes != 0 || takes != '*' && seen[takes] || takes == '*' && part != "*" {
				return pattern, errors.New("of {app}, {stream} and *, a segment has one, and * stands alone; {app} and {stream} stand once")
			}
			segment, seen[takes] = pathSegment{before, after, takes}, true
		}
		if strings.ContainsAny(segment.before+segment.after, "{}*") {
			return pattern, errors.New("there are {app}, {stream}, * and, at the end, **")
		}
		pattern.segments = append(pattern.segments, segment)
	}
	if !seen['s'] {
		return pattern, errors.New("it says nowhere what {stream} is")
	}
	return pattern, nil
}

// match holds a path against the pattern.
func (p pathPattern) match(path []string) (app, name string, fits bool) {
	if len(path) < len(p.segments) || len(path) > len(p.segments) && !p.rest {
		return "", "", false
	}
	for i, segment := range p.segments {
		if segment.takes == 0 {
			if path[i] != segment.before {
				return "", "", false
			}
			continue
		}
		inner, found := strings.CutPrefix(path[i], segment.before)
		inner, end := strings.CutSuffix(inner, segment.after)
		if !found || !end || inner == "" {
			return "", "", false
		}
		switch segment.takes {
		case 'a':
			app = inner
		case 's':
			name = inner
		}
	}
	return app, name, true
}

// ParseOption reads one line of the block. Syntax:
//
//	path  <pattern> [publish|play]
//	realm <text>
func (h *HTTP) ParseOption(d *caddyfile.Dispenser) (known bool, err error) {
	switch d.Val() {
	case "path":
		args := d.RemainingArgs()
		if len(args) != 1 && len(args) != 2 {
			return true, d.Errf("path takes a pattern and, if it is not for the method to say, publish or play: %d arguments given", len(args))
		}
		path := HTTPPath{Path: args[0]}
		if len(args) == 2 {
			path.Mode = args[1]
		}
		if _, err := compilePath(path); err != nil {
			return true, d.WrapErr(fmt.Errorf("path %s: %w", path.Path, err))
		}
		h.Paths = append(h.Paths, path)
		return true, nil
	case "realm":
		return true, credential.Realm(d, &h.Realm)
	default:
		return false, nil
	}
}

// Check refuses a block without a path: every request would be denied.
func (h *HTTP) Check() error {
	if len(h.Paths) == 0 {
		return errors.New("path: there must be one that says which stream is asked for, such as /hls/{app}/{stream}/*")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner   = (*HTTP)(nil)
	_ stream.Dialect      = (*HTTP)(nil)
	_ stream.OptionParser = (*HTTP)(nil)
	_ stream.Checker      = (*HTTP)(nil)
)
