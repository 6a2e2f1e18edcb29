package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// deliver sends r and prints the answer.
func (s *signing) deliver(cmd *cobra.Command, r *http.Request, body []byte, to *url.URL) error {
	// It may be signed for one address and go to another: a proxy in between, or a test.
	r.Host = r.URL.Host
	r.URL.Scheme, r.URL.Host = to.Scheme, to.Host
	if len(body) > 0 {
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	client := http.Client{
		Timeout:       sendLimit,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answer, err := client.Do(r)
	if err != nil {
		if failure, ok := errors.AsType[*url.Error](err); ok { // its text would hold the URL, and a key in it
			err = failure.Err
		}
		return fmt.Errorf("sending: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	out := cmd.OutOrStdout()
	_, _ = fmt.Fprintln(out, answer.Status)
	for _, name := range []string{"WWW-Authenticate", "Retry-After"} {
		if value := answer.Header.Get(name); value != "" {
			_, _ = fmt.Fprintf(out, "%s: %s\n", name, value)
		}
	}
	if len(text) > 0 {
		_, _ = fmt.Fprintf(out, "\n%s\n", bytes.TrimRight(text, "\n"))
	}
	if unhandled(answer, text) {
		note(cmd, "this may be Caddy's own answer, an empty 200, which it gives where no route or no receiver is there for a request. Look at the URL's host and path, and at what is behind the gate.")
	}
	return nil
}

// unhandled reports whether an answer is like Caddy's where no handler answers. reverse_proxy takes Server away; those of
// stream_auth are not to be stored.
func unhandled(answer *http.Response, text []byte) bool {
	h := answer.Header
	return answer.StatusCode == http.StatusOK && len(text) == 0 && h.Get("Server") == "Caddy" && h.Get("Via") == "" && h.Get("Cache-Control") != "no-store"
}

// curl writes r as a curl command for a POSIX shell. curl is kept from what it would do by itself: send several requests
// for brackets in a URL, take dots out of a path, and send a file for a body that begins with an @.
func curl(r *http.Request, body []byte) string {
	var line strings.Builder
	line.WriteString("curl -i")
	address := r.URL.String()
	if strings.ContainsAny(address, "[]{}") {
		line.WriteString(" -g")
	}
	if strings.Contains(address, "/.") {
		line.WriteString(" --path-as-is")
	}
	if method := r.Method; method != http.MethodPost || len(body) == 0 {
		line.WriteString(" -X " + method)
	}
	line.WriteString(" " + quote(address))
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			line.WriteString(" \\\n  -H " + quote(name+": "+value))
		}
	}
	if len(body) > 0 {
		line.WriteString(" \\\n  --data-raw " + quote(string(body)))
	}
	return line.String() + "\n"
}

// quote makes one word of text for a POSIX shell.
func quote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
