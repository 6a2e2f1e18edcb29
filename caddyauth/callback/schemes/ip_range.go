package schemes

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/ipset"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(IPRange{})
}

// presets are the addresses from which senders say that they call.
var presets = map[string][]string{
	// learn.microsoft.com, "Secure webhook endpoints and websocket connections" of Azure Communication Services
	"azure_call_automation": {
		"52.112.0.0/14", "52.122.0.0/15", "2603:1027::/48", "2603:1037::/48", "2603:1047::/48", "2603:1057::/48",
		"2603:1063::/38", "2620:1ec:6::/48", "2620:1ec:40::/42",
	},
	// api.support.vonage.com, addresses of the Video API's callbacks
	"vonage_video": {"216.147.0.0/18"},
	// the same as Caddy's own private_ranges
	"private_ranges": {"192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.1/8", "fd00::/8", "::1"},
}

// IPRange accepts requests from certain addresses, and refuses others with 403. It proves little by itself: put a
// scheme that signs beside it.
//
// The address is Caddy's client IP. Behind a proxy, name that proxy in the server's `trusted_proxies` and set
// `trusted_proxies_strict`: without the latter Caddy takes the left-most address in X-Forwarded-For, which the sender can
// make up. Where that header then holds more than one address, the request is refused.
type IPRange struct {
	// Addresses, ranges in CIDR notation, and presets: `azure_call_automation`, `vonage_video`, `private_ranges`. Values
	// take `{env.*}` and `{file.*}` placeholders; one may stand for several, with spaces between them.
	Ranges []string `json:"ranges,omitempty"`

	set ipset.Set
}

// CaddyModule returns the Caddy module information.
func (IPRange) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.ip_range",
		New: func() caddy.Module { return new(IPRange) },
	}
}

// Provision resolves the ranges.
func (i *IPRange) Provision(ctx caddy.Context) error {
	texts, err := credential.Texts("ip_range", i.Ranges)
	if err != nil {
		return err
	}
	var prefixes []netip.Prefix
	for n, text := range texts {
		for field := range strings.FieldsSeq(text) {
			parsed, err := parseRange(field)
			if err != nil {
				// The value as it is configured: what a placeholder stands for is not to be shown.
				return fmt.Errorf("ip_range: '%s': %v", i.Ranges[n], err)
			}
			prefixes = append(prefixes, parsed...)
		}
	}
	if len(prefixes) == 0 {
		return errors.New("ip_range is empty: it needs an address, a range or a preset")
	}
	for _, prefix := range prefixes {
		if prefix.Bits() == 0 {
			ctx.Logger().Warn("ip_range accepts every address of a family", zap.Stringer("range", prefix))
		}
	}
	i.set = ipset.New(prefixes)
	return nil
}

// parseRange reads a preset, a range or an address.
func parseRange(text string) ([]netip.Prefix, error) {
	list, ok := presets[text]
	if !ok {
		list = []string{text}
	}
	prefixes := make([]netip.Prefix, len(list))
	for n, item := range list {
		prefix, err := ipset.Parse(item)
		if err != nil {
			return nil, fmt.Errorf("%v, nor one of azure_call_automation, vonage_video, private_ranges", err)
		}
		prefixes[n] = prefix
	}
	return prefixes, nil
}

// Traits says that this is the cheapest of all checks.
func (i *IPRange) Traits() callback.Traits {
	return callback.Traits{Cost: callback.CostAddress}
}

// Verify looks the client's address up.
func (i *IPRange) Verify(r *callback.Request) callback.Verdict {
	if isClaimedAddress(r) {
		return callback.Refuse(verdict.Errorf(verdict.Denied,
			"the client address may be made up: set trusted_proxies_strict in the server's options"))
	}
	if !r.ClientIP.IsValid() {
		return callback.Refuse(verdict.Errorf(verdict.Denied, "the request has no client address"))
	}
	if !i.set.Contains(r.ClientIP) {
		return callback.Refuse(verdict.Errorf(verdict.Denied, "the client address is in none of the ranges"))
	}
	return callback.Verdict{Reason: verdict.OK}
}

// isClaimedAddress reports whether Caddy took the client's address from the left of a list to which every proxy adds on
// the right: what stands there is whatever the client sent. Caddy does so for the sake of compatibility, unless
// trusted_proxies_strict is set.
func isClaimedAddress(r *callback.Request) bool {
	ctx := r.HTTP.Context()
	if trusted, _ := caddyhttp.GetVar(ctx, caddyhttp.TrustedProxyVarKey).(bool); !trusted {
		return false
	}
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server == nil {
		return true
	}
	if server.TrustedProxiesStrict > 0 {
		return false
	}
	addresses := 0
	for _, name := range server.ClientIPHeaders {
		for _, value := range r.HTTP.Header.Values(name) {
			addresses += 1 + strings.Count(value, ",")
		}
	}
	return addresses > 1
}

// UnmarshalCaddyfile sets up the scheme from Caddyfile tokens. Syntax:
//
//	ip_range <address|range|preset>...
func (i *IPRange) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // its own name
	if err := credential.Many(d, &i.Ranges); err != nil {
		return err
	}
	for _, text := range i.Ranges {
		if strings.Contains(text, "{") {
			continue // a placeholder: it is resolved when the config is loaded
		}
		if _, err := parseRange(text); err != nil {
			return d.Errf("ip_range: '%s': %v", text, err)
		}
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("ip_range has no options: '%s'", d.Val())
	}
	return nil
}

// Interface guards
var (
	_ caddy.Module          = (*IPRange)(nil)
	_ caddy.Provisioner     = (*IPRange)(nil)
	_ caddyfile.Unmarshaler = (*IPRange)(nil)
	_ callback.Scheme       = (*IPRange)(nil)
)
