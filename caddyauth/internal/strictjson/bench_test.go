package strictjson

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// Objects of many members, beside encoding/json into a map: cost grows as the text does.
func BenchmarkParseMembers(b *testing.B) {
	texts := make(map[string]string)
	for _, members := range []int{10, 100, 1000, 10000} {
		var object strings.Builder
		for i := range members {
			fmt.Fprintf(&object, `,"member%d":"value %d"`, i, i)
		}
		texts[fmt.Sprint(members)] = "{" + object.String()[1:] + "}"
	}
	for _, name := range []string{"10", "100", "1000", "10000"} {
		text := texts[name]
		b.Run("floor/"+name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				var to map[string]any
				if json.Unmarshal([]byte(text), &to) != nil {
					b.Fatal("not accepted")
				}
			}
		})
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := ParseString(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
