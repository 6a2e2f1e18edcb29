package testbed

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(Packets{})
	caddy.RegisterModule(Connections{})
}

// Secure is a Bed that speaks TLS: HTTP/1.1 and HTTP/2 on a TCP port, HTTP/3 on a UDP port, both of them the system's
// choice, on loopback.
type Secure struct {
	*Bed

	// TCP and UDP are the addresses, as host:port.
	TCP, UDP string

	// Roots has the certificate, which is for example.com.
	Roots *x509.CertPool

	door             *door
	certificate, key string
}

// RunSecure loads a Caddyfile of one site into a real Caddy with TLS, in place of the one that ran before. It is stopped
// when the test ends. There is no Do: the test brings its clients.
func RunSecure(t testing.TB, text string) *Secure {
	t.Helper()
	s := &Secure{Bed: &Bed{Receiver: NewReceiver(t)}, door: &door{id: fmt.Sprint(t.Name(), "#", beds.Add(1)), opened: make(chan struct{})}}
	s.secure = s
	s.certify(t)
	doors.Store(s.door.id, s.door)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
		doors.Delete(s.door.id)
		// Caddy shuts its servers down in the background, and keeps a socket for who wants the same address meanwhile.
		for end := time.Now().Add(20 * time.Second); caddy.ListenerUsage("quicudp", "127.0.0.1:0") > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Error("the HTTP/3 server does not shut down")
				break
			}
		}
	})
	s.Reload(t, text)
	close(s.door.opened)
	s.TCP, s.UDP = s.door.tcp.String(), s.door.udp.String()
	return s
}

// TLS is a client's configuration that trusts the Bed and speaks these protocols.
func (s *Secure) TLS(protocols ...string) *tls.Config {
	return &tls.Config{RootCAs: s.Roots, ServerName: "example.com", NextProtos: protocols, MinVersion: tls.VersionTLS13}
}

// certify makes a certificate that lasts for a day.
func (s *Secure) certify(t testing.TB) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "example.com"}, DNSNames: []string{"example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s.certificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	s.key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded}))
	s.Roots = x509.NewCertPool()
	s.Roots.AppendCertsFromPEM([]byte(s.certificate))
}

// listen makes the servers of a config listen where the Bed does.
func (s *Secure) listen(config *caddy.Config) error {
	var app map[string]any
	if err := json.Unmarshal(config.AppsRaw["http"], &app); err != nil {
		return err
	}
	app["grace_period"] = "5s"
	for _, server := range app["servers"].(map[string]any) {
		server := server.(map[string]any)
		server["listen"] = []string{"127.0.0.1:0"}
		server["automatic_https"] = map[string]any{"disable": true}
		server["tls_connection_policies"] = []any{map[string]any{}}
		server["packet_conn_wrappers"] = []any{map[string]any{"wrapper": "testbed", "id": s.door.id}}
		server["listener_wrappers"] = []any{map[string]any{"wrapper": "testbed", "id": s.door.id}, map[string]any{"wrapper": "tls"}}
	}
	var err error
	if config.AppsRaw["http"], err = json.Marshal(app); err != nil {
		return err
	}
	config.AppsRaw["tls"], err = json.Marshal(map[string]any{
		"disable_storage_clean": true, // it would be written to
		"certificates":          map[string]any{"load_pem": []any{map[string]any{"certificate": s.certificate, "key": s.key}}},
	})
	return err
}

// door is where the requests to a Bed come in, once all of it has started: Caddy starts its apps in any order, and does
// not mind a TLS handshake while the TLS app is still about it. The race detector does.
type door struct {
	id       string
	opened   chan struct{}
	tcp, udp net.Addr
}

// doors finds them by their id.
var doors sync.Map

// Packets is the door for HTTP/3. It also notes the port: of a UDP socket, Caddy does not log one that the system chose.
type Packets struct {
	// The id of the Bed.
	ID string `json:"id,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Packets) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.packetconns.testbed",
		New: func() caddy.Module { return new(Packets) },
	}
}

// WrapPacketConn gives a socket that hears nothing until the door is opened.
func (p Packets) WrapPacketConn(conn net.PacketConn) net.PacketConn {
	value, _ := doors.Load(p.ID)
	d := value.(*door)
	d.udp = conn.LocalAddr()
	return shutPackets{conn, d}
}

type shutPackets struct {
	net.PacketConn
	door *door
}

// ReadFrom reads one packet.
func (s shutPackets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := s.PacketConn.ReadFrom(b)
	if err == nil {
		<-s.door.opened
	}
	return n, from, err
}

// Connections is the door for HTTP/1.1 and HTTP/2.
type Connections struct {
	// The id of the Bed.
	ID string `json:"id,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Connections) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.listeners.testbed",
		New: func() caddy.Module { return new(Connections) },
	}
}

// WrapListener gives a listener that takes no connection until the door is opened.
func (c Connections) WrapListener(listener net.Listener) net.Listener {
	value, _ := doors.Load(c.ID)
	d := value.(*door)
	d.tcp = listener.Addr()
	return shutListener{listener, d}
}

type shutListener struct {
	net.Listener
	door *door
}

// Accept takes one connection.
func (s shutListener) Accept() (net.Conn, error) {
	conn, err := s.Listener.Accept()
	if err == nil {
		<-s.door.opened
	}
	return conn, err
}

// Interface guards
var (
	_ caddy.PacketConnWrapper = Packets{}
	_ caddy.ListenerWrapper   = Connections{}
)
