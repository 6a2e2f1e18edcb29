package stream_test

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// now is the time of every hook in these tests.
var now = time.Unix(1_800_000_000, 0)

// mint makes a token for the stream `live/cam1` or `cam1`, good for playing for another hour. change adds to, or
// replaces, its claims; a nil value removes one.
func mint(t testing.TB, change map[string]any) string {
	t.Helper()
	claims := map[string]any{"exp": now.Unix() + 3600, "stream": []any{"live/cam1", "cam1"}, "sub": "alice"}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
	return testbed.HS256(t, testbed.Secret, nil, claims)
}

// hook makes a media server's request to path.
func hook(path, contentType, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://hooks.example"+path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return r.WithContext(clock.At(context.Background(), now))
}

// antMedia makes Ant Media Server's request: members is the inside of the JSON object.
func antMedia(path, members string) *http.Request {
	return hook(path, "application/json", "{"+members+"}")
}

// play is Ant Media Server's play hook for live/cam1 with this token.
func play(path, token string) *http.Request {
	return antMedia(path, fmt.Sprintf(`"appName":"live","streamId":"cam1","mode":"play","token":%q`, token))
}

// icecast makes Icecast's request from names and values in turn, encoded as Icecast does.
func icecast(path string, fields ...string) *http.Request {
	return hook(path, "application/x-www-form-urlencoded", form(fields...))
}

func form(fields ...string) string {
	var b strings.Builder
	for i := 0; i < len(fields); i += 2 {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(fields[i] + "=")
		for _, char := range []byte(fields[i+1]) {
			if '0' <= char && char <= '9' || 'a' <= char && char <= 'z' || 'A' <= char && char <= 'Z' {
				b.WriteByte(char)
			} else {
				fmt.Fprintf(&b, "%%%02x", char)
			}
		}
	}
	return b.String()
}

// listen is Icecast's listener_add for what a listener asked for, such as /cam1?token=x. more adds fields.
func listen(path, mount string, more ...string) *http.Request {
	return icecast(path, append([]string{
		"action", "listener_add", "server", "radio.example", "port", "8000", "client", "7", "mount", mount,
		"user", "", "pass", "", "ip", "192.0.2.7", "agent", "VLC/3.0",
	}, more...)...)
}

// without is listen with some of its fields replaced; a value of "-" leaves the field out.
func without(path, mount string, replaced map[string]string) *http.Request {
	var fields []string
	usual := []string{
		"action", "listener_add", "server", "radio.example", "port", "8000", "client", "7", "mount", mount,
		"user", "", "pass", "", "ip", "192.0.2.7", "agent", "VLC/3.0",
	}
	for i := 0; i < len(usual); i += 2 {
		value, ok := replaced[usual[i]]
		if !ok {
			value = usual[i+1]
		}
		if value != "-" {
			fields = append(fields, usual[i], value)
		}
	}
	return icecast(path, fields...)
}

// checkAnswer holds every answer to what no media server misreads.
func checkAnswer(t *testing.T, result testbed.Result) {
	t.Helper()
	if result.Status >= 300 && result.Status < 400 || result.Header.Get("Location") != "" {
		t.Errorf("the answer leads elsewhere: %d", result.Status)
	}
	if got := result.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q", got)
	}
	if got := result.Header.Get("Content-Length"); got != fmt.Sprint(len(result.Body)) {
		t.Errorf("Content-Length is %q", got)
	}
	if result.Body != "" {
		t.Errorf("the answer has a body: %q", result.Body)
	}
}

// allowed holds an answer to be an allowance for the dialect.
func allowed(t *testing.T, result testbed.Result) {
	t.Helper()
	checkAnswer(t, result)
	if result.Status != http.StatusOK {
		t.Errorf("denied with %d, should be allowed", result.Status)
	}
}

// allowedIcecast is allowed with the header that Icecast obeys.
func allowedIcecast(t *testing.T, result testbed.Result) {
	t.Helper()
	allowed(t, result)
	if got := result.Header["Icecast-Auth-User"]; !slices.Equal(got, []string{"1"}) {
		t.Errorf("icecast-auth-user is %q", got)
	}
	if got := result.Header["X-Icecast-Auth-Result"]; !slices.Equal(got, []string{"ok"}) {
		t.Errorf("x-icecast-auth-result is %q", got)
	}
}

// denied holds an answer to be a denial for every media server, with one of the statuses; without any, with any.
func denied(t *testing.T, result testbed.Result, statuses ...int) {
	t.Helper()
	checkAnswer(t, result)
	if result.Status < 400 || len(statuses) > 0 && !slices.Contains(statuses, result.Status) {
		t.Errorf("status %d, should be one of %v", result.Status, statuses)
	}
	notAllowing(t, result)
}

// notAllowing holds an answer to have no header that allows.
func notAllowing(t *testing.T, result testbed.Result) {
	t.Helper()
	for _, value := range result.Header["Icecast-Auth-User"] {
		if value != "0" {
			t.Errorf("icecast-auth-user is %q on a denial", value)
		}
	}
	for _, value := range result.Header["X-Icecast-Auth-Result"] {
		if value != "failed" {
			t.Errorf("x-icecast-auth-result is %q on a denial", value)
		}
	}
}

// site is a Caddyfile of one site with this inside.
func site(inside string) string { return "http://hooks.example {\n" + inside + "\n}\n" }

// handle is a route with one stream_auth.
func handle(path, dialect, block string) string {
	return fmt.Sprintf("handle %s {\n\tstream_auth %s {\n%s\n}\n}\n", path, dialect, block)
}

// jwtToken is a token block for what mint makes.
const jwtToken = "token {\n jwt {\n secret " + testbed.Secret + "\n }\n}\n"
