//go:build unix

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"text/template"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

const (
	rtmpHookKey    = "rtmp-hook-key-0123456789abcdef0123456"
	nginxRTMP      = "/usr/lib/nginx/modules/ngx_rtmp_module.so" // of Debian's libnginx-mod-rtmp
	publishSeconds = 60
)

// rtmpHook is the gate: nginx proves itself by a key in the hook's URL, everybody else by a token. Where everybody is
// allowed, hooks that can let in nobody must still be refused.
const rtmpHook = `http:// {
	route /hooks/open {
		stream_auth nginx_rtmp {
			fallback allow
		}
	}
	route /hooks/rtmp {
		callback_auth api_key {
			query key
			key ` + rtmpHookKey + `
		}
		stream_auth nginx_rtmp {
			token {
				jwt {
					secret ` + streamSecret + `
				}
			}
			deny vip {
				stream live/vip
			}
			allow renamed {
				mode publish
				stream alias
				token valid
				rename internal-{stream.name}
			}
			allow one-at-a-time {
				stream single
				mode play
				token valid
				max_sessions 1 per stream
			}
			allow polluted {
				mode publish
				stream live/evil
			}
			allow one-stream-each {
				mode publish
				stream live/taken live/free
				token valid
				max_sessions 1 per user
			}
			allow studio {
				token valid
				time_limit token
			}
		}
	}
}
`

var rtmpConf = template.Must(template.New("nginx.conf").Parse(`
load_module {{.Module}};
daemon off;
master_process off;
worker_processes 1;
pid {{.Dir}}/nginx.pid;
error_log {{.Dir}}/error.log error;
events { worker_connections 64; }
rtmp {
	server {
		listen 127.0.0.1:{{.Port}};
		notify_method post;
		on_disconnect {{.Hook}};
		application live {
			live on;
			notify_update_timeout 1s;
			on_publish {{.Hook}};
			on_play {{.Hook}};
			on_update {{.Hook}};
			on_publish_done {{.Hook}};
			on_play_done {{.Hook}};
			on_done {{.Hook}};
		}
	}
	server {
		listen 127.0.0.1:{{.Other}};
		notify_method get;
		application live {
			live on;
			on_publish {{.Open}};
		}
	}
	server {
		listen 127.0.0.1:{{.Connect}};
		notify_method post;
		on_connect {{.Open}};
		application live { live on; }
	}
}
`))

func TestRealNginxRTMPAsksAndObeys(t *testing.T) {
	need(t, "nginx", "ffmpeg")
	if _, err := os.Stat(nginxRTMP); err != nil {
		missing(t, "libnginx-mod-rtmp")
	}
	hooks := startHooks(t, rtmpHook, func(body []byte) string {
		// Of all fields named call, the first is nginx's: its session block comes before it, and is escaped.
		_, after, _ := strings.Cut(string(body), "&call=")
		call, _, _ := strings.Cut(after, "&")
		return call
	})
	server := startNginx(t, hooks.url)

	inAnHour := time.Now().Add(time.Hour)
	token := func(name, mode string, end time.Time) string {
		return "?token=" + testbed.HS256(t, streamSecret, nil, map[string]any{"stream": "live/" + name, "mode": mode, "exp": end.Unix()})
	}

	t.Run("a publisher with a token is on the air, and a player with one hears it", func(t *testing.T) {
		server.publish(t, "cam1"+token("cam1", "publish", inAnHour))
		hooks.expect(t, "publish", 200)
		hooks.expect(t, "update_publish", 200)

		if err := server.play(t, "cam1"+token("cam1", "play", inAnHour)); err != nil {
			t.Errorf("a player with a token: %v", err)
		}
		hooks.expect(t, "play", 200)
		hooks.expect(t, "play_done", 200)

		for name, query := range map[string]string{
			"no token":                   "",
			"a publisher's token":        token("cam1", "publish", inAnHour),
			"a token for another stream": token("cam2", "play", inAnHour),
			"an expired token":           token("cam1", "play", time.Now().Add(-time.Hour)),
		} {
			if err := server.play(t, "cam1"+query); err == nil {
				t.Errorf("a player with %s heard the stream", name)
			}
			hooks.expect(t, "play", 403)
		}
	})
	t.Run("a publisher without one is refused", func(t *testing.T) {
		for name, query := range map[string]string{
			"no token":           "",
			"a player's token":   token("cam4", "play", inAnHour),
			"a token of nobody":  "?token=open-sesame",
			"somebody else's":    token("cam1", "publish", inAnHour),
			"two tokens at once": token("cam4", "publish", inAnHour) + "&token=other",
		} {
			if ended := server.publish(t, "cam4"+query); !within(ended, 20*time.Second) {
				t.Errorf("a publisher with %s is on the air", name)
			}
			hooks.expectAny(t, "publish", 403, 400)
		}
	})
	t.Run("a token's end is the publisher's end, at the next update", func(t *testing.T) {
		ended := server.publish(t, "cam5"+token("cam5", "publish", time.Now().Add(4*time.Second)))
		hooks.expect(t, "publish", 200)
		hooks.expect(t, "update_publish", 403)
		if !within(ended, 30*time.Second) {
			t.Fatal("still on the air long after the token's end")
		}
		hooks.expect(t, "publish_done", 200)
	})
	t.Run("a stream is renamed to the name as it is", func(t *testing.T) {
		server.publish(t, "alias"+token("alias", "publish", inAnHour))
		call := hooks.expect(t, "publish", 302)
		if call.location != "internal-alias" {
			t.Errorf("Location is %q", call.location)
		}
		hooks.expect(t, "update_publish", 200)
		if err := server.play(t, "internal-alias"+token("internal-alias", "play", inAnHour)); err != nil {
			t.Errorf("the stream is not there under its new name: %v", err)
		}
		hooks.expect(t, "play", 200)
	})
	t.Run("a client that writes fields of nginx's own is who nginx says it is", func(t *testing.T) {
		const pollution = "?name=vip&app=other&addr=10.0.0.1&call=update_publish&clientid=99"
		server.publish(t, "evil"+pollution)
		hooks.expect(t, "publish", 200)
		if ended := server.publish(t, "vip?name=evil&app=live&addr=10.0.0.1&call=update_publish&clientid=99"); !within(ended, 20*time.Second) {
			t.Error("a client that calls its stream another is on the air")
		}
		hooks.expect(t, "publish", 403)
	})
	t.Run("a raw semicolon locks nobody out", func(t *testing.T) {
		server.publish(t, "cam2?a=%zz&b=1;c=2&d=x+y&"+token("cam2", "publish", inAnHour)[1:])
		hooks.expect(t, "publish", 200)
	})
	t.Run("a token that nginx has cut off is called that", func(t *testing.T) {
		before := strings.Count(hooks.gate.Logs.String(), "truncated")
		if ended := server.publish(t, "cam3?token="+strings.Repeat("x", 400)); !within(ended, 20*time.Second) {
			t.Error("on the air")
		}
		hooks.expect(t, "publish", 403)
		if strings.Count(hooks.gate.Logs.String(), "truncated") == before {
			t.Error("the log does not say that the token was cut off")
		}
	})
	t.Run("one player at a time, and the next when it has left", func(t *testing.T) {
		server.publish(t, "single"+token("single", "publish", inAnHour))
		hooks.expect(t, "publish", 200)
		first, stop := server.startPlayer(t, "single"+token("single", "play", inAnHour))
		hooks.expect(t, "play", 200)
		if err := server.play(t, "single"+token("single", "play", inAnHour)); err == nil {
			t.Error("two players at once")
		}
		hooks.expect(t, "play", 403)
		stop()
		<-first
		hooks.expect(t, "play_done", 200)
		// The refused player's connection ends, too, and must not have closed the other's session.
		if err := server.play(t, "single"+token("single", "play", inAnHour)); err != nil {
			t.Errorf("the next player: %v", err)
		}
		hooks.expect(t, "play", 200)
	})
	t.Run("a publisher whom nginx itself refuses, for another is on the air, counts no longer", func(t *testing.T) {
		of := func(user, name string) string {
			return name + "?token=" + testbed.HS256(t, streamSecret, nil, map[string]any{"sub": user, "stream": "live/*", "mode": "publish", "exp": inAnHour.Unix()})
		}
		server.publish(t, of("alice", "taken"))
		hooks.expect(t, "publish", 200)
		if ended := server.publish(t, of("bob", "taken")); !within(ended, 20*time.Second) {
			t.Fatal("two publishers of one stream")
		}
		hooks.expect(t, "publish", 200)
		hooks.expect(t, "publish_done", 200)
		server.publish(t, of("bob", "free"))
		hooks.expect(t, "publish", 200)
		if ended := server.publish(t, of("alice", "free")); !within(ended, 20*time.Second) {
			t.Error("alice is on the air twice")
		}
		hooks.expect(t, "publish", 403)
	})
	t.Run("hooks by GET, and a hook at connect, let nobody in", func(t *testing.T) {
		for _, refused := range []struct {
			port   int
			call   string // in the body
			status int
		}{{server.other, "", http.StatusMethodNotAllowed}, {server.connect, "connect", http.StatusBadRequest}} {
			address := fmt.Sprintf("rtmp://127.0.0.1:%d/live/cam1%s", refused.port, token("cam1", "publish", inAnHour))
			if ended := publishTone(t, address); !within(ended, 20*time.Second) {
				t.Errorf("on the air at port %d", refused.port)
			}
			hooks.expect(t, refused.call, refused.status)
		}
	})
}

// hooks is what a media server asks: all of it goes through the gate, and is noted.
type hooks struct {
	url  string
	gate *testbed.Bed

	asked chan asked
}

// asked is one hook and its answer.
type asked struct {
	action, location string
	status           int
	body             string
}

// startHooks listens for a media server's hooks. action finds in a body what is asked.
func startHooks(t *testing.T, caddyfile string, action func(body []byte) string) *hooks {
	t.Helper()
	h := &hooks{gate: testbed.Run(t, caddyfile), asked: make(chan asked, 1000)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "", http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := h.gate.Do(t, r)
		maps.Copy(w.Header(), answer.Header)
		w.WriteHeader(answer.Status)
		io.WriteString(w, answer.Body)
		select {
		case h.asked <- asked{action(body), answer.Header.Get("Location"), answer.Status, answer.Body}:
		default: // nobody waits for so many
		}
	}))
	t.Cleanup(server.Close)
	h.url = server.URL
	return h
}

// expect waits for a hook of this kind with this answer. Those between are of other kinds, or of streams from before.
func (h *hooks) expect(t *testing.T, action string, status int) asked {
	t.Helper()
	return h.expectAny(t, action, status)
}

// expectAny is expect for one of several answers.
func (h *hooks) expectAny(t *testing.T, action string, statuses ...int) asked {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var seen []string
	for {
		select {
		case call := <-h.asked:
			for _, status := range statuses {
				if call.action == action && call.status == status {
					return call
				}
			}
			seen = append(seen, fmt.Sprintf("%s %d", call.action, call.status))
		case <-ctx.Done():
			t.Fatalf("never asked for %s with the answer %v; asked: %s", action, statuses, strings.Join(seen, ", "))
		}
	}
}

// answers are kinds of hooks, and the statuses that each may have.
type answers map[string][]int

// expectEach waits for a hook of each of these kinds, in whatever order they come.
func (h *hooks) expectEach(t *testing.T, wanted answers) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var seen []string
	for len(wanted) > 0 {
		select {
		case call := <-h.asked:
			if slices.Contains(wanted[call.action], call.status) {
				delete(wanted, call.action)
			}
			seen = append(seen, fmt.Sprintf("%s %d", call.action, call.status))
		case <-ctx.Done():
			t.Fatalf("never asked for %v; asked: %s", wanted, strings.Join(seen, ", "))
		}
	}
}

// nginx is a running nginx with the RTMP module.
type nginx struct {
	port, other, connect int
}

// startNginx runs nginx as one process in the foreground.
func startNginx(t *testing.T, base string) *nginx {
	t.Helper()
	n := &nginx{port: freePort(t), other: freePort(t), connect: freePort(t)}
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	file, err := os.Create(config)
	if err != nil {
		t.Fatal(err)
	}
	err = rtmpConf.Execute(file, map[string]any{
		"Module": nginxRTMP, "Dir": dir, "Port": n.port, "Other": n.other, "Connect": n.connect,
		"Hook": base + "/hooks/rtmp?key=" + rtmpHookKey, "Open": base + "/hooks/open",
	})
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	runServer(t, exec.CommandContext(t.Context(), "nginx", "-p", dir, "-c", config, "-e", filepath.Join(dir, "error.log")), n.port, filepath.Join(dir, "error.log"))
	return n
}

// publish sends a tone to a stream of the application live. The channel is closed when ffmpeg has ended.
func (n *nginx) publish(t *testing.T, stream string) <-chan struct{} {
	t.Helper()
	return publishTone(t, fmt.Sprintf("rtmp://127.0.0.1:%d/live/%s", n.port, stream))
}

// play hears a stream of the application live for a moment, or says why not.
func (n *nginx) play(t *testing.T, stream string) error {
	t.Helper()
	return playTone(t, fmt.Sprintf("rtmp://127.0.0.1:%d/live/%s", n.port, stream))
}

// startPlayer plays until it is stopped, and returns when it hears something.
func (n *nginx) startPlayer(t *testing.T, stream string) (ended <-chan struct{}, stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "ffmpeg", append(playArgs(fmt.Sprintf("rtmp://127.0.0.1:%d/live/%s", n.port, stream)), "-t", "60", "-f", "data", "-")...)
	heard := new(atomic.Int64)
	first := make(chan struct{})
	cmd.Stdout = writerFunc(func(data []byte) (int, error) {
		if heard.Add(int64(len(data))) == int64(len(data)) {
			close(first)
		}
		return len(data), nil
	})
	done := start(t, cmd)
	t.Cleanup(func() { cancel(); <-done })
	if !within(first, 20*time.Second) {
		t.Fatal("the player hears nothing")
	}
	return done, cancel
}

// publishTone runs an ffmpeg that sends a tone, for a minute at most.
func publishTone(t *testing.T, address string) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cmd := exec.CommandContext(ctx, "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin",
		"-re", "-f", "lavfi", "-i", fmt.Sprintf("sine=frequency=440:duration=%d", publishSeconds),
		"-c:a", "aac", "-b:a", "64k", "-f", "flv", address)
	done := start(t, cmd)
	t.Cleanup(func() { cancel(); <-done })
	return done
}

// playTone hears a moment of a stream.
func playTone(t *testing.T, address string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ffmpeg", append(playArgs(address), "-t", "0.3", "-f", "data", "-")...)
	output, err := cmd.Output()
	if err == nil && len(output) == 0 {
		err = errors.New("nothing was heard")
	}
	return err
}

func playArgs(address string) []string {
	return []string{
		"-hide_banner", "-loglevel", "error", "-nostdin", "-rw_timeout", "15000000",
		"-analyzeduration", "100000", "-probesize", "4096", "-i", address, "-map", "0:a", "-c", "copy",
	}
}

// start runs a command to its end.
func start(t *testing.T, cmd *exec.Cmd) <-chan struct{} {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		cmd.Wait()
	}()
	return done
}

// runServer runs a server to the end of the test, and returns when it listens. Where the test fails, its output and its
// log are shown.
func runServer(t *testing.T, cmd *exec.Cmd, port int, errorLog string) {
	t.Helper()
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	ended := start(t, cmd)
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		if t.Failed() {
			text, _ := os.ReadFile(errorLog)
			t.Logf("%s said:\n%s\n%s", filepath.Base(cmd.Path), output.Bytes(), text)
		}
	})
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	tooLate := time.NewTimer(30 * time.Second)
	defer tooLate.Stop()
	for {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-again.C:
		case <-ended:
			t.Fatalf("%s ended at once:\n%s", cmd.Path, output.Bytes())
		case <-tooLate.C:
			t.Fatalf("%s does not listen: %v", cmd.Path, err)
		}
	}
}

// within waits for the end of something.
func within(ended <-chan struct{}, patience time.Duration) bool {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
		return false
	}
}

// writerFunc is an io.Writer.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(data []byte) (int, error) { return f(data) }
