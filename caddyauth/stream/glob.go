package stream

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// maxGlobBytes bounds a pattern: no text that it is held against is longer.
const maxGlobBytes = 2*MaxNameBytes + 1

// errGlob is the error of a pattern that is empty, too long or not UTF-8.
var errGlob = errors.New("not a pattern: it is empty, longer than 511 bytes or not UTF-8")

// glob is a pattern for whole texts, case-sensitive: `*` stands for any characters but the separator, `**` for any
// characters at all. There is no escape: these names have no stars.
type glob struct {
	steps     []step // none: it has no star, and stands for plain
	plain     string
	separator byte
}

// step is one part of a pattern.
type step struct {
	kind stepKind
	char byte // of a literal
}

type stepKind uint8

const (
	literal    stepKind = iota
	withinPart          // `*`
	acrossAll           // `**`
)

// compileGlob reads a pattern. With the separator 0, both stars are the same.
func compileGlob(pattern string, separator byte) (glob, error) {
	if pattern == "" || len(pattern) > maxGlobBytes || !utf8.ValidString(pattern) {
		return glob{}, errGlob
	}
	if strings.IndexByte(pattern, '*') < 0 {
		return glob{plain: pattern}, nil
	}
	g := glob{separator: separator}
	for i := 0; i < len(pattern); i++ {
		if pattern[i] != '*' {
			g.steps = append(g.steps, step{kind: literal, char: pattern[i]})
			continue
		}
		last := len(g.steps) - 1
		if i > 0 && pattern[i-1] == '*' {
			g.steps[last].kind = acrossAll
			continue
		}
		kind := withinPart
		if separator == 0 {
			kind = acrossAll
		}
		g.steps = append(g.steps, step{kind: kind})
	}
	return g, nil
}

// match reports whether all of text is of the pattern. It looks at each byte of text once, for all places in the
// pattern together: going back would let a pattern with many stars take time without end.
func (g glob) match(text string) bool {
	if g.steps == nil {
		return text == g.plain
	}
	places := make([]bool, 2*(len(g.steps)+1))
	here, next := places[:len(g.steps)+1], places[len(g.steps)+1:]
	here[0] = true
	g.skipStars(here)
	for i := range len(text) {
		clear(next)
		alive := false
		for at, s := range g.steps {
			if !here[at] {
				continue
			}
			switch {
			case s.kind == literal && s.char == text[i]:
				next[at+1], alive = true, true
			case s.kind == acrossAll, s.kind == withinPart && text[i] != g.separator:
				next[at], alive = true, true
			}
		}
		if !alive {
			return false
		}
		here, next = next, here
		g.skipStars(here)
	}
	return here[len(g.steps)]
}

// skipStars marks the places behind stars too: a star may stand for nothing.
func (g glob) skipStars(places []bool) {
	for at, s := range g.steps {
		if places[at] && s.kind != literal {
			places[at+1] = true
		}
	}
}

// globs are several patterns, any of which will do.
type globs []glob

// compileGlobs reads patterns.
func compileGlobs(patterns []string, separator byte) (globs, error) {
	list := make(globs, 0, len(patterns))
	for _, pattern := range patterns {
		g, err := compileGlob(pattern, separator)
		if err != nil {
			return nil, err
		}
		list = append(list, g)
	}
	return list, nil
}

// match reports whether any of the patterns matches text.
func (list globs) match(text string) bool {
	for _, g := range list {
		if g.match(text) {
			return true
		}
	}
	return false
}
