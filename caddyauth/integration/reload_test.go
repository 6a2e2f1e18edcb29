package integration

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"go.uber.org/goleak"

	"github.com/caddyserver/caddy/v2"
)

const reloadSite = `http:// {
	callback_auth api_key {
		header X-Key
		key RELOADED
	}
	respond "received"
}
`

func TestReloadsSwapTheConfigAndLeaveNothingBehind(t *testing.T) {
	// The first load starts what lives as long as the process.
	testbed.Run(t, "http:// {\n\trespond \"first\"\n}\n")
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()

	bed := testbed.Run(t, reloadKey("one"))
	for _, key := range []string{"two", "three", "four"} {
		bed.Reload(t, reloadKey(key))
		if status := askWith(t, bed, key); status != http.StatusOK {
			t.Errorf("the key of the new config: %d", status)
		}
		if status := askWith(t, bed, "one"); status != http.StatusUnauthorized {
			t.Errorf("the key of an old config: %d", status)
		}
	}

	if err := bed.TryReload(t, reloadKey("{env.NOBODY_SET_THIS}")); err == nil {
		t.Error("a config without a key was loaded")
	}
	if status := askWith(t, bed, "four"); status != http.StatusOK {
		t.Errorf("after a config that was refused, the last good one answers %d", status)
	}

	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before,
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"), // wakes every 5 s to find itself done
		goleak.IgnoreAnyFunction("net/http/httptest.(*Server).goServe.func1"))
}

func reloadKey(key string) string {
	if key[0] != '{' {
		key += "-0123456789abcdef0123456789abcdef"
	}
	return strings.ReplaceAll(reloadSite, "RELOADED", key)
}

func askWith(t *testing.T, bed *testbed.Bed, key string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://hooks.test/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Key", key+"-0123456789abcdef0123456789abcdef")
	return bed.Do(t, req).Status
}
