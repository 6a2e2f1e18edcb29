package integration

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"go.uber.org/goleak"

	"github.com/caddyserver/caddy/v2"
)

// loadFor is how long the load lasts: `go test ./caddyauth/integration -run UnderLoad -load 5m`.
var loadFor = flag.Duration("load", 4*time.Second, "how long the reloads under load go on")

const (
	loadReloads = 30
	loadPause   = 5 * time.Millisecond // between requests: 200 a second
	loadUsers   = 10
)

// loadSite has a gate for callbacks and a hook that counts sessions. MARK makes each config another one.
const loadSite = `http:// {
	handle /callback {
		callback_auth vonage {
			secret ` + testbed.Secret + `
		}
		respond "received, MARK"
	}
	handle /hook {
		stream_auth icecast {
			token {
				jwt {
					secret ` + testbed.Secret + `
				}
			}
			allow under-load {
				token valid
				max_sessions 1 per user
			}
		}
	}
}
`

// load is what goes on while configs are swapped.
type load struct {
	t      *testing.T
	client *http.Client
	server string // the media server's name: no other run's

	mu       sync.Mutex
	failures []string
	counts   map[string]int
}

// send sends a request and holds the answer to be status, and for a hook to have or not to have what allows.
//
// net/http closes a connection that was accepted before its server began to shut down and whose request was read after
// that: no handler sees that request, and every sender tries again. So does this one; a request that came to anything
// the first time would fail the second.
func (l *load) send(kind string, r *http.Request, status int) {
	response, err := l.client.Do(r)
	for again := 0; again < 3 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)); again++ {
		l.count("closed without an answer")
		r.Body, _ = r.GetBody()
		response, err = l.client.Do(r)
	}
	failure := ""
	if err != nil {
		failure = err.Error()
	} else {
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		allowed := response.Header.Get("Icecast-Auth-User") != ""
		if err != nil || response.StatusCode != status || allowed != (kind == "good session") {
			failure = fmt.Sprintf("status %d, should be %d; allowed: %t; %v", response.StatusCode, status, allowed, err)
		}
	}
	l.count(kind)
	l.mu.Lock()
	defer l.mu.Unlock()
	if failure != "" {
		l.failures = append(l.failures, kind+": "+failure)
	}
}

func (l *load) count(kind string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[kind]++
}

func (l *load) request(path, contentType, body, authorization string) *http.Request {
	r, err := http.NewRequest(http.MethodPost, "http://gate.test"+path, strings.NewReader(body))
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Content-Type", contentType)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	return r
}

// callback is one of Vonage's, genuine if secret is. Its id is what makes it pass once.
func (l *load) callback(secret, id string) *http.Request {
	const body = `{"event":"connectionCreated"}`
	token := testbed.HS256(l.t, secret, nil, testbed.VonageClaims(body, map[string]any{"jti": id}))
	return l.request("/callback", "application/json", body, "Bearer "+token)
}

// hook is one of Icecast's, for a user's listener.
func (l *load) hook(action, client, user, secret string) *http.Request {
	token := testbed.HS256(l.t, secret, nil, map[string]any{"sub": user, "stream": "live.mp3", "exp": time.Now().Add(time.Hour).Unix()})
	form := url.Values{
		"action": {action}, "server": {l.server}, "port": {"8000"}, "client": {client}, "mount": {"/live.mp3?token=" + token},
		"user": {""}, "pass": {""}, "ip": {"192.0.2.7"}, "agent": {"VLC"},
	}
	return l.request("/hook", "application/x-www-form-urlencoded", form.Encode(), "")
}

func TestReloadsUnderLoadLoseNothing(t *testing.T) {
	testbed.Run(t, "http:// {\n\trespond \"first\"\n}\n") // the first load starts what lives as long as the process
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	before, descriptors := goleak.IgnoreCurrent(), openDescriptors("self")

	config := func(n int) string { return strings.ReplaceAll(loadSite, "MARK", fmt.Sprint("config ", n)) }
	bed := testbed.Run(t, config(0))
	l := &load{t: t, client: bed.Client(), server: fmt.Sprint("load-", time.Now().UnixNano()), counts: make(map[string]int)}

	// What has to be remembered: a message that was delivered, and a session of each user.
	l.send("good callback", l.callback(testbed.Secret, l.server+"-first"), http.StatusOK)
	for user := range loadUsers {
		l.send("good session", l.hook("listener_add", fmt.Sprint(user), fmt.Sprint("user-", user), testbed.Secret), http.StatusOK)
	}

	var sent sync.WaitGroup
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		pause := time.NewTicker(loadPause)
		defer pause.Stop()
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-pause.C:
			}
			kind, request, status := l.mix(n)
			sent.Go(func() { l.send(kind, request, status) })
		}
	}()
	for n := range loadReloads {
		bed.Reload(t, config(n+1))
		time.Sleep(*loadFor / loadReloads) // the load's length, and no waiting for anything
	}
	close(stop)
	<-stopped
	sent.Wait()

	// Still remembered; and a session that is closed makes room, as it did before the first reload.
	l.send("replay", l.callback(testbed.Secret, l.server+"-first"), http.StatusConflict)
	l.send("second session", l.hook("listener_add", "1000", "user-0", testbed.Secret), http.StatusForbidden)
	l.send("close", l.hook("listener_remove", "0", "user-0", testbed.Secret), http.StatusOK)
	l.send("good session", l.hook("listener_add", "1000", "user-0", testbed.Secret), http.StatusOK)

	t.Logf("sent: %v", l.counts)
	for i, failure := range l.failures {
		if i == 10 {
			t.Fatalf("… and %d more", len(l.failures)-i)
		}
		t.Error(failure)
	}
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before,
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		goleak.IgnoreAnyFunction("net/http/httptest.(*Server).goServe.func1"))
	for end := time.Now().Add(10 * time.Second); openDescriptors("self") > descriptors+2; { // the receiver of this bed has one
		if time.Now().After(end) {
			t.Fatalf("%d descriptors, %d before", openDescriptors("self"), descriptors)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// mix gives the n-th request: half of them are attacks.
func (l *load) mix(n int) (kind string, request *http.Request, status int) {
	user := n / 8 % loadUsers
	switch n % 8 {
	case 0, 2:
		return "good callback", l.callback(testbed.Secret, fmt.Sprint(l.server, "-", n)), http.StatusOK
	case 1:
		return "replay", l.callback(testbed.Secret, l.server+"-first"), http.StatusConflict
	case 3:
		return "forged callback", l.callback("another secret, of 32 characters", fmt.Sprint(l.server, "-", n)), http.StatusUnauthorized
	case 4, 6:
		return "good session", l.hook("listener_add", fmt.Sprint(user), fmt.Sprint("user-", user), testbed.Secret), http.StatusOK
	case 5:
		return "second session", l.hook("listener_add", fmt.Sprint(2000+n), fmt.Sprint("user-", user), testbed.Secret), http.StatusForbidden
	default:
		return "forged token", l.hook("listener_add", fmt.Sprint(2000+n), "user-0", "another secret, of 32 characters"), http.StatusForbidden
	}
}
