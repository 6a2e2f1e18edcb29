package schemes

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/internal/jwks"
	"github.com/caddyauth/callbacks/caddyauth/token"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// eventGridApp is the id of Event Grid itself in the public cloud, in every tenant.
const eventGridApp = "4962773b-9cdb-44cf-a8bf-237846a00ab7"

var guid = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// Entra says what the Microsoft Entra token of a delivery must be: of this tenant, in its first or second version,
// signed with RS256, for one of the audiences, and issued to Event Grid. The audience alone would let in every
// application of the tenant. See https://learn.microsoft.com/azure/event-grid/secure-webhook-delivery.
type Entra struct {
	// The id of the tenant, a GUID. Required. Takes placeholders.
	Tenant string `json:"tenant,omitempty"`

	// The client id of the application that stands for the webhook, or its application ID URI, as the subscription names
	// it. Any of them. Required. Values take placeholders.
	Audiences []string `json:"audiences,omitempty"`

	// The id of the application that delivers: the claim `appid` or `azp`. Takes placeholders.
	// Default: Event Grid's in the public cloud, `4962773b-9cdb-44cf-a8bf-237846a00ab7`.
	AppID string `json:"app_id,omitempty"`

	// The URL of OpenID provider metadata. Its issuer is then good too. Takes placeholders.
	// Default: `https://login.microsoftonline.com/<tenant>/v2.0/.well-known/openid-configuration`.
	OpenIDConfiguration string `json:"openid_configuration,omitempty"`

	tenant, app string
	issuers     []string
	policy      jose.Policy
	keys        *token.Keys
}

// errTenant is what is wrong with a tenant that is not a GUID.
var errTenant = errors.New("tenant is not a GUID: the tenant's id is needed, for its name does not stand in tokens")

// check refuses what lacks an option, and a tenant by its name.
func (e *Entra) check() error {
	if err := credential.WrittenText("tenant", e.Tenant); err != nil {
		return err
	}
	switch {
	case !strings.Contains(e.Tenant, "{") && !guid.MatchString(e.Tenant):
		return errTenant
	case len(e.Audiences) == 0:
		return errors.New("audience is required")
	}
	return token.CheckURL("openid_configuration", e.OpenIDConfiguration)
}

// provision resolves the values and opens the key set.
func (e *Entra) provision(ctx caddy.Context) (err error) {
	if err := e.check(); err != nil {
		return err
	}
	if e.tenant, err = credential.Text("tenant", e.Tenant); err != nil {
		return err
	}
	if !guid.MatchString(e.tenant) {
		return errTenant
	}
	e.tenant = strings.ToLower(e.tenant)
	e.app = eventGridApp
	if e.AppID != "" {
		if e.app, err = credential.Text("app_id", e.AppID); err != nil {
			return err
		}
	}
	e.policy = jose.Policy{
		Algorithms:    []string{"RS256"},
		Keys:          func(ctx context.Context, t *jose.Token) ([]jose.Key, error) { return e.keys.Find(ctx, t) },
		Leeway:        token.DefaultLeeway,
		RequireExpiry: true,
		Proofs:        new(jose.Proofs),
	}
	if e.policy.Audiences, err = credential.Texts("audience", e.Audiences); err != nil {
		return err
	}
	if err := e.policy.Check(); err != nil {
		return err
	}
	second := "https://login.microsoftonline.com/" + e.tenant + "/v2.0"
	e.issuers = []string{"https://sts.windows.net/" + e.tenant + "/", second}
	config := jwks.Config{Metadata: second + "/.well-known/openid-configuration", Issuer: second}
	if e.OpenIDConfiguration != "" {
		place, err := credential.Text("openid_configuration", e.OpenIDConfiguration)
		if err != nil {
			return err
		}
		config = jwks.Config{Metadata: place}
	}
	if e.keys, err = token.OpenKeys(ctx, config); err != nil {
		return fmt.Errorf("openid_configuration: %w", err)
	}
	return nil
}

// verify checks the token of a request.
func (e *Entra) verify(q *callback.Request) callback.Verdict {
	compact, err := bearer(q)
	if err != nil {
		return callback.Refuse(err)
	}
	ctx := q.HTTP.Context()
	t, err := e.policy.Verify(ctx, compact, q.Now)
	if err == nil {
		err = e.checkToken(ctx, t)
	}
	return accessVerdict(t, err)
}

// checkToken looks at whose a genuine token is.
func (e *Entra) checkToken(ctx context.Context, t *jose.Token) error {
	published, err := e.keys.Issuer(ctx)
	if err != nil {
		return err
	}
	if t.Issuer == "" || t.Issuer != e.issuers[0] && t.Issuer != e.issuers[1] && t.Issuer != published {
		return verdict.Errorf(verdict.BadClaim, "iss is not of the tenant")
	}
	if tenant, ok := t.Claims.Get("tid"); ok {
		if text, ok := tenant.Text(); !ok || !strings.EqualFold(text, e.tenant) {
			return verdict.Errorf(verdict.BadClaim, "tid is another tenant")
		}
	}
	found := false
	for _, name := range []string{"appid", "azp"} { // version 1, version 2
		if claim, ok := t.Claims.Get(name); ok {
			if text, ok := claim.Text(); !ok || !strings.EqualFold(text, e.app) {
				return verdict.Errorf(verdict.BadClaim, "%s is another application", name)
			}
			found = true
		}
	}
	if !found {
		return verdict.Errorf(verdict.BadClaim, "neither appid nor azp says which application has the token")
	}
	return nil
}

// UnmarshalCaddyfile sets up the block from Caddyfile tokens. The syntax is with AzureEventGrid.
func (e *Entra) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { return readBlock(d, e.option) }

func (e *Entra) option(d *caddyfile.Dispenser) error {
	switch option := d.Val(); option {
	case "tenant":
		return credential.One(d, &e.Tenant)
	case "audience":
		return credential.Many(d, &e.Audiences)
	case "app_id":
		return credential.One(d, &e.AppID)
	case "openid_configuration":
		return credential.One(d, &e.OpenIDConfiguration)
	default:
		return d.Errf("unknown option '%s' of entra", option)
	}
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Entra)(nil)
