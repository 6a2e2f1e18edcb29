package dialects

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(AntMedia{})
}

// AntMedia answers Ant Media Server's webhooks `webhookAuthenticateURL` (publish: WebRTC, RTMP, SRT) and
// `webhookPlayAuthUrl` (play: WebRTC). It allows on status 200 alone, and denies on any other.
//
// Ant Media Server sends the publish hook in ISO-8859-1 without saying so: a body that is not UTF-8, and names no
// charset, is read as that. Characters beyond it arrive as `?`, so that streams with them cannot be told apart, and are
// refused.
type AntMedia struct{}

// CaddyModule returns the Caddy module information.
func (AntMedia) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.stream_auth.dialects.antmedia",
		New: func() caddy.Module { return new(AntMedia) },
	}
}

// Can says what Ant Media Server tells and carries out.
func (AntMedia) Can() stream.Ability {
	return stream.Ability{
		Server:   "Ant Media Server",
		Features: []stream.Feature{stream.FeatureApp, stream.FeatureIP, stream.FeatureOrigin},
		Sources:  []stream.Source{{From: "field", Name: "token"}, {From: "query", Name: "token"}},
	}
}

// antMediaModes are the modes of the hook. One who publishes in the mode `record` or `append` writes a file, too: no rule here
// could forbid that, so it is refused.
var antMediaModes = map[string]stream.Mode{"live": stream.Publish, "publish": stream.Publish, "play": stream.Play}

// Decode reads the hook's JSON.
func (AntMedia) Decode(r *http.Request, body []byte) (*stream.Request, error) {
	charset, err := checkPost(r, jsonType, "utf-8", "iso-8859-1")
	if err != nil {
		return nil, err
	}
	if charset == "iso-8859-1" || charset == "" && !utf8.Valid(body) {
		body = fromLatin1(body)
	}
	value, err := strictjson.Parse(body)
	if err != nil || value.Kind() != strictjson.Object {
		return nil, verdict.Errorf(verdict.Malformed, "the body is not one JSON object")
	}

	m := members{Value: value}
	q := &stream.Request{
		Event:  stream.Open,
		Action: m.text("mode"),
		App:    m.text("appName"),
		Name:   m.text("streamId"),
		Origin: m.text("origin"),
		Fields: make(map[string]string),
	}
	for _, name := range []string{"token", "subscriberId", "subscriberCode"} {
		if text := m.text(name); text != "" {
			q.Fields[name] = text
		}
	}
	if text := m.text("queryParams"); text != "" {
		q.Query, q.QueryErr = parseJavaMap(text)
	}
	address := m.text("ipAddress")
	if m.err != nil {
		return nil, m.err
	}
	if q.IP, err = parseIP(address); err != nil {
		return nil, err
	}
	if name, ok := value.Get("name"); ok {
		if text, isText := name.Text(); !isText || text != q.Name {
			return nil, verdict.Errorf(verdict.Malformed, "name and streamId differ")
		}
	}
	if metadata, ok := value.Get("metaData"); ok {
		q.Metadata = metadata.Any()
	}
	var known bool
	if q.Mode, known = antMediaModes[q.Action]; !known {
		return nil, verdict.Errorf(verdict.Malformed, "a mode that is neither live, publish nor play")
	}
	return q, nil
}

// Encode answers 200 with no body, or the status of the denial.
func (AntMedia) Encode(w http.ResponseWriter, _ *stream.Request, d stream.Decision) error {
	clean(w.Header())
	if d.Allow {
		w.WriteHeader(http.StatusOK)
	} else {
		refuse(w, d)
	}
	return nil
}

// errJavaMap says that a map's text could be that of more than one map.
var errJavaMap = errors.New("a printed map that can be read in two ways")

// parseJavaMap reads what java.util.Map.toString makes of a query: `{a=1, b=2}`. Nothing is escaped in it, so only a
// text that can be read in one way counts: each part has exactly one `=`, and no name stands twice.
func parseJavaMap(text string) (url.Values, error) {
	inner, opened := strings.CutPrefix(text, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	if !opened || !closed {
		return nil, errJavaMap
	}
	values := make(url.Values)
	if inner == "" {
		return values, nil
	}
	for part := range strings.SplitSeq(inner, ", ") {
		name, value, found := strings.Cut(part, "=")
		if !found || name == "" || strings.Contains(value, "=") || values.Has(name) {
			return nil, errJavaMap
		}
		values.Set(name, value)
	}
	return values, nil
}

// fromLatin1 gives ISO-8859-1 as UTF-8: its bytes are the first 256 characters of Unicode.
func fromLatin1(text []byte) []byte {
	converted := make([]byte, 0, len(text)+len(text)/8)
	for _, char := range text {
		converted = utf8.AppendRune(converted, rune(char))
	}
	return converted
}

// Interface guard
var _ stream.Dialect = (*AntMedia)(nil)
