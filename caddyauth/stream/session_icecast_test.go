package stream_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// Icecast asks about a source of a mount that is in use as about any other, refuses it when we have allowed it, and tells
// no end of it. What it has said to be on the air counts until it says that this has ended, or that another is.
func TestASourceOfAMountInUse(t *testing.T) {
	type step struct {
		who, action, mount string // who: whoever has a mount says nothing of itself in mount_add and mount_remove
		status             int    // 200: allowed
		after              time.Duration
	}
	for _, test := range []struct {
		name  string
		steps []step
	}{
		{"who is on the air counts on, though another was allowed", []step{
			{"alice", "stream_auth", "a", 200, 0},
			{"", "mount_add", "a", 200, 0},
			{"bob", "stream_auth", "a", 200, 0},
			{"alice", "stream_auth", "b", 403, 0},
			{"", "mount_remove", "a", 200, 0},
			{"alice", "stream_auth", "b", 200, 0},
		}},
		{"and though another was denied", []step{
			{"alice", "stream_auth", "a", 200, 0},
			{"", "mount_add", "a", 200, 0},
			{"bob", "stream_auth", "b", 200, 0},
			{"", "mount_add", "b", 200, 0},
			{"bob", "stream_auth", "a", 403, 0},
			{"alice", "stream_auth", "c", 403, 0},
		}},
		{"the other counts for a moment, and no longer", []step{
			{"alice", "stream_auth", "a", 200, 0},
			{"", "mount_add", "a", 200, 0},
			{"bob", "stream_auth", "a", 200, 0},
			{"bob", "stream_auth", "b", 403, 14 * time.Second},
			{"bob", "stream_auth", "b", 200, 2 * time.Second},
			{"alice", "stream_auth", "c", 403, 0},
		}},
		{"unless it is on the air itself, after a restart that ended the first", []step{
			{"alice", "stream_auth", "a", 200, 0},
			{"", "mount_add", "a", 200, 0},
			{"bob", "stream_auth", "a", 200, 0},
			{"", "mount_add", "a", 200, 0},
			{"alice", "stream_auth", "b", 200, 0},
			{"bob", "stream_auth", "c", 403, 11 * time.Hour},
			{"", "mount_remove", "a", 200, 0},
			{"bob", "stream_auth", "c", 200, 0},
		}},
		{"the end of the first is told after the next was asked about", []step{
			{"alice", "stream_auth", "a", 200, 0},
			{"", "mount_add", "a", 200, 0},
			{"alice", "stream_auth", "a", 200, 0},
			{"", "mount_remove", "a", 200, 0},
			{"", "mount_add", "a", 200, 0},
			{"alice", "stream_auth", "b", 403, time.Hour},
			{"", "mount_remove", "a", 200, 0},
			{"alice", "stream_auth", "b", 200, 0},
		}},
		{"between the end of the first and the beginning of the next, one counts all the time, and no longer than the next may take", []step{
			{"alice", "stream_auth", "a", 200, 0},
			{"", "mount_add", "a", 200, 0},
			{"alice", "stream_auth", "a", 200, 0},
			{"", "mount_remove", "a", 200, 0},
			{"alice", "stream_auth", "b", 403, 0},
			{"alice", "stream_auth", "b", 403, 14 * time.Second},
			{"alice", "stream_auth", "b", 200, 2 * time.Second},
		}},
		{"who follows one whose lease is over counts, whatever else is asked meanwhile", []step{
			{"alice", "stream_auth", "a", 200, 0},
			{"", "mount_add", "a", 200, 0},
			{"bob", "stream_auth", "a", 200, 13 * time.Hour},
			{"alice", "stream_auth", "b", 200, 0},
			{"", "mount_add", "a", 200, 0},
			{"bob", "stream_auth", "c", 403, time.Hour},
		}},
		{"where it does not tell what is on the air, the last counts", []step{
			{"alice", "stream_auth", "a", 200, 0},
			{"bob", "stream_auth", "a", 200, 0},
			{"alice", "stream_auth", "b", 200, 0},
			{"bob", "stream_auth", "c", 403, time.Hour},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := miniredis.RunT(t)
			after := time.Duration(0)
			rule := fmt.Sprintf("allow %q {\nmode publish\nuser alice p\nuser bob p\nmax_sessions 1 per user\n}\n", own(t))
			bed := testbed.New(t, redisStore(server)+site(handle("/", "icecast", rule)))
			for i, step := range test.steps {
				after += step.after
				server.SetTime(now.Add(after))
				fields := []string{"action", step.action, "server", own(t), "port", "8000", "mount", "/" + step.mount}
				if step.who != "" {
					fields = append(fields, "ip", "192.0.2.9", "user", step.who, "pass", "p")
				}
				if got := bed.Do(t, at(icecast("/", fields...), after)).Status; got != step.status {
					t.Fatalf("step %d, %s of %s at %s: %d, should be %d", i+1, step.action, step.who, step.mount, got, step.status)
				}
			}
		})
	}
}

// An allowance that does not reach Icecast takes back what it opened, and nothing of what is on the air there.
func TestAnAnswerThatIcecastDoesNotHearLeavesWhoIsOnTheAir(t *testing.T) {
	for _, test := range []struct {
		name, who  string
		alice, bob int // at another mount, then
	}{
		{"that of its own user, who counts on", "alice", 403, 200},
		{"that of another, who does not", "bob", 403, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := testbed.New(t, site(handle("/", "icecast", fmt.Sprintf("allow %q {\nmode publish\nuser alice p\nuser bob p\nmax_sessions 1 per user\n}\n", own(t)))))
			tell := func(action, who, mount string) *http.Request {
				return at(icecast("/", "action", action, "server", own(t), "port", "8000", "mount", mount, "ip", "192.0.2.9", "user", who, "pass", "p"), 0)
			}
			allowedIcecast(t, bed.Do(t, tell("stream_auth", "alice", "/a")))
			bed.Do(t, tell("mount_add", "alice", "/a"))
			bed.Unheard(tell("stream_auth", test.who, "/a"))
			if got := bed.Status(tell("stream_auth", "alice", "/b")); got != test.alice {
				t.Errorf("alice, who is on the air, at another mount: %d, should be %d", got, test.alice)
			}
			if got := bed.Status(tell("stream_auth", "bob", "/c")); got != test.bob {
				t.Errorf("bob at another mount: %d, should be %d", got, test.bob)
			}
			bed.Do(t, tell("mount_remove", "alice", "/a"))
			if got := bed.Status(tell("stream_auth", "alice", "/b")); got != 200 {
				t.Errorf("alice at another mount after the end: %d", got)
			}
		})
	}
}

// A notification counts though who sent it does not wait for the answer.
func TestTheEndOfASourceCountsThoughIcecastDoesNotWait(t *testing.T) {
	server := miniredis.RunT(t)
	bed := testbed.New(t, redisStore(server)+site(handle("/", "icecast", "allow {\nuser dj p\nmax_sessions 1 per user\n}\n")))
	tell := func(action, mount string, after time.Duration) *http.Request {
		server.SetTime(now.Add(after))
		return at(icecast("/", "action", action, "server", own(t), "port", "8000", "mount", mount, "ip", "192.0.2.9", "user", "dj", "pass", "p"), after)
	}
	allowedIcecast(t, bed.Do(t, tell("stream_auth", "/a", 0)))
	bed.Do(t, tell("mount_add", "/a", 0))
	allowedIcecast(t, bed.Do(t, tell("stream_auth", "/a", 0)))
	ended := tell("mount_remove", "/a", 0)
	gone, leave := context.WithCancel(ended.Context())
	leave()
	bed.Do(t, ended.WithContext(gone))
	allowedIcecast(t, bed.Do(t, tell("stream_auth", "/b", 16*time.Second)))
}

// Icecast drops no source by a time limit: it counts for as long as it is there.
func TestATimeLimitEndsTheLeaseOfNoSource(t *testing.T) {
	server := miniredis.RunT(t)
	bed := testbed.New(t, redisStore(server)+site(handle("/", "icecast", "allow {\nuser dj p\ntime_limit 1m\nmax_sessions 1 per user\n}\n")))
	source := func(mount string, after time.Duration) *http.Request {
		server.SetTime(now.Add(after))
		return at(icecast("/", "action", "stream_auth", "server", own(t), "port", "8000", "mount", mount, "ip", "192.0.2.9", "user", "dj", "pass", "p"), after)
	}
	allowedIcecast(t, bed.Do(t, source("/a", 0)))
	denied(t, bed.Do(t, source("/b", time.Hour)), 403)
}

func redisStore(server *miniredis.Miniredis) string {
	return fmt.Sprintf("{\ncaddyauth {\nstore redis redis://%s {\ntimeout 5s\n}\n}\n}\n", server.Addr())
}

// at is the request at a time after now.
func at(r *http.Request, after time.Duration) *http.Request {
	return r.WithContext(clock.At(context.Background(), now.Add(after)))
}
