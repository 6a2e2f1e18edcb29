package schemes

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/password"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(Basic{})
}

const defaultRealm = "callback"

// Basic accepts HTTP Basic authentication (RFC 7617), as Ringostat's webhooks and many others send it.
//
// Names and passwords are compared byte for byte: letters that can be written in two ways in Unicode are not
// normalised. Unknown names cost the same time as known ones. Password hashes are computed a few at a time, and requests
// that would have to wait too long are answered with 503; a sender whose password was right before does not wait.
type Basic struct {
	// Who may call. A name may stand several times with different passwords, any of which is right.
	Users []BasicUser `json:"users,omitempty"`

	// The realm in the challenge of a 401. It takes placeholders. Default: callback.
	Realm string `json:"realm,omitempty"`

	checker   *password.Checker
	challenge string
}

// BasicUser is a user name and a password of it.
type BasicUser struct {
	// The user name, of at most 255 bytes and without a colon. It takes `{env.*}` and `{file.*}` placeholders.
	Name string `json:"name,omitempty"`

	// The password, or its hash by bcrypt (cost 16 at most) or argon2id (256 MiB at most), as `caddy hash-password` makes
	// it. Prefer a placeholder or a hash: a password written here can be read back from the config API.
	Password string `json:"password,omitempty"`

	// The name under which the password shows in logs and metrics. Default: `1`, `2`, … in order.
	Label string `json:"label,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Basic) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.basic",
		New: func() caddy.Module { return new(Basic) },
	}
}

// Check refuses what has no user.
func (b *Basic) Check() error {
	if len(b.Users) == 0 {
		return fmt.Errorf("basic needs a user")
	}
	if _, err := credential.Written("user", b.passwords(), nil); err != nil {
		return err
	}
	if slices.ContainsFunc(b.Users, func(user BasicUser) bool { return strings.Contains(user.Name+user.Password, "{") }) {
		return nil // which are known when the config is loaded
	}
	_, err := b.newChecker()
	return err
}

// passwords gives the passwords of the users, in their order.
func (b *Basic) passwords() []credential.Secret {
	passwords := make([]credential.Secret, len(b.Users))
	for i, user := range b.Users {
		passwords[i] = credential.Secret{Value: user.Password, Label: user.Label}
	}
	return passwords
}

// isBasicName reports whether a name can be told from its password, and be sent.
func isBasicName(name string) bool { return !strings.Contains(name, ":") && isBasicText(name) }

// errBasicName is what is wrong with other names.
var errBasicName = errors.New("a name cannot hold a colon, a control character or anything but UTF-8")

// Provision resolves the users.
func (b *Basic) Provision(caddy.Context) error {
	if err := b.Check(); err != nil {
		return err
	}
	if b.Realm == "" {
		b.Realm = defaultRealm
	}
	var err error
	if b.challenge, err = credential.BasicChallenge(b.Realm); err != nil {
		return err
	}
	b.checker, err = b.newChecker()
	return err
}

// newChecker resolves the users.
func (b *Basic) newChecker() (*password.Checker, error) {
	passwords, err := credential.Resolve("user", b.passwords(), nil)
	if err != nil {
		return nil, err
	}
	users := make([]password.User, len(b.Users))
	for i, value := range passwords {
		name, err := credential.Text("user", b.Users[i].Name)
		if err != nil {
			return nil, err
		}
		if !isBasicName(name) {
			return nil, fmt.Errorf("user %d: %w", i+1, errBasicName)
		}
		if !isBasicText(string(value.Bytes())) {
			return nil, fmt.Errorf("user %d: a password cannot hold a control character or anything but UTF-8", i+1)
		}
		users[i] = password.User{Name: name, Label: value.Label(), Password: value}
	}
	return password.New(users)
}

// Traits says that the credential is in Authorization.
func (b *Basic) Traits() callback.Traits {
	cost := callback.CostCompare
	if b.checker.Hashed() {
		cost = callback.CostPassword
	}
	return callback.Traits{
		Cost:      cost,
		Places:    []callback.Place{{Header: "Authorization"}},
		Challenge: b.challenge,
	}
}

// Verify checks the name and the password.
func (b *Basic) Verify(r *callback.Request) callback.Verdict {
	encoded, err := r.Authorization("Authorization", "Basic")
	if err != nil {
		return callback.Refuse(err)
	}
	name, word, err := basicPair(encoded)
	if err != nil {
		return callback.Refuse(err)
	}
	label, err := b.checker.Check(r.HTTP.Context(), name, word)
	if err != nil {
		return callback.Refuse(err)
	}
	return callback.Verdict{Reason: verdict.OK, User: name, Key: label}
}

// basicPair decodes the credential of RFC 7617 §2: base64 of name, colon and password. The name ends at the first
// colon. Only the one canonical spelling of base64 is taken.
func basicPair(encoded string) (name, word string, err error) {
	const longest = (password.MaxName + 1 + password.MaxPassword + 2) / 3 * 4
	if len(encoded) > longest {
		return "", "", verdict.Errorf(verdict.BadCredential, "the Basic credential is longer than %d bytes", longest)
	}
	pair, err := base64.StdEncoding.Strict().DecodeString(encoded)
	// Go's decoder skips line breaks even where it is strict.
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return "", "", verdict.Errorf(verdict.BadCredential, "the Basic credential is not base64")
	}
	name, word, found := strings.Cut(string(pair), ":")
	switch {
	case !found:
		return "", "", verdict.Errorf(verdict.BadCredential, "the Basic credential has no colon")
	case !isBasicText(string(pair)):
		return "", "", verdict.Errorf(verdict.BadCredential, "the Basic credential holds control characters or is not UTF-8")
	case name == "" && word == "":
		// Icecast sends this where it was given no credentials.
		return "", "", verdict.Errorf(verdict.Missing, "the Basic credential is empty")
	case name == "" || word == "":
		return "", "", verdict.Errorf(verdict.BadCredential, "the Basic credential has no name or no password")
	}
	return name, word, nil
}

// isBasicText reports whether text may stand in a credential: UTF-8, as our challenge says, without control characters.
func isBasicText(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// UnmarshalCaddyfile sets up the scheme from Caddyfile tokens. Syntax:
//
//	basic {
//		user  <name> <password_or_hash> [<label>]
//		realm <text>
//	}
//
// `user` may be repeated, also for one name: any of its passwords is right.
func (b *Basic) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // its own name
	if d.NextArg() {
		return d.Err("basic takes no arguments: its users stand in its block")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); option {
		case "user":
			user, err := parseBasicUser(d)
			if err != nil {
				return err
			}
			b.Users = append(b.Users, user)
		case "realm":
			if err := credential.Realm(d, &b.Realm); err != nil {
				return err
			}
		default:
			return d.Errf("unknown option '%s' of basic", option)
		}
	}
	return nil
}

// parseBasicUser reads one line. Its errors do not hold the password.
func parseBasicUser(d *caddyfile.Dispenser) (BasicUser, error) {
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 {
		return BasicUser{}, d.Errf("user takes a name, a password or hash and, optionally, a label: %d arguments given", len(args))
	}
	user := BasicUser{Name: args[0], Password: args[1]}
	if user.Name == "" || user.Password == "" {
		return BasicUser{}, d.Err("user has an empty name or password")
	}
	if !strings.Contains(user.Name, "{") && !isBasicName(user.Name) { // in a placeholder, a colon is not of the name
		return BasicUser{}, d.Errf("user %s: %w", user.Name, errBasicName)
	}
	if len(args) == 3 {
		if args[2] == "" {
			return BasicUser{}, d.Err("the label of user is empty")
		}
		user.Label = args[2]
	}
	return user, nil
}

// Interface guards
var (
	_ caddy.Module          = (*Basic)(nil)
	_ caddy.Provisioner     = (*Basic)(nil)
	_ caddyfile.Unmarshaler = (*Basic)(nil)
	_ callback.Scheme       = (*Basic)(nil)
)
