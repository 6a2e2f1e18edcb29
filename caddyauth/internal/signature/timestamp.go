package signature

import (
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

func (u Unit) check() error {
	switch u {
	case Seconds, Milliseconds, RFC3339, ISO8601, EitherSeconds:
		return nil
	}
	return fmt.Errorf("the unit %q of the timestamp is not known", string(u))
}

// The most digits of a decimal timestamp: enough for the year 33,000, and too few to overflow.
const (
	maxSecondDigits      = 12
	maxMillisecondDigits = 15
)

// rfc3339 is the grammar of RFC 3339 §5.6, in upper case and to the nanosecond.
var rfc3339 = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})$`)

// bareOffset is an offset without its colon.
var bareOffset = regexp.MustCompile(`[+-][0-9]{4}$`)

// Parse reads a timestamp in its one narrow form: no sign, no space, no exponent, no leading zero.
func (u Unit) Parse(text string) (time.Time, error) {
	refused := verdict.Errorf(verdict.BadCredential, "the timestamp is not of the form %s", u)
	if u == EitherSeconds && len(text) > maxSecondDigits {
		u = Milliseconds
	}
	if u == ISO8601 {
		u = RFC3339
		if bareOffset.MatchString(text) {
			text = text[:len(text)-2] + ":" + text[len(text)-2:]
		}
	}
	if u == RFC3339 {
		// time.Parse takes hours of one digit and fractions behind a comma, too (golang/go#54580).
		if !rfc3339.MatchString(text) {
			return time.Time{}, refused
		}
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return time.Time{}, refused
		}
		return at, nil
	}
	digits := maxSecondDigits
	if u == Milliseconds {
		digits = maxMillisecondDigits
	}
	if text == "" || len(text) > digits || text[0] == '0' {
		return time.Time{}, refused
	}
	for _, char := range []byte(text) {
		if char < '0' || char > '9' {
			return time.Time{}, refused
		}
	}
	number, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, refused
	}
	if u == Milliseconds {
		return time.UnixMilli(number), nil
	}
	return time.Unix(number, 0), nil
}

// Format writes a time in that form; EitherSeconds, in milliseconds.
func (u Unit) Format(at time.Time) string {
	switch u {
	case RFC3339, ISO8601:
		return at.UTC().Format(time.RFC3339Nano)
	case Milliseconds, EitherSeconds:
		return strconv.FormatInt(at.UnixMilli(), 10)
	default:
		return strconv.FormatInt(at.Unix(), 10)
	}
}

// Fresh refuses a time that is further from now than tolerance, in either direction.
func Fresh(at, now time.Time, tolerance time.Duration) error {
	// Compared as times, not as a difference: time.Sub saturates.
	if at.Before(now.Add(-tolerance)) {
		return verdict.Errorf(verdict.Expired, "the timestamp is older than %s", tolerance)
	}
	if at.After(now.Add(tolerance)) {
		return verdict.Errorf(verdict.NotYetValid, "the timestamp is more than %s ahead", tolerance)
	}
	return nil
}
