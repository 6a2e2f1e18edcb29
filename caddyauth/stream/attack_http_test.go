package stream_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/internal/clock"
	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// A client's own requests follow the rules of the hooks: HLS, WHIP and WHEP, and Icecast behind Caddy.
func TestStreamsThatCaddyProxies(t *testing.T) {
	bed := testbed.New(t, site(`
	route {
		stream_auth http {
			path /hls/{app}/{stream}/*
			path /whip/{stream}/**
			path /whep/{stream}/** play
			`+jwtToken+`
			deny weekends {
				stream closed
				redirect https://www.example.com/closed
			}
			allow members {
				token valid
				origin *.example.com www.example.com
			}
			allow insiders {
				ip 192.0.2.0/24
				token valid
			}
		}
		reverse_proxy RECEIVER
	}
`))
	ask := func(t *testing.T, method, target string, header ...string) testbed.Result {
		t.Helper()
		r := httptest.NewRequest(method, "http://hooks.example"+target, strings.NewReader(""))
		for i := 0; i < len(header); i += 2 {
			r.Header.Add(header[i], header[i+1])
		}
		return bed.Do(t, r.WithContext(clock.At(context.Background(), now)))
	}
	passes := func(t *testing.T, result testbed.Result) {
		t.Helper()
		if result.Status != http.StatusOK || len(result.Received) != 1 || result.Body != "received" {
			t.Errorf("%d, %d received", result.Status, len(result.Received))
		}
	}
	stops := func(t *testing.T, result testbed.Result, status int) {
		t.Helper()
		if result.Status != status || len(result.Received) != 0 || result.Body != "" {
			t.Errorf("%d, should be %d; %d received", result.Status, status, len(result.Received))
		}
	}
	good := mint(t, nil)
	publish := mint(t, map[string]any{"mode": "publish"})

	t.Run("a token in the query, a header or a cookie opens the playlist, and every segment", func(t *testing.T) {
		for _, file := range []string{"index.m3u8", "0.ts"} {
			passes(t, ask(t, "GET", "/hls/live/cam1/"+file+"?token="+good))
			passes(t, ask(t, "GET", "/hls/live/cam1/"+file, "Authorization", "Bearer "+good))
			passes(t, ask(t, "GET", "/hls/live/cam1/"+file, "Cookie", "token="+good))
			stops(t, ask(t, "GET", "/hls/live/cam1/"+file), http.StatusUnauthorized)
			stops(t, ask(t, "GET", "/hls/live/cam1/"+file, "Authorization", "Bearer x"), http.StatusForbidden)
		}
	})
	t.Run("it opens no other stream", func(t *testing.T) {
		for _, path := range []string{"/hls/live/cam2/0.ts", "/hls/other/cam2/0.ts", "/hls/live/Cam1/0.ts"} {
			stops(t, ask(t, "GET", path+"?token="+good), http.StatusForbidden)
		}
		for _, path := range []string{"/hls/live/cam1/../cam2/0.ts", "/hls/live/cam1%2F..%2Fcam2/0.ts", "/hls/live//cam1/0.ts", "/hls/live/cam1;x/0.ts"} {
			stops(t, ask(t, "GET", path+"?token="+good), http.StatusBadRequest)
		}
		stops(t, ask(t, "GET", "/admin?token="+good), http.StatusForbidden)
	})
	t.Run("two tokens are none", func(t *testing.T) {
		stops(t, ask(t, "GET", "/hls/live/cam1/0.ts?token=x", "Cookie", "token="+good), http.StatusBadRequest)
		stops(t, ask(t, "GET", "/hls/live/cam1/0.ts?token=x&token="+good), http.StatusBadRequest)
		stops(t, ask(t, "GET", "/hls/live/cam1/0.ts?a=1;b=2&token="+good), http.StatusBadRequest)
		passes(t, ask(t, "GET", "/hls/live/cam1/0.ts?token="+good, "Cookie", "token="+good))
	})
	t.Run("to publish takes a token to publish", func(t *testing.T) {
		passes(t, ask(t, "POST", "/whip/cam1", "Authorization", "Bearer "+publish))
		passes(t, ask(t, "DELETE", "/whip/cam1/session", "Authorization", "Bearer "+publish))
		stops(t, ask(t, "POST", "/whip/cam1", "Authorization", "Bearer "+good), http.StatusForbidden)
		passes(t, ask(t, "POST", "/whep/cam1", "Authorization", "Bearer "+good))
		stops(t, ask(t, "POST", "/whep/cam1", "Authorization", "Bearer "+publish), http.StatusForbidden)
	})
	t.Run("a denied client is sent elsewhere", func(t *testing.T) {
		result := ask(t, "GET", "/hls/live/closed/0.ts?token="+good)
		stops(t, result, http.StatusFound)
		if result.Header.Get("Location") != "https://www.example.com/closed" {
			t.Errorf("%v", result.Header)
		}
	})
	t.Run("the body of what is published is not read here", func(t *testing.T) {
		r := httptest.NewRequest(http.MethodPost, "http://hooks.example/whip/cam1", strings.NewReader(strings.Repeat("x", 1<<20)))
		r.Header.Set("Authorization", "Bearer "+publish)
		result := bed.Do(t, r.WithContext(clock.At(context.Background(), now)))
		if len(result.Received) != 1 || len(result.Received[0].Body) != 1<<20 {
			t.Errorf("%d", result.Status)
		}
	})
}
