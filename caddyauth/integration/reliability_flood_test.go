package integration

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
	"github.com/dustin/go-humanize"
	"golang.org/x/crypto/bcrypt"
)

// Bodies of the largest size are held whole, each once, and what is larger is refused and not held at all.
func TestReliabilityR09MemoryCeiling(t *testing.T) {
	const size, room = 1 << 20, 20 << 20
	senders := bound(50, 200)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(512 << 20))

	// A receiver that has the headers of all good requests and reads no body: they are held by the gate.
	var arrived atomic.Int64
	release := make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		<-release
	}))
	defer receiver.Close()
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	bed := testbed.Run(t, `http:// {
	callback_auth {
		vonage {
			secret `+testbed.Secret+`
		}
		max_body 1MiB
	}
	reverse_proxy `+receiver.Listener.Addr().String()+`
}
`)
	body := make([]byte, 2*size)
	heads := make([]string, senders)
	for i := range heads {
		heads[i] = testbed.Vonage(t, string(body[:size]), nil).Header.Get("Authorization")
	}
	var good, tooLarge atomic.Int64
	send := func(conn net.Conn, n, length int) {
		defer func() { _ = conn.Close() }()
		var wrote sync.WaitGroup
		defer wrote.Wait()
		wrote.Go(func() { // the gate may answer before it has read everything
			_, _ = fmt.Fprintf(conn, "POST /hook HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n", heads[n%senders], length)
			_, _ = conn.Write(body[:length])
		})
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		_ = conn.Close()
		switch {
		case err != nil:
		case response.StatusCode == http.StatusOK:
			good.Add(1)
		case response.StatusCode == http.StatusRequestEntityTooLarge:
			tooLarge.Add(1)
		}
	}
	// The senders are there before the first look: they are no part of what the gate takes.
	var all, ready sync.WaitGroup
	begin := make(chan struct{})
	ready.Add(2 * senders)
	for n := range 2 * senders {
		conn := bed.Dial(t)
		length := size
		if n >= senders {
			length = 2 * size
		}
		all.Go(func() {
			ready.Done()
			<-begin
			send(conn, n, length)
		})
	}
	ready.Wait()
	debug.FreeOSMemory()
	before := measure()

	var peak atomic.Uint64
	watched, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			peak.Store(max(peak.Load(), resident("self")))
			select {
			case <-watched:
				return
			case <-tick.C:
			}
		}
	}()
	close(begin)
	eventually(t, "all good bodies are held, and the others refused", func() bool {
		return arrived.Load() == int64(senders) && tooLarge.Load() == int64(senders)
	})
	close(watched)
	<-done
	full := measure()
	letGo()
	all.Wait()
	if good.Load() != int64(senders) || arrived.Load() != int64(senders) {
		t.Errorf("%d of %d good bodies were delivered, the receiver saw %d", good.Load(), senders, arrived.Load())
	}
	grown := int64(peak.Load()) - int64(before.resident)
	held(t, "%d bodies of 1 MiB held and delivered, %d of 2 MiB refused with 413: resident at most %s above %s (allowed %s), heap while held %s",
		senders, senders, humanize.IBytes(uint64(max(grown, 0))), humanize.IBytes(before.resident), humanize.IBytes(uint64(senders*size+room)), humanize.IBytes(full.heap))
	// The receiver is in this process too: its connections are allowed for.
	if allowed := int64(senders*size + room + bound(16<<20, 8<<20)); !raced && grown > allowed {
		t.Errorf("resident memory grew by %d MiB, allowed %d MiB", grown>>20, allowed>>20)
	}
}

// Senders that hold connections with half a request are cut off, and nobody else waits for them.
func TestReliabilityR10Slowloris(t *testing.T) {
	firstLoad(t)
	slow, length := bound(50, 500), bound(2*time.Second, 60*time.Second)
	timeouts := "read_header 1s\nread_body 1s\n"
	if *long {
		timeouts = "read_header 5s\n" // bodies are cut off by the gate's own deadline
	}
	bed := testbed.Run(t, "{\nservers {\ntimeouts {\n"+timeouts+"}\n}\n}\n"+`
http:// {
	callback_auth vonage {
		secret `+testbed.Secret+`
	}
	respond "received"
}
`)
	before := measure()
	var cut, answered atomic.Int64
	var after times
	var all sync.WaitGroup
	drip := func(first string) {
		conn := bed.Dial(t)
		_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
		_, _ = io.WriteString(conn, first)
		start := time.Now()
		all.Go(func() {
			go func() { // a byte at a time, for as long as the server takes them
				tick := time.NewTicker(100 * time.Millisecond)
				defer tick.Stop()
				for range tick.C {
					if _, err := io.WriteString(conn, "x"); err != nil {
						return
					}
				}
			}()
			answer, err := io.ReadAll(conn)
			after.since(start)
			_ = conn.Close()
			switch {
			case isTimeout(err):
				t.Error("a slow sender was not cut off within two minutes")
			case strings.HasPrefix(string(answer), "HTTP/1.1 200"):
				answered.Add(1)
			default:
				cut.Add(1)
			}
		})
	}
	for range slow {
		drip("POST /hook HTTP/1.1\r\nHost: example.com\r\nX-Slow: ")
		drip("POST /hook HTTP/1.1\r\nHost: example.com\r\nAuthorization: " + testbed.Vonage(t, wireBody, nil).Header.Get("Authorization") +
			"\r\nContent-Length: 100000\r\n\r\n{")
	}
	var failed atomic.Int64
	var took times
	client := keepAlive(t, bed)
	sent := steadily(100, length, func(int) {
		start := time.Now()
		if got := status(client, testbed.Vonage(t, wireBody, nil)); got != http.StatusOK {
			failed.Add(1)
		}
		took.since(start)
	})
	all.Wait()
	if failed.Load() > 0 || answered.Load() > 0 || cut.Load() != int64(2*slow) {
		t.Errorf("%d of %d good callbacks failed; of %d slow senders %d were answered with 200 and %d cut off", failed.Load(), sent, 2*slow, answered.Load(), cut.Load())
	}
	client.CloseIdleConnections()
	settles(t, before, usage{goroutines: 10, descriptors: 10, heap: 16 << 20})
	held(t, "%d slow headers and %d slow bodies, all cut off (%v after they began); %d of %d good callbacks answered, %v", slow, slow, &after, sent-int(failed.Load()), sent, &took)
}

// Wrong passwords cost one core's time and no more: what is over the queue is turned away, and everybody else is answered.
func TestReliabilityR11PasswordFlood(t *testing.T) {
	cost := bound(10, 13)
	hash, err := bcrypt.GenerateFromPassword([]byte("a long right password"), cost)
	if err != nil {
		t.Fatal(err)
	}
	bed := testbed.Run(t, `http:// {
	handle /basic {
		callback_auth basic {
			user alice `+string(hash)+`
		}
		respond "received"
	}
	handle /hook {
		callback_auth vonage {
			secret `+testbed.Secret+`
		}
		respond "received"
	}
}
`)
	slots := int64(max(1, runtime.GOMAXPROCS(0)/2))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var most, looks atomic.Int64
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			most.Store(max(most.Load(), hashing()))
			looks.Add(1)
			<-tick.C
		}
	}()
	client := keepAlive(t, bed)
	var mu sync.Mutex
	counts := map[int]int{}
	var failed atomic.Int64
	var took, calm times
	var flood sync.WaitGroup
	length := bound(2*time.Second, 30*time.Second)
	other := func(took *times) {
		start := time.Now()
		if got := status(client, testbed.Vonage(t, wireBody, nil)); got != http.StatusOK {
			failed.Add(1)
		}
		took.since(start)
	}
	steadily(50, length/4, func(int) { other(&calm) })
	flood.Go(func() {
		steadily(100, length, func(n int) {
			r := httptest.NewRequest(http.MethodPost, "http://example.com/basic", nil)
			r.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString(fmt.Append(nil, "alice:wrong password ", n)))
			got := status(client, r)
			mu.Lock()
			defer mu.Unlock()
			counts[got]++
		})
	})
	others := steadily(50, length, func(int) { other(&took) })
	flood.Wait()
	stop()
	<-looked
	refused := counts[http.StatusUnauthorized] + counts[http.StatusServiceUnavailable] + counts[http.StatusTooManyRequests]
	total := 0
	for _, n := range counts {
		total += n
	}
	if refused != total || counts[http.StatusUnauthorized] == 0 || failed.Load() > 0 {
		t.Errorf("of %d wrong passwords the answers are %v; %d of %d other callbacks failed", total, counts, failed.Load(), others)
	}
	if most.Load() > slots {
		t.Errorf("%d passwords were hashed at once, allowed %d", most.Load(), slots)
	}
	eventually(t, "the right password is let in", func() bool {
		r := httptest.NewRequest(http.MethodPost, "http://example.com/basic", nil)
		r.SetBasicAuth("alice", "a long right password")
		return status(client, r) == http.StatusOK
	})
	held(t, "%d wrong passwords at cost %d: %d × 401, %d × 503; at most %d hashed at once (%d looks); %d of %d other callbacks answered, %v; before the flood %v",
		total, cost, counts[401], counts[503], most.Load(), looks.Load(), others-int(failed.Load()), others, &took, &calm)
}

// hashing counts the goroutines that are in bcrypt.
func hashing() (n int64) {
	var stacks strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1) // to a buffer
	for block := range strings.SplitSeq(stacks.String(), "\n\n") {
		if strings.Contains(block, "bcrypt.CompareHashAndPassword") {
			count := int64(0)
			_, _ = fmt.Sscanf(strings.TrimSpace(block), "%d @", &count)
			n += max(count, 1)
		}
	}
	return n
}

// keepAlive is a client that uses its connections again.
func keepAlive(t *testing.T, bed *testbed.Bed) *http.Client {
	t.Helper()
	network, address := bed.Address()
	transport := &http.Transport{MaxIdleConnsPerHost: 64, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// status sends a request made by httptest and returns the answer's status, 0 where there is none.
func status(client *http.Client, r *http.Request) int {
	r.RequestURI = ""
	r.URL.Scheme, r.URL.Host = "http", "example.com"
	response, err := client.Do(r)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	return response.StatusCode
}
