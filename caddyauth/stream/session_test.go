package stream_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// tell is the renewing server's request: `event=open&session=1&…`, at a time after now.
func tell(text string, after time.Duration) *http.Request {
	r := hook("/", "application/x-www-form-urlencoded", text)
	return r.WithContext(clock.At(context.Background(), now.Add(after)))
}

var owned sync.Map // by test

// own is a name that no other test has, nor this one when it runs again: sessions outlive a test.
func own(t *testing.T) string {
	text, _ := owned.LoadOrStore(t, rand.Text())
	return t.Name() + " " + text.(string)
}

// aServer is the name of a server of the test's own.
func aServer(t *testing.T) string { return url.QueryEscape(own(t)) }

// limited is the block of a stream_auth whose rule has a name of the test's own, and so has its sessions.
func limited(t *testing.T, rule string) string {
	return jwtToken + fmt.Sprintf("allow %q {\n%s\n}\n", own(t), rule)
}

func TestSessions(t *testing.T) {
	alice := func(id string) string { return "&token=" + mint(t, map[string]any{"sub": "alice", "jti": id}) }
	bob := "&token=" + mint(t, map[string]any{"sub": "bob"})
	const perUser = "token valid\nmax_sessions 1 per user"
	type step struct {
		ask    string
		after  time.Duration
		status int
	}
	for _, test := range []struct {
		name, rule string
		steps      []step
	}{
		{"one per user, and the next when it has gone", perUser, []step{
			{"event=open&session=1" + alice("a"), 0, 200},
			{"event=open&session=2" + alice("b"), 0, 403},
			{"event=open&session=3" + bob, 0, 200},
			{"event=close&session=1", 0, 200},
			{"event=open&session=4" + alice("b"), 0, 200},
		}},
		{"one that is opened again is not a second one", perUser, []step{
			{"event=open&session=1" + alice("a"), 0, 200},
			{"event=open&session=1" + alice("a"), time.Second, 200},
			{"event=close&session=1", time.Second, 200},
			{"event=open&session=2" + alice("a"), time.Second, 200},
		}},
		{"an id that repeats replaces what it stood for", perUser, []step{
			{"event=open&session=1" + alice("a"), 0, 200},
			{"event=open&session=1" + bob, 0, 200},
			{"event=open&session=2" + alice("a"), 0, 200},
			{"event=open&session=3" + bob, 0, 403},
		}},
		{"an id that repeats replaces what it stood for, though it is denied", perUser, []step{
			{"event=open&session=1" + alice("a"), 0, 200},
			{"event=open&session=2" + bob, 0, 200},
			{"event=open&session=1" + bob, 0, 403},
			{"event=open&session=3" + alice("a"), 0, 200},
		}},
		{"what another server calls the same is another one", perUser, []step{
			{"event=open&session=1" + alice("a"), 0, 200},
			{"event=close&session=1&server=other", 0, 200},
			{"event=open&session=1&server=other" + alice("a"), 0, 403},
		}},
		{"publishing is another session than playing", "mode publish play\nmax_sessions 1 per ip", []step{
			{"event=open&session=1&ip=192.0.2.1", 0, 200},
			{"event=close&mode=publish&session=1&ip=192.0.2.1", 0, 200},
			{"event=open&mode=publish&session=1&ip=192.0.2.1", 0, 403},
		}},
		{"a close without a session frees nothing", perUser, []step{
			{"event=open&session=1" + alice("a"), 0, 200},
			{"event=close" + alice("a"), 0, 200},
			{"event=close&session=9" + alice("a"), 0, 200},
			{"event=open&session=2" + alice("a"), 0, 403},
		}},
		{"one that the server does not name cannot be counted", perUser, []step{
			{"event=open" + alice("a"), 0, 403},
		}},
		{"per token: by its jti", "token valid\nmax_sessions 1 per token", []step{
			{"event=open&session=1" + alice("a"), 0, 200},
			{"event=open&session=2" + alice("b"), 0, 200},
			{"event=open&session=3" + alice("a"), 0, 403},
			{"event=close&session=1", 0, 200},
			{"event=open&session=3" + alice("a"), 0, 200},
		}},
		{"sc-token-reuse: per token, by itself", "token valid\nmax_sessions 1 per token", []step{
			{"event=open&session=1" + bob, 0, 200},
			{"event=open&session=2" + bob, 0, 403},
		}},
		{"per address", "max_sessions 1 per ip", []step{
			{"event=open&session=1&ip=192.0.2.1", 0, 200},
			{"event=open&session=2&ip=::ffff:192.0.2.2", 0, 200},
			{"event=open&session=3&ip=192.0.2.1", 0, 403},
		}},
		{"per address, where it is not told", "max_sessions 1 per ip", []step{
			{"event=open&session=1", 0, 403},
		}},
		{"per stream", "max_sessions 2 per stream", []step{
			{"event=open&session=1", 0, 200},
			{"event=open&session=2", 0, 200},
			{"event=open&session=3", 0, 403},
			{"event=open&session=3&app=other", 0, 200},
			{"event=close&session=2", 0, 200},
			{"event=open&session=4", 0, 200},
		}},
		{"a renewal is an open where the session is not known", perUser, []step{
			{"event=renew&session=1" + alice("a"), 0, 200},
			{"event=open&session=2" + alice("a"), 0, 403},
			{"event=renew&session=1" + alice("a"), 0, 200},
			{"event=renew&session=3" + alice("a"), 0, 403},
		}},
		{"a renewal with a token that is over is denied", perUser + "\ntime_limit token", []step{
			{"event=open&session=1" + alice("a"), 0, 200},
			{"event=renew&session=1" + alice("a"), 3500 * time.Second, 200},
			{"event=renew&session=1" + alice("a"), 3700 * time.Second, 403},
		}},
		{"a time limit counts from the open", "time_limit 1m", []step{
			{"event=open&session=1", 0, 200},
			{"event=renew&session=1", 30 * time.Second, 200},
			{"event=renew&session=1", 59 * time.Second, 200},
			{"event=renew&session=1", 60 * time.Second, 403},
			{"event=open&session=1", 61 * time.Second, 200},
			{"event=renew&session=1", 90 * time.Second, 200},
		}},
		{"a time limit counts from the open, however seldom the server asks", "time_limit 1m", []step{
			{"event=open&session=1", 0, 200},
			{"event=close&session=2", time.Hour, 200},
			{"event=renew&session=1", time.Hour, 403},
		}},
		{"a time limit counts from the first that is heard of it", "time_limit 1m", []step{
			{"event=renew&session=1", 0, 200},
			{"event=renew&session=1", 59 * time.Second, 200},
			{"event=renew&session=1", 61 * time.Second, 403},
		}},
		{"a denial counts no session", perUser + "\nrename {stream.user}", []step{
			{"event=open&session=1&user=a//b" + alice("a"), 0, 403},
			{"event=open&session=2&user=a" + alice("a"), 0, 200},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := testbed.New(t, site(handle("/", "renewing", limited(t, test.rule))))
			for i, step := range test.steps {
				ask := step.ask
				if !strings.Contains(ask, "server=") {
					ask += "&server=" + aServer(t)
				}
				if result := bed.Do(t, tell(ask, step.after)); result.Status != step.status {
					t.Fatalf("step %d, %s: status %d, should be %d", i+1, strings.Split(ask, "&token")[0], result.Status, step.status)
				}
			}
		})
	}
}

func TestADenialForTooManySessionsSaysSo(t *testing.T) {
	bed := testbed.New(t, site(handle("/", "renewing", limited(t, "max_sessions 1 per stream"))))
	bed.Do(t, tell("event=open&session=1&server="+aServer(t), 0))
	bed.Do(t, tell("event=open&session=2&server="+aServer(t), 0))
	lines := bed.Logs.Lines(t, "stream denied")
	if len(lines) != 1 || lines[0]["reason"] != "denied" || lines[0]["rule"] != own(t) || lines[0]["detail"] != "there are 1 sessions per stream already" {
		t.Errorf("%v", lines)
	}
}

func TestReportOnlyCountsNoSession(t *testing.T) {
	rule := limited(t, "max_sessions 1 per stream")
	observed := testbed.New(t, site(handle("/", "renewing", rule+"report_only")))
	for session := range 3 {
		if result := observed.Do(t, tell(fmt.Sprintf("event=open&session=%d&server=%s", session, aServer(t)), 0)); result.Status != 200 {
			t.Fatalf("status %d", result.Status)
		}
	}
	bed := testbed.New(t, site(handle("/", "renewing", rule)))
	if result := bed.Do(t, tell("event=open&session=9&server="+aServer(t), 0)); result.Status != 200 {
		t.Errorf("status %d: something was counted", result.Status)
	}
}

func TestAHundredAtOnceAndOnePasses(t *testing.T) {
	bed := testbed.New(t, site(handle("/", "renewing", limited(t, "max_sessions 1 per stream"))))
	var allowed atomic.Int64
	var all sync.WaitGroup
	for session := range 100 {
		all.Go(func() {
			if bed.Status(tell(fmt.Sprintf("event=open&session=%d&server=%s", session, aServer(t)), 0)) == 200 {
				allowed.Add(1)
			}
		})
	}
	all.Wait()
	if allowed.Load() != 1 {
		t.Errorf("%d were allowed", allowed.Load())
	}
}

func TestAnAnswerThatNobodyHearsOpensNoSession(t *testing.T) {
	bed := testbed.New(t, site(handle("/", "renewing", limited(t, "max_sessions 1 per stream"))))
	bed.Unheard(tell("event=open&session=1&server="+aServer(t), 0))
	if result := bed.Do(t, tell("event=open&session=2&server="+aServer(t), 0)); result.Status != 200 {
		t.Errorf("status %d: the session of a client that is gone counts", result.Status)
	}
}

func TestAStoreThatIsAwayIsUndecided(t *testing.T) {
	server := miniredis.RunT(t)
	store := fmt.Sprintf("{\ncaddyauth {\nstore redis redis://%s {\ntimeout 200ms\n}\n}\n}\n", server.Addr())
	bed := testbed.New(t, store+site(handle("/", "renewing", limited(t, "max_sessions 1 per stream"))))
	ask := func(session string) int {
		return bed.Do(t, tell("event=open&session="+session+"&server="+aServer(t), 0)).Status
	}
	if status := ask("1"); status != 200 {
		t.Fatalf("status %d", status)
	}
	server.SetError("away")
	if status := ask("1"); status != 503 {
		t.Errorf("status %d while the store is away", status)
	}
	if result := bed.Do(t, tell("event=close&session=7&server="+aServer(t), 0)); result.Status != 200 {
		t.Errorf("a close is answered with %d", result.Status)
	}
	server.SetError("")
	if status := ask("2"); status != 403 && status != 200 {
		t.Errorf("status %d when it is back", status)
	}
}

func TestWithSeveralCaddysACloseIsUnderstoodFromWhatItSays(t *testing.T) {
	token := "&token=" + mint(t, map[string]any{"jti": "one"})
	const allowed = "user alice p\nmax_sessions 1 per user\n"
	for _, test := range []struct{ name, rule, open, closing string }{
		{"by the user name", allowed, "&user=alice&password=p", "&user=alice"},
		{"by the token's subject", "token valid\nmax_sessions 1 per user", token, token},
		{"by the token's jti", "token valid\nmax_sessions 1 per token", token, token},
		{"by the address", "max_sessions 1 per ip", "&ip=192.0.2.1", "&ip=192.0.2.1"},
		{"by the stream", "max_sessions 1 per stream", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := testbed.New(t, site(handle("/", "renewing", limited(t, test.rule))))
			do := func(event string, after time.Duration) int {
				return bed.Do(t, tell(event+"&server="+aServer(t), after)).Status
			}
			if status := do("event=open&session=1"+test.open, 0); status != 200 {
				t.Fatalf("status %d", status)
			}
			if status := do("event=open&session=2"+test.open, 0); status != 403 {
				t.Fatalf("status %d, should be over the limit", status)
			}
			// Two minutes on this Caddy remembers nothing of it, as another one never did; the store still counts it.
			if status := do("event=open&session=2"+test.open, 2*time.Minute); status != 403 {
				t.Fatalf("status %d, should be over the limit", status)
			}
			// By then the token is over, too.
			if status := do("event=close&session=1"+test.closing, 2*time.Hour); status != 200 {
				t.Fatalf("status %d", status)
			}
			if status := do("event=open&session=2"+test.open, 2*time.Minute); status != 200 {
				t.Errorf("status %d after the close", status)
			}
		})
	}
}

func TestIcecastsListenersAndSources(t *testing.T) {
	rule := fmt.Sprintf("allow %q {\nmax_sessions 1 per ip\n}\n", own(t))
	bed := testbed.New(t, site(handle("/", "icecast", rule)))
	add := func(client string) *http.Request {
		return without("/", "/jazz", map[string]string{"client": client, "server": own(t)})
	}
	allowedIcecast(t, bed.Do(t, add("1")))
	denied(t, bed.Do(t, add("2")), 403)
	allowed(t, bed.Do(t, icecast("/", "action", "listener_remove", "server", own(t), "port", "8000", "client", "1", "mount", "/jazz?x=1", "duration", "7")))
	allowedIcecast(t, bed.Do(t, add("3")))

	// Its metadata is asked about in the same words, and is no session: of no mount that is not live, and none of another's.
	metadata := func(mount string) *http.Request {
		return icecast("/", "action", "stream_auth", "server", own(t), "port", "8000", "mount", mount, "ip", "192.0.2.9", "user", "dj", "pass", "x", "admin", "1")
	}
	allowedIcecast(t, bed.Do(t, metadata("/c")))
	source := func(mount string) *http.Request {
		return icecast("/", "action", "stream_auth", "server", own(t), "port", "8000", "mount", mount, "ip", "192.0.2.9", "user", "dj", "pass", "x")
	}
	allowedIcecast(t, bed.Do(t, source("/a")))
	denied(t, bed.Do(t, source("/b")), 403)
	allowedIcecast(t, bed.Do(t, metadata("/a")))
	allowedIcecast(t, bed.Do(t, metadata("/b")))
	denied(t, bed.Do(t, source("/b")), 403)
	allowed(t, bed.Do(t, icecast("/", "action", "mount_remove", "server", own(t), "port", "8000", "mount", "/a")))
	allowedIcecast(t, bed.Do(t, source("/b")))
}
