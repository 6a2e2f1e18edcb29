package dialects

import (
	"net/http"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(MediaMTX{})
}

// MediaMTX answers MediaMTX's `authMethod: http`. It allows on any 2xx, and denies on any other status; 401 is for clients
// that brought no credential, and makes some of them ask for one. There is no app: the name is MediaMTX's path.
//
// It never says that a session has ended. It names none for recordings, for HLS before 1.18, and for what has no media:
// its pages, and the OPTIONS of WebRTC players. Since 1.19.3 it asks about the DESCRIBE of a player over RTSP under the id of
// the connection, without an agent, and about its SETUP under that of the session.
//
// Its actions api, metrics and pprof ask for no stream, and are refused: leave them in `authHTTPExclude`.
type MediaMTX struct{}

// CaddyModule returns the Caddy module information.
func (MediaMTX) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.stream_auth.dialects.mediamtx",
		New: func() caddy.Module { return new(MediaMTX) },
	}
}

// Can says what MediaMTX tells and carries out.
func (MediaMTX) Can() stream.Ability {
	return stream.Ability{
		Server: "MediaMTX",
		Features: []stream.Feature{
			stream.FeatureIP, stream.FeatureTransport, stream.FeatureAgent, stream.FeatureUser,
			stream.FeatureMaxSessions,
		},
		// MediaMTX itself fills `token` from one of the others where it can.
		Sources: []stream.Source{
			{From: "field", Name: "token"}, {From: "query", Name: "jwt"}, {From: "query", Name: "token"}, {From: "password"},
		},
	}
}

// mediaMTXModes are the hook's actions that are about a stream.
var mediaMTXModes = map[string]stream.Mode{"publish": stream.Publish, "read": stream.Play, "playback": stream.Play}

// Decode reads the hook's JSON.
func (MediaMTX) Decode(r *http.Request, body []byte) (*stream.Request, error) {
	m, err := parseObject(r, body, jsonType)
	if err != nil {
		return nil, err
	}
	q := &stream.Request{
		Event:     stream.Open,
		Action:    m.text("action"),
		Name:      m.text("path"),
		Transport: strings.ToLower(m.text("protocol")),
		Server:    caller(r),
		Session:   m.text("id"),
		Query:     parseArgs(m.text("query")),
		User:      m.text("user"),
		Password:  m.text("password"),
		Fields:    make(map[string]string),
		Agent:     m.text("userAgent"),
	}
	if token := m.text("token"); token != "" {
		q.Fields["token"] = token
	}
	address := m.text("ip")
	if m.err != nil {
		return nil, m.err
	}
	if q.IP, err = parseIP(address); err != nil {
		return nil, err
	}
	_, tellsAgent := m.Get("userAgent") // since 1.19
	switch {
	case q.Transport == "webrtc", q.Transport == "moq", q.Transport == "hls" && tellsAgent && q.Agent == "":
		q.NoSession = q.Session == "" // a page, or OPTIONS
	case q.Transport == "rtsp" && q.Action == "read" && tellsAgent:
		q.Herald, q.Heralded = q.Agent == "", q.Agent != ""
	}
	var known bool
	if q.Mode, known = mediaMTXModes[q.Action]; !known {
		return nil, verdict.Errorf(verdict.Malformed, "an action that is neither publish, read nor playback")
	}
	return q, nil
}

// Encode answers 200 with no body, or the status of the denial.
func (MediaMTX) Encode(w http.ResponseWriter, q *stream.Request, d stream.Decision) error {
	clean(w.Header())
	switch status := denialStatus(d); {
	case d.Allow:
		w.WriteHeader(http.StatusOK)
	case q != nil && status == http.StatusForbidden && q.User == "" && q.Password == "" && q.Fields["token"] == "" &&
		q.Query.Get("jwt") == "" && q.Query.Get("token") == "":
		w.WriteHeader(http.StatusUnauthorized)
	default:
		refuse(w, d)
	}
	return nil
}

// Interface guard
var _ stream.Dialect = (*MediaMTX)(nil)
