package schemes

import (
	"github.com/caddyauth/callbacks/caddyauth/callback"

	"github.com/caddyserver/caddy/v2"
)

// The senders of the media family: telephony, video and streaming. Each signs as its row in senders.go says.

func init() {
	caddy.RegisterModule(Agora{})
	caddy.RegisterModule(BunnyStream{})
	caddy.RegisterModule(CloudflareStream{})
	caddy.RegisterModule(Daily{})
	caddy.RegisterModule(ElevenLabs{})
	caddy.RegisterModule(GetStream{})
	caddy.RegisterModule(Jaas{})
	caddy.RegisterModule(Mux{})
	caddy.RegisterModule(OvenMediaEngine{})
	caddy.RegisterModule(Plivo{})
	caddy.RegisterModule(PlivoV2{})
	caddy.RegisterModule(Retell{})
	caddy.RegisterModule(Telnyx{})
	caddy.RegisterModule(Twitch{})
	caddy.RegisterModule(Webex{})
	caddy.RegisterModule(Whereby{})
	caddy.RegisterModule(Zoom{})
}

// Agora accepts Agora's notifications: an HMAC-SHA256 of the body in `Agora-Signature-V2`. The body holds the time of the
// notification as `notifyMs`: with `tolerance`, it has to be so near to now. Without, see `replay`.
type Agora struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Agora) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.agora",
		New: func() caddy.Module { return &Agora{Sender{name: "agora"}} },
	}
}

// BunnyStream accepts Bunny Stream's webhooks: an HMAC-SHA256 of the body, by the library's read-only API key. It signs no
// clock: see `replay`.
type BunnyStream struct{ Sender }

// CaddyModule returns the Caddy module information.
func (BunnyStream) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.bunny_stream",
		New: func() caddy.Module { return &BunnyStream{Sender{name: "bunny_stream"}} },
	}
}

// CloudflareStream accepts Cloudflare Stream's webhooks: an HMAC-SHA256 of time and body, in a list of pairs. Of live inputs,
// Cloudflare tells by notifications, which are not signed: `api_key` with the header `cf-webhook-auth` is for those.
type CloudflareStream struct{ Sender }

// CaddyModule returns the Caddy module information.
func (CloudflareStream) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.cloudflare_stream",
		New: func() caddy.Module { return &CloudflareStream{Sender{name: "cloudflare_stream"}} },
	}
}

// Daily accepts Daily's webhooks: an HMAC-SHA256 of time and body, with a secret that Daily shows in base64.
// `answer_challenge` acknowledges the test that Daily sends when a webhook is made. Daily signs that too: give it a secret
// of yours there, as `hmac`, for one that it makes itself is not known here yet.
type Daily struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Daily) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.daily",
		New: func() caddy.Module { return &Daily{Sender{name: "daily"}} },
	}
}

// ElevenLabs accepts ElevenLabs' webhooks: an HMAC-SHA256 of time and body, in a list of pairs. The default tolerance
// is 30m, as in ElevenLabs' own library.
type ElevenLabs struct{ Sender }

// CaddyModule returns the Caddy module information.
func (ElevenLabs) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.elevenlabs",
		New: func() caddy.Module { return &ElevenLabs{Sender{name: "elevenlabs"}} },
	}
}

// GetStream accepts GetStream's webhooks: an HMAC-SHA256 of the body, by the API secret. GetStream signs the body
// before compressing it, and bodies are verified here as they came: leave compression of webhooks off. It signs no
// clock: see `replay`.
type GetStream struct{ Sender }

// CaddyModule returns the Caddy module information.
func (GetStream) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.getstream",
		New: func() caddy.Module { return &GetStream{Sender{name: "getstream"}} },
	}
}

// Jaas accepts webhooks of 8x8 JaaS: an HMAC-SHA256 of time and body, in base64, in a list of pairs.
type Jaas struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Jaas) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.jaas_8x8",
		New: func() caddy.Module { return &Jaas{Sender{name: "jaas_8x8"}} },
	}
}

// Mux accepts Mux's webhooks: an HMAC-SHA256 of time and body, in a list of pairs.
type Mux struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Mux) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.mux",
		New: func() caddy.Module { return &Mux{Sender{name: "mux"}} },
	}
}

// OvenMediaEngine accepts OvenMediaEngine's AdmissionWebhooks: an HMAC-SHA1 of the body, in base64url. The time of the
// request is in the body: `tolerance` (default: 5m) is how far it may be from now.
type OvenMediaEngine struct{ Sender }

// CaddyModule returns the Caddy module information.
func (OvenMediaEngine) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.ovenmediaengine",
		New: func() caddy.Module { return &OvenMediaEngine{Sender{name: "ovenmediaengine"}} },
	}
}

// Plivo accepts Plivo's V3 signature: an HMAC-SHA256 of the public URL, the fields of a form and a nonce. It takes
// the auth token as `secret`. Set `public_url` behind a proxy that changes scheme or host. Plivo signs no clock: see
// `replay`.
type Plivo struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Plivo) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.plivo",
		New: func() caddy.Module { return &Plivo{Sender{name: "plivo"}} },
	}
}

// PlivoV2 accepts Plivo's older V2 signature, of the public URL and a nonce. It covers neither the query nor the
// body, which anybody who saw one request may change: prefer `plivo`, and list `ip_range` beside this.
type PlivoV2 struct{ Sender }

// CaddyModule returns the Caddy module information.
func (PlivoV2) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.plivo_v2",
		New: func() caddy.Module { return &PlivoV2{Sender{name: "plivo_v2"}} },
	}
}

// Retell accepts Retell's webhooks: an HMAC-SHA256 of body and time, by the API key.
type Retell struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Retell) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.retell",
		New: func() caddy.Module { return &Retell{Sender{name: "retell"}} },
	}
}

// Telnyx accepts Telnyx's webhooks: an Ed25519 signature of time and body. It takes `public_key`, in base64 as the
// portal shows it.
type Telnyx struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Telnyx) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.telnyx",
		New: func() caddy.Module { return &Telnyx{Sender{name: "telnyx"}} },
	}
}

// Twitch accepts Twitch's EventSub: an HMAC-SHA256 of id, time and body. A message passes only once, by its id.
// `answer_challenge` answers the verification of a new subscription.
type Twitch struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Twitch) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.twitch",
		New: func() caddy.Module { return &Twitch{Sender{name: "twitch"}} },
	}
}

// Webex accepts Webex' webhooks: an HMAC-SHA1 of the body. It signs no clock: see `replay`.
type Webex struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Webex) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.webex",
		New: func() caddy.Module { return &Webex{Sender{name: "webex"}} },
	}
}

// Whereby accepts Whereby's webhooks: an HMAC-SHA256 of time and body, in a list of pairs.
type Whereby struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Whereby) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.whereby",
		New: func() caddy.Module { return &Whereby{Sender{name: "whereby"}} },
	}
}

// Zoom accepts Zoom's webhooks: an HMAC-SHA256 of time and body, by the app's secret token. `answer_challenge`
// answers `endpoint.url_validation`.
type Zoom struct{ Sender }

// CaddyModule returns the Caddy module information.
func (Zoom) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.callback_auth.schemes.zoom",
		New: func() caddy.Module { return &Zoom{Sender{name: "zoom"}} },
	}
}

// Interface guards
var (
	_ callback.Scheme = (*Agora)(nil)
	_ callback.Scheme = (*BunnyStream)(nil)
	_ callback.Scheme = (*CloudflareStream)(nil)
	_ callback.Scheme = (*Daily)(nil)
	_ callback.Scheme = (*ElevenLabs)(nil)
	_ callback.Scheme = (*GetStream)(nil)
	_ callback.Scheme = (*Jaas)(nil)
	_ callback.Scheme = (*Mux)(nil)
	_ callback.Scheme = (*OvenMediaEngine)(nil)
	_ callback.Scheme = (*Plivo)(nil)
	_ callback.Scheme = (*PlivoV2)(nil)
	_ callback.Scheme = (*Retell)(nil)
	_ callback.Scheme = (*Telnyx)(nil)
	_ callback.Scheme = (*Twitch)(nil)
	_ callback.Scheme = (*Webex)(nil)
	_ callback.Scheme = (*Whereby)(nil)
	_ callback.Scheme = (*Zoom)(nil)
)
