package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// kind is what a subject does.
type kind string

const (
	caddyPlain   kind = "Caddy, reverse_proxy"
	caddyGate    kind = "Caddy, callback_auth"
	caddyReplay  kind = "Caddy, callback_auth with replay"
	haproxyPlain kind = "HAProxy, proxy"
	haproxyCheck kind = "HAProxy, the same check"
	caddyRespond kind = "Caddy, respond"
	caddyStream  kind = "Caddy, stream_auth with a JWT"

	// These get one token again and again, as a media server sends it for each segment or renewal.
	caddyStreamRSA   kind = "Caddy, stream_auth, RS256 again"
	caddyStreamECDSA kind = "Caddy, stream_auth, ES256 again"
)

func kindsOfProxy(haproxy bool) []kind {
	kinds := []kind{caddyPlain, caddyGate, caddyReplay}
	if haproxy {
		kinds = append(kinds, haproxyPlain, haproxyCheck)
	}
	return kinds
}

// secret signs the callbacks of a run. It protects nothing.
const secret = "compare-secret-0123456789-0123456789"

// routes are what is in the one site of Caddy.
var routes = map[kind]string{
	caddyPlain: "reverse_proxy RECEIVER",
	caddyGate: `callback_auth {
		vonage {
			secret ` + secret + `
		}
		replay off
	}
	reverse_proxy RECEIVER`,
	caddyReplay: `callback_auth {
		vonage {
			secret ` + secret + `
		}
	}
	reverse_proxy RECEIVER`,
	caddyStreamRSA:   streamWith("public_key RSA"),
	caddyStreamECDSA: streamWith("public_key ECDSA"),
	caddyStream:      streamWith("secret " + secret),
	caddyRespond: `header Content-Type application/json
	respond "{}"`,
}

// streamWith is a hook that allows whoever has a token signed by this key.
func streamWith(key string) string {
	return `stream_auth antmedia {
		token {
			jwt {
				` + key + `
			}
		}
		allow {
			token valid
		}
	}`
}

// checks are what HAProxy verifies, with the directives that its manual gives for it: the token's algorithm, signature,
// issuer and age, and the SHA-256 of the body.
const checks = `
	option http-buffer-request
	http-request set-var(txn.bearer) http_auth_bearer
	http-request deny deny_status 401 unless { var(txn.bearer),jwt_header_query('$.alg') -m str HS256 }
	http-request deny deny_status 401 unless { var(txn.bearer),jwt_verify(HS256,"` + secret + `") -m int 1 }
	http-request deny deny_status 401 unless { var(txn.bearer),jwt_payload_query('$.iss') -m str Vonage }
	http-request set-var(txn.iat) var(txn.bearer),jwt_payload_query('$.iat','int')
	http-request deny deny_status 401 unless { date,sub(txn.iat) -m int 0:300 }
	http-request set-var(txn.said) var(txn.bearer),jwt_payload_query('$.payload_hash')
	http-request set-var(txn.is) req.body,sha2(256),hex,lower
	http-request deny deny_status 401 unless { var(txn.said),strcmp(txn.is) -m int 0 }
`

// subject is one server under test, a process of its own.
type subject struct {
	kind    kind
	addr    string
	command *exec.Cmd
	output  *bytes.Buffer
	ended   chan struct{} // closed once the process has
}

// start starts the subject of a kind, unless it runs.
func (b *bench) start(ctx context.Context, k kind) (*subject, error) {
	for _, s := range b.running {
		if s.kind == k {
			return s, nil
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &subject{kind: k, addr: listener.Addr().String(), output: new(bytes.Buffer), ended: make(chan struct{})}
	_ = listener.Close()
	file := filepath.Join(b.scratch, strconv.Itoa(len(b.running)))
	var text string
	if k == haproxyPlain || k == haproxyCheck {
		if b.large { // the whole body has to fit into a buffer to be checked; with small bodies such buffers only cost
			text = "global\n\ttune.bufsize 131072\n"
		}
		text += "defaults\n\tmode http\n\ttimeout client 30s\n\ttimeout connect 5s\n\ttimeout server 30s\n" +
			"frontend site\n\tbind " + s.addr + "\n"
		if k == haproxyCheck {
			text += checks
		}
		text += "\tdefault_backend receiver\nbackend receiver\n\tserver receiver " + b.receiver + "\n"
		s.command = exec.CommandContext(ctx, b.haproxy, "-db", "-f", file)
	} else {
		text = "{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n\tlog {\n\t\tlevel WARN\n\t}\n}\nhttp://" + s.addr + " {\n\t" +
			strings.NewReplacer("RECEIVER", b.receiver, "ECDSA", b.keys.ecdsaFile, "RSA", b.keys.rsaFile).Replace(routes[k]) + "\n}\n"
		s.command = exec.CommandContext(ctx, b.caddy, "run", "--adapter", "caddyfile", "--config", file)
		s.command.Env = append(os.Environ(), "HOME="+b.scratch, "XDG_DATA_HOME="+b.scratch, "XDG_CONFIG_HOME="+b.scratch)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	s.command.Stdout, s.command.Stderr = s.output, s.output
	s.command.WaitDelay = time.Second
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = s.command.Wait()
		close(s.ended)
	}()
	b.running = append(b.running, s)
	if err := b.answers(ctx, s); err != nil {
		b.stop()
		return nil, fmt.Errorf("%s: %v\n%s", k, err, s.output)
	}
	return s, nil
}

// answers waits until s listens, and makes sure that what is to be checked is.
func (b *bench) answers(ctx context.Context, s *subject) error {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.addr)
		if err == nil {
			_ = conn.Close()
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ended:
			return errors.New("it ended at once")
		case <-time.After(20 * time.Millisecond):
		}
	}
	switch s.kind {
	case caddyGate, caddyReplay, haproxyCheck:
		forged := b.newLoad(s, 512, 1)
		forged.body[100] ^= 1
		if err := forged.run(ctx, 1); err == nil || !strings.Contains(err.Error(), "401") {
			return fmt.Errorf("a forged body is not refused with 401: %v", err)
		}
	}
	return nil
}

// stop ends what was started.
func (b *bench) stop() {
	for _, s := range b.running {
		_ = s.command.Process.Kill()
		<-s.ended
	}
	b.running = nil
}

// cpuTime is what the process has used so far, user and system: what each of its threads has run, in nanoseconds, the
// first field of /proc/<pid>/task/<tid>/schedstat (Linux, Documentation/scheduler/sched-stats.rst).
func (s *subject) cpuTime() (time.Duration, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", s.command.Process.Pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("/proc/%d has no schedstat: CPU time is measured on Linux only", s.command.Process.Pid)
	}
	var sum time.Duration
	for _, task := range tasks {
		stat, err := os.ReadFile(task) //nolint:gosec // its name is of the kernel
		if err != nil {
			return 0, err
		}
		ran, _, _ := strings.Cut(string(stat), " ")
		n, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s is of another form", task)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// resident reads a figure of /proc/<pid>/status, in MiB.
func (s *subject) resident(name string) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name+":" {
			kib, err := strconv.Atoi(fields[1])
			return kib / 1024, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no %s", s.command.Process.Pid, name)
}

// receiver is the application behind the proxies.
type receiver struct {
	*http.Server
}

// startReceiver starts a server that reads everything and answers 200.
func startReceiver() (receiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return receiver{}, err
	}
	server := &http.Server{
		Addr: listener.Addr().String(), ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(w, "received")
		}),
	}
	go func() { _ = server.Serve(listener) }()
	return receiver{server}, nil
}

// versions says what was measured on what.
func (b *bench) versions(ctx context.Context) string {
	first := func(name string, args ...string) string {
		out, _ := exec.CommandContext(ctx, name, args...).Output()
		line, _, _ := strings.Cut(string(out), "\n")
		return strings.TrimSpace(line)
	}
	caddy, _, _ := strings.Cut(first(b.caddy, "version"), " ")
	out, _ := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", "github.com/caddyserver/caddy/v2").Output()
	if v := strings.TrimSpace(string(out)); v != "" {
		caddy = v
	}
	text := fmt.Sprintf("Caddy %s, %s %s/%s, %d processors", caddy, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	if b.wrk == "" {
		text += "; without wrk"
	} else if version := strings.Fields(first(b.wrk, "-v")); len(version) > 1 {
		text += "; wrk " + strings.TrimPrefix(version[1], "debian/")
	}
	if b.haproxy == "" {
		return text + "; HAProxy was not there, and is not compared"
	}
	version := strings.Fields(strings.TrimPrefix(first(b.haproxy, "-v"), "HAProxy version "))
	if len(version) > 0 {
		text += "; HAProxy " + version[0]
	}
	return text
}
