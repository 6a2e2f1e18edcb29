package schemes

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

// readBlock reads a block whose name takes no arguments, each line of it with option, whose cursor is on the line's word.
func readBlock(d *caddyfile.Dispenser, option func(*caddyfile.Dispenser) error) error {
	d.Next() // its own name
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := option(d); err != nil {
			return err
		}
	}
	return nil
}
