package callback_test

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

const vonageSite = `
http:// {
	log
	callback_auth vonage {
		secret ` + testbed.Secret + ` blue
	}
	reverse_proxy RECEIVER {
		header_up X-Sender {http.auth.user.id}
	}
}
`

const event = `{"event":"connectionCreated"}`

// accepted fails unless the receiver got the body once.
func accepted(t *testing.T, result testbed.Result, body string) {
	t.Helper()
	if result.Status != http.StatusOK || len(result.Received) != 1 {
		t.Fatalf("status %d, the receiver got %d requests; want 200 and 1", result.Status, len(result.Received))
	}
	if got := string(result.Received[0].Body); got != body {
		t.Fatalf("the receiver got a body of %d bytes, not the one of %d bytes that was sent", len(got), len(body))
	}
}

// refused fails unless the answer has one of the statuses and the receiver got nothing.
func refused(t *testing.T, result testbed.Result, statuses ...int) {
	t.Helper()
	if len(result.Received) != 0 {
		t.Fatalf("the receiver got a request that was to be refused; status %d", result.Status)
	}
	if result.Status == http.StatusUnauthorized && result.Header.Get("WWW-Authenticate") == "" {
		t.Error("a 401 without WWW-Authenticate")
	}
	if slices.Contains(statuses, result.Status) {
		return
	}
	t.Fatalf("status %d, want %d", result.Status, statuses)
}

func TestAGenuineCallbackReachesTheReceiverAsItWasSent(t *testing.T) {
	bed := testbed.New(t, vonageSite)
	result := bed.Do(t, testbed.Vonage(t, event, nil))
	accepted(t, result, event)
	got := result.Received[0]
	if got.ContentLength != int64(len(event)) || len(got.TransferEncoding) != 0 {
		t.Errorf("Content-Length %d, Transfer-Encoding %v", got.ContentLength, got.TransferEncoding)
	}
	if got.Header.Get("X-Sender") != "47000001" {
		t.Errorf("X-Sender is %q, want the api_key", got.Header.Get("X-Sender"))
	}
	if got.Header.Get("Authorization") == "" {
		t.Error("Authorization did not reach the receiver, though strip_credentials is not set")
	}
}

func TestARefusalTellsTheSameReasonEverywhereButInItsBody(t *testing.T) {
	site := `
http:// {
	log
	callback_auth vonage {
		secret ` + testbed.Secret + ` blue
		max_age 10m
	}
	reverse_proxy RECEIVER
	handle_errors {
		header X-Reason {http.callback_auth.reason}
		header X-Scheme {http.callback_auth.scheme}
		header X-User "[{http.auth.user.id}]"
		respond "sorry" {err.status_code}
	}
}
`
	now := time.Now().Unix()
	for _, tc := range []struct {
		name   string
		change func(r *http.Request)
		claims map[string]any
		reason verdict.Reason
		key    string
	}{
		{"no credential", func(r *http.Request) { r.Header.Del("Authorization") }, nil, verdict.Missing, ""},
		{"two credentials", func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }, nil, verdict.Malformed, ""},
		{"not a token", func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, nil, verdict.BadCredential, ""},
		{"a wrong issuer", nil, map[string]any{"iss": "evil"}, verdict.BadClaim, "blue"},
		{"another body", nil, map[string]any{"payload_hash": strings.Repeat("0", 64)}, verdict.BodyMismatch, "blue"},
		{"too old", nil, map[string]any{"iat": now - 601}, verdict.Expired, "blue"},
		{"from the future", nil, map[string]any{"iat": now + 90}, verdict.NotYetValid, "blue"},
		{"a body over the limit", func(r *http.Request) { r.ContentLength = 3 << 20 }, nil, verdict.TooLarge, "blue"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bed := testbed.New(t, site)
			r := testbed.Vonage(t, event, tc.claims)
			if tc.change != nil {
				tc.change(r)
			}
			result := bed.Do(t, r)
			refused(t, result, tc.reason.Status())
			if result.Body != "sorry" || result.Header.Get("X-Reason") != string(tc.reason) || result.Header.Get("X-Scheme") != "vonage" {
				t.Errorf("the error route saw reason %q, scheme %q", result.Header.Get("X-Reason"), result.Header.Get("X-Scheme"))
			}
			if user := result.Header.Get("X-User"); user != "[]" {
				t.Errorf("the error route saw the user %s of a request that was refused", user)
			}
			challenge := map[int]string{ // RFC 6750 §3.1: of no error learns who brought no token
				http.StatusUnauthorized: `Bearer realm="callback", error="invalid_token"`, http.StatusBadRequest: `Bearer realm="callback", error="invalid_request"`,
			}[tc.reason.Status()]
			if tc.reason == verdict.Missing {
				challenge = `Bearer realm="callback"`
			}
			if got := result.Header.Get("WWW-Authenticate"); got != challenge {
				t.Errorf("WWW-Authenticate is %q, want %q", got, challenge)
			}
			lines := bed.Logs.Lines(t, "callback refused")
			if len(lines) != 1 {
				t.Fatalf("%d log lines about the refusal, want 1", len(lines))
			}
			if line := lines[0]; line["level"] != "info" || line["reason"] != string(tc.reason) || line["scheme"] != "vonage" ||
				line["key"] != tc.key || line["client_ip"] != "192.0.2.1" {
				t.Errorf("the log line is %v", line)
			}
			access := bed.Logs.Lines(t, "handled request")
			if len(access) != 1 {
				t.Fatalf("%d access log entries, want 1", len(access))
			}
			fields, _ := access[0]["callback_auth"].(map[string]any)
			if fields["reason"] != string(tc.reason) || fields["key"] != tc.key {
				t.Errorf("the access log entry has %v", fields)
			}
		})
	}
}

func TestWhatCouldNotBeDecidedIsAskedForAgain(t *testing.T) {
	bed := testbed.New(t, `
http:// {
	callback_auth vonage {
		secret `+testbed.Secret+`
		unsigned_status 503
	}
	reverse_proxy RECEIVER
}`)
	r := testbed.Vonage(t, event, nil)
	r.Header.Del("Authorization")
	result := bed.Do(t, r)
	refused(t, result, http.StatusServiceUnavailable)
	if result.Header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}

func TestEveryListedSchemeMustAccept(t *testing.T) {
	bed := testbed.New(t, `
http:// {
	callback_auth {
		vonage {
			secret `+testbed.Secret+`
		}
		api_key {
			query key
			key 0123456789abcdef0123456789abcdef
		}
	}
	reverse_proxy RECEIVER
}`)
	with := func(key string, claims map[string]any) *http.Request {
		r := testbed.Vonage(t, event, claims)
		r.URL.RawQuery = "key=" + key
		return r
	}
	accepted(t, bed.Do(t, with("0123456789abcdef0123456789abcdef", nil)), event)
	refused(t, bed.Do(t, with("wrong", nil)), 401)
	refused(t, bed.Do(t, with("0123456789abcdef0123456789abcdef", map[string]any{"iss": "x"})), 401)
}

func TestAnyAcceptsWhatOneOfItsSchemesAccepts(t *testing.T) {
	bed := testbed.New(t, `
http:// {
	callback_auth {
		any {
			vonage {
				secret `+testbed.Secret+`
			}
			basic {
				user ringo s3cr3t-s3cr3t-s3cr3t-s3cr3t
			}
			ip_range 198.51.100.0/24
		}
	}
	reverse_proxy RECEIVER {
		header_up X-Scheme {http.callback_auth.scheme}
	}
}`)
	post := func() *http.Request {
		return httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
	}

	result := bed.Do(t, testbed.Vonage(t, event, nil))
	accepted(t, result, event)
	if got := result.Received[0].Header.Get("X-Scheme"); got != "vonage" {
		t.Errorf("scheme %q, want vonage", got)
	}

	r := post()
	r.SetBasicAuth("ringo", "s3cr3t-s3cr3t-s3cr3t-s3cr3t")
	accepted(t, bed.Do(t, r), event)

	r = post()
	r.RemoteAddr = "198.51.100.7:4000"
	accepted(t, bed.Do(t, r), event)

	r = post()
	r.SetBasicAuth("ringo", "wrong")
	refused(t, bed.Do(t, r), 401)

	result = bed.Do(t, post())
	refused(t, result, 401)
	if challenge := result.Header.Get("WWW-Authenticate"); !strings.Contains(challenge, "Basic") || !strings.Contains(challenge, "Bearer") {
		t.Errorf("WWW-Authenticate is %q, want both challenges", challenge)
	}

	refused(t, bed.Do(t, testbed.Vonage(t, event, map[string]any{"payload_hash": strings.Repeat("0", 64)})), 401)
}

func TestAnAnySaysWhatWasWrongWithTheCredentialThatCameClosest(t *testing.T) {
	bed := testbed.New(t, `
http:// {
	callback_auth {
		any {
			basic {
				user ringo s3cr3t-s3cr3t-s3cr3t-s3cr3t
			}
			api_key {
				header X-Key
				key 0123456789abcdef0123456789abcdef
			}
			vonage {
				secret `+testbed.Secret+`
				unsigned_status 503
			}
			ip_range 198.51.100.0/24
		}
	}
	reverse_proxy RECEIVER
	handle_errors {
		respond "{http.callback_auth.scheme} {http.callback_auth.reason}"
	}
}`)
	forged := testbed.Vonage(t, event, nil)
	forged.Header.Set("Authorization", "Bearer "+testbed.HS256(t, "another-secret-another-secret-anot", nil, testbed.VonageClaims(event, nil)))
	none := testbed.Vonage(t, event, nil)
	none.Header.Del("Authorization")
	guess := testbed.Vonage(t, event, nil)
	guess.SetBasicAuth("ringo", "a-guess")
	for _, tc := range []struct {
		name string
		r    *http.Request
		want int
		said string
	}{
		{"a token of another secret is not one of another scheme", forged, 401, "vonage bad_signature"},
		{"a wrong password is not a missing token", guess, 401, "basic bad_signature"},
		{"one that is too old", testbed.Vonage(t, event, map[string]any{"iat": 1}), 401, "vonage expired"},
		{"no credential, where one scheme asks to be tried again", none, 503, "vonage missing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			result := bed.Do(t, tc.r)
			refused(t, result, tc.want)
			if result.Body != tc.said {
				t.Errorf("it was refused as %q, want %q", result.Body, tc.said)
			}
		})
	}
}

func TestTheSchemesWithinAnAnyAreStepsOfTheirOwn(t *testing.T) {
	bed := testbed.New(t, siteWith(`any {
		ip_range 198.51.100.0/24
		any {
			api_key {
				header X-Key
				key 0123456789abcdef0123456789abcdef
			}
			vonage {
				secret `+testbed.Secret+`
			}
		}
	}
	api_key {
		header X-Other
		key 0123456789abcdef0123456789abcdef
	}`))
	for _, tc := range []struct {
		name  string
		r     *http.Request
		steps string
	}{
		{"accepted over the body", testbed.Vonage(t, event, nil), "api_key ok, any: ip_range denied, any: any: api_key missing, any: any: vonage ok, any: any ok, any ok, " +
			"any over the body: any: vonage ok, any over the body: any ok, any over the body ok, replay ok"},
		{"refused over the body", testbed.Vonage(t, event, map[string]any{"payload_hash": strings.Repeat("0", 64)}), "api_key ok, any: ip_range denied, " +
			"any: any: api_key missing, any: any: vonage ok, any: any ok, any ok, " +
			"any over the body: any: vonage body_mismatch, any over the body: any body_mismatch, any over the body body_mismatch"},
		{"refused", httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event)), "api_key ok, any: ip_range denied, " +
			"any: any: api_key missing, any: any: vonage missing, any: any missing, any missing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.r.Header.Set("X-Other", "0123456789abcdef0123456789abcdef")
			bed.Do(t, tc.r)
			var steps []string
			for _, step := range app.Decisions().Latest(1, 0)[0].Steps {
				steps = append(steps, step.Name+" "+step.Outcome)
			}
			if got := strings.Join(steps, ", "); got != tc.steps {
				t.Errorf("the steps are\n%s\nshould be\n%s", got, tc.steps)
			}
		})
	}
}

// A row names one scheme and one key: those of the others are with their steps.
func TestEachStepNamesTheKeyOfItsOwnScheme(t *testing.T) {
	bed := testbed.New(t, siteWith(`any {
		ip_range 198.51.100.0/24
		vonage {
			secret `+testbed.Secret+` green
		}
	}
	api_key {
		header X-Other
		key another-key-0123456789abcdef0123 red
		key 0123456789abcdef0123456789abcdef blue
	}`))
	r := testbed.Vonage(t, event, nil)
	r.Header.Set("X-Other", "0123456789abcdef0123456789abcdef")
	bed.Do(t, r)
	var keys []string
	for _, step := range app.Decisions().Latest(1, 0)[0].Steps {
		keys = append(keys, step.Name+" ["+step.Key+"]")
	}
	want := "api_key [blue], any: ip_range [], any: vonage [green], any [], any over the body: vonage [green], any over the body [green], replay []"
	if got := strings.Join(keys, ", "); got != want {
		t.Errorf("the steps are\n%s\nshould be\n%s", got, want)
	}
}

func TestReportOnlyRefusesNothingAndSaysWhatItWouldHaveRefused(t *testing.T) {
	bed := testbed.New(t, `
http:// {
	callback_auth {
		report_only
		max_body 64B
		vonage {
			secret `+testbed.Secret+`
		}
	}
	reverse_proxy RECEIVER {
		header_up X-Reason {http.callback_auth.reason}
		header_up X-Sender "[{http.auth.user.id}]"
	}
}`)
	for _, tc := range []struct {
		name   string
		r      func() *http.Request
		body   string
		reason string
	}{
		{"a genuine callback", func() *http.Request { return testbed.Vonage(t, event, nil) }, event, "ok"},
		{"a forged one", func() *http.Request { return testbed.Vonage(t, event, map[string]any{"iss": "x"}) }, event, "bad_claim"},
		{"one with another body", func() *http.Request {
			return testbed.Vonage(t, event, map[string]any{"payload_hash": strings.Repeat("0", 64)})
		}, event, "body_mismatch"},
		{"one over max_body", func() *http.Request { return testbed.Vonage(t, strings.Repeat("x", 65), nil) }, strings.Repeat("x", 65), "too_large"},
		{"one over max_body that does not say so", func() *http.Request {
			r := testbed.Vonage(t, strings.Repeat("x", 65), nil)
			r.ContentLength = -1
			return r
		}, strings.Repeat("x", 65), "too_large"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			result := bed.Do(t, tc.r())
			accepted(t, result, tc.body)
			if got := result.Received[0].Header.Get("X-Reason"); got != tc.reason {
				t.Errorf("reason %q, want %q", got, tc.reason)
			}
			want := "[47000001]"
			if tc.reason != "ok" {
				want = "[]" // and not the placeholder's name
			}
			if got := result.Received[0].Header.Get("X-Sender"); got != want && tc.reason != "body_mismatch" && tc.reason != "too_large" {
				t.Errorf("the receiver is told that %s sent it, want %s", got, want)
			}
		})
	}
	if lines := bed.Logs.Lines(t, "callback refused"); len(lines) != 4 || lines[0]["report_only"] != true {
		t.Errorf("%d log lines, want 4 with report_only", len(lines))
	}
}

func TestEarlyDataIsAskedForAgain(t *testing.T) {
	bed := testbed.New(t, strings.Replace(vonageSite, "http:// {", ":8443 {", 1))
	t.Run("as a proxy in front says it (RFC 8470)", func(t *testing.T) {
		r := testbed.Vonage(t, event, nil)
		r.Header.Set("Early-Data", "1")
		refused(t, bed.Do(t, r), http.StatusTooEarly)
	})
	t.Run("ht-h3-early-data", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, "https://example.com/hook", strings.NewReader(event))
		r.TLS.HandshakeComplete = false // as quic-go has it in 0-RTT
		r.Header = testbed.Vonage(t, event, nil).Header
		refused(t, bed.Do(t, r), http.StatusTooEarly)
	})
}

func TestSchemesSeeTheURLAsItArrived(t *testing.T) {
	bed := testbed.New(t, `
http:// {
	uri strip_prefix /hook
	rewrite * /internal?added=1
	callback_auth vonage {
		secret `+testbed.Secret+`
	}
	reverse_proxy RECEIVER
}`)
	// The vector of a GET: the hash of {"to":"447700900001","from":"447700900000","conversation_uuid":"CON-1","uuid":"U-1"}.
	const digest = "3590dd017462a8f260376ede25708abb50e89e8793dcd52d4ab081711a81dca7"
	r := httptest.NewRequest(http.MethodGet, "http://example.com/hook?to=447700900001&from=447700900000&conversation_uuid=CON-1&uuid=U-1", nil)
	r.Header.Set("Authorization", "Bearer "+testbed.HS256(t, testbed.Secret, nil,
		testbed.VonageClaims("", map[string]any{"payload_hash": digest})))
	result := bed.Do(t, r)
	accepted(t, result, "")
	if got := result.Received[0].RequestURI; got != "/internal?added=1" {
		t.Errorf("the receiver was asked for %s", got)
	}
}

func TestAFrozenClockJudgesTheVectorOfTheReference(t *testing.T) {
	const (
		token = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDAsImp0aSI6IjBiOWYxYzFlLTAwMDAtNDAwMC04MDAwLTAwMDAwMDAwMDAwMSIsImlzcyI6IlZvbmFnZSIsInBheWxvYWRfaGFzaCI6IjRmZjk1ODE4MDdmZTRjZDE4MDE5NWI3YjBjMGJmNzY5NzUzMWI4ZDE3N2E4Y2FjODhiOTg0YmRmMDU1YTNkNzgiLCJhcGlfa2V5IjoiNDcwMDAwMDEiLCJhcHBsaWNhdGlvbl9pZCI6IjExMTExMTExLTIyMjItMzMzMy00NDQ0LTU1NTU1NTU1NTU1NSJ9.D2z3Onh1_PTpMGuRaK3lA58kUw0LQ4ZJ7UEZh1gP9dA"
		body  = `{"sessionId":"1_MX40NzAwMDAwMX5-","projectId":"47000001","event":"connectionCreated","timestamp":1700000000123,"connection":{"id":"c-1","createdAt":1700000000001,"data":"régie"}}`
	)
	bed := testbed.New(t, strings.Replace(strings.Replace(vonageSite, "vonage {", "{\nreplay off\nvonage {", 1), " blue\n\t}", "\n\t}\n}", 1))
	at := func(second int64) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		return r.WithContext(clock.At(r.Context(), time.Unix(second, 0)))
	}
	accepted(t, bed.Do(t, at(1700000300)), body)
	refused(t, bed.Do(t, at(1700000301)), 401)
	refused(t, bed.Do(t, at(1700000000-61)), 401)
}

func TestConfigurationsThatCouldNotHoldAreRefused(t *testing.T) {
	for _, tc := range []struct{ name, block, want string }{
		{"no scheme", "callback_auth {\nreport_only\n}", "no scheme"},
		{"an unknown word", "callback_auth {\nvonnage {\n}\n}", "Caddyfile:3"},
		{"an unknown option of a scheme", "callback_auth vonage {\nsecrets x\n}", "'secrets'"},
		{"a repeated option", "callback_auth {\nmax_body 1MiB\nmax_body 1MiB\n}", "max_body"},
		{"a size that is none", "callback_auth {\nmax_body many\n}", "'many'"},
		{"an unset secret", "callback_auth vonage {\nsecret {env.CADDYAUTH_NOT_SET}\n}", "secret is empty or cannot be read: {env.CADDYAUTH_NOT_SET}"},
		{"a missing file", "callback_auth vonage {\nsecret {file./does/not/exist}\n}", "{file./does/not/exist}"},
		{"an empty secret", "callback_auth vonage {\nsecret \"\"\n}", "secret is empty"},
		{"a repeated label", "callback_auth vonage {\nsecret a x\nsecret b x\n}", `"x"`},
		{"a public_url with a path", "callback_auth {\npublic_url https://example.com/x\nvonage {\nsecret a\n}\n}", "public_url"},
		{"an empty any", "callback_auth {\nany {\n}\n}", "any has no scheme"},
		{"secret and account", "callback_auth vonage {\nsecret a\naccount k b\n}", "not both"},
		{"an account twice (cf-dup-apikey)", "callback_auth vonage {\naccount k a\naccount k b\n}", "stands twice"},
		{"alg none (cf-alg-none)", "callback_auth jwt {\nsecret a\nalgorithm none\nmax_age 5m\n}", "algorithm"},
		{"RS256 with a secret (cf-alg-none)", "callback_auth jwt {\nsecret a\nalgorithm RS256\nmax_age 5m\n}", "RS256"},
		{"a status that is neither", "callback_auth vonage {\nsecret a\nunsigned_status 200\n}", "'200'"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := testbed.Refusal(t, "http:// {\n"+tc.block+"\n}")
			if !strings.Contains(got, tc.want) {
				t.Errorf("the error is %q; want it to say %q", got, tc.want)
			}
		})
	}
}

func TestNoSecretIsInAnErrorAboutIt(t *testing.T) {
	for _, value := range []string{"top{secret}value", "top-secret-value {env.CADDYAUTH_NOT_SET}"} {
		got := testbed.Refusal(t, "http:// {\ncallback_auth vonage {\nsecret \""+value+"\"\n}\n}")
		if strings.Contains(got, "top") || strings.Contains(got, "{secret}") {
			t.Errorf("the error holds a part of the secret")
		}
	}
}

func TestTheClientAddressIsThatOfCaddy(t *testing.T) {
	bed := testbed.New(t, `
http:// {
	callback_auth ip_range 52.112.0.0/14
	reverse_proxy RECEIVER
}`)
	for _, remote := range []string{"52.112.1.1:1", "[::ffff:52.112.1.1]:1"} {
		r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
		r.RemoteAddr = netip.MustParseAddrPort(remote).String()
		accepted(t, bed.Do(t, r), event)
	}
	r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(event))
	r.RemoteAddr = "[::ffff:9.9.9.9]:1"
	refused(t, bed.Do(t, r), 403)
}
