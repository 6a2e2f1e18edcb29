package app

import (
	"fmt"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// Meaning says what a reason means to somebody who has never read a specification.
type Meaning struct {
	// Words is the reason in plain words.
	Words string

	// Hint is what to look at; empty where all is well.
	Hint string
}

// meanings is the one place where a reason becomes words. The README has the same table.
var meanings = map[verdict.Reason]Meaning{
	verdict.OK: {"Accepted.", ""},
	verdict.Missing: {
		"It came without a credential.",
		"Signing may be switched off at the sender, or a proxy in between drops the header. If it is not from your sender, there is nothing to do.",
	},
	verdict.Malformed: {
		"The request itself does not parse, or carries two credentials where one is allowed.",
		"Look for a proxy that joins or repeats headers, changes the query or cuts the body. For a hook: that the URL leads to the dialect of that media server.",
	},
	verdict.BadCredential: {
		"There is a credential, but not of the form that this scheme reads.",
		"The sender may use another scheme: compare its documentation with the scheme in the config, and where the credential rides (header, prefix, parameter).",
	},
	verdict.BadSignature: {
		"The signature, key or password does not fit any secret of this scheme.",
		"Compare the secret with the sender's dashboard: the one of this account or callback, without a space, quote or newline around it, and with the right secret_encoding. While rotating, list both. For senders that sign the URL, set public_url.",
	},
	verdict.BadClaim: {
		"It is signed, but says something other than the config asks for: issuer, audience, account or stream.",
		"The detail names the claim. Compare the config with what the sender issues; a token for a test application looks like this in production.",
	},
	verdict.UnknownKey: {
		"It names a key or an account that is not configured.",
		"Check the account list or the issuer in the config. After a key change at the issuer, this ends by itself within 30 seconds.",
	},
	verdict.BodyMismatch: {
		"The body is not the one that was signed.",
		"Something between the sender and Caddy changes bodies: a proxy that decompresses, re-encodes JSON or appends a line; for a GET, one that changes the query. If nothing does, the request is forged.",
	},
	verdict.Expired: {
		"It is too old, or its token has run out.",
		"Check this machine's clock (NTP). A sender that queues its events may need a longer max_age or tolerance; viewers need a new token.",
	},
	verdict.NotYetValid: {
		"It comes from the future.",
		"Check this machine's clock (NTP), then the sender's.",
	},
	verdict.Denied: {
		"The sender is known, but is not allowed: by address, scope, subscription or rule.",
		"For an address: client_ip is what Caddy saw; behind a proxy, set trusted_proxies and trusted_proxies_strict. For a stream: see the rule that is named; fallback means that none allows it.",
	},
	verdict.Replayed: {
		"This message was here before, and has been delivered.",
		"A sender that repeats what was already answered can be told so: on_duplicate acknowledge. Otherwise somebody sends a recorded request again.",
	},
	verdict.TooLarge: {
		"The body is larger than max_body.",
		"Raise max_body if the sender really sends that much.",
	},
	verdict.Unavailable: {
		"It could not be decided, so it was not let through. The sender is asked to try again.",
		"Look at stores and key sets: the store, the issuer's keys or its introspection was out of reach, or memory is full. Early data and faults of ours look like this too; the log says more.",
	},
}

// Explain returns what a reason means. One that is not in the table could not be decided.
func Explain(reason verdict.Reason) Meaning { return meanings[closed(reason)] }

// plural says how many there are of a thing.
func plural(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}
