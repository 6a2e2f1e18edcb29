package callback_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"golang.org/x/net/websocket"
)

// The tests of this file are named after the attacks they make. Each row of an attack is one request, and what must
// become of it; 200 means that the receiver gets it, byte for byte.

type attack struct {
	name   string
	make   func(t *testing.T) *http.Request
	status []int
}

func run(t *testing.T, bed *testbed.Bed, attacks []attack) {
	t.Helper()
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			r := a.make(t)
			var sent []byte
			if r.Body != nil {
				var err error
				if sent, err = io.ReadAll(r.Body); err != nil {
					t.Fatal(err)
				}
				r.Body = io.NopCloser(bytes.NewReader(sent))
			}
			result := bed.Do(t, r)
			if a.status[0] == http.StatusOK {
				accepted(t, result, string(sent))
				return
			}
			refused(t, result, a.status...)
		})
	}
}

// header makes a genuine callback, then changes its Authorization header.
func header(values ...func(token string) string) func(t *testing.T) *http.Request {
	return func(t *testing.T) *http.Request {
		r := testbed.Vonage(t, event, nil)
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		r.Header.Del("Authorization")
		for _, value := range values {
			r.Header["Authorization"] = append(r.Header["Authorization"], value(token))
		}
		return r
	}
}

func text(format string) func(string) string {
	return func(token string) string { return strings.ReplaceAll(format, "TOKEN", token) }
}

// change makes a genuine callback, then changes it.
func change(f func(r *http.Request, token string)) func(t *testing.T) *http.Request {
	return func(t *testing.T) *http.Request {
		r := testbed.Vonage(t, event, nil)
		f(r, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
		return r
	}
}

func TestTokensInHeaders(t *testing.T) {
	run(t, testbed.New(t, vonageSite), []attack{
		{"ctl-jwt-valid", header(text("Bearer TOKEN")), []int{200}},
		{"ctl-jwt-scheme-lower", header(text("bearer TOKEN")), []int{200}},
		{"ctl-jwt-scheme-mixed", header(text("BeArEr TOKEN")), []int{200}},
		{"jwt-empty-bearer", header(text("Bearer")), []int{401}},
		{"jwt-empty-bearer", header(text("Bearer ")), []int{401}},
		{"jwt-wrong-scheme", header(text("Token TOKEN")), []int{401}},
		{"jwt-wrong-scheme", header(text("JWT TOKEN")), []int{401}},
		{"jwt-wrong-scheme", header(text("Bearer:TOKEN")), []int{401}},
		{"jwt-wrong-scheme", header(text("Bearer=TOKEN")), []int{401}},
		{"jwt-tab-separator", header(text("Bearer\tTOKEN")), []int{401}},
		{"jwt-two-spaces", header(text("Bearer  TOKEN")), []int{401}},
		{"jwt-comma-joined", header(text("Bearer x.y.z, Bearer TOKEN")), []int{401}},
		{"jwt-comma-joined", header(text("Bearer x.y.z,TOKEN")), []int{401}},
		{"jwt-dup-header-bad-good", header(text("Bearer x.y.z"), text("Bearer TOKEN")), []int{400}},
		{"jwt-dup-header-identical", header(text("Bearer TOKEN"), text("Bearer TOKEN")), []int{400}},
		{"jwt-header-plus-query", change(func(r *http.Request, _ string) { r.URL.RawQuery = "access_token=other" }), []int{400}},
		{"jwt-header-plus-query", change(func(r *http.Request, _ string) { r.URL.RawQuery = "access%5Ftoken=other" }), []int{400}},
		{"jwt-query-not-enabled", change(func(r *http.Request, token string) {
			r.Header.Del("Authorization")
			r.URL.RawQuery = "access_token=" + token
		}), []int{401}},
		{"jwt-alt-header-not-enabled", change(func(r *http.Request, token string) {
			r.Header = http.Header{"X-Authorization": {"Bearer " + token}, "Proxy-Authorization": {"Bearer " + token}, "X-Vonage-Webhook-Auth-Token": {token}}
		}), []int{401}},
		{"jwt-latin1-header", header(text("Bearer \xff\xfeTOKEN")), []int{401}},
		{"jwt-extra-empty-part", header(text("Bearer TOKEN.")), []int{401}},
		{"jwt-1mb-token", header(func(string) string { return "Bearer " + strings.Repeat("a", 1<<20) }), []int{401, 431}},
		{"jwt-header-plus-form", func(t *testing.T) *http.Request {
			// A form in the body is no place for a credential, and is signed besides: it is passed on.
			const form = "access_token=other"
			r := testbed.Vonage(t, form, nil)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			return r
		}, []int{200}},
	})
	run(t, testbed.New(t, strings.Replace(vonageSite, " blue", "\nunsigned_status 503", 1)), []attack{
		{"jwt-unsigned-retry-status", header(), []int{503}},
		{"jwt-unsigned-retry-status: a bad one is refused for good", header(text("Bearer x.y.z")), []int{401}},
	})
}

func TestTokensInQueries(t *testing.T) {
	bed := testbed.New(t, `
http:// {
	callback_auth jwt {
		secret `+testbed.Secret+`
		max_age 5m
		from query token
	}
	reverse_proxy RECEIVER
}`)
	query := func(format string) func(t *testing.T) *http.Request {
		return change(func(r *http.Request, token string) {
			r.Header.Del("Authorization")
			r.URL.RawQuery = strings.ReplaceAll(format, "TOKEN", token)
		})
	}
	run(t, bed, []attack{
		{"CONTROL a token in the query", query("token=TOKEN"), []int{200}},
		{"jwt-newline-suffix", query("token=TOKEN%0A"), []int{401}},
		{"jwt-newline-inside", query("token=%0D%0ATOKEN"), []int{401}},
		{"jwt-space-inside", query("token=TOKEN+"), []int{401}},
		{"a token twice", query("token=TOKEN&token=TOKEN"), []int{400}},
		{"a token in a query that does not parse", query("token=TOKEN&x=%zz"), []int{400}},
	})
	result := bed.Do(t, query("token=TOKEN")(t))
	if got := result.Header.Get("Cache-Control"); got != "private" {
		t.Errorf("Cache-Control is %q; what a token in the URL opened is for nobody else's cache", got)
	}
}

// hashed makes a Vonage callback with this body whose payload_hash is what hash says.
func hashed(body string, hash any) func(t *testing.T) *http.Request {
	return func(t *testing.T) *http.Request {
		return testbed.Vonage(t, body, map[string]any{"payload_hash": hash})
	}
}

func sha256Hex(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

func TestPayloadHash(t *testing.T) {
	tampered := func(sent string) func(t *testing.T) *http.Request {
		return func(t *testing.T) *http.Request {
			r := testbed.Vonage(t, event, nil)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(sent)), int64(len(sent))
			return r
		}
	}
	var zipped bytes.Buffer
	writer := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(writer, event)
	_ = writer.Close()
	encoded := func(hash string) func(t *testing.T) *http.Request {
		return func(t *testing.T) *http.Request {
			r := testbed.Vonage(t, zipped.String(), map[string]any{"payload_hash": hash})
			r.Header.Set("Content-Encoding", "gzip")
			return r
		}
	}
	sha1Sum, md5Sum, sha512Sum := sha1.Sum([]byte(event)), md5.Sum([]byte(event)), sha512.Sum512([]byte(event))
	large := rand.Text() + strings.Repeat("x", 1<<20)

	run(t, testbed.New(t, vonageSite), []attack{
		{"ph-valid", hashed(event, sha256Hex(event)), []int{200}},
		{"ph-empty-body", hashed("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"), []int{200}},
		{"ph-empty-body-wrong", hashed("", sha256Hex("{}")), []int{401}},
		{"ph-chunked", func(t *testing.T) *http.Request {
			r := testbed.Vonage(t, event, nil)
			r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
			return r
		}, []int{200}},
		{"ph-absent-required", hashed(event, nil), []int{401}},
		{"ph-empty-string", hashed(event, ""), []int{401}},
		{"ph-types", hashed(event, 0), []int{401}},
		{"ph-types", hashed(event, []string{}), []int{401}},
		{"ph-types", hashed(event, map[string]any{}), []int{401}},
		{"ph-types", hashed(event, true), []int{401}},
		{"ph-types", hashed("", []string{}), []int{401}},
		{"ph-types", hashed(event, json.RawMessage("null")), []int{401}},
		{"ph-types", hashed("", json.RawMessage("null")), []int{401}},
		{"ph-prefix", hashed(event, sha256Hex(event)[:8]), []int{401}},
		{"ph-other-algo", hashed(event, hex.EncodeToString(sha1Sum[:])), []int{401}},
		{"ph-other-algo", hashed(event, hex.EncodeToString(md5Sum[:])), []int{401}},
		{"ph-other-algo", hashed(event, hex.EncodeToString(sha512Sum[:])), []int{401}},
		{"ph-body-tampered", tampered(strings.Replace(event, "C", "D", 1)), []int{401}},
		{"ph-body-tampered", tampered(event[:len(event)-1]), []int{401}},
		{"ph-trailing-newline", tampered(event + "\n"), []int{401}},
		{"ph-reserialized", tampered(strings.Replace(event, ":", ": ", 1)), []int{401}},
		{"ph-gzip-raw", encoded(sha256Hex(zipped.String())), []int{200}},
		{"ph-gzip-inflated", encoded(sha256Hex(event)), []int{401}},
		{"ph-multipart", func(t *testing.T) *http.Request {
			r := testbed.Vonage(t, "--x\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--x--\r\n", nil)
			r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
			return r
		}, []int{200}},
		{"ph-limit-exact", func(t *testing.T) *http.Request { return testbed.Vonage(t, strings.Repeat("x", 2<<20), nil) }, []int{200}},
		{"ph-limit-exact: one more", func(t *testing.T) *http.Request { return testbed.Vonage(t, strings.Repeat("x", 2<<20+1), nil) }, []int{413}},
		{"ph-limit-exact: one more, chunked", func(t *testing.T) *http.Request {
			r := testbed.Vonage(t, strings.Repeat("x", 2<<20+1), nil)
			r.ContentLength = -1
			return r
		}, []int{413}},
		{"ph-forwarded-identical", func(t *testing.T) *http.Request { return testbed.Vonage(t, large, nil) }, []int{200}},
	})
	optional := testbed.New(t, strings.Replace(vonageSite, " blue", "\npayload_hash off", 1))
	run(t, optional, []attack{
		{"ph-absent-optional", hashed(event, nil), []int{200}},
	})
	t.Run("ph-absent-optional: the log says so", func(t *testing.T) {
		if lines := optional.Logs.Lines(t, "payload_hash is off: bodies are not verified"); len(lines) != 1 || lines[0]["level"] != "warn" {
			t.Errorf("%d warnings", len(lines))
		}
	})

	t.Run("ph-gzip-bomb", func(t *testing.T) {
		var bomb bytes.Buffer
		writer := gzip.NewWriter(&bomb)
		if _, err := io.CopyN(writer, zeros{}, 64<<20); err != nil {
			t.Fatal(err)
		}
		_ = writer.Close()
		bed := testbed.New(t, vonageSite)
		r := testbed.Vonage(t, bomb.String(), nil)
		r.Header.Set("Content-Encoding", "gzip")
		accepted(t, bed.Do(t, r), bomb.String())
	})

	t.Run("ph-before-body-reject", func(t *testing.T) {
		r := testbed.Vonage(t, event, map[string]any{"iss": "evil"})
		r.Body, r.ContentLength = io.NopCloser(untouchable{t}), 100<<20
		refused(t, testbed.New(t, vonageSite).Do(t, r), 401)
	})

	t.Run("a body over the limit is refused before it is read", func(t *testing.T) {
		r := testbed.Vonage(t, event, nil)
		r.Body, r.ContentLength = io.NopCloser(untouchable{t}), 100<<20
		refused(t, testbed.New(t, vonageSite).Do(t, r), 413)
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// untouchable fails the test when it is read.
type untouchable struct{ t *testing.T }

func (u untouchable) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestPayloadHashOfAQuery(t *testing.T) {
	const object = `{"to":"447700900001","from":"447700900000","text":"a/b <&> é\n","empty":""}`
	const good = "to=447700900001&from=447700900000&text=a%2Fb+%3C%26%3E+%C3%A9%0A&empty="
	get := func(query, hash string) func(t *testing.T) *http.Request {
		return func(t *testing.T) *http.Request {
			r := httptest.NewRequest(http.MethodGet, "http://example.com/answer?"+query, nil)
			claims := testbed.VonageClaims("", map[string]any{"payload_hash": hash})
			if hash == "" {
				delete(claims, "payload_hash")
			}
			r.Header.Set("Authorization", "Bearer "+testbed.HS256(t, testbed.Secret, nil, claims))
			return r
		}
	}
	run(t, testbed.New(t, vonageSite), []attack{
		{"ph-get-query-valid", get(good, sha256Hex(object)), []int{200}},
		{"ph-get-query-tamper: changed", get(strings.Replace(good, "001", "002", 1), sha256Hex(object)), []int{401}},
		{"ph-get-query-tamper: reordered", get("from=447700900000&to=447700900001&text=a%2Fb+%3C%26%3E+%C3%A9%0A&empty=", sha256Hex(object)), []int{401}},
		{"ph-get-query-tamper: added", get(good+"&admin=1", sha256Hex(object)), []int{401}},
		{"ph-get-query-tamper: duplicated", get(good+"&empty=", sha256Hex(object)), []int{401}},
		{"ph-get-query-tamper: not UTF-8", get("a=%ff", sha256Hex(`{"a":"`+"\ufffd"+`"}`)), []int{401}},
		{"ph-get-query-tamper: no hash", get(good, ""), []int{401}},
		{"ph-get-query-tamper: hash of the empty body", get(good, sha256Hex("")), []int{401}},
		{"ph-get-no-body", get("", sha256Hex("")), []int{200}},
		{"ph-get-no-body: an empty object", get("", sha256Hex("{}")), []int{200}},
		{"ph-get-no-body: no hash", get("", ""), []int{200}},
		{"ht-get-body", func(t *testing.T) *http.Request {
			r := get("", sha256Hex(event))(t)
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(event)), int64(len(event))
			return r
		}, []int{400}},
		{"ph-head", func(t *testing.T) *http.Request {
			r := get(good, sha256Hex(object))(t)
			r.Method = http.MethodHead
			return r
		}, []int{200}},
		{"ht-method-override", func(t *testing.T) *http.Request {
			r := get(good, sha256Hex(event))(t)
			r.Header.Set("X-HTTP-Method-Override", "POST")
			return r
		}, []int{401}},
	})
}

func TestRequestsThatHTTPAllows(t *testing.T) {
	t.Run("a 405 says which methods are taken", func(t *testing.T) {
		r := testbed.Vonage(t, event, nil)
		r.Method = http.MethodTrace
		result := testbed.New(t, vonageSite).Do(t, r)
		refused(t, result, http.StatusMethodNotAllowed)
		if allow := result.Header.Get("Allow"); allow != "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, CONNECT" {
			t.Errorf("it allows %q", allow)
		}
	})
	run(t, testbed.New(t, vonageSite), []attack{
		{"ht-method-lower", change(func(r *http.Request, _ string) { r.Method = "post" }), []int{405}},
		{"ht-method-lower", change(func(r *http.Request, _ string) { r.Method = "PoSt" }), []int{405}},
		{"TRACE", change(func(r *http.Request, _ string) { r.Method = http.MethodTrace }), []int{405}},
		{"ht-options-no-bypass", change(func(r *http.Request, _ string) {
			r.Method = http.MethodOptions
			r.Header = http.Header{"Origin": {"https://evil.example"}, "Access-Control-Request-Method": {"POST"}}
		}), []int{401}},
		{"ht-path-nul-overlong", change(func(r *http.Request, _ string) {
			r.Header.Del("Authorization")
			r.URL.Path, r.URL.RawPath = "/hook\x00", "/hook%00"
		}), []int{400, 401, 404}},
		{"ht-trailer-auth", change(func(r *http.Request, token string) {
			r.Header.Del("Authorization")
			r.Trailer = http.Header{"Authorization": {"Bearer " + token}}
			r.ContentLength = -1
		}), []int{401}},
	})
}

func TestRequestsOnTheWire(t *testing.T) {
	bed := testbed.Run(t, `
http:// {
	handle /public* {
		respond "public"
	}
	handle {
		callback_auth vonage {
			secret `+testbed.Secret+`
		}
		reverse_proxy RECEIVER
	}
}`)
	bearer := func() string {
		return "Authorization: Bearer " + testbed.HS256(t, testbed.Secret, nil, testbed.VonageClaims(event, nil)) + "\r\n"
	}
	post := func(framing, body string) string {
		return "POST /hook HTTP/1.1\r\nHost: example.com\r\n" + bearer() + framing + "\r\n" + body
	}
	length := fmt.Sprintf("Content-Length: %d\r\n", len(event))
	for _, tc := range []struct {
		name, text string
		closeWrite bool
		status     []int
	}{
		{"CONTROL a request on the wire", post(length, event), false, []int{200}},
		{"ph-chunked: in chunks of one byte", post("Transfer-Encoding: chunked\r\n", oneByteChunks(event)), false, []int{200}},
		{"ht-expect-continue-good", post(length+"Expect: 100-continue\r\n", event), false, []int{200}},
		{"ph-cl-lies-short", post("Content-Length: 100\r\n", "abc"), true, []int{400}},
		{"ht-dup-cl", post(length+"Content-Length: 3\r\n", event), false, []int{400}},
		{"ht-cl-plus", post(fmt.Sprintf("Content-Length: +%d\r\n", len(event)), event), false, []int{400}},
		{"ht-cl-plus: twice in one", post(fmt.Sprintf("Content-Length: %[1]d, %[1]d\r\n", len(event)+1), event), false, []int{400}},
		{"ht-cl-plus: hexadecimal", post(fmt.Sprintf("Content-Length: 0x%x\r\n", len(event)), event), false, []int{400}},
		{"ht-te-odd", post("Transfer-Encoding: xchunked\r\n", oneByteChunks(event)), false, []int{501}},
		{"ht-te-odd: two", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", oneByteChunks(event)), false, []int{400, 501}},
		{"ht-te-odd: a list", post("Transfer-Encoding: chunked, identity\r\n", oneByteChunks(event)), false, []int{400, 501}},
		{"ht-chunk-bare-lf", post("Transfer-Encoding: chunked\r\n", fmt.Sprintf("%x\n%s\r\n0\r\n\r\n", len(event), event)), false, []int{400}},
		{"ht-many-headers", post(length+strings.Repeat("X-H: 1\r\n", 10_000), event), false, []int{431, 401}},
		{"ht-absolute-form", "POST http://evil.example/hook HTTP/1.1\r\nHost: example.com\r\n" + length + "\r\n" + event, false, []int{401}},
		{"ht-skip-route-query", "POST /hook?path=/public HTTP/1.1\r\nHost: example.com\r\n" + length + "\r\n" + event, false, []int{401}},
		{"ht-skip-route-query: a suffix", "POST /hook/..;/public HTTP/1.1\r\nHost: example.com\r\n" + length + "\r\n" + event, false, []int{401}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			result := bed.Raw(t, tc.text, tc.closeWrite)
			if tc.status[0] == http.StatusOK {
				accepted(t, result, event)
				return
			}
			refused(t, result, tc.status...)
		})
	}

	t.Run("ht-keepalive-state", func(t *testing.T) {
		conn := bed.Dial(t)
		answers := bufio.NewReader(conn)
		for _, step := range []struct {
			text   string
			status int
		}{
			{post(length, event), 200},
			{"POST /hook HTTP/1.1\r\nHost: example.com\r\n" + length + "\r\n" + event, 401},
			{post(length, event), 200},
		} {
			if _, err := io.WriteString(conn, step.text); err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			if response.StatusCode != step.status {
				t.Fatalf("status %d, want %d", response.StatusCode, step.status)
			}
		}
		if got := len(bed.Receiver.Received()); got != 2 {
			t.Errorf("the receiver got %d requests, want the 2 good ones", got)
		}
	})

	t.Run("ht-pipeline", func(t *testing.T) {
		conn := bed.Dial(t)
		if _, err := io.WriteString(conn, "POST /hook HTTP/1.1\r\nHost: example.com\r\n"+length+"\r\n"+event+post(length, event)); err != nil {
			t.Fatal(err)
		}
		answers := bufio.NewReader(conn)
		for _, status := range []int{401, 200} {
			response, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, response.Body)
			if response.StatusCode != status {
				t.Fatalf("status %d, want %d", response.StatusCode, status)
			}
		}
		if received := bed.Receiver.Received(); len(received) != 1 || string(received[0].Body) != event {
			t.Errorf("the receiver got %d requests, want the good one", len(received))
		}
	})
}

func oneByteChunks(body string) string {
	var chunks strings.Builder
	for i := range len(body) {
		fmt.Fprintf(&chunks, "1\r\n%c\r\n", body[i])
	}
	chunks.WriteString("0\r\n\r\n")
	return chunks.String()
}

func TestAWebSocketIsVerifiedOnItsHandshakeAndThenLeftAlone(t *testing.T) {
	echo := httptest.NewServer(websocket.Handler(func(conn *websocket.Conn) { _, _ = io.Copy(conn, conn) }))
	t.Cleanup(echo.Close)
	bed := testbed.Run(t, `
http:// {
	callback_auth vonage {
		secret `+testbed.Secret+`
	}
	reverse_proxy `+echo.Listener.Addr().String()+`
}`)
	handshake := func(claims map[string]any) (*websocket.Conn, error) {
		config, err := websocket.NewConfig("ws://example.com/media", "http://example.com")
		if err != nil {
			t.Fatal(err)
		}
		if claims != nil {
			config.Header.Set("Authorization", "Bearer "+testbed.HS256(t, testbed.Secret, nil, claims))
		}
		return websocket.NewClient(config, bed.Dial(t))
	}
	conn, err := handshake(testbed.VonageClaims("", map[string]any{"payload_hash": nil}))
	if err != nil {
		t.Fatalf("a genuine handshake was refused: %v", err)
	}
	for _, frame := range []string{"one", "two"} {
		if err := websocket.Message.Send(conn, frame); err != nil {
			t.Fatal(err)
		}
		var got string
		if err := websocket.Message.Receive(conn, &got); err != nil || got != frame {
			t.Fatalf("sent %q, got back %q: %v", frame, got, err)
		}
	}
	_ = conn.Close()
	for name, claims := range map[string]map[string]any{"no token": nil, "a forged one": {"iss": "x"}} {
		if _, err := handshake(claims); err == nil {
			t.Errorf("a handshake with %s was accepted", name)
		}
	}
}

func TestHeaders(t *testing.T) {
	site := `
http:// {
	callback_auth {
		jwt {
			secret ` + testbed.Secret + `
			max_age 5m
		}
		OPTION
	}
	reverse_proxy RECEIVER {
		header_up X-Auth-Subject {http.auth.user.id}
		header_up X-Auth-Claim {http.callback_auth.claim.role}
	}
}`
	bed := testbed.New(t, strings.Replace(site, "OPTION", "", 1))
	send := func(t *testing.T, bed *testbed.Bed, claims map[string]any, change func(r *http.Request)) testbed.Result {
		r := testbed.Vonage(t, event, claims)
		if change != nil {
			change(r)
		}
		return bed.Do(t, r)
	}
	spoof := func(r *http.Request) { r.Header.Set("X-Auth-Subject", "admin"); r.Header.Set("X-Auth-Claim", "admin") }

	t.Run("hd-strip-client-identity", func(t *testing.T) {
		result := send(t, bed, map[string]any{"sub": "alice"}, spoof)
		accepted(t, result, event)
		if got := result.Received[0].Header.Values("X-Auth-Subject"); len(got) != 1 || got[0] != "alice" {
			t.Errorf("the receiver saw %q", got)
		}
	})
	t.Run("hd-strip-absent-claim", func(t *testing.T) {
		result := send(t, bed, nil, spoof)
		accepted(t, result, event)
		if got := result.Received[0].Header.Get("X-Auth-Claim"); got != "" {
			t.Errorf("the receiver saw %q", got)
		}
	})
	t.Run("hd-case-dup", func(t *testing.T) {
		result := send(t, bed, map[string]any{"sub": "alice"}, func(r *http.Request) {
			r.Header["X-Auth-Subject"] = []string{"admin", "root"}
		})
		accepted(t, result, event)
		if got := result.Received[0].Header.Values("X-Auth-Subject"); len(got) != 1 || got[0] != "alice" {
			t.Errorf("the receiver saw %q", got)
		}
	})
	t.Run("hd-connection-token", func(t *testing.T) {
		result := send(t, bed, map[string]any{"sub": "alice"}, func(r *http.Request) {
			r.Header.Set("Connection", "X-Auth-Subject")
		})
		accepted(t, result, event)
		if got := result.Received[0].Header.Get("X-Auth-Subject"); got != "alice" {
			t.Errorf("the receiver saw %q", got)
		}
	})
	t.Run("hd-claim-crlf", func(t *testing.T) {
		result := send(t, bed, map[string]any{"sub": "a\r\nX-Admin: 1"}, nil)
		accepted(t, result, event)
		if got := result.Received[0].Header; got.Get("X-Admin") != "" || got.Get("X-Auth-Subject") != "a%0D%0AX-Admin: 1" {
			t.Errorf("the receiver saw %q", got)
		}
	})
	t.Run("hd-claim-placeholder", func(t *testing.T) {
		for _, literal := range []string{"{env.HOME}", "{file./etc/passwd}"} {
			result := send(t, bed, map[string]any{"sub": literal, "role": literal}, nil)
			accepted(t, result, event)
			if got := result.Received[0].Header; got.Get("X-Auth-Subject") != literal || got.Get("X-Auth-Claim") != literal {
				t.Errorf("the receiver saw %q", got)
			}
		}
	})
	t.Run("hd-keep-authorization", func(t *testing.T) {
		result := send(t, bed, nil, nil)
		accepted(t, result, event)
		if got := result.Received[0].Header.Values("Authorization"); len(got) != 1 || !strings.HasPrefix(got[0], "Bearer ey") {
			t.Errorf("the receiver saw %d Authorization headers", len(got))
		}
	})
	t.Run("hd-strip-authorization", func(t *testing.T) {
		result := send(t, testbed.New(t, strings.Replace(site, "OPTION", "strip_credentials", 1)), nil, nil)
		accepted(t, result, event)
		if got := result.Received[0].Header.Values("Authorization"); len(got) != 0 {
			t.Errorf("the receiver saw %d Authorization headers", len(got))
		}
	})
	t.Run("hd-deny-body-uniform", func(t *testing.T) {
		bed := testbed.New(t, `
http:// {
	callback_auth vonage {
		account 47000001 `+testbed.Secret+`
	}
	reverse_proxy RECEIVER
}`)
		once := testbed.Vonage(t, event, nil)
		again := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
		again.Header = once.Header.Clone()
		accepted(t, bed.Do(t, once), event)
		replayed := bed.Do(t, again)
		refused(t, replayed, 409)

		forged := testbed.Vonage(t, event, nil)
		forged.Header.Set("Authorization", "Bearer "+testbed.HS256(t, "another secret, of 32 characters", nil, testbed.VonageClaims(event, nil)))
		var first *testbed.Result
		for name, r := range map[string]*http.Request{
			"a wrong signature": forged, "too old": testbed.Vonage(t, event, map[string]any{"iat": 1}),
			"an account that is not here": testbed.Vonage(t, event, map[string]any{"api_key": "47000002"}),
			"from the future":             testbed.Vonage(t, event, map[string]any{"nbf": 99999999999}),
			"another issuer":              testbed.Vonage(t, event, map[string]any{"iss": "vonage"}),
			"a claim of another type":     testbed.Vonage(t, event, map[string]any{"iss": 5}),
			"another body":                testbed.Vonage(t, event, map[string]any{"payload_hash": sha256Hex("")}),
		} {
			result := bed.Do(t, r)
			refused(t, result, 401)
			if first == nil {
				first = &result
			}
			if result.Body != first.Body || fmt.Sprint(result.Header) != fmt.Sprint(first.Header) {
				t.Errorf("%s: answers to different refusals differ: %v and %v", name, result.Header, first.Header)
			}
		}
		first.Header.Del("WWW-Authenticate") // which belongs to a 401
		if replayed.Body != first.Body || fmt.Sprint(replayed.Header) != fmt.Sprint(first.Header) {
			t.Errorf("a replay is answered with %v, what is forged with %v", replayed.Header, first.Header)
		}
	})
	t.Run("hd-error-route", func(t *testing.T) {
		bed := testbed.New(t, `
http:// {
	callback_auth jwt {
		secret `+testbed.Secret+`
		max_age 5m
	}
	reverse_proxy RECEIVER
	handle_errors {
		respond "user={http.auth.user.id} claim={http.callback_auth.claim.sub} id={http.callback_auth.id}"
	}
}`)
		result := send(t, bed, map[string]any{"sub": "alice", "iat": 1}, nil)
		refused(t, result, 401)
		if strings.Contains(result.Body, "alice") {
			t.Errorf("the error route saw who sent the refused request: %s", result.Body)
		}
	})
	t.Run("hd-error-route: with strip_credentials it gets no credential", func(t *testing.T) {
		stripping := strings.Replace(site, "OPTION", "strip_credentials", 1)
		bed := testbed.New(t, strings.TrimSuffix(stripping, "}")+"handle_errors {\nreverse_proxy RECEIVER\n}\n}")
		for name, claims := range map[string]map[string]any{"expired": {"iat": 1}, "forged": {"nbf": "x"}} {
			result := send(t, bed, claims, nil)
			if len(result.Received) != 1 {
				t.Fatalf("CONTROL: the error route's server got %d requests", len(result.Received))
			}
			if got := result.Received[0].Header.Values("Authorization"); len(got) != 0 {
				t.Errorf("%s: the error route's server saw %d Authorization headers", name, len(got))
			}
		}
	})
	t.Run("strip_credentials leaves no Authorization and no signature that nobody looked at", func(t *testing.T) {
		for scheme, names := range map[string][]string{
			"github":         {"X-Hub-Signature-256", "X-Hub-Signature"},
			"meta":           {"X-Hub-Signature-256", "X-Hub-Signature"},
			"agora":          {"Agora-Signature-V2", "Agora-Signature"},
			"gitlab_signing": {"Webhook-Signature", "X-Gitlab-Token"},
			"plivo":          {"X-Plivo-Signature-V3", "X-Plivo-Signature-Ma-V3", "X-Plivo-Signature-V2", "X-Plivo-Signature-Ma-V2"},
			"plivo_v2":       {"X-Plivo-Signature-V3", "X-Plivo-Signature-Ma-V3", "X-Plivo-Signature-V2", "X-Plivo-Signature-Ma-V2"},
		} {
			bed := testbed.New(t, "http:// {\ncallback_auth {\n"+scheme+" {\nsecret whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n}\nstrip_credentials\nreport_only\n}\nreverse_proxy RECEIVER\n}")
			r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
			for _, name := range append(names, "Authorization") {
				r.Header.Set(name, "x")
			}
			result := bed.Do(t, r)
			accepted(t, result, event)
			for _, name := range append(names, "Authorization") {
				if result.Received[0].Header.Get(name) != "" {
					t.Errorf("%s: the receiver saw %s", scheme, name)
				}
			}
		}
	})
	t.Run("strip_credentials leaves the rest of the query as it is", func(t *testing.T) {
		bed := testbed.New(t, `
http:// {
	callback_auth {
		api_key {
			query api_key
			key 0123456789abcdef0123456789abcdef
		}
		strip_credentials
	}
	reverse_proxy RECEIVER
}`)
		r := httptest.NewRequest(http.MethodPost, "http://example.com/hook?b=2&api%5Fkey=0123456789abcdef0123456789abcdef&a=%7e&c", strings.NewReader(event))
		result := bed.Do(t, r)
		accepted(t, result, event)
		if got := result.Received[0].RequestURI; got != "/hook?b=2&a=%7e&c" {
			t.Errorf("the receiver was asked for %s", got)
		}
	})
}
