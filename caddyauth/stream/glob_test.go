package stream

import (
	"regexp"
	"strings"
	"testing"
)

func TestGlobMatchesWholeTexts(t *testing.T) {
	for _, test := range []struct {
		pattern   string
		separator byte
		text      string
		want      bool
	}{
		{"live/cam1", '/', "live/cam1", true},
		{"live/cam1", '/', "live/cam10", false},
		{"live/cam1", '/', "xlive/cam1", false},
		{"live/cam1", '/', "Live/cam1", false},
		{"live/*", '/', "live/cam1", true},
		{"live/*", '/', "live/a/b", false},
		{"live/*", '/', "live", false},
		{"live/**", '/', "live/a/b", true},
		{"live/**", '/', "live", false},
		{"live/****", '/', "live/a/b", true},
		{"*", '/', "a", true},
		{"*", '/', "a/b", false},
		{"**", '/', "a/b", true},
		{"*/cam", '/', "a/cam", true},
		{"**/cam", '/', "a/b/cam", true},
		{"a*b*c", '/', "aXbYbZc", true},
		{"a*b*c", '/', "aXb/c", false},
		{"a**b*c", '/', "a/b/b-c", true},
		{"r*gie", '/', "régie", true},
		{".*", '/', "cam", false},
		{"a?", '/', "ab", false},
		{"[a]", '/', "a", false},
		{"*.example.com", '.', "www.example.com", true},
		{"*.example.com", '.', "a.b.example.com", false},
		{"**.example.com", '.', "a.b.example.com", true},
		{"*.example.com", '.', "example.com", false},
		{"*.example.com", '.', "www.example.com.evil.com", false},
		{"VLC*", 0, "VLC/3.0 (x; y)", true},
		{"*bot*", 0, "a/bot.b", true},
		{"*", 0, "", true},
	} {
		g, err := compileGlob(test.pattern, test.separator)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.match(test.text); got != test.want {
			t.Errorf("%q matches %q: %v", test.pattern, test.text, got)
		}
	}
}

func TestGlobRefusesWhatIsNoPattern(t *testing.T) {
	for _, pattern := range []string{"", strings.Repeat("a", maxGlobBytes+1), "\xff"} {
		if _, err := compileGlob(pattern, '/'); err == nil {
			t.Errorf("%q was taken", pattern)
		}
	}
}

// A pattern means what the regular expression made of it means, whatever stands in either.
func FuzzGlob(f *testing.F) {
	for _, seed := range [][2]string{{"live/*", "live/a"}, {"a**b*", "a/b/bc"}, {"*****", ""}, {strings.Repeat("*a", 100), strings.Repeat("a", 200)}, {"é*", "é\xff"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		for _, separator := range []byte{'/', '.', 0} {
			g, err := compileGlob(pattern, separator)
			if err != nil {
				return
			}
			if len(text) > 1<<10 {
				return
			}
			within := `[^` + string(separator) + `]*`
			if separator == 0 {
				within = `.*`
			}
			expression := "(?s)^"
			for i := 0; i < len(pattern); {
				stars := len(pattern[i:]) - len(strings.TrimLeft(pattern[i:], "*"))
				switch {
				case stars == 1:
					expression += within
				case stars > 1:
					expression += `.*`
				default:
					end := strings.IndexByte(pattern[i:], '*')
					if end < 0 {
						end = len(pattern) - i
					}
					expression += regexp.QuoteMeta(pattern[i : i+end])
					stars = end
				}
				i += stars
			}
			if want := regexp.MustCompile(expression + "$").MatchString(text); g.match(text) != want {
				t.Errorf("%q with %q matches %q: %v, and %s does: %v", pattern, separator, text, !want, expression, want)
			}
		}
	})
}
