package store

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// testRedis provisions a store, and cleans it up after the test.
func testRedis(t *testing.T, url, prefix string, timeout time.Duration) *Redis {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	r := &Redis{URL: url, Prefix: prefix, Timeout: caddy.Duration(timeout)}
	if err := r.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// age makes everything under the prefix of r older by d: what a server would see after waiting that long.
func age(t *testing.T, r *Redis, d time.Duration) {
	t.Helper()
	ctx := context.Background()
	older := func(ctx context.Context, c redis.Cmdable) error {
		keys, err := c.Keys(ctx, r.prefix+"*").Result()
		for _, key := range keys {
			if strings.HasPrefix(key, r.prefix+"sessions:") {
				for _, z := range c.ZRangeWithScores(ctx, key, 0, -1).Val() {
					c.ZIncrBy(ctx, key, -float64(d.Milliseconds()), z.Member.(string))
				}
			}
			if left := c.PTTL(ctx, key).Val() - d; left > 0 {
				c.PExpire(ctx, key, left)
			} else {
				c.Del(ctx, key)
			}
		}
		return err
	}
	var err error
	if cluster, ok := r.client.UniversalClient.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return older(ctx, c) })
	} else {
		err = older(ctx, r.client)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestOneClientForEachConfiguration(t *testing.T) {
	server := miniredis.RunT(t)
	url := "redis://" + server.Addr()
	first := testRedis(t, url, "a:", time.Second)
	same := testRedis(t, url, "b:", time.Second)
	other := testRedis(t, url+"/1", "a:", time.Second)
	if first.client != same.client {
		t.Error("two stores on the same server have a client each")
	}
	if first.client == other.client {
		t.Error("two databases share a client")
	}
	mustReserve(t, first, testKey(1), true)
	mustReserve(t, same, testKey(1), true) // another prefix
	mustReserve(t, other, testKey(1), true)
	mustReserve(t, first, testKey(1), false)

	key, open := first.clientKey, first.client
	if err := first.Cleanup(); err != nil {
		t.Fatal(err)
	}
	mustReserve(t, same, testKey(1), false) // the other holder's client goes on
	if err := same.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if _, exists := pool.References(key); exists {
		t.Error("a client that nobody uses is still in the pool")
	}
	if err := open.Ping(t.Context()).Err(); !errors.Is(err, redis.ErrClosed) {
		t.Errorf("a client that nobody uses is not closed: %v", err)
	}
}

// Caddy cleans a config up while requests of it are still under way. What they tell the store is carried out all the same.
func TestTheLastWordsOfAConfigReachTheServer(t *testing.T) {
	server := miniredis.RunT(t)
	r := testRedis(t, "redis://"+server.Addr(), "", 5*time.Second)
	owner := NewOwner()
	if fresh, err := isFresh(r.Reserve(t.Context(), testKey(1), owner, time.Hour)); err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	mustReserve(t, r, testKey(2), true)
	if granted, err := r.Acquire(t.Context(), testKey(3), testKey(4), 1, time.Hour); err != nil || !granted {
		t.Fatal(granted, err)
	}
	if err := r.Cleanup(); err != nil {
		t.Fatal(err)
	}
	if err := firstError(r.Release(t.Context(), testKey(1), owner), r.Keep(t.Context(), testKey(2), time.Hour), r.Leave(t.Context(), testKey(3), testKey(4))); err != nil {
		t.Error(err)
	}
	if owner, err := server.Get(r.id(testKey(2))); owner != kept.String() || err != nil {
		t.Errorf("the id is held by %q, error %v", owner, err)
	}
	if keys := server.Keys(); len(keys) != 1 {
		t.Errorf("%d keys are left", len(keys))
	}
	eventually(t, "no connection is left", func() bool { return server.CurrentConnectionCount() == 0 })
}

// What the server is asked at that moment is answered.
func TestACleanupBreaksNoAnswerOff(t *testing.T) {
	asked, late := make(chan struct{}), make(chan struct{})
	server := serveFake(t, "tcp", "127.0.0.1:0", func(command []string) (string, bool) {
		if strings.HasPrefix(strings.ToUpper(command[0]), "EVAL") {
			close(asked)
			<-late
		}
		return honest(1)(command)
	})
	r := testRedis(t, "redis://"+server.listener.Addr().String(), "", 20*time.Second)
	answered := make(chan error)
	go func() {
		fresh, err := isFresh(r.Reserve(t.Context(), testKey(1), NewOwner(), time.Minute))
		if err == nil && !fresh {
			err = errors.New("not fresh")
		}
		answered <- err
	}()
	<-asked
	cleaned := make(chan error)
	go func() { cleaned <- r.Cleanup() }()
	eventually(t, "the config is cleaned up", func() bool { _, exists := pool.References(r.clientKey); return !exists })
	close(late)
	if err := firstError(<-answered, <-cleaned); err != nil {
		t.Error(err)
	}
}

func TestProvisionDoesNotConnect(t *testing.T) {
	server := miniredis.RunT(t)
	testRedis(t, "redis://"+server.Addr(), "", time.Second)
	if n := server.TotalConnectionCount(); n != 0 {
		t.Errorf("%d connections", n)
	}
}

func TestSecretsOfTheURLAreNotShown(t *testing.T) {
	const password = "p@ss/w:rd #%41+"
	server := miniredis.RunT(t)
	server.RequireUserAuth("caddy", password)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	r := testRedis(t, "redis://caddy:{file."+file+"}@"+server.Addr(), "", time.Second)
	mustReserve(t, r, testKey(1), true) // so the password arrived as it is

	shown, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(shown), "p@ss") || !strings.Contains(string(shown), "{file.") {
		t.Errorf("the config shows %s", shown)
	}

	wrong := testRedis(t, "redis://caddy:wrong-password@"+server.Addr(), "", time.Second)
	_, err = wrong.Reserve(t.Context(), testKey(2), NewOwner(), time.Minute)
	if err == nil || strings.Contains(err.Error(), "wrong-password") {
		t.Errorf("error %v", err)
	}
}

func TestURLs(t *testing.T) {
	t.Setenv("STORE_URL", "redis://:hunter2@db.example.com/3")
	t.Setenv("STORE_HOST", "db.example.com")
	t.Setenv("EMPTY", "")
	type want struct {
		network, addrs, user, password string
		db                             int
		tls, cluster                   bool
		err                            string
	}
	for url, want := range map[string]want{
		"redis://localhost":                          {network: "tcp", addrs: "localhost:6379"},
		"redis://localhost/":                         {network: "tcp", addrs: "localhost:6379"},
		"redis://10.0.0.1:7000/2":                    {network: "tcp", addrs: "10.0.0.1:7000", db: 2},
		"redis://[::1]":                              {network: "tcp", addrs: "[::1]:6379"},
		"redis://localhost?db=4":                     {network: "tcp", addrs: "localhost:6379", db: 4},
		"rediss://user:hunter2@localhost":            {network: "tcp", addrs: "localhost:6379", user: "user", password: "hunter2", tls: true},
		"redis://:hunter%202@{env.STORE_HOST}":       {network: "tcp", addrs: "db.example.com:6379", password: "hunter 2"},
		"{env.STORE_URL}":                            {network: "tcp", addrs: "db.example.com:6379", password: "hunter2", db: 3},
		"unix:///run/redis.sock":                     {network: "unix", addrs: "/run/redis.sock"},
		"unix://:hunter2@/run/redis.sock?db=1":       {network: "unix", addrs: "/run/redis.sock", password: "hunter2", db: 1},
		"redis://a:1?cluster=true":                   {network: "tcp", addrs: "a:1", cluster: true},
		"redis://a:1?cluster=true&addr=b:2&addr=c:3": {network: "tcp", addrs: "a:1 b:2 c:3", cluster: true},

		"":                                    {err: "is empty"},
		"{env.EMPTY}":                         {err: "is empty or cannot be read: {env.EMPTY}"},
		"redis://:{env.EMPTY}@localhost":      {err: "is empty or cannot be read: {env.EMPTY}"},
		"redis://:{hunter2}@localhost":        {err: "placeholder that is not known"},
		"localhost:6379":                      {err: "not a URL of the form"},
		"http://localhost":                    {err: "does not begin with redis://"},
		"redis://":                            {err: "no host"},
		"redis:///3":                          {err: "no host"},
		"redis://hunter2@localhost":           {err: "user without a password"},
		"redis://:hunter2 @localhost:x":       {err: "not a URL of the form"},
		"redis://user:12?hunter2@localhost":   {err: "none of db, cluster and addr"},
		"redis://user:12?hunter2&hunter2@lo":  {err: "none of db, cluster and addr"},
		"redis://localhost/hunter2":           {err: "the database is not a number"},
		"redis://localhost/-1":                {err: "the database is not a number"},
		"redis://localhost/1?db=2":            {err: "two databases"},
		"redis://localhost?db=2&db=3":         {err: "db stands twice"},
		"redis://localhost#hunter2":           {err: "not a URL of the form"},
		"rediss://localhost?skip_verify=true": {err: "none of db, cluster and addr"},
		"redis://localhost?read_timeout=1h":   {err: "none of db, cluster and addr"},
		"redis://localhost?max_retries=%zz":   {err: "do not parse"},
		"redis://localhost?cluster=maybe":     {err: "neither true nor false"},
		"redis://localhost?addr=b:2":          {err: "addr needs cluster=true"},
		"redis://localhost?cluster=1&addr=b":  {err: "not of the form host:port"},
		"redis://localhost:65536":             {err: "no port"},
		"rediss://localhost:0":                {err: "no port"},
		"redis://a?cluster=1&addr=b:70000":    {err: "not of the form host:port"},
		"redis://localhost/1?cluster=true":    {err: "no database but 0"},
		"unix://run/redis.sock":               {err: "three slashes"},
		"unix:///s?cluster=true":              {err: "not reached through a socket"},
	} {
		got, err := parseServer(url)
		if want.err != "" {
			if err == nil || !strings.Contains(err.Error(), want.err) || strings.Contains(strings.ReplaceAll(err.Error(), "{hunter2}", ""), "hunter2") {
				t.Errorf("%s: error %v; want %q", url, err, want.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		if got.network != want.network || strings.Join(got.addrs, " ") != want.addrs || got.user != want.user ||
			got.password != want.password || got.db != want.db || (got.tls != nil) != want.tls || got.cluster != want.cluster {
			t.Errorf("%s: %+v; want %+v", url, got, want)
		}
	}
}

func TestSettingsThatCannotWorkAreRefused(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	for name, r := range map[string]*Redis{
		"no URL":              {},
		"no such placeholder": {URL: "redis://localhost", Prefix: "{env.NOT_SET_ANYWHERE}"},
		"no time":             {URL: "redis://localhost", Timeout: caddy.Duration(time.Microsecond)},
		"less than no time":   {URL: "redis://localhost", Timeout: -1},
	} {
		if err := r.Provision(ctx); err == nil {
			t.Errorf("%s: taken", name)
		}
		if err := r.Cleanup(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRedisInACaddyfile(t *testing.T) {
	for input, want := range map[string]struct {
		redis Redis
		err   string
	}{
		"redis redis://h": {redis: Redis{URL: "redis://h"}},
		"redis redis://h {\nprefix p:\ntimeout 250ms\n}": {
			redis: Redis{URL: "redis://h", Prefix: "p:", Timeout: caddy.Duration(250 * time.Millisecond)},
		},
		"redis":                                        {err: "takes one URL: 0 arguments given"},
		"redis redis://a redis://b":                    {err: "takes one URL: 2 arguments given"},
		"redis redis://h {\nprefix\n}":                 {err: "prefix takes one argument"},
		"redis redis://h {\nprefix a b\n}":             {err: "prefix takes one argument"},
		"redis redis://h {\nprefix a\nprefix b\n}":     {err: "prefix: already specified"},
		"redis redis://h {\ntimeout 0\n}":              {err: "timeout: '0' is not a positive duration"},
		"redis redis://h {\ntimeout soon\n}":           {err: "timeout: 'soon' is not a positive duration"},
		"redis redis://h {\ntimeout 1s\ntimeout 1s\n}": {err: "timeout: already specified"},
		"redis redis://h {\npool 5\n}":                 {err: "unknown option of store redis: 'pool'"},
	} {
		r := new(Redis)
		checkCaddyfile(t, input, r.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input)), want.err)
		if want.err == "" && *r != want.redis {
			t.Errorf("%q: %+v; want %+v", input, *r, want.redis)
		}
	}
}
