package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddyserver/caddy/v2"
)

// cf-json-caddyfile-equal: the two surfaces say the same. The JSON that a Caddyfile stands for names every field as the
// modules do, and none is lost when it is read and written again. (All other tests run such JSON.)
func TestTheJSONOfACaddyfileReadAndWrittenAgainIsTheSame(t *testing.T) {
	for _, path := range fixtures(t) {
		name := strings.TrimSuffix(filepath.Base(path), ".caddyfiletest")
		if strings.HasPrefix(name, "error_") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, config, _ := strings.Cut(string(data), separator)
			var root any
			if err := json.Unmarshal([]byte(config), &root); err != nil {
				t.Fatal(err)
			}
			walk(root, func(object map[string]any) {
				for key, namespace := range map[string]string{
					"handler": "http.handlers", "scheme": "http.callback_auth.schemes",
					"dialect": "http.stream_auth.dialects", "store": "caddyauth.stores",
				} {
					guest, _ := object[key].(string)
					info, err := caddy.GetModule(namespace + "." + guest)
					if guest == "" || err != nil || !ours(info) {
						continue
					}
					before := map[string]any{}
					for member, value := range object {
						if member != key {
							before[member] = value
						}
					}
					text, err := json.Marshal(before)
					if err != nil {
						t.Fatal(err)
					}
					module := info.New()
					if err := caddy.StrictUnmarshalJSON(text, module); err != nil {
						t.Fatalf("%s: %v", info.ID, err)
					}
					if text, err = json.Marshal(module); err != nil {
						t.Fatalf("%s: %v", info.ID, err)
					}
					after := map[string]any{}
					if err := json.Unmarshal(text, &after); err != nil {
						t.Fatalf("%s: %v", info.ID, err)
					}
					if diff := cmp.Diff(before, after); diff != "" {
						t.Errorf("%s (- before, + after):\n%s", info.ID, diff)
					}
				}
			})
		})
	}
}

// walk visits every object in a JSON value.
func walk(value any, visit func(object map[string]any)) {
	switch value := value.(type) {
	case map[string]any:
		visit(value)
		for _, member := range value {
			walk(member, visit)
		}
	case []any:
		for _, item := range value {
			walk(item, visit)
		}
	}
}

// cf-admin-leak: whoever reads the admin endpoint sees that there are secrets, and none of them.
func TestTheAdminEndpointShowsNoSecretThatAPlaceholderStandsFor(t *testing.T) {
	const secret = "resolved-and-never-shown-0123456789abcdef"
	t.Setenv("FIXTURE_SECRET", secret)
	dir, err := os.MkdirTemp("", "admin") // the path of a socket is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	site := `{
	admin unix/` + dir + `/admin
	persist_config off
	log {
		output discard
	}
	caddyauth {
		store redis redis://:{env.FIXTURE_SECRET}@127.0.0.1:1
	}
}

http:// {
	bind unix/` + dir + `/site
	handle /hook {
		callback_auth {
			vonage {
				secret {env.FIXTURE_SECRET}
				secret {file.` + file + `} from-a-file
			}
			basic {
				user alice {env.FIXTURE_SECRET}
			}
			api_key {
				query key
				key {env.FIXTURE_SECRET}
			}
			oauth2 {
				introspection http://127.0.0.1:1/ {
					client_id gate
					client_secret {env.FIXTURE_SECRET}
				}
			}
		}
		respond 200
	}
	handle {
		stream_auth icecast {
			token a {
				static {env.FIXTURE_SECRET}
			}
			token b {
				signed {env.FIXTURE_SECRET}
			}
			token c {
				jwt {
					secret {env.FIXTURE_SECRET}
				}
			}
			allow {
				user bob {env.FIXTURE_SECRET}
				token valid
			}
		}
	}
}
`
	config, err := adapt(t, site)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = caddy.Stop() })

	client := func(socket string) *http.Client {
		return &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, socket))
			},
		}}
	}
	get := func(socket, path string) []byte {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("alice", secret)
		response, err := client(socket).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	get("site", "/hook?key="+secret) // it is refused, and shows in the decisions
	get("site", "/?token="+secret)
	shown := get("admin", "/config/")
	if got := bytes.Count(shown, []byte("{env.FIXTURE_SECRET}")); got != 9 {
		t.Errorf("CONTROL: the config shows %d placeholders, want 9: %s", got, shown)
	}
	decisions := get("admin", "/caddyauth/decisions")
	if !bytes.Contains(decisions, []byte(`"callback_auth"`)) && !bytes.Contains(decisions, []byte(`"handler"`)) {
		t.Errorf("CONTROL: there is no decision: %s", decisions)
	}
	for path, text := range map[string][]byte{
		"/config/": shown, "/caddyauth/decisions": decisions,
		"/caddyauth/": get("admin", "/caddyauth/"), "/metrics": get("admin", "/metrics"), "/reverse_proxy/upstreams": get("admin", "/reverse_proxy/upstreams"),
	} {
		if bytes.Contains(text, []byte(secret)) {
			t.Errorf("%s shows a secret", path)
		}
	}
}
