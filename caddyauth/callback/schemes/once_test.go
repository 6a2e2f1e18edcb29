package schemes_test

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback/schemes"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// While a secret is rotated, senders sign with the old and the new one. Whoever saw such a message can take either
// signature away, and has another message that holds.
func TestAMessageSignedWithTwoSecretsPassesOnceWhicheverSignatureIsLeft(t *testing.T) {
	secret := func() string { return "whsec_" + base64.StdEncoding.EncodeToString([]byte(rand.Text())) }
	older, newer := schemes.Signing{Secret: secret()}, schemes.Signing{Secret: secret()}
	private := ed25519.NewKeyFromSeed([]byte(rand.Text() + rand.Text())[:ed25519.SeedSize])
	asymmetric := schemes.Signing{PrivateKey: "whsk_" + base64.StdEncoding.EncodeToString(private.Seed())}
	public := "whpk_" + base64.StdEncoding.EncodeToString(private.Public().(ed25519.PublicKey))

	for _, tc := range []struct {
		name, sender, callbackAuth, header string
		by                                 [2]schemes.Signing
		both                               func(one, other string) string
	}{
		{
			"an id and two secrets", "standard_webhooks",
			"callback_auth standard_webhooks {\nsecret " + older.Secret + "\nsecret " + newer.Secret + "\n}",
			"Webhook-Signature",
			[2]schemes.Signing{older, newer},
			func(one, other string) string { return one + " " + other },
		},
		{
			"an id, a secret and a public key", "standard_webhooks",
			"callback_auth standard_webhooks {\nsecret " + older.Secret + "\npublic_key " + public + "\n}",
			"Webhook-Signature",
			[2]schemes.Signing{older, asymmetric},
			func(one, other string) string { return one + " " + other },
		},
		{
			"no id and two secrets", "stripe",
			"callback_auth {\nstripe {\nsecret " + older.Secret + "\nsecret " + newer.Secret + "\n}\nreplay {\nwindow 10m\n}\n}",
			"Stripe-Signature",
			[2]schemes.Signing{older, newer},
			func(one, other string) string {
				_, pair, _ := strings.Cut(other, ",")
				return one + "," + pair
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bed := testbed.New(t, site(tc.callbackAuth))
			for _, order := range [][]int{{2, 0, 1}, {0, 1, 2}, {1, 0, 2}} {
				id, at := rand.Text(), time.Now()
				var headers [2]http.Header
				for i, by := range tc.by {
					by.ID, by.Now = id, at
					r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", nil)
					if err := schemes.Sign(tc.sender, r, []byte(id), by); err != nil {
						t.Fatal(err)
					}
					headers[i] = r.Header
				}
				one, other := headers[0].Get(tc.header), headers[1].Get(tc.header)
				want := http.StatusOK
				for _, i := range order {
					r := httptest.NewRequest(http.MethodPost, "http://example.com/hook", strings.NewReader(id))
					r.Header = headers[0].Clone()
					r.Header.Set(tc.header, []string{one, other, tc.both(one, other)}[i])
					expect(t, bed.Do(t, r), want)
					want = http.StatusConflict
				}
			}
		})
	}
}

// What is known to replay protection by its digest has no id of its own, and the receiver is told of none.
func TestTheIDOfAMessageIsItsSendersOrNone(t *testing.T) {
	bed := testbed.New(t, `
http:// {
	callback_auth {
		github {
			secret `+testbed.Secret+`
		}
		replay {
			window 1h
		}
	}
	respond "{http.callback_auth.scheme} {http.callback_auth.key} id={http.callback_auth.id}"
}`)
	const body = `{"zen":"Design for failure."}`
	mac := hmac.New(sha256.New, []byte(testbed.Secret))
	mac.Write([]byte(body))
	deliver := func() testbed.Result {
		r := httptest.NewRequest("POST", "https://hooks.example.com/cb", strings.NewReader(body))
		r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
		r.Header.Set("X-Github-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958") // which is not signed
		return bed.Do(t, r)
	}
	if got := deliver(); got.Status != 200 || got.Body != "github 1 id=" {
		t.Errorf("%d %q", got.Status, got.Body)
	}
	if got := deliver(); got.Status != 409 {
		t.Errorf("the same again: %d", got.Status)
	}
}

// Plivo's second version puts nothing between the URL and its nonce: a piece of the URL's end, before the nonce, holds as
// another nonce at a shorter URL. The message passes once all the same.
func TestAMessageOfPlivoPassesOnceWhereverItsNonceBegins(t *testing.T) {
	other := testbed.Secret + "-of-the-main-account"
	for _, test := range []struct{ signed, called, moved string }{
		{"/", "/", "/"},
		{"/hooks/plivo", "/hooks/", "plivo"},
	} {
		for _, more := range []string{"", "\nsecret " + other} {
			by := schemes.Signing{Secret: testbed.Secret, ID: rand.Text()}
			bed := testbed.New(t, site("callback_auth {\nplivo_v2 {\nsecret "+by.Secret+more+"\n}\nreplay {\nwindow 1h\n}\n}"))
			send := func(uri, nonce string, want int) {
				t.Helper()
				r := httptest.NewRequest(http.MethodGet, "http://example.com"+test.signed, nil)
				if err := schemes.Sign("plivo_v2", r, nil, by); err != nil {
					t.Fatal(err)
				}
				headers := r.Header
				r = httptest.NewRequest(http.MethodGet, "http://example.com"+uri, nil)
				r.Header = headers
				r.Header.Set("X-Plivo-Signature-V2-Nonce", nonce)
				expect(t, bed.Do(t, r), want)
			}
			send(test.signed, by.ID, http.StatusOK)
			send(test.signed, by.ID, http.StatusConflict)
			send(test.called, test.moved+by.ID, http.StatusConflict)
		}
	}
}
