package signature

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"golang.org/x/net/http/httpguts"
)

// Scheme is a Spec that holds together.
type Scheme struct {
	spec  Spec
	parts []part
}

// Compile checks a Spec. It refuses one that pretends: a tolerance or an id that is not signed, a word that is not known,
// a signature header that is part of what it signs.
func Compile(spec Spec) (*Scheme, error) {
	if err := checkHeader("header", spec.Header); err != nil {
		return nil, err
	}
	if spec.Also != "" {
		if err := checkHeader("second header", spec.Also); err != nil {
			return nil, err
		}
		if spec.Grammar.Timestamp != "" {
			return nil, errors.New("a timestamp in the signature header needs that there is one")
		}
	}
	if err := spec.Grammar.check(); err != nil {
		return nil, err
	}
	if err := spec.Encoding.check(); err != nil {
		return nil, err
	}
	if err := spec.Algorithm.check(); err != nil {
		return nil, err
	}
	parts, err := parseTemplate(spec.Payload)
	if err != nil {
		return nil, err
	}
	s := &Scheme{spec: spec, parts: parts}
	for _, p := range parts {
		if p.word == wordHeader && (strings.EqualFold(p.text, spec.Header) || strings.EqualFold(p.text, spec.Also)) {
			return nil, fmt.Errorf("the payload holds the signature header %s itself", p.text)
		}
	}
	if err := s.checkTime(); err != nil {
		return nil, err
	}
	return s, s.checkID()
}

func (s *Scheme) checkTime() error {
	switch signed := s.signs(wordTimestamp); {
	case s.spec.Time == (Time{}):
		if signed {
			return errors.New("the payload has {timestamp}, and no timestamp is configured")
		}
		if s.spec.Tolerance != 0 {
			return errors.New("a tolerance needs a timestamp that is in the payload")
		}
		if s.spec.Grammar.Timestamp != "" {
			return errors.New("the signature header has a timestamp that is not used")
		}
		return nil
	case !signed:
		return errors.New("the timestamp is not in the payload: without {timestamp} nobody signed it")
	case s.spec.Tolerance <= 0:
		return errors.New("a timestamp needs a tolerance above 0")
	}
	if err := s.spec.Time.Unit.check(); err != nil {
		return err
	}
	if s.spec.Time.Header != "" {
		if s.spec.Grammar.Timestamp != "" {
			return errors.New("there are two places for the timestamp")
		}
		return checkHeader("timestamp header", s.spec.Time.Header)
	}
	if s.spec.Grammar.Timestamp == "" {
		return errors.New("there is no place for the timestamp")
	}
	return nil
}

func (s *Scheme) checkID() error {
	switch signed := s.signs(wordID); {
	case s.spec.ID == "" && signed:
		return errors.New("the payload has {id}, and no header for it is configured")
	case s.spec.ID == "":
		return nil
	case !signed:
		return errors.New("the id is not in the payload: without {id} nobody signed it")
	}
	for i, p := range s.parts[1:] {
		if before := s.parts[i]; p.word == wordID && before.isBody() || before.word == wordID && p.isBody() {
			// A genuine message would hold as another, with a piece of its id in its body, and be no replay.
			return errors.New("nothing parts {id} from the body: where the one ends and the other begins, nobody signed")
		}
	}
	return checkHeader("id header", s.spec.ID)
}

// isBody reports whether p is made of the body's own bytes.
func (p part) isBody() bool {
	return p.word == wordBody || p.word == wordFormSorted || p.word == wordURLFormSorted
}

func checkHeader(what, name string) error {
	if name == "" {
		return fmt.Errorf("the %s is missing", what)
	}
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("the %s is not the name of a header", what)
	}
	return nil
}

// signs reports whether a word is part of what is signed.
func (s *Scheme) signs(w word) bool {
	for _, p := range s.parts {
		if p.word == w {
			return true
		}
	}
	return false
}

// SignsBody reports whether the body is part of what is signed.
func (s *Scheme) SignsBody() bool {
	return s.signs(wordBody) || s.signs(wordBodySHA256) || s.signs(wordBodyMD5) ||
		s.signs(wordFormSorted) || s.signs(wordURLFormSorted)
}

// SignsURL reports whether the public URL is part of what is signed.
func (s *Scheme) SignsURL() bool {
	return s.signs(wordURL) || s.signs(wordURLBase) || s.signs(wordURLFormSorted)
}

// Spec returns what s was compiled from.
func (s *Scheme) Spec() Spec { return s.spec }

// Verifier returns s with the keys that may have signed, of which any one will do. There is at least one. The bytes of
// a key are what Spec.DecodeKey gave.
func (s *Scheme) Verifier(keys []secret.Value) (*Verifier, error) {
	if len(keys) == 0 {
		return nil, errors.New("no key")
	}
	v := &Verifier{Scheme: s}
	for _, value := range keys {
		if value.Empty() {
			return nil, fmt.Errorf("the key %s is empty", value.Label())
		}
		k := key{value: value}
		if s.spec.Algorithm.Public() {
			parsed, err := parsePublic(s.spec.Algorithm, value.Bytes())
			if err != nil {
				return nil, fmt.Errorf("the key %s: %w", value.Label(), err)
			}
			k.public = parsed
		}
		v.keys = append(v.keys, k)
	}
	return v, nil
}
