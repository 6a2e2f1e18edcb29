package integration

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/testbed"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/logging"
)

// corpus is every kind of request that we have, good and bad, for one site with every scheme and every dialect. Its
// secrets are in the environment, and every URL that a request can name is the canary's.
type corpus struct {
	t       *testing.T
	site    strings.Builder
	routes  int
	secrets []string
	cases   []corpusCase
	order   *rand.Rand
	canary  *canary
	sent    atomic.Int64 // redirects to the canary that were answered
}

// corpusCase is one request, and the time at which it is sent.
type corpusCase struct {
	name string
	make func() *http.Request
	now  time.Time
}

// canary is a server that nobody has a reason to call.
type canary struct {
	url   string
	calls atomic.Int64
}

func newCanary(t *testing.T) *canary {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &canary{url: "http://" + listener.Addr().String()}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			c.calls.Add(1)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	return c
}

// secret puts a value into the environment and gives the placeholder for it.
func (c *corpus) secret(value string) string {
	name := fmt.Sprintf("CADDYAUTH_CORPUS_%d", len(c.secrets))
	c.t.Setenv(name, value)
	c.secrets = append(c.secrets, value)
	return "{env." + name + "}"
}

// route adds a route to the site, and returns what leads a request there.
func (c *corpus) route(block string) (name string) {
	c.routes++
	name = fmt.Sprint("case-", c.routes)
	fmt.Fprintf(&c.site, "\t@%s header X-Case %s\n\thandle @%s {\n%s\n\t\trespond received\n\t}\n", name, name, name, block)
	return name
}

func (c *corpus) add(name, route string, now time.Time, request func() *http.Request) {
	c.cases = append(c.cases, corpusCase{fmt.Sprintf("%s %d", name, len(c.cases)), func() *http.Request {
		r := request()
		r.Header.Set("X-Case", route)
		return r
	}, now})
}

func (c *corpus) text() string {
	return "http:// {\n\tlog\n" +
		"\tlog_append p1 \"{http.auth.user.id} {http.callback_auth.scheme} {http.callback_auth.reason} {http.callback_auth.key} {http.callback_auth.id}\"\n" +
		"\tlog_append p2 \"{http.stream_auth.decision} {http.stream_auth.rule} {http.stream_auth.reason} {http.stream_auth.stream} {http.stream_auth.mode}\"\n" +
		c.site.String() + "}\n"
}

var seed = flag.Uint64("seed", rand.Uint64(), "what the corpus is shuffled by, to run it again as it was")

func newCorpus(t *testing.T) *corpus {
	t.Helper()
	c := &corpus{t: t, canary: newCanary(t)}
	c.senders()
	c.schemes()
	c.dialects()
	t.Logf("the corpus is in the order of -seed %d", *seed)
	c.order = rand.New(rand.NewPCG(*seed, 0)) //nolint:gosec // it orders a test
	if !*long {                               // a quarter of it, another one each time
		c.order.Shuffle(len(c.cases), func(i, j int) { c.cases[i], c.cases[j] = c.cases[j], c.cases[i] })
		c.cases = c.cases[:len(c.cases)/4]
	}
	return c
}

// senders are the genuine requests of named senders, and what can be made of each.
func (c *corpus) senders() {
	text, err := os.ReadFile("../callback/schemes/testdata/vectors.json")
	if err != nil {
		c.t.Fatal(err)
	}
	var vectors []struct {
		Name, Sender, Method, URL, Body string
		Options                         []string
		Header                          map[string]string
		Now                             int64
	}
	if err := json.Unmarshal(text, &vectors); err != nil || len(vectors) < 20 {
		c.t.Fatal(len(vectors), err)
	}
	for _, v := range vectors {
		var options []string
		for _, option := range v.Options {
			words := strings.Fields(option)
			if last := len(words) - 1; !strings.Contains(option, `"`) && (words[0] == "secret" && last == 1 || words[0] == "account" && last == 2) {
				words[last] = c.secret(words[last])
				option = strings.Join(words, " ")
			}
			options = append(options, option)
		}
		route := c.route("callback_auth {\n" + v.Sender + " {\n" + strings.Join(options, "\n") + "\n}\nreplay off\n}")
		for _, change := range []func(*http.Request){
			func(*http.Request) {},
			func(r *http.Request) { r.Method = http.MethodPut },
			func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") },
			func(r *http.Request) { r.URL.RawQuery += "&x=1" },
			func(r *http.Request) {
				for name, values := range r.Header {
					r.Header.Set(name, values[0]+"0")
				}
			},
			func(r *http.Request) {
				for name, values := range r.Header {
					r.Header[name] = append(values, values[0])
				}
			},
			func(r *http.Request) { r.Header = make(http.Header) },
		} {
			for _, body := range []string{v.Body, v.Body + " ", strings.Replace(v.Body, "http", c.canary.url+"/http", 1)} {
				for _, late := range []time.Duration{0, 24 * time.Hour} {
					c.add(v.Name, route, time.Unix(v.Now, 0).Add(late), func() *http.Request {
						r := httptest.NewRequest(v.Method, v.URL, strings.NewReader(body))
						for name, value := range v.Header {
							r.Header.Set(name, value)
						}
						change(r)
						return r
					})
				}
			}
		}
		for name, value := range v.Header {
			if name != "Content-Type" && name != "User-Agent" && !strings.Contains(strings.ToLower(name), "time") {
				c.secrets = append(c.secrets, value)
			}
		}
	}
}

// schemes are the others, with credentials that are good, almost good, of each other, and full of other people's URLs.
func (c *corpus) schemes() {
	const secret, password, key, client = "corpus-secret-0123456789abcdef-01234", "corpus-password-0123456789", "corpus-key-0123456789abcdef-0123", "corpus-client-secret-0123456789"
	away := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.sent.Add(1)
		http.Redirect(w, r, c.canary.url+"/away", http.StatusFound)
	}))
	c.t.Cleanup(away.Close)
	now := time.Now()
	claims := map[string]any{"exp": now.Add(time.Hour).Unix(), "iat": now.Unix(), "sub": "somebody", "aud": "us", "iss": c.canary.url, "jti": "corpus"}
	pointing := map[string]any{"kid": c.canary.url + "/kid", "jku": c.canary.url + "/jku", "x5u": c.canary.url + "/x5u", "jwk": map[string]any{"kty": "oct", "k": "AAAA"}}
	with := func(header, more map[string]any) map[string]any {
		all := maps.Clone(header)
		maps.Copy(all, more)
		return all
	}
	credentials := []string{
		secret, password, key, client, "corpus-opaque-token-0123456789abcdef",
		base64.StdEncoding.EncodeToString([]byte("ringo:" + password)),
		testbed.HS256(c.t, secret, nil, testbed.VonageClaims("{}", nil)),
		testbed.HS256(c.t, secret, nil, claims),
		testbed.HS256(c.t, secret, pointing, claims),
		testbed.HS256(c.t, secret, with(pointing, map[string]any{"alg": "RS256"}), claims),
		testbed.HS256(c.t, secret, with(pointing, map[string]any{"alg": "ES256", "crit": []string{"jku"}}), claims),
		testbed.HS256(c.t, secret, map[string]any{"alg": "none"}, claims),
		testbed.HS256(c.t, secret, map[string]any{"alg": "HS512"}, claims),
		testbed.HS256(c.t, secret, map[string]any{"alg": "RS256", "kid": "1"}, with(claims, map[string]any{"iss": away.URL})),
		testbed.HS256(c.t, "another secret, of 32 characters", nil, claims),
	}
	c.secrets = append(c.secrets, credentials...)
	for _, token := range credentials {
		if parts := strings.Split(token, "."); len(parts) == 3 {
			c.secrets = append(c.secrets, parts[2])
		}
	}
	for name, config := range map[string]string{
		"vonage":        "vonage {\nsecret " + c.secret(secret) + "\n}\nreplay off",
		"vonage_sms":    "vonage_sms {\nsecret " + c.secret(secret) + "\n}",
		"jwt":           "jwt {\nsecret " + c.secret(secret) + "\n}",
		"jwt by query":  "jwt {\nsecret " + c.secret(secret) + "\nfrom query key\n}",
		"jwt by jwks":   "jwt {\njwks " + away.URL + "/jwks\naudience us\n}",
		"basic":         "basic {\nuser ringo " + c.secret(password) + "\n}",
		"api_key":       "api_key {\nheader X-Key\nkey " + c.secret(key) + "\n}",
		"api_key query": "api_key {\nquery key\nkey " + c.secret(key) + "\n}",
		"hmac":          "hmac {\nsecret " + c.secret(secret) + "\nheader X-Key\n}",
		"ip_range":      "ip_range 192.0.2.0/24\napi_key {\nquery key\nkey " + c.secret(key) + "\n}",
		"introspection": "oauth2 {\naudience us\nintrospection " + away.URL + "/introspect {\nclient_id we\nclient_secret " + c.secret(client) + "\n}\n}",
		"issuer":        "oauth2 {\naudience us\nissuer " + away.URL + "\n}",
		"azure":         "azure_call_automation {\naudience us\nopenid_configuration " + away.URL + "/configuration\n}",
		"event grid":    "azure_event_grid\napi_key {\nquery key\nkey " + c.secret(key) + "\n}",
		"any":           "any {\napi_key {\nquery key\nkey " + c.secret(key) + "\n}\nbasic {\nuser ringo " + c.secret(password) + "\n}\n}",
	} {
		route := c.route("callback_auth {\n" + config + "\n}")
		for _, credential := range credentials {
			for _, place := range []func(*http.Request){
				func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+credential) },
				func(r *http.Request) { r.Header.Set("Authorization", "Basic "+credential) },
				func(r *http.Request) { r.Header.Set("Authorization", credential) },
				func(r *http.Request) { r.Header.Set("X-Key", credential) },
				func(r *http.Request) { r.URL.RawQuery = "key=" + url.QueryEscape(credential) + "&sig=x" },
				func(r *http.Request) { r.URL.RawQuery = "key=" + url.QueryEscape(credential) + "&key=%zz" },
				func(r *http.Request) {
					r.Method = http.MethodOptions
					r.URL.RawQuery = "key=" + url.QueryEscape(credential)
					r.Header.Set("WebHook-Request-Origin", "eventgrid.azure.net")
					r.Header.Set("WebHook-Request-Callback", c.canary.url+"/callback")
				},
			} {
				for _, body := range []string{
					"{}",
					`[{"id":"1","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"0","validationUrl":"` + c.canary.url + `/validate"}}]`,
				} {
					c.add(name, route, now, func() *http.Request {
						r := httptest.NewRequest(http.MethodPost, "http://hooks.test/", strings.NewReader(body))
						r.Header.Set("Content-Type", "application/json")
						r.Header.Set("X-Forwarded-Host", strings.TrimPrefix(c.canary.url, "http://"))
						r.Header.Set("Referer", c.canary.url)
						if strings.HasPrefix(body, "[") {
							r.Header.Set("Aeg-Event-Type", "SubscriptionValidation")
						}
						place(r)
						return r
					})
				}
			}
		}
	}
}

// dialects are the media servers' hooks, with a client whose tokens are good, wrong or in the wrong place.
func (c *corpus) dialects() {
	const static, secret, password = "corpus-static-token-0123456789", "corpus-stream-secret-0123456789abcd", "corpus-viewer-password-0123456789"
	now := time.Now()
	signed := testbed.HS256(c.t, secret, map[string]any{"kid": "1", "typ": "JWT"}, map[string]any{"exp": now.Add(time.Hour).Unix(), "stream": "live/cam1"})
	c.secrets = append(c.secrets, static, password, signed, strings.Split(signed, ".")[2])
	for _, id := range caddy.Modules() {
		dialect, ok := strings.CutPrefix(id, "http.stream_auth.dialects.")
		if !ok {
			continue
		}
		options := ""
		if dialect == "http" {
			options = "path /hls/{app}/{stream}/*\n"
		}
		route := c.route("stream_auth " + dialect + " {\n" + options + "token fixed {\nstatic " + c.secret(static) + "\n}\ntoken signed {\njwt {\nsecret " + c.secret(secret) +
			"\n}\n}\nallow viewers {\ntoken valid\n}\n}")
		for _, credential := range []string{static, signed, password, signed + "x", ""} {
			for _, mount := range []string{"/live/cam1", "/live/cam1?token=" + credential} {
				values := map[string]string{
					"action": "listener_add", "mount": mount, "client": "7", "clientId": "7", "client_id": "7", "server": "s", "port": "80", "user": "viewer",
					"pass": credential, "password": credential, "ip": "203.0.113.7", "agent": "player", "app": "live", "name": "cam1", "stream": "cam1",
					"streamId": "cam1", "path": "live/cam1", "call": "play", "event": "play", "mode": "play", "param": "?token=" + credential, "params": "token=" + credential,
					"token": credential, "query": "token=" + credential, "addr": "203.0.113.7", "protocol": "hls", "tcUrl": c.canary.url + "/live?token=" + credential,
					"url": c.canary.url + "/live/cam1?token=" + credential, "psk": credential, "swfurl": c.canary.url, "pageurl": c.canary.url, "pageUrl": c.canary.url, "schema": "rtmp", "vhost": "v",
				}
				form := make(url.Values)
				for name, value := range values {
					form.Set(name, value)
				}
				object, err := json.Marshal(values)
				if err != nil {
					c.t.Fatal(err)
				}
				for kind, body := range map[string]string{"application/x-www-form-urlencoded": form.Encode(), "application/json": string(object), "text/plain": credential} {
					c.add(dialect, route, now, func() *http.Request {
						r := httptest.NewRequest(http.MethodPost, "http://hooks.test/hls/live/cam1/index.m3u8?action=on_play&token="+credential, strings.NewReader(body))
						r.Header.Set("Content-Type", kind)
						r.Header.Set("Authorization", "Bearer "+credential)
						return r
					})
				}
			}
		}
	}
}

// run sends all of it, in an order of its own each time, and returns what became of each request.
func (c *corpus) run(bed *testbed.Bed) map[string]string {
	verdicts := make(map[string]string, len(c.cases))
	for _, i := range c.order.Perm(len(c.cases)) {
		one := c.cases[i]
		r := one.make()
		result := bed.Do(c.t, r.WithContext(clock.At(c.t.Context(), one.now)))
		reached := result.Body == "received"
		header := slices.Sorted(maps.Keys(result.Header))
		verdicts[one.name] = fmt.Sprint(result.Status, reached, header, result.Header["Icecast-Auth-User"], result.Header.Values("WWW-Authenticate"), len(result.Body))
	}
	return verdicts
}

// The same request gets the same verdict, whatever came before it.
func TestReliabilityR23SameVerdicts(t *testing.T) {
	c := newCorpus(t)
	bed := testbed.New(t, c.text())
	first := c.run(bed)
	for _, fault := range []string{"panic while verifying a callback", "panic while judging a stream hook"} {
		if lines := bed.Logs.Lines(t, fault); len(lines) > 0 {
			t.Errorf("%d times: %s", len(lines), fault)
		}
	}
	for name, v := range first {
		if strings.HasPrefix(v, "5") && !strings.HasPrefix(v, "503") {
			t.Errorf("%s: %s", name, v)
		}
	}
	for range 2 {
		again := c.run(testbed.New(t, c.text()))
		for _, one := range c.cases {
			if first[one.name] != again[one.name] {
				t.Errorf("%s: %s, then %s", one.name, first[one.name], again[one.name])
			}
		}
	}
	counts := make(map[string]int)
	for _, v := range first {
		counts[v[:3]]++
	}
	if counts["200"] < 50 || counts["401"] < 50 || counts["403"] < 3 {
		t.Errorf("the corpus is no corpus: %v", counts)
	}
	held(t, "%d requests to %d routes, 3 times in random order: the same verdicts (%v)", len(c.cases), c.routes, counts)
}

// No secret stands in a log line at any level, a decision, a metric or the configuration. What Caddy itself logs of a
// request is for the filter of the README, and left out here.
func TestReliabilityR24NoSecretIsShown(t *testing.T) {
	c := newCorpus(t)
	bed := testbed.New(t, c.text())
	c.run(bed)
	var shown strings.Builder
	lines := 0
	for line := range strings.Lines(bed.Logs.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		delete(entry, "request")
		encoder := json.NewEncoder(&shown)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(entry); err != nil {
			t.Fatal(err)
		}
		lines++
	}
	if lines < len(c.cases) {
		t.Errorf("%d lines for %d requests: there is nothing to find", lines, len(c.cases))
	}
	rows, err := json.Marshal(app.Decisions().Latest(1000, 0))
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(rows)
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if err := new(app.App).Provision(ctx); err != nil {
		t.Fatal(err)
	}
	families, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		shown.WriteString(family.String())
	}
	config, _, err := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}.Adapt([]byte(c.text()), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(config) // as /config/ gives it
	// What is short, such as the secret `secret` or an id, stands everywhere.
	secrets := slices.DeleteFunc(slices.Clone(c.secrets), func(secret string) bool { return len(secret) < 20 })
	slices.Sort(secrets)
	secrets = slices.Compact(secrets)
	hits := 0
	for _, secret := range secrets {
		for _, form := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
			if at := strings.Index(shown.String(), form); at >= 0 {
				hits++
				t.Errorf("a secret or credential of %d bytes shows after %q", len(secret), shown.String()[max(0, at-120):at])
			}
		}
	}
	held(t, "%d requests: %d secrets and credentials looked for, in 3 spellings, in %d log lines at DEBUG, %d bytes with decisions, metrics and configuration: %d hits",
		len(c.cases), len(secrets), lines, shown.Len(), hits)
}

// Nothing that a request or another server says makes us call somebody whom the configuration does not name.
func TestReliabilityR25Canary(t *testing.T) {
	c := newCorpus(t)
	c.run(testbed.New(t, c.text()))
	if calls := c.canary.calls.Load(); calls != 0 {
		t.Errorf("the canary was called %d times", calls)
	}
	if c.sent.Load() == 0 {
		t.Error("CONTROL: no server of ours was asked, and could redirect")
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.canary.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	eventually(t, "CONTROL: the canary sings", func() bool { return c.canary.calls.Load() == 1 })
	held(t, "%d requests that name a canary in jku, x5u, kid, iss, bodies and headers, and %d redirects to it: no connection", len(c.cases), c.sent.Load())
}
