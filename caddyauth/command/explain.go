package command

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/internal/endpoint"
	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// explaining is one call of `caddy caddyauth explain`.
type explaining struct {
	config, at, clientIP string
	https                bool
}

func explainCommand() *cobra.Command {
	e := new(explaining)
	cmd := &cobra.Command{
		Use:   "explain --config <Caddyfile> < request.http",
		Short: "Says what would be decided about a recorded request, and why",
		Long: `
Reads an HTTP request, as it stands on the wire, from standard input, runs it
through the configuration, and says step by step what callback_auth and
stream_auth would decide about it, and what they would answer.

It works offline. The receiver is not called: where a request would be passed
on, that is said. Keys that others publish, introspection and Redis are not
asked: what depends on them is undecided, and replay memory is empty.

A body without a Content-Length is all that follows the empty line. Give the
time of the recording with --at, or everything in it is too old.
`,
		Example:      `  caddy caddyauth explain --config Caddyfile --at 2026-11-22T10:00:00Z < request.http`,
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(cmd *cobra.Command, _ []string) error { return e.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVarP(&e.config, "config", "c", "Caddyfile", "Configuration: a Caddyfile or JSON")
	flags.StringVar(&e.at, "at", "", "Time of the request (RFC 3339); default: now")
	flags.StringVar(&e.clientIP, "client-ip", "192.0.2.1", "Address that the request came from")
	flags.BoolVar(&e.https, "https", false, "The request came over TLS")
	return cmd
}

func (e *explaining) run(cmd *cobra.Command) error {
	r, err := e.request(cmd.InOrStdin())
	if err != nil {
		return err
	}
	endpoint.GoOffline()
	app.Decisions().KeepWhole()
	servers, err := e.servers(r.Host)
	if err != nil {
		return err
	}
	data, cut := io.ReadAll(r.Body)
	ctx, asked := r.Context(), ""
	for _, server := range servers {
		before := app.Decisions().Latest(1, 0)
		var last uint64
		if len(before) > 0 {
			last = before[0].ID
		}
		one := r.Clone(ctx) // a server may rewrite it
		one.Body = io.NopCloser(recorded{bytes.NewReader(data), cut})
		answer := httptest.NewRecorder()
		server.ServeHTTP(answer, one)
		if decisions := app.Decisions().Latest(100, last); len(decisions) > 0 {
			slices.Reverse(decisions)
			return explain(cmd.OutOrStdout(), r, size(r, data, cut), decisions, answer)
		}
		if to, ok := strings.CutPrefix(answer.Body.String(), passedOn); ok && asked == "" {
			asked = ": it would go to " + to
		}
	}
	return fmt.Errorf("no callback_auth or stream_auth of this configuration is asked about such a request%s. Look at the host and the path", asked)
}

// recorded is a body of which no more is there than this.
type recorded struct {
	data *bytes.Reader
	cut  error // how it ends, if not as its header says
}

// Read gives the next bytes, and then fails as the connection would have.
func (b recorded) Read(p []byte) (int, error) {
	n, err := b.data.Read(p)
	if err != nil && b.cut != nil {
		err = b.cut
	}
	return n, err
}

// size says how large a recorded body is, and whether that is all of it.
func size(r *http.Request, data []byte, cut error) string {
	text := fmt.Sprintf("a body of %d bytes", len(data))
	switch {
	case cut == nil:
		return text
	case r.ContentLength >= 0:
		return fmt.Sprintf("%s, cut off: the header announces %d", text, r.ContentLength)
	default:
		return text + ", cut off: it is not in chunks to its end, as Transfer-Encoding says"
	}
}

// unreadable says why a recording is not an HTTP request. The errors of net/http would show its lines, and a secret in them.
func unreadable(err error) error {
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("standard input is not an HTTP request: it is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("standard input is not an HTTP request: no empty line ends its header")
	case strings.HasPrefix(err.Error(), "malformed MIME header"):
		return errors.New("standard input is not an HTTP request: a line of its header has no colon, or no name before it")
	default:
		return errors.New("standard input is not an HTTP request: it does not begin with a line such as `POST /hook HTTP/1.1`, or a header of it is wrong")
	}
}

// withMinor gives the first line of a request with the version that net/http reads: it knows HTTP/2 and HTTP/3 only with
// the .0 that curl, browsers and proxies leave out.
func withMinor(line string) string {
	text := strings.TrimRight(line, "\r\n")
	if !strings.HasSuffix(text, " HTTP/2") && !strings.HasSuffix(text, " HTTP/3") {
		return line
	}
	return text + ".0" + line[len(text):]
}

// request reads the recorded request.
func (e *explaining) request(from io.Reader) (*http.Request, error) {
	reader := bufio.NewReader(io.LimitReader(from, maxBody))
	first, err := reader.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	reader = bufio.NewReader(io.MultiReader(strings.NewReader(withMinor(first)), reader))
	r, err := http.ReadRequest(reader)
	if err != nil {
		return nil, unreadable(err)
	}
	if r.Header.Get("Content-Length") == "" && len(r.TransferEncoding) == 0 {
		rest, err := io.ReadAll(reader)
		if err != nil {
			return nil, fmt.Errorf("reading the body: %w", err)
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(rest)), int64(len(rest))
	}
	ip, err := netip.ParseAddr(e.clientIP)
	if err != nil {
		return nil, fmt.Errorf("--client-ip: %q is not an address", e.clientIP)
	}
	r.RemoteAddr = netip.AddrPortFrom(ip, 40000).String()
	if e.https {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true, ServerName: r.Host}
	}
	if e.at != "" {
		at, err := time.Parse(time.RFC3339, e.at)
		if err != nil {
			return nil, fmt.Errorf("--at: %q is not a time such as 2026-11-22T10:00:00Z", e.at)
		}
		r = r.WithContext(clock.At(r.Context(), at))
	}
	return r, nil
}

// servers provisions the configuration, without its receivers and without anything that calls out, and gives its HTTP
// servers; first those that listen on the port of host.
func (e *explaining) servers(host string) ([]*caddyhttp.Server, error) {
	text, err := os.ReadFile(e.config)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	if !strings.HasSuffix(e.config, ".json") && !json.Valid(text) {
		adapter := caddyconfig.GetAdapter("caddyfile")
		if adapter == nil {
			return nil, errors.New("this Caddy has no Caddyfile adapter")
		}
		if text, _, err = adapter.Adapt(text, map[string]any{"filename": e.config}); err != nil {
			return nil, err
		}
	}
	config, err := alone(text)
	if err != nil {
		return nil, err
	}
	ctx, err := caddy.ProvisionContext(config)
	if err != nil {
		return nil, err
	}
	module, err := ctx.App("http")
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(host, ":")
	all := module.(*caddyhttp.App).Servers
	var first, others []*caddyhttp.Server
	for _, name := range slices.Sorted(maps.Keys(all)) {
		server := all[name]
		if port != "" && slices.ContainsFunc(server.Listen, func(address string) bool { return strings.HasSuffix(address, ":"+port) }) {
			first = append(first, server)
		} else {
			others = append(others, server)
		}
	}
	return append(first, others...), nil
}

// passive are the handlers that answer nothing from elsewhere. Any other is replaced by a note that it would be asked.
var passive = []string{
	"callback_auth", "stream_auth", "subroute", "rewrite", "vars", "map", "headers", "request_body", "static_response",
	"error", "invoke", "log_append",
}

// transparent are the handlers that call out, or change what others answer, and pass every request on.
var transparent = []string{"tracing", "encode", "templates", "intercept", "push"}

// alone reduces a configuration to what can be decided within this process.
func alone(text []byte) (*caddy.Config, error) {
	var full struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(text, &full); err != nil {
		return nil, fmt.Errorf("the configuration is not JSON: %w", err)
	}
	var web any
	if err := json.Unmarshal(full.Apps["http"], &web); err != nil {
		return nil, errors.New("the configuration has no HTTP server")
	}
	stub(web)
	app, _ := web.(map[string]any)
	servers, _ := app["servers"].(map[string]any)
	for _, server := range servers {
		if server, ok := server.(map[string]any); ok {
			delete(server, "logs") // they name loggers, which are not there
		}
	}
	encoded, err := json.Marshal(web)
	if err != nil {
		return nil, err
	}
	no := false
	return &caddy.Config{
		Admin: &caddy.AdminConfig{Disabled: true, Config: &caddy.ConfigSettings{Persist: &no}},
		Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {BaseLog: caddy.BaseLog{
			WriterRaw: json.RawMessage(`{"output":"discard"}`),
		}}}},
		AppsRaw: caddy.ModuleMap{"http": encoded}, // without the app caddyauth: its store may be a Redis
	}, nil
}

// stub replaces every handler that is not passive, wherever it stands. What our own handlers are told stays as it is.
func stub(value any) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			stub(item)
		}
	case map[string]any:
		name, isHandler := value["handler"].(string)
		switch {
		case name == "callback_auth" || name == "stream_auth":
			return
		case slices.Contains(transparent, name):
			clear(value)
			value["handler"] = "vars"
			return
		case isHandler && !slices.Contains(passive, name):
			clear(value)
			value["handler"], value["status_code"], value["body"] = "static_response", http.StatusOK, passedOn+name
			return
		}
		for _, item := range value {
			stub(item)
		}
	}
}

const passedOn = "passed on to "

// explain writes what was decided, and the answer.
func explain(out io.Writer, r *http.Request, size string, decisions []*app.Decision, answer *httptest.ResponseRecorder) error {
	var text strings.Builder
	fmt.Fprintf(&text, "request  %s %s, %s\n", r.Method, r.URL.Path, size)
	for _, d := range decisions {
		fmt.Fprintf(&text, "\n%s_auth  %s\n", d.Handler, d.Scheme)
		if d.Stream != "" {
			fmt.Fprintf(&text, "  decoded: %s of %s, client %s\n", orNone(d.Mode), d.Stream, orNone(d.ClientIP))
		}
		for _, step := range d.Steps {
			fmt.Fprintf(&text, "  %s: %s", step.Name, step.Outcome)
			if step.Key != "" {
				fmt.Fprintf(&text, ", key %s", step.Key)
			}
			if step.Detail != "" {
				fmt.Fprintf(&text, " (%s)", step.Detail)
			}
			text.WriteByte('\n')
		}
		verb := d.Decision
		if d.Rule != "" {
			verb += " by " + d.Rule
		}
		fmt.Fprintf(&text, "  => %s: %s. %s\n", verb, d.Reason, d.Words)
		if d.Detail != "" && len(d.Steps) == 0 {
			fmt.Fprintf(&text, "     %s\n", d.Detail)
		}
		if d.ReportOnly && !d.Allowed {
			text.WriteString("     report_only: it is let through all the same\n")
		}
		if d.Hint != "" {
			fmt.Fprintf(&text, "     %s\n", d.Hint)
		}
	}
	text.WriteString("\nanswer")
	if to, ok := strings.CutPrefix(answer.Body.String(), passedOn); ok {
		fmt.Fprintf(&text, "  that of %s, which would get the request\n", to)
	} else {
		fmt.Fprintf(&text, "\n%s %d %s\n", r.Proto, answer.Code, http.StatusText(answer.Code))
		header := answer.Header()
		header.Del("Server")
		for _, name := range slices.Sorted(maps.Keys(header)) {
			for _, value := range header[name] {
				fmt.Fprintf(&text, "%s: %s\n", name, value)
			}
		}
		fmt.Fprintf(&text, "\n%s", answer.Body)
		if answer.Body.Len() > 0 {
			text.WriteByte('\n')
		}
	}
	_, err := io.WriteString(out, text.String())
	return err
}

func orNone(text string) string {
	if text == "" {
		return "unknown"
	}
	return text
}
