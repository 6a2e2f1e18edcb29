package app

import (
	"strconv"

	"github.com/caddyauth/callbacks/caddyauth/store"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("caddyauth", parseGlobalOption)
}

// parseGlobalOption sets up the app from the global option `caddyauth`.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	a := new(App)
	if err := a.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	if existing != nil {
		return nil, d.Err("the global option caddyauth is already specified")
	}
	return httpcaddyfile.App{Name: "caddyauth", Value: caddyconfig.JSON(a, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from Caddyfile tokens. Syntax:
//
//	caddyauth {
//		store memory {
//			max_entries <n>
//		}
//		store redis <url> {
//			prefix  <text>
//			timeout <duration>
//		}
//		decisions <n>
//	}
//
// Only one store can be given.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the option's name
	if d.NextArg() {
		return d.Errf("caddyauth takes no argument: '%s' given", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "store":
			if a.StoreRaw != nil {
				return d.Err("store is already specified")
			}
			if !d.NextArg() {
				return d.Err("store takes the name of a store, such as memory or redis")
			}
			name := d.Val()
			module, err := caddyfile.UnmarshalModule(d, store.Namespace+"."+name)
			if err != nil {
				return err
			}
			if _, ok := module.(store.Store); !ok {
				return d.Errf("store %s: %T is not a store.Store", name, module)
			}
			a.StoreRaw = caddyconfig.JSONModuleObject(module, "store", name, nil)
		case "decisions":
			if a.Decisions != nil {
				return d.Err("decisions is already specified")
			}
			args := d.RemainingArgs()
			if len(args) != 1 {
				return d.Errf("decisions takes one argument: %d given", len(args))
			}
			n, err := strconv.Atoi(args[0])
			if err != nil || n < 0 {
				return d.Errf("decisions: '%s' is not a number of decisions", args[0])
			}
			a.Decisions = &n
		default:
			return d.Errf("unknown option of caddyauth: '%s'", d.Val())
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*App)(nil)
