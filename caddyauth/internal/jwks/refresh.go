package jwks

import (
	"context"
	"errors"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/flight"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// The times of a set.
const (
	youth    = 10 * time.Minute // how long keys are young, unless the answer's max-age says otherwise
	minYouth = time.Minute
	maxYouth = time.Hour
	staleFor = 24 * time.Hour   // how long keys serve at most without being confirmed
	pause    = 30 * time.Second // after a failure, and after a fetch for an unknown key id
	timeout  = 5 * time.Second  // one fetch in all, metadata and keys
	patience = time.Second      // what a token waits for keys that nobody has confirmed for long
)

// Result is what an attempt to fetch keys came to. The set is closed: it is a metric label.
type Result string

// The results, besides those of endpoint.Failure: `unreachable`, `timeout`, `status` and `too_large`.
const (
	OK          Result = "ok"
	Invalid     Result = "invalid"       // an answer that is no key set, or no metadata
	TooManyKeys Result = "too_many_keys" // more than 100
	WrongIssuer Result = "wrong_issuer"  // the metadata's `issuer` is not the configured one
	RefusedURL  Result = "refused_url"   // a `jwks_uri` that is not https, or that leads to this machine
	Unreadable  Result = "unreadable"    // a file that is not there, or cannot be read
)

// held is what a successful fetch gave.
type held struct {
	keys   *keySet
	issuer string
	at     time.Time     // when it was asked for
	lasts  time.Duration // how long it is young; 0: the set's own figure
	stamp  stamp         // of the file
}

// source gets keys from where they are. before is what it gave last, or nil; it may be given again.
type source func(ctx context.Context, before *held) (*held, error)

// fetch is one under way.
type fetch struct {
	*flight.Call
	urgent bool // nobody has confirmed the held keys for long: tokens wait a little before they trust those
}

// current returns keys that may be used now. It fetches where there are none, and starts to fetch where they are no
// longer young. fetched reports that they were asked for just now.
func (s *Set) current(ctx context.Context) (current *held, fetched bool, err error) {
	now := s.now(ctx)
	s.mu.Lock()
	if !s.usable(now) {
		f := s.begin(now, false)
		s.mu.Unlock()
		if err := wait(ctx, f); err != nil {
			return nil, false, err
		}
		current, err = s.after(now)
		return current, f != nil, err
	}
	defer s.mu.Unlock()
	current = s.held
	age := now.Sub(current.at)
	if age >= 0 && age < current.lasts {
		return current, false, nil
	}
	// Keys that went unused for long may have been withdrawn meanwhile: a token then waits for the answer, but not
	// for an issuer who is slow. Under traffic the answer is there before.
	unasked := age >= 2*current.lasts && s.attempted.Before(current.at.Add(current.lasts))
	urgent := unasked || !s.onNeed
	if !urgent && s.fetches.Closed() {
		return current, false, nil // nobody will be there to use newer ones
	}
	f := s.begin(now, false)
	if f == nil {
		return current, false, nil
	}
	f.urgent = f.urgent || urgent
	if !f.urgent {
		f.Leave()
		return current, false, nil
	}
	s.mu.Unlock()
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err = wait(waiting, f)
	s.mu.Lock()
	return s.held, err == nil, nil
}

// renewed returns what is held after a fetch, where one is under way or may be started for an unknown key id.
func (s *Set) renewed(ctx context.Context) (*held, error) {
	now := s.now(ctx)
	s.mu.Lock()
	f := s.begin(now, true)
	s.mu.Unlock()
	if err := wait(ctx, f); err != nil {
		return nil, err
	}
	return s.after(now)
}

// begin returns the fetch that is under way, or starts one, or returns nil where none may be started yet. The caller is
// waiting for it. forUnknown says that an unknown key id asks for it, which starts a pause whatever comes of it.
func (s *Set) begin(now time.Time, forUnknown bool) *fetch {
	if s.fetching != nil && s.fetching.Join() {
		return s.fetching
	}
	// A clock that was set back ends the pause, rather than making it last.
	if since := now.Sub(s.paused); !s.paused.IsZero() && since >= 0 && since < s.pause {
		return nil
	}
	s.paused = time.Time{}
	if forUnknown {
		s.paused = now
	}
	s.attempted = now
	f, before := new(fetch), s.held
	f.Call = s.fetches.Go(timeout, func(ctx context.Context) { s.fetch(ctx, f, before, now) })
	s.fetching = f
	return f
}

// fetch asks the source once, and holds what it gives. What ended because nobody waited any more says nothing about the
// source.
func (s *Set) fetch(ctx context.Context, f *fetch, before *held, now time.Time) {
	got, err := s.ask(ctx, before)
	s.mu.Lock()
	if s.fetching == f {
		s.fetching = nil
	}
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		s.mu.Unlock()
		return
	}
	s.result = resultOf(err)
	if err != nil {
		s.paused = now
	} else {
		got.at = now
		if got.lasts == 0 {
			got.lasts = s.lasts
		}
		s.held = got
	}
	told, result := s.onRefresh, s.result
	s.mu.Unlock()
	if told != nil { // before anybody is answered by it: the log says first why
		told(result)
	}
}

// ask calls the source. This goroutine is not one of net/http's, which outlive a panic; so it has to see to that itself.
func (s *Set) ask(ctx context.Context, before *held) (got *held, err error) {
	defer func() {
		if recover() != nil {
			got, err = nil, errInvalid
		}
	}()
	return s.source(ctx, before)
}

// after returns what is held after a wait for it.
func (s *Set) after(now time.Time) (*held, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.usable(now) {
		return nil, verdict.Errorf(verdict.Unavailable, "the keys are out of reach: %s", s.result)
	}
	return s.held, nil
}

// usable reports whether what is held may decide anything at now.
func (s *Set) usable(now time.Time) bool {
	return s.held != nil && now.Sub(s.held.at) <= staleFor
}

// lastResult returns what the last attempt came to.
func (s *Set) lastResult() Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.result
}

// wait waits for f, or until the caller gives up. Where there is no fetch to wait for it returns at once.
func wait(ctx context.Context, f *fetch) error {
	if f != nil && f.Wait(ctx) != nil {
		return verdict.Errorf(verdict.Unavailable, "the keys did not come in time")
	}
	return nil
}
