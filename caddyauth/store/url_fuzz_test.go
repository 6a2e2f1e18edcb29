package store

import (
	"strings"
	"testing"
)

// FuzzServer: a URL of a Redis is read or refused; what is refused is refused without the password, wherever characters
// that are none of a password's broke it off; and a password behind a placeholder is the password, whatever it is.
func FuzzServer(f *testing.F) {
	for _, seed := range [][2]string{
		{"", ""}, {"12?", ""}, {"12?", "&x=y"}, {"a/", "#"}, {"", "@other.example:1/?cluster=true&addr="}, {"%", "%zz"}, {"12/", "?db=1"}, {"{env.", "}"}, {"[", "]"},
		{"12?addr=", ""}, {"12?cluster=1&addr=", ":1"}, {"\x00", "\n"}, {"1@cache.example?", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, before, behind string) {
		const word = "hunter2hunter2"
		password := before + word + behind
		for _, url := range []string{
			"redis://user:" + password + "@cache.example", "rediss://:" + password + "@cache.example/1?cluster=false", "unix://u:" + password + "@/run/redis.sock",
			"redis://cache.example/" + password, "redis://cache.example?addr=" + password + "&cluster=true", password,
		} {
			s, err := parseServer(url)
			if err != nil {
				// The name of a placeholder is told.
				if strings.Contains(err.Error(), word) && !strings.Contains(password, "{env."+word) && !strings.Contains(password, "{file."+word) && !strings.Contains(before, "{") {
					t.Errorf("%q: the error shows the password: %v", url, err)
				}
				continue
			}
			if (s.network != "tcp" && s.network != "unix") || len(s.addrs) == 0 || s.tls != nil && (s.tls.InsecureSkipVerify || s.tls.ServerName == "") ||
				s.user != "" && s.password == "" || s.cluster && (s.db != 0 || s.network != "tcp") || len(s.addrs) > 1 && !s.cluster {
				t.Errorf("%q became %+v", url, s)
			}
		}
		if strings.Contains(password, "\x00") {
			return // no environment has it
		}
		t.Setenv("STORE_FUZZ_PASSWORD", password)
		s, err := parseServer("rediss://gate:{env.STORE_FUZZ_PASSWORD}@cache.example:6380/2")
		if err != nil || s.user != "gate" || s.password != password || len(s.addrs) != 1 || s.addrs[0] != "cache.example:6380" || s.db != 2 || s.tls.ServerName != "cache.example" {
			t.Errorf("the password %q made another server of it: %+v, %v", password, s, err)
		}
	})
}
