package stream_test

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// silent is the address of a server that takes connections and never answers.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}()
	return listener.Addr().String()
}

func TestADecisionThatNeedsAHangingServerIsADenialBeforeMediaServersGiveUp(t *testing.T) {
	address := silent(t)
	for name, tc := range map[string]struct {
		site string
		r    *http.Request
	}{
		"sc-deadline: the store": {`stream_auth icecast {
	allow {
		max_sessions 1 per ip
	}
}`, icecast("/", "action", "listener_add", "server", "ice", "port", "8000", "client", "1", "mount", "/live.mp3", "ip", "192.0.2.7", "agent", "x")},
		// Ant Media gives up after 5 s, and holds up every other publisher meanwhile.
		"sc-deadline: introspection": {`stream_auth antmedia {
	token {
		oauth2 {
			introspection http://` + address + `/introspect {
				client_id me
				client_secret 0123456789abcdef0123456789abcdef
			}
		}
		any_stream
	}
	allow {
		token valid
	}
}`, play("/", "opaque")},
	} {
		t.Run(name, func(t *testing.T) {
			bed := testbed.New(t, `
{
	caddyauth {
		store redis redis://`+address+` {
			timeout 50ms
		}
	}
}
`+site(tc.site))
			ctx, cancel := context.WithTimeout(tc.r.Context(), 5*time.Second)
			defer cancel()
			result := bed.Do(t, tc.r.WithContext(ctx))
			if result.Status != http.StatusServiceUnavailable || result.Header.Get("Icecast-Auth-User") != "" || ctx.Err() != nil {
				t.Errorf("answered %d, and the context says %v", result.Status, ctx.Err())
			}
		})
	}
}
