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
}

// Secure is a Bed that speaks TLS: HTTP/1.1 and HTTP/2 on a TCP port, HTTP/3 on a UDP port, both of them the system's
// choice, on loopback.
type Secure struct {
	*Bed

	// TCP and UDP are the addresses, as host:port.
	TCP, UDP string

	// Roots has the certificate, which is for example.com.
	Roots *x509.CertPool

	id               string
	certificate, key string
}

// RunSecure loads a Caddyfile of one site into a real Caddy with TLS, in place of the one that ran before. It is stopped
// when the test ends. There is no Do: the test brings its clients.
func RunSecure(t testing.TB, text string) *Secure {
	t.Helper()
	s := &Secure{Bed: &Bed{Receiver: NewReceiver(t)}, id: fmt.Sprint(t.Name(), "#", beds.Add(1))}
	s.secure = s
	s.certify(t)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
		sockets.Delete(s.id)
	})
	s.Reload(t, text)
	for _, line := range s.Logs.Lines(t, "port 0 listener") {
		s.TCP = fmt.Sprint(line["actual_address"])
	}
	if socket, ok := sockets.Load(s.id); ok {
		s.UDP = socket.(net.Addr).String()
	}
	if s.TCP == "" || s.UDP == "" {
		t.Fatalf("Caddy listens on TCP %q and UDP %q", s.TCP, s.UDP)
	}
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
	for _, server := range app["servers"].(map[string]any) {
		server := server.(map[string]any)
		server["listen"] = []string{"127.0.0.1:0"}
		server["automatic_https"] = map[string]any{"disable": true}
		server["tls_connection_policies"] = []any{map[string]any{}}
		server["packet_conn_wrappers"] = []any{map[string]any{"wrapper": "testbed", "id": s.id}}
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

// sockets finds the address of a Bed's UDP socket by the Bed's id.
var sockets sync.Map

// Packets tells a test on which port its HTTP/3 listens: of a UDP socket, Caddy logs no port that the system chose.
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

// WrapPacketConn notes the address, and gives the socket back as it is.
func (p Packets) WrapPacketConn(conn net.PacketConn) net.PacketConn {
	sockets.Store(p.ID, conn.LocalAddr())
	return conn
}

// Interface guard
var _ caddy.PacketConnWrapper = Packets{}
