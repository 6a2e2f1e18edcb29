package integration

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

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
		answers(t, bed, key, http.StatusOK)
		answers(t, bed, "one", http.StatusUnauthorized)
	}

	if err := bed.TryReload(t, reloadKey("{env.NOBODY_SET_THIS}")); err == nil {
		t.Error("a config without a key was loaded")
	}
	answers(t, bed, "four", http.StatusOK) // the last good config stays

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

// answers waits until a request with this key is answered with this status. While the old config's server is shut down,
// a connection may still fall to it, to be answered by it or closed: that is Caddy's way with sockets.
func answers(t *testing.T, bed *testbed.Bed, key string, want int) {
	t.Helper()
	request := "GET / HTTP/1.1\r\nHost: hooks.test\r\nConnection: close\r\n" +
		"X-Key: " + key + "-0123456789abcdef0123456789abcdef\r\n\r\n"
	have := 0
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		conn := bed.Dial(t)
		if _, err := io.WriteString(conn, request); err != nil {
			continue
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			continue
		}
		resp.Body.Close()
		conn.Close()
		if have = resp.StatusCode; have == want {
			return
		}
	}
	t.Fatalf("the key %q: status %d, want %d", key, have, want)
}
