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
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

const (
	hookPassword   = "hook-password-0123456789abcdef012345"
	djPassword     = "dj-password-0123456789abcdef01234567"
	streamSecret   = "stream-secret-0123456789abcdef0123456"
	anotherSecret  = "another-secret-0123456789abcdef012345"
	icecastMount   = "live.mp3"
	otherMount     = "other.mp3"
	enoughForAudio = 4096 // bytes: more than any refusal has
)

// icecastHook is the gate: Icecast proves itself by Basic, sources by a password, listeners by a token.
const icecastHook = `http:// {
	route /hooks/radio {
		callback_auth basic {
			user icecast ` + hookPassword + `
		}
		stream_auth icecast {
			token {
				from query token
				jwt {
					secret ` + streamSecret + `
				}
			}
			allow dj {
				mode publish
				stream ` + icecastMount + `
				user dj ` + djPassword + `
			}
			deny banned {
				claim banned true
				reason "{stream.subject} is banned"
			}
			allow listeners {
				mode play
				token valid
				time_limit token
			}
		}
	}
}
`

// icecastXML is the smallest configuration with every hook.
var icecastXML = template.Must(template.New("icecast.xml").Parse(`<icecast>
	<limits><clients>50</clients><sources>5</sources></limits>
	<authentication>
		<source-password>not-asked-where-a-hook-decides</source-password>
		<admin-user>admin</admin-user><admin-password>change-me</admin-password>
	</authentication>
	<hostname>ice.test</hostname>
	<listen-socket><port>{{.Port}}</port><bind-address>127.0.0.1</bind-address></listen-socket>
{{range .Mounts}}
	<mount>
		<mount-name>/{{.}}</mount-name>
		<authentication type="url">
{{- range $.Actions}}
			<option name="{{.}}" value="{{$.Hook}}"/>
{{- end}}
			<option name="username" value="icecast"/><option name="password" value="{{$.Password}}"/>
		</authentication>
	</mount>
{{- end}}
	<paths><basedir>{{.Dir}}</basedir><logdir>{{.Dir}}</logdir><webroot>{{.Dir}}</webroot><adminroot>{{.Dir}}</adminroot></paths>
	<logging><accesslog>access.log</accesslog><errorlog>error.log</errorlog><loglevel>3</loglevel></logging>
	<security><chroot>0</chroot></security>
</icecast>
`))

func TestRealIcecastAsksAndObeys(t *testing.T) {
	need(t, "icecast2", "ffmpeg")
	radio := startIcecast(t, icecastHook)

	if err := radio.source(t.Context(), "dj", "wrong-password", icecastMount).Run(); err == nil {
		t.Fatal("a source with a wrong password is on the air")
	}
	radio.expect(t, "stream_auth", false)

	radio.goOnAir(t)
	inAnHour := time.Now().Add(time.Hour)
	good := listenerToken(t, streamSecret, icecastMount, inAnHour)

	// This listener stays to the end: what drops another one is not the source's going.
	witness := radio.listen(t, good)
	if witness.StatusCode != http.StatusOK {
		t.Fatalf("a good token: %s", witness.Status)
	}
	hear(t, witness, "a good token")
	radio.expect(t, "listener_add", true)

	for _, refused := range []struct{ name, token string }{
		{"no token", ""},
		{"no token at all, but a word", "open-sesame"},
		{"a token of another key", listenerToken(t, anotherSecret, icecastMount, inAnHour)},
		{"a token for another stream", listenerToken(t, streamSecret, "other.mp3", inAnHour)},
		{"an expired token", listenerToken(t, streamSecret, icecastMount, time.Now().Add(-time.Hour))},
		{"a token that was tampered with", good[:len(good)-4] + "AAAA"},
	} {
		t.Run(refused.name+" gets 401", func(t *testing.T) {
			resp := radio.listen(t, refused.token)
			if resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s", resp.Status)
			}
			radio.expect(t, "listener_add", false)
		})
	}

	t.Run("a token's end is the listener's end", func(t *testing.T) {
		resp := radio.listen(t, listenerToken(t, streamSecret, icecastMount, time.Now().Add(4*time.Second)))
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s", resp.Status)
		}
		radio.expect(t, "listener_add", true)
		hear(t, resp, "before the end")
		// The context of the request ends the test if Icecast does not end the connection.
		if _, err := io.Copy(io.Discard, resp.Body); errors.Is(err, context.DeadlineExceeded) {
			t.Fatal("still on the air long after the token's end")
		}
		radio.expect(t, "listener_remove", false)
		hear(t, witness, "the listener whose token still holds")
	})

	t.Run("the reason of a denial is in Icecast's log", func(t *testing.T) {
		banned := testbed.HS256(t, streamSecret, nil, map[string]any{
			"sub": "mallory", "banned": true, "stream": icecastMount, "exp": inAnHour.Unix(),
		})
		if resp := radio.listen(t, banned); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s", resp.Status)
		}
		radio.expect(t, "listener_add", false)
		if errorLog, err := os.ReadFile(radio.errorLog); err != nil || !strings.Contains(string(errorLog), "mallory is banned") {
			t.Errorf("it is not there: %v\n%s", err, errorLog)
		}
	})

	t.Run("who cannot prove to be Icecast is refused before any rule", func(t *testing.T) {
		body := strings.NewReader(url.Values{
			"action": {"listener_add"}, "mount": {"/" + icecastMount + "?token=" + good}, "ip": {"127.0.0.1"},
		}.Encode())
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, radio.hook, body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Authorization", "Basic Og==") // what Icecast sends where nothing is configured
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Icecast-Auth-User") != "" {
			t.Errorf("%s, %q", resp.Status, resp.Header)
		}
	})
}

// With `max_sessions 1`, Icecast's own listener_add and listener_remove count: a second listener waits for the first to go.
func TestRealIcecastLimitsSessions(t *testing.T) {
	need(t, "icecast2", "ffmpeg")
	limited := strings.Replace(icecastHook, "time_limit token", "max_sessions 1 per user", 1)
	limited = strings.Replace(limited, "user dj "+djPassword, "user dj "+djPassword+"\n\t\t\t\tmax_sessions 1 per user", 1)
	radio := startIcecast(t, limited)
	radio.goOnAir(t)

	// The source says what is played now. Icecast asks about that in the words in which it asks about a source.
	song, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
		fmt.Sprintf("http://127.0.0.1:%d/admin/metadata?mode=updinfo&mount=/%s&song=A+song", radio.port, icecastMount), nil)
	if err != nil {
		t.Fatal(err)
	}
	song.SetBasicAuth("dj", djPassword)
	told, err := http.DefaultClient.Do(song)
	if err != nil {
		t.Fatal(err)
	}
	told.Body.Close()
	if told.StatusCode != http.StatusOK {
		t.Errorf("a song's name: %s", told.Status)
	}
	radio.expect(t, "stream_auth", true)

	token := func(subject string) string {
		return testbed.HS256(t, streamSecret, nil, map[string]any{
			"sub": subject, "stream": icecastMount, "exp": time.Now().Add(time.Hour).Unix(),
		})
	}

	first := radio.listen(t, token("alice"))
	if first.StatusCode != http.StatusOK {
		t.Fatalf("the first listener: %s", first.Status)
	}
	hear(t, first, "the first listener")
	radio.expect(t, "listener_add", true)

	if second := radio.listen(t, token("alice")); second.StatusCode != http.StatusUnauthorized {
		t.Errorf("the second listener: %s", second.Status)
	}
	radio.expect(t, "listener_add", false)

	other := radio.listen(t, token("bob"))
	if other.StatusCode != http.StatusOK {
		t.Errorf("another user's listener: %s", other.Status)
	}
	hear(t, other, "another user's listener")
	radio.expect(t, "listener_add", true)

	first.Body.Close()
	radio.expect(t, "listener_remove", false)
	next := radio.listen(t, token("alice"))
	if next.StatusCode != http.StatusOK {
		t.Fatalf("the next listener: %s", next.Status)
	}
	hear(t, next, "the next listener")
	radio.expect(t, "listener_add", true)
}

// Icecast asks about a second source of a mount, too, and refuses it when it was allowed: the mount is in use. Who is on
// the air counts on, and the other does not, but for the moment in which it might have come on the air.
func TestRealIcecastRefusesASecondSourceThatCountsNoLonger(t *testing.T) {
	need(t, "icecast2", "ffmpeg")
	const alicePassword, bobPassword = "alice-password-0123456789abcdef0123", "bob-password-0123456789abcdef012345"
	radio := startIcecast(t, strings.Replace(icecastHook, "stream "+icecastMount+"\n\t\t\t\tuser dj "+djPassword,
		"stream "+icecastMount+" "+otherMount+"\n\t\t\t\tuser alice "+alicePassword+"\n\t\t\t\tuser bob "+bobPassword+"\n\t\t\t\tmax_sessions 1 per user", 1))
	onAir := func(user, password, mount string) (stop func()) {
		source := radio.source(t.Context(), user, password, mount)
		ended := start(t, source)
		stop = func() { source.Process.Kill(); <-ended }
		t.Cleanup(stop)
		radio.expect(t, "stream_auth", true)
		radio.expect(t, "mount_add", false)
		return stop
	}
	refused := func(user, password, mount string, allowed bool) {
		t.Helper()
		source := radio.source(t.Context(), user, password, mount)
		ended := start(t, source)
		t.Cleanup(func() { source.Process.Kill(); <-ended })
		radio.expect(t, "stream_auth", allowed)
		if !within(ended, 20*time.Second) {
			t.Fatalf("%s is on the air at %s", user, mount)
		}
	}

	stop := onAir("alice", alicePassword, icecastMount)
	refused("bob", bobPassword, icecastMount, true)
	refused("alice", alicePassword, otherMount, false) // she is on the air
	stop()
	radio.expect(t, "mount_remove", false)
	stop = onAir("alice", alicePassword, icecastMount)
	refused("alice", alicePassword, icecastMount, true) // whose old connection Icecast still has
	refused("alice", alicePassword, otherMount, false)
	stop()
	radio.expect(t, "mount_remove", false)
	stop = onAir("alice", alicePassword, icecastMount) // which she may at once, and not elsewhere while the other counts
	stop()
	radio.expect(t, "mount_remove", false)
	onAir("alice", alicePassword, otherMount)
}

// hear waits for a piece of audio.
func hear(t *testing.T, resp *http.Response, who string) {
	t.Helper()
	if _, err := io.ReadFull(resp.Body, make([]byte, enoughForAudio)); err != nil {
		t.Fatalf("%s: no audio: %v", who, err)
	}
}

func listenerToken(t *testing.T, secret, stream string, end time.Time) string {
	t.Helper()
	return testbed.HS256(t, secret, nil, map[string]any{"sub": "listener-1", "stream": stream, "exp": end.Unix()})
}

// radio is a running Icecast and what it asked.
type radio struct {
	port     int
	hook     string
	errorLog string
	asked    chan hookCall
}

// hookCall is one question of Icecast, and whether the answer was the one header that it takes for a yes.
type hookCall struct {
	action string
	yes    bool
}

// watch passes every hook on to the gate and notes it.
func (r *radio) watch(t *testing.T, gate *testbed.Bed) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			http.Error(w, "", http.StatusBadRequest)
			return
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		answer := gate.Do(t, req)
		maps.Copy(w.Header(), answer.Header)
		w.WriteHeader(answer.Status)
		io.WriteString(w, answer.Body)

		form, _ := url.ParseQuery(string(body))
		call := hookCall{form.Get("action"), answer.Header.Get("Icecast-Auth-User") == "1"}
		select {
		case r.asked <- call:
		default: // nobody waits for so many
		}
	})
}

// expect waits for the next question of this kind and tells what the answer has to be.
func (r *radio) expect(t *testing.T, action string, yes bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		select {
		case call := <-r.asked:
			if call.action != action {
				continue // a notification from before
			}
			if call.yes != yes {
				t.Errorf("%s was allowed: %t, want %t", action, call.yes, yes)
			}
			return
		case <-ctx.Done():
			t.Fatalf("Icecast never asked for %s", action)
		}
	}
}

// listen opens the stream. The request ends with the test, or after a minute.
func (r *radio) listen(t *testing.T, token string) *http.Response {
	t.Helper()
	address := fmt.Sprintf("http://127.0.0.1:%d/%s", r.port, icecastMount)
	if token != "" {
		address += "?token=" + url.QueryEscape(token)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// source is an ffmpeg that sends a tone, two minutes at most.
func (r *radio) source(ctx context.Context, user, password, mount string) *exec.Cmd {
	address := url.URL{
		Scheme: "icecast", User: url.UserPassword(user, password),
		Host: fmt.Sprintf("127.0.0.1:%d", r.port), Path: "/" + mount,
	}
	return exec.CommandContext(ctx, "ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin",
		"-re", "-f", "lavfi", "-i", "sine=frequency=440:duration=120", "-c:a", "libmp3lame", "-b:a", "128k",
		"-content_type", "audio/mpeg", "-f", "mp3", address.String())
}

// goOnAir starts a source that stays to the end of the test, and waits until its mount is there.
func (r *radio) goOnAir(t *testing.T) {
	t.Helper()
	source := r.source(t.Context(), "dj", djPassword, icecastMount)
	if err := source.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		source.Process.Kill()
		source.Wait()
	})
	r.expect(t, "stream_auth", true)
	r.expect(t, "mount_add", false)
}

// startIcecast runs Icecast, as another user where the test is root's: it refuses to be root.
func startIcecast(t *testing.T, hook string) *radio {
	t.Helper()
	r := &radio{asked: make(chan hookCall, 100)}
	server := httptest.NewServer(r.watch(t, testbed.Run(t, hook)))
	t.Cleanup(server.Close)
	r.hook = server.URL + "/hooks/radio"
	r.port = freePort(t)

	// Not t.TempDir: its parent is closed to other users.
	dir, err := os.MkdirTemp("", "icecast")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r.errorLog = filepath.Join(dir, "error.log")
	config, err := os.Create(filepath.Join(dir, "icecast.xml"))
	if err != nil {
		t.Fatal(err)
	}
	err = icecastXML.Execute(config, map[string]any{
		"Dir": dir, "Port": r.port, "Mounts": []string{icecastMount, otherMount}, "Hook": r.hook, "Password": hookPassword,
		"Actions": []string{"listener_add", "listener_remove", "stream_auth", "mount_add", "mount_remove"},
	})
	if err := errors.Join(err, config.Close()); err != nil {
		t.Fatal(err)
	}

	cmd := exec.CommandContext(t.Context(), "icecast2", "-c", config.Name())
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &output, &output, dir
	if os.Geteuid() == 0 {
		const nobody = 65534
		if err := errors.Join(os.Chown(dir, nobody, nobody), os.Chown(config.Name(), nobody, nobody)); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-ended
		if t.Failed() {
			if errorLog, err := os.ReadFile(r.errorLog); err == nil {
				t.Logf("Icecast's error.log:\n%s", errorLog)
			}
		}
	})

	// It says nowhere that it listens.
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	tooLate := time.NewTimer(30 * time.Second)
	defer tooLate.Stop()
	for {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", r.port))
		if err == nil {
			conn.Close()
			return r
		}
		select {
		case <-again.C:
		case <-ended:
			t.Fatalf("Icecast ended at once:\n%s", output.Bytes())
		case <-tooLate.C:
			t.Fatalf("Icecast does not listen: %v", err)
		}
	}
}

// freePort returns a port that nobody listens on, for a program that has to be told one.
func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
