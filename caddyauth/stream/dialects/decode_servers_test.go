package dialects

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// nodeType is what fetch names a body that is a string.
const nodeType = "text/plain;charset=UTF-8"

// postTo is a hook at a path, from 192.0.2.1.
func postTo(path, contentType string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://hooks.example"+path, nil)
	r.Header.Set("Content-Type", contentType)
	return r
}

// ffmpegSession is the session block of a capture: ffmpeg, over loopback, as nginx 1.22.1 with Debian's
// libnginx-mod-rtmp 1.2.2 writes it.
const ffmpegSession = "app=live&flashver=FMLE/3.0%20(compatible%3B%20Lavf59.27&swfurl=&tcurl=rtmp://127.0.0.1:11935/live&pageurl=&addr=127.0.0.1"

// nodeHook is the body of a capture of Node-Media-Server 4.4.3, for one action.
func nodeHook(action string) string {
	return `{"id":"mwr5sk96dr1jmy9s","ip":"127.0.0.1:35760","app":"live","name":"cam1","query":{"token":"pub","a":["1","2"]},` +
		`"protocol":"rtmp","createtime":1795310962317,"endtime":0,"inbytes":3453,"outbytes":0,"filePath":"","action":"` + action + `"}`
}

// The bodies of nginx-rtmp and Node-Media-Server are captures, and so are those of ZLMediaKit (fdaec26, of August 2026) that
// are indented; those of the others are made as their sources make them.
func TestDecodeOfServers(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	ffmpeg := func(event stream.Event, action string, mode stream.Mode, connection, name string, query url.Values) stream.Request {
		session := ""
		if name != "" {
			session = connection + "/live/" + name
		}
		return stream.Request{
			Event: event, Action: action, Mode: mode, App: "live", Name: name, Transport: "rtmp", IP: loopback,
			Server: "192.0.2.1", Session: session, Query: query, Agent: "FMLE/3.0 (compatible; Lavf59.27",
			Fields: map[string]string{"swfurl": "", "tcurl": "rtmp://127.0.0.1:11935/live"},
		}
	}
	token := url.Values{"token": {"abc"}, "u": {"a b"}}
	node := func(event stream.Event, action string, mode stream.Mode) stream.Request {
		return stream.Request{
			Event: event, Action: action, Mode: mode, App: "live", Name: "cam1", Transport: "rtmp", IP: loopback,
			Server: "192.0.2.1", Session: "mwr5sk96dr1jmy9s/live/cam1", Query: url.Values{"token": {"pub"}, "a": {"1", "2"}},
		}
	}
	polluted := ffmpeg(stream.Open, "publish", stream.Publish, "8", "evil", url.Values{
		"name": {"vip"}, "app": {"other"}, "addr": {"10.0.0.1"}, "call": {"update_publish"}, "clientid": {"99"},
	})
	polluted.QueryErr = cmpopts.AnyError
	cut := ffmpeg(stream.Open, "publish", stream.Publish, "12", "cam3", url.Values{"token": {strings.Repeat("x", 244)}})
	cut.Truncated = true
	nameless := ffmpeg(stream.Close, "disconnect", "", "1", "", nil)

	for _, test := range []struct {
		name, path, contentType string
		dialect                 stream.Dialect
		body                    string
		want                    stream.Request
	}{
		{
			"nginx_rtmp: publish", "/hook/publish?srv=edge1", formType,
			NginxRTMP{},
			ffmpegSession + "&clientid=1&call=publish&name=cam1&type=live&token=abc&u=a%20b",
			ffmpeg(stream.Open, "publish", stream.Publish, "1", "cam1", token),
		},
		{
			"nginx_rtmp: a publisher that goes on", "/", formType,
			NginxRTMP{},
			ffmpegSession + "&clientid=1&call=update_publish&time=2&timestamp=1923&name=cam1&token=abc&u=a%20b",
			ffmpeg(stream.Renew, "update_publish", stream.Publish, "1", "cam1", token),
		},
		{
			"nginx_rtmp: a player that goes on", "/", formType,
			NginxRTMP{},
			ffmpegSession + "&clientid=3&call=update_play&time=2&timestamp=1923&name=cam1",
			ffmpeg(stream.Renew, "update_play", stream.Play, "3", "cam1", nil),
		},
		{
			"nginx_rtmp: a publisher that left", "/", formType,
			NginxRTMP{},
			ffmpegSession + "&clientid=1&call=publish_done&name=cam1&token=abc&u=a%20b",
			ffmpeg(stream.Close, "publish_done", stream.Publish, "1", "cam1", token),
		},
		{
			"nginx_rtmp: a player that left", "/", formType,
			NginxRTMP{},
			ffmpegSession + "&clientid=1&call=play_done&name=cam1",
			ffmpeg(stream.Close, "play_done", stream.Play, "1", "cam1", nil),
		},
		{
			"nginx_rtmp: done", "/", formType,
			NginxRTMP{},
			ffmpegSession + "&clientid=1&call=done&name=cam1&token=abc&u=a%20b",
			ffmpeg(stream.Close, "done", "", "1", "cam1", token),
		},
		{
			"nginx_rtmp: the end of a connection", "/", formType,
			NginxRTMP{},
			ffmpegSession + "&clientid=1&call=disconnect&app=live", nameless,
		},
		{
			"nginx_rtmp: a recording", "/", formType,
			NginxRTMP{},
			ffmpegSession + "&clientid=1&call=record_done&recorder=all&name=cam1&path=/tmp/cam1-1.flv",
			ffmpeg(stream.Notice, "record_done", "", "1", "cam1", nil),
		},
		{
			"nginx_rtmp: play", "/", formType,
			NginxRTMP{},
			"app=live&flashver=LNX%209,0,124,2&swfurl=&tcurl=rtmp://127.0.0.1:11935/live&pageurl=&addr=127.0.0.1&clientid=71&call=play&name=cam1&start=4294965296&duration=0&reset=0&token=view&u=bob",
			stream.Request{
				Event: stream.Open, Action: "play", Mode: stream.Play, App: "live", Name: "cam1", Transport: "rtmp", IP: loopback,
				Server: "192.0.2.1", Session: "71/live/cam1", Query: url.Values{"token": {"view"}, "u": {"bob"}}, Agent: "LNX 9,0,124,2",
				Fields: map[string]string{"swfurl": "", "tcurl": "rtmp://127.0.0.1:11935/live"},
			},
		},
		{
			"nginx_rtmp: a browser's page, arguments of the server's URL, an encoded name over IPv6", "/", formType,
			NginxRTMP{},
			"app=live&flashver=&swfurl=&tcurl=rtmp://h/live%3Fsrvkey=S1&pageurl=https://www.example.com/p&addr=%3A%3Affff:192.0.2.9&clientid=5&call=play&name=r%C3%A9gie%2B1&start=0&duration=0&reset=0",
			stream.Request{
				Event: stream.Open, Action: "play", Mode: stream.Play, App: "live", Name: "régie+1", Transport: "rtmp",
				IP: netip.MustParseAddr("192.0.2.9"), Server: "192.0.2.1", Session: "5/live/régie+1", Origin: "https://www.example.com/p",
				Fields: map[string]string{"swfurl": "", "tcurl": "rtmp://h/live?srvkey=S1"},
			},
		},
		{
			"nginx_rtmp: a client that writes fields of nginx's own is what nginx says it is", "/", formType,
			NginxRTMP{},
			ffmpegSession + "&clientid=8&call=publish&name=evil&type=live&name=vip&app=other&addr=10.0.0.1&call=update_publish&clientid=99",
			polluted,
		},
		{
			"nginx_rtmp: what does not decode does not take the rest along", "/", formType,
			NginxRTMP{},
			ffmpegSession + "&clientid=40&call=publish&name=cam2&type=live&a=%zz&b=1;c=2&d=x+y&token=t0k",
			ffmpeg(stream.Open, "publish", stream.Publish, "40", "cam2", url.Values{"d": {"x y"}, "token": {"t0k"}}),
		},
		{
			"nginx_rtmp: a token of 400 bytes is cut off at 255 with the name", "/", formType,
			NginxRTMP{},
			ffmpegSession + "&clientid=12&call=publish&name=cam3&type=live&token=" + strings.Repeat("x", 244), cut,
		},

		{
			"srs: publish over RTMP, with the question mark", "/", jsonType,
			SRS{},
			`{"server_id":"vid-0xk989d","service_id":"y3kc7a20","action":"on_publish","client_id":"341w361a","ip":"192.0.2.7","vhost":"__defaultVhost__","app":"live","tcUrl":"rtmp://h/live","stream":"cam1","param":"?token=good&a=b","stream_url":"/live/cam1","stream_id":"vid-1"}`,
			stream.Request{
				Event: stream.Open, Action: "on_publish", Mode: stream.Publish, App: "live", Name: "cam1",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "vid-0xk989d/y3kc7a20", Session: "341w361a",
				Query:  url.Values{"token": {"good"}, "a": {"b"}},
				Fields: map[string]string{"vhost": "__defaultVhost__", "tcUrl": "rtmp://h/live"},
			},
		},
		{
			"srs: play over SRT, without it", "/", jsonType,
			SRS{},
			`{"server_id":"vid-0xk989d","service_id":"y3kc7a20","action":"on_play","client_id":"341w361a","ip":"192.0.2.7","vhost":"h","app":"live","stream":"cam1","tcUrl":"srt://h/live","param":"token=good","pageUrl":"http://www.example.com/p","stream_url":"/live/cam1"}`,
			stream.Request{
				Event: stream.Open, Action: "on_play", Mode: stream.Play, App: "live", Name: "cam1", Origin: "http://www.example.com/p",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "vid-0xk989d/y3kc7a20", Session: "341w361a",
				Query:  url.Values{"token": {"good"}},
				Fields: map[string]string{"vhost": "h", "tcUrl": "srt://h/live"},
			},
		},
		{
			"srs 3: the client's id is a number, and the server has none", "/", jsonType,
			SRS{},
			`{"action":"on_unpublish","client_id":1985,"ip":"192.0.2.7","vhost":"h","app":"live","stream":"cam1","param":""}`,
			stream.Request{
				Event: stream.Close, Action: "on_unpublish", Mode: stream.Publish, App: "live", Name: "cam1",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "/", Session: "1985", Fields: map[string]string{"vhost": "h", "tcUrl": ""},
			},
		},
		{
			"srs: a player that left", "/", jsonType,
			SRS{},
			`{"server_id":"v","service_id":"s","action":"on_stop","client_id":"c","ip":"192.0.2.7","vhost":"h","app":"live","stream":"cam1","param":"?x"}`,
			stream.Request{
				Event: stream.Close, Action: "on_stop", Mode: stream.Play, App: "live", Name: "cam1", IP: netip.MustParseAddr("192.0.2.7"),
				Server: "v/s", Session: "c", Query: url.Values{"x": {""}}, Fields: map[string]string{"vhost": "h", "tcUrl": ""},
			},
		},
		{
			"srs: the end of a connection", "/", jsonType,
			SRS{},
			`{"server_id":"v","service_id":"s","action":"on_close","client_id":"c","ip":"192.0.2.7","vhost":"h","app":"live","send_bytes":1,"recv_bytes":2}`,
			stream.Request{
				Event: stream.Close, Action: "on_close", App: "live", IP: netip.MustParseAddr("192.0.2.7"),
				Server: "v/s", Session: "c", Fields: map[string]string{"vhost": "h", "tcUrl": ""},
			},
		},
		{
			"srs 6.0.157, captured: an HLS player, whose file is no part of the name", "/", jsonType,
			SRS{},
			`{"server_id":"vid-z3087a8","service_id":"09359134","action":"on_play","client_id":"cny6e616","ip":"127.0.0.1","vhost":"__defaultVhost__","app":"live","stream":"cam1.m3u8","tcUrl":"http://127.0.0.1/live","param":"?token=good","pageUrl":"","stream_url":"/live/cam1","stream_id":"vid-17gl743"}`,
			stream.Request{
				Event: stream.Open, Action: "on_play", Mode: stream.Play, App: "live", Name: "cam1", IP: netip.MustParseAddr("127.0.0.1"),
				Server: "vid-z3087a8/09359134", Session: "cny6e616", Query: url.Values{"token": {"good"}},
				Fields: map[string]string{"vhost": "__defaultVhost__", "tcUrl": "http://127.0.0.1/live"},
			},
		},
		{
			"srs: an extension behind a slash of the name is none of it, either", "/", jsonType,
			SRS{},
			`{"server_id":"v","service_id":"s","action":"on_play","client_id":"c","ip":"192.0.2.7","vhost":"h","app":"live","stream":"a/cam1.flv","tcUrl":"srt://h/live","param":"","stream_url":"h/live/a/cam1"}`,
			stream.Request{
				Event: stream.Open, Action: "on_play", Mode: stream.Play, App: "live", Name: "a/cam1", IP: netip.MustParseAddr("192.0.2.7"),
				Server: "v/s", Session: "c", Query: url.Values{}, Fields: map[string]string{"vhost": "h", "tcUrl": "srt://h/live"},
			},
		},
		{
			"srs: what stands behind the last dot is the extension, with a slash, too", "/", jsonType,
			SRS{},
			`{"server_id":"v","service_id":"s","action":"on_play","client_id":"c","ip":"192.0.2.7","vhost":"__defaultVhost__","app":"live","stream":"a/cam1.x/y","tcUrl":"srt://h/live","param":"","stream_url":"/live/a/cam1"}`,
			stream.Request{
				Event: stream.Open, Action: "on_play", Mode: stream.Play, App: "live", Name: "a/cam1", IP: netip.MustParseAddr("192.0.2.7"),
				Server: "v/s", Session: "c", Query: url.Values{}, Fields: map[string]string{"vhost": "__defaultVhost__", "tcUrl": "srt://h/live"},
			},
		},
		{
			"srs: a version that keeps the extension is told nothing else by a client's choice of name", "/", jsonType,
			SRS{},
			`{"server_id":"v","service_id":"s","action":"on_play","client_id":"c","ip":"192.0.2.7","vhost":"h","app":"live","stream":"cam1.x/cam1","tcUrl":"srt://h/live","param":"","stream_url":"h/live/cam1.x/cam1"}`,
			stream.Request{
				Event: stream.Open, Action: "on_play", Mode: stream.Play, App: "live", Name: "cam1.x/cam1", IP: netip.MustParseAddr("192.0.2.7"),
				Server: "v/s", Session: "c", Query: url.Values{}, Fields: map[string]string{"vhost": "h", "tcUrl": "srt://h/live"},
			},
		},
		{
			"srs 6.0.157, captured: the query stands before the stream, and comes twice", "/", jsonType,
			SRS{},
			`{"server_id":"vid-z3087a8","service_id":"09359134","action":"on_play","client_id":"g57m640x","ip":"127.0.0.1","vhost":"__defaultVhost__","app":"live","stream":"cam1","tcUrl":"rtmp://127.0.0.1:27935/live?token=good","param":"?token=good?token=good","pageUrl":"","stream_url":"/live/cam1","stream_id":"vid-17gl743"}`,
			stream.Request{
				Event: stream.Open, Action: "on_play", Mode: stream.Play, App: "live", Name: "cam1", IP: netip.MustParseAddr("127.0.0.1"),
				Server: "vid-z3087a8/09359134", Session: "g57m640x", Query: url.Values{"token": {"good"}},
				Fields: map[string]string{"vhost": "__defaultVhost__", "tcUrl": "rtmp://127.0.0.1:27935/live?token=good"},
			},
		},
		{
			"srs: a recording", "/", jsonType,
			SRS{},
			`{"server_id":"v","service_id":"s","action":"on_dvr","client_id":"c","ip":"192.0.2.7","vhost":"h","app":"live","stream":"cam1","param":"","cwd":"/","file":"./a.flv"}`,
			stream.Request{
				Event: stream.Notice, Action: "on_dvr", App: "live", Name: "cam1", IP: netip.MustParseAddr("192.0.2.7"),
				Server: "v/s", Session: "c", Fields: map[string]string{"vhost": "h", "tcUrl": ""},
			},
		},

		{
			"mediamtx: publish over SRT, with members that are new", "/", jsonType,
			MediaMTX{},
			`{"ip":"192.0.2.7","user":"bob","password":"pw","token":"pw","action":"publish","path":"studio/cam1","protocol":"srt","id":"1b0c2a52-8b2a-4d4e-9d2e-5b9f1e0e7c11","query":"a=b","userAgent":"ffmpeg","brandNew":{"a":1}}`,
			stream.Request{
				Event: stream.Open, Action: "publish", Mode: stream.Publish, Name: "studio/cam1", Transport: "srt",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "192.0.2.1", Session: "1b0c2a52-8b2a-4d4e-9d2e-5b9f1e0e7c11",
				User: "bob", Password: "pw", Query: url.Values{"a": {"b"}}, Fields: map[string]string{"token": "pw"}, Agent: "ffmpeg",
			},
		},
		{
			"mediamtx: read over HLS, without an id", "/", jsonType,
			MediaMTX{},
			`{"ip":"::ffff:192.0.2.7","user":"","password":"","token":"","action":"read","path":"cam1","protocol":"HLS","id":null,"query":"jwt=good"}`,
			stream.Request{
				Event: stream.Open, Action: "read", Mode: stream.Play, Name: "cam1", Transport: "hls",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "192.0.2.1", Query: url.Values{"jwt": {"good"}},
			},
		},
		{
			"mediamtx: playback", "/", jsonType,
			MediaMTX{},
			`{"ip":"","user":"","password":"","token":"t","action":"playback","path":"cam1","protocol":"","id":null,"query":"path=cam1&start=2026-01-01T00%3A00%3A00Z"}`,
			stream.Request{
				Event: stream.Open, Action: "playback", Mode: stream.Play, Name: "cam1", Server: "192.0.2.1",
				Query: url.Values{"path": {"cam1"}, "start": {"2026-01-01T00:00:00Z"}}, Fields: map[string]string{"token": "t"},
			},
		},

		{
			"ovenmediaengine: publish; what a client claims to be its address does not count", "/", jsonType,
			OvenMediaEngine{},
			`{"client":{"address":"192.0.2.7","port":40001,"real_ip":"203.0.113.9"},"request":{"direction":"incoming","protocol":"RTMP","status":"opening","time":"2026-11-22T01:40:00.000Z","url":"rtmp://media.example:1935/app/cam1?token=t0k"}}`,
			stream.Request{
				Event: stream.Open, Action: "opening", Mode: stream.Publish, App: "app", Name: "cam1", Transport: "rtmp",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "192.0.2.1", Session: "192.0.2.7:40001/app/cam1",
				Query: url.Values{"token": {"t0k"}}, Fields: map[string]string{"url": "rtmp://media.example:1935/app/cam1?token=t0k"},
			},
		},
		{
			"ovenmediaengine: a player of a playlist over IPv6", "/", jsonType,
			OvenMediaEngine{},
			`{"client":{"address":"2001:db8::1","port":40001,"user_agent":"Safari"},"request":{"direction":"outgoing","protocol":"LLHLS","status":"opening","time":"2026-11-22T01:40:00.000Z","url":"https://media.example/app/r%C3%A9gie/llhls.m3u8?token=t0k&x=%zz"}}`,
			stream.Request{
				Event: stream.Open, Action: "opening", Mode: stream.Play, App: "app", Name: "régie", Transport: "llhls", Agent: "Safari",
				IP: netip.MustParseAddr("2001:db8::1"), Server: "192.0.2.1", Session: "[2001:db8::1]:40001/app/régie",
				Query: url.Values{"token": {"t0k"}}, Fields: map[string]string{"url": "https://media.example/app/r%C3%A9gie/llhls.m3u8?token=t0k&x=%zz"},
			},
		},
		{
			"ovenmediaengine: a player that left, of a stream that had been renamed", "/", jsonType,
			OvenMediaEngine{},
			`{"client":{"address":"192.0.2.7","port":40001},"request":{"direction":"outgoing","protocol":"WebRTC","new_url":"ws://media.example:3333/app/other","status":"closing","time":"2026-11-22T01:40:00.000Z","url":"ws://media.example:3333/app/cam1"}}`,
			stream.Request{
				Event: stream.Close, Action: "closing", Mode: stream.Play, App: "app", Name: "cam1", Transport: "webrtc",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "192.0.2.1", Session: "192.0.2.7:40001/app/cam1",
				Fields: map[string]string{"url": "ws://media.example:3333/app/cam1"},
			},
		},

		{
			"ovenmediaengine 0.15.3 to 0.15.11: the other spelling of user_agent", "/", jsonType,
			OvenMediaEngine{},
			`{"client":{"address":"192.0.2.7","port":40001,"user-agent":"Safari"},"request":{"direction":"outgoing","protocol":"LLHLS","status":"opening","time":"2023-05-01T10:40:00.000+09:00","url":"https://media.example:3334/app/cam1/llhls.m3u8"}}`,
			stream.Request{
				Event: stream.Open, Action: "opening", Mode: stream.Play, App: "app", Name: "cam1", Transport: "llhls", Agent: "Safari",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "192.0.2.1", Session: "192.0.2.7:40001/app/cam1",
				Fields: map[string]string{"url": "https://media.example:3334/app/cam1/llhls.m3u8"},
			},
		},
		{
			"ovenmediaengine: a login before the host, and an address in the query", "/", jsonType,
			OvenMediaEngine{},
			`{"client":{"address":"192.0.2.7","port":40001,"real_ip":"192.0.2.7"},"request":{"direction":"incoming","protocol":"RTMP","status":"opening","time":"2026-11-22T10:40:00.000+09:00","url":"rtmp://u:p@media.example:1935/app/cam1?user=bob@example.com"}}`,
			stream.Request{
				Event: stream.Open, Action: "opening", Mode: stream.Publish, App: "app", Name: "cam1", Transport: "rtmp",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "192.0.2.1", Session: "192.0.2.7:40001/app/cam1",
				Query: url.Values{"user": {"bob@example.com"}}, Fields: map[string]string{"url": "rtmp://u:p@media.example:1935/app/cam1?user=bob@example.com"},
			},
		},

		{
			"zlmediakit: publish", "/index/hook/on_publish", jsonType,
			ZLMediaKit{},
			`{"app":"live","hook_index":3,"id":"140186529001776","ip":"192.0.2.7","mediaServerId":"zlm-1","originType":1,"originTypeStr":"rtmp_push","params":"token=good&a=b","port":65284,"protocol":"rtmp","schema":"rtmp","stream":"cam1","vhost":"__defaultVhost__"}`,
			stream.Request{
				Event: stream.Open, Action: "on_publish", Mode: stream.Publish, App: "live", Name: "cam1", Transport: "rtmp",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "zlm-1", Session: "140186529001776",
				Query: url.Values{"token": {"good"}, "a": {"b"}}, Fields: map[string]string{"vhost": "__defaultVhost__"},
			},
		},
		{
			"zlmediakit: play over HTTP-FLV, with a token that is escaped", "/hooks/zlm/on_play?key=x", jsonType,
			ZLMediaKit{},
			"{\n\t\"app\" : \"live\",\n\t\"hook_index\" : 17,\n\t\"id\" : \"6-16\",\n\t\"ip\" : \"127.0.0.1\",\n\t\"mediaServerId\" : \"your_server_id\",\n\t\"params\" : \"token=good-%2B%2F%3D%26%25x\",\n\t\"port\" : 56804,\n\t\"protocol\" : \"http\",\n\t\"schema\" : \"rtmp\",\n\t\"stream\" : \"cam1\",\n\t\"vhost\" : \"__defaultVhost__\"\n}",
			stream.Request{
				Event: stream.Open, Action: "on_play", Mode: stream.Play, App: "live", Name: "cam1", Transport: "http", IP: loopback,
				Server: "your_server_id", Session: "6-16", Query: url.Values{"token": {"good-+/=&%x"}}, Fields: map[string]string{"vhost": "__defaultVhost__"},
			},
		},
		{
			"zlmediakit: the end of a publisher whose stream was on the air already, whom it calls a player", "/hooks/zlm/on_flow_report?key=x", jsonType,
			ZLMediaKit{},
			"{\n\t\"app\" : \"live\",\n\t\"duration\" : 0,\n\t\"hook_index\" : 12,\n\t\"id\" : \"3-17\",\n\t\"ip\" : \"127.0.0.1\",\n\t\"mediaServerId\" : \"your_server_id\",\n\t\"params\" : \"token=good\",\n\t\"player\" : true,\n\t\"port\" : 35300,\n\t\"protocol\" : \"rtmp\",\n\t\"schema\" : \"rtmp\",\n\t\"stream\" : \"cam1\",\n\t\"totalBytes\" : 7106,\n\t\"vhost\" : \"__defaultVhost__\"\n}",
			stream.Request{
				Event: stream.Close, Action: "on_flow_report", Mode: stream.Play, EitherMode: true, App: "live", Name: "cam1", Transport: "rtmp",
				IP: loopback, Server: "your_server_id", Session: "3-17", Query: url.Values{"token": {"good"}}, Fields: map[string]string{"vhost": "__defaultVhost__"},
			},
		},
		{
			"zlmediakit: play, asked a second time, in an older version", "/hooks/zlm/on_play?key=x", jsonType,
			ZLMediaKit{},
			`{"app":"live","hook_index":4,"id":"140259799100960","ip":"192.0.2.7","mediaServerId":"zlm-1","params":"","port":65284,"schema":"HLS","stream":"cam1","vhost":"h"}`,
			stream.Request{
				Event: stream.Open, Action: "on_play", Mode: stream.Play, App: "live", Name: "cam1", Transport: "hls",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "zlm-1", Session: "140259799100960", Fields: map[string]string{"vhost": "h"},
			},
		},
		{
			"zlmediakit: the end of a player's session", "/on_flow_report", jsonType,
			ZLMediaKit{},
			`{"app":"live","duration":6,"hook_index":5,"id":"140259799100960","ip":"192.0.2.7","mediaServerId":"zlm-1","params":"token=x","player":true,"port":55345,"protocol":"rtsp","schema":"rtsp","stream":"cam1","totalBytes":1508161,"vhost":"h"}`,
			stream.Request{
				Event: stream.Close, Action: "on_flow_report", Mode: stream.Play, EitherMode: true, App: "live", Name: "cam1", Transport: "rtsp",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "zlm-1", Session: "140259799100960",
				Query: url.Values{"token": {"x"}}, Fields: map[string]string{"vhost": "h"},
			},
		},
		{
			"zlmediakit: the server lives", "/on_server_keepalive", jsonType,
			ZLMediaKit{},
			`{"data":{"Buffer":12},"hook_index":9,"mediaServerId":"zlm-1"}`,
			stream.Request{Event: stream.Notice, Action: "on_server_keepalive", Server: "zlm-1"},
		},

		{"node_media_server: prePublish", "/", nodeType, NodeMediaServer{}, nodeHook("prePublish"), node(stream.Open, "prePublish", stream.Publish)},
		{"node_media_server: postPublish", "/", nodeType, NodeMediaServer{}, nodeHook("postPublish"), node(stream.Open, "postPublish", stream.Publish)},
		{"node_media_server: donePublish", "/", nodeType, NodeMediaServer{}, nodeHook("donePublish"), node(stream.Close, "donePublish", stream.Publish)},
		{"node_media_server: prePlay", "/", nodeType, NodeMediaServer{}, nodeHook("prePlay"), node(stream.Open, "prePlay", stream.Play)},
		{"node_media_server: postPlay", "/", nodeType, NodeMediaServer{}, nodeHook("postPlay"), node(stream.Open, "postPlay", stream.Play)},
		{"node_media_server: donePlay", "/", nodeType, NodeMediaServer{}, nodeHook("donePlay"), node(stream.Close, "donePlay", "")},
		{"node_media_server: doneRecord", "/", nodeType, NodeMediaServer{}, nodeHook("doneRecord"), node(stream.Notice, "doneRecord", "")},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.dialect.Decode(postTo(test.path, test.contentType), []byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if err := got.Check(); err != nil {
				t.Error(err)
			}
			options := []cmp.Option{cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}), cmpopts.EquateErrors()}
			if diff := cmp.Diff(test.want, *got, options...); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is refused has a reason, and most of it is what a client could bring about, or a server that asks something else.
func TestDecodeRefuses(t *testing.T) {
	const srs = `"client_id":"c","ip":"192.0.2.7","app":"live","stream":"cam1"`
	const oven = `"client":{"address":"192.0.2.7","port":1},"request":{"direction":"incoming","protocol":"RTMP","status":"opening","url":"rtmp://h/app/cam1"}`
	for _, test := range []struct {
		name, path, contentType string
		dialect                 stream.Dialect
		body                    string
		status                  int
	}{
		{"nginx_rtmp: connect", "/", formType, NginxRTMP{}, ffmpegSession + "&epoch=1082289&call=connect", 400},
		{"nginx_rtmp: connect with arguments", "/", formType, NginxRTMP{}, ffmpegSession + "&epoch=1&call=connect&call=publish&name=cam1", 400},
		{"nginx_rtmp: another call", "/", formType, NginxRTMP{}, ffmpegSession + "&clientid=1&call=unpublish&name=cam1", 400},
		{"nginx_rtmp: no call", "/", formType, NginxRTMP{}, ffmpegSession + "&clientid=1", 400},
		{"nginx_rtmp: another order", "/", formType, NginxRTMP{}, ffmpegSession + "&clientid=1&call=publish&type=live&name=cam1", 400},
		{"nginx_rtmp: a field before the others", "/", formType, NginxRTMP{}, "name=vip&" + ffmpegSession + "&clientid=1&call=publish&name=evil&type=live", 400},
		{"nginx_rtmp: a field that does not decode", "/", formType, NginxRTMP{}, ffmpegSession + "&clientid=1&call=publish&name=%zz&type=live", 400},
		{"nginx_rtmp: a client without a number", "/", formType, NginxRTMP{}, ffmpegSession + "&clientid=&call=publish&name=a&type=live", 400},
		{"nginx_rtmp: a name in capitals", "/", formType, NginxRTMP{}, ffmpegSession + "&clientid=1&CALL=publish&name=a&type=live", 400},
		{"nginx_rtmp: JSON", "/", jsonType, NginxRTMP{}, `{"call":"publish"}`, 415},
		{"nginx_rtmp: nothing", "/", formType, NginxRTMP{}, "", 400},

		{"srs: connect", "/", jsonType, SRS{}, `{"action":"on_connect",` + srs + `}`, 400},
		{"srs: forward", "/", jsonType, SRS{}, `{"action":"on_forward",` + srs + `}`, 400},
		{"srs: no action", "/", jsonType, SRS{}, `{` + srs + `}`, 400},
		{"srs: a client with a fraction", "/", jsonType, SRS{}, `{"action":"on_play","client_id":1.5,"app":"live","stream":"cam1"}`, 400},
		{"srs: two streams", "/", jsonType, SRS{}, `{"action":"on_play","stream":"cam2",` + srs + `}`, 400},
		{"srs: no address", "/", jsonType, SRS{}, `{"action":"on_play","ip":"nowhere","app":"live","stream":"cam1"}`, 400},
		{"srs: a list", "/", jsonType, SRS{}, `[{"action":"on_play"}]`, 400},
		{"srs: a form", "/", formType, SRS{}, "action=on_play&app=live&stream=cam1", 415},

		{"mediamtx: the API", "/", jsonType, MediaMTX{}, `{"action":"api","path":"","ip":"192.0.2.7"}`, 400},
		{"mediamtx: metrics", "/", jsonType, MediaMTX{}, `{"action":"metrics","path":"cam1","ip":"192.0.2.7"}`, 400},
		{"mediamtx: pprof", "/", jsonType, MediaMTX{}, `{"action":"pprof","path":"cam1","ip":"192.0.2.7"}`, 400},
		{"mediamtx: a token in a list", "/", jsonType, MediaMTX{}, `{"action":"read","path":"cam1","token":["good"]}`, 400},

		{"ovenmediaengine: neither opening nor closing", "/", jsonType, OvenMediaEngine{}, `{` + strings.Replace(oven, "opening", "open", 1) + `}`, 400},
		{"ovenmediaengine: another direction", "/", jsonType, OvenMediaEngine{}, `{` + strings.Replace(oven, "incoming", "Incoming", 1) + `}`, 400},
		{"ovenmediaengine: no stream", "/", jsonType, OvenMediaEngine{}, `{` + strings.Replace(oven, "/app/cam1", "/app", 1) + `}`, 400},
		{"ovenmediaengine: a slash in a name", "/", jsonType, OvenMediaEngine{}, `{` + strings.Replace(oven, "/app/cam1", "/app/a%2Fcam1", 1) + `}`, 400},
		{"ovenmediaengine: a file that climbs out of its stream", "/", jsonType, OvenMediaEngine{}, `{` + strings.Replace(oven, "/app/cam1", "/app/cam1/%2e./cam2", 1) + `}`, 400},
		{"ovenmediaengine: a second URL in the query, which is the one that it takes", "/", jsonType, OvenMediaEngine{}, `{` + strings.Replace(oven, "/app/cam1", "/app/cam1?x=rtmp://h/other/secret", 1) + `}`, 400},
		{"ovenmediaengine: a second host in the query, before which it takes all for a login", "/", jsonType, OvenMediaEngine{}, `{` + strings.Replace(oven, "h/app/cam1", "h:1935/app/cam1?x@h:1935/other/secret", 1) + `}`, 400},
		{"ovenmediaengine: a second host in the path", "/", jsonType, OvenMediaEngine{}, `{` + strings.Replace(oven, "h/app/cam1", "h:1935/app/cam1/x@h/other/secret@", 1) + `}`, 400},
		{"ovenmediaengine: a second host behind a login", "/", jsonType, OvenMediaEngine{}, `{` + strings.Replace(oven, "h/app/cam1", "u:p@h/app/cam1?x@h/other/secret", 1) + `}`, 400},
		{"ovenmediaengine: no URL", "/", jsonType, OvenMediaEngine{}, `{` + strings.Replace(oven, "rtmp://", "", 1) + `}`, 400},
		{"ovenmediaengine: no request", "/", jsonType, OvenMediaEngine{}, `{"client":{"address":"192.0.2.7"}}`, 400},
		{"ovenmediaengine: a client that is no object", "/", jsonType, OvenMediaEngine{}, `{"client":"192.0.2.7","request":{}}`, 400},

		{"zlmediakit: a path that names no hook", "/hooks/zlm", jsonType, ZLMediaKit{}, `{"app":"live","stream":"cam1"}`, 400},
		{"zlmediakit: directories", "/on_http_access", jsonType, ZLMediaKit{}, `{"app":"live","stream":"cam1"}`, 400},
		{"zlmediakit: the shell", "/on_shell_login", jsonType, ZLMediaKit{}, `{"user_name":"a","passwd":"b"}`, 400},
		{"zlmediakit: RTSP passwords", "/on_rtsp_auth", jsonType, ZLMediaKit{}, `{"app":"live","stream":"cam1"}`, 400},
		{"zlmediakit: an address that is none", "/on_play", jsonType, ZLMediaKit{}, `{"app":"live","stream":"cam1","ip":"x"}`, 400},

		{"node_media_server: another action", "/", nodeType, NodeMediaServer{}, nodeHook("play"), 400},
		{"node_media_server: a query that is no object", "/", nodeType, NodeMediaServer{}, `{"action":"prePlay","app":"live","name":"cam1","query":"token=x"}`, 400},
		{"node_media_server: JSON that says so", "/", jsonType, NodeMediaServer{}, nodeHook("prePlay"), 415},
	} {
		t.Run(test.name, func(t *testing.T) {
			q, err := test.dialect.Decode(postTo(test.path, test.contentType), []byte(test.body))
			if err == nil {
				t.Fatalf("decoded as %+v", q)
			}
			if refusal := verdict.Of(err); refusal.Reason != verdict.Malformed || refusal.HTTPStatus() != test.status {
				t.Errorf("%v %d, should be %d", refusal, refusal.HTTPStatus(), test.status)
			}
		})
	}

	t.Run("a GET, with which a client can write headers", func(t *testing.T) {
		// A capture: the client had put CR, LF and a header into what it wanted to play.
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/hook/getpublish?app=getapp&flashver=&swfurl=&tcurl=&pageurl=&addr=127.0.0.1&clientid=1&call=publish&name=cam9&type=live&tok=a", nil)
		r.Header.Set("X-Injected", "yes")
		r.Header.Set("Content-Type", formType)
		for _, dialect := range []stream.Dialect{NginxRTMP{}, SRS{}, MediaMTX{}, OvenMediaEngine{}, NodeMediaServer{}} {
			_, err := dialect.Decode(r, nil)
			if refusal := verdict.Of(err); err == nil || refusal.HTTPStatus() != http.StatusMethodNotAllowed {
				t.Errorf("%T: %v", dialect, err)
			}
		}
	})
}

func TestAddressAndPort(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:35760":         "127.0.0.1",
		"::1:35760":               "::1",
		"[2001:db8::1]:35760":     "2001:db8::1",
		"2001:db8::1:35760":       "2001:db8::1",
		"::ffff:192.0.2.7:35760":  "192.0.2.7",
		"fe80::1%eth0:35760":      "fe80::1",
		"origin.example:1935":     "",
		"rtsp://192.0.2.7:554/a1": "",
		"192.0.2.7":               "",
		"":                        "",
	} {
		var got string
		if addr := addressOfPair(text); addr.IsValid() {
			got = addr.String()
		}
		if got != want {
			t.Errorf("%q became %q, should be %q", text, got, want)
		}
	}
}

// A query that the server parsed, and that holds what no query can, counts for nothing.
func TestQueryObject(t *testing.T) {
	body := strings.Replace(nodeHook("prePlay"), `["1","2"]`, `{"b":"c"}`, 1)
	q, err := NodeMediaServer{}.Decode(postTo("/", nodeType), []byte(body))
	if err != nil || q.QueryErr == nil || len(q.Query) > 0 {
		t.Errorf("%+v %v", q, err)
	}
}

func TestRenameOfAnOvenURL(t *testing.T) {
	for _, test := range []struct{ url, to, want string }{
		{"rtmp://media.example:1935/app/cam1?token=t0k", "other", "rtmp://media.example:1935/app/other?token=t0k"},
		{"rtmp://media.example/app/cam1", "app2/other", "rtmp://media.example/app2/other"},
		{"https://[2001:db8::1]/app/cam1/llhls.m3u8?a=/b/c?d", "x", "https://[2001:db8::1]/app/x/llhls.m3u8?a=/b/c?d"},
		{"rtmp://media.example/app/cam1", "a/b/c", ""},
		{"rtmp://media.example/app/cam1", "../x", ""},
		{"rtmp://media.example/app/cam1", "x?y", ""},
		{"rtmp://media.example/app/cam1", "régie", ""},
		{"rtmp://media.example/app/cam1", "a b", ""},
	} {
		u, err := parseOvenURL(test.url)
		if err != nil {
			t.Fatal(err)
		}
		got, err := u.rename(test.to)
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s to %s became %q (%v), should be %q", test.url, test.to, got, err, test.want)
		}
	}
}

// fuzzServer is fuzzDecode for a dialect whose path counts, too.
// Whatever a client adds to its arguments, the stream stays the one that nginx names.
func FuzzNginxRTMPDecode(f *testing.F) {
	const prefix = ffmpegSession + "&clientid=8&call=publish&name=evil&type=live"
	for _, seed := range []string{"", "&name=vip&app=other", "&a=%zz&b=1;c=2", "&call=disconnect", "x", "&", "&&name=", "\r\nX: y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, args string) {
		q, err := NginxRTMP{}.Decode(postTo("/", formType), []byte(args))
		checkDecoded(t, q, err)
		if args != "" && args[0] != '&' {
			args = "&" + args
		}
		q, err = NginxRTMP{}.Decode(postTo("/", formType), []byte(prefix+args))
		checkDecoded(t, q, err)
		if err != nil || q.Name != "evil" || q.App != "live" || q.Event != stream.Open || q.Session != "8/live/evil" || q.IP.String() != "127.0.0.1" {
			t.Errorf("%q made %+v (%v) of it", args, q, err)
		}
	})
}

// A URL that is taken apart is the URL: put together with its own name it is the same text.
func FuzzOvenURL(f *testing.F) {
	for _, seed := range []string{"rtmp://h:1935/app/cam1?token=x", "https://h/a/b/c/d.m3u8?x=/y?z", "a:///b/c", "x://y", "//a/b/c?://d"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseOvenURL(text)
		if err != nil {
			return
		}
		if again, err := u.rename(u.app + "/" + u.name); err == nil && !strings.Contains(text, "%") && again != text {
			t.Errorf("%q became %q", text, again)
		}
	})
}
