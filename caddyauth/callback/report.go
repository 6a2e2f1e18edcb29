package callback

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// trail is what was looked at on the way to a verdict.
type trail []app.Step

// add is for what is no scheme: the verdict may name the key of one.
func (t *trail) add(name string, v *Verdict) {
	*t = append(*t, app.Step{Name: name, Outcome: string(v.Reason), Detail: v.Detail})
}

// addScheme is for a scheme, and those within it.
func (t *trail) addScheme(name string, v *Verdict) {
	for _, step := range v.within {
		step.Name = name + ": " + step.Name
		*t = append(*t, step)
	}
	*t = append(*t, app.Step{Name: name, Outcome: string(v.Reason), Detail: v.Detail, Key: v.Key})
}

// report is the one place where a verdict becomes visible: in the metrics, the decision log, the placeholders, the trace,
// the access log, and the log.
func (h *Handler) report(r *http.Request, v *Verdict, seen trail, start time.Time) {
	ctx := r.Context()
	h.record(ctx, v, seen, start)
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(
			attribute.String("callback_auth.scheme", v.Scheme), attribute.String("callback_auth.reason", string(v.Reason)),
			attribute.String("callback_auth.key", v.Key), attribute.Bool("callback_auth.report_only", h.ReportOnly))
	}
	if repl, ok := ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		setPlaceholders(ctx, repl, v, v.OK() || h.ReportOnly)
	}
	logged := app.AccessLogged(ctx)
	if v.OK() && !logged {
		return
	}
	fields := logFields(ctx, v)
	if extra, ok := ctx.Value(caddyhttp.ExtraLogFieldsCtxKey).(*caddyhttp.ExtraLogFields); ok && logged {
		extra.Set(zap.Dict("callback_auth", fields...))
	}
	if v.OK() {
		return
	}
	if entry := h.logger.Check(zapcore.InfoLevel, "callback refused"); entry != nil {
		entry.Write(append(fields,
			zap.Int("status", v.HTTPStatus()), zap.String("detail", v.Detail), zap.Bool("report_only", h.ReportOnly))...)
	}
}

// record counts a verdict and keeps it for the inspector.
func (h *Handler) record(ctx context.Context, v *Verdict, seen trail, start time.Time) {
	took := time.Since(start)
	h.metrics.Callback(v.Scheme, v.Reason, took)
	d := app.Decision{
		Time: start, Handler: app.HandlerCallback, Scheme: v.Scheme, Allowed: v.OK(), Decision: "allow",
		Reason: v.Reason, Detail: v.Detail, Key: v.Key, ClientIP: clientIP(ctx),
		Duration: took, ReportOnly: h.ReportOnly, Steps: seen, Matched: v.matched,
	}
	switch {
	case !v.OK():
		d.Decision, d.Status = "deny", v.HTTPStatus()
	case v.matched != nil:
		for _, s := range v.matched {
			h.metrics.SecretUsed(s.Scheme, s.Key)
		}
	case v.Key != "":
		h.metrics.SecretUsed(v.Scheme, v.Key)
	}
	app.Decisions().Record(d)
}

// clientIP is the address of the sender by Caddy's reckoning.
func clientIP(ctx context.Context) string {
	ip, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string)
	return ip
}

// logFields are the same in the log and on the access-log entry.
func logFields(ctx context.Context, v *Verdict) []zap.Field {
	return []zap.Field{
		zap.String("scheme", v.Scheme),
		zap.String("reason", string(v.Reason)),
		zap.String("key", v.Key),
		zap.String("client_ip", clientIP(ctx)),
	}
}

const placeholderPrefix = "http.callback_auth."

// setPlaceholders sets the placeholders of a verdict; who sent the message, and what it says, only if identified.
func setPlaceholders(ctx context.Context, repl *caddy.Replacer, v *Verdict, identified bool) {
	// One provider a request, which a second callback_auth on the way finds: of two, the replacer would ask the first.
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	said, ok := vars[saidVar].(*said)
	if !ok {
		said = newSaid(repl)
		if vars != nil {
			vars[saidVar] = said
		}
	}
	said.scheme, said.reason = v.Scheme, string(v.Reason)
	if identified {
		said.identified, said.id, said.key, said.claims = true, v.ID, v.Key, v.Claims
		if v.Digest {
			said.id = ""
		}
		if v.User != "" {
			said.user = v.User
			repl.Delete(userID) // which other handlers set, and the last one counts: what is set is found first
		}
	}
}

// userID is the placeholder in which Caddy's handlers say who somebody is.
const userID = "http.auth.user.id"

// said is what the last verdict on a request was, and what the last one said that identified the sender. Most requests
// end without anybody asking for it.
type said struct {
	scheme, reason string

	identified    bool
	user, id, key string
	claims        func(name string) (value string, ok bool)
}

// saidVar is the variable of a request that holds what was said of it.
const saidVar = "callback_auth.said"

// newSaid makes a source of placeholders.
func newSaid(repl *caddy.Replacer) *said {
	s := new(said)
	repl.Map(s.placeholder)
	return s
}

// placeholder gives the value of one, for caddy.Replacer. A claim that is not there is empty, and so is the user where
// nobody is: else a header that asks would hand the receiver, or an error page, the placeholder's name.
func (s *said) placeholder(placeholder string) (any, bool) {
	if placeholder == userID {
		return printable(s.user), true
	}
	name, ok := strings.CutPrefix(placeholder, placeholderPrefix)
	if !ok {
		return nil, false
	}
	switch name {
	case "scheme":
		return s.scheme, true
	case "reason":
		return s.reason, true
	}
	claim, isClaim := strings.CutPrefix(name, "claim.")
	switch {
	case !s.identified:
		return nil, false
	case name == "id":
		return printable(s.id), true
	case name == "key":
		return s.key, true
	case isClaim && s.claims == nil:
		return "", true
	case isClaim:
		value, _ := s.claims(claim)
		return printable(value), true
	default:
		return nil, false
	}
}

// printable percent-encodes the control characters of a value that a sender chose: it may end up in a header.
func printable(value string) string {
	if !strings.ContainsFunc(value, unicode.IsControl) {
		return value
	}
	var text strings.Builder
	for _, char := range value {
		if unicode.IsControl(char) {
			text.WriteString(url.PathEscape(string(char)))
		} else {
			text.WriteRune(char)
		}
	}
	return text.String()
}
