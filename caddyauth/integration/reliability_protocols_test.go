package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// A request is judged by what it says, whichever HTTP it comes by.
func TestReliabilityR23SameVerdictsOverEveryHTTP(t *testing.T) {
	c := newCorpus(t)
	now := time.Now()
	expected := make(map[string]string, len(c.cases))
	inside := testbed.New(t, c.text())
	for _, one := range c.cases {
		r := one.make()
		r.TLS, r.RemoteAddr = &tls.ConnectionState{HandshakeComplete: true}, "127.0.0.1:40000"
		result := inside.Do(t, r.WithContext(clock.At(t.Context(), now)))
		expected[one.name] = fmt.Sprint(result.Status, result.Body == "received")
	}

	bed := testbed.RunSecure(t, strings.Replace(c.text(), "http:// {", "https:// {", 1))
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", bed.TCP)
	}
	three := &http3.Transport{TLSClientConfig: bed.TLS("h3"), Dial: func(ctx context.Context, _ string, config *tls.Config, settings *quic.Config) (*quic.Conn, error) {
		return quic.DialAddrEarly(ctx, bed.UDP, config, settings)
	}}
	defer func() { _ = three.Close() }()
	one := &http.Transport{TLSClientConfig: bed.TLS("http/1.1"), DialContext: dial}
	defer one.CloseIdleConnections()
	two := &http.Transport{TLSClientConfig: bed.TLS("h2"), DialContext: dial, ForceAttemptHTTP2: true}
	defer two.CloseIdleConnections()
	for proto, transport := range map[string]http.RoundTripper{"HTTP/1.1": one, "HTTP/2.0": two, "HTTP/3.0": three} {
		reached := 0
		for _, sent := range c.cases {
			r := sent.make()
			r.RequestURI, r.URL.Scheme, r.URL.Host = "", "https", "example.com"
			response, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatalf("%s, %s: %v", proto, sent.name, err)
			}
			body, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err != nil || response.Proto != proto {
				t.Fatalf("%s, %s: answered over %s: %v", proto, sent.name, response.Proto, err)
			}
			if string(body) == "received" {
				reached++
			}
			if got := fmt.Sprint(response.StatusCode, string(body) == "received"); got != expected[sent.name] {
				t.Errorf("%s over %s: %s, want %s", sent.name, proto, got, expected[sent.name])
			}
		}
		if reached == 0 {
			t.Errorf("CONTROL: nothing gets through over %s", proto)
		}
		held(t, "%d requests over %s, %d of which get through: the same verdicts as without a network", len(c.cases), proto, reached)
	}
}
