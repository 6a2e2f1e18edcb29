package store

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/caddyserver/caddy/v2"
)

// Bounds of a client.
const (
	// poolSize is how many connections there are at most to one server, so that a server that hangs collects no more
	// of them.
	poolSize = 64

	// dialTimeout is how long connecting may take. It goes on when the operation that began it has given up, so that a
	// connection which takes longer than `timeout` to make (TLS, over a distance) is there for the next one.
	dialTimeout = time.Second

	// connMaxLifetime sees to it that a connection that went wrong in a way nobody noticed is not used for ever.
	connMaxLifetime = 5 * time.Minute

	// clusterRefresh is how old the table of a cluster may get before it is asked for anew, in the background. When a
	// primary is lost, nobody tells the client that a replica took over: it goes on asking where nobody answers until
	// then, which for go-redis by itself is a minute.
	clusterRefresh = time.Second
)

// client is a connection pool of go-redis, to one server or to a cluster.
type client struct {
	redis.UniversalClient
	server  server
	timeout time.Duration

	asked  sync.RWMutex // read-locked while the server is asked
	closed bool
}

// Destruct implements caddy.Destructor. It waits for answers that are still to come, for as long as the timeout.
func (c *client) Destruct() error {
	c.asked.Lock()
	defer c.asked.Unlock()
	c.closed = true
	return c.Close()
}

// run runs a script on the server. Caddy cleans a config up while requests of it are still under way, so the last words
// of those, such as that a message was delivered, may come when the pool is closed: they get a connection of their own.
func (c *client) run(ctx context.Context, script *redis.Script, key string, args ...any) (any, error) {
	c.asked.RLock()
	defer c.asked.RUnlock()
	if c.closed {
		own := newClient(c.server, c.timeout)
		defer func() { _ = own.Close() }()
		return script.Run(ctx, own, []string{key}, args...).Result()
	}
	return script.Run(ctx, c, []string{key}, args...).Result()
}

// clientKey is a digest of everything that shapes a client, secrets included, so that no secret is a key in clear.
type clientKey [32]byte

func newClientKey(s server, timeout time.Duration) clientKey {
	parts := append([]string{
		s.network, s.user, s.password, fmt.Sprint(s.db), fmt.Sprint(s.tls != nil), fmt.Sprint(s.cluster), timeout.String(),
	}, s.addrs...)
	return Key(parts...)
}

// newClient makes a client that does nothing until it is asked. There are no retries: the answer is due within timeout,
// and who asks again is the sender.
func newClient(s server, timeout time.Duration) *client {
	c := &client{server: s, timeout: timeout}
	options := &redis.UniversalOptions{
		Addrs:                 s.addrs,
		IsClusterMode:         s.cluster,
		Username:              s.user,
		Password:              s.password,
		DB:                    s.db,
		Dialer:                dialer(s),
		Protocol:              2, // nothing may come unasked
		MaxRetries:            -1,
		DialTimeout:           dialTimeout,
		DialerRetries:         1,
		ReadTimeout:           timeout,
		WriteTimeout:          timeout,
		PoolTimeout:           timeout,
		ContextTimeoutEnabled: true,
		PoolSize:              poolSize,
		MaxActiveConns:        poolSize,
		ConnMaxLifetime:       connMaxLifetime,
		ReadBufferSize:        4096,
		WriteBufferSize:       4096,
		PipelinePoolSize:      -1,
		DisableIdentity:       true, // one command fewer whose reply could come late
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
	if s.cluster {
		cluster := options.Cluster()
		cluster.ClusterStateReloadInterval = clusterRefresh
		cluster.DisableRoutingPolicies = true // each call names its key: there is no need to ask the server about commands
		c.UniversalClient = redis.NewClusterClient(cluster)
	} else {
		c.UniversalClient = redis.NewClient(options.Simple())
	}
	return c
}

// dialer connects over TCP or a socket, with TLS where the URL says so, and bounds what the server may answer.
func dialer(s server) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, _, addr string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		conn, err := new(net.Dialer).DialContext(ctx, s.network, addr)
		if err != nil {
			return nil, err
		}
		if s.tls == nil {
			return boundSocket(conn), nil
		}
		encrypted := tls.Client(conn, s.tls)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return &boundConn{Conn: encrypted}, nil
	}
}

// describe makes an error that may be logged. What go-redis says may quote what the server sent; this says only what
// kind of failure it was.
func describe(err error, timeout time.Duration) error {
	var network net.Error
	var operation *net.OpError
	var certificate *tls.CertificateVerificationError
	var answer redis.Error
	switch {
	case errors.Is(err, ErrReplyTooLarge):
		return fmt.Errorf("redis: %w", ErrReplyTooLarge)
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("redis: %w", context.Canceled)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, redis.ErrPoolTimeout), errors.Is(err, redis.ErrPoolExhausted),
		errors.As(err, &network) && network.Timeout():
		return fmt.Errorf("redis: no answer within %v: %w", timeout, context.DeadlineExceeded)
	case errors.As(err, &certificate):
		return fmt.Errorf("redis: %w", certificate)
	case errors.As(err, &operation):
		return fmt.Errorf("redis: %s: %w", operation.Op, operation.Err)
	case errors.Is(err, redis.Nil):
		return errUnexpected
	case errors.As(err, &answer):
		return fmt.Errorf("redis: the server refused: %s", code(answer.Error()))
	default:
		return errors.New("redis: the connection broke or the reply does not parse")
	}
}

// code returns the first word of an error reply, such as NOAUTH, READONLY or WRONGTYPE, if it looks like one.
func code(reply string) string {
	word, _, _ := strings.Cut(reply, " ")
	if word == "" || len(word) > 20 || strings.Trim(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
		return "an error of its own"
	}
	return word
}

func init() {
	redis.SetLogger(debugLogger{})
}

// debugLogger brings what go-redis says for itself into Caddy's log, at DEBUG: left alone, it writes a line to standard
// error for every connection that fails. Our own errors reach the log through the requests that meet them.
type debugLogger struct{}

// Printf implements the logger of go-redis.
func (debugLogger) Printf(_ context.Context, format string, args ...any) {
	caddy.Log().Named("caddyauth.stores.redis").Sugar().Debugf(format, args...)
}
