package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
)

// suite is testdata/jsontestsuite.json: the files of JSONTestSuite's test_parsing, as they are.
type suite struct {
	Files    map[string][]byte
	Repeated map[string]struct {
		Text  string
		Times int
		Tail  string
	}
}

func loadSuite(tb testing.TB) map[string][]byte {
	tb.Helper()
	data, err := os.ReadFile("testdata/jsontestsuite.json")
	if err != nil {
		tb.Fatal(err)
	}
	var s suite
	if err := json.Unmarshal(data, &s); err != nil {
		tb.Fatal(err)
	}
	for name, file := range s.Repeated {
		s.Files[name] = []byte(strings.Repeat(file.Text, file.Times) + file.Tail)
	}
	return s.Files
}

func TestJSONTestSuite(t *testing.T) {
	// What RFC 8259 allows and we do not: its §4 leaves what a repeated name means to each reader.
	narrower := map[string]error{
		"y_object_duplicated_key.json":           ErrDuplicate,
		"y_object_duplicated_key_and_value.json": ErrDuplicate,
	}
	files := loadSuite(t)
	if len(files) != 318 {
		t.Fatalf("the suite has 318 files, not %d", len(files))
	}
	for name, data := range files {
		t.Run(name, func(t *testing.T) {
			v, err := Parse(data)
			switch want, ok := narrower[name]; {
			case ok:
				if !errors.Is(err, want) {
					t.Errorf("got %v, want %v", err, want)
				}
			case name[0] == 'y' && err != nil:
				t.Errorf("refused: %v", err)
			case name[0] == 'n' && err == nil:
				t.Error("accepted")
			}
			if err == nil {
				agrees(t, data, v)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	many := `{"a":0` + strings.Repeat(`,"b":0`, 2) + `}`
	var names strings.Builder
	for i := range 100 {
		names.WriteString(`"` + strings.Repeat("x", i) + `":0,`)
	}
	for _, test := range []struct {
		name, text string
		want       error
	}{
		{"nothing", "", ErrSyntax},
		{"white space only", " \n", ErrSyntax},
		{"a byte order mark", "\xEF\xBB\xBF{}", ErrSyntax},
		{"two values", `{}{}`, ErrSyntax},
		{"text after the value", `{} x`, ErrSyntax},
		{"NUL after the value", "{}\x00", ErrSyntax},
		{"a comment", `{}//`, ErrSyntax},
		{"invalid UTF-8", "\"\xFF\xFE\"", ErrUnicode},
		{"invalid UTF-8 in a name", "{\"\xC0\xAF\":1}", ErrUnicode},
		{"UTF-16", "{\x00}\x00", ErrSyntax},
		{"UTF-16 with its mark", "\xFF\xFE{\x00}\x00", ErrUnicode},
		{"a first half alone", `"\ud800"`, ErrUnicode},
		{"a second half alone", `"\udc00"`, ErrUnicode},
		{"halves in the wrong order", `"\udc00\ud800"`, ErrUnicode},
		{"two first halves", `"\ud800\ud800"`, ErrUnicode},
		{"a first half and a letter", `"\ud800\u0041"`, ErrUnicode},
		{"a half in a name", `{"\ud800":1}`, ErrUnicode},
		{"a cut escape", `"\u00`, ErrSyntax},
		{"a cut pair", `"\ud83d\u`, ErrSyntax},
		{"a backslash at the end", `"\`, ErrSyntax},
		{"a control character", "\"\n\"", ErrSyntax},
		{"a control character after an escape", "\"\\n\n\"", ErrSyntax},
		{"a repeated name", many, ErrDuplicate},
		{"a repeated name, escaped", `{"iss":1,"\u0069ss":2}`, ErrDuplicate},
		{"a repeated empty name", `{"":1,"":2}`, ErrDuplicate},
		{"a repeated name inside", `[{"x":{"a":1,"a":1}}]`, ErrDuplicate},
		{"a repeated name among many", `{` + names.String() + `"xxx":1}`, ErrDuplicate},
		{"a repeated name late among many", `{` + names.String() + `"y":1,"y":1}`, ErrDuplicate},
		{"65 levels", strings.Repeat("[", 65) + strings.Repeat("]", 65), ErrDepth},
		{"10,001 levels", strings.Repeat("[", 10001) + strings.Repeat("]", 10001), ErrDepth},
		{"a million levels of objects", strings.Repeat(`{"a":`, 1_000_000), ErrDepth},
		{"a number beyond float64", `1e400`, ErrRange},
		{"a long number beyond float64", `1` + strings.Repeat("0", 400), ErrRange},
		{"a leading zero", `01`, ErrSyntax},
		{"a plus", `+1`, ErrSyntax},
		{"a bare point", `1.`, ErrSyntax},
		{"hexadecimal", `0x1`, ErrSyntax},
		{"infinity", `Infinity`, ErrSyntax},
		{"an underscore", `1_000`, ErrSyntax},
	} {
		t.Run(test.name, func(t *testing.T) {
			v, err := Parse([]byte(test.text))
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if !reflect.DeepEqual(v, Value{}) {
				t.Error("a refused text left a value")
			}
		})
	}
}

func TestReads(t *testing.T) {
	v, err := Parse([]byte(` {"s":"a\u00e9\n\ud83d\ude00","n":-12.50e+1,"t":true,"f":false,"z":null,"l":[1,"x",[]],"o":{"s":"in"},"S":1} `))
	if err != nil {
		t.Fatal(err)
	}
	if v.Kind() != Object || len(v.Members()) != 8 || v.Members()[0].Name != "s" || v.Members()[7].Name != "S" {
		t.Fatal("members are not as written")
	}
	if s, ok := get(t, v, "s").Text(); !ok || s != "aé\n😀" {
		t.Errorf("text %q", s)
	}
	if n, ok := get(t, v, "n").Number(); !ok || n != "-12.50e+1" {
		t.Errorf("number %q", n)
	}
	if b, ok := get(t, v, "t").Bool(); !ok || !b {
		t.Error("true")
	}
	if b, ok := get(t, v, "f").Bool(); !ok || b {
		t.Error("false")
	}
	if get(t, v, "z").Kind() != Null {
		t.Error("null")
	}
	if list := get(t, v, "l").Items(); len(list) != 3 || list[2].Kind() != Array {
		t.Error("list")
	}
	if s, _ := get(t, get(t, v, "o"), "s").Text(); s != "in" {
		t.Error("inner member")
	}
	for _, name := range []string{"", "T", "s ", "x"} {
		if _, ok := v.Get(name); ok {
			t.Errorf("there is no %q", name)
		}
	}
	if _, ok := get(t, v, "n").Text(); ok {
		t.Error("a number is no text")
	}
	if _, ok := get(t, v, "s").Number(); ok {
		t.Error("a text is no number")
	}
	if _, ok := get(t, v, "z").Bool(); ok {
		t.Error("null is no boolean")
	}
	if _, ok := get(t, v, "l").Get("0"); ok {
		t.Error("an array has no members")
	}
	want := `{"s":"aé\u000a😀","n":-12.50e+1,"t":true,"f":false,"z":null,"l":[1,"x",[]],"o":{"s":"in"},"S":1}`
	if got := string(v.AppendJSON(nil)); got != want {
		t.Errorf("got %s", got)
	}
	if v, err := Parse([]byte(strings.Repeat("[", 64) + strings.Repeat("]", 64))); err != nil || v.Kind() != Array {
		t.Errorf("64 levels: %v", err)
	}
}

func TestParseKeepsNothingOfItsInput(t *testing.T) {
	data := []byte(`{"a":"b"}`)
	v, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i] = 'x'
	}
	if string(v.AppendJSON(nil)) != `{"a":"b"}` {
		t.Error("the value changed with the input")
	}
}

// FuzzParse holds the parser to encoding/json: what we accept it accepts, with an equal value; what we call a syntax
// error it refuses too; and what we write reads back as the same.
func FuzzParse(f *testing.F) {
	for _, data := range loadSuite(f) {
		if len(data) < 2000 {
			f.Add(data)
		}
	}
	f.Add([]byte(`{"iss":1,"\u0069ss":2}`))
	f.Add([]byte(`{"exp":1700000600,"a":{"b":1,"b":2}}`))
	f.Add([]byte(`{"keys":[{"kid":"a"},{"kid":"a"}]}{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := Parse(data)
		if err != nil {
			if errors.Is(err, ErrSyntax) && json.Valid(data) {
				t.Error("refused what the grammar allows")
			}
			return
		}
		agrees(t, data, v)
	})
}

// namedOnce checks, by encoding/json's own tokens, that no object of data has a name twice, and that nothing follows the
// value.
func namedOnce(t *testing.T, data []byte) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	type level struct {
		names  map[string]bool // nil: a list
		atName bool
	}
	var levels []level
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("accepted what encoding/json cannot take apart: %v", err)
		}
		if delim, ok := token.(json.Delim); ok && (delim == ']' || delim == '}') {
			levels = levels[:len(levels)-1]
			continue
		}
		if n := len(levels); n > 0 && levels[n-1].names != nil {
			if levels[n-1].atName = !levels[n-1].atName; levels[n-1].atName {
				name := token.(string)
				if levels[n-1].names[name] {
					t.Fatal("a name that stands twice is accepted")
				}
				levels[n-1].names[name] = true
				continue
			}
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{names: map[string]bool{}})
		case json.Delim('['):
			levels = append(levels, level{})
		default:
			if len(levels) == 0 && len(bytes.TrimSpace(data[decoder.InputOffset():])) > 0 {
				t.Fatal("what follows the value is accepted")
			}
		}
	}
}

// agrees checks that encoding/json reads data as v, and that v survives being written and read.
func agrees(t *testing.T, data []byte, v Value) {
	t.Helper()
	if !json.Valid(data) {
		t.Fatal("accepted what encoding/json refuses")
	}
	var want any
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatalf("accepted what encoding/json cannot decode: %v", err)
	}
	namedOnce(t, data)
	if !reflect.DeepEqual(v.Any(), want) {
		t.Error("the value differs from encoding/json's")
	}
	written := v.AppendJSON(nil)
	again, err := Parse(written)
	if err != nil {
		t.Fatalf("what was written does not read: %v", err)
	}
	if !reflect.DeepEqual(again.Any(), want) || !bytes.Equal(again.AppendJSON(nil), written) {
		t.Error("writing and reading changed the value")
	}
}

func get(t *testing.T, v Value, name string) Value {
	t.Helper()
	member, ok := v.Get(name)
	if !ok {
		t.Fatalf("no member %q", name)
	}
	return member
}

func BenchmarkParse(b *testing.B) {
	claims := []byte(`{"iat":1700000000,"jti":"0b9f1c1e-0000-4000-8000-000000000001","iss":"Vonage","payload_hash":"4ff9581807fe4cd180195b7b0c0bf7697531b8d177a8cac88b984bdf055a3d78","api_key":"47000001","application_id":"11111111-2222-3333-4444-555555555555"}`)
	b.Run("strictjson", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(claims)))
		for b.Loop() {
			if _, err := Parse(claims); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("floor encoding json Valid", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(claims)))
		for b.Loop() {
			json.Valid(claims)
		}
	})
}
