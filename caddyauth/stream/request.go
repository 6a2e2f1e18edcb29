package stream

import (
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// Event is what a media server tells or asks.
type Event string

// The events.
const (
	Open   Event = "open"   // may this client publish or play?
	Renew  Event = "renew"  // may it go on?
	Close  Event = "close"  // it has gone
	Notice Event = "notice" // something that needs no decision; with a session and its mode: it is on the air
)

// Mode is what a client wants to do with a stream.
type Mode string

// The modes.
const (
	Publish Mode = "publish"
	Play    Mode = "play"
)

// Request is what a media server asked, in one form for all of them. What the client chose is kept apart from what the
// server vouches for: fields from Query on are the client's own claims, and count only through a token or a password.
type Request struct {
	// Event and Action: what the server tells or asks, and the server's own word for it.
	Event  Event
	Action string

	// App and Name: the stream. App is empty where the server has no such thing. The handler puts both to CheckName.
	App, Name string

	// Mode is empty only on a Notice, and on a Close that may be of either's.
	Mode Mode

	// Transport is how the client is connected, in lower case: rtmp, srt, webrtc, hls, icecast …; empty if not told.
	Transport string

	// IP is the client's address as the server reports it, unmapped and without zone; the zero Addr if not told.
	IP netip.Addr

	// Server and Session: the media server and the client's session on it, where it names them. Session is the same on
	// every event of one session, and no other's at the same time on this server in this mode: where several streams
	// share a connection, the connection's id is not enough. It is empty where the server has no such thing.
	Server, Session string

	// NoSession says that what is asked opens none, such as to change what a source says of itself: nothing is counted.
	NoSession bool

	// EitherMode says that a Close ends what the session published and what it played, whatever Mode says: the server tells
	// one end of a connection.
	EitherMode bool

	// Herald says that what is asked comes before a session, under an id of its own: the client's next Heralded one of this
	// stream takes its place, and is not a second session.
	Herald, Heralded bool

	// Listeners, Listened24h and Listened7d are counters that the server reports; nil if it did not.
	Listeners   *int64
	Listened24h *time.Duration
	Listened7d  *time.Duration

	// Query is the query of the URL that the client asked for. QueryErr says that it cannot be read without doubt; then
	// nothing in it counts.
	Query    url.Values
	QueryErr error

	// Truncated says that the server has cut off what the client asked for, or may have: a credential in Query is then
	// perhaps a part of one, and a refusal of it says so.
	Truncated bool

	// User and Password are the client's, as the server hands them on.
	User, Password string

	// Fields are further values that the client gave, by the server's name for them: `token` of Ant Media, forwarded
	// headers of Icecast.
	Fields map[string]string

	// Origin and Agent: the browser page's origin, and the player, as the client says.
	Origin, Agent string

	// Metadata is what the client said about itself, decoded from JSON; nil if nothing.
	Metadata any
}

// Stream returns `app/name`, or the name alone where there is no app.
func (r *Request) Stream() string {
	if r.App == "" {
		return r.Name
	}
	return r.App + "/" + r.Name
}

// Check refuses what no rule could judge: a stream that fails CheckName, an event or a mode that is none. The handler
// calls it on all that a dialect decodes. What needs no decision may be without a stream: the end of a connection, a
// server that has started.
func (r *Request) Check() error {
	switch r.Event {
	case Open, Renew:
		if r.Mode != Publish && r.Mode != Play {
			return verdict.Errorf(verdict.Malformed, "a request to neither publish nor play")
		}
	case Close, Notice:
	default:
		return verdict.Errorf(verdict.Malformed, "a request that is no event")
	}
	if r.App != "" {
		if err := CheckName(r.App); err != nil {
			return err
		}
	}
	if r.Name == "" && (r.Event == Close || r.Event == Notice) {
		return nil
	}
	return CheckName(r.Name)
}

// MaxNameBytes bounds the name of an app or a stream.
const MaxNameBytes = 255

// CheckName refuses a name of an app or a stream that two programs could read in two ways: empty, over MaxNameBytes,
// not UTF-8, with control or invisible formatting characters, with `\`, `?` or `#`, with a replacement character that
// stands for a lost one, or with an empty segment or a dot segment between its slashes. So it does with one that would be
// such a name if the server, or what it writes the stream to, took it for percent-encoded: `..%2fcam1`.
func CheckName(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if decoded, err := url.PathUnescape(name); err == nil && decoded != name {
		return checkName(decoded)
	}
	return nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return verdict.Errorf(verdict.Malformed, "no stream name")
	case len(name) > MaxNameBytes:
		return verdict.Errorf(verdict.Malformed, "a stream name over %d bytes", MaxNameBytes)
	case !utf8.ValidString(name):
		return verdict.Errorf(verdict.Malformed, "a stream name that is not UTF-8")
	}
	for _, char := range name {
		if char == '\\' || char == '?' || char == '#' || char == utf8.RuneError ||
			unicode.IsControl(char) || unicode.Is(unicode.Cf, char) || unicode.Is(unicode.Zl, char) || unicode.Is(unicode.Zp, char) {
			return verdict.Errorf(verdict.Malformed, "a stream name with the character %U", char)
		}
	}
	for segment := range strings.SplitSeq(name, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return verdict.Errorf(verdict.Malformed, "a stream name with an empty or a dot segment")
		}
	}
	return nil
}
