package verdict_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// What a sender does next hangs on the status. A 3xx is a failure to Standard Webhooks and forbidden to CloudEvents, 410
// makes senders give up for good, and 429, 502 and 504 have a meaning to them that a refusal does not have. 401 and 403
// make some drop the event: they are never the answer where it could not be told.
func TestNoRefusalHasAStatusThatMeansSomethingElseToASender(t *testing.T) {
	allowed := []int{
		http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusConflict,
		http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable,
	}
	for _, reason := range verdict.Reasons() {
		status := reason.Status()
		switch {
		case (reason == verdict.OK) != (status == http.StatusOK):
			t.Errorf("%s has the status %d", reason, status)
		case reason != verdict.OK && !slices.Contains(allowed, status):
			t.Errorf("%s has the status %d", reason, status)
		case (reason == verdict.Unavailable) != (status >= 500):
			t.Errorf("%s has the status %d: what could not be decided, and that alone, is a 5xx", reason, status)
		}
	}
	for _, unknown := range []verdict.Reason{"", "fine", "OK"} {
		if status := unknown.Status(); status != http.StatusServiceUnavailable {
			t.Errorf("a reason that is none, %q, has the status %d", unknown, status)
		}
	}
}

func TestAnErrorIsNeverAYesAndItsTextIsNotShown(t *testing.T) {
	refusal := verdict.Errorf(verdict.BadClaim, "a detail")
	var none *verdict.Error
	for name, tc := range map[string]struct {
		err  error
		want verdict.Reason
	}{
		"a refusal":                  {refusal, verdict.BadClaim},
		"a wrapped one":              {fmt.Errorf("x: %w", refusal), verdict.BadClaim},
		"one among others":           {errors.Join(io.EOF, refusal), verdict.BadClaim},
		"any other error":            {errors.New("secret-in-an-error"), verdict.Unavailable},
		"a refusal that says yes":    {verdict.Errorf(verdict.OK, "secret-in-an-error"), verdict.Unavailable},
		"a refusal without a reason": {new(verdict.Error), verdict.Unavailable},
		"a refusal that is nil":      {none, verdict.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			got := verdict.Of(tc.err)
			if got == nil || got.Reason != tc.want || strings.Contains(got.Error(), "secret-in-an-error") {
				t.Errorf("it comes to %v", got)
			}
		})
	}
	if verdict.Of(nil) != nil {
		t.Error("no error is a refusal")
	}
	if changed := refusal.WithStatus(http.StatusConflict); changed.HTTPStatus() != http.StatusConflict || refusal.HTTPStatus() != http.StatusUnauthorized {
		t.Errorf("another status: %d, and the refusal itself: %d", changed.HTTPStatus(), refusal.HTTPStatus())
	}
}
