package stream

import (
	"context"
	"encoding/json"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
)

// FuzzWhen: an expression of any text is compiled or refused; one that is compiled comes, whatever a client and its token
// say, to true, to false, or to an error that is no yes, within its cost; its negation comes to the opposite; and one
// that asks nothing of the token is not changed by it.
func FuzzWhen(f *testing.F) {
	claims := `{"plan":"gold","level":3,"ratio":0.5,"groups":["a","b"],"of":{"x":true},"sub":"alice"}`
	for _, text := range []string{
		`true`, `stream.name == "cam1" && stream.app == "live"`, `stream.name.matches("^(a+)+$") || stream.name.upperAscii() == "CAM1"`,
		`stream.transport in ["rtmp", "srt"]`, `cidr("192.0.2.0/24").containsIP(stream.ip)`, `now.getHours("Europe/Berlin") == 9`, `stream.listeners < 10`,
		`has(stream.query.lang)`, `stream.claims.plan == "gold" && stream.subject == "alice"`, `stream.claims.of.x ? 1/0 == 1 : false`,
		`stream.claims.level >= 3 && "b" in stream.claims.groups`, `int(stream.name) == 1`, `stream.listened_7d < duration("10h")`, `stream.metadata.x == 1`,
		`"abcdefghijklmnopqrstuvwxyz".split("").all(a, "abcdefghijklmnopqrstuvwxyz".split("").all(b, a + b != stream.name))`,
		`stream.claims.map(k, stream.claims[k]).exists(v, v == true)`, `stream == stream`, `.stream.claims.plan == "gold"`, `caddyauth.Stream{name: "cam1"}.name == stream.name`, `[{"claims": 1}].exists(stream, stream.claims == 1)`, `[stream].all(s, s.claims.plan == "gold")`, `dyn(stream).claims.plan == "gold"`, `(true ? stream : stream).subject == "alice"`, `dyn(stream.claims) == {}`, `"x".format([stream.claims])`,
		`stream.query.all(k, k.size() < 3)`, `[1, 2].map(x, stream.claims).size() > 0`, `type(stream.claims.level) == int`, `stream.name.replace("a", "aaaaaaaa").size() > 1`,
		`!stream.claims.of.x`, `timestamp(stream.name) < now`, `"\xff" == b"\xff"`, `stream`, `1`, `{`, `stream.nothing`, `(` + strings.Repeat("(", 60) + `true`,
	} {
		f.Add(text, claims, "cam1", "lang=de")
	}
	f.Add(`stream.claims.a == stream.claims.b`, `{"a":{"a":[1,1e300,null]},"b":[{}]}`, "\xff\x00", "a=1&a=2&%zz")
	f.Add(`stream.claims.exists(k, k.matches(stream.name))`, `{"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!":1}`, "(a+)+$", "")
	ability := Ability{Server: "any", Features: slices.Concat(conditionFeatures, effectFeatures)}
	now := time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, text, claims, name, query string) {
		w, err := compileWhen(text, ability)
		if err != nil {
			return
		}
		parsed, err := strictjson.ParseString(claims)
		said, ok := parsed.Any().(map[string]any)
		if err != nil || !ok {
			said = nil
		}
		n := int64(3)
		q := &Request{App: "live", Name: name, Mode: Play, IP: netip.MustParseAddr("192.0.2.7"), Listeners: &n}
		if json.Valid([]byte(claims)) {
			q.Metadata = said
		}
		q.Query, q.QueryErr = url.ParseQuery(query)
		holds := func(w *expression, s whenSubject) (bool, error) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			truth, err := w.holds(ctx, s, now)
			if err != nil && truth {
				t.Fatalf("%q is true with an error", text)
			}
			if ctx.Err() != nil {
				t.Fatalf("%q goes on for a minute", text)
			}
			return truth, err
		}
		truth, err := holds(w, whenSubject{Request: q, subject: "alice", claims: said})
		if again, againErr := holds(w, whenSubject{Request: q, subject: "alice", claims: said}); again != truth || (againErr == nil) != (err == nil) {
			t.Errorf("%q is %t (%v) once and %t (%v) then", text, truth, err, again, againErr)
		}
		if other, otherErr := holds(w, whenSubject{Request: q}); !w.asksToken() && (other != truth || (otherErr == nil) != (err == nil)) {
			t.Errorf("%q asks nothing of the token, and is %t (%v) with one and %t (%v) without", text, truth, err, other, otherErr)
		}
		opposite, compileErr := compileWhen("!("+text+"\n)", ability)
		if compileErr != nil {
			return // it is too long or too deep now
		}
		if not, notErr := holds(opposite, whenSubject{Request: q, subject: "alice", claims: said}); err == nil && notErr == nil && not == truth {
			t.Errorf("%q and its opposite are both %t", text, truth)
		}
	})
}

// FuzzPermissions: MediaMTX's own list of permissions in a token, read by encoding/json as well: what we grant it grants.
func FuzzPermissions(f *testing.F) {
	for _, claims := range []string{
		`{"mediamtx_permissions":[{"action":"read","path":"live/cam1"}]}`, `{"mediamtx_permissions":"[{\"action\":\"playback\",\"path\":\"\"}]"}`,
		`{"mediamtx_permissions":[{"action":"api"},{"action":"publish","path":"live/cam1"},{"action":"read"}]}`, `{"mediamtx_permissions":[{"action":"read","path":"~.*"}]}`,
		`{"mediamtx_permissions":[{"Action":"read"}]}`, `{"mediamtx_permissions":[{"action":"read","path":null}]}`, `{"mediamtx_permissions":[1]}`, `{"mediamtx_permissions":{}}`,
		`{"Mediamtx_permissions":[{"action":"read"}]}`, `{"mediamtx_permissions":"[[]]"}`, `{"mediamtx_permissions":"[{\"action\":\"read\",\"action\":\"api\"}]"}`, `[]`,
	} {
		f.Add(claims)
	}
	f.Fuzz(func(t *testing.T, text string) {
		claims, err := strictjson.ParseString(text)
		if err != nil {
			return
		}
		for _, mode := range []Mode{Play, Publish} {
			q := &Request{App: "live", Name: "cam1", Mode: mode}
			if checkMediaMTX(q, claims) != nil {
				continue
			}
			var token map[string]json.RawMessage
			if err := json.Unmarshal([]byte(text), &token); err != nil {
				t.Fatal(err)
			}
			list := token["mediamtx_permissions"]
			var asText string
			if json.Unmarshal(list, &asText) == nil {
				list = json.RawMessage(asText)
			}
			var permissions []map[string]any
			if err := json.Unmarshal(list, &permissions); err != nil {
				t.Fatalf("granted out of what is no list of permissions: %v", err)
			}
			if !slices.ContainsFunc(permissions, func(p map[string]any) bool {
				path, isText := p["path"].(string)
				if _, present := p["path"]; present && (!isText || path != "" && path != "live/cam1") {
					return false
				}
				return mode == Publish && p["action"] == "publish" || mode == Play && (p["action"] == "read" || p["action"] == "playback")
			}) {
				t.Errorf("%s is granted by %s", mode, text)
			}
		}
	})
}
