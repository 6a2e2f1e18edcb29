package store

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"go.uber.org/goleak"
)

// fakeServer is a Redis that does as it likes: answer gets each command and gives the bytes to send, and whether the
// connection goes on.
type fakeServer struct {
	listener net.Listener
	answer   func(command []string) (reply string, goOn bool)

	all   sync.WaitGroup
	mu    sync.Mutex
	conns map[net.Conn]bool
}

// serveFake serves on network and address until the test ends or close is called.
func serveFake(t *testing.T, network, address string, answer func([]string) (string, bool)) *fakeServer {
	t.Helper()
	listener, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeServer{listener: listener, answer: answer, conns: make(map[net.Conn]bool)}
	s.all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[conn] = true
			s.mu.Unlock()
			s.all.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(s.close)
	return s
}

func (s *fakeServer) close() {
	_ = s.listener.Close()
	s.mu.Lock()
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.all.Wait()
}

func (s *fakeServer) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	reader := bufio.NewReader(conn)
	for {
		command, err := readCommand(reader)
		if err != nil {
			return
		}
		reply, goOn := s.answer(command)
		if _, err := io.WriteString(conn, reply); err != nil || !goOn {
			return
		}
	}
}

// open is how many connections there are.
func (s *fakeServer) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// readCommand reads an array of bulk strings.
func readCommand(r *bufio.Reader) ([]string, error) {
	number := func(kind byte) (int, error) {
		line, err := r.ReadString('\n')
		if err != nil || line[0] != kind {
			return 0, fmt.Errorf("%q: %v", line, err)
		}
		return strconv.Atoi(strings.TrimRight(line[1:], "\r\n"))
	}
	n, err := number('*')
	if err != nil {
		return nil, err
	}
	words := make([]string, n)
	for i := range words {
		length, err := number('$')
		if err != nil {
			return nil, err
		}
		word := make([]byte, length+2)
		if _, err := io.ReadFull(r, word); err != nil {
			return nil, err
		}
		words[i] = string(word[:length])
	}
	return words, nil
}

// greeting answers HELLO as Redis 7 does in RESP2, so that the fault comes with the script and not before.
const greeting = "*4\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:2\r\n"

// afterGreeting is a server that gives one answer to every script.
func afterGreeting(reply string, goOn bool) func([]string) (string, bool) {
	return func(command []string) (string, bool) {
		if strings.EqualFold(command[0], "hello") {
			return greeting, true
		}
		return reply, goOn
	}
}

// honest answers a script as ours do: with the number and the nonce.
func honest(n int) func([]string) (string, bool) {
	return func(command []string) (string, bool) {
		if strings.EqualFold(command[0], "hello") {
			return greeting, true
		}
		nonce := command[len(command)-1]
		return fmt.Sprintf("*2\r\n:%d\r\n$%d\r\n%s\r\n", n, len(nonce), nonce), true
	}
}

// everyOperation calls all operations and holds each to an error, within a time that only a hanging one can miss.
func everyOperation(t *testing.T, s Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	key := testKey(1)
	if fresh, err := isFresh(s.Reserve(ctx, key, NewOwner(), time.Minute)); err == nil || fresh {
		t.Errorf("Reserve: fresh %v, error %v", fresh, err)
	}
	if granted, err := s.Acquire(ctx, key, key, 1, time.Minute); err == nil || granted {
		t.Errorf("Acquire: granted %v, error %v", granted, err)
	}
	for name, err := range map[string]error{
		"Keep": s.Keep(ctx, key, time.Minute), "Release": s.Release(ctx, key, NewOwner()), "Leave": s.Leave(ctx, key, key),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), "garbage") {
			t.Errorf("%s: the error quotes the server: %v", name, err)
		}
	}
	if err := ctx.Err(); err != nil {
		t.Errorf("operations went on for 20 s: %v", err)
	}
}

func TestAServerThatMisbehavesIsAnErrorAndNeverAYes(t *testing.T) {
	const patience = 50 * time.Millisecond
	for name, answer := range map[string]func([]string) (string, bool){
		"blackholed":                  func([]string) (string, bool) { return "", true },
		"rp-redis-slow":               afterGreeting("", true), // an answer in 10 s is one that does not come
		"rp-redis-lying-ok":           func([]string) (string, bool) { return "+OK\r\n", true },
		"lying OK to scripts":         afterGreeting("+OK\r\n", true),
		"lying with a number":         afterGreeting(":1\r\n", true),
		"lying with nothing":          afterGreeting("$-1\r\n", true),
		"lying with an empty array":   afterGreeting("*0\r\n", true),
		"lying with somebody's nonce": afterGreeting("*2\r\n:1\r\n$16\r\n0123456789abcdef\r\n", true),
		"the number is a string": func(c []string) (string, bool) {
			return strings.Replace(first(honest(1)(c)), ":1\r\n", "$1\r\n1\r\n", 1), true
		},
		"the number is below 0":         honest(-1),
		"garbage":                       afterGreeting("garbage\r\n", true),
		"zeros without end":             func([]string) (string, bool) { return strings.Repeat("\x00", 1<<18), true },
		"garbage for a greeting":        func([]string) (string, bool) { return "HTTP/1.1 400 garbage\r\n\r\n", true },
		"an error":                      afterGreeting("-ERR garbage\r\n", true),
		"an error for a greeting":       func([]string) (string, bool) { return "-DENIED garbage\r\n", true },
		"a primary that became replica": afterGreeting("-READONLY You can't write against a read only replica.\r\n", true),
		"rp-redis-huge-bulk":            afterGreeting("$2147483647\r\ngarbage", true),
		"huge, with zeros before":       afterGreeting("$"+strings.Repeat("0", 40)+"2147483647\r\ngarbage", true),
		"a huge array":                  afterGreeting("*2147483647\r\n", true),
		"arrays without end":            afterGreeting(strings.Repeat("*1\r\n", 1<<18), true),
		"a line without end":            afterGreeting("+"+strings.Repeat("garbage", 1<<18), true),
		"rp-redis-drop-midreply":        afterGreeting("*2\r\n:1\r\n$16\r\n0123", false),
		"dropped at once":               func([]string) (string, bool) { return "", false },
	} {
		t.Run(name, func(t *testing.T) {
			server := serveFake(t, "tcp", "127.0.0.1:0", answer)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			everyOperation(t, testRedis(t, "redis://"+server.listener.Addr().String(), "", patience))
			runtime.ReadMemStats(&after)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 256<<20 {
				t.Errorf("%d MiB for seven operations", grown>>20)
			}
		})
		t.Run(name+", a cluster", func(t *testing.T) {
			server := serveFake(t, "tcp", "127.0.0.1:0", answer)
			everyOperation(t, testRedis(t, "redis://"+server.listener.Addr().String()+"?cluster=true", "", patience))
		})
	}
	t.Run("refused", func(t *testing.T) {
		everyOperation(t, testRedis(t, "unix://"+filepath.Join(t.TempDir(), "nobody"), "", patience))
	})
	t.Run("no TLS where TLS is asked for", func(t *testing.T) {
		server := serveFake(t, "tcp", "127.0.0.1:0", honest(1))
		everyOperation(t, testRedis(t, "rediss://"+server.listener.Addr().String(), "", patience))
	})
}

func first(reply string, _ bool) string { return reply }

// The fake server that behaves is believed: so the errors above come from the faults.
func TestTheFakeServerIsBelievedWhenItBehaves(t *testing.T) {
	for n, want := range []bool{false, true} {
		server := serveFake(t, "tcp", "127.0.0.1:0", honest(n))
		r := testRedis(t, "redis://"+server.listener.Addr().String(), "", 5*time.Second)
		mustReserve(t, r, testKey(1), want)
		if got, err := r.Acquire(t.Context(), testKey(1), testKey(1), 1, time.Minute); err != nil || got != want {
			t.Errorf("Acquire: %v, %v", got, err)
		}
	}
}

// A server that answers the question before the last one, each time, gives errors only, as long as it does so.
func TestAnswersInTheWrongPlace(t *testing.T) {
	t.Run("rp-redis-desync", func(t *testing.T) {
		for name, swap := range map[string]func(previous, now string) string{
			"the answer before":                func(previous, _ string) string { return previous },
			"two answers, the wrong one first": func(previous, now string) string { return previous + now },
			"two answers, the wrong one last":  func(previous, now string) string { return now + previous },
		} {
			t.Run(name, func(t *testing.T) {
				var mu sync.Mutex
				previous := first(honest(1)([]string{"EVALSHA", "0000000000000000"}))
				server := serveFake(t, "tcp", "127.0.0.1:0", func(command []string) (string, bool) {
					reply, goOn := honest(0)(command) // the truth is: seen
					if strings.EqualFold(command[0], "hello") {
						return reply, goOn
					}
					mu.Lock()
					defer mu.Unlock()
					swapped := swap(previous, reply)
					previous = strings.Replace(reply, ":0", ":1", 1) // the delayed one would say: fresh
					return swapped, true
				})
				r := testRedis(t, "redis://"+server.listener.Addr().String(), "", 5*time.Second)
				for n := range 20 {
					if fresh, err := isFresh(r.Reserve(t.Context(), testKey(n), NewOwner(), time.Minute)); fresh {
						t.Fatalf("call %d: an answer to another call was believed (error %v)", n, err)
					}
				}
			})
		}
	})
	t.Run("an answer that comes after its call gave up", func(t *testing.T) {
		late := make(chan struct{})
		var once sync.Once
		server := serveFake(t, "tcp", "127.0.0.1:0", func(command []string) (string, bool) {
			if !strings.EqualFold(command[0], "hello") {
				wait := false
				once.Do(func() { wait = true })
				if wait {
					<-late
					return first(honest(1)(command)), true
				}
			}
			return honest(0)(command)
		})
		r := testRedis(t, "redis://"+server.listener.Addr().String(), "", 100*time.Millisecond)
		if fresh, err := isFresh(r.Reserve(t.Context(), testKey(1), NewOwner(), time.Minute)); err == nil || fresh {
			t.Errorf("fresh %v, error %v", fresh, err)
		}
		close(late)
		eventually(t, "the next calls get their own answers", func() bool {
			fresh, err := isFresh(r.Reserve(t.Context(), testKey(2), NewOwner(), time.Minute))
			if fresh {
				t.Fatal("the late answer was believed")
			}
			return err == nil
		})
	})
}

func TestAServerThatHangsHoldsNoMoreThanThePool(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	server := serveFake(t, "tcp", "127.0.0.1:0", func([]string) (string, bool) { return "", true })
	defer server.close()
	r := testRedis(t, "redis://"+server.listener.Addr().String(), "", 50*time.Millisecond)
	before := runtime.NumGoroutine()
	const requests = 500
	var all sync.WaitGroup
	most, mu := 0, sync.Mutex{}
	for n := range requests {
		all.Go(func() {
			fresh, err := isFresh(r.Reserve(t.Context(), testKey(n), NewOwner(), time.Minute))
			if err == nil || fresh {
				t.Errorf("fresh %v, error %v", fresh, err)
			}
			mu.Lock()
			defer mu.Unlock()
			most = max(most, server.open())
		})
	}
	// Beside the requests themselves and the server's two goroutines a connection, there is a bounded number.
	if now := runtime.NumGoroutine(); now > before+requests+4*poolSize {
		t.Errorf("%d goroutines for %d requests", now-before, requests)
	}
	all.Wait()
	// Connections that the client closed may still be counted here, until the server has noticed.
	if most > 4*poolSize {
		t.Errorf("%d connections at once; the pool has %d", most, poolSize)
	}
	if err := r.Cleanup(); err != nil {
		t.Error(err)
	}
	server.close()
}

func TestAServerThatComesBackIsUsedAgain(t *testing.T) {
	for name, away := range map[string]func([]string) (string, bool){
		"hanging":  func([]string) (string, bool) { return "", true },
		"dropping": func([]string) (string, bool) { return "", false },
		"garbage":  func([]string) (string, bool) { return "garbage\r\n", true },
		"an error": func([]string) (string, bool) { return "-LOADING Redis is loading the dataset in memory\r\n", true },
		"refusing": nil,
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			r := testRedis(t, "unix://"+socket, "", 50*time.Millisecond)
			for range 3 { // flapping
				server := serveFake(t, "unix", socket, honest(1))
				eventually(t, "the store works", func() bool {
					fresh, err := isFresh(r.Reserve(t.Context(), testKey(1), NewOwner(), time.Minute))
					return err == nil && fresh
				})
				server.close()
				if away == nil {
					for range 3 {
						everyOperation(t, r)
					}
					continue
				}
				broken := serveFake(t, "unix", socket, away)
				everyOperation(t, r)
				broken.close()
			}
		})
	}
}

func TestAServerThatForgetsItsScriptsIsToldThemAgain(t *testing.T) {
	server := miniredis.RunT(t)
	r := testRedis(t, "redis://"+server.Addr(), "", 5*time.Second)
	mustReserve(t, r, testKey(1), true)
	if err := r.client.ScriptFlush(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	mustReserve(t, r, testKey(1), false)
	mustReserve(t, r, testKey(2), true)
}

func TestAttackCasesOnRedis(t *testing.T) {
	server := miniredis.RunT(t)
	url := "redis://" + server.Addr()
	attackCases(t, testRedis(t, url, "", 5*time.Second), func() *Redis { return testRedis(t, url, "", 4*time.Second) })
}

// The limitation that the documentation of Redis names: a replica that never got the id cannot know it.
func TestAReplicaThatTakesOver(t *testing.T) {
	t.Run("rp-redis-failover", func(t *testing.T) {
		server := miniredis.RunT(t)
		r := testRedis(t, "redis://"+server.Addr(), "", 5*time.Second)
		mustReserve(t, r, testKey(1), true)
		server.FlushAll() // what the replica did not get
		mustReserve(t, r, testKey(1), true)
		mustReserve(t, r, testKey(1), false) // from then on it is atomic again
	})
}

func TestErrorsSayWhatHappenedAndNothingElse(t *testing.T) {
	secret := errors.New("garbage from the server: hunter2")
	for _, err := range []error{
		secret, fmt.Errorf("x: %w", secret), fmt.Errorf("%w: hunter2", ErrReplyTooLarge), fmt.Errorf("%w: hunter2", context.DeadlineExceeded),
		fmt.Errorf("%w: hunter2", context.Canceled), &net.OpError{Op: "dial", Err: errors.New("connection refused"), Addr: &net.UnixAddr{Name: "hunter2"}},
	} {
		if got := describe(err, time.Second).Error(); strings.Contains(got, "hunter2") || !strings.HasPrefix(got, "redis: ") {
			t.Errorf("%v becomes %q", err, got)
		}
	}
	for reply, want := range map[string]string{
		"NOAUTH Authentication required.": "NOAUTH", "ERR unknown command 'hunter2'": "ERR", "": "an error of its own",
		"hunter2 is no word": "an error of its own", "AVERYLONGWORDTHATNOSERVERHASSAID": "an error of its own",
	} {
		if got := code(reply); got != want {
			t.Errorf("%q becomes %q; want %q", reply, got, want)
		}
	}
}

// What a server sends without end is not read to the end of the bound, which would take a decision's time.
func TestALineIsNoLongerThanAWordOrAnError(t *testing.T) {
	for text, want := range map[string]error{
		"-ERR " + strings.Repeat("x", 1000) + "\r\n:1\r\n": nil, strings.Repeat("+OK\r\n", 2000): nil,
		"$9000\r\n" + strings.Repeat("x", 9000) + "\r\n": nil,
		"+" + strings.Repeat("x", maxLineBytes):          ErrReplyTooLarge, strings.Repeat("\x00", maxLineBytes+1): ErrReplyTooLarge,
	} {
		if err := new(frames).follow([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%.10q…, %d bytes: %v", text, len(text), err)
		}
	}
}

// FuzzFrames holds the bounds on what servers send to what they promise, however it is cut into pieces: no more bytes
// are ever waited for than the bound, and what a real server sends passes.
func FuzzFrames(f *testing.F) {
	for _, seed := range []string{
		greeting, "*2\r\n:1\r\n$16\r\n0123456789abcdef\r\n", "+OK\r\n", "-ERR no\r\n", "$-1\r\n", "*-1\r\n", "$0\r\n\r\n",
		"$2147483647\r\n", "$99999999999999999999\r\n", "$00000000000000000000000000005\r\n", "*65537\r\n", "%1\r\n+a\r\n+b\r\n", "\n\n\r\n$",
		"$3\r\n$9\n\r\n", "$1048576\r\n",
	} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, stream []byte, piece int) {
		whole, pieces := new(frames), new(frames)
		wholeErr := whole.follow(stream)
		piece = max(1, piece%64)
		for rest := stream; len(rest) > 0; {
			n := min(piece, len(rest))
			if err := pieces.follow(rest[:n]); err != nil {
				if !errors.Is(err, ErrReplyTooLarge) {
					t.Fatal(err)
				}
				return // a length near the bound may be refused by pieces and not as a whole, or the other way round
			}
			rest = rest[n:]
			if pieces.skip > maxReplyBytes+2 || pieces.elements > maxReplyElements || len(pieces.line) > maxHeader || pieces.length > maxLineBytes {
				t.Fatalf("%+v", pieces)
			}
		}
		if wholeErr == nil && (whole.skip != pieces.skip || string(whole.line) != string(pieces.line) || whole.elements != pieces.elements) {
			t.Fatalf("%+v as a whole, %+v by pieces", whole, pieces)
		}
	})
}
