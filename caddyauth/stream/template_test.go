package stream

import (
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"unicode"
)

func TestURLTemplates(t *testing.T) {
	t.Setenv("STREAM_TEST_CDN", "https://cdn.example")
	t.Setenv("STREAM_TEST_BRACES", "{stream.user}")
	q := &Request{App: "live", Name: "a b/c", User: "../x?y=1#z", IP: netip.MustParseAddr("2001:db8::1")}
	for _, test := range []struct{ text, want string }{
		{"https://cdn.example/ad.mp3", "https://cdn.example/ad.mp3"},
		{"{env.STREAM_TEST_CDN}/{stream.app}/ad.mp3", "https://cdn.example/live/ad.mp3"},
		{"https://cdn.example/{stream.name}.mp3", "https://cdn.example/a%20b%2Fc.mp3"},
		{"https://cdn.example/?u={stream.user}&s={stream.subject}", "https://cdn.example/?u=..%2Fx%3Fy%3D1%23z&s=%7Benv.HOME%7D"},
		{"https://cdn.example/{stream.ip}", "https://cdn.example/2001%3Adb8%3A%3A1"},
		{"https://cdn.example/{stream.claim.plan}", "https://cdn.example/"},
	} {
		template, err := parseURLTemplate(test.text)
		if err != nil {
			t.Fatalf("%s: %v", test.text, err)
		}
		d := Decision{Subject: "{env.HOME}"}
		(&Effects{redirect: template}).apply(&d, q, nil)
		if d.Redirect != test.want {
			t.Errorf("%s became %s, should be %s", test.text, d.Redirect, test.want)
		}
	}
	if _, err := parseURLTemplate("https://cdn.example/{env.STREAM_TEST_BRACES}"); err == nil {
		t.Error("braces out of an environment variable were taken into a URL")
	}
}

func TestAValueOfDotsOrOverTheLimitIsLeftOut(t *testing.T) {
	template, err := parseURLTemplate("https://cdn.example/ads/{stream.user}/x")
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{".", "..", "...", strings.Repeat("x", maxValueBytes+1)} {
		d := Decision{}
		(&Effects{redirect: template}).apply(&d, &Request{Name: "a", User: user}, nil)
		if d.Redirect != "https://cdn.example/ads//x" {
			t.Errorf("%q became %s", user, d.Redirect)
		}
	}
}

func TestControlCharactersNeverReachAHeader(t *testing.T) {
	reason, err := parseTemplate("no, {stream.user}!")
	if err != nil {
		t.Fatal(err)
	}
	d := Decision{}
	(&Effects{reason: reason}).apply(&d, &Request{Name: "a", User: "a\r\nicecast-auth-user: 1\x00\u202e\xffb {stream.name}"}, nil)
	if want := "no, aicecast-auth-user: 1b {stream.name}!"; d.Reason != want {
		t.Errorf("%q, should be %q", d.Reason, want)
	}
	for _, text := range []string{"a\nb", "a\x00b", "\xff", "{stream.pass}", "{stream.}", "{stream.claim.}", "{http.request.host}", "{env.STREAM_TEST_UNSET}", ""} {
		if _, err := parseTemplate(text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// Whatever a client chose, a URL keeps its scheme and host and is a header's value.
func FuzzURLTemplate(f *testing.F) {
	for _, seed := range []string{"", "..", "@evil.example/", "\r\nx: y", "é\xff", "{stream.name}", "%2e%2e"} {
		f.Add(seed)
	}
	template, err := parseURLTemplate("https://cdn.example/{stream.user}/{stream.user}{stream.user}?q={stream.user}")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, user string) {
		d := Decision{}
		(&Effects{redirect: template}).apply(&d, &Request{Name: "a", User: user}, nil)
		parsed, err := url.Parse(d.Redirect)
		if err != nil || parsed.Host != "cdn.example" || parsed.Scheme != "https" || parsed.Fragment != "" ||
			strings.ContainsFunc(d.Redirect, func(char rune) bool { return char > unicode.MaxASCII || char <= ' ' }) {
			t.Errorf("%q became %q (%v)", user, d.Redirect, err)
		}
		if parsed != nil && strings.Count(parsed.EscapedPath(), "/") != 2 {
			t.Errorf("%q left its place: %q", user, d.Redirect)
		}
	})
}
