package command_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/command"
	"github.com/caddyauth/callbacks/caddyauth/testbed"

	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/encode/gzip"
)

const explained = `
{
	caddyauth {
		store redis redis://REDIS
	}
}
http://hooks.example.com {
	encode gzip
	handle /vonage {
		callback_auth vonage {
			secret ` + testbed.Secret + ` blue
		}
		reverse_proxy RECEIVER
	}
	handle /trial {
		callback_auth {
			report_only
			vonage {
				secret ` + testbed.Secret + `
			}
		}
		reverse_proxy RECEIVER
	}
	handle /files {
		reverse_proxy RECEIVER
	}
	handle /oauth {
		callback_auth oauth2 {
			jwks http://RECEIVER/keys
			audience me
		}
		reverse_proxy RECEIVER
	}
	handle /ant {
		stream_auth antmedia {
			token {
				jwt {
					secret ` + testbed.Secret + `
				}
			}
			deny closed {
				app internal
			}
			allow live {
				app live
				token valid
			}
		}
	}
	handle /nginx {
		stream_auth nginx_rtmp {
			token weekly {
				jwt {
					secret ` + testbed.Secret + `
				}
			}
			token short {
				signed ` + testbed.Secret + `
			}
RULES
			allow weekly {
				token weekly
			}
			allow short {
				token short
			}
		}
	}
}
`

func TestExplainSaysWhatWouldBeDecidedAndCallsNobody(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	called := make(chan struct{}, 1)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.Close()
			select {
			case called <- struct{}{}:
			default:
			}
		}
	}()
	address := listener.Addr().String()
	var rules strings.Builder
	for i := range 30 {
		fmt.Fprintf(&rules, "deny number%d {\nstream other%d\n}\n", i, i)
	}
	config := write(t, strings.NewReplacer("RECEIVER", address, "REDIS", address, "RULES", rules.String()).Replace(explained))

	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	claims := testbed.VonageClaims(body, map[string]any{"iat": now.Unix()})
	vonage := "POST /vonage HTTP/1.1\r\nHost: hooks.example.com\r\nAuthorization: Bearer " + testbed.HS256(t, testbed.Secret, nil, claims) + "\r\n\r\n" + body
	stream := func(app string) string {
		token := testbed.HS256(t, testbed.Secret, nil, map[string]any{"exp": now.Unix() + 60, "stream": app + "/cam1", "mode": "publish"})
		return "POST /ant HTTP/1.1\nHost: hooks.example.com\nContent-Type: application/json\n\n" +
			`{"appName":"` + app + `","name":"cam1","streamId":"cam1","mode":"live","token":"` + token + `"}`
	}
	foreign := "POST /oauth HTTP/1.1\nHost: hooks.example.com\nAuthorization: Bearer " +
		testbed.HS256(t, testbed.Secret, map[string]any{"alg": "RS256"}, map[string]any{"exp": now.Unix() + 60}) + "\n\n"

	nginx := func(call, args string) string {
		form := "app=live&flashver=&swfurl=&tcurl=&pageurl=&addr=192.0.2.7&clientid=1&call=" + call + "&name=cam1&type=live" + args
		return fmt.Sprintf("POST /nginx HTTP/1.0\r\nHost: hooks.example.com\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(form), form)
	}

	for _, tc := range []struct {
		name, request string
		at            time.Time
		want          []string
	}{
		{"a genuine callback", vonage, now, []string{"vonage: ok, key blue", "=> allow: ok", "reverse_proxy, which would get the request"}},
		{"the same one, later", vonage, now.Add(time.Hour), []string{"vonage: expired", "=> deny: expired", "401 Unauthorized"}},
		{"a forged one while nothing is refused", strings.Replace(vonage, "/vonage", "/trial", 1) + " ", now, []string{
			"=> deny: body_mismatch", "report_only: it is let through all the same", "reverse_proxy, which would get the request",
		}},
		{"a forged one", vonage + " ", now, []string{"body_mismatch", "401 Unauthorized"}},
		{"a recording that was cut off", strings.Replace(vonage, "\r\n\r\n", "\r\nContent-Length: 99\r\n\r\n", 1), now, []string{
			"a body of 30 bytes, cut off: the header announces 99", "  vonage: ok, key blue\n  body: malformed", "400 Bad Request",
		}},
		{"a recording whose chunks were joined", strings.Replace(vonage, "\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n", 1), now, []string{
			"a body of 0 bytes, cut off: it is not in chunks to its end", "body: malformed", "400 Bad Request",
		}},
		{"keys of others", foreign, now, []string{"unavailable", "503 Service Unavailable"}},
		{"a stream that is allowed", stream("live"), now, []string{"publish of live/cam1", "closed: does not hold (app)", "=> allow by live: ok", "200 OK"}},
		{"a stream whose token is too old", stream("live"), now.Add(time.Hour), []string{"live: does not hold (token: expired", "=> deny by fallback: expired", "403 Forbidden"}},
		{"each token has a word of its own, and each rule that of its token", nginx("publish", "&token=none"), now, []string{
			"number29: does not hold (stream)",
			"token weekly: bad_credential (token is not three base64url segments)\n  weekly: does not hold (token: bad_credential: token is not three base64url segments)",
			"token short: bad_credential (not a short token)\n  short: does not hold (token: bad_credential: not a short token)",
			"answer\nHTTP/1.0 403 Forbidden\nCache-Control: no-store\nContent-Length: 0\n\n",
		}},
		{"what cannot be decoded says why", nginx("connect", ""), now, []string{"deny: malformed", "a call that is not known", "HTTP/1.0 400 Bad Request"}},
		{"a stream that is denied", stream("internal"), now, []string{"=> deny by closed", "403 Forbidden"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out, err := execute(t, command.ExplainCommand(), tc.request, "--config", config, "--at", tc.at.Format(time.RFC3339))
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				if !strings.Contains(out, want) {
					t.Errorf("it does not say %q:\n%s", want, out)
				}
			}
			if strings.Contains(out, testbed.Secret) || strings.Contains(out, "eyJ") {
				t.Errorf("a secret or a token is in it:\n%s", out)
			}
		})
	}
	select {
	case <-called:
		t.Error("somebody was called")
	default:
	}
}

// What one server of a configuration does to the request before it finds that the request is none of its own, the next does
// not see.
func TestExplainAsksEachServerAboutTheRequestAsItCame(t *testing.T) {
	config := write(t, `
http://hooks.example.com:8001 {
	rewrite * /elsewhere
	request_header -Authorization
	respond "no hook"
}
http://hooks.example.com:8002 {
	handle /vonage {
		callback_auth vonage {
			secret `+testbed.Secret+`
		}
		respond ok
	}
}
`)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	token := testbed.HS256(t, testbed.Secret, nil, testbed.VonageClaims(body, map[string]any{"iat": now.Unix()}))
	request := "POST /vonage HTTP/1.1\r\nHost: hooks.example.com\r\nAuthorization: Bearer " + token + "\r\n\r\n" + body
	out, err := execute(t, command.ExplainCommand(), request, "--config", config, "--at", now.Format(time.RFC3339))
	if err != nil || !strings.Contains(out, "=> allow: ok") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestExplainSaysWhatIsWrong(t *testing.T) {
	config := write(t, strings.NewReplacer("RECEIVER", "127.0.0.1:1", "REDIS", "127.0.0.1:1", "RULES", "").Replace(explained))
	for name, tc := range map[string]struct {
		request string
		args    []string
		want    string
	}{
		"no request":                 {"", []string{"--config", config}, "not an HTTP request"},
		"a path without a gate":      {"GET /else HTTP/1.1\nHost: hooks.example.com\n\n", []string{"--config", config}, "no callback_auth or stream_auth of this configuration is asked about such a request."},
		"a path to somebody else":    {"GET /files HTTP/1.1\nHost: hooks.example.com\n\n", []string{"--config", config}, "it would go to reverse_proxy"},
		"a header without a colon":   {"GET / HTTP/1.1\nHost: h\nAuthorization Bearer hidden\n\n", []string{"--config", config}, "a line of its header has no colon"},
		"what curl -v shows":         {"> GET /?key=hidden HTTP/1.1\n> Host: h\n\n", []string{"--config", config}, "does not begin with a line such as"},
		"a header without its end":   {"GET / HTTP/1.1\nHost: h", []string{"--config", config}, "no empty line"},
		"a config that is not there": {"GET / HTTP/1.1\nHost: h\n\n", []string{"--config", "/does/not/exist"}, "/does/not/exist"},
		"a time that is none":        {"GET / HTTP/1.1\nHost: h\n\n", []string{"--config", config, "--at", "noon"}, "--at"},
		"an address that is none":    {"GET / HTTP/1.1\nHost: h\n\n", []string{"--config", config, "--client-ip", "here"}, "--client-ip"},
		"a mistake in the config":    {"GET / HTTP/1.1\nHost: h\n\n", []string{"--config", write(t, "http:// {\ncallback_auth vonnage\n}")}, "'vonnage'"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := command.ExplainCommand()
			cmd.SilenceErrors = true
			_, err := execute(t, cmd, tc.request, tc.args...)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("the error is %v; want it to say %q, and no secret", err, tc.want)
			}
		})
	}
}

// curl, browsers and proxies write the version of HTTP/2 and HTTP/3 without a dot.
func TestExplainReadsWhatWasRecordedFromHTTP2AndHTTP3(t *testing.T) {
	config := write(t, "http:// {\ncallback_auth api_key {\nheader X-Key\nkey "+testbed.Secret+"\n}\nrespond \"{http.request.proto}\"\n}")
	for _, version := range []string{"HTTP/2", "HTTP/2.0", "HTTP/3", "HTTP/3.0"} {
		for _, end := range []string{"\n", "\r\n"} {
			recorded := strings.Join([]string{"POST /hook " + version, "host: h", "x-key: " + testbed.Secret, "", "{}"}, end)
			out, err := execute(t, command.ExplainCommand(), recorded, "--config", config)
			if want := strings.TrimSuffix(version, ".0") + ".0"; err != nil || !strings.Contains(out, "a body of 2 bytes") ||
				!strings.Contains(out, "api_key: ok") || !strings.Contains(out, want) {
				t.Errorf("%s, lines that end with %q: printed %q, error %v", version, end, out, err)
			}
		}
	}
}

// Caddyfile's adapter would show the whole of it, secrets included, as an address that it cannot read.
func TestExplainTakesJSONByAnyName(t *testing.T) {
	config := write(t, `{"apps":{"http":{"servers":{"s":{"listen":[":80"],"routes":[{"handle":[{"handler":"callback_auth",`+
		`"schemes":[{"scheme":"github","secrets":[{"value":"`+testbed.Secret+`"}]}]}]}]}}}}}`)
	out, err := execute(t, command.ExplainCommand(), "POST / HTTP/1.1\nHost: h\n\n{}", "--config", config)
	if err != nil || !strings.Contains(out, "github: missing") {
		t.Errorf("printed %q, error %v", out, err)
	}
}
