package jwks

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

func TestAFileIsReadAgainWhenItChanged(t *testing.T) {
	h := newHands()
	path := filepath.Join(t.TempDir(), "keys.json")
	// write replaces the file's content, at a time of its own.
	write := func(document string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	day := h.now(t.Context())
	s := open(t, Config{File: path, Now: h.now})
	want(t, s, token("one"), verdict.Unavailable)
	if got := s.Health().LastResult; got != Unreadable {
		t.Errorf("result %s of a file that is not there", got)
	}
	one := ec(t, "one")
	write(set(one), day)
	h.move(time.Second)
	want(t, s, token("one"), verdict.OK)

	write(set(ec(t, "two")), day.Add(time.Second))
	h.move(999 * time.Millisecond)
	want(t, s, token("two"), verdict.UnknownKey)
	want(t, s, token("one"), verdict.OK)
	h.move(time.Millisecond)
	want(t, s, token("two"), verdict.OK)
	want(t, s, token("one"), verdict.UnknownKey)

	for _, broken := range []struct {
		how  string
		make func()
	}{
		{"garbage", func() { write("<html>", day.Add(time.Minute)) }},
		{"half of a set", func() { write(set(one)[:50], day.Add(time.Minute)) }},
		{"no file", func() { _ = os.Remove(path) }},
		{"a folder", func() { _ = os.Mkdir(path, 0o700) }},
	} {
		broken.make()
		h.move(time.Minute)
		want(t, s, token("two"), verdict.OK)
		if s.Health().LastResult == OK {
			t.Errorf("%s: nobody is told", broken.how)
		}
	}
	h.move(staleFor)
	want(t, s, token("two"), verdict.Unavailable)

	_ = os.Remove(path)
	write(set(), day.Add(time.Hour))
	h.move(time.Minute)
	want(t, s, token("two"), verdict.UnknownKey)
}

func TestAFileThatDoesNotChangeServesForEver(t *testing.T) {
	h := newHands()
	path := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(path, []byte(set(ec(t, "one"))), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, Config{File: path, Now: h.now})
	for range 10 {
		want(t, s, token("one"), verdict.OK)
		want(t, s, token("other"), verdict.UnknownKey)
		h.move(20 * time.Hour)
	}
	h.move(1000 * time.Hour)
	want(t, s, token("one"), verdict.OK)
}

func TestAFileOfTheSameSizeAndTimeInItsPlaceIsRead(t *testing.T) {
	h := newHands()
	folder := t.TempDir()
	path, other := filepath.Join(folder, "keys.json"), filepath.Join(folder, "next.json")
	at := h.now(t.Context())
	for p, document := range map[string]string{path: set(ec(t, "one")), other: set(ec(t, "two"))} {
		if err := os.WriteFile(p, []byte(document), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(p, at, at); err != nil {
			t.Fatal(err)
		}
	}
	s := open(t, Config{File: path, Now: h.now})
	want(t, s, token("one"), verdict.OK)
	if err := os.Rename(other, path); err != nil {
		t.Fatal(err)
	}
	h.move(time.Second)
	want(t, s, token("two"), verdict.OK)
	want(t, s, token("one"), verdict.UnknownKey)
}
