package store

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(Memory{})
}

// DefaultMaxEntries is how many entries a memory store holds unless it is told otherwise.
const DefaultMaxEntries = 1_000_000

// Memory keeps message ids and sessions in the memory of this process. They survive config reloads, as long as every
// config on the way uses this store; they do not survive a restart, and no other Caddy sees them: for that there is
// `redis`.
//
// It never forgets an id inside its window. When it is full it refuses, and requests that need it are answered with 503,
// until entries have run out. An entry takes up to 150 bytes.
//
// EXPERIMENTAL: Subject to change or removal.
type Memory struct {
	// How many entries are held at most: message ids, sessions, and groups of sessions (a user, a token, an address, a
	// stream) count one each. When a reload makes it smaller, no entry is dropped; new ones wait until there is room.
	// Default: 1000000.
	MaxEntries int `json:"max_entries,omitempty"`

	memory *memory
	holds  bool // whether Cleanup has it to give up
}

// CaddyModule returns the Caddy module information.
func (Memory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddyauth.stores.memory",
		New: func() caddy.Module { return new(Memory) },
	}
}

// pool holds what outlives a config: the process's one memory, and clients of Redis. The new config loads them before
// the old one lets go.
var pool = caddy.NewUsagePool()

// memoryKey is the memory's place in the pool. There is one for every config, whatever its limit: each generation
// brings its own limit to each operation, so that a reload that fails changes nothing for the config that goes on.
const memoryKey = "memory"

// Provision takes hold of the process's memory.
func (m *Memory) Provision(caddy.Context) error {
	if m.MaxEntries < 0 {
		return fmt.Errorf("max_entries: %d is not a positive number", m.MaxEntries)
	}
	if m.MaxEntries == 0 {
		m.MaxEntries = DefaultMaxEntries
	}
	value, _, err := pool.LoadOrNew(memoryKey, func() (caddy.Destructor, error) {
		return newMemory(steady(clocks())), nil
	})
	if err != nil {
		return err
	}
	m.memory, m.holds = value.(*memory), true
	return nil
}

// clocks reads the wall clock and the machine's monotonic one, from now on.
func clocks() func() (wall, monotonic time.Duration) {
	start := time.Now()
	return func() (time.Duration, time.Duration) {
		now := time.Now()
		return time.Duration(now.UnixNano() - start.UnixNano()), now.Sub(start)
	}
}

// steady returns a clock of which no step of the wall clock makes an id end before its window, which is a message's by the
// wall clock: after a step forward it goes on as the monotonic one does, and after a step back it steps back too, for a
// message from before will be fresh once more. Leases of sessions from before last as much longer.
func steady(read func() (wall, monotonic time.Duration)) func() time.Duration {
	var least atomic.Int64 // of what the monotonic clock was before the wall clock
	return func() time.Duration {
		wall, monotonic := read()
		for {
			known := least.Load()
			if before := int64(monotonic - wall); before >= known {
				return wall + time.Duration(known)
			} else if least.CompareAndSwap(known, before) {
				return monotonic
			}
		}
	}
}

// Reserve implements Store.
func (m *Memory) Reserve(ctx context.Context, key [32]byte, owner Owner, window time.Duration) (State, error) {
	if err := firstError(ctx.Err(), validate(window), validateOwner(owner)); err != nil {
		return Unknown, err
	}
	return m.memory.reserve(key, owner, min(window, ReservationLease), m.MaxEntries)
}

// Keep implements Store.
func (m *Memory) Keep(_ context.Context, key [32]byte, window time.Duration) error {
	if err := validate(window); err != nil {
		return err
	}
	return m.memory.keep(key, window, m.MaxEntries)
}

// Release implements Store.
func (m *Memory) Release(_ context.Context, key [32]byte, owner Owner) error {
	if err := validateOwner(owner); err != nil {
		return err
	}
	m.memory.release(key, owner)
	return nil
}

// Acquire implements Store.
func (m *Memory) Acquire(ctx context.Context, group, session [32]byte, limit int, lease time.Duration) (bool, error) {
	if err := firstError(ctx.Err(), validate(lease), validateLimit(limit)); err != nil {
		return false, err
	}
	return m.memory.acquire(group, session, limit, lease, m.MaxEntries)
}

// Leave implements Store.
func (m *Memory) Leave(_ context.Context, group, session [32]byte) error {
	m.memory.leave(group, session)
	return nil
}

// Cleanup lets go of the process's memory. What it remembers is gone when no config holds it any more.
func (m *Memory) Cleanup() error {
	if !m.holds {
		return nil // Provision did not come that far: the reference is not ours to give up
	}
	m.holds = false // and m.memory stays: a request of the old config may still be under way
	_, err := pool.Delete(memoryKey)
	return err
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	memory {
//		max_entries <n>
//	}
func (m *Memory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the store's name
	if d.NextArg() {
		return d.Errf("store memory takes no argument: '%s' given", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "max_entries":
			if m.MaxEntries != 0 {
				return d.Errf("max_entries is already specified")
			}
			args := d.RemainingArgs()
			if len(args) != 1 {
				return d.Errf("max_entries takes one argument: %d given", len(args))
			}
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 1 {
				return d.Errf("max_entries: '%s' is not a positive number", args[0])
			}
			m.MaxEntries = n
		default:
			return d.Errf("unknown option of store memory: '%s'", d.Val())
		}
	}
	return nil
}

// Interface guards
var (
	_ Store                 = (*Memory)(nil)
	_ caddy.Module          = Memory{}
	_ caddy.Provisioner     = (*Memory)(nil)
	_ caddy.CleanerUpper    = (*Memory)(nil)
	_ caddyfile.Unmarshaler = (*Memory)(nil)
)
