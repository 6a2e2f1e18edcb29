package app

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/store"
)

// countedStore is a store whose errors show in the metrics, so that no caller has to remember to count them.
type countedStore struct {
	store  store.Store
	errors *Metrics

	began             time.Time
	lastOK, lastError atomic.Int64 // nanoseconds after began; 0: never
	failed            atomic.Pointer[string]
}

// Reserve implements store.Store.
func (s *countedStore) Reserve(ctx context.Context, key [32]byte, owner store.Owner, window time.Duration) (store.State, error) {
	state, err := s.store.Reserve(ctx, key, owner, window)
	if err != nil {
		state = store.Unknown
	}
	return state, s.count("reserve", err)
}

// Keep implements store.Store.
func (s *countedStore) Keep(ctx context.Context, key [32]byte, window time.Duration) error {
	return s.countEnd("keep", s.store.Keep(ctx, key, window))
}

// Release implements store.Store.
func (s *countedStore) Release(ctx context.Context, key [32]byte, owner store.Owner) error {
	return s.countEnd("release", s.store.Release(ctx, key, owner))
}

// Acquire implements store.Store.
func (s *countedStore) Acquire(ctx context.Context, group, session [32]byte, limit int, lease time.Duration) (bool, error) {
	granted, err := s.store.Acquire(ctx, group, session, limit, lease)
	return granted && err == nil, s.count("acquire", err)
}

// Leave implements store.Store.
func (s *countedStore) Leave(ctx context.Context, group, session [32]byte) error {
	return s.countEnd("leave", s.store.Leave(ctx, group, session))
}

func (s *countedStore) count(operation string, err error) error {
	if err == nil {
		s.lastOK.Store(s.now())
		return nil
	}
	return s.countError(operation, err)
}

// countEnd counts what comes at the end of a request, after the store's answer at its begin: where that was good, the clock
// need not be read again.
func (s *countedStore) countEnd(operation string, err error) error {
	if err == nil && s.lastOK.Load() > s.lastError.Load() {
		return nil
	}
	return s.count(operation, err)
}

// countError is apart from count, or operation would be memory of its own for each success.
func (s *countedStore) countError(operation string, err error) error {
	s.errors.storeErrors.WithLabelValues(operation).Inc()
	s.failed.Store(&operation)
	s.lastError.Store(s.now())
	return err
}

func (s *countedStore) now() int64 { return max(int64(time.Since(s.began)), 1) }

// health says how the store is, by how its last operations went.
func (s *countedStore) health() Health {
	h := Health{State: StateUnused, Detail: "nothing has asked for it yet"}
	now, passed := time.Now(), s.now() // counted back from now, for the wall clock may have been set meanwhile
	at := func(nanoseconds int64) time.Time { return now.Add(time.Duration(nanoseconds - passed)).UTC() }
	good, bad := s.lastOK.Load(), s.lastError.Load()
	if good != 0 {
		h.State, h.Detail, h.LastOK = StateOK, "", at(good)
	}
	if bad != 0 {
		h.LastError = at(bad)
		if bad >= good {
			h.State, h.Detail = StateFailing, "the last operation, "+*s.failed.Load()+", failed"
		}
	}
	return h
}

// Interface guard
var _ store.Store = (*countedStore)(nil)
