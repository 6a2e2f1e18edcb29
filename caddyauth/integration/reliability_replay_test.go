package integration

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/store"
	"github.com/caddyauth/callbacks/caddyauth/testbed"

	"github.com/caddyserver/caddy/v2"
)

// The memory store keeps every id that it took, takes no more than it may, and an id costs no more than 150 bytes.
func TestReliabilityR14MillionIds(t *testing.T) {
	ids := bound(50_000, 1_000_000)
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	before := measure()
	memory := &store.Memory{}
	if err := memory.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = memory.Cleanup() }()
	key := func(n int) [32]byte { return store.Key("R14", t.Name(), strconv.Itoa(n)) }
	reserve := func(n int, window time.Duration, took *times) (store.State, error) {
		k, owner, start := key(n), store.NewOwner(), time.Now()
		state, err := memory.Reserve(t.Context(), k, owner, window)
		if took != nil && n%16 == 0 {
			took.since(start)
		}
		return state, err
	}

	var insert, lookup, sweep times
	// The memory is the whole process's: what other tests have left in it has its place too.
	others := sort.Search(1_000_000, func(limit int) bool {
		owner := store.NewOwner()
		memory.MaxEntries = limit
		if _, err := memory.Reserve(t.Context(), key(-2), owner, time.Hour); err != nil {
			return false
		}
		return memory.Release(t.Context(), key(-2), owner) == nil
	})
	memory.MaxEntries = ids + others
	keep := func(n int, window time.Duration, took *times) error {
		state, err := reserve(n, window, took)
		if err == nil && state != store.Fresh {
			err = fmt.Errorf("it was %d already", state)
		}
		if err == nil {
			err = memory.Keep(t.Context(), key(n), window)
		}
		return err
	}
	// The even ids stay; the odd ones last for a little longer than it takes to put them in, and are over then.
	began := time.Now()
	window := time.Hour
	for _, first := range []int{0, 1} {
		for n := first; n < ids; n += 2 {
			if err := keep(n, window, &insert); err != nil {
				t.Fatalf("id %d of %d: %v", n, ids, err)
			}
		}
		window = 4*time.Since(began) + time.Second
	}
	fill := time.Since(began)
	full := measure()
	perID := (int64(full.heap) - int64(before.heap)) / int64(ids)
	if perID > 150 && !raced {
		t.Errorf("an id takes %d bytes, allowed 150", perID)
	}
	for n := 0; n < ids; n += 2 {
		if state, err := reserve(n, time.Hour, &lookup); err != nil || state != store.Kept {
			t.Fatalf("id %d: %v, %v", n, state, err)
		}
	}
	// Over the bound there is nothing to be had, until ids are over; then there is, and none that is not over was given up.
	refused := 0
	for n := ids; n < ids+ids/2; {
		switch err := keep(n, time.Hour, &sweep); {
		case errors.Is(err, store.ErrFull):
			refused++
			time.Sleep(time.Millisecond) // between two attempts
		case err != nil:
			t.Fatalf("id %d: %v", n, err)
		default:
			n++
		}
	}
	more := 0
	for ; more <= others && keep(-3-more, time.Hour, nil) == nil; more++ {
	}
	if more > others {
		t.Errorf("%d ids more than the %d that there is room for were taken", more, ids)
	}
	for n := 0; n < ids; n += 2 {
		if state, err := reserve(n, time.Hour, nil); err != nil || state != store.Kept {
			t.Fatalf("id %d after the sweep: %v, %v", n, state, err)
		}
	}
	held(t, "%d ids, %d bytes each, filled in %v; %d refused while full, none forgotten; p99 of insert %v, lookup %v, insert while sweeping %v (longest %v)",
		ids, perID, fill.Round(time.Millisecond), refused, insert.at(99), lookup.at(99), sweep.at(99), sweep.at(100))
}

// Of a hundred copies of one message at the same moment, one passes.
func TestReliabilityR15ConcurrentDuplicates(t *testing.T) {
	const copies = 100
	for _, kind := range []struct {
		name, store string
		rounds      int
	}{
		{"memory", "store memory", bound(20, 1000)},
		{"redis", "", bound(10, 1000)},
	} {
		t.Run(kind.name, func(t *testing.T) {
			if kind.store == "" {
				kind.store = fmt.Sprintf("store redis %s {\nprefix r15-%d:\ntimeout 10s\n}", startRedisServer(t).url(), time.Now().UnixNano())
			}
			bed := testbed.New(t, "{\ncaddyauth {\n"+kind.store+"\n}\n}\n"+`
http:// {
	callback_auth vonage {
		secret `+testbed.Secret+`
	}
	respond "received"
}
`)
			twice, none, other := 0, 0, 0
			for range kind.rounds {
				one := testbed.Vonage(t, wireBody, nil)
				var passed, unlike atomic.Int64
				var all sync.WaitGroup
				begin := make(chan struct{})
				for range copies {
					r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(wireBody))
					r.Header = one.Header.Clone()
					all.Go(func() {
						<-begin
						switch bed.Status(r) {
						case http.StatusOK:
							passed.Add(1)
						case http.StatusConflict:
						default:
							unlike.Add(1)
						}
					})
				}
				close(begin)
				all.Wait()
				switch n := passed.Load(); {
				case n > 1:
					twice++
				case n == 0:
					none++
				}
				if unlike.Load() > 0 {
					other++
				}
			}
			if twice > 0 || none > 0 || other > 0 {
				t.Errorf("of %d rounds, in %d a message passed more than once, in %d never, in %d the copies were answered neither 200 nor 409", kind.rounds, twice, none, other)
			}
			held(t, "%s: %d rounds of %d copies at once, one passed in each", kind.name, kind.rounds, copies)
		})
	}
}

// Whatever a clock does, a message passes inside its own time alone, and once.
func TestReliabilityR16ClockJumps(t *testing.T) {
	bed := testbed.New(t, `
http:// {
	handle /hook {
		callback_auth vonage {
			secret `+testbed.Secret+`
		}
		reverse_proxy RECEIVER
	}
	handle /stream {
		stream_auth icecast {
			token {
				jwt {
					secret `+testbed.Secret+`
				}
			}
			allow {
				token valid
				time_limit token
			}
		}
	}
}
`)
	checked := 0
	send := func(t *testing.T, r *http.Request, now time.Time, want int) testbed.Result {
		t.Helper()
		checked++
		again := httptest.NewRequest(r.Method, r.URL.String(), strings.NewReader(wireBody))
		again.Header = r.Header.Clone()
		result := bed.Do(t, again.WithContext(clock.At(t.Context(), now)))
		if result.Status != want || (len(result.Received) > 0) != (want == http.StatusOK) {
			t.Errorf("at %v: status %d and %d requests at the receiver, want %d", now.UTC().Format(time.RFC3339), result.Status, len(result.Received), want)
		}
		return result
	}
	made := func(t *testing.T, at time.Time) *http.Request {
		return testbed.Vonage(t, wireBody, map[string]any{"iat": at.Unix()})
	}
	for name, now := range map[string]time.Time{
		"today":                         time.Now(),
		"1970":                          time.Unix(3600, 0),
		"before a leap second":          time.Date(2016, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		"after a leap second":           time.Date(2017, 1, 1, 0, 0, 0, 0, time.UTC),
		"the last second of 32 bits":    time.Unix(1<<31-1, 0),
		"the first second beyond":       time.Unix(1<<31, 0),
		"the end of unsigned 32 bits":   time.Unix(1<<32, 0),
		"a 29th of February":            time.Date(2096, 2, 29, 12, 0, 0, 0, time.UTC),
		"the year 9999":                 time.Date(9999, 12, 31, 22, 30, 0, 0, time.UTC),
		"the last nanoseconds of int64": time.Unix(0, 1<<63-1),
	} {
		t.Run(name, func(t *testing.T) {
			one := made(t, now)
			for _, jump := range []time.Duration{-time.Hour, time.Hour, -301 * time.Second, 301 * time.Second, -25 * 365 * 24 * time.Hour, 25 * 365 * 24 * time.Hour} {
				send(t, one, now.Add(jump), http.StatusUnauthorized)
			}
			send(t, one, now, http.StatusOK)
			// The clock jumps away and back: the id is still known, at any time at which the message would be good.
			for _, jump := range []time.Duration{-time.Hour, time.Hour} {
				send(t, one, now.Add(jump), http.StatusUnauthorized)
				send(t, made(t, now.Add(jump)), now.Add(jump), http.StatusOK)
				for _, step := range []time.Duration{0, -time.Second, 2 * time.Second, 4 * time.Minute} {
					send(t, one, now.Add(step), http.StatusConflict)
				}
			}
		})
	}
	t.Run("a step while a message is in flight", func(t *testing.T) {
		now := time.Now()
		one := made(t, now)
		steps := 0
		bed.Receiver.Answer(func(http.ResponseWriter, *http.Request) {
			for _, step := range []time.Duration{-time.Second, 0, 2 * time.Second, 4 * time.Minute, time.Hour, -time.Hour} {
				again := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(wireBody))
				again.Header = one.Header.Clone()
				if got := bed.Status(again.WithContext(clock.At(t.Context(), now.Add(step)))); got != http.StatusConflict && got != http.StatusUnauthorized {
					t.Errorf("%v later, a copy of a message that is in flight gets %d", step, got)
				}
				steps++
			}
		})
		result := bed.Do(t, one.WithContext(clock.At(t.Context(), now)))
		bed.Receiver.Answer(nil)
		if result.Status != http.StatusOK || len(result.Received) != 1 || steps != 6 {
			t.Errorf("status %d, %d requests at the receiver, %d steps", result.Status, len(result.Received), steps)
		}
		checked += steps
	})
	t.Run("a stream's time is what its token has left", func(t *testing.T) {
		now := time.Now().Truncate(time.Second)
		token := testbed.HS256(t, testbed.Secret, nil, map[string]any{"exp": now.Add(time.Hour).Unix(), "stream": "a.mp3"})
		for jump, most := range map[time.Duration]int64{0: 3600, -time.Hour: 7200, 59 * time.Minute: 60, time.Hour: 0, 2 * time.Hour: 0, 100 * 365 * 24 * time.Hour: 0} {
			form := url.Values{"action": {"listener_add"}, "server": {"s"}, "port": {"8000"}, "client": {"7"}, "mount": {"/a.mp3?token=" + token}, "user": {""}, "pass": {""}, "ip": {"192.0.2.7"}, "agent": {"x"}}
			r := httptest.NewRequest(http.MethodPost, "http://example.com/stream", strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			result := bed.Do(t, r.WithContext(clock.At(t.Context(), now.Add(jump))))
			checked++
			limit, err := strconv.ParseInt(result.Header.Get("Icecast-Auth-Timelimit"), 10, 64)
			allowed := result.Header.Get("Icecast-Auth-User") == "1"
			if allowed != (most > 0) || allowed && (err != nil || limit < 1 || limit > most) {
				t.Errorf("%v later: allowed %t, for %d s; it has %d s left", jump, allowed, limit, most)
			}
		}
	})
	if strings.Contains(bed.Logs.String(), `"duration":-`) {
		t.Error("a duration below 0 was logged")
	}
	held(t, "%d requests under clocks that jump, from 1970 to 9999: none accepted outside its window, none twice, none forgotten", checked)
}
