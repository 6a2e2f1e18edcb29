package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/store"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// provision provisions an app of its own context, and gives the function that ends it.
func provision(t *testing.T, a *App) (*App, caddy.Context, func()) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	if err := a.Provision(ctx); err != nil {
		cancel()
		t.Fatal(err)
	}
	return a, ctx, cancel
}

// gather returns the values of all samples of our counters and gauges.
func gather(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			name := family.GetName() + "{" + strings.Join(labels, ",") + "}"
			switch {
			case metric.GetCounter() != nil:
				values[name] = metric.GetCounter().GetValue()
			case metric.GetGauge() != nil:
				values[name] = metric.GetGauge().GetValue()
			case metric.GetHistogram() != nil:
				values[name] = float64(metric.GetHistogram().GetSampleCount())
			}
		}
	}
	return values
}

func TestMetricsHaveTheNamesOfTheContractAndSurviveReloads(t *testing.T) {
	first, firstCtx, endFirst := provision(t, new(App))
	count := func(m *Metrics) {
		m.Callback("vonage", verdict.OK, time.Millisecond)
		m.Callback("vonage", "made up by somebody", time.Millisecond)
		m.Stream("icecast", "play", "deny", "weekly-limit", time.Millisecond)
		m.Stream("icecast", "chosen by a client", "maybe", "", time.Millisecond)
		m.Sessions("icecast", 3)
		m.JWKSRefresh(true)
		m.JWKSRefresh(false)
		m.SecretUsed("vonage", "old")
	}
	names := []string{
		"caddy_callback_auth_requests_total{reason=ok,scheme=vonage}",
		"caddy_callback_auth_requests_total{reason=unavailable,scheme=vonage}",
		"caddy_stream_auth_decisions_total{decision=deny,dialect=icecast,mode=play,rule=weekly-limit}",
		"caddy_stream_auth_decisions_total{decision=,dialect=icecast,mode=,rule=}",
		"caddy_caddyauth_jwks_refresh_total{result=ok}",
		"caddy_caddyauth_jwks_refresh_total{result=error}",
		"caddy_caddyauth_secret_used_total{key=old,scheme=vonage}",
	}
	before := gather(t, firstCtx.GetMetricsRegistry())
	count(first.Metrics())
	after := gather(t, firstCtx.GetMetricsRegistry())
	for _, name := range names {
		if after[name] != before[name]+1 {
			t.Errorf("%s: %v, and before %v", name, after[name], before[name])
		}
	}
	for name, want := range map[string]float64{
		"caddy_stream_auth_sessions{dialect=icecast}":         3,
		"caddy_callback_auth_duration_seconds{scheme=vonage}": before["caddy_callback_auth_duration_seconds{scheme=vonage}"] + 2,
		"caddy_stream_auth_duration_seconds{dialect=icecast}": before["caddy_stream_auth_duration_seconds{dialect=icecast}"] + 2,
	} {
		if after[name] != want {
			t.Errorf("%s: %v; want %v", name, after[name], want)
		}
	}

	second, secondCtx, endSecond := provision(t, new(App)) // the new config, while the old one is there
	defer endSecond()
	if firstCtx.GetMetricsRegistry() == secondCtx.GetMetricsRegistry() {
		t.Fatal("one registry for two configs")
	}
	endFirst()
	count(second.Metrics())
	reloaded := gather(t, secondCtx.GetMetricsRegistry())
	for _, name := range names {
		if reloaded[name] != before[name]+2 {
			t.Errorf("%s after a reload: %v, and before it %v", name, reloaded[name], after[name])
		}
	}
}

func TestRegisteringTwiceWithOneRegistryIsNoError(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	for range 3 {
		if _, err := registerMetrics(registry); err != nil {
			t.Fatal(err)
		}
	}
	metrics.Callback("github", verdict.Missing, time.Second)
	gather(t, registry)
}

func TestAMetricOfSomebodyElseUnderOurNameIsAnError(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	theirs := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_callback_auth_requests_total",
		Help: "Requests that callback_auth judged, by scheme and reason.",
	}, []string{"scheme", "reason"})
	registry.MustRegister(theirs)
	if _, err := registerMetrics(registry); err == nil {
		t.Error("counts would go nowhere")
	}
}

func TestTheStoreIsTheMemoryUnlessTheConfigSaysOtherwise(t *testing.T) {
	a, _, end := provision(t, new(App))
	key, owner := store.Key(t.Name()), store.NewOwner()
	if fresh, err := isFresh(a.Store().Reserve(t.Context(), key, owner, time.Minute)); err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	if err := a.Store().Keep(t.Context(), key, time.Minute); err != nil {
		t.Fatal(err)
	}
	next, _, endNext := provision(t, &App{StoreRaw: json.RawMessage(`{"store":"memory","max_entries":10}`)})
	defer endNext()
	end()
	if fresh, err := isFresh(next.Store().Reserve(t.Context(), key, store.NewOwner(), time.Minute)); err != nil || fresh {
		t.Errorf("after a reload: fresh %v, error %v", fresh, err)
	}
	if granted, err := next.Store().Acquire(t.Context(), key, key, 1, time.Minute); err != nil || !granted {
		t.Error(granted, err)
	}
	if err := errors.Join(next.Store().Leave(t.Context(), key, key), next.Store().Release(t.Context(), key, owner)); err != nil {
		t.Error(err)
	}
}

func TestErrorsOfTheStoreAreCounted(t *testing.T) {
	a, ctx, end := provision(t, &App{StoreRaw: json.RawMessage(`{"store":"redis","url":"unix:///nowhere/at/all"}`)})
	defer end()
	before := gather(t, ctx.GetMetricsRegistry())
	key, s := store.Key(t.Name()), a.Store()
	if fresh, err := isFresh(s.Reserve(t.Context(), key, store.NewOwner(), time.Minute)); err == nil || fresh {
		t.Error(fresh, err)
	}
	if granted, err := s.Acquire(t.Context(), key, key, 1, time.Minute); err == nil || granted {
		t.Error(granted, err)
	}
	for _, err := range []error{
		s.Keep(t.Context(), key, time.Minute), s.Release(t.Context(), key, store.NewOwner()), s.Leave(t.Context(), key, key),
	} {
		if err == nil {
			t.Error("no error without a server")
		}
	}
	after := gather(t, ctx.GetMetricsRegistry())
	for _, operation := range []string{"reserve", "keep", "release", "acquire", "leave"} {
		name := "caddy_caddyauth_store_errors_total{operation=" + operation + "}"
		if after[name] != before[name]+1 {
			t.Errorf("%s: %v, and before %v", name, after[name], before[name])
		}
	}
}

func TestOneAppForEveryHandlerOfAConfig(t *testing.T) {
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	one, err := Of(ctx)
	if err != nil {
		t.Fatal(err)
	}
	two, err := Of(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if one != two || one.Store() == nil || one.Metrics() == nil || one.DecisionLimit() != DefaultDecisions {
		t.Errorf("%p %p %v", one, two, one.DecisionLimit())
	}
}

func TestSettingsOfTheAppThatCannotWorkAreRefused(t *testing.T) {
	for config, want := range map[string]string{
		`{"decisions":-1}`:                                           "decisions: -1",
		`{"store":{"store":"nowhere"}}`:                              "nowhere",
		`{"store":{"store":"redis"}}`:                                "the URL is empty",
		`{"store":{"store":"memory","max_entries":-5}}`:              "max_entries: -5",
		`{"store":{"store":"memory","max_entrys":5}}`:                "max_entrys",
		`{"store":{"store":"redis","url":"redis://h","timeout":-1}}`: "timeout",
	} {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
		a := new(App)
		if err := json.Unmarshal([]byte(config), a); err != nil {
			t.Fatal(err)
		}
		if err := a.Provision(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v; want %q", config, err, want)
		}
		cancel()
	}
}

func TestTheGlobalOption(t *testing.T) {
	for input, want := range map[string]struct{ json, err string }{
		"caddyauth":                    {json: `{}`},
		"caddyauth {\n}":               {json: `{}`},
		"caddyauth {\nstore memory\n}": {json: `{"store":{"store":"memory"}}`},
		"caddyauth {\nstore memory {\nmax_entries 5\n}\ndecisions 0\n}": {
			json: `{"store":{"max_entries":5,"store":"memory"},"decisions":0}`,
		},
		"caddyauth {\ndecisions 25\nstore redis redis://:{env.PASSWORD}@h:6379/1 {\nprefix p:\ntimeout 50ms\n}\n}": {
			json: `{"store":{"prefix":"p:","store":"redis","timeout":50000000,"url":"redis://:{env.PASSWORD}@h:6379/1"},"decisions":25}`,
		},

		"caddyauth on":                                        {err: "caddyauth takes no argument: 'on' given"},
		"caddyauth {\nstore\n}":                               {err: "store takes the name of a store"},
		"caddyauth {\nstore nowhere\n}":                       {err: "caddyauth.stores.nowhere"},
		"caddyauth {\nstore memory\nstore redis redis://h\n}": {err: "store is already specified"},
		"caddyauth {\nstore memory x\n}":                      {err: "'x' given"},
		"caddyauth {\nstore memory {\nsize 5\n}\n}":           {err: "unknown option of store memory: 'size'"},
		"caddyauth {\nstore redis\n}":                         {err: "store redis takes one URL"},
		"caddyauth {\ndecisions\n}":                           {err: "decisions takes one argument"},
		"caddyauth {\ndecisions 1 2\n}":                       {err: "decisions takes one argument"},
		"caddyauth {\ndecisions -1\n}":                        {err: "decisions: '-1' is not a number of decisions"},
		"caddyauth {\ndecisions all\n}":                       {err: "decisions: 'all' is not a number of decisions"},
		"caddyauth {\ndecisions 1\ndecisions 1\n}":            {err: "decisions is already specified"},
		"caddyauth {\nstores memory\n}":                       {err: "unknown option of caddyauth: 'stores'"},
		"caddyauth\ncaddyauth":                                {err: "the global option caddyauth is already specified"},
	} {
		adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\n"+input+"\n}\n"), nil)
		if want.err != "" {
			if err == nil || !strings.Contains(err.Error(), want.err) {
				t.Errorf("%q: error %v; want %q", input, err, want.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", input, err)
			continue
		}
		var config struct{ Apps map[string]json.RawMessage }
		if err := json.Unmarshal(adapted, &config); err != nil {
			t.Fatal(err)
		}
		if got := string(config.Apps["caddyauth"]); got != want.json {
			t.Errorf("%q:\n got %s\nwant %s", input, got, want.json)
		}
	}
}

func TestTheNumberOfDecisionsThatAreKept(t *testing.T) {
	for config, want := range map[string]int{`{}`: DefaultDecisions, `{"decisions":0}`: 0, `{"decisions":7}`: 7} {
		a := new(App)
		if err := json.NewDecoder(strings.NewReader(config)).Decode(a); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		if got := a.DecisionLimit(); got != want {
			t.Errorf("%s: %d; want %d", config, got, want)
		}
	}
}

// isFresh makes a yes or no of what Reserve found.
func isFresh(state store.State, err error) (bool, error) { return state == store.Fresh, err }

// The keys of an issuer have the labels that it gives them, and it may make new ones for as long as Caddy runs.
func TestAnIssuerCannotMakeMetricsWithoutEnd(t *testing.T) {
	m := newMetrics()
	for n := range maxSeries + 100 {
		m.SecretUsed("oauth2", fmt.Sprint(n))
	}
	m.SecretUsed("oauth2", "0")
	registry := prometheus.NewRegistry()
	if err := registry.Register(m.secretUsed); err != nil {
		t.Fatal(err)
	}
	values := gather(t, registry)
	if len(values) != maxSeries+1 || values["caddy_caddyauth_secret_used_total{key=other,scheme=oauth2}"] != 100 ||
		values["caddy_caddyauth_secret_used_total{key=0,scheme=oauth2}"] != 2 {
		t.Errorf("%d series; of others %v", len(values), values["caddy_caddyauth_secret_used_total{key=other,scheme=oauth2}"])
	}
}
