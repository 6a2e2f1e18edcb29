package schemes

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/signature"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/golang-jwt/jwt/v5"
)

// Signing is what a sender signs with.
type Signing struct {
	Secret     string // as the sender shows it, and as `secret` takes it
	PrivateKey string // PKCS #8 in PEM; or an Ed25519 seed in the form of the sender's public keys, `whsk_…` for Standard Webhooks
	Account    string // the API key, for the senders that have accounts
	ID         string // of the message, for the senders that sign one; unique
	Now        time.Time
}

// Facts are what a user has to know of a named sender.
type Facts struct {
	Name      string
	Source    string        // where its signature is described
	Window    time.Duration // how far its signed time may be from now; 0: it signs none
	ID        bool          // it signs an id of the message
	URL       bool          // it signs the public URL
	PublicKey bool          // it signs with a private key
	Account   bool          // it names the key that it signed with
	Challenge bool          // it has a challenge to answer
}

// Senders returns the facts about every named sender that Sign can play, sorted by name.
func Senders() []Facts {
	list := make([]Facts, 0, 4+len(senders))
	list = append(list,
		Facts{Name: "gitlab", Source: "https://docs.gitlab.com/user/project/integrations/webhooks/"},
		Facts{Name: "livekit", Source: "https://docs.livekit.io/server/webhooks/", Window: liveKitLifetime, Account: true},
		Facts{Name: "messagebird", Source: "https://developers.messagebird.com/api/", Window: messageBirdWindow, ID: true, URL: true},
		Facts{Name: "sinch", Source: "https://developers.sinch.com/docs/voice/api-reference/authentication/callback-signed-request", Window: defaultTolerance, Account: true},
	)
	for name, row := range senders {
		list = append(list, Facts{
			Name: name, Source: row.source,
			Window:    max(row.spec.Tolerance, row.clock.tolerance),
			ID:        row.spec.ID != "",
			URL:       strings.Contains(row.spec.Payload, "{url"),
			PublicKey: row.spec.Algorithm.Public(),
			Challenge: row.ask != nil || row.signed != nil,
		})
	}
	slices.SortFunc(list, func(a, b Facts) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Sign makes of r, whose body is given apart, what a sender with this configuration would send. It is not provisioned:
// its own secrets are not looked at. The URL of r is absolute, and the public one.
func (h *HMAC) Sign(r *http.Request, body []byte, by Signing) error {
	spec, err := h.spec()
	if err != nil {
		return err
	}
	return signAs(spec, r, body, by)
}

// Sign makes of r, whose body is given apart, what the named sender would send: it sets headers, and for Twilio a query
// parameter. The URL of r is absolute, and the public one. A Content-Type, where the sender signs it, is set before.
func Sign(sender string, r *http.Request, body []byte, by Signing) error {
	switch sender {
	case "gitlab":
		r.Header.Set(gitLabToken, by.Secret)
		return nil
	case "livekit":
		return signLiveKit(r, body, by)
	case "messagebird":
		return signMessageBird(r, body, by)
	case "sinch":
		return signSinch(r, body, by)
	}
	row, ok := senders[sender]
	if !ok {
		return fmt.Errorf("there is no sender %s", sender)
	}
	spec := row.spec
	switch {
	case sender == "standard_webhooks" && by.PrivateKey != "":
		spec = standardWebhooksKey("Webhook")
	case sender == "twilio" && len(body) > 0 && !isForm(r):
		spec = twilioURL()
		query := r.URL.Query()
		sum := sha256.Sum256(body)
		query.Set(twilioBody, hex.EncodeToString(sum[:]))
		r.URL.RawQuery = query.Encode()
	}
	return signAs(spec, r, body, by)
}

// BodyTime says what is wrong with the time that a named sender puts into the body that it signs, by its own tolerance, and
// what it would be now. It is nil where there is nothing to say, as for senders who put none there: Sign changes no body.
func BodyTime(sender string, body []byte, now time.Time) error {
	clock := senders[sender].clock
	if err := clock.check(body, now); err != nil {
		return fmt.Errorf("the body's %s: %s. Now it would be %s", clock.path, verdict.Of(err).Detail, clock.unit.Format(now))
	}
	return nil
}

func isForm(r *http.Request) bool {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && media == "application/x-www-form-urlencoded"
}

func signAs(spec signature.Spec, r *http.Request, body []byte, by Signing) error {
	scheme, err := signature.Compile(spec)
	if err != nil {
		return err
	}
	signer := signature.Signer{ID: by.ID, Now: by.Now}
	if spec.Algorithm.Public() {
		signer.Private, err = spec.DecodePrivate(by.PrivateKey)
	} else {
		signer.Secret, err = spec.DecodeKey(by.Secret)
	}
	if err != nil {
		return err
	}
	added, err := scheme.Sign(signature.Message{
		Method: r.Method, URLs: []string{publicURL(r)}, Path: r.URL.EscapedPath(), Header: r.Header,
	}, body, signer)
	if err != nil {
		return err
	}
	maps.Copy(r.Header, added)
	return nil
}

// publicURL is the URL of a request as its receiver will put it together again.
func publicURL(r *http.Request) string {
	return r.URL.Scheme + "://" + r.URL.Host + r.URL.RequestURI()
}

func signSinch(r *http.Request, body []byte, by Signing) error {
	if by.Account == "" {
		return errors.New("sinch signs with an application key: an account is missing")
	}
	if err := signAs(sinchSpec(), r, body, by); err != nil {
		return err
	}
	r.Header.Set("Authorization", "application "+by.Account+":"+strings.TrimSpace(r.Header.Get("Authorization")))
	return nil
}

func signLiveKit(r *http.Request, body []byte, by Signing) error {
	if by.Account == "" {
		return errors.New("livekit names the API key that it signs with: an account is missing")
	}
	sum := sha256.Sum256(body)
	token, err := signToken(by, jwt.MapClaims{
		"iss":    by.Account,
		"nbf":    by.Now.Unix(),
		"exp":    by.Now.Add(liveKitLifetime).Unix(),
		"sha256": base64.StdEncoding.EncodeToString(sum[:]),
	})
	if err == nil {
		r.Header.Set("Authorization", token)
	}
	return err
}

func signMessageBird(r *http.Request, body []byte, by Signing) error {
	address := sha256.Sum256([]byte(publicURL(r)))
	claims := jwt.MapClaims{
		"iss":      "MessageBird",
		"nbf":      by.Now.Unix(),
		"iat":      by.Now.Unix(),
		"exp":      by.Now.Add(time.Minute).Unix(),
		"jti":      by.ID,
		"url_hash": hex.EncodeToString(address[:]),
	}
	if len(body) > 0 {
		sum := sha256.Sum256(body)
		claims["payload_hash"] = hex.EncodeToString(sum[:])
	}
	token, err := signToken(by, claims)
	if err == nil {
		r.Header.Set(messageBirdHeader, token)
	}
	return err
}

func signToken(by Signing, claims jwt.MapClaims) (string, error) {
	if by.Secret == "" {
		return "", errors.New("no secret to sign with")
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(by.Secret))
}
