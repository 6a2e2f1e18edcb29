package stream_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// forwarding is a route whose rules leave some to the receiver that was there before.
func forwarding(rules string) string {
	return site("route {\nstream_auth renewing {\n" + jwtToken + rules + "\n}\nreverse_proxy RECEIVER\n}")
}

func TestForwardLeavesTheAnswerToTheNextHandler(t *testing.T) {
	const rules = "deny bad {\nstream evil\n}\nallow old {\nstream cam*\nreason \"as before\"\nforward\n}\nallow {\nstream new\n}"
	for _, test := range []struct {
		name, ask string
		forwarded bool
		status    int
		decision  string
	}{
		{"what a rule forwards", "event=open&token=x&session=1", true, 202, "forward"},
		{"what an earlier rule denies", "event=open&name=evil", false, 403, "deny"},
		{"what another rule allows", "event=open&name=new", false, 200, "allow"},
		{"what no rule knows", "event=open&name=other", false, 403, "deny"},
		{"what cannot be decoded", "event=open&ip=x", false, 503, "deny"},
		{"what has no good name", "event=open&name=cam/../evil", false, 400, "deny"},
		{"a close of what would have been forwarded", "event=close&session=1", true, 202, "notice"},
		{"a close of something else", "event=close&name=new", false, 200, "notice"},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := testbed.New(t, `{
	servers {
		protocols h1
	}
}
`+"http://hooks.example {\nlog\nroute {\nstream_auth renewing {\n"+jwtToken+rules+"\n}\nreverse_proxy RECEIVER\n}\n}\n")
			bed.Receiver.Answer(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Of-The-Receiver", "1")
				w.WriteHeader(http.StatusAccepted)
				_, _ = io.WriteString(w, "its own words")
			})
			result := bed.Do(t, tell(test.ask, 0))
			if result.Status != test.status {
				t.Errorf("status %d", result.Status)
			}
			if !test.forwarded {
				if len(result.Received) != 0 {
					t.Errorf("the receiver got it")
				}
			} else if len(result.Received) != 1 || string(result.Received[0].Body) != test.ask || result.Received[0].Method != http.MethodPost ||
				result.Received[0].ContentLength != int64(len(test.ask)) || result.Body != "its own words" || result.Header.Get("Of-The-Receiver") != "1" {
				t.Errorf("received %+v, answered %q", result.Received, result.Body)
			}
			if lines := bed.Logs.Lines(t, "handled request"); len(lines) != 1 || lines[0]["stream_auth"].(map[string]any)["decision"] != test.decision {
				t.Errorf("logged %v", lines)
			}
			if forwarded := len(bed.Logs.Lines(t, "stream forwarded")); (test.decision == "forward") != (forwarded == 1) {
				t.Errorf("%d lines say that it was forwarded", forwarded)
			}
		})
	}
}

func TestForwardWithReportOnlyStillForwards(t *testing.T) {
	bed := testbed.New(t, forwarding("deny {\nforward\n}\nreport_only"))
	if result := bed.Do(t, tell("event=open", 0)); len(result.Received) != 1 || result.Body != "received" {
		t.Errorf("%+v", result)
	}
}

func TestRename(t *testing.T) {
	token := "&token=" + mint(t, map[string]any{"channel": "news/one"})
	for _, test := range []struct {
		name, to, ask, renamed string
	}{
		{"to a fixed name", "internal-1", "event=open", "internal-1"},
		{"by a claim", "{stream.claim.channel}", "event=open" + token, "news/one"},
		{"by the name", "{stream.name}_x", "event=open", "cam1_x"},
		{"with no claim", "{stream.claim.channel}", "event=open", ""},
		{"to what leads out of it", "live/{stream.user}", "event=open&user=..", ""},
		{"to another server", "{stream.user}", "event=open&user=rtmp://192.0.2.1/x", ""},
		{"to two lines", "{stream.user}", "event=open&user=a%0d%0ab", ""},
		{"with a query", "{stream.user}", "event=open&user=a?b", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			bed := testbed.New(t, site(handle("/", "renewing", jwtToken+"allow {\ntoken valid absent\nrename "+test.to+"\n}")))
			result := bed.Do(t, tell(test.ask, 0))
			if got := result.Header.Get("Renamed"); got != test.renamed {
				t.Errorf("renamed to %q", got)
			}
			if want := map[bool]int{true: 200, false: 403}[test.renamed != ""]; result.Status != want {
				t.Errorf("status %d", result.Status)
			}
		})
	}
}

func TestAnAllowanceOfTheClientsOwnRequestLeadsToTheNextHandler(t *testing.T) {
	bed := testbed.New(t, site("route {\nstream_auth inline {\nallow {\nstream good\n}\n}\nreverse_proxy RECEIVER\n}"))
	result := bed.Do(t, hook("/good", "text/plain", "its body"))
	if result.Status != http.StatusOK || len(result.Received) != 1 || string(result.Received[0].Body) != "its body" {
		t.Errorf("%+v", result)
	}
	if result := bed.Do(t, hook("/bad", "text/plain", "its body")); result.Status != http.StatusForbidden || len(result.Received) != 0 {
		t.Errorf("%+v", result)
	}
}

func TestTheReasonIsLogged(t *testing.T) {
	bed := testbed.New(t, site(handle("/", "renewing", "deny {\nreason \"not for {stream.user}\"\n}")))
	bed.Do(t, tell("event=open&user=bob%0a", 0))
	if lines := bed.Logs.Lines(t, "stream denied"); len(lines) != 1 || lines[0]["said"] != "not for bob" {
		t.Errorf("%v", lines)
	}
}
