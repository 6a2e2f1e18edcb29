package app

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what the handlers do. Every label has a value out of a closed set: a reason, an operation, or a name
// that stands in the configuration. Nothing that a request carries is ever a label.
//
// There is one for the process, so that its values survive reloads: each config gives a new registry, where the same
// collectors are registered again.
type Metrics struct {
	callbackRequests *prometheus.CounterVec
	callbackDuration *prometheus.HistogramVec
	streamDecisions  *prometheus.CounterVec
	streamDuration   *prometheus.HistogramVec
	streamSessions   *prometheus.GaugeVec
	jwksRefresh      *prometheus.CounterVec
	storeErrors      *prometheus.CounterVec
	secretUsed       *prometheus.CounterVec

	callbacks, streams series[counted]
	secrets            series[prometheus.Counter]
}

// counted is where requests are counted that are alike.
type counted struct {
	requests prometheus.Counter
	took     prometheus.Observer
}

func (c counted) count(took time.Duration) {
	c.requests.Inc()
	c.took.Observe(took.Seconds())
}

// durations are the buckets of our own part of a request, in seconds: from the comparison of a key to a password hash or
// another server's answer.
var durations = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

// metrics are the collectors of this process.
var metrics = newMetrics()

func newMetrics() *Metrics {
	counter := func(subsystem, name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "caddy", Subsystem: subsystem, Name: name, Help: help,
		}, labels)
	}
	histogram := func(subsystem, help, label string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "caddy", Subsystem: subsystem, Name: "duration_seconds", Help: help, Buckets: durations,
		}, []string{label})
	}
	return &Metrics{
		callbackRequests: counter("callback_auth", "requests_total",
			"Requests that callback_auth judged, by scheme and reason.", "scheme", "reason"),
		callbackDuration: histogram("callback_auth",
			"Time that callback_auth took itself, without the receiver.", "scheme"),
		streamDecisions: counter("stream_auth", "decisions_total",
			"Decisions of stream_auth.", "dialect", "mode", "decision", "rule"),
		streamDuration: histogram("stream_auth",
			"Time that stream_auth took to decide.", "dialect"),
		streamSessions: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "caddy", Subsystem: "stream_auth", Name: "sessions",
			Help: "Sessions that are open, as far as stream_auth was told.",
		}, []string{"dialect"}),
		jwksRefresh: counter("caddyauth", "jwks_refresh_total",
			"Fetches of key sets, by result: ok or error.", "result"),
		storeErrors: counter("caddyauth", "store_errors_total",
			"Operations that the store could not carry out.", "operation"),
		secretUsed: counter("caddyauth", "secret_used_total",
			"Credentials that were accepted, by the label of the secret that matched.", "scheme", "key"),
	}
}

// registerMetrics registers the collectors of the process with the registry of a config. That they are there already,
// which is so when the app is provisioned twice, is no error.
func registerMetrics(registry *prometheus.Registry) (*Metrics, error) {
	if registry == nil {
		return metrics, nil
	}
	for _, collector := range []prometheus.Collector{
		metrics.callbackRequests, metrics.callbackDuration,
		metrics.streamDecisions, metrics.streamDuration, metrics.streamSessions,
		metrics.jwksRefresh, metrics.storeErrors, metrics.secretUsed,
	} {
		if err := registry.Register(collector); err != nil {
			var already prometheus.AlreadyRegisteredError
			if errors.As(err, &already) && already.ExistingCollector == collector {
				continue
			}
			return nil, fmt.Errorf("a metric of the same name belongs to somebody else: %w", err)
		}
	}
	return metrics, nil
}

// Callback counts one request that callback_auth judged, and the time it took by itself. scheme is the module's name.
func (m *Metrics) Callback(scheme string, reason verdict.Reason, took time.Duration) {
	m.callbacks.of(labels{scheme, string(closed(reason))}, func(l labels) counted {
		return counted{m.callbackRequests.WithLabelValues(l[:2]...), m.callbackDuration.WithLabelValues(l[0])}
	}).count(took)
}

// Stream counts one decision of stream_auth, and the time it took. dialect is the module's name; mode is publish, play,
// or empty for a notification; decision is allow, deny or forward; rule is the name in the configuration, or empty.
func (m *Metrics) Stream(dialect, mode, decision, rule string, took time.Duration) {
	mode, decision = oneOf(mode, "publish", "play"), oneOf(decision, "allow", "deny", "forward")
	m.streams.of(labels{dialect, mode, decision, rule}, func(l labels) counted {
		return counted{m.streamDecisions.WithLabelValues(l[:]...), m.streamDuration.WithLabelValues(l[0])}
	}).count(took)
}

// Sessions says how many sessions of a dialect are open.
func (m *Metrics) Sessions(dialect string, open int) {
	m.streamSessions.WithLabelValues(dialect).Set(float64(open))
}

// JWKSRefresh counts one fetch of a key set.
func (m *Metrics) JWKSRefresh(ok bool) {
	result := "error"
	if ok {
		result = "ok"
	}
	m.jwksRefresh.WithLabelValues(result).Inc()
}

// SecretUsed counts one credential that was accepted. key is the label of the secret that matched; beyond maxSeries of
// them, which only the key sets of issuers can have, it counts as `other`.
func (m *Metrics) SecretUsed(scheme, key string) {
	m.secrets.of(labels{scheme, key}, func(l labels) prometheus.Counter {
		if m.secrets.full() {
			l[1] = "other"
		}
		return m.secretUsed.WithLabelValues(l[:2]...)
	}).Inc()
}

// closed keeps the reasons to those of the status table.
func closed(reason verdict.Reason) verdict.Reason {
	if reason == verdict.OK || slices.Contains(verdict.Reasons(), reason) {
		return reason
	}
	return verdict.Unavailable
}

// oneOf keeps a label to the values that it may have; others are empty.
func oneOf(value string, values ...string) string {
	if slices.Contains(values, value) {
		return value
	}
	return ""
}
