package stream

import (
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// Decision is the answer to a Request, before a dialect puts it into the server's words.
type Decision struct {
	// Allow is the answer.
	Allow bool

	// Rule is the name of the rule that decided: its own, else `allow-2` for the second rule in the block, else
	// `fallback`. It is empty where no rule was asked, on what could not be decoded.
	Rule string

	// Code is verdict.OK for what is allowed, else why not.
	Code verdict.Reason

	// Status replaces the HTTP status that goes with Code, where it is not 0.
	Status int

	// Detail is a sentence for the log, under the rules of verdict.Error.Detail.
	Detail string

	// Reason is the text of the rule's own `reason`, for servers that show one. It has no control characters.
	Reason string

	// TimeLimit is how long an allowance lasts, in whole seconds of at least one; 0 is without end.
	TimeLimit time.Duration

	// Preroll, Postroll and Redirect are URLs, and Rename a stream; each is empty where the rule has none.
	Preroll, Postroll, Redirect, Rename string

	// Subject is who the valid token is for, else the user name of a `user` condition.
	Subject string

	// Key is the label of the secret of that token, behind the token's name where it has one: `1`, `weekly/old`. It is
	// empty where the rule asked for no token, and where the token tells no secret.
	Key string

	// Forward leaves the answer to the next handler. Such a decision neither allows nor denies; a dialect does not see it.
	Forward bool

	// opened is the session that the allowance stands for; it is taken back if the answer does not reach the server.
	opened *session

	// steps are the rules that were asked, for the inspector.
	steps []app.Step
}

// asked adds the rule that was asked, and what came of it, to what the inspector shows.
func (d Decision) asked(steps []app.Step, rule, outcome string) Decision {
	d.steps = append(steps, app.Step{Name: rule, Outcome: outcome, Detail: d.Detail})
	return d
}

// HTTPStatus returns the status of the answer, for dialects whose server goes by it.
func (d Decision) HTTPStatus() int {
	if d.Status != 0 {
		return d.Status
	}
	return d.Code.Status()
}

// Deny makes a decision of an error, as verdict.Of reads it.
func Deny(err error) Decision {
	refusal := verdict.Of(err)
	return Decision{Code: refusal.Reason, Status: refusal.Status, Detail: refusal.Detail}
}
