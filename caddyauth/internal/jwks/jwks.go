// Package jwks holds sets of public keys that others publish: at a JWKS URL, behind OpenID provider metadata, or in a
// file.
//
// Keys are fetched when a token first needs them, one fetch at a time. While they are young they serve as they are; when
// they are older than their refresh interval they go on serving while they are fetched again, so that no good token
// waits. Only a whole, valid answer of status 200 replaces what is held, and it replaces all of it: a key that was
// withdrawn stops working, and a set without keys revokes everything. Anything else leaves the old keys in place, for 24
// hours at most; after that, nothing can be decided.
//
// A token under an unknown key id causes a fetch at most once in 30 s, whatever came of the last one, and nothing is
// remembered of it, so that a flood of made-up ids costs the issuer and us nothing. A bad signature under a known id
// causes none.
package jwks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/internal/endpoint"
	"github.com/caddyauth/callbacks/caddyauth/internal/flight"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// Config says where keys come from. One of JWKS, Metadata and File is set, or Issuer alone.
type Config struct {
	// JWKS is the URL of a key set.
	JWKS string

	// Metadata is the URL of OpenID provider metadata, which names the key set.
	Metadata string

	// File is the path of a key set on disk. It is looked at again, at most once a second, and read when it changed.
	File string

	// Issuer must equal the metadata's own `issuer`. Empty: the metadata's word is taken. Where nothing else is set,
	// the metadata is at `<Issuer>/.well-known/openid-configuration` (OpenID Connect Discovery 1.0 §4), or else, where
	// nothing is there, at the issuer's `/.well-known/oauth-authorization-server` (RFC 8414 §3.1).
	Issuer string

	// Client makes the calls. nil: one of this package's own, which is what everything but a test wants.
	Client *http.Client

	// Now tells the time. nil: clock.Now.
	Now func(context.Context) time.Time
}

// Set is one set of keys, kept up to date. It may be used by many goroutines at once.
type Set struct {
	issuer string
	source source
	now    func(context.Context) time.Time
	pause  time.Duration // between fetches that a failure or an unknown key id asked for
	lasts  time.Duration // how long keys are young, where their source does not say
	onNeed bool          // an unknown key id causes a fetch

	fetches flight.Group

	mu        sync.Mutex
	held      *held  // nil before the first success
	fetching  *fetch // nil when nothing is being fetched
	attempted time.Time
	paused    time.Time // start of the pause; zero: none
	result    Result    // of the last attempt; "" before it
	onRefresh func(Result)
}

// New checks a configuration. It reads and calls nothing.
func New(config Config) (*Set, error) {
	s := &Set{issuer: config.Issuer, now: config.Now, pause: pause, lasts: youth, onNeed: true}
	if s.now == nil {
		s.now = clock.Now
	}
	given := 0
	for _, place := range []string{config.JWKS, config.Metadata, config.File} {
		if place != "" {
			given++
		}
	}
	client := config.Client
	if client == nil {
		client = endpoint.Client(0)
	}
	switch {
	case given > 1:
		return nil, errors.New("keys come from one place: a JWKS URL, provider metadata or a file")
	case config.File != "":
		s.source, s.pause, s.lasts, s.onNeed = fromFile(config.File), fileInterval, fileInterval, false
	case config.JWKS != "":
		u, err := endpoint.Parse(config.JWKS)
		if err != nil {
			return nil, fmt.Errorf("URL of the key set: %w", err)
		}
		s.source = fromURL(client, u)
	case config.Metadata != "" || config.Issuer != "":
		discovered, err := discovery(client, config)
		if err != nil {
			return nil, err
		}
		s.source = discovered
	default:
		return nil, errors.New("keys come from somewhere: a JWKS URL, provider metadata, an issuer or a file")
	}
	return s, nil
}

// Keys returns the keys that a token may have been signed with, by its key id and algorithm. It is a jose.KeySource.
//
// Its errors are refusals: verdict.UnknownKey where the issuer does not publish such a key, verdict.Unavailable where
// that could not be found out. It waits for the issuer where nothing usable is held, or the key is not known.
func (s *Set) Keys(ctx context.Context, unverified *jose.Token) ([]jose.Key, error) {
	current, fetched, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	keys, known := current.keys.find(unverified.KeyID, unverified.Algorithm)
	if !known && !fetched && s.onNeed {
		if current, err = s.renewed(ctx); err != nil {
			return nil, err
		}
		keys, known = current.keys.find(unverified.KeyID, unverified.Algorithm)
	}
	if len(keys) > 0 {
		return keys, nil
	}
	if known {
		return nil, verdict.Errorf(verdict.UnknownKey, "the key of this id is not one for the token's algorithm")
	}
	// While the issuer is out of reach nobody knows whether it has such a key: that is no reason to call a token bad.
	if result := s.lastResult(); result != OK {
		return nil, verdict.Errorf(verdict.Unavailable, "no such key is held, and newer ones are out of reach: %s", result)
	}
	return nil, verdict.Errorf(verdict.UnknownKey, "the issuer publishes no such key")
}

// Issuer returns the issuer that tokens must name: the configured one, or what the metadata says. It is empty where
// neither says anything. Its errors are verdict.Unavailable.
func (s *Set) Issuer(ctx context.Context) (string, error) {
	if s.issuer != "" {
		return s.issuer, nil
	}
	if current, err := s.after(s.now(ctx)); err == nil {
		return current.issuer, nil // without another wait: Keys has had them renewed where that was due
	}
	current, _, err := s.current(ctx)
	if err != nil {
		return "", err
	}
	return current.issuer, nil
}

// OnRefresh sets what is told of every attempt to fetch keys, in place of what was set before. It is called from a
// goroutine of the set's own and must not block. A set outlives configurations: each sets its own.
func (s *Set) OnRefresh(told func(Result)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onRefresh = told
}

// Health is the state of a set, for people. It holds nothing secret.
type Health struct {
	Loaded      bool         // there are keys, or a valid set without any
	LastSuccess time.Time    // zero: never
	LastAttempt time.Time    // zero: never
	LastResult  Result       // of that attempt; empty: none yet
	Keys        int          // that can be used
	Skipped     map[Skip]int // keys that are not used, by reason
	Private     int          // keys whose private parts the issuer published: anyone may sign with them
	NextRefresh time.Time    // when the next fetch may be; zero: at once
}

// Health returns the state of the set, without fetching anything.
func (s *Set) Health() Health {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := Health{LastAttempt: s.attempted, LastResult: s.result}
	if s.held != nil {
		h.Loaded, h.LastSuccess = true, s.held.at
		h.Keys, h.Skipped, h.Private = len(s.held.keys.all), s.held.keys.skipped, s.held.keys.private
		h.NextRefresh = s.held.at.Add(s.held.lasts)
	}
	if !s.paused.IsZero() {
		if until := s.paused.Add(s.pause); until.After(h.NextRefresh) {
			h.NextRefresh = until
		}
	}
	return h
}

// Close ends a fetch for which no token is waiting. Requests that are under way are decided: that their configuration was
// replaced is no reason to refuse a good token. What is held serves them, and what they need is still fetched.
func (s *Set) Close() { s.fetches.Close() }
