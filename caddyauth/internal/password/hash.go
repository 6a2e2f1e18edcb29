package password

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// What a hash may cost. A configured cost is paid by every guess, so a typing error in it must not stop the machine.
const (
	MaxBcryptCost    = 16         // about 4 s
	MaxArgon2Memory  = 256 * 1024 // KiB
	MaxArgon2Time    = 16
	MaxArgon2Threads = 16
)

// errPlain says that a text has not the form of a hash: it is the password itself.
var errPlain = errors.New("is not a hash")

var (
	// hashForm is how crypt(3) and PHC strings begin.
	hashForm = regexp.MustCompile(`^\$[0-9a-z][0-9a-z-]*\$`)

	// bcryptForm leaves $2x$ out: it marks hashes made by a defective implementation.
	bcryptForm = regexp.MustCompile(`^\$2[aby]\$([0-9]{2})\$[./0-9A-Za-z]{53}$`)

	argon2Form = regexp.MustCompile(`^\$argon2id\$v=19\$m=([0-9]{1,10}),t=([0-9]{1,10}),p=([0-9]{1,10})\$([+/0-9A-Za-z]+)\$([+/0-9A-Za-z]+)$`)
)

// parseHash reads the text of a hash. It returns the comparison of a password with it, and whether that is bcrypt's. The
// error is errPlain for a text that is no hash at all.
func parseHash(text string) (match func(password []byte) bool, isBcrypt bool, err error) {
	if !hashForm.MatchString(text) {
		return nil, false, errPlain
	}
	if parts := bcryptForm.FindStringSubmatch(text); parts != nil {
		cost, _ := strconv.Atoi(parts[1])
		if cost < bcrypt.MinCost || cost > MaxBcryptCost {
			return nil, false, fmt.Errorf("is a bcrypt hash of cost %d: it must be from %d to %d", cost, bcrypt.MinCost, MaxBcryptCost)
		}
		hash := []byte(text)
		return func(password []byte) bool { return bcrypt.CompareHashAndPassword(hash, password) == nil }, true, nil
	}
	if parts := argon2Form.FindStringSubmatch(text); parts != nil {
		match, err := parseArgon2(parts)
		return match, false, err
	}
	return nil, false, errors.New("begins like a hash, but is not a whole bcrypt ($2a$, $2b$, $2y$) or argon2id ($argon2id$v=19$) one")
}

// parseArgon2 reads the parts of an argon2id hash: memory in KiB, time, threads, salt and key.
func parseArgon2(parts []string) (func(password []byte) bool, error) {
	var numbers [3]uint32
	for i, limit := range []struct {
		name string
		most uint64
	}{{"memory (m)", MaxArgon2Memory}, {"time (t)", MaxArgon2Time}, {"threads (p)", MaxArgon2Threads}} {
		n, err := strconv.ParseUint(parts[i+1], 10, 64)
		if err != nil || n < 1 || n > limit.most {
			return nil, fmt.Errorf("is an argon2id hash with %s %s: it must be from 1 to %d", limit.name, parts[i+1], limit.most)
		}
		numbers[i] = uint32(n)
	}
	salt, err := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	if err != nil || len(salt) < 8 || len(salt) > 64 {
		return nil, errors.New("is an argon2id hash with a bad salt: 8 to 64 bytes in base64 are wanted")
	}
	// A short key would be found by chance, and an empty one would match everything.
	key, err := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err != nil || len(key) < 16 || len(key) > 64 {
		return nil, errors.New("is an argon2id hash with a bad key: 16 to 64 bytes in base64 are wanted")
	}
	memory, time, threads := numbers[0], numbers[1], uint8(numbers[2])
	return func(password []byte) bool {
		computed := argon2.IDKey(password, salt, time, memory, threads, uint32(len(key)))
		return subtle.ConstantTimeCompare(computed, key) == 1
	}, nil
}
