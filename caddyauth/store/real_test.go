package store

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

// TestMain puts a certificate of our own in SSL_CERT_FILE, before anything asks for the system's roots: the documented
// way to trust a private one.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		panic(err)
	}
	certificate, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := writeCertificate(certificate, key); err != nil {
		panic(err)
	}
	tlsFiles = [2]string{certificate, key}
	if err := os.Setenv("SSL_CERT_FILE", certificate); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code)
	}))
}

// tlsFiles are the certificate for localhost and its key.
var tlsFiles [2]string

func writeCertificate(certificate, key string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return err
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	return firstError(
		os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER}), 0o600))
}

// redisServer returns the path of the program. Without one the test is skipped, or fails where CADDYAUTH_REAL=require.
func redisServer(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CADDYAUTH_REAL") == "require" {
		t.Fatal("redis-server is not installed")
	}
	t.Skip("redis-server is not installed")
	return ""
}

// startRedis runs a server until the test ends, or the function that it returns is called. options are lines of its
// configuration.
func startRedis(t *testing.T, dir string, options ...string) (stop func()) {
	t.Helper()
	config := filepath.Join(dir, "redis.conf")
	lines := append([]string{"dir " + dir, "save \"\"", "appendonly no", "daemonize no", "maxmemory-policy noeviction"}, options...)
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var output bytes.Buffer
	server := exec.Command(redisServer(t), config)
	server.Stdout, server.Stderr = &output, &output
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = server.Process.Kill()
			_ = server.Wait()
			if t.Failed() {
				t.Log(output.String())
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

// awaitServer returns when the store answers.
func awaitServer(t *testing.T, r *Redis) {
	t.Helper()
	eventually(t, "the server answers", func() bool {
		return r.Leave(t.Context(), [32]byte{}, [32]byte{}) == nil
	})
}

// eventually asks until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !so() {
		select {
		case <-limit.C:
			t.Fatalf("it never came that %s", what)
		case <-tick.C:
		}
	}
}

// freePort returns a port that was free a moment ago, below those that a Redis cluster cannot have.
func freePort(t *testing.T) string {
	t.Helper()
	for range 100 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		if port < 55535 {
			return strconv.Itoa(port)
		}
	}
	t.Fatal("no port below 55535")
	return ""
}

// realRedis starts a real server that is reached by a socket, with a password, by TLS, and one that is a cluster. It
// returns their URLs.
func realRedis(t *testing.T) map[string]string {
	t.Helper()
	dir, clusterDir := t.TempDir(), t.TempDir()
	socket, port, clusterPort, bus := filepath.Join(dir, "s"), freePort(t), freePort(t), freePort(t)
	t.Setenv("REDIS_PASSWORD", "p@ss:w/rd")
	startRedis(t, dir, "port 0", "bind 127.0.0.1", "unixsocket "+socket, "tls-port "+port,
		"tls-cert-file "+tlsFiles[0], "tls-key-file "+tlsFiles[1], "tls-auth-clients no", "requirepass p@ss:w/rd")
	startRedis(t, clusterDir, "port "+clusterPort, "bind 127.0.0.1", "cluster-enabled yes", "cluster-port "+bus)
	urls := map[string]string{
		"by socket, with a password": "unix://:{env.REDIS_PASSWORD}@" + socket,
		"by TLS, with a password":    "rediss://:{env.REDIS_PASSWORD}@localhost:" + port,
		"a cluster":                  "redis://127.0.0.1:" + clusterPort + "?cluster=true",
	}
	node := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + clusterPort})
	defer func() { _ = node.Close() }()
	eventually(t, "the cluster has its slots", func() bool {
		_ = node.ClusterAddSlotsRange(t.Context(), 0, 16383).Err()
		info, err := node.ClusterInfo(t.Context()).Result()
		return err == nil && strings.Contains(info, "cluster_state:ok")
	})
	for _, url := range urls {
		awaitServer(t, testRedis(t, url, "await:", 5*time.Second))
	}
	return urls
}

func TestARealRedisForgetsByItself(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	startRedis(t, dir, "port 0", "unixsocket "+socket)
	r := testRedis(t, "unix://"+socket, "", 5*time.Second)
	awaitServer(t, r)
	if fresh, err := isFresh(r.Reserve(t.Context(), testKey(1), NewOwner(), 50*time.Millisecond)); err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	if err := r.Keep(t.Context(), testKey(1), 50*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if granted, err := r.Acquire(t.Context(), testKey(1), testKey(2), 1, 50*time.Millisecond); err != nil || !granted {
		t.Fatal(granted, err)
	}
	eventually(t, "the id is fresh again", func() bool {
		fresh, err := isFresh(r.Reserve(t.Context(), testKey(1), NewOwner(), time.Minute))
		return err == nil && fresh
	})
	eventually(t, "the session has ended", func() bool {
		granted, err := r.Acquire(t.Context(), testKey(1), testKey(3), 1, time.Minute)
		return err == nil && granted
	})
	// Everything that is left has an end.
	c := r.client
	keys, err := c.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 2 {
		t.Fatalf("keys %q, error %v", keys, err)
	}
	for _, key := range keys {
		if ttl := c.PTTL(t.Context(), key).Val(); ttl <= 0 || ttl > time.Minute {
			t.Errorf("%s ends after %v", key, ttl)
		}
	}
}

// A message was let through while there was room for its reservation. When there is none left, it is kept all the same, in
// that place: it would pass again when its reservation is over.
func TestARealRedisThatIsFullKeepsWhatItReserved(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	startRedis(t, dir, "port 0", "unixsocket "+socket)
	r := testRedis(t, "unix://"+socket, "", 5*time.Second)
	awaitServer(t, r)
	owner := NewOwner()
	if fresh, err := isFresh(r.Reserve(t.Context(), testKey(1), owner, time.Hour)); err != nil || !fresh {
		t.Fatal(fresh, err)
	}
	mustReserve(t, r, testKey(2), true)
	if err := r.client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if fresh, err := isFresh(r.Reserve(t.Context(), testKey(3), NewOwner(), time.Hour)); err == nil || fresh {
		t.Fatalf("without room: fresh %v, error %v", fresh, err)
	}
	if err := firstError(r.Release(t.Context(), testKey(1), owner), r.Keep(t.Context(), testKey(2), time.Hour)); err != nil {
		t.Error(err)
	}
	if ttl := r.client.PTTL(t.Context(), r.id(testKey(2))).Val(); ttl <= ReservationLease {
		t.Errorf("what was delivered is kept for %v", ttl)
	}
	if state, err := r.Reserve(t.Context(), testKey(2), NewOwner(), time.Hour); state != Kept || err != nil {
		t.Errorf("state %v, error %v", state, err)
	}
}

func TestARealRedisWithACertificateOfSomebodyElseIsNotBelieved(t *testing.T) {
	dir := t.TempDir()
	port := freePort(t)
	if err := writeCertificate(filepath.Join(dir, "cert"), filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}
	startRedis(t, dir, "port 0", "bind 127.0.0.1", "tls-port "+port, "tls-cert-file "+filepath.Join(dir, "cert"),
		"tls-key-file "+filepath.Join(dir, "key"), "tls-auth-clients no")
	r := testRedis(t, "rediss://localhost:"+port, "", 5*time.Second)
	eventually(t, "the certificate is refused", func() bool {
		fresh, err := isFresh(r.Reserve(t.Context(), testKey(1), NewOwner(), time.Minute))
		if fresh || err == nil {
			t.Fatal("a server with the wrong certificate was believed")
		}
		return strings.Contains(err.Error(), "certificate")
	})
}

func TestARealRedisThatIsRestartedIsFoundAgain(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	options := []string{"port 0", "unixsocket " + socket}
	stop := startRedis(t, dir, options...)
	r := testRedis(t, "unix://"+socket, "", 5*time.Second)
	awaitServer(t, r)
	for round := range 5 {
		mustReserve(t, r, testKey(round), true)
		stop()
		for range 3 * poolSize { // more failures than the pool's own breaker bears
			if fresh, err := isFresh(r.Reserve(t.Context(), testKey(round), NewOwner(), time.Minute)); err == nil || fresh {
				t.Fatalf("without a server: fresh %v, error %v", fresh, err)
			}
		}
		if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		stop = startRedis(t, dir, options...)
		awaitServer(t, r)
	}
}

// The rows of the attack list that a store can answer for with a real server.
func TestAttackCasesOnARealRedis(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	startRedis(t, dir, "port 0", "unixsocket "+socket)
	url := "unix://" + socket
	first := testRedis(t, url, "", 5*time.Second)
	awaitServer(t, first)
	attackCases(t, first, func() *Redis { return testRedis(t, url, "", 4*time.Second) })
}

// attackCases shows what several stores on one server promise. another gives a store with a client of its own.
func attackCases(t *testing.T, first *Redis, another func() *Redis) {
	t.Run("rp-two-nodes-redis", func(t *testing.T) {
		second := another()
		if first.client == second.client {
			t.Fatal("not two clients")
		}
		key := Key(t.Name())
		mustReserve(t, first, key, true)
		mustReserve(t, second, key, false)
		if err := first.Keep(t.Context(), key, time.Hour); err != nil {
			t.Fatal(err)
		}
		mustReserve(t, second, key, false)
	})
	t.Run("rp-restart-redis", func(t *testing.T) { // Caddy restarts, and the ids are where they were
		key := Key(t.Name())
		before := another()
		mustReserve(t, before, key, true)
		if err := firstError(before.Keep(t.Context(), key, time.Hour), before.Cleanup()); err != nil {
			t.Fatal(err)
		}
		mustReserve(t, another(), key, false)
	})
	t.Run("rp-retry-after-5xx", func(t *testing.T) {
		key, owner := Key(t.Name()), NewOwner()
		if fresh, err := isFresh(first.Reserve(t.Context(), key, owner, time.Hour)); err != nil || !fresh {
			t.Fatal(fresh, err)
		}
		if err := first.Release(t.Context(), key, owner); err != nil {
			t.Fatal(err)
		}
		mustReserve(t, first, key, true)
	})
	t.Run("rp-retry-after-2xx", func(t *testing.T) {
		key := Key(t.Name())
		mustReserve(t, first, key, true)
		if err := first.Keep(t.Context(), key, time.Hour); err != nil {
			t.Fatal(err)
		}
		mustReserve(t, first, key, false)
	})
	t.Run("rp-jti-other-apikey", func(t *testing.T) {
		mustReserve(t, first, Key("vonage", "A", "jti"), true)
		mustReserve(t, first, Key("vonage", "B", "jti"), true)
		mustReserve(t, first, Key("vonage", "A", "jti"), false)
	})
	t.Run("something else under our key is an error", func(t *testing.T) {
		c := first.client
		key := Key(t.Name())
		if err := firstError(c.RPush(t.Context(), first.id(key), "x").Err(), c.Set(t.Context(), first.group(key), "x", 0).Err()); err != nil {
			t.Fatal(err)
		}
		if fresh, err := isFresh(first.Reserve(t.Context(), key, NewOwner(), time.Minute)); err == nil || fresh {
			t.Errorf("fresh %v, error %v", fresh, err)
		} else if want := "redis: the server refused: WRONGTYPE"; err.Error() != want && !strings.HasPrefix(err.Error(), "redis: the server refused") {
			t.Errorf("error %v; want %s", err, want)
		}
		if granted, err := first.Acquire(t.Context(), key, key, 1, time.Minute); err == nil || granted {
			t.Errorf("granted %v, error %v", granted, err)
		}
		if fresh, err := isFresh(first.Reserve(t.Context(), Key(fmt.Sprint(key)), NewOwner(), time.Minute)); err != nil || !fresh {
			t.Errorf("after it: fresh %v, error %v", fresh, err)
		}
	})
}
