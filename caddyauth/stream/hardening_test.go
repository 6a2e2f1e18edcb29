package stream_test

import (
	"encoding/json"
	"strings"
	"testing"

	_ "github.com/caddyauth/callbacks/caddyauth"

	"github.com/caddyserver/caddy/v2"
)

// provisionJSON loads a stream_auth handler from JSON, which no Caddyfile parser has seen.
func provisionJSON(t *testing.T, handler string) error {
	t.Helper()
	no := false
	_, err := caddy.ProvisionContext(&caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &no}},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {
			BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output":"discard"}`)},
		}}},
		AppsRaw: caddy.ModuleMap{"http": json.RawMessage(`{"servers":{"one":{"listen":["127.0.0.1:0"],"automatic_https":{"disable":true},` +
			`"routes":[{"handle":[` + handler + `]}]}}}`)},
	})
	return err
}

func TestValuesThatOnlyJSONCanHoldAreRefusedToo(t *testing.T) {
	const secret = "this-must-not-be-in-any-error-0123456789"
	t.Setenv("CADDYAUTH_TEST_SECRET", secret)
	handler := func(dialect, options string) string {
		return `{"handler":"stream_auth","dialect":{"dialect":"` + dialect + `"}` + options + `}`
	}
	token := `"tokens":[{"static":["` + secret + `"]}]`
	rule := func(text string) string { return `,` + token + `,"rules":[` + text + `]` }
	for _, good := range []string{
		handler("radiomast", ""),
		handler("radiomast", rule(`{"action":"allow","token":["valid"],"time_limit":1000000000}`)),
	} {
		if err := provisionJSON(t, good); err != nil {
			t.Fatalf("CONTROL: %s: %v", good, err)
		}
	}
	for name, config := range map[string]string{
		"no dialect":                        `{"handler":"stream_auth"}`,
		"a dialect that is null":            `{"handler":"stream_auth","dialect":null}`,
		"a dialect without a name":          `{"handler":"stream_auth","dialect":{}}`,
		"a dialect that there is not":       handler("vlc", ""),
		"a field that there is not":         handler("radiomast", `,"fall_back":"allow"`),
		"a fallback that is none":           handler("radiomast", `,"fallback":"yes"`),
		"a token that is null":              handler("radiomast", `,"tokens":[null]`),
		"a null behind a good one":          handler("radiomast", `,"tokens":[{"static":["`+secret+`"]},null]`),
		"a token that says nothing":         handler("radiomast", `,"tokens":[{}]`),
		"a token that is empty":             handler("radiomast", `,"tokens":[{"static":[""]}]`),
		"a token called valid":              handler("radiomast", `,"tokens":[{"name":"valid","static":["`+secret+`"]}]`),
		"two tokens of one name":            handler("radiomast", `,"tokens":[{"static":["a"]},{"static":["b"]}]`),
		"static and jwt":                    handler("radiomast", `,"tokens":[{"static":["a"],"jwt":{"secrets":[{"value":"`+secret+`"}]}}]`),
		"claims of a static token":          handler("radiomast", `,"tokens":[{"static":["a"],"any_stream":true}]`),
		"from nowhere":                      handler("radiomast", `,"tokens":[{"static":["a"],"from":[{}]}]`),
		"from a query without a name":       handler("radiomast", `,"tokens":[{"static":["a"],"from":[{"from":"query"}]}]`),
		"from one place twice":              handler("radiomast", `,"tokens":[{"static":["a"],"from":[{"from":"password"},{"from":"password"}]}]`),
		"from what the server has not":      handler("antmedia", `,"tokens":[{"static":["a"],"from":[{"from":"password"}]}]`),
		"jwt with an algorithm none":        handler("radiomast", `,"tokens":[{"jwt":{"algorithms":["none"],"secrets":[{"value":"`+secret+`"}]}}]`),
		"a rule that is null":               handler("radiomast", `,"rules":[null]`),
		"a rule without an action":          handler("radiomast", `,"rules":[{}]`),
		"a rule with another action":        handler("radiomast", `,"rules":[{"action":"maybe"}]`),
		"a rule called fallback":            handler("radiomast", `,"rules":[{"action":"deny","name":"fallback"}]`),
		"two rules of one name":             handler("radiomast", `,"rules":[{"action":"deny","name":"a"},{"action":"allow","name":"a"}]`),
		"a mode that is none":               handler("radiomast", `,"rules":[{"action":"deny","mode":["record"]}]`),
		"a list of modes that is empty":     handler("radiomast", `,"rules":[{"action":"allow","mode":[]}]`),
		"a list of streams that is empty":   handler("radiomast", `,"rules":[{"action":"allow","stream":[]}]`),
		"a list of addresses that is empty": handler("radiomast", `,"rules":[{"action":"allow","ip":[]}]`),
		"a list of users that is empty":     handler("radiomast", `,"rules":[{"action":"allow","user":[]}]`),
		"a list of tokens that is empty":    handler("radiomast", rule(`{"action":"allow","token":[]}`)),
		"a list of claims that is empty":    handler("radiomast", rule(`{"action":"allow","claim":[]}`)),
		"a pattern that is empty":           handler("radiomast", `,"rules":[{"action":"deny","stream":[""]}]`),
		"an address that is none":           handler("radiomast", `,"rules":[{"action":"deny","ip":["{env.CADDYAUTH_TEST_SECRET}"]}]`),
		"an origin with a scheme":           handler("radiomast", `,"rules":[{"action":"deny","origin":["https://{env.CADDYAUTH_TEST_SECRET}"]}]`),
		"a user without a password":         handler("radiomast", `,"rules":[{"action":"allow","user":[{"name":"a"}]}]`),
		"a user without a name":             handler("radiomast", `,"rules":[{"action":"allow","user":[{"password":"`+secret+`"}]}]`),
		"a token that nothing says":         handler("radiomast", `,"rules":[{"action":"allow","token":["valid"]}]`),
		"a token of another name":           handler("radiomast", rule(`{"action":"allow","token":["other"]}`)),
		"a claim without a name":            handler("radiomast", rule(`{"action":"allow","claim":[{"values":["a"]}]}`)),
		"a claim without values":            handler("radiomast", rule(`{"action":"allow","claim":[{"name":"a"}]}`)),
		"a comparison that is none":         handler("radiomast", `,"rules":[{"action":"deny","listeners":[{"is":"=","number":1}]}]`),
		"a number below 0":                  handler("radiomast", `,"rules":[{"action":"deny","listeners":[{"is":">","number":-1}]}]`),
		"listened within a month":           handler("radiomast", `,"rules":[{"action":"deny","listened":[{"within":"30d","is":">","duration":1}]}]`),
		"listened for less than nothing":    handler("radiomast", `,"rules":[{"action":"deny","listened":[{"within":"7d","is":">","duration":-1}]}]`),
		"a time limit below 0":              handler("radiomast", `,"rules":[{"action":"allow","time_limit":-1000000000}]`),
		"a time limit that overflows":       handler("radiomast", `,"rules":[{"action":"allow","time_limit":9223372036854775807}]`),
		"a time limit under a second":       handler("radiomast", `,"rules":[{"action":"allow","time_limit":1}]`),
		"a time limit of a denial":          handler("radiomast", `,"rules":[{"action":"deny","time_limit":1000000000}]`),
		"time_limit token, any token":       handler("radiomast", rule(`{"action":"allow","token":["valid"],"time_limit_token":true}`)),
		"a preroll on Ant Media":            handler("antmedia", `,"rules":[{"action":"allow","preroll":"https://example.com/a"}]`),
		"a preroll that is a file":          handler("radiomast", `,"rules":[{"action":"allow","preroll":"file:///etc/passwd"}]`),
		"a preroll with a line break":       handler("radiomast", `,"rules":[{"action":"allow","preroll":"https://example.com/\r\nX: y"}]`),
		"a preroll whose host is a client":  handler("radiomast", `,"rules":[{"action":"allow","preroll":"https://{stream.user}/"}]`),
		"a reason with a line break":        handler("radiomast", `,"rules":[{"action":"deny","reason":"a\r\nb"}]`),
		"sessions without a limit":          handler("icecast", `,"rules":[{"action":"allow","max_sessions":{"per":"ip"}}]`),
		"sessions below 0":                  handler("icecast", `,"rules":[{"action":"allow","max_sessions":{"limit":-1,"per":"ip"}}]`),
		"sessions per nothing":              handler("icecast", `,"rules":[{"action":"allow","max_sessions":{"limit":1}}]`),
		"a lease below 0":                   handler("icecast", `,"rules":[{"action":"allow","max_sessions":{"limit":1,"per":"ip","lease":-1}}]`),
		"a when that is no expression":      handler("icecast", `,"rules":[{"action":"allow","when":"stream."}]`),
		"a when that is no truth":           handler("icecast", `,"rules":[{"action":"allow","when":"stream.name"}]`),
	} {
		t.Run(name, func(t *testing.T) {
			err := provisionJSON(t, config)
			if err == nil {
				t.Fatalf("this was accepted: %s", config)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
}
