package signature

import (
	"crypto/md5" // Sinch signs the MD5 of the body
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// Verifier checks requests with some keys. It may be used by many requests at once.
type Verifier struct {
	*Scheme
	keys []key
}

// Message is what of a request may be signed, but for its body.
type Message struct {
	Method string
	URLs   []string // the public URL in its spellings, see PublicURLs; empty if nothing signs it
	Path   string   // the path of the URL, escaped as it arrived
	Header http.Header
}

// Match is a signature that held.
type Match struct {
	// Key made it.
	Key secret.Value

	// ID is the message's own id, signed; empty if the sender has none.
	ID string

	// Digest names what was signed and by which key. It is the same for every spelling of a signature, and tells
	// nothing of the signature itself. Of Others it is empty where their ID is enough.
	Digest string

	// Loose says that nothing parts ID from what stands beside it, such as the URL: the same signature may hold for
	// another id, with another piece of that.
	Loose bool

	// Others are the same message under each other key of the Verifier: its sender may have signed it with that one too,
	// and somebody may have taken the signature away.
	Others []Match
}

// Pending is a request whose headers are in order.
type Pending struct {
	verifier   *Verifier
	message    Message
	signatures [][]byte
	timestamp  string
	id         string
	headers    map[string]string
}

// Begin does all that can be done without the body: it reads the signature header, checks the time and the id, and
// collects the headers that are signed. Its errors are of verdict.Error.
func (v *Verifier) Begin(m Message, now time.Time) (*Pending, error) {
	p := &Pending{verifier: v, message: m}
	encoded, timestamp, err := v.readSignatures(m.Header)
	if err != nil {
		return nil, err
	}
	for _, text := range encoded {
		// A signature that cannot be one is passed over, for another may stand beside it.
		if decoded, ok := v.spec.Encoding.decode(text); ok && v.spec.Algorithm.fits(decoded) {
			p.signatures = append(p.signatures, decoded)
		}
	}
	if len(p.signatures) == 0 {
		return nil, verdict.Errorf(verdict.BadCredential, "no signature of the expected form and length")
	}
	if err := p.readTime(timestamp, now); err != nil {
		return nil, err
	}
	if err := p.readID(); err != nil {
		return nil, err
	}
	return p, p.readHeaders()
}

// readSignatures finds the signatures, still encoded, and the timestamp where that stands beside them.
func (v *Verifier) readSignatures(header http.Header) (encoded []string, timestamp string, err error) {
	name := v.spec.Header
	if also := v.spec.Also; also != "" && len(header.Values(also)) > 0 {
		value, err := single(header, also)
		if err != nil {
			return nil, "", err
		}
		if encoded, _, err = v.spec.Grammar.read(value); err != nil {
			return nil, "", err
		}
		if len(header.Values(name)) == 0 {
			return encoded, "", nil
		}
	}
	value, err := single(header, name)
	if err != nil {
		return nil, "", err
	}
	found, timestamp, err := v.spec.Grammar.read(value)
	return append(encoded, found...), timestamp, err
}

func (p *Pending) readTime(timestamp string, now time.Time) error {
	spec := p.verifier.spec
	if spec.Time == (Time{}) {
		return nil
	}
	if spec.Time.Header != "" {
		var err error
		if timestamp, err = single(p.message.Header, spec.Time.Header); err != nil {
			return err
		}
	}
	at, err := spec.Time.Unit.Parse(timestamp)
	if err != nil {
		return err
	}
	p.timestamp = timestamp
	return Fresh(at, now, spec.Tolerance)
}

// readID takes only ids that cannot run into what stands beside them in the payload: else `a` and `1.2` could be read
// as `a.1` and `2` under one signature.
func (p *Pending) readID() error {
	if p.verifier.spec.ID == "" {
		return nil
	}
	id, err := single(p.message.Header, p.verifier.spec.ID)
	if err != nil {
		return err
	}
	if !p.verifier.allows(id) {
		return verdict.Errorf(verdict.BadCredential, "the message id is too long, or has characters that it may not have")
	}
	p.id = id
	return nil
}

// allows reports whether an id is visible ASCII without the characters of the payload that part it from its neighbours.
// Where the next word follows at once, there is only base64url, so A-Z, a-z, 0-9, -, _ and =.
func (s *Scheme) allows(id string) bool {
	if len(id) == 0 || len(id) > MaxIDBytes {
		return false
	}
	stops, narrow := s.stops()
	for _, char := range []byte(id) {
		word := char >= '0' && char <= '9' || char >= 'A' && char <= 'Z' || char >= 'a' && char <= 'z' || char == '-' || char == '_' || char == '='
		if char <= ' ' || char > '~' || strings.IndexByte(stops, char) >= 0 || narrow && !word {
			return false
		}
	}
	return true
}

// stops gives the characters that an id may not have, and whether a word stands right behind it.
func (s *Scheme) stops() (stops string, narrow bool) {
	for i, p := range s.parts {
		if p.word != wordID {
			continue
		}
		if i > 1 && s.parts[i-1].word == wordText {
			before := s.parts[i-1].text
			stops += before[len(before)-1:]
		}
		if i+1 < len(s.parts) {
			if behind := s.parts[i+1]; behind.word == wordText {
				stops += behind.text[:1]
			} else {
				narrow = true
			}
		}
	}
	return stops, narrow
}

// loose reports whether the id stands beside a word, other than the timestamp, whose form is narrow enough.
func (s *Scheme) loose() bool {
	firm := func(w word) bool { return w == wordText || w == wordTimestamp }
	for i, p := range s.parts[1:] {
		if before := s.parts[i].word; p.word == wordID && !firm(before) || before == wordID && !firm(p.word) {
			return true
		}
	}
	return false
}

func (p *Pending) readHeaders() error {
	for _, part := range p.verifier.parts {
		if part.word != wordHeader {
			continue
		}
		value, err := single(p.message.Header, part.text)
		if err != nil {
			return err
		}
		if p.headers == nil {
			p.headers = make(map[string]string)
		}
		p.headers[part.text] = value
	}
	return nil
}

// Finish checks the signatures over the body. Every key is tried against every signature, in constant time and to the
// end, and each MAC is computed once, so that the time taken tells neither which one matched nor how far.
func (p *Pending) Finish(body []byte) (Match, error) {
	v := p.verifier
	if len(body) > 0 && !v.SignsBody() && !v.spec.BodyUnsigned {
		return Match{}, verdict.Errorf(verdict.BodyMismatch, "a body, where the signature covers none")
	}
	addresses := p.message.URLs
	if !v.SignsURL() {
		addresses = []string{""}
	} else if len(addresses) == 0 {
		return Match{}, verdict.Errorf(verdict.Malformed, "the request has no URL that could have been signed")
	}
	var match Match
	found := false
	for _, address := range addresses {
		pieces, err := p.pieces(address, body)
		if err != nil {
			return Match{}, err
		}
		if p.goesOn(address, pieces) {
			continue
		}
		for i := range v.keys {
			if proof := v.keys[i].holds(v.spec.Algorithm, pieces, p.signatures); proof != nil && !found {
				found = true
				match = Match{Key: v.keys[i].value, ID: p.id, Digest: name(proof, v.keys[i].value), Loose: v.loose(), Others: p.others(i, pieces)}
			}
		}
	}
	if !found {
		return Match{}, verdict.Errorf(verdict.BadSignature, "no key matches any of the signatures")
	}
	return match, nil
}

// goesOn reports whether an address without a path is followed by a body that could be the rest of a longer address: the
// slash of `https://host/`, and a genuine body behind it, would be one body, and forged. A JSON object is none.
func (p *Pending) goesOn(address string, pieces [][]byte) bool {
	_, rest, _ := strings.Cut(address, "://")
	if strings.Contains(rest, "/") {
		return false
	}
	for i, part := range p.verifier.parts[1:] {
		if before := p.verifier.parts[i].word; (before == wordURL || before == wordURLBase) && part.isBody() && len(pieces[i+1]) > 0 && pieces[i+1][0] != '{' {
			return true
		}
	}
	return false
}

// others gives the match of the message under each key but this one.
func (p *Pending) others(found int, pieces [][]byte) []Match {
	var others []Match
	for i := range p.verifier.keys {
		if i == found {
			continue
		}
		other := Match{Key: p.verifier.keys[i].value, ID: p.id, Loose: p.verifier.loose()}
		if p.id == "" || other.Loose { // else the id is what it is known by
			other.Digest = name(p.verifier.keys[i].proof(p.verifier.spec.Algorithm, pieces), other.Key)
		}
		others = append(others, other)
	}
	return others
}

// proof gives what only this message under this key comes to: the MAC, or the hash of the message, for one message may
// have several signatures by a private key.
func (k *key) proof(a Algorithm, pieces [][]byte) []byte {
	if a.Public() {
		return digest(pieces)
	}
	return a.mac(k.value.Bytes(), pieces)
}

// holds compares one key with all signatures. If one of them is right, it gives the proof, else nil.
func (k *key) holds(a Algorithm, pieces [][]byte, signatures [][]byte) []byte {
	held := 0
	if a.Public() {
		for _, signature := range signatures {
			if a.verify(k.public, pieces, signature) {
				held = 1
			}
		}
		if held == 0 {
			return nil
		}
		return k.proof(a, pieces)
	}
	mac := k.proof(a, pieces)
	for _, signature := range signatures {
		held |= subtle.ConstantTimeCompare(mac, signature)
	}
	if held == 0 {
		return nil
	}
	return mac
}

// name makes the digest of a match: it is shown in logs, so that it must not be the signature.
func name(proof []byte, by secret.Value) string {
	sum := HMACSHA256.mac(by.Bytes(), [][]byte{[]byte("caddyauth replay\x00"), proof})
	return hex.EncodeToString(sum[:16])
}

// pieces gives what was signed, one piece a word.
func (p *Pending) pieces(address string, body []byte) ([][]byte, error) {
	pieces := make([][]byte, 0, len(p.verifier.parts))
	for _, part := range p.verifier.parts {
		piece, err := p.piece(part, address, body)
		if err != nil {
			return nil, err
		}
		pieces = append(pieces, piece)
	}
	return pieces, nil
}

func (p *Pending) piece(part part, address string, body []byte) ([]byte, error) {
	switch part.word {
	case wordBody:
		return body, nil
	case wordBodySHA256:
		sum := sha256.Sum256(body)
		return []byte(hex.EncodeToString(sum[:])), nil
	case wordBodyMD5:
		sum := md5.Sum(body)
		return []byte(base64.StdEncoding.EncodeToString(sum[:])), nil
	case wordFormSorted:
		return formSorted(p.message.Header, body)
	case wordURL:
		return []byte(address), nil
	case wordURLBase:
		return []byte(urlBase(address)), nil
	case wordURLFormSorted:
		return urlFormSorted(address, p.message.Header, body)
	case wordPath:
		return []byte(p.message.Path), nil
	case wordMethod:
		return []byte(p.message.Method), nil
	case wordTimestamp:
		return []byte(p.timestamp), nil
	case wordID:
		return []byte(p.id), nil
	case wordHeader:
		return []byte(p.headers[part.text]), nil
	default:
		return []byte(part.text), nil
	}
}

// single returns the value of a header that stands exactly once: of two, the receiver might read the other.
func single(header http.Header, name string) (string, error) {
	switch values := header.Values(name); {
	case len(values) > 1:
		return "", verdict.Errorf(verdict.Malformed, "%d %s headers", len(values), name)
	case len(values) == 0 || values[0] == "":
		return "", verdict.Errorf(verdict.Missing, "no %s header", name)
	default:
		return values[0], nil
	}
}
