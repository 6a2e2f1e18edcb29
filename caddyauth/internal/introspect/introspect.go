// Package introspect asks an authorization server about opaque tokens (RFC 7662).
//
// It says yes only to a whole answer of status 200 whose `active` is the boolean true, and within the times that the
// answer gives. A token that the server does not call active is verdict.BadSignature: a credential that does not hold.
// Where the server's word could not be had, or our own client was refused there, the outcome is verdict.Unavailable,
// for that says nothing about the token.
//
// Scope and audience are left to the caller, who judges them after the cache, request by request.
package introspect

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/internal/endpoint"
	"github.com/caddyauth/callbacks/caddyauth/internal/flight"
	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// DefaultCache is how long an answer should be kept where the configuration does not say: as long may a token that was
// revoked go on being accepted (RFC 7662 §4).
const DefaultCache = 30 * time.Second

// The limits of a client.
const (
	maxToken    = 8 << 10         // bytes
	maxAnswer   = 64 << 10        // bytes
	maxInFlight = 64              // calls at once
	timeout     = 5 * time.Second // one call
	negative    = 5 * time.Second // how long an inactive token is remembered, at most
)

// Auth is the way in which the client authenticates itself (RFC 6749 §2.3.1).
type Auth string

// The ways.
const (
	Basic Auth = "basic" // client_secret_basic, which every server has to know
	Body  Auth = "body"  // client_secret_post
)

// Config says whom to ask, and as whom.
type Config struct {
	// URL of the introspection endpoint: https, or http to a loopback address.
	URL string

	// ClientID and ClientSecret are our own credentials there. Both are required: an endpoint that answers anybody
	// tells anybody which tokens are good.
	ClientID     string
	ClientSecret secret.Value

	// Auth is how they are sent. Empty: Basic.
	Auth Auth

	// Cache is how long an active token is remembered, never past its `exp`. 0: not at all.
	Cache time.Duration

	// Policy names what the answers are judged by. Clients of different policies never share an answer.
	Policy string

	// Leeway is how far `nbf` may lie ahead, for clocks that differ.
	Leeway time.Duration

	// Client makes the calls. nil: one of this package's own, which is what everything but a test wants.
	Client *http.Client

	// Now tells the time. nil: clock.Now.
	Now func(context.Context) time.Time
}

// Client asks one server. It may be used by many goroutines at once.
type Client struct {
	config Config
	url    string
	client *http.Client
	now    func(context.Context) time.Time
	calls  flight.Group

	mu       sync.Mutex
	asked    map[key]*question
	active   cache
	inactive cache
}

// question is one call under way. answer and err are set when it has ended.
type question struct {
	*flight.Call
	answer *Answer
	err    error
}

// New checks a configuration. It calls nobody.
func New(config Config) (*Client, error) {
	u, err := endpoint.Parse(config.URL)
	if err != nil {
		return nil, fmt.Errorf("introspection URL: %w", err)
	}
	switch {
	case config.ClientID == "":
		return nil, errors.New("client_id is empty")
	case config.ClientSecret.Empty():
		return nil, errors.New("client_secret is empty")
	case config.Auth != "" && config.Auth != Basic && config.Auth != Body:
		return nil, fmt.Errorf("client_auth is basic or body, not %q", config.Auth)
	case config.Cache < 0 || config.Leeway < 0:
		return nil, errors.New("a duration is negative")
	}
	c := &Client{
		config:   config,
		url:      u.String(),
		client:   config.Client,
		now:      config.Now,
		asked:    map[key]*question{},
		active:   newCache(maxEntries, maxCached),
		inactive: newCache(maxEntries, maxCached),
	}
	if c.now == nil {
		c.now = clock.Now
	}
	if c.client == nil {
		c.client = endpoint.Client(8)
	}
	return c, nil
}

// Check asks what the server knows of token, unless it was asked a moment ago. It returns the answer about a token that
// is active now, or a refusal: verdict.BadCredential for an empty or overlong token, which the server never sees;
// verdict.BadSignature for one that is not active; verdict.Expired and verdict.NotYetValid by the answer's times, on
// every call; verdict.Unavailable where nobody could tell.
//
// The answer is shared with other callers and must not be changed.
func (c *Client) Check(ctx context.Context, token string) (*Answer, error) {
	if token == "" || len(token) > maxToken {
		return nil, verdict.Errorf(verdict.BadCredential, "the token is empty or longer than %d bytes", maxToken)
	}
	answer, err := c.ask(ctx, token)
	if err != nil {
		return nil, err
	}
	if !answer.Active {
		return nil, verdict.Errorf(verdict.BadSignature, "the authorization server does not call the token active")
	}
	now := c.now(ctx)
	if !answer.Expires.IsZero() && !now.Before(answer.Expires) {
		return nil, verdict.Errorf(verdict.Expired, "the token has expired")
	}
	if !answer.NotBefore.IsZero() && now.Add(c.config.Leeway).Before(answer.NotBefore) {
		return nil, verdict.Errorf(verdict.NotYetValid, "the token is not valid yet")
	}
	return answer, nil
}

// ask gives the server's answer, an earlier one or a new one. Callers with the same token share a call.
func (c *Client) ask(ctx context.Context, token string) (*Answer, error) {
	id := c.key(token)
	now := c.now(ctx)
	c.mu.Lock()
	if answer, ok := c.active.get(id, now); ok {
		c.mu.Unlock()
		return answer, nil
	}
	if answer, ok := c.inactive.get(id, now); ok {
		c.mu.Unlock()
		return answer, nil
	}
	q, ok := c.asked[id]
	if !ok || !q.Join() {
		if len(c.asked) >= maxInFlight {
			c.mu.Unlock()
			return nil, verdict.Errorf(verdict.Unavailable, "too many introspection calls are under way")
		}
		q = new(question)
		c.asked[id] = q
		q.Call = c.calls.Go(timeout, func(ctx context.Context) { c.put(ctx, q, id, token, now) })
	}
	c.mu.Unlock()
	if q.Wait(ctx) != nil {
		return nil, verdict.Errorf(verdict.Unavailable, "the introspection answer did not come in time")
	}
	return q.answer, q.err
}

// put asks one question, and remembers the answer.
func (c *Client) put(ctx context.Context, q *question, id key, token string, now time.Time) {
	q.answer, q.err = c.call(ctx, token)
	if c.calls.Closed() {
		c.client.CloseIdleConnections() // nobody else will use this one
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked[id] == q {
		delete(c.asked, id)
	}
	if q.err == nil {
		c.remember(id, q.answer, now)
	}
}

// remember keeps an answer, counted from when it was asked for. Inactive tokens are kept apart, so that a flood of
// made-up ones pushes no good one out.
func (c *Client) remember(id key, answer *Answer, now time.Time) {
	until := now.Add(c.config.Cache)
	if !answer.Active {
		c.inactive.put(id, answer, now, now.Add(min(c.config.Cache, negative)))
		return
	}
	if !answer.Expires.IsZero() && answer.Expires.Before(until) {
		until = answer.Expires
	}
	c.active.put(id, answer, now, until)
}

// call asks the server. Its goroutine is not one of net/http's, which outlive a panic; so it has to see to that itself.
func (c *Client) call(ctx context.Context, token string) (answer *Answer, err error) {
	defer func() {
		if recover() != nil {
			answer, err = nil, malformed("cannot be read")
		}
	}()
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	if c.config.Auth == Body {
		form.Set("client_id", c.config.ClientID)
		form.Set("client_secret", string(c.config.ClientSecret.Bytes()))
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader([]byte(form.Encode())))
	if err != nil {
		return nil, verdict.Errorf(verdict.Unavailable, "the introspection call cannot be made")
	}
	// A kept connection may be closed by the server just as it is used again. To ask twice does no harm, so the transport
	// may; an empty value says that to net/http and is not sent.
	r.Header["Idempotency-Key"] = nil
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if c.config.Auth != Body {
		// RFC 6749 §2.3.1 wants both parts form-encoded before they are joined; a colon in either would shift the border.
		id, code := url.QueryEscape(c.config.ClientID), url.QueryEscape(string(c.config.ClientSecret.Bytes()))
		r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(id+":"+code)))
	}
	body, _, err := endpoint.Do(c.client, r, maxAnswer)
	var failed *endpoint.Error
	switch {
	case errors.As(err, &failed) && failed.Failure == endpoint.Status:
		if failed.Status == http.StatusUnauthorized || failed.Status == http.StatusForbidden {
			return nil, verdict.Errorf(verdict.Unavailable, "the introspection endpoint refuses our own client_id and client_secret (status %d)", failed.Status)
		}
		return nil, verdict.Errorf(verdict.Unavailable, "the introspection endpoint answered with status %d", failed.Status)
	case err != nil:
		return nil, verdict.Errorf(verdict.Unavailable, "the introspection call failed: %s", err)
	}
	return parse(body)
}

// Close drops connections that are idle, and ends the calls for which no request is waiting. Requests that are under way
// are decided: that their configuration was replaced is no reason to refuse a good token.
func (c *Client) Close() {
	c.calls.Close()
	c.client.CloseIdleConnections()
}
