// Package store is where the house remembers: message ids that were seen, so that nothing passes twice, and sessions
// that are open, so that limits hold. Stores are guest modules in the namespace `caddyauth.stores`: memory, for one
// Caddy, and redis, shared by several.
package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Namespace is where stores register: the word after `store` in the global option is the module's name in it.
const Namespace = "caddyauth.stores"

// ReservationLease is the longest that a reservation lasts unless it is kept. It is well above the time that senders
// wait for an answer (Vonage 5 s, Stripe 20 s), so that two copies do not pass while one is in flight, and short enough
// that a Caddy which died in between does not turn away the sender's honest retry for the whole window. A handler whose
// receiver takes longer reserves again, with the same owner.
const ReservationLease = 2 * time.Minute

// Store remembers message ids and open sessions. Both are named by digests, which callers make with Key.
//
// A Store is used by many requests at once, and by every server that shares it: each operation happens as a whole or
// not at all, and two of them never both win. Each ends within a bound of the store's own, and sooner where ctx ends
// sooner, but Keep, Release and Leave are carried out although ctx is cancelled: a client that goes away does not
// decide what is remembered.
//
// An error always means that the store cannot tell, never yes and never no; to a request it is verdict.Unavailable.
// What was asked for may have happened all the same: a caller to whom Reserve gave an error calls Release.
//
// EXPERIMENTAL: Subject to change or removal.
type Store interface {
	// Reserve claims an id for one owner, and says how it found it. It is Fresh when nobody has it: neither kept inside
	// its window, nor reserved by another owner. The reservation ends after window or ReservationLease, whichever is
	// shorter, unless Keep comes first. Reserving again with the same owner is Fresh too, and starts the lease anew.
	// With an error the State is Unknown.
	Reserve(ctx context.Context, key [32]byte, owner Owner, window time.Duration) (State, error)

	// Keep remembers an id for window from now, or for as long as it is already kept, whichever is longer. Only who
	// held a fresh reservation calls it, once the message was delivered. That is true whatever became of the
	// reservation, so it needs no owner: where the lease ran out and somebody else reserved the id meanwhile, the id is
	// kept, and that other owner's Release no longer frees it.
	Keep(ctx context.Context, key [32]byte, window time.Duration) error

	// Release gives up the reservation of that owner, and no other: it is nothing where the id is kept, is not there, or
	// is reserved by somebody else.
	Release(ctx context.Context, key [32]byte, owner Owner) error

	// Acquire opens a session in a group, for lease, if the group has fewer than limit. A session that is open already
	// is not counted twice: it has this lease from now on, be that longer or shorter. limit is at least 1.
	Acquire(ctx context.Context, group, session [32]byte, limit int, lease time.Duration) (granted bool, err error)

	// Leave closes a session. It is nothing where that session is not open.
	Leave(ctx context.Context, group, session [32]byte) error
}

// State is how Reserve finds an id.
type State int

// The states. That somebody else has an id in flight is not yet that it was delivered: to a sender, who may be told that
// all is well, they are different things.
const (
	Unknown  State = iota // there was an error
	Fresh                 // nobody has it: it is now reserved for the one who asked
	Reserved              // another owner has it in flight
	Kept                  // it was delivered
)

// ErrFull is wrapped by the error of a store that has no room. Refusing is the only safe answer to it: room could only
// be made by forgetting an id inside its window.
var ErrFull = errors.New("the store is full")

// Key returns the digest (SHA-256, FIPS 180-4) that stands for parts, in their order. Each part goes in with its length
// before it, so that ("a", "bc") and ("ab", "c") are different keys.
func Key(parts ...string) [32]byte {
	var usual [256]byte // on the stack
	text := usual[:0]
	for _, part := range parts {
		text = binary.BigEndian.AppendUint64(text, uint64(len(part)))
		text = append(text, part...)
	}
	return sha256.Sum256(text)
}

// Owner tells one reservation of an id from another, so that a late Release cannot remove somebody else's.
type Owner uint64

// kept is the owner of ids that are not reserved but kept. NewOwner never gives it.
const kept Owner = 0

// NewOwner returns an owner that nobody else has.
func NewOwner() Owner {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the program instead
		if owner := Owner(binary.BigEndian.Uint64(b[:])); owner != kept {
			return owner
		}
	}
}

// String gives the owner as 16 hexadecimal digits.
func (o Owner) String() string { return fmt.Sprintf("%016x", uint64(o)) }

// validate refuses a time that no store can keep: a window that is over at once would let every copy pass.
func validate(d time.Duration) error {
	if d < time.Millisecond {
		return fmt.Errorf("%v is too short a time to remember anything", d)
	}
	return nil
}

// validateOwner refuses the zero Owner: it would take what is kept for its own.
func validateOwner(owner Owner) error {
	if owner == kept {
		return errors.New("a reservation without an owner")
	}
	return nil
}

// validateLimit refuses a limit under which there can be no session.
func validateLimit(limit int) error {
	if limit < 1 {
		return fmt.Errorf("a limit of %d sessions", limit)
	}
	return nil
}

// firstError returns the first of errs that is one.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
