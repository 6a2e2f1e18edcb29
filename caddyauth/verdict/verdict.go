// Package verdict holds what a check can come to: a closed set of reasons, each with the one HTTP status that goes
// with it, and an error that carries one of them. Logs, metrics, placeholders and answers all read it from here.
//
// It imports nothing of Caddy, so that cores and guests can share it.
package verdict

import (
	"errors"
	"fmt"
	"net/http"
)

// Reason says in one word what a check came to. The set is closed: it is a metric label and a promise to users.
type Reason string

// The reasons, in the words of the README's status table.
const (
	OK            Reason = "ok"             // accepted
	Missing       Reason = "missing"        // no credential
	Malformed     Reason = "malformed"      // a request that does not parse, or with two credentials where one is allowed
	BadCredential Reason = "bad_credential" // a credential that does not parse, or is not of the scheme's narrow form
	BadSignature  Reason = "bad_signature"  // wrong signature, key or password
	BadClaim      Reason = "bad_claim"      // a claim or an audience that is not the one configured
	UnknownKey    Reason = "unknown_key"    // a key id or an account that is not configured
	BodyMismatch  Reason = "body_mismatch"  // the body is not the one that was signed
	Expired       Reason = "expired"        // too old
	NotYetValid   Reason = "not_yet_valid"  // from the future
	Denied        Reason = "denied"         // a known sender that is not allowed: address, scope, subscription, rule
	Replayed      Reason = "replayed"       // seen before
	TooLarge      Reason = "too_large"      // a body over the limit
	Unavailable   Reason = "unavailable"    // could not be decided: keys, introspection or store out of reach
)

// statuses is the one place where a reason becomes a status.
var statuses = map[Reason]int{
	OK:            http.StatusOK,
	Missing:       http.StatusUnauthorized,
	Malformed:     http.StatusBadRequest,
	BadCredential: http.StatusUnauthorized,
	BadSignature:  http.StatusUnauthorized,
	BadClaim:      http.StatusUnauthorized,
	UnknownKey:    http.StatusUnauthorized,
	BodyMismatch:  http.StatusUnauthorized,
	Expired:       http.StatusUnauthorized,
	NotYetValid:   http.StatusUnauthorized,
	Denied:        http.StatusForbidden,
	Replayed:      http.StatusConflict,
	TooLarge:      http.StatusRequestEntityTooLarge,
	Unavailable:   http.StatusServiceUnavailable,
}

// Reasons returns every reason, in the order of the status table.
func Reasons() []Reason {
	return []Reason{
		OK, Missing, Malformed, BadCredential, BadSignature, BadClaim, UnknownKey, BodyMismatch,
		Expired, NotYetValid, Denied, Replayed, TooLarge, Unavailable,
	}
}

// Status returns the HTTP status that goes with r. A reason that is not in the set could not be decided: 503.
func (r Reason) Status() int {
	if status, ok := statuses[r]; ok {
		return status
	}
	return http.StatusServiceUnavailable
}

// Error is a refusal: why, and a sentence for the log.
type Error struct {
	// Reason is why; it is never OK.
	Reason Reason

	// Status replaces the reason's own status where it is not 0: 405 and 415 for a hook of the wrong form, 408 for a
	// body that never came, 425 for early data.
	Status int

	// Detail says more, for the log. It never holds a secret, a token, a signature or a password, nor any text that a
	// client chose and nobody vouched for.
	Detail string
}

// Errorf makes a refusal whose detail is formatted as by fmt.Sprintf. Only what may be logged goes into args.
func Errorf(reason Reason, format string, args ...any) *Error {
	return &Error{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// WithStatus returns a copy of e that is answered with status.
func (e *Error) WithStatus(status int) *Error {
	copied := *e
	copied.Status = status
	return &copied
}

// Error gives the reason and the detail.
func (e *Error) Error() string {
	if e.Detail == "" {
		return string(e.Reason)
	}
	return string(e.Reason) + ": " + e.Detail
}

// HTTPStatus returns the status that e is answered with.
func (e *Error) HTTPStatus() int {
	if e.Status != 0 {
		return e.Status
	}
	return e.Reason.Status()
}

// Of finds the refusal in err. An error that carries none is one that nobody foresaw: it is Unavailable, never a yes,
// and its text is left out, for it may hold what must not be logged. Of(nil) is nil.
func Of(err error) *Error {
	if err == nil {
		return nil
	}
	var refusal *Error
	if errors.As(err, &refusal) && refusal != nil && refusal.Reason != OK && refusal.Reason != "" {
		return refusal
	}
	return &Error{Reason: Unavailable, Detail: "internal error"}
}
