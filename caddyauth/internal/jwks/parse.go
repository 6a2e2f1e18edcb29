package jwks

import (
	"crypto"
	"errors"
	"slices"

	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
)

// maxKeys is how many keys a set may list, used or not: every one costs a parse, and those without `kid` a trial.
const maxKeys = 100

// maxTrials is how many keys are tried on a token that names none.
const maxTrials = 16

// Errors of documents. They are classes, with nothing of the document in them.
var (
	errInvalid  = errors.New("not a key set")
	errTooMany  = errors.New("too many keys")
	errMetadata = errors.New("not OpenID provider metadata")
)

// keySet is what a document of keys said.
type keySet struct {
	byID    map[string][]jose.Key
	all     []jose.Key // in the document's order, those with and those without id
	skipped map[Skip]int
	private int
}

// parse reads a JWK Set (RFC 7517 §5). A key that cannot be used is skipped and counted. Different keys may share a `kid`
// where each has algorithms of its own, as keys of two types have (§4.5); else all of them are skipped, since nothing says
// which is meant. A set that lists no key, or none that can be used, is a valid one: it revokes everything.
func parse(document []byte) (*keySet, error) {
	root, err := strictjson.Parse(document)
	if err != nil {
		return nil, errInvalid
	}
	list, ok := root.Get("keys")
	if root.Kind() != strictjson.Object || !ok || list.Kind() != strictjson.Array {
		return nil, errInvalid
	}
	if len(list.Items()) > maxKeys {
		return nil, errTooMany
	}
	set := &keySet{byID: map[string][]jose.Key{}, skipped: map[Skip]int{}}
	var usable []jose.Key
	for _, item := range list.Items() {
		key, private, skip := parseKey(item)
		if private {
			set.private++
		}
		if skip != "" {
			set.skipped[skip]++
			continue
		}
		if !slices.ContainsFunc(usable, func(other jose.Key) bool { return repeats(key, other) }) {
			usable = append(usable, key)
		}
	}
	for _, key := range usable {
		if slices.ContainsFunc(usable, func(other jose.Key) bool { return contradicts(key, other) }) {
			set.skipped[SkipAmbiguous]++
			continue
		}
		set.all = append(set.all, key)
		if key.ID != "" {
			set.byID[key.ID] = append(set.byID[key.ID], key)
		}
	}
	return set, nil
}

// repeats reports whether two entries of a set are one key for one purpose.
func repeats(a, b jose.Key) bool {
	return a.ID == b.ID && slices.Equal(a.Algorithms, b.Algorithms) && equal(a.Public, b.Public)
}

// contradicts reports whether a token could mean either of two different keys by its key id and algorithm.
func contradicts(a, b jose.Key) bool {
	shares := func(algorithm string) bool { return slices.Contains(b.Algorithms, algorithm) }
	return a.ID != "" && a.ID == b.ID && slices.ContainsFunc(a.Algorithms, shares) && !equal(a.Public, b.Public)
}

func equal(a, b crypto.PublicKey) bool {
	public, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(b)
}

// find returns the keys that may have signed a token with this key id and algorithm. known is false where a newer set
// might hold one: the id is not there, or the token names none and no key fits its algorithm. A token without id is
// tried with the keys of its algorithm alone, the first sixteen of them.
func (s *keySet) find(id, algorithm string) (keys []jose.Key, known bool) {
	candidates := s.all
	if id != "" {
		candidates = s.byID[id]
	}
	for _, key := range candidates {
		if len(keys) < maxTrials && slices.Contains(key.Algorithms, algorithm) {
			keys = append(keys, key)
		}
	}
	return keys, len(keys) > 0 || id != "" && len(candidates) > 0
}

// metadata is what OpenID provider metadata says that is of use here.
type metadata struct{ issuer, keys string }

// parseMetadata reads OpenID provider metadata (OpenID Connect Discovery 1.0 §3).
func parseMetadata(document []byte) (metadata, error) {
	root, err := strictjson.Parse(document)
	if err != nil || root.Kind() != strictjson.Object {
		return metadata{}, errMetadata
	}
	issuer, _ := root.Get("issuer")
	keys, _ := root.Get("jwks_uri")
	said := metadata{}
	said.issuer, _ = issuer.Text()
	said.keys, _ = keys.Text()
	if said.issuer == "" || said.keys == "" {
		return metadata{}, errMetadata
	}
	return said, nil
}
