// Package credential reads secrets and other values out of a configuration: it parses their Caddyfile lines, and
// resolves their placeholders when the config is loaded. Both handlers and all their guests use it, so that a secret is
// everywhere written, labelled, refused and kept in the same way.
package credential

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// Secret is one shared secret as it stands in the configuration. Several of them make a rotation: any one matches.
type Secret struct {
	// The secret, or a placeholder for it such as `{env.NAME}` or `{file./path}`, which is resolved when the config is
	// loaded. Prefer a placeholder: a secret written here can be read back from the config API.
	Value string `json:"value,omitempty"`

	// The name under which the secret shows in logs and metrics, so that an operator sees which one is still in use.
	// Default: `1`, `2`, … in order.
	Label string `json:"label,omitempty"`
}

// Parse reads the arguments of one `<option> <value> [<label>]` line. The cursor of d is on the option's name. Its
// errors never hold the value.
func Parse(d *caddyfile.Dispenser) (Secret, error) {
	option := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 {
		return Secret{}, d.Errf("%s takes a value and, optionally, a label: %d arguments given", option, len(args))
	}
	if args[0] == "" {
		return Secret{}, d.Errf("%s is empty", option)
	}
	s := Secret{Value: args[0]}
	if len(args) == 2 {
		if args[1] == "" {
			return Secret{}, d.Errf("the label of %s is empty", option)
		}
		if err := checkLabel(option, args[1]); err != nil {
			return Secret{}, d.WrapErr(err)
		}
		s.Label = args[1]
	}
	return s, nil
}

// Append is Parse for an option of which each line is one more of target.
func Append(d *caddyfile.Dispenser, target *[]Secret) error {
	s, err := Parse(d)
	if err != nil {
		return err
	}
	*target = append(*target, s)
	return nil
}

// maxLabel is how many bytes a label may have.
const maxLabel = 64

// checkLabel refuses what looks like a second secret in the place of a label: it would be shown in logs and metrics, and
// would never match. The error does not hold it.
func checkLabel(option, label string) error {
	if len(label) > maxLabel || strings.ContainsFunc(label, func(char rune) bool { return char < ' ' || strings.ContainsRune("{}\x7f", char) }) {
		return fmt.Errorf("the label of %s has braces or control characters, or more than %d bytes; a second %s stands on a line of its own", option, maxLabel, option)
	}
	return nil
}

// labelsOf gives the label of each secret: its own, or its place in the list. A label that stands twice is an error, and
// one that looks like a secret.
func labelsOf(option string, secrets []Secret) ([]string, error) {
	labels := make([]string, 0, len(secrets))
	for i, s := range secrets {
		label := s.Label
		if label == "" {
			label = strconv.Itoa(i + 1)
		} else if err := checkLabel(option, label); err != nil {
			return nil, err
		}
		if slices.Contains(labels, label) {
			return nil, fmt.Errorf("%s: the label %q stands twice", option, label)
		}
		labels = append(labels, label)
	}
	return labels, nil
}

// Resolve replaces the placeholders in secrets and gives the values, labelled. decode turns the text into the bytes of
// the secret; nil takes the text's own bytes. An empty or unresolvable secret and a label that stands twice are errors,
// which name the option and never the value.
func Resolve(option string, secrets []Secret, decode func(string) ([]byte, error)) ([]secret.Value, error) {
	labels, err := labelsOf(option, secrets)
	if err != nil {
		return nil, err
	}
	values := make([]secret.Value, 0, len(secrets))
	for i, s := range secrets {
		label := labels[i]
		text, err := Text(option, s.Value)
		if err != nil {
			return nil, err
		}
		bytes := []byte(text)
		if decode != nil {
			if bytes, err = decode(text); err != nil {
				return nil, fmt.Errorf("%s %s cannot be decoded", option, label)
			}
		}
		if len(bytes) == 0 {
			return nil, fmt.Errorf("%s is empty", option)
		}
		if option != "public_key" && readable.Match(bytes) {
			return nil, fmt.Errorf("%s %s is a public key or a certificate: what everybody may read is no secret", option, label)
		}
		values = append(values, secret.New(label, bytes))
	}
	return values, nil
}

// Written is Resolve for those of secrets that stand in the configuration as they are, without a placeholder; it looks at
// the labels of all. It is for the time when the Caddyfile is read, in which nothing else is known yet.
func Written(option string, secrets []Secret, decode func(string) ([]byte, error)) ([]secret.Value, error) {
	labels, err := labelsOf(option, secrets)
	if err != nil {
		return nil, err
	}
	var written []Secret
	for i, s := range secrets {
		if !strings.Contains(s.Value, "{") {
			written = append(written, Secret{Value: s.Value, Label: labels[i]})
		}
	}
	return Resolve(option, written, decode)
}

// readable begins what is made to be shown to everybody. As the secret of an HMAC it would let everybody sign.
var readable = regexp.MustCompile(`^\s*(-----BEGIN ([A-Z0-9]+ )*(PUBLIC KEY|CERTIFICATE)-----|ssh-[a-z0-9]+ |ecdsa-sha2-)`)

// WarnWeak logs a warning for each secret that is shorter than secret.MinBytes, by its label.
func WarnWeak(logger *zap.Logger, option string, values []secret.Value) {
	for _, v := range values {
		if v.Weak() {
			logger.Warn(option+" is short: it should have at least "+strconv.Itoa(secret.MinBytes)+" random bytes",
				zap.String("key", v.Label()))
		}
	}
}

// Placeholders whose name says nothing secret. The text between other braces may be part of a secret.
var shown = regexp.MustCompile(`\{(env|file)\.[^{}]*\}`)

// Text replaces the placeholders in one value. One that resolves to nothing, or is not known, and an empty value are
// errors: an unset variable must never become an empty key. The error names the option, not the value.
func Text(option, value string) (string, error) {
	if value == "" {
		return "", fmt.Errorf("%s is empty", option)
	}
	text, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		if names := shown.FindAllString(value, -1); names != nil {
			return "", fmt.Errorf("%s is empty or cannot be read: %s", option, strings.Join(names, " "))
		}
		return "", fmt.Errorf("%s has a placeholder that is not known; write a literal brace as \\{", option)
	}
	if text == "" {
		return "", fmt.Errorf("%s is empty", option)
	}
	return text, nil
}

// WrittenText refuses what Text would refuse of a value that stands in the configuration as it is, without a placeholder.
func WrittenText(option, value string) error {
	if strings.Contains(value, "{") {
		return nil
	}
	_, err := Text(option, value)
	return err
}

// Texts is Text for each of several values.
func Texts(option string, values []string) ([]string, error) {
	texts := make([]string, 0, len(values))
	for _, value := range values {
		text, err := Text(option, value)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// ErrRepeated is wrapped by the error of an option that may stand once and stands twice.
var ErrRepeated = errors.New("already specified")

// One reads the single argument of an option that may stand once into target. The cursor of d is on the option's name.
func One(d *caddyfile.Dispenser, target *string) error {
	option := d.Val()
	if *target != "" {
		return d.WrapErr(fmt.Errorf("%s: %w", option, ErrRepeated))
	}
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Errf("%s takes one argument: %d given", option, len(args))
	}
	*target = args[0]
	return nil
}

// Realm is One for the realm of a Basic challenge. One that could not be sent, unless it has placeholders, is an error.
func Realm(d *caddyfile.Dispenser, target *string) error {
	if err := One(d, target); err != nil || strings.Contains(*target, "{") {
		return err
	}
	if _, err := BasicChallenge(*target); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// BasicChallenge gives the value of WWW-Authenticate of RFC 7617 §2.1 for a realm, whose placeholders it resolves. The realm
// is a quoted-string (RFC 9110 §5.6.4); one that is empty, or not of printable ASCII, is an error.
func BasicChallenge(realm string) (string, error) {
	text, err := Text("realm", realm)
	if err != nil {
		return "", err
	}
	if strings.ContainsFunc(text, func(char rune) bool { return char < ' ' || char > '~' }) {
		return "", errors.New("realm holds characters other than printable ASCII")
	}
	return `Basic realm="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `", charset="UTF-8"`, nil
}

// Many appends the one or more arguments of an option that may stand several times to target.
func Many(d *caddyfile.Dispenser, target *[]string) error {
	option := d.Val()
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("%s takes one or more arguments", option)
	}
	if slices.Contains(args, "") {
		return d.Errf("%s has an empty argument", option)
	}
	*target = append(*target, args...)
	return nil
}

// Duration reads the single argument of an option that may stand once, as a positive duration, into target.
func Duration(d *caddyfile.Dispenser, target *caddy.Duration) error {
	var text string
	option := d.Val()
	if *target != 0 {
		return d.WrapErr(fmt.Errorf("%s: %w", option, ErrRepeated))
	}
	if err := One(d, &text); err != nil {
		return err
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil || duration <= 0 {
		return d.Errf("%s: '%s' is not a positive duration, such as 5m", option, text)
	}
	*target = caddy.Duration(duration)
	return nil
}

// Flag reads an option that takes no argument and may stand once into target.
func Flag(d *caddyfile.Dispenser, target *bool) error {
	option := d.Val()
	if *target {
		return d.WrapErr(fmt.Errorf("%s: %w", option, ErrRepeated))
	}
	if args := d.RemainingArgs(); len(args) > 0 {
		return d.Errf("%s takes no argument: %d given", option, len(args))
	}
	*target = true
	return nil
}

// OneOf is One for an option whose argument is one of several words.
func OneOf(d *caddyfile.Dispenser, target *string, words ...string) error {
	option := d.Val()
	if err := One(d, target); err != nil {
		return err
	}
	if !slices.Contains(words, *target) {
		return d.Errf("%s: '%s' is none of %s", option, *target, strings.Join(words, ", "))
	}
	return nil
}
