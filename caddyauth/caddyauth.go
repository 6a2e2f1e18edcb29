// Package caddyauth decides, inside Caddy, who may call your webhooks and who may publish or play your streams.
//
// Two handlers stand at the door. `callback_auth` verifies signed callbacks and calls the next handler only for what is
// genuine; `stream_auth` answers the authorization hooks of media servers from a few readable rules. One way through
// the house:
//
//	request ─► callback_auth ─► scheme(s) ─► verdict ─► replay ─► next handler
//	request ─► stream_auth ─► dialect.Decode ─► rules (tokens, sessions) ─► decision ─► dialect.Encode ─► media server
//
// The rooms:
//
//   - verdict: what a check can come to; reasons and their statuses
//   - credential: secrets as they stand in a configuration
//   - callback: the handler callback_auth, and what a scheme promises; callback/schemes: one file a scheme
//   - stream: the handler stream_auth, its rules and tokens, and what a dialect promises; stream/dialects: one file a
//     media server
//   - app: the app caddyauth: what the handlers share; store: where message ids and sessions are remembered
//   - token: how tokens are checked, for callbacks and streams alike
//   - inspect: what was decided, on the admin endpoint: as JSON, live, and as a page for a browser
//   - command: `caddy caddyauth`: sign, token, explain; testbed: a Caddyfile run for a test
//   - internal: plain Go that knows nothing of Caddy: tokens, strict JSON, passwords, secrets that never print
//
// Importing this package registers all of them.
package caddyauth

import (
	// Each import registers the modules of a room.
	_ "github.com/caddyauth/callbacks/caddyauth/app"
	_ "github.com/caddyauth/callbacks/caddyauth/callback"
	_ "github.com/caddyauth/callbacks/caddyauth/callback/schemes"
	_ "github.com/caddyauth/callbacks/caddyauth/command"
	_ "github.com/caddyauth/callbacks/caddyauth/inspect"
	_ "github.com/caddyauth/callbacks/caddyauth/store"
	_ "github.com/caddyauth/callbacks/caddyauth/stream"
	_ "github.com/caddyauth/callbacks/caddyauth/stream/dialects"
)
