package dialects

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func post(contentType string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://hooks.example/?mount=/x", nil)
	r.Header.Set("Content-Type", contentType)
	return r
}

// The bodies of Icecast are captures of Debian's icecast2 2.4.4 and of icecast-kh 2.4.0-kh22, as ffmpeg and curl made them ask.
// Those of Icecast 2.5 are made as its source (2.5.0-rc2) makes them.
func TestDecode(t *testing.T) {
	loopback := netip.MustParseAddr("127.0.0.1")
	for _, test := range []struct {
		name    string
		dialect stream.Dialect
		body    string
		want    stream.Request
	}{
		{
			"icecast: a source",
			Icecast{},
			"action=stream_auth&mount=%2flive%2eogg&ip=127%2e0%2e0%2e1&server=127%2e0%2e0%2e1&port=18000&user=dj1&pass=djp%40ss",
			stream.Request{
				Event: stream.Open, Action: "stream_auth", Mode: stream.Publish, Name: "live.ogg", Transport: "icecast",
				IP: loopback, Server: "127.0.0.1:18000", Session: "/live.ogg", User: "dj1", Password: "djp@ss",
			},
		},
		{
			"icecast: a source's metadata",
			Icecast{},
			"action=stream_auth&mount=%2flive%2eogg&ip=127%2e0%2e0%2e1&server=127%2e0%2e0%2e1&port=18000&user=dj1&pass=x&admin=1",
			stream.Request{
				Event: stream.Open, Action: "stream_auth", Mode: stream.Publish, Name: "live.ogg", Transport: "icecast",
				IP: loopback, Server: "127.0.0.1:18000", Session: "/live.ogg", NoSession: true, User: "dj1", Password: "x", Fields: map[string]string{"admin": "1"},
			},
		},
		{
			"icecast: a source that has started",
			Icecast{},
			"action=mount_add&mount=%2flive%2eogg&server=127%2e0%2e0%2e1&port=18000",
			stream.Request{Event: stream.Notice, Action: "mount_add", Mode: stream.Publish, Name: "live.ogg", Session: "/live.ogg", Transport: "icecast", Server: "127.0.0.1:18000"},
		},
		{
			"icecast: a source that has stopped",
			Icecast{},
			"action=mount_remove&mount=%2flive%2eogg&server=127%2e0%2e0%2e1&port=18000",
			stream.Request{
				Event: stream.Close, Action: "mount_remove", Mode: stream.Publish, Name: "live.ogg", Transport: "icecast",
				Server: "127.0.0.1:18000", Session: "/live.ogg",
			},
		},
		{
			"icecast: a listener with a token and headers",
			Icecast{},
			"action=listener_add&server=127%2e0%2e0%2e1&port=18000&client=2&mount=%2flive%2eogg%3ftoken%3dgood%26x%3da%2526user%253Devil&user=&pass=&ip=127%2e0%2e0%2e1&agent=VLC%2f3%2e0&ClientHeader.x-token=hdr%20tok%26x%3d1&ClientHeader.x-forwarded-for=203%2e0%2e113%2e9&ClientHeader.cookie=sid%3d1",
			stream.Request{
				Event: stream.Open, Action: "listener_add", Mode: stream.Play, Name: "live.ogg", Transport: "icecast",
				IP: loopback, Server: "127.0.0.1:18000", Session: "2", Agent: "VLC/3.0",
				Query: url.Values{"token": {"good"}, "x": {"a&user=evil"}},
				Fields: map[string]string{
					"ClientHeader.x-token": "hdr tok&x=1", "ClientHeader.x-forwarded-for": "203.0.113.9", "ClientHeader.cookie": "sid=1",
				},
			},
		},
		{
			"icecast: a listener with a password",
			Icecast{},
			"action=listener_add&server=127%2e0%2e0%2e1&port=18000&client=3&mount=%2flive%2eogg&user=alice&pass=p%20w%26d%3d1&ip=127%2e0%2e0%2e1&agent=curl%2f7%2e88%2e1",
			stream.Request{
				Event: stream.Open, Action: "listener_add", Mode: stream.Play, Name: "live.ogg", Transport: "icecast",
				IP: loopback, Server: "127.0.0.1:18000", Session: "3", Agent: "curl/7.88.1", User: "alice", Password: "p w&d=1",
			},
		},
		{
			"icecast: a listener that left",
			Icecast{},
			"action=listener_remove&server=127%2e0%2e0%2e1&port=18000&client=2&mount=%2flive%2eogg%3ftoken%3dgood%26x%3da%2526user%253Devil&user=&pass=&duration=4&ip=127%2e0%2e0%2e1&agent=VLC%2f3%2e0",
			stream.Request{
				Event: stream.Close, Action: "listener_remove", Mode: stream.Play, Name: "live.ogg", Transport: "icecast",
				IP: loopback, Server: "127.0.0.1:18000", Session: "2", Agent: "VLC/3.0",
				Query: url.Values{"token": {"good"}, "x": {"a&user=evil"}},
			},
		},
		{
			"icecast: a listener over IPv6 without an agent",
			Icecast{},
			"action=listener_add&server=ice%2etest&port=28100&client=2&mount=%2f%256cive%2emp3&user=&pass=&ip=%3a%3affff%3a192%2e0%2e2%2e1&agent=%2d",
			stream.Request{
				Event: stream.Open, Action: "listener_add", Mode: stream.Play, Name: "live.mp3", Transport: "icecast",
				IP: netip.MustParseAddr("192.0.2.1"), Server: "ice.test:28100", Session: "2",
			},
		},
		{
			"icecast 2.5: empty fields are left out",
			Icecast{},
			"action=listener_add&server=ice%2etest&port=8000&server%2dinstance=0b1f&client=5&mount=%2fa%2fb&ip=fe80%3a%3a1%25eth0",
			stream.Request{
				Event: stream.Open, Action: "listener_add", Mode: stream.Play, Name: "a/b", Transport: "icecast",
				IP: netip.MustParseAddr("fe80::1"), Server: "ice.test:8000", Session: "5",
			},
		},
		{
			"icecast 2.5: a client's number is left out where it is 0, as of the first one after a start",
			Icecast{},
			"action=listener_remove&duration=0&server=ice%2etest&port=8000&server%2dinstance=0b1f&mount=%2flive%2eogg&ip=192%2e0%2e2%2e7&agent=%2d",
			stream.Request{
				Event: stream.Close, Action: "listener_remove", Mode: stream.Play, Name: "live.ogg", Transport: "icecast",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "ice.test:8000", Session: "0",
			},
		},
		{
			"icecast 2.5: of a source, too, the mount is what it asked for",
			Icecast{},
			"action=stream_auth&server=ice%2etest&port=8000&server%2dinstance=0b1f&client=6&mount=%2f%256cive%2eogg%3ftoken%3dgood&user=dj1&pass=p&ip=192%2e0%2e2%2e7&agent=Lavf%2f59",
			stream.Request{
				Event: stream.Open, Action: "stream_auth", Mode: stream.Publish, Name: "live.ogg", Transport: "icecast",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "ice.test:8000", Session: "/live.ogg", Agent: "Lavf/59",
				User: "dj1", Password: "p", Query: url.Values{"token": {"good"}},
			},
		},
		{
			"icecast 2.5: a source that left",
			Icecast{},
			"action=mount_remove&mount=%2flive%2eogg&client=6&role=source&username=dj1&ip=192%2e0%2e2%2e7&agent=Lavf%2f59&server=ice%2etest&port=8000&server%2dinstance=0b1f",
			stream.Request{
				Event: stream.Close, Action: "mount_remove", Mode: stream.Publish, Name: "live.ogg", Transport: "icecast",
				IP: netip.MustParseAddr("192.0.2.7"), Server: "ice.test:8000", Session: "/live.ogg", Agent: "Lavf/59",
				Fields: map[string]string{"role": "source", "username": "dj1"},
			},
		},
		{
			"icecast-kh: a source",
			Icecast{},
			"action=stream%5fauth&mount=%2flive%2emp3&server=ice%2etest&port=18500&ip=127%2e0%2e0%2e1&user=dj&pass=dj%2dp%40ss",
			stream.Request{
				Event: stream.Open, Action: "stream_auth", Mode: stream.Publish, Name: "live.mp3", Transport: "icecast",
				IP: loopback, Server: "ice.test:18500", Session: "/live.mp3", User: "dj", Password: "dj-p@ss",
			},
		},
		{
			"icecast-kh: a source that has started",
			Icecast{},
			"action=mount%5fadd&mount=%2flive%2emp3&server=ice%2etest&port=18500&ip=127%2e0%2e0%2e1&agent=",
			stream.Request{
				Event: stream.Notice, Action: "mount_add", Mode: stream.Publish, Name: "live.mp3", Session: "/live.mp3",
				Transport: "icecast", IP: loopback, Server: "ice.test:18500",
			},
		},
		{
			"icecast-kh: a listener with a token, a page and headers",
			Icecast{},
			"action=listener_add&port=18500&client=0&server=ice%2etest&mount=%2flive%2emp3%3ftoken%3dgood%252B%252F%253D%2526%2525x%26x%3d1&user=&pass=&ip=%3a%3a1&agent=curl%2f7%2e88%2e1&referer=http%3a%2f%2fpage%2eexample%2fx&listeners=0&ClientHeader-x-token=a%2bb%26c%3dd",
			stream.Request{
				Event: stream.Open, Action: "listener_add", Mode: stream.Play, Name: "live.mp3", Transport: "icecast",
				IP: netip.MustParseAddr("::1"), Server: "ice.test:18500", Session: "0", Agent: "curl/7.88.1",
				Query:  url.Values{"token": {"good+/=&%x"}, "x": {"1"}},
				Fields: map[string]string{"ClientHeader-x-token": "a+b&c=d", "referer": "http://page.example/x"},
			},
		},
		{
			"icecast-kh: a listener without an agent",
			Icecast{},
			"action=listener_add&port=18500&client=0&server=ice%2etest&mount=%2flive%2emp3&user=&pass=&ip=127%2e0%2e0%2e1&agent=%28null%29&referer=&listeners=",
			stream.Request{
				Event: stream.Open, Action: "listener_add", Mode: stream.Play, Name: "live.mp3", Transport: "icecast",
				IP: loopback, Server: "ice.test:18500", Session: "0", Fields: map[string]string{"referer": ""},
			},
		},
		{
			"icecast-kh: a listener that left, without its query",
			Icecast{},
			"action=listener_remove&server=ice%2etest&port=18500&client=0&mount=%2flive%2emp3&user=&pass=&ip=%3a%3a1&duration=2&agent=curl%2f7%2e88%2e1&sent=28839",
			stream.Request{
				Event: stream.Close, Action: "listener_remove", Mode: stream.Play, Name: "live.mp3", Transport: "icecast",
				IP: netip.MustParseAddr("::1"), Server: "ice.test:18500", Session: "0", Agent: "curl/7.88.1",
			},
		},
		{
			"icecast-kh: a mount that it has decoded is not decoded again, after GET /a%2541.mp3",
			Icecast{},
			"action=listener_add&port=18500&client=0&server=ice%2etest&mount=%2fa%2541%2emp3%3ftoken%3dgood&user=&pass=&ip=127%2e0%2e0%2e1&agent=curl%2f7%2e88%2e1&referer=&listeners=",
			stream.Request{
				Event: stream.Open, Action: "listener_add", Mode: stream.Play, Name: "a%41.mp3", Transport: "icecast",
				IP: loopback, Server: "ice.test:18500", Session: "0", Agent: "curl/7.88.1",
				Query: url.Values{"token": {"good"}}, Fields: map[string]string{"referer": ""},
			},
		},
		{
			"icecast-kh: a percent sign in a mount, after GET /100%25.mp3",
			Icecast{},
			"action=listener_add&port=18500&client=1&server=ice%2etest&mount=%2f100%25%2emp3&user=&pass=&ip=127%2e0%2e0%2e1&agent=curl%2f7%2e88%2e1&referer=&listeners=",
			stream.Request{
				Event: stream.Open, Action: "listener_add", Mode: stream.Play, Name: "100%.mp3", Transport: "icecast",
				IP: loopback, Server: "ice.test:18500", Session: "1", Agent: "curl/7.88.1", Fields: map[string]string{"referer": ""},
			},
		},
		{
			"icecast-kh: what it leaves encoded in a mount is decoded, after GET /r%C3%A9gie.ogg",
			Icecast{},
			"action=listener_remove&server=ice%2etest&port=18500&client=2&mount=%2fr%25C3%25A9gie%2eogg&user=&pass=&ip=127%2e0%2e0%2e1&duration=0&agent=curl%2f7%2e88%2e1&sent=0",
			stream.Request{
				Event: stream.Close, Action: "listener_remove", Mode: stream.Play, Name: "régie.ogg", Transport: "icecast",
				IP: loopback, Server: "ice.test:18500", Session: "2", Agent: "curl/7.88.1",
			},
		},
		{
			"radiomast: all counters",
			RadioMast{},
			"action=listener_add&mount=%2Fmystream%3Ftoken%3D12345&server=audio.example&port=443&ip=203.0.113.5&user=&pass=&client=9223372036854775808&agent=Winamp&referrer=https%3A%2F%2Fwww.example.com%2Fpage&listener-count=7&listener-duration-1day=60&listener-duration-7day=3600",
			stream.Request{
				Event: stream.Open, Action: "listener_add", Mode: stream.Play, Name: "mystream", Transport: "icecast",
				IP: netip.MustParseAddr("203.0.113.5"), Server: "audio.example:443", Session: "9223372036854775808", Agent: "Winamp",
				Origin: "https://www.example.com/page", Query: url.Values{"token": {"12345"}},
				Listeners: new(int64(7)), Listened24h: new(time.Minute), Listened7d: new(time.Hour),
				Fields: map[string]string{
					"referrer": "https://www.example.com/page", "listener-count": "7", "listener-duration-1day": "60", "listener-duration-7day": "3600",
				},
			},
		},
		{
			"radiomast: a mount without its slash, and the other spelling of referer",
			RadioMast{},
			"action=listener_add&mount=9fc0-44&referer=https%3A%2F%2Fwww.example.com",
			stream.Request{
				Event: stream.Open, Action: "listener_add", Mode: stream.Play, Name: "9fc0-44", Transport: "icecast", Server: ":",
				Origin: "https://www.example.com", Fields: map[string]string{"referer": "https://www.example.com"},
			},
		},
		{
			"antmedia: publish, in ISO-8859-1",
			AntMedia{},
			"{\"appName\":\"live\",\"name\":\"r\xe9gie1\",\"streamId\":\"r\xe9gie1\",\"mode\":\"live\",\"token\":\"t0k\",\"queryParams\":\"{token=t0k, a=}\"}",
			stream.Request{
				Event: stream.Open, Action: "live", Mode: stream.Publish, App: "live", Name: "régie1",
				Fields: map[string]string{"token": "t0k"}, Query: url.Values{"token": {"t0k"}, "a": {""}},
			},
		},
		{
			"antmedia: play",
			AntMedia{},
			`{"streamId":"cam1","mode":"play","appName":"live","origin":"https://www.example.com","token":"t","subscriberCode":"","subscriberId":"s1","metaData":{"a":[1,"b"]},"ipAddress":"192.0.2.9"}`,
			stream.Request{
				Event: stream.Open, Action: "play", Mode: stream.Play, App: "live", Name: "cam1", Origin: "https://www.example.com",
				IP: netip.MustParseAddr("192.0.2.9"), Fields: map[string]string{"token": "t", "subscriberId": "s1"},
				Metadata: map[string]any{"a": []any{float64(1), "b"}},
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			contentType := formType
			if _, ok := test.dialect.(AntMedia); ok {
				contentType = jsonType
			}
			got, err := test.dialect.Decode(post(contentType), []byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if err := got.Check(); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(test.want, *got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestJavaMap(t *testing.T) {
	for text, want := range map[string]url.Values{
		"{}":                    {},
		"{a=1}":                 {"a": {"1"}},
		"{a=1, b=2}":            {"a": {"1"}, "b": {"2"}},
		"{a=, b=x,y}":           {"a": {""}, "b": {"x,y"}},
		"{a={b}}":               {"a": {"{b}"}},
		"{streamId=cam1}":       {"streamId": {"cam1"}},
		"":                      nil,
		"{":                     nil,
		"a=1":                   nil,
		"{a=1":                  nil,
		"{a}":                   nil,
		"{=1}":                  nil,
		"{a=1=2}":               nil,
		"{a=1, a=1}":            nil,
		"{a=1, token}":          nil,
		"{a=1, , token=2}":      nil,
		"{token=x==, token2=y}": nil,
	} {
		got, err := parseJavaMap(text)
		if (err == nil) != (want != nil) || !cmp.Equal(got, want) {
			t.Errorf("%q became %v (%v), should be %v", text, got, err, want)
		}
	}
}

// checkDecoded holds what a dialect made of a body to what the handler relies on.
func checkDecoded(t *testing.T, q *stream.Request, err error) {
	t.Helper()
	if err != nil {
		if refusal := verdict.Of(err); refusal.Reason != verdict.Malformed {
			t.Errorf("an undecodable body is %v", refusal)
		}
		return
	}
	if q.IP.IsValid() && (q.IP.Is4In6() || q.IP.Zone() != "") {
		t.Errorf("the address %v has two spellings", q.IP)
	}
	if q.Listeners != nil && *q.Listeners < 0 || q.Listened7d != nil && *q.Listened7d < 0 || q.Listened24h != nil && *q.Listened24h < 0 {
		t.Error("a negative counter")
	}
	if q.Check() == nil && strings.ContainsAny(q.Stream(), "\r\n\x00?#\\") {
		t.Errorf("the stream %q has passed", q.Stream())
	}
}

// FuzzDecode: whatever a hook's body is, it is refused as malformed, or it is a request of which one stream is known.
// The dialects take turns by the first argument, and each has seeds of its own.
func FuzzDecode(f *testing.F) {
	decoders := []struct {
		dialect           stream.Dialect
		path, contentType string
		seeds             []string
	}{
		{AntMedia{}, "/", jsonType, []string{
			"{\"appName\":null,\"name\":\"r\xe9gie1\",\"streamId\":\"r\xe9gie1\",\"mode\":\"live\",\"queryParams\":\"{token=t0k, a=}\"}",
			`{"streamId":"a/b","mode":"play","ipAddress":"::ffff:1.2.3.4","metaData":"{}"}`, `{"streamId":"a","mode":["play"]}`,
			`{"appName":"live","name":"cam1","streamId":"cam1","mode":"publish","queryParams":"{token=t0k}","metaData":null,"ipAddress":"192.0.2.7"}`,
			`{"streamId":"mine","appName":"live","mode":"play","stream\u0049d":"victim"}`,
		}},
		{Icecast{}, "/?mount=/x", formType, []string{
			"action=listener_add&server=a&port=1&client=2&mount=%2flive%2eogg%3ftoken%3dgood%26x%3da%2526user%253Devil&user=&pass=&ip=fe80%3a%3a1%25a&agent=-&h=1",
			"action=stream_auth&mount=%2fa%2f..%2fb&ip=1.2.3.4&admin=1", "action=mount_add&mount=/%00", "mount=%zz", "a;b",
			"action=listener_add&mount=/a?token=bad&token=good", "action=listener_remove&mount=/a&duration=-1&client=18446744073709551616",
		}},
		{RadioMast{}, "/?mount=/x", formType, []string{
			"action=listener_add&mount=a%3ftoken%3d1&listener-count=7&listener-duration-1day=60&listener-duration-7day=9223372036&referer=x",
			"action=listener_add&mount=a&listener-duration-7day=-1",
		}},
		{SRS{}, "/", jsonType, []string{
			`{"server_id":"v","service_id":"s","action":"on_publish","client_id":1,"ip":"192.0.2.7","vhost":"h","app":"live","tcUrl":"rtmp://h/live","stream":"cam1","param":"?token=good&a=b"}`,
			`{"action":"on_close","client_id":"c","app":null}`, `{"action":"on_connect"}`,
		}},
		{MediaMTX{}, "/", jsonType, []string{
			`{"ip":"::ffff:192.0.2.7","user":"","password":"","token":"","action":"read","path":"a/b","protocol":"HLS","id":null,"query":"jwt=good","userAgent":"x"}`,
			`{"action":"api"}`,
		}},
		{OvenMediaEngine{}, "/", jsonType, []string{
			`{"client":{"address":"192.0.2.7","port":40001,"real_ip":"192.0.2.7"},"request":{"direction":"incoming","protocol":"RTMP","status":"opening","time":"2026-11-22T01:40:00.000Z","url":"rtmp://media.example:1935/app/cam1?token=t0k"}}`,
			`{"client":{},"request":{"direction":"outgoing","status":"closing","url":"a:///b/c/d/e?f?g"}}`,
			"\x00" + strings.Repeat("=", 1024),
		}},
		{ZLMediaKit{}, "/on_flow_report", jsonType, []string{
			`{"app":"live","id":"1","ip":"192.0.2.7","mediaServerId":"z","params":"token=x","player":true,"port":55345,"protocol":"rtsp","schema":"rtsp","stream":"cam1"}`,
			`{"app":"..","stream":"a//b","player":1}`,
		}},
		{ZLMediaKit{}, "/on_play", jsonType, []string{`{"app":"live","id":"1","ip":"192.0.2.7","params":"token=x","schema":"hls","stream":"cam1","vhost":"__defaultVhost__"}`}},
		{NodeMediaServer{}, "/", nodeType, []string{
			nodeHook("prePublish"), `{"action":"donePlay","ip":"[::1]:1","query":{"a":[[]]}}`, `{"action":"prePlay","ip":":","query":null}`,
		}},
	}
	for which, decoder := range decoders {
		for _, seed := range decoder.seeds {
			f.Add(byte(which), []byte(seed))
			if q, err := decoder.dialect.Decode(postTo(decoder.path, decoder.contentType), []byte(decoder.seeds[0])); which > 0 && (err != nil || q.Stream() == "") {
				f.Fatalf("%T refuses its first seed: %v", decoder.dialect, err)
			}
		}
	}
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		decoder := decoders[int(which)%len(decoders)]
		q, err := decoder.dialect.Decode(postTo(decoder.path, decoder.contentType), body)
		checkDecoded(t, q, err)
		if again, againErr := decoder.dialect.Decode(postTo(decoder.path, decoder.contentType), body); (err == nil) != (againErr == nil) || err == nil && !reflect.DeepEqual(q, again) {
			t.Errorf("decoded as %+v, and then as %+v", q, again)
		}
	})
}

// A printed map that is read is the map: printed again it is the same text, but for the order.
func FuzzJavaMap(f *testing.F) {
	for _, seed := range []string{"{}", "{a=1, b=2}", "{a=1=2}", "{a=, =}", "{a=b, c}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		values, err := parseJavaMap(text)
		if err != nil || len(values) == 0 {
			return
		}
		var parts []string
		for part := range strings.SplitSeq(text[1:len(text)-1], ", ") {
			name, _, _ := strings.Cut(part, "=")
			parts = append(parts, name+"="+values.Get(name))
		}
		if len(parts) != len(values) || "{"+strings.Join(parts, ", ")+"}" != text {
			t.Errorf("%q became %v", text, values)
		}
	})
}
