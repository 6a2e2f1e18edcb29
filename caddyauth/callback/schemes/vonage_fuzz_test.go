package schemes

import (
	"encoding/json"
	"net/url"
	"testing"
)

// FuzzVonageQuery: what is hashed for a query is a JSON object of exactly its parameters, so that a receiver reads in it
// what was signed.
func FuzzVonageQuery(f *testing.F) {
	for _, seed := range []string{"", "a=b", "b=1&a=2", "a=1&a=2", "a", "=", "&", "a=%zz", "a=%00%1f%22%5c", "a=%ff", "a=b;c=d", "a+b=c+d", "%61=1&a=2", "a=\u2028", "a=b&", "=0&", "&=0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		object, ok := VonageQuery(query)
		if !ok {
			return
		}
		var decoded map[string]string
		if err := json.Unmarshal(object, &decoded); err != nil {
			t.Fatalf("%q gives %q: %v", query, object, err)
		}
		values, err := url.ParseQuery(query)
		if err != nil {
			t.Fatalf("%q does not parse, and has an object", query)
		}
		for name, value := range decoded {
			if len(values[name]) != 1 || values[name][0] != value {
				t.Errorf("%q: %q is %q in the object, and %q in the query", query, name, value, values[name])
			}
		}
		if len(values) != len(decoded) {
			t.Errorf("%q has %d parameters, and its object %d", query, len(values), len(decoded))
		}
	})
}
