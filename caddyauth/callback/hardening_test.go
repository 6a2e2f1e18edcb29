package callback_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddyserver/caddy/v2"
)

func TestEarlyDataInAnySpellingIsAskedForAgain(t *testing.T) {
	bed := testbed.New(t, vonageSite)
	for _, values := range [][]string{{"1"}, {"0"}, {""}, {"1, 1"}, {"0", "1"}, {"1", "0"}, {" 1"}} {
		t.Run(fmt.Sprintf("%q", values), func(t *testing.T) {
			r := testbed.Vonage(t, event, nil)
			r.Header["Early-Data"] = values
			refused(t, bed.Do(t, r), http.StatusTooEarly)
		})
	}
}

// The README's recipe: header_up inside reverse_proxy. A CGI-like receiver makes one name of all spellings.
func TestNoSpellingOfTheIdentityHeaderReachesTheReceiver(t *testing.T) {
	bed := testbed.Run(t, vonageSite)
	spellings := []string{"X-Sender", "x-sender", "X-SENDER", "x-SeNdEr"}
	for _, one := range []string{"_", "."} {
		spellings = append(spellings, "X"+one+"Sender", "x"+one+"sender", "X"+one+"SENDER")
	}
	var attacks []string
	for _, name := range spellings {
		for _, value := range []string{"admin", "", "admin, admin"} {
			attacks = append(attacks, name+": "+value+"\r\n", name+": "+value+"\r\n"+name+": root\r\n")
		}
		for _, connection := range []string{"Connection", "connection", "Proxy-Connection", "Keep-Alive", "TE", "Trailer", "Upgrade"} {
			attacks = append(attacks,
				connection+": "+name+"\r\n",
				connection+": close, "+name+"\r\n"+name+": admin\r\n",
				connection+": close\r\n"+connection+": "+name+"\r\n")
		}
	}
	for _, attack := range attacks {
		t.Run(fmt.Sprintf("%q", attack), func(t *testing.T) {
			genuine := testbed.Vonage(t, event, nil)
			result := bed.Raw(t, fmt.Sprintf("POST /hook HTTP/1.1\r\nHost: example.com\r\nContent-Length: %d\r\nAuthorization: %s\r\n%s\r\n%s",
				len(event), genuine.Header.Get("Authorization"), attack, event), false)
			if result.Status >= 400 && len(result.Received) == 0 {
				return // refused is as good
			}
			accepted(t, result, event)
			same := 0
			for name, values := range result.Received[0].Header {
				if strings.EqualFold(strings.Map(func(char rune) rune {
					if char >= '0' && char <= '9' || char >= 'a' && char <= 'z' || char >= 'A' && char <= 'Z' {
						return char
					}
					return '_' // as CGI does (RFC 3875 §4.1.18), and servers beyond it
				}, name), "X_Sender") {
					same += len(values)
					if values[0] != "47000001" {
						t.Errorf("the receiver saw %s: %q", name, values)
					}
				}
			}
			if same != 1 {
				t.Errorf("the receiver saw %d headers that say who sent it, want 1", same)
			}
		})
	}
}

func TestAnIdentityTrailerDoesNotReachTheReceiver(t *testing.T) {
	bed := testbed.Run(t, vonageSite)
	genuine := testbed.Vonage(t, event, nil)
	var trailer http.Header
	bed.Receiver.Answer(func(_ http.ResponseWriter, r *http.Request) { trailer = r.Trailer })
	result := bed.Raw(t, fmt.Sprintf("POST /hook HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sender\r\nAuthorization: %s\r\n\r\n%x\r\n%s\r\n0\r\nX-Sender: admin\r\n\r\n",
		genuine.Header.Get("Authorization"), len(event), event), false)
	accepted(t, result, event)
	if len(trailer) != 0 {
		t.Errorf("the receiver got the trailers %v", trailer)
	}
}

func TestTheSenderDoesNotChooseWhatItsMessageIsKnownBy(t *testing.T) {
	// The dearest scheme names the verdict; here it is one of an `any`, and the sender has credentials for both.
	hash, err := bcrypt.GenerateFromPassword([]byte("correct horse"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	bed := testbed.New(t, `
http:// {
	callback_auth {
		vonage {
			secret `+testbed.Secret+`
			header Vonage-Signature
		}
		any {
			basic {
				user alice `+string(hash)+`
			}
			api_key {
				header X-Api-Key
				key 0123456789abcdef0123456789abcdef
			}
		}
	}
	reverse_proxy RECEIVER
}`)
	genuine := testbed.Vonage(t, event, nil)
	send := func(change func(r *http.Request)) testbed.Result {
		r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
		r.Header.Set("Vonage-Signature", genuine.Header.Get("Authorization"))
		change(r)
		return bed.Do(t, r)
	}
	accepted(t, send(func(r *http.Request) { r.Header.Set("X-Api-Key", "0123456789abcdef0123456789abcdef") }), event)
	refused(t, send(func(r *http.Request) { r.Header.Set("X-Api-Key", "0123456789abcdef0123456789abcdef") }), http.StatusConflict)
	refused(t, send(func(r *http.Request) { r.SetBasicAuth("alice", "correct horse") }), http.StatusConflict)
}

func TestAnIdOfAnotherSchemeDoesNotStandInForTheMessagesOwn(t *testing.T) {
	bed := testbed.New(t, `
http:// {
	callback_auth {
		vonage {
			secret `+testbed.Secret+`
			header Vonage-Signature
		}
		jwt {
			secret `+testbed.Secret+`
			max_age 5m
		}
	}
	reverse_proxy RECEIVER
}`)
	send := func(message *http.Request, jti string) testbed.Result {
		r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
		r.Header.Set("Vonage-Signature", message.Header.Get("Authorization"))
		r.Header.Set("Authorization", "Bearer "+testbed.HS256(t, testbed.Secret, nil, map[string]any{"iat": time.Now().Unix(), "jti": jti}))
		return bed.Do(t, r)
	}
	t.Run("a message without an id is refused, whatever else has one", func(t *testing.T) {
		refused(t, send(testbed.Vonage(t, event, map[string]any{"jti": nil}), "a"), http.StatusUnauthorized)
	})
	t.Run("a message passes once, however many tokens come with it", func(t *testing.T) {
		message := testbed.Vonage(t, event, nil)
		accepted(t, send(message, "b"), event)
		refused(t, send(message, "c"), http.StatusConflict)
	})
}

func TestAnIdIsKeptForAsLongAsItsTokenIsGood(t *testing.T) {
	site := `
http:// {
	callback_auth {
		jwt {
			secret ` + testbed.Secret + `
		}
		replay {
			window 1ms
		}
	}
	reverse_proxy RECEIVER
}`
	bed, id := testbed.New(t, site), rand.Text()
	send := func(expires time.Duration) testbed.Result {
		r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
		r.Header.Set("Authorization", "Bearer "+testbed.HS256(t, testbed.Secret, nil, map[string]any{"exp": time.Now().Add(expires).Unix(), "jti": id}))
		return bed.Do(t, r)
	}
	refused(t, send(200*365*24*time.Hour), http.StatusUnauthorized) // longer than an id can be kept
	accepted(t, send(time.Hour), event)
	for start := time.Now(); time.Since(start) < 5*time.Millisecond; {
		refused(t, send(time.Hour), http.StatusConflict)
	}
}

func TestClaimsAreThoseOfTheLastCallbackAuthThatAccepted(t *testing.T) {
	bed := testbed.New(t, `
http:// {
	route {
		callback_auth ip_range 192.0.2.0/24
		callback_auth vonage {
			secret `+testbed.Secret+`
		}
		reverse_proxy RECEIVER {
			header_up X-Account {http.callback_auth.claim.api_key}
		}
	}
}`)
	result := bed.Do(t, testbed.Vonage(t, event, nil))
	accepted(t, result, event)
	if got := result.Received[0].Header.Get("X-Account"); got != "47000001" {
		t.Errorf("the claim is %q", got)
	}
}

// provision loads a callback_auth handler from JSON, which no Caddyfile parser has seen.
func provision(t *testing.T, handler string) error {
	t.Helper()
	no := false
	_, err := caddy.ProvisionContext(&caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &no}},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {
			BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output":"discard"}`)},
		}}},
		AppsRaw: caddy.ModuleMap{"http": json.RawMessage(`{"servers":{"one":{"listen":["127.0.0.1:0"],"automatic_https":{"disable":true},` +
			`"routes":[{"handle":[` + handler + `]}]}}}`)},
	})
	return err
}

func TestValuesThatOnlyJSONCanHoldAreRefusedToo(t *testing.T) {
	const secret = "this-must-not-be-in-any-error-0123456789"
	t.Setenv("CADDYAUTH_TEST_SECRET", secret)
	handler := func(options, schemes string) string {
		return `{"handler":"callback_auth"` + options + `,"schemes":[` + schemes + `]}`
	}
	one := `"secrets":[{"value":"` + secret + `"}]`
	good := `{"scheme":"vonage",` + one + `}`
	if err := provision(t, handler("", good)); err != nil {
		t.Fatalf("CONTROL: %v", err)
	}
	for name, config := range map[string]string{
		"no schemes":                          handler("", ""),
		"a scheme that is null":               handler("", "null"),
		"a scheme without a name":             handler("", "{"+one+"}"),
		"a field that there is not":           handler(`,"max_bodies":1`, good),
		"max_body below 0":                    handler(`,"max_body":-1`, good),
		"max_body that overflows":             handler(`,"max_body":9223372036854775807`, good),
		"public_url with a path":              handler(`,"public_url":"https://example.com/x"`, good),
		"public_url from an unset variable":   handler(`,"public_url":"{env.CADDYAUTH_NOT_SET}"`, good),
		"public_url with user info":           handler(`,"public_url":"https://`+secret+`@example.com"`, good),
		"replay window below 0":               handler(`,"replay":{"window":-1}`, good),
		"replay window beyond all time":       handler(`,"replay":{"window":9223372036854775807}`, good),
		"replay window too short":             handler(`,"replay":{"window":1}`, good),
		"on_duplicate unknown":                handler(`,"replay":{"on_duplicate":"accept"}`, good),
		"on_store_error unknown":              handler(`,"replay":{"on_store_error":"ignore"}`, good),
		"any without schemes":                 handler("", `{"scheme":"any"}`),
		"any within any, empty":               handler("", `{"scheme":"any","schemes":[{"scheme":"any","schemes":[]}]}`),
		"vonage without a secret":             handler("", `{"scheme":"vonage"}`),
		"vonage with an empty one":            handler("", `{"scheme":"vonage","secrets":[{"value":""}]}`),
		"vonage with a label twice":           handler("", `{"scheme":"vonage","secrets":[{"value":"a","label":"x"},{"value":"b","label":"x"}]}`),
		"vonage with a secret for a label":    handler("", `{"scheme":"vonage","secrets":[{"value":"a","label":"{env.NEXT}"}]}`),
		"vonage with a key for a label":       handler("", `{"scheme":"vonage","secrets":[{"value":"a","label":"`+secret+secret+`"}]}`),
		"vonage max_age below 0":              handler("", `{"scheme":"vonage","max_age":-1,`+one+`}`),
		"vonage unsigned_status 200":          handler("", `{"scheme":"vonage","unsigned_status":200,`+one+`}`),
		"vonage payload_hash none":            handler("", `{"scheme":"vonage","payload_hash":"none",`+one+`}`),
		"vonage header that is none":          handler("", `{"scheme":"vonage","header":"a b",`+one+`}`),
		"vonage account and secret":           handler("", `{"scheme":"vonage","accounts":[{"api_key":"a","secrets":[{"value":"b"}]}],`+one+`}`),
		"vonage application_id empty":         handler("", `{"scheme":"vonage","application_ids":[""],`+one+`}`),
		"vonage_sms max_age below 0":          handler("", `{"scheme":"vonage_sms","max_age":-1,`+one+`}`),
		"vonage_sms method unknown":           handler("", `{"scheme":"vonage_sms","method":"none",`+one+`}`),
		"jwt without a key":                   handler("", `{"scheme":"jwt"}`),
		"jwt with both":                       handler("", `{"scheme":"jwt","public_keys":[{"value":"x"}],`+one+`}`),
		"jwt algorithm none":                  handler("", `{"scheme":"jwt","algorithms":["none"],`+one+`}`),
		"jwt algorithm of another family":     handler("", `{"scheme":"jwt","algorithms":["RS256"],`+one+`}`),
		"jwt leeway below 0":                  handler("", `{"scheme":"jwt","leeway":-1,`+one+`}`),
		"jwt max_age below 0":                 handler("", `{"scheme":"jwt","max_age":-1,`+one+`}`),
		"jwt audience empty":                  handler("", `{"scheme":"jwt","audiences":[""],`+one+`}`),
		"jwt claim without values":            handler("", `{"scheme":"jwt","claims":[{"name":"a"}],`+one+`}`),
		"jwt claim without a name":            handler("", `{"scheme":"jwt","claims":[{"values":["a"]}],`+one+`}`),
		"jwt body_hash without encoding":      handler("", `{"scheme":"jwt","body_hash":{"claim":"a"},`+one+`}`),
		"jwt from nowhere":                    handler("", `{"scheme":"jwt","from":{},`+one+`}`),
		"jwt from two places":                 handler("", `{"scheme":"jwt","from":{"header":"a","query":"b"},`+one+`}`),
		"jwt from a header that is none":      handler("", `{"scheme":"jwt","from":{"header":"a b"},`+one+`}`),
		"jwt with a secret as a file name":    handler("", `{"scheme":"jwt","public_keys":[{"value":"{env.CADDYAUTH_TEST_SECRET}"}]}`),
		"basic without users":                 handler("", `{"scheme":"basic"}`),
		"basic with an empty password":        handler("", `{"scheme":"basic","users":[{"name":"a"}]}`),
		"basic with a colon in the name":      handler("", `{"scheme":"basic","users":[{"name":"a:b","password":"`+secret+`"}]}`),
		"basic with a realm that ends":        handler("", `{"scheme":"basic","realm":"a\r\nb","users":[{"name":"a","password":"`+secret+`"}]}`),
		"api_key without a place":             handler("", `{"scheme":"api_key","keys":[{"value":"`+secret+`"}]}`),
		"api_key with a header that is none":  handler("", `{"scheme":"api_key","header":"a b","keys":[{"value":"`+secret+`"}]}`),
		"api_key without keys":                handler("", `{"scheme":"api_key","header":"a"}`),
		"ip_range without ranges":             handler("", `{"scheme":"ip_range"}`),
		"ip_range with an empty one":          handler("", `{"scheme":"ip_range","ranges":[""]}`),
		"ip_range with a word":                handler("", `{"scheme":"ip_range","ranges":["everybody"]}`),
		"hmac without a header":               handler("", `{"scheme":"hmac",`+one+`}`),
		"hmac algorithm md5":                  handler("", `{"scheme":"hmac","header":"a","algorithm":"md5",`+one+`}`),
		"hmac tolerance below 0":              handler("", `{"scheme":"hmac","header":"a","payload":"{timestamp}{body}","timestamp":{"header":"t"},"tolerance":-1,`+one+`}`),
		"hmac timestamp unit":                 handler("", `{"scheme":"hmac","header":"a","payload":"{timestamp}{body}","timestamp":{"header":"t","unit":"y"},`+one+`}`),
		"hmac timestamp in two places":        handler("", `{"scheme":"hmac","header":"a","signature_pair":"v","payload":"{timestamp}{body}","timestamp":{"header":"t","pair":"t"},`+one+`}`),
		"hmac timestamp nowhere":              handler("", `{"scheme":"hmac","header":"a","payload":"{timestamp}{body}","timestamp":{},`+one+`}`),
		"hmac payload without a word":         handler("", `{"scheme":"hmac","header":"a","payload":"x",`+one+`}`),
		"stripe tolerance below 0":            handler("", `{"scheme":"stripe","tolerance":-1,`+one+`}`),
		"standard_webhooks tolerance below 0": handler("", `{"scheme":"standard_webhooks","tolerance":-1,"secrets":[{"value":"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}]}`),
		"github with a tolerance":             handler("", `{"scheme":"github","tolerance":1,`+one+`}`),
		"github with a public key":            handler("", `{"scheme":"github","public_keys":[{"value":"`+secret+`"}],`+one+`}`),
		"github with a challenge":             handler("", `{"scheme":"github","answer_challenge":true,`+one+`}`),
		"discord with a key that is none":     handler("", `{"scheme":"discord","public_keys":[{"value":"`+secret+`"}]}`),
		"meta without its verify token":       handler("", `{"scheme":"meta","answer_challenge":true,`+one+`}`),
		"livekit without accounts":            handler("", `{"scheme":"livekit"}`),
		"livekit account without a secret":    handler("", `{"scheme":"livekit","accounts":[{"api_key":"a"}]}`),
		"sinch tolerance below 0":             handler("", `{"scheme":"sinch","tolerance":-1,"accounts":[{"api_key":"a","secrets":[{"value":"c2VjcmV0"}]}]}`),
		"gitlab without a secret":             handler("", `{"scheme":"gitlab"}`),
		"messagebird without a secret":        handler("", `{"scheme":"messagebird"}`),
	} {
		t.Run(name, func(t *testing.T) {
			err := provision(t, config)
			if err == nil {
				t.Fatalf("this was accepted: %s", config)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
}

func TestProvisioningTwiceChangesNoVerdict(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	for _, name := range []string{"standard_webhooks", "github", "jwt"} {
		info, err := caddy.GetModule(callback.Namespace + "." + name)
		if err != nil {
			t.Fatal(err)
		}
		module := info.New()
		if err := json.Unmarshal([]byte(`{"secrets":[{"value":"Y2FkZHlhdXRoLXRlc3Qtc2VjcmV0LTAxMjM0NTY3ODk="}]}`), module); err != nil {
			t.Fatal(err)
		}
		var verdicts []verdict.Reason
		for range 2 {
			if err := module.(caddy.Provisioner).Provision(ctx); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", nil)
			for _, header := range []string{"Webhook-Signature", "X-Hub-Signature-256", "Authorization"} {
				r.Header.Set(header, "Bearer x")
			}
			verdicts = append(verdicts, module.(callback.Scheme).Verify(&callback.Request{HTTP: r, Method: r.Method, URL: r.URL, Now: time.Now()}).Reason)
		}
		if verdicts[0] != verdict.BadCredential || verdicts[1] != verdicts[0] {
			t.Errorf("%s: the verdicts are %v", name, verdicts)
		}
	}
}
