package store

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// shardCount divides the memory so that the sweep of one shard, which holds its lock, is a matter of microseconds: of
// 1,000,000 entries each shard has about 1,000.
const shardCount = 1024

// sweepEvery is how often, at most, a shard looks for entries that are over while there is room anyway.
const sweepEvery = time.Second

// never is later than every end of an entry.
const never = time.Duration(math.MaxInt64)

// memory is the process's memory of ids and sessions. It is a plain map in shards, and no cache: a cache may drop an
// entry early, and an id that is dropped early is a replay that passes.
type memory struct {
	now    func() time.Duration // see steady
	count  atomic.Int64         // marks, leases and groups, also those that are over and not swept yet
	cursor atomic.Uint32        // the shard where the search for room goes on
	shards [shardCount]shard
}

// shard is one part of the memory. The sessions of a group are all in one shard.
type shard struct {
	mu       sync.Mutex
	marks    map[[32]byte]mark
	leases   map[[32]byte]lease // by group and session
	groups   map[[32]byte]*group
	earliest time.Duration // no entry ends before it, so that there is nothing to sweep until then
	swept    time.Duration // when the last sweep was
}

// mark is an id that was seen.
type mark struct {
	end   time.Duration // the first moment at which it is over
	owner Owner         // who reserved it, or kept
}

// lease is an open session.
type lease struct {
	end   time.Duration
	group *group
}

// group counts the leases of one group. It goes when the last of them does.
type group struct {
	key   [32]byte
	count int
}

func newMemory(now func() time.Duration) *memory {
	m := &memory{now: now}
	for i := range m.shards {
		m.shards[i] = shard{
			marks:    make(map[[32]byte]mark),
			leases:   make(map[[32]byte]lease),
			groups:   make(map[[32]byte]*group),
			earliest: never,
		}
	}
	return m
}

// Destruct implements caddy.Destructor. There is nothing to close.
func (m *memory) Destruct() error { return nil }

func (m *memory) reserve(key [32]byte, owner Owner, d time.Duration, limit int) (State, error) {
	state := Unknown
	err := m.insert(key, limit, func(s *shard, now time.Duration) bool {
		held, found := s.marks[key]
		if found && held.end > now && held.owner != owner {
			state = Reserved
			if held.owner == kept {
				state = Kept
			}
			return true
		}
		if !found && !m.take(1, limit) {
			return false
		}
		s.marks[key] = mark{s.until(now, d), owner}
		state = Fresh
		return true
	})
	return state, err
}

func (m *memory) keep(key [32]byte, d time.Duration, limit int) error {
	return m.insert(key, limit, func(s *shard, now time.Duration) bool {
		held, found := s.marks[key]
		if !found && !m.take(1, limit) {
			return false
		}
		end := s.until(now, d)
		if found && held.owner == kept {
			end = max(end, held.end)
		}
		s.marks[key] = mark{end, kept}
		return true
	})
}

func (m *memory) release(key [32]byte, owner Owner) {
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if held, found := s.marks[key]; found && held.owner == owner {
		delete(s.marks, key)
		m.count.Add(-1)
	}
}

func (m *memory) acquire(groupKey, session [32]byte, n int, d time.Duration, limit int) (bool, error) {
	key := leaseKey(groupKey, session)
	granted := false
	err := m.insert(groupKey, limit, func(s *shard, now time.Duration) bool {
		if held, found := s.leases[key]; found && held.end > now {
			s.leases[key] = lease{s.until(now, d), held.group}
			granted = true
			return true
		}
		// What is over does not count: neither an old lease of this session, nor any other of the group.
		if s.earliest <= now {
			m.sweep(s, now)
		}
		g, entries := s.groups[groupKey], int64(1)
		if g == nil {
			g, entries = &group{key: groupKey}, 2
		}
		if g.count >= n {
			granted = false
			return true
		}
		if !m.take(entries, limit) {
			return false
		}
		g.count++
		s.groups[groupKey] = g
		s.leases[key] = lease{s.until(now, d), g}
		granted = true
		return true
	})
	return granted, err
}

func (m *memory) leave(groupKey, session [32]byte) {
	key := leaseKey(groupKey, session)
	s := m.shard(groupKey)
	s.mu.Lock()
	defer s.mu.Unlock()
	if held, found := s.leases[key]; found {
		m.drop(s, key, held)
	}
}

// insert runs try on the shard of key, under its lock. Where try finds no room, insert lets go of the lock, makes room
// of entries that are over, and tries once more.
func (m *memory) insert(key [32]byte, limit int, try func(*shard, time.Duration) bool) error {
	s := m.shard(key)
	attempt := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		now := m.now()
		if s.earliest <= now && (now-s.swept).Abs() >= sweepEvery { // the clock can step back
			m.sweep(s, now)
		}
		return try(s, now)
	}
	if attempt() {
		return nil
	}
	m.makeRoom(limit)
	if attempt() {
		return nil
	}
	return fmt.Errorf("%w: %d entries", ErrFull, limit)
}

// take counts n entries more, if limit allows.
func (m *memory) take(n int64, limit int) bool {
	if m.count.Add(n) <= int64(limit) {
		return true
	}
	m.count.Add(-n)
	return false
}

// makeRoom sweeps one shard after the other, each under its own lock, until there is room for a session and its group.
func (m *memory) makeRoom(limit int) {
	for range shardCount {
		s := &m.shards[m.cursor.Add(1)%shardCount]
		s.mu.Lock()
		if now := m.now(); s.earliest <= now {
			m.sweep(s, now)
		}
		s.mu.Unlock()
		if m.count.Load()+2 <= int64(limit) {
			return
		}
	}
}

// sweep removes the entries of s that are over.
func (m *memory) sweep(s *shard, now time.Duration) {
	earliest := never
	for key, held := range s.marks {
		if held.end <= now {
			delete(s.marks, key)
			m.count.Add(-1)
			continue
		}
		earliest = min(earliest, held.end)
	}
	for key, held := range s.leases {
		if held.end <= now {
			m.drop(s, key, held)
			continue
		}
		earliest = min(earliest, held.end)
	}
	s.earliest, s.swept = earliest, now
}

// drop removes a lease, and its group with the last one.
func (m *memory) drop(s *shard, key [32]byte, held lease) {
	delete(s.leases, key)
	m.count.Add(-1)
	if held.group.count--; held.group.count == 0 {
		delete(s.groups, held.group.key)
		m.count.Add(-1)
	}
}

// until returns the end of an entry that begins now and lasts d, and sees to it that the sweep will not miss it.
func (s *shard) until(now, d time.Duration) time.Duration {
	end := now + d
	if end < now { // beyond what there is
		end = never
	}
	s.earliest = min(s.earliest, end)
	return end
}

func (m *memory) shard(key [32]byte) *shard {
	return &m.shards[binary.LittleEndian.Uint16(key[:])%shardCount]
}

// leaseKey names a session of a group.
func leaseKey(group, session [32]byte) [32]byte {
	var both [64]byte
	copy(both[:32], group[:])
	copy(both[32:], session[:])
	return sha256.Sum256(both[:])
}
