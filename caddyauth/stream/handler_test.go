package stream

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/internal/body"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// fake is a dialect that does as it is told.
type fake struct {
	decode func(body []byte) (*Request, error)
	encode func(w http.ResponseWriter, q *Request, d Decision) error
}

func (fake) Can() Ability { return Ability{Server: "Fake"} }

func (f fake) Decode(_ *http.Request, body []byte) (*Request, error) {
	if f.decode == nil {
		return &Request{Event: Open, Mode: Play, Name: "cam1"}, nil
	}
	return f.decode(body)
}

func (f fake) Encode(w http.ResponseWriter, q *Request, d Decision) error {
	if f.encode != nil {
		return f.encode(w, q, d)
	}
	if d.Allow {
		w.Header().Set("Allowed", "yes")
		_, err := io.WriteString(w, "yes")
		return err
	}
	w.Header().Del("Allowed")
	w.WriteHeader(d.HTTPStatus())
	_, err := io.WriteString(w, "no")
	return err
}

func newHandler(dialect Dialect, p *policy) *Handler {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	shared := new(app.App)
	if err := shared.Provision(ctx); err != nil {
		panic(err)
	}
	return &Handler{dialect: dialect, name: "fake", policy: p, metrics: shared.Metrics(), logger: zap.NewNop(), bodies: new(body.Buffers), bodyWithin: time.Minute}
}

// serve asks a handler, with the headers that an earlier one set.
func serve(t *testing.T, h *Handler, r *http.Request) *http.Response {
	t.Helper()
	w := httptest.NewRecorder()
	w.Header().Set("Allowed", "by another")
	repl := caddy.NewReplacer()
	ctx := context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl)
	next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		t.Error("the next handler was called")
		return nil
	})
	if err := h.ServeHTTP(w, r.WithContext(ctx), next); err != nil {
		t.Errorf("the handler failed: %v", err)
	}
	result := w.Result()
	for key := range map[string]bool{"decision": true, "rule": true, "reason": true} {
		value, _ := repl.GetString("http.stream_auth." + key)
		result.Header.Set("Shown-"+key, value)
	}
	user, _ := repl.GetString("http.auth.user.id")
	result.Header.Set("Shown-user", user)
	return result
}

func ask() *http.Request {
	return httptest.NewRequest(http.MethodPost, "http://hooks.example/", strings.NewReader("body"))
}

func TestEveryFaultDenies(t *testing.T) {
	allowAll := &policy{allow: true}
	for name, test := range map[string]struct {
		handler *Handler
		request func() *http.Request
		status  int
		reason  verdict.Reason
	}{
		"a dialect that panics while decoding": {
			newHandler(fake{decode: func([]byte) (*Request, error) { panic("x") }}, allowAll), ask, 503, verdict.Unavailable,
		},
		"a dialect that cannot decode": {
			newHandler(fake{decode: func([]byte) (*Request, error) { return nil, errors.New("x") }}, allowAll), ask, 503, verdict.Unavailable,
		},
		"a dialect that decodes nothing": {
			newHandler(fake{decode: func([]byte) (*Request, error) { return nil, nil }}, allowAll), ask, 503, verdict.Unavailable,
		},
		"a stream name that is none": {
			newHandler(fake{decode: func([]byte) (*Request, error) { return &Request{Event: Open, Mode: Play, Name: "a/../b"}, nil }}, allowAll), ask, 400, verdict.Malformed,
		},
		"an app name that is none": {
			newHandler(fake{decode: func([]byte) (*Request, error) { return &Request{Event: Open, Mode: Play, App: "..", Name: "b"}, nil }}, allowAll), ask, 400, verdict.Malformed,
		},
		"no mode": {
			newHandler(fake{decode: func([]byte) (*Request, error) { return &Request{Event: Open, Name: "b"}, nil }}, allowAll), ask, 400, verdict.Malformed,
		},
		"no event": {
			newHandler(fake{decode: func([]byte) (*Request, error) { return &Request{Mode: Play, Name: "b"}, nil }}, allowAll), ask, 400, verdict.Malformed,
		},
		"no rule": {
			newHandler(fake{}, &policy{}), ask, 403, verdict.Denied,
		},
		"early data, by the connection": {
			newHandler(fake{}, allowAll), func() *http.Request { r := ask(); r.TLS = &tls.ConnectionState{}; return r }, 425, verdict.Unavailable,
		},
		"early data, by the proxy in front": {
			newHandler(fake{}, allowAll), func() *http.Request { r := ask(); r.Header.Set("Early-Data", "1"); return r }, 425, verdict.Unavailable,
		},
		"a body over the limit, announced": {
			newHandler(fake{}, allowAll), func() *http.Request {
				return httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", MaxBody+1)))
			}, 413, verdict.TooLarge,
		},
		"a body over the limit, not announced": {
			newHandler(fake{}, allowAll), func() *http.Request {
				r := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader(strings.Repeat("x", MaxBody+1))))
				r.ContentLength = -1
				return r
			}, 413, verdict.TooLarge,
		},
		"a body shorter than announced": {
			newHandler(fake{}, allowAll), func() *http.Request {
				r := ask()
				r.Body = io.NopCloser(io.MultiReader(strings.NewReader("bo"), broken{}))
				return r
			}, 400, verdict.Malformed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			result := serve(t, test.handler, test.request())
			if result.StatusCode != test.status || result.Header.Get("Allowed") != "" {
				t.Errorf("answered %d, Allowed %q", result.StatusCode, result.Header.Get("Allowed"))
			}
			if result.Header.Get("Shown-decision") != "deny" || result.Header.Get("Shown-reason") != string(test.reason) {
				t.Errorf("shown: %s, %s", result.Header.Get("Shown-decision"), result.Header.Get("Shown-reason"))
			}
			if body, _ := io.ReadAll(result.Body); string(body) != "no" || result.Header.Get("Content-Length") != "2" || result.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("the answer is %q with %v", body, result.Header)
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestAnAnswerIsSentWholeOrNotAtAll(t *testing.T) {
	half := func(then func() error) func(http.ResponseWriter, *Request, Decision) error {
		return func(w http.ResponseWriter, q *Request, d Decision) error {
			if d.Allow {
				w.Header().Set("Allowed", "half")
				w.WriteHeader(http.StatusOK)
				_, _ = io.WriteString(w, "ye")
				return then()
			}
			return fake{}.Encode(w, q, d)
		}
	}
	for name, test := range map[string]struct {
		encode func(http.ResponseWriter, *Request, Decision) error
		body   string
	}{
		"an allowance that ends in an error": {half(func() error { return errors.New("x") }), "no"},
		"an allowance that ends in a panic":  {half(func() error { panic("x") }), "no"},
		"a dialect that always panics":       {func(http.ResponseWriter, *Request, Decision) error { panic("x") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			result := serve(t, newHandler(fake{encode: test.encode}, &policy{allow: true}), ask())
			body, _ := io.ReadAll(result.Body)
			if result.StatusCode != 503 || string(body) != test.body || result.Header.Get("Allowed") != "" {
				t.Errorf("%d %q %v", result.StatusCode, body, result.Header)
			}
		})
	}
}

func TestReportOnlyAllowsAndShowsTheDenial(t *testing.T) {
	h := newHandler(fake{}, &policy{rules: []*Rule{{Action: "deny", Name: "all"}}})
	h.ReportOnly = true
	result := serve(t, h, ask())
	if result.StatusCode != 200 || result.Header.Get("Allowed") != "yes" {
		t.Errorf("answered %d", result.StatusCode)
	}
	if result.Header.Get("Shown-decision") != "deny" || result.Header.Get("Shown-rule") != "all" || result.Header.Get("Shown-user") != "" {
		t.Errorf("shown: %v", result.Header)
	}
}

func TestNotificationsAreNotJudged(t *testing.T) {
	for _, event := range []Event{Close, Notice} {
		var seen Decision
		h := newHandler(fake{
			decode: func([]byte) (*Request, error) { return &Request{Event: event, Name: "a"}, nil },
			encode: func(_ http.ResponseWriter, _ *Request, d Decision) error { seen = d; return nil },
		}, &policy{rules: []*Rule{{Action: "deny"}}})
		result := serve(t, h, ask())
		if !seen.Allow || result.StatusCode != 200 || result.Header.Get("Shown-decision") != "notice" {
			t.Errorf("%s: %+v, %d", event, seen, result.StatusCode)
		}
	}
}

// am-slow: a body that comes a byte at a time is given up. So is that of a client's own request, which is denied unread:
// HTTP/1 reads it before it answers.
func TestAttackSlowBody(t *testing.T) {
	for name, tc := range map[string]struct {
		inline bool
		status int
	}{
		"am-slow": {false, http.StatusRequestTimeout},
		"of a client's own request that is denied": {true, http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHandler(fake{}, &policy{allow: !tc.inline})
			h.bodyWithin, h.inline = 20*time.Millisecond, tc.inline
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_ = h.ServeHTTP(w, r, nil)
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
			if response.StatusCode != tc.status || response.Header.Get("Allowed") != "" {
				t.Errorf("answered %d", response.StatusCode)
			}
		})
	}
}

func TestFeaturesAreListedByKind(t *testing.T) {
	all := slices.Concat(conditionFeatures, effectFeatures)
	slices.Sort(all)
	if len(slices.Compact(all)) != 14 {
		t.Errorf("%d features", len(all))
	}
}
