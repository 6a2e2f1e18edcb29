package schemes

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(AzureEventGrid{})
}

// What Event Grid calls its handshake.
const (
	validationHeader    = "SubscriptionValidation"
	validationEventType = "Microsoft.EventGrid.SubscriptionValidationEvent"
)

// eventGridOrigins are what Event Grid calls itself, in each of Azure's clouds
// (github.com/Azure/azure-sdk-for-net, HttpRequestProcessor.cs of the Functions extension).
var eventGridOrigins = []string{
	"eventgrid.azure.net", "eventgrid.azure.us", "eventgrid.azure.cn", "eventgrid.azure.eaglex.ic.gov", "eventgrid.azure.microsoft.scloud",
}

var (
	validationCode = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)
	allowedRate    = regexp.MustCompile(`^(\*|[1-9][0-9]{0,8})$`)
)

// AzureEventGrid accepts the deliveries of Azure Event Grid, in its own schema and as CloudEvents, and answers its
// handshakes in place of the next handler: the SubscriptionValidation event, and the OPTIONS request of CloudEvents'
// abuse protection.
//
// Event Grid signs nothing. Without `entra`, this scheme only says what a delivery looks like, and another scheme must
// stand beside it: a key in the URL of the subscription (`api_key` with `query`), which the handshakes carry as well. The
// handshakes are answered once all other schemes have accepted; what they say is never believed or called:
// neither the event type in a header alone, nor `validationUrl`, nor `WebHook-Request-Callback`. See
// https://learn.microsoft.com/azure/event-grid/security-authentication.
type AzureEventGrid struct {
	// The names of the event subscriptions that may deliver, and whose handshakes are answered; case does not count.
	// Handshakes and deliveries that name none are then denied. Default: all.
	Subscriptions []string `json:"subscriptions,omitempty"`

	// The Microsoft Entra token that deliveries carry. Default: none is asked for.
	Entra *Entra `json:"entra,omitempty"`

	// How many deliveries a minute are welcome, as the CloudEvents handshake says: a number, or `*` for any.
	// Default: `*`.
	AllowedRate string `json:"allowed_rate,omitempty"`

	subscriptions []string
}

// CaddyModule returns the Caddy module information.
func (AzureEventGrid) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.azure_event_grid",
		New: func() caddy.Module { return new(AzureEventGrid) },
	}
}

// Check refuses a rate that is none, and a token of which too little is said.
func (a *AzureEventGrid) Check() error {
	if a.AllowedRate != "" && !allowedRate.MatchString(a.AllowedRate) {
		return fmt.Errorf("allowed_rate: '%s' is neither a number of requests a minute nor *", a.AllowedRate)
	}
	if a.Entra != nil {
		if err := a.Entra.check(); err != nil {
			return fmt.Errorf("entra: %w", err)
		}
	}
	return nil
}

// Provision resolves the names.
func (a *AzureEventGrid) Provision(ctx caddy.Context) (err error) {
	if err := a.Check(); err != nil {
		return err
	}
	if a.subscriptions, err = credential.Texts("subscription", a.Subscriptions); err != nil {
		return err
	}
	if a.AllowedRate == "" {
		a.AllowedRate = "*"
	}
	if a.Entra == nil {
		return nil
	}
	if err := a.Entra.provision(ctx); err != nil {
		return fmt.Errorf("entra: %w", err)
	}
	return nil
}

// Traits says where the token is and how dear it is to check. Without one the scheme is no proof.
func (a *AzureEventGrid) Traits() callback.Traits {
	if a.Entra == nil {
		return callback.Traits{Partial: true}
	}
	return callback.Traits{
		Cost:      callback.CostKey,
		Places:    []callback.Place{{Header: "Authorization"}},
		Challenge: bearerChallenge,
	}
}

// Verify checks the token, then who is delivering, and prepares the answers to handshakes.
func (a *AzureEventGrid) Verify(q *callback.Request) callback.Verdict {
	accepted := callback.Verdict{Reason: verdict.OK}
	if a.Entra != nil {
		if accepted = a.Entra.verify(q); !accepted.OK() {
			return accepted
		}
	}
	finish := func(err error) callback.Verdict {
		if err == nil {
			return accepted
		}
		return refused(accepted.Key, err)
	}
	if err := a.checkSubscription(q); err != nil {
		return finish(err)
	}
	switch q.Method {
	case http.MethodOptions:
		origin, err := checkOrigin(q)
		if err != nil {
			return finish(err)
		}
		accepted.Answer = func(w http.ResponseWriter) error { return a.allow(w, origin) }
		return accepted
	case http.MethodPost:
		isValidation, err := isValidation(q)
		if err != nil {
			return finish(err)
		}
		if isValidation {
			accepted.Then = func(body []byte) callback.Verdict {
				code, ok, err := validation(body)
				if ok {
					accepted.Answer = func(w http.ResponseWriter) error { return respond(w, code) }
				}
				return finish(err)
			}
		}
		return accepted
	default:
		refusal := finish(verdict.Errorf(verdict.Malformed, "a method that Event Grid does not use").WithStatus(http.StatusMethodNotAllowed))
		refusal.Allow = http.MethodOptions + ", " + http.MethodPost
		return refusal
	}
}

// checkSubscription refuses subscriptions other than those named. Event Grid writes their names in upper case.
func (a *AzureEventGrid) checkSubscription(q *callback.Request) error {
	if len(a.subscriptions) == 0 {
		return nil
	}
	names := q.HTTP.Header.Values("Aeg-Subscription-Name")
	if len(names) > 1 {
		return verdict.Errorf(verdict.Malformed, "%d aeg-subscription-name headers", len(names))
	}
	if len(names) == 0 {
		return verdict.Errorf(verdict.Denied, "the request names no event subscription")
	}
	if !slices.ContainsFunc(a.subscriptions, func(name string) bool { return strings.EqualFold(name, names[0]) }) {
		return verdict.Errorf(verdict.Denied, "an event subscription that is not named here")
	}
	return nil
}

// checkOrigin gives which Event Grid is asking, and refuses an OPTIONS request that is no handshake of one (CloudEvents
// HTTP 1.1 Web Hooks §4.1).
func checkOrigin(q *callback.Request) (string, error) {
	origins := q.HTTP.Header.Values("Webhook-Request-Origin")
	if len(origins) > 1 {
		return "", verdict.Errorf(verdict.Malformed, "%d WebHook-Request-Origin headers", len(origins))
	}
	for _, known := range eventGridOrigins {
		if len(origins) == 1 && strings.EqualFold(origins[0], known) {
			return known, nil
		}
	}
	return "", verdict.Errorf(verdict.Denied, "OPTIONS, but not the handshake of Event Grid")
}

// isValidation reports whether the headers of a delivery say that it is the SubscriptionValidation event. What has a
// content type of neither schema is refused: it is nothing that Event Grid sends.
func isValidation(q *callback.Request) (bool, error) {
	header := q.HTTP.Header
	if len(header.Values("Content-Type")) > 1 || len(header.Values("Aeg-Event-Type")) > 1 {
		return false, verdict.Errorf(verdict.Malformed, "two Content-Type or aeg-event-type headers")
	}
	if header.Get("Content-Type") == "" { // JSON is all that the schemas have
		return header.Get("Aeg-Event-Type") == validationHeader, nil
	}
	mediaType, parameters, err := mime.ParseMediaType(header.Get("Content-Type"))
	if charset := parameters["charset"]; err == nil && (charset == "" || strings.EqualFold(charset, "utf-8")) {
		switch mediaType {
		case "application/json":
			return header.Get("Aeg-Event-Type") == validationHeader, nil
		case "application/cloudevents+json", "application/cloudevents-batch+json":
			return false, nil
		}
	}
	return false, verdict.Errorf(verdict.Malformed, "a content type of neither schema").WithStatus(http.StatusUnsupportedMediaType)
}

// validation gives the code of a SubscriptionValidation event: an array of that one event. ok is false for any other
// body, which is a delivery like any other whatever its header says. A code that is no plain short word is not echoed.
func validation(body []byte) (code string, ok bool, err error) {
	event := onlyEvent(body)
	eventType, _ := event.Get("eventType")
	if text, ok := eventType.Text(); !ok || text != validationEventType {
		return "", false, nil
	}
	data, _ := event.Get("data")
	member, _ := data.Get("validationCode")
	code, ok = member.Text()
	if !ok || !validationCode.MatchString(code) {
		return "", false, verdict.Errorf(verdict.Malformed, "a SubscriptionValidation event without a plain validationCode")
	}
	return code, true, nil
}

// onlyEvent gives the event of a body that has one; else, or where the body is no JSON, a value without members.
func onlyEvent(body []byte) strictjson.Value {
	events, err := strictjson.Parse(body)
	if err != nil || events.Kind() != strictjson.Array || len(events.Items()) != 1 {
		return strictjson.Value{}
	}
	return events.Items()[0]
}

// respond answers the SubscriptionValidation event: with status 200 and no other, and not chunked, which Event Grid did
// not read once.
func respond(w http.ResponseWriter, code string) error {
	answer := `{"validationResponse":"` + code + `"}`
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	_, err := io.WriteString(w, answer)
	return err
}

// allow answers the CloudEvents handshake (CloudEvents HTTP 1.1 Web Hooks §4.2).
func (a *AzureEventGrid) allow(w http.ResponseWriter, origin string) error {
	w.Header().Set("Webhook-Allowed-Origin", origin)
	w.Header().Set("Webhook-Allowed-Rate", a.AllowedRate)
	w.Header().Set("Allow", http.MethodPost)
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	return nil
}

// Cleanup lets go of the keys.
func (a *AzureEventGrid) Cleanup() error {
	if a.Entra != nil {
		a.Entra.keys.Close()
	}
	return nil
}

// UnmarshalCaddyfile sets up the scheme from Caddyfile tokens. Syntax:
//
//	azure_event_grid {
//		subscription <name>...
//		entra {
//			tenant               <id>
//			audience             <value>...
//			app_id               <id>
//			openid_configuration <url>
//		}
//		allowed_rate <requests a minute>|*
//	}
func (a *AzureEventGrid) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return readBlock(d, a.option)
}

func (a *AzureEventGrid) option(d *caddyfile.Dispenser) error {
	switch option := d.Val(); option {
	case "subscription":
		return credential.Many(d, &a.Subscriptions)
	case "allowed_rate":
		return credential.One(d, &a.AllowedRate)
	case "entra":
		if a.Entra != nil {
			return d.WrapErr(fmt.Errorf("entra: %w", credential.ErrRepeated))
		}
		a.Entra = new(Entra)
		return a.Entra.UnmarshalCaddyfile(d.NewFromNextSegment())
	default:
		return d.Errf("unknown option '%s' of azure_event_grid", option)
	}
}

// Interface guards
var (
	_ caddy.Module          = (*AzureEventGrid)(nil)
	_ caddy.Provisioner     = (*AzureEventGrid)(nil)
	_ caddy.CleanerUpper    = (*AzureEventGrid)(nil)
	_ caddyfile.Unmarshaler = (*AzureEventGrid)(nil)
	_ callback.Scheme       = (*AzureEventGrid)(nil)
)
