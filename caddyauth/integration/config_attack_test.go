package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/google/go-cmp/cmp"

	"github.com/caddyserver/caddy/v2"
)

// The canaries stand in the place of secrets: one behind a placeholder, one written in the config itself.
const (
	canaryBehind  = "canary-behind-a-placeholder-0123456789"
	canaryWritten = "canary-written-in-the-config-0123456789"
)

// fixtureConfigs gives the two halves of each fixture that is not refused, by its name.
func fixtureConfigs(t *testing.T) map[string][2]string {
	t.Helper()
	configs := map[string][2]string{}
	for _, path := range fixtures(t) {
		name := strings.TrimSuffix(filepath.Base(path), ".caddyfiletest")
		if strings.HasPrefix(name, "error_") {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		caddyfile, config, _ := strings.Cut(string(data), separator)
		configs[name] = [2]string{caddyfile + "\n", config}
	}
	return configs
}

// admin is a running Caddy with its admin endpoint and its sites on unix sockets.
type admin struct{ endpoint, sites string }

func newAdmin(t *testing.T) *admin {
	t.Helper()
	folder := t.TempDir()
	a := &admin{endpoint: filepath.Join(folder, "a"), sites: filepath.Join(folder, "s")}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	if err := caddy.Load([]byte(a.own(t, "{}")), true); err != nil {
		t.Fatal(err)
	}
	return a
}

// own puts the endpoint of a and the sockets of its sites into a config.
func (a *admin) own(t *testing.T, config string) string {
	t.Helper()
	var whole map[string]any
	if err := json.Unmarshal([]byte(config), &whole); err != nil {
		t.Fatal(err)
	}
	whole["admin"] = map[string]any{"listen": "unix/" + a.endpoint, "config": map[string]any{"persist": false}}
	whole["logging"] = map[string]any{"logs": map[string]any{"default": map[string]any{"writer": map[string]any{"output": "discard"}}}}
	apps, _ := whole["apps"].(map[string]any)
	site, _ := apps["http"].(map[string]any)
	servers, _ := site["servers"].(map[string]any)
	for _, server := range servers {
		server := server.(map[string]any)
		server["listen"], server["automatic_https"] = []string{"unix/" + a.sites}, map[string]any{"disable": true}
	}
	text, err := json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ask sends one request over a socket, and gives the answer's status, challenge and body.
func ask(t *testing.T, socket string, r *http.Request) (status int, challenge []string, body string) {
	t.Helper()
	client := http.Client{Transport: testbed.Patient{RoundTripper: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header.Values("WWW-Authenticate"), string(text)
}

func (a *admin) ask(t *testing.T, method, path, kind, body string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://127.0.0.1"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	status, _, text := ask(t, a.endpoint, r)
	return status, text
}

// behaviour is what the sites answer to requests with credentials of several kinds and in several places, none of them
// genuine but the key of the fixtures.
func (a *admin) behaviour(t *testing.T) []string {
	t.Helper()
	var seen []string
	for _, credential := range []string{"", canaryBehind, "forged"} {
		for _, request := range [][2]string{
			{"application/json", `{"action":"on_publish","app":"live","name":"cam1","streamId":"cam1","mode":"play","token":"` + credential + `"}`},
			{"application/x-www-form-urlencoded", "action=listener_add&mount=/live.mp3&client=1&call=play&app=live&name=cam1&pass=" + credential},
		} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://hooks.test/hls/live/cam1?key="+credential+"&token="+credential, strings.NewReader(request[1]))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", request[0])
			if credential != "" {
				r.SetBasicAuth("ringostat", credential)
				r.Header.Set("X-Key", credential)
				r.Header.Set("X-Gitlab-Token", credential)
			}
			status, challenge, body := ask(t, a.sites, r)
			seen = append(seen, fmt.Sprint(status, " ", challenge, " ", body))
		}
	}
	return seen
}

func decoded(t *testing.T, text string) any {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// A Caddyfile and the JSON that it stands for are two spellings of one config: the endpoint takes both, keeps the same,
// and the sites behave alike. What a module reads of its JSON it also writes, so that no setting is lost on the way.
func TestBothWaysToWriteAConfigAreOne(t *testing.T) {
	t.Setenv("FIXTURE_SECRET", canaryBehind)
	a := newAdmin(t)
	told := map[string]bool{}
	t.Run("cf-json-caddyfile-equal", func(t *testing.T) {
		for name, halves := range fixtureConfigs(t) {
			t.Run(name, func(t *testing.T) {
				adapted, err := adapt(t, halves[0])
				if err != nil {
					t.Fatal(err)
				}
				hasSite := strings.Contains(halves[1], `"handle"`)
				var kept [2]any
				var behaviour [2][]string
				for i, config := range []string{adapted, halves[1]} {
					if status, text := a.ask(t, http.MethodPost, "/load", "application/json", a.own(t, config)); status != http.StatusOK {
						t.Fatalf("loading: %d %s", status, text)
					}
					_, text := a.ask(t, http.MethodGet, "/config/", "", "")
					kept[i] = decoded(t, text)
					if hasSite {
						behaviour[i] = a.behaviour(t)
					}
				}
				if diff := cmp.Diff(kept[0], kept[1]); diff != "" {
					t.Errorf("GET /config/ (- from the Caddyfile, + from JSON):\n%s", diff)
				}
				if diff := cmp.Diff(kept[1], decoded(t, a.own(t, halves[1]))); diff != "" {
					t.Errorf("(- GET /config/, + what was loaded):\n%s", diff)
				}
				if diff := cmp.Diff(behaviour[0], behaviour[1]); diff != "" {
					t.Errorf("(- from the Caddyfile, + from JSON):\n%s", diff)
				}
				for _, answer := range behaviour[0] {
					told[answer[:3]] = true
				}
				rewritten(t, kept[0])
			})
		}
		if !told["200"] || !told["401"] || !told["403"] {
			t.Errorf("statuses that were compared: %v", slices.Sorted(maps.Keys(told)))
		}
	})
}

// guestKeys are how the JSON names a module of ours, and in which namespace.
var guestKeys = map[string]string{"handler": "http.handlers.", "scheme": "http.callback_auth.schemes.", "dialect": "http.stream_auth.dialects.", "store": "caddyauth.stores."}

// rewritten finds the modules of ours in a config, and fails the test where one of them does not write the JSON that it
// read.
func rewritten(t *testing.T, value any) {
	t.Helper()
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			rewritten(t, item)
		}
	case map[string]any:
		for _, item := range value {
			rewritten(t, item)
		}
		for key, namespace := range guestKeys {
			name, _ := value[key].(string)
			info, err := caddy.GetModule(namespace + name)
			if err != nil || !ours(info) {
				continue
			}
			settings := maps.Clone(value)
			delete(settings, key)
			text, err := json.Marshal(settings)
			if err != nil {
				t.Fatal(err)
			}
			module := info.New()
			if err := caddy.StrictUnmarshalJSON(text, module); err != nil {
				t.Fatalf("%s: %v", info.ID, err)
			}
			written, err := json.Marshal(module)
			if err != nil {
				t.Fatalf("%s: %v", info.ID, err)
			}
			if diff := cmp.Diff(any(settings), decoded(t, string(written))); diff != "" {
				t.Errorf("%s (- read, + written):\n%s", info.ID, diff)
			}
		}
	}
}

// A secret behind a placeholder stays there: nothing on the admin endpoint resolves it. And a config that is refused is
// refused without its secrets, wherever the mistake is, whether they are written in it or not.
func TestTheAdminEndpointTellsNoSecret(t *testing.T) {
	t.Setenv("FIXTURE_SECRET", canaryBehind)
	a := newAdmin(t)
	t.Run("cf-admin-leak", func(t *testing.T) {
		for name, halves := range fixtureConfigs(t) {
			if !strings.Contains(halves[1], "FIXTURE_SECRET") {
				continue
			}
			t.Run(name, func(t *testing.T) {
				if status, text := a.ask(t, http.MethodPost, "/load", "application/json", a.own(t, halves[1])); status != http.StatusOK {
					t.Fatalf("loading: %d %s", status, text)
				}
				a.behaviour(t)
				for _, path := range []string{
					"/config/", "/config/apps/http/servers/srv0/routes", "/caddyauth/", "/caddyauth/decisions", "/caddyauth/status", "/metrics", "/debug/vars",
					"/reverse_proxy/upstreams", "/caddyauth/" + canaryWritten, "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2",
				} {
					status, text := a.ask(t, http.MethodGet, path, "", "")
					if strings.Contains(text, canaryBehind) {
						t.Errorf("GET %s (%d) shows the secret", path, status)
					}
					if path == "/config/" && !strings.Contains(text, "{env.FIXTURE_SECRET}") {
						t.Error("GET /config/ does not show the placeholder: the test would find nothing")
					}
				}
				if status, text := a.ask(t, http.MethodPost, "/load", "application/json", strings.Replace(a.own(t, halves[1]), `"http":{`, `"http":{"no_such_option":1,`, 1)); status != http.StatusBadRequest || strings.Contains(text, canaryBehind) {
					t.Errorf("a config with an option too many: %d", status)
				}
			})
		}
	})
	t.Run("cf-admin-leak, in the error of a config that is refused", func(t *testing.T) {
		refusals := 0
		for name, halves := range fixtureConfigs(t) {
			config := decoded(t, strings.NewReplacer("{env.FIXTURE_SECRET}", canaryWritten, "redis://", "redis://:"+canaryWritten+"@").Replace(halves[1]))
			mistakes(config, false, func(mistake string) {
				text, err := json.Marshal(config)
				if err != nil {
					t.Fatal(err)
				}
				if err := provision(t, string(text)); err != nil {
					refusals++
					if strings.Contains(err.Error(), canaryWritten) {
						t.Errorf("%s, %s: the error shows the secret: %s", name, mistake, strings.ReplaceAll(err.Error(), canaryWritten, "(the secret)"))
					}
				}
			})
		}
		if refusals < 1000 {
			t.Errorf("only %d configs were refused", refusals)
		}
	})
	t.Run("cf-admin-leak, in the answer to POST /load", func(t *testing.T) {
		for _, halves := range fixtureConfigs(t) {
			// Caddy quotes what is no JSON, and what it does not know itself: what is ours is refused by name.
			for _, word := range []string{`"scheme":`, `"dialect":`, `"secrets":`, `"keys":`, `"value":`} {
				config := a.own(t, strings.ReplaceAll(halves[1], "{env.FIXTURE_SECRET}", canaryWritten))
				if i := strings.Index(config, word); i >= 0 {
					config = config[:i] + `"no_such_option":1,` + config[i:]
					status, text := a.ask(t, http.MethodPost, "/load", "application/json", config)
					if status != http.StatusBadRequest || strings.Contains(text, canaryWritten) {
						t.Errorf("an option too many before %s: %d %s", word, status, strings.ReplaceAll(text, canaryWritten, "(the secret)"))
					}
				}
			}
		}
	})
}

// mistakes makes one mistake after the other in what is ours within a config, calls try, and takes it back: a setting
// that nobody knows, one left out, one of another type, a name in capitals. No secret gets to a place for something else.
func mistakes(value any, within bool, try func(mistake string)) {
	switch value := value.(type) {
	case []any:
		for i, item := range value {
			mistakes(item, within, try)
			if within {
				for _, other := range []any{7.5, nil, map[string]any{}, ""} {
					value[i] = other
					try(fmt.Sprintf("an item that is %v", other))
				}
				value[i] = item
			}
		}
	case map[string]any:
		handler, _ := value["handler"].(string)
		within = within || handler == "callback_auth" || handler == "stream_auth" || value["store"] != nil
		keys := slices.Sorted(maps.Keys(value))
		for _, key := range keys {
			item := value[key]
			mistakes(item, within, try)
			if !within || handler != "" && key == "handler" { // that is Caddy's own, whose error quotes the whole
				continue
			}
			delete(value, key)
			try(key + " left out")
			capitals := strings.ToUpper(key[:1]) + key[1:]
			value[capitals] = item
			try(key + " in capitals")
			delete(value, capitals)
			others := []any{7.5, nil, []any{}, map[string]any{}, "", "{env.NOBODY_SET_THIS}", "{nothing}"}
			if text, _ := item.(string); strings.Contains(text, canaryWritten) {
				others = append(others, "{nothing}"+text, "{env.NOBODY_SET_THIS}"+text, text+"\n", text+"{", []any{text}, map[string]any{"value": text})
			}
			for _, other := range others {
				value[key] = other
				try(fmt.Sprintf("%s that is a %T", key, other))
			}
			value[key] = item
		}
		if within {
			value["no_such_option"] = canaryWritten
			try("an option too many")
			delete(value, "no_such_option")
		}
	}
}
