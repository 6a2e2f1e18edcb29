package app

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxSecrets is of how many secrets it is remembered when they were used. Labels stand in configs and key sets; this
// many are a mistake or an issuer that makes a key for each token, and then the ones unused for the longest time go.
const maxSecrets = 512

// SecretUse says when a secret last matched, so that an old one can be retired.
type SecretUse struct {
	// The scheme that the secret belongs to.
	Scheme string `json:"scheme,omitempty"`

	// The label of the secret.
	Key string `json:"key,omitempty"`

	// How often it matched since this process started.
	Count uint64 `json:"count,omitempty"`

	// When it matched last.
	Last time.Time `json:"last,omitzero"`
}

// secretUses remembers when secrets matched. Only the first use of a secret takes the lock.
type secretUses struct {
	known atomic.Pointer[map[Secret]*secretUse] // never changed: the next one is put in its place
	mu    sync.Mutex
}

// Secret names a secret: its scheme and its label.
type Secret struct{ Scheme, Key string }

type secretUse struct {
	count atomic.Uint64
	last  atomic.Int64 // unix nanoseconds
}

func (s *secretUses) used(scheme, key string, at time.Time) {
	use, ok := s.uses()[Secret{scheme, key}]
	if !ok {
		use = s.add(Secret{strings.Clone(scheme), strings.Clone(key)}) // which may be pieces of something large
	}
	use.count.Add(1)
	use.last.Store(at.UnixNano())
}

func (s *secretUses) uses() map[Secret]*secretUse {
	if known := s.known.Load(); known != nil {
		return *known
	}
	return nil
}

func (s *secretUses) add(name Secret) *secretUse {
	s.mu.Lock()
	defer s.mu.Unlock()
	if use, ok := s.uses()[name]; ok {
		return use
	}
	next := maps.Clone(s.uses())
	if next == nil {
		next = make(map[Secret]*secretUse)
	}
	if len(next) == maxSecrets {
		var oldest Secret
		since := int64(math.MaxInt64)
		for other, use := range next {
			if last := use.last.Load(); last < since {
				oldest, since = other, last
			}
		}
		delete(next, oldest)
	}
	next[name] = new(secretUse)
	s.known.Store(&next)
	return next[name]
}

func (s *secretUses) list() []SecretUse {
	known := s.uses()
	uses := make([]SecretUse, 0, len(known))
	for name, use := range known {
		uses = append(uses, SecretUse{Scheme: name.Scheme, Key: name.Key, Count: use.count.Load(), Last: time.Unix(0, use.last.Load()).UTC()})
	}
	slices.SortFunc(uses, func(a, b SecretUse) int {
		return cmp.Or(cmp.Compare(a.Scheme, b.Scheme), b.Last.Compare(a.Last), cmp.Compare(a.Key, b.Key))
	})
	return uses
}

// Minute counts the decisions of one minute.
type Minute struct {
	// The start of the minute.
	At time.Time `json:"at,omitzero"`

	// Requests that were accepted or allowed.
	Allowed uint64 `json:"allowed,omitempty"`

	// Requests that were not, report_only or not.
	Refused uint64 `json:"refused,omitempty"`

	// The time that the handlers took for all of them, in nanoseconds.
	Took time.Duration `json:"took,omitempty"`
}

// keptMinutes is how far Minutes goes back.
const keptMinutes = 60

// minutes are the counts of the last hour. Only the first decision of a minute takes the lock.
type minutes struct {
	mu     sync.Mutex
	counts [keptMinutes + 1]minuteCount
}

type minuteCount struct {
	minute           atomic.Int64 // since 1970
	allowed, refused atomic.Uint64
	took             atomic.Int64
}

func (m *minutes) count(at time.Time, allowed bool, took time.Duration) {
	minute := at.Unix() / 60
	if minute < 0 {
		return
	}
	c := &m.counts[minute%int64(len(m.counts))]
	if c.minute.Load() < minute {
		m.mu.Lock()
		if c.minute.Load() < minute {
			c.allowed.Store(0)
			c.refused.Store(0)
			c.took.Store(0)
			c.minute.Store(minute)
		}
		m.mu.Unlock()
	}
	if allowed {
		c.allowed.Add(1)
	} else {
		c.refused.Add(1)
	}
	c.took.Add(int64(took))
}

func (m *minutes) list(now time.Time) []Minute {
	last := now.Unix() / 60
	list := []Minute{}
	for minute := last - keptMinutes + 1; minute <= last; minute++ {
		c := &m.counts[max(minute, 0)%int64(len(m.counts))]
		if c.minute.Load() != minute {
			continue
		}
		list = append(list, Minute{
			At: time.Unix(minute*60, 0).UTC(), Allowed: c.allowed.Load(), Refused: c.refused.Load(), Took: time.Duration(c.took.Load()),
		})
	}
	return list
}
