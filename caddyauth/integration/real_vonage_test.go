package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

const (
	vonageSecret = "vonage-secret-0123456789abcdef0123456"
	vonageBody   = `{"sessionId":"1_MX4","event":"connectionCreated","connection":{"id":"c-1","data":"régie </&>"}}`
)

// Vonage's package and this plugin are to call the same tokens genuine, and the same ones forged, whoever signs.
func TestRealVonageAgreesOnSignatures(t *testing.T) {
	need(t, "node")
	packages := needPackages(t, "@vonage/jwt", "jsonwebtoken")

	claims := testbed.VonageClaims(vonageBody, nil)
	ours := testbed.HS256(t, vonageSecret, nil, claims)
	parts := strings.Split(ours, ".")
	other := strings.Split(testbed.HS256(t, vonageSecret, nil, testbed.VonageClaims("", nil)), ".")
	unsigned := strings.Split(testbed.HS256(t, "", map[string]any{"alg": "none"}, claims), ".")

	tokens := []struct {
		name, token string
		genuine     bool
	}{
		{"a token of ours", ours, true},
		{"the claims of another token", parts[0] + "." + other[1] + "." + parts[2], false},
		{"the signature of another token", parts[0] + "." + parts[1] + "." + other[2], false},
		{"no signature", parts[0] + "." + parts[1] + ".", false},
		{"alg none", unsigned[0] + "." + unsigned[1] + ".", false},
		{"another secret", testbed.HS256(t, vonageSecret+"x", nil, claims), false},
		{"no token", "open-sesame", false},
	}
	var texts []string
	for _, token := range tokens {
		texts = append(texts, token.token)
	}
	theirs := askVonage(t, packages, testbed.VonageClaims(vonageBody, nil), texts)

	gate := testbed.New(t, `http:// {
	callback_auth {
		vonage {
			account 47000001 `+vonageSecret+`
			application_id 11111111-2222-3333-4444-555555555555
		}
	}
	respond "received"
}
`)
	status := func(token, body string) int {
		req := httptest.NewRequest(http.MethodPost, "http://hooks.test/video", strings.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		return gate.Do(t, req).Status
	}

	for i, token := range tokens {
		t.Run(token.name, func(t *testing.T) {
			if theirs.Verified[i] != token.genuine {
				t.Errorf("genuine to Vonage's package: %t", theirs.Verified[i])
			}
			if code := status(token.token, vonageBody); (code == http.StatusOK) != token.genuine {
				t.Errorf("our answer: %d", code)
			}
		})
	}
	t.Run("a token of theirs", func(t *testing.T) {
		if code := status(theirs.Signed, vonageBody); code != http.StatusOK {
			t.Errorf("our answer: %d", code)
		}
	})
	t.Run("a token of theirs over another body", func(t *testing.T) {
		if code := status(theirs.Signed, vonageBody+" "); code != http.StatusUnauthorized {
			t.Errorf("our answer: %d", code)
		}
	})
}

type vonageAnswer struct {
	Signed   string
	Verified []bool
}

// askVonage has Vonage's package sign the claims and judge the tokens.
func askVonage(t *testing.T, packages string, claims map[string]any, tokens []string) vonageAnswer {
	t.Helper()
	script, err := filepath.Abs("testdata/npm/vonage.mjs")
	if err != nil {
		t.Fatal(err)
	}
	question, err := json.Marshal(map[string]any{"secret": vonageSecret, "claims": claims, "tokens": tokens})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script)
	cmd.Env = append(os.Environ(), "CADDYAUTH_NPM="+packages)
	cmd.Stdin = bytes.NewReader(question)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var answer vonageAnswer
	if err := json.Unmarshal(out, &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Verified) != len(tokens) {
		t.Fatalf("%d answers to %d tokens", len(answer.Verified), len(tokens))
	}
	return answer
}
