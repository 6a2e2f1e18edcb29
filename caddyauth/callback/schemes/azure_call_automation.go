package schemes

import (
	"errors"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/token"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(AzureCallAutomation{})
}

// The issuer of Call Automation's tokens, and where its metadata is: not at the usual path.
const (
	callAutomationIssuer   = "https://acscallautomation.communication.azure.com"
	callAutomationMetadata = callAutomationIssuer + "/calling/.well-known/acsopenidconfiguration"
)

// AzureCallAutomation accepts the callbacks of Azure Communication Services' Call Automation, and the WebSocket
// handshakes of its media streaming: a token signed with RS256 behind `Bearer` in the Authorization header. Callbacks
// have a fresh one of five minutes each, connections one of a day.
//
// The token does not cover the body. Its issuer and keys are the same for all customers of Azure: the audience alone
// tells your calls from theirs. See
// https://learn.microsoft.com/azure/communication-services/how-tos/call-automation/secure-webhook-endpoint.
type AzureCallAutomation struct {
	// The immutable resource ID of your Communication Services resource, a GUID; not its path, not its URL. Any of them.
	// Required. Values take placeholders.
	Audiences []string `json:"audiences,omitempty"`

	// The URL of OpenID provider metadata, whose issuer the tokens must then have. Takes placeholders.
	// Default: Azure's, with the issuer `https://acscallautomation.communication.azure.com`.
	OpenIDConfiguration string `json:"openid_configuration,omitempty"`

	// How far clocks may differ. Default: 60s.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	token token.JWT
}

// CaddyModule returns the Caddy module information.
func (AzureCallAutomation) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.azure_call_automation",
		New: func() caddy.Module { return new(AzureCallAutomation) },
	}
}

// Check refuses what lacks an audience, and metadata at a URL that may not be called.
func (a *AzureCallAutomation) Check() error {
	if len(a.Audiences) == 0 {
		return errors.New("audience is required: it is the resource ID, and without it any customer of Azure is accepted")
	}
	return token.CheckURL("openid_configuration", a.OpenIDConfiguration)
}

// Provision sets up what a token must be. The keys are fetched with the first token.
func (a *AzureCallAutomation) Provision(ctx caddy.Context) error {
	if err := a.Check(); err != nil {
		return err
	}
	a.token = token.JWT{
		OpenIDConfiguration: a.OpenIDConfiguration,
		Algorithms:          []string{"RS256"},
		Audiences:           a.Audiences,
		Leeway:              a.Leeway,
	}
	if a.OpenIDConfiguration == "" {
		a.token.OpenIDConfiguration = callAutomationMetadata
		a.token.Issuers = []string{callAutomationIssuer}
	}
	return a.token.Provision(ctx)
}

// Traits says where the token is and how dear it is to check.
func (a *AzureCallAutomation) Traits() callback.Traits {
	return callback.Traits{
		Cost:      callback.CostKey,
		Places:    []callback.Place{{Header: "Authorization"}},
		Challenge: bearerChallenge,
	}
}

// Verify checks the token.
func (a *AzureCallAutomation) Verify(q *callback.Request) callback.Verdict {
	compact, err := bearer(q)
	if err != nil {
		return callback.Refuse(err)
	}
	t, err := a.token.Verify(q.HTTP.Context(), compact, q.Now)
	return tokenVerdict(t, err)
}

// Cleanup lets go of the keys.
func (a *AzureCallAutomation) Cleanup() error {
	return a.token.Cleanup()
}

// UnmarshalCaddyfile sets up the scheme from Caddyfile tokens. Syntax:
//
//	azure_call_automation {
//		audience             <resource id>...
//		openid_configuration <url>
//		leeway               <duration>
//	}
func (a *AzureCallAutomation) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return readBlock(d, a.option)
}

func (a *AzureCallAutomation) option(d *caddyfile.Dispenser) error {
	switch option := d.Val(); option {
	case "audience":
		return credential.Many(d, &a.Audiences)
	case "openid_configuration":
		return credential.One(d, &a.OpenIDConfiguration)
	case "leeway":
		return credential.Duration(d, &a.Leeway)
	default:
		return d.Errf("unknown option '%s' of azure_call_automation", option)
	}
}

// Interface guards
var (
	_ caddy.Module          = (*AzureCallAutomation)(nil)
	_ caddy.Provisioner     = (*AzureCallAutomation)(nil)
	_ caddy.CleanerUpper    = (*AzureCallAutomation)(nil)
	_ caddyfile.Unmarshaler = (*AzureCallAutomation)(nil)
	_ callback.Scheme       = (*AzureCallAutomation)(nil)
)
