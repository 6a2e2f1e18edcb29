package schemes

import (
	"github.com/caddyauth/callbacks/caddyauth/callback"

	"github.com/caddyserver/caddy/v2"
)

// Senders of everything else. Each signs as its row in senders.go says.

func init() {
	caddy.RegisterModule(Adyen{})
	caddy.RegisterModule(Discord{})
	caddy.RegisterModule(Dropbox{})
	caddy.RegisterModule(GitHub{})
	caddy.RegisterModule(Grafana{})
	caddy.RegisterModule(LINE{})
	caddy.RegisterModule(Linear{})
	caddy.RegisterModule(Meta{})
	caddy.RegisterModule(Paddle{})
	caddy.RegisterModule(SendGrid{})
	caddy.RegisterModule(Shopify{})
	caddy.RegisterModule(Slack{})
	caddy.RegisterModule(Square{})
	caddy.RegisterModule(Stripe{})
	caddy.RegisterModule(Vercel{})
	caddy.RegisterModule(WorkOS{})
	caddy.RegisterModule(X{})
}

// Adyen accepts Adyen's webhooks of the kinds that carry their signature in the header `HmacSignature`: an HMAC-
// SHA256 of the body, by a key that Adyen shows in hex. Standard payment webhooks carry it inside the body, and are
// not covered. It signs no clock: see `replay`.
type Adyen struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Adyen) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.adyen",
		New: func() caddy.Module { return &Adyen{Sender{name: "adyen"}} },
	}
}

// Discord accepts Discord's interactions and webhook events: an Ed25519 signature of time and body. It takes
// `public_key`, in hex as the developer portal shows it. `answer_challenge` answers PING; Discord also sends wrong
// signatures, to see them refused.
type Discord struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Discord) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.discord",
		New: func() caddy.Module { return &Discord{Sender{name: "discord"}} },
	}
}

// Dropbox accepts Dropbox' webhooks: an HMAC-SHA256 of the body, by the app secret. It signs no clock: see `replay`.
// `answer_challenge` echoes the challenge of a new webhook.
type Dropbox struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Dropbox) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.dropbox",
		New: func() caddy.Module { return &Dropbox{Sender{name: "dropbox"}} },
	}
}

// GitHub accepts GitHub's webhooks: an HMAC-SHA256 of the body in `X-Hub-Signature-256`. The older SHA-1 header is
// not looked at. It signs no clock: see `replay`.
type GitHub struct{ Sender }

// CaddyModule returns the Caddy module information.
func (GitHub) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.github",
		New: func() caddy.Module { return &GitHub{Sender{name: "github"}} },
	}
}

// Grafana accepts Grafana's alerting webhooks, with HMAC signature on, under the header names `X-Grafana-Alerting-
// Signature` and `X-Grafana-Alerting-Timestamp`: an HMAC-SHA256 of time and body. Grafana signs no time until its
// `Timestamp header` is filled in: with the second name. For other names, or no time, `hmac` does the same.
type Grafana struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Grafana) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.grafana",
		New: func() caddy.Module { return &Grafana{Sender{name: "grafana"}} },
	}
}

// LINE accepts LINE's webhooks: an HMAC-SHA256 of the body, by the channel secret. It signs no clock: see `replay`.
type LINE struct{ Sender }

// CaddyModule returns the Caddy module information.
func (LINE) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.line",
		New: func() caddy.Module { return &LINE{Sender{name: "line"}} },
	}
}

// Linear accepts Linear's webhooks: an HMAC-SHA256 of the body, which holds its time as `webhookTimestamp`. The
// default tolerance is 1m, as Linear recommends. What Linear sends again, after a minute, an hour and six hours, bears the
// time of the first: with `tolerance 8h`, and a `replay` window of 16h, it is let through too.
type Linear struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Linear) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.linear",
		New: func() caddy.Module { return &Linear{Sender{name: "linear"}} },
	}
}

// Meta accepts webhooks of Meta, so Messenger, Instagram and WhatsApp: an HMAC-SHA256 of the body, by the app secret.
// It signs no clock: see `replay`. `answer_challenge` echoes the challenge of a new subscription, if it carries the
// `verify_token`.
type Meta struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Meta) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.meta",
		New: func() caddy.Module { return &Meta{Sender{name: "meta"}} },
	}
}

// Paddle accepts Paddle's notifications: an HMAC-SHA256 of time and body, in a list of pairs.
type Paddle struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Paddle) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.paddle",
		New: func() caddy.Module { return &Paddle{Sender{name: "paddle"}} },
	}
}

// SendGrid accepts SendGrid's event webhook: an ECDSA signature of time and body. It takes `public_key`, in base64 as
// SendGrid shows it.
type SendGrid struct{ Sender }

// CaddyModule returns the Caddy module information.
func (SendGrid) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.sendgrid",
		New: func() caddy.Module { return &SendGrid{Sender{name: "sendgrid"}} },
	}
}

// Shopify accepts Shopify's webhooks and Events: an HMAC-SHA256 of the body, by the app's client secret. It signs no
// clock: see `replay`.
type Shopify struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Shopify) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.shopify",
		New: func() caddy.Module { return &Shopify{Sender{name: "shopify"}} },
	}
}

// Slack accepts Slack's events, commands and interactions: an HMAC-SHA256 of time and body, by the signing secret.
// `answer_challenge` answers `url_verification`, and acknowledges the check of a certificate, `ssl_check`, which is unsigned.
type Slack struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Slack) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.slack",
		New: func() caddy.Module { return &Slack{Sender{name: "slack"}} },
	}
}

// Square accepts Square's webhooks: an HMAC-SHA256 of the public URL and the body. Set `public_url` behind a proxy
// that changes scheme or host. It signs no clock: see `replay`.
type Square struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Square) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.square",
		New: func() caddy.Module { return &Square{Sender{name: "square"}} },
	}
}

// Stripe accepts Stripe's webhooks: an HMAC-SHA256 of time and body in the pairs `v1`, of which there are two while a
// secret is rolled.
type Stripe struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Stripe) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.stripe",
		New: func() caddy.Module { return &Stripe{Sender{name: "stripe"}} },
	}
}

// Vercel accepts Vercel's webhooks: an HMAC-SHA1 of the body. It signs no clock: see `replay`.
type Vercel struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Vercel) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.vercel",
		New: func() caddy.Module { return &Vercel{Sender{name: "vercel"}} },
	}
}

// WorkOS accepts WorkOS' webhooks: an HMAC-SHA256 of time and body, in a list of pairs. The default tolerance is 3m,
// as in WorkOS' own library.
type WorkOS struct{ Sender }

// CaddyModule returns the Caddy module information.
func (WorkOS) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.workos",
		New: func() caddy.Module { return &WorkOS{Sender{name: "workos"}} },
	}
}

// X accepts webhooks of X: an HMAC-SHA256 of the body, by the app's consumer secret. It signs no clock: see `replay`.
// `answer_challenge` answers the challenge-response check.
type X struct{ Sender }

// CaddyModule returns the Caddy module information.
func (X) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.x",
		New: func() caddy.Module { return &X{Sender{name: "x"}} },
	}
}

// Interface guards
var (
	_ callback.Scheme = (*Adyen)(nil)
	_ callback.Scheme = (*Discord)(nil)
	_ callback.Scheme = (*Dropbox)(nil)
	_ callback.Scheme = (*GitHub)(nil)
	_ callback.Scheme = (*Grafana)(nil)
	_ callback.Scheme = (*LINE)(nil)
	_ callback.Scheme = (*Linear)(nil)
	_ callback.Scheme = (*Meta)(nil)
	_ callback.Scheme = (*Paddle)(nil)
	_ callback.Scheme = (*SendGrid)(nil)
	_ callback.Scheme = (*Shopify)(nil)
	_ callback.Scheme = (*Slack)(nil)
	_ callback.Scheme = (*Square)(nil)
	_ callback.Scheme = (*Stripe)(nil)
	_ callback.Scheme = (*Vercel)(nil)
	_ callback.Scheme = (*WorkOS)(nil)
	_ callback.Scheme = (*X)(nil)
)
