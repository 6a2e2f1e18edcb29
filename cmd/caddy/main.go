// Command caddy is stock Caddy with the caddyauth plugin: what
// `xcaddy build --with github.com/caddyauth/callbacks/caddyauth` builds.
package main

import (
	_ "time/tzdata"

	_ "github.com/caddyauth/callbacks/caddyauth"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddycmd.Main()
}
