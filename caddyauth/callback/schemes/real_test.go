package schemes

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// realPackages are the senders' own packages, and of which sender. They are installed, without scripts, in the directory
// that CADDYAUTH_NPM names.
var realPackages = map[string]string{
	"adyen":             "@adyen/api-library",
	"discord":           "discord-interactions",
	"elevenlabs":        "@elevenlabs/elevenlabs-js",
	"getstream":         "@stream-io/node-sdk",
	"github":            "@octokit/webhooks-methods",
	"line":              "@line/bot-sdk",
	"linear":            "@linear/sdk",
	"livekit":           "livekit-server-sdk",
	"messagebird":       "messagebird",
	"mux":               "@mux/mux-node",
	"paddle":            "@paddle/paddle-node-sdk",
	"plivo":             "plivo",
	"plivo_v2":          "plivo",
	"retell":            "retell-sdk",
	"sendgrid":          "@sendgrid/eventwebhook",
	"shopify":           "@shopify/shopify-api",
	"shopify_events":    "@shopify/shopify-api",
	"slack":             "@slack/bolt",
	"square":            "square",
	"standard_webhooks": "standardwebhooks",
	"stripe":            "stripe",
	"svix":              "svix",
	"telnyx":            "telnyx",
	"twilio":            "twilio",
	"twitch":            "@twurple/eventsub-http",
	"workos":            "@workos-inc/node",
}

// realCase is a request as senders.mjs takes it, and realAnswer what the sender's package makes of it.
type realCase struct {
	Sender    string            `json:"sender"`
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers"`
	Body      string            `json:"body"`
	Secret    string            `json:"secret"`
	PublicKey string            `json:"publicKey"`
	Account   string            `json:"account"`
	ID        string            `json:"id"`
	Now       int64             `json:"now"`

	name    string
	options []string
	genuine bool
}

type realAnswer struct {
	Verified bool              `json:"verified"`
	Signed   map[string]string `json:"signed"`
	Error    string            `json:"error"`
}

// What we sign, the senders' own packages take for genuine, and with another body they do not; what they sign, we do.
func TestRealPackagesAgreeWithUs(t *testing.T) {
	dir := needRealPackages(t)
	now := time.Now().Truncate(time.Second)
	var cases []realCase
	for sender := range realPackages {
		contentTypes := []string{"application/json"}
		switch sender {
		case "twilio":
			contentTypes = append(contentTypes, "application/x-www-form-urlencoded")
		case "plivo":
			contentTypes = []string{"application/x-www-form-urlencoded"}
		}
		for _, contentType := range contentTypes {
			cases = append(cases, realCases(t, sender, contentType, now)...)
		}
	}
	answers := askReal(t, dir, cases)
	for i, c := range cases {
		t.Run(c.Sender+"/"+c.name, func(t *testing.T) {
			if answers[i].Verified != c.genuine {
				t.Errorf("genuine to the sender's own package: %t, want %t (%s)", answers[i].Verified, c.genuine, answers[i].Error)
			}
			if answers[i].Signed == nil || !c.genuine {
				return
			}
			s := mustLoad(t, moduleOf(c.Sender), c.options...)
			address := c.URL
			if changed, ok := answers[i].Signed["url"]; ok {
				address = changed
				delete(answers[i].Signed, "url")
			}
			r := httptest.NewRequest(c.Method, address, nil)
			r.Header.Set("Content-Type", c.Headers["content-type"])
			for name, value := range answers[i].Signed {
				r.Header.Set(name, value)
			}
			if got := send(s, r, c.Body, now); !got.OK() {
				t.Errorf("what the sender's own package signed: %s (%s)", got.Reason, got.Detail)
			}
			if got := send(s, r, c.Body+" ", now); got.OK() {
				t.Error("what it signed is accepted with another body")
			}
		})
	}
}

func moduleOf(sender string) string {
	switch sender {
	case "svix":
		return "standard_webhooks"
	case "shopify_events":
		return "shopify"
	}
	return sender
}

// realCases are a genuine request of a sender, signed by us, and the same with another body.
func realCases(t *testing.T, sender, contentType string, now time.Time) []realCase {
	t.Helper()
	by, options := signing(t, moduleOf(sender))
	by.Now = now
	if sender == "adyen" {
		by.Secret = strings.Repeat("0123456789abcdef", 4)
		options[0] = "secret " + by.Secret
	}
	body, altered := senderBody, strings.Replace(senderBody, "evt_1", "evt_2", 1)
	switch {
	case sender == "linear":
		at, _ := json.Marshal(by.Now.UnixMilli())
		body = `{"webhookTimestamp":` + string(at) + `}`
		altered = body + " "
	case contentType != "application/json":
		body, altered = "To=%2B1&From=a+b&Digits=1", "To=%2B1&From=a+b&Digits=2"
	}
	r := httptest.NewRequest(http.MethodPost, "https://hooks.example.com/cb/voice?tenant=7&a=b", nil)
	r.Header.Set("Content-Type", contentType)
	if err := Sign(moduleOf(sender), r, []byte(body), by); err != nil {
		t.Fatal(err)
	}
	c := realCase{
		Sender: sender, Method: r.Method, URL: r.URL.String(), Headers: make(map[string]string), Body: body,
		Secret: by.Secret, Account: by.Account, ID: by.ID, Now: now.UnixMilli(), name: strings.TrimPrefix(contentType, "application/"), options: options, genuine: true,
	}
	if key, ok := strings.CutPrefix(options[0], "public_key "); ok {
		c.PublicKey = key
	}
	for name := range r.Header {
		lower := strings.ToLower(name)
		switch sender {
		case "svix":
			lower = strings.Replace(lower, "webhook-", "svix-", 1)
		case "shopify_events":
			lower = strings.TrimPrefix(lower, "x-")
		}
		c.Headers[lower] = r.Header.Get(name)
	}
	other := c
	other.Body, other.name, other.genuine = altered, c.name+", another body", false
	if sender == "plivo_v2" {
		// This signature does not cover the body: change the path.
		address, _ := url.Parse(c.URL)
		address.Path += "x"
		other.URL, other.name = address.String(), "another path"
	}
	return []realCase{c, other}
}

func askReal(t *testing.T, dir string, cases []realCase) []realAnswer {
	t.Helper()
	script, err := os.ReadFile("testdata/senders.mjs")
	if err != nil {
		t.Fatal(err)
	}
	question, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", "--input-type=module", "--eval", string(script))
	cmd.Dir = dir
	cmd.Stdin = bytes.NewReader(question)
	var talk bytes.Buffer
	cmd.Stderr = &talk
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, talk.Bytes())
	}
	var answers []realAnswer
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != len(cases) {
		t.Fatalf("%d answers to %d questions: %v", len(answers), len(cases), err)
	}
	return answers
}

// needRealPackages gives the directory of the packages, or skips the test, and says what is missing; with
// CADDYAUTH_REAL=require it fails.
func needRealPackages(t *testing.T) string {
	t.Helper()
	var missing []string
	if _, err := exec.LookPath("node"); err != nil {
		missing = append(missing, "node")
	}
	dir := os.Getenv("CADDYAUTH_NPM")
	for _, name := range realPackages {
		if _, err := os.Stat(filepath.Join(dir, "node_modules", filepath.FromSlash(name), "package.json")); dir == "" || err != nil {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		message := "not installed (CADDYAUTH_NPM): " + strings.Join(missing, ", ")
		if os.Getenv("CADDYAUTH_REAL") == "require" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	return dir
}
