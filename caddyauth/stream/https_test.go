package stream_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// A hook that is set up with http:// meets Caddy's own redirect, and not the gate: no server may take that for a yes.
func TestCaddysRedirectToHTTPSAllowsNobody(t *testing.T) {
	t.Run("sc-https-redirect", redirectAllowsNobody)
}

func redirectAllowsNobody(t *testing.T) {
	testbed.New(t, site("respond 204")) // so that the log is the test's
	adapted, _, err := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}.Adapt([]byte(`{
	admin off
	auto_https disable_certs
}

hooks.example.com {
	stream_auth icecast {
		allow {
			mode play
		}
	}
}
`), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	config := new(caddy.Config)
	if err := json.Unmarshal(adapted, config); err != nil {
		t.Fatal(err)
	}
	ctx, err := caddy.ProvisionContext(config)
	if err != nil {
		t.Fatal(err)
	}
	app, err := ctx.App("http")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, server := range app.(*caddyhttp.App).Servers {
		plain := slices.Contains(server.Listen, ":80")
		r := icecast("/", "action", "listener_add", "server", "ice", "port", "8000", "client", "1", "mount", "/live.mp3", "ip", "192.0.2.7", "agent", "x")
		r.Host = "hooks.example.com"
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r)
		switch allowed := w.Header().Get("Icecast-Auth-User") != ""; {
		case !plain && (w.Code != http.StatusOK || !allowed):
			t.Errorf("CONTROL: the gate answers %d", w.Code)
		case plain && (w.Code != http.StatusPermanentRedirect || allowed):
			t.Errorf("the redirect answered %d %v", w.Code, w.Header())
		}
		asked++
	}
	if asked != 2 {
		t.Errorf("CONTROL: %d servers, not the gate and the redirect", asked)
	}
}
