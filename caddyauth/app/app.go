// Package app is the app `caddyauth`: what the handlers of one config share, which is the store and the metrics. The
// handlers ask for it by name and get one with defaults where the config has none.
package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/store"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(App{})
}

// DefaultDecisions is how many decisions are kept for the inspector unless the config says otherwise.
const DefaultDecisions = 1000

// App holds what `callback_auth` and `stream_auth` share: the store where replay memory and sessions live, how many
// decisions the inspector remembers, and the metrics. It is optional: without it, the store is the memory of this
// process.
//
// EXPERIMENTAL: Subject to change or removal.
type App struct {
	// Where message ids and open sessions are remembered. Default: `memory`.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=caddyauth.stores inline_key=store"`

	// How many of the latest decisions are kept for the inspector, at most 100000. 0: none. Default: 1000.
	Decisions *int `json:"decisions,omitempty"`

	store   store.Store
	metrics *Metrics
	watched *watched
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddyauth",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision loads the store and registers the metrics.
func (a *App) Provision(ctx caddy.Context) error {
	if a.Decisions != nil && *a.Decisions < 0 {
		return fmt.Errorf("decisions: %d is not a number of decisions", *a.Decisions)
	}
	if a.Decisions != nil && *a.Decisions > MaxDecisions {
		return fmt.Errorf("decisions: %d are more than can be kept, which is %d", *a.Decisions, MaxDecisions)
	}
	a.watched = new(watched)
	var err error
	if a.metrics, err = registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return fmt.Errorf("registering metrics: %v", err)
	}
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"store":"memory"}`)
	}
	// Caddy's own error for this would show the whole of it, a password in a URL included. Like Caddy we read a map: a
	// struct would take `Store` for the name too.
	var fields map[string]any
	if err := json.Unmarshal(a.StoreRaw, &fields); err != nil {
		fields = nil
	}
	if name, _ := fields["store"].(string); name == "" {
		return errors.New("loading store: it has no name in the field store")
	}
	module, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("loading store: %v", err)
	}
	guest, ok := module.(store.Store)
	if !ok {
		return fmt.Errorf("loading store: %T is not a store.Store", module)
	}
	counted := &countedStore{store: guest, errors: a.metrics, began: time.Now()}
	a.store = counted
	a.Watch(KindStore, module.(caddy.Module).CaddyModule().ID.Name(), counted.health)
	return nil
}

// Store returns the store. Its errors are counted in the metrics.
func (a *App) Store() store.Store { return a.store }

// Metrics returns the metrics.
func (a *App) Metrics() *Metrics { return a.metrics }

// DecisionLimit returns how many decisions are kept for the inspector; 0 is none.
func (a *App) DecisionLimit() int {
	if a.Decisions == nil {
		return DefaultDecisions
	}
	return *a.Decisions
}

// Start implements caddy.App. A store connects when it is first needed; what starts here is that the inspector shows
// this config.
func (a *App) Start() error {
	running.add(a)
	return nil
}

// Stop implements caddy.App. What the store holds is given up when it is cleaned up.
func (a *App) Stop() error {
	running.remove(a)
	return nil
}

// Of returns the app of the config that ctx belongs to. Handlers call it in Provision.
func Of(ctx caddy.Context) (*App, error) {
	module, err := ctx.App("caddyauth")
	if err != nil {
		return nil, fmt.Errorf("loading app caddyauth: %v", err)
	}
	a, ok := module.(*App)
	if !ok {
		return nil, fmt.Errorf("loading app caddyauth: it is a %T", module)
	}
	return a, nil
}

// Interface guards
var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Module      = App{}
	_ caddy.Provisioner = (*App)(nil)
)
