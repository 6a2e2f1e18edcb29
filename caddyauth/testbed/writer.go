package testbed

import (
	"fmt"
	"io"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(Writer{})
}

// writers finds Logs by their id.
var writers sync.Map

// Writer is a log writer into the Logs of a test.
type Writer struct {
	// The id of the Logs.
	ID string `json:"id,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (Writer) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "caddy.logging.writers.testbed",
		New: func() caddy.Module { return new(Writer) },
	}
}

// String names the writer.
func (w Writer) String() string { return "testbed " + w.ID }

// WriterKey tells writers apart.
func (w Writer) WriterKey() string { return "testbed:" + w.ID }

// OpenWriter gives the Logs of the test.
func (w Writer) OpenWriter() (io.WriteCloser, error) {
	logs, ok := writers.Load(w.ID)
	if !ok {
		return nil, fmt.Errorf("no logs with the id %s", w.ID)
	}
	return logs.(*Logs), nil
}

// Interface guard
var _ caddy.WriterOpener = (*Writer)(nil)
