package callback_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// What is verified is what goes on, however the request is written: the signature covers method, URL and body.
func TestASignedRequestGoesOnAsItWasSignedHoweverItIsWritten(t *testing.T) {
	bed := testbed.Run(t, siteWith(`hmac {
		secret `+testbed.Secret+`
		header X-Signature
		payload "{method} {url} {body}"
	}`))
	sign := func(method, url, body string) string {
		mac := hmac.New(sha256.New, []byte(testbed.Secret))
		mac.Write([]byte(method + " " + url + " " + body))
		return "X-Signature: " + hex.EncodeToString(mac.Sum(nil)) + "\r\n"
	}
	const host, upgrade = "Host: example.com\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for _, tc := range []struct {
		name, text string
		status     int
		host, uri  string // that the receiver sees
	}{
		{"CONTROL", "GET /a?b=1 HTTP/1.1\r\n" + host + sign("GET", "http://example.com/a?b=1", "") + "\r\n", 200, "example.com", "/a?b=1"},
		{"a query with ; in it", "GET /a?b=1;c HTTP/1.1\r\n" + host + sign("GET", "http://example.com/a?b=1;c", "") + "\r\n", 200, "example.com", "/a?b=1;c"},
		{"an escaped path", "GET /a%2Fb/%2e%2E/c HTTP/1.1\r\n" + host + sign("GET", "http://example.com/a%2Fb/%2e%2E/c", "") + "\r\n", 200, "example.com", "/a%2Fb/%2e%2E/c"},
		{"an escaped path, signed without its escapes", "GET /a%2Fb HTTP/1.1\r\n" + host + sign("GET", "http://example.com/a/b", "") + "\r\n", 401, "", ""},
		{"two slashes", "GET //evil.example/a HTTP/1.1\r\n" + host + sign("GET", "http://example.com//evil.example/a", "") + "\r\n", 200, "example.com", "//evil.example/a"},
		{"two slashes, signed as a host", "GET //evil.example/a HTTP/1.1\r\n" + host + sign("GET", "http://evil.example/a", "") + "\r\n", 401, "", ""},
		{"the absolute form, whose host counts", "GET http://example.com/a HTTP/1.1\r\nHost: evil.example\r\n" + sign("GET", "http://example.com/a", "") + "\r\n", 200, "example.com", "/a"},
		{"the absolute form, signed for the header's host", "GET http://evil.example/a HTTP/1.1\r\n" + host + sign("GET", "http://example.com/a", "") + "\r\n", 401, "", ""},
		{"HTTP/1.0", "GET /a HTTP/1.0\r\n" + host + sign("GET", "http://example.com/a", "") + "\r\n", 200, "example.com", "/a"},
		{"HTTP/1.0 without a host", "GET /a HTTP/1.0\r\n" + sign("GET", "http:///a", "") + "\r\n", 400, "", ""},
		{"another method", "PUT /a HTTP/1.1\r\n" + host + "Content-Length: 0\r\n" + sign("GET", "http://example.com/a", "") + "\r\n", 401, "", ""},
		{"a body that nobody signed", "GET /a HTTP/1.1\r\n" + host + "Content-Length: 5\r\n" + sign("GET", "http://example.com/a", "") + "\r\nhello", 401, "", ""},
		{"an upgrade with a body that nobody signed", "GET /a HTTP/1.1\r\n" + host + upgrade + "Content-Length: 5\r\n" + sign("GET", "http://example.com/a", "") + "\r\nhello", 401, "", ""},
		{"an upgrade with chunks that nobody signed", "GET /a HTTP/1.1\r\n" + host + upgrade + "Transfer-Encoding: chunked\r\n" + sign("GET", "http://example.com/a", "") + "\r\n5\r\nhello\r\n0\r\n\r\n", 401, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			result := bed.Raw(t, tc.text, false)
			if tc.status != http.StatusOK {
				refused(t, result, tc.status)
				return
			}
			accepted(t, result, "")
			if got := result.Received[0]; got.Host != tc.host || got.RequestURI != tc.uri || got.Method != strings.Fields(tc.text)[0] {
				t.Errorf("the receiver saw %s %s at %s", got.Method, got.RequestURI, got.Host)
			}
		})
	}
}
