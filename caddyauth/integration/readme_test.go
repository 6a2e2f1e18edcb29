package integration

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What is fenced as `caddyfile` in the README is to be pasted: a whole file, or a piece of a site. Syntax, with its
// angle brackets, is fenced as something else.
func TestReadmeCaddyfilesLoad(t *testing.T) {
	fences := regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```").FindAllStringSubmatchIndex(readme(t), -1)
	if len(fences) == 0 {
		t.Fatal("README.md has no ```caddyfile")
	}
	for _, fence := range fences {
		line := 1 + strings.Count(readme(t)[:fence[2]], "\n")
		block := readme(t)[fence[2]:fence[3]]

		config, err := adapt(t, block)
		if err != nil {
			piece := "\t" + strings.ReplaceAll(strings.TrimSuffix(block, "\n"), "\n", "\n\t")
			config, err = adapt(t, "http:// {\n"+strings.ReplaceAll(piece, "\n\t\n", "\n\n")+"\n}\n")
		}
		if err == nil {
			err = provision(t, config)
		}
		if err != nil {
			t.Errorf("README.md:%d: %v", line, err)
		}
	}
}

func TestReadmeHasARowForEverySchemeAndDialect(t *testing.T) {
	for _, id := range caddy.Modules() {
		info, err := caddy.GetModule(id)
		if err != nil {
			t.Fatal(err)
		}
		if !ours(info) {
			continue
		}
		switch info.ID.Namespace() {
		case "http.callback_auth.schemes", "http.stream_auth.dialects":
			row := regexp.MustCompile("(?m)^\\|.*`" + info.ID.Name() + "`.*\\|$")
			if !row.MatchString(readme(t)) {
				t.Errorf("README.md has no row for `%s`", info.ID.Name())
			}
		}
	}
}
