package command_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/command"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/spf13/cobra"
)

const body = `{"event":"ringing","n":"it's"}`

// execute runs a command and returns what it printed on standard output.
func execute(t *testing.T, cmd *cobra.Command, stdin string, args ...string) (string, error) {
	t.Helper()
	out, _, err := executeWithNotes(t, cmd, stdin, args...)
	return out, err
}

// executeWithNotes runs a command and returns what it printed on standard output, and on standard error.
func executeWithNotes(t *testing.T, cmd *cobra.Command, stdin string, args ...string) (string, string, error) {
	t.Helper()
	var out, notes bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&notes)
	err := cmd.ExecuteContext(t.Context())
	return out.String(), notes.String(), err
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// key makes an Ed25519 key pair: the private one as PEM, the public one as PEM and in hex.
func key(t *testing.T) (private, public, publicHex string) {
	t.Helper()
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	publicDER, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER}))),
		write(t, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: publicDER}))), hex.EncodeToString(pub)
}

func TestWhatSignSendsIsAccepted(t *testing.T) {
	const secret = "a-secret-of-the-tests-with-32-bytes!"
	private, public, publicHex := key(t)
	for _, tc := range []struct {
		name   string
		config string
		args   []string // after the scheme; the first word of config
		path   string
		noBody bool
	}{
		{"vonage", "vonage {\nsecret " + secret + "\n}", []string{"--account", "a1"}, "/hook", false},
		{"vonage by account", "vonage {\naccount a1 " + secret + "\n}", []string{"--account", "a1"}, "/hook", false},
		{"vonage, a GET", "vonage {\nsecret " + secret + "\n}", []string{"--method", "GET"}, "/hook?to=1&from=a%20b", true},
		{"vonage, another header", "vonage {\nsecret " + secret + "\nheader Vonage-Signature\n}", []string{"--header", "Vonage-Signature"}, "/hook", false},
		{"vonage_sms", "vonage_sms {\nsecret " + secret + "\nmethod sha256\n}", []string{"--algorithm", "sha256"}, "/hook?msisdn=1&text=a%26b", true},
		{"jwt", "jwt {\nsecret " + secret + "\nclaim role x\n}", []string{"--claim", "role=x"}, "/hook", false},
		{"jwt by private key", "jwt {\npublic_key " + public + "\n}", []string{"--private-key-file", private}, "/hook", false},
		{"basic", "basic {\nuser ringo " + secret + "\n}", []string{"--user", "ringo"}, "/hook", false},
		{"api_key in a header", "api_key {\nheader X-Key\nkey " + secret + "\n}", []string{"--header", "X-Key"}, "/hook", false},
		{"api_key in the query", "api_key {\nquery key\nkey " + secret + "\n}", []string{"--query", "key"}, "/hook?x=1", false},
		{
			"hmac", "hmac {\nsecret " + secret + "\nheader X-Sig\nprefix sha256=\npayload {timestamp}.{body}\ntimestamp header X-Time\n}",
			[]string{"--header", "X-Sig", "--prefix", "sha256=", "--payload", "{timestamp}.{body}", "--timestamp-header", "X-Time"},
			"/hook", false,
		},
		{
			"hmac, pairs", "hmac {\nsecret " + secret + "\nheader X-Sig\nsignature pair v1\nseparator ;\npayload {timestamp}.{body}\ntimestamp pair t ms\n}",
			[]string{"--header", "X-Sig", "--signature-pair", "v1", "--separator", ";", "--payload", "{timestamp}.{body}", "--timestamp-pair", "t", "--timestamp-unit", "ms"},
			"/hook", false,
		},
		{
			"hmac, a list", "hmac {\nsecret " + secret + "\nheader X-Sig\nseparator \" \"\nprefix v1,\npayload {id}{timestamp}.{body}\ntimestamp header X-Time rfc3339\nid header X-Id\n}",
			[]string{"--header", "X-Sig", "--separator", " ", "--prefix", "v1,", "--payload", "{id}{timestamp}.{body}", "--timestamp-header", "X-Time", "--timestamp-unit", "rfc3339", "--id-header", "X-Id"},
			"/hook", false,
		},
		{
			"hmac by private key", "hmac {\npublic_key " + publicHex + "\nsecret_encoding hex\nalgorithm ed25519\nheader X-Sig\n}",
			[]string{"--header", "X-Sig", "--algorithm", "ed25519", "--secret-encoding", "hex", "--private-key-file", private},
			"/hook", false,
		},
		{
			"jwt in another header, with the hash of the body", "jwt {\nsecret " + secret + "\nfrom header X-Token Token\nbody_hash sum base64\n}",
			[]string{"--header", "X-Token", "--prefix", "Token", "--body-hash", "sum=base64"},
			"/hook", false,
		},
		{
			"jwt in the query", "jwt {\nsecret " + secret + "\nfrom query token\nbody_hash sum hex\n}",
			[]string{"--query", "token", "--body-hash", "sum=hex"},
			"/hook?x=1", false,
		},
		{"stripe", "stripe {\nsecret " + secret + "\n}", nil, "/hook", false},
		{"github", "github {\nsecret " + secret + "\n}", nil, "/hook", false},
		{"livekit", "livekit {\naccount API1 " + secret + "\n}", []string{"--account", "API1"}, "/hook", false},
		{"standard_webhooks", "standard_webhooks {\nsecret whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n}", []string{"--secret", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}, "/hook", false},
		{"discord", "discord {\npublic_key " + publicHex + "\n}", []string{"--private-key-file", private}, "/hook", false},
		{"twilio", "twilio {\nsecret " + secret + "\n}", nil, "/hook?a=1", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bed := testbed.New(t, "http:// {\ncallback_auth "+tc.config+"\nreverse_proxy RECEIVER\n}")
			server := bed.Listen(t)
			scheme, _, _ := strings.Cut(tc.config, " ")
			args := append([]string{scheme, "--send", server.URL + tc.path}, tc.args...)
			if !tc.noBody {
				args = append(args, "--body", write(t, body))
			}
			stdin := secret + "\n"
			for _, arg := range tc.args {
				if arg == "--secret" || arg == "--private-key-file" {
					stdin = ""
				}
			}
			out, err := execute(t, command.SignCommand(), stdin, args...)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(out, "200 OK") {
				t.Fatalf("the gate answered %q", out)
			}
			received := bed.Receiver.Received()
			if len(received) != 1 || (string(received[0].Body) == body) == tc.noBody {
				t.Fatalf("the receiver got %d requests", len(received))
			}
		})
	}
}

// The sender's POST has all its parameters, timestamp and signature too, in its body.
func TestSignPutsWhatVonageSMSSignsIntoTheBody(t *testing.T) {
	const secret = "a-secret-of-the-tests-with-32-bytes!"
	bed := testbed.New(t, "http:// {\ncallback_auth vonage_sms {\nsecret "+secret+"\n}\nreverse_proxy RECEIVER\n}")
	server := bed.Listen(t)
	for contentType, body := range map[string]string{
		"application/json":                  `{"msisdn":"1","n":2,"text":"a&b","timestamp":"1","sig":"of a recording"}`,
		"application/x-www-form-urlencoded": "msisdn=1&text=a%26b&timestamp=1&sig=of+a+recording",
	} {
		out, err := execute(t, command.SignCommand(), secret+"\n", "vonage_sms",
			"--send", server.URL+"/hook", "--content-type", contentType, "--body", write(t, body))
		if err != nil || !strings.HasPrefix(out, "200 OK") {
			t.Errorf("%s: the gate answered %q, %v", contentType, out, err)
		}
	}
	received := bed.Receiver.Received()
	if len(received) != 2 {
		t.Errorf("%d requests reached the receiver, want 2", len(received))
	}
	for _, r := range received {
		if !strings.Contains(string(r.Body), "msisdn") || strings.Contains(string(r.Body), "recording") {
			t.Errorf("the receiver got %q", r.Body)
		}
	}
}

// A number that became a text would be another message than the sender's.
func TestSignLeavesTheNumbersOfVonageSMSAsTheyAre(t *testing.T) {
	out, err := execute(t, command.SignCommand(), "s\n", "vonage_sms", "--body", write(t, `{"n":1.50,"concat-total":2,"id":"3"}`))
	if err != nil || !strings.Contains(out, `"n":1.50`) || !strings.Contains(out, `"concat-total":2,`) || !strings.Contains(out, `"id":"3"`) {
		t.Errorf("printed %q, error %v", out, err)
	}
}

// Where nothing is behind the gate, or no gate is there at all, Caddy answers with an empty 200.
func TestSignSaysThatAnEmpty200MayBeNoReceivers(t *testing.T) {
	const note = "may be Caddy's own"
	const gate = "callback_auth github {\nsecret s\n}\n"
	for _, tc := range []struct {
		name, site, path string
		want             bool
	}{
		{"no receiver", gate, "/", true},
		{"no receiver, and a key in the URL", "callback_auth api_key {\nquery key\nkey s\n}", "/?key=s", true},
		{"no route", "handle /hook {\n" + gate + "respond received\n}", "/hok", true},
		{"a receiver whose answer is empty", gate + "reverse_proxy RECEIVER", "/", false},
		{"an answer with a body", gate + "respond received", "/", false},
		{"another status", gate + "respond 204", "/", false},
		{"a media server's hook that is allowed", "stream_auth antmedia {\nfallback allow\n}", "/", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bed := testbed.New(t, "http:// {\n"+tc.site+"\n}")
			bed.Receiver.Answer(func(http.ResponseWriter, *http.Request) {})
			server := bed.Listen(t)
			out, notes, err := executeWithNotes(t, command.SignCommand(), "s\n", "github",
				"--body", write(t, `{"appName":"live","name":"cam1","streamId":"cam1","mode":"live"}`), "--send", server.URL+tc.path)
			if err != nil || !strings.HasPrefix(out, "20") || strings.Contains(notes, note) != tc.want {
				t.Errorf("printed %q and noted %q, error %v", out, notes, err)
			}
		})
	}
}

func TestSignSaysThatAFlagIsForOtherSchemes(t *testing.T) {
	for scheme, want := range map[string]string{"github": "Note: github does not look at --header\nNote: github does not look at --query\n", "api_key": ""} {
		args := []string{scheme, "--query", "q"}
		if scheme == "github" {
			args = append(args, "--header", "X-Other")
		}
		if out, notes, err := executeWithNotes(t, command.SignCommand(), "s\n", args...); err != nil || !strings.HasPrefix(out, "curl") || notes != want {
			t.Errorf("%s: printed %q and noted %q, error %v", scheme, out, notes, err)
		}
	}
}

// Nothing but the body can make a message of Linear fresh: sign does not change bodies.
func TestSignSaysThatTheTimeInTheBodyIsRefused(t *testing.T) {
	fresh := fmt.Sprintf(`{"webhookTimestamp":%d}`, time.Now().UnixMilli())
	for _, tc := range []struct{ scheme, body, want string }{
		{"linear", `{"webhookTimestamp":1700000000000}`, "the body's webhookTimestamp: the timestamp is older than 1m0s. Now it would be 1"},
		{"linear", `{"action":"create"}`, "the body has no timestamp webhookTimestamp"},
		{"linear", fresh, ""},
		{"ovenmediaengine", `{"request":{"time":"2023-01-01T00:00:00Z"}}`, "the body's request.time: the timestamp is older than 5m0s. Now it would be 2"},
		{"ovenmediaengine", `{"request":{}}`, ""},
		{"agora", `{"notifyMs":1}`, ""}, // which is looked at with tolerance alone
		{"github", `{}`, ""},
	} {
		out, notes, err := executeWithNotes(t, command.SignCommand(), "s\n", tc.scheme, "--body", write(t, tc.body))
		if err != nil || !strings.HasPrefix(out, "curl") || !strings.Contains(notes, tc.want) || (tc.want == "") != (notes == "") {
			t.Errorf("%s of %s: printed %q and noted %q, error %v", tc.scheme, tc.body, out, notes, err)
		}
	}
}

func TestWhatSignPrintsIsACommandForAShell(t *testing.T) {
	out, err := execute(t, command.SignCommand(), "", "api_key", "--header", "X-Key", "--secret", "it's",
		"--url", "https://example.com/hook?a=1&b=2", "--body", write(t, body))
	if err != nil {
		t.Fatal(err)
	}
	want := "curl -i 'https://example.com/hook?a=1&b=2' \\\n  -H 'Content-Type: application/json' \\\n  -H 'X-Key: it'\\''s' \\\n" +
		"  --data-raw '{\"event\":\"ringing\",\"n\":\"it'\\''s\"}'\n"
	if out != want {
		t.Errorf("printed\n%s\nwant\n%s", out, want)
	}
}

func TestSignSaysWhatIsWrong(t *testing.T) {
	t.Setenv("CADDYAUTH_TEST_SECRET", "from-the-environment")
	private, _, _ := key(t)
	for name, tc := range map[string]struct {
		stdin string
		args  []string
		want  string
	}{
		"an unknown scheme, and no secret": {"", []string{"nobody"}, "there is no scheme nobody"},
		"an issuer's keys":                 {"s", []string{"oauth2"}, "issuer's"},
		"nothing to sign":                  {"s", []string{"ip_range"}, "no signature"},
		"no secret":                        {"", []string{"github"}, "is empty"},
		"an unset variable":                {"", []string{"github", "--secret-env", "CADDYAUTH_NOT_SET"}, "CADDYAUTH_NOT_SET"},
		"two secrets":                      {"", []string{"github", "--secret-env", "CADDYAUTH_TEST_SECRET", "--secret", "x"}, "in one way"},
		"a URL without a host":             {"s", []string{"github", "--url", "/hook"}, "absolute"},
		"a body that is not there":         {"s", []string{"github", "--body", "/does/not/exist"}, "/does/not/exist"},
		"body and secret in one stream":    {"s", []string{"github", "--body", "-"}, "--secret-file"},
		"basic without a user":             {"s", []string{"basic"}, "--user"},
		"api_key without a place":          {"s", []string{"api_key"}, "--header or --query"},
		"a query that cannot be signed":    {"s", []string{"vonage", "--method", "GET", "--url", "http://h/?a=1&a=2"}, "twice"},
		"parameters in two places":         {"s", []string{"vonage_sms", "--url", "http://h/?a=1", "--body", write(t, "{}")}, "and not in the query"},
		"a body without parameters":        {"s", []string{"vonage_sms", "--body", write(t, "{}"), "--content-type", "text/plain"}, "a form or JSON"},
		"a body of more than parameters":   {"s", []string{"vonage_sms", "--body", write(t, `{"a":[]}`)}, "more than texts"},
		"an algorithm that is not known":   {"s", []string{"jwt", "--algorithm", "none"}, "unknown"},
		"a body no shell can hold":         {"s", []string{"github", "--body", write(t, "a\x00b")}, "--send"},
		"a hash of an unknown kind":        {"s", []string{"jwt", "--body-hash", "sum=md5"}, "name=base64"},
		"a jwt in two places":              {"s", []string{"jwt", "--header", "A", "--query", "b"}, "either"},
		"a unit without a timestamp":       {"s", []string{"hmac", "--header", "A", "--timestamp-unit", "ms"}, "--timestamp-header or --timestamp-pair"},
		"a secret that is empty":           {"s", []string{"github", "--secret", ""}, "the secret of github is empty"},
		"a file's name that is empty":      {"s", []string{"github", "--secret-file", ""}, "--secret-file"},
		"a key for who has none, basic":    {"", []string{"basic", "--user", "u", "--private-key-file", private}, "basic does not sign with a private key"},
		"a key for who has none, gitlab":   {"", []string{"gitlab", "--private-key-file", private}, "gitlab does not sign with a private key"},
		"a key for who has none, hmac":     {"", []string{"hmac", "--header", "A", "--private-key-file", private}, "no secret"},
		"a secret for who has a key":       {"s", []string{"discord"}, "discord signs with a private key: give --private-key-file"},
		"a key and a secret":               {"", []string{"jwt", "--secret", "x", "--private-key-file", private}, "--private-key-file or a secret"},
		"a key of another algorithm":       {"", []string{"jwt", "--algorithm", "HS256", "--private-key-file", private}, "--algorithm"},
		"an algorithm that wants a key":    {"s", []string{"jwt", "--algorithm", "RS256"}, "--private-key-file"},
		"livekit without an account":       {"s", []string{"livekit"}, "account"},
		"a POST without parameters":        {"s", []string{"vonage_sms", "--method", "POST", "--url", "http://h/?a=1"}, "--body"},
		"a GET with a body":                {"s", []string{"vonage_sms", "--method", "GET", "--body", write(t, "{}")}, "query of the URL"},
		"a body its sender never has":      {"s", []string{"plivo", "--body", write(t, "{}")}, "--content-type"},
		"two paths":                        {"s", []string{"github", "--url", "https://example.com/hook", "--send", "http://127.0.0.1:1/other"}, "--send"},
		"a URL with a key that is none":    {"s", []string{"github", "--url", "example.com/hook?key=hidden"}, "absolute"},
		"a claim without a value":          {"s", []string{"jwt", "--claim", "x"}, "name=value"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := command.SignCommand()
			cmd.SilenceErrors = true
			_, err := execute(t, cmd, tc.stdin, tc.args...)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("the error is %v; want it to say %q, and no secret", err, tc.want)
			}
		})
	}
}

func TestNoKeyIsInTheErrorOfARequestThatCouldNotBeSent(t *testing.T) {
	cmd := command.SignCommand()
	cmd.SilenceErrors = true
	_, err := execute(t, cmd, "the-key\n", "api_key", "--query", "key", "--send", "http://127.0.0.1:1/hook")
	if err == nil || strings.Contains(err.Error(), "the-key") {
		t.Errorf("the error is %v", err)
	}
}

func TestWhatTokenMakesIsAccepted(t *testing.T) {
	const secret = "a-secret-of-the-tests-with-32-bytes!"
	bed := testbed.New(t, `
http:// {
	stream_auth antmedia {
		token {
			jwt {
				secret `+secret+`
			}
		}
		token short {
			signed `+secret+`
		}
		allow {
			token valid
		}
	}
}`)
	server := bed.Listen(t)
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"for that stream and mode", []string{"--stream", "live/cam1", "--mode", "publish"}, "200 OK"},
		{"for another stream", []string{"--stream", "live/cam2", "--mode", "publish"}, "403 Forbidden"},
		{"for playing", []string{"--stream", "live/cam1"}, "403 Forbidden"},
		{"for both modes", []string{"--stream", "live/cam1", "--claim", `mode=["publish","play"]`}, "200 OK"},
		{"for another stream by its claim", []string{"--stream", "live/cam1", "--mode", "publish", "--claim", "stream=live/cam2"}, "403 Forbidden"},
		{"short, for that stream and mode", []string{"--short", "--stream", "live/cam1", "--mode", "publish", "--subject", "alice"}, "200 OK"},
		{"short, for another stream", []string{"--short", "--stream", "live/cam2", "--mode", "publish"}, "403 Forbidden"},
		{"short, for playing", []string{"--short", "--stream", "live/cam1"}, "403 Forbidden"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			token, err := execute(t, command.TokenCommand(), secret+"\n", tc.args...)
			if err != nil {
				t.Fatal(err)
			}
			hook := `{"appName":"live","name":"cam1","streamId":"cam1","mode":"live","token":"` + strings.TrimSpace(token) + `"}`
			out, err := execute(t, command.SignCommand(), "", "api_key", "--header", "X-Unused", "--secret", "x",
				"--body", write(t, hook), "--send", server.URL)
			if err != nil || !strings.HasPrefix(out, tc.want) {
				t.Errorf("the hook answered %q: %v; want %s", out, err, tc.want)
			}
		})
	}
}

func TestTokenSaysWhatIsWrong(t *testing.T) {
	for want, args := range map[string][]string{
		"--stream":   {},
		"--mode":     {"--stream", "a", "--mode", "watch"},
		"--expires":  {"--stream", "a", "--expires", "soon"},
		"--ip":       {"--stream", "a", "--ip", "nowhere"},
		"--claim":    {"--stream", "a", "--short", "--claim", "plan=gold"},
		"one stream": {"--stream", "live/*", "--short"},
		"slash":      {"--stream", "/live.mp3"},
		"subject":    {"--stream", "a", "--short", "--subject", "not one word"},
	} {
		cmd := command.TokenCommand()
		cmd.SilenceErrors = true
		if _, err := execute(t, cmd, "s", args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error is %v; want it to say %q", err, want)
		}
	}
}

// A newcomer pastes what the inspector shows while nothing has arrived.
func TestTheCommandsOfTheEmptyInspectorSendABody(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "inspect", "page", "page.html"))
	if err != nil {
		t.Fatal(err)
	}
	const secret = "demo-vonage-signature-secret-0001"
	t.Setenv("VONAGE_SIGNATURE_SECRET", secret)
	bed := testbed.New(t, "http:// {\ncallback_auth vonage {\nsecret "+secret+"\n}\nreverse_proxy RECEIVER\n}")
	server := bed.Listen(t)
	lines := regexp.MustCompile(`<code>echo '([^']*)' \| caddy caddyauth sign (.*) --send http://127.0.0.1:8080(\S*)</code>`).FindAllStringSubmatch(string(page), -1)
	if len(lines) != 2 {
		t.Fatalf("the page has %d commands", len(lines))
	}
	for _, line := range lines {
		args := strings.Fields(strings.ReplaceAll(line[2], "&lt;api key&gt;", "a1"))
		out, err := execute(t, command.SignCommand(), line[1]+"\n", append(args, "--send", server.URL+line[3])...)
		if err != nil || !strings.HasPrefix(out, "200 OK") {
			t.Errorf("%s: printed %q, error %v", line[0], out, err)
		}
	}
	for _, r := range bed.Receiver.Received() {
		if string(r.Body) != "{}\n" {
			t.Errorf("the receiver got %q", r.Body)
		}
	}
}

func TestAMisspeltCommandIsAnError(t *testing.T) {
	for word, want := range map[string]string{"": "", "help": "", "sing": "unknown command"} {
		parent := &cobra.Command{Use: "caddyauth", Long: "Tools", SilenceErrors: true}
		command.AddCommands(parent)
		out, err := execute(t, parent, "", strings.Fields(word)...)
		if want == "" && (err != nil || !strings.Contains(out, "sign")) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("caddyauth %s: printed %q, error %v", word, out, err)
		}
	}
}
