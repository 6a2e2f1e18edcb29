// Package strictjson reads JSON in the narrow form that leaves nothing to interpretation, so that what we judge is
// what every other reader of the same bytes sees.
//
// It takes one RFC 8259 value and nothing after it, in valid UTF-8 without a byte order mark, with member names that
// are unique in their object after unescaping (RFC 8259 §4, I-JSON's RFC 7493 §2.3), without unpaired surrogates, with
// numbers that a float64 can hold, and nested at most MaxDepth deep. Names are compared exactly, case included.
// It does not bound the length of its input: callers do.
package strictjson

import (
	"errors"
	"strconv"
)

// MaxDepth is how deep arrays and objects may be nested.
const MaxDepth = 64

// The errors of Parse. They never hold any of the input.
var (
	// ErrSyntax is anything that RFC 8259's grammar does not allow, text after the value too.
	ErrSyntax = errors.New("not one JSON value")
	// ErrUnicode is text that is not valid UTF-8, or a surrogate escape without its other half.
	ErrUnicode = errors.New("not valid Unicode")
	// ErrDuplicate is an object with two members of one name.
	ErrDuplicate = errors.New("duplicate member name")
	// ErrDepth is nesting deeper than MaxDepth.
	ErrDepth = errors.New("nested too deep")
	// ErrRange is a number too large for a float64, which some readers take for infinity.
	ErrRange = errors.New("number out of range")
)

// Kind of a Value.
type Kind uint8

// The kinds.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	Object
)

// Member of an object.
type Member struct {
	Name  string
	Value Value
}

// Value is one JSON value. The zero Value is null. A Value is never changed after Parse returned it.
type Value struct {
	kind  Kind
	truth bool
	text  string
	inner *inner // of an Array or Object that is not empty
}

// inner is kept apart, for most values have none, and Values are copied a lot.
type inner struct {
	items   []Value
	members []Member
}

// Kind of v.
func (v Value) Kind() Kind { return v.kind }

// Text of a String, unescaped; of anything else, nothing.
func (v Value) Text() (string, bool) {
	if v.kind != String {
		return "", false
	}
	return v.text, true
}

// Bool of a Bool.
func (v Value) Bool() (value, ok bool) { return v.truth, v.kind == Bool }

// Number of a Number, as it was written; of anything else, nothing.
func (v Value) Number() (string, bool) {
	if v.kind != Number {
		return "", false
	}
	return v.text, true
}

// Items of an Array. The caller does not change them.
func (v Value) Items() []Value {
	if v.inner == nil {
		return nil
	}
	return v.inner.items
}

// Members of an Object, in the order in which they were written. The caller does not change them.
func (v Value) Members() []Member {
	if v.inner == nil {
		return nil
	}
	return v.inner.members
}

// Get the member of exactly this name. On anything but an Object there is none.
func (v Value) Get(name string) (Value, bool) {
	members := v.Members()
	for i := range members {
		if members[i].Name == name {
			return members[i].Value, true
		}
	}
	return Value{}, false
}

// Any gives v as encoding/json would: map[string]any, []any, string, float64, bool or nil. Numbers lose the digits
// that a float64 has no room for.
func (v Value) Any() any {
	switch v.kind {
	case Bool:
		return v.truth
	case Number:
		number, _ := strconv.ParseFloat(v.text, 64) // Parse refused what does not fit
		return number
	case String:
		return v.text
	case Array:
		list := make([]any, len(v.Items()))
		for i, item := range v.Items() {
			list[i] = item.Any()
		}
		return list
	case Object:
		object := make(map[string]any, len(v.Members()))
		for _, member := range v.Members() {
			object[member.Name] = member.Value.Any()
		}
		return object
	default:
		return nil
	}
}

// AppendJSON appends v as JSON without white space: members in their order, numbers as they were written, and only
// those characters of strings escaped that must be.
func (v Value) AppendJSON(to []byte) []byte {
	switch v.kind {
	case Bool:
		return strconv.AppendBool(to, v.truth)
	case Number:
		return append(to, v.text...)
	case String:
		return appendString(to, v.text)
	case Array:
		to = append(to, '[')
		for i, item := range v.Items() {
			if i > 0 {
				to = append(to, ',')
			}
			to = item.AppendJSON(to)
		}
		return append(to, ']')
	case Object:
		to = append(to, '{')
		for i, member := range v.Members() {
			if i > 0 {
				to = append(to, ',')
			}
			to = appendString(to, member.Name)
			to = append(to, ':')
			to = member.Value.AppendJSON(to)
		}
		return append(to, '}')
	default:
		return append(to, "null"...)
	}
}

// appendString appends text in quotes. It is valid UTF-8, for Parse made it.
func appendString(to []byte, text string) []byte {
	const hex = "0123456789abcdef"
	to = append(to, '"')
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"' || c == '\\':
			to = append(to, '\\', c)
		case c < ' ':
			to = append(to, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			to = append(to, c)
		}
	}
	return append(to, '"')
}
