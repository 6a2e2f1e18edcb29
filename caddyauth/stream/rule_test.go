package stream_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/internal/shorttoken"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// judged is what one of the tests below looks at: the answer, and the rule and reason in the log of a denial.
func judged(t *testing.T, dialect, block string, r *http.Request) (result testbed.Result, rule, reason string) {
	t.Helper()
	bed := testbed.New(t, site(handle("/", dialect, block)))
	result = bed.Do(t, r)
	if lines := bed.Logs.Lines(t, "stream denied"); len(lines) > 0 {
		rule, reason = fmt.Sprint(lines[0]["rule"]), fmt.Sprint(lines[0]["reason"])
	}
	return result, rule, reason
}

func TestConditions(t *testing.T) {
	ams := func(members string) *http.Request {
		return antMedia("/", `"streamId":"cam1","appName":"live","mode":"play"`+members)
	}
	radio := func(more ...string) *http.Request { return listen("/", "/jazz", more...) }
	token := mint(t, map[string]any{"plan": "gold", "level": 3, "beta": true, "groups": []any{"a", "b"}})
	for _, test := range []struct {
		name, dialect, block string
		request              *http.Request
		allowed              bool
		rule, reason         string // of a denial
	}{
		{"nothing is allowed by itself", "antmedia", "", ams(""), false, "fallback", "denied"},
		{"fallback allow", "antmedia", "fallback allow", ams(""), true, "", ""},
		{"fallback deny", "antmedia", "fallback deny", ams(""), false, "fallback", "denied"},
		{"the first rule that holds decides", "antmedia", "deny first {\nmode play\n}\nallow {\n}", ams(""), false, "first", "denied"},
		{"a rule that does not hold does not", "antmedia", "deny first {\nmode publish\n}\nallow {\n}", ams(""), true, "", ""},
		{"a rule without a name has its place", "antmedia", "allow {\nmode publish\n}\ndeny {\n}", ams(""), false, "deny-2", "denied"},
		{"all conditions must hold", "antmedia", "allow {\nmode play\napp other\n}", ams(""), false, "fallback", "denied"},
		{"any value will do", "antmedia", "allow {\napp other live\n}", ams(""), true, "", ""},
		{"stream by name", "antmedia", "allow {\nstream cam*\n}", ams(""), true, "", ""},
		{"stream by app and name", "antmedia", "allow {\nstream live/*\n}", ams(""), true, "", ""},
		{"stream of another app", "antmedia", "allow {\nstream other/*\n}", ams(""), false, "fallback", "denied"},
		{
			"an app that is not told counts against the client", "antmedia", "deny apps {\napp secret\n}\nallow {\n}",
			antMedia("/", `"streamId":"cam1","appName":null,"mode":"play"`), false, "apps", "denied",
		},
		{"an address in a range", "antmedia", "allow {\nip 192.0.2.0/24\n}", ams(`,"ipAddress":"192.0.2.9"`), true, "", ""},
		{"a mapped address in a range", "antmedia", "allow {\nip 192.0.2.0/24\n}", ams(`,"ipAddress":"::ffff:192.0.2.9"`), true, "", ""},
		{"an address out of a range", "antmedia", "allow {\nip 192.0.2.0/24\n}", ams(`,"ipAddress":"192.0.3.9"`), false, "fallback", "denied"},
		{"an address that is not told is not allowed", "antmedia", "allow {\nip 0.0.0.0/0 ::/0\n}", ams(""), false, "fallback", "denied"},
		{"an address that is not told is denied", "antmedia", "deny bad {\nip 198.51.100.0/24\n}\nallow {\n}", ams(""), false, "bad", "denied"},
		{"origin whatever scheme and port", "antmedia", "allow {\norigin *.Example.com\n}", ams(`,"origin":"https://WWW.example.com:8443"`), true, "", ""},
		{"origin of one label more", "antmedia", "allow {\norigin *.example.com\n}", ams(`,"origin":"https://a.b.example.com"`), false, "fallback", "denied"},
		{"origin that ends alike", "antmedia", "allow {\norigin example.com\n}", ams(`,"origin":"https://evilexample.com"`), false, "fallback", "denied"},
		{"origin with a user in front", "antmedia", "allow {\norigin example.com\n}", ams(`,"origin":"https://x@example.com"`), false, "fallback", "denied"},
		{"origin null", "antmedia", "allow {\norigin null *\n}", ams(`,"origin":"null"`), false, "fallback", "denied"},
		{"transport", "icecast", "allow {\ntransport ICECAST\n}", radio(), true, "", ""},
		{"agent", "icecast", "allow {\nagent VLC*\n}", radio(), true, "", ""},
		{"another agent", "icecast", "allow {\nagent vlc*\n}", radio(), false, "fallback", "denied"},
		{"an agent that is not there is none of any", "icecast", "allow {\nagent *\n}", without("/", "/jazz", map[string]string{"agent": "-"}), false, "fallback", "denied"},
		{"a user without password", "icecast", "allow {\nuser alice right\n}", radio(), false, "fallback", "missing"},
		{
			"a user with a wrong password", "icecast", "allow {\nuser alice right\n}",
			without("/", "/jazz", map[string]string{"user": "alice", "pass": "wrong"}), false, "fallback", "bad_signature",
		},
		{"no token", "antmedia", jwtToken + "allow {\ntoken valid\n}", ams(""), false, "fallback", "missing"},
		{"a bad token", "antmedia", jwtToken + "allow {\ntoken valid\n}", ams(`,"token":"x.y.z"`), false, "fallback", "bad_credential"},
		{
			"an expired token", "antmedia", jwtToken + "allow {\ntoken valid\n}",
			ams(`,"token":"` + mint(t, map[string]any{"exp": now.Unix() - 3600}) + `"`), false, "fallback", "expired",
		},
		{
			"a token for another stream", "antmedia", jwtToken + "allow {\ntoken valid\n}",
			ams(`,"token":"` + mint(t, map[string]any{"stream": "cam2"}) + `"`), false, "fallback", "bad_claim",
		},
		{
			"a token of another signature, and a rule that denies", "antmedia", jwtToken + "allow {\ntoken valid\n}\ndeny rest {\n}",
			ams(`,"token":"` + testbed.HS256(t, "x", nil, map[string]any{"exp": now.Unix() + 60}) + `"`), false, "rest", "bad_signature",
		},
		{"a token that no rule asked for is not looked at", "antmedia", jwtToken + "allow {\nmode publish\ntoken valid\n}", ams(`,"token":"x"`), false, "fallback", "denied"},
		{"token absent", "antmedia", jwtToken + "allow {\ntoken absent\n}", ams(""), true, "", ""},
		{"token absent with a bad token", "antmedia", jwtToken + "allow {\ntoken absent\n}", ams(`,"token":"x"`), false, "fallback", "bad_credential"},
		{"token absent with a good token", "antmedia", jwtToken + "allow {\ntoken absent\n}", ams(`,"token":"` + token + `"`), false, "fallback", "denied"},
		{
			"token absent of several tokens", "icecast", "token a {\nfrom query a\nstatic x1\n}\ntoken b {\nfrom query b\nstatic x2\n}\nallow {\ntoken absent\n}",
			listen("/", "/jazz?b=nonsense"), false, "fallback", "bad_signature",
		},
		{"token valid or absent", "antmedia", jwtToken + "allow {\ntoken valid absent\n}", ams(""), true, "", ""},
		{"a named token", "antmedia", "token a {\nstatic x1\n}\ntoken b {\nstatic x2\n}\nallow {\ntoken b\n}", ams(`,"token":"x2"`), true, "", ""},
		{"another named token", "antmedia", "token a {\nstatic x1\n}\ntoken b {\nstatic x2\n}\nallow {\ntoken b\n}", ams(`,"token":"x1"`), false, "fallback", "bad_signature"},
		{"any of several tokens", "antmedia", "token a {\nstatic x1\n}\ntoken b {\nstatic x2\n}\nallow {\ntoken valid\n}", ams(`,"token":"x2"`), true, "", ""},
		{"claim", "antmedia", jwtToken + "allow {\nclaim plan silver gold\n}", ams(`,"token":"` + token + `"`), true, "", ""},
		{"claim of another value", "antmedia", jwtToken + "allow {\nclaim plan Gold\n}", ams(`,"token":"` + token + `"`), false, "fallback", "denied"},
		{"claims of every kind", "antmedia", jwtToken + "allow {\nclaim plan gold\nclaim level 3\nclaim beta true\nclaim groups b\n}", ams(`,"token":"` + token + `"`), true, "", ""},
		{"one of the claims", "antmedia", jwtToken + "allow {\nclaim plan gold\nclaim groups c\n}", ams(`,"token":"` + token + `"`), false, "fallback", "denied"},
		{"a claim without a token", "antmedia", jwtToken + "allow {\nclaim plan gold\n}", ams(""), false, "fallback", "missing"},
		{
			"a claim of a token that is not valid", "antmedia", jwtToken + "deny banned {\nclaim plan gold\n}\nallow {\n}",
			ams(`,"token":"` + mint(t, map[string]any{"plan": "gold", "stream": "x"}) + `"`), true, "", "",
		},
		{
			"any_stream", "antmedia", "token {\njwt {\nsecret " + testbed.Secret + "\n}\nany_stream\n}\nallow {\ntoken valid\n}",
			ams(`,"token":"` + mint(t, map[string]any{"stream": nil}) + `"`), true, "", "",
		},
		{
			"any_stream with a claim all the same", "antmedia", "token {\njwt {\nsecret " + testbed.Secret + "\n}\nany_stream\n}\nallow {\ntoken valid\n}",
			ams(`,"token":"` + mint(t, map[string]any{"stream": "cam2"}) + `"`), false, "fallback", "bad_claim",
		},
		{
			"claims under other names", "antmedia", "token {\njwt {\nsecret " + testbed.Secret + "\n}\nstream_claim s\nmode_claim m\nip_claim a\n}\nallow {\ntoken valid\n}",
			antMedia("/", `"streamId":"cam1","mode":"live","ipAddress":"192.0.2.1","token":"`+mint(t, map[string]any{"stream": nil, "s": "cam1", "m": []any{"publish", "play"}, "a": "192.0.2.1"})+`"`), true, "", "",
		},
		{"mode of the wrong type", "antmedia", jwtToken + "allow {\ntoken valid\n}", ams(`,"token":"` + mint(t, map[string]any{"mode": true}) + `"`), false, "fallback", "bad_claim"},
		{"mode none", "antmedia", jwtToken + "allow {\ntoken valid\n}", ams(`,"token":"` + mint(t, map[string]any{"mode": []any{}}) + `"`), false, "fallback", "bad_claim"},
		{"token from another field", "antmedia", "token {\nfrom field subscriberCode\nfrom query token\nstatic x1\n}\nallow {\ntoken valid\n}", ams(`,"subscriberCode":"x1"`), true, "", ""},
		{"a printed map that can be read in two ways", "antmedia", jwtToken + "allow {\ntoken valid\n}", ams(`,"queryParams":"{token=` + token + `, a=b=c}"`), false, "allow-1", "malformed"},
		{"when of a server without apps", "radiomast", "allow {\nwhen `stream.app == \"\" && stream.listeners == 9`\n}", radio("listener-count", "9"), true, "", ""},
		{"when of a server without apps, for one", "radiomast", "allow {\nwhen `stream.app != \"\"`\n}", radio(), false, "fallback", "denied"},
		{"listeners below", "radiomast", "allow {\nlisteners < 10\nlisteners > 3\n}", radio("listener-count", "9"), true, "", ""},
		{"listeners above", "radiomast", "allow {\nlisteners < 10\n}", radio("listener-count", "10"), false, "fallback", "denied"},
		{"listeners not told", "radiomast", "allow {\nlisteners < 10\n}", radio(), false, "fallback", "denied"},
		{"listened not told", "radiomast", "allow {\nlistened 24h < 10h\n}", radio(), false, "fallback", "denied"},
		{"listened in another time", "radiomast", "allow {\nlistened 24h < 10h\n}", radio("listener-duration-7day", "0"), false, "fallback", "denied"},
	} {
		t.Run(test.name, func(t *testing.T) {
			result, rule, reason := judged(t, test.dialect, test.block, test.request)
			if test.allowed {
				allowed(t, result)
				return
			}
			denied(t, result)
			if rule != test.rule || reason != test.reason {
				t.Errorf("denied by %s for %s, should be by %s for %s", rule, reason, test.rule, test.reason)
			}
		})
	}
}

func TestTimeLimits(t *testing.T) {
	listened := func(day, week string) *http.Request {
		return listen("/", "/jazz", "listener-duration-1day", day, "listener-duration-7day", week)
	}
	for _, test := range []struct {
		name, block string
		request     *http.Request
		limit       string // of an allowance; "" is none
		reason      string // of a denial
	}{
		{"none", "allow {\n}", listened("0", "0"), "", ""},
		{"a duration", "allow {\ntime_limit 90s\n}", listened("0", "0"), "90", ""},
		{"floored to whole seconds", "allow {\ntime_limit 1999ms\n}", listened("0", "0"), "1", ""},
		{"a bound of a rule that denies", "deny {\nlistened 7d >= 10h\n}\nallow {\n}", listened("0", "35000"), "1000", ""},
		{"a bound that is exceeded only beyond", "deny {\nlistened 7d > 10h\n}\nallow {\n}", listened("0", "36000"), "1", ""},
		{"that bound beyond", "deny {\nlistened 7d > 10h\n}\nallow {\n}", listened("0", "36001"), "", "denied"},
		{"the shorter of two", "deny {\nlistened 7d >= 10h\n}\nallow {\ntime_limit 100s\n}", listened("0", "35000"), "100", ""},
		{"the shortest of three", "deny {\nlistened 24h >= 2h\n}\ndeny {\nlistened 7d >= 10h\n}\nallow {\ntime_limit 1h\n}", listened("7000", "35500"), "200", ""},
		{"two bounds of one rule begin together", "deny {\nlistened 24h >= 2h\nlistened 7d >= 10h\n}\nallow {\n}", listened("7000", "35500"), "500", ""},
		{"a rule whose other conditions do not hold", "deny {\nstream rock\nlistened 7d >= 10h\n}\nallow {\n}", listened("0", "35000"), "", ""},
		{"a rule that comes too late", "allow {\n}\ndeny {\nlistened 7d >= 10h\n}", listened("0", "35000"), "", ""},
		{"a bound of a rule that allows", "allow {\nlistened 7d < 10h\n}", listened("0", "35999"), "1", ""},
		{"a bound of a rule that allows, inclusive", "allow {\nlistened 7d <= 10h\n}", listened("0", "36000"), "1", ""},
		{"that bound beyond it", "allow {\nlistened 7d <= 10h\n}", listened("0", "36001"), "", "denied"},
		{"a bound that more listening only meets better", "allow {\nlistened 7d >= 1h\n}", listened("0", "36001"), "", ""},
		{"the fallback", "deny {\nlistened 7d >= 10h\n}\nfallback allow", listened("0", "35000"), "1000", ""},
		{"less than a second left", "deny {\nlistened 7d >= 10500ms\n}\nallow {\n}", listened("0", "10"), "", "expired"},
		{"a counter that is not told", "deny {\nlistened 7d >= 10h\n}\nallow {\n}", listen("/", "/jazz"), "", "denied"},
		{
			"the age of a token", "token {\njwt {\nsecret " + testbed.Secret + "\nmax_age 10m\n}\n}\nallow {\ntoken valid\ntime_limit token\n}",
			listen("/", "/cam1?token="+mint(t, map[string]any{"exp": nil, "iat": now.Unix() - 60})), "540", "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			result, _, reason := judged(t, "radiomast", test.block, test.request)
			if test.reason != "" {
				denied(t, result, http.StatusForbidden)
				if reason != test.reason {
					t.Errorf("denied for %s, should be for %s", reason, test.reason)
				}
				return
			}
			allowedIcecast(t, result)
			if test.limit != "" {
				timeLimit(t, result, test.limit)
			} else if result.Header["Icecast-Auth-Timelimit"] != nil {
				t.Errorf("a time limit of %s", result.Header["Icecast-Auth-Timelimit"])
			}
		})
	}
}

func TestEffects(t *testing.T) {
	block := jwtToken + `
	deny over {
		listened 7d >= 10h
		redirect "https://cdn.example/over.mp3?who={stream.user}"
	}
	allow ads {
		claim plan free
		time_limit token
		preroll "https://cdn.example/{stream.claim.plan}/{stream.name}.mp3"
		postroll "https://cdn.example/bye.mp3?to={stream.subject}"
	}
	`
	bed := testbed.New(t, site(handle("/", "radiomast", block)))
	token := mint(t, map[string]any{"plan": "free"})
	result := bed.Do(t, listen("/", "/cam1?token="+token, "listener-duration-7day", "0"))
	allowedIcecast(t, result)
	timeLimit(t, result, "3600")
	for name, want := range map[string]string{
		"Preroll": "https://cdn.example/free/cam1.mp3", "Postroll": "https://cdn.example/bye.mp3?to=alice",
	} {
		if got := result.Header[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s is %q", name, got)
		}
	}
	result = bed.Do(t, icecast("/", "action", "listener_add", "mount", "/cam1", "user", "a&b", "pass", "x", "listener-duration-7day", "36000"))
	if got := result.Header["Icecast-Auth-Redirect"]; !slices.Equal(got, []string{"https://cdn.example/over.mp3?who=a%26b"}) {
		t.Errorf("icecast-auth-redirect is %q", got)
	}
	notAllowing(t, result)

	bed = testbed.New(t, site(handle("/", "icecast", "deny {\nreason \"{stream.user} may not {env.HOME}\"\n}")))
	t.Setenv("HOME", "x")
	result = bed.Do(t, without("/", "/jazz", map[string]string{"user": "{env.HOME}\r\nx: y"}))
	if got := result.Header.Get("Icecast-Auth-Message"); !strings.HasPrefix(got, "{env.HOME}x: y may not /") {
		t.Errorf("icecast-auth-message is %q", got)
	}
}

func TestPlaceholdersAndAccessLog(t *testing.T) {
	bed := testbed.New(t, `{
	servers {
		protocols h1
	}
}
`+site("log\nroute {\nstream_auth icecast {\n"+jwtToken+"allow listeners {\ntoken valid\n}\n}\n}"))
	allowedIcecast(t, bed.Do(t, listen("/", "/cam1?token="+mint(t, nil))))
	denied(t, bed.Do(t, listen("/", "/cam1?token=bad")))
	lines := bed.Logs.Lines(t, "handled request")
	if len(lines) != 2 {
		t.Fatalf("%d access-log entries", len(lines))
	}
	for i, want := range []map[string]any{
		{"decision": "allow", "rule": "listeners", "reason": "ok", "detail": ""},
		{"decision": "deny", "rule": "fallback", "reason": "bad_credential"},
	} {
		fields, _ := lines[i]["stream_auth"].(map[string]any)
		want["dialect"], want["mode"], want["app"], want["stream"], want["client_ip"] = "icecast", "play", "", "cam1", "192.0.2.7"
		for name, value := range want {
			if fields[name] != value {
				t.Errorf("entry %d: %s is %v, should be %v", i, name, fields[name], value)
			}
		}
	}
	if lines[0]["user_id"] != "alice" {
		t.Errorf("user_id is %v", lines[0]["user_id"])
	}
	if strings.Contains(bed.Logs.String(), "eyJ") {
		t.Error("a token in the log")
	}
}

func TestWarnings(t *testing.T) {
	bed := testbed.New(t, site(handle("/a", "icecast", "fallback allow")+handle("/b", "icecast", "report_only")+
		handle("/c", "icecast", "")+handle("/d", "icecast", "fallback deny")+handle("/e", "icecast", "allow")))
	for _, want := range []string{
		"no rules and fallback allow: every client is allowed", "report_only: every client is allowed",
		"no rules and no fallback: every client is denied", // of /c alone: the others say what they mean
	} {
		if lines := bed.Logs.Lines(t, want); len(lines) != 1 || lines[0]["level"] != "warn" {
			t.Errorf("%s: warned as %v", want, lines)
		}
	}
	allowedIcecast(t, bed.Do(t, listen("/b", "/jazz")))
	if lines := bed.Logs.Lines(t, "stream denied"); len(lines) != 1 || lines[0]["report_only"] != true {
		t.Errorf("%v", lines)
	}
}

func TestConfigsThatAreRefused(t *testing.T) {
	for _, test := range []struct {
		name, dialect, block string
		want                 []string
	}{
		{"no such dialect", "wowza", "", []string{"wowza", "dialect"}},
		{"http without a path", "http", "allow {\n}", []string{"path", "/hls/{app}/{stream}/*", "Caddyfile:3"}},
		{"an unknown option", "icecast", "alow {\n}", []string{"alow", "Caddyfile:4"}},
		{"an unknown condition", "icecast", "allow {\ncountry DE\n}", []string{"unknown", "country", "Caddyfile:5"}},
		{"an unknown option of token", "icecast", "token {\nstatik x\n}", []string{"unknown", "statik"}},
		{"an unknown option of jwt", "icecast", "token {\njwt {\nsecrets x\n}\n}", []string{"unknown", "secrets"}},
		{"two fallbacks", "icecast", "fallback deny\nfallback allow", []string{"already specified", "fallback"}},
		{"another fallback", "icecast", "fallback maybe", []string{"maybe"}},
		{"report_only with an argument", "icecast", "report_only yes", []string{"report_only"}},
		{"a rule with two names", "icecast", "allow a b {\n}", []string{"wrong argument count", "'b'"}},
		{"a repeated condition", "icecast", "allow {\nmode play\nmode publish\n}", []string{"already specified", "mode"}},
		{"two rules of one name", "icecast", "allow a {\n}\ndeny a {\n}", []string{"rule a", "already"}},
		{"a rule named fallback", "icecast", "allow fallback {\n}", []string{"rule fallback"}},
		{"a rule with the name of another's place", "icecast", "allow allow-2 {\n}\nallow {\n}", []string{"rule allow-2"}},
		{"another mode", "icecast", "allow {\nmode record\n}", []string{"Caddyfile:5", "record"}},
		{"no address", "icecast", "allow {\nip 300.1.1.1\n}", []string{"300.1.1.1"}},
		{"an origin with a scheme", "antmedia", "allow {\norigin https://example.com\n}", []string{"https://example.com", "host alone"}},
		{"an empty variable", "antmedia", "allow {\nstream {env.STREAM_TEST_UNSET}\n}", []string{"stream", "{env.STREAM_TEST_UNSET}"}},
		{"a preroll on Ant Media", "antmedia", "allow vip {\npreroll https://x.example/a\n}", []string{"rule vip", "Ant Media Server cannot do preroll", "has none"}},
		{"an app on Icecast", "icecast", "allow {\napp live\n}", []string{"Icecast does not tell app", "ip, transport, agent, user"}},
		{"a redirect on Icecast", "icecast", "deny {\nredirect https://x.example/a\n}", []string{"Icecast cannot do redirect", "time_limit"}},
		{"a time limit on Ant Media", "antmedia", "allow {\ntime_limit 1h\n}", []string{"Ant Media Server cannot do time_limit"}},
		{"a time limit on Icecast's sources", "icecast", "allow dj {\nmode publish\ntime_limit 1h\n}", []string{"rule dj", "Icecast ends no publisher by time_limit"}},
		{"listened on Icecast", "icecast", "deny {\nlistened 7d >= 1h\n}", []string{"Icecast does not tell listened"}},
		{"a time limit on a rule that denies", "icecast", "deny {\ntime_limit 1h\n}", []string{"for rules that allow"}},
		{"a preroll on a rule that denies", "radiomast", "deny {\npreroll https://x.example/a\n}", []string{"for rules that allow"}},
		{"a redirect on a rule that allows", "radiomast", "allow {\nredirect https://x.example/a\n}", []string{"for rules that deny"}},
		{"a time limit under a second", "icecast", "allow {\ntime_limit 500ms\n}", []string{"at least 1s"}},
		{"a time limit of nothing", "icecast", "allow {\ntime_limit 0s\n}", []string{"0s"}},
		{"two time limits", "icecast", "allow {\ntime_limit 1h 2h\n}", []string{"already specified"}},
		{"the time of a token that is not needed", "icecast", jwtToken + "allow {\ntime_limit token\n}", []string{"must require a valid token"}},
		{"the time of a token that may be absent", "icecast", jwtToken + "allow {\ntoken valid absent\ntime_limit token\n}", []string{"must require a valid token"}},
		{"the time of a static token", "icecast", "token {\nstatic x1\n}\nallow {\ntoken valid\ntime_limit token\n}", []string{"static tokens do not expire"}},
		{"a rule that asks for a token, and none", "icecast", "allow {\ntoken valid\n}", []string{"no token block"}},
		{"a token of no such name", "icecast", "token a {\nstatic x1\n}\nallow {\ntoken b\n}", []string{"no token named 'b'"}},
		{"a token of neither kind", "icecast", "token {\n}", []string{"one of jwt, oauth2, static and signed"}},
		{"a token of both kinds", "icecast", "token {\nstatic x1\njwt {\nsecret x2\n}\n}", []string{"one of jwt, oauth2, static and signed"}},
		{"two tokens without a name", "icecast", "token {\nstatic x1\n}\ntoken {\nstatic x2\n}", []string{"two tokens"}},
		{"a token named valid", "icecast", "token valid {\nstatic x1\n}", []string{"cannot be named valid"}},
		{"claims of a static token", "icecast", "token {\nstatic x1\nany_stream\n}", []string{"static tokens name no stream"}},
		{"an empty secret", "icecast", "token {\njwt {\nsecret {env.STREAM_TEST_UNSET}\n}\n}", []string{"{env.STREAM_TEST_UNSET}", "secret"}},
		{"an empty static token", "icecast", "token {\nstatic {env.STREAM_TEST_UNSET}\n}", []string{"{env.STREAM_TEST_UNSET}", "static"}},
		{"a password of Ant Media", "antmedia", "token {\nfrom password\nstatic x1\n}", []string{"Ant Media Server hands on no password"}},
		{"a place that is none", "icecast", "token {\nfrom header x\nstatic x1\n}", []string{"from takes one of"}},
		{"a place twice", "icecast", "token {\nfrom query x\nfrom query x\nstatic x1\n}", []string{"stands twice"}},
		{"no number of listeners", "radiomast", "deny {\nlisteners >= many\n}", []string{"many"}},
		{"no comparison", "radiomast", "deny {\nlisteners = 3\n}", []string{"'='"}},
		{"another time", "radiomast", "deny {\nlistened 1h >= 3s\n}", []string{"'1h'"}},
		{"a duration of nothing", "radiomast", "deny {\nlistened 7d >= 0s\n}", []string{"not positive"}},
		{"when without an expression", "icecast", "allow {\nwhen\n}", []string{"when takes an expression", "Caddyfile:5"}},
		{"when that does not parse", "icecast", "allow {\nwhen stream.name ==\n}", []string{"rule allow-1: when: ERROR", "1:15", " | stream.name ==", "^"}},
		{"when with a field that is none", "icecast", "allow {\nwhen stream.nam == \"x\"\n}", []string{"undefined field 'nam'", "1:7", "^"}},
		{"when with a variable that is none", "icecast", "allow {\nwhen strem.name == \"x\"\n}", []string{"undeclared reference to 'strem'", "1:1"}},
		{"when of another type", "icecast", "allow {\nwhen stream.name\n}", []string{"string, and must be bool"}},
		{"when that may be of another type", "antmedia", "allow {\nwhen stream.metadata\n}", []string{"dyn, and must be bool"}},
		{"when that compares two types", "icecast", "allow {\nwhen stream.name == 3\n}", []string{"no matching overload", "1:13"}},
		{"when with a pattern that is none", "icecast", "allow {\nwhen `stream.name.matches(\"(\")`\n}", []string{"when", "missing closing )"}},
		{"when with the app on MediaMTX", "mediamtx", "allow {\nwhen stream.app == \"x\"\n}", []string{"MediaMTX does not tell app"}},
		{"when with what the server does not tell", "icecast", "allow {\nwhen stream.origin == \"x\"\n}", []string{"Icecast does not tell origin"}},
		{"when with counters that the server has not", "icecast", "allow {\nwhen stream.listened_7d < duration(\"1h\")\n}", []string{"Icecast does not tell listened"}},
		{"when with stream by another name", "icecast", "allow {\nwhen `[stream].exists(s, s.app == \"x\")`\n}", []string{"stream stands without a field"}},
		{"when with stream by no type", "icecast", "allow {\nwhen `dyn(stream).claims.a == 1`\n}", []string{"stream stands without a field"}},
		{"when with claims and no token", "icecast", "allow {\nwhen stream.claims.a == 1\n}", []string{"no token block"}},
		{"when that is too long", "icecast", "allow {\nwhen `stream.name == \"" + strings.Repeat("x", 4096) + "\"`\n}", []string{"when", "exceeds limit"}},
		{"when that nests too deep", "icecast", "allow {\nwhen `" + strings.Repeat("(", 200) + "true" + strings.Repeat(")", 200) + "`\n}", []string{"when", "recursion"}},
		{"sessions of nobody", "icecast", "allow {\nmax_sessions 1 per user\n}", []string{"must require a user or a valid token"}},
		{"sessions of a static token's user", "icecast", "token {\nstatic x1\n}\nallow {\ntoken valid\nmax_sessions 1 per user\n}", []string{"static tokens name no user"}},
		{"sessions of no token", "icecast", "allow {\nmax_sessions 1 per token\n}", []string{"must require a valid token"}},
		{"sessions of something else", "icecast", "allow {\nmax_sessions 1 per country\n}", []string{"country", "user, token, ip, stream", "Caddyfile:5"}},
		{"no sessions", "icecast", "allow {\nmax_sessions 0 per ip\n}", []string{"'0' is not a number"}},
		{"sessions without a word", "icecast", "allow {\nmax_sessions 1 ip\n}", []string{"max_sessions <n> per"}},
		{"sessions twice", "icecast", "allow {\nmax_sessions 1 per ip\nmax_sessions 2 per stream\n}", []string{"already specified"}},
		{"sessions without a lease that the server never ends", "radiomast", "allow {\nmax_sessions 1 per ip\n}", []string{"Radio Mast never tells", "max_sessions 1 per ip 2h"}},
		{"sessions of a lease that is none", "radiomast", "allow {\nmax_sessions 1 per ip 1ms\n}", []string{"'1ms'"}},
		{"sessions of a server that names none", "antmedia", "allow {\nmax_sessions 1 per ip 1h\n}", []string{"Ant Media Server cannot do max_sessions"}},
		{"sessions of a rule that denies", "icecast", "deny {\nmax_sessions 1 per ip\n}", []string{"for rules that allow"}},
		{"rename on Icecast", "icecast", "allow {\nrename x\n}", []string{"Icecast cannot do rename"}},
		{"rename to no name", "renewing", "allow {\nrename a//b\n}", []string{"rename is no name of a stream"}},
		{"rename to another server", "renewing", "allow {\nrename rtmp://192.0.2.1/x\n}", []string{"rename is no name of a stream"}},
		{"forward with another effect", "icecast", "allow {\nforward\ntime_limit 1h\n}", []string{"forward leaves the answer"}},
		{"forward with an argument", "icecast", "allow {\nforward yes\n}", []string{"forward takes no argument"}},
		{"an empty secret of short tokens", "icecast", "token {\nsigned {env.STREAM_TEST_UNSET}\n}", []string{"{env.STREAM_TEST_UNSET}", "signed"}},
		{"claims of short tokens", "icecast", "token {\nsigned x1\nmode_claim m\n}", []string{"only tokens of jwt and oauth2 carry claims"}},
		{"a mode claim beside MediaMTX's permissions", "icecast", "token {\njwt {\nsecret x2\n}\nstream_claim mediamtx_permissions\nmode_claim m\n}", []string{"goes without mode_claim"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			refusal := testbed.Refusal(t, site(handle("/", test.dialect, test.block)))
			wants(t, refusal, test.want...)
			for _, secret := range []string{"x1", "x2", testbed.Secret} {
				if strings.Contains(refusal, secret) {
					t.Errorf("the error shows a secret: %s", refusal)
				}
			}
		})
	}
}

// Cleaned, it could be another's name; as it is, it could end a header line.
func TestASubjectWithControlCharactersIsNobodysName(t *testing.T) {
	bed := testbed.New(t, `{
	servers {
		protocols h1
	}
}
`+site("log\nroute {\nstream_auth icecast {\n"+jwtToken+"allow listeners {\ntoken valid\n}\n}\n}"))
	subjects := []string{"alice", "al\x00ice", "alice\r\nX-Sender: admin", "\x1b[31malice", "al\u200bice", "al\u2028ice", "al\u0085ice"}
	for _, subject := range subjects {
		allowedIcecast(t, bed.Do(t, listen("/", "/cam1?token="+mint(t, map[string]any{"sub": subject}))))
	}
	lines := bed.Logs.Lines(t, "handled request")
	if len(lines) != len(subjects) || lines[0]["user_id"] != "alice" {
		t.Fatalf("CONTROL: %d access-log entries, the first for %v", len(lines), lines[0]["user_id"])
	}
	for i, subject := range subjects[1:] {
		if user := lines[i+1]["user_id"]; user != nil && user != "" {
			t.Errorf("%q is shown as %q", subject, user)
		}
	}
}

// So that an operator sees when an old secret is out of use, as with callbacks.
func TestTheSecretOfATokenThatCountsIsNamed(t *testing.T) {
	const old, static = "an-old-secret-0123456789abcdef-0123456789", "a-static-token-0123456789abcdef"
	short := func(secret string) string {
		text, err := shorttoken.Mint([]byte(secret), shorttoken.Token{Mode: "play", Expires: now.Add(time.Hour)}, "cam1")
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	bed := testbed.New(t, `{
	servers {
		protocols h1
	}
}
`+site("log\nroute {\nstream_auth icecast {\n"+`
	token {
		jwt {
			secret `+old+` old
			secret `+testbed.Secret+` new
		}
	}
	token weekly {
		signed `+old+` `+testbed.Secret+`
	}
	token fixed {
		static another-token-0123456789abcdef-01234567 `+static+`
	}
	allow {
		stream cam1
		token valid
	}
	deny {
		token fixed
	}
	allow {
		stream open
	}
}
}`))
	for _, tc := range []struct{ name, mount, token, key string }{
		{"a new secret", "/cam1", mint(t, nil), "new"},
		{"a short token by the second secret", "/cam1", short(testbed.Secret), "weekly/2"},
		{"a short token by the first", "/cam1", short(old), "weekly/1"},
		{"a static token", "/cam1", static, "fixed/2"},
		{"a static token that is denied", "/cam2", static, "fixed/2"},
		{"a rule that asks for no token", "/open", mint(t, nil), ""},
		{"a forged one", "/cam1", "x", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := len(bed.Logs.Lines(t, "handled request"))
			bed.Do(t, listen("/", tc.mount+"?token="+tc.token))
			lines := bed.Logs.Lines(t, "handled request")
			if len(lines) != before+1 {
				t.Fatalf("%d access-log entries more", len(lines)-before)
			}
			fields, _ := lines[before]["stream_auth"].(map[string]any)
			if fields["key"] != tc.key {
				t.Errorf("the key is %v, should be %q", fields["key"], tc.key)
			}
			if got := app.Decisions().Latest(1, 0)[0].Key; got != tc.key {
				t.Errorf("the key in the decision is %q, should be %q", got, tc.key)
			}
		})
	}
}
