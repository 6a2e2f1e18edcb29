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

// writers finds the Logs of a test by its name.
var writers sync.Map

// Writer is a log writer into the Logs of a test.
type Writer struct {
	// The name of the test.
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
		return nil, fmt.Errorf("no test named %s", w.ID)
	}
	return logs.(*Logs), nil
}

// Interface guard
var _ caddy.WriterOpener = (*Writer)(nil)
