package schemes

import (
	"encoding/base64"
	"strings"
	"testing"
)

func FuzzBasicPair(f *testing.F) {
	for _, pair := range []string{"ringo:s3cr3t", ":", "a:b:c", "nocolon", "zoë:é", "a:\x00", "\xff:x"} {
		f.Add(base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	f.Add("dTpwdx==")
	f.Add("dTpw\ndw==")
	f.Fuzz(func(t *testing.T, encoded string) {
		name, word, err := basicPair(encoded)
		if err != nil {
			return
		}
		if name == "" || word == "" || strings.Contains(name, ":") {
			t.Errorf("%q: name %q, password %q", encoded, name, word)
		}
		if base64.StdEncoding.EncodeToString([]byte(name+":"+word)) != encoded {
			t.Errorf("%q is a second spelling of %q", encoded, name+":"+word)
		}
	})
}
