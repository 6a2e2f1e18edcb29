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
				_ = res.deliver(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil), caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
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

// told is a store that knows how often it was told to keep an id.
type told struct {
	leases
	keeps int
}

func (s *told) Keep(context.Context, [32]byte, time.Duration) error {
	s.keeps++
	return nil
}

// A WebSocket can last for longer than any reservation. That its handshake was delivered is kept when it begins.
func TestAHandshakeIsKeptWhenItsWebSocketBegins(t *testing.T) {
	for _, test := range []struct {
		method string // of HTTP/1.1, and of HTTP/2 and 3
		status int
	}{{http.MethodGet, http.StatusSwitchingProtocols}, {http.MethodConnect, http.StatusOK}} {
		s := &told{leases: leases{ends: make(map[[32]byte]time.Time)}}
		g := &replayGuard{Replay: Replay{Window: caddy.Duration(time.Hour)}, store: s, logger: zap.NewNop()}
		res, _ := g.reserve(t.Context(), Verdict{Reason: verdict.OK, Scheme: "s", ID: "1", identified: true}, time.Now())
		err := res.deliver(httptest.NewRecorder(), httptest.NewRequest(test.method, "/", nil), caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
			w.WriteHeader(test.status)
			if s.keeps != 1 {
				t.Errorf("%s %d: kept %d times while it lasts", test.method, test.status, s.keeps)
			}
			return nil
		}))
		if err != nil || s.keeps != 1 {
			t.Errorf("%s: kept %d times, error %v", test.method, s.keeps, err)
		}
	}
}
