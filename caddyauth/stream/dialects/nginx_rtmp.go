package dialects

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(NginxRTMP{})
}

// NginxRTMP answers nginx-rtmp-module's `on_publish`, `on_play`, `on_update`, `on_done`, `on_publish_done`,
// `on_play_done`, `on_disconnect` and `on_record_done`, all of them at one URL. It allows on 2xx, renames the stream on
// 302 with a Location, and denies on any other status. A session whose `on_update` is denied is dropped.
//
// `on_connect` is refused: it asks before there is a stream, so that an answer could only let everybody in. So is
// `notify_method get`, with which a client can write headers of the hook. No header of a hook counts for anything.
//
// nginx-rtmp keeps 255 bytes of a stream's name and arguments together, and cuts off the rest without a word.
type NginxRTMP struct{}

// CaddyModule returns the Caddy module information.
func (NginxRTMP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.stream_auth.dialects.nginx_rtmp",
		New: func() caddy.Module { return new(NginxRTMP) },
	}
}

// Can says what nginx-rtmp tells and carries out.
func (NginxRTMP) Can() stream.Ability {
	return stream.Ability{
		Server: "nginx-rtmp",
		Features: []stream.Feature{
			stream.FeatureApp, stream.FeatureIP, stream.FeatureOrigin, stream.FeatureTransport, stream.FeatureAgent,
			stream.FeatureTimeLimit, stream.FeatureMaxSessions, stream.FeatureRename,
		},
		Sources: []stream.Source{{From: "query", Name: "token"}},
		Renew:   30 * time.Second,
		Closes:  true,
	}
}

// nginxSession are the fields that every call but connect begins with.
var nginxSession = []string{"app", "flashver", "swfurl", "tcurl", "pageurl", "addr", "clientid"}

// nginxCalls are the calls, and the fields of each after `call`, in their order. What follows them is the client's own
// text as the client wrote it, and looks like more fields where the client wants it to.
var nginxCalls = map[string]struct {
	fields []string
	event  stream.Event
	mode   stream.Mode
}{
	"publish":        {[]string{"name", "type"}, stream.Open, stream.Publish},
	"play":           {[]string{"name", "start", "duration", "reset"}, stream.Open, stream.Play},
	"update_publish": {[]string{"time", "timestamp", "name"}, stream.Renew, stream.Publish},
	"update_play":    {[]string{"time", "timestamp", "name"}, stream.Renew, stream.Play},
	"publish_done":   {[]string{"name"}, stream.Close, stream.Publish},
	"play_done":      {[]string{"name"}, stream.Close, stream.Play},
	"done":           {[]string{"name"}, stream.Close, ""},
	"disconnect":     {[]string{"app"}, stream.Close, ""},
	"record_done":    {[]string{"recorder", "name", "path"}, stream.Notice, ""},
}

// nginxVouched are fields that no client has a use for, but to be taken for another by whoever reads the form as one.
var nginxVouched = []string{"app", "name", "addr", "clientid", "call"}

// nginxName is how many bytes nginx-rtmp keeps of a stream's name and its arguments, with the `?` between them.
const nginxName = 255

// Decode reads the hook's form.
func (NginxRTMP) Decode(r *http.Request, body []byte) (*stream.Request, error) {
	if _, err := checkPost(r, formType); err != nil {
		return nil, err
	}
	fixed := &fixedFields{rest: string(body), values: make(map[string]string)}
	fixed.take(nginxSession[:len(nginxSession)-1]...)
	if fixed.err == nil && strings.HasPrefix(fixed.rest, "epoch=") {
		return nil, verdict.Errorf(verdict.Malformed, "on_connect asks before there is a stream: leave it out of nginx's configuration")
	}
	fixed.take("clientid", "call")
	call, known := nginxCalls[fixed.values["call"]]
	if fixed.err == nil && !known {
		return nil, verdict.Errorf(verdict.Malformed, "a call that is not known")
	}
	fixed.take(call.fields...)
	if fixed.err != nil {
		return nil, fixed.err
	}
	if _, err := strconv.ParseUint(fixed.values["clientid"], 10, 64); err != nil {
		return nil, verdict.Errorf(verdict.Malformed, "clientid is not a number")
	}

	q := &stream.Request{
		Event:     call.event,
		Action:    fixed.values["call"],
		Mode:      call.mode,
		App:       fixed.values["app"],
		Name:      fixed.values["name"],
		Transport: "rtmp",
		Server:    caller(r),
		Query:     parseArgs(fixed.rest),
		Origin:    fixed.values["pageurl"],
		Agent:     fixed.values["flashver"],
		Fields:    make(map[string]string),
	}
	for _, name := range []string{"swfurl", "tcurl"} {
		q.Fields[name] = fixed.values[name]
	}
	for _, name := range nginxVouched {
		if q.Query.Has(name) {
			q.QueryErr = errors.New("the client's arguments have the name of a field of nginx's own")
		}
	}
	kept := len(q.Name)
	if fixed.rest != "" {
		kept += len("?") + len(fixed.rest)
	}
	q.Truncated = kept >= nginxName
	if q.Name != "" {
		// A client can play several streams over one connection, which has but one number.
		q.Session = fixed.values["clientid"] + "/" + q.Stream()
	}
	// A stream that nginx pulls or pushes itself has a word where the address would be: then there is none.
	q.IP, _ = parseIP(fixed.values["addr"])
	return q, nil
}

// Encode answers with the status that nginx-rtmp obeys. Location is the name as it is: with a path, as http.Redirect
// makes it, that would be the stream's name.
func (NginxRTMP) Encode(w http.ResponseWriter, q *stream.Request, d stream.Decision) error {
	clean(w.Header())
	switch {
	case !d.Allow:
		refuse(w, d)
	case d.Rename != "" && q != nil && q.Event == stream.Open:
		if !isPlainName(d.Rename) {
			return errors.New("a stream cannot be renamed to what is no plain name")
		}
		w.Header().Set("Location", d.Rename)
		w.WriteHeader(http.StatusFound)
	default:
		// To an update, 3xx is a denial where notify_update_strict is on.
		w.WriteHeader(http.StatusOK)
	}
	return nil
}

// fixedFields reads a form's fields in a fixed order, and keeps the first error. They are percent-encoded, with `+` for
// itself.
type fixedFields struct {
	rest   string
	values map[string]string
	err    error
}

// take reads the next fields. One that stands somewhere else, or nowhere, is an error: what the client wrote might else be
// taken for it.
func (f *fixedFields) take(names ...string) {
	for _, name := range names {
		field, rest, _ := strings.Cut(f.rest, "&")
		text, ok := strings.CutPrefix(field, name+"=")
		value, err := url.PathUnescape(text)
		if f.err == nil && (!ok || err != nil) {
			f.err = verdict.Errorf(verdict.Malformed, "the form has no %s where nginx writes it", name)
		}
		if f.err != nil {
			return
		}
		f.rest, f.values[name] = rest, value
	}
}

// Interface guard
var _ stream.Dialect = (*NginxRTMP)(nil)
