package schemes_test

import (
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/internal/vonagesms"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

const smsSecret = "sigsecret"

// smsMade is when the message of smsParameters was made.
var smsMade = time.Unix(1700000000, 0)

// smsParameters are those of the vectors that @vonage/sms 1.21.0 made.
func smsParameters() map[string]string {
	return map[string]string{
		"msisdn": "447700900001", "to": "447700900000", "messageId": "0A0000000123ABCD1",
		"text": "Hello & welcome=1", "type": "text", "timestamp": "1700000000",
	}
}

func smsSigned(method string, parameters map[string]string) map[string]string {
	parameters = maps.Clone(parameters)
	parameters["sig"] = hex.EncodeToString(vonagesms.Sign(method, vonagesms.Parameters(parameters).Base(), []byte(smsSecret)))
	return parameters
}

func smsForm(parameters map[string]string) string {
	values := url.Values{}
	for name, value := range parameters {
		values.Set(name, value)
	}
	return values.Encode()
}

func smsGet(query string) *http.Request {
	r := get("/inbound?"+query, "", "")
	return r.WithContext(clock.At(r.Context(), smsMade))
}

func smsPost(contentType, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/inbound", strings.NewReader(body))
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r.WithContext(clock.At(r.Context(), smsMade))
}

const formType = "application/x-www-form-urlencoded"

func smsBed(t *testing.T, options string) *testbed.Bed {
	t.Helper()
	return testbed.New(t, site("callback_auth vonage_sms {\nsecret other-secret old\nsecret "+smsSecret+" new\n"+options+"\n}"))
}

func TestVonageSMSVectors(t *testing.T) {
	for method, sig := range map[string]string{
		"md5hash": "17c737168ca53b3c2e67cc8b52350b2f",
		"sha256":  "d7f61a1397426426e1bf34891dbc46248acae864c10534c64559279ec1cd82d9",
	} {
		t.Run(method, func(t *testing.T) {
			bed := smsBed(t, "method "+method)
			parameters := smsParameters()
			parameters["sig"] = sig
			encoded, err := json.Marshal(parameters)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, bed.Do(t, smsGet(smsForm(parameters))), 200)
			expect(t, bed.Do(t, smsPost(formType, smsForm(parameters))), 200)
			expect(t, bed.Do(t, smsPost("application/json; charset=UTF-8", string(encoded))), 200)
			parameters["sig"] = strings.ToUpper(sig)
			expect(t, bed.Do(t, smsGet(smsForm(parameters))), 200)
			parameters["to"] = "447700900009"
			expect(t, bed.Do(t, smsGet(smsForm(parameters))), 401)
			expect(t, bed.Do(t, smsPost(formType, smsForm(parameters))), 401)
		})
	}
}

func TestVonageSMSMethods(t *testing.T) {
	for _, method := range vonagesms.Methods() {
		t.Run(method, func(t *testing.T) {
			bed := smsBed(t, "method "+method)
			for _, other := range vonagesms.Methods() {
				status := 401
				if other == method {
					status = 200
				}
				expect(t, bed.Do(t, smsGet(smsForm(smsSigned(other, smsParameters())))), status)
			}
		})
	}
	t.Run("md5hash is the default", func(t *testing.T) {
		expect(t, smsBed(t, "").Do(t, smsGet(smsForm(smsSigned("md5hash", smsParameters())))), 200)
	})
}

func TestVonageSMSRefusals(t *testing.T) {
	bed := smsBed(t, "")
	query := smsForm(smsSigned("md5hash", smsParameters()))
	with := func(name, value string) string {
		parameters := smsParameters()
		parameters[name] = value
		return smsForm(smsSigned("md5hash", parameters))
	}
	without := func(r *http.Request, header string) *http.Request {
		r.Header.Del(header)
		return r
	}
	method := func(r *http.Request, method string) *http.Request {
		r.Method = method
		return r
	}
	twoTypes := smsPost(formType, query)
	twoTypes.Header.Add("Content-Type", "application/json")
	mixed := smsPost(formType, query)
	mixed.URL.RawQuery = "tenant=1"
	getWithBody := smsGet(query)
	getWithBody.Body, getWithBody.ContentLength = http.NoBody, 7

	for _, test := range []struct {
		name    string
		request *http.Request
		status  int
		reason  string
	}{
		{"no parameters", smsGet(""), 401, "missing"},
		{"no sig", smsGet(smsForm(smsParameters())), 401, "missing"},
		{"an empty sig", smsGet(smsForm(smsParameters()) + "&sig="), 401, "missing"},
		{"a sig that is not hex", smsGet(smsForm(smsParameters()) + "&sig=" + strings.Repeat("z", 32)), 401, "bad_credential"},
		{"a sig cut short", smsGet(query[:strings.Index(query, "sig=")+34] + query[strings.Index(query, "sig=")+36:]), 401, "bad_credential"},
		{"a wrong sig", smsGet(smsForm(smsParameters()) + "&sig=" + strings.Repeat("0", 32)), 401, "bad_signature"},
		{"a parameter more", smsGet(query + "&admin=1"), 401, "bad_signature"},
		{"a parameter twice", smsGet(query + "&to=447700900000"), 400, "malformed"},
		{"sig twice", smsGet(query + "&sig=" + strings.Repeat("0", 32)), 400, "malformed"},
		{"a name that reads as two", smsGet(query + "&a%3D1%26b=2"), 400, "malformed"},
		{"a bad escape", smsGet(query + "&a=%zz"), 400, "malformed"},
		{"a GET with a body", getWithBody, 400, "malformed"},
		{"a POST with a query beside the form", mixed, 400, "malformed"},
		{"a POST without a body", without(smsPost(formType, ""), "Content-Type"), 401, "missing"},
		{"another method", method(smsPost(formType, query), http.MethodPut), 400, "malformed"},
		{"a HEAD", method(smsGet(query), http.MethodHead), 400, "malformed"},
		{"a form without its type", smsPost("", query), 400, "malformed"},
		{"a form as text", smsPost("text/plain", query), 400, "malformed"},
		{"a multipart form", smsPost("multipart/form-data; boundary=x", query), 400, "malformed"},
		{"a form in another charset", smsPost(formType+"; charset=utf-16", query), 400, "malformed"},
		{"two types", twoTypes, 400, "malformed"},
		{"a form that does not parse", smsPost(formType, query+"&a=%zz"), 400, "malformed"},
		{"a form as JSON", smsPost("application/json", query), 400, "malformed"},
		{"JSON that is nested", smsPost("application/json", `{"sig":"00","to":{"a":"b"}}`), 400, "malformed"},
		{"JSON with a name twice", smsPost("application/json", `{"to":"1","to":"1"}`), 400, "malformed"},
		{"JSON without sig", smsPost("application/json", `{"to":"1"}`), 401, "missing"},
		{"no timestamp, though all is signed", smsGet(with("timestamp", "")), 401, "bad_credential"},
		{"a timestamp that is a date", smsGet(with("timestamp", "2023-11-14 22:13:20")), 401, "bad_credential"},
		{"a timestamp in milliseconds", smsGet(with("timestamp", "1700000000000")), 401, "bad_credential"},
		{"a timestamp with a sign", smsGet(with("timestamp", "-1700000000")), 401, "bad_credential"},
		{"a huge timestamp", smsGet(with("timestamp", strings.Repeat("9", 40))), 401, "bad_credential"},
	} {
		t.Run(test.name, func(t *testing.T) {
			expect(t, bed.Do(t, test.request), test.status)
			if got := lastReason(t, bed); got != test.reason {
				t.Errorf("reason %q; want %q", got, test.reason)
			}
		})
	}
	if strings.Contains(bed.Logs.String(), smsSecret) {
		t.Error("the log holds the secret")
	}
}

// lastReason is the reason of the latest refusal in the log.
func lastReason(t *testing.T, bed *testbed.Bed) string {
	t.Helper()
	var reason string
	for _, line := range bed.Logs.Lines(t, "callback refused") {
		if line["logger"] == "http.handlers.callback_auth" {
			reason, _ = line["reason"].(string)
		}
	}
	return reason
}

func TestVonageSMSFreshness(t *testing.T) {
	bed := smsBed(t, "max_age 2m")
	for _, test := range []struct {
		name   string
		offset int64
		status int
		reason string
	}{
		{"as old as may be", -120, 200, ""},
		{"a second older", -121, 401, "expired"},
		{"as far ahead as may be", 120, 200, ""},
		{"a second further", 121, 401, "not_yet_valid"},
		{"of 1970", -1700000000, 401, "expired"},
	} {
		t.Run(test.name, func(t *testing.T) {
			parameters := smsParameters()
			parameters["timestamp"] = strconv.FormatInt(smsMade.Unix()+test.offset, 10)
			expect(t, bed.Do(t, smsGet(smsForm(smsSigned("md5hash", parameters)))), test.status)
			if test.reason != "" && lastReason(t, bed) != test.reason {
				t.Errorf("reason %q; want %q", lastReason(t, bed), test.reason)
			}
		})
	}
	t.Run("an old message with a wrong signature is a wrong signature", func(t *testing.T) {
		parameters := smsParameters()
		parameters["timestamp"], parameters["sig"] = "1", strings.Repeat("0", 32)
		expect(t, bed.Do(t, smsGet(smsForm(parameters))), 401)
		if got := lastReason(t, bed); got != "bad_signature" {
			t.Errorf("reason %q", got)
		}
	})
	t.Run("5m is the default", func(t *testing.T) {
		bed := smsBed(t, "")
		for age, status := range map[int64]int{300: 200, 301: 401} {
			parameters := smsParameters()
			parameters["timestamp"] = strconv.FormatInt(smsMade.Unix()-age, 10)
			expect(t, bed.Do(t, smsGet(smsForm(smsSigned("md5hash", parameters)))), status)
		}
	})
}

func TestVonageSMSReachesTheReceiverAsItCame(t *testing.T) {
	bed := testbed.New(t, `http:// {
		callback_auth {
			vonage_sms {
				secret old-secret
				secret `+smsSecret+` new
			}
			strip_credentials
		}
		reverse_proxy RECEIVER {
			header_up X-Key {http.callback_auth.key}
			header_up X-User {http.auth.user.id}
			header_up X-From {http.callback_auth.claim.msisdn}
			header_up X-Sig "[{http.callback_auth.claim.sig}]"
		}
	}`)
	parameters := smsParameters()
	t.Run("a JSON body with numbers as they are written", func(t *testing.T) {
		parameters["price"] = "0.0340"
		signed := smsSigned("md5hash", parameters)
		body := `{ "price": 0.0340, "sig":"` + signed["sig"] + `"`
		for name, value := range parameters {
			if name != "price" {
				body += `,"` + name + `":"` + strings.ReplaceAll(value, "&", `\u0026`) + `"`
			}
		}
		body += "}\n"
		result := bed.Do(t, smsPost("application/json", body))
		expect(t, result, 200)
		got := result.Received[0]
		if string(got.Body) != body {
			t.Errorf("the receiver got another body: %s", got.Body)
		}
		if got.Header.Get("X-Key") != "new" || got.Header.Get("X-User") != "new" || got.Header.Get("X-From") != "447700900001" || got.Header.Get("X-Sig") != "[]" {
			t.Errorf("the receiver got %v", got.Header)
		}
	})
	t.Run("an api-key that is signed says who sent it", func(t *testing.T) {
		parameters["api-key"] = "abcd1234"
		result := bed.Do(t, smsGet(smsForm(smsSigned("md5hash", parameters))))
		expect(t, result, 200)
		if got := result.Received[0].Header.Get("X-User"); got != "abcd1234" {
			t.Errorf("user %q", got)
		}
		if strings.Contains(result.Received[0].RequestURI, "sig=") {
			t.Error("the receiver sees sig")
		}
	})
}

func TestVonageSMSConfig(t *testing.T) {
	adaptsBothWays(t, "vonage_sms", []fixture{
		{"a secret", "vonage_sms {\nsecret {env.SMS}\n}", `{"secrets":[{"value":"{env.SMS}"}]}`},
		{
			"every option", "vonage_sms {\nsecret a old\nsecret b new\nmethod sha512\nmax_age 90s\n}",
			`{"secrets":[{"value":"a","label":"old"},{"value":"b","label":"new"}],"method":"sha512","max_age":90000000000}`,
		},
	})
	t.Setenv("SMS_EMPTY", "")
	refusesMistakes(t, []mistake{
		{"no secret", "vonage_sms", []string{"vonage_sms needs a secret"}},
		{"an argument", "vonage_sms hush", []string{"vonage_sms takes no arguments", "Caddyfile:3"}},
		{"an empty secret", "vonage_sms {\nsecret \"\"\n}", []string{"secret is empty", "Caddyfile:4"}},
		{"a secret of three words", "vonage_sms {\nsecret hush hush hush\n}", []string{"secret takes", "Caddyfile:4"}},
		{"a secret whose variable is empty", "vonage_sms {\nsecret {env.SMS_EMPTY}\n}", []string{"secret", "{env.SMS_EMPTY}"}},
		{"a method that is none", "vonage_sms {\nsecret hush\nmethod sha384\n}", []string{"method", "'sha384'", "Caddyfile:5"}},
		{"two methods", "vonage_sms {\nmethod md5\nmethod md5\n}", []string{"method", "already specified", "Caddyfile:5"}},
		{"a max_age that is none", "vonage_sms {\nmax_age soon\n}", []string{"max_age", "'soon'", "Caddyfile:4"}},
		{"a max_age below zero", "vonage_sms {\nmax_age -5m\n}", []string{"max_age", "'-5m'", "Caddyfile:4"}},
		{"two max_ages", "vonage_sms {\nmax_age 5m\nmax_age 6m\n}", []string{"max_age", "already specified", "Caddyfile:5"}},
		{"an unknown option", "vonage_sms {\nsignature x\n}", []string{"'signature'", "Caddyfile:4"}},
	})
}
