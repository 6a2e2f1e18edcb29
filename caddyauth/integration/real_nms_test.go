//go:build unix

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

const nodeHookKey = "node-hook-key-0123456789abcdef0123456"

// nodeHook is the gate. One player of the stream `single` at a time: it is asked about twice, and counts once.
const nodeHook = `http:// {
	route /hooks/node {
		callback_auth api_key {
			query key
			key ` + nodeHookKey + `
		}
		stream_auth node_media_server {
			token {
				jwt {
					secret ` + streamSecret + `
				}
			}
			allow one {
				mode play
				stream single
				token valid
				max_sessions 1 per stream
			}
			allow studio {
				mode publish
				stream live/taken live/free
				token valid
				max_sessions 1 per user
			}
			allow {
				ip 127.0.0.1
				token valid
			}
		}
	}
}
`

// nodeScript runs the server with the configuration in its argument.
const nodeScript = `
const NodeMediaServer = require('node-media-server');
const server = new NodeMediaServer(JSON.parse(process.argv[1]));
server.run();
`

func TestRealNodeMediaServerAsksAndObeys(t *testing.T) {
	need(t, "node", "ffmpeg")
	packages := needPackages(t, "node-media-server")
	hooks := startHooks(t, nodeHook, func(body []byte) string {
		var hook struct{ Action, Name string }
		_ = json.Unmarshal(body, &hook)
		return hook.Action + " " + hook.Name // an end may be told late, when the next stream is on
	})
	rtmpPort, httpPort := freePort(t), freePort(t)
	config, err := json.Marshal(map[string]any{
		"bind": "127.0.0.1", "rtmp": map[string]any{"port": rtmpPort}, "http": map[string]any{"port": httpPort},
		"notify": map[string]any{"url": hooks.url + "/hooks/node?key=" + nodeHookKey}, "record": map[string]any{"auto": false}, "webadmin": map[string]any{"enable": false},
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", "-e", nodeScript, "--", string(config))
	cmd.Dir = t.TempDir() // where its store goes
	cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(packages, "node_modules"))
	runServer(t, cmd, rtmpPort, "")

	inAnHour := time.Now().Add(time.Hour)
	token := func(name, mode string) string {
		return "?token=" + testbed.HS256(t, streamSecret, nil, map[string]any{"stream": "live/" + name, "mode": mode, "exp": inAnHour.Unix()})
	}
	rtmp := func(stream string) string { return fmt.Sprintf("rtmp://127.0.0.1:%d/live/%s", rtmpPort, stream) }

	t.Run("a publisher with a token is on the air, and is asked about twice", func(t *testing.T) {
		publishTone(t, rtmp("cam1"+token("cam1", "publish")))
		hooks.expectEach(t, answers{"prePublish cam1": {200}, "postPublish cam1": {200}})

		if err := playTone(t, rtmp("cam1"+token("cam1", "play")+"&a=1&a=2")); err != nil {
			t.Errorf("a player with a token: %v", err)
		}
		hooks.expect(t, "prePlay cam1", 200)
		hooks.expect(t, "donePlay cam1", 200)

		resp := flv(t, httpPort, "cam1", token("cam1", "play"))
		hear(t, resp, "a player over HTTP")
		hooks.expect(t, "prePlay cam1", 200)
		resp.Body.Close()
		hooks.expect(t, "donePlay cam1", 200)

		for name, query := range map[string]string{
			"no token":              "",
			"a publisher's token":   token("cam1", "publish"),
			"one for another":       token("cam2", "play"),
			"a token that is twice": token("cam1", "play") + "&token=other",
		} {
			// The server does not wait for the answer: the client hears a moment, and is then dropped.
			resp := flv(t, httpPort, "cam1", query)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				io.Copy(io.Discard, resp.Body)
			}()
			if !within(ended, 20*time.Second) {
				t.Errorf("a player with %s hears the stream", name)
			}
			hooks.expectEach(t, answers{"prePlay cam1": {403, 400}, "donePlay cam1": {200}})
		}
	})
	t.Run("a publisher without one is dropped", func(t *testing.T) {
		for name, query := range map[string]string{"no token": "", "a player's token": token("cam4", "play"), "somebody else's": token("cam1", "publish")} {
			if ended := publishTone(t, rtmp("cam4"+query)); !within(ended, 20*time.Second) {
				t.Errorf("a publisher with %s is on the air", name)
			}
			hooks.expect(t, "prePublish cam4", 403)
		}
	})
	t.Run("one player at a time, and the next when it has left", func(t *testing.T) {
		publishTone(t, rtmp("single"+token("single", "publish")))
		hooks.expect(t, "prePublish single", 200)
		first := flv(t, httpPort, "single", token("single", "play"))
		hooks.expectEach(t, answers{"prePlay single": {200}, "postPlay single": {200}})
		hear(t, first, "the first player")

		second := flv(t, httpPort, "single", token("single", "play"))
		io.Copy(io.Discard, second.Body)
		hooks.expectEach(t, answers{"prePlay single": {403}, "postPlay single": {403}, "donePlay single": {200}})
		hear(t, first, "the first player, still")

		// Each hook comes by a connection of its own. Before the first one's end is known, the next one's two questions may
		// be answered before and after it, and so differently; and the player that either denies is dropped.
		first.Body.Close()
		hooks.expect(t, "donePlay single", 200)
		next := flv(t, httpPort, "single", token("single", "play"))
		hooks.expectEach(t, answers{"prePlay single": {200}, "postPlay single": {200}})
		hear(t, next, "the next player")
	})
	t.Run("a publisher whom the server itself refuses, for another is on the air, counts no longer", func(t *testing.T) {
		of := func(user, name string) string {
			return rtmp(name + "?token=" + testbed.HS256(t, streamSecret, nil, map[string]any{"sub": user, "stream": "live/*", "mode": "publish", "exp": inAnHour.Unix()}))
		}
		publishTone(t, of("alice", "taken"))
		hooks.expectEach(t, answers{"prePublish taken": {200}, "postPublish taken": {200}})
		if ended := publishTone(t, of("bob", "taken")); !within(ended, 20*time.Second) {
			t.Fatal("two publishers of one stream")
		}
		hooks.expectEach(t, answers{"prePublish taken": {200}, "postPublish taken": {200}, "donePlay taken": {200}}) // which the server calls its end
		publishTone(t, of("bob", "free"))
		hooks.expectEach(t, answers{"prePublish free": {200}, "postPublish free": {200}})
		if ended := publishTone(t, of("alice", "free")); !within(ended, 20*time.Second) {
			t.Error("alice is on the air twice")
		}
		hooks.expect(t, "prePublish free", 403)
	})
}

// flv opens a stream over HTTP. The request ends with the test, or after a minute.
func flv(t *testing.T, port int, stream, query string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d/live/%s.flv%s", port, stream, query), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}
