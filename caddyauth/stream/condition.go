package stream

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/ipset"
	"github.com/caddyauth/callbacks/caddyauth/internal/password"
	"github.com/caddyauth/callbacks/caddyauth/token"

	"github.com/caddyserver/caddy/v2"
)

// maxAgentBytes bounds the agent that a pattern is held against; a longer one matches none.
const maxAgentBytes = 1 << 10

// Conditions say when a rule holds: all of them must, and of a condition with several values, any one. What the media
// server does not report (app, address, transport, counters) counts against the client: a condition on it holds in a
// rule that denies, and does not in one that allows. What the client itself says (origin, agent, user, token) must be
// there to match.
type Conditions struct {
	// What the client wants: `publish` or `play`. Default: either.
	Mode []string `json:"mode,omitempty"`

	// Patterns for the app: `*` stands within a path segment, `**` across them; case counts.
	App []string `json:"app,omitempty"`

	// Patterns for the stream's name, or for `app/name`.
	Stream []string `json:"stream,omitempty"`

	// Addresses and ranges of the client, as the media server reports it.
	IP []string `json:"ip,omitempty"`

	// Patterns for the host of the browser page's origin: `*` stands for one label or a part of it, `**` for several.
	// Scheme and port do not count. The client says what its origin is: only browsers say it truly.
	Origin []string `json:"origin,omitempty"`

	// How the client is connected, such as `rtmp`, `srt`, `webrtc` or `hls`.
	Transport []string `json:"transport,omitempty"`

	// Patterns for the player's own name for itself; `*` stands for anything.
	Agent []string `json:"agent,omitempty"`

	// User names and passwords, any of which the client must present.
	User []User `json:"user,omitempty"`

	// What there must be of a token: `valid` (one that any of the tokens accepts), the name of the token that accepts
	// it, or `absent` (no credential in any place for one).
	Token []string `json:"token,omitempty"`

	// Claims that the valid token must have, all of them.
	Claim []token.Claim `json:"claim,omitempty"`

	// Bounds on the number of the stream's listeners, all of which must hold.
	Listeners []Listeners `json:"listeners,omitempty"`

	// Bounds on how long the client has listened, all of which must hold. Where the media server can end an allowance,
	// it ends when such a bound of a rule that denies begins to hold.
	Listened []Listened `json:"listened,omitempty"`

	// Expressions in CEL, all of which must be true: over `stream.app`, `.name`, `.mode`, `.transport`, `.ip`, `.origin`,
	// `.agent`, `.user`, `.subject`, `.claims`, `.query`, `.metadata`, `.listeners`, `.listened_24h` and `.listened_7d`,
	// and `now`. To look at what the server did not tell is an error, and has() tells first. An error counts against the
	// client.
	When []string `json:"when,omitempty"`

	app, stream, origin, agent globs
	transports                 []string
	addresses                  ipset.Set
	claims                     []token.Claim
	checker                    *password.Checker
	when                       []*expression
}

// User is a user name and a password.
type User struct {
	// The name. Values take `{env.*}` and `{file.*}` placeholders.
	Name string `json:"name,omitempty"`

	// The password, or its bcrypt or argon2id hash. Takes placeholders.
	Password string `json:"password,omitempty"`
}

// Listeners is a bound on the number of listeners that a stream has, without the one that asks.
type Listeners struct {
	// How to compare: `<`, `<=`, `>` or `>=`.
	Is string `json:"is,omitempty"`

	// The number. Default: 0.
	Number int64 `json:"number,omitempty"`
}

// Listened is a bound on how long a client has listened.
type Listened struct {
	// Within which time: `24h` or `7d`.
	Within string `json:"within,omitempty"`

	// How to compare: `<`, `<=`, `>` or `>=`.
	Is string `json:"is,omitempty"`

	// The duration.
	Duration caddy.Duration `json:"duration,omitempty"`
}

// features are the conditions that stand here and that not every server has.
func (c *Conditions) features() []Feature {
	var used []Feature
	for feature, is := range map[Feature]bool{
		FeatureApp: len(c.App) > 0, FeatureIP: len(c.IP) > 0, FeatureOrigin: len(c.Origin) > 0,
		FeatureTransport: len(c.Transport) > 0, FeatureAgent: len(c.Agent) > 0, FeatureUser: len(c.User) > 0,
		FeatureListeners: len(c.Listeners) > 0, FeatureListened: len(c.Listened) > 0,
	} {
		if is {
			used = append(used, feature)
		}
	}
	slices.Sort(used)
	return used
}

// check refuses conditions that could not hold, or of which the server or the config says nothing, and compiles `when`.
func (c *Conditions) check(ability Ability, tokens []*Token) error {
	// In JSON a list may stand there and be empty: taken for no condition, it would let everybody in.
	for name, values := range map[string][]string{
		"mode": c.Mode, "app": c.App, "stream": c.Stream, "ip": c.IP, "origin": c.Origin, "transport": c.Transport,
		"agent": c.Agent, "token": c.Token, "when": c.When,
	} {
		if values != nil && len(values) == 0 {
			return fmt.Errorf("%s is an empty list: leave it out, or name what is to match", name)
		}
	}
	if c.User != nil && len(c.User) == 0 || c.Claim != nil && len(c.Claim) == 0 {
		return errors.New("user or claim is an empty list: leave it out, or name what is to match")
	}
	if err := c.checkWords(); err != nil {
		return err
	}
	if err := c.written().provision(); err != nil {
		return err
	}
	if (len(c.Token) > 0 || len(c.Claim) > 0) && len(tokens) == 0 {
		return errors.New("asks for a token, but there is no token block that says what a token is")
	}
	for _, name := range c.Token {
		if name != "valid" && name != "absent" && !slices.ContainsFunc(tokens, func(t *Token) bool { return t.Name == name }) {
			return fmt.Errorf("token: there is no token named '%s'", name)
		}
	}
	for _, claim := range c.Claim {
		if claim.Name == "" || len(claim.Values) == 0 {
			return errors.New("claim needs a name and one or more values")
		}
	}
	c.when = nil
	for _, text := range c.When {
		w, err := compileWhen(text, ability)
		if err != nil {
			return fmt.Errorf("when: %w", err)
		}
		if len(tokens) == 0 && slices.ContainsFunc(w.fields, func(field whenField) bool { return field.name == "claims" }) {
			return errors.New("when: asks for claims, but there is no token block that says what a token is")
		}
		c.when = append(c.when, w)
	}
	return nil
}

// written are those of the rest that stand there as they are, without a placeholder.
func (c *Conditions) written() *Conditions {
	plain := func(texts []string) []string {
		return slices.DeleteFunc(slices.Clone(texts), func(text string) bool { return strings.Contains(text, "{") })
	}
	w := &Conditions{App: plain(c.App), Stream: plain(c.Stream), Origin: plain(c.Origin), Agent: plain(c.Agent), IP: plain(c.IP)}
	if !slices.ContainsFunc(c.User, func(user User) bool { return strings.Contains(user.Name+user.Password, "{") }) {
		w.User = c.User
	}
	return w
}

// provision resolves and compiles the rest, which may have placeholders.
func (c *Conditions) provision() error {
	for _, list := range []struct {
		name      string
		from      []string
		to        *globs
		separator byte
	}{
		{"app", c.App, &c.app, '/'},
		{"stream", c.Stream, &c.stream, '/'},
		{"origin", c.Origin, &c.origin, '.'},
		{"agent", c.Agent, &c.agent, 0},
	} {
		patterns, err := credential.Texts(list.name, list.from)
		if err != nil {
			return err
		}
		if list.name == "origin" {
			for i, pattern := range patterns {
				if strings.ContainsAny(pattern, "/:") {
					return fmt.Errorf("origin: '%s' is to be a host alone, without scheme and port", list.from[i])
				}
				patterns[i] = strings.ToLower(pattern)
			}
		}
		if *list.to, err = compileGlobs(patterns, list.separator); err != nil {
			return fmt.Errorf("%s: %w", list.name, err)
		}
	}
	for _, transport := range c.Transport {
		c.transports = append(c.transports, strings.ToLower(transport))
	}
	if err := c.provisionAddresses(); err != nil {
		return err
	}
	if err := c.provisionUsers(); err != nil {
		return err
	}
	for _, claim := range c.Claim {
		values, err := credential.Texts("claim "+claim.Name, claim.Values)
		if err != nil {
			return err
		}
		c.claims = append(c.claims, token.Claim{Name: claim.Name, Values: values})
	}
	return nil
}

// provisionUsers resolves the users' passwords.
func (c *Conditions) provisionUsers() error {
	if len(c.User) == 0 {
		return nil
	}
	users := make([]password.User, len(c.User))
	for i, user := range c.User {
		name, err := credential.Text("user", user.Name)
		if err != nil {
			return err
		}
		values, err := credential.Resolve("password of user", []credential.Secret{{Value: user.Password}}, nil)
		if err != nil {
			return err
		}
		users[i] = password.User{Name: name, Label: name, Password: values[0]}
	}
	checker, err := password.New(users)
	if err != nil {
		return err
	}
	c.checker = checker
	return nil
}

func (c *Conditions) provisionAddresses() error {
	ranges, err := credential.Texts("ip", c.IP)
	if err != nil {
		return err
	}
	prefixes := make([]netip.Prefix, len(ranges))
	for i, text := range ranges {
		if prefixes[i], err = ipset.Parse(text); err != nil {
			return fmt.Errorf("ip: '%s' is %w", c.IP[i], err) // as it is configured, with its placeholders
		}
	}
	c.addresses = ipset.New(prefixes)
	return nil
}

// checkWords refuses what stands for nothing, and bounds that could not hold, or would always.
func (c *Conditions) checkWords() error {
	for _, mode := range c.Mode {
		if mode != string(Publish) && mode != string(Play) {
			return fmt.Errorf("mode: '%s' is neither publish nor play", mode)
		}
	}
	for _, bound := range c.Listeners {
		if bound.Number < 0 {
			return errors.New("listeners: the number is negative")
		}
		if !slices.Contains(comparisons, bound.Is) {
			return fmt.Errorf("listeners: '%s' is none of %s", bound.Is, strings.Join(comparisons, ", "))
		}
	}
	for _, bound := range c.Listened {
		if bound.Within != "24h" && bound.Within != "7d" {
			return fmt.Errorf("listened: '%s' is neither 24h nor 7d", bound.Within)
		}
		if !slices.Contains(comparisons, bound.Is) {
			return fmt.Errorf("listened: '%s' is none of %s", bound.Is, strings.Join(comparisons, ", "))
		}
		if bound.Duration <= 0 {
			return errors.New("listened: the duration is not positive")
		}
	}
	return nil
}

// hold gives the name of the first condition that does not hold, of those that cost nothing to look at; empty if all
// hold. unknown is what a condition comes to on what the media server did not report.
func (c *Conditions) hold(q *Request, unknown bool) (failing string) {
	switch {
	case len(c.Mode) > 0 && !slices.Contains(c.Mode, string(q.Mode)):
		return "mode"
	case len(c.app) > 0 && !unless(q.App == "", unknown, func() bool { return c.app.match(q.App) }):
		return "app"
	case len(c.stream) > 0 && !c.stream.match(q.Name) && !c.stream.match(q.Stream()):
		return "stream"
	case !c.addresses.Empty() && !unless(!q.IP.IsValid(), unknown, func() bool { return c.addresses.Contains(q.IP) }):
		return "ip"
	case len(c.transports) > 0 && !unless(q.Transport == "", unknown, func() bool { return slices.Contains(c.transports, q.Transport) }):
		return "transport"
	case len(c.origin) > 0 && !c.matchOrigin(q.Origin):
		return "origin"
	case len(c.agent) > 0 && (q.Agent == "" || len(q.Agent) > maxAgentBytes || !c.agent.match(q.Agent)):
		return "agent"
	case !c.holdListeners(q.Listeners, unknown):
		return "listeners"
	}
	return ""
}

// unless is unknown where something is missing, and else what known comes to.
func unless(missing, unknown bool, known func() bool) bool {
	if missing {
		return unknown
	}
	return known()
}

func (c *Conditions) holdListeners(listeners *int64, unknown bool) bool {
	for _, bound := range c.Listeners {
		if !unless(listeners == nil, unknown, func() bool { return compare(*listeners, bound.Is, bound.Number) }) {
			return false
		}
	}
	return true
}

// holdListened reports whether the bounds on the time listened hold, and after how much more listening that changes;
// never is a change that does not come.
func (c *Conditions) holdListened(q *Request, unknown bool) (holds bool, change time.Duration) {
	ends, begins, holds := never, time.Duration(0), true
	for _, bound := range c.Listened {
		listened := q.Listened24h
		if bound.Within == "7d" {
			listened = q.Listened7d
		}
		if listened == nil {
			if !unknown {
				return false, never
			}
			continue
		}
		left := time.Duration(bound.Duration) - *listened
		if bound.Is == ">" || bound.Is == "<=" {
			left += time.Second // servers count whole seconds
		}
		switch now := compare(int64(*listened), bound.Is, int64(bound.Duration)); {
		case now && bound.Is[0] == '<':
			ends = min(ends, left)
		case !now && bound.Is[0] == '<':
			return false, never
		case !now:
			holds, begins = false, max(begins, left)
		}
	}
	if !holds {
		return false, begins
	}
	return true, ends
}

// never is longer than any time.
const never = time.Duration(1<<63 - 1)

// comparisons are the ways to compare.
var comparisons = []string{"<", "<=", ">", ">="}

func compare(a int64, is string, b int64) bool {
	switch is {
	case "<":
		return a < b
	case "<=":
		return a <= b
	case ">":
		return a > b
	default:
		return a >= b
	}
}

// matchOrigin holds the host of an origin, in lower case, against the patterns. One without a host (`null`, RFC 6454
// §6.1) matches none.
func (c *Conditions) matchOrigin(origin string) bool {
	parsed, err := url.Parse(origin)
	if err != nil || parsed.Scheme == "" || parsed.User != nil || parsed.Hostname() == "" {
		return false
	}
	return c.origin.match(strings.ToLower(strings.TrimSuffix(parsed.Hostname(), ".")))
}
