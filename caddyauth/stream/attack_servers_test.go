package stream_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/internal/shorttoken"
	"github.com/caddyauth/callbacks/caddyauth/testbed"

	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/gzip"
)

// answered holds an answer to be exactly this, with its length, and nothing that leads elsewhere.
func answered(t *testing.T, result testbed.Result, status int, body string) {
	t.Helper()
	if result.Status != status || result.Body != body {
		t.Errorf("answered %d %q, should be %d %q", result.Status, result.Body, status, body)
	}
	if got := result.Header.Get("Content-Length"); got != strconv.Itoa(len(body)) {
		t.Errorf("Content-Length is %q", got)
	}
	if result.Header.Get("Location") != "" || result.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("the headers are %v", result.Header)
	}
}

// nginxCall is nginx-rtmp's form for a call: fields are the call's own, args what the client wrote.
func nginxCall(path, app, call, fields, args string) *http.Request {
	return hook(path, "application/x-www-form-urlencoded", "app="+app+
		"&flashver=FMLE/3.0%20(compatible%3B%20Lavf59.27&swfurl=&tcurl=rtmp://h/live&pageurl=&addr=192.0.2.7&clientid=7&call="+call+fields+args)
}

func TestAttacksOnNginxRTMP(t *testing.T) {
	const static = "token {\nstatic good\n}\n"
	bed := testbed.New(t, site(
		handle("/static", "nginx_rtmp", static+"allow {\ntoken valid\n}")+
			handle("/jwt", "nginx_rtmp", jwtToken+"allow {\ntoken valid\n}")+
			handle("/vip", "nginx_rtmp", "allow {\nstream live/vip\n}")+
			handle("/address", "nginx_rtmp", "allow {\nip 10.0.0.1\n}")+
			handle("/open", "nginx_rtmp", "fallback allow")))
	publish := func(path, name, args string) *http.Request {
		return nginxCall(path, "live", "publish", "&name="+name+"&type=live", args)
	}

	t.Run("ng-publish-valid", func(t *testing.T) {
		answered(t, bed.Do(t, publish("/static", "cam1", "&token=good")), 200, "")
		answered(t, bed.Do(t, publish("/static", "cam1", "&token=bad")), 403, "")
		answered(t, bed.Do(t, publish("/static", "cam1", "")), 403, "")
		token := mint(t, map[string]any{"mode": []any{"publish"}})
		answered(t, bed.Do(t, publish("/jwt", "cam1", "&token="+token)), 200, "")
		answered(t, bed.Do(t, nginxCall("/jwt", "live", "play", "&name=cam1&start=0&duration=0&reset=0", "&token="+token)), 403, "")
		answered(t, bed.Do(t, nginxCall("/jwt", "live", "play", "&name=cam1&start=0&duration=0&reset=0", "&token="+mint(t, nil))), 200, "")
		answered(t, bed.Do(t, nginxCall("/jwt", "other", "publish", "&name=cam1&type=live", "&token="+mint(t, map[string]any{"mode": "publish", "stream": "live/cam1"}))), 403, "")
	})
	t.Run("ng-name-dup", func(t *testing.T) {
		// The client says that it is another stream, of another app, from another address. Nothing takes it for that.
		const evil = "&name=vip&app=live&addr=10.0.0.1&call=update_publish&clientid=99"
		answered(t, bed.Do(t, publish("/static", "mine", "&name=victim&token=good")), 400, "")
		answered(t, bed.Do(t, publish("/static", "mine", "&app=victim&token=good")), 400, "")
		answered(t, bed.Do(t, publish("/vip", "evil", evil)), 403, "")
		answered(t, bed.Do(t, publish("/address", "evil", evil)), 403, "")
		answered(t, bed.Do(t, publish("/vip", "vip", "")), 200, "")
		answered(t, bed.Do(t, publish("/static", "mine", "&token=bad&token=good")), 400, "")
		// Fields that come before nginx's own, or twice among them, are not nginx's.
		answered(t, bed.Do(t, nginxCall("/vip", "live&name=vip", "publish", "&name=evil&type=live", "")), 400, "")
		answered(t, bed.Do(t, nginxCall("/vip", "live", "publish", "&name=vip&name=evil&type=live", "")), 400, "")
	})
	t.Run("ng-get-mode", func(t *testing.T) {
		r := publish("/static", "cam1", "&token=good")
		r.Method = http.MethodGet
		answered(t, bed.Do(t, r), 405, "")
		r = hook("/static?app=live&flashver=&swfurl=&tcurl=&pageurl=&addr=192.0.2.7&clientid=1&call=publish&name=cam1&type=live&token=good",
			"application/x-www-form-urlencoded", "")
		r.Method = http.MethodGet
		answered(t, bed.Do(t, r), 405, "")
	})
	t.Run("no header of a hook counts", func(t *testing.T) {
		r := publish("/address", "cam1", "")
		for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "Authorization", "Cookie"} {
			r.Header.Set(name, "10.0.0.1")
		}
		answered(t, bed.Do(t, r), 403, "")
	})
	t.Run("a hook that points at the wrong event lets nobody in", func(t *testing.T) {
		connect := hook("/open", "application/x-www-form-urlencoded",
			"app=live&flashver=&swfurl=&tcurl=&pageurl=&addr=192.0.2.7&epoch=1&call=connect")
		answered(t, bed.Do(t, connect), 400, "")
		for _, call := range []string{"unpublish", "PUBLISH", "", "publish2"} {
			answered(t, bed.Do(t, nginxCall("/open", "live", call, "&name=cam1&type=live", "")), 400, "")
		}
	})
	t.Run("what a client writes does not lock it out", func(t *testing.T) {
		answered(t, bed.Do(t, publish("/static", "cam2", "&a=%zz&b=1;c=2&d=x+y&token=good")), 200, "")
		answered(t, bed.Do(t, publish("/static", "cam2", "&token=good&=&&%")), 200, "")
	})
	t.Run("an update is judged anew", func(t *testing.T) {
		answered(t, bed.Do(t, nginxCall("/static", "live", "update_publish", "&time=4&timestamp=3999&name=cam1", "&token=good")), 200, "")
		answered(t, bed.Do(t, nginxCall("/static", "live", "update_publish", "&time=4&timestamp=3999&name=cam1", "&token=bad")), 403, "")
		expired := mint(t, map[string]any{"exp": now.Unix() - 120, "mode": "publish"})
		answered(t, bed.Do(t, nginxCall("/jwt", "live", "update_publish", "&time=4&timestamp=3999&name=cam1", "&token="+expired)), 403, "")
	})
	t.Run("the end of a session is acknowledged", func(t *testing.T) {
		for call, fields := range map[string]string{
			"publish_done": "&name=cam1", "play_done": "&name=cam1", "done": "&name=cam1", "disconnect": "&app=live",
			"record_done": "&recorder=r&name=cam1&path=/x",
		} {
			answered(t, bed.Do(t, nginxCall("/static", "live", call, fields, "&token=bad")), 200, "")
		}
	})
}

func TestAttacksOnSRS(t *testing.T) {
	bed := testbed.New(t, site(
		handle("/static", "srs", "token {\nstatic good\n}\nallow {\ntoken valid\n}")+
			handle("/jwt", "srs", jwtToken+"allow {\ntoken valid\n}")+
			handle("/open", "srs", "fallback allow")))
	do := func(t *testing.T, path, members string) testbed.Result {
		t.Helper()
		return bed.Do(t, hook(path, "application/json", "{"+members+"}"))
	}
	const rest = `"client_id":"c1","ip":"192.0.2.7","vhost":"__defaultVhost__","app":"live","stream":"cam1"`
	const allow, deny, malformed = `{"code":0}`, `{"code":403}`, `{"code":400}`
	with := func(action, param string) string {
		return fmt.Sprintf(`"action":%q,%s,"param":%q`, action, rest, param)
	}

	t.Run("sr-publish-valid", func(t *testing.T) {
		answered(t, do(t, "/static", with("on_publish", "?token=good")), 200, allow)
	})
	t.Run("sr-play-valid", func(t *testing.T) {
		answered(t, do(t, "/static", with("on_play", "?token=good")), 200, allow)
		answered(t, do(t, "/static", with("on_play", "token=good")), 200, allow) // SRT, WebRTC
	})
	t.Run("sr-deny-body", func(t *testing.T) {
		answered(t, do(t, "/static", with("on_publish", "?token=bad")), 403, deny)
		answered(t, do(t, "/static", with("on_publish", "")), 403, deny)
		answered(t, do(t, "/static", with("on_publish", "??token=good")), 403, deny)
		answered(t, bed.Do(t, hook("/static", "application/json", "0")), 400, malformed)
	})
	t.Run("sr-action-mismatch", func(t *testing.T) {
		for _, action := range []string{"on_connect", "on_forward", "ON_PLAY", "", "publish"} {
			answered(t, do(t, "/open", with(action, "?token=good")), 400, malformed)
		}
		answered(t, do(t, "/open", rest), 400, malformed)
		answered(t, do(t, "/open", `"action":["on_play"],`+rest), 400, malformed)
		// What tells of something that is over is acknowledged, whatever the token is.
		for _, action := range []string{"on_unpublish", "on_stop", "on_close", "on_dvr", "on_hls"} {
			answered(t, do(t, "/static", with(action, "?token=bad")), 200, allow)
		}
		token := mint(t, map[string]any{"mode": "publish"})
		answered(t, do(t, "/jwt", with("on_publish", "?token="+token)), 200, allow)
		answered(t, do(t, "/jwt", with("on_play", "?token="+token)), 403, deny)
	})
	t.Run("sr-param-types", func(t *testing.T) {
		for _, param := range []string{"1", "true", `["?token=good"]`, `{"token":"good"}`} {
			answered(t, do(t, "/static", `"action":"on_play",`+rest+`,"param":`+param), 400, malformed)
		}
		answered(t, do(t, "/static", `"action":"on_play",`+rest+`,"param":null`), 403, deny)
		answered(t, do(t, "/static", `"action":"on_play",`+rest), 403, deny)
		answered(t, do(t, "/static", with("on_play", "?token=bad&token=good")), 400, malformed)
	})
	t.Run("sr-vhost", func(t *testing.T) {
		token := mint(t, map[string]any{"stream": "live/cam1"})
		play := func(app, stream string) string {
			return fmt.Sprintf(`"action":"on_play","client_id":"c","ip":"192.0.2.7","vhost":"x","app":%q,"stream":%q,"param":"?token=%s"`, app, stream, token)
		}
		answered(t, do(t, "/jwt", play("live", "cam1")), 200, allow)
		answered(t, do(t, "/jwt", play("live", "cam2")), 403, deny)
		answered(t, do(t, "/jwt", play("other", "cam1")), 403, deny)
		answered(t, do(t, "/jwt", play("live", "../live/cam1")), 400, malformed)
		// A client that names another app in its arguments is still in the one that SRS says.
		answered(t, do(t, "/jwt", strings.Replace(play("other", "cam1"), "?", "?app=live&", 1)), 403, deny)
	})
	t.Run("sr-client-id", func(t *testing.T) {
		for _, id := range []string{`"client_id":7,`, `"client_id":"x",`, `"client_id":null,`, ""} {
			answered(t, do(t, "/static", `"action":"on_play",`+id+`"app":"live","stream":"cam1","param":"?token=good"`), 200, allow)
		}
		for _, id := range []string{`"client_id":[7],`, `"client_id":-1,`, `"client_id":true,`} {
			answered(t, do(t, "/static", `"action":"on_play",`+id+`"app":"live","stream":"cam1","param":"?token=good"`), 400, malformed)
		}
	})
	t.Run("sr-dup-members", func(t *testing.T) {
		answered(t, do(t, "/static", `"action":"on_close",`+with("on_play", "?token=good")), 400, malformed)
		answered(t, do(t, "/static", `"stream":"cam2",`+with("on_play", "?token=good")), 400, malformed)
		answered(t, do(t, "/static", `"str\u0065am":"cam2",`+with("on_play", "?token=good")), 400, malformed)
	})
}

func TestAttacksOnMediaMTX(t *testing.T) {
	bed := testbed.New(t, site(
		handle("/static", "mediamtx", "token {\nstatic good\n}\nallow {\ntoken valid\n}")+
			handle("/jwt", "mediamtx", jwtToken+"allow {\ntoken valid\n}")+
			handle("/permissions", "mediamtx", "token {\njwt {\nsecret "+testbed.Secret+"\n}\nstream_claim mediamtx_permissions\n}\nallow {\ntoken valid\n}")+
			handle("/user", "mediamtx", "allow {\nuser bob right\n}")+
			handle("/open", "mediamtx", "fallback allow")))
	asks := func(action, user, password, token, query string) string {
		return fmt.Sprintf(`{"ip":"192.0.2.7","user":%q,"password":%q,"token":%q,"action":%s,"path":"cam1","protocol":"rtsp","id":null,"query":%q,"userAgent":"VLC"}`,
			user, password, token, action, query)
	}
	do := func(t *testing.T, path, body string) testbed.Result {
		t.Helper()
		return bed.Do(t, hook(path, "application/json", body))
	}

	t.Run("mx-read-valid", func(t *testing.T) {
		answered(t, do(t, "/static", asks(`"read"`, "", "", "", "jwt=good")), 200, "")
		answered(t, do(t, "/static", asks(`"read"`, "", "", "", "token=good")), 200, "")
		answered(t, do(t, "/static", asks(`"read"`, "", "", "good", "")), 200, "")
		answered(t, do(t, "/static", asks(`"playback"`, "bob", "good", "good", "")), 200, "")
		answered(t, do(t, "/jwt", asks(`"read"`, "", "", mint(t, nil), "")), 200, "")
		answered(t, do(t, "/user", asks(`"read"`, "bob", "right", "right", "")), 200, "")
		answered(t, do(t, "/user", asks(`"read"`, "bob", "wrong", "wrong", "")), 403, "")
	})
	t.Run("mx-publish-valid", func(t *testing.T) {
		answered(t, do(t, "/static", asks(`"publish"`, "", "", "", "jwt=good")), 200, "")
		answered(t, do(t, "/jwt", asks(`"publish"`, "", "", mint(t, map[string]any{"mode": "publish"}), "")), 200, "")
		answered(t, do(t, "/jwt", asks(`"publish"`, "", "", mint(t, nil), "")), 403, "")
	})
	t.Run("mx-empty-credentials", func(t *testing.T) {
		for _, path := range []string{"/static", "/jwt", "/user"} {
			answered(t, do(t, path, asks(`"read"`, "", "", "", "")), 401, "")
		}
		answered(t, do(t, "/static", `{"action":"read","path":"cam1"}`), 401, "")
	})
	t.Run("mx-action-unknown", func(t *testing.T) {
		for _, action := range []string{`"READ"`, `""`, "null", "[]", `"api"`, `"metrics"`, `"pprof"`, `"read "`} {
			answered(t, do(t, "/open", asks(action, "", "", "good", "")), 400, "")
		}
	})
	t.Run("mx-query-dup", func(t *testing.T) {
		answered(t, do(t, "/static", asks(`"read"`, "", "", "", "jwt=bad&jwt=good")), 400, "")
		answered(t, do(t, "/static", asks(`"read"`, "", "", "", "jwt=good&jwt=good")), 400, "")
	})
	t.Run("mx-conflict", func(t *testing.T) {
		answered(t, do(t, "/static", asks(`"read"`, "bob", "wrong", "good", "jwt=other")), 400, "")
		answered(t, do(t, "/static", asks(`"read"`, "", "", "good", "jwt=bad")), 400, "")
		answered(t, do(t, "/static", asks(`"read"`, "", "", "bad", "jwt=good")), 400, "")
	})
	t.Run("a permission is for its own action", func(t *testing.T) {
		permitted := func(action string) string {
			return mint(t, map[string]any{"stream": nil, "mediamtx_permissions": []any{map[string]any{"action": action, "path": "cam1"}}})
		}
		for _, action := range []string{"publish", "read", "playback"} {
			for _, asked := range []string{"publish", "read", "playback"} {
				status := map[bool]int{true: 200, false: 403}[action == asked]
				answered(t, do(t, "/permissions", asks(strconv.Quote(asked), "", "", permitted(action), "")), status, "")
			}
		}
	})
	t.Run("mx-id-null", func(t *testing.T) {
		for _, id := range []string{"null", `""`, `"not a UUID"`, `"5f4d2c0e-0000-4000-8000-000000000000"`} {
			answered(t, do(t, "/static", strings.Replace(asks(`"read"`, "", "", "good", ""), `"id":null`, `"id":`+id, 1)), 200, "")
		}
	})
	t.Run("mx-ip", func(t *testing.T) {
		token := mint(t, map[string]any{"ip": "192.0.2.7"})
		for ip, status := range map[string]int{"192.0.2.7": 200, "::ffff:192.0.2.7": 200, "192.0.2.8": 403, "2001:db8::7": 403, "": 403, "x": 400, "192.0.2.7:1": 400} {
			answered(t, do(t, "/jwt", strings.Replace(asks(`"read"`, "", "", token, ""), "192.0.2.7", ip, 1)), status, "")
		}
	})
}

// Each of these is a mistake that another authorization server for streams has made.
func TestDefectsOfOthers(t *testing.T) {
	const valid = "allow {\ntoken valid\n}"
	bed := testbed.New(t, site(
		handle("/nginx", "nginx_rtmp", jwtToken+valid)+
			handle("/srs", "srs", jwtToken+valid)+
			handle("/mediamtx", "mediamtx", jwtToken+valid)+
			handle("/oven", "ovenmediaengine", jwtToken+valid)+
			handle("/zlm/*", "zlmediakit", jwtToken+valid)+
			handle("/node", "node_media_server", jwtToken+valid)))
	const ovenDenied, zlmDenied = `{"allowed":false,"reason":"denied"}`, `{"code":-1,"msg":"denied"}`
	oven := func(status, address, token string) *http.Request {
		return hook("/oven", "application/json", fmt.Sprintf(
			`{"client":{"address":"192.0.2.7","port":40001,"real_ip":%q},"request":{"direction":"outgoing","protocol":"WebRTC","status":%q,"time":"2027-01-15T08:00:00.000Z","url":"ws://h:3333/live/cam1?token=%s"}}`,
			address, status, token))
	}
	zlm := func(name, token string) *http.Request {
		return hook("/zlm/"+name, "application/json", fmt.Sprintf(
			`{"app":"live","id":"1","ip":"192.0.2.7","mediaServerId":"z","params":"token=%s","port":1,"schema":"rtmp","stream":"cam1","vhost":"v","hook_index":1}`, token))
	}
	node := func(action, token string) *http.Request {
		return hook("/node", "text/plain;charset=UTF-8", fmt.Sprintf(
			`{"id":"i","ip":"192.0.2.7:1","app":"live","name":"cam1","query":{"token":%q},"protocol":"rtmp","action":%q}`, token, action))
	}
	srs := func(param string) *http.Request {
		return hook("/srs", "application/json", fmt.Sprintf(
			`{"action":"on_play","client_id":"c","ip":"192.0.2.7","vhost":"v","app":"live","stream":"cam1","param":%q}`, param))
	}
	play := func(args string) *http.Request {
		return nginxCall("/nginx", "live", "play", "&name=cam1&start=0&duration=0&reset=0", args)
	}

	t.Run("the first byte of an SRS query is not dropped", func(t *testing.T) {
		answered(t, bed.Do(t, srs("token="+mint(t, nil))), 200, `{"code":0}`)
		answered(t, bed.Do(t, srs("?token="+mint(t, nil))), 200, `{"code":0}`)
		answered(t, bed.Do(t, srs("xtoken="+mint(t, nil))), 403, `{"code":403}`)
	})
	t.Run("a token that has expired opens nothing, at no server", func(t *testing.T) {
		expired := mint(t, map[string]any{"exp": now.Unix() - 61})
		answered(t, bed.Do(t, play("&token="+expired)), 403, "")
		answered(t, bed.Do(t, srs("?token="+expired)), 403, `{"code":403}`)
		answered(t, bed.Do(t, oven("opening", "", expired)), 200, ovenDenied)
		answered(t, bed.Do(t, zlm("on_play", expired)), 200, zlmDenied)
		answered(t, bed.Do(t, node("prePlay", expired)), 403, "")
	})
	t.Run("a hook of another event is no yes", func(t *testing.T) {
		good := mint(t, nil)
		answered(t, bed.Do(t, play("&token="+good)), 200, "")
		answered(t, bed.Do(t, zlm("on_play", good)), 200, `{"code":0,"msg":"success"}`)
		answered(t, bed.Do(t, zlm("on_publish", good)), 200, zlmDenied)
		answered(t, bed.Do(t, zlm("on_http_access", good)), 200, zlmDenied)
		answered(t, bed.Do(t, zlm("on_shell_login", good)), 200, zlmDenied)
		answered(t, bed.Do(t, zlm("other", good)), 200, zlmDenied)
		answered(t, bed.Do(t, node("prePlay", good)), 200, "")
		answered(t, bed.Do(t, node("prePublish", good)), 403, "")
		answered(t, bed.Do(t, node("play", good)), 400, "")
	})
	t.Run("a member that is new is no reason to refuse", func(t *testing.T) {
		body := fmt.Sprintf(`{"ip":"192.0.2.7","action":"read","path":"cam1","token":%q,"userAgent":"x","tomorrow":[1]}`, mint(t, nil))
		answered(t, bed.Do(t, hook("/mediamtx", "application/json", body)), 200, "")
	})
	t.Run("an address that the client writes is not its address", func(t *testing.T) {
		bound := mint(t, map[string]any{"ip": "203.0.113.9"})
		answered(t, bed.Do(t, oven("opening", "203.0.113.9", bound)), 200, ovenDenied)
		answered(t, bed.Do(t, oven("opening", "203.0.113.9", mint(t, map[string]any{"ip": "192.0.2.7"}))), 200, `{"allowed":true}`)
		r := srs("?token=" + bound)
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		answered(t, bed.Do(t, r), 403, `{"code":403}`)
	})
	t.Run("a token for one stream opens none whose URL is hidden behind it", func(t *testing.T) {
		good := mint(t, nil)
		answered(t, bed.Do(t, oven("opening", "", good)), 200, `{"allowed":true}`)
		answered(t, bed.Do(t, oven("opening", "", good+"&x=ws://h:3333/live/cam2")), 200, ovenDenied)
		answered(t, bed.Do(t, oven("opening", "", good+"&x@h:3333/live/cam2")), 200, ovenDenied)
	})
	t.Run("the end of a session is one, and is answered as such", func(t *testing.T) {
		answered(t, bed.Do(t, oven("closing", "", "")), 200, `{}`)
		answered(t, bed.Do(t, nginxCall("/nginx", "live", "publish_done", "&name=cam1", "")), 200, "")
		answered(t, bed.Do(t, zlm("on_flow_report", "")), 200, `{"code":0,"msg":"success"}`)
		answered(t, bed.Do(t, node("donePlay", "")), 200, "")
	})
	t.Run("an argument with a semicolon locks nobody out", func(t *testing.T) {
		good := mint(t, nil)
		for _, junk := range []string{"a=1;b=2", "a=%zz", "=", "%"} {
			answered(t, bed.Do(t, play("&"+junk+"&token="+good)), 200, "")
			answered(t, bed.Do(t, srs("?"+junk+"&token="+good)), 200, `{"code":0}`)
			answered(t, bed.Do(t, hook("/mediamtx", "application/json",
				fmt.Sprintf(`{"ip":"192.0.2.7","action":"read","path":"cam1","query":%q}`, junk+"&token="+url.QueryEscape(good)))), 200, "")
		}
	})
	t.Run("a signed hook that was seen is not good for ever", func(t *testing.T) {
		// The body and its signature are a vector, made by hand from OvenMediaEngine's algorithm.
		gate := testbed.New(t, site("route {\ncallback_auth ovenmediaengine {\nsecret ome-lab-secret\n}\nstream_auth ovenmediaengine {\ntoken {\nstatic t0k\n}\nallow {\ntoken valid\n}\n}\n}"))
		const body = `{"client":{"address":"192.0.2.7","port":40001,"real_ip":"192.0.2.7"},"request":{"direction":"incoming","protocol":"RTMP","status":"opening","time":"2026-11-22T01:40:00.000Z","url":"rtmp://media.example:1935/app/cam1?token=t0k"}}`
		sent := time.Date(2026, 11, 22, 1, 40, 0, 0, time.UTC)
		at := func(now time.Time, body string) testbed.Result {
			r := hook("/", "application/json", body)
			r.Header.Set("X-Ome-Signature", "oXxDXahlR173zko_CfRKNifBoMM")
			return gate.Do(t, r.WithContext(clock.At(r.Context(), now)))
		}
		answered(t, at(sent.Add(time.Second), body), 200, `{"allowed":true}`)
		for name, result := range map[string]testbed.Result{
			"an hour later":        at(sent.Add(time.Hour), body),
			"with another address": at(sent, strings.Replace(body, "192.0.2.7", "192.0.2.8", 1)),
		} {
			if result.Status != 401 || strings.Contains(result.Body, "true") {
				t.Errorf("%s: %d %q", name, result.Status, result.Body)
			}
		}
	})
	t.Run("who cannot prove to be the media server ends nobody's session", func(t *testing.T) {
		gate := testbed.New(t, site("route {\ncallback_auth api_key {\nquery key\nkey 0123456789abcdef0123456789abcdef\n}\nstream_auth srs {\nallow \""+own(t)+"\" {\nmax_sessions 1 per stream\n}\n}\n}"))
		ask := func(key, action, client string) int {
			return gate.Do(t, hook("/?key="+key, "application/json", fmt.Sprintf(
				`{"action":%q,"client_id":%q,"ip":"192.0.2.7","app":"live","stream":"cam1","param":""}`, action, client))).Status
		}
		const key = "0123456789abcdef0123456789abcdef"
		for i, step := range []struct {
			key, action, client string
			status              int
		}{{key, "on_play", "a", 200}, {"x", "on_stop", "a", 401}, {key, "on_play", "b", 403}, {key, "on_stop", "a", 200}, {key, "on_play", "b", 200}} {
			if status := ask(step.key, step.action, step.client); status != step.status {
				t.Errorf("step %d: %d, should be %d", i+1, status, step.status)
			}
		}
	})
	t.Run("who is banned is denied", func(t *testing.T) {
		gate := testbed.New(t, site(handle("/", "radiomast", "deny {\nip 198.51.100.0/24 192.0.2.7\n}\ndeny {\nagent BadBot* Evil/1.0\n}\nallow {\n}")))
		for _, banned := range []map[string]string{{"ip": "192.0.2.7"}, {"ip": "198.51.100.9"}, {"ip": "192.0.2.9", "agent": "BadBot/2"}, {"ip": "192.0.2.9", "agent": "Evil/1.0"}} {
			denied(t, gate.Do(t, without("/", "/jazz", banned)), http.StatusForbidden)
		}
		allowedIcecast(t, gate.Do(t, without("/", "/jazz", map[string]string{"ip": "192.0.2.9"})))
	})
	t.Run("an expiry with something behind its number is none", func(t *testing.T) {
		gate := testbed.New(t, site(handle("/", "nginx_rtmp", "token {\nsigned "+testbed.Secret+"\n}\nallow {\ntoken valid\n}")))
		short, err := shorttoken.Mint([]byte(testbed.Secret), shorttoken.Token{Mode: "play", Expires: now.Add(time.Hour)}, "live/cam1")
		if err != nil {
			t.Fatal(err)
		}
		ask := func(token string) *http.Request {
			return nginxCall("/", "live", "play", "&name=cam1&start=0&duration=0&reset=0", "&token="+token)
		}
		answered(t, gate.Do(t, ask(short)), 200, "")
		answered(t, gate.Do(t, ask(strings.Replace(short, "3600.", "3600x.", 1))), 403, "")
		for _, exp := range []any{"1800003600", "1800003600x", true, []any{1800003600}} {
			answered(t, bed.Do(t, srs("?token="+mint(t, map[string]any{"exp": exp}))), 403, `{"code":403}`)
		}
	})
	t.Run("no answer is ever a yes by its status alone", func(t *testing.T) {
		// What a server takes for a yes is status and body together: neither stands alone on a denial, or undecoded.
		for _, body := range []string{"", "{}", "null", "0", `{"code":0}`, `{"allowed":true}`} {
			answered(t, bed.Do(t, hook("/srs", "application/json", body)), 400, `{"code":400}`)
			answered(t, bed.Do(t, hook("/oven", "application/json", body)), 200, ovenDenied)
			answered(t, bed.Do(t, hook("/zlm/on_play", "application/json", body)), 200, zlmDenied)
			answered(t, bed.Do(t, hook("/node", "text/plain;charset=UTF-8", body)), 400, "")
			answered(t, bed.Do(t, hook("/mediamtx", "application/json", body)), 400, "")
		}
	})
}

// A media server's answer has its length and is never chunked, also where the site compresses what it can.
func TestNoAnswerIsCompressed(t *testing.T) {
	bed := testbed.New(t, site("encode gzip\n"+
		handle("/oven", "ovenmediaengine", "allow {\nrename other\n}")+
		handle("/zlm/*", "zlmediakit", "deny {\nreason "+strings.Repeat("x", 1000)+"\n}")))
	for path, body := range map[string]string{
		"/oven":        `{"client":{"address":"192.0.2.7","port":1},"request":{"direction":"outgoing","protocol":"WebRTC","status":"opening","url":"ws://h:3333/live/cam1?token=` + strings.Repeat("x", 1000) + `"}}`,
		"/zlm/on_play": `{"app":"live","id":"1","ip":"192.0.2.7","mediaServerId":"z","params":"","schema":"rtmp","stream":"cam1"}`,
	} {
		r := hook(path, "application/json", body)
		r.Header.Set("Accept-Encoding", "gzip")
		result := bed.Do(t, r)
		answered(t, result, 200, result.Body)
		if result.Header.Get("Content-Encoding") != "" || len(result.Body) < 1000 || result.Body[0] != '{' {
			t.Errorf("%s: %v %.100q", path, result.Header, result.Body)
		}
	}
}

// What is logged as the answer is what the server was answered, and with report_only what it would have been.
func TestTheStatusOfADenialThatIsLoggedIsThatOfTheAnswer(t *testing.T) {
	const oven = `{"client":{"address":"192.0.2.7","port":1},"request":{"direction":"outgoing","protocol":"WebRTC","status":"opening","url":"ws://h:3333/live/cam1"}}`
	const zlm = `{"app":"live","id":"1","ip":"192.0.2.7","mediaServerId":"z","params":"","schema":"rtmp","stream":"cam1"}`
	for name, tc := range map[string]struct {
		dialect, path, body string
		status              int
	}{
		"ovenmediaengine, whose denials are 200": {"ovenmediaengine", "/", oven, 200},
		"zlmediakit, whose denials are 200":      {"zlmediakit", "/on_play", zlm, 200},
		"mediamtx, which asks for a password":    {"mediamtx", "/", `{"action":"read","path":"cam1"}`, 401},
		"http, which asks for a token":           {"http", "/hls/live/cam1", "", 401},
		"antmedia":                               {"antmedia", "/", `{"appName":"live","streamId":"cam1","mode":"play"}`, 403},
	} {
		t.Run(name, func(t *testing.T) {
			for _, more := range []string{"", "report_only\n"} {
				block := jwtToken + "allow {\ntoken valid\n}\n" + more
				if tc.dialect == "http" {
					block += "path /hls/{app}/{stream}\n"
				}
				bed := testbed.New(t, site("stream_auth "+tc.dialect+" {\n"+block+"}\nreverse_proxy RECEIVER"))
				result := bed.Do(t, hook(tc.path, "application/json", tc.body))
				lines := bed.Logs.Lines(t, "stream denied")
				if len(lines) != 1 || lines[0]["status"] != float64(tc.status) || more == "" && result.Status != tc.status {
					t.Errorf("%sanswered %d, should be %d: %v", more, result.Status, tc.status, lines)
				}
			}
		})
	}
}
