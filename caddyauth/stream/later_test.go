package stream_test

import "testing"

// later are the attacks whose part of the plugin is not built yet, or not ours, with the reason.
var later = map[string]string{
	"sc-deadline":       "nothing in these rules asks another program: it is for introspection and the Redis store",
	"sc-token-reuse":    "there are no one-time tokens",
	"sc-https-redirect": "Caddy's own redirect to https has none of the headers, and is no 200; the README says to use the https address",
}

func TestAttacksThatWait(t *testing.T) {
	for name, reason := range later {
		t.Run(name, func(t *testing.T) { t.Skip(reason) })
	}
}
