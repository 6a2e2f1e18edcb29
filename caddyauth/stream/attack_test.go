package stream_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/golang-jwt/jwt/v5"
)

// The tests of this file and its siblings are named after the attacks they make.

const attackSite = `
	handle /guarded* {
		callback_auth jwt {
			secret caller-` + testbed.Secret + `
			from query key
		}
		stream_auth antmedia {
			token {
				jwt {
					secret ` + testbed.Secret + `
				}
			}
			allow {
				token valid
			}
		}
	}
`

// signedBy makes a token by any method.
func signedBy(t *testing.T, method jwt.SigningMethod, key any, claims jwt.MapClaims) string {
	t.Helper()
	token, err := jwt.NewWithClaims(method, claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestAttacksOnEveryDialect(t *testing.T) {
	const fromBoth = "token {\nfrom query token\nfrom password\njwt {\nsecret " + testbed.Secret + "\n}\n}\n"
	bed := testbed.New(t, site(attackSite+
		handle("/ams", "antmedia", jwtToken+"allow {\ntoken valid\n}")+
		handle("/ice", "icecast", jwtToken+"allow {\ntoken valid\n}")+
		handle("/radio", "radiomast", jwtToken+"allow {\ntoken valid\n}")+
		handle("/ice/both", "icecast", fromBoth+"allow {\ntoken valid\n}")+
		handle("/ice/password", "icecast", fromBoth+"allow {\ntoken valid\n}")+
		handle("/radio/password", "radiomast", fromBoth+"allow {\ntoken valid\n}")+
		handle("/aud", "antmedia", "token {\n jwt {\n secret "+testbed.Secret+"\n audience antmedia\n }\n}\nallow {\ntoken valid\n}")+
		handle("/static", "antmedia", "token {\nstatic first-key-0123456789 second-key-0123456789\n}\nallow {\ntoken valid\n}")))

	// each asks all three dialects for a stream, with a token in the usual place.
	each := func(t *testing.T, name, token string, check func(t *testing.T, result testbed.Result)) {
		t.Helper()
		quoted := strings.ReplaceAll(strings.ReplaceAll(name, `\`, `\\`), `"`, `\"`)
		quotedToken := strings.ReplaceAll(token, "\n", `\n`)
		check(t, bed.Do(t, antMedia("/ams", fmt.Sprintf(`"appName":"live","streamId":"%s","mode":"play","token":"%s"`, quoted, quotedToken))))
		escaped := strings.NewReplacer("%", "%25", "?", "%3F", "#", "%23").Replace(name)
		for _, path := range []string{"/ice", "/radio"} {
			check(t, bed.Do(t, listen(path, "/"+escaped+"?token="+strings.ReplaceAll(token, "\n", "%0A"))))
		}
	}
	deniedWith := func(statuses ...int) func(*testing.T, testbed.Result) {
		return func(t *testing.T, result testbed.Result) { t.Helper(); denied(t, result, statuses...) }
	}

	t.Run("sc-caller-missing", func(t *testing.T) {
		result := bed.Do(t, play("/guarded", mint(t, nil)))
		if result.Status != http.StatusUnauthorized {
			t.Errorf("status %d", result.Status)
		}
		notAllowing(t, result)
		caller := testbed.HS256(t, "caller-"+testbed.Secret, nil, map[string]any{"exp": now.Unix() + 60})
		allowed(t, bed.Do(t, play("/guarded?key="+caller, mint(t, nil))))
	})
	t.Run("sc-caller-wrong", func(t *testing.T) {
		result := bed.Do(t, play("/guarded?key="+mint(t, nil), mint(t, nil)))
		if result.Status != http.StatusUnauthorized {
			t.Errorf("status %d", result.Status)
		}
		notAllowing(t, result)
	})
	t.Run("sc-oracle-rate", func(t *testing.T) {
		for i := range 1000 {
			denied(t, bed.Do(t, play("/ams", fmt.Sprintf("guess-%d", i))), http.StatusForbidden)
		}
	})
	t.Run("sc-no-3xx", func(t *testing.T) {
		each(t, "cam1", mint(t, nil), allowed) // allowed and denied look for 3xx and Location
		each(t, "cam1", "", deniedWith(http.StatusForbidden))
	})
	t.Run("sc-deny-predicate", func(t *testing.T) {
		each(t, "cam1", "bad", deniedWith(http.StatusForbidden))
		each(t, "../x", "bad", deniedWith(http.StatusBadRequest))
	})
	t.Run("sc-no-store", func(t *testing.T) {
		each(t, "cam1", mint(t, nil), allowed)
		each(t, "cam2", mint(t, nil), deniedWith(http.StatusForbidden))
		denied(t, bed.Do(t, hook("/ams", "text/plain", "x")), http.StatusUnsupportedMediaType)
	})
	t.Run("sc-token-alg", func(t *testing.T) {
		exp := now.Unix() + 3600
		good := map[string]any{"exp": exp, "stream": "cam1"}
		encoded := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
		claims := func(text string) string {
			return testbed.Sign(testbed.Secret, encoded(`{"alg":"HS256","typ":"JWT"}`)+"."+encoded(text))
		}
		curved, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		each(t, "cam1", claims(fmt.Sprintf(`{"exp":%d,"stream":"cam1"}`, exp)), allowed) // CONTROL
		unsigned := testbed.HS256(t, testbed.Secret, map[string]any{"alg": "none"}, good)
		for name, token := range map[string]string{
			"alg none":            unsigned,
			"alg none, unsigned":  unsigned[:strings.LastIndex(unsigned, ".")+1],
			"alg none, in part":   testbed.HS256(t, testbed.Secret, map[string]any{"alg": "None"}, good),
			"alg none, and space": testbed.HS256(t, testbed.Secret, map[string]any{"alg": "none "}, good),
			"alg of another":      testbed.HS256(t, testbed.Secret, map[string]any{"alg": "HS512"}, good),
			"HS384, genuine":      signedBy(t, jwt.SigningMethodHS384, []byte(testbed.Secret), good),
			"HS512, genuine":      signedBy(t, jwt.SigningMethodHS512, []byte(testbed.Secret), good),
			"ES256":               signedBy(t, jwt.SigningMethodES256, curved, good),
			"the empty secret":    signedBy(t, jwt.SigningMethodHS256, []byte{}, good),
			"alg RS256":           testbed.HS256(t, testbed.Secret, map[string]any{"alg": "RS256"}, good),
			"alg in lower case":   testbed.HS256(t, testbed.Secret, map[string]any{"alg": "hs256"}, good),
			"alg in a list":       testbed.HS256(t, testbed.Secret, map[string]any{"alg": []string{"HS256"}}, good),
			"alg null":            testbed.Sign(testbed.Secret, encoded(`{"alg":null}`)+"."+encoded(fmt.Sprintf(`{"exp":%d,"stream":"cam1"}`, exp))),
			"ALG":                 testbed.HS256(t, testbed.Secret, map[string]any{"alg": nil, "ALG": "HS256"}, good),
			"no alg":              testbed.HS256(t, testbed.Secret, map[string]any{"alg": nil}, good),
			"crit":                testbed.HS256(t, testbed.Secret, map[string]any{"crit": []string{"exp"}}, good),
			"b64":                 testbed.HS256(t, testbed.Secret, map[string]any{"b64": false}, good),
			"cty":                 testbed.HS256(t, testbed.Secret, map[string]any{"cty": "JWT"}, good),
			"enc":                 testbed.HS256(t, testbed.Secret, map[string]any{"enc": "A128GCM"}, good),
			"typ of another":      testbed.HS256(t, testbed.Secret, map[string]any{"typ": "logout+jwt"}, good),
			"kid 7":               testbed.HS256(t, testbed.Secret, map[string]any{"kid": 7}, good),
			"kid of a kilobyte":   testbed.HS256(t, testbed.Secret, map[string]any{"kid": strings.Repeat("k", 1025)}, good),
			"two kids":            testbed.Sign(testbed.Secret, encoded(`{"alg":"HS256","kid":"a","kid":"b"}`)+"."+encoded(fmt.Sprintf(`{"exp":%d,"stream":"cam1"}`, exp))),
			"another secret":      testbed.HS256(t, "another-secret-0123456789-01234567", nil, good),
			"duplicate claim":     claims(fmt.Sprintf(`{"exp":%d,"stream":"cam1","stream":"cam1"}`, exp)),
			"duplicate exp":       claims(fmt.Sprintf(`{"exp":1,"exp":%d,"stream":"cam1"}`, exp)),
			"escaped duplicate":   claims(fmt.Sprintf(`{"exp":%d,"stream":"cam2","s\u0074ream":"cam1"}`, exp)),
			"no exp":              claims(`{"stream":"cam1"}`),
			"EXP":                 claims(fmt.Sprintf(`{"EXP":%d,"stream":"cam1"}`, exp)),
			"exp 0":               claims(`{"exp":0,"stream":"cam1"}`),
			"exp below 0":         claims(`{"exp":-1,"stream":"cam1"}`),
			"exp true":            claims(`{"exp":true,"stream":"cam1"}`),
			"exp text":            claims(fmt.Sprintf(`{"exp":"%d","stream":"cam1"}`, exp)),
			"exp without end":     claims(`{"exp":1e300,"stream":"cam1"}`),
			"nbf to come":         claims(fmt.Sprintf(`{"exp":%d,"nbf":%d,"stream":"cam1"}`, exp, now.Unix()+120)),
			"nbf text":            claims(fmt.Sprintf(`{"exp":%d,"nbf":"x","stream":"cam1"}`, exp)),
			"iat to come":         claims(fmt.Sprintf(`{"exp":%d,"iat":%d,"stream":"cam1"}`, exp, now.Unix()+120)),
			"iat without end":     claims(fmt.Sprintf(`{"exp":%d,"iat":1e300,"stream":"cam1"}`, exp)),
			"iss of a type":       claims(fmt.Sprintf(`{"exp":%d,"iss":7,"stream":"cam1"}`, exp)),
			"aud of a type":       claims(fmt.Sprintf(`{"exp":%d,"aud":[7],"stream":"cam1"}`, exp)),
			"jti empty":           claims(fmt.Sprintf(`{"exp":%d,"jti":"","stream":"cam1"}`, exp)),
			"claims null":         claims(`null`),
			"claims and more":     claims(fmt.Sprintf(`{"exp":%d,"stream":"cam1"} x`, exp)),
			"claims twice":        claims(fmt.Sprintf(`{"exp":%[1]d,"stream":"cam1"}{"exp":%[1]d,"stream":"cam1"}`, exp)),
			"claims with a mark":  claims(fmt.Sprintf("\ufeff{\"exp\":%d,\"stream\":\"cam1\"}", exp)),
			"not UTF-8":           claims(fmt.Sprintf("{\"exp\":%d,\"stream\":\"cam1\",\"x\":\"\xff\xfe\"}", exp)),
			"nested too deep":     claims(fmt.Sprintf(`{"exp":%d,"stream":"cam1","x":%s%s}`, exp, strings.Repeat("[", 1000), strings.Repeat("]", 1000))),
			"claims in a list":    claims(fmt.Sprintf(`[{"exp":%d,"stream":"cam1"}]`, exp)),
			"claim in capitals":   claims(fmt.Sprintf(`{"exp":%d,"Stream":"cam1"}`, exp)),
		} {
			t.Run(name, func(t *testing.T) { each(t, "cam1", token, deniedWith(http.StatusForbidden)) })
		}
	})
	t.Run("sc-token-newline", func(t *testing.T) {
		token := mint(t, nil)
		each(t, "cam1", token+"\n", deniedWith(http.StatusForbidden))
		each(t, "cam1", token[:20]+"\n"+token[20:], deniedWith(http.StatusForbidden))
	})
	t.Run("sc-token-reconnect", func(t *testing.T) {
		token := mint(t, nil)
		each(t, "cam1", token, allowed)
		each(t, "cam1", token, allowed)
	})
	t.Run("sc-token-expired", func(t *testing.T) {
		each(t, "cam1", mint(t, map[string]any{"exp": now.Unix() - 61}), deniedWith(http.StatusForbidden))
	})
	t.Run("sc-token-other-stream", func(t *testing.T) {
		each(t, "cam2", mint(t, nil), deniedWith(http.StatusForbidden))
		each(t, "cam1", mint(t, map[string]any{"stream": "cam2"}), deniedWith(http.StatusForbidden))
	})
	t.Run("sc-token-other-server", func(t *testing.T) {
		denied(t, bed.Do(t, play("/aud", mint(t, map[string]any{"aud": "icecast"}))), http.StatusForbidden)
		denied(t, bed.Do(t, play("/aud", mint(t, nil))), http.StatusForbidden)
		allowed(t, bed.Do(t, play("/aud", mint(t, map[string]any{"aud": "antmedia"}))))
	})
	t.Run("sc-token-stream-types", func(t *testing.T) {
		for _, value := range []any{nil, []any{}, map[string]any{}, 1, "", true, []any{1, "cam1"}, []any{""}, []any{nil}} {
			token := mint(t, map[string]any{"stream": value})
			if value == nil { // mint leaves it out; null is another case
				each(t, "cam1", testbed.HS256(t, testbed.Secret, nil, map[string]any{"exp": now.Unix() + 60, "stream": nil}), deniedWith(http.StatusForbidden))
			}
			each(t, "cam1", token, deniedWith(http.StatusForbidden))
		}
	})
	t.Run("sc-token-stream-array", func(t *testing.T) {
		each(t, "b", mint(t, map[string]any{"stream": []any{"a", "b"}}), allowed)
		each(t, "c", mint(t, map[string]any{"stream": []any{"a", "b"}}), deniedWith(http.StatusForbidden))
	})
	t.Run("sc-token-wildcard", func(t *testing.T) {
		// Patterns are what the contract says they are; regular expressions and words of other servers are names.
		each(t, "cam1", mint(t, map[string]any{"stream": ".*"}), deniedWith(http.StatusForbidden))
		each(t, "cam1", mint(t, map[string]any{"stream": "~all"}), deniedWith(http.StatusForbidden))
		each(t, "cam1", mint(t, map[string]any{"stream": "*"}), allowed)
		each(t, "a/b", mint(t, map[string]any{"stream": "*"}), deniedWith(http.StatusForbidden))
		allowed(t, bed.Do(t, play("/ams", mint(t, map[string]any{"stream": "live/*"}))))
	})
	t.Run("sc-token-wildcard-scope", func(t *testing.T) {
		token := mint(t, map[string]any{"stream": "live/*"})
		each(t, "live/a/../../admin", token, deniedWith(http.StatusBadRequest))
		each(t, "live/a/../b", token, deniedWith(http.StatusBadRequest))
		for _, name := range []string{"livex", "live"} {
			denied(t, bed.Do(t, listen("/ice", "/"+name+"?token="+token)), http.StatusForbidden)
		}
		denied(t, bed.Do(t, antMedia("/ams", fmt.Sprintf(`"appName":"livex","streamId":"a","mode":"play","token":%q`, token))), http.StatusForbidden)
		denied(t, bed.Do(t, antMedia("/ams", fmt.Sprintf(`"appName":"other","streamId":"live/a","mode":"play","token":%q`, token))), http.StatusForbidden)
		allowed(t, bed.Do(t, listen("/ice", "/live/a?token="+token)))
	})
	t.Run("sc-token-in-user-field", func(t *testing.T) {
		token := mint(t, nil)
		for _, field := range []string{"subscriberId", "subscriberCode", "user", "pass", "password"} {
			denied(t, bed.Do(t, antMedia("/ams", fmt.Sprintf(`"appName":"live","streamId":"cam1","mode":"play",%q:%q`, field, token))), http.StatusForbidden)
		}
		denied(t, bed.Do(t, without("/ice", "/cam1", map[string]string{"user": token})), http.StatusForbidden)
		denied(t, bed.Do(t, listen("/ice", "/cam1", "token", token)), http.StatusForbidden)
		for _, path := range []string{"/ice", "/radio"} {
			denied(t, bed.Do(t, without(path, "/cam1", map[string]string{"pass": token})), http.StatusForbidden)
			allowedIcecast(t, bed.Do(t, without(path, "/cam1?token="+token, map[string]string{"user": "alice", "pass": "her own"})))
			allowedIcecast(t, bed.Do(t, without(path+"/password", "/cam1", map[string]string{"pass": token})))
		}
		// A source has no query that Icecast tells of.
		allowedIcecast(t, bed.Do(t, without("/ice", "/cam1", map[string]string{"action": "stream_auth", "pass": mint(t, map[string]any{"mode": "publish"})})))
	})
	t.Run("sc-token-two-places", func(t *testing.T) {
		token := mint(t, nil)
		body := `"appName":"live","streamId":"cam1","mode":"play","token":%q,"queryParams":%q`
		denied(t, bed.Do(t, antMedia("/ams", fmt.Sprintf(body, token, "{token=other}"))), http.StatusBadRequest)
		denied(t, bed.Do(t, antMedia("/ams", fmt.Sprintf(body, "other", "{token="+token+"}"))), http.StatusBadRequest)
		allowed(t, bed.Do(t, antMedia("/ams", fmt.Sprintf(body, token, "{token="+token+"}"))))
		denied(t, bed.Do(t, without("/ice/both", "/cam1?token="+token, map[string]string{"pass": "other"})), http.StatusBadRequest)
	})
	t.Run("sc-token-1mb", func(t *testing.T) {
		denied(t, bed.Do(t, play("/ams", strings.Repeat("a", 1<<20))), http.StatusRequestEntityTooLarge)
		denied(t, bed.Do(t, listen("/ice", "/cam1?token="+strings.Repeat("a", 1<<20))), http.StatusRequestEntityTooLarge)
		each(t, "cam1", strings.Repeat("a", 50_000), deniedWith(http.StatusForbidden))
	})
	t.Run("sc-static-token-timing", func(t *testing.T) {
		// The comparison is of digests, in constant time (internal/secret); here, that a part of a key is no key.
		for _, token := range []string{"xirst-key-0123456789", "first-key-012345678x", "first-key-012345678", "first-key-01234567890", "first-key-0123456789 second-key-0123456789"} {
			denied(t, bed.Do(t, play("/static", token)), http.StatusForbidden)
		}
		allowed(t, bed.Do(t, play("/static", "first-key-0123456789")))
		allowed(t, bed.Do(t, play("/static", "second-key-0123456789")))
	})
	t.Run("sc-id-case", func(t *testing.T) {
		each(t, "streama", mint(t, map[string]any{"stream": "StreamA"}), deniedWith(http.StatusForbidden))
	})
	t.Run("sc-id-nfc-nfd", func(t *testing.T) {
		each(t, "re\u0301gie", mint(t, map[string]any{"stream": "r\u00e9gie"}), deniedWith(http.StatusForbidden))
		each(t, "r\u00e9gie", mint(t, map[string]any{"stream": "r\u00e9gie"}), allowed)
	})
	t.Run("sc-id-zero-width", func(t *testing.T) {
		for _, name := range []string{"cam\u200b1", "\u202ecam1", "\ufeffcam1", "cam1\u2060"} {
			each(t, name, mint(t, map[string]any{"stream": []any{"cam1", name}}), deniedWith(http.StatusBadRequest))
		}
	})
	t.Run("sc-id-fullwidth", func(t *testing.T) {
		each(t, "ｃａｍ1", mint(t, nil), deniedWith(http.StatusForbidden))
		each(t, "live。cam1", mint(t, map[string]any{"stream": "live.cam1"}), deniedWith(http.StatusForbidden))
	})
	t.Run("sc-id-traversal", func(t *testing.T) {
		token := mint(t, map[string]any{"stream": []any{"a", "b", "secret", "**"}})
		for _, name := range []string{
			"../secret", "a/../b", "a//b", "a/./b", `a\b`, "..", ".", "a/..",
			"..%2fb", "%2e%2e/b", "%2E%2E%2Fb", "a%00", "a%0ab", "a%5cb", "a%ff", // what a server may decode once more
		} {
			each(t, name, token, deniedWith(http.StatusBadRequest))
		}
		for _, mount := range []string{"/..%2fb", "/%2e%2e/b", "/a%5Cb"} {
			denied(t, bed.Do(t, listen("/ice", mount+"?token="+token)), http.StatusBadRequest)
		}
	})
	t.Run("sc-id-variant-suffix", func(t *testing.T) {
		token := mint(t, map[string]any{"stream": "stream1"})
		each(t, "stream1_720p", token, deniedWith(http.StatusForbidden))
		each(t, "stream1_adaptive", token, deniedWith(http.StatusForbidden))
	})
	t.Run("sc-id-invalid-utf8", func(t *testing.T) {
		token := mint(t, map[string]any{"stream": []any{"**", "cam\ufffd"}})
		body := `{"appName":"live","streamId":"cam` + "\xff" + `","mode":"play","token":"` + token + `"}`
		denied(t, bed.Do(t, hook("/ams", "application/json; charset=utf-8", body)), http.StatusBadRequest)
		// Without a charset the byte is the ÿ of ISO-8859-1, which is what Ant Media Server sends: a name of its own.
		body = strings.Replace(body, token, mint(t, map[string]any{"stream": "cam\ufffd"}), 1)
		denied(t, bed.Do(t, hook("/ams", "application/json", body)), http.StatusForbidden)
		for _, path := range []string{"/ice", "/radio"} {
			denied(t, bed.Do(t, listen(path, "/cam\xff?token="+token)), http.StatusBadRequest)
			denied(t, bed.Do(t, listen(path, "/cam%ff?token="+token)), http.StatusBadRequest)
			denied(t, bed.Do(t, listen(path, "/cam%ef%bf%bd?token="+token)), http.StatusBadRequest)
		}
	})
	t.Run("sc-log-injection", func(t *testing.T) {
		before := len(bed.Logs.Lines(t, "stream denied"))
		evil := "x\r\n{\"level\":\"fake\"}\x1b[31m"
		requests := []*http.Request{
			icecast("/ice", "action", evil, "mount", "/cam1"),
			without("/ice", "/cam1?token="+evil, map[string]string{"server": evil, "port": evil, "user": evil, "pass": evil, "agent": evil}),
			without("/ice", "/"+evil, nil),
			without("/ice", "/cam1", map[string]string{"client": evil}),
			without("/ice", "/cam1", map[string]string{"ip": evil}),
			hook("/ams", "application/json", `{"appName":"live","streamId":"cam1","mode":"play\r\n\u001b[31m"}`),
			hook("/ams", "application/json", `{"appName":"a\r\nb","streamId":"cam1","mode":"play","token":"x\r\ny","origin":"\u001b[31m"}`),
		}
		for _, r := range requests {
			denied(t, bed.Do(t, r))
		}
		if got := len(bed.Logs.Lines(t, "stream denied")) - before; got != len(requests) { // Lines fails on what is not JSON
			t.Errorf("%d lines for %d denials", got, len(requests))
		}
		if strings.ContainsAny(bed.Logs.String(), "\r\x1b") {
			t.Error("a control character in the log")
		}
	})
	t.Run("no token in the log", func(t *testing.T) {
		for line := range strings.Lines(bed.Logs.String()) {
			if strings.Contains(line, "http.log.error") {
				continue // Caddy's own line about the caller's URL, which has the key of sc-caller-wrong in it
			}
			for _, secret := range []string{"eyJ", testbed.Secret, "guess-", "second-key-0123456789"} {
				if strings.Contains(line, secret) {
					t.Errorf("the log holds %.4s…", secret)
				}
			}
		}
	})
}
