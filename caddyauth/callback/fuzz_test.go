package callback_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/testbed"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// line is how an error of a Caddyfile names its place.
var line = regexp.MustCompile(`:\d+`)

// FuzzCaddyfile: no block of callback_auth brings the parser down, and every mistake is told with its line.
func FuzzCaddyfile(f *testing.F) {
	for _, seed := range []string{
		"", "vonage", "vonage {", "vonage {\nsecret a b\n}", "vonage { secret }", "{\nany {\nbasic {\nuser a b c\n}\napi_key {\nquery k\nkey a\n}\n}\n}",
		"{\nmax_body 2MiB\nreplay off\nstrip_credentials\nreport_only\npublic_url https://a\nvonage {\nsecret a\n}\n}",
		"{\nreplay {\nwindow 1h\non_duplicate acknowledge\non_store_error allow\n}\nhmac {\nheader a\npayload {timestamp}.{body}\ntimestamp pair t s\nsignature pair v\nid header i\nsecret a\n}\n}",
		"jwt {\nsecret a\nclaim a b c\nfrom header a b\nbody_hash a hex\nalgorithm HS256\nmax_age 1m\n}", "ip_range 10.0.0.0/8 private_ranges {env.X}",
		"oauth2 {\nissuer https://a\naudience b\nscope c d\nintrospection https://a {\nclient_id a\nclient_secret b\n}\n}",
		"azure_event_grid {\nsubscription a\nentra {\ntenant a\naudience b\n}\n}", "livekit {\naccount a b c\n}", "meta {\nsecret a\nanswer_challenge\nverify_token b\n}",
		"{\n}", "{ }", "{\n{\n}\n}", "any any any", "import x", "\"\n\" {\n}", "`", "<<A\nA",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, block string) {
		tokens, err := caddyfile.Tokenize([]byte("callback_auth "+block), "Caddyfile")
		if err != nil {
			return
		}
		err = new(callback.Handler).UnmarshalCaddyfile(caddyfile.NewDispenser(tokens))
		if err != nil && !line.MatchString(err.Error()) {
			t.Errorf("the error names no line: %v", err)
		}
	})
}

// FuzzForwarded: what the receiver gets is what was verified, byte for byte, whatever the body, the query, and what
// stands in the headers that say how to read the body.
func FuzzForwarded(f *testing.F) {
	bed := testbed.New(f, `
http:// {
	callback_auth {
		vonage {
			secret `+testbed.Secret+`
		}
		max_body 4KiB
		replay off
	}
	reverse_proxy RECEIVER
}`)
	f.Add([]byte(event), "", "application/json", "", false)
	f.Add([]byte(""), "a=b&a=c", "application/x-www-form-urlencoded", "gzip", true)
	f.Add([]byte("a=b\r\n\r\nGET / HTTP/1.1\r\n"), "a=%zz;b", "", "identity", true)
	f.Add(bytes.Repeat([]byte{0}, 4096), "%00", "multipart/form-data", "x", false)
	f.Fuzz(func(t *testing.T, body []byte, query, contentType, encoding string, announced bool) {
		genuine := testbed.Vonage(t, string(body), nil)
		r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", bytes.NewReader(body))
		if !announced {
			r.ContentLength = -1
		}
		if strings.ContainsFunc(query, func(char rune) bool { return char <= ' ' || char > '~' || char == '#' }) {
			return // no server lets it come this far
		}
		r.URL.RawQuery = query
		r.Header.Set("Authorization", genuine.Header.Get("Authorization"))
		for name, value := range map[string]string{"Content-Type": contentType, "Content-Encoding": encoding} {
			if strings.ContainsFunc(value, func(char rune) bool { return char < ' ' || char > '~' }) {
				return
			}
			r.Header.Set(name, value)
		}
		result := bed.Do(t, r)
		if len(result.Received) == 0 {
			if result.Status < 400 || result.Status >= 500 {
				t.Fatalf("nothing was received, and the answer is %d", result.Status)
			}
			return
		}
		got := result.Received[0]
		if !bytes.Equal(got.Body, body) || got.ContentLength != int64(len(body)) || len(got.TransferEncoding) != 0 {
			t.Errorf("verified %d bytes; the receiver got %d, announced %d, in %v", len(body), len(got.Body), got.ContentLength, got.TransferEncoding)
		}
		// Another body under the same token never gets there.
		r = httptest.NewRequest(http.MethodPost, "http://example.com/hook", io.MultiReader(bytes.NewReader(body), strings.NewReader("x")))
		r.ContentLength = -1
		r.Header.Set("Authorization", genuine.Header.Get("Authorization"))
		if result := bed.Do(t, r); len(result.Received) != 0 {
			t.Errorf("a longer body reached the receiver with status %d", result.Status)
		}
	})
}
