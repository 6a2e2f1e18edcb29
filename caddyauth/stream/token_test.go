package stream_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/shorttoken"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

func TestShortTokens(t *testing.T) {
	short := func(secret, mode, stream string, left time.Duration) string {
		t.Helper()
		token, err := shorttoken.Mint([]byte(secret), shorttoken.Token{Mode: mode, Expires: now.Add(left), Subject: "alice"}, stream)
		if err != nil {
			t.Fatal(err)
		}
		return "event=open&app=live&token=" + token
	}
	const old = "another-secret-of-32-characters-00"
	good := short(testbed.Secret, "play", "live/cam1", time.Hour)
	for _, test := range []struct {
		name, option, ask string
		reason            string // of a denial
	}{
		{"for the app and the name", "", good, ""},
		{"for the name in any app", "", short(testbed.Secret, "play", "cam1", time.Hour), ""},
		{"of the second secret", "", short(old, "play", "live/cam1", time.Hour), ""},
		{"to publish", "", short(testbed.Secret, "publish", "live/cam1", time.Hour) + "&mode=publish", ""},
		{"to publish, and plays", "", short(testbed.Secret, "publish", "live/cam1", time.Hour), "bad_claim"},
		{"to play, and publishes", "", good + "&mode=publish", "bad_claim"},
		{"for another stream", "", short(testbed.Secret, "play", "live/cam2", time.Hour), "bad_signature"},
		{"for another app", "", short(testbed.Secret, "play", "other/cam1", time.Hour), "bad_signature"},
		{"of no secret of ours", "", short("x", "play", "live/cam1", time.Hour), "bad_signature"},
		{"that is over", "", short(testbed.Secret, "play", "live/cam1", 0), "expired"},
		{"for every stream, where those are none", "", short(testbed.Secret, "play", "", time.Hour), "bad_signature"},
		{"for every stream, where those are taken", "any_stream", short(testbed.Secret, "play", "", time.Hour), ""},
		{"that was cut off", "", good[:len(good)-3] + "&truncated", "bad_credential"},
		{"that is whole though something was cut off", "", good + "&truncated", ""},
		{"that is not there since something was cut off", "", "event=open&app=live&truncated", "missing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			block := "token {\nsigned " + old + " " + testbed.Secret + "\n" + test.option + "\n}\nallow {\ntoken valid\ntime_limit token\n}"
			bed := testbed.New(t, site(handle("/", "renewing", block)))
			result := bed.Do(t, tell(test.ask, 0))
			lines := bed.Logs.Lines(t, "stream denied")
			switch {
			case test.reason == "" && result.Status != http.StatusOK:
				t.Errorf("denied: %v", lines)
			case test.reason != "" && (result.Status != http.StatusForbidden || lines[0]["reason"] != test.reason):
				t.Errorf("status %d: %v", result.Status, lines)
			}
			if test.reason != "" && strings.Contains(test.ask, "truncated") && !strings.Contains(lines[0]["detail"].(string), "truncated") {
				t.Errorf("the detail does not tell: %v", lines[0]["detail"])
			}
		})
	}
}

func TestClaimsOfOtherMakersTokens(t *testing.T) {
	other := func(claims map[string]any) string {
		claims["stream"] = nil
		return mint(t, claims)
	}
	permissions := func(list ...any) map[string]any { return map[string]any{"mediamtx_permissions": list} }
	permission := func(action, path string) any { return map[string]any{"action": action, "path": path} }
	const antMedia, mediaMTX, sub = "stream_claim streamId\nmode_claim type", "stream_claim mediamtx_permissions", "stream_claim sub"
	for _, test := range []struct {
		name, options, token, ask string
		allowed                   bool
	}{
		{"Ant Media: to play", antMedia, other(map[string]any{"streamId": "cam1", "type": "play"}), "", true},
		{"Ant Media: to publish", antMedia, other(map[string]any{"streamId": "cam1", "type": "publish"}), "&mode=publish", true},
		{"Ant Media: to publish, and plays", antMedia, other(map[string]any{"streamId": "cam1", "type": "publish"}), "", false},
		{"Ant Media: another stream", antMedia, other(map[string]any{"streamId": "cam2", "type": "play"}), "", false},
		{"Mux and Cloudflare", sub, other(map[string]any{"sub": "cam1"}), "", true},
		{"Mux and Cloudflare: another stream", sub, other(map[string]any{"sub": "cam2"}), "", false},
		{"Mux and Cloudflare: to publish", sub, other(map[string]any{"sub": "cam1"}), "&mode=publish", false},
		{"MediaMTX: to read", mediaMTX, other(permissions(permission("read", "live/cam1"))), "", true},
		{"MediaMTX: to play back", mediaMTX, other(permissions(permission("playback", "live/cam1"))), "", true},
		{"MediaMTX: one of several", mediaMTX, other(permissions(permission("api", ""), permission("publish", "x"), permission("read", "live/cam1"))), "", true},
		{"MediaMTX: every path", mediaMTX, other(permissions(permission("read", ""))), "", true},
		{"MediaMTX: no path", mediaMTX, other(permissions(map[string]any{"action": "read"})), "", true},
		{"MediaMTX: as a text", mediaMTX, other(map[string]any{"mediamtx_permissions": `[{"action":"read","path":"live/cam1"}]`}), "", true},
		{"MediaMTX: to publish", mediaMTX, other(permissions(permission("publish", "live/cam1"))), "&mode=publish", true},
		{"MediaMTX: to publish, and plays", mediaMTX, other(permissions(permission("publish", "live/cam1"))), "", false},
		{"MediaMTX: another path", mediaMTX, other(permissions(permission("read", "live/cam2"))), "", false},
		{"MediaMTX: the name alone", mediaMTX, other(permissions(permission("read", "cam1"))), "", false},
		{"MediaMTX: a path is no pattern", mediaMTX, other(permissions(permission("read", "live/*"))), "", false},
		{"MediaMTX: a regular expression", mediaMTX, other(permissions(permission("read", "~^live/.*$"), permission("read", "live/cam1"))), "", false},
		{"MediaMTX: nothing permitted", mediaMTX, other(permissions()), "", false},
		{"MediaMTX: no list", mediaMTX, other(map[string]any{"mediamtx_permissions": permission("read", "")}), "", false},
		{"MediaMTX: a text that is no list", mediaMTX, other(map[string]any{"mediamtx_permissions": `[{"action":"read"}`}), "", false},
		{"MediaMTX: a text of a text", mediaMTX, other(map[string]any{"mediamtx_permissions": `"[]"`}), "", false},
		{"MediaMTX: an action twice", mediaMTX, other(map[string]any{"mediamtx_permissions": `[{"action":"publish","action":"read"}]`}), "", false},
		{"MediaMTX: a path of another type", mediaMTX, other(permissions(map[string]any{"action": "read", "path": nil})), "", false},
		{"MediaMTX: no permissions", mediaMTX, mint(t, nil), "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			block := "token {\njwt {\nsecret " + testbed.Secret + "\n}\n" + test.options + "\n}\nallow {\ntoken valid\n}"
			bed := testbed.New(t, site(handle("/", "renewing", block)))
			result := bed.Do(t, tell("event=open&app=live&token="+test.token+test.ask, 0))
			if test.allowed != (result.Status == http.StatusOK) {
				t.Errorf("status %d: %v", result.Status, bed.Logs.Lines(t, "stream denied"))
			}
		})
	}
}
