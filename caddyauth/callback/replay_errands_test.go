package callback_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// soon asks until it is so.
func soon(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !so(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

func TestWhatTheStoreCouldNotBeToldIsToldLater(t *testing.T) {
	server := miniredis.RunT(t)
	bed := testbed.New(t, replaySite("", "store redis redis://"+server.Addr()+" {\ntimeout 5s\n}"))
	// away is a receiver while whose answer the store goes away.
	away := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			server.SetError("LOADING Redis is loading the dataset in memory")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "received")
		}
	}
	message := func() func() *http.Request {
		first := testbed.Vonage(t, event, nil)
		return func() *http.Request {
			r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
			r.Header = first.Header.Clone()
			return r
		}
	}
	t.Run("a message that was delivered does not pass when its reservation is over", func(t *testing.T) {
		copied := message()
		bed.Receiver.Answer(away(http.StatusOK))
		accepted(t, bed.Do(t, copied()), event)
		bed.Receiver.Answer(nil)
		refused(t, bed.Do(t, copied()), http.StatusServiceUnavailable)
		server.SetError("")
		soon(t, "the id is kept", func() bool {
			return slices.ContainsFunc(server.Keys(), func(key string) bool {
				owner, err := server.Get(key)
				return err == nil && owner == strings.Repeat("0", 16)
			})
		})
		server.FastForward(3 * time.Minute)
		refused(t, bed.Do(t, copied()), http.StatusConflict)
	})
	t.Run("a message that was not delivered passes when its sender tries again", func(t *testing.T) {
		copied := message()
		bed.Receiver.Answer(away(http.StatusInternalServerError))
		if result := bed.Do(t, copied()); result.Status != http.StatusInternalServerError {
			t.Fatalf("status %d", result.Status)
		}
		bed.Receiver.Answer(nil)
		server.SetError("")
		var result testbed.Result
		soon(t, "the retry passes", func() bool {
			result = bed.Do(t, copied())
			return result.Status != http.StatusConflict
		})
		accepted(t, result, event)
		refused(t, bed.Do(t, copied()), http.StatusConflict)
	})
}
