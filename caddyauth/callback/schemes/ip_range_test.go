package schemes_test

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"

	"github.com/caddyserver/caddy/v2"
)

// from is a request that comes from an address, with these X-Forwarded-For headers.
func from(remoteAddr string, forwardedFor ...string) *http.Request {
	r := get("/hook", "", "")
	r.RemoteAddr = remoteAddr
	if forwardedFor != nil {
		r.Header["X-Forwarded-For"] = forwardedFor
	}
	return r
}

const azure = "callback_auth ip_range azure_call_automation"

func TestIPRangeAttackCases(t *testing.T) {
	bed := testbed.New(t, site(azure))
	// behind is the same site behind a proxy at 10.0.0.1, with an option of the server's.
	behind := func(t *testing.T, option string) *testbed.Bed {
		t.Helper()
		return testbed.New(t, "{\nservers {\ntrusted_proxies static 10.0.0.0/8\n"+option+"\n}\n}\n"+site(azure))
	}

	t.Run("ip-allowed", func(t *testing.T) {
		expect(t, bed.Do(t, from("52.112.1.1:443")), 200)
		expect(t, bed.Do(t, from("[2603:1063:3f::1]:443")), 200)
		expect(t, bed.Do(t, from("52.116.0.0:443")), 403)
		expect(t, bed.Do(t, from("192.0.2.1:443")), 403)
	})
	t.Run("ip-xff-leftmost", func(t *testing.T) {
		bed := behind(t, "")
		expect(t, bed.Do(t, from("10.0.0.1:1", "52.112.1.1, 9.9.9.9")), 403)
		if !strings.Contains(bed.Logs.String(), "set trusted_proxies_strict") {
			t.Error("the log does not say what to do")
		}
		expect(t, bed.Do(t, from("10.0.0.1:1", "52.112.1.1")), 200)
		expect(t, bed.Do(t, from("10.0.0.1:1", ", 52.112.1.1")), 403)

		bed = behind(t, "trusted_proxies_strict")
		expect(t, bed.Do(t, from("10.0.0.1:1", "52.112.1.1, 9.9.9.9")), 403)
		expect(t, bed.Do(t, from("10.0.0.1:1", "9.9.9.9, 52.112.1.1")), 200)
		expect(t, bed.Do(t, from("10.0.0.1:1", "9.9.9.9, 52.112.1.1, 10.0.0.2")), 200)
	})
	t.Run("ip-xff-multi-lines", func(t *testing.T) {
		expect(t, behind(t, "").Do(t, from("10.0.0.1:1", "52.112.1.1", "9.9.9.9", "10.0.0.2")), 403)
		expect(t, behind(t, "trusted_proxies_strict").Do(t, from("10.0.0.1:1", "52.112.1.1", "9.9.9.9", "10.0.0.2")), 403)
		expect(t, behind(t, "trusted_proxies_strict").Do(t, from("10.0.0.1:1", "9.9.9.9", "52.112.1.1", "10.0.0.2")), 200)
	})
	t.Run("nobody is believed who is not a trusted proxy", func(t *testing.T) {
		for _, bed := range []*testbed.Bed{bed, behind(t, ""), behind(t, "trusted_proxies_strict")} {
			expect(t, bed.Do(t, from("192.0.2.1:1", "52.112.1.1")), 403)
			expect(t, bed.Do(t, from("52.112.1.1:1", "192.0.2.1, 192.0.2.2")), 200)
		}
	})
	t.Run("two headers with an address each are two claims", func(t *testing.T) {
		r := from("10.0.0.1:1", "9.9.9.9")
		r.Header.Set("X-Real-Ip", "52.112.1.1")
		expect(t, behind(t, "client_ip_headers X-Real-Ip X-Forwarded-For").Do(t, r), 403)
	})
	t.Run("ip-4in6-peer", func(t *testing.T) { expect(t, bed.Do(t, from("[::ffff:52.112.1.1]:443")), 200) })
	// There are no deny lists here; what is not in the allow list is refused in either spelling.
	t.Run("ip-4in6-deny", func(t *testing.T) {
		expect(t, bed.Do(t, from("[::ffff:10.0.0.1]:443")), 403)
		expect(t, testbed.New(t, site("callback_auth ip_range ::/0")).Do(t, from("[::ffff:10.0.0.1]:443")), 403)
	})
	t.Run("ip-4in6-config", func(t *testing.T) {
		bed := testbed.New(t, site("callback_auth ip_range ::ffff:52.112.0.0/110"))
		expect(t, bed.Do(t, from("52.112.1.1:443")), 200)
		expect(t, bed.Do(t, from("[::ffff:52.115.1.1]:443")), 200)
		expect(t, bed.Do(t, from("52.116.0.0:443")), 403)
	})
	t.Run("ip-zone", func(t *testing.T) {
		expect(t, testbed.New(t, site("callback_auth ip_range fe80::/10")).Do(t, from("[fe80::1%eth0]:443")), 200)
	})
	t.Run("ip-any", func(t *testing.T) {
		for _, everything := range []string{"0.0.0.0/0", "::/0", "::ffff:0:0/96"} {
			t.Run(everything, func(t *testing.T) {
				if logs := testbed.New(t, site("callback_auth ip_range "+everything)).Logs.String(); !strings.Contains(logs, "accepts every address") {
					t.Error("no warning")
				}
			})
		}
		if strings.Contains(bed.Logs.String(), "accepts every address") {
			t.Error("a warning without cause")
		}
	})
	t.Run("ip-empty-list", func(t *testing.T) {
		t.Setenv("IP_EMPTY", "")
		t.Setenv("IP_BLANK", "  ")
		for _, name := range []string{"IP_EMPTY", "IP_BLANK"} {
			if text := testbed.Refusal(t, site("callback_auth ip_range {env."+name+"}")); !strings.Contains(text, "ip_range is empty") {
				t.Errorf("%s: %s", name, text)
			}
		}
	})
	t.Run("ip-early-data", func(t *testing.T) {
		r := from("52.112.1.1:443")
		r.TLS = &tls.ConnectionState{HandshakeComplete: false}
		expect(t, bed.Do(t, r), 425)
	})
	both := testbed.New(t, site("callback_auth {\napi_key {\nheader X-Key\nkey "+goodKey+"\n}\nip_range azure_call_automation\n}"))
	signed := func(remoteAddr, key string) *http.Request {
		r := from(remoteAddr)
		r.Header.Set("X-Key", key)
		return r
	}
	t.Run("ip-and-signature", func(t *testing.T) {
		expect(t, both.Do(t, signed("52.112.1.1:443", "bad")), 401)
		expect(t, both.Do(t, signed("52.112.1.1:443", goodKey)), 200)
	})
	t.Run("ip-signature-wrong-ip", func(t *testing.T) {
		expect(t, both.Do(t, signed("192.0.2.1:443", goodKey)), 403)
	})
	// The plugin is no provider of Caddy's `authentication`, where one that accepts is enough.
	t.Run("ip-spoof-then-auth-provider", func(t *testing.T) {
		for _, info := range caddy.GetModules("http.authentication.providers") {
			if strings.Contains(string(info.ID), "callback") {
				t.Errorf("%s is registered", info.ID)
			}
		}
	})
	t.Run("a request without an address is refused", func(t *testing.T) {
		expect(t, testbed.New(t, site("callback_auth ip_range 0.0.0.0/0 ::/0")).Do(t, from("@")), 403)
	})
}

func TestIPRangeConfig(t *testing.T) {
	t.Setenv("IP_LIST", "192.0.2.0/24 2001:db8::1\nprivate_ranges")
	bed := testbed.New(t, site("callback_auth ip_range {env.IP_LIST} 198.51.100.7 vonage_video"))
	for addr, status := range map[string]int{
		"192.0.2.200:1": 200, "[2001:db8::1]:1": 200, "[2001:db8::2]:1": 403, "10.1.2.3:1": 200, "127.0.0.1:1": 200, "[::1]:1": 200,
		"[fd12::1]:1": 200, "198.51.100.7:1": 200, "198.51.100.8:1": 403, "216.147.63.255:1": 200, "216.147.64.0:1": 403,
	} {
		t.Run(addr, func(t *testing.T) { expect(t, bed.Do(t, from(addr)), status) })
	}
	adaptsBothWays(t, "ip_range", []fixture{
		{"ranges", "ip_range 192.0.2.0/24 private_ranges {env.IPS}", `{"ranges":["192.0.2.0/24","private_ranges","{env.IPS}"]}`},
	})
	t.Setenv("IP_BAD", "hush")
	refusesMistakes(t, []mistake{
		{"no range", "ip_range", []string{"ip_range takes one or more arguments", "Caddyfile:3"}},
		{"a word that is no range", "ip_range 10.0.0.0/8 azure", []string{"'azure'", "azure_call_automation", "Caddyfile:3"}},
		{"too many bits", "ip_range 10.0.0.0/33", []string{"'10.0.0.0/33'", "Caddyfile:3"}},
		{"an empty word", `ip_range ""`, []string{"empty argument", "Caddyfile:3"}},
		{"a variable that is no range", "ip_range {env.IP_BAD}", []string{"'{env.IP_BAD}'", "not an IP address"}},
		{"a variable that is not set", "ip_range {env.IP_UNSET}", []string{"{env.IP_UNSET}"}},
		{"a block", "ip_range 10.0.0.1 {\nallow 10.0.0.2\n}", []string{"'allow'", "Caddyfile:4"}},
	})
}
