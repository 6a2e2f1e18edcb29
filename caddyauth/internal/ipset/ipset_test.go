package ipset

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func set(t testing.TB, texts ...string) Set {
	t.Helper()
	prefixes := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		prefix, err := Parse(text)
		if err != nil {
			t.Fatalf("Parse(%q): %v", text, err)
		}
		prefixes = append(prefixes, prefix)
	}
	return New(prefixes)
}

func TestParse(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"a range stays as it is", "52.112.0.0/14", "52.112.0.0/14"},
		{"an address is a range of its own", "192.0.2.7", "192.0.2.7/32"},
		{"an IPv6 address is a range of its own", "2001:db8::1", "2001:db8::1/128"},
		{"host bits are cleared", "127.0.0.1/8", "127.0.0.0/8"},
		{"a mapped range becomes IPv4", "::ffff:52.112.0.0/110", "52.112.0.0/14"},
		{"a mapped address becomes IPv4", "::ffff:192.0.2.1", "192.0.2.1/32"},
		{"all mapped addresses are all of IPv4", "::ffff:0:0/96", "0.0.0.0/0"},
		{"a mapped range wider than IPv4 is refused", "::ffff:0:0/90", ""},
		{"a zone is refused", "fe80::1%eth0", ""},
		{"a zone in a range is refused", "fe80::%eth0/10", ""},
		{"too many bits are refused", "10.0.0.0/33", ""},
		{"a leading zero is refused, for some read it as octal", "010.0.0.1", ""},
		{"an address in short form is refused", "10.1", ""},
		{"a name is refused", "localhost", ""},
		{"a space is refused", " 10.0.0.1", ""},
		{"nothing is refused", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			prefix, err := Parse(test.text)
			switch {
			case test.want == "" && !errors.Is(err, ErrSyntax):
				t.Errorf("Parse(%q) = %v, %v; want ErrSyntax", test.text, prefix, err)
			case test.want != "" && (err != nil || prefix.String() != test.want):
				t.Errorf("Parse(%q) = %v, %v; want %s", test.text, prefix, err, test.want)
			}
		})
	}
}

func TestContains(t *testing.T) {
	s := set(t, "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "192.0.2.1", "192.0.2.1", "2001:db8::/32", "fe80::/10", "::ffff:198.51.100.0/120")
	for _, test := range []struct {
		addr string
		want bool
	}{
		{"10.0.0.0", true},
		{"10.255.255.255", true},
		{"10.1.2.3", true},
		{"9.255.255.255", false},
		{"11.0.0.0", false},
		{"192.0.2.1", true},
		{"192.0.2.0", false},
		{"192.0.2.2", false},
		{"::ffff:10.0.0.1", true},
		{"198.51.100.200", true},
		{"::ffff:198.51.100.200", true},
		{"2001:db8:ffff::1", true},
		{"2001:db9::", false},
		{"fe80::1%eth0", true},
		{"::10.0.0.1", false},
	} {
		if got := s.Contains(netip.MustParseAddr(test.addr)); got != test.want {
			t.Errorf("Contains(%s) = %v", test.addr, got)
		}
	}
	t.Run("no address is in no set", func(t *testing.T) {
		if set(t, "0.0.0.0/0", "::/0").Contains(netip.Addr{}) {
			t.Error("the zero Addr is in the set of everything")
		}
	})
	t.Run("everything of one family is nothing of the other", func(t *testing.T) {
		if set(t, "::/0").Contains(netip.MustParseAddr("192.0.2.1")) || set(t, "0.0.0.0/0").Contains(netip.MustParseAddr("::1")) {
			t.Error("the families mix")
		}
	})
	t.Run("the zero set is empty", func(t *testing.T) {
		if (Set{}).Contains(netip.MustParseAddr("::1")) || !(Set{}).Empty() || s.Empty() {
			t.Error("Empty or Contains is wrong")
		}
	})
}

func TestContainsAgreesWithALookAtEveryRange(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		prefixes := make([]netip.Prefix, 40)
		for i := range prefixes {
			prefixes[i] = netip.PrefixFrom(address(random.Uint32()&0xff0000ff), 1+random.IntN(32)).Masked()
		}
		s := New(prefixes)
		for range 200 {
			addr, want := address(random.Uint32()&0xff0000ff), false
			for _, prefix := range prefixes {
				want = want || prefix.Contains(addr)
			}
			if s.Contains(addr) != want {
				t.Fatalf("Contains(%v) = %v in %v", addr, !want, prefixes)
			}
		}
	}
}

func TestContainsDoesNotAllocate(t *testing.T) {
	s, addr := set(t, "10.0.0.0/8", "fe80::/10"), netip.MustParseAddr("::ffff:10.0.0.1")
	if n := testing.AllocsPerRun(100, func() { s.Contains(addr) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func address(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
}

// FuzzParse: what we take net/netip takes too, and says the same about any address; what is written reads back.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"10.0.0.0/8", "::ffff:1.2.3.4/100", "::/0", "fe80::1%x", "1.2.3.4/", "/", "52.112.0.0/14", "::ffff:52.112.0.0/110", "010.0.0.1", "1.2.3.4/08", "::1.2.3.4"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		prefix, err := Parse(text)
		if err != nil {
			return
		}
		if prefix.Addr().Is4In6() || prefix != prefix.Masked() || !New([]netip.Prefix{prefix}).Contains(prefix.Addr()) {
			t.Errorf("Parse(%q) = %v is not normal", text, prefix)
		}
		if again, err := Parse(prefix.String()); err != nil || again != prefix {
			t.Errorf("Parse(%q) = %v, but its text gives %v, %v", text, prefix, again, err)
		}
		theirs, err := netip.ParsePrefix(text)
		if addr, single := netip.ParseAddr(text); single == nil {
			theirs, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			t.Fatalf("net/netip refuses %q: %v", text, err)
		}
		// Addresses at its start, before it and behind it, in both spellings of IPv4.
		set := New([]netip.Prefix{prefix})
		for _, addr := range []netip.Addr{theirs.Addr(), theirs.Masked().Addr(), theirs.Addr().Next(), theirs.Addr().Prev(), theirs.Masked().Addr().Prev()} {
			if !addr.IsValid() {
				continue
			}
			within := theirs.Masked().Contains(addr)
			if set.Contains(addr.Unmap()) != within {
				t.Errorf("%q holds %v: %v, and net/netip says %v", text, addr, !within, within)
			}
		}
	})
}
