package schemes_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

const goodKey = "k-0123456789+abcdef/0123456789=="

func TestAPIKeyAttackCases(t *testing.T) {
	bed := testbed.New(t, site(`callback_auth api_key {
		query api_key
		key `+goodKey+` azure
		key second-key-of-a-rotation
	}`))
	const good = "api_key=k-0123456789%2Babcdef/0123456789%3D%3D"
	do := func(t *testing.T, query string) testbed.Result {
		t.Helper()
		return bed.Do(t, get("/hook?"+query, "", ""))
	}

	t.Run("ak-valid", func(t *testing.T) {
		expect(t, do(t, good), 200)
		expect(t, do(t, "api_key=second-key-of-a-rotation"), 200)
	})
	t.Run("ak-wrong", func(t *testing.T) { expect(t, do(t, "api_key=other"), 401) })
	t.Run("ak-empty", func(t *testing.T) {
		expect(t, do(t, "api_key="), 401)
		expect(t, do(t, "api_key"), 401)
		expect(t, do(t, ""), 401)
		t.Setenv("API_KEY_EMPTY", "")
		text := testbed.Refusal(t, site("callback_auth api_key {\nquery api_key\nkey {env.API_KEY_EMPTY}\n}"))
		if !strings.Contains(text, "key is empty") || !strings.Contains(text, "{env.API_KEY_EMPTY}") {
			t.Errorf("the error does not name the key that is empty: %s", text)
		}
	})
	// Digests are compared, in constant time, with all keys; no wall time is held here.
	t.Run("ak-timing", func(t *testing.T) {
		first, last := do(t, "api_key=X"+good[9:]), do(t, good[:len(good)-1]+"E")
		expect(t, first, 401)
		expect(t, last, 401)
		if first.Body != last.Body {
			t.Error("the answers differ")
		}
	})
	t.Run("ak-encoded-name", func(t *testing.T) {
		expect(t, do(t, "api%5Fkey="+good[8:]), 200)
		expect(t, do(t, "api%5Fkey="+good[8:]+"&"+good), 400)
	})
	t.Run("ak-encoded-value", func(t *testing.T) {
		encoded := new(strings.Builder)
		for _, char := range []byte(goodKey) {
			fmt.Fprintf(encoded, "%%%02x", char)
		}
		expect(t, do(t, "api_key="+encoded.String()), 200)
	})
	t.Run("ak-plus-space", func(t *testing.T) { expect(t, do(t, "api_key="+goodKey), 401) })
	t.Run("ak-array-notation", func(t *testing.T) {
		expect(t, do(t, "api_key[]="+good[8:]), 401)
		expect(t, do(t, "api_key[0]="+good[8:]), 401)
	})
	t.Run("ak-bad-escape", func(t *testing.T) {
		expect(t, do(t, "x=%zz&"+good), 400)
		expect(t, do(t, "x=1;y=2&"+good), 400)
	})
	t.Run("ak-10k-params-after", func(t *testing.T) {
		expect(t, do(t, good+strings.Repeat("&a=1", 10_050)+"&admin=1"), 400)
	})
	t.Run("ak-fragment", func(t *testing.T) {
		bed := testbed.Run(t, site("callback_auth api_key {\nquery api_key\nkey "+goodKey+"\n}"))
		result := bed.Raw(t, "GET /a#?"+good+" HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n", false)
		expect(t, result, 200)
		if got := result.Received[0].RequestURI; got != "/a%23?"+good {
			t.Errorf("the receiver got %s: another URL than the one that was judged", got)
		}
		expect(t, bed.Raw(t, "GET /a?x=1#&"+good+" HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n", false), 200)
		expect(t, bed.Raw(t, "GET /a?#"+good+" HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n", false), 401)
	})
	t.Run("ak-path-param", func(t *testing.T) { expect(t, bed.Do(t, get("/hook;"+good, "", "")), 401) })
	form := func(query string) testbed.Result {
		r := httptest.NewRequest(http.MethodPost, "/hook"+query, strings.NewReader(good))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return bed.Do(t, r)
	}
	t.Run("ak-body-form", func(t *testing.T) { expect(t, form(""), 401) })
	t.Run("ak-body-overrides", func(t *testing.T) { expect(t, form("?api_key=bad"), 401) })
	t.Run("ak-strip-upstream", func(t *testing.T) {
		bed := testbed.New(t, site("callback_auth {\napi_key {\nquery api_key\nkey "+goodKey+"\n}\nstrip_credentials\n}"))
		for query, want := range map[string]string{
			good:                              "/hook",
			"b=%7e&" + good + "&a=1+%2B&b2=%": "",
			"b=%7e&" + good + "&a=1+%2B":      "/hook?b=%7e&a=1+%2B",
			"api%5Fkey=" + good[8:] + "&&z=":  "/hook?&z=",
		} {
			result := bed.Do(t, get("/hook?"+query, "", ""))
			if want == "" {
				expect(t, result, 400)
				continue
			}
			expect(t, result, 200)
			if got := result.Received[0].RequestURI; got != want {
				t.Errorf("the receiver got %s; want %s", got, want)
			}
		}
	})
	t.Run("ak-cache-control", func(t *testing.T) {
		if got := do(t, good).Header.Get("Cache-Control"); got != "private" {
			t.Errorf("Cache-Control: %q; want private", got)
		}
	})
}

func TestAPIKeyInAHeader(t *testing.T) {
	bed := testbed.New(t, `http:// {
		callback_auth {
			api_key {
				header x-api-key
				key `+goodKey+` ops
			}
			strip_credentials
		}
		reverse_proxy RECEIVER {
			header_up X-User {http.auth.user.id}
		}
	}`)
	t.Run("the right key passes, and says by its label who called", func(t *testing.T) {
		result := bed.Do(t, get("/", "X-Api-Key", goodKey))
		expect(t, result, 200)
		if header := result.Received[0].Header; header.Get("X-User") != "ops" || header.Get("X-Api-Key") != "" {
			t.Errorf("the receiver got user %q, X-Api-Key %q", header.Get("X-User"), header.Get("X-Api-Key"))
		}
	})
	for _, test := range []struct {
		name   string
		values []string
		status int
	}{
		{"another key is refused", []string{goodKey + "="}, 401},
		{"a prefix before the key is refused", []string{"Bearer " + goodKey}, 401},
		{"an empty header is refused", []string{""}, 401},
		{"no header is refused", nil, 401},
		{"two headers are refused", []string{goodKey, goodKey}, 400},
		{"two keys in one header are refused", []string{goodKey + ", " + goodKey}, 401},
		{"a huge key is refused", []string{strings.Repeat("k", 5000)}, 401},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := get("/?x-api-key="+goodKey, "", "")
			r.Header["X-Api-Key"] = test.values
			result := bed.Do(t, r)
			expect(t, result, test.status)
			if challenge := result.Header.Get("WWW-Authenticate"); test.status == 401 && challenge != `ApiKey realm="callback"` {
				t.Errorf("challenge %q", challenge)
			}
		})
	}
	if strings.Contains(bed.Logs.String(), `"detail":"`+goodKey) {
		t.Error("the log holds the key")
	}
}

func TestAPIKeyConfig(t *testing.T) {
	adaptsBothWays(t, "api_key", []fixture{
		{"a header", "api_key {\nheader X-Key\nkey {env.K}\n}", `{"header":"X-Key","keys":[{"value":"{env.K}"}]}`},
		{"a query", "api_key {\nquery key\nkey one old\nkey two new\n}", `{"query":"key","keys":[{"value":"one","label":"old"},{"value":"two","label":"new"}]}`},
	})
	refusesMistakes(t, []mistake{
		{"no place", "api_key {\nkey hush\n}", []string{"either header or query"}},
		{"two places", "api_key {\nheader X-Key\nquery key\nkey hush\n}", []string{"either header or query", "Caddyfile:5"}},
		{"no key", "api_key {\nheader X-Key\n}", []string{"api_key needs a key"}},
		{"an empty key", "api_key {\nheader X-Key\nkey \"\"\n}", []string{"key is empty", "Caddyfile:5"}},
		{"a key of three words", "api_key {\nheader X-Key\nkey hush hush hush\n}", []string{"key takes", "3 arguments", "Caddyfile:5"}},
		{"a key too long", "api_key {\nheader X-Key\nkey " + strings.Repeat("hush", 1025) + "\n}", []string{"key 1 is longer than 4096 bytes"}},
		{"an argument", "api_key hush", []string{"api_key takes no arguments", "Caddyfile:3"}},
		{"an unknown option", "api_key {\ncookie x\n}", []string{"'cookie'", "Caddyfile:4"}},
		{"two headers", "api_key {\nheader A\nheader B\n}", []string{"header", "already specified", "Caddyfile:5"}},
		{"a header of two words", "api_key {\nheader A B\n}", []string{"header takes one argument", "Caddyfile:4"}},
		{"a header that is none", "api_key {\nheader A:\nkey hush\n}", []string{`"A:"`}},
		{"a label twice", "api_key {\nheader A\nkey hush1 x\nkey hush2 x\n}", []string{"label", "twice"}},
	})
	t.Run("a short key is warned of", func(t *testing.T) {
		bed := testbed.New(t, site("callback_auth api_key {\nheader A\nkey short old\nkey "+goodKey+" new\n}"))
		logs := bed.Logs.String()
		if !strings.Contains(logs, "key is short") || strings.Count(logs, "key is short") != 1 {
			t.Errorf("the log does not warn once")
		}
	})
}
