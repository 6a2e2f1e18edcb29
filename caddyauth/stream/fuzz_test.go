package stream_test

import (
	"regexp"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/stream"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// line is how an error of a Caddyfile names its place.
var line = regexp.MustCompile(`:\d+`)

// FuzzCaddyfile: no block of stream_auth brings the parser down, and every mistake is told with its line.
func FuzzCaddyfile(f *testing.F) {
	for _, seed := range []string{
		"", "antmedia", "icecast {", "radiomast {\ntoken {\nfrom query token\nfrom password\njwt {\nsecret a\n}\nstream_claim s\nmode_claim m\nip_claim i\n}\n}",
		"radiomast {\ntoken a {\nstatic b c\nany_stream\n}\ndeny weekly {\nlistened 7d >= 10h\nlisteners < 5\nredirect https://a\n}\nallow {\ntoken valid a absent\ntime_limit 1h token\npreroll https://a\n}\n}",
		"icecast {\nallow {\nmode play\nstream a/* b/**\nip 10.0.0.0/8\nagent *\nuser a b\nclaim a b c\nmax_sessions 1 per ip 2h\nwhen \"stream.name == 'a'\"\n}\nfallback deny\nreport_only\n}",
		"http {\nallow {\norigin a\ntransport hls\nreason \"x\"\nforward\nrename a\n}\n}", "srs {\ntoken {\nsigned a b\noauth2 {\nintrospection https://a\n}\n}\n}",
		"radiomast {\nallow {\n}\n}", "radiomast {\n{\n}\n}", "a b c", "\"\" {\n}", "radiomast {\nallow \"\" {\n}\n}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, block string) {
		tokens, err := caddyfile.Tokenize([]byte("stream_auth "+block), "Caddyfile")
		if err != nil {
			return
		}
		err = new(stream.Handler).UnmarshalCaddyfile(caddyfile.NewDispenser(tokens))
		if err != nil && !line.MatchString(err.Error()) {
			t.Errorf("the error names no line: %v", err)
		}
	})
}
