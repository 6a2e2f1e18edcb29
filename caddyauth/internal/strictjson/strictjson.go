// Package strictjson reads JSON in the narrow form that leaves nothing to interpretation.
package strictjson

import "errors"

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

// Value is one JSON value.
type Value struct {
	kind    Kind
	text    string
	truth   bool
	items   []Value
	members []Member
}

// Parse reads one value.
func Parse(data []byte) (Value, error) { return Value{}, errors.New("not yet") }

// Kind of v.
func (v Value) Kind() Kind { return v.kind }

// Text of a String.
func (v Value) Text() (string, bool) { return v.text, v.kind == String }

// Bool of a Bool.
func (v Value) Bool() (value, ok bool) { return v.truth, v.kind == Bool }

// Number of a Number, as it was written.
func (v Value) Number() (string, bool) { return v.text, v.kind == Number }

// Items of an Array.
func (v Value) Items() []Value { return v.items }

// Members of an Object, in order.
func (v Value) Members() []Member { return v.members }

// Get the member of this exact name.
func (v Value) Get(name string) (Value, bool) { return Value{}, false }

// Any gives v as encoding/json would: map[string]any, []any, string, float64, bool or nil.
func (v Value) Any() any { return nil }
