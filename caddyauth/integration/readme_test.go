package integration

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/stream"

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

// What a server can do stands in one table in code, and the README has all of it and no more.
func TestReadmeSaysWhatEachServerCanDo(t *testing.T) {
	features := []stream.Feature{
		stream.FeatureApp, stream.FeatureIP, stream.FeatureOrigin, stream.FeatureTransport, stream.FeatureAgent, stream.FeatureUser,
		stream.FeatureListeners, stream.FeatureListened, stream.FeatureTimeLimit, stream.FeatureMaxSessions, stream.FeaturePreroll,
		stream.FeaturePostroll, stream.FeatureRedirect, stream.FeatureRename,
	}
	for _, info := range caddy.GetModules(stream.Namespace) {
		if !ours(info) {
			continue
		}
		ability := info.New().(stream.Dialect).Can()
		row := regexp.MustCompile("(?m)^\\| `" + info.ID.Name() + "` \\|[^|]*\\|(.*)\\|$").FindStringSubmatch(readme(t))
		if row == nil {
			t.Errorf("README.md has no row of the dialect `%s`", info.ID.Name())
			continue
		}
		for _, feature := range features {
			if said := strings.Contains(row[1], "`"+string(feature)+"`"); said != ability.Has(feature) {
				t.Errorf("%s: README.md says of %s: %t", info.ID.Name(), feature, said)
			}
		}
	}
}
