package schemes

import (
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/internal/signature"
)

// row is how one sender signs. Every row is held to a vector of the sender's own, or of its own package, by the tests.
type row struct {
	// spec is the signature, and source where it is described; checked is when that was last compared.
	spec            signature.Spec
	source, checked string

	// unread are headers with further credentials of the sender's, of an older or a newer kind, that are not looked at.
	unread []string

	// spell gives further spellings under which the sender may have signed a URL that was called in this one.
	spell func(address string, handshake bool) []string

	// clock is the timestamp of senders that put it into the body.
	clock bodyClock

	// ask answers a challenge that comes unsigned, or signed in a way of its own. ok is false for any other request.
	ask func(s *Sender, q *callback.Request) (v callback.Verdict, ok bool)

	// signed gives the answer to a challenge that comes as an ordinary, signed message; nil for any other message.
	signed func(q *callback.Request, body []byte, key secret.Value) (answerFunc, error)

	// verifyToken says that the challenge carries a token that was agreed on.
	verifyToken bool

	// signsTokens says that what answers a challenge is also the signature of a body that is its token, and no more. Whoever
	// asks has one: such a body proves nothing.
	signsTokens bool
}

// The tolerance where the sender recommends none.
const defaultTolerance = 5 * time.Minute

// bodySpec is an HMAC-SHA256 of the body alone: a sender without a clock.
func bodySpec(header, prefix string, encoding signature.Encoding) signature.Spec {
	return signature.Spec{
		Header: header, Grammar: signature.Grammar{Prefix: prefix}, Encoding: encoding,
		Algorithm: signature.HMACSHA256, Key: signature.TextKey, Payload: "{body}",
	}
}

// withAlgorithm returns spec with another algorithm.
func withAlgorithm(spec signature.Spec, algorithm signature.Algorithm, key signature.KeyForm) signature.Spec {
	spec.Algorithm, spec.Key = algorithm, key
	return spec
}

// withPayload returns spec with another payload.
func withPayload(spec signature.Spec, payload string) signature.Spec {
	spec.Payload = payload
	return spec
}

// pairsSpec is an HMAC-SHA256 in lower-case hex, in a list of pairs `<timestamp>=…,<name>=…`.
func pairsSpec(header, separator, timestamp, name, payload string) signature.Spec {
	return signature.Spec{
		Header: header, Grammar: signature.Grammar{Separator: separator, Timestamp: timestamp, Signature: name},
		Encoding: signature.HexLower, Algorithm: signature.HMACSHA256, Key: signature.TextKey, Payload: payload,
		Time: signature.Time{Unit: signature.Seconds}, Tolerance: defaultTolerance,
	}
}

// timed adds a timestamp header in seconds to a spec.
func timed(spec signature.Spec, header, payload string) signature.Spec {
	spec.Payload = payload
	spec.Time = signature.Time{Header: header, Unit: signature.Seconds}
	spec.Tolerance = defaultTolerance
	return spec
}

// within returns spec with another unit of the timestamp and another tolerance.
func within(spec signature.Spec, unit signature.Unit, tolerance time.Duration) signature.Spec {
	spec.Time.Unit, spec.Tolerance = unit, tolerance
	return spec
}

// standardWebhooks is the Standard Webhooks signature, under the header names with this prefix.
func standardWebhooks(prefix string) signature.Spec {
	return signature.Spec{
		Header:   prefix + "-Signature",
		Grammar:  signature.Grammar{Prefix: "v1,", Separator: " ", List: true},
		Encoding: signature.Base64, Algorithm: signature.HMACSHA256, Key: signature.StandardWebhooksKey,
		Payload: "{id}.{timestamp}.{body}",
		Time:    signature.Time{Header: prefix + "-Timestamp", Unit: signature.Seconds}, Tolerance: defaultTolerance,
		ID: prefix + "-Id",
	}
}

// standardWebhooksKey is its `v1a` signature, with a public key.
func standardWebhooksKey(prefix string) signature.Spec {
	spec := standardWebhooks(prefix)
	spec.Grammar.Prefix = "v1a,"
	spec.Algorithm = signature.Ed25519
	return spec
}

// senders is how each named sender signs. Those with clocks of five minutes and no recommendation of their own have the
// default tolerance.
var senders = map[string]row{
	"adyen": {
		spec:   withAlgorithm(bodySpec("HmacSignature", "", signature.Base64), signature.HMACSHA256, signature.HexKey),
		source: "https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures", checked: "2026-11",
	},
	"agora": {
		spec:   bodySpec("Agora-Signature-V2", "", signature.HexLower),
		unread: []string{"Agora-Signature"},
		// Agora says nothing of how long one is to be taken for fresh: `tolerance` does.
		clock:  bodyClock{path: "notifyMs", unit: signature.Milliseconds},
		source: "https://docs.agora.io/en/broadcast-streaming/reference/signature-verification", checked: "2026-11",
	},
	"bunny_stream": {
		spec:   bodySpec("X-BunnyStream-Signature", "", signature.HexLower),
		source: "https://bunny.net/docs/stream/webhooks", checked: "2026-11",
	},
	"cloudflare_stream": {
		spec:   pairsSpec("Webhook-Signature", ",", "time", "sig1", "{timestamp}.{body}"),
		source: "https://developers.cloudflare.com/stream/webhooks", checked: "2026-11",
	},
	"daily": {
		// The documentation speaks of no unit; live requests have milliseconds.
		spec: within(withAlgorithm(timed(bodySpec("X-Webhook-Signature", "", signature.Base64), "X-Webhook-Timestamp", "{timestamp}.{body}"), signature.HMACSHA256, signature.Base64Key),
			signature.EitherSeconds, defaultTolerance),
		ask: askDaily, signed: signedDaily,
		source: "https://docs.daily.co/reference/rest-api/webhooks", checked: "2026-11",
	},
	"discord": {
		spec:   withAlgorithm(timed(bodySpec("X-Signature-Ed25519", "", signature.HexLower), "X-Signature-Timestamp", "{timestamp}{body}"), signature.Ed25519, signature.HexKey),
		signed: signedDiscord,
		source: "https://discord.com/developers/docs/interactions/overview", checked: "2026-11",
	},
	"dropbox": {
		spec:   bodySpec("X-Dropbox-Signature", "", signature.HexLower),
		ask:    askDropbox,
		source: "https://www.dropbox.com/developers/reference/webhooks", checked: "2026-11",
	},
	"elevenlabs": {
		spec:   within(pairsSpec("ElevenLabs-Signature", ",", "t", "v0", "{timestamp}.{body}"), signature.Seconds, 30*time.Minute),
		source: "https://elevenlabs.io/docs/product-guides/administration/webhooks", checked: "2026-11",
	},
	"getstream": {
		spec:   bodySpec("X-Signature", "", signature.HexLower),
		source: "https://getstream.io/chat/docs/node/webhooks_overview/", checked: "2026-11",
	},
	"github": {
		spec:   bodySpec("X-Hub-Signature-256", "sha256=", signature.HexLower),
		unread: []string{"X-Hub-Signature"},
		source: "https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries", checked: "2026-11",
	},
	"gitlab_signing": {
		spec:   standardWebhooks("Webhook"),
		unread: []string{gitLabToken},
		source: "https://gitlab.com/gitlab-org/gitlab/-/merge_requests/230944", checked: "2026-11",
	},
	"grafana": {
		spec:   timed(bodySpec("X-Grafana-Alerting-Signature", "", signature.HexLower), "X-Grafana-Alerting-Timestamp", "{timestamp}:{body}"),
		source: "https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier", checked: "2026-11",
	},
	"jaas_8x8": {
		spec:   base64Pairs("X-Jaas-Signature", "t", "v1"),
		source: "https://developer.8x8.com/jaas/docs/webhooks-signatures", checked: "2026-11",
	},
	"line": {
		spec:   bodySpec("X-Line-Signature", "", signature.Base64),
		source: "https://developers.line.biz/en/docs/messaging-api/verify-webhook-signature/", checked: "2026-11",
	},
	"linear": {
		spec:   bodySpec("Linear-Signature", "", signature.HexLower),
		clock:  bodyClock{path: "webhookTimestamp", unit: signature.Milliseconds, tolerance: time.Minute},
		source: "https://linear.app/developers/webhooks", checked: "2026-11",
	},
	"meta": {
		spec:   bodySpec("X-Hub-Signature-256", "sha256=", signature.HexLower),
		unread: []string{"X-Hub-Signature"},
		ask:    askMeta, verifyToken: true,
		source: "https://developers.facebook.com/docs/messenger-platform/webhook-reference", checked: "2026-11",
	},
	"mux": {
		spec:   pairsSpec("Mux-Signature", ",", "t", "v1", "{timestamp}.{body}"),
		source: "https://mux.com/docs/core/verify-webhook-signatures", checked: "2026-11",
	},
	"ovenmediaengine": {
		spec: withAlgorithm(bodySpec("X-OME-Signature", "", signature.Base64URLPad), signature.HMACSHA1, signature.TextKey),
		// It is in every admission request, and signed: without a look at it, one that was seen is good for ever.
		clock:  bodyClock{path: "request.time", unit: signature.ISO8601, tolerance: defaultTolerance, optional: true},
		source: "https://docs.ovenmediaengine.com/access-control/admission-webhooks", checked: "2026-11",
	},
	"paddle": {
		spec:   pairsSpec("Paddle-Signature", ";", "ts", "h1", "{timestamp}:{body}"),
		source: "https://developer.paddle.com/webhooks/signature-verification", checked: "2026-11",
	},
	"plivo": {
		spec:   plivo("X-Plivo-Signature-V3", "{url_form_sorted}.{id}", false),
		unread: []string{"X-Plivo-Signature-V2", "X-Plivo-Signature-Ma-V2"},
		source: "https://docs.plivo.com/docs/voice/xml/request/validation", checked: "2026-11",
	},
	"plivo_v2": {
		spec:   plivo("X-Plivo-Signature-V2", "{url_base}{id}", true),
		unread: []string{"X-Plivo-Signature-V3", "X-Plivo-Signature-Ma-V3"},
		source: "https://docs.plivo.com/docs/messaging/concepts/signature-validation", checked: "2026-11",
	},
	"retell": {
		spec:   within(pairsSpec("X-Retell-Signature", ",", "v", "d", "{body}{timestamp}"), signature.Milliseconds, defaultTolerance),
		source: "https://docs.retellai.com/features/secure-webhook", checked: "2026-11",
	},
	"sendgrid": {
		spec:   withAlgorithm(timed(bodySpec("X-Twilio-Email-Event-Webhook-Signature", "", signature.Base64), "X-Twilio-Email-Event-Webhook-Timestamp", "{timestamp}{body}"), signature.ECDSAP256, signature.SPKIKey),
		source: "https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features", checked: "2026-11",
	},
	"shopify": {
		spec:   shopify(),
		source: "https://shopify.dev/docs/apps/build/webhooks/verify-deliveries", checked: "2026-11",
	},
	"slack": {
		spec: timed(bodySpec("X-Slack-Signature", "v0=", signature.HexLower), "X-Slack-Request-Timestamp", "v0:{timestamp}:{body}"),
		ask:  askSlack, signed: signedSlack,
		source: "https://api.slack.com/authentication/verifying-requests-from-slack", checked: "2026-11",
	},
	"square": {
		spec:   withPayload(bodySpec("X-Square-Hmacsha256-Signature", "", signature.Base64), "{url}{body}"),
		unread: []string{"X-Square-Signature"},
		source: "https://developer.squareup.com/docs/webhooks/step3validate", checked: "2026-11",
	},
	"standard_webhooks": {
		spec:   standardWebhooks("Webhook"),
		source: "https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md", checked: "2026-11",
	},
	"stripe": {
		spec:   pairsSpec("Stripe-Signature", ",", "t", "v1", "{timestamp}.{body}"),
		source: "https://docs.stripe.com/webhooks/signature", checked: "2026-11",
	},
	"telnyx": {
		spec:   withAlgorithm(timed(bodySpec("Telnyx-Signature-Ed25519", "", signature.Base64), "Telnyx-Timestamp", "{timestamp}|{body}"), signature.Ed25519, signature.Base64Key),
		source: "https://developers.telnyx.com/docs/development/sdk/python/webhooks", checked: "2026-11",
	},
	"twilio": {
		spec:   withAlgorithm(withPayload(bodySpec("X-Twilio-Signature", "", signature.Base64), "{url}{form_sorted}"), signature.HMACSHA1, signature.TextKey),
		spell:  twilioSpellings,
		source: "https://www.twilio.com/docs/usage/security", checked: "2026-11",
	},
	"twitch": {
		spec:   twitch(),
		signed: signedTwitch,
		source: "https://dev.twitch.tv/docs/eventsub/handling-webhook-events", checked: "2026-11",
	},
	"vercel": {
		spec:   withAlgorithm(bodySpec("X-Vercel-Signature", "", signature.HexLower), signature.HMACSHA1, signature.TextKey),
		source: "https://vercel.com/docs/webhooks/webhooks-api", checked: "2026-11",
	},
	"webex": {
		spec:   withAlgorithm(bodySpec("X-Spark-Signature", "", signature.HexLower), signature.HMACSHA1, signature.TextKey),
		source: "https://developer.webex.com/blog/using-a-webhook-secret", checked: "2026-11",
	},
	"whereby": {
		spec:   pairsSpec("Whereby-Signature", ",", "t", "v1", "{timestamp}.{body}"),
		source: "https://docs.whereby.com/reference/webhooks", checked: "2026-11",
	},
	"workos": {
		spec:   within(pairsSpec("WorkOS-Signature", ",", "t", "v1", "{timestamp}.{body}"), signature.Milliseconds, 3*time.Minute),
		source: "https://workos.com/docs/events/data-syncing/webhooks", checked: "2026-11",
	},
	"x": {
		spec: bodySpec("X-Twitter-Webhooks-Signature", "sha256=", signature.Base64),
		ask:  askX, signsTokens: true,
		source: "https://docs.x.com/x-api/webhooks/quickstart", checked: "2026-11",
	},
	"zoom": {
		spec:   timed(bodySpec("X-Zm-Signature", "v0=", signature.HexLower), "X-Zm-Request-Timestamp", "v0:{timestamp}:{body}"),
		signed: signedZoom,
		source: "https://developers.zoom.us/docs/api/webhooks", checked: "2026-11",
	},
}

// base64Pairs is 8x8's list of pairs, whose signatures are in base64.
func base64Pairs(header, timestamp, name string) signature.Spec {
	spec := pairsSpec(header, ",", timestamp, name, "{timestamp}.{body}")
	spec.Encoding = signature.Base64
	return spec
}

// plivo signs a nonce in place of a time, and each message twice: the second is by the token of the main account.
func plivo(header, payload string, bodyUnsigned bool) signature.Spec {
	return signature.Spec{
		Header: header, Also: strings.Replace(header, "Signature", "Signature-Ma", 1),
		Grammar: signature.Grammar{Separator: ",", List: true}, Encoding: signature.Base64,
		Algorithm: signature.HMACSHA256, Key: signature.TextKey,
		Payload: payload, ID: header + "-Nonce", BodyUnsigned: bodyUnsigned,
	}
}

// shopify signs webhooks under the older name and Events under the newer one.
func shopify() signature.Spec {
	spec := bodySpec("X-Shopify-Hmac-Sha256", "", signature.Base64)
	spec.Also = "Shopify-Hmac-Sha256"
	return spec
}

// twitch signs id and time without anything between them.
func twitch() signature.Spec {
	spec := bodySpec("Twitch-Eventsub-Message-Signature", "sha256=", signature.HexLower)
	spec.Payload = "{id}{timestamp}{body}"
	spec.ID = "Twitch-Eventsub-Message-Id"
	spec.Time = signature.Time{Header: "Twitch-Eventsub-Message-Timestamp", Unit: signature.RFC3339}
	spec.Tolerance = 10 * time.Minute
	return spec
}
