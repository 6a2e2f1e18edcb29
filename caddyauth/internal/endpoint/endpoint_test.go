package endpoint

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAFollowedURLLeadsHereOnlyFromHere(t *testing.T) {
	for _, c := range []struct {
		from, to string
		taken    bool
	}{
		{"https://idp.example.com/", "https://keys.example.com/jwks", true},
		{"https://idp.example.com/", "http://keys.example.com/jwks", false},
		{"https://idp.example.com/", "https://127.0.0.1/jwks", false},
		{"https://idp.example.com/", "https://LOCALHOST/jwks", false},
		{"https://idp.example.com/", "https://[::1]/jwks", false},
		{"https://idp.example.com/", "https://[::ffff:127.0.0.1]/jwks", false},
		{"https://idp.example.com/", "http://127.0.0.1:2019/config/", false},
		{"http://127.0.0.1:8080/", "http://127.0.0.1:9090/jwks", true},
		{"http://localhost/", "https://idp.example.com/jwks", true},
	} {
		from, err := Parse(c.from)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Follow(from, c.to); (err == nil) != c.taken {
			t.Errorf("from %s to %s: %v", c.from, c.to, err)
		}
	}
}

func TestTheAddressBehindANameIsHeldToWhatTheURLMayReach(t *testing.T) {
	with := func(r reach) context.Context { return context.WithValue(t.Context(), reachKey{}, r) }
	for _, c := range []struct {
		address           string
		onlyHere, notHere bool
	}{
		{"127.0.0.1:80", true, false},
		{"[::1]:80", true, false},
		{"[::ffff:127.0.0.1]:80", true, false},
		{"0.0.0.0:80", false, false},
		{"[::]:80", false, false},
		{"169.254.169.254:80", false, false},
		{"[fe80::1%eth0]:80", false, false},
		{"224.0.0.1:80", false, false},
		{"10.0.0.1:443", false, true},
		{"192.0.2.1:443", false, true},
		{"not an address", false, false},
	} {
		if err := guard(with(anywhere), "tcp", c.address, nil); err != nil {
			t.Errorf("%s: %v for a configured https URL", c.address, err)
		}
		if err := guard(with(onlyHere), "tcp", c.address, nil); (err == nil) != c.onlyHere {
			t.Errorf("%s: %v for plain http", c.address, err)
		}
		if err := guard(with(notHere), "tcp", c.address, nil); (err == nil) != c.notHere {
			t.Errorf("%s: %v for somebody else's URL", c.address, err)
		}
	}
}

func TestAURLOfSomebodyElseReachesNothingHereWhateverItsNameMeans(t *testing.T) {
	called := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called++ }))
	defer server.Close()
	trusted := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	trusted.ServerName = "example.com"
	client := Client(0)
	client.Transport.(*http.Transport).TLSClientConfig = trusted
	named := strings.Replace(server.URL, "127.0.0.1", "localhost", 1) // a name, whose address shows when it is called
	for _, c := range []struct {
		ctx     context.Context
		reached bool
	}{{t.Context(), true}, {Outside(t.Context(), &url.URL{Scheme: "https", Host: "idp.example.com"}), false}} {
		r, err := http.NewRequestWithContext(c.ctx, http.MethodGet, named, nil)
		if err != nil {
			t.Fatal(err)
		}
		called = 0
		if _, _, err = Do(client, r, 10); (err == nil) != c.reached || (called > 0) != c.reached {
			t.Errorf("%v, called %d times", err, called)
		}
	}
}

func TestPlainHTTPIsHeldToThisMachineWhenItsNameIsResolved(t *testing.T) {
	for address, held := range map[string]bool{"http://localhost:1/": true, "https://localhost:1/": false} {
		var got any
		client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			got = ctx.Value(reachKey{})
			return nil, io.EOF
		}}}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Do(client, r, 10); err == nil || (got == onlyHere) != held {
			t.Errorf("%s may reach %v", address, got)
		}
	}
}

func TestAnAnswerIsReadToItsLimitAndNoFurther(t *testing.T) {
	for name, c := range map[string]struct {
		answer  func(w http.ResponseWriter)
		failure Failure
	}{
		"as long as the limit": {func(w http.ResponseWriter) { _, _ = io.WriteString(w, "0123456789") }, ""},
		"a byte longer":        {func(w http.ResponseWriter) { _, _ = io.WriteString(w, "0123456789a") }, TooLarge},
		"compressed": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = io.WriteString(w, "0")
		}, TooLarge},
		"another status": {func(w http.ResponseWriter) { w.WriteHeader(http.StatusAccepted) }, Status},
		"a redirect": {func(w http.ResponseWriter) {
			w.Header().Set("Location", "/there")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}, Status},
		"broken off": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "5")
			_, _ = io.WriteString(w, "0")
		}, Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got := r.Header.Get("Accept-Encoding"); got != "identity" {
					t.Errorf("the call asks for the encoding %q", got)
				}
				if r.URL.Path != "/there" {
					c.answer(w)
				}
			}))
			defer server.Close()
			client := Client(1)
			defer client.CloseIdleConnections()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, _, err := Do(client, r, 10)
			var failed *Error
			if c.failure == "" {
				if err != nil || len(body) != 10 {
					t.Errorf("%d bytes, %v", len(body), err)
				}
			} else if !errors.As(err, &failed) || failed.Failure != c.failure || body != nil {
				t.Errorf("%v, want %s", err, c.failure)
			}
		})
	}
}

// FuzzParse: a URL that may be called is https, or leads to this machine as net/http reads it too; one that a document
// from elsewhere names never does.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"https://idp.example.com/jwks", "http://127.0.0.1:8080/", "http://localhost/", "http://[::1]/", "https://[::ffff:127.0.0.1]/", "http://127.1/", "http://2130706433/",
		"https://user:pass@h/", "https://h/#", "https:h", "http://localhost.example.com/", "http://LOCALHOST:80/a?b", "https://[fe80::1%25eth0]/", "//h/", "https://h:/", "HTTPS://h",
		"http://[::1%25lo]/", "http://127.0.0.1@evil.example/", "http://evil.example\\@127.0.0.1/", "https://\u0131dp.example/", "http:///127.0.0.1",
	} {
		f.Add(seed)
	}
	elsewhere, err := Parse("https://idp.example.com/")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := Parse(text)
		if err != nil {
			if len(text) > 12 && strings.Contains(err.Error(), text) {
				t.Errorf("the error holds the URL: %v", err)
			}
			return
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.String(), nil)
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", text, err)
		}
		host, _, err := net.SplitHostPort(r.URL.Host)
		if err != nil {
			host = strings.TrimSuffix(strings.TrimPrefix(r.URL.Host, "["), "]")
		}
		ip := net.ParseIP(host)
		here := strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
		if r.URL.User != nil || r.URL.Fragment != "" || host == "" || r.URL.Scheme != "https" && !(r.URL.Scheme == "http" && (here || strings.HasPrefix(host, "::1%"))) {
			t.Errorf("%q may be called", text)
		}
		if _, err := Follow(elsewhere, text); err == nil && here {
			t.Errorf("%q is followed to this machine", text)
		}
	})
}
