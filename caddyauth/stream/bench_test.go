package stream_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// A hook of Ant Media Server through Caddy's whole handler chain, beside Caddy's own `respond`, then with ever more
// rules before the one that decides.
func BenchmarkHook(b *testing.B) {
	token := mint(b, nil)
	serve := func(name, site string) {
		b.Run(name, func(b *testing.B) {
			bed := testbed.New(b, "http:// {\n"+site+"\n}")
			requests := make([]*http.Request, b.N)
			for i := range requests {
				requests[i] = play("/hook", token)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for _, r := range requests {
				if status := bed.Status(r); status != http.StatusOK {
					b.Fatal(status)
				}
			}
		})
	}
	serve("floor/respond", `respond "{}"`)
	for _, rules := range []int{1, 10, 100, 1000} {
		var before strings.Builder
		for i := range rules - 1 {
			fmt.Fprintf(&before, "allow {\nstream other%d\n}\n", i)
		}
		serve(fmt.Sprintf("JWT and %d rules", rules), "stream_auth antmedia {\ntoken {\njwt {\nsecret "+testbed.Secret+"\n}\n}\n"+
			before.String()+"allow {\ntoken valid\n}\n}")
	}
}

// A hook that counts sessions, with ever more of them open in the one group that it counts in: each opens anew one that
// is open already.
func BenchmarkSessions(b *testing.B) {
	for _, open := range []int{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(open), func(b *testing.B) {
			bed := testbed.New(b, "http:// {\nstream_auth mediamtx {\nallow {\nmax_sessions 1000 per stream 2h\n}\n}\n}")
			ask := func(i int) *http.Request {
				return hook("/hook", "application/json", fmt.Sprintf(
					`{"action":"read","path":"cam1","protocol":"rtsp","ip":"192.0.2.1","id":"session-%d"}`, i%open))
			}
			for i := range open {
				if status := bed.Status(ask(i)); status != http.StatusOK {
					b.Fatal(status)
				}
			}
			requests := make([]*http.Request, b.N)
			for i := range requests {
				requests[i] = ask(i)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for _, r := range requests {
				if status := bed.Status(r); status != http.StatusOK {
					b.Fatal(status)
				}
			}
		})
	}
}
