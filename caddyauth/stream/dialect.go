package stream

import (
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Namespace is where dialects register: the first argument of the directive is the module's name in it.
const Namespace = "http.stream_auth.dialects"

// Dialect is one media server's way of asking and of obeying, as a guest module in the namespace
// `http.stream_auth.dialects`. It is provisioned as any Caddy module is, and used by many requests at once.
//
// EXPERIMENTAL: Subject to change or removal.
type Dialect interface {
	// Can says what the server tells and carries out. It is called once, after provisioning.
	Can() Ability

	// Decode reads the server's request; body is all of r's body, at most MaxBody bytes. What it cannot read without
	// doubt is an error with a verdict.Reason, usually verdict.Malformed. It reads each fact in the one place where
	// this server puts it, and never lets what a client chose stand for what the server says.
	Decode(r *http.Request, body []byte) (*Request, error)

	// Encode answers the server. q is nil where Decode failed; with `report_only`, even that is answered as allowed.
	// Notifications (Close, Notice) come with a decision that allows, and are answered as the server expects. On a
	// decision that does not allow, nothing may be written that any version of the server could take for an allowance;
	// headers that could, and that an earlier handler set, are removed. The answer is held back until Encode returns: on
	// an error, nothing of it is sent.
	Encode(w http.ResponseWriter, q *Request, d Decision) error
}

// OptionParser is a Dialect with options of its own in the Caddyfile's block.
//
// EXPERIMENTAL: Subject to change or removal.
type OptionParser interface {
	// ParseOption reads one line of the block, whose first word is d.Val(). known is false where that is none of its own;
	// then nothing of the line has been read.
	ParseOption(d *caddyfile.Dispenser) (known bool, err error)
}

// Checker is a Dialect that can tell, once its block in the Caddyfile was read, that its options could never hold: one is
// missing, or two exclude each other. The error then names the line.
//
// EXPERIMENTAL: Subject to change or removal.
type Checker interface {
	// Check returns an error that holds no secret. It looks at nothing that a placeholder stands for.
	Check() error
}

// MaxBody bounds the body of a hook, in bytes. The largest honest one is a few kilobytes.
const MaxBody = 64 << 10

// Feature is a condition or an effect of a rule, by its word in the Caddyfile.
type Feature string

// The features that not every server has. The conditions `mode`, `stream`, `token` and `claim`, and the effect
// `reason`, work everywhere.
const (
	FeatureApp       Feature = "app"
	FeatureIP        Feature = "ip"
	FeatureOrigin    Feature = "origin"
	FeatureTransport Feature = "transport"
	FeatureAgent     Feature = "agent"
	FeatureUser      Feature = "user"
	FeatureListeners Feature = "listeners"
	FeatureListened  Feature = "listened"

	FeatureTimeLimit   Feature = "time_limit"
	FeatureMaxSessions Feature = "max_sessions"
	FeaturePreroll     Feature = "preroll"
	FeaturePostroll    Feature = "postroll"
	FeatureRedirect    Feature = "redirect"
	FeatureRename      Feature = "rename"
)

// conditionFeatures and effectFeatures are the two kinds of features, in the order in which messages list them.
var (
	conditionFeatures = []Feature{
		FeatureApp, FeatureIP, FeatureOrigin, FeatureTransport, FeatureAgent, FeatureUser, FeatureListeners, FeatureListened,
	}
	effectFeatures = []Feature{
		FeatureTimeLimit, FeatureMaxSessions, FeaturePreroll, FeaturePostroll, FeatureRedirect, FeatureRename,
	}
)

// Source is a place where a client's credential may be.
type Source struct {
	// The kind of place: `query`, `password`, `user` or `field`.
	From string `json:"from,omitempty"`

	// The name of the query parameter or field; empty for the others.
	Name string `json:"name,omitempty"`

	// What the client must want for the place to count: `publish` or `play`. Default: either.
	Mode Mode `json:"mode,omitempty"`
}

// Ability is what one media server tells and carries out. The rule checker, the README and the tests share it.
type Ability struct {
	// Server is the name that people know the server by.
	Server string

	// Features are those of the list above that it has.
	Features []Feature

	// Sources are the usual places of a credential, in order.
	Sources []Source

	// Renew is how often the server asks again about a session that goes on (Renew), as it comes configured; 0: never.
	// Such a server ends a session by being denied, so that it can have FeatureTimeLimit without being told a time.
	Renew time.Duration

	// Closes says that the server tells when a session has ended (Close), under the Session that its Open had. A server
	// with FeatureMaxSessions names its sessions; one that neither renews nor closes them needs a lease in the rule.
	Closes bool

	// NoApps says that this server's streams have no app: it is known to be empty, and an expression may ask for it.
	NoApps bool

	// EndsPlayersOnly says that of this server's sessions FeatureTimeLimit ends those of players, and not of publishers.
	EndsPlayersOnly bool

	// Inline says that the request is the client's own, and what it asks for is behind this handler. Decode gets no
	// body; on an allowance the next handler is called instead of Encode, with the request as it came.
	Inline bool
}

// Has reports whether the server has a feature.
func (a Ability) Has(feature Feature) bool {
	return slices.Contains(a.Features, feature)
}
