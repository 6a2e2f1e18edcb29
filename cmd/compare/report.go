package main

import (
	"fmt"
	"slices"
	"strings"
)

// results is everything that was measured.
type results struct {
	versions    string
	digest      float64 // µs
	cpu         []row
	stream      row
	connections []row
	latency     map[kind][]latency
	memory      memory
}

// median of some samples; 0 of none.
func median(samples []float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(samples))
	middle := len(sorted) / 2
	if len(sorted)%2 == 0 {
		return (sorted[middle-1] + sorted[middle]) / 2
	}
	return sorted[middle]
}

// middle is between what a quarter of some samples is below and what a quarter is above.
func middle(samples []float64) (low, high float64) {
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[len(sorted)/4], sorted[len(sorted)*3/4]
}

// added is what a subject took more than another in the same round, round by round.
func (r row) added(with, without kind) []float64 {
	return r.each(with, without, func(with, without float64) float64 { return with - without })
}

func (r row) each(with, without kind, compare func(with, without float64) float64) []float64 {
	rounds := make([]float64, len(r.samples[with]))
	for i := range rounds {
		rounds[i] = compare(r.samples[with][i], r.samples[without][i])
	}
	return rounds
}

func name(bytes int) string {
	if bytes >= 1<<10 {
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d B", bytes)
}

// markdown writes the tables.
func (r *results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s. SHA-256 of 64 KiB takes %.0f µs.\n\nCPU time of the proxy per request, user and system, in µs: median of the rounds, and its middle half.\n\n",
		r.versions, r.digest)
	b.WriteString("| Body | Subject | CPU | middle half | added | middle half | in all, by ratio | added, in units of HAProxy's |\n|---|---|--:|--:|--:|--:|--:|--:|\n")
	small := 0.0 // what HAProxy's check adds to the smallest body
	for i, row := range r.cpu {
		theirs := median(row.added(haproxyCheck, haproxyPlain))
		if i == 0 {
			small = theirs
		}
		for _, of := range []struct{ with, without kind }{
			{caddyPlain, caddyPlain},
			{caddyGate, caddyPlain},
			{caddyReplay, caddyPlain},
			{haproxyPlain, haproxyPlain},
			{haproxyCheck, haproxyPlain},
		} {
			row.line(&b, of.with, of.without, theirs)
		}
	}
	for _, k := range []kind{caddyRespond, caddyStream, caddyStreamRSA, caddyStreamECDSA} {
		r.stream.line(&b, k, caddyRespond, small)
	}

	b.WriteString("\n| Connections | Caddy, µs | with callback_auth, µs | added |\n|--:|--:|--:|--:|\n")
	for _, row := range r.connections {
		fmt.Fprintf(&b, "| %d | %.0f | %.0f | %.1f |\n", row.connections,
			median(row.samples[caddyPlain]), median(row.samples[caddyGate]), median(row.added(caddyGate, caddyPlain)))
	}

	b.WriteString("\nTime to the answer at 500 requests a second, 1 KiB, in ms: median of three runs.\n\n| Subject | p50 | p99 |\n|---|--:|--:|\n")
	for _, k := range []kind{caddyPlain, caddyReplay} {
		var p50, p99 []float64
		for _, run := range r.latency[k] {
			p50, p99 = append(p50, run.p50), append(p99, run.p99)
		}
		fmt.Fprintf(&b, "| %s | %.2f | %.2f |\n", k, median(p50), median(p99))
	}
	fmt.Fprintf(&b, "\nResident memory with %d bodies of 1 MiB at once: %d MiB before, %d MiB at its highest (+%d MiB).\n",
		r.memory.bodies, r.memory.before, r.memory.highest, r.memory.highest-r.memory.before)
	return b.String()
}

// line writes one subject's row of the table.
func (r row) line(b *strings.Builder, k, without kind, theirs float64) {
	samples := r.samples[k]
	if len(samples) == 0 {
		return
	}
	low, high := middle(samples)
	fmt.Fprintf(b, "| %s | %s | %.0f | %.0f–%.0f |", name(r.bytes), k, median(samples), low, high)
	if k == without {
		b.WriteString(" | | | |\n")
		return
	}
	added := r.added(k, without)
	ratio := median(r.each(k, without, func(with, without float64) float64 { return with / without }))
	low, high = middle(added)
	fmt.Fprintf(b, " %.1f | %.1f–%.1f | %.2f |", median(added), low, high, ratio)
	if theirs > 0 {
		fmt.Fprintf(b, " %.2f", median(added)/theirs)
	}
	b.WriteString(" |\n")
}

// svg draws the CPU time per request as bars: what the proxy takes alone, and what the check adds.
func (r *results) svg() string {
	const left, width, bar, gap = 250, 420, 22, 8
	type entry struct {
		label       string
		base, added float64
	}
	var bars []entry
	highest := 1.0
	add := func(row row, k, without kind) {
		if len(row.samples[k]) == 0 {
			return
		}
		e := entry{name(row.bytes) + ", " + string(k), median(row.samples[without]), max(median(row.added(k, without)), 0)}
		highest = max(highest, e.base+e.added)
		bars = append(bars, e)
	}
	for _, row := range r.cpu {
		add(row, caddyGate, caddyPlain)
		add(row, caddyReplay, caddyPlain)
		add(row, haproxyCheck, haproxyPlain)
	}
	for _, k := range []kind{caddyStream, caddyStreamRSA, caddyStreamECDSA} {
		add(r.stream, k, caddyRespond)
	}

	var b strings.Builder
	height := 40 + len(bars)*(bar+gap) + 20
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", left+width+110, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/><text x="10" y="20">CPU time per request, µs: the server alone (grey) and what the check adds (blue)</text>`+"\n")
	for i, e := range bars {
		y := 36 + i*(bar+gap)
		base, added := e.base/highest*width, e.added/highest*width
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.1f" height="%d" fill="#bbb"/>`+
			`<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="#2a6fdb"/><text x="%.1f" y="%d">%.0f + %.1f</text>`+"\n",
			left-8, y+15, e.label, left, y, base, bar, left+base, y, added, bar, left+base+added+6, y+15, e.base, e.added)
	}
	b.WriteString("</svg>\n")
	return b.String()
}
