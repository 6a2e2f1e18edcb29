// Package password judges user names and passwords against a configured list, within bounds: a guess is dear by the
// design of password hashes, so how many are computed at once, how many wait and how long a password may be is limited.
//
// Nothing about the answer tells whether a name exists: a name that does not costs the same work as one that does.
package password

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// What a client may present, in bytes.
const (
	MaxName     = 255
	MaxPassword = 1024
)

// MaxBcryptPassword is how many bytes of a password bcrypt looks at. A longer one is refused: it would be judged by its
// beginning.
const MaxBcryptPassword = 72

// User is one configured name and password.
type User struct {
	// Name may stand several times, each with another password: any of them is right, which is how one is rotated.
	Name string

	// Label stands for this password in logs and metrics.
	Label string

	// Password is the plain text, or its bcrypt or argon2id hash in the form that begins with `$`.
	Password secret.Value
}

// Checker judges names and passwords. Any number of goroutines may use it.
type Checker struct {
	key     []byte              // random, so that nobody outside can foresee a digest
	queue   *queue              // shared by all Checkers
	users   map[digest][]*entry // by digest of the name, so that looking up tells nothing about other names
	digests []digest            // the keys of users, sorted
	hashed  bool
}

type digest = [sha256.Size]byte

// entry is one password of one user.
type entry struct {
	label  string
	plain  secret.Value               // the password itself, or empty
	match  func(password []byte) bool // the slow comparison with its hash, or nil
	bcrypt bool                       // match looks at no more than MaxBcryptPassword bytes
	last   atomic.Pointer[digest]     // what matched last, so that a genuine sender pays for the hash once
}

// process is what all Checkers of the process share. The cores are one pool whatever the number of Checkers, and two
// generations of a configuration overlap. The key stays the same across them too: otherwise a name that does not exist
// would change its cost at a reload, and show.
var process = sync.OnceValue(func() *struct {
	key   []byte
	queue *queue
} {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails, by its documentation
	return &struct {
		key   []byte
		queue *queue
	}{key, newQueue(max(1, runtime.GOMAXPROCS(0)/2), 16, 2*time.Second)}
})

// New returns a Checker of these users. It refuses a user without name or password, a name or password that no client
// may present, the same pair twice, and hashes that cannot be read or are too dear. Errors name a user by its place in
// the list, counted from 1, and hold no password.
func New(users []User) (*Checker, error) {
	shared := process()
	return newChecker(users, shared.key, shared.queue)
}

func newChecker(users []User, key []byte, queue *queue) (*Checker, error) {
	if len(users) == 0 {
		return nil, errors.New("no users")
	}
	c := &Checker{key: key, queue: queue, users: make(map[digest][]*entry, len(users))}
	for i, user := range users {
		if err := acceptable(user.Name, MaxName); err != nil {
			return nil, fmt.Errorf("user %d: the name %v", i+1, err)
		}
		if err := acceptable(string(user.Password.Bytes()), MaxPassword); err != nil {
			return nil, fmt.Errorf("user %d: the password %v", i+1, err)
		}
		for _, other := range users[:i] {
			if other.Name == user.Name && other.Password.Equal(user.Password.Bytes()) {
				return nil, fmt.Errorf("user %d: the same name and password stand twice", i+1)
			}
		}
		e := &entry{label: user.Label}
		match, bcrypt, err := parseHash(string(user.Password.Bytes()))
		switch {
		case errors.Is(err, errPlain):
			e.plain = user.Password
		case err != nil:
			return nil, fmt.Errorf("user %d: the password %w", i+1, err)
		default:
			e.match, e.bcrypt, c.hashed = match, bcrypt, true
		}
		name := c.digest("name", user.Name)
		c.users[name] = append(c.users[name], e)
	}
	for name := range c.users {
		c.digests = append(c.digests, name)
	}
	slices.SortFunc(c.digests, func(a, b digest) int { return slices.Compare(a[:], b[:]) })
	return c, nil
}

// Hashed reports whether any password is kept as a hash, so that a check may be slow.
func (c *Checker) Hashed() bool { return c.hashed }

// Check judges a name and a password, and returns the label of the password that matched. Errors are *verdict.Error:
// BadSignature for an unknown name or a wrong password, which look alike; BadCredential for what is empty, too long or
// holds a zero byte; Unavailable when too many hashes are being computed already. It waits for its turn until ctx ends,
// and at most 2 s.
func (c *Checker) Check(ctx context.Context, name, password string) (label string, err error) {
	if acceptable(name, MaxName) != nil || acceptable(password, MaxPassword) != nil {
		return "", verdict.Errorf(verdict.BadCredential, "the user name or password is empty, too long or holds a zero byte")
	}
	nameDigest := c.digest("name", name)
	entries, known := c.users[nameDigest]
	if !known {
		entries = c.decoy(nameDigest)
	}

	// The name counts in: a password that is right for another user must not be quick for this one.
	presented := c.digest("password", name, password)
	for _, e := range entries {
		last := e.last.Load()
		if e.plain.Equal([]byte(password)) || last != nil && hmac.Equal(last[:], presented[:]) {
			if known {
				return e.label, nil
			}
		}
	}

	var slow []*entry
	tooLong := false
	for _, e := range entries {
		switch {
		case e.match == nil:
		case e.bcrypt && len(password) > MaxBcryptPassword:
			tooLong = true
		default:
			slow = append(slow, e)
		}
	}
	if len(slow) > 0 {
		if err := c.queue.enter(ctx); err != nil {
			return "", err
		}
		defer c.queue.leave()
		for _, e := range slow {
			if e.match([]byte(password)) && known {
				e.last.Store(&presented)
				return e.label, nil
			}
		}
	}
	if tooLong {
		return "", verdict.Errorf(verdict.BadCredential, "the password is longer than %d bytes, which is all that bcrypt judges", MaxBcryptPassword)
	}
	return "", verdict.Errorf(verdict.BadSignature, "unknown user or wrong password")
}

// decoy picks the user whose work is done for a name that does not exist, always the same one for the same name. Where
// users' passwords cost differently, such names do too, and none stands out.
func (c *Checker) decoy(name digest) []*entry {
	n := binary.BigEndian.Uint64(name[:8]) % uint64(len(c.digests))
	return c.users[c.digests[n]]
}

// digest hashes texts under the key, with their lengths, so that no two lists of texts run together to the same bytes.
func (c *Checker) digest(texts ...string) (sum digest) {
	mac := hmac.New(sha256.New, c.key)
	var length [8]byte
	for _, text := range texts {
		binary.BigEndian.PutUint64(length[:], uint64(len(text)))
		mac.Write(length[:])
		mac.Write([]byte(text))
	}
	mac.Sum(sum[:0])
	return sum
}

// acceptable says what keeps a name or password from being presented at all. A zero byte does, because bcrypt ends its
// key with one: "a" and "a\x00a" would be one password.
func acceptable(text string, limit int) error {
	switch {
	case text == "":
		return errors.New("is empty")
	case len(text) > limit:
		return fmt.Errorf("is longer than %d bytes", limit)
	case strings.ContainsRune(text, 0):
		return errors.New("holds a zero byte")
	}
	return nil
}
