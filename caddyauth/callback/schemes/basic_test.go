package schemes_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"golang.org/x/crypto/bcrypt"
)

func basicAuth(pair string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
}

func bcryptOf(t *testing.T, password string, cost int) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func TestBasicAttackCases(t *testing.T) {
	hash := bcryptOf(t, "hashed:pass", bcrypt.MinCost)
	bed := testbed.New(t, site(`callback_auth basic {
		user ringo s3cr3t old
		user ringo `+hash+` new
		user bob pa:ss:word
		user a bc
		user zoë "caf`+"\u00e9"+`"
	}`))
	do := func(t *testing.T, authorization ...string) testbed.Result {
		t.Helper()
		r := httptest.NewRequest(http.MethodPost, "/ringostat", strings.NewReader(`{"call":1}`))
		r.Header["Authorization"] = authorization
		return bed.Do(t, r)
	}
	const challenge = `Basic realm="callback", charset="UTF-8"`

	t.Run("ba-valid", func(t *testing.T) {
		result := do(t, "Basic cmluZ286czNjcjN0") // an example of Ringostat's, see its help center
		expect(t, result, 200)
		if got := string(result.Received[0].Body); got != `{"call":1}` {
			t.Errorf("the receiver got %q", got)
		}
		expect(t, do(t, basicAuth("ringo:hashed:pass")), 200)
	})
	t.Run("ba-colon-password", func(t *testing.T) { expect(t, do(t, basicAuth("bob:pa:ss:word")), 200) })
	t.Run("ba-wrong-password", func(t *testing.T) {
		result := do(t, basicAuth("ringo:S3cr3t"))
		expect(t, result, 401)
		if got := result.Header.Get("WWW-Authenticate"); got != challenge {
			t.Errorf("challenge %q; want %q", got, challenge)
		}
	})
	// That the work is the same too is held, by count, in the tests of internal/password.
	t.Run("ba-unknown-user", func(t *testing.T) {
		wrong, unknown := do(t, basicAuth("ringo:S3cr3t")), do(t, basicAuth("nobody:S3cr3t"))
		expect(t, unknown, 401)
		if wrong.Body != unknown.Body || wrong.Header.Get("WWW-Authenticate") != unknown.Header.Get("WWW-Authenticate") {
			t.Error("the answers differ")
		}
	})
	t.Run("ba-empty", func(t *testing.T) {
		for _, pair := range []string{":", "ringo:", ":s3cr3t", ""} {
			expect(t, do(t, basicAuth(pair)), 401)
		}
		expect(t, do(t, "Basic"), 401)
		expect(t, do(t), 401)
	})
	t.Run("ba-no-colon", func(t *testing.T) { expect(t, do(t, basicAuth("ringos3cr3t")), 401) })
	t.Run("ba-scheme-case", func(t *testing.T) { expect(t, do(t, "bAsIc cmluZ286czNjcjN0"), 200) })
	t.Run("ba-two-spaces", func(t *testing.T) { expect(t, do(t, "Basic  cmluZ286czNjcjN0"), 401) })
	t.Run("ba-cache-collision", func(t *testing.T) {
		for range 2 {
			expect(t, do(t, basicAuth("a:bc")), 200)
			expect(t, do(t, basicAuth("ab:c")), 401)
			expect(t, do(t, basicAuth("ringo:hashed:pass")), 200)
			expect(t, do(t, basicAuth("ring:ohashed:pass")), 401)
			expect(t, do(t, basicAuth("ringo:"+hash+"hashed:pass")), 401)
		}
	})
	// Nothing is normalised: the documentation of the scheme says so.
	t.Run("ba-unicode", func(t *testing.T) {
		expect(t, do(t, basicAuth("zoë:caf\u00e9")), 200)
		expect(t, do(t, basicAuth("zoë:cafe\u0301")), 401)
		expect(t, do(t, basicAuth("zo\xeb:caf\xe9")), 401)
	})
	t.Run("ba-user-crlf", func(t *testing.T) {
		t.Setenv("BASIC_TEST", "expanded")
		before := refusals(t, bed)
		names := []string{"ringo\r\nX-Evil: 1", "\x1b[31mringo", "{env.BASIC_TEST}", "ringo\u0085"}
		for _, name := range names {
			expect(t, do(t, basicAuth(name+":s3cr3t")), 401)
		}
		if n := refusals(t, bed) - before; n != len(names) {
			t.Errorf("%d lines for %d refusals", n, len(names))
		}
		for _, text := range []string{"X-Evil", "expanded", "[31m"} {
			if strings.Contains(bed.Logs.String(), text) {
				t.Errorf("the log holds %q", text)
			}
		}
	})
	t.Run("ba-dup-header", func(t *testing.T) {
		expect(t, do(t, "Basic cmluZ286czNjcjN0", "Basic cmluZ286czNjcjN0"), 400)
		expect(t, do(t, "Basic cmluZ286czNjcjN0, Basic cmluZ286czNjcjN0"), 401)
	})
	t.Run("ba-cost-flood", func(t *testing.T) {
		bed := testbed.New(t, `http:// {
			callback_auth /hook basic {
				user ringo `+bcryptOf(t, "s3cr3t", 9)+`
			}
			reverse_proxy RECEIVER
		}`)
		var wg sync.WaitGroup
		statuses := make(chan int, 8*(16+runtime.GOMAXPROCS(0)))
		for range cap(statuses) {
			wg.Go(func() {
				result := bed.Do(t, get("/hook", "Authorization", basicAuth("ringo:guess")))
				if result.Status == 503 && result.Header.Get("Retry-After") == "" {
					t.Error("a 503 without Retry-After")
				}
				statuses <- result.Status
			})
		}
		if result := bed.Do(t, get("/other", "", "")); result.Status != 200 {
			t.Errorf("another route answers %d meanwhile", result.Status)
		}
		wg.Wait()
		close(statuses)
		n := map[int]int{}
		for status := range statuses {
			n[status]++
		}
		if n[401] == 0 || n[503] == 0 || len(n) != 2 {
			t.Errorf("statuses %v; want some 401, the surplus 503, and nothing else", n)
		}
	})

	if logs := bed.Logs.String(); strings.Contains(logs, "s3cr3t") || strings.Contains(logs, "cmluZ286czNjcjN0") {
		t.Error("the log holds a password")
	}
}

func TestBasicRefusesOtherSpellings(t *testing.T) {
	bed := testbed.New(t, site("callback_auth basic {\nuser ringo s3cr3t\nuser u pw\n}"))
	for _, test := range []struct{ name, authorization string }{
		{"base64 without padding", "Basic dTpwdw"},
		{"base64 with bits left over", "Basic dTpwdx=="},
		{"base64url", "Basic " + base64.URLEncoding.EncodeToString([]byte("ringo:???>>>"))},
		{"a tab", "Basic\tdTpwdw=="},
		{"another auth-scheme", "Bearer dTpwdw=="},
		{"the pair without base64", "Basic u:pw"},
		{"something behind the credential", "Basic dTpwdw== x"},
		{"a name of 256 bytes", basicAuth(strings.Repeat("n", 256) + ":pw")},
		{"a password of 1025 bytes", basicAuth("u:" + strings.Repeat("p", 1025))},
		{"a megabyte", basicAuth("u:" + strings.Repeat("p", 1<<20))},
		{"a zero byte", basicAuth("u:pw\x00")},
	} {
		t.Run(test.name, func(t *testing.T) { expect(t, bed.Do(t, get("/", "Authorization", test.authorization)), 401) })
	}
}

func TestBasicSaysWhoCalled(t *testing.T) {
	t.Setenv("BASIC_NAME", "ringo")
	t.Setenv("BASIC_HASH", bcryptOf(t, "two", bcrypt.MinCost))
	bed := testbed.New(t, `http:// {
		callback_auth {
			basic {
				user {env.BASIC_NAME} one
				user {env.BASIC_NAME} {env.BASIC_HASH} new
				realm "a \"quoted\" \ realm"
			}
			strip_credentials
		}
		reverse_proxy RECEIVER {
			header_up X-User {http.auth.user.id}
			header_up X-Key {http.callback_auth.key}
		}
	}`)
	for password, label := range map[string]string{"one": "1", "two": "new"} {
		result := bed.Do(t, get("/", "Authorization", basicAuth("ringo:"+password)))
		expect(t, result, 200)
		header := result.Received[0].Header
		if header.Get("X-User") != "ringo" || header.Get("X-Key") != label || header.Get("Authorization") != "" {
			t.Errorf("the receiver got user %q, key %q, Authorization %q", header.Get("X-User"), header.Get("X-Key"), header.Get("Authorization"))
		}
	}
	result := bed.Do(t, get("/", "", ""))
	if got, want := result.Header.Get("WWW-Authenticate"), `Basic realm="a \"quoted\" \\ realm", charset="UTF-8"`; got != want {
		t.Errorf("challenge %s; want %s", got, want)
	}
}

func TestBasicConfig(t *testing.T) {
	adaptsBothWays(t, "basic", []fixture{
		{
			"users", "basic {\nuser ringo s3cr3t\nuser ringo {env.X} new\nuser \"a b\" {file./run/p}\n}",
			`{"users":[{"name":"ringo","password":"s3cr3t"},{"name":"ringo","password":"{env.X}","label":"new"},{"name":"a b","password":"{file./run/p}"}]}`,
		},
		{"a realm", "basic {\nuser u p\nrealm hooks\n}", `{"users":[{"name":"u","password":"p"}],"realm":"hooks"}`},
	})
	t.Setenv("BASIC_EMPTY", "")
	t.Setenv("BASIC_COLON", "a:b")
	refusesMistakes(t, []mistake{
		{"no user", "basic", []string{"basic needs a user"}},
		{"an argument", "basic ringo hush", []string{"basic takes no arguments", "Caddyfile:3"}},
		{"an unknown option", "basic {\nuser u hush\nusers v hush\n}", []string{"'users'", "Caddyfile:5"}},
		{"a user without password", "basic {\nuser u\n}", []string{"user takes", "1 arguments", "Caddyfile:4"}},
		{"a user with too much", "basic {\nuser u hush hush hush\n}", []string{"user takes", "4 arguments", "Caddyfile:4"}},
		{"a user with a block", "basic {\nuser u hush {\nrole x\n}\n}", []string{"Caddyfile:4"}},
		{"an empty password", "basic {\nuser u \"\"\n}", []string{"user", "empty", "Caddyfile:4"}},
		{"an empty label", "basic {\nuser u hush \"\"\n}", []string{"label of user", "Caddyfile:4"}},
		{"two realms", "basic {\nuser u hush\nrealm a\nrealm b\n}", []string{"realm", "already specified", "Caddyfile:6"}},
		{"a realm of two words", "basic {\nuser u hush\nrealm a b\n}", []string{"realm takes one argument", "Caddyfile:5"}},
		{"a realm that would split the header", "basic {\nuser u hush\nrealm \"a\nb\"\n}", []string{"realm holds"}},
		{"a password whose variable is not set", "basic {\nuser u {env.BASIC_UNSET}\n}", []string{"user", "{env.BASIC_UNSET}"}},
		{"a password whose variable is empty", "basic {\nuser u {env.BASIC_EMPTY}\n}", []string{"user", "{env.BASIC_EMPTY}"}},
		{"a name whose variable is empty", "basic {\nuser {env.BASIC_EMPTY} hush\n}", []string{"user", "{env.BASIC_EMPTY}"}},
		{"a name with a colon", "basic {\nuser {env.BASIC_COLON} hush\n}", []string{"user 1", "colon"}},
		{"a password with a line break", "basic {\nuser u \"hush\nhush\"\n}", []string{"user 1", "control character"}},
		{"the same pair twice", "basic {\nuser u hush\nuser u hush\n}", []string{"user 2", "stand twice"}},
		{"a label twice", "basic {\nuser u hush x\nuser v hush x\n}", []string{"label", "\"x\"", "twice"}},
		{"a hash that is too dear", "basic {\nuser u $2a$20$" + strings.Repeat("a", 53) + "\n}", []string{"user 1", "cost 20"}},
		{"a hash cut short", "basic {\nuser u $2a$10$aaaa\n}", []string{"user 1", "begins like a hash"}},
	})
}
