// Package integration tests the plugin as a whole: Caddyfiles as users write them, reloads of a running Caddy, and real
// senders and media servers.
package integration

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	_ "github.com/caddyauth/callbacks/caddyauth"
	"github.com/google/go-cmp/cmp"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

var update = flag.Bool("update", false, "write the second halves of the fixtures anew")

// separator stands between the halves of a fixture.
const separator = "\n----------\n"

// A fixture is a Caddyfile, ten dashes, and the JSON that it stands for. Where the file's name begins with `error_`, it
// is the message that refuses it, while adapting or while provisioning.
func TestCaddyfileFixtures(t *testing.T) {
	// What the placeholders in the fixtures find. EMPTY_SECRET is set and empty.
	t.Setenv("FIXTURE_SECRET", "a-secret-for-fixtures-0123456789abcdef")
	t.Setenv("EMPTY_SECRET", "")

	for _, path := range fixtures(t) {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".caddyfiletest"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			input, want, _ := strings.Cut(string(data), separator)
			input = strings.TrimSuffix(input, "\n") + "\n"

			have, err := adapt(t, input)
			if err == nil {
				err = provision(t, have)
			}
			if refused := strings.HasPrefix(filepath.Base(path), "error_"); refused != (err != nil) {
				t.Fatalf("refused: %t, error: %v", refused, err)
			}
			if err != nil {
				have = err.Error()
			}

			want = strings.TrimSpace(want)
			if have == want {
				return
			}
			if !*update {
				t.Fatalf("(- fixture, + now):\n%s", cmp.Diff(want, have))
			}
			if err := os.WriteFile(path, []byte(strings.TrimSuffix(input, "\n")+separator+have+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestEveryModuleHasAFixtureAndEveryKindOfMistakeToo(t *testing.T) {
	var all []byte
	for _, path := range fixtures(t) {
		if strings.HasPrefix(filepath.Base(path), "error_") {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, config, _ := strings.Cut(string(data), separator)
		all = append(all, config...)
	}

	// How the JSON names a guest in each namespace.
	keys := map[string]string{
		"http.handlers":              "handler",
		"http.callback_auth.schemes": "scheme",
		"http.stream_auth.dialects":  "dialect",
		"caddyauth.stores":           "store",
	}
	for _, id := range caddy.Modules() {
		info, err := caddy.GetModule(id)
		if err != nil {
			t.Fatal(err)
		}
		if !ours(info) {
			continue
		}
		mention := `"` + info.ID.Name() + `": {` // an app
		if key, ok := keys[info.ID.Namespace()]; ok {
			mention = `"` + key + `": "` + info.ID.Name() + `"`
		} else if info.ID.Namespace() == "admin.api" {
			continue // it has no configuration
		}
		if !bytes.Contains(all, []byte(mention)) {
			t.Errorf("no fixture has %s: %s", mention, id)
		}
	}
}

// Whoever writes JSON by hand, or changes it by the config API, gets what the Caddyfile gives: the fields that it is adapted
// to are those that the modules read, all of them.
func TestTheJSONOfACaddyfileIsWhatTheModulesRead(t *testing.T) {
	for _, path := range fixtures(t) {
		if strings.HasPrefix(filepath.Base(path), "error_") {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".caddyfiletest"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, config, _ := strings.Cut(string(data), separator)
			var tree any
			if err := json.Unmarshal([]byte(config), &tree); err != nil {
				t.Fatal(err)
			}
			roundTrip(t, tree)
		})
	}
}

// roundTrip decodes each module of ours in a config, encodes it again, and compares.
func roundTrip(t *testing.T, tree any) {
	t.Helper()
	list, _ := tree.([]any)
	for _, item := range list {
		roundTrip(t, item)
	}
	object, _ := tree.(map[string]any)
	for _, item := range object {
		roundTrip(t, item)
	}
	for key, namespace := range map[string]string{
		"handler": "http.handlers", "scheme": "http.callback_auth.schemes",
		"dialect": "http.stream_auth.dialects", "store": "caddyauth.stores",
	} {
		name, _ := object[key].(string)
		info, err := caddy.GetModule(namespace + "." + name)
		if err != nil || !ours(info) {
			continue
		}
		options := maps.Clone(object)
		delete(options, key)
		written, err := json.Marshal(options)
		if err != nil {
			t.Fatal(err)
		}
		module := info.New()
		if err := caddy.StrictUnmarshalJSON(written, module); err != nil {
			t.Fatalf("%s: %v", info.ID, err)
		}
		encoded, err := json.Marshal(module)
		if err != nil {
			t.Fatal(err)
		}
		var read map[string]any
		if err := json.Unmarshal(encoded, &read); err != nil {
			t.Fatal(err)
		}
		if difference := cmp.Diff(options, read); difference != "" {
			t.Errorf("%s (- Caddyfile, + what the module read):\n%s", info.ID, difference)
		}
	}
}

// ours says whether a module is this plugin's, by its Go type.
func ours(info caddy.ModuleInfo) bool {
	made := reflect.TypeOf(info.New())
	if made.Kind() != reflect.Pointer {
		return false // some of Caddy's adapters
	}
	home := made.Elem().PkgPath()
	return strings.HasPrefix(home, "github.com/caddyauth/callbacks/") && !strings.HasSuffix(home, "/testbed")
}

func fixtures(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	slices.Sort(paths)
	return paths
}

// adapt returns the JSON that a Caddyfile stands for, indented. A warning, such as of a file that `caddy fmt` would
// change, fails the test.
func adapt(t *testing.T, input string) (string, error) {
	t.Helper()
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), nil)
	if err != nil {
		return "", err
	}
	for _, warning := range warnings {
		t.Errorf("warning: %s", warning)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, config, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return indented.String(), nil
}

// provision loads every module of a config and lets go of it again, as `caddy validate` does.
func provision(t *testing.T, config string) error {
	t.Helper()
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON([]byte(config), &cfg); err != nil {
		return err
	}
	quiet := &caddy.CustomLog{BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output":"discard"}`)}}
	cfg.Logging = &caddy.Logging{Logs: map[string]*caddy.CustomLog{caddy.DefaultLoggerName: quiet}}
	return caddy.Validate(&cfg)
}
