package app

import (
	"context"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// AccessLogged reports whether what a handler adds to the access-log entry of a request may be wanted. A server without
// `log` writes no entries, and to make their fields all the same would be most of what a verdict leaves behind.
func AccessLogged(ctx context.Context) bool {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return !ok || server == nil || server.Logs != nil
}
