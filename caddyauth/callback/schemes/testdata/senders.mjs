// Signs and verifies with the senders' own packages. Run in the directory in which they are installed; reads from standard
// input a list of requests {sender, method, url, headers, body, secret, publicKey, account, id, now}, headers in lower case;
// writes a list of {verified, signed}: whether the sender's package takes the request for genuine, and the headers with
// which it would send the same (and the url, where that changes), or null where it only verifies.
import { readFileSync } from "node:fs";
import { createHash, createSecretKey } from "node:crypto";
import { createRequire } from "node:module";

const requests = JSON.parse(readFileSync(0, "utf8"));

// The clock stands at the time of the requests: some packages allow five seconds, and all of them take time to load.
const RealDate = Date;
globalThis.Date = class extends RealDate {
	constructor(...args) {
		args.length > 0 ? super(...args) : super(requests[0].now);
	}
	static now() {
		return requests[0].now;
	}
};

const require = createRequire(process.cwd() + "/package.json");
const load = async (name) => {
	const module = await import(name);
	return module.default && Object.keys(module).length === 1 ? module.default : module;
};
const throws = async (check) => {
	await check();
	return true;
};
const seconds = () => Math.floor(Date.now() / 1000);
const sha256 = (text, encoding) => createHash("sha256").update(text).digest(encoding);
const form = (r) => Object.fromEntries(new URLSearchParams(r.body));
const isForm = (r) => (r.headers["content-type"] ?? "").startsWith("application/x-www-form-urlencoded");

const senders = {
	adyen: {
		verify: async (r) => new (await load("@adyen/api-library")).hmacValidator().validateHMACSignature(r.secret, r.headers.hmacsignature, r.body),
		sign: async (r) => ({ hmacsignature: new (await load("@adyen/api-library")).hmacValidator().calculateHmac(r.body, r.secret) }),
	},
	discord: {
		verify: async (r) => (await load("discord-interactions")).verifyKey(r.body, r.headers["x-signature-ed25519"], r.headers["x-signature-timestamp"], r.publicKey),
	},
	elevenlabs: {
		verify: async (r) => {
			const { ElevenLabsClient } = await load("@elevenlabs/elevenlabs-js");
			return throws(() => new ElevenLabsClient({ apiKey: "x" }).webhooks.constructEvent(r.body, r.headers["elevenlabs-signature"], r.secret));
		},
	},
	getstream: {
		verify: async (r) => new (await load("@stream-io/node-sdk")).StreamClient("x", r.secret).verifyWebhook(r.body, r.headers["x-signature"]),
	},
	github: {
		verify: async (r) => (await load("@octokit/webhooks-methods")).verify(r.secret, r.body, r.headers["x-hub-signature-256"]),
		sign: async (r) => ({ "x-hub-signature-256": await (await load("@octokit/webhooks-methods")).sign(r.secret, r.body) }),
	},
	line: {
		verify: async (r) => (await load("@line/bot-sdk")).validateSignature(r.body, r.secret, r.headers["x-line-signature"]),
	},
	linear: {
		verify: async (r) => {
			const { LinearWebhookClient } = await load("@linear/sdk/webhooks");
			return new LinearWebhookClient(r.secret).verify(Buffer.from(r.body), r.headers["linear-signature"], JSON.parse(r.body).webhookTimestamp);
		},
	},
	livekit: {
		verify: async (r) => {
			const { WebhookReceiver } = await load("livekit-server-sdk");
			return throws(() => new WebhookReceiver(r.account, r.secret).receive(r.body, r.headers.authorization));
		},
		sign: async (r) => {
			const { AccessToken } = await load("livekit-server-sdk");
			const token = new AccessToken(r.account, r.secret, { ttl: 300 });
			token.sha256 = sha256(r.body, "base64");
			return { authorization: await token.toJwt() };
		},
	},
	messagebird: {
		verify: async (r) => {
			const { verify } = require("messagebird/lib/webhook-signature-jwt");
			return throws(() => verify(r.url, Buffer.from(r.body), r.headers["messagebird-signature-jwt"], createSecretKey(Buffer.from(r.secret))));
		},
		sign: async (r) => {
			const claims = { iss: "MessageBird", nbf: seconds(), exp: seconds() + 60, jti: r.id, url_hash: sha256(r.url, "hex"), payload_hash: sha256(r.body, "hex") };
			return { "messagebird-signature-jwt": require("jsonwebtoken").sign(claims, r.secret, { algorithm: "HS512" }) };
		},
	},
	mux: {
		verify: async (r) => {
			const Mux = (await load("@mux/mux-node")).default;
			const mux = new Mux({ tokenId: "x", tokenSecret: "x" });
			return throws(() => mux.webhooks.verifySignature(r.body, r.headers, r.secret));
		},
	},
	paddle: {
		verify: async (r) => {
			const { Paddle } = require("@paddle/paddle-node-sdk");
			return new Paddle("x").webhooks.isSignatureValid(r.body, r.secret, r.headers["paddle-signature"]);
		},
	},
	plivo: {
		verify: async (r) => require("plivo").validateV3Signature(r.method, r.url, r.headers["x-plivo-signature-v3-nonce"], r.secret, r.headers["x-plivo-signature-v3"], form(r)),
	},
	plivo_v2: {
		verify: async (r) => require("plivo").validateSignature(r.url, r.headers["x-plivo-signature-v2-nonce"], r.headers["x-plivo-signature-v2"], r.secret),
	},
	retell: {
		verify: async (r) => require("retell-sdk/lib/webhook_auth.js").verify(r.body, r.secret, r.headers["x-retell-signature"]),
		sign: async (r) => ({ "x-retell-signature": await require("retell-sdk/lib/webhook_auth.js").sign(r.body, r.secret) }),
	},
	sendgrid: {
		verify: async (r) => {
			const { EventWebhook } = require("@sendgrid/eventwebhook");
			const webhook = new EventWebhook();
			const name = "x-twilio-email-event-webhook-";
			return webhook.verifySignature(webhook.convertPublicKeyToECDSA(r.publicKey), r.body, r.headers[name + "signature"], r.headers[name + "timestamp"]);
		},
	},
	shopify: {
		verify: async (r) => {
			await load("@shopify/shopify-api/adapters/node");
			const { shopifyApi } = await load("@shopify/shopify-api");
			const shopify = shopifyApi({ apiKey: "x", apiSecretKey: r.secret, hostName: "hooks.example.com", apiVersion: "2026-01", isEmbeddedApp: false });
			const unsigned = { "x-shopify-topic": "orders/create", "x-shopify-api-version": "2026-01", "x-shopify-shop-domain": "a.myshopify.com", "x-shopify-webhook-id": "1" };
			return (await shopify.webhooks.validate({ rawBody: r.body, rawRequest: { method: r.method, url: "/cb", headers: { ...r.headers, ...unsigned } } })).valid;
		},
	},
	shopify_events: {
		verify: async (r) => {
			await load("@shopify/shopify-api/adapters/node");
			const { shopifyApi } = await load("@shopify/shopify-api");
			const shopify = shopifyApi({ apiKey: "x", apiSecretKey: r.secret, hostName: "hooks.example.com", apiVersion: "2026-01", isEmbeddedApp: false });
			const unsigned = { "shopify-topic": "orders/create", "shopify-api-version": "unstable", "shopify-shop-domain": "a.myshopify.com", "shopify-webhook-id": "1", "shopify-event-id": "2" };
			return (await shopify.webhooks.validate({ rawBody: r.body, rawRequest: { method: r.method, url: "/cb", headers: { ...r.headers, ...unsigned } } })).valid;
		},
	},
	slack: {
		verify: async (r) => {
			const { isValidSlackRequest } = require(process.cwd() + "/node_modules/@slack/bolt/dist/receivers/verify-request.js");
			return isValidSlackRequest({ signingSecret: r.secret, body: r.body, headers: r.headers });
		},
	},
	square: {
		verify: async (r) =>
			(await load("square")).WebhooksHelper.verifySignature({ requestBody: r.body, signatureHeader: r.headers["x-square-hmacsha256-signature"], signatureKey: r.secret, notificationUrl: r.url }),
	},
	standard_webhooks: {
		verify: async (r) => {
			const { Webhook } = require("standardwebhooks");
			return throws(() => new Webhook(r.secret).verify(r.body, r.headers));
		},
		sign: async (r) => {
			const { Webhook } = require("standardwebhooks");
			return { "webhook-id": r.id, "webhook-timestamp": String(seconds()), "webhook-signature": new Webhook(r.secret).sign(r.id, new Date(), r.body) };
		},
	},
	svix: {
		verify: async (r) => {
			const { Webhook } = require("svix");
			return throws(() => new Webhook(r.secret).verify(r.body, r.headers));
		},
		sign: async (r) => {
			const { Webhook } = require("svix");
			return { "svix-id": r.id, "svix-timestamp": String(seconds()), "svix-signature": new Webhook(r.secret).sign(r.id, new Date(), r.body) };
		},
	},
	stripe: {
		verify: async (r) => {
			const Stripe = require("stripe");
			return throws(() => new Stripe("sk_test_x").webhooks.constructEvent(r.body, r.headers["stripe-signature"], r.secret));
		},
		sign: async (r) => {
			const Stripe = require("stripe");
			return { "stripe-signature": new Stripe("sk_test_x").webhooks.generateTestHeaderString({ payload: r.body, secret: r.secret }) };
		},
	},
	telnyx: {
		verify: async (r) => {
			const Telnyx = (await load("telnyx")).default;
			const telnyx = new Telnyx({ apiKey: "x", publicKey: r.publicKey });
			return throws(() => telnyx.webhooks.unwrap(r.body, { headers: r.headers, key: r.publicKey }));
		},
	},
	twilio: {
		verify: async (r) => {
			const twilio = require("twilio");
			return isForm(r) ? twilio.validateRequest(r.secret, r.headers["x-twilio-signature"], r.url, form(r)) : twilio.validateRequestWithBody(r.secret, r.headers["x-twilio-signature"], r.url, r.body);
		},
		sign: async (r) => {
			const { getExpectedTwilioSignature, getExpectedBodyHash } = require("twilio/lib/webhooks/webhooks");
			const url = new URL(r.url);
			if (!isForm(r)) url.searchParams.set("bodySHA256", getExpectedBodyHash(r.body));
			return { url: url.toString(), "x-twilio-signature": getExpectedTwilioSignature(r.secret, url.toString(), isForm(r) ? form(r) : {}) };
		},
	},
	twitch: {
		verify: async (r) => {
			const { EventSubMiddleware } = await load("@twurple/eventsub-http");
			const name = "twitch-eventsub-message-";
			return EventSubMiddleware.prototype._verifyData.call({ _secret: r.secret }, r.headers[name + "id"], r.headers[name + "timestamp"], r.body, r.headers[name + "signature"]);
		},
	},
	workos: {
		verify: async (r) => {
			const { WorkOS } = await load("@workos-inc/node");
			return new WorkOS("sk_x", { clientId: "x" }).webhooks.verifyHeader({ payload: JSON.parse(r.body), sigHeader: r.headers["workos-signature"], secret: r.secret });
		},
		sign: async (r) => {
			const { WorkOS } = await load("@workos-inc/node");
			const now = Date.now();
			return { "workos-signature": `t=${now}, v1=${await new WorkOS("sk_x", { clientId: "x" }).webhooks.computeSignature(now, JSON.parse(r.body), r.secret)}` };
		},
	},
};

console.log = console.warn = console.error; // packages talk
const answers = [];
for (const request of requests) {
	const sender = senders[request.sender];
	const answer = { verified: false, signed: null, error: "" };
	try {
		answer.verified = (await sender.verify(request)) === true;
	} catch (error) {
		answer.error = String(error);
	}
	if (sender.sign) answer.signed = await sender.sign(request);
	answers.push(answer);
}
process.stdout.write(JSON.stringify(answers));
process.exit(0);
