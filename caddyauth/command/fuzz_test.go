package command

import (
	"encoding/json"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// walk calls visit with every object in a JSON value that has a handler's name.
func walk(value any, visit func(name string, handler map[string]any)) {
	switch value := value.(type) {
	case []any:
		for _, item := range value {
			walk(item, visit)
		}
	case map[string]any:
		if name, ok := value["handler"].(string); ok {
			visit(name, value)
		}
		for _, item := range value {
			walk(item, visit)
		}
	}
}

// FuzzExplain: whatever the configuration, what is left of it for `explain` has no handler that calls out or answers for
// itself, and ours in it as they were; and whatever the recording, it is a request whose body can be read, or an error.
func FuzzExplain(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"apps":{"http":{"servers":{"srv0":{"listen":[":80"],"logs":{"default_logger_name":"x"},"routes":[{"handle":[{"handler":"callback_auth","schemes":[{"scheme":"jwt","secrets":[{"value":"x"}]}]},{"handler":"reverse_proxy","upstreams":[{"dial":"localhost:9"}]}]}]}}}}}`,
			"POST /hook HTTP/1.1\r\nHost: h\r\n\r\n{}"},
		{`{"apps":{"http":{"servers":{"a":{"routes":[{"handle":[{"handler":"subroute","routes":[{"handle":[{"handler":"exec"},{"handler":"tracing"},{"handler":"static_response"}]}]}]}]}}}}}`,
			"POST / HTTP/1.1\nHost: h:8080\nContent-Length: 5\n\n{}"},
		{`{"apps":{"http":{"routes":{"handler":"vars","logs":1,"in":{"handler":"php"}},"servers":{"a":1}}}}`, "GET / HTTP/1.0\r\n\r\nrest"},
		{`{"apps":{"http":{"a":{"handler":"stream_auth","in":{"handler":"php","logs":{}}}}}}`, "PUT http://h/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
		{`{"apps":{"http":[[{"Handler":"exec"},{"handler":7},{"handler":""}]]}}`, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n"},
		{`{"apps":{"http":null}}`, "\x16\x03\x01"}, {`{"apps":[]}`, ""}, {`{"apps":{"http":{}},"Apps":{"http":1}}`, "A B C\n\n"},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, config, recording []byte) {
		e := &explaining{clientIP: "192.0.2.1", at: "2026-11-22T10:00:00Z", https: true}
		if r, err := e.request(strings.NewReader(string(recording))); err == nil {
			if body, err := io.ReadAll(r.Body); err == nil && r.ContentLength >= 0 && int64(len(body)) != r.ContentLength {
				t.Errorf("a body of %d bytes is announced with %d", len(body), r.ContentLength)
			}
		}
		reduced, err := alone(config)
		if err != nil {
			return
		}
		if len(reduced.AppsRaw) != 1 || !reduced.Admin.Disabled {
			t.Errorf("more is left than the HTTP app: %v", reduced.AppsRaw)
		}
		var before, after any
		var full struct {
			Apps map[string]json.RawMessage `json:"apps"`
		}
		if json.Unmarshal(config, &full) != nil || json.Unmarshal(full.Apps["http"], &before) != nil || json.Unmarshal(reduced.AppsRaw["http"], &after) != nil {
			t.Fatal("what could be reduced is not JSON, or was none")
		}
		var ours []any
		walk(before, func(name string, handler map[string]any) {
			if name == "callback_auth" || name == "stream_auth" {
				ours = append(ours, handler)
			}
		})
		within := 0 // objects inside of ours, which are settings of ours, whatever they are called
		walk(after, func(name string, handler map[string]any) {
			if name == "callback_auth" || name == "stream_auth" {
				if !slices.ContainsFunc(ours, func(one any) bool { return reflect.DeepEqual(one, any(handler)) }) {
					t.Errorf("a handler of ours was changed into %v", handler)
				}
				walk(handler, func(string, map[string]any) { within++ })
				within-- // itself
				return
			}
			if within > 0 {
				within--
				return
			}
			if !slices.Contains(passive, name) {
				t.Errorf("%q is left", name)
			}
			if body, _ := handler["body"].(string); name == "static_response" && strings.HasPrefix(body, passedOn) && handler["status_code"] != float64(http.StatusOK) && len(handler) == 3 {
				t.Errorf("a stub answers %v", handler["status_code"])
			}
		})
	})
}

// words takes a command line apart as a POSIX shell does, as far as single quotes, backslashes, spaces and line
// continuations go. ok is false where the line has anything else that a shell would not take as it stands.
func words(line string) (list []string, ok bool) {
	var word strings.Builder
	begun := false
	for i := 0; i < len(line); i++ {
		switch char := line[i]; {
		case char == '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, false
			}
			word.WriteString(line[i+1 : i+1+end])
			begun, i = true, i+1+end
		case char == '\\' && i+1 < len(line):
			if i++; line[i] != '\n' {
				word.WriteByte(line[i])
				begun = true
			}
		case char == ' ' || char == '\n':
			if begun {
				list = append(list, word.String())
				word.Reset()
				begun = false
			}
		case char >= '0' && char <= '9', char >= 'A' && char <= 'Z', char >= 'a' && char <= 'z', char == '-':
			word.WriteByte(char)
			begun = true
		default:
			return nil, false
		}
	}
	return list, !begun
}

// FuzzCurl: the command that `sign` prints has the words of the request in it and no others, whatever a body, a URL or a
// header holds: nothing in them is for the shell.
func FuzzCurl(f *testing.F) {
	f.Add("http://127.0.0.1:8080/hook", "X-Sig", "v1=00", `{"a":1}`, "POST")
	f.Add("https://h/'$(id)'?a=`id`", "X-A", "a'b\\'; id #", "it's; rm -rf /\n'", "PUT")
	f.Add("http://h/?a='&b='", "X", "", "@/etc/passwd", "GET")
	f.Add("http://h/\\'", "X", "\\", "'", "DELETE")
	f.Add("http://h/a/../b?x={1,2}&y=[3-4]", "X", "1", "\r\n", "POST")
	f.Fuzz(func(t *testing.T, address, name, value, body, method string) {
		r, err := http.NewRequestWithContext(t.Context(), method, address, http.NoBody)
		if err != nil || method == "" || strings.ContainsRune(address+value+body, 0) || strings.ContainsFunc(method, func(char rune) bool { return (char < 'A' || char > 'Z') && (char < 'a' || char > 'z') }) {
			return
		}
		r.Header.Set(name, value)
		want := []string{"curl", "-i"}
		if strings.ContainsAny(r.URL.String(), "[]{}") {
			want = append(want, "-g")
		}
		if strings.Contains(r.URL.String(), "/.") {
			want = append(want, "--path-as-is")
		}
		if method != http.MethodPost || body == "" {
			want = append(want, "-X", method)
		}
		want = append(want, r.URL.String())
		for name := range r.Header {
			want = append(want, "-H", name+": "+value)
		}
		if body != "" {
			want = append(want, "--data-raw", body)
		}
		if got, ok := words(curl(r, []byte(body))); !ok || !slices.Equal(got, want) {
			t.Errorf("%q is not %q", got, want)
		}
	})
}
