package integration

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// buildCaddy builds cmd/caddy, once for a test.
func buildCaddy(t *testing.T) string {
	t.Helper()
	need(t, "go")
	program := filepath.Join(t.TempDir(), "caddy")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "./cmd/caddy")
	build.Dir = filepath.Join("..", "..")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building cmd/caddy: %v\n%s", err, output)
	}
	return program
}

// caddyProcess is cmd/caddy with a Caddyfile, as a process of its own.
type caddyProcess struct {
	t       *testing.T
	program string
	dir     string
	process *exec.Cmd
}

const processSite = `{
	admin off
	persist_config off
	caddyauth {
		store STORE
	}
}
http://:PORT {
	bind 127.0.0.1
	callback_auth vonage {
		secret {env.CADDYAUTH_TEST_SECRET}
	}
	reverse_proxy RECEIVER {
		header_up X-Message {http.callback_auth.id}
	}
}
`

// start starts it. That it answers is for the caller to see.
func (c *caddyProcess) start() {
	c.t.Helper()
	var output bytes.Buffer
	c.process = exec.Command(c.program, "run", "--config", filepath.Join(c.dir, "Caddyfile"))
	c.process.Stdout, c.process.Stderr = &output, &output
	c.process.Env = append(os.Environ(), "HOME="+c.dir, "XDG_CONFIG_HOME="+c.dir, "XDG_DATA_HOME="+c.dir, "CADDYAUTH_TEST_SECRET="+testbed.Secret)
	if err := c.process.Start(); err != nil {
		c.t.Fatal(err)
	}
}

// kill ends it at once, as a power failure would.
func (c *caddyProcess) kill() {
	_ = c.process.Process.Kill()
	_ = c.process.Wait()
}

// R20: a Caddy that is killed in the middle of its traffic starts again and goes on. With Redis, no message that had
// passed passes again; in memory nothing outlasts the process, as the README says.
func TestReliabilityR20KillAndRestart(t *testing.T) {
	need(t, "redis-server")
	program := buildCaddy(t)
	rounds, rate, requests := bound(2, 10), 100, bound(50, 500)
	for _, store := range []string{"redis", "memory"} {
		t.Run(store, func(t *testing.T) {
			var mu sync.Mutex
			delivered := make(map[string]int)
			receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				delivered[r.Header.Get("X-Message")]++
				mu.Unlock()
				received(w, r)
			}))
			defer receiver.Close()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			address := listener.Addr().String()
			_ = listener.Close()
			_, port, _ := net.SplitHostPort(address)
			used := "memory"
			if store == "redis" {
				used = "redis " + startRedisServer(t).url() + " {\n\t\t\ttimeout 1s\n\t\t}"
			}
			dir := t.TempDir()
			site := strings.NewReplacer("STORE", used, "PORT", port, "RECEIVER", receiver.Listener.Addr().String()).Replace(processSite)
			if err := os.WriteFile(filepath.Join(dir, "Caddyfile"), []byte(site), 0o600); err != nil {
				t.Fatal(err)
			}
			c := &caddyProcess{t: t, program: program, dir: dir}
			o := &once{traffic: newTraffic(t, "tcp", address), path: "/", passed: make(map[string]int), lives: 1}
			o.lossy = true
			up := func() time.Duration {
				start := time.Now()
				c.start()
				eventually(t, "it answers", func() bool { return o.send("forged", o.callback("/", forger, "up"), http.StatusUnauthorized) != 0 })
				return time.Since(start)
			}
			up()
			defer func() { c.kill() }()

			var slowest time.Duration
			copies := 0
			for range rounds {
				o.during("")
				var sending sync.WaitGroup
				sending.Go(func() {
					steadily(rate, time.Duration(2*requests)*time.Second/time.Duration(rate), func(n int) { o.one(o.number(n)) })
				})
				sent := o.sent()
				eventually(t, "it is in the middle of its traffic", func() bool { return o.sent() >= sent+requests })
				if store == "memory" {
					o.mu.Lock()
					o.lives++
					o.mu.Unlock()
				}
				c.kill()
				slowest = max(slowest, up())
				sending.Wait()
				o.mu.Lock()
				var passed []string
				for id := range o.passed {
					passed = append(passed, id)
				}
				o.mu.Unlock()
				copies += len(passed)
				for _, id := range passed {
					if store == "redis" {
						o.send("copy after the restart", o.callback("/", testbed.Secret, id), http.StatusConflict)
					} else {
						// Once more, for those from before; never twice.
						o.message("copy after the restart", id)
						o.send("copy of the copy", o.callback("/", testbed.Secret, id), http.StatusConflict)
					}
				}
			}
			o.judge()
			mu.Lock()
			twice := 0
			for _, n := range delivered {
				if n > 1 {
					twice++
				}
			}
			mu.Unlock()
			if store == "redis" && twice > 0 {
				t.Errorf("%d messages were delivered twice", twice)
			}
			held(t, "%s: killed and started %d times in the middle of %d requests at %d/s: up after %v at most; copies sent of %d messages that had passed before: %d passed; %d requests without an answer, their senders tried again: %d messages were delivered twice in all",
				store, rounds, o.sent(), rate, slowest.Round(time.Millisecond), copies, o.counted("copy after the restart 200"), o.counted("no answer"), twice)
		})
	}
}
