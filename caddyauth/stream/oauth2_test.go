package stream_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

func TestOpaqueTokensByIntrospection(t *testing.T) {
	answers := map[string]map[string]any{
		"good":      {"active": true, "sub": "alice", "stream": "live/cam1", "scope": "play", "exp": now.Unix() + 3600},
		"elsewhere": {"active": true, "sub": "alice", "stream": "live/cam2", "scope": "play", "exp": now.Unix() + 3600},
		"unbound":   {"active": true, "sub": "alice", "scope": "play", "exp": now.Unix() + 3600},
		"scopeless": {"active": true, "sub": "alice", "stream": "live/cam1", "exp": now.Unix() + 3600},
		"revoked":   {"active": false},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, known := answers[r.FormValue("token")]
		if !known {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}))
	defer server.Close()
	block := "token {\noauth2 {\nscope play\nintrospection " + server.URL + " {\nclient_id gate\nclient_secret " + testbed.Secret +
		"\n}\n}\n}\nallow {\ntoken valid\nmax_sessions 1 per user\n}"
	bed := testbed.New(t, site(handle("/", "renewing", block)))
	for _, test := range []struct {
		token  string
		status int
		reason string
	}{
		{"good", 200, ""}, {"elsewhere", 403, "bad_claim"}, {"unbound", 403, "bad_claim"}, {"scopeless", 403, "denied"},
		{"revoked", 403, "bad_signature"}, {"unknown", 503, "unavailable"}, {"good", 200, ""},
	} {
		t.Run(test.token, func(t *testing.T) {
			before := len(bed.Logs.Lines(t, "stream denied"))
			r := hook("/", "application/x-www-form-urlencoded", "event=open&app=live&session=1&server="+aServer(t)+"&token="+test.token)
			if result := bed.Do(t, r); result.Status != test.status {
				t.Errorf("status %d", result.Status)
			}
			if lines := bed.Logs.Lines(t, "stream denied"); test.reason != "" && (len(lines) != before+1 || lines[before]["reason"] != test.reason) {
				t.Errorf("%v", lines)
			}
			bed.Do(t, hook("/", "application/x-www-form-urlencoded", "event=close&session=1&server="+aServer(t)))
		})
	}
}
