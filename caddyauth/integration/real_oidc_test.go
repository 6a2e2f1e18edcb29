package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// oidc is a running authorization server: panva's oidc-provider, with jose beside it for tokens in Azure's shape.
type oidc struct {
	Issuer, Secret string

	in  io.WriteCloser
	out *bufio.Reader
}

func startOIDC(t *testing.T) *oidc {
	t.Helper()
	need(t, "node")
	packages := needPackages(t, "oidc-provider", "jose")
	script, err := filepath.Abs("testdata/npm/oidc.mjs")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	cmd := exec.CommandContext(ctx, "node", script)
	cmd.Env = append(os.Environ(), "CADDYAUTH_NPM="+packages)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o := &oidc{in: in, out: bufio.NewReader(out)}
	t.Cleanup(func() {
		_ = in.Close()
		err := cmd.Wait()
		cancel()
		if err != nil || t.Failed() {
			t.Logf("the authorization server: %v\n%s", err, complaints.String())
		}
	})
	o.read(t, o)
	return o
}

// tell gives a command to the server and waits for its answer.
func (o *oidc) tell(t *testing.T, command map[string]any) (answer struct{ Token string }) {
	t.Helper()
	line, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.in.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	o.read(t, &answer)
	return answer
}

func (o *oidc) read(t *testing.T, into any) {
	t.Helper()
	line, err := o.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("the authorization server said nothing: %v", err)
	}
	if err := json.Unmarshal(line, into); err != nil {
		t.Fatal(err)
	}
}

// form posts a form as a client that authenticates in a header, or in the body where its name says so.
func (o *oidc) form(t *testing.T, path, id string, form url.Values) (answer map[string]any) {
	t.Helper()
	if strings.HasSuffix(id, "-body") {
		form.Set("client_id", id)
		form.Set("client_secret", o.Secret)
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, o.Issuer+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !strings.HasSuffix(id, "-body") {
		r.SetBasicAuth(id, o.Secret)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s %v", path, response.StatusCode, body, err)
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &answer); err != nil {
			t.Fatal(err)
		}
	}
	return answer
}

// credentials gets an access token by the client-credentials grant (RFC 6749 §4.4), for a resource (RFC 8707).
func (o *oidc) credentials(t *testing.T, id, resource, scope string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {resource}}
	if scope != "" {
		form.Set("scope", scope)
	}
	token, _ := o.form(t, "/token", id, form)["access_token"].(string)
	if token == "" {
		t.Fatal("no access token")
	}
	return token
}

func withToken(token string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://hooks.test/hook", strings.NewReader(`{"call":1}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

// wantStatus sends the token and wants this status, and that only a 200 came from behind the gate.
func wantStatus(t *testing.T, gate *testbed.Bed, r *http.Request, status int) testbed.Result {
	t.Helper()
	result := gate.Do(t, r)
	if result.Status != status || (len(result.Received) > 0) != (status == http.StatusOK) {
		t.Errorf("status %d, %d requests at the receiver; want %d", result.Status, len(result.Received), status)
	}
	return result
}

const hooksResource = "https://hooks.example.com/ringostat"

func signedSite(o *oidc) string {
	return `http:// {
	callback_auth oauth2 {
		issuer ` + o.Issuer + `
		audience ` + hooksResource + `
		scope hooks:write
		type at+jwt
	}
	reverse_proxy RECEIVER {
		header_up X-Who {http.auth.user.id}
	}
}
`
}

func opaqueSite(o *oidc, id, auth string) string {
	return `http:// {
	callback_auth oauth2 {
		introspection ` + o.Issuer + `/token/introspection {
			client_id ` + id + `
			client_secret ` + o.Secret + `
			client_auth ` + auth + `
			cache 5s
		}
		issuer ` + o.Issuer + `
		audience ` + hooksResource + `/opaque
		scope hooks:write
	}
	reverse_proxy RECEIVER {
		header_up X-Who {http.auth.user.id}
	}
}
`
}

func TestRealOIDCProvider(t *testing.T) {
	o := startOIDC(t)

	t.Run("signed tokens of client credentials", func(t *testing.T) {
		gate := testbed.New(t, signedSite(o))
		result := wantStatus(t, gate, withToken(o.credentials(t, "ringostat", hooksResource, "hooks:write")), 200)
		if who := result.Received[0].Header.Get("X-Who"); who != "ringostat" {
			t.Errorf("sent by %q", who)
		}
		wantStatus(t, gate, withToken(o.credentials(t, "ringostat", hooksResource, "")), 403)
		wantStatus(t, gate, withToken(o.credentials(t, "ringostat", "https://hooks.example.com/other", "hooks:write")), 401)
		wantStatus(t, gate, withToken(o.credentials(t, "ringostat", hooksResource+"/opaque", "hooks:write")), 401)
		token := o.credentials(t, "ringostat", hooksResource, "hooks:write")
		wantStatus(t, gate, withToken(token[:len(token)-8]+"AAAAAAAA"), 401)
		late := withToken(token)
		wantStatus(t, gate, late.WithContext(clock.At(late.Context(), time.Now().Add(12*time.Minute))), 401)
	})

	for id, auth := range map[string]string{"gate": "basic", "gate-body": "body"} {
		t.Run("opaque tokens, introspected with client authentication in the "+auth, func(t *testing.T) {
			gate := testbed.New(t, opaqueSite(o, id, auth))
			token := o.credentials(t, "ringostat", hooksResource+"/opaque", "hooks:write")
			result := wantStatus(t, gate, withToken(token), 200)
			if who := result.Received[0].Header.Get("X-Who"); who != "ringostat" {
				t.Errorf("sent by %q", who)
			}
			wantStatus(t, gate, withToken(o.credentials(t, "ringostat", hooksResource+"/opaque", "")), 403)
			wantStatus(t, gate, withToken(o.credentials(t, "ringostat", "https://hooks.example.com/other/opaque", "hooks:write")), 401)
			wantStatus(t, gate, withToken("never-issued"), 401)

			o.form(t, "/token/revocation", "ringostat", url.Values{"token": {token}})
			late := withToken(token)
			wantStatus(t, gate, late.WithContext(clock.At(late.Context(), time.Now().Add(6*time.Second))), 401)
		})
	}

	t.Run("a client secret of ours that is wrong is nothing the sender did", func(t *testing.T) {
		gate := testbed.New(t, strings.Replace(opaqueSite(o, "gate", "basic"), o.Secret, "another-secret-0123456789abcdef0", 1))
		result := wantStatus(t, gate, withToken(o.credentials(t, "ringostat", hooksResource+"/opaque", "hooks:write")), 503)
		if result.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	})

	t.Run("keys that are rotated", func(t *testing.T) {
		gate := testbed.New(t, signedSite(o))
		old := o.credentials(t, "ringostat", hooksResource, "hooks:write")
		wantStatus(t, gate, withToken(old), 200)
		o.tell(t, map[string]any{"command": "rotate"})
		wantStatus(t, gate, withToken(old), 200) // the keys are young
		wantStatus(t, gate, withToken(o.credentials(t, "ringostat", hooksResource, "hooks:write")), 200)
		wantStatus(t, gate, withToken(old), 401) // its key was withdrawn
	})
}

func TestRealAzureShapedTokens(t *testing.T) {
	o := startOIDC(t)
	sign := func(claims map[string]any) string {
		return o.tell(t, map[string]any{"command": "sign", "claims": claims}).Token
	}
	now := time.Now().Unix()

	t.Run("Call Automation", func(t *testing.T) {
		const resource = "00000000-1111-2222-3333-444444444444"
		gate := testbed.New(t, `http:// {
	callback_auth azure_call_automation {
		audience `+resource+`
		openid_configuration `+o.Issuer+`/azure/calling/.well-known/acsopenidconfiguration
	}
	reverse_proxy RECEIVER
}
`)
		claims := func(audience string) map[string]any {
			return map[string]any{"iss": "https://acscallautomation.communication.azure.com", "aud": audience, "iat": now, "nbf": now, "exp": now + 300}
		}
		wantStatus(t, gate, withToken(sign(claims(resource))), 200)
		wantStatus(t, gate, withToken(sign(claims("99999999-1111-2222-3333-444444444444"))), 401)
	})

	t.Run("Event Grid", func(t *testing.T) {
		const tenant, app = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "4962773b-9cdb-44cf-a8bf-237846a00ab7"
		o.tell(t, map[string]any{"command": "azure", "issuer": "https://login.microsoftonline.com/" + tenant + "/v2.0"})
		gate := testbed.New(t, `http:// {
	callback_auth azure_event_grid {
		subscription orders
		entra {
			tenant `+tenant+`
			audience api://hooks
			openid_configuration `+o.Issuer+`/azure/v2.0/.well-known/openid-configuration
		}
	}
	reverse_proxy RECEIVER
}
`)
		deliver := func(claims map[string]any) *http.Request {
			r := withToken(sign(claims))
			r.Header.Set("Aeg-Subscription-Name", "ORDERS")
			return r
		}
		// The shape of a captured token of the first version, whose values are made up here.
		first := map[string]any{
			"iss": "https://sts.windows.net/" + tenant + "/", "idp": "https://sts.windows.net/" + tenant + "/", "aud": "api://hooks",
			"appid": app, "appidacr": "2", "oid": "o", "sub": "o", "tid": tenant, "uti": "u", "ver": "1.0",
			"iat": now, "nbf": now, "exp": now + 86700,
		}
		wantStatus(t, gate, deliver(first), 200)
		wantStatus(t, gate, deliver(map[string]any{
			"iss": "https://login.microsoftonline.com/" + tenant + "/v2.0", "aud": "api://hooks", "azp": app, "tid": tenant,
			"ver": "2.0", "iat": now, "nbf": now, "exp": now + 3600,
		}), 200)
		first["appid"] = "11111111-2222-3333-4444-555555555555"
		wantStatus(t, gate, deliver(first), 401)
	})
}

// readmeServer is where the README's example has its authorization server.
const readmeServer = "https://login.example.com"

// entered gives what the README enters into a field of Ringostat's form, with this server in the place of its own.
func (o *oidc) entered(t *testing.T, field string) string {
	t.Helper()
	row := regexp.MustCompile("(?m)^\\| " + field + " \\| `([^`]+)`").FindStringSubmatch(readme(t))
	if row == nil {
		t.Fatalf("README.md enters nothing into %q", field)
	}
	return strings.Replace(row[1], readmeServer, o.Issuer, 1)
}

// gates gives the README's blocks for Ringostat, for signed tokens and for opaque ones, with this server in them.
func (o *oidc) gates(t *testing.T) (signed, opaque string) {
	t.Helper()
	_, section, _ := strings.Cut(readme(t), "\n### `oauth2`\n")
	section, _, _ = strings.Cut(section, "\n### ")
	blocks := regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 2 {
		t.Fatalf("README.md has %d blocks for Ringostat, want 2", len(blocks))
	}
	t.Setenv("OAUTH_GATE_SECRET", o.Secret)
	for i, site := range []*string{&signed, &opaque} {
		*site = "http:// {\n" + strings.ReplaceAll(blocks[i][1], readmeServer, o.Issuer) + "reverse_proxy RECEIVER {\nheader_up X-Who {http.auth.user.id}\n}\n}\n"
	}
	return signed, opaque
}

// Ringostat's OAuth form, as the README fills it in, and the README's own blocks: the whole way from the login to a
// callback at the gate.
func TestRealRingostatWithOAuth(t *testing.T) {
	o := startOIDC(t)
	signed, opaque := o.gates(t)
	for _, c := range []struct{ name, id, resource, site string }{
		{"credentials as basic header", "ringostat", "", signed},
		{"credentials as body", "ringostat-body", "", signed},
		{"an opaque token", "ringostat", hooksResource + "/opaque", opaque},
	} {
		t.Run(c.name, func(t *testing.T) {
			code := authorize(t, o, c.id, c.resource)
			answer := o.form(t, strings.TrimPrefix(o.entered(t, "access token URL"), o.Issuer), c.id, url.Values{
				"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {ringostatCallback},
			})
			token, _ := answer["access_token"].(string)
			if kind, _ := answer["token_type"].(string); token == "" || !strings.EqualFold(kind, "Bearer") {
				t.Fatalf("no bearer token among %d members", len(answer))
			}
			if isOpaque := !strings.Contains(token, "."); isOpaque != (c.site == opaque) {
				t.Fatalf("an opaque token: %v", isOpaque)
			}
			gate := testbed.New(t, c.site)
			result := wantStatus(t, gate, withToken(token), 200)
			if len(result.Received) == 1 && result.Received[0].Header.Get("X-Who") != "operator" {
				t.Errorf("sent by %q", result.Received[0].Header.Get("X-Who"))
			}
			wantStatus(t, gate, httptest.NewRequest(http.MethodPost, "http://hooks.test/hook", nil), 401)
			wantStatus(t, gate, withToken("never-issued"), 401)
		})
	}
}

const ringostatCallback = "https://app.ringostat.example/oauth/callback"

var formAction = regexp.MustCompile(`action="([^"]+)"`)

// authorize goes through the authorization URL as an operator's browser does: it logs in, agrees, and is sent back to
// Ringostat with a code, which it returns. resource is what the token is for, where that is not the server's default.
func authorize(t *testing.T, o *oidc, id, resource string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	back := ""
	browser := http.Client{Jar: jar, Timeout: 30 * time.Second, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), ringostatCallback) {
			back = r.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}}
	query := url.Values{
		"response_type": {"code"}, "client_id": {id}, "redirect_uri": {ringostatCallback}, "scope": {o.entered(t, "scope")}, "state": {"s1"},
	}
	if resource != "" {
		query.Set("resource", resource)
	}
	response, err := browser.Get(o.entered(t, "authorization URL") + "?" + query.Encode())
	for range 3 {
		if err != nil {
			t.Fatal(err)
		}
		page, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if back != "" {
			break
		}
		action := formAction.FindSubmatch(page)
		if action == nil {
			t.Fatalf("%s has no form: %d %s", response.Request.URL.Path, response.StatusCode, page)
		}
		target, err := response.Request.URL.Parse(string(action[1]))
		if err != nil {
			t.Fatal(err)
		}
		prompt := "consent"
		if strings.Contains(string(page), `name="login"`) {
			prompt = "login"
		}
		response, err = browser.PostForm(target.String(), url.Values{"prompt": {prompt}, "login": {"operator"}, "password": {"demo"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	u, err := url.Parse(back)
	if err != nil || u.Query().Get("code") == "" || u.Query().Get("state") != "s1" {
		t.Fatalf("sent back with no code: %v", err)
	}
	return u.Query().Get("code")
}
