package callback_test

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// verifier is a gate of FuzzRequest: how a sender signs a body for it, and whether what came out behind it is what a
// sender signed, by code that shares nothing with ours.
type verifier struct {
	config string
	sign   func(t testing.TB, body string) string
	check  func(r *http.Request, body []byte) error
}

func macOf(text string) []byte {
	mac := hmac.New(sha256.New, []byte(testbed.Secret))
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

// only gives the value of a header that stands once.
func only(r *http.Request, name string) (string, error) {
	values := r.Header.Values(name)
	if len(values) != 1 {
		return "", fmt.Errorf("%s stands %d times", name, len(values))
	}
	return values[0], nil
}

var verifiers = []verifier{
	{
		`{"schemes":[{"scheme":"hmac","header":"X-Sig","payload":"{method}\n{path}\n{header.X-Kind}\n{body}","secrets":[{"value":"` + testbed.Secret + `","label":"sender"}]}]}`,
		func(_ testing.TB, body string) string {
			return hex.EncodeToString(macOf("POST\n/hook\nevent\n" + body))
		},
		func(r *http.Request, body []byte) error {
			kind, err := only(r, "X-Kind")
			if err != nil {
				return err
			}
			signature, err := only(r, "X-Sig")
			if err != nil {
				return err
			}
			path, _, _ := strings.Cut(r.RequestURI, "?")
			if at := strings.Index(path, "://"); at >= 0 { // the absolute form
				_, path, _ = strings.Cut(path[at+3:], "/")
				path = "/" + path
			}
			if path != r.URL.EscapedPath() && path != r.URL.Path {
				return fmt.Errorf("the path is %q on the wire, and %q behind the gate", path, r.URL.Path)
			}
			if sum := macOf(r.Method + "\n" + path + "\n" + kind + "\n" + string(body)); !strings.EqualFold(signature, hex.EncodeToString(sum)) {
				return errors.New("not what was signed")
			}
			return nil
		},
	},
	{
		`{"schemes":[{"scheme":"vonage","secrets":[{"value":"` + testbed.Secret + `","label":"sender"}]}],"replay":{"off":true}}`,
		func(t testing.TB, body string) string {
			return testbed.HS256(t, testbed.Secret, nil, testbed.VonageClaims(body, map[string]any{"api_key": "sender"}))
		},
		func(r *http.Request, body []byte) error {
			authorization, err := only(r, "Authorization")
			if err != nil {
				return err
			}
			token := authorization[strings.LastIndex(authorization, " ")+1:]
			parts := strings.Split(token, ".")
			if len(parts) != 3 || base64.RawURLEncoding.EncodeToString(macOf(parts[0]+"."+parts[1])) != parts[2] {
				return errors.New("the token is not the signer's")
			}
			text, err := base64.RawURLEncoding.DecodeString(parts[1])
			if err != nil {
				return err
			}
			var claims struct {
				Hash string `json:"payload_hash"`
			}
			if err := json.Unmarshal(text, &claims); err != nil {
				return err
			}
			signed := body
			if r.Method == http.MethodGet || r.Method == http.MethodHead { // no body is signed, but the query, as an object
				if len(body) > 0 {
					return errors.New("a body where none is signed")
				}
				values, err := url.ParseQuery(r.URL.RawQuery)
				if err != nil {
					return err
				}
				if len(values) > 0 {
					return nil // FuzzVonageQuery is about those
				}
			}
			if sum := sha256.Sum256(signed); hex.EncodeToString(sum[:]) != claims.Hash {
				return errors.New("not the body that was signed")
			}
			return nil
		},
	},
}

// FuzzRequest: whatever comes over the wire, what gets through the gate is what a sender signed, byte for byte, and who
// it was is what the signature says. In the raw request SIGNATURE stands for a genuine signature over the body, BODY for
// that body, and LENGTH and HEX for its length.
func FuzzRequest(f *testing.F) {
	gates := make([]caddyhttp.MiddlewareHandler, len(verifiers))
	for i, v := range verifiers {
		gates[i] = provisioned(f, v.config)
	}
	const head = "POST /hook HTTP/1.1\r\nHost: h\r\nX-Kind: event\r\nX-Sig: SIGNATURE\r\nAuthorization: Bearer SIGNATURE\r\n"
	for _, raw := range []string{
		head + "Content-Length: LENGTH\r\n\r\nBODY",
		head + "Content-Length: LENGTH\r\n\r\nBODYBODY",
		head + "Content-Length: 1\r\n\r\nBODY",
		head + "Transfer-Encoding: chunked\r\n\r\nHEX\r\nBODY\r\n0\r\n\r\n",
		head + "Transfer-Encoding: chunked\r\nTrailer: X-Sender\r\n\r\nHEX\r\nBODY\r\n0\r\nX-Sender: admin\r\n\r\n",
		head + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n\r\n",
		head + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\nHEX\r\nBODY\r\n0\r\n\r\n",
		head + "X-Sig: SIGNATURE\r\nContent-Length: LENGTH\r\n\r\nBODY",
		head + "x-kind: other\r\nContent-Length: LENGTH\r\n\r\nBODY",
		head + "X_Kind: other\r\nContent-Encoding: gzip\r\nContent-Length: LENGTH\r\n\r\nBODY",
		head + "Connection: X-Kind, X-Sig\r\nUpgrade: websocket\r\nContent-Length: LENGTH\r\n\r\nBODY",
		head + "Early-Data: 1\r\nExpect: 100-continue\r\nContent-Length: LENGTH\r\n\r\nBODY",
		strings.Replace(head, "POST /hook", "GET /hook?a=b", 1) + "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
		strings.Replace(head, "POST /hook", "POST http://h/%68ook?{http.auth.user.id}", 1) + "Content-Length: LENGTH\r\n\r\nBODY",
		strings.Replace(head, "POST /hook", "post //hook/../hook", 1) + "Content-Length: LENGTH\r\n\r\nBODY",
		strings.Replace(head, "HTTP/1.1", "HTTP/1.0", 1) + "\r\nBODY",
		strings.Replace(head, "Bearer SIGNATURE", "bEARER  SIGNATURE=", 1) + "X-Sender: admin\r\n\r\n",
	} {
		f.Add([]byte(raw), event)
		f.Add([]byte(raw), "")
	}
	if passed := through(f, gates, []byte(head+"Content-Length: LENGTH\r\n\r\nBODY"), event); passed != len(gates) {
		f.Fatalf("a genuine request gets through %d gates", passed)
	}
	f.Fuzz(func(t *testing.T, raw []byte, body string) {
		if len(body) <= 8<<10 {
			through(t, gates, raw, body)
		}
	})
}

// through sends a request through the gates, looks at what comes out, and says how many let it through.
func through(t testing.TB, gates []caddyhttp.MiddlewareHandler, raw []byte, body string) int {
	passed := 0
	for i, v := range verifiers {
		text := bytes.NewReader([]byte(strings.NewReplacer(
			"SIGNATURE", v.sign(t, body), "BODY", body, "LENGTH", fmt.Sprint(len(body)), "HEX", fmt.Sprintf("%x", len(body)),
		).Replace(string(raw))))
		r, err := http.ReadRequest(bufio.NewReader(text))
		if err != nil {
			return passed
		}
		sent := r.Header.Clone()
		repl := caddy.NewReplacer()
		w := httptest.NewRecorder()
		r.RemoteAddr = "192.0.2.1:40000"
		r = caddyhttp.PrepareRequest(r, repl, w, new(caddyhttp.Server))
		caddyhttp.SetVar(r.Context(), caddyhttp.ClientIPVarKey, "192.0.2.1")
		called := 0
		err = gates[i].ServeHTTP(w, r, caddyhttp.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
			called++
			got, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatalf("the body cannot be read again: %v", err)
			}
			if err := v.check(r, got); err != nil {
				t.Errorf("what got through: %v", err)
			}
			if string(got) != body && len(got) > 0 {
				t.Errorf("a body of %d bytes got through, and one of %d was signed", len(got), len(body))
			}
			if r.ContentLength != int64(len(got)) || len(r.TransferEncoding) > 0 || len(r.Trailer) > 0 {
				t.Errorf("%d bytes are announced as %d, in %v, with trailers %v", len(got), r.ContentLength, r.TransferEncoding, r.Trailer)
			}
			for name, values := range r.Header {
				if !slices.Equal(values, sent[name]) && name != "Content-Length" {
					t.Errorf("the header %s is not as it was sent", name)
				}
			}
			for name, want := range map[string]any{"http.auth.user.id": "sender", "http.callback_auth.key": "sender"} {
				if got, _ := repl.Get(name); got != want {
					t.Errorf("{%s} is %q", name, got)
				}
			}
			return nil
		}))
		if failure, ok := errors.AsType[caddyhttp.HandlerError](err); called > 1 || called == 1 && err != nil ||
			called == 0 && (!ok || failure.StatusCode != http.StatusServiceUnavailable && (failure.StatusCode < 400 || failure.StatusCode > 499)) {
			t.Errorf("the next handler was called %d times: %v", called, err)
		}
		if id, _ := repl.GetString("http.auth.user.id"); called == 0 && id != "" {
			t.Errorf("somebody who was refused is known as %q", id)
		}
		passed += called
	}
	return passed
}
