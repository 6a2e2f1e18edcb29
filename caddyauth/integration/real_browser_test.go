package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

const inspectedSite = `{
	admin ADMIN {
		origins ADMIN ""
	}
	auto_https off
	persist_config off
	caddyauth {
		decisions KEPT
	}
}
http:// {
	bind unix/SOCKET
	handle /callback {
		callback_auth api_key {
			header X-Key
			key browser-test-key-0123456789abcdef front-door
		}
		respond received
	}
	handle /stream {
		stream_auth icecast {
			allow listeners {
				mode play
			}
		}
	}
}
`

// What an operator does with the inspector, in a real browser: requests come and rows appear, filters filter, a row
// opens, and what strangers chose stays text.
func TestRealBrowserShowsDecisionsAsTheyCome(t *testing.T) {
	need(t, "chromium", "chromedriver")
	admin, socket := freeAddress(t), filepath.Join(t.TempDir(), "s")
	var config string
	t.Cleanup(func() { _ = caddy.Stop() })
	for _, kept := range []string{"0", "1000"} { // what other tests left is forgotten
		var err error
		if config, err = adapt(t, strings.NewReplacer("ADMIN", admin, "SOCKET", socket, "KEPT", kept).Replace(inspectedSite)); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Load([]byte(config), true); err != nil {
			t.Fatal(err)
		}
	}
	send := func(path, key, form string) {
		t.Helper()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}}}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://hooks.test"+path, strings.NewReader(form))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Key", key)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
	}
	listen := func(mount, agent string) {
		t.Helper()
		send("/stream", "", url.Values{
			"action": {"listener_add"}, "mount": {mount}, "client": {"5"}, "server": {"radio.test"}, "port": {"80"},
			"user": {""}, "pass": {""}, "ip": {"203.0.113.7"}, "agent": {agent},
		}.Encode())
	}

	b := newBrowser(t)
	b.call(http.MethodPost, "/url", map[string]any{"url": "http://" + admin + "/caddyauth/"}, nil)
	b.until("the page is live", `return document.querySelector('#connection').dataset.state === 'live'`)
	rows := `const rows = [...document.querySelectorAll('#decisions > li')].map((li) => li.innerText).join('\n---\n'); `

	const hostile = `<script>document.title='owned'</script><img src=x onerror="document.title='owned'">`
	send("/callback", "browser-test-key-0123456789abcdef", "{}")
	send("/callback", "a-guess", "{}")
	listen("/live.mp3", "player")
	listen("/"+hostile, hostile)
	b.until("the rows are there", rows+`return rows.includes('api_key') && rows.includes('bad_signature') && rows.includes('live.mp3') && rows.includes('<script>')`)
	b.until("newest first", `return document.querySelector('#decisions > li').innerText.includes('<script>')`)
	b.until("hostile text is text", `return !document.querySelector('#decisions script, #decisions img') && document.title === 'caddyauth inspector'`)

	b.run(`document.querySelector('#decisions > li summary').focus(); document.querySelector('#decisions > li summary').click()`)
	b.until("a row opens, with its steps and the agent as text", `const inside = document.querySelector('#decisions > li .inside');
		return inside?.innerText.includes('listeners') && inside.innerText.includes('onerror=') && !inside.querySelector('img, script')`)

	b.until("what comes by itself is not read aloud each time", `return document.querySelector('#said').textContent === '' && document.querySelector('#count').textContent === '4 decisions'
		&& [...document.querySelectorAll('[role=status], [aria-live]')].map((e) => e.id).join() === 'connection,said'`)
	b.run(`document.querySelector('input[value=refused]').click()`)
	b.until("what somebody asked for is", `return /^[0-9] of 4 decisions$/.test(document.querySelector('#said').textContent)`)
	b.until("only refused rows", rows+`return rows.includes('bad_signature') && !rows.includes('allowed')`)
	b.run(`document.querySelector('#decisions > li summary').click()`)
	b.until("the hint says what to do", `return document.querySelector('#decisions .hint').innerText.includes('Compare the secret')`)
	send("/callback", "another-guess", "{}")
	send("/callback", "browser-test-key-0123456789abcdef", "{}")
	b.until("what comes later is filtered too", rows+`return rows.split('---').length === 2 && !rows.includes('allowed')`)
	b.until("and the open row stays open", `return document.querySelector('#decisions details[open]') !== null`)
	b.run(`document.querySelector('button[type=reset]').click()`)
	b.until("everything is back", rows+`return rows.split('---').length === 6`)
	for name, value := range map[string]string{"scheme": "icecast", "reason": "ok"} {
		b.run(fmt.Sprintf(`const s = document.querySelector('select[name=%s]'); s.value = '%s'; s.dispatchEvent(new Event('input', {bubbles: true}))`, name, value))
	}
	b.run(`const s = document.querySelector('input[name=stream]'); s.value = 'LIVE'; s.dispatchEvent(new Event('input', {bubbles: true}))`)
	b.until("by scheme, reason and stream", rows+`return rows.includes('live.mp3') && rows.split('---').length === 1`)
	b.run(`document.querySelector('#pause').click(); document.querySelector('button[type=reset]').click()`)
	send("/callback", "browser-test-key-0123456789abcdef", "{}")
	b.until("a paused list stands still, and says so", rows+`return rows.split('---').length === 6 && document.querySelector('#count').innerText.includes('1 more')`)

	b.until("the figures and the plot", `return Number(document.querySelector('#figure-requests').innerText.replaceAll(',', '')) >= 6 && document.querySelectorAll('#plot .refused').length > 0
		&& /of them refused/.test(document.querySelector('#plot').getAttribute('aria-label'))`)
	b.until("secrets and stores", `return document.querySelector('#secrets').textContent.includes('front-door') && document.querySelector('#health').textContent.includes('memory')`)
	for _, width := range []int{320, 390, 719, 720, 839, 840, 1179, 1180, 1440} {
		b.call(http.MethodPost, "/window/rect", map[string]any{"width": width, "height": 900}, nil)
		b.until(fmt.Sprintf("at %d pixels nothing sticks out of its card", width), `const edge = document.querySelector('.decisions').getBoundingClientRect().right;
			return document.documentElement.scrollWidth <= innerWidth && [...document.querySelectorAll('#decisions span')].every((e) => e.getBoundingClientRect().right <= edge)`)
	}
	b.until("every control has a name", `return [...document.querySelectorAll('button, select, input')].every((e) => e.labels?.length || e.innerText || e.getAttribute('aria-label'))`)
	b.run(`window.violations = []; document.addEventListener('securitypolicyviolation', (e) => window.violations.push(e.violatedDirective));
		const s = document.createElement('script'); s.textContent = 'document.title = "owned"'; document.body.append(s)`)
	b.until("the policy would have stopped a script all the same", `return window.violations.length === 1 && document.title === 'caddyauth inspector'`)

	if err := caddy.Load([]byte(strings.Replace(config, `"received"`, `"received again"`, 1)), true); err != nil {
		t.Fatal(err)
	}
	b.run(`document.querySelector('#pause').click()`)
	send("/callback", "browser-test-key-0123456789abcdef", "{}")
	b.until("after a reload the page comes back by itself", rows+`return rows.split('---').length === 8`)

	for _, entry := range b.console() {
		if !strings.Contains(entry, "Executing inline script violates") && !strings.Contains(entry, "ERR_INCOMPLETE_CHUNKED_ENCODING") && !strings.Contains(entry, "ERR_CONNECTION_REFUSED") {
			t.Errorf("the console says: %s", entry)
		}
	}
}

// freeAddress gives an address on loopback on which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// browser is a headless Chromium, led by chromedriver (W3C WebDriver).
type browser struct {
	t       *testing.T
	session string // its URL
}

func newBrowser(t *testing.T) *browser {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	driver := exec.CommandContext(ctx, "chromedriver", "--port=0")
	said, err := driver.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := driver.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = driver.Wait()
	})
	ready := regexp.MustCompile(`started successfully on port (\d+)`)
	address := ""
	for lines := bufio.NewScanner(said); address == "" && lines.Scan(); {
		if found := ready.FindStringSubmatch(lines.Text()); found != nil {
			address = "http://127.0.0.1:" + found[1]
		}
	}
	if address == "" {
		t.Fatal("chromedriver does not say its port")
	}
	go func() { _, _ = io.Copy(io.Discard, said) }()

	b := &browser{t: t, session: address}
	var started struct{ SessionID string }
	b.call(http.MethodPost, "/session", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"goog:loggingPrefs": map[string]any{"browser": "ALL"},
		"goog:chromeOptions": map[string]any{"args": []string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
			"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir=" + t.TempDir(),
		}},
	}}}, &started)
	b.session = address + "/session/" + started.SessionID
	t.Cleanup(func() { b.call(http.MethodDelete, "", nil, nil) })
	return b
}

// call sends one command to the browser, and decodes what it gives.
func (b *browser) call(method, path string, body, value any) {
	b.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, b.session+path, bytes.NewReader(text))
	if err != nil {
		b.t.Fatal(err)
	}
	if method != http.MethodPost {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	answer := struct{ Value any }{value}
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(response.Body)
		b.t.Fatalf("the browser: %s: %.500s", path, said)
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		b.t.Fatal(err)
	}
}

// run runs a script in the page. Its value is true where it returns that.
func (b *browser) run(script string) bool {
	b.t.Helper()
	var value any
	b.call(http.MethodPost, "/execute/sync", map[string]any{"script": script, "args": []any{}}, &value)
	return value == true
}

// until waits until a script returns true.
func (b *browser) until(what, script string) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); !b.run(script); {
		if time.Now().After(end) {
			var text string
			b.call(http.MethodPost, "/execute/sync", map[string]any{"script": "return document.body.innerText", "args": []any{}}, &text)
			b.t.Fatalf("not so: %s\nthe page:\n%.3000s\nthe console: %q", what, text, b.console())
		}
	}
}

// console gives what the page has said there since it was last asked.
func (b *browser) console() []string {
	b.t.Helper()
	var entries []struct{ Message string }
	b.call(http.MethodPost, "/se/log", map[string]any{"type": "browser"}, &entries)
	var messages []string
	for _, entry := range entries {
		messages = append(messages, entry.Message)
	}
	return messages
}
