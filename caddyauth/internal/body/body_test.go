package body

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

func post(body io.Reader, length int64) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", body)
	r.ContentLength = length
	return r
}

func TestABodyIsPutBackByteForByte(t *testing.T) {
	const text = "a body \x00\xff of any bytes"
	for name, length := range map[string]int64{"of a known length": int64(len(text)), "of an unknown length": -1} {
		t.Run(name, func(t *testing.T) {
			r := post(strings.NewReader(text), length)
			data, err := new(Buffers).Capture(httptest.NewRecorder(), r, int64(len(text)), Within)
			if err != nil || string(data) != text {
				t.Fatalf("read %q: %v", data, err)
			}
			again, err := io.ReadAll(r.Body)
			if err != nil || string(again) != text || r.ContentLength != int64(len(text)) {
				t.Fatalf("the next reader gets %q of %d bytes: %v", again, r.ContentLength, err)
			}
		})
	}
}

func TestABodyOverTheLimitIsNotReadBeyondIt(t *testing.T) {
	r := post(strings.NewReader("12345"), 5)
	if _, err := new(Buffers).Capture(httptest.NewRecorder(), r, 4, Within); verdict.Of(err).Reason != verdict.TooLarge {
		t.Fatalf("announced: %v", err)
	}
	r = post(strings.NewReader("12345"), -1)
	if _, err := new(Buffers).Capture(httptest.NewRecorder(), r, 4, Within); verdict.Of(err).Reason != verdict.TooLarge {
		t.Fatalf("not announced: %v", err)
	}
	if rest, _ := io.ReadAll(r.Body); string(rest) != "12345" {
		t.Fatalf("what was sent reads as %q afterwards", rest)
	}
}

func TestABodyThatBreaksBreaksForTheNextReaderToo(t *testing.T) {
	broken := errors.New("broken")
	r := post(io.MultiReader(strings.NewReader("123"), failing{broken}), 5)
	if _, err := new(Buffers).Capture(httptest.NewRecorder(), r, 10, Within); verdict.Of(err).Reason != verdict.Malformed {
		t.Fatal(err)
	}
	if read, err := io.ReadAll(r.Body); string(read) != "123" || !errors.Is(err, broken) {
		t.Fatalf("reads as %q: %v", read, err)
	}
}

// The server of HTTP/3 takes a stream that ends too soon for a whole body.
func TestABodyShorterThanAnnouncedIsRefused(t *testing.T) {
	r := post(strings.NewReader("123"), 5)
	if _, err := new(Buffers).Capture(httptest.NewRecorder(), r, 10, Within); verdict.Of(err).Reason != verdict.Malformed {
		t.Fatal(err)
	}
	if read, err := io.ReadAll(r.Body); string(read) != "123" || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("reads as %q: %v", read, err)
	}
}

func TestTheSitesOwnLimitIsTooLarge(t *testing.T) {
	r := post(strings.NewReader("12345"), 5)
	r.Body = http.MaxBytesReader(nil, r.Body, 2)
	if _, err := new(Buffers).Capture(httptest.NewRecorder(), r, 10, Within); verdict.Of(err).Reason != verdict.TooLarge {
		t.Fatal(err)
	}
}

func TestABodyThatTakesTooLongIsGivenUp(t *testing.T) {
	t.Run("ht-slow-body", func(t *testing.T) {
		refusals := make(chan error, 1)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := new(Buffers).Capture(w, r, 10, 10*time.Millisecond)
			refusals <- err
		}))
		defer server.Close()
		never, unblock := io.Pipe()
		defer func() { _ = unblock.Close() }()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, io.MultiReader(strings.NewReader("1"), never))
		if err != nil {
			t.Fatal(err)
		}
		request.ContentLength = 5
		go func() {
			if response, err := server.Client().Do(request); err == nil {
				_ = response.Body.Close()
			}
		}()
		refusal := verdict.Of(<-refusals)
		if refusal.Reason != verdict.Malformed || refusal.HTTPStatus() != http.StatusRequestTimeout {
			t.Fatalf("refused as %v with %d", refusal, refusal.HTTPStatus())
		}
	})
}

func TestABodyThatWasReleasedIsNeverAnotherRequests(t *testing.T) {
	var buffers Buffers
	const size = 4 << 10
	first := strings.Repeat("1", size)
	for range 100 {
		r := post(strings.NewReader(first), size)
		if _, err := buffers.Capture(httptest.NewRecorder(), r, size, time.Minute); err != nil {
			t.Fatal(err)
		}
		body := r.Body
		read := make(chan []byte)
		go func() { // as a proxy's transport does, which nobody waits for
			got, _ := io.ReadAll(body)
			read <- got
		}()
		Release(body)
		Release(body)
		other := post(strings.NewReader(strings.Repeat("2", size)), size)
		if _, err := buffers.Capture(httptest.NewRecorder(), other, size, time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := <-read; !strings.HasPrefix(first, string(got)) {
			t.Fatal("the reader of one request got bytes of another")
		}
		if _, err := body.Read(make([]byte, 1)); err == nil {
			t.Fatal("a body can be read after it was released")
		}
		if got, err := io.ReadAll(other.Body); err != nil || strings.Trim(string(got), "2") != "" || len(got) != size {
			t.Fatalf("the next request has %d bytes of its own, %v", len(got), err)
		}
		Release(other.Body)
	}
}

func TestEveryLengthFindsRoom(t *testing.T) {
	var buffers Buffers
	for _, size := range []int{1, 511, 512, 513, 4096, before - 1, before, before + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1} {
		var lines strings.Builder // none like another, so that no piece can stand for another
		for i := 0; lines.Len() < size; i++ {
			fmt.Fprintln(&lines, i)
		}
		text := lines.String()[:size]
		for _, length := range []int{size, -1} {
			r := post(strings.NewReader(text), int64(length))
			data, err := buffers.Capture(httptest.NewRecorder(), r, 2<<20, time.Minute)
			if err != nil || string(data) != text || cap(data) != len(data) {
				t.Fatalf("%d bytes, announced as %d: %d, %v", size, length, len(data), err)
			}
			if got, err := io.ReadAll(r.Body); err != nil || string(got) != text {
				t.Fatalf("%d bytes, announced as %d: the next reader has %d, %v", size, length, len(got), err)
			}
			Release(r.Body)
		}
	}
}

// deadlines counts how often a read deadline is set.
type deadlines struct {
	http.ResponseWriter
	set int
}

func (d *deadlines) SetReadDeadline(time.Time) error { d.set++; return nil }

func TestABodyThatNobodyWantsHoldsUpItsRefusalForAsLongAsItMayTake(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Forgo(w, r, 10*time.Millisecond)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	for name, announced := range map[string]string{"announced": "Content-Length: 5\r\n\r\n1", "chunked": "Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n"} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\n"+announced); err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("no answer: %v", err)
			}
			_ = response.Body.Close()
			if response.StatusCode != http.StatusUnauthorized || !response.Close {
				t.Errorf("answered %d, and the connection ends: %v", response.StatusCode, response.Close)
			}
		})
	}
}

func TestABodyThatWasReadNeedsNoDeadlineForItsRefusal(t *testing.T) {
	for name, text := range map[string]string{"whole": "12345", "over the limit": "123456", "none": ""} {
		w, r := &deadlines{ResponseWriter: httptest.NewRecorder()}, post(strings.NewReader(text), -1)
		if text == "" {
			r.Body = http.NoBody
		}
		_, _ = new(Buffers).Capture(w, r, 5, 0)
		if Forgo(w, r, Within); w.set != 0 {
			t.Errorf("%s: %d deadlines", name, w.set)
		}
	}
}

func TestWithoutABoundOnTimeNoDeadlineIsSet(t *testing.T) {
	w := &deadlines{ResponseWriter: httptest.NewRecorder()}
	if _, err := new(Buffers).Capture(w, post(strings.NewReader("12345"), -1), 4, 0); verdict.Of(err).Reason != verdict.TooLarge || w.set != 0 {
		t.Errorf("%v, and %d deadlines", err, w.set)
	}
}

func TestTrailersAreNotHandedOn(t *testing.T) {
	r := post(strings.NewReader("12345"), -1)
	r.Trailer = http.Header{"X-Sender": {"admin"}}
	if _, err := new(Buffers).Capture(httptest.NewRecorder(), r, 5, Within); err != nil || r.Trailer != nil {
		t.Errorf("%v, and the trailers %v", err, r.Trailer)
	}
}

func TestNothingComesAfterABodyThatWasAnnouncedAsEmpty(t *testing.T) {
	r := post(strings.NewReader("12345"), 0)
	r.Trailer = http.Header{"X-Sender": {"admin"}}
	data, err := new(Buffers).Capture(httptest.NewRecorder(), r, 5, Within)
	if rest, _ := io.ReadAll(r.Body); err != nil || len(data) != 0 || len(rest) != 0 || r.Trailer != nil {
		t.Errorf("verified %q, and the next reader gets %q with the trailers %v: %v", data, rest, r.Trailer, err)
	}
}

func TestALongBodyThatBreaksIsPutBackAsFarAsItCame(t *testing.T) {
	for _, size := range []int{1, before - 1, before, before + 1, 100_000} {
		text := strings.Repeat("0123456789", size)[:size]
		r := post(strings.NewReader(text), 1<<20)
		_, err := new(Buffers).Capture(httptest.NewRecorder(), r, 1<<20, Within)
		if rest, again := io.ReadAll(r.Body); verdict.Of(err).Reason != verdict.Malformed || string(rest) != text || again == nil {
			t.Errorf("%d bytes of a MiB: %v, and the next reader gets %d, %v", size, err, len(rest), again)
		}
	}
}

func TestAnAnnouncementAloneReservesLittle(t *testing.T) {
	if _, memory := new(Buffers).get(1 << 40); cap(*memory) > 2*reserved {
		t.Errorf("%d bytes for an announced terabyte", cap(*memory))
	}
	// This many bytes could not be had at once.
	if _, err := new(Buffers).Capture(httptest.NewRecorder(), post(strings.NewReader("1"), 1<<40), 1<<40, Within); verdict.Of(err).Reason != verdict.Malformed {
		t.Error(err)
	}
}
