package strictjson

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Parse reads one value. The Value keeps nothing of data. The error is one of this package's.
func Parse(data []byte) (Value, error) { return ParseString(string(data)) }

// ParseString is Parse for text that is a string already: the strings in the Value share its memory.
func ParseString(text string) (Value, error) {
	if !utf8.ValidString(text) {
		return Value{}, ErrUnicode
	}
	p := parser{text: text}
	p.space()
	v, err := p.value(0)
	if err != nil {
		return Value{}, err
	}
	p.space()
	if p.at != len(text) {
		return Value{}, ErrSyntax
	}
	return v, nil
}

// parser walks over text once. Children are collected on two stacks, so that each array and object is allocated once,
// in its final size.
type parser struct {
	text    string
	at      int
	items   []Value
	members []Member
}

// peek gives the next byte, or 0 at the end: no JSON token begins with 0.
func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// next takes the next byte if it is c.
func (p *parser) next(c byte) bool {
	if p.peek() != c {
		return false
	}
	p.at++
	return true
}

// space skips the four characters that JSON calls white space.
func (p *parser) space() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

// value reads a value that stands inside depth arrays and objects.
func (p *parser) value(depth int) (Value, error) {
	switch c := p.peek(); c {
	case '{', '[':
		if depth == MaxDepth {
			return Value{}, ErrDepth
		}
		p.at++
		if c == '{' {
			return p.object(depth + 1)
		}
		return p.array(depth + 1)
	case '"':
		text, err := p.string()
		return Value{kind: String, text: text}, err
	case 't':
		return Value{kind: Bool, truth: true}, p.word("true")
	case 'f':
		return Value{kind: Bool}, p.word("false")
	case 'n':
		return Value{}, p.word("null")
	default:
		text, err := p.number()
		return Value{kind: Number, text: text}, err
	}
}

func (p *parser) word(word string) error {
	if !strings.HasPrefix(p.text[p.at:], word) {
		return ErrSyntax
	}
	p.at += len(word)
	return nil
}

// object reads what follows the opening brace.
func (p *parser) object(depth int) (Value, error) {
	p.space()
	if p.next('}') {
		return Value{kind: Object}, nil
	}
	if p.members == nil {
		p.members = make([]Member, 0, min(strings.Count(p.text, ":"), 16))
	}
	start := len(p.members)
	var seen map[string]struct{}
	for {
		if p.peek() != '"' {
			return Value{}, ErrSyntax
		}
		name, err := p.string()
		if err != nil {
			return Value{}, err
		}
		if p.seen(name, start, &seen) {
			return Value{}, ErrDuplicate
		}
		p.space()
		if !p.next(':') {
			return Value{}, ErrSyntax
		}
		p.space()
		value, err := p.value(depth)
		if err != nil {
			return Value{}, err
		}
		p.members = append(p.members, Member{Name: name, Value: value})
		p.space()
		if p.next('}') {
			break
		}
		if !p.next(',') {
			return Value{}, ErrSyntax
		}
		p.space()
	}
	if depth == 1 { // nobody needs the stack any more
		return Value{kind: Object, inner: &inner{members: slices.Clip(p.members)}}, nil
	}
	members := append([]Member(nil), p.members[start:]...)
	p.members = p.members[:start]
	return Value{kind: Object, inner: &inner{members: members}}, nil
}

// seen reports whether the object whose members begin at start has one of this name. A few members are looked through;
// many go into a map, so that an object of many names cannot cost quadratic time.
func (p *parser) seen(name string, start int, names *map[string]struct{}) bool {
	const few = 16
	members := p.members[start:]
	if len(members) < few {
		for i := range members {
			if members[i].Name == name {
				return true
			}
		}
		return false
	}
	if *names == nil {
		*names = make(map[string]struct{}, 2*few)
		for i := range members {
			(*names)[members[i].Name] = struct{}{}
		}
	}
	if _, ok := (*names)[name]; ok {
		return true
	}
	(*names)[name] = struct{}{}
	return false
}

// array reads what follows the opening bracket.
func (p *parser) array(depth int) (Value, error) {
	p.space()
	if p.next(']') {
		return Value{kind: Array}, nil
	}
	start := len(p.items)
	for {
		item, err := p.value(depth)
		if err != nil {
			return Value{}, err
		}
		p.items = append(p.items, item)
		p.space()
		if p.next(']') {
			break
		}
		if !p.next(',') {
			return Value{}, ErrSyntax
		}
		p.space()
	}
	items := append([]Value(nil), p.items[start:]...)
	p.items = p.items[:start]
	return Value{kind: Array, inner: &inner{items: items}}, nil
}

// number reads -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)? and gives it as it is written.
func (p *parser) number() (string, error) {
	start := p.at
	p.next('-')
	if !p.next('0') && p.digits() == 0 {
		return "", ErrSyntax
	}
	if p.next('.') && p.digits() == 0 {
		return "", ErrSyntax
	}
	exponent := p.next('e') || p.next('E')
	if exponent {
		if !p.next('+') {
			p.next('-')
		}
		if p.digits() == 0 {
			return "", ErrSyntax
		}
	}
	text := p.text[start:p.at]
	if exponent || len(text) > 300 { // anything else is below 1e300
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return "", ErrRange
		}
	}
	return text, nil
}

// digits skips decimal digits and says how many.
func (p *parser) digits() int {
	start := p.at
	for c := p.peek(); '0' <= c && c <= '9'; c = p.peek() {
		p.at++
	}
	return p.at - start
}

// string reads a string from its opening quote and unescapes it.
func (p *parser) string() (string, error) {
	start := p.at + 1
	for i := start; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			p.at = i + 1
			return p.text[start:i], nil
		case c == '\\':
			p.at = i
			return p.escaped(start)
		case c < ' ':
			return "", ErrSyntax
		}
	}
	return "", ErrSyntax
}

// escaped reads the rest of a string that began at start and whose first backslash is next.
func (p *parser) escaped(start int) (string, error) {
	plain := append([]byte(nil), p.text[start:p.at]...)
	for p.at < len(p.text) {
		c := p.text[p.at]
		p.at++
		switch {
		case c == '"':
			return string(plain), nil
		case c < ' ':
			return "", ErrSyntax
		case c != '\\':
			plain = append(plain, c)
			continue
		}
		escape := p.peek()
		p.at++
		switch escape {
		case '"', '\\', '/':
			plain = append(plain, escape)
		case 'b':
			plain = append(plain, '\b')
		case 'f':
			plain = append(plain, '\f')
		case 'n':
			plain = append(plain, '\n')
		case 'r':
			plain = append(plain, '\r')
		case 't':
			plain = append(plain, '\t')
		case 'u':
			r, err := p.escapedRune()
			if err != nil {
				return "", err
			}
			plain = utf8.AppendRune(plain, r)
		default:
			return "", ErrSyntax
		}
	}
	return "", ErrSyntax
}

// escapedRune reads what follows \u: four hexadecimal digits, and the second half of a pair if they are a first half.
func (p *parser) escapedRune() (rune, error) {
	r, ok := p.hex4()
	if !ok {
		return 0, ErrSyntax
	}
	if !utf16.IsSurrogate(r) {
		return r, nil
	}
	if !strings.HasPrefix(p.text[p.at:], `\u`) {
		return 0, ErrUnicode
	}
	p.at += 2
	second, ok := p.hex4()
	if !ok {
		return 0, ErrSyntax
	}
	if r = utf16.DecodeRune(r, second); r == utf8.RuneError {
		return 0, ErrUnicode // no pair is U+FFFD
	}
	return r, nil
}

func (p *parser) hex4() (r rune, ok bool) {
	if len(p.text)-p.at < 4 {
		return 0, false
	}
	for range 4 {
		c := rune(p.text[p.at])
		p.at++
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | c
	}
	return r, true
}
