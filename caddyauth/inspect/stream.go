package inspect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"

	"github.com/caddyserver/caddy/v2"
)

const (
	beat         = 5 * time.Second  // between signs of life
	writeTimeout = 10 * time.Second // after which a reader that takes nothing is given up
	retry        = 3 * time.Second  // after which a browser connects again
)

// stream serves decisions as they are made, as server-sent events named `decision` with their ID. A reader that comes
// back with Last-Event-ID gets first what it missed, as far as that is kept. With `status` in the query, the Status
// comes too, as events of that name. It ends with the config, and with a reader that is too slow: it connects again.
func (i *Inspector) stream(w http.ResponseWriter, r *http.Request) error {
	header := w.Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("X-Accel-Buffering", "no") // for a proxy in between
	if r.Method == http.MethodHead {
		return nil
	}
	log := app.Decisions()
	reader, err := log.Read()
	if errors.Is(err, app.ErrReaders) {
		header.Set("Retry-After", "10")
		header.Set("Content-Type", "application/json")
		return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	if err != nil {
		return err
	}
	defer log.Close(reader)

	events := &events{w: w, control: http.NewResponseController(w), status: r.URL.Query().Has("status")}
	// The admin endpoint bounds the time in which a request may be read, and takes what is read later for its end.
	if err := events.control.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if last, err := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64); err == nil {
		missed := log.Latest(log.Limit(), last)
		for n := len(missed) - 1; n >= 0; n-- {
			events.decision(missed[n])
		}
	}
	events.write("retry: %d\n\n", retry.Milliseconds())
	events.alive()

	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	for events.flush() == nil {
		select {
		case d := <-reader.C:
			events.decision(d)
			for range len(reader.C) { // one flush for all that wait
				events.decision(<-reader.C)
			}
		case <-ticker.C:
			events.alive()
		case <-reader.Dropped:
			return nil
		case <-i.ended:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
	return nil
}

// events writes server-sent events. The first error ends it.
type events struct {
	w       io.Writer
	control *http.ResponseController
	status  bool
	last    uint64 // the ID of the newest decision that was written
	err     error
}

func (e *events) write(format string, values ...any) {
	if e.err == nil {
		e.err = e.control.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
	if e.err == nil {
		_, e.err = fmt.Fprintf(e.w, format, values...)
	}
}

func (e *events) flush() error {
	if e.err == nil {
		e.err = e.control.Flush()
	}
	return e.err
}

// decision writes a decision. One that was among the missed ones may come twice: readers know it by its ID in the data.
// Those of one moment may come in another order than their IDs; the one that is resumed from is the highest.
func (e *events) decision(d *app.Decision) {
	text, err := json.Marshal(d)
	if err != nil {
		e.err = err
		return
	}
	e.last = max(e.last, d.ID)
	e.write("event: decision\nid: %d\ndata: %s\n\n", e.last, text)
}

// alive writes a sign of life: a comment, or the status.
func (e *events) alive() {
	if !e.status {
		e.write(": alive\n\n")
		return
	}
	text, err := json.Marshal(now())
	if err != nil {
		e.err = err
		return
	}
	e.write("event: status\ndata: %s\n\n", text)
}
