package callback_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// gate is a provisioned callback_auth, without a server around it.
type gate struct {
	*testing.B
	handler caddyhttp.MiddlewareHandler
}

// newGate provisions callback_auth with this JSON.
func newGate(b *testing.B, config string) gate {
	b.Helper()
	return gate{b, provisioned(b, config)}
}

// provisioned is callback_auth with this JSON.
func provisioned(t testing.TB, config string) caddyhttp.MiddlewareHandler {
	t.Helper()
	no := false
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &no}},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{
			WriterRaw: json.RawMessage(`{"output":"discard"}`), Level: "ERROR",
		}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	module, err := ctx.LoadModuleByID("http.handlers.callback_auth", json.RawMessage(config))
	if err != nil {
		t.Fatal(err)
	}
	return module.(caddyhttp.MiddlewareHandler)
}

// measure lets a request pass the gate over and over. change, if there is one, makes it another one each time, such as by
// a token of its own.
func (g gate) measure(r *http.Request, body string, change func(i int)) {
	g.Helper()
	accepted := 0
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { accepted++; return nil })
	server := new(caddyhttp.Server)
	w := httptest.NewRecorder()
	content := strings.NewReader(body)
	source := http.NoBody
	prepared := caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, server)
	caddyhttp.SetVar(prepared.Context(), caddyhttp.ClientIPVarKey, "192.0.2.1")
	replacing := &replacing{Context: prepared.Context()}
	prepared = prepared.WithContext(replacing)
	g.ReportAllocs()
	g.SetBytes(int64(len(body)))
	g.ResetTimer()
	for i := range g.N {
		if change != nil {
			change(i)
		}
		replacing.repl = caddy.NewEmptyReplacer()
		if prepared.Body = source; body != "" {
			content.Reset(body)
			prepared.Body = reading{content}
		}
		if err := g.handler.ServeHTTP(w, prepared, next); err != nil {
			g.Fatal(err)
		}
	}
	if accepted != g.N {
		g.Fatalf("%d of %d were accepted", accepted, g.N)
	}
}

// replacing gives each request a replacer of its own, as the server does: one that is used again would grow.
type replacing struct {
	context.Context
	repl *caddy.Replacer
}

func (r *replacing) Value(key any) any {
	if key == caddy.ReplacerCtxKey {
		return r.repl
	}
	return r.Context.Value(key)
}

// reading is the body of a request that is used again.
type reading struct{ *strings.Reader }

func (reading) Close() error { return nil }

func request(body, authorization string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return r
}

func vonageBody(size int) string {
	const head, tail = `{"event":"streamCreated","pad":"`, `"}`
	return head + strings.Repeat("x", size-len(head)-len(tail)) + tail
}

func size(bytes int) string {
	switch {
	case bytes >= 1<<20:
		return fmt.Sprintf("%dMiB", bytes>>20)
	case bytes >= 1<<10:
		return fmt.Sprintf("%dKiB", bytes>>10)
	}
	return fmt.Sprintf("%dB", bytes)
}

// floor is the least that a Vonage callback costs in Go: base64url, HMAC-SHA256, the claims into a struct, and the
// SHA-256 of the body in the memory where it is already. It checks nothing else.
func floor(b *testing.B, r *http.Request, body string) {
	compact := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	content := []byte(body)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		parts := strings.Split(compact, ".")
		claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
		signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
		mac := hmac.New(sha256.New, []byte(testbed.Secret))
		mac.Write([]byte(compact[:len(parts[0])+1+len(parts[1])]))
		var said struct {
			Issuer string `json:"iss"`
			Issued int64  `json:"iat"`
			ID     string `json:"jti"`
			Hash   string `json:"payload_hash"`
		}
		if !hmac.Equal(mac.Sum(nil), signature) || json.Unmarshal(claims, &said) != nil {
			b.Fatal("not accepted")
		}
		digest := sha256.Sum256(content)
		if hex.EncodeToString(digest[:]) != said.Hash {
			b.Fatal("another body")
		}
	}
}

// A Vonage callback from the request in memory to the next handler, which does nothing, beside its floor. What grows is
// the SHA-256 of the body and the copy that the next handler reads.
func BenchmarkVonage(b *testing.B) {
	const config = `"schemes":[{"scheme":"vonage","secrets":[{"value":"` + testbed.Secret + `"}]}]`
	for _, bytes := range []int{512, 64 << 10, 1 << 20, 10 << 20} {
		body := vonageBody(bytes)
		r := testbed.Vonage(b, body, nil)
		b.Run("floor/"+size(bytes), func(b *testing.B) { floor(b, r, body) })
		b.Run("gate/"+size(bytes), func(b *testing.B) {
			newGate(b, `{"max_body":10485760,"replay":{"off":true},`+config+`}`).measure(r, body, nil)
		})
	}
}

// Replay protection in memory: the difference to BenchmarkVonage/gate/512B is what it adds, a token of its own for each
// request included, which costs nothing inside the measured part.
func BenchmarkVonageReplay(b *testing.B) {
	const config = `{"schemes":[{"scheme":"vonage","secrets":[{"value":"` + testbed.Secret + `"}]}]`
	body := vonageBody(512)
	for _, replay := range []string{`,"replay":{"off":true}}`, `}`} {
		name := "on"
		if replay != "}" {
			name = "off"
		}
		b.Run(name, func(b *testing.B) {
			tokens := make([][]string, b.N)
			for i := range tokens {
				tokens[i] = []string{"Bearer " + testbed.HS256(b, testbed.Secret, nil, testbed.VonageClaims(body, nil))}
			}
			r := request(body, tokens[0][0])
			newGate(b, config+replay).measure(r, body, func(i int) { r.Header["Authorization"] = tokens[i] })
		})
	}
}

// Every further secret costs one HMAC of the token: all are tried, so that the time taken does not tell which matched.
func BenchmarkVonageSecrets(b *testing.B) {
	body := vonageBody(512)
	r := testbed.Vonage(b, body, nil)
	for _, count := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			newGate(b, `{"replay":{"off":true},"schemes":[{"scheme":"vonage","secrets":[`+secrets("", count)+`]}]}`).measure(r, body, nil)
		})
	}
}

// With an account for each secret the token says which one is meant.
func BenchmarkVonageAccounts(b *testing.B) {
	body := vonageBody(512)
	r := testbed.Vonage(b, body, nil)
	for _, count := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			var accounts strings.Builder
			for i := range count - 1 {
				fmt.Fprintf(&accounts, `{"api_key":"a%d","secrets":[{"value":"another-test-secret-%012d"}]},`, i, i)
			}
			newGate(b, `{"replay":{"off":true},"schemes":[{"scheme":"vonage","accounts":[`+accounts.String()+
				`{"api_key":"47000001","secrets":[{"value":"`+testbed.Secret+`"}]}]}]}`).measure(r, body, nil)
		})
	}
}

// secrets are count secrets as JSON, the one of the tests last.
func secrets(label string, count int) string {
	var list strings.Builder
	for i := range count - 1 {
		fmt.Fprintf(&list, `{"label":"%s%d","value":"another-test-secret-%012d"},`, label, i, i)
	}
	return list.String() + `{"label":"last","value":"` + testbed.Secret + `"}`
}

// The other schemes, with a body of 512 bytes where they have one.
func BenchmarkSchemes(b *testing.B) {
	body := vonageBody(512)
	mac := hmac.New(sha256.New, []byte(testbed.Secret))
	mac.Write([]byte(body))
	signed := request(body, "")
	signed.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
	b.Run("floor/hmac", func(b *testing.B) {
		b.ReportAllocs()
		content := []byte(body)
		for b.Loop() {
			mac := hmac.New(sha256.New, []byte(testbed.Secret))
			mac.Write(content)
			presented, _ := hex.DecodeString(signed.Header.Get("X-Signature"))
			if !hmac.Equal(mac.Sum(nil), presented) {
				b.Fatal("not accepted")
			}
		}
	})
	b.Run("hmac", func(b *testing.B) {
		newGate(b, `{"schemes":[{"scheme":"hmac","header":"X-Signature","secrets":[{"value":"`+testbed.Secret+`"}]}]}`).measure(signed, body, nil)
	})
	for _, count := range []int{1, 10, 100, 1000} {
		keyed := request(body, "")
		keyed.Header.Set("X-Api-Key", testbed.Secret)
		b.Run(fmt.Sprintf("api_key/%d", count), func(b *testing.B) {
			newGate(b, `{"schemes":[{"scheme":"api_key","header":"X-Api-Key","keys":[`+secrets("", count)+`]}]}`).measure(keyed, body, nil)
		})
	}
	b.Run("basic", func(b *testing.B) {
		r := request(body, "")
		r.SetBasicAuth("bob", testbed.Secret)
		newGate(b, `{"schemes":[{"scheme":"basic","users":[{"name":"bob","password":"`+testbed.Secret+`"}]}]}`).measure(r, body, nil)
	})
	b.Run("basic bcrypt remembered", func(b *testing.B) {
		r := request(body, "")
		r.SetBasicAuth("bob", testbed.Secret)
		hash, err := bcrypt.GenerateFromPassword([]byte(testbed.Secret), bcrypt.DefaultCost)
		if err != nil {
			b.Fatal(err)
		}
		newGate(b, `{"schemes":[{"scheme":"basic","users":[{"name":"bob","password":"`+string(hash)+`"}]}]}`).measure(r, body, nil)
	})
	b.Run("ip_range of 10000", func(b *testing.B) {
		var ranges strings.Builder
		for i := range 9_999 {
			fmt.Fprintf(&ranges, `"10.%d.%d.0/25",`, i/256, i%256)
		}
		newGate(b, `{"schemes":[{"scheme":"ip_range","ranges":[`+ranges.String()+`"192.0.2.0/24"]}]}`).measure(request(body, ""), body, nil)
	})
	b.Run("jwt HS256", func(b *testing.B) {
		compact := testbed.HS256(b, testbed.Secret, nil, map[string]any{"exp": time.Now().Unix() + 3600, "sub": "alice"})
		newGate(b, `{"schemes":[{"scheme":"jwt","secrets":[{"value":"`+testbed.Secret+`"}]}]}`).measure(request(body, "Bearer "+compact), body, nil)
	})
}
