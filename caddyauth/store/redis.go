package store

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/credential"
	"github.com/redis/go-redis/v9"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(Redis{})
}

// What a Redis store is when it is not told otherwise.
const (
	DefaultPrefix  = "caddyauth:"
	DefaultTimeout = 100 * time.Millisecond
)

// Redis keeps message ids and sessions in Redis (5 or newer) or Valkey, shared by every Caddy that names the same server
// and prefix. It connects when it is first needed, never while a config is loaded.
//
// Every operation is one script on one key, so it is atomic on the server and runs in a cluster as it is. Times are the
// server's own. An operation ends within the timeout, with an error where the server did not answer as it should; then
// nothing is let through.
//
// The server must not evict: set `maxmemory-policy noeviction`. Replication is asynchronous: when a primary is lost, a
// replica that takes its place may not know the ids of the last moments.
//
// With `rediss://` the certificate is verified against the system's roots, to which the environment variable
// SSL_CERT_FILE can add a private one.
//
// EXPERIMENTAL: Subject to change or removal.
type Redis struct {
	// Where the server is: `redis://[user[:password]@]host[:6379][/db]`, `rediss://…` for TLS, or
	// `unix://[user[:password]@]/path[?db=n]`. With `?cluster=true` it is a Redis Cluster, of which further nodes may be
	// named with `&addr=host:port`. Placeholders are resolved when the config is loaded; in the user and password each
	// stands for its value as it is, without percent-encoding. Prefer one for the password: what is written here can be
	// read back from the config API. Required.
	URL string `json:"url,omitempty"`

	// What all keys on the server begin with. Several Caddys that use the same prefix share what they remember. Takes
	// placeholders. Default: `caddyauth:`.
	Prefix string `json:"prefix,omitempty"`

	// How long an operation may take, connecting included. Default: 100ms.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	prefix    string // resolved
	clientKey clientKey
	client    *client
	holds     bool // whether Cleanup has the client to give up
}

// CaddyModule returns the Caddy module information.
func (Redis) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddyauth.stores.redis",
		New: func() caddy.Module { return new(Redis) },
	}
}

// Provision resolves the URL and takes hold of the client for it. It does not connect.
func (r *Redis) Provision(caddy.Context) error {
	if r.Timeout == 0 {
		r.Timeout = caddy.Duration(DefaultTimeout)
	}
	if r.Timeout < caddy.Duration(time.Millisecond) {
		return fmt.Errorf("timeout: %v is too short", time.Duration(r.Timeout))
	}
	if r.Prefix == "" {
		r.Prefix = DefaultPrefix
	}
	var err error
	if r.prefix, err = credential.Text("prefix", r.Prefix); err != nil {
		return err
	}
	server, err := parseServer(r.URL)
	if err != nil {
		return err
	}
	key := newClientKey(server, time.Duration(r.Timeout))
	value, _, err := pool.LoadOrNew(key, func() (caddy.Destructor, error) {
		return newClient(server, time.Duration(r.Timeout)), nil
	})
	if err != nil {
		return err
	}
	r.clientKey, r.client, r.holds = key, value.(*client), true
	return nil
}

// Reserve implements Store.
func (r *Redis) Reserve(ctx context.Context, key [32]byte, owner Owner, window time.Duration) (State, error) {
	if err := firstError(validate(window), validateOwner(owner)); err != nil {
		return Unknown, err
	}
	n, err := r.run(ctx, reserveScript, r.id(key), owner.String(), milliseconds(min(window, ReservationLease)), kept.String())
	switch {
	case err != nil:
		return Unknown, err
	case n == 0:
		return Reserved, nil
	case n == 1:
		return Fresh, nil
	case n == 2:
		return Kept, nil
	default:
		return Unknown, errUnexpected
	}
}

// Keep implements Store.
func (r *Redis) Keep(ctx context.Context, key [32]byte, window time.Duration) error {
	if err := validate(window); err != nil {
		return err
	}
	_, err := r.run(context.WithoutCancel(ctx), keepScript, r.id(key), kept.String(), milliseconds(window))
	return err
}

// Release implements Store.
func (r *Redis) Release(ctx context.Context, key [32]byte, owner Owner) error {
	if err := validateOwner(owner); err != nil {
		return err
	}
	_, err := r.run(context.WithoutCancel(ctx), releaseScript, r.id(key), owner.String())
	return err
}

// Acquire implements Store.
func (r *Redis) Acquire(ctx context.Context, group, session [32]byte, limit int, lease time.Duration) (bool, error) {
	if err := firstError(validate(lease), validateLimit(limit)); err != nil {
		return false, err
	}
	return r.yesOrNo(r.run(ctx, acquireScript, r.group(group), encode(session), milliseconds(lease), limit))
}

// Leave implements Store.
func (r *Redis) Leave(ctx context.Context, group, session [32]byte) error {
	_, err := r.run(context.WithoutCancel(ctx), leaveScript, r.group(group), encode(session))
	return err
}

// run runs one script on one key, within the timeout, and gives the number that it answered. A script answers with its
// number and the nonce that came with the call. So an answer that belongs to another call (CVE-2025-29923 was one way
// to get it), and that of a server which says OK to everything, are errors and not verdicts.
func (r *Redis) run(ctx context.Context, script *redis.Script, key string, args ...any) (int64, error) {
	timeout := time.Duration(r.Timeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	nonce := NewOwner().String()
	reply, err := r.client.run(ctx, script, key, append(args, nonce)...)
	if err != nil {
		return 0, describe(err, timeout)
	}
	pair, ok := reply.([]any)
	if !ok || len(pair) != 2 || pair[1] != any(nonce) {
		return 0, errUnexpected
	}
	n, ok := pair[0].(int64)
	if !ok || n < 0 {
		return 0, errUnexpected
	}
	return n, nil
}

// errUnexpected is the error of an answer that no script of ours gives. It does not quote it.
var errUnexpected = errors.New("redis: unexpected reply")

// yesOrNo reads the number of a script that answers with 1 or 0.
func (r *Redis) yesOrNo(n int64, err error) (bool, error) {
	if err == nil && n > 1 {
		err = errUnexpected
	}
	return err == nil && n == 1, err
}

func (r *Redis) id(key [32]byte) string    { return r.prefix + "id:" + encode(key) }
func (r *Redis) group(key [32]byte) string { return r.prefix + "sessions:" + encode(key) }

func encode(digest [32]byte) string { return base64.RawURLEncoding.EncodeToString(digest[:]) }

// milliseconds rounds up: what is remembered a little longer does no harm.
func milliseconds(d time.Duration) int64 {
	return int64((d-1)/time.Millisecond) + 1
}

// Cleanup lets go of the client. It is closed when no config holds it any more.
func (r *Redis) Cleanup() error {
	if !r.holds {
		return nil // Provision did not come that far: the reference is not ours to give up
	}
	r.holds = false // and r.client stays: a request of the old config may still be under way
	_, err := pool.Delete(r.clientKey)
	return err
}

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	redis <url> {
//		prefix  <text>
//		timeout <duration>
//	}
func (r *Redis) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the store's name
	args := d.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return d.Errf("store redis takes one URL: %d arguments given", len(args))
	}
	r.URL = args[0]
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "prefix":
			err = credential.One(d, &r.Prefix)
		case "timeout":
			err = credential.Duration(d, &r.Timeout)
		default:
			err = d.Errf("unknown option of store redis: '%s'", d.Val())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var (
	_ Store                 = (*Redis)(nil)
	_ caddy.Module          = Redis{}
	_ caddy.Provisioner     = (*Redis)(nil)
	_ caddy.CleanerUpper    = (*Redis)(nil)
	_ caddyfile.Unmarshaler = (*Redis)(nil)
)
