package command

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback/schemes"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/spf13/cobra"
)

// The limits of a request to be signed, and of its answer.
const (
	maxBody   = 64 << 20 // bytes of --body
	maxAnswer = 1 << 20  // bytes of an answer that are shown
	sendLimit = 30 * time.Second
)

// signing is one call of `caddy caddyauth sign`.
type signing struct {
	secret                                 secretFlags
	url, send, method, body, contentType   string
	account, user, keyFile, id             string
	header, query, prefix, bodyHash        string
	algorithm, encoding, payload, idHeader string
	tsHeader, tsPair, tsUnit               string
	separator, pair, secretEncoding        string
	claims                                 []string
}

func signCommand() *cobra.Command {
	s := new(signing)
	cmd := &cobra.Command{
		Use:   "sign <scheme> [--body <file>] [--send <url>]",
		Short: "Makes a signed callback as that sender would",
		Long: `
Makes a genuine callback for a scheme of callback_auth, and prints it as a curl
command; with --send it is sent, and the answer printed. The schemes are vonage,
vonage_sms, jwt, basic, api_key, hmac, and the named senders:

` + wrap(senderNames(), 76) + `

Schemes whose keys belong to somebody else (azure_call_automation,
azure_event_grid, oauth2) cannot be signed for: their issuer does that.
`,
		Example: `  caddy caddyauth sign vonage --secret-env VONAGE_SIGNATURE_SECRET --body event.json --send http://127.0.0.1:8080/hooks/vonage
  caddy caddyauth sign stripe --secret-file stripe.secret --url https://example.com/hooks/stripe < /dev/null`,
		Args:         cobra.ExactArgs(1),
		SilenceUsage: true,
		RunE:         func(cmd *cobra.Command, args []string) error { return s.run(cmd, args[0]) },
	}
	s.secret.add(cmd, "secret, key or password")
	flags := cmd.Flags()
	flags.StringVar(&s.send, "send", "", "URL to send the request to; the answer is printed")
	flags.StringVar(&s.url, "url", "", "URL that is signed and printed; default: that of --send, else http://127.0.0.1:8080/hook")
	flags.StringVar(&s.method, "method", "", "Method; default: POST, or GET for vonage_sms without a body")
	flags.StringVar(&s.body, "body", "", "File with the body; '-' is standard input, and then the secret comes from elsewhere")
	flags.StringVar(&s.contentType, "content-type", "application/json", "Content-Type of the body")
	flags.StringVar(&s.account, "account", "", "API key or account")
	flags.StringVar(&s.user, "user", "", "User name")
	flags.StringVar(&s.keyFile, "private-key-file", "", "File with the private key, for senders that sign with one, and jwt")
	flags.StringVar(&s.id, "id", "", "Id of the message, where it is signed; default: a random one")
	flags.StringVar(&s.header, "header", "", "Header of the credential")
	flags.StringVar(&s.query, "query", "", "Query parameter of the credential")
	flags.StringVar(&s.prefix, "prefix", "", "Text before the signature, or auth-scheme before the token")
	flags.StringVar(&s.bodyHash, "body-hash", "", "Claim with the hash of the body, as name=hex or name=base64")
	flags.StringVar(&s.algorithm, "algorithm", "", "Algorithm, or method of vonage_sms")
	flags.StringVar(&s.encoding, "encoding", "", "Encoding of the signature")
	flags.StringVar(&s.payload, "payload", "", "Template of what is signed")
	flags.StringVar(&s.separator, "separator", "", "What parts signatures or pairs in the header")
	flags.StringVar(&s.pair, "signature-pair", "", "Name of the pair with the signature")
	flags.StringVar(&s.tsHeader, "timestamp-header", "", "Header of the timestamp")
	flags.StringVar(&s.tsPair, "timestamp-pair", "", "Name of the pair with the timestamp")
	flags.StringVar(&s.tsUnit, "timestamp-unit", "", "How the timestamp is written: s, ms or rfc3339; default: s")
	flags.StringVar(&s.idHeader, "id-header", "", "Header of the id")
	flags.StringVar(&s.secretEncoding, "secret-encoding", "", "How the secret is written")
	flags.StringArrayVar(&s.claims, "claim", nil, "Further claim, as name=value, where a value that is JSON is taken as that, over those of the scheme; it repeats")
	for name, of := range signFlags {
		flags.Lookup(name).Usage += " (" + strings.Join(of, ", ") + ")"
	}
	return cmd
}

// signFlags are the flags that only some schemes look at.
var signFlags = map[string][]string{
	"account": {"vonage", "livekit", "sinch"},
	"user":    {"basic"},
	"header":  {"vonage", "api_key", "jwt", "hmac"},
	"query":   {"api_key", "jwt"},
	"prefix":  {"hmac", "jwt"},
	"claim":   {"vonage", "jwt"},

	"algorithm":       {"jwt", "hmac", "vonage_sms"},
	"secret-encoding": {"vonage", "hmac"},
	"body-hash":       {"jwt"},

	"encoding":         {"hmac"},
	"payload":          {"hmac"},
	"separator":        {"hmac"},
	"signature-pair":   {"hmac"},
	"timestamp-header": {"hmac"},
	"timestamp-pair":   {"hmac"},
	"timestamp-unit":   {"hmac"},
	"id-header":        {"hmac"},
}

func senderNames() string {
	senders := schemes.Senders()
	names := make([]string, 0, len(senders))
	for _, facts := range senders {
		names = append(names, facts.Name)
	}
	return strings.Join(names, ", ")
}

// wrap breaks text at spaces, so that no line is longer than width.
func wrap(text string, width int) string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}

func (s *signing) run(cmd *cobra.Command, scheme string) error {
	sign, err := s.signer(scheme)
	if err != nil { // before anybody is asked for a secret
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(signFlags)) {
		if cmd.Flags().Changed(name) && !slices.Contains(signFlags[name], scheme) {
			note(cmd, scheme+" does not look at --"+name)
		}
	}
	address, to, err := s.addresses()
	if err != nil {
		return err
	}
	body, err := s.readBody(cmd)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(cmd.Context(), cmp.Or(s.method, http.MethodPost), address.String(), http.NoBody)
	if err != nil {
		return err
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", s.contentType)
	}
	by, err := s.with(cmd, scheme)
	if err != nil {
		return err
	}
	if err := schemes.BodyTime(scheme, body, by.Now); err != nil {
		note(cmd, "the gate will refuse this: "+err.Error())
	}
	if scheme == "vonage_sms" && r.Method == http.MethodPost && (len(body) > 0 || s.method != "") { // whose signature stands in the body
		body, err = s.signVonageSMSBody(r, body, by)
	} else {
		err = sign(r, body, by)
	}
	if err != nil {
		return err
	}
	if s.send == "" {
		if bytes.IndexByte(body, 0) >= 0 {
			return errors.New("the body has a NUL, which no command line can hold: give --send")
		}
		_, err := io.WriteString(cmd.OutOrStdout(), curl(r, body))
		return err
	}
	return s.deliver(cmd, r, body, to)
}

// addresses gives the URL that is signed, and the one to send to, if it is to be sent. Both may differ by scheme and host.
func (s *signing) addresses() (signed, to *url.URL, err error) {
	for _, text := range []string{cmp.Or(s.url, s.send, "http://127.0.0.1:8080/hook"), cmp.Or(s.send, s.url)} {
		address, err := url.Parse(text)
		if text != "" && (err != nil || address.Host == "" || (address.Scheme != "http" && address.Scheme != "https")) {
			return nil, nil, errors.New("--url and --send take an absolute http or https URL") // which may have a key in it
		}
		signed, to = cmp.Or(signed, address), address
	}
	if path := to.EscapedPath(); path != "" && path != "/" && path != signed.EscapedPath() || to.RawQuery != "" && to.RawQuery != signed.RawQuery {
		return nil, nil, errors.New("--send has another path or query than --url: it says which scheme and host to send to")
	}
	return signed, to, nil
}

// note says something beside what the command is asked for.
func note(cmd *cobra.Command, text string) {
	_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "Note: "+text)
}

func (s *signing) readBody(cmd *cobra.Command) ([]byte, error) {
	var from io.Reader
	switch s.body {
	case "":
		return nil, nil
	case "-":
		if s.secret == (secretFlags{}) && s.keyFile == "" {
			return nil, errors.New("--body - takes standard input: give the secret with --secret-file or --secret-env")
		}
		from = cmd.InOrStdin()
	default:
		file, err := os.Open(s.body)
		if err != nil {
			return nil, fmt.Errorf("--body: %w", err)
		}
		defer func() { _ = file.Close() }()
		from = file
	}
	body, err := io.ReadAll(io.LimitReader(from, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("--body: %w", err)
	}
	if len(body) > maxBody {
		return nil, fmt.Errorf("--body: more than %d bytes", maxBody)
	}
	return body, nil
}

// with gives what the flags say of who signs.
func (s *signing) with(cmd *cobra.Command, scheme string) (schemes.Signing, error) {
	by := schemes.Signing{Account: s.account, ID: cmp.Or(s.id, rand.Text()), Now: time.Now()}
	may, must := byPrivateKey(scheme)
	switch {
	case s.keyFile != "" && !may:
		return by, fmt.Errorf("%s does not sign with a private key: give a secret", scheme)
	case s.keyFile != "" && s.secret != (secretFlags{}):
		return by, errors.New("give --private-key-file or a secret, not both")
	case s.keyFile == "" && must:
		return by, fmt.Errorf("%s signs with a private key: give --private-key-file", scheme)
	case s.keyFile == "":
		var err error
		by.Secret, err = s.secret.read(cmd, "secret of "+scheme)
		return by, err
	}
	key, err := os.ReadFile(s.keyFile)
	if err != nil {
		return by, fmt.Errorf("--private-key-file: %w", err)
	}
	by.PrivateKey = strings.TrimSpace(string(key))
	return by, nil
}

// byPrivateKey reports whether a scheme may sign with a private key, and whether it must.
func byPrivateKey(scheme string) (may, must bool) {
	must = slices.ContainsFunc(schemes.Senders(), func(f schemes.Facts) bool { return f.Name == scheme && f.PublicKey })
	return must || slices.Contains([]string{"jwt", "hmac", "standard_webhooks"}, scheme), must
}

// signer gives what adds the credential of a scheme to a request.
func (s *signing) signer(scheme string) (func(r *http.Request, body []byte, by schemes.Signing) error, error) {
	switch scheme {
	case "vonage":
		return s.signVonage, nil
	case "vonage_sms":
		return s.signVonageSMS, nil
	case "jwt":
		return s.signJWT, nil
	case "basic":
		return s.signBasic, nil
	case "api_key":
		return s.signAPIKey, nil
	case "hmac":
		return s.signHMAC, nil
	case "azure_call_automation", "azure_event_grid", "oauth2":
		return nil, fmt.Errorf("the keys of %s are its issuer's: nobody else can sign for it", scheme)
	case "ip_range", "any":
		return nil, fmt.Errorf("%s has no signature", scheme)
	}
	if !slices.ContainsFunc(schemes.Senders(), func(f schemes.Facts) bool { return f.Name == scheme }) {
		return nil, fmt.Errorf("there is no scheme %s: sign --help lists them", scheme)
	}
	return func(r *http.Request, body []byte, by schemes.Signing) error {
		err := schemes.Sign(scheme, r, body, by)
		if err != nil && verdict.Of(err).Reason == verdict.BodyMismatch {
			return fmt.Errorf("%s does not send such a body: %s. See --content-type", scheme, verdict.Of(err).Detail)
		}
		return err
	}, nil
}
