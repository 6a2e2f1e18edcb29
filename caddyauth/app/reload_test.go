package app

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/store"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

// load gives Caddy a config with this app.
func load(config string) error {
	return caddy.Load(fmt.Appendf(nil, `{"admin":{"disabled":true,"config":{"persist":false}},"apps":{"caddyauth":%s}}`, config), true)
}

func TestReloadsOfCaddyKeepIdsSessionsAndCounts(t *testing.T) {
	if err := load(`{}`); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = caddy.Stop() }()
	current := func() *App {
		t.Helper()
		a, err := Of(caddy.ActiveContext())
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	key, sample := store.Key(rand.Text()), "caddy_callback_auth_requests_total{reason=ok,scheme=reload}"
	if fresh, err := isFresh(current().Store().Reserve(t.Context(), key, store.NewOwner(), time.Hour)); err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	if granted, err := current().Store().Acquire(t.Context(), key, store.Key("one"), 1, time.Hour); err != nil || !granted {
		t.Fatal(granted, err)
	}
	counted := func() float64 {
		t.Helper()
		ctx := caddy.ActiveContext()
		return gather(t, ctx.GetMetricsRegistry())[sample]
	}
	before := counted()
	for i := range 30 {
		config := fmt.Sprintf(`{"store":{"store":"memory","max_entries":%d}}`, 10+i)
		if err := load(config); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			if err := load(`{"store":{"store":"redis"}}`); err == nil {
				t.Fatal("a config without a URL is taken")
			}
		}
		current().Metrics().Callback("reload", verdict.OK, 0)
		if fresh, err := isFresh(current().Store().Reserve(t.Context(), key, store.NewOwner(), time.Hour)); err != nil || fresh {
			t.Fatalf("reload %d: fresh %v, error %v", i, fresh, err)
		}
		if granted, err := current().Store().Acquire(t.Context(), key, store.Key("two"), 1, time.Hour); err != nil || granted {
			t.Fatalf("reload %d: granted %v, error %v", i, granted, err)
		}
		if got := counted(); got != before+float64(i)+1 {
			t.Fatalf("reload %d: counted %v; want %v", i, got, before+float64(i)+1)
		}
	}
}
