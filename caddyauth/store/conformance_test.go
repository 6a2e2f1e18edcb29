package store_test

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/caddyauth/callbacks/caddyauth/store"
	"github.com/caddyauth/callbacks/caddyauth/store/storetest"
)

func TestMemoryIsAStore(t *testing.T) {
	storetest.Run(t, storetest.Options{
		Rounds: 1000,
		New: func(*testing.T) storetest.Store {
			memory, advance := store.NewMemoryForTest(1_000_000)
			return storetest.Store{Store: memory, Other: memory, Advance: advance}
		},
	})
}

func TestRedisIsAStore(t *testing.T) {
	for name, parameters := range map[string]string{"one server": "", "a cluster": "?cluster=true"} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, storetest.Options{
				New: func(t *testing.T) storetest.Store {
					server := miniredis.RunT(t)
					now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
					server.SetTime(now)
					server.ClockTTL(true)
					url := "redis://" + server.Addr() + parameters
					return storetest.Store{
						Store: store.NewRedisForTest(t, url, "test:"),
						Other: store.NewRedisForTest(t, url, "test:"),
						Advance: func(d time.Duration) {
							now = now.Add(d)
							server.SetTime(now)
						},
					}
				},
			})
		})
	}
}

func TestARealRedisIsAStore(t *testing.T) {
	var n atomic.Int64
	rounds := 20
	if os.Getenv("CADDYAUTH_REAL") == "require" {
		rounds = 1000
	}
	for name, url := range store.RealRedis(t) {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, storetest.Options{
				Rounds: rounds,
				New: func(t *testing.T) storetest.Store {
					prefix := fmt.Sprintf("test-%d:", n.Add(1))
					first := store.NewRedisForTest(t, url, prefix)
					return storetest.Store{
						Store:   first,
						Other:   store.NewRedisForTest(t, url, prefix),
						Advance: func(d time.Duration) { store.Age(t, first, d) },
					}
				},
			})
		})
	}
}
