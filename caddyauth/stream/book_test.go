package stream

import (
	"testing"
	"time"
)

func TestTheBookForgetsWhatIsOver(t *testing.T) {
	shown := make(map[string]int)
	b := newBook(func(dialect string, open int) { shown[dialect] = open })
	now := time.Unix(1_800_000_000, 0)
	key := func(n byte) [32]byte { return [32]byte{n} }
	put := func(n byte, dialect string, lease time.Duration) {
		b.put(&session{key: key(n), dialect: dialect, start: now, end: now.Add(lease)}, now)
	}
	put(1, "a", 3*time.Minute)
	put(2, "a", time.Minute)
	put(3, "b", 2*time.Minute)
	put(2, "a", time.Minute)
	if shown["a"] != 2 || shown["b"] != 1 {
		t.Errorf("shown: %v", shown)
	}
	now = now.Add(time.Minute)
	b.remove(key(9), now)
	if _, known := b.get(key(2)); known || shown["a"] != 1 {
		t.Errorf("what is over is known: %v", shown)
	}
	now = now.Add(time.Minute)
	put(4, "a", time.Minute)
	if _, known := b.get(key(3)); known || shown["a"] != 2 || shown["b"] != 0 {
		t.Errorf("what is over is known: %v", shown)
	}
	if s, known := b.remove(key(1), now); !known || s.dialect != "a" || shown["a"] != 1 {
		t.Errorf("%v, %v", known, shown)
	}
	if _, known := b.remove(key(1), now); known {
		t.Error("removed twice")
	}
	if len(b.open) != 1 || len(b.ends) != 1 {
		t.Errorf("%d and %d left", len(b.open), len(b.ends))
	}
}

func TestTheBookIsBounded(t *testing.T) {
	b := newBook(nil)
	now := time.Unix(1_800_000_000, 0)
	for i := range maxBook + 10 {
		key := [32]byte{byte(i), byte(i >> 8), byte(i >> 16)}
		b.put(&session{key: key, end: now.Add(time.Duration(i+1) * time.Second)}, now)
	}
	if len(b.open) != maxBook || len(b.ends) != maxBook || b.sizes[""] != maxBook {
		t.Errorf("%d, %d, %d", len(b.open), len(b.ends), b.sizes[""])
	}
	if _, known := b.get([32]byte{9}); known {
		t.Error("the one that ends first is known")
	}
	if _, known := b.get([32]byte{10}); !known {
		t.Error("one that ends later is not known")
	}
}
