// Package inspect shows what the handlers decided: as JSON, live as server-sent events, and as a page for a browser, all
// on Caddy's admin endpoint.
package inspect

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(Inspector{})
}

// prefix is where everything is, on the admin endpoint.
const prefix = "/caddyauth/"

// defaultLimit is how many decisions are given where the query does not say.
const defaultLimit = 1000

// Inspector serves, on the admin endpoint, the inspector page at `/caddyauth/`, the latest decisions as JSON at
// `/caddyauth/decisions`, the same live at `/caddyauth/decisions/stream`, and at `/caddyauth/status` which secrets were
// last used when, how many requests came in each of the last minutes, and how the stores and key sets are. It changes
// nothing and has no settings.
//
// Caddy's own checks of host and origin come before it. On top of them it refuses whatever a browser says comes from
// another site.
type Inspector struct {
	ended <-chan struct{} // closed when the config ends, and its admin endpoint with it
}

// CaddyModule returns the Caddy module information.
func (Inspector) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.caddyauth",
		New: func() caddy.Module { return new(Inspector) },
	}
}

// Provision notes when the config ends.
func (i *Inspector) Provision(ctx caddy.Context) error {
	i.ended = ctx.Done()
	return nil
}

// Routes implements caddy.AdminRouter.
func (i *Inspector) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: prefix, Handler: guarded(page)},
		{Pattern: prefix + "decisions", Handler: guarded(latest)},
		{Pattern: prefix + "decisions/stream", Handler: guarded(i.stream)},
		{Pattern: prefix + "status", Handler: guarded(status)},
	}
}

// files is the page. It is served as it stands here.
//
//go:embed page
var files embed.FS

// page serves the page and its two files.
func page(w http.ResponseWriter, r *http.Request) error {
	var name, kind string
	switch r.URL.Path {
	case prefix:
		name, kind = "page.html", "text/html; charset=utf-8"
	case prefix + "page.css":
		name, kind = "page.css", "text/css; charset=utf-8"
	case prefix + "page.js":
		name, kind = "page.js", "text/javascript; charset=utf-8"
	default:
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New("there is no such page")}
	}
	data, err := files.ReadFile("page/" + name)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", kind)
	_, err = w.Write(data)
	return err
}

// latest serves the latest decisions, newest first; `limit` of the query says how many at most.
func latest(w http.ResponseWriter, r *http.Request) error {
	limit := defaultLimit
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > app.MaxDecisions {
			return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf("limit is a number from 1 to %d", app.MaxDecisions)}
		}
		limit = n
	}
	return writeJSON(w, app.Decisions().Latest(limit, 0))
}

// Status is what the page shows beside the decisions.
type Status struct {
	// The time at this Caddy.
	Now time.Time `json:"now,omitzero"`

	// How many decisions are kept; absent: none.
	Limit int `json:"limit,omitempty"`

	// The minutes of the last hour in which there were requests, the oldest first.
	Minutes []app.Minute `json:"minutes,omitempty"`

	// Which secrets matched, and when, since this process started.
	Secrets []app.SecretUse `json:"secrets,omitempty"`

	// How the stores and key sets of the running config are.
	Health []app.Health `json:"health,omitempty"`
}

func now() Status {
	log, at := app.Decisions(), time.Now()
	return Status{Now: at.UTC(), Limit: log.Limit(), Minutes: log.Minutes(at), Secrets: log.Secrets(), Health: app.Watched()}
}

// status serves the Status of now.
func status(w http.ResponseWriter, _ *http.Request) error { return writeJSON(w, now()) }

func writeJSON(w http.ResponseWriter, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(append(text, '\n'))
	return err
}

// Interface guards
var (
	_ caddy.Provisioner = (*Inspector)(nil)
	_ caddy.AdminRouter = (*Inspector)(nil)
)
