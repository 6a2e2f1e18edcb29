package stream

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

// maxTimeLimit is the longest time limit: media servers read it as a 32-bit number of seconds, some as a signed one.
const maxTimeLimit = math.MaxInt32 * time.Second

// Effects say what follows when a rule decides. Their values take `{stream.app}`, `{stream.name}`, `{stream.user}`,
// `{stream.subject}`, `{stream.ip}` and `{stream.claim.<name>}`, percent-encoded in URLs; other placeholders are replaced
// when the config is loaded.
type Effects struct {
	// How long the client may stay, in whole seconds. Icecast ends listeners by it, not sources. Default: without end.
	TimeLimit caddy.Duration `json:"time_limit,omitempty"`

	// Whether the client may stay only until its token expires. With `time_limit`, the shorter time counts.
	TimeLimitToken bool `json:"time_limit_token,omitempty"`

	// How many sessions may be open at once. Over it, the rule denies.
	MaxSessions *MaxSessions `json:"max_sessions,omitempty"`

	// The URL of audio that is played first.
	Preroll string `json:"preroll,omitempty"`

	// The URL of audio that is played when the time is over. Needs a time limit.
	Postroll string `json:"postroll,omitempty"`

	// The URL that a denied client is sent to.
	Redirect string `json:"redirect,omitempty"`

	// The stream that the client gets, or becomes, instead of the one it asked for.
	Rename string `json:"rename,omitempty"`

	// A text for our log, and for the media server's log or the client, where the server shows one.
	Reason string `json:"reason,omitempty"`

	// Whether to leave the decision to the next handler: it gets the request as it came, and its answer goes back as it
	// is. Closes and notices go there too where the rule's conditions hold that no credential is needed for.
	Forward bool `json:"forward,omitempty"`

	preroll, postroll, redirect, rename, reason template
}

// features are the effects that stand here and that not every server has.
func (e *Effects) features() []Feature {
	var used []Feature
	for feature, is := range map[Feature]bool{
		FeatureTimeLimit: e.TimeLimit != 0 || e.TimeLimitToken, FeatureMaxSessions: e.MaxSessions != nil,
		FeaturePreroll: e.Preroll != "", FeaturePostroll: e.Postroll != "", FeatureRedirect: e.Redirect != "",
		FeatureRename: e.Rename != "",
	} {
		if is {
			used = append(used, feature)
		}
	}
	slices.Sort(used)
	return used
}

// check refuses effects that do not go together or that are not for a rule that denies, or allows, and compiles them.
func (e *Effects) check(deny bool) error {
	limited := e.TimeLimit != 0 || e.TimeLimitToken
	allows := limited || e.MaxSessions != nil || e.Preroll != "" || e.Postroll != "" || e.Rename != ""
	switch limit := time.Duration(e.TimeLimit); {
	case e.Forward && (allows || e.Redirect != ""):
		return errors.New("forward leaves the answer to the next handler: of the effects, only reason goes with it")
	case deny && allows:
		return errors.New("time_limit, max_sessions, preroll, postroll and rename are for rules that allow")
	case !deny && e.Redirect != "":
		return errors.New("redirect is for rules that deny")
	case limit != 0 && limit < time.Second:
		return errors.New("time_limit: it must be at least 1s")
	case limit > maxTimeLimit:
		return fmt.Errorf("time_limit: it must be at most %d seconds", int64(maxTimeLimit/time.Second))
	case e.Postroll != "" && !limited:
		return errors.New("postroll needs a time_limit: without one, the time is never over")
	}
	for _, effect := range []struct {
		name, text string
		parse      func(string) (template, error)
		target     *template
	}{
		{"preroll", e.Preroll, parseURLTemplate, &e.preroll},
		{"postroll", e.Postroll, parseURLTemplate, &e.postroll},
		{"redirect", e.Redirect, parseURLTemplate, &e.redirect},
		{"rename", e.Rename, parseNameTemplate, &e.rename},
		{"reason", e.Reason, parseTemplate, &e.reason},
	} {
		if effect.text == "" {
			continue
		}
		var err error
		if *effect.target, err = effect.parse(effect.text); err != nil {
			return fmt.Errorf("%s %w", effect.name, err)
		}
	}
	return nil
}

// apply writes the effects into d. a is the token of the rule; it may be nil. An error is a value that no server may be
// given.
func (e *Effects) apply(d *Decision, q *Request, a *accepted) error {
	values := func(name string) string {
		switch name {
		case "app":
			return q.App
		case "name":
			return q.Name
		case "user":
			return q.User
		case "subject":
			return d.Subject
		case "ip":
			if !q.IP.IsValid() {
				return ""
			}
			return q.IP.String()
		default:
			return a.claim(name[len("claim."):])
		}
	}
	d.Preroll = e.preroll.expand(values, escapeURL)
	d.Postroll = e.postroll.expand(values, escapeURL)
	d.Redirect = e.redirect.expand(values, escapeURL)
	d.Reason = e.reason.expand(values, cleanText)
	if e.Rename != "" {
		d.Rename = e.rename.expand(values, nil)
		if CheckName(d.Rename) != nil {
			return verdict.Errorf(verdict.Denied, "rename comes to no name of a stream")
		}
	}
	return nil
}
