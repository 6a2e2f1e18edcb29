// Package stream has the handler `stream_auth`, which answers the authorization hooks of media servers from a few
// readable rules, and says what a dialect, its guest, promises.
//
// A hook takes one way through it: the dialect decodes it into a Request, the rules come to a Decision, and the dialect
// encodes that as the server obeys it.
package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/internal/body"
	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/internal/earlydata"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// decideWithin bounds the time that a decision may wait for others, such as a queue for password hashes. Media servers ask
// one client at a time, and give up after 2 s to 15 s.
const decideWithin = 900 * time.Millisecond

// Handler answers a media server's authorization hook. It is the last handler of its route, but for rules that `forward`.
// Who may call the hook is not its business: that is for `callback_auth` before it.
//
// These placeholders are set on every request:
//
// Placeholder | Description
// ------------|------------
// `{http.stream_auth.decision}` | `allow`, `deny` or `forward`, whatever `report_only` makes of it; `notice` for what asks nothing
// `{http.stream_auth.rule}` | The name of the rule that decided, or `fallback`
// `{http.stream_auth.reason}` | Why, in one word of the README's status table
// `{http.stream_auth.stream}` | `app/name`, or the name alone
// `{http.stream_auth.mode}` | `publish` or `play`
// `{http.stream_auth.dialect}` | The name of the dialect
// `{http.auth.user.id}` | Who was allowed: the token's subject, else the user name
type Handler struct {
	// The media server's way of asking and of obeying.
	DialectRaw json.RawMessage `json:"dialect,omitempty" caddy:"namespace=http.stream_auth.dialects inline_key=dialect"`

	// How a client's credential is judged; the rules ask for them.
	Tokens []*Token `json:"tokens,omitempty"`

	// The rules. They are tried in order, and the first whose conditions all hold decides.
	Rules []*Rule `json:"rules,omitempty"`

	// What happens where no rule decides: `deny` or `allow`. Default: `deny`.
	Fallback string `json:"fallback,omitempty"`

	// Whether to allow everything: what would have been denied is logged and counted, and answered as allowed, without
	// effects. It is for the first days of a new hook.
	ReportOnly bool `json:"report_only,omitempty"`

	dialect Dialect
	name    string // of the dialect
	policy  *policy
	inline  bool // the request is the client's own
	metrics *app.Metrics
	logger  *zap.Logger
	hasBook bool // whether Cleanup has a book to close

	bodies     *body.Buffers
	bodyWithin time.Duration // a test waits for less
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.stream_auth",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision loads the dialect, and compiles tokens and rules for what its server can do.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.bodies, h.bodyWithin = new(body.Buffers), body.Within
	if h.DialectRaw == nil {
		return errors.New("no dialect")
	}
	module, err := ctx.LoadModule(h, "DialectRaw")
	if err != nil {
		return fmt.Errorf("loading dialect: %v", err)
	}
	dialect, ok := module.(Dialect)
	if !ok {
		return fmt.Errorf("module %T is not a dialect: it does not implement stream.Dialect", module)
	}
	h.dialect, h.name = dialect, module.(caddy.Module).CaddyModule().ID.Name()

	ability := dialect.Can()
	h.inline = ability.Inline
	h.policy = &policy{
		rules: h.Rules, tokens: h.Tokens, allow: h.Fallback == "allow", limits: ability.Has(FeatureTimeLimit),
		observe: h.ReportOnly, dialect: h.name, ability: ability, logger: h.logger,
	}
	if err := h.share(ctx); err != nil {
		return err
	}
	if err := h.policy.provision(ctx, ability); err != nil {
		return err
	}
	if h.Fallback != "" && h.Fallback != "allow" && h.Fallback != "deny" {
		return fmt.Errorf("fallback: '%s' is neither allow nor deny", h.Fallback)
	}
	if len(h.Rules) == 0 && h.policy.allow {
		h.logger.Warn("no rules and fallback allow: every client is allowed", zap.String("dialect", h.name))
	}
	if len(h.Rules) == 0 && h.Fallback == "" && !h.ReportOnly {
		h.logger.Warn("no rules and no fallback: every client is denied", zap.String("dialect", h.name))
	}
	if h.ReportOnly {
		h.logger.Warn("report_only: every client is allowed", zap.String("dialect", h.name))
	}
	return nil
}

// share takes hold of what all handlers share: the store, the metrics and the book of sessions.
func (h *Handler) share(ctx caddy.Context) error {
	shared, err := app.Of(ctx)
	if err != nil {
		return err
	}
	h.metrics, h.policy.store = shared.Metrics(), shared.Store()
	if h.policy.book, err = openBook(h.metrics.Sessions); err != nil {
		return err
	}
	h.hasBook = true
	return nil
}

// ServeHTTP answers the hook. It calls next only where a rule leaves the answer to it, or an allowance of the client's
// own request leads there. What is wrong with a request is a denial, in the form that the media server takes for one.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	start := time.Now()
	q, d := h.judge(w, r)
	h.report(r, q, d, start)
	if h.ReportOnly && !d.Allow && !d.Forward {
		d = Decision{Allow: true, Rule: d.Rule, Code: verdict.OK}
	}
	if d.Forward || d.Allow && h.inline {
		return next.ServeHTTP(w, r)
	}
	body.Forgo(w, r, h.bodyWithin)
	sent, err := h.answer(w, q, d)
	body.Release(r.Body)
	if d.opened != nil && (!sent || r.Context().Err() != nil) {
		// Who did not hear that it may, does not let the client in, and will tell no end of it.
		ctx := context.WithoutCancel(r.Context())
		h.policy.release(ctx, d.opened, clock.Now(ctx))
	}
	return err
}

// judge reads the hook and decides. The Request is nil where it could not be decoded. A panic in a dialect is a fault of
// ours, and undecided.
func (h *Handler) judge(w http.ResponseWriter, r *http.Request) (q *Request, d Decision) {
	defer func() {
		if fault := recover(); fault != nil {
			h.logger.Error("panic while judging a stream hook", zap.String("dialect", h.name), zap.Stack("stack"))
			q, d = nil, Deny(verdict.Errorf(verdict.Unavailable, "panic"))
		}
	}()

	if err := earlydata.Check(r); err != nil {
		return nil, Deny(err)
	}
	var data []byte
	var err error
	if !h.inline {
		if data, err = h.bodies.Capture(w, r, MaxBody, h.bodyWithin); err != nil {
			return nil, Deny(err)
		}
	}
	if q, err = h.dialect.Decode(r, data); err != nil {
		return nil, Deny(err)
	}
	if err = q.Check(); err != nil {
		return nil, Deny(err)
	}
	ctx := r.Context()
	if h.policy.waits || q.Event == Close || q.Event == Notice { // which the store is told
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, decideWithin)
		defer cancel()
	}
	if q.Event == Close || q.Event == Notice {
		switch {
		case h.ReportOnly:
		case q.Event == Close:
			h.policy.end(ctx, q, clock.Now(ctx))
		default:
			h.policy.begin(ctx, q, clock.Now(ctx))
		}
		return q, Decision{Allow: true, Code: verdict.OK, Forward: h.policy.forwards(q)}
	}
	return q, h.policy.decide(ctx, q, clock.Now(ctx))
}

// answer writes the decision as the dialect encodes it, whole or not at all, and says whether it did. What cannot be
// encoded becomes a denial.
func (h *Handler) answer(w http.ResponseWriter, q *Request, d Decision) (sent bool, err error) {
	held, err := h.encode(w, q, d)
	encoded := err == nil
	if err != nil {
		h.logger.Error("encoding the answer to a stream hook", zap.String("dialect", h.name), zap.Error(err))
		clear(w.Header()) // of half an allowance
		held, err = h.encode(w, nil, Deny(verdict.Errorf(verdict.Unavailable, "no answer")))
	}
	if err != nil { // not even a denial
		clear(w.Header())
		held = &reply{header: w.Header(), status: http.StatusServiceUnavailable}
	}
	err = held.send(w)
	return encoded && err == nil, err
}

// encode asks the dialect for its answer. A panic is an error.
func (h *Handler) encode(w http.ResponseWriter, q *Request, d Decision) (held *reply, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			err = errors.New("panic")
		}
	}()
	held = &reply{header: w.Header()}
	return held, h.dialect.Encode(held, q, d)
}

// status is that of a denial in the dialect's own words, which may be another than that of its reason.
func (h *Handler) status(q *Request, d Decision) int {
	held, err := h.encode(&reply{header: make(http.Header)}, q, d)
	if err != nil {
		return http.StatusServiceUnavailable
	}
	held.WriteHeader(http.StatusOK)
	return held.status
}

// report is the one place where a decision becomes visible: in the metrics, the decision log, the placeholders, the
// trace, the access log, and the log. Of what the client chose, placeholders and logs show the stream alone, which has
// passed CheckName.
func (h *Handler) report(r *http.Request, q *Request, d Decision, start time.Time) {
	ctx := r.Context()
	decision := "deny"
	switch {
	case d.Forward:
		decision = "forward"
	case d.Allow:
		decision = "allow"
	}
	var mode, appName, name, stream, clientIP string
	if q != nil {
		mode, appName, name, stream = string(q.Mode), q.App, q.Name, q.Stream()
		if q.IP.IsValid() {
			clientIP = q.IP.String()
		}
		if q.Event == Close || q.Event == Notice {
			decision = "notice"
		}
	} else {
		// Whose stream it is nobody knows: who sent the hook is all there is to look for.
		clientIP, _ = caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
	}

	took := time.Since(start)
	h.metrics.Stream(h.name, mode, decision, d.Rule, took)
	record := app.Decision{
		Time: start, Handler: app.HandlerStream, Scheme: h.name, Allowed: d.Allow || d.Forward, Decision: decision,
		Reason: d.Code, Detail: d.Detail, Key: d.Key, Stream: stream, Mode: mode, Rule: d.Rule, ClientIP: clientIP,
		Duration: took, ReportOnly: h.ReportOnly, Steps: d.steps,
	}
	if q != nil {
		record.Agent = q.Agent
	}
	if !d.Allow && !d.Forward {
		record.Status = h.status(q, d)
	} else if d.Key != "" {
		h.metrics.SecretUsed(h.name, d.Key)
	}
	app.Decisions().Record(record)
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(
			attribute.String("stream_auth.dialect", h.name), attribute.String("stream_auth.mode", mode),
			attribute.String("stream_auth.stream", stream), attribute.String("stream_auth.decision", decision),
			attribute.String("stream_auth.rule", d.Rule), attribute.String("stream_auth.reason", string(d.Code)))
	}

	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		setPlaceholders(ctx, repl, said{decision, d.Rule, string(d.Code), stream, mode, h.name})
		if (d.Allow || d.Forward) && d.Subject != "" && cleanText(d.Subject) == d.Subject {
			repl.Set("http.auth.user.id", d.Subject) // cleaned, it could be another's name
		}
	}

	logged := app.AccessLogged(ctx)
	if d.Allow && !logged {
		return
	}
	fields := []zap.Field{
		zap.String("dialect", h.name), zap.String("mode", mode), zap.String("app", appName), zap.String("stream", name),
		zap.String("decision", decision), zap.String("rule", d.Rule), zap.String("reason", string(d.Code)),
		zap.String("key", d.Key), zap.String("client_ip", clientIP), zap.String("detail", d.Detail),
	}
	if d.Reason != "" {
		fields = append(fields, zap.String("said", d.Reason))
	}
	if extra, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok && logged {
		extra.Set(zap.Dict("stream_auth", fields...))
	}
	if d.Allow {
		return
	}
	if d.Forward {
		if entry := h.logger.Check(zapcore.DebugLevel, "stream forwarded"); entry != nil {
			entry.Write(fields...)
		}
		return
	}
	if entry := h.logger.Check(zapcore.InfoLevel, "stream denied"); entry != nil {
		entry.Write(append(fields, zap.Int("status", record.Status), zap.Bool("report_only", h.ReportOnly))...)
	}
}

// Cleanup lets go of the book of sessions, and of what the tokens hold.
func (h *Handler) Cleanup() error {
	var all error
	for _, t := range h.Tokens {
		all = errors.Join(all, t.cleanup())
	}
	if h.hasBook {
		h.hasBook = false
		all = errors.Join(all, closeBook())
	}
	return all
}

// reply holds the status and the body of an answer back until it is whole.
type reply struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header returns the headers, for http.ResponseWriter.
func (a *reply) Header() http.Header { return a.header }

// WriteHeader sets the status, for http.ResponseWriter.
func (a *reply) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write appends to the body, for http.ResponseWriter.
func (a *reply) Write(data []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(data)
}

// send writes the answer. It has its length and is never chunked, which old media servers cannot read, and no cache may
// keep it.
func (a *reply) send(w http.ResponseWriter) error {
	a.WriteHeader(http.StatusOK)
	a.header.Set("Cache-Control", "no-store")
	if a.body.Len() > 0 {
		a.header.Add("Cache-Control", "no-transform") // compressed, as the handler `encode` would, it would lose its length
	}
	a.header.Set("Content-Length", strconv.Itoa(a.body.Len()))
	w.WriteHeader(a.status)
	_, err := w.Write(a.body.Bytes())
	return err
}

// Interface guards
var (
	_ caddy.Module                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ http.ResponseWriter         = (*reply)(nil)
)
