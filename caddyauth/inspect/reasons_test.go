package inspect_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/stream"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/logging"
)

func init() {
	caddy.RegisterModule(toldScheme{})
	caddy.RegisterModule(toldDialect{})
}

// toldScheme comes to the reason that the request names.
type toldScheme struct{}

func (toldScheme) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.callback_auth.schemes.told", New: func() caddy.Module { return new(toldScheme) }}
}
func (toldScheme) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }
func (toldScheme) Traits() callback.Traits                       { return callback.Traits{} }
func (toldScheme) Verify(r *callback.Request) callback.Verdict {
	return callback.Verdict{Reason: verdict.Reason(r.HTTP.Header.Get("Reason")), Detail: "as told", Key: "a-label"}
}

// toldDialect decodes no request but those that are told to be ok, for the reason that the request names.
type toldDialect struct{}

func (toldDialect) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.stream_auth.dialects.told", New: func() caddy.Module { return new(toldDialect) }}
}
func (toldDialect) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }
func (toldDialect) Can() stream.Ability                           { return stream.Ability{Server: "Told"} }

func (toldDialect) Decode(r *http.Request, _ []byte) (*stream.Request, error) {
	if reason := verdict.Reason(r.Header.Get("Reason")); reason != verdict.OK {
		return nil, verdict.Errorf(reason, "as told")
	}
	return &stream.Request{Event: stream.Open, Mode: stream.Play, Name: "cam1"}, nil
}

func (toldDialect) Encode(w http.ResponseWriter, _ *stream.Request, d stream.Decision) error {
	w.WriteHeader(d.HTTPStatus())
	return nil
}

// span is one that records.
type span struct {
	noop.Span
	said map[string]string
}

func (s span) IsRecording() bool { return true }
func (s span) SetAttributes(attributes ...attribute.KeyValue) {
	for _, a := range attributes {
		s.said[string(a.Key)] = a.Value.String()
	}
}

const toldSite = `http:// {
	log
	handle /callback {
		log_append placeholder {http.callback_auth.reason}
		callback_auth told
		respond accepted
	}
	handle /stream {
		log_append placeholder {http.stream_auth.reason}
		stream_auth told {
			fallback allow
		}
	}
	handle_errors {
		respond "{http.callback_auth.reason}"
	}
}
`

// sample gives the value of one series of our metrics.
func sample(t *testing.T, registry prometheus.Gatherer, name string, labels map[string]string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, metric := range family.GetMetric() {
			matched := 0
			for _, label := range metric.GetLabel() {
				if labels[label.GetName()] == label.GetValue() {
					matched++
				}
			}
			if matched == len(metric.GetLabel()) {
				return metric.GetCounter().GetValue()
			}
		}
	}
	return 0
}

// registry gives one with the collectors of this process.
func registry(t *testing.T) prometheus.Gatherer {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	if err := new(app.App).Provision(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx.GetMetricsRegistry()
}

func TestEveryPlaceTellsTheSameReason(t *testing.T) {
	metrics := registry(t)
	for _, reason := range verdict.Reasons() {
		t.Run(string(reason), func(t *testing.T) {
			bed := testbed.New(t, toldSite)
			for handler, told := range map[string]struct {
				refusal, dict, span string
				series              string
				labels              map[string]string
			}{
				"callback": {
					"callback refused", "callback_auth", "callback_auth.reason",
					"caddy_callback_auth_requests_total",
					map[string]string{"scheme": "told", "reason": string(reason)},
				},
				"stream": {
					"stream denied", "stream_auth", "stream_auth.reason",
					"caddy_stream_auth_decisions_total", streamLabels(reason),
				},
			} {
				before := sample(t, metrics, told.series, told.labels)
				recorded := span{said: make(map[string]string)}
				r := httptest.NewRequest(http.MethodPost, "http://hooks.test/"+handler, strings.NewReader("{}"))
				r.Header.Set("Reason", string(reason))
				result := bed.Do(t, r.WithContext(trace.ContextWithSpan(r.Context(), recorded)))

				if result.Status != reason.Status() {
					t.Errorf("%s: status %d", handler, result.Status)
				}
				if handler == "callback" && reason != verdict.OK && result.Body != string(reason) {
					t.Errorf("the error route's placeholder: %s", result.Body)
				}
				if after := sample(t, metrics, told.series, told.labels); after != before+1 {
					t.Errorf("%s: metric %v, and before %v", handler, after, before)
				}
				if recorded.said[told.span] != string(reason) {
					t.Errorf("%s: span %v", handler, recorded.said)
				}
				row := app.Decisions().Latest(1, 0)[0]
				if row.Handler != handler || row.Reason != reason || row.Allowed != (reason == verdict.OK) || row.Words != app.Explain(reason).Words {
					t.Errorf("%s: row %+v", handler, row)
				}
				if (row.Status != 0 || reason != verdict.OK) && row.Status != result.Status {
					t.Errorf("%s: row says %d, the answer %d", handler, row.Status, result.Status)
				}
				if reason != verdict.OK && row.ClientIP != "192.0.2.1" {
					t.Errorf("%s: nobody can tell who sent it: %q", handler, row.ClientIP)
				}
				entries := bed.Logs.Lines(t, "handled request")
				if reason.Status() >= 400 {
					entries = append(entries, bed.Logs.Lines(t, "request")...)
				}
				entry := entries[len(entries)-1]
				fields, _ := entry[told.dict].(map[string]any)
				if entry["placeholder"] != string(reason) || fields["reason"] != string(reason) {
					t.Errorf("%s: access log %v %v", handler, entry["placeholder"], fields)
				}
				lines := bed.Logs.Lines(t, told.refusal)
				switch {
				case reason == verdict.OK && len(lines) != 0:
					t.Errorf("%s: a refusal in the log: %v", handler, lines)
				case reason != verdict.OK && (len(lines) != 1 || lines[0]["reason"] != string(reason) || lines[0]["detail"] != "as told" || lines[0]["client_ip"] != "192.0.2.1"):
					t.Errorf("%s: log %v", handler, lines)
				}
			}
		})
	}
}

// streamLabels are those of a decision of the dialect told.
func streamLabels(reason verdict.Reason) map[string]string {
	if reason == verdict.OK {
		return map[string]string{"dialect": "told", "mode": "play", "decision": "allow", "rule": "fallback"}
	}
	return map[string]string{"dialect": "told", "mode": "", "decision": "deny", "rule": ""}
}

// Who rotates a secret takes the old one away when nothing shows it as used. So every one that an accepted request needed
// shows, under the scheme that it belongs to.
func TestEverySecretThatAnAcceptedRequestNeededIsSeenAsUsed(t *testing.T) {
	metrics := registry(t)
	keyLabel, secretLabel := rand.Text(), rand.Text() // what is counted outlives a test
	bed := testbed.New(t, `http:// {
	callback_auth {
		api_key {
			header X-Key
			key used-key-0123456789abcdef-0123456 `+keyLabel+`
		}
		hmac {
			secret used-secret-0123456789abcdef-0123 `+secretLabel+`
			header X-Signature
		}
		azure_event_grid
	}
	respond ok
}
`)
	const body = `[]`
	mac := hmac.New(sha256.New, []byte("used-secret-0123456789abcdef-0123"))
	mac.Write([]byte(body))
	before := app.Decisions().Secrets()
	for _, key := range []string{"used-key-0123456789abcdef-0123456", "another"} {
		r := httptest.NewRequest(http.MethodPost, "http://hooks.test/", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Aeg-Event-Type", "Notification")
		r.Header.Set("X-Key", key)
		r.Header.Set("X-Signature", hex.EncodeToString(mac.Sum(nil)))
		if result := bed.Do(t, r); (result.Status == http.StatusOK) != (key != "another") {
			t.Fatalf("status %d", result.Status)
		}
	}
	for scheme, key := range map[string]string{"api_key": keyLabel, "hmac": secretLabel} {
		if n := sample(t, metrics, "caddy_caddyauth_secret_used_total", map[string]string{"scheme": scheme, "key": key}); n != 1 {
			t.Errorf("the metric counts %s of %s %v times", key, scheme, n)
		}
		if !slices.ContainsFunc(app.Decisions().Secrets(), func(u app.SecretUse) bool { return u.Scheme == scheme && u.Key == key && u.Count == 1 }) {
			t.Errorf("the inspector does not show %s of %s: %v", key, scheme, app.Decisions().Secrets())
		}
	}
	if after := app.Decisions().Secrets(); len(after) != len(before)+2 {
		t.Errorf("%v, and before %v", after, before)
	}
}
