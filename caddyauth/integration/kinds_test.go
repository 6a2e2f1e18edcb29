package integration

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/shorttoken"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// sc-cross-secret. The rules of each kind of token shut the other kinds out (RFC 8725 §3.12): where somebody uses one
// secret for all of them, against all advice, a token is still good at its own gate only.
func TestATokenOfOneKindIsGoodAtNoOtherGateEvenUnderOneSecret(t *testing.T) {
	const body, secret = `{"event":"x"}`, testbed.Secret
	bed := testbed.New(t, `http://example.com {
	handle /vonage {
		callback_auth {
			vonage {
				secret `+secret+`
			}
			replay off
		}
		reverse_proxy RECEIVER
	}
	handle /livekit {
		callback_auth livekit {
			account key `+secret+`
		}
		reverse_proxy RECEIVER
	}
	handle /messagebird {
		callback_auth {
			messagebird {
				secret `+secret+`
			}
			replay off
		}
		reverse_proxy RECEIVER
	}
	handle /jwt {
		callback_auth jwt {
			secret `+secret+`
			audience hooks
		}
		reverse_proxy RECEIVER
	}
	handle /stream {
		stream_auth icecast {
			token {
				jwt {
					secret `+secret+`
				}
			}
			allow {
				token valid
			}
		}
	}
	handle /short {
		stream_auth icecast {
			token {
				signed `+secret+`
			}
			allow {
				token valid
			}
		}
	}
}`)
	now := time.Now()
	hash := func(text string) []byte { sum := sha256.Sum256([]byte(text)); return sum[:] }
	signed := func(claims map[string]any) string { return testbed.HS256(t, secret, nil, claims) }
	in := func(d time.Duration) int64 { return now.Add(d).Unix() }
	short, err := shorttoken.Mint([]byte(secret), shorttoken.Token{Mode: "play", Expires: now.Add(time.Hour)}, "cam1")
	if err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{
		"vonage":  signed(testbed.VonageClaims(body, nil)),
		"livekit": signed(map[string]any{"iss": "key", "exp": in(time.Minute), "sha256": base64.StdEncoding.EncodeToString(hash(body))}),
		"messagebird": signed(map[string]any{
			"iss": "MessageBird", "jti": "1", "nbf": in(0), "exp": in(time.Minute), "payload_hash": hex.EncodeToString(hash(body)),
			"url_hash": hex.EncodeToString(hash("http://example.com/messagebird")),
		}),
		"jwt":    signed(map[string]any{"aud": "hooks", "exp": in(time.Minute)}),
		"stream": signed(map[string]any{"stream": "cam1", "exp": in(time.Minute)}),
		"short":  short,
		// What LiveKit gives to participants, signed with the secret that signs its webhooks.
		"a participant": signed(map[string]any{"iss": "key", "sub": "alice", "exp": in(time.Minute), "video": map[string]any{"room": "cam1", "roomJoin": true}}),
		// What an OpenID provider tells a client of its users.
		"an id token": signed(map[string]any{"iss": "Vonage", "sub": "alice", "aud": "app", "iat": in(0), "exp": in(time.Minute), "nonce": "x"}),
	}
	accepted := func(gate, token string) bool {
		r := httptest.NewRequest(http.MethodPost, "http://example.com/"+gate, strings.NewReader(body))
		switch gate {
		case "messagebird":
			r.Header.Set("MessageBird-Signature-JWT", token)
		case "livekit":
			r.Header.Set("Authorization", token)
		case "stream", "short":
			form := url.Values{
				"action": {"listener_add"}, "server": {"radio.example"}, "port": {"8000"}, "client": {"7"},
				"mount": {"/cam1?token=" + url.QueryEscape(token)}, "user": {""}, "pass": {""}, "ip": {"192.0.2.7"}, "agent": {"-"},
			}
			r = httptest.NewRequest(http.MethodPost, "http://example.com/"+gate, strings.NewReader(form.Encode()))
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			return bed.Do(t, r).Header.Get("Icecast-Auth-User") == "1"
		default:
			r.Header.Set("Authorization", "Bearer "+token)
		}
		return len(bed.Do(t, r).Received) == 1
	}
	for _, gate := range []string{"vonage", "livekit", "messagebird", "jwt", "stream", "short"} {
		for kind, token := range tokens {
			if got := accepted(gate, token); got != (gate == kind) {
				t.Errorf("the token of %s at the gate of %s: accepted is %t", kind, gate, got)
			}
		}
	}
}
