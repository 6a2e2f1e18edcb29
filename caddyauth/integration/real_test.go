package integration

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// need skips a test whose real programs are not installed, and names them. With CADDYAUTH_REAL=require, as .ci/run sets
// it, the test fails instead.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, program)
		}
	}
}

// needPackages returns the directory in which testdata/npm/package.json is installed: CADDYAUTH_NPM says where.
func needPackages(t *testing.T, packages ...string) string {
	t.Helper()
	dir := os.Getenv("CADDYAUTH_NPM")
	for _, name := range packages {
		if _, err := os.Stat(filepath.Join(dir, "node_modules", filepath.FromSlash(name), "package.json")); dir == "" || err != nil {
			missing(t, "npm package "+name+" (CADDYAUTH_NPM)")
		}
	}
	return dir
}

func missing(t *testing.T, program string) {
	t.Helper()
	if os.Getenv("CADDYAUTH_REAL") == "require" {
		t.Fatalf("not installed: %s", program)
	}
	t.Skipf("not installed: %s", program)
}

// handler returns the first server of a Caddyfile, provisioned and without a listener of its own.
func handler(t *testing.T, caddyfile string) http.Handler {
	t.Helper()
	config, err := adapt(t, caddyfile)
	if err != nil {
		t.Fatal(err)
	}
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON([]byte(config), &cfg); err != nil {
		t.Fatal(err)
	}
	cfg.Logging = quiet()
	ctx, err := caddy.ProvisionContext(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	app, err := ctx.App("http")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*caddyhttp.App).Servers["srv0"]
}

// serve runs the first server of a Caddyfile on a loopback port, and returns its URL. Every request passes through seen
// first, if that is not nil.
func serve(t *testing.T, caddyfile string, seen func(http.Handler) http.Handler) string {
	t.Helper()
	site := handler(t, caddyfile)
	if seen != nil {
		site = seen(site)
	}
	server := httptest.NewServer(site)
	t.Cleanup(server.Close)
	return server.URL
}

// quiet throws the log away.
func quiet() *caddy.Logging {
	discard := &caddy.CustomLog{BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output":"discard"}`)}}
	return &caddy.Logging{Logs: map[string]*caddy.CustomLog{caddy.DefaultLoggerName: discard}}
}
