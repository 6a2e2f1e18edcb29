// Package callback has the handler `callback_auth`, which verifies a signed callback and passes on only what is
// genuine, and says what a scheme, its guest, promises.
package callback

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/body"
	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/internal/earlydata"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// DefaultMaxBody is the largest body, in bytes, where max_body is not set.
const DefaultMaxBody = 2 << 20

// maxMaxBody is the largest max_body, in bytes.
const maxMaxBody = 1 << 40

// retryAfter is the Retry-After, in seconds, of what could not be decided. It is the time after which keys that were
// out of reach are asked for again.
const retryAfter = 30

// methods are those that senders use. net/http lets any word through, such as `post`, which a receiver might take for
// POST while a scheme does not. CONNECT is the WebSocket handshake of HTTP/2 and HTTP/3.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	http.MethodOptions, http.MethodConnect,
}

// errRefused is all that an error route learns about why: the rest is for the log.
var errRefused = errors.New("refused by callback_auth")

// Handler verifies that a request is a genuine callback before it calls the next handler. Every one of its schemes must
// accept. What is refused never reaches the next handler: it goes to the error routes, with the status that its reason
// has in the table of the README.
//
// These placeholders are set once a request is accepted, and always with `report_only`:
//
// Placeholder | Description
// ------------|------------
// `{http.auth.user.id}` | Who sent it: api key, subject, user name, or the label of the key
// `{http.callback_auth.id}` | The message's own id, where it is signed
// `{http.callback_auth.key}` | The label of the secret or key that matched
// `{http.callback_auth.claim.<name>}` | A signed claim
//
// `{http.callback_auth.scheme}` and `{http.callback_auth.reason}` are set on a refusal too, for error routes.
type Handler struct {
	// The schemes, every one of which must accept. The cheap ones are asked first, whatever the order here.
	SchemesRaw []json.RawMessage `json:"schemes,omitempty" caddy:"namespace=http.callback_auth.schemes inline_key=scheme"`

	// The largest body, in bytes. A larger one is refused with 413, before it is read where its length is announced.
	// Default: 2 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	// Whether each message is to pass only once. Default: it is, where the messages of a scheme have a signed id that is
	// made for this.
	Replay *Replay `json:"replay,omitempty"`

	// Whether the next handler is to see no credentials: Authorization is removed, whatever the schemes are, and their
	// signature headers and key parameters.
	StripCredentials bool `json:"strip_credentials,omitempty"`

	// The scheme and host under which senders know this site, such as `https://hooks.example.com`, for schemes that
	// sign the URL. Set it behind a proxy that changes either. Takes `{env.*}` and `{file.*}` placeholders. Default: those
	// of the request.
	PublicURL string `json:"public_url,omitempty"`

	// Whether to refuse nothing: what would have been refused is logged and counted, the placeholders are set, and the
	// next handler is called. It is for the first days of a new endpoint.
	ReportOnly bool `json:"report_only,omitempty"`

	publicURL  string // resolved
	guards     []guard
	keyInURL   bool         // whether a scheme has its credential there
	replay     *replayGuard // nil: messages may pass as often as they come
	metrics    *app.Metrics
	bodyWithin time.Duration
	bodies     *body.Buffers
	logger     *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.callback_auth",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision loads the schemes.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.bodyWithin = body.Within
	h.bodies = new(body.Buffers)
	if h.MaxBody < 0 || h.MaxBody > maxMaxBody {
		return fmt.Errorf("max_body is %d: it is between 1 byte and 1 TiB", h.MaxBody)
	}
	if h.MaxBody == 0 {
		h.MaxBody = DefaultMaxBody
	}
	if h.PublicURL != "" {
		var err error
		if h.publicURL, err = credential.Text("public_url", h.PublicURL); err != nil {
			return err
		}
		if !isOrigin(h.publicURL) {
			return errPublicURL
		}
	}
	guards, err := loadSchemes(ctx, h, h.SchemesRaw)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(guards, func(g guard) bool { return !g.traits.Partial }) {
		return fmt.Errorf("%s proves nothing by itself: add a scheme that does, such as api_key", guards[0].name)
	}
	h.guards = guards
	h.keyInURL = slices.ContainsFunc(guards, func(g guard) bool {
		return slices.ContainsFunc(g.traits.Places, func(p Place) bool { return p.Query != "" })
	})
	shared, err := app.Of(ctx)
	if err != nil {
		return err
	}
	h.metrics = shared.Metrics()
	if h.replay, err = h.Replay.provision(h.guards, shared.Store(), h.logger); err != nil {
		return err
	}
	if h.ReportOnly {
		h.logger.Warn("report_only: nothing is refused")
	}
	return nil
}

var errPublicURL = errors.New("public_url is not a scheme and a host alone, such as https://hooks.example.com")

// isOrigin reports whether text is a scheme and a host, and nothing else.
func isOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" &&
		u.User == nil && u.Path == "" && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}

// ServeHTTP calls next if every scheme accepts r.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	start := time.Now()
	var few [4]app.Step // for most blocks, and no garbage
	seen := trail(few[:0])
	v, held := h.judge(w, r, &seen, start)
	// On every way out but delivery the id is released: also on a panic, by which a proxy ends a broken answer. The sender
	// has no whole answer then either, and will retry.
	defer held.end(false)
	h.report(r, &v, seen, start)
	if h.StripCredentials { // an error route may lead to somebody else, too
		h.strip(r)
	}
	if !v.OK() && !h.ReportOnly {
		body.Forgo(w, r, h.bodyWithin)
		return h.refuse(w, v)
	}
	if v.OK() && v.Answer != nil {
		return v.Answer(w)
	}
	if h.keyInURL { // RFC 6750 §2.3: what was asked for with one is nobody else's to cache
		w.Header().Set("Cache-Control", "private")
	}
	err := held.deliver(w, r, next)
	if err == nil { // else an error route may want the body
		body.Release(r.Body)
	}
	return err
}

// judge verifies a request and, where each message is to pass once, reserves its id. A panic in a scheme or a store is a
// fault of ours, and undecided. What was looked at is added to seen; start is when the request came.
func (h *Handler) judge(w http.ResponseWriter, r *http.Request, seen *trail, start time.Time) (v Verdict, held *reservation) {
	defer func() {
		if fault := recover(); fault != nil {
			h.logger.Error("panic while verifying a callback", zap.Stack("stack"))
			v, held = Refuse(verdict.Errorf(verdict.Unavailable, "panic")), nil
		}
	}()
	v = h.verify(w, r, seen)
	if v.OK() && v.Answer == nil && h.replay != nil {
		held, v = h.replay.reserve(r.Context(), v, start)
		if !v.OK() {
			v.Challenge = h.challenge(&v, r)
		}
		seen.add("replay", &v)
	}
	return v, held
}

// challenge gives the value of WWW-Authenticate where replay memory refuses: that of the first scheme whose messages have
// ids.
func (h *Handler) challenge(v *Verdict, r *http.Request) string {
	for i := range h.guards {
		if g := &h.guards[i]; g.traits.Identified || g.traits.Replay {
			return g.challenge(v, r)
		}
	}
	return ""
}

// verify asks the schemes, then reads the body, then asks those that are not done without it.
func (h *Handler) verify(w http.ResponseWriter, r *http.Request, seen *trail) Verdict {
	if err := earlydata.Check(r); err != nil {
		return Refuse(err)
	}
	if !slices.Contains(methods, r.Method) {
		return Refuse(verdict.Errorf(verdict.Malformed, "a method that no sender uses").WithStatus(http.StatusMethodNotAllowed))
	}

	q := h.request(r)
	var few [2]Verdict // which need no memory of their own
	verdicts := few[:]
	if len(h.guards) > len(few) {
		verdicts = make([]Verdict, len(h.guards))
	}
	verdicts = verdicts[:len(h.guards)]
	for i := range h.guards {
		g := &h.guards[i]
		verdicts[i] = g.verify(q)
		seen.addScheme(g.name, &verdicts[i])
		if !verdicts[i].OK() {
			return verdicts[i]
		}
	}

	var data []byte
	if !q.Upgrade {
		var err error
		within := h.bodyWithin
		if h.ReportOnly {
			within = 0 // a body that is cut off in the middle is as good as refused
		}
		if data, err = h.bodies.Capture(w, r, h.MaxBody, within); err != nil {
			last := verdicts[len(verdicts)-1]
			v := Refuse(err)
			v.Scheme, v.Key = last.Scheme, last.Key
			seen.add("body", &v)
			return v
		}
	}
	for i := range h.guards {
		if g := &h.guards[i]; verdicts[i].Then != nil {
			verdicts[i] = g.finish(q, &verdicts[i], data)
			seen.addScheme(g.overBody, &verdicts[i])
			if !verdicts[i].OK() {
				return verdicts[i]
			}
		}
	}
	return merge(verdicts)
}

// request gathers what schemes may look at.
func (h *Handler) request(r *http.Request) *Request {
	q := &Request{
		HTTP:      r,
		Method:    r.Method,
		URL:       r.URL,
		PublicURL: h.publicURL,
		Now:       clock.Now(r.Context()),
		Upgrade:   isWebSocket(r),
	}
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.URL != nil {
		q.Method, q.URL = original.Method, original.URL
	}
	if ip, ok := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string); ok {
		if addr, err := netip.ParseAddr(ip); err == nil {
			q.ClientIP = addr.Unmap().WithZone("")
		}
	}
	return q
}

// isWebSocket reports whether r is a WebSocket handshake that has no body by its form: a GET that announces none
// (RFC 6455 §4.1), or an extended CONNECT (RFC 8441), whose body is the WebSocket itself.
func isWebSocket(r *http.Request) bool {
	switch {
	case r.ProtoMajor == 1:
		return r.Method == http.MethodGet && r.ContentLength == 0 && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
	case r.ProtoMajor == 2:
		return r.Method == http.MethodConnect && r.Header.Get(":protocol") == "websocket"
	default:
		return r.Method == http.MethodConnect && r.Proto == "websocket"
	}
}

// refuse sends a request that is not accepted to the error routes. The headers say no more than the status does.
func (h *Handler) refuse(w http.ResponseWriter, v Verdict) error {
	status := v.HTTPStatus()
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	switch status {
	case http.StatusOK: // a duplicate, acknowledged
		w.WriteHeader(status)
		return nil
	case http.StatusMethodNotAllowed:
		header.Set("Allow", cmp.Or(v.Allow, strings.Join(methods, ", ")))
	case http.StatusUnauthorized, http.StatusBadRequest, http.StatusForbidden:
		if v.Challenge != "" {
			header.Set("WWW-Authenticate", v.Challenge)
		}
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", strconv.Itoa(retryAfter))
	}
	return caddyhttp.Error(status, errRefused)
}

// strip removes Authorization and the credentials of every scheme from what the next handler gets. The rest of the query
// stays as it is, byte for byte and in order.
func (h *Handler) strip(r *http.Request) {
	r.Header.Del("Authorization") // also one that no scheme looked at
	for _, g := range h.guards {
		for _, place := range g.traits.Places {
			if place.Header != "" {
				r.Header.Del(place.Header)
			}
			if place.Query != "" && r.URL.RawQuery != "" {
				pairs := slices.DeleteFunc(strings.Split(r.URL.RawQuery, "&"), func(pair string) bool {
					name, _, _ := strings.Cut(pair, "=")
					name, err := url.QueryUnescape(name)
					return err != nil || name == place.Query
				})
				r.URL.RawQuery = strings.Join(pairs, "&")
				r.RequestURI = r.URL.RequestURI()
			}
		}
	}
}

// Interface guards
var (
	_ caddy.Module                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
