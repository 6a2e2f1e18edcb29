package schemes_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	jwk "github.com/go-jose/go-jose/v4"
)

// challenged wants this status and this challenge.
func challenged(t *testing.T, result testbed.Result, status int, challenge string) {
	t.Helper()
	expect(t, result, status)
	if got := result.Header.Get("WWW-Authenticate"); got != challenge {
		t.Errorf("challenge %q; want %q", got, challenge)
	}
}

const (
	bareChallenge = `Bearer realm="callback"`
	invalidToken  = `Bearer realm="callback", error="invalid_token"`
)

func TestOAuth2SignedTokens(t *testing.T) {
	i := newIssuer(t, "")
	bed := testbed.New(t, `http:// {
		callback_auth oauth2 {
			issuer `+i.URL+`
			audience our-api other-api
			scope hooks:write hooks:read
		}
		reverse_proxy RECEIVER {
			header_up X-Who {http.auth.user.id}
		}
	}`)
	good := func(change map[string]any) map[string]any {
		claims := map[string]any{"scope": "hooks:read hooks:write other"}
		maps.Copy(claims, change)
		return claims
	}
	const insufficient = `Bearer realm="callback", error="insufficient_scope", scope="hooks:write hooks:read"`

	for _, c := range []struct {
		name      string
		token     string
		status    int
		challenge string
	}{
		{"a good token", i.token(t, good(nil)), 200, ""},
		{"hdr-typ-prefix", i.tokenBy(t, "k1", map[string]any{"typ": "application/at+jwt"}, good(nil)), 200, ""},
		{"typ at+jwt", i.tokenBy(t, "k1", map[string]any{"typ": "AT+JWT"}, good(nil)), 200, ""},
		{"typ of something else", i.tokenBy(t, "k1", map[string]any{"typ": "logout+jwt"}, good(nil)), 401, invalidToken},
		{"another audience", i.token(t, good(map[string]any{"aud": "somebody"})), 401, invalidToken},
		{"no audience", i.token(t, good(map[string]any{"aud": nil})), 401, invalidToken},
		{"several audiences", i.token(t, good(map[string]any{"aud": []string{"x", "other-api"}})), 200, ""},
		{"oidc-other-issuer-same-kid", i.token(t, good(map[string]any{"iss": "https://other.example"})), 401, invalidToken},
		{"over", i.token(t, good(map[string]any{"exp": time.Now().Add(-2 * time.Minute).Unix()})), 401, invalidToken},
		{"without end", i.token(t, good(map[string]any{"exp": nil})), 401, invalidToken},
		{"forged", i.tokenBy(t, "k9", map[string]any{"kid": "k1"}, good(nil)), 401, invalidToken},
		{"opaque", "a-token-of-another-kind", 401, invalidToken},
		{"oidc-id-token-as-access", i.token(t, map[string]any{"nonce": "n-0S6_WzA2Mj"}), 401, invalidToken},
		{"oidc-id-token-as-access by its access token hash", i.token(t, map[string]any{"at_hash": "x"}), 401, invalidToken},
		{"oidc-id-token-as-access by Cognito's use", i.token(t, good(map[string]any{"token_use": "id"})), 401, invalidToken},
		{"an access token by Cognito's use", i.token(t, good(map[string]any{"token_use": "access"})), 200, ""},
		{"oidc-id-token-as-access by Keycloak's type", i.token(t, good(map[string]any{"typ": "ID"})), 401, invalidToken},
		{"an access token with a nonce and scopes", i.token(t, good(map[string]any{"nonce": "x"})), 200, ""},
		{"oidc-scope-substring", i.token(t, good(map[string]any{"scope": "hooks:read hooks:writer"})), 403, insufficient},
		{"oidc-scope-substring", i.token(t, good(map[string]any{"scope": "hooks:read\thooks:write"})), 403, insufficient},
		{"one scope of two", i.token(t, good(map[string]any{"scope": "hooks:write"})), 403, insufficient},
		{"no scope", i.token(t, good(map[string]any{"scope": nil})), 403, insufficient},
		{"oidc-scope-types", i.token(t, good(map[string]any{"scope": []string{"hooks:read", "hooks:write"}})), 403, insufficient},
		{"oidc-scope-types", i.token(t, good(map[string]any{"scope": 7})), 403, insufficient},
		{"oidc-scope-types", i.token(t, good(map[string]any{"scope": nil, "scp": []string{"hooks:read", "hooks:write"}})), 200, ""},
		{"oidc-scope-types", i.token(t, good(map[string]any{"scope": nil, "scp": "hooks:read hooks:write"})), 200, ""},
		{"oidc-scope-types", i.token(t, good(map[string]any{"scope": nil, "scp": []any{"hooks:read", "hooks:write", 7}})), 403, insufficient},
		{"oidc-scope-types", i.token(t, good(map[string]any{"scope": "", "scp": "hooks:read hooks:write"})), 403, insufficient},
		{"nothing", "", 401, bareChallenge},
	} {
		t.Run(c.name, func(t *testing.T) { challenged(t, bed.Do(t, hook(c.token)), c.status, c.challenge) })
	}

	t.Run("oidc-scope-types, a number that is spelt as the scope", func(t *testing.T) {
		bed := testbed.New(t, site("callback_auth oauth2 {\nissuer "+i.URL+"\naudience our-api\nscope 7\n}"))
		expect(t, bed.Do(t, hook(i.token(t, map[string]any{"scope": 7}))), 403)
		expect(t, bed.Do(t, hook(i.token(t, map[string]any{"scp": []any{7}}))), 403)
		expect(t, bed.Do(t, hook(i.token(t, map[string]any{"scope": "7"}))), 200)
	})
	t.Run("two tokens are an invalid request", func(t *testing.T) {
		r := hook(i.token(t, good(nil)))
		r.Header.Add("Authorization", "Bearer x")
		challenged(t, bed.Do(t, r), 400, bareChallenge+`, error="invalid_request"`)
		r = hook(i.token(t, good(nil)))
		r.URL.RawQuery = "access_token=x"
		challenged(t, bed.Do(t, r), 400, bareChallenge+`, error="invalid_request"`)
	})
	t.Run("a token in a form is a second one", func(t *testing.T) {
		for body, status := range map[string]int{
			"a=b": 200, "": 200, "access_tokens=x": 200,
			"access_token=x": 400, "a=b&access%5Ftoken=": 400, "access_token": 400, "a=%zz": 400, "a=b;access_token=x": 400,
		} {
			r := httptest.NewRequest(http.MethodPost, "/hook", strings.NewReader(body))
			r.Header.Set("Authorization", "Bearer "+i.token(t, good(nil)))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
			result := bed.Do(t, r)
			expect(t, result, status)
			if status == 400 && result.Header.Get("WWW-Authenticate") != bareChallenge+`, error="invalid_request"` {
				t.Errorf("%s: challenge %q", body, result.Header.Get("WWW-Authenticate"))
			}
		}
		r := hook(i.token(t, good(nil))) // in anything but a form the name means nothing
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader("access_token=x")), 14
		expect(t, bed.Do(t, r), 200)
	})
	t.Run("another auth-scheme is no token", func(t *testing.T) {
		r := hook("")
		r.Header.Set("Authorization", "Basic YTpi")
		challenged(t, bed.Do(t, r), 401, bareChallenge)
	})
	t.Run("who", func(t *testing.T) {
		for _, c := range []struct {
			claims map[string]any
			who    string
		}{
			{nil, "client-1"},
			{map[string]any{"sub": nil, "client_id": "c", "azp": "z"}, "c"},
			{map[string]any{"sub": nil, "azp": "z"}, "z"},
			{map[string]any{"sub": nil}, "k1"}, // of nobody: the key's label
		} {
			if got := bed.Do(t, hook(i.token(t, good(c.claims)))).Received[0].Header.Get("X-Who"); got != c.who {
				t.Errorf("%q; want %q", got, c.who)
			}
		}
	})
	t.Run("within any, each scheme says what it wants", func(t *testing.T) {
		bed := testbed.New(t, site(`callback_auth {
			any {
				basic {
					user ringo a-long-password-0123456789abcdef
				}
				oauth2 {
					issuer `+i.URL+`
					audience our-api
					scope hooks:write
				}
			}
		}`))
		challenged(t, bed.Do(t, hook("")), 401, `Basic realm="callback", charset="UTF-8", `+bareChallenge)
		expect(t, bed.Do(t, hook(i.token(t, good(nil)))), 200)
	})
}

// An access token is shown with many messages: its `jti` is the id of none of them, and lets none pass only once.
func TestOAuth2TheIdOfATokenIsNoMessages(t *testing.T) {
	i := newIssuer(t, "")
	access := i.token(t, map[string]any{"jti": "access-1"})
	const secret = "a-message-secret-0123456789abcdef"
	first, second := rand.Text(), rand.Text() // ids outlive a test
	bed := testbed.New(t, `http:// {
		callback_auth {
			oauth2 {
				issuer `+i.URL+`
				audience our-api
			}
			jwt {
				secret `+secret+`
				from header X-Message
				max_age 5m
			}
			replay {
				window 20m
			}
		}
		reverse_proxy RECEIVER {
			header_up X-Id {http.callback_auth.id}
		}
	}`)
	send := func(id any) testbed.Result {
		claims := map[string]any{"iat": time.Now().Unix(), "jti": id}
		maps.DeleteFunc(claims, func(_ string, value any) bool { return value == nil })
		r := hook(access)
		r.Header.Set("X-Message", testbed.HS256(t, secret, nil, claims))
		return bed.Do(t, r)
	}
	expect(t, send(first), 200)
	result := send(second)
	expect(t, result, 200)
	if got := result.Received[0].Header.Get("X-Id"); got != second {
		t.Errorf("id %q; want the message's", got)
	}
	expect(t, send(second), 409)
	expect(t, send(nil), 401) // the token's id does not stand in for the message's

	t.Run("nor where no message has one", func(t *testing.T) {
		bed := testbed.New(t, "http:// {\ncallback_auth oauth2 {\nissuer "+i.URL+"\naudience our-api\n}\nrespond \"id={http.callback_auth.id}\"\n}")
		if got := bed.Do(t, hook(access)).Body; got != "id=" {
			t.Errorf("%s; want none", got)
		}
	})
}

func TestOAuth2ByAnyOfSeveralIssuersEachWithItsOwnKeys(t *testing.T) {
	a, b := newIssuer(t, ""), newIssuer(t, "")
	b.keys = map[string]*rsa.PrivateKey{"k2": keyOf("k2")}
	bed := testbed.New(t, site(`callback_auth oauth2 {
		issuer `+a.URL+` `+b.URL+`
		issuer `+a.URL+`
		audience our-api
	}`))
	expect(t, bed.Do(t, hook(a.token(t, nil))), 200)
	expect(t, bed.Do(t, hook(b.tokenBy(t, "k2", nil, nil))), 200)
	t.Run("oidc-other-issuer-same-kid", func(t *testing.T) {
		for name, token := range map[string]string{
			"a key of the other issuer":          a.tokenBy(t, "k2", nil, nil),
			"its key under an id of this issuer": a.tokenBy(t, "k2", map[string]any{"kid": "k1"}, nil),
			"an issuer that is not listed":       a.token(t, map[string]any{"iss": "https://other.example"}),
			"no issuer":                          a.token(t, map[string]any{"iss": nil}),
		} {
			t.Run(name, func(t *testing.T) { challenged(t, bed.Do(t, hook(token)), 401, invalidToken) })
		}
	})
	t.Run("jwks-many-issuers, one out of reach", func(t *testing.T) {
		b.set(func() { b.broken = failures(b)["hanging"] })
		bed := testbed.New(t, site("callback_auth oauth2 {\nissuer "+b.URL+"\nissuer "+a.URL+"\naudience our-api\n}"))
		undecided(t, bed.Do(t, impatient(t, hook(b.tokenBy(t, "k3", nil, nil)))))
		expect(t, bed.Do(t, hook(a.token(t, nil))), 200)
	})
}

func TestOAuth2Types(t *testing.T) {
	t.Setenv("TOKEN_TYPE", "at+jwt")
	i := newIssuer(t, "")
	bed := testbed.New(t, site(`callback_auth oauth2 {
		issuer `+i.URL+`
		audience our-api
		type {env.TOKEN_TYPE}
	}`))
	for _, c := range []struct {
		typ    any
		status int
	}{{"at+jwt", 200}, {"application/at+jwt", 200}, {"JWT", 401}, {"", 401}} {
		expect(t, bed.Do(t, hook(i.tokenBy(t, "k1", map[string]any{"typ": c.typ}, nil))), c.status)
	}
}

func TestOAuth2KeysFromASetOrAFile(t *testing.T) {
	i := newIssuer(t, "")
	file := filepath.Join(t.TempDir(), "keys.json")
	write := func(kids ...string) {
		set := jwk.JSONWebKeySet{}
		for _, kid := range kids {
			set.Keys = append(set.Keys, jwk.JSONWebKey{Key: keyOf(kid).Public(), KeyID: kid})
		}
		if err := os.WriteFile(file, []byte(mustJSON(t, set)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("k1")
	for name, place := range map[string]string{"URL": i.URL + "/keys", "file": file} {
		for _, scheme := range []string{"oauth2", "jwt"} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				bed := testbed.New(t, site(`callback_auth `+scheme+` {
					jwks `+place+`
					issuer `+i.name+`
					audience our-api
				}`))
				expect(t, bed.Do(t, hook(i.token(t, nil))), 200)
				expect(t, bed.Do(t, hook(i.token(t, map[string]any{"iss": "https://other.example"}))), 401)
				expect(t, bed.Do(t, hook(i.tokenBy(t, "k2", nil, nil))), 401)
			})
		}
	}
	t.Run("a file that changes", func(t *testing.T) {
		bed := testbed.New(t, site("callback_auth jwt {\njwks "+file+"\naudience our-api\n}"))
		expect(t, bed.Do(t, hook(i.token(t, nil))), 200)
		write("k2", "k3")
		expect(t, bed.Do(t, later(hook(i.tokenBy(t, "k2", nil, nil)), 2*time.Second)), 200)
		expect(t, bed.Do(t, later(hook(i.token(t, nil)), 4*time.Second)), 401)
	})
	t.Run("a file that is not there", func(t *testing.T) {
		bed := testbed.New(t, site("callback_auth jwt {\njwks "+file+".gone\naudience our-api\n}"))
		undecided(t, bed.Do(t, hook(i.token(t, nil))))
	})
}

// opaque is a site that asks i about tokens.
func opaque(i *issuer, options string) string {
	return site(`callback_auth oauth2 {
		introspection ` + i.URL + `/introspect {
			client_id gate
			client_secret a-client-secret-0123456789abcdef
		}
		` + options + `
	}`)
}

func TestOAuth2Introspection(t *testing.T) {
	i := newIssuer(t, "")
	var asked atomic.Int64
	answers := map[string]string{}
	i.introspect = func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if id, secret, _ := r.BasicAuth(); id != "gate" || secret != "a-client-secret-0123456789abcdef" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		answer, ok := answers[r.PostFormValue("token")]
		if !ok {
			answer = `{"active":false}`
		}
		_, _ = io.WriteString(w, answer)
	}
	soon := time.Now().Add(time.Minute).Unix()
	active := func(more string) string { return fmt.Sprintf(`{"active":true,"exp":%d%s}`, soon, more) }
	answers["good"] = active(`,"scope":"foo bar","client_id":"ringostat","aud":"our-api","iss":"https://as.example"`)
	answers["list"] = active(`,"scope":["foo","bar"],"sub":"s","aud":["x","our-api"],"iss":"https://as.example"`)
	answers["plain"] = active("")
	answers["null"] = active(`,"aud":null,"iss":"https://as.example"`)
	answers["foreign"] = active(`,"scope":"foo","aud":"other","iss":"https://as.example"`)
	answers["forged"] = active(`,"scope":"foo","aud":"our-api","iss":"https://other.example"`)
	answers["idtoken"] = active(`,"nonce":"n-0S6_WzA2Mj"`)
	answers["keycloaks"] = active(`,"typ":"ID","scope":"openid"`)
	answers["refresh-of-Keycloak"] = active(`,"typ":"Refresh","scope":"foo"`)
	answers["offline-of-Keycloak"] = active(`,"typ":"Offline","scope":"foo"`)
	answers["refresh-of-Hydra"] = active(`,"token_use":"refresh_token","scope":"foo"`)
	answers["access-of-Keycloak"] = active(`,"typ":"Bearer","scope":"foo"`)
	answers["access-of-Hydra"] = active(`,"token_use":"access_token","scope":"foo"`)
	answers["over"] = `{"active":true,"exp":1}`

	t.Run("in-active", func(t *testing.T) {
		bed := testbed.New(t, opaque(i, ""))
		expect(t, bed.Do(t, hook("good")), 200)
		expect(t, bed.Do(t, hook("plain")), 200)
		before := asked.Load()
		expect(t, bed.Do(t, hook("good")), 200)
		if asked.Load() != before {
			t.Error("an answer of a moment ago was asked for again")
		}
	})
	t.Run("in-inactive", func(t *testing.T) {
		bed := testbed.New(t, opaque(i, ""))
		challenged(t, bed.Do(t, hook("unknown")), 401, invalidToken)
		challenged(t, bed.Do(t, hook("over")), 401, invalidToken)
		challenged(t, bed.Do(t, hook("")), 401, bareChallenge)
	})
	t.Run("oidc-id-token-as-access, where the server calls it active", func(t *testing.T) {
		bed := testbed.New(t, opaque(i, ""))
		challenged(t, bed.Do(t, hook("idtoken")), 401, invalidToken)
		challenged(t, bed.Do(t, hook("keycloaks")), 401, invalidToken)
	})
	t.Run("nor a refresh token, where the server says that it is one", func(t *testing.T) {
		bed := testbed.New(t, opaque(i, ""))
		for token, status := range map[string]int{
			"refresh-of-Keycloak": 401, "offline-of-Keycloak": 401, "refresh-of-Hydra": 401, "access-of-Keycloak": 200, "access-of-Hydra": 200,
		} {
			expect(t, bed.Do(t, hook(token)), status)
		}
	})
	t.Run("audience and issuer count where they are configured", func(t *testing.T) {
		bed := testbed.New(t, opaque(i, "audience our-api\nissuer https://as.example"))
		expect(t, bed.Do(t, hook("good")), 200)
		expect(t, bed.Do(t, hook("list")), 200)
		for _, token := range []string{"foreign", "forged", "plain", "null"} {
			challenged(t, bed.Do(t, hook(token)), 401, invalidToken)
		}
	})
	t.Run("in-cache-scope", func(t *testing.T) {
		bed := testbed.New(t, `http:// {
			handle /a {
				`+strings.Trim(strings.TrimPrefix(opaque(i, "scope foo"), "http:// {\n"), "}\n")+`
			}
			handle /b {
				`+strings.Trim(strings.TrimPrefix(opaque(i, "scope baz"), "http:// {\n"), "}\n")+`
			}
		}`)
		for range 2 {
			r := hook("good")
			r.URL.Path = "/a"
			expect(t, bed.Do(t, r), 200)
			r = hook("good")
			r.URL.Path = "/b"
			challenged(t, bed.Do(t, r), 403, bareChallenge+`, error="insufficient_scope", scope="baz"`)
		}
	})
	t.Run("in an any, that the scope is missing says more than that a key is", func(t *testing.T) {
		text := strings.Replace(opaque(i, "scope baz"), "callback_auth oauth2 {", "callback_auth {\nany {\napi_key {\nheader X-Key\nkey a-key-0123456789abcdef0123456789abcd\n}\noauth2 {", 1)
		bed := testbed.New(t, strings.Replace(text, "scope baz\n\t}", "scope baz\n\t}\n}\n}", 1))
		expect(t, bed.Do(t, hook("good")), 403)
		expect(t, bed.Do(t, hook("")), 401)
	})
	t.Run("in-as-401", func(t *testing.T) {
		bed := testbed.New(t, strings.Replace(opaque(i, ""), "client_id gate", "client_id somebody", 1))
		undecided(t, bed.Do(t, hook("good")))
	})
	t.Run("client_auth body", func(t *testing.T) {
		body := newIssuer(t, "")
		body.introspect = func(w http.ResponseWriter, r *http.Request) {
			_, _, header := r.BasicAuth()
			active := !header && r.PostFormValue("client_id") == "gate" && r.PostFormValue("client_secret") == "a-client-secret-0123456789abcdef"
			_, _ = fmt.Fprintf(w, `{"active":%t}`, active)
		}
		bed := testbed.New(t, strings.Replace(opaque(body, ""), "client_id gate", "client_id gate\nclient_auth body", 1))
		expect(t, bed.Do(t, hook("good")), 200)
	})
	t.Run("in-token-logged", func(t *testing.T) {
		bed := testbed.New(t, opaque(i, "scope foo"))
		expect(t, bed.Do(t, hook("good")), 200)
		expect(t, bed.Do(t, hook("a-wrong-token-text")), 401)
		for _, text := range []string{"a-wrong-token-text", "a-client-secret"} {
			if strings.Contains(bed.Logs.String(), text) {
				t.Errorf("the log holds %q", text)
			}
		}
	})
}

func TestAnIntrospectionEndpointThatFails(t *testing.T) {
	sample := newIssuer(t, "")
	for name := range failures(sample) {
		if name == "wrong issuer" {
			continue // a matter of metadata
		}
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t, "")
			i.introspect = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"active":true}`) }
			i.broken = failures(i)[name]
			bed := testbed.New(t, opaque(i, ""))
			undecided(t, bed.Do(t, impatient(t, hook("token"))))
			i.set(func() { i.broken = nil })
			expect(t, bed.Do(t, hook("another")), 200)
			i.set(func() { i.broken = failures(i)[name] })
			expect(t, bed.Do(t, hook("another")), 200) // out of the cache
			undecided(t, bed.Do(t, impatient(t, hook("a-third"))))
			undecided(t, bed.Do(t, impatient(t, later(hook("another"), 31*time.Second))))
		})
	}
}

func TestKeysWarnings(t *testing.T) {
	i := newIssuer(t, "")
	set := map[string]any{}
	if err := json.Unmarshal([]byte(mustJSON(t, jwk.JSONWebKeySet{Keys: []jwk.JSONWebKey{{Key: keyOf("k1"), KeyID: "k1"}}})), &set); err != nil {
		t.Fatal(err)
	}
	set["keys"] = append(set["keys"].([]any), map[string]any{"kty": "oct", "k": "AAAA", "kid": "shared"})
	i.broken = func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(set) }
	bed := testbed.New(t, site("callback_auth jwt {\njwks "+i.URL+"/keys\naudience our-api\n}"))
	t.Run("jwks-private-part", func(t *testing.T) {
		expect(t, bed.Do(t, hook(i.token(t, nil))), 200)
		if n := len(bed.Logs.Lines(t, "private keys are published: whoever reads them can sign")); n != 1 {
			t.Errorf("%d warnings", n)
		}
		if strings.Contains(bed.Logs.String(), keyOf("k1").D.String()) {
			t.Error("the private key is in the log")
		}
	})
	t.Run("jwks-one-bad-key", func(t *testing.T) {
		if n := len(bed.Logs.Lines(t, "some published keys are not used")); n != 1 {
			t.Errorf("%d warnings", n)
		}
	})
	t.Run("keys that cannot be fetched", func(t *testing.T) {
		i.set(func() { i.broken = failures(i)["500"] })
		expect(t, bed.Do(t, later(hook(i.tokenBy(t, "k9", nil, nil)), 40*time.Second)), 503)
		lines := bed.Logs.Lines(t, "keys could not be fetched")
		if len(lines) != 1 || lines[0]["result"] != "status" {
			t.Errorf("%v", lines)
		}
	})
}

func TestOAuth2Configs(t *testing.T) {
	adaptsBothWays(t, "oauth2", []fixture{
		{"signed tokens", `oauth2 {
			issuer https://as.example
			jwks /etc/keys.json
			audience a b
			scope x y
			scope z
			type at+jwt
			algorithm ES256
			leeway 5s
		}`, mustJSON(t, map[string]any{
			"issuers": []string{"https://as.example"}, "jwks": "/etc/keys.json", "audiences": []string{"a", "b"},
			"scopes": []string{"x", "y", "z"}, "types": []string{"at+jwt"}, "algorithms": []string{"ES256"}, "leeway": 5 * time.Second,
		})},
		{"opaque tokens", `oauth2 {
			introspection https://as.example/introspect {
				client_id gate
				client_secret {env.X}
				client_auth body
				cache 10s
			}
		}`, mustJSON(t, map[string]any{"introspection": map[string]any{
			"url": "https://as.example/introspect", "client_id": "gate", "client_secret": "{env.X}", "client_auth": "body", "cache": 10 * time.Second,
		}})},
	})
	introspection := func(options string) string {
		return "oauth2 {\nintrospection https://as.example/introspect {\n" + options + "\n}\n}"
	}
	refusesMistakes(t, []mistake{
		{"nothing", "oauth2", []string{"issuer, jwks or introspection"}},
		{"one of two issuers over plain http", "oauth2 {\nissuer https://a.example http://b.example\naudience a\n}", []string{"https"}},
		{"issuer without audience", "oauth2 {\nissuer https://a.example\n}", []string{"audience is required"}},
		{"jwks without audience", "oauth2 {\njwks https://a.example\n}", []string{"audience is required"}},
		{"plain http", "oauth2 {\nissuer http://a.example\naudience a\n}", []string{"https"}},
		{"a shared secret's algorithm", "oauth2 {\nissuer https://a.example\naudience a\nalgorithm HS256\n}", []string{"HS256 takes a secret"}},
		{"an algorithm of nobody's", "oauth2 {\nissuer https://a.example\naudience a\nalgorithm none\n}", []string{"none"}},
		{"jwks and introspection", "oauth2 {\njwks /x\nintrospection https://as.example/introspect\n}", []string{"either jwks or introspection"}},
		{"a type and introspection", "oauth2 {\ntype JWT\nintrospection https://as.example/introspect\n}", []string{"signed tokens"}},
		{"a scope with a quote", "oauth2 {\nissuer https://a.example\naudience a\nscope `a\"b`\n}", []string{"scope"}},
		{"no client", introspection("client_secret hush"), []string{"client_id is empty"}},
		{"no secret", introspection("client_id a"), []string{"client_secret is empty"}},
		{"an unset secret", introspection("client_id a\nclient_secret {env.NOBODY_SET_THIS}"), []string{"client_secret is empty"}},
		{"an introspection over plain http", strings.Replace(introspection("client_id a\nclient_secret hush"), "https", "http", 1), []string{"https"}},
		{"another client_auth", introspection("client_id a\nclient_secret hush\nclient_auth digest"), []string{"client_auth"}},
		{"introspection twice", "oauth2 {\nintrospection https://a.example\nintrospection https://b.example\n}", []string{"already specified"}},
		{"an option of nobody's", "oauth2 {\nsecret hush\n}", []string{"unknown option 'secret' of oauth2"}},
		{"an option of nobody's in introspection", introspection("secret hush"), []string{"unknown option 'secret' of introspection"}},
	})
	refusesMistakes(t, []mistake{
		{"jwt with two sources", "jwt {\nsecret hush\njwks /x\naudience a\n}", []string{"one source of keys"}},
		{"jwt with jwks and no audience", "jwt {\njwks /x\n}", []string{"audience is required"}},
		{"jwt with metadata and no audience", "jwt {\nopenid_configuration https://a.example\n}", []string{"audience is required"}},
		{"jwks-http-url-config", "jwt {\njwks http://keys.example.com/\naudience a\n}", []string{"https"}},
		{"jwt with a shared secret's algorithm", "jwt {\njwks /x\naudience a\nalgorithm HS256\n}", []string{"HS256 takes a secret"}},
	})
}

func TestOpenIDConfigurationSaysTheIssuer(t *testing.T) {
	i := newIssuer(t, "https://issuer.example")
	jwt := func(options string) *testbed.Bed {
		return testbed.New(t, site("callback_auth jwt {\nopenid_configuration "+i.metadata()+"\naudience our-api\n"+options+"\n}"))
	}
	other := i.token(t, map[string]any{"iss": "https://other.example"})
	for _, c := range []struct {
		name, options   string
		own, of, status int
	}{
		{"where none is given", "", 200, 401, 401},
		{"where it is given", "issuer https://issuer.example", 200, 401, 401},
		{"where several are given", "issuer https://issuer.example https://other.example", 200, 200, 401},
		{"jwks-discovery-issuer-mismatch", "issuer https://other.example", 503, 503, 401},
		{"jwks-discovery-issuer-mismatch with several", "issuer https://other.example https://third.example", 401, 503, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			bed := jwt(c.options)
			expect(t, bed.Do(t, hook(i.token(t, nil))), c.own)
			expect(t, bed.Do(t, hook(other)), c.of)
			expect(t, bed.Do(t, hook("")), c.status)
		})
	}
	t.Run("jwks-discovery-issuer-mismatch of oauth2, by a slash", func(t *testing.T) {
		own := newIssuer(t, "")
		bed := testbed.New(t, site("callback_auth oauth2 {\nissuer "+own.URL+"/\naudience our-api\n}"))
		undecided(t, bed.Do(t, hook(own.token(t, nil))))
	})
}
