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

// What is fenced as `caddyfile` in the README is to be pasted, whether it is a whole file or a piece of a site, unless it
// has angle brackets or an ellipsis: then it is syntax.
func TestReadmeCaddyfilesLoad(t *testing.T) {
	syntax := regexp.MustCompile(`<[a-z_]+>|…`)
	variables := regexp.MustCompile(`\{env\.(\w+)\}`)
	tried := 0
	for _, fence := range regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```").FindAllStringSubmatchIndex(readme(t), -1) {
		line := 1 + strings.Count(readme(t)[:fence[2]], "\n")
		block := readme(t)[fence[2]:fence[3]]
		if syntax.MatchString(block) {
			continue
		}
		tried++
		for _, variable := range variables.FindAllStringSubmatch(block, -1) {
			t.Setenv(variable[1], "a-secret-for-examples-0123456789abcdef")
		}

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
	if tried == 0 {
		t.Error("README.md has no Caddyfile to paste")
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
