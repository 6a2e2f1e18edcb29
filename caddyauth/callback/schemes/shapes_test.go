package schemes_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/google/go-cmp/cmp"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// site is a Caddyfile with this callback_auth in front of the receiver.
func site(callbackAuth string) string {
	return "http:// {\n" + callbackAuth + "\nreverse_proxy RECEIVER\n}\n"
}

// get is a GET with one header; none if the name is empty.
func get(target, header, value string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, target, nil)
	if header != "" {
		r.Header.Set(header, value)
	}
	return r
}

// expect wants an answer with this status, and that only a 200 came from the receiver.
func expect(t *testing.T, result testbed.Result, status int) {
	t.Helper()
	if result.Status != status {
		t.Errorf("status %d; want %d", result.Status, status)
	}
	if reached := len(result.Received) > 0; reached != (status == http.StatusOK) {
		t.Errorf("%d requests reached the receiver with status %d", len(result.Received), result.Status)
	}
	if status == http.StatusUnauthorized && result.Header.Get("WWW-Authenticate") == "" {
		t.Error("a 401 without WWW-Authenticate")
	}
}

// refusals counts the lines that callback_auth has logged about them.
func refusals(t *testing.T, bed *testbed.Bed) (n int) {
	t.Helper()
	for _, line := range bed.Logs.Lines(t, "callback refused") {
		if line["logger"] == "http.handlers.callback_auth" {
			n++
		}
	}
	return n
}

// fixture is a scheme in the Caddyfile and in JSON.
type fixture struct{ name, caddyfile, json string }

// adaptsBothWays holds each Caddyfile to its JSON, and the JSON to itself after a way through the module.
func adaptsBothWays(t *testing.T, scheme string, fixtures []fixture) {
	t.Helper()
	same := func(t *testing.T, what string, module any, want string) {
		t.Helper()
		got, err := json.Marshal(module)
		if err != nil {
			t.Fatal(err)
		}
		var gotValue, wantValue any
		if err := json.Unmarshal(got, &gotValue); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(want), &wantValue); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wantValue, gotValue); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	for _, f := range fixtures {
		t.Run(f.name, func(t *testing.T) {
			d := caddyfile.NewTestDispenser(f.caddyfile)
			d.Next()
			module, err := caddyfile.UnmarshalModule(d, callback.Namespace+"."+scheme)
			if err != nil {
				t.Fatal(err)
			}
			same(t, "adapted", module, f.json)

			info, err := caddy.GetModule(callback.Namespace + "." + scheme)
			if err != nil {
				t.Fatal(err)
			}
			again := info.New()
			if err := caddy.StrictUnmarshalJSON([]byte(f.json), again); err != nil {
				t.Fatal(err)
			}
			same(t, "decoded", again, f.json)
		})
	}
}

// mistake is a scheme in the Caddyfile that must be refused, and what the error must say.
type mistake struct {
	name, scheme string
	says         []string
}

// refusesMistakes holds that each is refused, and that no error holds a password, key or secret: they are all `hush`.
func refusesMistakes(t *testing.T, mistakes []mistake) {
	t.Helper()
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			text := testbed.Refusal(t, site("callback_auth {\n"+m.scheme+"\n}"))
			for _, word := range m.says {
				if !strings.Contains(text, word) {
					t.Errorf("the error does not say %q: %s", word, text)
				}
			}
			if strings.Contains(text, "hush") {
				t.Errorf("the error holds a secret: %s", text)
			}
		})
	}
}
