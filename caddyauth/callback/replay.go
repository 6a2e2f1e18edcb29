package callback

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/internal/errands"
	"github.com/caddyauth/callbacks/caddyauth/store"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Replay lets each message pass once. A message's id is reserved while its request is in flight, kept when the receiver
// answers 2xx, and released otherwise, so that a sender's honest retry after the receiver failed is let through.
type Replay struct {
	// Whether messages may pass as often as they come. Default: false where a scheme's messages have a signed id that
	// is made for this (`vonage`, `standard_webhooks`), else true unless another field is set.
	Off bool `json:"off,omitempty"`

	// How long an id is kept. It must be no shorter than the time in which the scheme accepts a message. Default: twice
	// the scheme's freshness window.
	Window caddy.Duration `json:"window,omitempty"`

	// The answer to a message that was delivered already: `reject` with 409, or `acknowledge` with 200, for senders that
	// go on retrying otherwise. Default: reject.
	OnDuplicate string `json:"on_duplicate,omitempty"`

	// What becomes of a message while the store cannot be asked: `reject` with 503, or `allow`, so that it may pass
	// twice. Default: reject.
	OnStoreError string `json:"on_store_error,omitempty"`
}

// maxWindow is the longest time for which an id is kept. It is far from where times overflow.
const maxWindow = 100 * 365 * 24 * time.Hour

// replayGuard is a provisioned Replay.
type replayGuard struct {
	Replay
	store   store.Store
	logger  *zap.Logger
	slow    renewals
	errands errands.List // what the store could not be told
}

// provision gives the guard that r asks for; nil if messages may pass as often as they come. r may be nil.
func (r *Replay) provision(guards []guard, s store.Store, logger *zap.Logger) (*replayGuard, error) {
	window, on, err := r.window(guards)
	if err != nil || !on {
		return nil, err
	}
	g := &replayGuard{store: s, logger: logger}
	if r != nil {
		g.Replay = *r
	}
	g.Window = caddy.Duration(window)
	for _, option := range []struct{ name, value, other string }{
		{"on_duplicate", g.OnDuplicate, "acknowledge"}, {"on_store_error", g.OnStoreError, "allow"},
	} {
		if option.value != "" && option.value != "reject" && option.value != option.other {
			return nil, fmt.Errorf("replay: %s is reject or %s, not %q", option.name, option.other, option.value)
		}
	}
	if g.OnStoreError == "allow" {
		logger.Warn("replay: while the store is away, messages may pass twice")
	}
	return g, nil
}

// window finds out whether messages are to pass once, and for how long their ids are kept.
func (r *Replay) window(guards []guard) (window time.Duration, on bool, err error) {
	var identified, byDefault bool
	var fresh, accepted, longest time.Duration
	for _, g := range guards {
		longest = max(longest, g.traits.Window, g.traits.Leeway)
		identified = identified || g.traits.Identified || g.traits.Replay
		byDefault = byDefault || g.traits.Replay
		fresh = max(fresh, g.traits.Window)
		accepted = max(accepted, g.traits.Window+g.traits.Leeway)
	}
	switch {
	case r != nil && r.Off, r == nil && !byDefault:
		return 0, false, nil
	case r != nil && (r.Window < 0 || time.Duration(r.Window) > maxWindow):
		return 0, false, fmt.Errorf("replay: a window of %v is none: it is above 0 and at most %v", time.Duration(r.Window), maxWindow)
	case longest > maxWindow/4: // what is added up below would overflow
		return 0, false, fmt.Errorf("replay: a message that is accepted for %v cannot be remembered for so long", longest)
	case !identified:
		return 0, false, fmt.Errorf("replay: the messages of these schemes have no signed id")
	case r != nil && r.Window > 0:
		if fresh > 0 && time.Duration(r.Window) < accepted {
			return 0, false, fmt.Errorf("replay: a window of %v is shorter than the %v in which a message is accepted", time.Duration(r.Window), accepted)
		}
		return time.Duration(r.Window), true, nil
	case fresh == 0:
		return 0, false, fmt.Errorf("replay: it needs a window, for the scheme has no clock")
	default:
		return max(2*fresh, accepted), true, nil
	}
}

// reservation is a message that is in flight, and the writer of its answer, of whose status it takes note.
type reservation struct {
	caddyhttp.ResponseWriterWrapper
	status  int  // of the answer; 0: none yet
	connect bool // whether it is to the WebSocket handshake of HTTP/2 or 3

	guard  *replayGuard
	keys   [][32]byte  // one for each name that the message may be known by
	room   [1][32]byte // for keys: nearly every message has one name
	owner  store.Owner
	window time.Duration

	mu   sync.Mutex
	done bool

	begun         time.Time // of the lease, or before; what follows is of renewals
	before, after *reservation
	isListed      bool
}

// reserve claims the id of an accepted message. It returns the verdict that stands then: a message that was seen is
// replayed, and one that cannot be told is unavailable. start is when the request came.
func (g *replayGuard) reserve(ctx context.Context, v Verdict, start time.Time) (*reservation, Verdict) {
	refuse := func(err *verdict.Error) (*reservation, Verdict) {
		refusal := v
		refusal.Reason, refusal.Status, refusal.Detail = err.Reason, err.Status, err.Detail
		return nil, refusal
	}
	switch {
	case v.ID == "" && !v.identified:
		return nil, v // another scheme of an `any`, whose messages have no ids
	case v.ID == "" || v.lacksID:
		return refuse(verdict.Errorf(verdict.BadClaim, "the message has no id; without one it could pass again"))
	}
	// The id counts under the scheme that it is of: the name of another, which accepted the request too, could be the
	// sender's choice of an `any`.
	res := &reservation{guard: g, owner: store.NewOwner(), window: time.Duration(g.Window)}
	if !v.Until.IsZero() {
		res.window = max(res.window, v.Until.Sub(clock.Now(ctx)))
	}
	if res.window > maxWindow {
		return refuse(verdict.Errorf(verdict.BadClaim, "the message could pass again for longer than its id is kept"))
	}
	state, err := res.take(v)
	switch {
	case err != nil:
		g.fail("reserve", err)
		g.releaseLater(res)
		if g.OnStoreError == "allow" {
			return nil, v
		}
		return refuse(verdict.Errorf(verdict.Unavailable, "the replay store cannot tell"))
	case state == store.Fresh:
		g.slow.add(res, start)
		return res, v
	}
	if err := g.release(res); err != nil {
		g.fail("release", err)
		g.releaseLater(res)
	}
	switch {
	case state == store.Kept && g.OnDuplicate == "acknowledge":
		return refuse(verdict.Errorf(verdict.Replayed, "delivered already, and acknowledged").WithStatus(http.StatusOK))
	case state == store.Kept:
		return refuse(verdict.Errorf(verdict.Replayed, "delivered already"))
	case g.OnDuplicate == "acknowledge":
		// Nobody knows yet whether the other copy will be delivered: to acknowledge this one could lose the message.
		return refuse(verdict.Errorf(verdict.Replayed, "another copy is in flight").WithStatus(http.StatusServiceUnavailable))
	default:
		return refuse(verdict.Errorf(verdict.Replayed, "another copy is in flight"))
	}
}

// take reserves all names of a message, or says what became of the first one that somebody else has. Copies take them in
// the same order, so that one of them passes. res.keys are then those that may be reserved.
func (res *reservation) take(v Verdict) (store.State, error) {
	keys := append(res.room[:0], store.Key("replay", v.idScheme, v.Account, v.ID))
	for _, name := range v.Others {
		keys = append(keys, store.Key("replay", v.idScheme, name.Account, name.ID))
	}
	if len(keys) > 1 {
		slices.SortFunc(keys, func(a, b [32]byte) int { return bytes.Compare(a[:], b[:]) })
	}
	for i, key := range keys {
		// That a client goes away is no failure of the store: its request is not the context.
		state, err := res.guard.store.Reserve(context.Background(), key, res.owner, res.window)
		if err == nil && state == store.Unknown {
			err = errors.New("the store gave no state")
		}
		if err != nil {
			res.keys = keys[:i+1]
			return store.Unknown, err
		}
		if state != store.Fresh {
			res.keys = keys[:i]
			return state, nil
		}
	}
	res.keys = keys
	return store.Fresh, nil
}

// extend starts the lease anew.
func (res *reservation) extend() {
	res.mu.Lock()
	defer res.mu.Unlock()
	if res.done {
		return
	}
	err := res.each(func(key [32]byte) error {
		_, err := res.guard.store.Reserve(context.Background(), key, res.owner, res.window)
		return err
	})
	if err != nil {
		res.guard.fail("reserve", err)
	}
}

// end keeps or releases the id, once. It does nothing where nothing was reserved.
func (res *reservation) end(delivered bool) {
	if res == nil {
		return
	}
	res.mu.Lock()
	defer res.mu.Unlock()
	if res.done {
		return
	}
	res.done = true
	res.guard.slow.remove(res)
	if !delivered {
		if err := res.guard.release(res); err != nil {
			res.guard.fail("release", err)
			res.guard.releaseLater(res)
		}
		return
	}
	if err := res.guard.keep(res); err != nil {
		res.guard.fail("keep", err)
		res.guard.keepLater(res)
	}
}

func (g *replayGuard) release(res *reservation) error {
	return res.each(func(key [32]byte) error { return g.store.Release(context.Background(), key, res.owner) })
}

func (g *replayGuard) keep(res *reservation) error {
	return res.each(func(key [32]byte) error { return g.store.Keep(context.Background(), key, res.window) })
}

// each calls do for all names of the message, whatever becomes of one, and gives the first error. A panic in a store is
// one: in a goroutine that is none of net/http's it would end the process.
func (res *reservation) each(do func(key [32]byte) error) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("panic")
		}
	}()
	for _, key := range res.keys {
		err = cmp.Or(err, do(key))
	}
	return err
}

// releaseLater releases an id, not at once: what waits for the verdict waits for the store no longer.
func (g *replayGuard) releaseLater(res *reservation) {
	later := res.apart()
	g.errands.Add(time.Now().Add(min(res.window, store.ReservationLease)), func() error { return g.release(later) })
}

// keepLater keeps an id that could not be kept at once.
func (g *replayGuard) keepLater(res *reservation) {
	later := res.apart()
	g.errands.Add(time.Now().Add(res.window), func() error { return g.keep(later) })
}

// apart gives what an errand needs. The rest holds on to a request's answer, and so to its connection.
func (res *reservation) apart() *reservation {
	return &reservation{guard: res.guard, keys: slices.Clone(res.keys), owner: res.owner, window: res.window}
}

// fail logs an error of the store. Its text may hold an address, and no secret: stores see to that.
func (g *replayGuard) fail(operation string, err error) {
	g.logger.Error("the replay store failed", zap.String("operation", operation), zap.Error(err))
}

// deliver calls the next handler, and keeps or releases the id by what the receiver answers.
func (res *reservation) deliver(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if res == nil {
		return next.ServeHTTP(w, r)
	}
	res.ResponseWriter, res.connect = w, r.Method == http.MethodConnect
	// Where the client goes away while it is answered, there is an error or, of a proxy, a panic: the receiver has the message
	// all the same.
	defer func() { res.end(res.delivered() && r.Context().Err() != nil) }()
	err := next.ServeHTTP(res, r)
	if err == nil { // a handler that writes nothing is then an empty 200
		res.end(res.status == 0 || res.delivered())
	}
	return err
}

// delivered reports whether the receiver has answered that it has the message.
func (res *reservation) delivered() bool { return res.status >= 200 && res.status <= 299 }

// WriteHeader takes note of the status, for http.ResponseWriter.
func (res *reservation) WriteHeader(status int) {
	if res.status == 0 && status >= 200 {
		res.status = status
	}
	if status == http.StatusSwitchingProtocols || res.connect && res.delivered() { // a WebSocket lasts, and its handshake is over
		res.end(true)
	}
	res.ResponseWriterWrapper.WriteHeader(status)
}

// UnmarshalCaddyfile sets up the guard from Caddyfile tokens. Syntax:
//
//	replay off
//	replay {
//		window         <duration>
//		on_duplicate   reject|acknowledge
//		on_store_error reject|allow
//	}
func (r *Replay) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	switch args := d.RemainingArgs(); {
	case len(args) == 1 && args[0] == "off":
		r.Off = true
	case len(args) > 0:
		return d.Errf("replay takes `off` or a block, not '%s'", strings.Join(args, " "))
	}
	empty := true
	for nesting := d.Nesting(); d.NextBlock(nesting); empty = false {
		if r.Off {
			return d.Err("replay off takes no block")
		}
		var err error
		switch d.Val() {
		case "window":
			err = credential.Duration(d, &r.Window)
		case "on_duplicate":
			err = credential.OneOf(d, &r.OnDuplicate, "reject", "acknowledge")
		case "on_store_error":
			err = credential.OneOf(d, &r.OnStoreError, "reject", "allow")
		default:
			err = d.Errf("unknown option '%s' of replay", d.Val())
		}
		if err != nil {
			return err
		}
	}
	if empty && !r.Off {
		return d.Err("replay takes `off` or a block")
	}
	return nil
}
