// Package testbed runs a Caddyfile for a test: with the real HTTP app, the real reverse proxy and a receiver behind it
// that counts. Only tests import it.
package testbed

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	// The plugin, and of Caddy what the tests' Caddyfiles use; never modules/standard, which takes minutes to build.
	_ "github.com/caddyauth/callbacks/caddyauth"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
)

// Received is one request as the receiver got it.
type Received struct {
	Method, RequestURI, Host string
	Header                   http.Header
	Body                     []byte
	ContentLength            int64
	TransferEncoding         []string
}

// Receiver is the application behind the gate. It answers 200 `received`, unless Answer says otherwise.
type Receiver struct {
	// Addr is where it listens: host:port on loopback.
	Addr string

	mu       sync.Mutex
	answer   http.HandlerFunc
	received []Received
}

// Answer makes it answer with this handler from now on; nil: with the 200.
func (rc *Receiver) Answer(answer http.HandlerFunc) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.answer = answer
}

func (rc *Receiver) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	rc.mu.Lock()
	rc.received = append(rc.received, Received{r.Method, r.RequestURI, r.Host, r.Header.Clone(), body, r.ContentLength, r.TransferEncoding})
	answer := rc.answer
	rc.mu.Unlock()
	if answer != nil {
		answer(w, r)
		return
	}
	_, _ = io.WriteString(w, "received")
}

// Received returns, and forgets, the requests that have come since it was last called.
func (rc *Receiver) Received() []Received {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	received := rc.received
	rc.received = nil
	return received
}

// NewReceiver starts a receiver for the length of the test.
func NewReceiver(t testing.TB) *Receiver {
	t.Helper()
	rc := new(Receiver)
	server := httptest.NewServer(http.HandlerFunc(rc.serve))
	t.Cleanup(server.Close)
	rc.Addr = server.Listener.Addr().String()
	return rc
}

// Result is the answer to one request, and what the receiver got meanwhile.
type Result struct {
	Status   int
	Header   http.Header
	Body     string
	Received []Received
}

// Bed is a running configuration.
type Bed struct {
	Receiver *Receiver
	Logs     *Logs

	handler http.Handler
	socket  string
	secure  *Secure
}

// New provisions a Caddyfile of one site, without a socket of its own. RECEIVER in it stands for the receiver's
// address, so that `reverse_proxy RECEIVER` leads there. Requests are handed to Do.
//
// The site needs an address such as `http://` or `:80`. Beds replace Caddy's default log: tests that use them must not
// run in parallel.
func New(t testing.TB, text string) *Bed {
	t.Helper()
	bed := &Bed{Receiver: NewReceiver(t)}
	config, err := bed.config(t, text)
	if err != nil {
		t.Fatalf("adapting the Caddyfile: %v", err)
	}
	ctx, err := caddy.ProvisionContext(config)
	if err != nil {
		t.Fatalf("provisioning: %v", err)
	}
	app, err := ctx.App("http")
	if err != nil {
		t.Fatalf("loading the http app: %v", err)
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		bed.handler = server
	}
	return bed
}

// Refusal adapts and provisions a Caddyfile that must be refused, and returns the error's text.
func Refusal(t testing.TB, text string) string {
	t.Helper()
	bed := &Bed{Receiver: &Receiver{Addr: "127.0.0.1:9"}}
	config, err := bed.config(t, text)
	if err != nil {
		return err.Error()
	}
	ctx, err := caddy.ProvisionContext(config)
	if err == nil {
		_, err = ctx.App("http")
	}
	if err == nil {
		t.Fatalf("this config was accepted:\n%s", text)
	}
	return err.Error()
}

// Run loads a Caddyfile of one site into a real Caddy that listens on a unix socket, in place of the one that ran
// before. It is stopped when the test ends. Do, Raw and Dial go through the socket.
func Run(t testing.TB, text string) *Bed {
	t.Helper()
	bed := &Bed{Receiver: NewReceiver(t), socket: filepath.Join(t.TempDir(), "s")}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	bed.Reload(t, text)
	return bed
}

// Reload loads another Caddyfile into a Bed that Run made.
func (b *Bed) Reload(t testing.TB, text string) {
	t.Helper()
	if err := b.TryReload(t, text); err != nil {
		t.Fatalf("loading: %v", err)
	}
}

// TryReload is Reload for a Caddyfile that may be refused.
func (b *Bed) TryReload(t testing.TB, text string) error {
	t.Helper()
	config, err := b.config(t, text)
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return caddy.Load(encoded, true)
}

// config adapts a Caddyfile, and makes it fit for a test: no admin endpoint, nothing written, the log in Logs.
func (b *Bed) config(t testing.TB, text string) (*caddy.Config, error) {
	t.Helper()
	text = strings.ReplaceAll(text, "RECEIVER", b.Receiver.Addr)
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	adapted, _, err := adapter.Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return nil, err
	}
	config := new(caddy.Config)
	if err := json.Unmarshal(adapted, config); err != nil {
		t.Fatal(err)
	}
	if b.socket != "" {
		var app map[string]any
		if err := json.Unmarshal(config.AppsRaw["http"], &app); err != nil {
			t.Fatal(err)
		}
		for _, server := range app["servers"].(map[string]any) {
			server := server.(map[string]any)
			server["listen"] = []string{"unix/" + b.socket}
			server["automatic_https"] = map[string]any{"disable": true}
		}
		if config.AppsRaw["http"], err = json.Marshal(app); err != nil {
			t.Fatal(err)
		}
	}
	if b.secure != nil {
		if err := b.secure.listen(config); err != nil {
			t.Fatal(err)
		}
	}
	no := false
	config.Admin = &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &no}}
	if b.Logs == nil {
		b.Logs = newLogs(t)
	}
	if config.Logging == nil {
		config.Logging = new(caddy.Logging)
	}
	logs := b.Logs.config()
	if given := config.Logging.Logs["default"]; given != nil && given.EncoderRaw != nil {
		logs.EncoderRaw = given.EncoderRaw // a filter of the Caddyfile's own
	}
	config.Logging.Logs = map[string]*caddy.CustomLog{"default": logs}
	return config, nil
}

// Do sends one request through the gate and returns the answer with what the receiver got. Its RemoteAddr is kept if
// the Bed has no socket.
func (b *Bed) Do(t testing.TB, r *http.Request) Result {
	t.Helper()
	if b.socket != "" {
		client := b.Client()
		r.RequestURI = ""
		if r.URL.Host == "" {
			r.URL.Scheme, r.URL.Host = "http", "example.com"
		}
		response, err := client.Do(r)
		if err != nil {
			t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
		}
		return b.result(t, response)
	}
	recorder := httptest.NewRecorder()
	b.handler.ServeHTTP(recorder, r)
	return b.result(t, recorder.Result())
}

// Client is a client of a Bed that Run made: a connection for each request, and no redirects followed.
func (b *Bed) Client() *http.Client {
	return &http.Client{
		Transport:     Patient{&http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return b.dial(ctx) }, DisableKeepAlives: true}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}
}

// Patient sends a request again, up to three times, whose connection ended without an answer: right after a reload, one
// may reach the server that is just shutting down.
type Patient struct{ http.RoundTripper }

// RoundTrip sends a request.
func (p Patient) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		_ = r.Body.Close()
	}
	for again := 0; ; again++ {
		one := r.Clone(r.Context())
		if r.Body != nil {
			one.Body = io.NopCloser(bytes.NewReader(body))
		}
		response, err := p.RoundTripper.RoundTrip(one)
		if again == 3 || !(errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
			return response, err
		}
	}
}

// Status sends one request to a Bed without a socket and returns the answer's status. It may be called from many
// goroutines.
func (b *Bed) Status(r *http.Request) int {
	recorder := httptest.NewRecorder()
	b.handler.ServeHTTP(recorder, r)
	return recorder.Code
}

func (b *Bed) result(t testing.TB, response *http.Response) Result {
	t.Helper()
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return Result{response.StatusCode, response.Header, string(body), b.Receiver.Received()}
}

// Listen puts a Bed without a socket behind plain HTTP, on a port of its own.
func (b *Bed) Listen(t testing.TB) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(b.handler)
	t.Cleanup(server.Close)
	return server
}

// Serve puts a Bed without a socket behind HTTP/1.1 and, over TLS, HTTP/2, on a port of its own.
func (b *Bed) Serve(t testing.TB) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(b.handler)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// Dial connects to a Bed that Run made.
func (b *Bed) Dial(t testing.TB) net.Conn {
	t.Helper()
	conn, err := b.dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (b *Bed) dial(ctx context.Context) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", b.socket)
}

// Raw writes bytes to a Bed that Run made, and reads one final answer. closeWrite ends our side of the connection after them.
func (b *Bed) Raw(t testing.TB, text string, closeWrite bool) Result {
	t.Helper()
	conn := b.Dial(t)
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	if closeWrite {
		if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	answers := bufio.NewReader(conn)
	for {
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("reading the answer: %v", err)
		}
		if response.StatusCode >= http.StatusOK {
			return b.result(t, response)
		}
	}
}

// Logs holds what a Bed has logged, at every level, as JSON lines.
type Logs struct {
	id     string
	mu     sync.Mutex
	buffer bytes.Buffer
}

// beds counts the Logs that were made.
var beds atomic.Int64

func newLogs(t testing.TB) *Logs {
	// Caddy keeps a writer by its key: a second Bed of one test, or a second run of it, is to have its own.
	logs := &Logs{id: fmt.Sprint(t.Name(), "#", beds.Add(1))}
	writers.Store(logs.id, logs)
	t.Cleanup(func() { writers.Delete(logs.id) })
	return logs
}

func (l *Logs) config() *caddy.CustomLog {
	writer, _ := json.Marshal(map[string]string{"output": "testbed", "id": l.id})
	return &caddy.CustomLog{BaseLog: caddy.BaseLog{
		WriterRaw: writer, EncoderRaw: json.RawMessage(`{"format":"json"}`), Level: "DEBUG",
	}}
}

// Write takes one line.
func (l *Logs) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(line)
}

// Close does nothing.
func (l *Logs) Close() error { return nil }

// String returns all lines so far.
func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

// Lines returns, decoded, the lines whose message is msg.
func (l *Logs) Lines(t testing.TB, msg string) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for line := range strings.Lines(l.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("a log line that is not JSON: %v", err)
		}
		if fields["msg"] == msg {
			lines = append(lines, fields)
		}
	}
	return lines
}

// Forget drops all lines so far. Load over a long time would fill the memory with them.
func (l *Logs) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buffer = bytes.Buffer{}
}

// Address is where a Bed that Run made listens.
func (b *Bed) Address() (network, address string) { return "unix", b.socket }
