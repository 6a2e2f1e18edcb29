package schemes_test

import (
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

const (
	gridTenant = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"
	gridApp    = "4962773b-9cdb-44cf-a8bf-237846a00ab7"
	gridKey    = "event-grid-key-0123456789abcdef0"
	gridCode   = "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"

	eventGridType  = "application/json; charset=utf-8"
	cloudEventType = "application/cloudevents+json; charset=utf-8"

	gridEvent  = `[{"id":"e1","topic":"/t","subject":"s","data":{},"eventType":"Example.Happened","eventTime":"2026-11-22T00:00:00Z","dataVersion":"1"}]`
	cloudEvent = `{"id":"e1","source":"/t","type":"Example.Happened","specversion":"1.0","data":{}}`
)

// validating is a SubscriptionValidation event.
func validating(code, url string) string {
	return `[{"id":"v1","topic":"/t","subject":"","data":{"validationCode":"` + code + `","validationUrl":"` + url + `"},` +
		`"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","eventTime":"2026-11-22T00:00:00Z","metadataVersion":"1","dataVersion":"1"}]`
}

// deliver is a delivery with these headers, in pairs.
func deliver(method, target, body string, header ...string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for n := 0; n < len(header); n += 2 {
		r.Header.Add(header[n], header[n+1])
	}
	return r
}

// keyed is a block whose subscriptions carry a key in their URL.
func keyed(options string) string {
	return site("callback_auth {\napi_key {\nquery key\nkey " + gridKey + "\n}\nazure_event_grid {\n" + options + "\n}\n}")
}

func TestEventGridDeliveriesInBothSchemas(t *testing.T) {
	bed := testbed.New(t, keyed("subscription Orders other"))
	target := "/events?key=" + gridKey
	for _, c := range []struct {
		name   string
		r      *http.Request
		status int
	}{
		{"Event Grid schema", deliver("POST", target, gridEvent, "Content-Type", eventGridType, "aeg-event-type", "Notification", "aeg-subscription-name", "ORDERS"), 200},
		{"CloudEvents", deliver("POST", target, cloudEvent, "Content-Type", cloudEventType, "aeg-subscription-name", "ORDERS", "WebHook-Request-Origin", "eventgrid.azure.net"), 200},
		{"CloudEvents in a batch", deliver("POST", target, "["+cloudEvent+"]", "Content-Type", "application/cloudevents-batch+json", "aeg-subscription-name", "OTHER"), 200},
		{"a SubscriptionDeletion", deliver("POST", target, gridEvent, "Content-Type", eventGridType, "aeg-event-type", "SubscriptionDeletion", "aeg-subscription-name", "ORDERS"), 200},
		{"another subscription", deliver("POST", target, gridEvent, "Content-Type", eventGridType, "aeg-subscription-name", "ORDERS2"), 403},
		{"no subscription", deliver("POST", target, gridEvent, "Content-Type", eventGridType), 403},
		{"two subscriptions", deliver("POST", target, gridEvent, "Content-Type", eventGridType, "aeg-subscription-name", "ORDERS", "aeg-subscription-name", "X"), 400},
		{"no key, another subscription", deliver("POST", "/events", gridEvent, "Content-Type", eventGridType, "aeg-subscription-name", "X"), 401},
		{"a form", deliver("POST", target, "a=b", "Content-Type", "application/x-www-form-urlencoded", "aeg-subscription-name", "ORDERS"), 415},
		{"another charset", deliver("POST", target, gridEvent, "Content-Type", "application/json; charset=utf-16", "aeg-subscription-name", "ORDERS"), 415},
		{"no content type", deliver("POST", target, gridEvent, "aeg-subscription-name", "ORDERS"), 200},
		{"two content types", deliver("POST", target, gridEvent, "Content-Type", eventGridType, "Content-Type", "text/plain", "aeg-subscription-name", "ORDERS"), 400},
		{"a GET", deliver("GET", target, "", "aeg-subscription-name", "ORDERS"), 405},
	} {
		t.Run(c.name, func(t *testing.T) {
			result := bed.Do(t, c.r)
			expect(t, result, c.status)
			if allow := result.Header.Get("Allow"); c.status == 405 && allow != "OPTIONS, POST" {
				t.Errorf("a 405 that allows %q", allow)
			}
		})
	}
}

// Event Grid's own headers prove nothing, and to a stranger the proof is missing, however dear it is to check and
// whatever comes first in the block.
func TestEventGridIsAskedAfterWhatProvesWhoSends(t *testing.T) {
	i := newIssuer(t, "")
	schemes := []string{"azure_event_grid {\nsubscription orders\n}\n", "oauth2 {\nintrospection " + i.URL + "/introspect {\nclient_id gate\n" +
		"client_secret a-client-secret-0123456789abcdef\n}\n}\n"}
	for _, block := range []string{schemes[0] + schemes[1], schemes[1] + schemes[0]} {
		bed := testbed.New(t, site("callback_auth {\n"+block+"}"))
		challenged(t, bed.Do(t, deliver("POST", "/events", gridEvent, "Content-Type", eventGridType)), 401, bareChallenge)
		challenged(t, bed.Do(t, deliver("GET", "/events", "")), 401, bareChallenge)
	}
}

// canary counts who calls it.
func canary(t *testing.T) (url string, hits *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	hits = new(atomic.Int64)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			hits.Add(1)
			_ = conn.Close()
		}
	}()
	return "http://" + listener.Addr().String() + "/validate?id=x", hits
}

// answered wants an answer of the gate's own, with nothing at the receiver.
func answered(t *testing.T, result testbed.Result, body string) {
	t.Helper()
	if result.Status != 200 || result.Body != body || len(result.Received) != 0 {
		t.Errorf("%d %q, %d requests at the receiver; want 200 %q and none", result.Status, result.Body, len(result.Received), body)
	}
}

func TestEventGridValidationIsAnsweredOnlyWhereAllElseHolds(t *testing.T) {
	url, hits := canary(t)
	bed := testbed.New(t, keyed("subscription orders"))
	target := "/events?key=" + gridKey
	validation := func(target, body, eventType string) testbed.Result {
		return bed.Do(t, deliver("POST", target, body, "Content-Type", eventGridType, "aeg-event-type", eventType, "aeg-subscription-name", "ORDERS"))
	}
	t.Run("ht-eventgrid-validation", func(t *testing.T) {
		result := validation(target, validating(gridCode, url), "SubscriptionValidation")
		answered(t, result, `{"validationResponse":"`+gridCode+`"}`)
		if got := result.Header.Get("Content-Type"); got != "application/json" {
			t.Errorf("Content-Type %q", got)
		}
		if got := result.Header.Get("Content-Length"); got == "" {
			t.Error("no Content-Length: Event Grid may not read it")
		}
	})
	t.Run("without the key of the block", func(t *testing.T) {
		expect(t, validation("/events", validating(gridCode, url), "SubscriptionValidation"), 401)
		expect(t, validation("/events?key=wrong", validating(gridCode, url), "SubscriptionValidation"), 401)
	})
	t.Run("of another subscription", func(t *testing.T) {
		expect(t, bed.Do(t, deliver("POST", target, validating(gridCode, url), "Content-Type", eventGridType,
			"aeg-event-type", "SubscriptionValidation", "aeg-subscription-name", "STRANGER")), 403)
	})
	t.Run("a forged header opens nothing", func(t *testing.T) {
		expect(t, validation("/events", gridEvent, "SubscriptionValidation"), 401)
		for _, body := range []string{gridEvent, `[]`, `{}`, `not json`, "[" + strings.Trim(gridEvent, "[]") + "," + strings.Trim(validating(gridCode, url), "[]") + "]"} {
			result := validation(target, body, "SubscriptionValidation")
			expect(t, result, 200) // a delivery like any other
			if strings.Contains(result.Body, "validationResponse") {
				t.Error("an event was answered as a handshake")
			}
		}
	})
	t.Run("a body without the header is a delivery like any other", func(t *testing.T) {
		for _, eventType := range []string{"Notification", "", "subscriptionvalidation"} {
			result := validation(target, validating(gridCode, url), eventType)
			expect(t, result, 200)
			if strings.Contains(result.Body, "validationResponse") {
				t.Error("answered")
			}
		}
	})
	t.Run("a code that is no plain short word is not echoed", func(t *testing.T) {
		for _, code := range []string{"", `\"}<script>`, "a b", strings.Repeat("x", 129), "é"} {
			expect(t, validation(target, validating(code, url), "SubscriptionValidation"), 400)
		}
		expect(t, validation(target, strings.Replace(validating("7", url), `:"7"`, `:7`, 1), "SubscriptionValidation"), 400)
	})
	t.Run("report_only answers what is genuine", func(t *testing.T) {
		bed := testbed.New(t, strings.Replace(keyed(""), "callback_auth {", "callback_auth {\nreport_only", 1))
		answered(t, bed.Do(t, deliver("POST", target, validating(gridCode, url), "Content-Type", eventGridType, "aeg-event-type", "SubscriptionValidation")),
			`{"validationResponse":"`+gridCode+`"}`)
		expect(t, bed.Do(t, deliver("POST", "/events", validating(gridCode, url), "Content-Type", eventGridType, "aeg-event-type", "SubscriptionValidation")), 200)
	})
	if hits.Load() != 0 {
		t.Error("validationUrl was called")
	}
}

func TestEventGridHandshakeOfCloudEvents(t *testing.T) {
	url, hits := canary(t)
	bed := testbed.New(t, keyed("allowed_rate 120"))
	target := "/events?key=" + gridKey
	noHeaders := func(t *testing.T, result testbed.Result) {
		t.Helper()
		for name := range result.Header {
			if strings.HasPrefix(name, "Webhook-Allowed") {
				t.Errorf("%s: %s", name, result.Header.Get(name))
			}
		}
	}
	t.Run("ht-options-cloudevents", func(t *testing.T) {
		result := bed.Do(t, deliver("OPTIONS", target, "", "WebHook-Request-Origin", "eventgrid.azure.net", "WebHook-Request-Rate", "1000"))
		answered(t, result, "")
		for name, want := range map[string]string{"WebHook-Allowed-Origin": "eventgrid.azure.net", "WebHook-Allowed-Rate": "120", "Allow": "POST"} {
			if got := result.Header.Get(name); got != want {
				t.Errorf("%s %q; want %q", name, got, want)
			}
		}
		result = testbed.New(t, keyed("")).Do(t, deliver("OPTIONS", target, "", "WebHook-Request-Origin", "eventgrid.azure.net"))
		if got := result.Header.Get("Webhook-Allowed-Rate"); got != "*" {
			t.Errorf("rate %q where none is set", got)
		}
	})
	t.Run("of each of Azure's clouds", func(t *testing.T) {
		for _, origin := range []string{"eventgrid.azure.us", "eventgrid.azure.cn", "eventgrid.azure.eaglex.ic.gov", "eventgrid.azure.microsoft.scloud"} {
			result := bed.Do(t, deliver("OPTIONS", target, "", "WebHook-Request-Origin", origin))
			answered(t, result, "")
			if got := result.Header.Get("Webhook-Allowed-Origin"); got != origin {
				t.Errorf("%s is told that %q may deliver", origin, got)
			}
		}
	})
	t.Run("ht-options-other-origin", func(t *testing.T) {
		for _, origin := range []string{"evil.example", "eventgrid.azure.net.evil.example", "eventgrid.azure.com", "azure.us", "*", "eventgrid.azure.net, evil.example"} {
			result := bed.Do(t, deliver("OPTIONS", target, "", "WebHook-Request-Origin", origin))
			expect(t, result, 403)
			noHeaders(t, result)
		}
		result := bed.Do(t, deliver("OPTIONS", target, "", "WebHook-Request-Origin", "eventgrid.azure.net", "WebHook-Request-Origin", "evil.example"))
		expect(t, result, 400)
		noHeaders(t, result)
	})
	t.Run("ht-options-no-bypass", func(t *testing.T) {
		result := bed.Do(t, deliver("OPTIONS", target, "", "Origin", "https://page.example", "Access-Control-Request-Method", "POST"))
		expect(t, result, 403)
		result = bed.Do(t, deliver("OPTIONS", "/events", "", "WebHook-Request-Origin", "eventgrid.azure.net"))
		expect(t, result, 401)
		noHeaders(t, result)
	})
	t.Run("ht-options-callback-ssrf", func(t *testing.T) {
		answered(t, bed.Do(t, deliver("OPTIONS", target, "", "WebHook-Request-Origin", "eventgrid.azure.net", "WebHook-Request-Callback", url)), "")
		if hits.Load() != 0 {
			t.Error("the callback was called")
		}
	})
	t.Run("of the subscriptions named", func(t *testing.T) {
		bed := testbed.New(t, keyed("subscription orders"))
		answered(t, bed.Do(t, deliver("OPTIONS", target, "", "WebHook-Request-Origin", "eventgrid.azure.net", "aeg-subscription-name", "ORDERS")), "")
		for _, header := range [][]string{{"aeg-subscription-name", "STRANGER"}, nil} {
			result := bed.Do(t, deliver("OPTIONS", target, "", append(header, "WebHook-Request-Origin", "eventgrid.azure.net")...))
			expect(t, result, 403)
			noHeaders(t, result)
		}
	})
}

func TestEventGridEntraTokens(t *testing.T) {
	i := newIssuer(t, "https://login.microsoftonline.com/"+gridTenant+"/v2.0")
	block := func(more string) string {
		return `azure_event_grid {
			entra {
				tenant ` + strings.ToUpper(gridTenant) + `
				audience ffffffff-0000-0000-0000-000000000001 api://webhook
				openid_configuration ` + i.metadata() + `
				` + more + `
			}
		}`
	}
	bed := testbed.New(t, site("callback_auth {\n"+block("")+"\n}"))
	v1 := func(change map[string]any) map[string]any {
		claims := map[string]any{
			"iss": "https://sts.windows.net/" + gridTenant + "/", "aud": "ffffffff-0000-0000-0000-000000000001",
			"appid": gridApp, "tid": gridTenant, "ver": "1.0", "oid": "o", "sub": "o",
		}
		maps.Copy(claims, change)
		return claims
	}
	v2 := map[string]any{"iss": i.name, "appid": nil, "azp": strings.ToUpper(gridApp), "ver": "2.0"}
	const usGov = "54316b56-3481-47f9-8f30-0300f5542a7b"
	send := func(bed *testbed.Bed, token string) testbed.Result {
		r := deliver("POST", "/events", gridEvent, "Content-Type", eventGridType)
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return bed.Do(t, r)
	}
	for _, c := range []struct {
		name   string
		change map[string]any
		status int
	}{
		{"version 1", nil, 200},
		{"version 2", v2, 200},
		{"the other audience", map[string]any{"aud": "api://webhook"}, 200},
		{"another audience", map[string]any{"aud": "api://other"}, 401},
		{"another application of the tenant", map[string]any{"appid": "11111111-2222-3333-4444-555555555555"}, 401},
		{"an application of the tenant in version 2", map[string]any{"appid": nil, "azp": "11111111-2222-3333-4444-555555555555"}, 401},
		{"two applications", map[string]any{"azp": "11111111-2222-3333-4444-555555555555"}, 401},
		{"no application", map[string]any{"appid": nil}, 401},
		{"Event Grid of another cloud", map[string]any{"appid": usGov}, 401},
		{"another tenant", map[string]any{"iss": "https://sts.windows.net/11111111-2222-3333-4444-555555555555/"}, 401},
		{"another tenant, by tid", map[string]any{"tid": "11111111-2222-3333-4444-555555555555"}, 401},
		{"version 1 without its slash", map[string]any{"iss": "https://sts.windows.net/" + gridTenant}, 401},
		{"no issuer", map[string]any{"iss": nil}, 401},
		{"no end", map[string]any{"exp": nil}, 401},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, send(bed, i.token(t, v1(c.change))), c.status) })
	}
	t.Run("no token", func(t *testing.T) {
		expect(t, send(bed, ""), 401)
		expect(t, bed.Do(t, deliver("POST", "/events", validating(gridCode, "https://x"), "Content-Type", eventGridType, "aeg-event-type", "SubscriptionValidation")), 401)
		expect(t, bed.Do(t, deliver("OPTIONS", "/events", "", "WebHook-Request-Origin", "eventgrid.azure.net")), 401)
	})
	t.Run("handshakes with a token", func(t *testing.T) {
		bearer := "Bearer " + i.token(t, v1(nil))
		answered(t, bed.Do(t, deliver("POST", "/events", validating(gridCode, "https://x"), "Content-Type", eventGridType,
			"aeg-event-type", "SubscriptionValidation", "Authorization", bearer)), `{"validationResponse":"`+gridCode+`"}`)
		answered(t, bed.Do(t, deliver("OPTIONS", "/events", "", "WebHook-Request-Origin", "eventgrid.azure.net", "Authorization", bearer)), "")
	})
	t.Run("who, without a subject, is the key; the token's id is no delivery's", func(t *testing.T) {
		bed := testbed.New(t, "http:// {\ncallback_auth {\n"+block("")+"\n}\nrespond \"{http.auth.user.id}|{http.callback_auth.id}\"\n}")
		if got := send(bed, i.token(t, v1(map[string]any{"sub": nil, "jti": "t1"}))).Body; got != "k1|" {
			t.Errorf("%q; want the label of the key and no id", got)
		}
	})
	t.Run("beside an any, handshakes are answered by whichever proof they carry", func(t *testing.T) {
		bed := testbed.New(t, site("callback_auth {\nazure_event_grid\nany {\napi_key {\nquery key\nkey "+gridKey+"\n}\n"+block("")+"\n}\n}"))
		for _, c := range []struct {
			target, token string
			answered      bool
		}{
			{"/events?key=" + gridKey, "", true},
			{"/events", i.token(t, v1(nil)), true},
			{"/events?key=" + gridKey, i.token(t, v1(nil)), true},
			{"/events", "", false},
			{"/events?key=wrong", i.token(t, v1(map[string]any{"aud": "api://other"})), false},
		} {
			ask := func(method, body string, header ...string) testbed.Result {
				r := deliver(method, c.target, body, header...)
				if c.token != "" {
					r.Header.Set("Authorization", "Bearer "+c.token)
				}
				return bed.Do(t, r)
			}
			options := ask("OPTIONS", "", "WebHook-Request-Origin", "eventgrid.azure.net")
			event := ask("POST", validating(gridCode, "https://x"), "Content-Type", eventGridType, "aeg-event-type", "SubscriptionValidation")
			if c.answered {
				answered(t, options, "")
				answered(t, event, `{"validationResponse":"`+gridCode+`"}`)
			} else {
				expect(t, options, 401)
				expect(t, event, 401)
			}
		}
	})
	t.Run("another cloud's Event Grid", func(t *testing.T) {
		bed := testbed.New(t, site("callback_auth {\n"+block("app_id "+usGov)+"\n}"))
		expect(t, send(bed, i.token(t, v1(map[string]any{"appid": usGov}))), 200)
		expect(t, send(bed, i.token(t, v1(nil))), 401)
	})
	t.Run("keys out of reach", func(t *testing.T) {
		broken := newIssuer(t, i.name)
		broken.broken = failures(broken)["500"]
		bed := testbed.New(t, site("callback_auth {\n"+strings.ReplaceAll(block(""), i.URL, broken.URL)+"\n}"))
		undecided(t, send(bed, i.token(t, v1(nil))))
	})
}

func TestEventGridConfigs(t *testing.T) {
	adaptsBothWays(t, "azure_event_grid", []fixture{{"every option", `azure_event_grid {
		subscription a b
		subscription c
		entra {
			tenant ` + gridTenant + `
			audience x y
			app_id z
			openid_configuration https://example.com/
		}
		allowed_rate 60
	}`, mustJSON(t, map[string]any{
		"subscriptions": []string{"a", "b", "c"}, "allowed_rate": "60",
		"entra": map[string]any{"tenant": gridTenant, "audiences": []string{"x", "y"}, "app_id": "z", "openid_configuration": "https://example.com/"},
	})}})
	entra := func(options string) string { return "azure_event_grid {\nentra {\n" + options + "\n}\n}" }
	refusesMistakes(t, []mistake{
		{"alone", "azure_event_grid", []string{"azure_event_grid proves nothing by itself"}},
		{"alone in any", "any {\nazure_event_grid\napi_key {\nheader X-Key\nkey hush-hush-hush\n}\n}", []string{"proves nothing by itself"}},
		{"a rate in words", "azure_event_grid {\nallowed_rate many\n}", []string{"allowed_rate: 'many'"}},
		{"a rate of none", "azure_event_grid {\nallowed_rate 0\n}", []string{"allowed_rate: '0'"}},
		{"no tenant", entra("audience a"), []string{"tenant is empty"}},
		{"everybody's tenant", entra("tenant common\naudience a"), []string{"tenant is not a GUID"}},
		{"no audience", entra("tenant " + gridTenant), []string{"audience is required"}},
		{"plain http", entra("tenant " + gridTenant + "\naudience a\nopenid_configuration http://example.com/"), []string{"https"}},
		{"entra twice", "azure_event_grid {\nentra {\ntenant a\n}\nentra {\ntenant b\n}\n}", []string{"already specified"}},
		{"an option of nobody's", entra("secret hush"), []string{"unknown option 'secret' of entra"}},
		{"an empty subscription", "azure_event_grid {\nsubscription {env.NOBODY_SET_THIS}\n}", []string{"subscription is empty"}},
	})
}
