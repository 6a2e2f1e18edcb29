package stream_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"golang.org/x/crypto/bcrypt"
)

func TestAttacksOnIcecast(t *testing.T) {
	const static = "token {\nstatic good\n}\n"
	const valid = "allow {\ntoken valid\n}\n"
	hash, err := bcrypt.GenerateFromPassword([]byte(strings.Repeat("a", 72)), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	bed := testbed.New(t, site(
		handle("/ice", "icecast", static+valid)+
			handle("/radio", "radiomast", static+valid)+
			handle("/url", "icecast", "token {\nfrom query token\nstatic good\n}\n"+valid)+
			handle("/jwt", "icecast", jwtToken+valid)+
			handle("/limit", "icecast", jwtToken+"allow {\ntoken valid\ntime_limit 1h token\n}")+
			handle("/address", "icecast", static+"allow {\nip 192.0.2.7\ntoken valid\n}")+
			handle("/two", "icecast", "token a {\nstatic public-token\n}\ntoken b {\nstatic private-token\n}\n"+
				"allow {\nstream public\ntoken a\n}\nallow {\nstream private\ntoken b\n}")+
			handle("/user", "icecast", "allow {\nuser alice right\nuser long "+string(hash)+"\n}")+
			handle("/quota", "radiomast", static+"deny weekly {\nlistened 7d >= 1000s\nredirect https://cdn.example/limit.mp3\n}\n"+valid)+
			handle("/full", "radiomast", static+"deny full {\nlisteners >= 100\n}\n"+valid)+`
	handle /chain {
		route {
			header Icecast-Auth-User 1
			header X-Icecast-Auth-Result ok
			header Icecast-Auth-Timelimit 0
			header Location https://evil.example/
			header Mountpoint /other
			stream_auth icecast {
				token {
					static good
				}
				allow {
					token valid
				}
			}
		}
	}
`))
	do := func(t *testing.T, r *http.Request) testbed.Result { t.Helper(); return bed.Do(t, r) }
	post := func(t *testing.T, path, body string) testbed.Result {
		t.Helper()
		return bed.Do(t, hook(path, "application/x-www-form-urlencoded", body))
	}
	const tail = "&server=radio.example&port=8000&client=7&user=&pass=&ip=192.0.2.7&agent=VLC"

	t.Run("ic-valid", func(t *testing.T) {
		for _, path := range []string{"/ice", "/radio"} {
			allowedIcecast(t, do(t, listen(path, "/mystream?token=good")))
			denied(t, do(t, listen(path, "/mystream?token=bad")), http.StatusForbidden)
			denied(t, do(t, listen(path, "/mystream")), http.StatusForbidden)
		}
	})
	t.Run("ic-valid-no-slash", func(t *testing.T) {
		allowedIcecast(t, do(t, listen("/radio", "9fc06e4d?token=good")))
		// Icecast itself always sends the slash.
		denied(t, do(t, listen("/ice", "9fc06e4d?token=good")), http.StatusBadRequest)
	})
	t.Run("ic-deny-redirect", func(t *testing.T) {
		result := do(t, listen("/quota", "/mystream?token=good", "listener-duration-7day", "1000"))
		checkAnswer(t, result)
		if result.Status != http.StatusOK || !slices.Equal(result.Header["Icecast-Auth-User"], []string{"0"}) ||
			!slices.Equal(result.Header["Icecast-Auth-Redirect"], []string{"https://cdn.example/limit.mp3"}) {
			t.Errorf("%d %v", result.Status, result.Header)
		}
		notAllowing(t, result)
	})
	t.Run("ic-no-both", func(t *testing.T) {
		result := do(t, listen("/chain", "/mystream?token=bad"))
		denied(t, result, http.StatusForbidden)
		for _, name := range []string{"Icecast-Auth-User", "Icecast-Auth-Timelimit", "Location", "Mountpoint"} {
			if result.Header[name] != nil {
				t.Errorf("%s is left", name)
			}
		}
		result = do(t, listen("/chain", "/mystream?token=good"))
		allowedIcecast(t, result)
		if result.Header["Icecast-Auth-Timelimit"] != nil {
			t.Error("another handler's time limit is left")
		}
		result = do(t, icecast("/chain", "action", "mount_add", "mount", "/mystream"))
		notAllowing(t, result)
		if result.Header["Icecast-Auth-User"] != nil || result.Header["X-Icecast-Auth-Result"] != nil {
			t.Error("a notification is answered with an allowance")
		}
		denied(t, do(t, icecast("/chain", "action", "nonsense", "mount", "/mystream")), http.StatusBadRequest)
	})
	t.Run("ic-action-other", func(t *testing.T) {
		for _, action := range []string{"admin", "", "-", "LISTENER_ADD", "listener_add ", "listener_add\x00", "listener_add,stream_auth"} {
			for _, path := range []string{"/ice", "/radio"} {
				denied(t, do(t, without(path, "/mystream?token=good", map[string]string{"action": action})), http.StatusBadRequest)
			}
		}
		for _, action := range []string{"stream_auth", "mount_add", "mount_remove", "listener_remove"} {
			denied(t, do(t, without("/radio", "/mystream?token=good", map[string]string{"action": action})), http.StatusBadRequest)
		}
		// But with Icecast 2.5, a source's mount has no query: what stands there is no part of its name.
		denied(t, do(t, without("/ice", "/mystream?token=good", map[string]string{"action": "stream_auth"})), http.StatusBadRequest)
		allowedIcecast(t, do(t, without("/ice", "/mystream", map[string]string{"action": "stream_auth", "pass": "good"})))
	})
	t.Run("of a 2.5 source, a token in its URL beside its password counts only where `from` says which", func(t *testing.T) {
		source := func(path, mount, pass string) *http.Request {
			return icecast(path, "action", "stream_auth", "server", "radio.example", "port", "8000", "server-instance", "0b1f", "client", "7",
				"mount", mount, "user", "dj1", "pass", pass, "ip", "192.0.2.7", "agent", "Lavf/59")
		}
		for mount, pass := range map[string]string{"/mystream?token=good": "hackme", "/mystream?token=bad": "good"} {
			denied(t, do(t, source("/ice", mount, pass)), http.StatusBadRequest)
		}
		allowedIcecast(t, do(t, source("/url", "/mystream?token=good", "hackme")))
		denied(t, do(t, source("/url", "/mystream?token=bad", "good")), http.StatusForbidden)
		denied(t, do(t, source("/url", "/mystream", "good")), http.StatusForbidden)
	})
	t.Run("ic-action-remove", func(t *testing.T) {
		result := do(t, without("/ice", "/mystream?token=good", map[string]string{"action": "listener_remove"}))
		allowed(t, result)
		if result.Header["Icecast-Auth-User"] != nil {
			t.Error("a notification is answered with an allowance")
		}
	})
	t.Run("ic-mount-raw-amp", func(t *testing.T) {
		denied(t, post(t, "/ice", "action=listener_add&mount=/a?token=bad&token=good"+tail), http.StatusForbidden)
		denied(t, post(t, "/ice", "action=listener_add&mount=/a&token=good"+tail), http.StatusForbidden)
	})
	t.Run("ic-mount-two-tokens", func(t *testing.T) {
		denied(t, do(t, listen("/ice", "/a?token=good&token=bad")), http.StatusBadRequest)
		denied(t, do(t, listen("/ice", "/a?token=bad&token=good")), http.StatusBadRequest)
		denied(t, do(t, listen("/ice", "/a?token=good&token=good")), http.StatusBadRequest)
		denied(t, do(t, listen("/ice", "/a?token=&token=good")), http.StatusBadRequest)
	})
	t.Run("ic-mount-token-case", func(t *testing.T) {
		denied(t, do(t, listen("/ice", "/a?TOKEN=good")), http.StatusForbidden)
		denied(t, do(t, listen("/ice", "/a?token[]=good")), http.StatusForbidden)
		allowedIcecast(t, do(t, listen("/ice", "/a?to%6ben=good")))
		denied(t, do(t, listen("/ice", "/a?to%6ben=good&token=bad")), http.StatusBadRequest)
	})
	t.Run("ic-mount-semicolon", func(t *testing.T) {
		denied(t, do(t, listen("/ice", "/a?x=1;token=good")), http.StatusBadRequest)
		denied(t, do(t, listen("/ice", "/a?token=good;x=1")), http.StatusBadRequest)
	})
	t.Run("ic-mount-bad-escape", func(t *testing.T) {
		denied(t, do(t, listen("/ice", "/a?token=good&x=%zz")), http.StatusBadRequest)
		denied(t, do(t, listen("/ice", "/a%zz?token=good")), http.StatusBadRequest)
		denied(t, do(t, listen("/ice", "/a%?token=good")), http.StatusBadRequest)
	})
	t.Run("ic-mount-fragment", func(t *testing.T) {
		denied(t, do(t, listen("/ice", "/a#?token=good")), http.StatusBadRequest)
		denied(t, do(t, listen("/ice", "/a%23?token=good")), http.StatusBadRequest)
		denied(t, do(t, listen("/ice", "/a%3F?token=good")), http.StatusBadRequest)
	})
	t.Run("ic-mount-traversal", func(t *testing.T) {
		allowedIcecast(t, do(t, listen("/two", "/public?token=public-token")))
		allowedIcecast(t, do(t, listen("/two", "/%70ublic?token=public-token")))
		for _, mount := range []string{"/public/../private", "//private", "/./private", "/private/", "/PRIVATE", "/private", "/%2570ublic", "/public%2f..%2fprivate"} {
			denied(t, do(t, listen("/two", mount+"?token=public-token")), http.StatusBadRequest, http.StatusForbidden)
		}
	})
	t.Run("ic-mount-absolute", func(t *testing.T) {
		for _, mount := range []string{"http://evil/a?token=good", "@evil?token=good", "//evil/a?token=good", "evil?token=good"} {
			denied(t, do(t, listen("/ice", mount)), http.StatusBadRequest)
		}
		denied(t, do(t, listen("/radio", "http://evil/a?token=good")), http.StatusBadRequest)
		denied(t, do(t, listen("/radio", "//evil/a?token=good")), http.StatusBadRequest)
	})
	t.Run("ic-mount-crlf-nul", func(t *testing.T) {
		for _, mount := range []string{"/a%0d%0aicecast-auth-user:%201", "/a%00", "/a\r\nicecast-auth-user: 1", "/a\x00"} {
			for _, path := range []string{"/ice", "/radio"} {
				denied(t, do(t, listen(path, mount+"?token=good")), http.StatusBadRequest)
			}
		}
	})
	t.Run("ic-mount-missing", func(t *testing.T) {
		for _, mount := range []string{"", "?", "?token=good", "/", "/?token=good", "-"} {
			for _, path := range []string{"/ice", "/radio"} {
				denied(t, do(t, without(path, "", map[string]string{"mount": mount})), http.StatusBadRequest)
			}
		}
		denied(t, do(t, without("/ice", "", map[string]string{"mount": "-"})), http.StatusBadRequest)
		denied(t, post(t, "/ice", ""), http.StatusBadRequest)
	})
	t.Run("ic-truncated-form", func(t *testing.T) {
		long := form("action", "listener_add", "server", "radio.example", "port", "8000", "client", "7",
			"mount", "/mystream?token=good&x="+strings.Repeat("x", 4200), "user", "", "pass", "", "ip", "192.0.2.7")
		denied(t, post(t, "/ice", long[:4095]), http.StatusBadRequest)
		// The same with the cut inside an escape.
		escapes := form("action", "listener_add", "mount", "/mystream?token=good&x="+strings.Repeat(".", 2000))
		for _, length := range []int{4093, 4094, 4095} {
			denied(t, post(t, "/address", escapes[:length]), http.StatusBadRequest, http.StatusForbidden)
		}
		short := form("action", "listener_add", "mount", "/mystream?token=good")
		denied(t, post(t, "/address", short), http.StatusForbidden)
		denied(t, post(t, "/address", short+"&ip=192%2"), http.StatusBadRequest)
	})
	t.Run("ic-ip-missing-malformed", func(t *testing.T) {
		bound := mint(t, map[string]any{"ip": "192.0.2.7"})
		address := func(t *testing.T, ip string) testbed.Result {
			t.Helper()
			return do(t, without("/jwt", "/cam1?token="+bound, map[string]string{"ip": ip}))
		}
		allowedIcecast(t, address(t, "192.0.2.7"))
		allowedIcecast(t, address(t, "::ffff:192.0.2.7"))
		denied(t, address(t, "-"), http.StatusForbidden)
		denied(t, address(t, ""), http.StatusForbidden)
		denied(t, address(t, "192.0.2.8"), http.StatusForbidden)
		for _, ip := range []string{"1.2.3", "192.0.2.7, 5.6.7.8", "192.0.2.07", "x"} {
			denied(t, address(t, ip), http.StatusBadRequest)
		}
	})
	t.Run("ic-ip-dup", func(t *testing.T) {
		denied(t, do(t, listen("/address", "/a?token=good", "ip", "192.0.2.8")), http.StatusBadRequest)
		denied(t, do(t, listen("/address", "/a?token=good", "ip", "192.0.2.7")), http.StatusBadRequest)
	})
	t.Run("ic-user-pass", func(t *testing.T) {
		user := func(t *testing.T, name, password string) testbed.Result {
			t.Helper()
			return do(t, without("/user", "/a", map[string]string{"user": name, "pass": password}))
		}
		allowedIcecast(t, user(t, "alice", "right"))
		for _, pair := range [][2]string{{"alice", "wrong"}, {"alice", ""}, {"", "right"}, {"", ""}, {"Alice", "right"}, {"bob", "right"}, {"alice", "right\x00"}} {
			denied(t, user(t, pair[0], pair[1]), http.StatusForbidden)
		}
	})
	t.Run("ic-pass-huge", func(t *testing.T) {
		denied(t, do(t, without("/user", "/a", map[string]string{"user": "long", "pass": strings.Repeat("a", 1<<20)})), http.StatusRequestEntityTooLarge)
		denied(t, do(t, without("/user", "/a", map[string]string{"user": "long", "pass": strings.Repeat("a", 60_000)})), http.StatusForbidden)
	})
	t.Run("ic-pass-72", func(t *testing.T) {
		allowedIcecast(t, do(t, without("/user", "/a", map[string]string{"user": "long", "pass": strings.Repeat("a", 72)})))
		denied(t, do(t, without("/user", "/a", map[string]string{"user": "long", "pass": strings.Repeat("a", 72) + "x"})), http.StatusForbidden)
	})
	t.Run("ic-duration-negative", func(t *testing.T) {
		for _, value := range []string{"-1", "-0", "+1", "1.5", "1e3", "0x10", "", " 1", "NaN", "1_000"} {
			denied(t, do(t, listen("/quota", "/a?token=good", "listener-duration-7day", value)), http.StatusBadRequest)
		}
	})
	t.Run("ic-duration-overflow", func(t *testing.T) {
		for _, value := range []string{"99999999999999999999", "9223372036854775808", "18446744073709551616", "9223372037"} {
			denied(t, do(t, listen("/quota", "/a?token=good", "listener-duration-7day", value)), http.StatusBadRequest)
		}
	})
	t.Run("ic-duration-at-limit", func(t *testing.T) {
		notAllowing(t, do(t, listen("/quota", "/a?token=good", "listener-duration-7day", "1000")))
		result := do(t, listen("/quota", "/a?token=good", "listener-duration-7day", "999"))
		allowedIcecast(t, result)
		timeLimit(t, result, "1")
		// Not told is not under the limit.
		notAllowing(t, do(t, listen("/quota", "/a?token=good")))
	})
	t.Run("ic-duration-dup", func(t *testing.T) {
		denied(t, do(t, listen("/quota", "/a?token=good", "listener-duration-7day", "0", "listener-duration-7day", "999999")), http.StatusBadRequest)
	})
	t.Run("ic-timelimit-from-exp", func(t *testing.T) {
		result := do(t, listen("/limit", "/cam1?token="+mint(t, map[string]any{"exp": now.Unix() + 90})))
		allowedIcecast(t, result)
		timeLimit(t, result, "90")
		result = do(t, listen("/limit", "/cam1?token="+mint(t, map[string]any{"exp": now.Unix() + 9000})))
		allowedIcecast(t, result)
		timeLimit(t, result, "3600")
	})
	t.Run("ic-timelimit-quota", func(t *testing.T) {
		result := do(t, listen("/quota", "/a?token=good", "listener-duration-7day", "960"))
		allowedIcecast(t, result)
		timeLimit(t, result, "40")
	})
	t.Run("ic-timelimit-zero", func(t *testing.T) {
		// Within the leeway a token still counts, but it lasts no longer.
		for _, exp := range []int64{0, -1, -59} {
			result := do(t, listen("/limit", "/cam1?token="+mint(t, map[string]any{"exp": now.Unix() + exp})))
			denied(t, result, http.StatusForbidden)
			if result.Header["Icecast-Auth-Timelimit"] != nil {
				t.Error("a denial has a time limit")
			}
		}
	})
	t.Run("ic-timelimit-overflow", func(t *testing.T) {
		refusal := testbed.Refusal(t, site(handle("/", "icecast", "allow long {\ntime_limit 2147483648s\n}")))
		wants(t, refusal, "rule long", "2147483647")
		testbed.New(t, site(handle("/", "icecast", "allow {\ntime_limit 2147483647s\n}")))
		wants(t, testbed.Refusal(t, site(handle("/", "icecast", "allow {\ntime_limit 1000000000000s\n}"))), "1000000000000s")
	})
	t.Run("ic-postroll-no-timelimit", func(t *testing.T) {
		wants(t, testbed.Refusal(t, site(handle("/", "radiomast", "allow {\npostroll https://cdn.example/x.mp3\n}"))), "postroll needs a time_limit")
	})
	t.Run("ic-redirect-scheme", func(t *testing.T) {
		for _, url := range []string{
			"javascript:alert(1)", "file:///etc/passwd", "//evil", "http://user@evil/", "https://user:pw@evil/", "/path", "http://",
			"http:///x", "ftp://evil/", "https://{stream.name}/", "https://cdn{stream.name}/", "{stream.user}", "https://cdn.example:{stream.name}/",
			"https://cdn.example{stream.name}", `"https://cdn.example/a b"`, "https://cdn.example/{stream.token}", "https://cdn.example/{env.NOT_SET_ANYWHERE}",
		} {
			wants(t, testbed.Refusal(t, site(handle("/", "radiomast", "deny {\nredirect "+url+"\n}"))), "redirect")
		}
	})
	t.Run("ic-content-type-json", func(t *testing.T) {
		denied(t, do(t, hook("/ice", "application/json", `{"action":"listener_add","mount":"/a?token=good"}`)), http.StatusUnsupportedMediaType)
	})
	t.Run("ic-multipart", func(t *testing.T) {
		body := "--b\r\nContent-Disposition: form-data; name=\"action\"\r\n\r\nlistener_add\r\n--b\r\nContent-Disposition: form-data; name=\"mount\"\r\n\r\n/a?token=good\r\n--b--\r\n"
		denied(t, do(t, hook("/ice", "multipart/form-data; boundary=b", body)), http.StatusUnsupportedMediaType)
	})
	t.Run("ic-charset", func(t *testing.T) {
		body := "action=listener_add&mount=%2fa%3ftoken%3dgood" + tail
		denied(t, do(t, hook("/ice", "application/x-www-form-urlencoded; charset=UTF-16", body)), http.StatusUnsupportedMediaType)
		allowedIcecast(t, do(t, hook("/ice", "application/x-www-form-urlencoded; charset=UTF-8", body)))
		r := hook("/ice", "application/x-www-form-urlencoded", body)
		r.Header.Set("Content-Encoding", "gzip")
		denied(t, do(t, r), http.StatusUnsupportedMediaType)
	})
	t.Run("ic-query-overrides-body", func(t *testing.T) {
		allowedIcecast(t, do(t, listen("/two?mount=/other&token=bad", "/public?token=public-token")))
		denied(t, do(t, listen("/two?mount=/public%3ftoken=public-token&action=listener_add", "/private?token=public-token")), http.StatusForbidden)
	})
	t.Run("ic-client-types", func(t *testing.T) {
		for _, client := range []string{"-1", "1e3", "18446744073709551616", "text", " 1", "+1", "1\r\n"} {
			denied(t, do(t, without("/ice", "/a?token=good", map[string]string{"client": client})), http.StatusBadRequest)
		}
		allowedIcecast(t, do(t, without("/ice", "/a?token=good", map[string]string{"client": "18446744073709551615"})))
	})
	t.Run("ic-listener-count", func(t *testing.T) {
		for _, count := range []string{"-1", "NaN", "99999999999999999999", "9223372036854775808", "1e9"} {
			denied(t, do(t, listen("/full", "/a?token=good", "listener-count", count)), http.StatusBadRequest)
		}
		allowedIcecast(t, do(t, listen("/full", "/a?token=good", "listener-count", "99")))
		denied(t, do(t, listen("/full", "/a?token=good", "listener-count", "100")), http.StatusForbidden)
		denied(t, do(t, listen("/full", "/a?token=good")), http.StatusForbidden)
	})
	t.Run("ic-newstyle-headers", func(t *testing.T) {
		result := do(t, listen("/limit", "/cam1?token="+mint(t, nil)))
		allowedIcecast(t, result)
		timeLimit(t, result, "3600")
		result = do(t, listen("/limit", "/cam1?token=bad"))
		denied(t, result, http.StatusForbidden)
		if got := result.Header["X-Icecast-Auth-Result"]; !slices.Equal(got, []string{"failed"}) {
			t.Errorf("x-icecast-auth-result is %q", got)
		}
	})
	t.Run("ic-agent-injection", func(t *testing.T) {
		for _, agent := range []string{"VLC\r\nicecast-auth-user: 1", strings.Repeat("x", 60_000)} {
			before := len(bed.Logs.Lines(t, "stream denied"))
			denied(t, do(t, without("/ice", "/a?token=bad", map[string]string{"agent": agent})), http.StatusForbidden)
			allowedIcecast(t, do(t, without("/ice", "/a?token=good", map[string]string{"agent": agent})))
			if got := len(bed.Logs.Lines(t, "stream denied")) - before; got != 1 {
				t.Errorf("%d lines for one denial", got)
			}
		}
		denied(t, do(t, without("/ice", "/a?token=bad", map[string]string{"agent": strings.Repeat("x", 64<<10)})), http.StatusRequestEntityTooLarge)
	})
}

// ic-header-case-space: what Icecast 2.4 looks for is a line of bytes, so here the bytes on the wire are looked at.
func TestAttacksOnIcecastOnTheWire(t *testing.T) {
	bed := testbed.Run(t, site(handle("/ice", "icecast", "token {\nstatic good\n}\nallow {\ntoken valid\ntime_limit 90s\n}")))
	ask := func(t *testing.T, mount string) string {
		t.Helper()
		body := form("action", "listener_add", "mount", mount, "client", "1", "ip", "127.0.0.1")
		conn := bed.Dial(t)
		if _, err := fmt.Fprintf(conn, "POST /ice HTTP/1.1\r\nHost: hooks.example\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
			"Content-Length: %d\r\nConnection: close\r\n\r\n%s", len(body), body); err != nil {
			t.Fatal(err)
		}
		answer := new(strings.Builder)
		buffer := make([]byte, 4096)
		for {
			n, err := conn.Read(buffer)
			answer.Write(buffer[:n])
			if err != nil {
				return answer.String()
			}
		}
	}
	t.Run("ic-header-case-space", func(t *testing.T) {
		answer := ask(t, "/a?token=good")
		for line, times := range map[string]int{
			"\r\nicecast-auth-user: 1\r\n": 1, "icecast-auth-user": 1, "\r\nicecast-auth-timelimit: 90\r\n": 1,
			"\r\nx-icecast-auth-result: ok\r\n": 1, "\r\nx-icecast-auth-timelimit: 90\r\n": 1, "\r\ncontent-length: 0\r\n": 1,
			"transfer-encoding": 0, "location": 0,
		} {
			if got := strings.Count(strings.ToLower(answer), line); got != times {
				t.Errorf("%q stands %d times in %q", line, got, answer)
			}
		}
		if strings.Contains(strings.ToLower(ask(t, "/a?token=bad")), "icecast-auth-user") {
			t.Error("a denial has the header")
		}
	})
}

// timeLimit holds an answer to have this time limit, in both spellings.
func timeLimit(t *testing.T, result testbed.Result, seconds string) {
	t.Helper()
	for _, name := range []string{"Icecast-Auth-Timelimit", "X-Icecast-Auth-Timelimit"} {
		if got := result.Header[name]; !slices.Equal(got, []string{seconds}) {
			t.Errorf("%s is %q, should be %s", name, got, seconds)
		}
	}
}

// wants holds a text to contain others.
func wants(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in: %s", part, text)
		}
	}
}
