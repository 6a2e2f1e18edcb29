package integration

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// soak is how long R19 goes on: `-soak 20m`.
var soak = flag.Duration("soak", 0, "how long the reliability test R19 lasts (0: 2s, with -long 1h)")

const (
	soakRate = 100
	soakKey  = "0123456789abcdef0123456789abcdef"
)

// soakSite has a gate or a hook of each kind that needs nobody else.
const soakSite = `http:// {
	handle /vonage {
		callback_auth vonage {
			secret ` + testbed.Secret + `
		}
		respond received
	}
	handle /jwt {
		callback_auth jwt {
			secret ` + testbed.Secret + `
			audience us
		}
		respond received
	}
	handle /github {
		callback_auth github {
			secret ` + testbed.Secret + `
		}
		respond received
	}
	handle /key {
		callback_auth api_key {
			header X-Key
			key ` + soakKey + `
		}
		respond received
	}
	handle /basic {
		callback_auth basic {
			user ringostat ` + soakKey + `
		}
		respond received
	}
	handle /hook {
		stream_auth icecast {
			token {
				jwt {
					secret ` + testbed.Secret + `
				}
			}
			allow listeners {
				token valid
				max_sessions 1 per user
			}
		}
	}
	handle /mediamtx {
		stream_auth mediamtx {
			token {
				from query token
				jwt {
					secret ` + testbed.Secret + `
				}
			}
			allow viewers {
				mode play
				stream live/*
				token valid
			}
		}
	}
}
`

// soakCase is one kind of request, and what is always answered to it.
type soakCase struct {
	kind string
	make func(n int) *http.Request
	want int
}

// soakCases are good requests and attacks. copied gives the id of a message that passed a moment ago.
func soakCases(l *traffic, copied func() string) []soakCase {
	const body = `{"event":"connectionCreated"}`
	now := func() int64 { return time.Now().Unix() }
	vonage := func(secret string, claims map[string]any) *http.Request {
		return l.request("/vonage", "application/json", body, "Bearer "+testbed.HS256(l.t, secret, nil, testbed.VonageClaims(body, claims)))
	}
	jwt := func(change map[string]any) *http.Request {
		claims := map[string]any{"aud": "us", "exp": now() + 3600}
		maps.Copy(claims, change)
		return l.request("/jwt", "application/json", body, "Bearer "+testbed.HS256(l.t, testbed.Secret, nil, claims))
	}
	github := func(secret string) *http.Request {
		mac := hmac.New(sha256.New, []byte(secret))
		_, _ = mac.Write([]byte(body))
		r := l.request("/github", "application/json", body, "")
		r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
		return r
	}
	key := func(value string) *http.Request {
		r := l.request("/key", "application/json", body, "")
		r.Header.Set("X-Key", value)
		return r
	}
	basic := func(password string) *http.Request {
		r := l.request("/basic", "application/json", body, "")
		r.SetBasicAuth("ringostat", password)
		return r
	}
	viewer := func(path, secret string) *http.Request {
		token := testbed.HS256(l.t, secret, nil, map[string]any{"stream": "live/cam1", "exp": now() + 3600})
		return l.request("/mediamtx", "application/json", fmt.Sprintf(
			`{"user":"","password":"","token":"","ip":"192.0.2.7","action":"read","path":%q,"protocol":"hls","id":"","query":"token=%s"}`, path, token), "")
	}
	same := testbed.HS256(l.t, testbed.Secret, nil, map[string]any{"aud": "us", "exp": now() + 100*3600})
	return []soakCase{
		{"vonage, good", func(int) *http.Request { return vonage(testbed.Secret, nil) }, 200},
		{"vonage, a copy", func(int) *http.Request { return l.callback("/vonage", testbed.Secret, copied()) }, 409},
		{"vonage, forged", func(int) *http.Request { return vonage(forger, nil) }, 401},
		{"vonage, old", func(int) *http.Request { return vonage(testbed.Secret, map[string]any{"iat": now() - 3600}) }, 401},
		{"vonage, another body", func(int) *http.Request {
			return vonage(testbed.Secret, map[string]any{"payload_hash": soakKey + soakKey})
		}, 401},
		{"vonage, garbage", func(int) *http.Request { return l.request("/vonage", "application/json", body, "Bearer e30.e30.e30") }, 401},
		{"vonage, nothing", func(int) *http.Request { return l.request("/vonage", "application/json", body, "") }, 401},
		{"jwt, good", func(n int) *http.Request { return jwt(map[string]any{"sub": fmt.Sprint(n)}) }, 200},
		{"jwt, the same", func(int) *http.Request { return l.request("/jwt", "application/json", body, "Bearer "+same) }, 200},
		{"jwt, for others", func(int) *http.Request { return jwt(map[string]any{"aud": "them"}) }, 401},
		{"jwt, expired", func(int) *http.Request { return jwt(map[string]any{"exp": now() - 3600}) }, 401},
		{"github, good", func(int) *http.Request { return github(testbed.Secret) }, 200},
		{"github, forged", func(int) *http.Request { return github(forger) }, 401},
		{"key, good", func(int) *http.Request { return key(soakKey) }, 200},
		{"key, wrong", func(int) *http.Request { return key(forger) }, 401},
		{"basic, good", func(int) *http.Request { return basic(soakKey) }, 200},
		{"basic, wrong", func(int) *http.Request { return basic(forger) }, 401},
		{"icecast, good", func(int) *http.Request { return l.hook("listener_add", "0", "user-0", testbed.Secret) }, 200},
		{"icecast, a second session", func(n int) *http.Request {
			return l.hook("listener_add", fmt.Sprint(1000+n), "user-0", testbed.Secret)
		}, 403},
		{"icecast, forged", func(n int) *http.Request { return l.hook("listener_add", fmt.Sprint(1000+n), "user-0", forger) }, 403},
		{"mediamtx, good", func(int) *http.Request { return viewer("live/cam1", testbed.Secret) }, 200},
		{"mediamtx, another stream", func(int) *http.Request { return viewer("live/cam2", testbed.Secret) }, 403},
		{"mediamtx, forged", func(int) *http.Request { return viewer("live/cam1", forger) }, 403},
	}
}

// R19: the same mix of good requests and attacks, on and on, gets the same verdicts, and takes no more memory, goroutines
// and descriptors than when it began.
func TestReliabilityR19Soak(t *testing.T) {
	length := bound(2*time.Second, time.Hour)
	if *soak > 0 {
		length = *soak
	}
	bed := testbed.Run(t, soakSite)
	l := trafficTo(t, bed)
	// What is refused for being there already has to be there. A message is old after 5 minutes, and its copies with it.
	part := 0
	cases := soakCases(l, func() string { return fmt.Sprint("first-", part) })
	l.send("first", l.hook("listener_add", "0", "user-0", testbed.Secret), http.StatusOK)

	sent := 0
	send := func(lasts time.Duration) usage {
		part++
		l.send("first", l.callback("/vonage", testbed.Secret, fmt.Sprint("first-", part)), http.StatusOK)
		begun := sent
		sent += steadily(soakRate, lasts, func(n int) {
			c := cases[(begun+n)%len(cases)]
			l.send(c.kind, c.make(begun+n), c.want)
		})
		bed.Logs.Forget()
		l.client.CloseIdleConnections()
		l.mu.Lock()
		l.took = make(map[string]*times) // nobody asks for them here
		l.mu.Unlock()
		return measure()
	}
	// Replay memory holds the ids of ten minutes, and the decisions are the last thousand: both are full then.
	warming := min(length/4, 12*time.Minute)
	var warm usage
	for range 4 {
		warm = send(warming / 4)
	}
	rest := length - warming
	parts := max(12, int(rest/(4*time.Minute))+1)
	heap, rss := new(slope), new(slope)
	heap.add(0, warm.heap)
	rss.add(0, warm.resident)
	for n := range parts {
		now := send(rest / time.Duration(parts))
		at := time.Duration(n+1) * rest / time.Duration(parts)
		heap.add(at, now.heap)
		rss.add(at, now.resident)
	}
	after := settles(t, warm, usage{goroutines: 5, descriptors: 5, heap: 10 << 20})
	l.judge()
	slopes := ""
	if length >= 10*time.Minute {
		slopes = fmt.Sprintf("; heap %+.2f MiB/h, resident %+.2f MiB/h", heap.perHour(), rss.perHour())
	}
	held(t, "%d requests of %d kinds in %v at %d/s: 0 verdicts changed; warm: %v; after: %v, with the senders' part%s",
		l.sent(), len(cases), length, soakRate, warm, after, slopes)
}

// slope is a line through what was measured (least squares).
type slope struct{ n, x, y, xx, xy float64 }

func (s *slope) add(at time.Duration, bytes uint64) {
	x, y := at.Hours(), float64(bytes)/(1<<20)
	s.n, s.x, s.y, s.xx, s.xy = s.n+1, s.x+x, s.y+y, s.xx+x*x, s.xy+x*y
}

// perHour gives MiB an hour.
func (s *slope) perHour() float64 { return (s.n*s.xy - s.x*s.y) / (s.n*s.xx - s.x*s.x) }
