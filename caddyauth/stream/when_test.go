package stream_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

func TestWhen(t *testing.T) {
	token := "&token=" + mint(t, map[string]any{"plan": "gold", "level": 3, "ratio": 0.5, "groups": []any{"a", "b"}, "of": map[string]any{"x": true}})
	for _, test := range []struct {
		name, when, ask string
		allowed         bool   // by a rule that allows on it; one that denies does the opposite
		doubt           bool   // whether neither holds for the client: both deny
		place           string // of the doubt
	}{
		{"a literal", `true`, "", true, false, ""},
		{"name and app", `stream.name == "cam1" && stream.app == "live"`, "app=live", true, false, ""},
		{"mode", `stream.mode == "play"`, "", true, false, ""},
		{"another name", `stream.name == "cam2"`, "", false, false, ""},
		{"functions of text", `stream.name.startsWith("cam") && stream.name.matches("^cam[0-9]+$") && stream.name.upperAscii() == "CAM1"`, "", true, false, ""},
		{"transport", `stream.transport in ["rtmp", "srt"]`, "transport=srt", true, false, ""},
		{"user", `stream.user == "alice"`, "user=alice", true, false, ""},
		{"address", `cidr("192.0.2.0/24").containsIP(stream.ip)`, "ip=::ffff:192.0.2.9", true, false, ""},
		{"address out of it", `cidr("192.0.2.0/24").containsIP(stream.ip)`, "ip=192.0.3.9", false, false, ""},
		{"now", `now > timestamp("2027-01-15T07:59:59Z") && now.getFullYear() == 2027`, "", true, false, ""},
		{"now in a place", `now.getHours("Europe/Berlin") == 9`, "", true, false, ""},
		{"listeners", `stream.listeners < 10`, "listeners=9", true, false, ""},
		{"query", `stream.query.lang == "de"`, "lang=de", true, false, ""},
		{"query without it", `has(stream.query.lang)`, "", false, false, ""},
		{"query twice", `has(stream.query.lang)`, "lang=de&lang=en", false, false, ""},
		{"a claim", `stream.claims.plan == "gold" && stream.subject == "alice"`, token, true, false, ""},
		{"claims of every kind", `stream.claims.level >= 3 && stream.claims.ratio < 1.0 && "b" in stream.claims.groups && stream.claims.of.x`, token, true, false, ""},
		{"another claim", `stream.claims.plan == "silver"`, token, false, false, ""},
		{"a claim of no token", `stream.claims.plan == "gold"`, "", false, true, "1:14"},
		{"a claim of a bad token", `stream.claims.plan == "gold"`, "token=x", false, true, ""},
		{"no claim of no token", `has(stream.claims.plan)`, "", false, false, ""},
		{"a subject of no token", `stream.subject == ""`, "", true, false, ""},
		{"an app that is not told", `stream.app == "live"`, "", false, true, "1:7"},
		{"another app than one that is not told", `stream.app != "live"`, "", false, true, "1:7"},
		{"an address that is not told", `stream.ip != "192.0.2.1"`, "", false, true, "1:7"},
		{"whether an address is told", `has(stream.ip)`, "", false, false, ""},
		{"a counter that is not told", `stream.listeners < 10`, "", false, true, "1:7"},
		{"a counter that is asked for first", `!has(stream.listeners) || stream.listeners < 10`, "", true, false, ""},
		{"a time that is not told", `stream.listened_7d < duration("10h")`, "", false, true, "1:7"},
		{"metadata that is not told", `stream.metadata.x == 1`, "", false, true, "1:16"},
		{"what cannot be read", `int(stream.name) == 1`, "", false, true, "1:4"},
		{"a claim of another type", `stream.claims.plan > 3`, token, false, true, "1:20"},
		{"on a second line", "true &&\n  int(stream.name) == 1", "", false, true, "2:6"},
		{"a cost over the limit", `"abcdefghijklmnopqrstuvwxyz".split("").all(a, "abcdefghijklmnopqrstuvwxyz".split("").all(b, "abcdefghijklmnopqrstuvwxyz".split("").all(c, a + b + c != stream.name)))`, "", false, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !strings.HasPrefix(test.ask, "&") {
				test.ask = "&" + test.ask
			}
			allowing := jwtToken + "allow {\nwhen `" + test.when + "`\n}"
			denying := jwtToken + "deny {\nwhen `" + test.when + "`\n}\nallow {\n}"
			for _, rule := range []struct {
				block string
				want  bool
			}{{allowing, test.allowed && !test.doubt}, {denying, !test.allowed && !test.doubt}} {
				bed := testbed.New(t, site(handle("/", "renewing", rule.block)))
				result := bed.Do(t, tell("event=open"+test.ask, 0))
				if (result.Status == http.StatusOK) != rule.want {
					t.Errorf("status %d by\n%s", result.Status, rule.block)
				}
				log := bed.Logs.String()
				if test.doubt && (!strings.Contains(log, "the expression comes to no answer") && !strings.Contains(log, "bad_credential") || !strings.Contains(log, test.place)) {
					t.Errorf("the log does not say so: %s", log)
				}
			}
		})
	}
}

func TestWhenIsWrittenAsOnALineOrQuoted(t *testing.T) {
	for name, when := range map[string]string{
		"as it is":  `when stream.name == "cam1" && stream.app == 'live'`,
		"quoted":    `when "stream.name == 'cam1'"`,
		"backticks": "when `stream.name == \"cam1\"`",
		"two":       "when stream.name == \"cam1\"\nwhen stream.app == \"live\"",
		"a heredoc": "when <<CEL\n\tstream.name == \"cam1\" &&\n\tstream.app == \"live\"\n\tCEL",
	} {
		t.Run(name, func(t *testing.T) {
			bed := testbed.New(t, site(handle("/", "renewing", "allow {\n"+when+"\n}")))
			if status := bed.Do(t, tell("event=open&app=live", 0)).Status; status != http.StatusOK {
				t.Errorf("status %d", status)
			}
			if status := bed.Do(t, tell("event=open&app=live&name=cam2", 0)).Status; status != http.StatusForbidden {
				t.Errorf("another stream: status %d", status)
			}
		})
	}
}

func TestWhenLooksAtMetadata(t *testing.T) {
	bed := testbed.New(t, site(handle("/", "antmedia", "allow {\nwhen `stream.metadata.room == 7 && stream.origin == \"https://a.example\"`\n}")))
	ask := func(metadata string) testbed.Result {
		return bed.Do(t, antMedia("/", `"streamId":"cam1","mode":"play","origin":"https://a.example"`+metadata))
	}
	allowed(t, ask(`,"metaData":{"room":7}`))
	denied(t, ask(`,"metaData":{"room":8}`), 403)
	denied(t, ask(`,"metaData":"room"`), 403)
	denied(t, ask(""), 403)
}

// An expression with the heaviest thing that fits takes no longer than a media server waits.
func TestTheDearestExpressionIsBounded(t *testing.T) {
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", 1000), ",") + "]"
	when := fmt.Sprintf("%s.all(a, %s.all(b, a + b > 0))", list, "["+strings.TrimSuffix(strings.Repeat("2,", 900), ",")+"]")
	bed := testbed.New(t, site(handle("/", "renewing", "allow {\nwhen `"+when+"`\n}")))
	began := time.Now()
	if status := bed.Do(t, tell("event=open&user="+url.QueryEscape(strings.Repeat("x", 1000)), 0)).Status; status != http.StatusForbidden {
		t.Errorf("status %d", status)
	}
	t.Logf("took %v", time.Since(began))
}
