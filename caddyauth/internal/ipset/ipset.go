// Package ipset holds sets of IP addresses, given as ranges, and answers quickly whether an address is in one.
//
// IPv4 has one spelling here: addresses that came in over a dual-stack socket (::ffff:192.0.2.1) and ranges written in
// that form are unmapped on both sides, or a rule for 192.0.2.0/24 would not see them. Zones (fe80::1%eth0) say on which
// of our own links an address was seen, and do not count.
package ipset

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// mappedBits is how many leading bits of an IPv6 address say that it is a mapped IPv4 one (RFC 4291 §2.5.5.2).
const mappedBits = 96

// ErrSyntax is wrapped by the error of a text that is neither an address nor a range.
var ErrSyntax = errors.New("not an IP address or range, such as 192.0.2.1 or 2001:db8::/32")

// Parse reads one range in CIDR notation (RFC 4632 §3.1) or one address, which is a range of its own. Host bits that are
// set are cleared. Errors do not hold the text.
func Parse(text string) (netip.Prefix, error) {
	var prefix netip.Prefix
	if strings.Contains(text, "/") {
		parsed, err := netip.ParsePrefix(text)
		if err != nil {
			return netip.Prefix{}, ErrSyntax
		}
		prefix = parsed
	} else {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, ErrSyntax
		}
		if addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%w: it has a zone", ErrSyntax)
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	if prefix.Addr().Is4In6() {
		if prefix.Bits() < mappedBits {
			return netip.Prefix{}, fmt.Errorf("%w: it is wider than all mapped IPv4 addresses, ::ffff:0:0/96", ErrSyntax)
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mappedBits)
	}
	return prefix.Masked(), nil
}

// Set is a set of addresses. It does not change after New, and any number may read it at once. The zero Set is empty.
type Set struct {
	// Sorted by address, none inside another: so the last one that starts at or before an address is the only one
	// that can hold it.
	v4, v6 []netip.Prefix
}

// New returns the set of all addresses in these ranges, as Parse gives them.
func New(prefixes []netip.Prefix) Set {
	sorted := slices.Clone(prefixes)
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var set Set
	for _, prefix := range sorted {
		list := &set.v6
		if prefix.Addr().Is4() {
			list = &set.v4
		}
		if n := len(*list); n > 0 && (*list)[n-1].Overlaps(prefix) {
			continue // the wider one stands before it
		}
		*list = append(*list, prefix)
	}
	return set
}

// Contains reports whether addr is in the set. The zero Addr is in no set.
func (s Set) Contains(addr netip.Addr) bool {
	if !addr.IsValid() {
		return false
	}
	addr = addr.Unmap().WithZone("")
	list := s.v6
	if addr.Is4() {
		list = s.v4
	}
	low, high := 0, len(list)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if list[middle].Addr().Compare(addr) <= 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low > 0 && list[low-1].Contains(addr)
}

// Empty reports whether no address is in the set.
func (s Set) Empty() bool { return len(s.v4) == 0 && len(s.v6) == 0 }
