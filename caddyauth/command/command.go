// Package command has `caddy caddyauth`: it signs callbacks as their senders do, makes stream tokens, and explains what
// would be decided about a recorded request.
package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "caddyauth",
		Usage: "<command>",
		Short: "Signs callbacks, makes stream tokens, and explains decisions",
		Long: `
Tools for the handlers callback_auth and stream_auth.

'sign' makes a callback as its sender would, and prints it as a curl command or
sends it. 'token' makes a token for a stream. 'explain' says what would be decided
about a recorded request, and why.

Secrets are read from a file, from an environment variable or from standard
input, so that they need not stand in the history of a shell.
`,
		CobraFunc: addCommands,
	})
}

// addCommands puts the commands under `caddy caddyauth`, which by itself shows the help. Without a function of its own a
// misspelt command would do so too, and end as if all were well.
func addCommands(parent *cobra.Command) {
	parent.AddCommand(signCommand(), tokenCommand(), explainCommand())
	parent.Args = cobra.NoArgs
	parent.SilenceUsage = true
	parent.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// secretFlags are the ways to give a secret.
type secretFlags struct{ value, file, env string }

// add offers the flags.
func (s *secretFlags) add(cmd *cobra.Command, what string) {
	cmd.Flags().StringVar(&s.file, "secret-file", "", "File with the "+what+"; one newline at its end is dropped")
	cmd.Flags().StringVar(&s.env, "secret-env", "", "Name of the environment variable with the "+what)
	cmd.Flags().StringVar(&s.value, "secret", "", "The "+what+" itself. It shows in the list of processes: for demo secrets")
}

// read gives the secret: from the flag that names a place, else from standard input, without echo on a terminal.
func (s *secretFlags) read(cmd *cobra.Command, what string) (string, error) {
	given := 0
	for _, name := range []string{"secret", "secret-file", "secret-env"} {
		if cmd.Flags().Changed(name) {
			given++
		}
	}
	if given > 1 {
		return "", errors.New("give the secret in one way: --secret-file, --secret-env, --secret, or standard input")
	}
	var secret string
	switch changed := cmd.Flags().Changed; {
	case changed("secret-file"):
		data, err := os.ReadFile(s.file)
		if err != nil {
			return "", fmt.Errorf("--secret-file: %w", err)
		}
		secret = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	case changed("secret-env"):
		secret = os.Getenv(s.env)
		if secret == "" {
			return "", fmt.Errorf("--secret-env: %s is not set", s.env)
		}
	case changed("secret"):
		secret = s.value
	default:
		var err error
		if secret, err = prompt(cmd, what); err != nil {
			return "", err
		}
	}
	if secret == "" {
		return "", fmt.Errorf("the %s is empty", what)
	}
	return secret, nil
}

// prompt reads one line from standard input.
func prompt(cmd *cobra.Command, what string) (string, error) {
	if file, ok := cmd.InOrStdin().(*os.File); ok && term.IsTerminal(int(file.Fd())) { //nolint:gosec // a file descriptor fits
		_, _ = fmt.Fprintf(cmd.ErrOrStderr(), "The %s: ", what)
		line, err := term.ReadPassword(int(file.Fd())) //nolint:gosec // as above
		_, _ = fmt.Fprintln(cmd.ErrOrStderr())
		return string(line), err
	}
	line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 1<<20)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
}
