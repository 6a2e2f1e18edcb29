package password

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

func user(name, label, password string) User {
	return User{Name: name, Label: label, Password: secret.New(label, []byte(password))}
}

func bcryptHash(t testing.TB, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func argon2Hash(password string) string {
	salt := []byte("somesalt")
	key := argon2.IDKey([]byte(password), salt, 1, 64, 1, 32)
	return fmt.Sprintf("$argon2id$v=19$m=64,t=1,p=1$%s$%s",
		base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key))
}

func checker(t testing.TB, users ...User) *Checker {
	t.Helper()
	c, err := newChecker(users, []byte("key"), newQueue(2, 16, 2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// count replaces the slow comparisons of c by counted ones, and gives the counter.
func count(c *Checker) *atomic.Int32 {
	var n atomic.Int32
	for _, entries := range c.users {
		for _, e := range entries {
			if match := e.match; match != nil {
				e.match = func(password []byte) bool { n.Add(1); return match(password) }
			}
		}
	}
	return &n
}

func reason(err error) verdict.Reason {
	if err == nil {
		return verdict.OK
	}
	return verdict.Of(err).Reason
}

func TestCheck(t *testing.T) {
	long := strings.Repeat("x", MaxBcryptPassword)
	c := checker(t,
		user("plain", "p", "s3cret"),
		user("bcrypt", "b", bcryptHash(t, "s3cret")),
		user("argon2", "a", argon2Hash("s3cret")),
		user("rotated", "old", bcryptHash(t, "first")),
		user("rotated", "new", "second"),
		user("rotated", "newest", argon2Hash("third")),
		user("long", "l", bcryptHash(t, long)),
		user("mixed", "hash", bcryptHash(t, "short")),
		user("mixed", "text", long+"y"),
		user("a", "1", bcryptHash(t, "bc")),
		user("ab", "2", bcryptHash(t, "x")),
		user("Ünï", "u", "caf\u00e9"),
		user("c:d", "colon", "a:b"),
	)
	for _, test := range []struct {
		name, user, password, label string
		want                        verdict.Reason
	}{
		{"a plain password", "plain", "s3cret", "p", verdict.OK},
		{"a bcrypt hash", "bcrypt", "s3cret", "b", verdict.OK},
		{"an argon2id hash", "argon2", "s3cret", "a", verdict.OK},
		{"a wrong plain password", "plain", "S3cret", "", verdict.BadSignature},
		{"a wrong password for bcrypt", "bcrypt", "s3cre", "", verdict.BadSignature},
		{"a wrong password for argon2id", "argon2", "s3cret ", "", verdict.BadSignature},
		{"a hash is not a password", "bcrypt", bcryptHash(t, "s3cret"), "", verdict.BadSignature},
		{"an unknown user", "nobody", "s3cret", "", verdict.BadSignature},
		{"a name in other case", "Plain", "s3cret", "", verdict.BadSignature},
		{"the first of a rotation", "rotated", "first", "old", verdict.OK},
		{"the second of a rotation", "rotated", "second", "new", verdict.OK},
		{"the third of a rotation", "rotated", "third", "newest", verdict.OK},
		{"none of a rotation", "rotated", "fourth", "", verdict.BadSignature},
		{"another user's password", "rotated", "s3cret", "", verdict.BadSignature},
		{"all that bcrypt looks at", "long", long, "l", verdict.OK},
		{"a byte more than bcrypt looks at", "long", long + "x", "", verdict.BadCredential},
		{"a long plain password beside a bcrypt hash", "mixed", long + "y", "text", verdict.OK},
		{"a wrong long password beside a bcrypt hash", "mixed", long + "z", "", verdict.BadCredential},
		{"name and password that run together as another pair", "ab", "c", "", verdict.BadSignature},
		{"a composed letter", "Ünï", "caf\u00e9", "u", verdict.OK},
		{"the same letter decomposed: nothing is normalised", "Ünï", "cafe\u0301", "", verdict.BadSignature},
		{"colons", "c:d", "a:b", "colon", verdict.OK},
		{"no name", "", "s3cret", "", verdict.BadCredential},
		{"no password", "plain", "", "", verdict.BadCredential},
		{"a zero byte", "bcrypt", "s3cret\x00s3cret", "", verdict.BadCredential},
		{"a name too long", strings.Repeat("n", MaxName+1), "s3cret", "", verdict.BadCredential},
		{"the longest name", strings.Repeat("n", MaxName), "s3cret", "", verdict.BadSignature},
		{"a password too long", "plain", strings.Repeat("p", MaxPassword+1), "", verdict.BadCredential},
		{"the longest password", "plain", strings.Repeat("p", MaxPassword), "", verdict.BadSignature},
	} {
		t.Run(test.name, func(t *testing.T) {
			for round := range 2 { // what the first round remembers must not change the second
				label, err := c.Check(t.Context(), test.user, test.password)
				if label != test.label || reason(err) != test.want {
					t.Errorf("round %d: %q, %v; want %q, %s", round, label, err, test.label, test.want)
				}
				var refusal *verdict.Error
				if err != nil && !errors.As(err, &refusal) {
					t.Errorf("%T is not a *verdict.Error", err)
				}
			}
		})
	}
}

func TestAnUnknownUserCostsWhatAKnownOneDoes(t *testing.T) {
	c := checker(t, user("alice", "1", bcryptHash(t, "pa")), user("bob", "2", bcryptHash(t, "pb")))
	n := count(c)
	for i := range 20 {
		n.Store(0)
		if _, err := c.Check(t.Context(), fmt.Sprint("nobody", i), "wrong"); reason(err) != verdict.BadSignature || n.Load() != 1 {
			t.Fatalf("%v after %d hashes", err, n.Load())
		}
	}
	t.Run("also with a password that is right for another user", func(t *testing.T) {
		for _, name := range []string{"alice", "alice", "nobody"} {
			n.Store(0)
			_, err := c.Check(t.Context(), name, "pb")
			if reason(err) != verdict.BadSignature || n.Load() != 1 {
				t.Errorf("%s: %v after %d hashes", name, err, n.Load())
			}
			if _, err := c.Check(t.Context(), "bob", "pb"); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("and the same every time, where users cost differently", func(t *testing.T) {
		c := checker(t, user("plain", "1", "p"), user("slow", "2", bcryptHash(t, "p")),
			user("slower", "3", bcryptHash(t, "p")), user("slower", "4", bcryptHash(t, "q")))
		n := count(c)
		costs := map[int32]bool{}
		for i := range 40 {
			var first int32
			for round := range 3 {
				n.Store(0)
				_, _ = c.Check(t.Context(), fmt.Sprint("nobody", i), "wrong")
				if round > 0 && n.Load() != first {
					t.Fatalf("nobody%d cost %d hashes, then %d", i, first, n.Load())
				}
				first = n.Load()
			}
			costs[first] = true
		}
		if len(costs) != 3 {
			t.Errorf("unknown names cost %v hashes; want 0, 1 and 2, as known ones do", costs)
		}
	})
}

func TestAGenuineSenderPaysForTheHashOnce(t *testing.T) {
	c := checker(t, user("alice", "old", bcryptHash(t, "one")), user("alice", "new", bcryptHash(t, "two")))
	n := count(c)
	for range 5 {
		if label, err := c.Check(t.Context(), "alice", "two"); label != "new" || err != nil {
			t.Fatalf("%q, %v", label, err)
		}
	}
	if n.Load() != 2 {
		t.Errorf("%d hashes for five right passwords; want 2, at the first", n.Load())
	}
	n.Store(0)
	if _, err := c.Check(t.Context(), "alice", "three"); reason(err) != verdict.BadSignature || n.Load() != 2 {
		t.Errorf("%v after %d hashes for a wrong password", err, n.Load())
	}
}

func TestHashingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const slots, waiters = 2, 16
		c, err := newChecker([]User{user("alice", "1", bcryptHash(t, "right"))}, []byte("key"), newQueue(slots, waiters, 2*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		var inside, most atomic.Int32
		gate := make(chan struct{})
		for _, entries := range c.users {
			entries[0].match = func(password []byte) bool {
				now := inside.Add(1)
				for seen := most.Load(); now > seen && !most.CompareAndSwap(seen, now); seen = most.Load() {
				}
				<-gate
				inside.Add(-1)
				return string(password) == "right"
			}
		}
		check := func(ctx context.Context, wg *sync.WaitGroup, reasons chan<- verdict.Reason) {
			wg.Go(func() {
				_, err := c.Check(ctx, "alice", "wrong")
				reasons <- reason(err)
			})
		}
		tally := func(reasons chan verdict.Reason) map[verdict.Reason]int {
			close(reasons)
			n := map[verdict.Reason]int{}
			for r := range reasons {
				n[r]++
			}
			return n
		}

		// The surplus is turned away at once, the waiting after a while; those inside go on.
		var wg sync.WaitGroup
		reasons := make(chan verdict.Reason, 100)
		for range 100 {
			check(t.Context(), &wg, reasons)
		}
		synctest.Wait()
		if n := len(reasons); n != 100-slots-waiters {
			t.Errorf("%d turned away at once; want %d", n, 100-slots-waiters)
		}
		time.Sleep(2*time.Second - time.Nanosecond)
		synctest.Wait()
		if n := len(reasons); n != 100-slots-waiters {
			t.Errorf("%d turned away before 2 s; want %d", n, 100-slots-waiters)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if n := len(reasons); n != 100-slots {
			t.Errorf("%d turned away after 2 s; want %d", n, 100-slots)
		}
		close(gate)
		wg.Wait()
		if n := tally(reasons); n[verdict.Unavailable] != 98 || n[verdict.BadSignature] != slots {
			t.Errorf("reasons: %v", n)
		}
		if most.Load() > slots {
			t.Errorf("%d hashes at once; want at most %d", most.Load(), slots)
		}

		// Waiting ends with the request, and nothing of it stays behind.
		gate = make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		reasons = make(chan verdict.Reason, slots+waiters)
		for range slots + waiters {
			check(ctx, &wg, reasons)
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		if n := len(reasons); n != waiters {
			t.Errorf("%d left with their request; want %d", n, waiters)
		}
		close(gate)
		wg.Wait()
		if len(c.queue.slots)+len(c.queue.places) != 0 {
			t.Errorf("%d slots and %d places are still taken", len(c.queue.slots), len(c.queue.places))
		}
		if _, err := c.Check(t.Context(), "alice", "right"); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	})
}

func TestAFullQueueDoesNotKeepARememberedSenderOut(t *testing.T) {
	c := checker(t, user("alice", "1", bcryptHash(t, "right")), user("bob", "2", "plain"))
	if _, err := c.Check(t.Context(), "alice", "right"); err != nil {
		t.Fatal(err)
	}
	for range cap(c.queue.places) {
		c.queue.places <- struct{}{}
	}
	if _, err := c.Check(t.Context(), "alice", "right"); err != nil {
		t.Errorf("the remembered sender: %v", err)
	}
	if _, err := c.Check(t.Context(), "bob", "plain"); err != nil {
		t.Errorf("the sender with a plain password: %v", err)
	}
	if _, err := c.Check(t.Context(), "alice", "wrong"); reason(err) != verdict.Unavailable {
		t.Errorf("a guess: %v; want unavailable", err)
	}
}

func TestNewRefuses(t *testing.T) {
	hash := bcryptHash(t, "s3cret")
	argon := argon2Hash("s3cret")
	for _, test := range []struct {
		name  string
		users []User
		want  string
	}{
		{"no users", nil, "no users"},
		{"no name", []User{user("", "1", "p")}, "user 1: the name is empty"},
		{"no password", []User{user("a", "1", "p"), user("b", "1", "")}, "user 2: the password is empty"},
		{"a name too long", []User{user(strings.Repeat("n", 256), "1", "p")}, "the name is longer than 255 bytes"},
		{"a password too long", []User{user("a", "1", strings.Repeat("p", 1025))}, "the password is longer than 1024 bytes"},
		{"a zero byte", []User{user("a\x00", "1", "p")}, "holds a zero byte"},
		{"the same pair twice", []User{user("a", "1", "p"), user("a", "2", "p")}, "user 2: the same name and password stand twice"},
		{"a bcrypt hash cut short", []User{user("a", "1", hash[:len(hash)-1])}, "not a whole bcrypt"},
		{"a bcrypt hash with more behind it", []User{user("a", "1", hash+"x")}, "not a whole bcrypt"},
		{"bcrypt of cost 17", []User{user("a", "1", strings.Replace(hash, "$04$", "$17$", 1))}, "cost 17: it must be from 4 to 16"},
		{"bcrypt of cost 99", []User{user("a", "1", strings.Replace(hash, "$04$", "$99$", 1))}, "cost 99"},
		{"bcrypt of cost 0", []User{user("a", "1", strings.Replace(hash, "$04$", "$00$", 1))}, "cost 0"},
		{"the defective bcrypt", []User{user("a", "1", strings.Replace(hash, "$2a$", "$2x$", 1))}, "not a whole bcrypt"},
		{"argon2id of 256 MiB and a bit", []User{user("a", "1", strings.Replace(argon, "m=64", "m=262145", 1))}, "memory (m) 262145: it must be from 1 to 262144"},
		{"argon2id with more memory than a number holds", []User{user("a", "1", strings.Replace(argon, "m=64", "m=4294967297", 1))}, "memory (m)"},
		{"argon2id of 17 passes", []User{user("a", "1", strings.Replace(argon, "t=1", "t=17", 1))}, "time (t) 17"},
		{"argon2id of no passes", []User{user("a", "1", strings.Replace(argon, "t=1", "t=0", 1))}, "time (t) 0"},
		{"argon2id of no threads", []User{user("a", "1", strings.Replace(argon, "p=1", "p=0", 1))}, "threads (p) 0"},
		{"argon2id of 257 threads", []User{user("a", "1", strings.Replace(argon, "p=1", "p=257", 1))}, "threads (p) 257"},
		{"argon2id without a key", []User{user("a", "1", argon[:strings.LastIndex(argon, "$")+1])}, "not a whole"},
		{"argon2id with a key of one byte", []User{user("a", "1", argon[:strings.LastIndex(argon, "$")+1]+"AA")}, "bad key"},
		{"argon2id with a salt of one byte", []User{user("a", "1", strings.Replace(argon, "c29tZXNhbHQ", "AA", 1))}, "bad salt"},
		{"argon2i", []User{user("a", "1", strings.Replace(argon, "argon2id", "argon2i", 1))}, "not a whole"},
		{"another version of argon2id", []User{user("a", "1", strings.Replace(argon, "v=19", "v=16", 1))}, "not a whole"},
		{"crypt's SHA-512", []User{user("a", "1", "$6$salt$abc")}, "begins like a hash"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := New(test.users)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v; want %q", err, test.want)
			}
			for _, u := range test.users {
				if p := string(u.Password.Bytes()); len(p) > 3 && strings.Contains(err.Error(), p) {
					t.Error("the error holds the password")
				}
			}
		})
	}
	t.Run("but not a password that only begins with a dollar sign", func(t *testing.T) {
		c, err := New([]User{user("a", "1", "$ecret")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Check(t.Context(), "a", "$ecret"); err != nil || c.Hashed() {
			t.Errorf("%v, hashed %v", err, c.Hashed())
		}
	})
}

// The hash is of "antitiming", made by `caddy hash-password --algorithm argon2id`; it stands in Caddy's own source
// (modules/caddyhttp/caddyauth/argon2id.go, Apache-2.0).
func TestAHashMadeByCaddy(t *testing.T) {
	c := checker(t, user("a", "1", "$argon2id$v=19$m=47104,t=1,p=1$P2nzckEdTZ3bxCiBCkRTyA$xQL3Z32eo5jKl7u5tcIsnEKObYiyNZQQf5/4sAau6Pg"))
	if _, err := c.Check(t.Context(), "a", "antitiming"); err != nil || !c.Hashed() {
		t.Errorf("%v, hashed %v", err, c.Hashed())
	}
}

func FuzzParseHash(f *testing.F) {
	for _, text := range []string{bcryptHash(f, "x"), argon2Hash("x"), "$2y$16$", "$argon2id$v=19$m=1,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA", "$", "$1$a", "plain"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		match, _, err := parseHash(text)
		if (match == nil) != (err != nil) {
			t.Errorf("comparison and error do not agree: %v", err)
		}
		if err != nil && len(text) > 32 && strings.Contains(err.Error(), text) {
			t.Error("the error holds the text")
		}
	})
}
