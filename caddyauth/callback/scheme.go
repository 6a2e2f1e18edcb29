package callback

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// Namespace is where schemes register: the first word of a line in the block is the module's name in it.
const Namespace = "http.callback_auth.schemes"

// Scheme is one way of signing or presenting a credential, as a guest module in the namespace
// `http.callback_auth.schemes`. It is provisioned as any Caddy module is.
//
// A Scheme is used by many requests at once. It judges only by its configuration: which scheme is asked never depends
// on what a request carries.
//
// EXPERIMENTAL: Subject to change or removal.
type Scheme interface {
	// Traits says what the handler has to know before a request comes. It is called once, after provisioning.
	Traits() Traits

	// Verify judges a request by everything but its body, the cheap checks before the dear ones. Where the body counts
	// too, it returns a verdict with Then: the body is read only once every scheme has come that far. An error that is
	// not the sender's doing, such as keys out of reach, is verdict.Unavailable and never a refusal for good.
	Verify(r *Request) Verdict
}

// Checker is a Scheme that can tell that its configuration could never hold, whatever the placeholders in it stand for:
// an option that is missing, two that exclude each other, or a value that stands there as it is and cannot be one. It is
// asked before Provision, while the line in the Caddyfile is still known, so that the error can name it; a JSON
// configuration has no lines, and Provision asks itself.
//
// EXPERIMENTAL: Subject to change or removal.
type Checker interface {
	// Check returns an error that holds no secret.
	Check() error
}

// Cost orders the schemes of a block: the cheap ones are asked first, so that a stranger costs little.
type Cost int

// The costs, from the cheapest.
const (
	CostAddress  Cost = iota // a look at the connection
	CostCompare              // a comparison of digests
	CostMAC                  // a symmetric signature
	CostKey                  // an asymmetric signature
	CostPassword             // a password hash, made to be slow
	CostNetwork              // may ask another server
)

// Place is where a credential rides in a request: one of its fields is set.
type Place struct {
	Header string // a header field
	Query  string // a query parameter
}

// Traits are the facts about a scheme that do not change from request to request.
type Traits struct {
	// Cost is how dear Verify is.
	Cost Cost

	// Places are all the headers and query parameters that carry the credential. With strip_credentials the next
	// handler does not see them.
	Places []Place

	// Challenge is the value of WWW-Authenticate on a 401 (RFC 9110 §11.6.1).
	Challenge string

	// Partial says that the scheme proves nothing about who sent a request. A block with no other scheme is refused, and
	// the others are asked first, whatever they cost: to a stranger, their 401 is the answer.
	Partial bool

	// Window is how long after its making a message may still be accepted. 0: the scheme has no clock.
	Window time.Duration

	// Leeway is how long before its making, by our clock, a message may be accepted.
	Leeway time.Duration

	// Identified says that messages may carry a signed id, so that `replay` can let each pass once.
	Identified bool

	// Replay says that they all do, and that each is to pass once unless `replay off` says otherwise.
	Replay bool
}

// Verdict is what a scheme came to. It is made in one place and read by the log, the metrics, the placeholders and the
// answer.
type Verdict struct {
	// Reason is verdict.OK or why not. The zero value is no verdict, and counts as verdict.Unavailable.
	Reason verdict.Reason

	// Status replaces the status that goes with Reason, where it is not 0.
	Status int

	// Detail is a sentence for the log, under the rules of verdict.Error.Detail.
	Detail string

	// Scheme is the name of the scheme that judged. The handler sets it.
	Scheme string

	// Key is the label of the secret or key that matched. It may be set on a refusal too: a signed message that is too
	// old has a key.
	Key string

	// User is who sent the message: api key, subject, user name, else the key label.
	User string

	// Account and ID are the message's own id, where it was signed, and the account inside which it is unique: the
	// sender's own word for it, else secret.Value.Fingerprint of the secret, so that two senders' ids never meet.
	Account, ID string

	// Digest says that ID is a digest of the message, which signs no id of its own: replay protection knows it by that,
	// and nobody else is told.
	Digest bool

	// Others is what the same message may be known by too, where its sender could have signed it with several secrets:
	// whoever holds it can take one signature away; or where its signature holds for another id as well. It passes once
	// under all of these names.
	Others []Name

	// Claims gives a signed claim as text. It is nil where the scheme has none.
	Claims func(name string) (value string, ok bool)

	// Challenge replaces the scheme's WWW-Authenticate value, where it is not empty. It is sent with 400 and 403 too, for
	// RFC 6750 §3 has something to say there.
	Challenge string

	// Allow is the value of the header of that name on a 405, which has to list the methods that are taken (RFC 9110
	// §15.5.6). Default: those that any sender uses.
	Allow string

	// Then finishes the check over the body, which is exactly what was on the wire; nil where the body does not count.
	// It is called only if Reason is verdict.OK, and its verdict replaces this one, which goes on to stand for what it does
	// not say about the sender and the message. What it returns, Claims among it, must not use the slice later: its memory
	// is used again.
	Then func(body []byte) Verdict

	// Answer, on an accepted message that is a handshake of the sender's own, answers it in place of the next handler,
	// once every other scheme in the block has accepted too.
	Answer func(w http.ResponseWriter) error

	// Until is when a message with an ID can no longer be accepted, where Traits.Window does not say. Its id is kept
	// until then, if that is longer than the replay window.
	Until time.Time

	// The handler sets these. identified says that the scheme's messages may carry an id, and replay that they all do;
	// idScheme is the scheme that ID is of, and lacksID says that one that always has an id gave none.
	identified, replay, lacksID bool
	idScheme                    string

	within  trail        // what an `any` looked at
	matched []app.Secret // the secrets of every scheme of a block, where it has several
}

// Name is what a message is known by: its id, and the account inside which that is unique.
type Name struct{ Account, ID string }

// Refuse makes a verdict of an error, as verdict.Of reads it.
func Refuse(err error) Verdict {
	refusal := verdict.Of(err)
	return Verdict{Reason: refusal.Reason, Status: refusal.Status, Detail: refusal.Detail}
}

// OK reports whether the request is accepted so far.
func (v Verdict) OK() bool { return v.Reason == verdict.OK }

// HTTPStatus returns the status that a refusal is answered with.
func (v Verdict) HTTPStatus() int {
	if v.Status != 0 {
		return v.Status
	}
	return v.Reason.Status()
}

// Request is what a scheme may look at.
type Request struct {
	// HTTP is the request as it reached the handler, for its headers and context. Its body is not to be touched.
	HTTP *http.Request

	// Method and URL are as they arrived, before any rewrite: that is what senders sign.
	Method string
	URL    *url.URL

	// PublicURL is the scheme and host under which senders know us, such as https://example.com; empty if not set.
	PublicURL string

	// ClientIP is the client's address by Caddy's reckoning (so trusted_proxies counts), unmapped and without zone.
	// It is the zero Addr where there is none.
	ClientIP netip.Addr

	// Now is the time of the request.
	Now time.Time

	// Upgrade says that this is a WebSocket handshake: it has no body.
	Upgrade bool

	query    url.Values
	queryErr error
}

// Query returns the parameters of the URL as it arrived. A query that does not parse entirely is verdict.Malformed: Go
// would go on with the part that it understood, and the receiver with another.
func (r *Request) Query() (url.Values, error) {
	if r.query == nil && r.queryErr == nil {
		values, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			r.queryErr = verdict.Errorf(verdict.Malformed, "the query does not parse")
		} else {
			r.query = values
		}
	}
	return r.query, r.queryErr
}

// Header returns the value of a header that must stand exactly once: none is verdict.Missing, two are
// verdict.Malformed, for the receiver might read the other one.
func (r *Request) Header(name string) (string, error) {
	switch values := r.HTTP.Header.Values(name); {
	case len(values) > 1:
		return "", verdict.Errorf(verdict.Malformed, "%d %s headers", len(values), name)
	case len(values) == 0 || values[0] == "":
		return "", verdict.Errorf(verdict.Missing, "no %s header", name)
	default:
		return values[0], nil
	}
}

// Parameter returns the value of a query parameter that must stand exactly once, as Header does.
func (r *Request) Parameter(name string) (string, error) {
	query, err := r.Query()
	if err != nil {
		return "", err
	}
	switch values := query[name]; {
	case len(values) > 1:
		return "", verdict.Errorf(verdict.Malformed, "%d query parameters named %s", len(values), name)
	case len(values) == 0 || values[0] == "":
		return "", verdict.Errorf(verdict.Missing, "no query parameter %s", name)
	default:
		return values[0], nil
	}
}

// Authorization returns what follows the auth-scheme (`Bearer`, `Basic`) and exactly one space in the header of this
// name. Auth-schemes are case-insensitive (RFC 9110 §11.1). Another auth-scheme, and anything but one space, is
// verdict.BadCredential: two spellings of one credential would be two identities to a replay guard. An auth-scheme
// with nothing behind it is verdict.Missing.
func (r *Request) Authorization(header, authScheme string) (string, error) {
	value, err := r.Header(header)
	if err != nil {
		return "", err
	}
	word, credential, _ := strings.Cut(value, " ")
	if !strings.EqualFold(word, authScheme) {
		return "", verdict.Errorf(verdict.BadCredential, "%s is not of the scheme %s", header, authScheme)
	}
	if credential == "" {
		return "", verdict.Errorf(verdict.Missing, "no credential behind %s", authScheme)
	}
	// Three searches are faster than one for any of three.
	if strings.IndexByte(credential, ' ') >= 0 || strings.IndexByte(credential, '\t') >= 0 || strings.IndexByte(credential, ',') >= 0 {
		return "", verdict.Errorf(verdict.BadCredential, "%s holds more than one credential", header)
	}
	return credential, nil
}
