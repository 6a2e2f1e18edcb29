package command

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
)

// minting is one call of `caddy caddyauth token`.
type minting struct {
	secret                    secretFlags
	stream, mode, subject, ip string
	expires                   string
	claims                    []string
	short                     bool
}

func tokenCommand() *cobra.Command {
	m := new(minting)
	cmd := &cobra.Command{
		Use:   "token --stream <app/name> [--mode publish|play] [--expires <duration>] [--short]",
		Short: "Makes a token for a stream",
		Long: `
Makes a token that stream_auth accepts: a JWT signed with HS256, for token blocks
with 'jwt', or with --short the short token for those with 'signed', which fits
into the 255 bytes that some media servers leave for a stream's name and query.
`,
		Example: `  caddy caddyauth token --secret-env STREAM_TOKEN_SECRET --stream live/cam1 --mode publish --expires 2h
  caddy caddyauth token --short --secret-file stream.secret --stream live/cam1`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(cmd *cobra.Command, _ []string) error { return m.run(cmd, time.Now()) },
	}
	m.secret.add(cmd, "secret of the tokens")
	flags := cmd.Flags()
	flags.StringVar(&m.stream, "stream", "", "The stream: app/name, a name, or a pattern of those (no pattern with --short)")
	flags.StringVar(&m.mode, "mode", "play", "What the token is good for: publish or play")
	flags.StringVar(&m.expires, "expires", "1h", "How long it is good")
	flags.StringVar(&m.subject, "subject", "", "Who it is for")
	flags.StringVar(&m.ip, "ip", "", "The address that it is bound to (not with --short)")
	flags.StringArrayVar(&m.claims, "claim", nil, "Further claim, as name=value, where a value that is JSON is taken as that, over those of the other flags (not with --short); it repeats")
	flags.BoolVar(&m.short, "short", false, "Make the short token")
	return cmd
}

func (m *minting) run(cmd *cobra.Command, now time.Time) error {
	lifetime, err := caddy.ParseDuration(m.expires)
	switch {
	case err != nil || lifetime < time.Second:
		return fmt.Errorf("--expires: %q is not a duration of a second or more", m.expires)
	case m.stream == "":
		return errors.New("--stream is missing")
	case strings.HasPrefix(m.stream, "/"):
		return fmt.Errorf("--stream: %q begins with a slash, as no stream's name does", m.stream)
	case m.mode != "publish" && m.mode != "play":
		return fmt.Errorf("--mode is %q: it is publish or play", m.mode)
	}
	if _, err := netip.ParseAddr(m.ip); m.ip != "" && err != nil {
		return fmt.Errorf("--ip: %q is not an address", m.ip)
	}
	secret, err := m.secret.read(cmd, "secret of the tokens")
	if err != nil {
		return err
	}
	mint := m.jwt
	if m.short {
		mint = m.shortToken
	}
	token, err := mint(secret, now.Add(lifetime), now)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
	return err
}

func (m *minting) jwt(secret string, expires, now time.Time) (string, error) {
	more, err := parseClaims(m.claims)
	if err != nil {
		return "", err
	}
	claims := jwt.MapClaims{"iat": now.Unix(), "exp": expires.Unix()}
	for name, value := range map[string]string{"stream": m.stream, "mode": m.mode, "sub": m.subject, "ip": m.ip} {
		if value != "" {
			claims[name] = value
		}
	}
	maps.Copy(claims, more)
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(secret))
}
