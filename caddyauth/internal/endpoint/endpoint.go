// Package endpoint is how this program calls out: which URLs it may be given, which addresses it may reach through
// them, and how much it reads of an answer. It follows no redirects and believes only status 200.
package endpoint

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// offline says that nothing is called any more.
var offline atomic.Bool

// GoOffline makes every later call of this process fail as if nothing could be reached. It is for the command that
// explains a recorded request, and cannot be undone.
func GoOffline() { offline.Store(true) }

// Parse checks a URL that is to be called: https, or http to this machine (`localhost` or a loopback address); without
// user info and without a fragment. Its errors do not hold the URL, which may hold a secret.
func Parse(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err == nil {
		_, err = url.Parse(u.String()) // what is called is this: a zone of an address may be read and not be written
	}
	if err != nil {
		return nil, errors.New("it is not a URL")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http", u.Opaque != "", u.Hostname() == "":
		return nil, errors.New("it is not a URL of the form https://host/path")
	case u.User != nil:
		return nil, errors.New("it holds user info")
	case strings.Contains(raw, "#"):
		return nil, errors.New("it holds a fragment")
	case u.Scheme == "http" && !Local(u):
		return nil, errors.New("plain http is for loopback addresses only: use https")
	}
	return u, nil
}

// Local reports whether u names this machine.
func Local(u *url.URL) bool {
	host := u.Hostname()
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

// Follow checks a URL that the document at from names, as metadata names a `jwks_uri`. It must pass Parse, and where
// from is not on this machine it may not lead there: a document from elsewhere is no reason to call our own services.
func Follow(from *url.URL, raw string) (*url.URL, error) {
	u, err := Parse(raw)
	if err != nil {
		return nil, err
	}
	if Local(u) && !Local(from) {
		return nil, errors.New("it leads to this machine")
	}
	return u, nil
}

// reach says which addresses the name in a URL may stand for when the connection is made.
type reach int

const (
	anywhere reach = iota
	onlyHere       // plain http, for which a name like localhost must mean this machine
	notHere        // a URL from somebody else's document, whose name may have been pointed at us
)

type reachKey struct{}

// errReach is what a refused address gives.
var errReach = errors.New("the name stands for an address that may not be called")

// Outside returns a context in which calls made with a Client of this package reach neither this machine nor its link:
// for URLs out of documents from elsewhere, whatever their names resolve to (DNS rebinding). Behind a proxy it is the
// proxy that resolves names, and nothing is checked here.
func Outside(ctx context.Context, u *url.URL) context.Context {
	if proxy, err := http.ProxyFromEnvironment(&http.Request{URL: u}); err == nil && proxy != nil {
		return ctx
	}
	return context.WithValue(ctx, reachKey{}, notHere)
}

// guard refuses addresses outside of what the call may reach, after the name was resolved.
func guard(ctx context.Context, _, address string, _ syscall.RawConn) error {
	allowed, _ := ctx.Value(reachKey{}).(reach)
	if allowed == anywhere {
		return nil
	}
	peer, err := netip.ParseAddrPort(address)
	if err != nil {
		return errReach
	}
	ip := peer.Addr().Unmap()
	if allowed == onlyHere && !ip.IsLoopback() {
		return errReach
	}
	if allowed == notHere && (ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast()) {
		return errReach
	}
	return nil
}

// Client returns a client for Do. It asks for no compression, so that a cap on what is read is a cap on what is held.
// idle is how many unused connections it keeps; 0 keeps none.
func Client(idle int) *http.Client {
	dialer := &net.Dialer{Timeout: 5 * time.Second, ControlContext: guard}
	return &http.Client{Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    5 * time.Second,
		DisableCompression:     true,
		DisableKeepAlives:      idle == 0,
		MaxIdleConnsPerHost:    idle,
		MaxIdleConns:           idle,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}}
}

// Failure says why a call gave nothing. The set is closed.
type Failure string

// The ways in which a call fails.
const (
	Unreachable Failure = "unreachable" // no connection, or it broke
	Timeout     Failure = "timeout"     // no complete answer in time
	Status      Failure = "status"      // a status other than 200, redirects among them
	TooLarge    Failure = "too_large"   // an answer over the limit, or a compressed one, which nobody asked for
)

// Error is a call that gave nothing.
type Error struct {
	Failure Failure
	Status  int // of the answer, where Failure is Status
}

// Error gives the kind of failure. It holds no URL: those may hold secrets.
func (e *Error) Error() string { return string(e.Failure) }

// Do sends r and reads at most limit bytes of an answer of status 200. It follows no redirects and sends no cookies,
// whatever the client would. Its only errors are of type *Error. The whole exchange ends with the context of r.
func Do(client *http.Client, r *http.Request, limit int64) ([]byte, http.Header, error) {
	ctx := r.Context()
	if offline.Load() {
		return nil, nil, &Error{Failure: Unreachable}
	}
	if r.URL.Scheme == "http" {
		r = r.WithContext(context.WithValue(ctx, reachKey{}, onlyHere))
	}
	// Said aloud, it also keeps a transport that is not ours from inflating behind the cap's back.
	r.Header.Set("Accept-Encoding", "identity")
	strict := *client
	strict.Jar = nil
	strict.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := strict.Do(r)
	if err != nil {
		return nil, nil, broken(ctx)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, nil, &Error{Failure: Status, Status: response.StatusCode}
	}
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, nil, &Error{Failure: TooLarge}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	if err != nil {
		return nil, nil, broken(ctx)
	}
	if int64(len(body)) > limit {
		return nil, nil, &Error{Failure: TooLarge}
	}
	return body, response.Header, nil
}

// broken tells an exchange that ran out of time from one that broke.
func broken(ctx context.Context) *Error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &Error{Failure: Timeout}
	}
	return &Error{Failure: Unreachable}
}
