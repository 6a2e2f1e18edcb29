package dialects

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(RadioMast{})
}

// RadioMast answers Radio Mast's custom listener authentication. It asks as Icecast does, for listeners only, and tells
// how many there are and how long this one has listened. It carries out redirects of denied listeners, prerolls and
// postrolls.
type RadioMast struct{}

// CaddyModule returns the Caddy module information.
func (RadioMast) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.stream_auth.dialects.radiomast",
		New: func() caddy.Module { return new(RadioMast) },
	}
}

// Can says what Radio Mast tells and carries out.
func (RadioMast) Can() stream.Ability {
	return stream.Ability{
		Server: "Radio Mast",
		Features: []stream.Feature{
			stream.FeatureIP, stream.FeatureOrigin, stream.FeatureTransport, stream.FeatureAgent, stream.FeatureUser,
			stream.FeatureListeners, stream.FeatureListened,
			stream.FeatureTimeLimit, stream.FeatureMaxSessions, stream.FeaturePreroll, stream.FeaturePostroll, stream.FeatureRedirect,
		},
		Sources: []stream.Source{{From: "query", Name: "token"}},
		NoApps:  true,
	}
}

// Decode reads the hook's form.
func (RadioMast) Decode(r *http.Request, body []byte) (*stream.Request, error) {
	fields, err := parseForm(r, body)
	if err != nil {
		return nil, err
	}
	if fields["action"] != "listener_add" {
		return nil, verdict.Errorf(verdict.Malformed, "no action, or one that is not known")
	}
	q, err := decodeIcecast(fields)
	if err != nil {
		return nil, err
	}
	if q.Listeners, err = counter(fields, "listener-count", math.MaxInt64); err != nil {
		return nil, err
	}
	if q.Listened24h, err = listened(fields, "listener-duration-1day"); err != nil {
		return nil, err
	}
	if q.Listened7d, err = listened(fields, "listener-duration-7day"); err != nil {
		return nil, err
	}
	// The vendor's documentation has the one spelling, its samples have the other.
	q.Origin = fields["referer"]
	if other := fields["referrer"]; q.Origin == "" {
		q.Origin = other
	} else if other != "" && other != q.Origin {
		return nil, verdict.Errorf(verdict.Malformed, "referer and referrer differ")
	}
	return q, nil
}

// Encode answers with the headers that Radio Mast obeys.
func (RadioMast) Encode(w http.ResponseWriter, _ *stream.Request, d stream.Decision) error {
	header := w.Header()
	clean(header)
	if d.Allow {
		allowIcecast(header, d)
		if d.Preroll != "" {
			header.Set("Preroll", d.Preroll)
		}
		if d.Postroll != "" {
			header.Set("Postroll", d.Postroll)
		}
		w.WriteHeader(http.StatusOK)
		return nil
	}
	header.Set("Icecast-Auth-User", "0")
	header.Set("X-Icecast-Auth-Result", "failed")
	if d.Redirect != "" {
		header.Set("Icecast-Auth-Redirect", d.Redirect)
		w.WriteHeader(http.StatusOK)
		return nil
	}
	refuse(w, d)
	return nil
}

// counter reads a number that the server reports; nil if it did not. One that is negative, over most or no number at all
// is refused: it would set a quota back.
func counter(fields form, name string, most uint64) (*int64, error) {
	text, told := fields[name]
	if !told {
		return nil, nil
	}
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil || number > most {
		return nil, verdict.Errorf(verdict.Malformed, "%s is not a number that it can be", name)
	}
	count := int64(number) //nolint:gosec // at most most, which fits
	return &count, nil
}

// listened reads a counter of seconds.
func listened(fields form, name string) (*time.Duration, error) {
	seconds, err := counter(fields, name, uint64(math.MaxInt64/time.Second))
	if seconds == nil {
		return nil, err
	}
	duration := time.Duration(*seconds) * time.Second
	return &duration, nil
}

// Interface guard
var _ stream.Dialect = (*RadioMast)(nil)
