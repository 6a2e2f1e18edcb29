package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddyauth/callbacks/caddyauth/verdict"

	"github.com/caddyserver/caddy/v2"
)

func ids(list []*Decision) []uint64 {
	numbers := []uint64{}
	for _, d := range list {
		numbers = append(numbers, d.ID)
	}
	return numbers
}

func TestTheLatestDecisionsAreKeptNewestFirst(t *testing.T) {
	l := newLog(100, 3)
	for range 5 {
		l.Record(Decision{Reason: verdict.OK})
	}
	for _, c := range []struct {
		limit int
		after uint64
		want  []uint64
	}{
		{10, 0, []uint64{105, 104, 103}},
		{2, 0, []uint64{105, 104}},
		{10, 104, []uint64{105}},
		{10, 105, []uint64{}},
		{0, 0, []uint64{}},
		{-1, 0, []uint64{}},
	} {
		if got := ids(l.Latest(c.limit, c.after)); !slices.Equal(got, c.want) {
			t.Errorf("%d after %d: %v; want %v", c.limit, c.after, got, c.want)
		}
	}
}

func TestAReloadChangesHowManyDecisionsAreKeptAndLosesNoneOfThem(t *testing.T) {
	l := newLog(0, 4)
	for range 6 {
		l.Record(Decision{})
	}
	for _, c := range []struct {
		limit int
		want  []uint64
	}{{4, []uint64{6, 5, 4, 3}}, {10, []uint64{6, 5, 4, 3}}, {2, []uint64{6, 5}}, {0, []uint64{}}} {
		l.setLimit(c.limit)
		if got := ids(l.Latest(100, 0)); !slices.Equal(got, c.want) {
			t.Errorf("limit %d: %v; want %v", c.limit, got, c.want)
		}
	}
	l.Record(Decision{Allowed: true, Key: "one", Handler: HandlerCallback})
	if got := l.Latest(100, 0); len(got) != 0 {
		t.Errorf("with a limit of 0: %v", got)
	}
	if len(l.Secrets()) != 1 || len(l.Minutes(time.Now())) == 0 {
		t.Error("with a limit of 0, nothing is counted")
	}
}

func TestRecordingFromEverywhereWhileTheLimitChanges(t *testing.T) {
	l := newLog(0, 64)
	const writers, each = 8, 500
	var done sync.WaitGroup
	for range writers {
		done.Go(func() {
			for range each {
				l.Record(Decision{Handler: HandlerCallback, Scheme: "vonage", Key: "one"})
			}
		})
	}
	done.Go(func() {
		for n := range 50 {
			l.setLimit(32 + n%3*32)
			l.Latest(10, 0)
		}
		l.setLimit(64)
	})
	done.Wait()
	for range 64 { // the limit may have been 32 when the last writer was done
		l.Record(Decision{})
	}
	got := ids(l.Latest(100, 0))
	if len(got) != 64 || got[0] != writers*each+64 {
		t.Fatalf("%d decisions, the newest is %v", len(got), got[:1])
	}
	for i, id := range got {
		if id != got[0]-uint64(i) {
			t.Fatalf("a gap: %v", got)
		}
	}
	if uses := l.Secrets(); len(uses) != 1 || uses[0].Count != writers*each {
		t.Errorf("%+v", uses)
	}
}

func TestWhatAClientChoseIsMadeShortAndPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"live/cam1":                     "live/cam1",
		"<script>alert(1)</script>":     "<script>alert(1)</script>", // the page shows text as text
		"Zürich 東京":                     "Zürich 東京",
		"a\x00b\nc\x1b[31m":             "a�b�c�[31m",
		"not \xff UTF-8":                "not � UTF-8",
		"turned \u202etxt.exe":          "turned �txt.exe",
		"an invisible\u2028 line":       "an invisible� line",
		strings.Repeat("x", maxText):    strings.Repeat("x", maxText),
		strings.Repeat("x", maxText+1):  strings.Repeat("x", maxText-3) + "…",
		strings.Repeat("é", maxText):    strings.Repeat("é", (maxText-3)/2) + "…",
		strings.Repeat("\xff", 1000000): "…",
	} {
		if got := printable(text); got != want {
			t.Errorf("%.40q: %q; want %q", text, got, want)
		}
	}
}

func TestOneDecisionIsBoundedWhateverIsInIt(t *testing.T) {
	long := strings.Repeat("\"<\xff\x00", 10_000)
	d := Decision{
		Handler: long, Scheme: long, Decision: long, Reason: verdict.Reason(long), Words: long, Hint: long, Detail: long,
		Key: long, ClientIP: long, Stream: long, Mode: long, Agent: long, Rule: long,
	}
	for range 1000 {
		d.Steps = append(d.Steps, Step{long, long, long, long})
	}
	steps := d.Steps
	l := newLog(0, 1)
	l.Record(d)
	kept := l.Latest(1, 0)[0]
	text, err := json.Marshal(kept)
	if err != nil || !utf8.Valid(text) || strings.Contains(string(text), "<") {
		t.Errorf("error %v, %.200s", err, text)
	}
	size := len(kept.Detail)
	for _, step := range kept.Steps {
		size += len(step.Name) + len(step.Outcome) + len(step.Detail) + len(step.Key)
	}
	if len(kept.Steps) != maxSteps || size > (4*maxSteps+1)*3*maxText || kept.Reason != verdict.Unavailable {
		t.Errorf("%d steps, %d bytes, reason %s", len(kept.Steps), size, kept.Reason)
	}
	if last := kept.Steps[maxSteps-1]; last.Outcome != "985 more steps" {
		t.Errorf("the last step: %+v", last)
	}
	if steps[0].Name != long {
		t.Error("the caller's steps were changed")
	}
}

// The log uses memory again, and so do its callers: nobody sees in a decision what came later.
func TestADecisionThatWasShownDoesNotChange(t *testing.T) {
	l := newLog(0, 1)
	reader, err := l.Read()
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close(reader)
	steps := []Step{{Name: "vonage", Outcome: "ok"}, {Name: "replay", Outcome: "ok"}}
	l.Record(Decision{Reason: verdict.OK, Steps: steps})
	latest, live := l.Latest(1, 0)[0], <-reader.C
	steps[0].Name = "another's"
	l.Record(Decision{Reason: verdict.Missing, Steps: []Step{{Name: "jwt", Outcome: "missing"}}})
	for _, d := range []*Decision{latest, live} {
		if d.Reason != verdict.OK || d.Words != Explain(verdict.OK).Words || len(d.Steps) != 2 || d.Steps[0].Name != "vonage" {
			t.Errorf("%+v", d)
		}
	}
	if d := l.Latest(1, 0)[0]; d.Reason != verdict.Missing || len(d.Steps) != 1 || d.Steps[0].Name != "jwt" {
		t.Errorf("the one after it: %+v", d)
	}
}

func FuzzPrintable(f *testing.F) {
	for _, text := range []string{"", "live/cam1", "\xff\x00", strings.Repeat("é", 150), "\u202e", "…"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := printable(text)
		if len(got) > 3*maxText || !utf8.ValidString(got) || printable(got) != got && len(got) <= maxText {
			t.Errorf("%q: %q", text, got)
		}
	})
}

func TestReadersGetWhatIsRecordedAndSlowOnesAreDropped(t *testing.T) {
	l := newLog(0, 10)
	quick, err := l.Read()
	if err != nil {
		t.Fatal(err)
	}
	slow, err := l.Read()
	if err != nil {
		t.Fatal(err)
	}
	for n := range readerQueue + 10 {
		l.Record(Decision{})
		if d := <-quick.C; d.ID != uint64(n+1) {
			t.Fatalf("decision %d after %d", d.ID, n)
		}
	}
	select {
	case <-slow.Dropped:
	default:
		t.Error("a reader that takes nothing is not dropped")
	}
	select {
	case <-quick.Dropped:
		t.Error("a quick reader is dropped")
	default:
	}
	l.Close(slow)
	l.Close(slow)
	l.Close(quick)
	l.Record(Decision{})
	if len(quick.C) != 0 {
		t.Error("a closed reader goes on reading")
	}
}

func TestReadersAreLimited(t *testing.T) {
	l := newLog(0, 10)
	var first *Reader
	for n := range maxReaders {
		reader, err := l.Read()
		if err != nil {
			t.Fatalf("reader %d: %v", n, err)
		}
		first = reader
	}
	if _, err := l.Read(); !errors.Is(err, ErrReaders) {
		t.Errorf("one too many: %v", err)
	}
	l.Close(first)
	if _, err := l.Read(); err != nil {
		t.Errorf("after one has gone: %v", err)
	}
}

func TestSecretsLastUsed(t *testing.T) {
	l := newLog(0, 10)
	at := time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)
	record := func(scheme, key string, after time.Duration) {
		l.Record(Decision{Handler: HandlerCallback, Scheme: scheme, Key: key, Time: at.Add(after)})
	}
	record("vonage", "old", 0)
	record("vonage", "next", time.Minute)
	record("vonage", "next", time.Hour)
	record("basic", "1", time.Second)
	record("basic", "", time.Second)
	want := []SecretUse{
		{"basic", "1", 1, at.Add(time.Second)}, {"vonage", "next", 2, at.Add(time.Hour)}, {"vonage", "old", 1, at},
	}
	if got := l.Secrets(); !slices.Equal(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	for n := range maxSecrets + 5 {
		record("jwt", fmt.Sprint(n), time.Duration(n+2)*time.Hour)
	}
	got := l.Secrets()
	if len(got) != maxSecrets || slices.ContainsFunc(got, func(u SecretUse) bool { return u.Key == "old" || u.Key == "0" }) {
		t.Errorf("%d secrets, the first %+v", len(got), got[0])
	}
}

func TestTheMinutesOfTheLastHour(t *testing.T) {
	l := newLog(0, 10)
	at := time.Date(2026, 11, 22, 4, 0, 30, 0, time.UTC)
	record := func(after time.Duration, allowed bool, decision string) {
		l.Record(Decision{Time: at.Add(after), Allowed: allowed, Decision: decision, Duration: time.Millisecond})
	}
	record(-61*time.Minute, true, "allow") // its place is taken later
	record(0, true, "allow")
	record(time.Second, false, "deny")
	record(2*time.Second, true, "notice") // which nobody asked about
	record(40*time.Second, true, "allow")
	start := at.Truncate(time.Minute)
	want := []Minute{{start, 1, 1, 2 * time.Millisecond}, {start.Add(time.Minute), 1, 0, time.Millisecond}}
	if got := l.Minutes(at.Add(time.Minute)); !slices.Equal(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	if got := l.Minutes(at.Add(60 * time.Minute)); len(got) != 1 {
		t.Errorf("after an hour: %+v", got)
	}
	if got := l.Minutes(at.Add(24 * time.Hour)); len(got) != 0 {
		t.Errorf("after a day: %+v", got)
	}
}

func TestEveryReasonHasWordsAndAHintThatTheReadmeHasToo(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, reason := range verdict.Reasons() {
		meaning := Explain(reason)
		if meaning.Words == "" || (meaning.Hint == "") != (reason == verdict.OK) {
			t.Errorf("%s: %+v", reason, meaning)
		}
		row := fmt.Sprintf("| `%s` | %s | %s |", reason, strings.TrimSuffix(meaning.Words, "."), meaning.Hint)
		row = strings.ReplaceAll(row, "`", "")
		if reason != verdict.OK && !strings.Contains(strings.ReplaceAll(string(text), "`", ""), row) {
			t.Errorf("the README lacks:\n%s", row)
		}
	}
	if len(meanings) != len(verdict.Reasons()) {
		t.Errorf("%d meanings for %d reasons", len(meanings), len(verdict.Reasons()))
	}
	if Explain("made up") != Explain(verdict.Unavailable) {
		t.Error("a reason that nobody knows")
	}
}

func TestTheInspectorShowsTheConfigThatRuns(t *testing.T) {
	limit := decisions.Limit()
	defer decisions.setLimit(limit)
	five := 5
	first, _, endFirst := provision(t, new(App))
	second, _, endSecond := provision(t, &App{Decisions: &five})
	defer endSecond()
	defer endFirst()
	first.Watch(KindKeySet, "https://issuer.example.com/keys", func() Health { return Health{State: StateStale, Detail: "a\nb"} })

	start := func(a *App) {
		if err := a.Start(); err != nil {
			t.Fatal(err)
		}
	}
	stop := func(a *App) {
		if err := a.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if got := Watched(); len(got) != 0 {
		t.Errorf("before anything runs: %+v", got)
	}
	start(first)
	want := []Health{
		{Kind: KindStore, Name: "memory", State: StateUnused, Detail: "nothing has asked for it yet"},
		{Kind: KindKeySet, Name: "https://issuer.example.com/keys", State: StateStale, Detail: "a�b"},
	}
	if got := Watched(); !slices.Equal(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	start(second)
	if len(Watched()) != 1 || decisions.Limit() != 5 {
		t.Errorf("after a reload: %+v, limit %d", Watched(), decisions.Limit())
	}
	stop(second) // as where another app of that config failed to start
	if len(Watched()) != 2 || decisions.Limit() != DefaultDecisions {
		t.Errorf("after a reload that failed: %+v, limit %d", Watched(), decisions.Limit())
	}
	stop(first)
	if got := Watched(); len(got) != 0 {
		t.Errorf("after the end: %+v", got)
	}
}

func TestTheHealthOfTheStoreFollowsItsOperations(t *testing.T) {
	a, _, end := provision(t, &App{StoreRaw: json.RawMessage(`{"store":"redis","url":"unix:///nowhere/at/all"}`)})
	defer end()
	counted := a.store.(*countedStore)
	if a.Store().Leave(t.Context(), [32]byte{}, [32]byte{}) == nil {
		t.Fatal("no error without a server")
	}
	if h := counted.health(); h.State != StateFailing || h.LastError.IsZero() || !strings.Contains(h.Detail, "leave") {
		t.Errorf("%+v", h)
	}
	_ = counted.count("leave", nil)
	if h := counted.health(); h.State != StateOK || h.LastOK.IsZero() || h.LastError.IsZero() {
		t.Errorf("after it came back: %+v", h)
	}
}

func TestMoreDecisionsThanCanBeKeptAreRefused(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	many := MaxDecisions + 1
	if err := (&App{Decisions: &many}).Provision(ctx); err == nil || !strings.Contains(err.Error(), "more than can be kept") {
		t.Error(err)
	}
}

func BenchmarkRecord(b *testing.B) {
	l := newLog(0, DefaultDecisions)
	d := Decision{
		Time: time.Now(), Handler: HandlerCallback, Scheme: "vonage", Key: "one", Reason: verdict.OK, ClientIP: "203.0.113.7",
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			d := d
			d.Steps = []Step{{Name: "vonage", Outcome: "ok"}, {Name: "replay", Outcome: "ok"}}
			l.Record(d)
		}
	})
}
