package callback

import (
	"net/http"
	"net/http/httptest"
	"strings"
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

// deadlines takes note of how long the rest of a request may take.
type deadlines struct {
	http.ResponseWriter
	until time.Time
}

func (d *deadlines) SetReadDeadline(until time.Time) error {
	d.until = until
	return nil
}

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
		bodies: new(body.Buffers), bodyWithin: time.Minute, logger: zap.NewNop(),
	}
	w := &deadlines{ResponseWriter: httptest.NewRecorder()}
	start := time.Now()
	if err := h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader("unread")), nil); err == nil {
		t.Fatal("a stranger is not refused")
	}
	if w.until.Before(start.Add(h.bodyWithin)) || w.until.After(time.Now().Add(h.bodyWithin)) {
		t.Errorf("the body may take until %v, %v from now", w.until, time.Until(w.until))
	}
}
