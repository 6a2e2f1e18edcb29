// Package testbed runs a Caddyfile for a test: with the real HTTP app, the real reverse proxy and a receiver behind it
// that counts. Only tests import it.
package testbed

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	// The plugin, and of Caddy what the tests' Caddyfiles use; never modules/standard, which takes minutes to build.
	_ "github.com/caddyauth/callbacks/caddyauth"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	_ "github.com/caddyserver/caddy/v2/modules/logging"
)

// Bed is a running configuration.
type Bed struct {
	Receiver *Receiver
	Logs     *Logs

	handler http.Handler
	socket  string
	secure  *Secure
}

// New provisions a Caddyfile of one site, without a socket of its own. RECEIVER in it stands for the receiver's
// address, so that `reverse_proxy RECEIVER` leads there. Requests are handed to Do.
//
// The site needs an address such as `http://` or `:80`. Beds replace Caddy's default log: tests that use them must not
// run in parallel.
func New(t testing.TB, text string) *Bed {
	t.Helper()
	bed := &Bed{Receiver: NewReceiver(t)}
	config, err := bed.config(t, text)
	if err != nil {
		t.Fatalf("adapting the Caddyfile: %v", err)
	}
	ctx, err := caddy.ProvisionContext(config)
	if err != nil {
		t.Fatalf("provisioning: %v", err)
	}
	app, err := ctx.App("http")
	if err != nil {
		t.Fatalf("loading the http app: %v", err)
	}
	for _, server := range app.(*caddyhttp.App).Servers {
		bed.handler = server
	}
	return bed
}

// Refusal adapts and provisions a Caddyfile that must be refused, and returns the error's text.
func Refusal(t testing.TB, text string) string {
	t.Helper()
	bed := &Bed{Receiver: &Receiver{Addr: "127.0.0.1:9"}}
	config, err := bed.config(t, text)
	if err != nil {
		return err.Error()
	}
	ctx, err := caddy.ProvisionContext(config)
	if err == nil {
		_, err = ctx.App("http")
	}
	if err == nil {
		t.Fatalf("this config was accepted:\n%s", text)
	}
	return err.Error()
}

// Run loads a Caddyfile of one site into a real Caddy that listens on a unix socket, in place of the one that ran
// before. It is stopped when the test ends. Do, Raw and Dial go through the socket.
func Run(t testing.TB, text string) *Bed {
	t.Helper()
	bed := &Bed{Receiver: NewReceiver(t), socket: filepath.Join(t.TempDir(), "s")}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	bed.Reload(t, text)
	return bed
}

// Reload loads another Caddyfile into a Bed that Run made.
func (b *Bed) Reload(t testing.TB, text string) {
	t.Helper()
	if err := b.TryReload(t, text); err != nil {
		t.Fatalf("loading: %v", err)
	}
}

// TryReload is Reload for a Caddyfile that may be refused.
func (b *Bed) TryReload(t testing.TB, text string) error {
	t.Helper()
	config, err := b.config(t, text)
	if err != nil {
		return err
	}
	encoded, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return caddy.Load(encoded, true)
}

// config adapts a Caddyfile, and makes it fit for a test: no admin endpoint, nothing written, the log in Logs.
func (b *Bed) config(t testing.TB, text string) (*caddy.Config, error) {
	t.Helper()
	text = strings.ReplaceAll(text, "RECEIVER", b.Receiver.Addr)
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	adapted, _, err := adapter.Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return nil, err
	}
	config := new(caddy.Config)
	if err := json.Unmarshal(adapted, config); err != nil {
		t.Fatal(err)
	}
	if b.socket != "" {
		var app map[string]any
		if err := json.Unmarshal(config.AppsRaw["http"], &app); err != nil {
			t.Fatal(err)
		}
		for _, server := range app["servers"].(map[string]any) {
			server := server.(map[string]any)
			server["listen"] = []string{"unix/" + b.socket}
			server["automatic_https"] = map[string]any{"disable": true}
		}
		if config.AppsRaw["http"], err = json.Marshal(app); err != nil {
			t.Fatal(err)
		}
	}
	if b.secure != nil {
		if err := b.secure.listen(config); err != nil {
			t.Fatal(err)
		}
	}
	no := false
	config.Admin = &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &no}}
	if b.Logs == nil {
		b.Logs = newLogs(t)
	}
	if config.Logging == nil {
		config.Logging = new(caddy.Logging)
	}
	logs := b.Logs.config()
	if given := config.Logging.Logs["default"]; given != nil && given.EncoderRaw != nil {
		logs.EncoderRaw = given.EncoderRaw // a filter of the Caddyfile's own
	}
	config.Logging.Logs = map[string]*caddy.CustomLog{"default": logs}
	return config, nil
}
