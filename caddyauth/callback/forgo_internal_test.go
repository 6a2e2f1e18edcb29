package callback

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/internal/body"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

// stranger is a scheme that knows nobody.
type stranger struct{ Scheme }

func (stranger) Verify(*Request) Verdict { return Refuse(verdict.Errorf(verdict.Missing, "nobody")) }

// A sender that cannot sign holds a connection no longer than one that can: HTTP/1 reads a body before it answers.
func TestASlowBodyDoesNotHoldUpTheRefusalOfItsSender(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	shared := new(app.App)
	if err := shared.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	h := &Handler{
		guards: []guard{{Scheme: stranger{}, name: "stranger"}}, MaxBody: DefaultMaxBody, metrics: shared.Metrics(),
		bodies: new(body.Buffers), bodyWithin: 20 * time.Millisecond, logger: zap.NewNop(),
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.ServeHTTP(w, r, nil) != nil {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("answered %d", response.StatusCode)
	}
}
