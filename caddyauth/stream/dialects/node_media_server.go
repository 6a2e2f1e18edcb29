package dialects

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(NodeMediaServer{})
}

// NodeMediaServer answers the notifications of Node-Media-Server 4.4, its `notify.url`. It allows on status 200 alone, and
// ends the session on any other: a moment after it began, for it does not wait for the answer. Where it gets no answer at
// all, it allows. It asks twice about each client, before and after, under one session.
//
// It tells the end of a publisher 30 s late, and never where one comes back from the same address before that, for it then
// takes the stream up again under another id: the first one counts until its lease is over.
type NodeMediaServer struct{}

// CaddyModule returns the Caddy module information.
func (NodeMediaServer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.stream_auth.dialects.node_media_server",
		New: func() caddy.Module { return new(NodeMediaServer) },
	}
}

// Can says what Node-Media-Server tells and carries out.
func (NodeMediaServer) Can() stream.Ability {
	return stream.Ability{
		Server: "Node-Media-Server",
		Features: []stream.Feature{
			stream.FeatureApp, stream.FeatureIP, stream.FeatureTransport, stream.FeatureMaxSessions,
		},
		Sources: []stream.Source{{From: "query", Name: "token"}},
		Closes:  true,
	}
}

// nodeEvents are the hook's actions.
var nodeEvents = map[string]struct {
	event stream.Event
	mode  stream.Mode
}{
	"prePublish":  {stream.Open, stream.Publish},
	"postPublish": {stream.Open, stream.Publish},
	"donePublish": {stream.Close, stream.Publish},
	"prePlay":     {stream.Open, stream.Play},
	"postPlay":    {stream.Open, stream.Play},
	"donePlay":    {stream.Close, ""}, // a publisher's too, whom the server refused: for another was on the air, or we denied it
	"postRecord":  {stream.Notice, ""},
	"doneRecord":  {stream.Notice, ""},
}

// Decode reads the hook's JSON, which comes as plain text.
func (NodeMediaServer) Decode(r *http.Request, body []byte) (*stream.Request, error) {
	m, err := parseObject(r, body, "text/plain")
	if err != nil {
		return nil, err
	}
	q := &stream.Request{
		Action:    m.text("action"),
		App:       m.text("app"),
		Name:      m.text("name"),
		Transport: strings.ToLower(m.text("protocol")),
		IP:        addressOfPair(m.text("ip")),
		Server:    caller(r),
		Session:   m.text("id"),
	}
	q.Query, q.QueryErr = parseQueryObject(m.object("query"))
	if m.err != nil {
		return nil, m.err
	}
	action, known := nodeEvents[q.Action]
	if !known {
		return nil, verdict.Errorf(verdict.Malformed, "no action, or one that is not known")
	}
	q.Event, q.Mode = action.event, action.mode
	if q.Session != "" {
		q.Session += "/" + q.Stream() // one connection may play several streams
	}
	return q, nil
}

// Encode answers 200 with no body, or the status of the denial.
func (NodeMediaServer) Encode(w http.ResponseWriter, _ *stream.Request, d stream.Decision) error {
	clean(w.Header())
	if d.Allow {
		w.WriteHeader(http.StatusOK)
	} else {
		refuse(w, d)
	}
	return nil
}

// addressOfPair gives the address of `address:port`, where an IPv6 address may stand without brackets. A stream that the
// server pulls itself has a name or a URL there: then there is none.
func addressOfPair(pair string) netip.Addr {
	colon := strings.LastIndexByte(pair, ':')
	if colon < 0 {
		return netip.Addr{}
	}
	host := pair[:colon]
	if inner, ok := strings.CutPrefix(host, "["); ok {
		host = strings.TrimSuffix(inner, "]")
	}
	addr, _ := parseIP(host)
	return addr
}

// parseQueryObject reads a query that the server has parsed: each value is a text, or a list of them where a name stood
// more than once.
func parseQueryObject(m *members) (url.Values, error) {
	values := make(url.Values)
	for _, member := range m.Members() {
		items := []strictjson.Value{member.Value}
		if member.Value.Kind() == strictjson.Array {
			items = member.Value.Items()
		}
		for _, item := range items {
			text, ok := item.Text()
			if !ok {
				return nil, errors.New("a query parameter that is no text")
			}
			values.Add(member.Name, text)
		}
	}
	return values, nil
}

// Interface guard
var _ stream.Dialect = (*NodeMediaServer)(nil)
