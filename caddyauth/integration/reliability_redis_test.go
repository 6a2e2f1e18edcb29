package integration

import (
	"bytes"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a real Redis on a port of its own, that writes down every id before it answers: it loses none when it
// is killed.
type redisServer struct {
	t       *testing.T
	addr    string
	config  string
	process *exec.Cmd
	client  *redis.Client
}

// startRedisServer runs one for the length of the test. options are further lines of its configuration.
func startRedisServer(t *testing.T, options ...string) *redisServer {
	t.Helper()
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	_ = listener.Close()
	_, port, _ := net.SplitHostPort(addr)
	lines := append([]string{
		"dir " + dir, "bind 127.0.0.1", "port " + port, "save \"\"", "appendonly yes", "appendfsync always", "daemonize no",
		"maxmemory-policy noeviction",
	}, options...)
	s := &redisServer{t: t, addr: addr, config: filepath.Join(dir, "redis.conf"), client: redis.NewClient(&redis.Options{Addr: addr})}
	if err := os.WriteFile(s.config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	t.Cleanup(func() {
		_ = s.client.Close()
		s.kill()
	})
	return s
}

func (s *redisServer) url() string { return "redis://" + s.addr }

// start starts it, and waits until it answers.
func (s *redisServer) start() {
	s.t.Helper()
	var output bytes.Buffer
	s.process = exec.Command("redis-server", s.config)
	s.process.Stdout, s.process.Stderr = &output, &output
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, "Redis answers", func() bool { return s.client.Ping(s.t.Context()).Err() == nil })
}

// kill ends it at once.
func (s *redisServer) kill() {
	_ = s.process.Process.Kill()
	_ = s.process.Wait()
}

// hang stops it where it is, without closing anything; resume lets it go on.
func (s *redisServer) hang()   { _ = s.process.Process.Signal(syscall.SIGSTOP) }
func (s *redisServer) resume() { _ = s.process.Process.Signal(syscall.SIGCONT) }

// fault is a fake between the plugin and a real server, which can do to their conversation what networks and broken
// servers do.
type fault string

const (
	none       fault = "none"       // it passes all on
	refused    fault = "refused"    // connections are reset, and none is answered
	blackholed fault = "blackholed" // connections are made, and nothing comes back
	slow       fault = "slow"       // answers come only when the fault ends
	garbage    fault = "garbage"    // answers are garbage
)

// middle is the fake. It listens on a port of its own, and passes on to a server.
type middle struct {
	listener net.Listener
	server   string

	mu    sync.Mutex
	fault fault
	ended chan struct{} // closed when the fault ends
	conns map[net.Conn]bool
	most  int // connections at once
	all   sync.WaitGroup
}

func startMiddle(t *testing.T, server string) *middle {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &middle{listener: listener, server: server, fault: none, ended: make(chan struct{}), conns: make(map[net.Conn]bool)}
	m.all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			m.all.Go(func() { m.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		m.set(refused)
		m.set(none)
		m.all.Wait()
	})
	return m
}

// set brings on a fault, or ends it. Conversations under way are held by it too.
func (m *middle) set(f fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.ended)
	m.ended, m.fault = make(chan struct{}), f
	if f == refused {
		for conn := range m.conns {
			reset(conn)
		}
	}
}

func (m *middle) now() (fault, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fault, m.ended
}

func (m *middle) track(conn net.Conn, on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if on {
		m.conns[conn] = true
		m.most = max(m.most, len(m.conns))
	} else {
		delete(m.conns, conn)
	}
}

func (m *middle) serve(conn net.Conn) {
	defer conn.Close()
	if f, _ := m.now(); f == refused {
		reset(conn)
		return
	}
	m.track(conn, true)
	defer m.track(conn, false)
	server, err := net.DialTimeout("tcp", m.server, 100*time.Millisecond) // a stopped one takes no more at some time
	if err != nil {
		return
	}
	defer server.Close()
	gone := make(chan struct{})
	m.all.Go(func() {
		_, _ = io.Copy(server, conn)
		_ = server.Close()
		m.track(conn, false) // the client has closed it
		close(gone)
	})
	answer := make([]byte, 4096)
	for {
		n, err := server.Read(answer)
		if err != nil {
			return
		}
		switch f, ended := m.now(); f {
		case blackholed:
			continue
		case slow:
			select {
			case <-ended:
			case <-gone:
				return
			}
		case garbage:
			copy(answer[:n], bytes.Repeat([]byte("garbage\r\n"), n/9+1))
		case none, refused:
		}
		if _, err := conn.Write(answer[:n]); err != nil {
			return
		}
	}
}

// reset closes a connection with a RST.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
