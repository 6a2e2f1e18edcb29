package stream

import (
	"context"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// said is what the placeholders of a request say. Most requests end without anybody asking for it.
type said struct {
	decision, rule, reason, stream, mode, dialect string
}

// saidVar is the variable of a request that holds what was said of it.
const saidVar = "stream_auth.said"

// setPlaceholders sets the placeholders of a request. A second stream_auth on the way takes the place of the first: of
// two sources, the replacer would ask the first.
func setPlaceholders(ctx context.Context, repl *caddy.Replacer, now said) {
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	known, ok := vars[saidVar].(*said)
	if !ok {
		known = new(said)
		repl.Map(known.placeholder)
		if vars != nil {
			vars[saidVar] = known
		}
	}
	*known = now
}

// placeholder gives the value of one, for caddy.Replacer.
func (s *said) placeholder(placeholder string) (any, bool) {
	name, ok := strings.CutPrefix(placeholder, "http.stream_auth.")
	if !ok {
		return nil, false
	}
	switch name {
	case "decision":
		return s.decision, true
	case "rule":
		return s.rule, true
	case "reason":
		return s.reason, true
	case "stream":
		return s.stream, true
	case "mode":
		return s.mode, true
	case "dialect":
		return s.dialect, true
	default:
		return nil, false
	}
}
