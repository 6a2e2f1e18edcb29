package stream_test

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/stream"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(renewing{})
	caddy.RegisterModule(inline{})
}

// renewing is a media server that asks again every 30 seconds about a session that goes on, and does all that there is.
type renewing struct{}

// CaddyModule returns the Caddy module information.
func (renewing) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.stream_auth.dialects.renewing", New: func() caddy.Module { return new(renewing) }}
}

func (renewing) Can() stream.Ability {
	return stream.Ability{
		Server: "Renewing",
		Features: []stream.Feature{
			stream.FeatureApp, stream.FeatureIP, stream.FeatureUser, stream.FeatureTransport, stream.FeatureListeners,
			stream.FeatureListened, stream.FeatureTimeLimit, stream.FeatureMaxSessions, stream.FeatureRename,
		},
		Sources: []stream.Source{{From: "query", Name: "token"}},
		Renew:   30 * time.Second,
		Closes:  true,
	}
}

func (renewing) Decode(r *http.Request, body []byte) (*stream.Request, error) {
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	q := &stream.Request{
		Event: stream.Event(values.Get("event")), Mode: stream.Play, App: values.Get("app"), Name: "cam1", Server: values.Get("server"),
		Session: values.Get("session"), User: values.Get("user"), Password: values.Get("password"), Transport: values.Get("transport"),
		Truncated: values.Has("truncated"), Query: url.Values{},
	}
	if values.Has("name") {
		q.Name = values.Get("name")
	}
	if values.Has("mode") {
		q.Mode = stream.Mode(values.Get("mode"))
	}
	for name, list := range values {
		if name == "token" || name == "lang" {
			q.Query[name] = list
		}
	}
	if values.Has("ip") {
		if err := q.IP.UnmarshalText([]byte(values.Get("ip"))); err != nil {
			return nil, err
		}
		q.IP = q.IP.Unmap()
	}
	if values.Has("listeners") {
		n, err := strconv.ParseInt(values.Get("listeners"), 10, 64)
		if err != nil {
			return nil, err
		}
		q.Listeners = &n
	}
	return q, nil
}

func (renewing) Encode(w http.ResponseWriter, _ *stream.Request, d stream.Decision) error {
	if d.Rename != "" {
		w.Header().Set("Renamed", d.Rename)
	}
	w.WriteHeader(d.HTTPStatus())
	return nil
}

// inline is a server whose requests are the clients' own.
type inline struct{ renewing }

// CaddyModule returns the Caddy module information.
func (inline) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.stream_auth.dialects.inline", New: func() caddy.Module { return new(inline) }}
}

func (inline) Can() stream.Ability { return stream.Ability{Server: "Inline", Inline: true} }

func (inline) Decode(r *http.Request, body []byte) (*stream.Request, error) {
	if body != nil {
		return nil, caddyhttp.Error(http.StatusInternalServerError, nil)
	}
	return &stream.Request{Event: stream.Open, Mode: stream.Play, Name: r.URL.Path[1:]}, nil
}
