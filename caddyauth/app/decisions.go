package app

import (
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// The names of the handlers, as a Decision says them.
const (
	HandlerCallback = "callback"
	HandlerStream   = "stream"
)

// How much of one decision is kept: what clients choose may be long.
const (
	maxText  = 200 // bytes of one text
	maxSteps = 16
)

// Decision is what a handler came to about one request, for people: the inspector and its API show it. It holds no
// secret, token, password or body, and of what a client chose only what has a field here, made short and printable.
type Decision struct {
	// A number that grows with every decision, across restarts too.
	ID uint64 `json:"id,omitempty"`

	// When the request came.
	Time time.Time `json:"time,omitzero"`

	// Which handler decided: `callback` or `stream`.
	Handler string `json:"handler,omitempty"`

	// The scheme or the dialect.
	Scheme string `json:"scheme,omitempty"`

	// Whether the request was accepted or allowed. With report_only a refused one went on all the same.
	Allowed bool `json:"allowed"`

	// What was decided: `allow`, `deny`, `forward`, or `notice` for a notification that asked nothing.
	Decision string `json:"decision,omitempty"`

	// The word of the status table, and the same in plain words with what to do about it.
	Reason verdict.Reason `json:"reason,omitempty"`

	// The reason in plain words. It is set when the decision is shown.
	Words string `json:"words,omitempty"`

	// What to look at. It is set when the decision is shown, and empty where all is well.
	Hint string `json:"hint,omitempty"`

	// The sentence of the log, under the rules of verdict.Error.Detail.
	Detail string `json:"detail,omitempty"`

	// The HTTP status of a refusal; 0 where the next handler answers.
	Status int `json:"status,omitempty"`

	// The label of the secret or key that matched.
	Key string `json:"key,omitempty"`

	// The address of the sender, or of the media server's client; of a hook that could not be decoded, the sender's.
	ClientIP string `json:"client_ip,omitempty"`

	// The stream as `app/name`, or the name alone.
	Stream string `json:"stream,omitempty"`

	// What the client wants of the stream: `publish` or `play`.
	Mode string `json:"mode,omitempty"`

	// What the client calls itself, as the media server says. The client chose it.
	Agent string `json:"agent,omitempty"`

	// The rule that decided, or `fallback`.
	Rule string `json:"rule,omitempty"`

	// How long the handler took, without the receiver, in nanoseconds.
	Duration time.Duration `json:"duration,omitempty"`

	// Whether the handler refuses nothing.
	ReportOnly bool `json:"report_only,omitempty"`

	// What was looked at, in order.
	Steps []Step `json:"steps,omitempty"`

	// Every secret that matched, where several schemes were asked; otherwise Scheme and Key name the one. They are
	// counted, and not kept.
	Matched []Secret `json:"-"`
}

// Step is one thing that was looked at on the way to a decision.
type Step struct {
	// What: a scheme, the body, replay, a rule.
	Name string `json:"name,omitempty"`

	// What came of it: a reason of the status table, or a few words.
	Outcome string `json:"outcome,omitempty"`

	// A sentence about it, under the rules of verdict.Error.Detail.
	Detail string `json:"detail,omitempty"`

	// The label of the secret or key that matched, of a scheme.
	Key string `json:"key,omitempty"`
}

// bound makes the texts that clients and senders chose short and printable, and copies them, for they may be pieces of
// something large. All steps are kept if it is to be whole. The steps are changed where they are.
func (d *Decision) bound(whole bool) {
	d.Reason = closed(d.Reason)
	label := d.Key
	for _, text := range []*string{&d.Detail, &d.Key, &d.ClientIP, &d.Stream, &d.Agent} {
		*text = strings.Clone(printable(*text))
	}
	if len(d.Steps) > maxSteps && !whole {
		left := len(d.Steps) - maxSteps + 1
		d.Steps = append(slices.Clone(d.Steps[:maxSteps-1]), Step{Name: "…", Outcome: plural(left, "more step")})
	}
	for i := range d.Steps {
		step := &d.Steps[i]
		if step.Detail != "" {
			step.Detail = strings.Clone(printable(step.Detail))
		}
		if step.Key == label { // as most are
			step.Key = d.Key
		} else {
			step.Key = strings.Clone(printable(step.Key))
		}
	}
}

// explain puts the reason into plain words, and makes short and printable what stands in the code or in a config.
func (d *Decision) explain() {
	meaning := Explain(d.Reason)
	d.Words, d.Hint = meaning.Words, meaning.Hint
	for _, text := range []*string{&d.Handler, &d.Scheme, &d.Decision, &d.Mode, &d.Rule} {
		*text = printable(*text)
	}
	for i := range d.Steps {
		step := &d.Steps[i]
		step.Name, step.Outcome = printable(step.Name), printable(step.Outcome)
	}
}

// printable cuts text to maxText bytes, and replaces what is not valid UTF-8 or does not print, such as marks that turn
// the direction of what follows.
func printable(text string) string {
	if isPlain(text) {
		return text
	}
	if len(text) > maxText {
		text = strings.ToValidUTF8(text[:maxText-len("…")], "") + "…"
	}
	plain := func(char rune) bool { return char != unicode.ReplacementChar && unicode.IsPrint(char) }
	if strings.IndexFunc(text, func(char rune) bool { return !plain(char) }) < 0 {
		return text
	}
	return strings.Map(func(char rune) rune {
		if plain(char) {
			return char
		}
		return unicode.ReplacementChar
	}, text)
}

// isPlain reports whether text is short, and ASCII that prints. Nearly all of it is.
func isPlain(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return len(text) <= maxText
}
