package ipset

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// Addresses are looked up by halving: ten times as many prefixes cost a few comparisons more.
func BenchmarkContains(b *testing.B) {
	for _, count := range []int{10, 100, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(count), func(b *testing.B) {
			random := rand.New(rand.NewPCG(1, 2))
			prefixes := make([]netip.Prefix, count)
			addrs := make([]netip.Addr, 1024)
			for i := range prefixes {
				prefixes[i] = netip.PrefixFrom(address(random.Uint32()), 24).Masked()
			}
			for i := range addrs {
				addrs[i] = address(random.Uint32())
			}
			s := New(prefixes)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				s.Contains(addrs[i&1023])
				i++
			}
		})
	}
}
