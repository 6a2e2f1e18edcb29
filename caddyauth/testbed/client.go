package testbed

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"
)

// Result is the answer to one request, and what the receiver got meanwhile.
type Result struct {
	Status   int
	Header   http.Header
	Body     string
	Received []Received
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

// Unheard sends one request to a Bed without a socket, whose client is gone by the time it is answered.
func (b *Bed) Unheard(r *http.Request) {
	ctx, leave := context.WithCancel(r.Context())
	b.handler.ServeHTTP(unheard{httptest.NewRecorder(), leave}, r.WithContext(ctx))
	leave()
}

// unheard is an answer that nobody reads.
type unheard struct {
	http.ResponseWriter
	leave func()
}

// WriteHeader has the client go away.
func (u unheard) WriteHeader(int) { u.leave() }

// Write fails, as on a connection that is closed.
func (u unheard) Write([]byte) (int, error) {
	u.leave()
	return 0, net.ErrClosed
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

// Address is where a Bed that Run made listens.
func (b *Bed) Address() (network, address string) { return "unix", b.socket }
