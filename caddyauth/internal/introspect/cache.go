package introspect

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// The bounds of each cache: entries, and bytes of the documents that they were made of.
const (
	maxEntries = 10_000
	maxCached  = 8 << 20
)

// probes is how many entries are looked at to find one that can go.
const probes = 8

// key stands for a question: whom we ask, as whom, for what, about which token.
type key [sha256.Size]byte

// key hashes all that an answer depends on, each part with its length before it so that no two questions run together.
// The whole token goes in: a part of it is not a token.
func (c *Client) key(token string) key {
	hash := sha256.New()
	for _, part := range []string{c.url, c.config.ClientID, c.config.Policy, token} {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		hash.Write(length[:])
		hash.Write([]byte(part))
	}
	return key(hash.Sum(nil))
}

// entry is an answer and the span of time in which it may be given again.
type entry struct {
	answer      *Answer
	from, until time.Time
}

// cache holds answers. It is no guard: it may forget any of them at any time.
type cache struct {
	entries    map[key]entry
	size       int
	maxEntries int
	maxSize    int
}

func newCache(maxEntries, maxSize int) cache {
	return cache{entries: map[key]entry{}, maxEntries: maxEntries, maxSize: maxSize}
}

// get returns an answer that may be given at now. A clock that was set back ends an entry rather than making it last.
func (c *cache) get(id key, now time.Time) (*Answer, bool) {
	e, ok := c.entries[id]
	if !ok {
		return nil, false
	}
	if now.Before(e.from) || !now.Before(e.until) {
		c.drop(id)
		return nil, false
	}
	return e.answer, true
}

// put keeps an answer until a time. Where the cache is full, entries go that are over, or that soon will be.
func (c *cache) put(id key, answer *Answer, now, until time.Time) {
	if !now.Before(until) || answer.size > c.maxSize {
		return
	}
	c.drop(id)
	for len(c.entries) >= c.maxEntries || c.size+answer.size > c.maxSize {
		c.evict()
	}
	c.entries[id] = entry{answer: answer, from: now, until: until}
	c.size += answer.size
}

// evict drops the entry that ends soonest among a few.
func (c *cache) evict() {
	var soonest key
	found := 0
	for id, e := range c.entries {
		if found == 0 || e.until.Before(c.entries[soonest].until) {
			soonest = id
		}
		if found++; found == probes {
			break
		}
	}
	c.drop(soonest)
}

// drop forgets an entry.
func (c *cache) drop(id key) {
	if e, ok := c.entries[id]; ok {
		c.size -= e.answer.size
		delete(c.entries, id)
	}
}
