package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// The README's own recipe for handing the identity on, taken from there: over no HTTP does a client's header that a
// receiver could take for it come through, and by no header does a client remove it.
func TestTheIdentityOfTheReadmeIsNeitherSpoofedNorRemoved(t *testing.T) {
	recipe := regexp.MustCompile("(?ms)^```caddyfile\n(reverse_proxy [^\n]*\n\theader_up X-Callback-Sender [^\n]*\n}\n)```").FindStringSubmatch(readme(t))
	if recipe == nil {
		t.Fatal("README.md has no recipe that hands the identity on")
	}
	bed := testbed.RunSecure(t, "https:// {\ncallback_auth vonage {\nsecret "+testbed.Secret+"\n}\n"+strings.Replace(recipe[1], "127.0.0.1:3000", "RECEIVER", 1)+"}\n")
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", bed.TCP)
	}
	two := &http.Transport{TLSClientConfig: bed.TLS("h2"), DialContext: dial, ForceAttemptHTTP2: true}
	defer two.CloseIdleConnections()
	three := dialH3(t, bed)

	// over are the ways to send a genuine callback with one more header.
	over := map[string]func(t *testing.T, name, value string) int{
		"HTTP/1.1": func(t *testing.T, name, value string) int {
			conn, err := tls.Dial("tcp", bed.TCP, bed.TLS("http/1.1"))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := fmt.Fprintf(conn, "POST /hook HTTP/1.1\r\nHost: example.com\r\nAuthorization: %s\r\n%s: %s\r\nContent-Length: %d\r\n\r\n%s",
				genuine(t, wireBody).get("authorization"), name, value, len(wireBody), wireBody); err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			return response.StatusCode
		},
		"HTTP/2": func(t *testing.T, name, value string) int {
			r := testbed.Vonage(t, wireBody, nil)
			r.RequestURI, r.URL.Scheme, r.URL.Host = "", "https", "example.com"
			r.Header[name] = append(r.Header[name], value)
			response, err := two.RoundTrip(r)
			if err != nil {
				return 0 // no header of HTTP/2, says the client
			}
			defer func() { _ = response.Body.Close() }()
			_, _ = io.Copy(io.Discard, response.Body)
			return response.StatusCode
		},
		"HTTP/3": func(t *testing.T, name, value string) int {
			if three.Context().Err() != nil {
				three = dialH3(t, bed) // an attack before this one has ended it
			}
			return (&h3{three.Conn, t}).ask(genuine(t, wireBody).with(strings.ToLower(name), value), wireBody)
		},
	}
	var attacks [][2]string
	for _, one := range []string{"-", "_", "."} {
		for _, other := range []string{"-", "_", "."} {
			name := "X" + one + "Callback" + other + "Sender"
			for _, spelling := range []string{name, strings.ToUpper(name), strings.ToLower(name)} {
				attacks = append(attacks, [2]string{spelling, "admin"}, [2]string{"Connection", spelling})
			}
		}
	}
	for _, name := range []string{"Connection", "Proxy-Connection", "Keep-Alive", "TE", "Trailer", "Upgrade"} {
		attacks = append(attacks, [2]string{name, "close, X-Callback-Sender"})
	}
	for proto, send := range over {
		passed := 0
		for _, attack := range attacks {
			status := send(t, attack[0], attack[1])
			received := bed.Receiver.Received()
			if status == http.StatusOK && len(received) == 1 {
				passed++
			}
			for _, r := range received {
				var said []string
				for name, values := range r.Header {
					if strings.EqualFold(strings.NewReplacer("_", "-", ".", "-").Replace(name), "X-Callback-Sender") {
						said = append(said, values...)
					}
				}
				if len(said) != 1 || said[0] != "47000001" {
					t.Errorf("%s, %s: %s: the receiver takes it for one by %q", proto, attack[0], attack[1], said)
				}
			}
		}
		if passed == 0 {
			t.Errorf("CONTROL: nothing gets through over %s", proto)
		}
	}
}
