package inspect_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/testbed"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/metrics"
)

// running is a Caddy with an admin endpoint, and a site on a unix socket.
type running struct {
	admin  string // host:port
	socket string
}

const site = `{
	admin ADMIN
	auto_https off
	persist_config off
	caddyauth {
		decisions 50
	}
}
http:// {
	bind unix/SOCKET
	callback_auth api_key {
		header X-Key
		key inspector-test-key-0123456789abcdef front-door
	}
	respond received
}
http://inspector.test {
	bind unix/SOCKET
RECIPE
}
`

// recipe is how the README leads a site of one's own to the inspector.
func recipe(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(text), "\nreverse_proxy /caddyauth/* localhost:2019 {")
	block, _, ended := strings.Cut(block, "\n}\n")
	if !found || !ended {
		t.Fatal("README.md has no site for the inspector")
	}
	return "reverse_proxy /caddyauth/* ADMIN {" + block + "\n}"
}

func run(t *testing.T) *running {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &running{admin: listener.Addr().String(), socket: filepath.Join(t.TempDir(), "s")}
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	c.load(t)
	return c
}

// load loads the config, again if need be.
func (c *running) load(t *testing.T) {
	t.Helper()
	text := strings.NewReplacer("ADMIN", c.admin, "SOCKET", c.socket).Replace(strings.Replace(site, "RECIPE", recipe(t), 1))
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	config, _, err := adapter.Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
}

// client reaches the sites.
func (c *running) client() *http.Client {
	return &http.Client{Transport: testbed.Patient{RoundTripper: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.socket)
	}}}}
}

// send sends a callback to the site.
func (c *running) send(t *testing.T, key string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://hooks.test/", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Key", key)
	response, err := c.client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
}

const goodKey = "inspector-test-key-0123456789abcdef"

// ask asks the admin endpoint. headers are names and values in turn; Host is one of them.
func (c *running) ask(t *testing.T, method, path string, headers ...string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.admin+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func read(t *testing.T, response *http.Response) string {
	t.Helper()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheAdminEndpointServesThePageAndNothingElse(t *testing.T) {
	c := run(t)
	for _, want := range []struct {
		path, kind string
		status     int
	}{
		{"/caddyauth/", "text/html; charset=utf-8", 200},
		{"/caddyauth/page.js", "text/javascript; charset=utf-8", 200},
		{"/caddyauth/page.css", "text/css; charset=utf-8", 200},
		{"/caddyauth/decisions", "application/json", 200},
		{"/caddyauth/status", "application/json", 200},
		{"/caddyauth/page.html", "application/json", 404},
		{"/caddyauth/../config/", "", 200}, // Caddy's own
		{"/caddyauth/nothing", "application/json", 404},
		{"/caddyauth/page/page.js", "application/json", 404},
		{"/caddyauth/decisions/", "application/json", 404},
		{"/caddyauth/decisions?limit=0", "application/json", 400},
		{"/caddyauth/decisions?limit=100001", "application/json", 400},
		{"/caddyauth/decisions?limit=all", "application/json", 400},
	} {
		response := c.ask(t, http.MethodGet, want.path)
		if want.kind == "" {
			continue
		}
		header := response.Header
		if response.StatusCode != want.status || header.Get("Content-Type") != want.kind {
			t.Errorf("%s: %d %s", want.path, response.StatusCode, header.Get("Content-Type"))
		}
		for name, value := range map[string]string{
			"Cross-Origin-Resource-Policy": "same-origin", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
			"X-Frame-Options": "DENY", "Access-Control-Allow-Origin": "",
		} {
			if header.Get(name) != value {
				t.Errorf("%s: %s: %q", want.path, name, header.Get(name))
			}
		}
		csp := header.Get("Content-Security-Policy")
		if !strings.HasPrefix(csp, "default-src 'none'; script-src 'self';") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: %s", want.path, csp)
		}
	}
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get"} {
		for _, path := range []string{"/caddyauth/", "/caddyauth/decisions", "/caddyauth/decisions/stream", "/caddyauth/status"} {
			response := c.ask(t, method, path)
			if response.StatusCode != http.StatusMethodNotAllowed || response.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: %d", method, path, response.StatusCode)
			}
		}
	}
	for _, path := range []string{"/caddyauth/", "/caddyauth/decisions/stream"} {
		if response := c.ask(t, http.MethodHead, path); response.StatusCode != 200 || read(t, response) != "" {
			t.Errorf("HEAD %s: %d", path, response.StatusCode)
		}
	}
}

func TestTheSiteOfTheReadmeShowsTheInspectorAndNoMoreOfTheAdminEndpoint(t *testing.T) {
	c := run(t)
	c.send(t, goodKey)
	for _, tc := range []struct {
		method, path, site, want string
	}{
		{http.MethodGet, "/caddyauth/", "none", "<html"},
		{http.MethodGet, "/caddyauth/decisions", "same-origin", "front-door"},
		{http.MethodGet, "/caddyauth/decisions", "cross-site", ""},
		{http.MethodGet, "/config/", "none", ""},
		{http.MethodGet, "/caddyauth/../config/", "none", ""},
		{http.MethodGet, "/caddyauth/..%2fconfig/", "none", ""},
		{http.MethodGet, "/caddyauth/%2e%2e/config/", "none", ""},
		{http.MethodGet, "/caddyauth//../config/", "none", ""},
		{http.MethodPost, "/caddyauth//../stop", "none", ""},
	} {
		r, err := http.NewRequestWithContext(t.Context(), tc.method, "http://inspector.test"+tc.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]string{
			"Sec-Fetch-Site": tc.site, "Sec-Fetch-Mode": "navigate", "Origin": "http://inspector.test", "Referer": "http://inspector.test/caddyauth/",
		} {
			r.Header.Set(name, value)
		}
		response, err := c.client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text := read(t, response)
		_ = response.Body.Close()
		if !strings.Contains(text, tc.want) || tc.want == "" && (strings.Contains(text, "front-door") || strings.Contains(text, `"apps"`)) {
			t.Errorf("%s %s from %s: %d %s", tc.method, tc.path, tc.site, response.StatusCode, text)
		}
	}
	if c.send(t, goodKey); c.ask(t, http.MethodGet, "/config/").StatusCode != 200 {
		t.Error("Caddy was stopped")
	}
}

func TestAnotherSiteIsShownNothing(t *testing.T) {
	c := run(t)
	c.send(t, goodKey)
	own := "http://" + c.admin
	for name, attack := range map[string][]string{
		"a script that fetches":                   {"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "cors"},
		"an old browser's script that fetches":    {"Origin", "https://evil.example"},
		"a sandboxed frame":                       {"Origin", "null"},
		"an image or script":                      {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Referer", own + "/"},
		"a link":                                  {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Referer", "https://evil.example/"},
		"a link without a referrer":               {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"},
		"a link with a referrer that was made up": {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Referer", own + "/"},
		"a frame":                                     {"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Referer", own},
		"a page on another port":                      {"Sec-Fetch-Site", "same-site", "Sec-Fetch-Mode", "cors", "Referer", own},
		"a proxy that hides the mode":                 {"Sec-Fetch-Site", "cross-site"},
		"a value nobody has heard of":                 {"Sec-Fetch-Site", "CROSS-SITE"},
		"a name that was pointed at this machine":     {"Host", "evil.example"},
		"a name of that, with an origin that is ours": {"Host", "evil.example", "Origin", own},
		"a WebSocket":                                 {"Upgrade", "websocket", "Connection", "Upgrade"},
	} {
		for _, path := range []string{"/caddyauth/", "/caddyauth/page.js", "/caddyauth/decisions", "/caddyauth/decisions/stream", "/caddyauth/status"} {
			response := c.ask(t, http.MethodGet, path, attack...)
			if response.StatusCode != 403 && response.StatusCode != 400 {
				t.Errorf("%s: GET %s: %d", name, path, response.StatusCode)
				continue
			}
			text := read(t, response)
			if strings.Contains(text, "front-door") || strings.Contains(text, "<html") || response.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s: GET %s shows %s", name, path, text)
			}
		}
	}
	for name, honest := range map[string][]string{
		"the page":  {"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors", "Referer", own + "/caddyauth/"},
		"its owner": {"Origin", own, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "cors"},
		"a command": nil,
	} {
		response := c.ask(t, http.MethodGet, "/caddyauth/decisions", honest...)
		if text := read(t, response); response.StatusCode != 200 || !strings.Contains(text, "front-door") || response.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d %s", name, response.StatusCode, text)
		}
	}
}

func TestDecisionsAndStatusAreJSON(t *testing.T) {
	c := run(t)
	c.send(t, "wrong")
	c.send(t, goodKey)
	var decisions []app.Decision
	decode(t, c.ask(t, http.MethodGet, "/caddyauth/decisions?limit=2"), &decisions)
	if len(decisions) != 2 {
		t.Fatalf("%d decisions", len(decisions))
	}
	good, bad := decisions[0], decisions[1]
	if !good.Allowed || good.Key != "front-door" || good.Reason != "ok" || good.Scheme != "api_key" || good.Handler != "callback" || good.Status != 0 {
		t.Errorf("%+v", good)
	}
	if bad.Allowed || bad.Reason != "bad_signature" || bad.Status != 401 || bad.Words == "" || bad.Hint == "" || len(bad.Steps) != 1 || bad.ID >= good.ID {
		t.Errorf("%+v", bad)
	}
	var status struct {
		Now     time.Time
		Limit   int
		Minutes []app.Minute
		Secrets []app.SecretUse
		Health  []app.Health
	}
	decode(t, c.ask(t, http.MethodGet, "/caddyauth/status"), &status)
	if status.Limit != 50 || status.Now.IsZero() || len(status.Minutes) == 0 || len(status.Secrets) == 0 || len(status.Health) != 1 {
		t.Errorf("%+v", status)
	}
}

func decode(t *testing.T, response *http.Response, value any) {
	t.Helper()
	decoder := json.NewDecoder(response.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		t.Fatal(err)
	}
}

// event is one server-sent event.
type event struct{ name, id, data, retry string }

// events reads events, of which comments are none.
func events(t *testing.T, response *http.Response) func() (event, bool) {
	t.Helper()
	if kind := response.Header.Get("Content-Type"); response.StatusCode != 200 || kind != "text/event-stream" {
		t.Fatalf("%d %s", response.StatusCode, kind)
	}
	lines := bufio.NewScanner(response.Body)
	return func() (event, bool) {
		var e event
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = value
			case "retry":
				e.retry = value
			case "":
				if e != (event{}) {
					return e, true
				}
			}
		}
		return event{}, false
	}
}

func TestDecisionsAreStreamedLive(t *testing.T) {
	c := run(t)
	next := events(t, c.ask(t, http.MethodGet, "/caddyauth/decisions/stream"))
	if first, ok := next(); !ok || first.retry != "3000" {
		t.Fatalf("%+v", first)
	}
	var ids []string
	for _, key := range []string{goodKey, "wrong", goodKey} {
		c.send(t, key)
		e, ok := next()
		var d app.Decision
		if err := json.Unmarshal([]byte(e.data), &d); err != nil || !ok || e.name != "decision" || d.Allowed != (key == goodKey) || fmt.Sprint(d.ID) != e.id {
			t.Fatalf("%+v: %v", e, err)
		}
		ids = append(ids, e.id)
	}

	// A reader that comes back gets what it missed, in order.
	next = events(t, c.ask(t, http.MethodGet, "/caddyauth/decisions/stream?status", "Last-Event-ID", ids[0]))
	for _, id := range ids[1:] {
		if e, ok := next(); !ok || e.id != id {
			t.Errorf("%+v; want %s", e, id)
		}
	}
	next()
	if e, ok := next(); !ok || e.name != "status" || !strings.Contains(e.data, `"front-door"`) {
		t.Errorf("%+v", e)
	}
}

func TestStreamsEndWithTheConfigAndDecisionsGoOn(t *testing.T) {
	c := run(t)
	c.send(t, goodKey)
	next := events(t, c.ask(t, http.MethodGet, "/caddyauth/decisions/stream"))
	next()
	c.load(t)
	if e, ok := next(); ok {
		t.Fatalf("the stream goes on: %+v", e)
	}
	next = events(t, c.ask(t, http.MethodGet, "/caddyauth/decisions/stream", "Last-Event-ID", "1"))
	if e, ok := next(); !ok || e.name != "decision" {
		t.Errorf("after a reload the decisions of before are gone: %+v", e)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	for {
		if _, ok := next(); !ok {
			break
		}
	}
}

func TestOneReaderTooManyIsToldToComeBack(t *testing.T) {
	c := run(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var open int
	for range 20 {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.admin+"/caddyauth/decisions/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := (&http.Transport{}).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode == 200 {
			open++
		} else if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" {
			t.Errorf("%d %v", response.StatusCode, response.Header)
		}
	}
	if open != 16 {
		t.Errorf("%d readers at once", open)
	}
	cancel()
	for end := time.Now().Add(20 * time.Second); ; {
		response := c.ask(t, http.MethodGet, "/caddyauth/decisions/stream")
		if response.StatusCode == 200 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the places of readers who have gone are not free")
		}
	}
}

func TestMetricsGoOnOverReloads(t *testing.T) {
	c := run(t)
	const accepted = `caddy_callback_auth_requests_total{reason="ok",scheme="api_key"}`
	value := func() float64 {
		t.Helper()
		for line := range strings.Lines(read(t, c.ask(t, http.MethodGet, "/metrics"))) {
			if rest, ok := strings.CutPrefix(line, accepted+" "); ok {
				var n float64
				if _, err := fmt.Sscan(rest, &n); err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		return 0
	}
	before := value()
	for n := range 3 {
		c.send(t, goodKey)
		if got := value(); got != before+float64(n+1) {
			t.Errorf("after %d requests and as many reloads: %v, and before %v", n+1, got, before)
		}
		c.load(t)
	}
}

// A policy that forbids inline code is no use for a page that needs some, and text that is put in as markup is none.
func TestThePageKeepsToItsPolicy(t *testing.T) {
	for name, forbidden := range map[string]*regexp.Regexp{
		"page.html": regexp.MustCompile(`(?i)\sstyle=|<style|\son[a-z]+=|<script(?:[^>]*)>[^<]|https?://[^1l]|javascript:`),
		"page.js": regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setAttribute\("style|` +
			`DOMParser|srcdoc|import\(|https?://[^w]|localStorage|document\.cookie`),
		"page.css": regexp.MustCompile(`@import|url\(|expression\(`),
	} {
		text, err := os.ReadFile(filepath.Join("page", name))
		if err != nil {
			t.Fatal(err)
		}
		if found := forbidden.Find(text); found != nil {
			t.Errorf("%s has %q", name, found)
		}
		if bytes.Contains(text, []byte("\r")) {
			t.Errorf("%s has carriage returns", name)
		}
	}
}
