package callback

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/store"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// What replay protection in memory adds to a request, from an accepted verdict to the id that is kept, with ever more
// ids in memory. No id comes twice; with each, memory grows by one, and there is room for all of them however long it runs.
func BenchmarkReplay(b *testing.B) {
	for _, remembered := range []int{1_000, 10_000, 100_000, 900_000} {
		b.Run(fmt.Sprint(remembered), func(b *testing.B) {
			ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
			defer cancel()
			shared := &app.App{StoreRaw: fmt.Appendf(nil, `{"store":"memory","max_entries":%d}`, remembered+b.N)}
			if err := shared.Provision(ctx); err != nil {
				b.Fatal(err)
			}
			g := &replayGuard{Replay: Replay{Window: caddy.Duration(time.Hour)}, store: shared.Store(), logger: zap.NewNop()}
			w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil)
			next := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
			start := time.Now()
			deliver := func(id string) {
				held, v := g.reserve(ctx, Verdict{Reason: verdict.OK, Scheme: "vonage", idScheme: "vonage", Account: "47000001", ID: id, identified: true}, start)
				if !v.OK() || held.deliver(w, r, next) != nil {
					b.Fatal(v.Detail)
				}
			}
			measureIDs(b, remembered, deliver)
		})
	}
}

// What nothing that remembers ids can do without: the digest of a name, the clock at the begin and at the end, and a map that
// is asked, and written, at both.
func BenchmarkReplayFloor(b *testing.B) {
	for _, remembered := range []int{1_000, 10_000, 100_000, 900_000} {
		b.Run(fmt.Sprint(remembered), func(b *testing.B) {
			type mark struct {
				end   time.Duration
				owner uint64
			}
			var mu sync.Mutex
			marks, start := map[[32]byte]mark{}, time.Now()
			see := func(key [32]byte, owner uint64) {
				mu.Lock()
				defer mu.Unlock()
				if held, found := marks[key]; found && held.owner != owner {
					b.Fatal("an id came twice")
				}
				marks[key] = mark{time.Since(start), owner}
			}
			deliver := func(id string) {
				key := store.Key("replay", "vonage", "47000001", id)
				see(key, 1)
				see(key, 1)
			}
			measureIDs(b, remembered, deliver)
		})
	}
}

// measureIDs delivers so many ids, and then measures how long further ones take, each of which is new.
func measureIDs(b *testing.B, remembered int, deliver func(id string)) {
	for i := range remembered {
		deliver(fmt.Sprintf("before-%030d", i))
	}
	ids := make([]string, b.N)
	for i := range ids {
		ids[i] = fmt.Sprintf("%036d", i)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, id := range ids {
		deliver(id)
	}
}
