package dialects

import (
	"net/http"
	"path"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(ZLMediaKit{})
}

// ZLMediaKit answers ZLMediaKit's web hooks `on_publish`, `on_play` and `on_flow_report`, and acknowledges those that tell
// of streams, recordings and the server. A hook does not say which one it is: the last part of its URL's path is its name,
// as in ZLMediaKit's own configuration. It allows on status 200 with the code 0 in the body. Any other status makes it ask
// again, so that a denial is 200, too, with another code.
//
// The hooks for directories, RTSP passwords and the shell ask for no stream, and are refused. `on_flow_report` is the end
// of a session, and comes only for those that moved more than `flowThreshold` KB: set that to 0. Of a session over WebRTC it
// has another id than the beginning.
type ZLMediaKit struct{}

// CaddyModule returns the Caddy module information.
func (ZLMediaKit) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.stream_auth.dialects.zlmediakit",
		New: func() caddy.Module { return new(ZLMediaKit) },
	}
}

// Can says what ZLMediaKit tells and carries out.
func (ZLMediaKit) Can() stream.Ability {
	return stream.Ability{
		Server: "ZLMediaKit",
		Features: []stream.Feature{
			stream.FeatureApp, stream.FeatureIP, stream.FeatureTransport, stream.FeatureMaxSessions,
		},
		Sources: []stream.Source{{From: "query", Name: "token"}},
		Closes:  true,
	}
}

// zlmEvents are the hooks.
var zlmEvents = map[string]struct {
	event stream.Event
	mode  stream.Mode
}{
	"on_publish":            {stream.Open, stream.Publish},
	"on_play":               {stream.Open, stream.Play},
	"on_flow_report":        {stream.Close, ""},
	"on_stream_changed":     {stream.Notice, ""},
	"on_stream_none_reader": {stream.Notice, ""},
	"on_stream_not_found":   {stream.Notice, ""},
	"on_record_mp4":         {stream.Notice, ""},
	"on_record_ts":          {stream.Notice, ""},
	"on_rtp_server_timeout": {stream.Notice, ""},
	"on_send_rtp_stopped":   {stream.Notice, ""},
	"on_server_started":     {stream.Notice, ""},
	"on_server_keepalive":   {stream.Notice, ""},
	"on_server_exited":      {stream.Notice, ""},
}

// Decode reads the hook's JSON.
func (ZLMediaKit) Decode(r *http.Request, body []byte) (*stream.Request, error) {
	action := path.Base(r.URL.Path)
	hook, known := zlmEvents[action]
	if !known {
		return nil, verdict.Errorf(verdict.Malformed, "the last part of the hook's path is no hook that asks for a stream")
	}
	m, err := parseObject(r, body, jsonType)
	if err != nil {
		return nil, err
	}
	q := &stream.Request{Event: hook.event, Action: action, Mode: hook.mode, Server: m.text("mediaServerId")}
	if q.Event == stream.Notice {
		return q, m.err // what else they hold differs from hook to hook
	}
	q.App = m.text("app")
	q.Name = m.text("stream")
	q.Session = m.text("id")
	q.Query = parseArgs(m.text("params"))
	q.Fields = map[string]string{"vhost": m.text("vhost")}
	// Newer versions tell how the client is connected, all of them what the stream is.
	q.Transport = strings.ToLower(m.text("protocol"))
	if q.Transport == "" {
		q.Transport = strings.ToLower(m.text("schema"))
	}
	if q.Event == stream.Close {
		// To ZLMediaKit a player is who owns no stream, such as a publisher whose stream was on the air already.
		q.EitherMode = true
		if player, ok := m.Get("player"); ok {
			if plays, isBool := player.Bool(); isBool && plays {
				q.Mode = stream.Play
			} else if isBool {
				q.Mode = stream.Publish
			}
		}
	}
	address := m.text("ip")
	if m.err != nil {
		return nil, m.err
	}
	q.IP, err = parseIP(address)
	return q, err
}

// zlmAnswer is what ZLMediaKit reads.
type zlmAnswer struct {
	Code int    `json:"code"`
	Msg  string `json:"msg"`
}

// Encode answers 200 and says in the body what is allowed. It shows the text to the client.
func (ZLMediaKit) Encode(w http.ResponseWriter, _ *stream.Request, d stream.Decision) error {
	clean(w.Header())
	answer := zlmAnswer{Msg: "success"}
	if !d.Allow {
		answer = zlmAnswer{Code: -1, Msg: denialText(d)}
		if d.Code == verdict.Unavailable {
			answer.Code = -2
		}
	}
	return writeJSON(w, http.StatusOK, answer)
}

// Interface guard
var _ stream.Dialect = (*ZLMediaKit)(nil)
