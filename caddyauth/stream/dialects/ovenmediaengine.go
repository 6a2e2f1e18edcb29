package dialects

import (
	"cmp"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(OvenMediaEngine{})
}

// OvenMediaEngine answers OvenMediaEngine's AdmissionWebhooks, for opening and closing, of providers and publishers. It
// allows on status 200 with `"allowed":true`, and denies on anything else. It signs its hooks: put the scheme
// `ovenmediaengine` of callback_auth before this.
//
// The address is that of the connection: what OvenMediaEngine calls `real_ip`, any client can write.
type OvenMediaEngine struct{}

// CaddyModule returns the Caddy module information.
func (OvenMediaEngine) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.stream_auth.dialects.ovenmediaengine",
		New: func() caddy.Module { return new(OvenMediaEngine) },
	}
}

// Can says what OvenMediaEngine tells and carries out.
func (OvenMediaEngine) Can() stream.Ability {
	return stream.Ability{
		Server: "OvenMediaEngine",
		Features: []stream.Feature{
			stream.FeatureApp, stream.FeatureIP, stream.FeatureTransport, stream.FeatureAgent,
			stream.FeatureTimeLimit, stream.FeatureMaxSessions, stream.FeatureRename,
		},
		Sources: []stream.Source{{From: "query", Name: "token"}},
		Closes:  true,
	}
}

// Decode reads the hook's JSON.
func (OvenMediaEngine) Decode(r *http.Request, body []byte) (*stream.Request, error) {
	m, err := parseObject(r, body, jsonType)
	if err != nil {
		return nil, err
	}
	client, request := m.object("client"), m.object("request")
	direction, status := request.text("direction"), request.text("status")
	address, port := client.text("address"), client.id("port")
	q := &stream.Request{
		Action:    status,
		Transport: strings.ToLower(request.text("protocol")),
		Server:    caller(r),
		Agent:     cmp.Or(client.text("user_agent"), client.text("user-agent")), // as 0.15.3 to 0.15.11 spell it
		Fields:    map[string]string{"url": request.text("url")},
	}
	if err := errors.Join(m.err, client.err, request.err); err != nil {
		return nil, verdict.Errorf(verdict.Malformed, "a member of the wrong type")
	}
	if q.IP, err = parseIP(address); err != nil {
		return nil, err
	}
	switch direction {
	case "incoming":
		q.Mode = stream.Publish
	case "outgoing":
		q.Mode = stream.Play
	default:
		return nil, verdict.Errorf(verdict.Malformed, "a direction that is neither incoming nor outgoing")
	}
	switch status {
	case "opening":
		q.Event = stream.Open
	case "closing":
		q.Event = stream.Close
	default:
		return nil, verdict.Errorf(verdict.Malformed, "a status that is neither opening nor closing")
	}
	asked, err := parseOvenURL(q.Fields["url"])
	if err != nil {
		return nil, err
	}
	q.App, q.Name, q.Query = asked.app, asked.name, parseArgs(asked.query)
	// There are no session ids. A connection is one, for each stream on it. Over HLS and WHIP the end may come on another
	// connection, and is then not known.
	if address != "" && port != "" {
		q.Session = net.JoinHostPort(address, port) + "/" + q.Stream()
	}
	return q, nil
}

// ovenAnswer is what OvenMediaEngine reads.
type ovenAnswer struct {
	Allowed  bool   `json:"allowed"`
	NewURL   string `json:"new_url,omitempty"`
	Lifetime int64  `json:"lifetime,omitempty"` // milliseconds; 0 is without end
	Reason   string `json:"reason,omitempty"`
}

// Encode answers 200 and says in the body what is allowed, for how long, and as which stream.
func (OvenMediaEngine) Encode(w http.ResponseWriter, q *stream.Request, d stream.Decision) error {
	clean(w.Header())
	switch {
	case notification(q):
		return writeJSON(w, http.StatusOK, struct{}{})
	case !d.Allow:
		return writeJSON(w, http.StatusOK, ovenAnswer{Reason: denialText(d)})
	}
	answer := ovenAnswer{Allowed: true, Lifetime: int64(d.TimeLimit / time.Millisecond), Reason: d.Reason}
	if d.Rename != "" && q != nil {
		asked, err := parseOvenURL(q.Fields["url"])
		if err == nil {
			answer.NewURL, err = asked.rename(d.Rename)
		}
		if err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, answer)
}

// ovenURL is the URL that a client asked for: `<scheme>://<host>/<app>/<name>[/<file>][?<query>]`. It is taken apart as
// OvenMediaEngine does it, to which `#` is a character like any other.
type ovenURL struct {
	base           string // scheme and host
	app, name      string // decoded
	file, question string // as they stand, with `/` and `?`
	query          string // as it stands
}

// parseOvenURL takes a URL apart.
func parseOvenURL(text string) (ovenURL, error) {
	malformed := verdict.Errorf(verdict.Malformed, "the client's URL does not name an app and a stream")
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || hidesStream(rest) {
		return ovenURL{}, malformed
	}
	address, query, _ := strings.Cut(rest, "?")
	parts := strings.SplitN(address, "/", 4)
	if len(parts) < 3 {
		return ovenURL{}, malformed
	}
	u := ovenURL{base: scheme + "://" + parts[0], query: query, question: strings.TrimPrefix(rest, address)}
	if len(parts) == 4 {
		u.file = "/" + parts[3]
	}
	var err, other error
	u.app, err = url.PathUnescape(parts[1])
	u.name, other = url.PathUnescape(parts[2])
	if errors.Join(err, other) != nil || strings.Contains(u.app+u.name, "/") {
		return ovenURL{}, malformed
	}
	// A file above its stream would be another stream's.
	for segment := range strings.SplitSeq(u.file, "/") {
		if decoded, err := url.PathUnescape(segment); err != nil || decoded == "." || decoded == ".." {
			return ovenURL{}, malformed
		}
	}
	return u, nil
}

// hidesStream reports whether OvenMediaEngine could read another stream in the rest of a URL, behind its scheme. The regular
// expression of its `ov::Url` takes all up to the last `://` for the scheme, and all up to an `@` for a login, whatever
// stands between: a client's `/app/cam1?x=rtmp://host/app/cam2` is cam2.
func hidesStream(rest string) bool {
	if strings.Contains(rest, "://") {
		return true
	}
	host := strings.IndexAny(rest, "/?")
	if host < 0 {
		return false
	}
	_, behind, _ := strings.Cut(rest[host:], "@")
	return strings.Count(behind, "/") > 1
}

// rename gives the URL with another stream: `name` in the same app, or `app/name`.
func (u ovenURL) rename(to string) (string, error) {
	app, name, both := strings.Cut(to, "/")
	if !both {
		app, name = u.app, to
	}
	if !isPlainName(app) || !isPlainName(name) || strings.Contains(name, "/") {
		return "", errors.New("a stream cannot be renamed to what is no plain name")
	}
	return u.base + "/" + app + "/" + name + u.file + u.question, nil
}

// Interface guard
var _ stream.Dialect = (*OvenMediaEngine)(nil)
