package testbed

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// Logs holds what a Bed has logged, at every level, as JSON lines.
type Logs struct {
	id     string
	mu     sync.Mutex
	buffer bytes.Buffer
}

// beds counts the Logs that were made.
var beds atomic.Int64

func newLogs(t testing.TB) *Logs {
	// Caddy keeps a writer by its key: a second Bed of one test, or a second run of it, is to have its own.
	logs := &Logs{id: fmt.Sprint(t.Name(), "#", beds.Add(1))}
	writers.Store(logs.id, logs)
	t.Cleanup(func() { writers.Delete(logs.id) })
	return logs
}

func (l *Logs) config() *caddy.CustomLog {
	writer, _ := json.Marshal(map[string]string{"output": "testbed", "id": l.id})
	return &caddy.CustomLog{BaseLog: caddy.BaseLog{
		WriterRaw: writer, EncoderRaw: json.RawMessage(`{"format":"json"}`), Level: "DEBUG",
	}}
}

// Write takes one line.
func (l *Logs) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(line)
}

// Close does nothing.
func (l *Logs) Close() error { return nil }

// String returns all lines so far.
func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

// Lines returns, decoded, the lines whose message is msg.
func (l *Logs) Lines(t testing.TB, msg string) []map[string]any {
	t.Helper()
	var lines []map[string]any
	for line := range strings.Lines(l.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("a log line that is not JSON: %v", err)
		}
		if fields["msg"] == msg {
			lines = append(lines, fields)
		}
	}
	return lines
}

// Forget drops all lines so far. Load over a long time would fill the memory with them.
func (l *Logs) Forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buffer = bytes.Buffer{}
}
