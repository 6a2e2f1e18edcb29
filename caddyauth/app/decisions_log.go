package app

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// MaxDecisions is the most decisions that a config can ask to keep. Each takes a few hundred bytes, and at the worst,
// with every text as long as may be, 16 KiB.
const MaxDecisions = 100_000

const (
	maxReaders  = 16  // at once, of the live decisions
	readerQueue = 256 // decisions that a reader may lag behind before it is dropped
)

// ErrReaders says that no further reader of live decisions can be served.
var ErrReaders = errors.New("too many readers of live decisions")

// decisions are those of this process: they survive reloads.
var decisions = newLog(uint64(time.Now().UnixMicro()), DefaultDecisions)

// Decisions returns the log of decisions of this process. It survives reloads; the newest config says how long it is.
func Decisions() *Log { return decisions }

// Log keeps the latest decisions, what secrets they matched, and how many there were in each of the last minutes. It
// may be used by many goroutines at once; recording waits for none of them, and makes no garbage.
type Log struct {
	last    atomic.Uint64
	ring    atomic.Pointer[ring]
	readers atomic.Pointer[[]*Reader]
	secrets secretUses
	minutes minutes
	whole   atomic.Bool // whether all steps of a decision are kept

	changing sync.Mutex // held while the ring or the readers are replaced
}

// ring is a number of places, of which a decision takes the one that its ID leads to.
type ring []place

// place has room for one decision. Its lock is wanted by two at once only where a whole ring of decisions comes while
// one is copied.
type place struct {
	mu sync.Mutex
	d  Decision
}

// put copies d into its place, unless it has a newer one. The memory of the steps that were there is used again.
func (p *place) put(d *Decision) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.d.ID >= d.ID {
		return
	}
	steps := append(p.d.Steps[:0], d.Steps...)
	p.d = *d
	p.d.Steps = steps
}

// after gives a copy of the decision, if there is one whose ID is above this one.
func (p *place) after(id uint64) (d Decision, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.d.ID <= id {
		return d, false
	}
	d = p.d
	d.Steps = slices.Clone(d.Steps)
	return d, true
}

// newLog makes a log for limit decisions, whose IDs follow first. IDs that begin with the time go on growing when the
// process starts again.
func newLog(first uint64, limit int) *Log {
	l := new(Log)
	l.last.Store(first)
	l.ring.Store(newRing(limit))
	l.readers.Store(new([]*Reader))
	return l
}

func newRing(limit int) *ring {
	r := make(ring, min(max(limit, 0), MaxDecisions))
	return &r
}

func (r *ring) put(d *Decision) {
	if len(*r) > 0 {
		(*r)[d.ID%uint64(len(*r))].put(d)
	}
}

// Limit returns how many decisions are kept.
func (l *Log) Limit() int { return len(*l.ring.Load()) }

// KeepWhole makes the log keep every step of a decision, however many. It is for the command that explains one request.
func (l *Log) KeepWhole() { l.whole.Store(true) }

// setLimit changes how many decisions are kept; the newest of those that are there stay.
func (l *Log) setLimit(limit int) {
	l.changing.Lock()
	defer l.changing.Unlock()
	old, next := l.ring.Load(), newRing(limit)
	if len(*old) == len(*next) {
		return
	}
	l.ring.Store(next)
	for i := range *old {
		if d, ok := (*old)[i].after(0); ok {
			next.put(&d)
		}
	}
}

// Record keeps a decision and shows it to the readers. Its steps are made short where they are; then they are the
// caller's again. With a limit of 0 it counts it, and keeps nothing.
func (l *Log) Record(d Decision) {
	if d.Time.IsZero() {
		d.Time = time.Now()
	}
	if d.Decision != "notice" {
		l.minutes.count(d.Time, d.Allowed, d.Duration)
	}
	for _, s := range d.Matched {
		l.secrets.used(printable(s.Scheme), printable(s.Key), d.Time)
	}
	if d.Matched == nil && d.Key != "" {
		l.secrets.used(printable(d.Scheme), printable(d.Key), d.Time)
	}
	d.Matched = nil
	if l.Limit() == 0 {
		return
	}
	d.bound(l.whole.Load())
	d.ID = l.last.Add(1)
	for r := l.ring.Load(); ; {
		r.put(&d)
		// If the ring was replaced meanwhile, what was put into the old one may have come too late to be copied.
		now := l.ring.Load()
		if now == r {
			break
		}
		r = now
	}
	if readers := *l.readers.Load(); len(readers) > 0 {
		shown := d
		shown.Steps = slices.Clone(d.Steps)
		shown.explain()
		for _, reader := range readers {
			reader.show(&shown)
		}
	}
}

// Latest returns up to limit decisions after the one with the ID after, newest first.
func (l *Log) Latest(limit int, after uint64) []*Decision {
	r := *l.ring.Load()
	latest := make([]*Decision, 0, min(max(limit, 0), len(r)))
	for i := range r {
		if d, ok := r[i].after(after); ok {
			latest = append(latest, &d)
		}
	}
	slices.SortFunc(latest, func(a, b *Decision) int { return cmp.Compare(b.ID, a.ID) })
	latest = latest[:min(len(latest), max(limit, 0))]
	for _, d := range latest {
		d.explain()
	}
	return latest
}

// Secrets returns which secrets matched, when and how often, since this process started.
func (l *Log) Secrets() []SecretUse { return l.secrets.list() }

// Minutes returns the minutes up to now in which there were decisions, the oldest first, at most an hour of them.
func (l *Log) Minutes(now time.Time) []Minute { return l.minutes.list(now) }

// Reader gets the decisions that come while it reads.
type Reader struct {
	// C has the decisions. It is never closed. They are not to be changed.
	C <-chan *Decision

	// Dropped is closed when the reader fell behind: nothing more comes.
	Dropped <-chan struct{}

	queue   chan *Decision
	dropped chan struct{}
	once    sync.Once
}

// Read begins to read live. Close must be called. The error is ErrReaders where there are too many already.
func (l *Log) Read() (*Reader, error) {
	l.changing.Lock()
	defer l.changing.Unlock()
	readers := *l.readers.Load()
	if len(readers) >= maxReaders {
		return nil, ErrReaders
	}
	reader := &Reader{queue: make(chan *Decision, readerQueue), dropped: make(chan struct{})}
	reader.C, reader.Dropped = reader.queue, reader.dropped
	readers = append(slices.Clone(readers), reader)
	l.readers.Store(&readers)
	return reader, nil
}

// Close ends the reading.
func (l *Log) Close(reader *Reader) {
	l.changing.Lock()
	defer l.changing.Unlock()
	readers := slices.DeleteFunc(slices.Clone(*l.readers.Load()), func(r *Reader) bool { return r == reader })
	l.readers.Store(&readers)
}

// show gives the reader a decision, or drops a reader that lags behind: no request waits for one.
func (r *Reader) show(d *Decision) {
	select {
	case r.queue <- d:
	default:
		r.once.Do(func() { close(r.dropped) })
	}
}
