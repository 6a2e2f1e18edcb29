package dialects

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/google/go-cmp/cmp"
)

// The tables say what is written, to the byte, beside the length and Cache-Control, which the handler adds. Every answer
// starts out with the headers of an earlier handler that a media server would obey.
func TestEncode(t *testing.T) {
	open := &stream.Request{Event: stream.Open, Mode: stream.Play, Name: "a"}
	gone := &stream.Request{Event: stream.Close, Mode: stream.Play, Name: "a"}
	notice := &stream.Request{Event: stream.Notice, Name: "a"}

	yes := stream.Decision{Allow: true, Code: verdict.OK}
	limited := stream.Decision{Allow: true, Code: verdict.OK, TimeLimit: 90 * time.Second}
	everything := stream.Decision{
		Allow: true, Code: verdict.OK, TimeLimit: 2147483647 * time.Second,
		Preroll: "https://x.example/pre", Postroll: "https://x.example/post", Reason: "welcome",
	}
	no := stream.Decision{Code: verdict.Missing, Status: http.StatusForbidden}
	reason := stream.Decision{Code: verdict.Denied, Reason: "too late"}
	redirect := stream.Decision{Code: verdict.Denied, Status: http.StatusForbidden, Redirect: "https://x.example/no"}
	malformed := stream.Deny(verdict.Errorf(verdict.Malformed, "x"))
	unavailable := stream.Deny(verdict.Errorf(verdict.Unavailable, "x"))
	method := stream.Deny(verdict.Errorf(verdict.Malformed, "x").WithStatus(http.StatusMethodNotAllowed))
	media := stream.Deny(verdict.Errorf(verdict.Malformed, "x").WithStatus(http.StatusUnsupportedMediaType))
	wrong := stream.Decision{Code: verdict.Denied, Status: http.StatusOK}
	elsewhere := stream.Decision{Code: verdict.Denied, Status: http.StatusSeeOther}

	ok := http.Header{"Icecast-Auth-User": {"1"}, "X-Icecast-Auth-Result": {"ok"}}
	okLimited := http.Header{
		"Icecast-Auth-User": {"1"}, "X-Icecast-Auth-Result": {"ok"},
		"Icecast-Auth-Timelimit": {"90"}, "X-Icecast-Auth-Timelimit": {"90"},
	}
	failed := http.Header{"X-Icecast-Auth-Result": {"failed"}}
	zero := http.Header{"Icecast-Auth-User": {"0"}, "X-Icecast-Auth-Result": {"failed"}}
	message := http.Header{
		"X-Icecast-Auth-Result": {"failed"}, "Icecast-Auth-Message": {"too late"}, "X-Icecast-Auth-Message": {"too late"},
	}
	with := func(header http.Header, name, value string) http.Header {
		header = header.Clone()
		header.Set(name, value)
		return header
	}

	for _, test := range []struct {
		name     string
		dialect  stream.Dialect
		request  *stream.Request
		decision stream.Decision
		status   int
		header   http.Header
	}{
		{"antmedia allow", AntMedia{}, open, yes, 200, http.Header{}},
		{"antmedia deny", AntMedia{}, open, no, 403, http.Header{}},
		{"antmedia deny with a reason", AntMedia{}, open, reason, 403, http.Header{}},
		{"antmedia undecodable", AntMedia{}, nil, malformed, 400, http.Header{}},
		{"antmedia undecided", AntMedia{}, nil, unavailable, 503, http.Header{}},
		{"antmedia another method", AntMedia{}, nil, method, 405, http.Header{"Allow": {"POST"}}},
		{"antmedia another type", AntMedia{}, nil, media, 415, http.Header{}},
		{"antmedia never denies with 200", AntMedia{}, open, wrong, 403, http.Header{}},
		{"antmedia never denies with 303", AntMedia{}, open, elsewhere, 403, http.Header{}},

		{"icecast allow", Icecast{}, open, yes, 200, ok},
		{"icecast allow for a time", Icecast{}, open, limited, 200, okLimited},
		{"icecast deny", Icecast{}, open, no, 403, failed},
		{"icecast deny with a reason", Icecast{}, open, reason, 403, message},
		{"icecast undecodable", Icecast{}, nil, malformed, 400, failed},
		{"icecast undecided", Icecast{}, nil, unavailable, 503, failed},
		{"icecast another method", Icecast{}, nil, method, 405, with(failed, "Allow", "POST")},
		{"icecast another type", Icecast{}, nil, media, 415, failed},
		{"icecast never denies with 200", Icecast{}, open, wrong, 403, failed},
		{"icecast a listener that left", Icecast{}, gone, yes, 200, http.Header{}},
		{"icecast a mount", Icecast{}, notice, yes, 200, http.Header{}},
		{"icecast report_only of what is undecodable", Icecast{}, nil, yes, 200, ok},

		{"radiomast allow", RadioMast{}, open, yes, 200, ok},
		{"radiomast allow with every effect", RadioMast{}, open, everything, 200, http.Header{
			"Icecast-Auth-User": {"1"}, "X-Icecast-Auth-Result": {"ok"},
			"Icecast-Auth-Timelimit": {"2147483647"}, "X-Icecast-Auth-Timelimit": {"2147483647"},
			"Preroll": {"https://x.example/pre"}, "Postroll": {"https://x.example/post"},
		}},
		{"radiomast deny", RadioMast{}, open, no, 403, zero},
		{"radiomast deny with a redirect", RadioMast{}, open, redirect, 200, with(zero, "Icecast-Auth-Redirect", "https://x.example/no")},
		{"radiomast undecodable", RadioMast{}, nil, malformed, 400, zero},
		{"radiomast undecided", RadioMast{}, nil, unavailable, 503, zero},
		{"radiomast another method", RadioMast{}, nil, method, 405, with(zero, "Allow", "POST")},
		{"radiomast never denies with 200", RadioMast{}, open, wrong, 403, zero},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			for name := range map[string]bool{
				"Icecast-Auth-User": true, "Icecast-Auth-Timelimit": true, "Icecast-Auth-Message": true, "X-Icecast-Auth-Result": true,
				"X-Icecast-Auth-Alter-Action": true, "Location": true, "Mountpoint": true, "Ice-Username": true, "Icecast-Slave": true,
				"Preroll": true, "Postroll": true, "Icecast-Www-Authenticate": true, "Icecast-Auth-Redirect": true,
			} {
				w.Header().Set(name, "1")
			}
			w.Header()["icecast-auth-user"] = []string{"1"} // a spelling that Set would not make
			if err := test.dialect.Encode(w, test.request, test.decision); err != nil {
				t.Fatal(err)
			}
			if w.Code != test.status || w.Body.Len() > 0 {
				t.Errorf("answered %d %q, should be %d", w.Code, w.Body, test.status)
			}
			if diff := cmp.Diff(test.header, w.Header()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
