package dialects

import (
	"net/http"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(SRS{})
}

// SRS answers SRS's `http_hooks` `on_publish`, `on_play`, `on_unpublish`, `on_stop`, `on_close`, `on_dvr` and `on_hls`,
// all of them at one URL. It allows on status 200 or 201 with the code 0 in the body, and denies on anything else.
//
// `on_connect` is refused: it asks before there is a stream, so that an answer could only let everybody in. The vhost is
// the client's choice, and no part of the stream: vhosts with rules of their own need a hook URL of their own.
type SRS struct{}

// CaddyModule returns the Caddy module information.
func (SRS) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.stream_auth.dialects.srs",
		New: func() caddy.Module { return new(SRS) },
	}
}

// Can says what SRS tells and carries out.
func (SRS) Can() stream.Ability {
	return stream.Ability{
		Server: "SRS",
		Features: []stream.Feature{
			stream.FeatureApp, stream.FeatureIP, stream.FeatureOrigin, stream.FeatureMaxSessions,
		},
		Sources: []stream.Source{{From: "query", Name: "token"}},
		Closes:  true,
	}
}

// srsEvents are the hook's actions.
var srsEvents = map[string]struct {
	event stream.Event
	mode  stream.Mode
}{
	"on_publish":   {stream.Open, stream.Publish},
	"on_play":      {stream.Open, stream.Play},
	"on_unpublish": {stream.Close, stream.Publish},
	"on_stop":      {stream.Close, stream.Play},
	"on_close":     {stream.Close, ""},
	"on_dvr":       {stream.Notice, ""},
	"on_hls":       {stream.Notice, ""},
}

// Decode reads the hook's JSON.
func (SRS) Decode(r *http.Request, body []byte) (*stream.Request, error) {
	m, err := parseObject(r, body, jsonType)
	if err != nil {
		return nil, err
	}
	q := &stream.Request{
		Action:  m.text("action"),
		App:     m.text("app"),
		Name:    m.text("stream"),
		Session: m.id("client_id"),
		Origin:  m.text("pageUrl"),
		Fields:  map[string]string{"vhost": m.text("vhost"), "tcUrl": m.text("tcUrl")},
	}
	q.Server = m.id("server_id") + "/" + m.id("service_id")
	// RTMP has the `?` before the query, SRT and WebRTC have not.
	param := m.text("param")
	// A query that stands before the stream (rtmp://host/app?token=t/stream) comes twice, after that of the stream.
	if i := strings.IndexByte(q.Fields["tcUrl"], '?'); i >= 0 {
		if before := q.Fields["tcUrl"][i:]; strings.HasSuffix(param, before+before) {
			param = strings.TrimSuffix(param, before+before) + "&" + before[1:]
		}
	}
	q.Query = parseArgs(strings.TrimPrefix(param, "?"))
	// Newer versions know a stream by its name without an extension, which is all behind the last dot: secret.flv plays
	// secret. They say so here.
	if dot := strings.LastIndexByte(q.Name, '.'); dot > 0 {
		known := "/" + q.App + "/" + q.Name[:dot]
		if url := m.text("stream_url"); url == known || url == q.Fields["vhost"]+known {
			q.Name = q.Name[:dot]
		}
	}
	address := m.text("ip")
	if m.err != nil {
		return nil, m.err
	}
	if q.IP, err = parseIP(address); err != nil {
		return nil, err
	}
	action, known := srsEvents[q.Action]
	switch {
	case q.Action == "on_connect":
		return nil, verdict.Errorf(verdict.Malformed, "on_connect asks before there is a stream: leave it out of SRS's configuration")
	case !known:
		return nil, verdict.Errorf(verdict.Malformed, "no action, or one that is not known")
	}
	q.Event, q.Mode = action.event, action.mode
	return q, nil
}

// srsAnswer is what SRS reads.
type srsAnswer struct {
	Code int `json:"code"`
}

// Encode answers 200 and the code 0, or says no by status and code.
func (SRS) Encode(w http.ResponseWriter, _ *stream.Request, d stream.Decision) error {
	clean(w.Header())
	if d.Allow {
		return writeJSON(w, http.StatusOK, srsAnswer{})
	}
	status := denialStatus(d)
	return writeJSON(w, status, srsAnswer{Code: status})
}

// Interface guard
var _ stream.Dialect = (*SRS)(nil)
