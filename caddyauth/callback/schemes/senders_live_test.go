package schemes

import (
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // what Sinch signs
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

const liveSecret = "0123456789abcdef0123456789abcdef"

func base64SHA1(signed string) string {
	mac := hmac.New(sha1.New, []byte(liveSecret))
	mac.Write([]byte(signed))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

func base64SHA256(signed string) string {
	mac := hmac.New(sha256.New, []byte(liveSecret))
	mac.Write([]byte(signed))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// Shopify's Events come under `Shopify-Hmac-Sha256`, which its own libraries prefer to the older name where both stand.
func TestShopifySignsUnderTwoNames(t *testing.T) {
	s := mustLoad(t, "shopify", "secret "+liveSecret)
	right, wrong := base64SHA256(senderBody), base64SHA256(senderBody+" ")
	for _, test := range []struct {
		what, older, newer string
		want               verdict.Reason
	}{
		{"the older name", right, "", verdict.OK},
		{"the newer name", "", right, verdict.OK},
		{"both", right, right, verdict.OK},
		{"another body's, under the newer name", "", wrong, verdict.BadSignature},
		{"neither", "", "", verdict.Missing},
	} {
		r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
		if test.older != "" {
			r.Header.Set("X-Shopify-Hmac-Sha256", test.older)
		}
		if test.newer != "" {
			r.Header.Set("Shopify-Hmac-Sha256", test.newer)
		}
		if got := send(s, r, senderBody, senderNow); got.Reason != test.want {
			t.Errorf("%s: %s (%s), want %s", test.what, got.Reason, got.Detail, test.want)
		}
	}
	if places := s.Traits().Places; len(places) != 2 || places[1].Header != "Shopify-Hmac-Sha256" {
		t.Errorf("strip_credentials leaves the newer name: %v", places)
	}
}

// Square still sends its SHA-1 signature beside the newer one: nobody looks at it, and strip_credentials takes it away.
func TestSquaresOlderSignatureIsNotLookedAt(t *testing.T) {
	s := mustLoad(t, "square", "secret "+liveSecret)
	r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
	r.Header.Set("X-Square-Signature", base64SHA1("https://hooks.example.com/cb"+senderBody))
	if got := send(s, r, senderBody, senderNow); got.Reason != verdict.Missing {
		t.Errorf("the SHA-1 signature alone: %s", got.Reason)
	}
	if places := s.Traits().Places; len(places) != 2 || places[1].Header != "X-Square-Signature" {
		t.Errorf("strip_credentials leaves the SHA-1 signature: %v", places)
	}
}

// Twilio escapes the apostrophe of a query, or does not, in what it signs and in what it calls, each on its own.
func TestTwiliosApostropheMayBeEscaped(t *testing.T) {
	s := mustLoad(t, "twilio", "secret "+liveSecret)
	const host = "https://hooks.example.com"
	for _, test := range []struct {
		signed, called string
		want           verdict.Reason
	}{
		{"/cb?Body=It's+on", "/cb?Body=It's+on", verdict.OK},
		{"/cb?Body=It's+on", "/cb?Body=It%27s+on", verdict.OK},
		{"/cb?Body=It%27s+on", "/cb?Body=It's+on", verdict.OK},
		{"/cb?Body=It%27s+on", "/cb?Body=It%27s+on", verdict.OK},
		{"/cb?a='1&b='2", "/cb?a=%271&b='2", verdict.OK},
		{"/cb?Body=It's+on", "/cb?Body=Its+on", verdict.BadSignature},
		{"/cb?Body=It's+on", "/cb?Body=It%2527s+on", verdict.BadSignature},
		{"/cb?Body=It's+on", "/cb?Body=It's%20on", verdict.BadSignature},
		{"/it's?a=1", "/it%27s?a=1", verdict.BadSignature}, // a path is another one
	} {
		for _, port := range []string{"", ":443"} {
			r := httptest.NewRequest("GET", host+test.called, nil)
			r.Header.Set("X-Twilio-Signature", base64SHA1(host+port+test.signed))
			if got := send(s, r, "", senderNow); got.Reason != test.want {
				t.Errorf("signed %s%s, called %s: %s (%s), want %s", port, test.signed, test.called, got.Reason, got.Detail, test.want)
			}
		}
	}
}

// Twilio signs the handshake of a media stream with a slash behind the path that it calls (twilio.com/docs/usage/security).
func TestTwiliosHandshakeIsSignedWithASlashBehindItsPath(t *testing.T) {
	s := mustLoad(t, "twilio", "secret "+liveSecret)
	for _, test := range []struct {
		signed, called string
		upgrade        bool
		want           verdict.Reason
	}{
		{"wss://hooks.example.com/media/", "/media", true, verdict.OK},
		{"wss://hooks.example.com:443/media/", "/media", true, verdict.OK},
		{"wss://hooks.example.com/media/", "/media/", true, verdict.OK},
		{"wss://hooks.example.com/media", "/media/", true, verdict.BadSignature},
		{"wss://hooks.example.com/media//", "/media/", true, verdict.BadSignature},
		{"wss://hooks.example.com/media?a=1/", "/media?a=1", true, verdict.BadSignature},
		{"wss://hooks.example.com/media/", "/media", false, verdict.BadSignature},
		{"https://hooks.example.com/media/", "/media", false, verdict.BadSignature},
	} {
		r := httptest.NewRequest("GET", test.called, nil)
		r.Header.Set("X-Twilio-Signature", base64SHA1(test.signed))
		q := &callback.Request{HTTP: r, Method: "GET", URL: r.URL, PublicURL: "https://hooks.example.com", Now: senderNow, Upgrade: test.upgrade}
		v := s.Verify(q)
		if v.OK() && v.Then != nil {
			v = v.Then(nil)
		}
		if v.Reason != test.want {
			t.Errorf("signed %s, called %s, a handshake %t: %s (%s), want %s", test.signed, test.called, test.upgrade, v.Reason, v.Detail, test.want)
		}
	}
}

// Slack checks the certificate of a slash command's URL without a signature (its own Bolt answers that, and passes nothing
// on). With answer_challenge it is acknowledged: so nothing else may come this way.
func TestSlacksCheckOfTheCertificateIsAcknowledgedAndNothingElseIs(t *testing.T) {
	const form = "application/x-www-form-urlencoded"
	s := mustLoad(t, "slack", "secret "+liveSecret, "answer_challenge")
	for _, test := range []struct {
		what, contentType, body string
		ok                      bool
	}{
		{"the check", form, "ssl_check=1&token=gIkuvaNzQIHg97ATvDxqgjtO", true},
		{"the check alone", form, "ssl_check=1", true},
		{"with a charset", form + "; charset=utf-8", "ssl_check=1", true},
		{"a command that says it is one", form, "command=%2Fdeploy&text=prod&ssl_check=1", true}, // it goes nowhere
		{"another value", form, "ssl_check=0", false},
		{"two values", form, "ssl_check=1&ssl_check=0", false},
		{"a command", form, "command=%2Fdeploy&text=prod", false},
		{"no form that parses", form, "ssl_check=1&%zz", false},
		{"no form", "application/json", "ssl_check=1", false},
		{"no type", "", "ssl_check=1", false},
		{"a long one", form, "ssl_check=1&token=" + strings.Repeat("a", 1000), false},
		{"nothing", form, "", false},
		{"an event", "application/json", `{"type":"url_verification","challenge":"token"}`, false},
	} {
		r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
		if test.contentType != "" {
			r.Header.Set("Content-Type", test.contentType)
		}
		v, w := answerOf(t, send(s, r.Clone(t.Context()), test.body, senderNow))
		if v.OK() != test.ok || test.ok && (v.Answer == nil || w.Code != 200 || w.Body.Len() > 0) || !test.ok && v.Reason != verdict.Missing {
			t.Errorf("%s: %s (%s), %d %q", test.what, v.Reason, v.Detail, w.Code, w.Body)
		}
		// A signature that is there has to hold, and without the option none is acknowledged.
		signed := r.Clone(t.Context())
		signed.Header.Set("X-Slack-Signature", "v0="+strings.Repeat("0", 64))
		signed.Header.Set("X-Slack-Request-Timestamp", "1700000000")
		if got := send(s, signed, test.body, senderNow); got.Reason != verdict.BadSignature {
			t.Errorf("%s, with a signature of nobody's: %s", test.what, got.Reason)
		}
		if got := send(mustLoad(t, "slack", "secret "+liveSecret), r, test.body, senderNow); got.Reason != verdict.Missing {
			t.Errorf("%s, without answer_challenge: %s", test.what, got.Reason)
		}
	}
}

// Before 0.13, OvenMediaEngine wrote the offset of its time without a colon (AirenSoft/OvenMediaEngine#596 shows one).
func TestOvenMediaEnginesTimeMayHaveAnOffsetWithoutAColon(t *testing.T) {
	at := time.Date(2021, 12, 14, 15, 10, 0, 0, time.UTC)
	s := mustLoad(t, "ovenmediaengine", "secret "+liveSecret)
	for written, want := range map[string]verdict.Reason{
		"2021-12-14T15:10:00.524+0000":  verdict.OK,
		"2021-12-14T15:10:00.524+00:00": verdict.OK,
		"2021-12-15T00:10:00.524+0900":  verdict.OK,
		"2021-12-14T11:40:00.524-0330":  verdict.OK,
		"2021-12-14T15:10:00.524Z":      verdict.OK,
		"2021-12-14T15:10:00.524+0900":  verdict.Expired,
		"2021-12-14T15:10:00.524-0900":  verdict.NotYetValid,
		"2021-12-14T15:10:00.524+000":   verdict.BadCredential,
		"2021-12-14T15:10:00.524+00000": verdict.BadCredential,
		"2021-12-14T15:10:00.524+9900":  verdict.BadCredential,
		"2021-12-14T15:10:00.524":       verdict.BadCredential,
		"20211214T151000+0000":          verdict.BadCredential,
	} {
		body := `{"client":{"address":"192.0.2.7","port":51600},"request":{"direction":"incoming","protocol":"RTMP","time":"` + written + `","url":"rtmp://media.example:1935/live/test"}}`
		r := httptest.NewRequest("POST", "https://hooks.example.com/cb", nil)
		r.Header.Set("X-OME-Signature", strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(base64SHA1(body)), "="))
		if got := send(s, r, body, at); got.Reason != want {
			t.Errorf("%s: %s (%s), want %s", written, got.Reason, got.Detail, want)
		}
	}
}

// A URL without a path is called with the path `/`, and signed as it was registered: the senders' own packages take
// `https://hooks.example.com` as it is.
func TestAURLMayBeSignedWithoutThePathThatItIsCalledWith(t *testing.T) {
	const root = "https://hooks.example.com"
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	for _, test := range []struct {
		sender, method, called, body string
		header                       http.Header
		signed                       string // behind the scheme and host
		want                         verdict.Reason
	}{
		{"square", "POST", "/", senderBody, nil, senderBody, verdict.OK},
		{"square", "POST", "/?a=1", senderBody, nil, "?a=1" + senderBody, verdict.OK},
		{"square", "POST", "/", senderBody, nil, "/" + senderBody, verdict.OK},
		{"square", "POST", "/cb", senderBody, nil, senderBody, verdict.BadSignature},
		{"square", "POST", "/cb", senderBody, nil, "cb" + senderBody, verdict.BadSignature},
		{"square", "POST", "//", senderBody, nil, "/" + senderBody, verdict.BadSignature},
		{"square", "POST", "/", "/" + senderBody, nil, "/" + senderBody, verdict.BadSignature}, // a genuine body, and our slash before it
		{"square", "POST", "/", ":443/" + senderBody, nil, ":443/" + senderBody, verdict.BadSignature},
		{"square", "POST", "/", "?a=1" + senderBody, nil, "?a=1" + senderBody, verdict.BadSignature},
		{"twilio", "POST", "/", "%2FFrom=1&To=2", form, "/From1To2", verdict.BadSignature},
		{"twilio", "POST", "/", "To=2&From=1", form, "From1To2", verdict.BadSignature}, // a form could be the rest of the host
		{"twilio", "GET", "/?To=2&From=1", "", nil, "?To=2&From=1", verdict.OK},
		{"plivo", "POST", "/", "To=2&From=1", form, "?From1To2.12345", verdict.OK},
		{"plivo", "GET", "/?b=2&a=1", "", nil, "?a=1&b=2.12345", verdict.OK},
		{"plivo_v2", "POST", "/", "To=2", form, "12345", verdict.OK},
	} {
		r := httptest.NewRequest(test.method, root+test.called, nil)
		maps.Copy(r.Header, test.header)
		signed := root + test.signed
		switch test.sender {
		case "square":
			r.Header.Set("X-Square-Hmacsha256-Signature", base64SHA256(signed))
		case "twilio":
			r.Header.Set("X-Twilio-Signature", base64SHA1(signed))
		case "plivo":
			r.Header.Set("X-Plivo-Signature-V3-Nonce", "12345")
			r.Header.Set("X-Plivo-Signature-V3", base64SHA256(signed))
		case "plivo_v2":
			r.Header.Set("X-Plivo-Signature-V2-Nonce", "12345")
			r.Header.Set("X-Plivo-Signature-V2", base64SHA256(signed))
		}
		if got := send(mustLoad(t, test.sender, "secret "+liveSecret), r, test.body, senderNow); got.Reason != test.want {
			t.Errorf("%s, called %s, signed %s: %s (%s), want %s", test.sender, test.called, signed, got.Reason, got.Detail, test.want)
		}
	}
}

// Live requests have more than the documented examples: a time to seven digits, an auth-scheme in another case, a charset,
// the offset of the media server's own time zone.
func TestLiveSpellingsOfTimesAndHeadersPass(t *testing.T) {
	at := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	sum := md5.Sum([]byte(senderBody)) //nolint:gosec // what Sinch signs
	const admission = `{"client":{"address":"192.0.2.7","port":29291},"request":{"direction":"incoming","protocol":"rtmp","status":"opening","time":"2026-11-29T21:00:01.042+09:00","url":"rtmp://example.com/app/stream"}}`
	ome := strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(base64SHA1(admission)), "=")
	for _, test := range []struct {
		sender, option, path, body string
		header                     http.Header
	}{
		{"sinch", "account app-key " + base64.StdEncoding.EncodeToString([]byte(liveSecret)), "/cb", senderBody, http.Header{
			"Content-Type": {"application/json; charset=utf-8"},
			"X-Timestamp":  {"2026-11-29T12:00:01.9372196Z"},
			"Authorization": {"Application app-key:" + base64SHA256("POST\n"+base64.StdEncoding.EncodeToString(sum[:])+
				"\napplication/json; charset=utf-8\nx-timestamp:2026-11-29T12:00:01.9372196Z\n/cb")},
		}},
		{"ovenmediaengine", "secret " + liveSecret, "/cb", admission, http.Header{"X-Ome-Signature": {ome}}},
	} {
		r := httptest.NewRequest("POST", "https://hooks.example.com"+test.path, nil)
		maps.Copy(r.Header, test.header)
		if got := send(mustLoad(t, test.sender, test.option), r, test.body, at); !got.OK() {
			t.Errorf("%s: %s (%s)", test.sender, got.Reason, got.Detail)
		}
	}
}
