package token

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/internal/introspect"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/internal/jwks"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
)

// shared holds the key sets and introspection clients of all configurations, by a hash of their settings. They outlive
// a reload, so that it costs no fetch and forgets nothing, and end with the last configuration that uses them.
var shared = caddy.NewUsagePool()

// sharedID is what a shared value is found by. Settings may be secret, so that they are hashed, each with its length
// before it: no two settings run together.
type sharedID [sha256.Size]byte

func idOf(settings ...string) sharedID {
	hash := sha256.New()
	for _, setting := range settings {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(setting)))
		hash.Write(length[:])
		hash.Write([]byte(setting))
	}
	return sharedID(hash.Sum(nil))
}

// lease is one configuration's hold on a shared value.
type lease struct {
	id    sharedID
	ended sync.Once
}

// end lets go of the value, once however often it is called: a second time would take it from another configuration.
func (l *lease) end() {
	l.ended.Do(func() { _, _ = shared.Delete(l.id) })
}

// Keys are keys that others publish, as one configuration holds them.
type Keys struct {
	lease
	set     *sharedSet
	logger  *zap.Logger
	metrics *app.Metrics
	warned  string // what was last said about the keys; of set.mu
}

// sharedSet is a key set, and the configurations that hold it.
type sharedSet struct {
	*jwks.Set

	mu      sync.Mutex
	holders []*Keys // in the order in which they came
}

// OpenKeys gives the keys of a configuration. It reads and calls nothing. Close is to be called once per success.
func OpenKeys(ctx caddy.Context, config jwks.Config) (*Keys, error) {
	a, err := app.Of(ctx)
	if err != nil {
		return nil, err
	}
	k := &Keys{logger: ctx.Logger(), metrics: a.Metrics()}
	k.id = idOf("jwks", config.JWKS, config.Metadata, config.File, config.Issuer)
	value, _, err := shared.LoadOrNew(k.id, func() (caddy.Destructor, error) {
		set, err := jwks.New(config)
		if err != nil {
			return nil, err
		}
		s := &sharedSet{Set: set}
		set.OnRefresh(s.refreshed)
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	k.set = value.(*sharedSet)
	a.Watch(app.KindKeySet, placeOf(config), k.set.shown)
	k.set.mu.Lock()
	defer k.set.mu.Unlock()
	k.set.holders = append(k.set.holders, k)
	return k, nil
}

// Find gives the keys that a token may have been signed with. It is a jose.KeySource.
func (k *Keys) Find(ctx context.Context, unverified *jose.Token) ([]jose.Key, error) {
	return k.set.Keys(ctx, unverified)
}

// Issuer gives the issuer that the keys are of, or "" where nothing says. Its errors are verdict.Unavailable.
func (k *Keys) Issuer(ctx context.Context) (string, error) {
	return k.set.Issuer(ctx)
}

// checkIssuer holds the issuer of a genuine token against the provider metadata, where there is any. allowed are the
// configured issuers, which the token has been held against already. Without them the metadata's word counts; with
// them the metadata must be of one of them, or one issuer could speak for another (OpenID Connect Discovery 1.0 §4.3).
func (k *Keys) checkIssuer(ctx context.Context, t *jose.Token, allowed []string) error {
	published, err := k.Issuer(ctx)
	switch {
	case err != nil:
		return err
	case published == "":
		return nil
	case len(allowed) == 0 && t.Issuer != published:
		return verdict.Errorf(verdict.BadClaim, "iss is not the issuer of the provider metadata")
	case len(allowed) > 0 && !slices.Contains(allowed, published):
		return verdict.Errorf(verdict.Unavailable, "the provider metadata is of another issuer than configured")
	}
	return nil
}

// Close lets go of the keys. They go on serving requests that are under way. Calls after the first do nothing.
func (k *Keys) Close() {
	if k == nil {
		return
	}
	k.set.mu.Lock()
	k.set.holders = slices.DeleteFunc(k.set.holders, func(holder *Keys) bool { return holder == k })
	k.set.mu.Unlock()
	k.end()
}

// refreshed has the newest configuration say what came of a fetch: the logs of those before it may be closed.
func (s *sharedSet) refreshed(result jwks.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.holders) > 0 {
		s.holders[len(s.holders)-1].report(result, s.Health())
	}
}

// report counts a fetch, and warns of what an operator should know. What stays as it is, is said once.
func (k *Keys) report(result jwks.Result, health jwks.Health) {
	k.metrics.JWKSRefresh(result == jwks.OK)
	if result != jwks.OK {
		k.logger.Warn("keys could not be fetched", zap.String("result", string(result)), zap.Time("last_success", health.LastSuccess))
		return
	}
	state := fmt.Sprint(health.Skipped, health.Private)
	if state == k.warned {
		return
	}
	k.warned = state
	if len(health.Skipped) > 0 {
		k.logger.Warn("some published keys are not used", zap.Any("skipped", health.Skipped), zap.Int("used", health.Keys))
	}
	if health.Private > 0 {
		k.logger.Warn("private keys are published: whoever reads them can sign", zap.Int("keys", health.Private))
	}
}

// Destruct ends the set, after the last configuration that used it.
func (s *sharedSet) Destruct() error {
	s.Close()
	return nil
}

// sharedClient is an introspection client.
type sharedClient struct{ *introspect.Client }

// Destruct ends the client, after the last configuration that used it.
func (c sharedClient) Destruct() error {
	c.Close()
	return nil
}

// asked is an introspection client as one configuration holds it.
type asked struct {
	lease
	*introspect.Client
}

// openClient gives a client for these settings. It calls nobody. Its lease is to be ended once per success.
func openClient(config introspect.Config) (*asked, error) {
	a := new(asked)
	a.id = idOf("introspection", config.URL, config.ClientID, string(config.ClientSecret.Bytes()), string(config.Auth),
		config.Cache.String(), config.Leeway.String(), config.Policy)
	value, _, err := shared.LoadOrNew(a.id, func() (caddy.Destructor, error) {
		client, err := introspect.New(config)
		if err != nil {
			return nil, err
		}
		return sharedClient{client}, nil
	})
	if err != nil {
		return nil, err
	}
	a.Client = value.(sharedClient).Client
	return a, nil
}

// Interface guards
var (
	_ caddy.Destructor = (*sharedSet)(nil)
	_ caddy.Destructor = sharedClient{}
)
