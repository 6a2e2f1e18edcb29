package dialects

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(Icecast{})
}

// Icecast answers the URL authentication of Icecast 2.4 and 2.5 and of icecast-kh: `listener_add`, `stream_auth`,
// `listener_remove`, `mount_add` and `mount_remove`, all of them at one URL. It obeys the header `icecast-auth-user: 1`
// whatever the status is; 2.5 reads `x-icecast-auth-result` too, and the two never disagree.
//
// The stream's name is the mount without its leading slash, decoded once, and without its query; the app is empty.
// Headers of the listener that Icecast is configured to hand on are fields under the names it gives them.
//
// Icecast asks about a source whose mount is in use, and about a listener over its own `max-listeners`, and refuses whom it
// was told to allow, without another word. Such a source counts for 15 s; such a listener until its lease is over.
type Icecast struct{}

// CaddyModule returns the Caddy module information.
func (Icecast) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.stream_auth.dialects.icecast",
		New: func() caddy.Module { return new(Icecast) },
	}
}

// Can says what Icecast tells and carries out.
func (Icecast) Can() stream.Ability {
	return stream.Ability{
		Server: "Icecast",
		Features: []stream.Feature{
			stream.FeatureIP, stream.FeatureTransport, stream.FeatureAgent, stream.FeatureUser, stream.FeatureTimeLimit,
			stream.FeatureMaxSessions,
		},
		// Of a source Icecast before 2.5 tells no query.
		Sources:         []stream.Source{{From: "query", Name: "token"}, {From: "password", Mode: stream.Publish}},
		NoApps:          true,
		Closes:          true,
		EndsPlayersOnly: true, // but icecast-kh ends sources, too
	}
}

// icecastEvents are the hook's actions.
var icecastEvents = map[string]struct {
	event stream.Event
	mode  stream.Mode
}{
	"listener_add":    {stream.Open, stream.Play},
	"stream_auth":     {stream.Open, stream.Publish},
	"listener_remove": {stream.Close, stream.Play},
	"mount_add":       {stream.Notice, stream.Publish},
	"mount_remove":    {stream.Close, stream.Publish},
}

// icecastFields are the fields that Icecast itself fills in; all others are what the listener sent.
var icecastFields = map[string]bool{
	"action": true, "server": true, "port": true, "server-instance": true, "client": true, "mount": true, "user": true,
	"pass": true, "ip": true, "agent": true, "duration": true, "sent": true, "listeners": true,
}

// icecastCut is the length at which old versions cut the body off, whatever stands there.
const icecastCut = 4095

// Decode reads the hook's form.
func (Icecast) Decode(r *http.Request, body []byte) (*stream.Request, error) {
	fields, err := parseForm(r, body)
	if err != nil {
		return nil, err
	}
	if _, told := fields["ip"]; !told && len(body) >= icecastCut {
		// A listener chooses how long the mount's query is, and could push what follows it over the end.
		return nil, verdict.Errorf(verdict.Malformed, "the form was cut off")
	}
	if !strings.HasPrefix(fields["mount"], "/") {
		return nil, verdict.Errorf(verdict.Malformed, "a mount without its slash")
	}
	return decodeIcecast(fields)
}

// decodeIcecast makes a request of the fields that all of Icecast's kin share.
func decodeIcecast(fields form) (*stream.Request, error) {
	action, ok := icecastEvents[fields["action"]]
	if !ok {
		return nil, verdict.Errorf(verdict.Malformed, "no action, or one that is not known")
	}
	q := &stream.Request{
		Event:     action.event,
		Action:    fields["action"],
		Mode:      action.mode,
		Transport: "icecast",
		Server:    net.JoinHostPort(fields["server"], fields["port"]),
		Session:   fields["client"],
		User:      fields["user"],
		Password:  fields["pass"],
		Fields:    make(map[string]string),
	}
	if agent := fields["agent"]; agent != "-" && agent != "(null)" { // which stand for none, the second in icecast-kh
		q.Agent = agent
	}
	for name, value := range fields {
		if !icecastFields[name] {
			q.Fields[name] = value
		}
	}
	if q.Session == "" && fields["server-instance"] != "" {
		q.Session = "0" // which 2.5 leaves out
	}
	if q.Session != "" {
		if _, err := strconv.ParseUint(q.Session, 10, 64); err != nil {
			return nil, verdict.Errorf(verdict.Malformed, "client is not a number")
		}
	}
	var err error
	if q.IP, err = parseIP(fields["ip"]); err != nil {
		return nil, err
	}

	// Of a listener the mount is what it asked for, still encoded and with the query; so it is of a source that 2.5 asks
	// about, which alone names its instance. icecast-kh has decoded a listener's. Else it is the mount's name, and to decode
	// it again would make another name of it.
	path := fields["mount"]
	if q.Mode == stream.Play || q.Action == "stream_auth" && fields["server-instance"] != "" {
		var query string
		path, query, _ = strings.Cut(path, "?")
		if q.Query, err = url.ParseQuery(query); err != nil {
			q.QueryErr = errors.New("the mount's query does not parse")
		}
		if isKH(fields) {
			path = unescapeRest(path)
		} else if path, err = url.PathUnescape(path); err != nil {
			return nil, verdict.Errorf(verdict.Malformed, "the mount does not decode")
		}
	}
	q.Name = strings.TrimPrefix(path, "/")
	if q.Mode == stream.Publish {
		q.Session = path // by which its end is told; a mount has one source
		q.NoSession = fields["admin"] == "1"
	}
	return q, nil
}

// isKH reports whether icecast-kh tells of a listener: since 2.4.0-kh6 it alone says how many there are, and what was sent
// to one that left.
func isKH(fields form) bool {
	own := "listeners"
	if fields["action"] == "listener_remove" {
		own = "sent"
	}
	_, told := fields[own]
	return told
}

// notPrinted is what icecast-kh does not decode in a mount.
var notPrinted = regexp.MustCompile(`%(?:[01][0-9A-Fa-f]|7[Ff]|[89A-Fa-f][0-9A-Fa-f])`)

// unescapeRest decodes what icecast-kh has left encoded. Any other `%` in its mount stands for itself.
func unescapeRest(path string) string {
	return notPrinted.ReplaceAllStringFunc(path, func(escaped string) string {
		decoded, _ := url.PathUnescape(escaped)
		return decoded
	})
}

// Encode answers with the headers that Icecast obeys. A denial has no `icecast-auth-user` at all: to icecast-kh, any
// value that does not begin with 0 allows.
func (Icecast) Encode(w http.ResponseWriter, q *stream.Request, d stream.Decision) error {
	header := w.Header()
	clean(header)
	switch {
	case notification(q):
		w.WriteHeader(http.StatusOK)
	case d.Allow:
		allowIcecast(header, d)
		w.WriteHeader(http.StatusOK)
	default:
		header.Set("X-Icecast-Auth-Result", "failed")
		if d.Reason != "" {
			header.Set("Icecast-Auth-Message", d.Reason)
			header.Set("X-Icecast-Auth-Message", d.Reason) // of 2.5
		}
		refuse(w, d)
	}
	return nil
}

// allowIcecast sets the headers of an allowance. Icecast 2.4 compares the first one as text: the value is exactly `1`.
func allowIcecast(header http.Header, d stream.Decision) {
	header.Set("Icecast-Auth-User", "1")
	header.Set("X-Icecast-Auth-Result", "ok")
	if d.TimeLimit > 0 {
		seconds := strconv.FormatInt(int64(d.TimeLimit/time.Second), 10)
		header.Set("Icecast-Auth-Timelimit", seconds)
		header.Set("X-Icecast-Auth-Timelimit", seconds)
	}
}

// Interface guard
var _ stream.Dialect = (*Icecast)(nil)
