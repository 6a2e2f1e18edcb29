package stream_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// Each server's own words for the beginning and the end of a session move the count: one player at a time, the same one
// asked about twice is still one, and when it has gone the next may come.
func TestSessionsOfEveryServer(t *testing.T) {
	single := fmt.Sprintf("allow %q {\nmode play\nmax_sessions 1 per stream\n}", own(t))
	bed := testbed.New(t, site(
		handle("/nginx", "nginx_rtmp", single)+handle("/srs", "srs", single)+handle("/oven", "ovenmediaengine", single)+
			handle("/zlm/*", "zlmediakit", single)+handle("/node", "node_media_server", single)))

	nginx := func(client int, call, fields string) *http.Request {
		return hook("/nginx", "application/x-www-form-urlencoded", fmt.Sprintf(
			"app=live&flashver=&swfurl=&tcurl=&pageurl=&addr=192.0.2.7&clientid=%d&call=%s&name=cam1%s", client, call, fields))
	}
	srs := func(client int, action string) *http.Request {
		return hook("/srs", "application/json", fmt.Sprintf(
			`{"server_id":"v","service_id":"s","action":%q,"client_id":"c%d","ip":"192.0.2.7","vhost":"h","app":"live","stream":"cam1","param":""}`, action, client))
	}
	oven := func(client int, status string) *http.Request {
		return hook("/oven", "application/json", fmt.Sprintf(
			`{"client":{"address":"192.0.2.7","port":%d},"request":{"direction":"outgoing","protocol":"WebRTC","status":%q,"url":"ws://h:3333/live/cam1"}}`, 40000+client, status))
	}
	zlm := func(client int, name, more string) *http.Request {
		return hook("/zlm/"+name, "application/json", fmt.Sprintf(
			`{"app":"live","id":"%d","ip":"192.0.2.7","mediaServerId":"z","params":"","schema":"rtmp","stream":"cam1"%s}`, client, more))
	}
	node := func(client int, action string) *http.Request {
		return hook("/node", "text/plain;charset=UTF-8", fmt.Sprintf(
			`{"id":"i%d","ip":"192.0.2.7:1","app":"live","name":"cam1","query":{},"protocol":"rtmp","action":%q}`, client, action))
	}
	for _, server := range []struct {
		name                string
		open, again, closes func(client int) *http.Request
		status              int
		allow, deny, closed string
	}{
		{
			"nginx_rtmp",
			func(client int) *http.Request { return nginx(client, "play", "&start=0&duration=0&reset=0") },
			func(client int) *http.Request {
				return hook("/nginx", "application/x-www-form-urlencoded", fmt.Sprintf(
					"app=live&flashver=&swfurl=&tcurl=&pageurl=&addr=192.0.2.7&clientid=%d&call=update_play&time=30&timestamp=1&name=cam1", client))
			},
			func(client int) *http.Request { return nginx(client, "play_done", "") },
			403, "", "", "",
		},
		{
			"srs",
			func(client int) *http.Request { return srs(client, "on_play") },
			func(client int) *http.Request { return srs(client, "on_play") },
			func(client int) *http.Request { return srs(client, "on_stop") },
			403, `{"code":0}`, `{"code":403}`, `{"code":0}`,
		},
		{
			"ovenmediaengine",
			func(client int) *http.Request { return oven(client, "opening") },
			func(client int) *http.Request { return oven(client, "opening") },
			func(client int) *http.Request { return oven(client, "closing") },
			200, `{"allowed":true}`, `{"allowed":false,"reason":"denied"}`, `{}`,
		},
		{
			"zlmediakit, which asks again where it got no answer",
			func(client int) *http.Request { return zlm(client, "on_play", `,"hook_index":1`) },
			func(client int) *http.Request { return zlm(client, "on_play", `,"hook_index":2`) },
			func(client int) *http.Request { return zlm(client, "on_flow_report", `,"player":true`) },
			200, `{"code":0,"msg":"success"}`, `{"code":-1,"msg":"denied"}`, `{"code":0,"msg":"success"}`,
		},
		{
			"node_media_server, which asks twice",
			func(client int) *http.Request { return node(client, "prePlay") },
			func(client int) *http.Request { return node(client, "postPlay") },
			func(client int) *http.Request { return node(client, "donePlay") },
			403, "", "", "",
		},
	} {
		t.Run(server.name, func(t *testing.T) {
			answered(t, bed.Do(t, server.open(1)), 200, server.allow)
			answered(t, bed.Do(t, server.again(1)), 200, server.allow)
			answered(t, bed.Do(t, server.open(2)), server.status, server.deny)
			answered(t, bed.Do(t, server.closes(2)), 200, server.closed) // of one that never began
			answered(t, bed.Do(t, server.open(3)), server.status, server.deny)
			answered(t, bed.Do(t, server.closes(1)), 200, server.closed)
			answered(t, bed.Do(t, server.open(4)), 200, server.allow)
		})
	}
}

// Some hooks tell the end of a session and not whether it was one of a publisher or of a player: it was either.
func TestAnEndWithoutAModeEndsTheSession(t *testing.T) {
	single := fmt.Sprintf("allow %q {\nmax_sessions 1 per ip\n}", own(t))
	bed := testbed.New(t, site(handle("/nginx", "nginx_rtmp", single)+handle("/srs", "srs", single)+handle("/zlm/*", "zlmediakit", single)))
	nginx := func(client int, call, fields string) *http.Request {
		return hook("/nginx", "application/x-www-form-urlencoded", fmt.Sprintf(
			"app=live&flashver=&swfurl=&tcurl=&pageurl=&addr=198.51.100.7&clientid=%d&call=%s&name=cam1%s", client, call, fields))
	}
	srs := func(client int, members string) *http.Request {
		return hook("/srs", "application/json", fmt.Sprintf(
			`{"server_id":"v","service_id":"s","client_id":"d%d","ip":"198.51.100.7","vhost":"h","app":"live",%s}`, client, members))
	}
	zlm := func(client int, name string) *http.Request {
		return hook("/zlm/"+name, "application/json", fmt.Sprintf(
			`{"app":"live","id":"x%d","ip":"198.51.100.7","mediaServerId":"z","params":"","schema":"rtmp","stream":"cam1"}`, client))
	}
	for _, server := range []struct {
		name               string
		open, play, closes func(client int) *http.Request
	}{
		{
			"nginx_rtmp: done",
			func(client int) *http.Request { return nginx(client, "publish", "&type=live") },
			func(client int) *http.Request { return nginx(client, "play", "&start=0&duration=0&reset=0") },
			func(client int) *http.Request { return nginx(client, "done", "") },
		},
		{
			"srs: on_close",
			func(client int) *http.Request { return srs(client, `"action":"on_publish","stream":"cam1","param":""`) },
			func(client int) *http.Request { return srs(client, `"action":"on_play","stream":"cam1","param":""`) },
			func(client int) *http.Request { return srs(client, `"action":"on_close","send_bytes":1`) },
		},
		{
			"zlmediakit: on_flow_report that does not say who",
			func(client int) *http.Request { return zlm(client, "on_publish") },
			func(client int) *http.Request { return zlm(client, "on_play") },
			func(client int) *http.Request { return zlm(client, "on_flow_report") },
		},
	} {
		t.Run(server.name, func(t *testing.T) {
			for i, open := range []func(int) *http.Request{server.open, server.play, server.open} {
				first, second := 2*i+1, 2*i+2
				if body := bed.Do(t, open(first)); !strings.Contains(body.Body, `"code":0`) && body.Body != "" || body.Status != 200 {
					t.Fatalf("session %d: %d %q", first, body.Status, body.Body)
				}
				if body := bed.Do(t, open(second)); strings.Contains(body.Body, `"code":0`) || body.Body == "" && body.Status == 200 {
					t.Fatalf("session %d: %d %q", second, body.Status, body.Body)
				}
				bed.Do(t, server.closes(first))
			}
		})
	}
}

// ZLMediaKit tells one end of a connection, and calls a publisher that it refused when we had allowed it a player: its
// stream was on the air ("Already publishing" in RtmpSession.cpp and RtspSession.cpp, where `is_player` is all that owns no
// stream).
func TestZLMediaKitCallsAPublisherThatItRefusedAPlayer(t *testing.T) {
	bed := testbed.New(t, site(handle("/zlm/*", "zlmediakit", fmt.Sprintf("allow %q {\nmode publish\nmax_sessions 2 per ip\n}", own(t)))))
	zlm := func(client int, name, more string) *http.Request {
		return hook("/zlm/"+name, "application/json", fmt.Sprintf(
			`{"app":"live","id":"p%d","ip":"198.51.100.8","mediaServerId":"z","params":"","schema":"rtmp","stream":"cam1"%s}`, client, more))
	}
	const allow = `{"code":0,"msg":"success"}`
	answered(t, bed.Do(t, zlm(1, "on_publish", "")), 200, allow)
	for client := 2; client < 5; client++ {
		answered(t, bed.Do(t, zlm(client, "on_publish", "")), 200, allow)
		answered(t, bed.Do(t, zlm(client, "on_flow_report", `,"player":true`)), 200, allow)
	}
	answered(t, bed.Do(t, zlm(1, "on_flow_report", `,"player":false`)), 200, allow)
}

// Of a session that the server never ends, a lease does. Asked about again it is the same; without a name it is none.
func TestSessionsOfServersThatNeverEndThem(t *testing.T) {
	single := fmt.Sprintf("allow %q {\nmax_sessions 1 per stream 2h\n}", own(t))
	bed := testbed.New(t, site(handle("/radio", "radiomast", single)+handle("/mediamtx", "mediamtx", single)))
	radio := func(client string) *http.Request {
		return without("/radio", "/of-servers-that-never-end", map[string]string{"client": client})
	}
	mediaMTX := func(id string) *http.Request {
		return hook("/mediamtx", "application/json", fmt.Sprintf(
			`{"ip":"192.0.2.7","user":"u","password":"","token":"","action":"read","path":"of-servers-that-never-end","protocol":"hls","id":%s,"query":"","userAgent":"x"}`, id))
	}
	allowedIcecast(t, bed.Do(t, radio("9223372036854775808")))
	allowedIcecast(t, bed.Do(t, radio("9223372036854775808")))
	denied(t, bed.Do(t, radio("9223372036854775809")), 403)
	denied(t, bed.Do(t, radio("-")), 403)
	answered(t, bed.Do(t, mediaMTX(`"1b0c2a52-8b2a-4d4e-9d2e-5b9f1e0e7c11"`)), 200, "")
	answered(t, bed.Do(t, mediaMTX(`"1b0c2a52-8b2a-4d4e-9d2e-5b9f1e0e7c11"`)), 200, "")
	answered(t, bed.Do(t, mediaMTX(`"5f4d2c0e-0000-4000-8000-000000000000"`)), 403, "")
	answered(t, bed.Do(t, mediaMTX("null")), 403, "")
}

// MediaMTX 1.20.1 (seen with FFmpeg's player) asks about one that plays over RTSP twice: on its DESCRIBE under the connection's
// id and without an agent, and on its SETUP under the session's. Such a one counts once, and whoever leaves its agent out is
// no more than one beside it.
func TestAPlayerOverRTSPIsOneSessionOfMediaMTX(t *testing.T) {
	bed := testbed.New(t, site(
		handle("/one", "mediamtx", fmt.Sprintf("allow %q {\nmax_sessions 1 per ip 2h\n}", own(t)+"1"))+
			handle("/two", "mediamtx", fmt.Sprintf("allow %q {\nmax_sessions 2 per ip 2h\n}", own(t)+"2"))))
	ask := func(path, ip, stream, id, agent string) *http.Request {
		return hook(path, "application/json", fmt.Sprintf(
			`{"ip":%q,"user":"","password":"","token":"t0k","action":"read","path":%q,"protocol":"rtsp","id":"ca360b9e-907c-4d79-9998-%s","query":"token=t0k","userAgent":%q}`,
			ip, stream, id, agent))
	}
	const lavf = "Lavf59.27.100"
	for _, test := range []struct {
		name string
		asks []*http.Request
		last int
	}{
		{"one", []*http.Request{
			ask("/one", "192.0.2.1", "cam1", "c1", ""), ask("/one", "192.0.2.1", "cam1", "s1", lavf),
		}, 200},
		{"one whose DESCRIBE is repeated", []*http.Request{
			ask("/one", "192.0.2.2", "cam1", "c1", ""), ask("/one", "192.0.2.2", "cam1", "c1", ""), ask("/one", "192.0.2.2", "cam1", "s1", lavf),
		}, 200},
		{"one of 1.19.0, with one id", []*http.Request{
			ask("/one", "192.0.2.3", "cam1", "c1", ""), ask("/one", "192.0.2.3", "cam1", "c1", lavf),
		}, 200},
		{"a second", []*http.Request{
			ask("/one", "192.0.2.4", "cam1", "c1", ""), ask("/one", "192.0.2.4", "cam1", "s1", lavf), ask("/one", "192.0.2.4", "cam1", "c2", ""),
		}, 403},
		{"a second without a DESCRIBE", []*http.Request{
			ask("/one", "192.0.2.5", "cam1", "c1", ""), ask("/one", "192.0.2.5", "cam1", "s1", lavf), ask("/one", "192.0.2.5", "cam1", "s2", lavf),
		}, 403},
		{"a second that never says its agent", []*http.Request{
			ask("/one", "192.0.2.6", "cam1", "s1", ""), ask("/one", "192.0.2.6", "cam1", "s2", ""),
		}, 403},
		{"one that says its agent, beside one that does not", []*http.Request{
			ask("/one", "192.0.2.8", "cam1", "s1", ""), ask("/one", "192.0.2.8", "cam1", "s2", lavf),
		}, 200},
		{"a third beside those that never says its agent", []*http.Request{ask("/one", "192.0.2.8", "cam1", "s3", "")}, 403},
		{"a third beside those that says it", []*http.Request{ask("/one", "192.0.2.8", "cam1", "s4", lavf)}, 403},
		{"another stream", []*http.Request{
			ask("/one", "192.0.2.7", "cam1", "c1", ""), ask("/one", "192.0.2.7", "cam2", "s1", lavf),
		}, 403},
		{"two, one after the other", []*http.Request{
			ask("/two", "192.0.2.1", "cam1", "c1", ""), ask("/two", "192.0.2.1", "cam1", "s1", lavf),
			ask("/two", "192.0.2.1", "cam1", "c2", ""), ask("/two", "192.0.2.1", "cam1", "s2", lavf),
		}, 200},
		{"a third", []*http.Request{ask("/two", "192.0.2.1", "cam1", "c3", "")}, 403},
		{"two at once", []*http.Request{
			ask("/two", "192.0.2.2", "cam1", "c1", ""), ask("/two", "192.0.2.2", "cam1", "c2", ""),
			ask("/two", "192.0.2.2", "cam1", "s1", lavf), ask("/two", "192.0.2.2", "cam1", "s2", lavf),
		}, 200},
		{"a third beside those", []*http.Request{ask("/two", "192.0.2.2", "cam1", "s3", lavf)}, 403},
	} {
		t.Run(test.name, func(t *testing.T) {
			for i, r := range test.asks {
				want := 200
				if i == len(test.asks)-1 {
					want = test.last
				}
				answered(t, bed.Do(t, r), want, "")
			}
		})
	}
}

// What MediaMTX 1.20.1 asks without an id opens no session: its pages, and the OPTIONS by which a WebRTC player asks for
// STUN servers. Recordings, and all of HLS before 1.18, have media and no id: those are not let in uncounted.
func TestWhatMediaMTXAsksOutsideOfSessions(t *testing.T) {
	bed := testbed.New(t, site(handle("/hook", "mediamtx", fmt.Sprintf("allow %q {\nmax_sessions 1 per stream 2h\n}", own(t)))))
	ask := func(action, protocol, id, agent string) *http.Request {
		return hook("/hook", "application/json", fmt.Sprintf(
			`{"ip":"127.0.0.1","user":"","password":"","token":"","action":%q,"path":"live/cam1","protocol":%q,"id":%s,"query":"token=t0k"%s}`, action, protocol, id, agent))
	}
	const page, curl, id = `,"userAgent":""`, `,"userAgent":"curl/7.88.1"`, `"e1694fa1-6c3f-4d42-bff6-d54b5996cd37"`
	answered(t, bed.Do(t, ask("read", "webrtc", "null", curl)), 200, "") // the page
	answered(t, bed.Do(t, ask("read", "webrtc", "null", curl)), 200, "") // OPTIONS
	answered(t, bed.Do(t, ask("read", "webrtc", id, curl)), 200, "")     // POST
	answered(t, bed.Do(t, ask("read", "hls", "null", page)), 200, "")
	answered(t, bed.Do(t, ask("read", "moq", "null", page)), 200, "")
	answered(t, bed.Do(t, ask("read", "moq", `"0b7c9f3e-6a44-4f7e-9a51-2f0f6a1d3c55"`, curl)), 403, "")
	answered(t, bed.Do(t, ask("read", "hls", `"fd004437-3c83-44dc-85e6-d96e4777a066"`, curl)), 403, "")
	answered(t, bed.Do(t, ask("read", "hls", "null", "")), 403, "")
	answered(t, bed.Do(t, ask("playback", "", "null", page)), 403, "")
}
