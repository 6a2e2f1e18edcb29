package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// lacking says, of every scheme, what it cannot do without: options without which it has to be refused, and the word for
// what is missing. A scheme that is not here needs a secret.
var lacking = map[string][]struct{ options, missing string }{
	"any":      {{"", "scheme"}},
	"api_key":  {{"", "header or query"}, {"header X-Key", "key"}, {"key {env.UNSET}", "header or query"}},
	"basic":    {{"", "user"}, {"realm {env.UNSET}", "user"}},
	"discord":  {{"", "public_key"}, {"secret {env.UNSET}", "public_key"}},
	"gitlab":   {{"", "secret"}},
	"hmac":     {{"secret {env.UNSET}", "header"}, {"header Sig", "secret"}, {"header Sig\nalgorithm ed25519", "public_key"}, {"header Sig\nsecret {env.UNSET}\ntolerance 1m", "timestamp"}},
	"ip_range": {{"", "ip_range"}},
	"jwt": {
		{"", "secret, public_key, jwks or openid_configuration"},
		{"jwks {env.UNSET}", "audience"},
		{"openid_configuration {env.UNSET}", "audience"},
		{"jwks {env.UNSET}\nissuer {env.UNSET}", "audience"},
	},
	"livekit": {{"", "account"}, {"tolerance 1m", "account"}},
	"meta":    {{"", "secret"}, {"secret {env.UNSET}\nanswer_challenge", "verify_token"}},
	"oauth2": {
		{"", "issuer, jwks or introspection"},
		{"audience a", "issuer, jwks or introspection"},
		{"issuer {env.UNSET}", "audience"},
		{"jwks {env.UNSET}", "audience"},
		{"introspection {env.UNSET}", "client_id"},
		{"introspection {env.UNSET} {\nclient_id gate\n}", "client_secret"},
	},
	"sendgrid":          {{"", "public_key"}},
	"sinch":             {{"", "account"}, {"tolerance 1m", "account"}},
	"standard_webhooks": {{"", "secret or a public_key"}},
	"telnyx":            {{"", "public_key"}},
	"vonage":            {{"", "secret or an account"}, {"application_id a", "secret or an account"}},

	"azure_call_automation": {{"", "audience"}, {"openid_configuration {env.UNSET}", "audience"}},
	"azure_event_grid":      {{"entra {\naudience a\n}", "tenant"}, {"entra {\ntenant {env.UNSET}\n}", "audience"}},
}

// What a scheme lacks is told while the Caddyfile is read, by `caddy adapt` as by `caddy validate`: with the file and the
// line where the scheme begins, and with the option.
func TestEverySchemeIsRefusedWithItsLineWhereAnOptionIsMissing(t *testing.T) {
	schemes := 0
	for _, info := range caddy.GetModules("http.callback_auth.schemes") {
		if !ours(info) {
			continue
		}
		schemes++
		name := info.ID.Name()
		cases, ok := lacking[name]
		if !ok {
			cases = []struct{ options, missing string }{{"", "secret"}}
		}
		for i, c := range cases {
			t.Run(fmt.Sprint(name, " ", i), func(t *testing.T) {
				text := refusedAs(t, name, c.options)
				if !strings.Contains(text, c.missing) || !strings.HasSuffix(text, ", at /etc/caddy/hooks.conf:4") {
					t.Errorf("no line of the scheme, or no word of %s: %s", c.missing, text)
				}
			})
		}
	}
	if schemes < 50 {
		t.Errorf("only %d schemes", schemes)
	}
}

// Options that exclude each other, say nothing to the scheme, or are written as none can be, are told in the same way.
func TestWhatCouldNeverHoldIsRefusedWithItsLine(t *testing.T) {
	for _, c := range []struct{ scheme, options, says string }{
		{"discord", "public_key 00", "public_key"},
		{"discord", "public_key {env.UNSET}\nsecret {env.UNSET}", "public_key"},
		{"github", "secret {env.UNSET}\ntolerance 1m", "no tolerance"},
		{"github", "secret {env.UNSET}\nanswer_challenge", "no challenge"},
		{"github", "secret {env.UNSET} a\nsecret {env.UNSET} a", "twice"},
		{"github", "secret {env.UNSET}\nsecret \"-----BEGIN PUBLIC KEY-----\"", "public key"},
		{"slack", "secret {env.UNSET}\nverify_token {env.UNSET}", "verify_token"},
		{"daily", "secret not_base64", "secret 1"},
		{"daily", "secret {env.UNSET}\nsecret not_base64", "secret 2"},
		{"standard_webhooks", "secret {env.UNSET}\npublic_key whpk_AAAA", "public_key 1"},
		{"standard_webhooks", "secret {env.UNSET}\nanswer_challenge", "no challenge"},
		{"hmac", "secret {env.UNSET}\nheader Sig\npayload fixed", "payload"},
		{"hmac", "secret {env.UNSET}\nheader Sig\nsecret_encoding hex\nsecret xyz", "secret 2"},
		{"hmac", "secret {env.UNSET}\nheader Sig\nid header X-Id", "id"},
		{"livekit", "account k {env.UNSET}\naccount k {env.UNSET}", "account k stands twice"},
		{"sinch", "account k not_base64", "account k"},
		{"vonage", "secret {env.UNSET}\naccount k {env.UNSET}", "secret or account"},
		{"vonage", "secret_encoding base64\nsecret ?", "secret 1"},
		{"oauth2", "jwks {env.UNSET}\nintrospection {env.UNSET} {\nclient_id a\nclient_secret {env.UNSET}\n}", "jwks or introspection"},
		{"oauth2", "algorithm RS256\nintrospection {env.UNSET} {\nclient_id a\nclient_secret {env.UNSET}\n}", "algorithm"},
		{"oauth2", "issuer {env.UNSET}\naudience a\nalgorithm HS256", "HS256"},
		{"oauth2", "issuer {env.UNSET}\naudience a\nscope \"read write\"", "scope"},
		{"azure_event_grid", "allowed_rate often", "allowed_rate"},
		{"api_key", "header X\nkey {env.UNSET}\nkey " + strings.Repeat("k", 4097), "key 2"},
		{"basic", "user ann good-password\nuser bob $2y$99$abc", "user 2"},
		{"basic", "user ann good-password\nuser ann good-password", "user 2"},
		{"azure_event_grid", "entra {\ntenant common\naudience a\n}", "tenant"},
	} {
		t.Run(c.scheme+" "+c.says, func(t *testing.T) {
			text := refusedAs(t, c.scheme, c.options)
			if !strings.Contains(text, c.says) || !strings.HasSuffix(text, ", at /etc/caddy/hooks.conf:4") {
				t.Errorf("no line of the scheme, or no word of %s: %s", c.says, text)
			}
		})
	}
}

// What a placeholder stands for is nobody's business before the config is loaded: it may be known on another machine only.
func TestWhatAPlaceholderStandsForIsNotAskedWhileTheCaddyfileIsRead(t *testing.T) {
	const unset = "{env.CADDYAUTH_UNSET}"
	given := map[string]string{
		"any": "github {\nsecret " + unset + "\n}", "api_key": "header X-Key\nkey " + unset, "basic": "user " + unset + " " + unset,
		"discord": "public_key " + unset, "sendgrid": "public_key " + unset, "telnyx": "public_key " + unset,
		"hmac": "header Sig\nsecret_encoding hex\nsecret " + unset, "ip_range": "",
		"jwt":     "openid_configuration " + unset + "\naudience " + unset + "\nalgorithm " + unset,
		"livekit": "account " + unset + " " + unset, "sinch": "account " + unset + " " + unset,
		"meta":   "secret " + unset + "\nanswer_challenge\nverify_token " + unset,
		"oauth2": "introspection " + unset + " {\nclient_id " + unset + "\nclient_secret " + unset + "\n}\nscope " + unset,

		"azure_call_automation": "audience " + unset, "azure_event_grid": "entra {\ntenant " + unset + "\naudience " + unset + "\n}",
	}
	for _, info := range caddy.GetModules("http.callback_auth.schemes") {
		if !ours(info) {
			continue
		}
		name := info.ID.Name()
		options, ok := given[name]
		if !ok {
			options = "secret " + unset
		}
		scheme := name
		if name == "ip_range" {
			scheme += " " + unset
		}
		t.Run(name, func(t *testing.T) {
			config, err := read(scheme, options)
			if err != nil {
				t.Fatalf("refused while the Caddyfile is read: %v", err)
			}
			if err := provision(t, config); err == nil || !strings.Contains(err.Error(), unset) {
				t.Errorf("loaded without what the placeholder stands for: %v", err)
			}
		})
	}
}

// A token, a rule or a path of stream_auth that could never hold is told in the same way: with the line where it begins.
func TestStreamOptionsThatCouldNeverHoldAreRefusedWithTheirLine(t *testing.T) {
	const secret = "{env.UNSET}"
	for _, c := range []struct{ dialect, line, says string }{
		{"icecast", "token", "jwt, oauth2, static and signed"},
		{"icecast", "token valid {\nsigned " + secret + "\n}", "named valid"},
		{"icecast", "token {\nsigned " + secret + "\nstatic " + secret + "\n}", "jwt, oauth2, static and signed"},
		{"icecast", "token {\nsigned " + secret + "\nstream_claim s\n}", "stream_claim"},
		{"icecast", "token {\nstatic " + secret + "\nany_stream\n}", "any_stream"},
		{"srs", "token {\nfrom password\nsigned " + secret + "\n}", "password"},
		{"srs", "token {\nfrom query t\nfrom query t\nsigned " + secret + "\n}", "twice"},
		{"srs", "token {\njwt {\nalgorithm HS256\n}\n}", "secret, public_key, jwks or openid_configuration"},
		{"srs", "token {\noauth2 {\naudience a\n}\n}", "issuer, jwks or introspection"},
		{"srs", "token a {\nsigned " + secret + "\n}", "two tokens"},
		{"srs", "deny members {\napp a\n}", "rule members"},
		{"srs", "deny fallback {\napp a\n}", "rule fallback"},
		{"http", "path /hls/*", "{stream}"},
		{"http", "path /hls/{stream} read", "read"},
	} {
		t.Run(c.dialect+" "+c.says, func(t *testing.T) {
			before := "token a {\nsigned " + secret + "\n}\nallow members {\napp a\n}\n" // lines 3 to 8
			text := "http:// {\nstream_auth " + c.dialect + " {\n" + before + c.line + "\n}\n}\n"
			_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "/etc/caddy/hooks.conf"})
			if err == nil {
				t.Fatal("accepted")
			}
			line := ":9"
			if inner := strings.Contains(c.line, "jwt {") || strings.Contains(c.line, "oauth2 {"); inner {
				line = ":10"
			}
			if text := err.Error(); !strings.Contains(text, c.says) || !strings.HasSuffix(text, ", at /etc/caddy/hooks.conf"+line) {
				t.Errorf("no line, or no word of %s: %s", c.says, text)
			}
		})
	}
}

// read adapts a Caddyfile of the name /etc/caddy/hooks.conf whose line 4 begins a scheme.
func read(scheme, options string) (string, error) {
	text := "http:// {\ncallback_auth {\nip_range private_ranges\n" + scheme + " {\n" + options + "\n}\n}\n}\n"
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "/etc/caddy/hooks.conf"})
	return string(config), err
}

// refusedAs is the error of such a scheme, which must be one.
func refusedAs(t *testing.T, scheme, options string) string {
	t.Helper()
	_, err := read(scheme, options)
	if err == nil {
		t.Fatalf("%s is accepted with %q", scheme, options)
	}
	return err.Error()
}
