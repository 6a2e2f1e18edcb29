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

// The table says what is written, to the byte, beside the length and Cache-Control, which the handler adds. Every answer
// starts out with headers of an earlier handler that a media server would obey.
func TestEncodeForServers(t *testing.T) {
	open := &stream.Request{Event: stream.Open, Mode: stream.Play, App: "app", Name: "cam1", Fields: map[string]string{
		"url": "rtmp://media.example:1935/app/cam1?token=t0k&a=b",
	}}
	renew := &stream.Request{Event: stream.Renew, Mode: stream.Play, App: "app", Name: "cam1"}
	gone := &stream.Request{Event: stream.Close, Mode: stream.Play, App: "app", Name: "cam1"}
	notice := &stream.Request{Event: stream.Notice, App: "app"}
	password := &stream.Request{Event: stream.Open, Mode: stream.Play, Name: "cam1", Password: "wrong"}
	token := &stream.Request{Event: stream.Open, Mode: stream.Play, Name: "cam1", Fields: map[string]string{"token": "wrong"}}
	query := &stream.Request{Event: stream.Open, Mode: stream.Play, Name: "cam1", Query: map[string][]string{"jwt": {"wrong"}}}

	yes := stream.Decision{Allow: true, Code: verdict.OK}
	limited := stream.Decision{Allow: true, Code: verdict.OK, TimeLimit: 90 * time.Second}
	renamed := stream.Decision{Allow: true, Code: verdict.OK, Rename: "internal-raw"}
	everything := stream.Decision{Allow: true, Code: verdict.OK, TimeLimit: 2147483647 * time.Second, Rename: "live/other", Reason: "welcome"}
	no := stream.Decision{Code: verdict.Missing, Status: http.StatusForbidden}
	reason := stream.Decision{Code: verdict.Denied, Status: http.StatusForbidden, Reason: `too "late"`}
	malformed := stream.Deny(verdict.Errorf(verdict.Malformed, "x"))
	unavailable := stream.Deny(verdict.Errorf(verdict.Unavailable, "x"))
	method := stream.Deny(verdict.Errorf(verdict.Malformed, "x").WithStatus(http.StatusMethodNotAllowed))
	wrong := stream.Decision{Code: verdict.Denied, Status: http.StatusOK}
	elsewhere := stream.Decision{Code: verdict.Denied, Status: http.StatusSeeOther}

	nothing := http.Header{}
	jsonBody := http.Header{"Content-Type": {"application/json"}}

	for _, test := range []struct {
		name     string
		dialect  stream.Dialect
		request  *stream.Request
		decision stream.Decision
		status   int
		header   http.Header
		body     string
	}{
		{"nginx_rtmp allow", NginxRTMP{}, open, yes, 200, nothing, ""},
		{"nginx_rtmp allow for a time, which an update ends", NginxRTMP{}, open, limited, 200, nothing, ""},
		{"nginx_rtmp allow under another name", NginxRTMP{}, open, renamed, 302, http.Header{"Location": {"internal-raw"}}, ""},
		{"nginx_rtmp goes on under another name", NginxRTMP{}, renew, renamed, 200, nothing, ""},
		{"nginx_rtmp deny", NginxRTMP{}, open, no, 403, nothing, ""},
		{"nginx_rtmp does not go on", NginxRTMP{}, renew, no, 403, nothing, ""},
		{"nginx_rtmp deny with a reason", NginxRTMP{}, open, reason, 403, nothing, ""},
		{"nginx_rtmp undecodable", NginxRTMP{}, nil, malformed, 400, nothing, ""},
		{"nginx_rtmp undecided", NginxRTMP{}, nil, unavailable, 503, nothing, ""},
		{"nginx_rtmp another method", NginxRTMP{}, nil, method, 405, http.Header{"Allow": {"POST"}}, ""},
		{"nginx_rtmp never denies with 200", NginxRTMP{}, open, wrong, 403, nothing, ""},
		{"nginx_rtmp never denies with 303", NginxRTMP{}, open, elsewhere, 403, nothing, ""},
		{"nginx_rtmp a client that left", NginxRTMP{}, gone, yes, 200, nothing, ""},
		{"nginx_rtmp report_only of what is undecodable", NginxRTMP{}, nil, yes, 200, nothing, ""},

		{"srs allow", SRS{}, open, yes, 200, jsonBody, `{"code":0}`},
		{"srs deny", SRS{}, open, no, 403, jsonBody, `{"code":403}`},
		{"srs undecodable", SRS{}, nil, malformed, 400, jsonBody, `{"code":400}`},
		{"srs undecided", SRS{}, nil, unavailable, 503, jsonBody, `{"code":503}`},
		{"srs another method", SRS{}, nil, method, 405, http.Header{"Content-Type": {"application/json"}, "Allow": {"POST"}}, `{"code":405}`},
		{"srs never denies with 200", SRS{}, open, wrong, 403, jsonBody, `{"code":403}`},
		{"srs a client that left", SRS{}, gone, yes, 200, jsonBody, `{"code":0}`},
		{"srs a recording", SRS{}, notice, yes, 200, jsonBody, `{"code":0}`},

		{"mediamtx allow", MediaMTX{}, open, yes, 200, nothing, ""},
		{"mediamtx deny without a credential", MediaMTX{}, open, no, 401, nothing, ""},
		{"mediamtx deny with a password", MediaMTX{}, password, no, 403, nothing, ""},
		{"mediamtx deny with a token", MediaMTX{}, token, no, 403, nothing, ""},
		{"mediamtx deny with a token in the query", MediaMTX{}, query, reason, 403, nothing, ""},
		{"mediamtx undecodable", MediaMTX{}, nil, malformed, 400, nothing, ""},
		{"mediamtx undecided without a credential", MediaMTX{}, open, unavailable, 503, nothing, ""},
		{"mediamtx another method", MediaMTX{}, nil, method, 405, http.Header{"Allow": {"POST"}}, ""},
		{"mediamtx never denies with 200", MediaMTX{}, password, wrong, 403, nothing, ""},

		{"ovenmediaengine allow", OvenMediaEngine{}, open, yes, 200, jsonBody, `{"allowed":true}`},
		{"ovenmediaengine allow for a time", OvenMediaEngine{}, open, limited, 200, jsonBody, `{"allowed":true,"lifetime":90000}`},
		{"ovenmediaengine allow under another name", OvenMediaEngine{}, open, renamed, 200, jsonBody, `{"allowed":true,"new_url":"rtmp://media.example:1935/app/internal-raw?token=t0k&a=b"}`},
		{"ovenmediaengine allow with every effect", OvenMediaEngine{}, open, everything, 200, jsonBody, `{"allowed":true,"new_url":"rtmp://media.example:1935/live/other?token=t0k&a=b","lifetime":2147483647000,"reason":"welcome"}`},
		{"ovenmediaengine deny", OvenMediaEngine{}, open, no, 200, jsonBody, `{"allowed":false,"reason":"denied"}`},
		{"ovenmediaengine deny with a reason", OvenMediaEngine{}, open, reason, 200, jsonBody, `{"allowed":false,"reason":"too \"late\""}`},
		{"ovenmediaengine undecodable", OvenMediaEngine{}, nil, malformed, 200, jsonBody, `{"allowed":false,"reason":"denied"}`},
		{"ovenmediaengine undecided", OvenMediaEngine{}, nil, unavailable, 200, jsonBody, `{"allowed":false,"reason":"unavailable"}`},
		{"ovenmediaengine a client that left", OvenMediaEngine{}, gone, yes, 200, jsonBody, `{}`},
		{"ovenmediaengine report_only of what is undecodable", OvenMediaEngine{}, nil, yes, 200, jsonBody, `{"allowed":true}`},

		{"zlmediakit allow", ZLMediaKit{}, open, yes, 200, jsonBody, `{"code":0,"msg":"success"}`},
		{"zlmediakit deny", ZLMediaKit{}, open, no, 200, jsonBody, `{"code":-1,"msg":"denied"}`},
		{"zlmediakit deny with a reason", ZLMediaKit{}, open, reason, 200, jsonBody, `{"code":-1,"msg":"too \"late\""}`},
		{"zlmediakit undecodable", ZLMediaKit{}, nil, malformed, 200, jsonBody, `{"code":-1,"msg":"denied"}`},
		{"zlmediakit undecided", ZLMediaKit{}, nil, unavailable, 200, jsonBody, `{"code":-2,"msg":"unavailable"}`},
		{"zlmediakit a client that left", ZLMediaKit{}, gone, yes, 200, jsonBody, `{"code":0,"msg":"success"}`},

		{"node_media_server allow", NodeMediaServer{}, open, yes, 200, nothing, ""},
		{"node_media_server deny", NodeMediaServer{}, open, no, 403, nothing, ""},
		{"node_media_server undecodable", NodeMediaServer{}, nil, malformed, 400, nothing, ""},
		{"node_media_server undecided", NodeMediaServer{}, nil, unavailable, 503, nothing, ""},
		{"node_media_server never denies with 200", NodeMediaServer{}, open, wrong, 403, nothing, ""},
		{"node_media_server a client that left", NodeMediaServer{}, gone, yes, 200, nothing, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			for _, name := range []string{"Location", "Icecast-Auth-User", "Mountpoint", "Preroll"} {
				w.Header().Set(name, "1")
			}
			if err := test.dialect.Encode(w, test.request, test.decision); err != nil {
				t.Fatal(err)
			}
			if w.Code != test.status || w.Body.String() != test.body {
				t.Errorf("answered %d %q, should be %d %q", w.Code, w.Body, test.status, test.body)
			}
			if diff := cmp.Diff(test.header, w.Header()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A name with which a server would do something else than rename is an error, and so a denial.
func TestEncodeRefusesToRename(t *testing.T) {
	q := &stream.Request{Event: stream.Open, Mode: stream.Publish, App: "app", Name: "cam1", Fields: map[string]string{"url": "rtmp://h/app/cam1"}}
	for _, name := range []string{"rtmp://192.0.2.9/live/x", "a b", "a\r\nX: y", "a?b=c", "/abs", "a//b", "../a", "a%20b", "régie"} {
		for _, dialect := range []stream.Dialect{NginxRTMP{}, OvenMediaEngine{}} {
			w := httptest.NewRecorder()
			if err := dialect.Encode(w, q, stream.Decision{Allow: true, Code: verdict.OK, Rename: name}); err == nil || w.Header().Get("Location") != "" {
				t.Errorf("%T renamed to %q: %v", dialect, name, w.Header())
			}
		}
	}
}
