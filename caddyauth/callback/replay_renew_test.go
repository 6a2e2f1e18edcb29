package callback

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/store"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// leases is a store that knows when the lease of each id runs out.
type leases struct {
	store.Store
	mu   sync.Mutex
	ends map[[32]byte]time.Time
	asks int
}

func (l *leases) Reserve(_ context.Context, key [32]byte, _ store.Owner, window time.Duration) (store.State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asks++
	l.ends[key] = time.Now().Add(min(window, store.ReservationLease))
	return store.Fresh, nil
}

func (l *leases) Keep(context.Context, [32]byte, time.Duration) error  { return nil }
func (l *leases) Release(context.Context, [32]byte, store.Owner) error { return nil }
func (l *leases) asked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asks
}

func (l *leases) holds(key [32]byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.ends[key])
}

func TestASlowReceiverHasTheIDToItselfUntilItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known := &leases{ends: make(map[[32]byte]time.Time)}
		g := &replayGuard{Replay: Replay{Window: caddy.Duration(time.Hour)}, store: known, logger: zap.NewNop()}
		var group sync.WaitGroup
		for i, takes := range []time.Duration{0, time.Second, time.Minute, 10 * time.Minute, 25 * time.Minute} {
			group.Go(func() {
				time.Sleep(time.Duration(i) * 7 * time.Second)
				res, v := g.reserve(t.Context(), Verdict{Reason: verdict.OK, Scheme: "s", ID: takes.String(), identified: true}, time.Now())
				if !v.OK() {
					t.Error(v.Detail)
				}
				_ = res.deliver(httptest.NewRecorder(), nil, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
					for since := time.Now(); time.Since(since) < takes; time.Sleep(time.Second) {
						if !known.holds(res.keys[0]) {
							t.Errorf("after %v nobody has the id", time.Since(since))
							return nil
						}
					}
					return nil
				}))
			})
		}
		group.Wait()
		asks := known.asked()
		time.Sleep(time.Hour)
		if more := known.asked() - asks; more > 0 {
			t.Errorf("what is over is still renewed: asked %d times more", more)
		}
		g.slow.mu.Lock()
		defer g.slow.mu.Unlock()
		if g.slow.oldest != nil || g.slow.last != nil || g.slow.running {
			t.Error("what is over is still watched over")
		}
	})
}
