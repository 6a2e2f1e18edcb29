package stream

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/store"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/zap"
)

// hanging is a store of sessions that can be away as a server is that hangs: it carries an Acquire out when it goes on, and
// nobody hears of it.
type hanging struct {
	store.Store
	mu    sync.Mutex
	away  bool
	asked int
	open  map[[64]byte]bool
}

func (s *hanging) ask(group, session [32]byte) ([64]byte, error) {
	s.asked++
	if s.away {
		return [64]byte(append(group[:], session[:]...)), errors.New("no answer")
	}
	return [64]byte(append(group[:], session[:]...)), nil
}

func (s *hanging) Acquire(_ context.Context, group, session [32]byte, limit int, _ time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	both, err := s.ask(group, session)
	granted := s.open[both] || len(s.in(group)) < limit
	if granted {
		s.open[both] = true
	}
	return granted, err
}

func (s *hanging) Leave(_ context.Context, group, session [32]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	both, err := s.ask(group, session)
	if err == nil {
		delete(s.open, both)
	}
	return err
}

func (s *hanging) in(group [32]byte) [][64]byte {
	return slices.DeleteFunc(slices.Collect(maps.Keys(s.open)), func(both [64]byte) bool { return [32]byte(both[:32]) != group })
}

// goes has the store go away or come back, and gives how often it was asked since the last time.
func (s *hanging) goes(away bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.away, s.asked = away, 0
	return asked
}

func (s *hanging) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

func TestWhatTheStoreOfSessionsCouldNotBeToldIsToldLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sessions := &hanging{open: make(map[[64]byte]bool)}
		rules := []*Rule{{Name: "one", Action: "allow", Effects: Effects{MaxSessions: &MaxSessions{Limit: 1, Per: "ip"}}}}
		p := &policy{
			rules: rules, dialect: "d", ability: Ability{Server: "S", Closes: true}, book: newBook(nil), store: sessions, logger: zap.NewNop(),
		}
		request := func(event Event, session, ip string) *Request {
			return &Request{Event: event, Mode: Play, App: "a", Name: "n", Session: session, IP: netip.MustParseAddr(ip)}
		}
		open := func(session, ip string) verdict.Reason {
			return p.decide(t.Context(), request(Open, session, ip), time.Now()).Code
		}
		expect := func(what string, got, want verdict.Reason, counted int) {
			t.Helper()
			if got != want || sessions.count() != counted {
				t.Errorf("%s: %s, and %d sessions count; want %s and %d", what, got, sessions.count(), want, counted)
			}
		}
		const alice, bob = "192.0.2.1", "192.0.2.2"

		// One that was not opened, for nobody heard of it.
		sessions.goes(true)
		got := open("1", alice)
		if asked := sessions.goes(true); asked != 1 {
			t.Errorf("a decision waited for the store %d times", asked)
		}
		expect("away", got, verdict.Unavailable, 1)
		time.Sleep(time.Minute)
		sessions.goes(false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		expect("back", open("2", alice), verdict.OK, 1)

		// An end.
		sessions.goes(true)
		p.end(t.Context(), request(Close, "2", alice), time.Now())
		sessions.goes(false)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		expect("after an end that the store was not told", open("3", alice), verdict.OK, 1)

		// An end, and the same session again before the store heard of it.
		sessions.goes(true)
		p.end(t.Context(), request(Close, "3", alice), time.Now())
		sessions.goes(false)
		expect("the same again", open("3", alice), verdict.OK, 1)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		expect("and it still counts", open("4", alice), verdict.Denied, 1)

		// An id that now stands for somebody else.
		sessions.goes(true)
		got = open("3", bob)
		if asked := sessions.goes(false); asked != 1 {
			t.Errorf("a decision waited for the store %d times", asked)
		}
		expect("away", got, verdict.Unavailable, 2)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		expect("for neither of them it counts", open("5", alice), verdict.OK, 1)
	})
}
