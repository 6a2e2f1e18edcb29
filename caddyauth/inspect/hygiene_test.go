package inspect_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/testbed"

	"github.com/caddyserver/caddy/v2"
)

// placeholders has every placeholder of ours on the access-log entry.
const placeholders = `
	log_append p1 "{http.auth.user.id} {http.callback_auth.scheme} {http.callback_auth.reason} {http.callback_auth.key} {http.callback_auth.id}"
	log_append p2 "{http.stream_auth.decision} {http.stream_auth.rule} {http.stream_auth.reason} {http.stream_auth.stream} {http.stream_auth.mode}"
`

// clean fails the test where a secret stands in a log line at any level, a decision or a metric. What Caddy itself logs
// of a request, under `request`, is left out: that is for the filter of the next test.
func clean(t *testing.T, bed *testbed.Bed, secrets []string) {
	t.Helper()
	var seen strings.Builder
	for line := range strings.Lines(bed.Logs.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		delete(fields, "request")
		encoder := json.NewEncoder(&seen)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(fields); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(seen.String(), `"handled request"`) {
		t.Error("nothing was logged: the test would find nothing")
	}
	rows, err := json.Marshal(app.Decisions().Latest(20, 0))
	if err != nil {
		t.Fatal(err)
	}
	seen.Write(rows)
	families, err := registry(t).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		seen.WriteString(family.String())
	}
	for _, secret := range secrets {
		for _, form := range []string{secret, url.QueryEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret))} {
			if at := strings.Index(seen.String(), form); at >= 0 {
				// The text around it, without the secret itself.
				t.Errorf("a secret or credential (of %d bytes) shows after %q", len(secret), seen.String()[max(0, at-120):at])
			}
		}
	}
}

// vector is a genuine request of a sender, from the vectors of the schemes.
type vector struct {
	Name, Sender, Method, URL, Body string
	Options                         []string
	Header                          map[string]string
	Now                             int64
}

// Every genuine request that we have of any named sender, as it is and as forgeries.
func TestNothingSecretOfNamedSendersIsShown(t *testing.T) {
	text, err := os.ReadFile("../callback/schemes/testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(text, &vectors); err != nil || len(vectors) < 20 {
		t.Fatal(len(vectors), err)
	}
	for _, v := range vectors {
		t.Run(v.Name, func(t *testing.T) {
			bed := testbed.New(t, "http:// {\n\tlog\n"+placeholders+"\tcallback_auth "+v.Sender+" {\n\t\t"+strings.Join(v.Options, "\n\t\t")+"\n\t}\n\trespond ok\n}\n")
			var secrets []string
			for _, option := range v.Options {
				if words := strings.Fields(option); words[0] == "secret" || words[0] == "account" {
					secrets = append(secrets, strings.Trim(words[len(words)-1], `"`))
				}
			}
			for name, value := range v.Header {
				if name != "Content-Type" && name != "User-Agent" && !strings.Contains(strings.ToLower(name), "time") {
					secrets = append(secrets, value)
				}
			}
			// What is short, such as the secret `secret` or an id, stands everywhere.
			secrets = slices.DeleteFunc(secrets, func(secret string) bool { return len(secret) < 20 })
			for _, change := range []func(*http.Request){
				func(*http.Request) {},
				func(r *http.Request) { r.Method = http.MethodPut },
				func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") },
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
			} {
				for _, body := range []string{v.Body, v.Body + " "} {
					r := httptest.NewRequest(v.Method, v.URL, strings.NewReader(body))
					for name, value := range v.Header {
						r.Header.Set(name, value)
					}
					change(r)
					bed.Do(t, r.WithContext(clock.At(r.Context(), time.Unix(v.Now, 0))))
				}
			}
			clean(t, bed, secrets)
		})
	}
}

// The other schemes, with credentials that are good, almost good, and of each other.
func TestNothingSecretOfTheOtherSchemesIsShown(t *testing.T) {
	const secret, password, key, client = "hygiene-secret-0123456789abcdef-0123", "hygiene-password-0123456789", "hygiene-key-0123456789abcdef-0123", "hygiene-client-secret-0123456789"
	genuine := testbed.HS256(t, secret, nil, testbed.VonageClaims("{}", nil))
	plain := testbed.HS256(t, secret, nil, map[string]any{"exp": time.Now().Add(time.Hour).Unix(), "sub": "somebody"})
	opaque := "hygiene-opaque-token-0123456789abcdef"
	basic := base64.StdEncoding.EncodeToString([]byte("ringo:" + password))
	secrets := []string{secret, password, key, client, genuine, plain, opaque, basic, strings.Split(genuine, ".")[2], strings.Split(plain, ".")[2]}
	for name, config := range map[string]string{
		"vonage":        "vonage {\nsecret " + secret + "\n}",
		"vonage_sms":    "vonage_sms {\nsecret " + secret + "\n}",
		"jwt":           "jwt {\nsecret " + secret + "\n}",
		"jwt by query":  "jwt {\nsecret " + secret + "\nfrom query key\n}",
		"basic":         "basic {\nuser ringo " + password + "\n}",
		"api_key":       "api_key {\nheader X-Key\nkey " + key + "\n}",
		"api_key query": "api_key {\nquery key\nkey " + key + "\n}",
		"hmac":          "hmac {\nsecret " + secret + "\nheader X-Key\n}",
		"oauth2":        "oauth2 {\naudience us\nintrospection http://127.0.0.1:9/introspect {\nclient_id we\nclient_secret " + client + "\n}\n}",
		"by issuer":     "oauth2 {\naudience us\nissuer http://127.0.0.1:9\n}",
	} {
		t.Run(name, func(t *testing.T) {
			bed := testbed.New(t, "http:// {\nlog\n"+placeholders+"callback_auth "+config+"\nrespond ok\n}\n")
			for _, credential := range []string{secret, password, key, client, genuine, plain, opaque, basic, genuine + "x", "x" + key} {
				for _, place := range []func(*http.Request){
					func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+credential) },
					func(r *http.Request) { r.Header.Set("Authorization", "Basic "+credential) },
					func(r *http.Request) { r.Header.Set("Authorization", credential) },
					func(r *http.Request) { r.Header.Set("X-Key", credential) },
					func(r *http.Request) { r.URL.RawQuery = "key=" + credential + "&sig=" + credential },
					func(r *http.Request) { r.URL.RawQuery = "key=" + credential + "&key=%zz" },
				} {
					r := httptest.NewRequest(http.MethodPost, "http://hooks.test/", strings.NewReader("{}"))
					place(r)
					bed.Do(t, r)
				}
			}
			clean(t, bed, secrets)
		})
	}
}

// Every dialect, with a client whose login and tokens are good, wrong or in the wrong place.
func TestNothingSecretOfStreamsIsShown(t *testing.T) {
	const static, secret, password = "hygiene-static-token-0123456789", "hygiene-stream-secret-0123456789abcd", "hygiene-viewer-password-0123456789"
	signed := testbed.HS256(t, secret, nil, map[string]any{"exp": time.Now().Add(time.Hour).Unix(), "stream": "live/cam1"})
	secrets := []string{static, secret, password, signed, strings.Split(signed, ".")[2]}
	for _, id := range caddy.Modules() {
		dialect, ok := strings.CutPrefix(id, "http.stream_auth.dialects.")
		if !ok || dialect == "told" {
			continue
		}
		t.Run(dialect, func(t *testing.T) {
			bed := testbed.New(t, `http:// {
	log
`+placeholders+`
	stream_auth `+dialect+` {
		token fixed {
			static `+static+`
		}
		token signed {
			jwt {
				secret `+secret+`
			}
		}
		allow viewers {
			token valid
		}
	}
	respond ok
}
`)
			for _, credential := range []string{static, signed, password, signed + "x"} {
				for _, mount := range []string{"/live/cam1", "/live/cam1?token=" + credential} {
					values := map[string]string{
						"action": "listener_add", "mount": mount, "client": "7", "clientId": "7", "client_id": "7", "server": "s", "port": "80", "user": "viewer",
						"pass": credential, "password": credential, "ip": "203.0.113.7", "agent": "player", "app": "live", "name": "cam1", "stream": "cam1",
						"streamId": "cam1", "path": "live/cam1", "call": "play", "event": "play", "mode": "play", "param": "?token=" + credential, "params": "token=" + credential,
						"token": credential, "query": "token=" + credential, "addr": "203.0.113.7", "protocol": "hls", "tcUrl": "rtmp://s/live?token=" + credential,
						"url": "rtmp://s/live/cam1?token=" + credential, "psk": credential, "flashver": "x", "swfurl": "", "pageurl": "", "schema": "rtmp", "vhost": "v",
					}
					form := make(url.Values)
					for name, value := range values {
						form.Set(name, value)
					}
					object, err := json.Marshal(values)
					if err != nil {
						t.Fatal(err)
					}
					for kind, body := range map[string]string{
						"application/x-www-form-urlencoded": form.Encode(), "application/json": string(object), "text/plain": credential,
					} {
						r := httptest.NewRequest(http.MethodPost, "http://hooks.test/?action=on_play&token="+credential, strings.NewReader(body))
						r.Header.Set("Content-Type", kind)
						r.Header.Set("Authorization", "Bearer "+credential)
						bed.Do(t, r)
					}
				}
			}
			clean(t, bed, secrets)
		})
	}
}

// What Caddy logs of a request is for the filter of the example file: in the access log, and where a request failed.
func TestTheExampleBlanksKeysInEveryLineAboutARequest(t *testing.T) {
	text, err := os.ReadFile("../../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	options, _, _ := strings.Cut(string(text), "\n}\n")
	bed := testbed.New(t, options+"\n}\n"+toldSite)
	const key = "hygiene-key-0123456789abcdef-0123"
	for _, reason := range []string{"ok", "bad_signature", "unavailable"} {
		r := httptest.NewRequest(http.MethodPost, "http://hooks.test/callback?key="+key+"&token="+key+"&x=1", strings.NewReader("{}"))
		r.Header.Set("Reason", reason)
		bed.Do(t, r)
	}
	logs := bed.Logs.String()
	if strings.Count(logs, "handled request") < 2 || !strings.Contains(logs, "http.log.error") || strings.Count(logs, "key=REDACTED") < 4 {
		t.Errorf("the lines are not there:\n%s", strings.ReplaceAll(logs, key, "(the key)"))
	}
	if strings.Contains(logs, key) {
		t.Errorf("the key shows:\n%s", strings.ReplaceAll(logs, key, "(the key)"))
	}
}
