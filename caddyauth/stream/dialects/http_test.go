package dialects

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/caddyserver/caddy/v2"
)

func newHTTP(t testing.TB, paths ...HTTPPath) *HTTP {
	t.Helper()
	h := &HTTP{Paths: paths}
	if err := h.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestPathsOfStreams(t *testing.T) {
	h := newHTTP(t,
		HTTPPath{Path: "/hls/{app}/{stream}/*"},
		HTTPPath{Path: "/flv/{stream}.flv"},
		HTTPPath{Path: "/whip/{stream}/**"},
		HTTPPath{Path: "/whep/{stream}/**", Mode: "play"},
		HTTPPath{Path: "/{stream}"},
	)
	const denied, malformed = verdict.Denied, verdict.Malformed
	for _, test := range []struct {
		method, path string
		app, name    string
		mode         stream.Mode
		refused      verdict.Reason
	}{
		{"GET", "/hls/live/cam1/index.m3u8", "live", "cam1", "play", ""},
		{"GET", "/hls/live/cam1/", "live", "cam1", "play", denied},
		{"GET", "/hls/live/r%C3%A9gie/0.ts?token=x", "live", "régie", "play", ""},
		{"GET", "/hls/live/cam1/a/b", "", "", "", denied},
		{"GET", "/hls/live/cam1", "", "", "", denied},
		{"GET", "/hls//cam1/x", "", "", "", malformed},
		{"GET", "/hls/live/../cam1/x", "", "", "", malformed},
		{"GET", "/hls/live/%2e%2e/x", "", "", "", malformed},
		{"GET", "/hls/live/cam1%2Fx/y", "", "", "", malformed},
		{"GET", "/hls/live/cam1%5Cx/y", "", "", "", malformed},
		{"GET", "/hls/live/cam1;v=2/y", "", "", "", malformed},
		{"GET", "/hls/live/cam1%3Bv/y", "", "", "", malformed},
		{"GET", "/hls/live/cam1%00/y", "", "", "", malformed},
		{"GET", "/hls/live/cam%2531/y", "live", "cam%31", "play", ""},
		{"GET", "/HLS/live/cam1/x", "", "", "", denied},
		{"HEAD", "/flv/cam1.flv", "", "cam1", "play", ""},
		{"GET", "/flv/cam1.flvx", "", "", "", denied},
		{"GET", "/flv/.flv", "", "", "", denied},
		{"POST", "/whip/cam1", "", "cam1", "publish", ""},
		{"PATCH", "/whip/cam1/session/1", "", "cam1", "publish", ""},
		{"DELETE", "/whip/cam1/", "", "cam1", "publish", ""},
		{"POST", "/whep/cam1", "", "cam1", "play", ""},
		{"OPTIONS", "/whep/cam1", "", "cam1", "play", ""},
		{"PUT", "/live.mp3", "", "live.mp3", "publish", ""},
		{"GET", "/live.mp3", "", "live.mp3", "play", ""},
		{"GET", "/", "", "", "", denied},
		{"TRACE", "/live.mp3", "", "", "", malformed},
		{"SOURCE", "/live.mp3", "", "", "", malformed},
		{"get", "/live.mp3", "", "", "", malformed},
	} {
		t.Run(test.method+" "+test.path, func(t *testing.T) {
			q, err := h.Decode(httptest.NewRequest(test.method, test.path, nil), nil)
			if test.refused != "" {
				if err == nil || verdict.Of(err).Reason != test.refused {
					t.Errorf("%+v %v, should be refused as %s", q, err, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if q.App != test.app || q.Name != test.name || q.Mode != test.mode || q.Event != stream.Open {
				t.Errorf("%s of %q %q", q.Mode, q.App, q.Name)
			}
		})
	}
}

func TestDecodeOfARequest(t *testing.T) {
	h := newHTTP(t, HTTPPath{Path: "/hls/{app}/{stream}/*"})
	r := httptest.NewRequest(http.MethodGet, "https://tv.example/hls/live/cam1/index.m3u8?token=a&x=1", nil)
	r.Header.Set("Authorization", "bearer t0k")
	r.Header.Set("Cookie", "token=c; other=d")
	r.Header.Set("Referer", "https://www.example.com/page")
	r.Header.Set("User-Agent", "hls.js")
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	got, err := h.Decode(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := stream.Request{
		Event: stream.Open, Action: "GET", Mode: stream.Play, App: "live", Name: "cam1", Transport: "http",
		IP: netip.MustParseAddr("192.0.2.1"), Server: "tv.example", Origin: "https://www.example.com/page", Agent: "hls.js",
		Query:  url.Values{"token": {"a"}, "x": {"1"}},
		Fields: map[string]string{"bearer": "t0k", "cookie.token": "c", "cookie.other": "d"},
	}
	if diff := cmp.Diff(want, *got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}

	r.Header.Set("Origin", "https://player.example")
	r.SetBasicAuth("bob", "pa:ss")
	if got, err = h.Decode(r, nil); err != nil || got.User != "bob" || got.Password != "pa:ss" || got.Fields["bearer"] != "" || got.Origin != "https://player.example" {
		t.Errorf("%+v %v", got, err)
	}
	r.Header.Add("Authorization", "Bearer t0k")
	if _, err = h.Decode(r, nil); err == nil {
		t.Error("two Authorization headers")
	}
	r.Header.Del("Authorization")
	r.Header.Set("Cookie", "token=c; token=d")
	if _, err = h.Decode(r, nil); err == nil {
		t.Error("two cookies of one name")
	}
	r.Header.Del("Cookie")
	r.URL.RawQuery = "token=a;b"
	if got, err = h.Decode(r, nil); err != nil || got.QueryErr == nil {
		t.Errorf("%+v %v", got, err)
	}
}

func TestPathsThatSayTooLittle(t *testing.T) {
	for _, path := range []HTTPPath{
		{Path: ""},
		{Path: "hls/{stream}"},
		{Path: "/hls/*"},
		{Path: "/{stream}/{stream}"},
		{Path: "/{app}-{stream}"},
		{Path: "/{stream}/**/x"},
		{Path: "/{stream}/a*"},
		{Path: "/{name}"},
		{Path: "/{stream}{"},
		{Path: "/{stream}", Mode: "read"},
		{Path: "/{stream}/***"},
	} {
		if err := (&HTTP{Paths: []HTTPPath{path}}).Provision(caddy.Context{}); err == nil {
			t.Errorf("%v was accepted", path)
		}
	}
	if err := new(HTTP).Provision(caddy.Context{}); err == nil {
		t.Error("no path was accepted")
	}
	for _, realm := range []string{"a\r\nb", "Caf\u00e9", "{env.NOBODY_SET_THIS}"} {
		if err := (&HTTP{Paths: []HTTPPath{{Path: "/{stream}"}}, Realm: realm}).Provision(caddy.Context{}); err == nil {
			t.Errorf("the realm %q was accepted", realm)
		}
	}
}

func TestEncodeForClients(t *testing.T) {
	t.Setenv("CLUB", "club")
	provisioned := func(realm string) *HTTP {
		h := &HTTP{Paths: []HTTPPath{{Path: "/{stream}"}}, Realm: realm}
		if err := h.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		return h
	}
	q := &stream.Request{Event: stream.Open, Mode: stream.Play, Name: "cam1"}
	missing := stream.Decision{Code: verdict.Missing, Status: http.StatusForbidden}
	for _, test := range []struct {
		name     string
		realm    string
		decision stream.Decision
		status   int
		header   http.Header
	}{
		{"deny without a credential", "", missing, 401, http.Header{"Www-Authenticate": {"Bearer"}}},
		{"deny without a password", `the "club"`, missing, 401, http.Header{"Www-Authenticate": {`Basic realm="the \"club\"", charset="UTF-8"`}}},
		{"deny", "club", stream.Decision{Code: verdict.BadSignature, Status: http.StatusForbidden}, 403, http.Header{}},
		{"deny with a redirect", "", stream.Decision{Code: verdict.Missing, Status: 403, Redirect: "https://x.example/no"}, 302, http.Header{"Location": {"https://x.example/no"}}},
		{"undecodable", "", stream.Deny(verdict.Errorf(verdict.Malformed, "x")), 400, http.Header{}},
		{"undecided", "", stream.Deny(verdict.Errorf(verdict.Unavailable, "x")), 503, http.Header{"Retry-After": {"1"}}},
		{"never denies with 200", "", stream.Decision{Code: verdict.Denied, Status: http.StatusOK}, 403, http.Header{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			w.Header().Set("Location", "https://evil.example/")
			if err := provisioned(test.realm).Encode(w, q, test.decision); err != nil {
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
	// To a browser, any other status says that the password was right: it would not ask for another.
	w := httptest.NewRecorder()
	wrong := stream.Decision{Code: verdict.BadSignature, Status: http.StatusForbidden}
	if err := provisioned("{env.CLUB}").Encode(w, &stream.Request{User: "bob", Password: "typo"}, wrong); err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") != `Basic realm="club", charset="UTF-8"` {
		t.Errorf("a wrong password is answered %d %v", w.Code, w.Header())
	}
	if err := new(HTTP).Encode(httptest.NewRecorder(), q, stream.Decision{Allow: true}); err == nil {
		t.Error("an allowance was answered instead of the next handler")
	}
}

// A path that is read as a stream's has the stream's name in it, and nothing that another server would read otherwise.
func FuzzHTTPDecode(f *testing.F) {
	h := newHTTP(f, HTTPPath{Path: "/hls/{app}/{stream}/**"}, HTTPPath{Path: "/{stream}.mp3"})
	for _, seed := range []string{"/hls/live/cam1/0.ts", "/hls/live/%2e%2e/x", "/a.mp3", "//", "/hls/a%2Fb/c", "/hls/\x00/\xff/"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		decoded, err := url.PathUnescape(path)
		if err != nil {
			return
		}
		r.URL.Path, r.URL.RawPath = decoded, path
		q, err := h.Decode(r, nil)
		if err == nil {
			checkDecoded(t, q, err)
			if q.Check() == nil && (q.Name == ".." || q.Name == "") {
				t.Errorf("%q is %q", path, q.Name)
			}
		}
	})
}
