package caddyauth_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	modulePath  = "github.com/caddyauth/callbacks"
	testbedPath = modulePath + "/caddyauth/testbed" // runs Caddyfiles in tests, and is no part of the plugin
	caddyPath   = "github.com/caddyserver/caddy"
)

func TestInternalPackagesKnowNothingOfCaddy(t *testing.T) {
	refuseDependencies(t, "./internal/...", caddyPath, "go.uber.org/zap", "net/http/httputil")
}

func TestVerdictsKnowNothingOfCaddy(t *testing.T) {
	refuseDependencies(t, "./verdict", caddyPath, "go.uber.org/zap", "net/http/httputil")
}

// A plugin that drags the standard modules in decides for its users what their Caddy is made of, and the documentation
// scanner would list every one of them as ours.
func TestPluginBringsNeitherTheStandardModulesNorItsTestbed(t *testing.T) {
	refuseDependencies(t, "./...", caddyPath+"/v2/modules/standard", caddyPath+"/v2/caddytest", testbedPath)
}

// refuseDependencies reports every package below this one that matches pattern and needs, however indirectly, one of
// the forbidden packages or anything below them. Tests may need what they like.
func refuseDependencies(t *testing.T, pattern string, forbidden ...string) {
	t.Helper()
	const format = `{{.ImportPath}} {{join .Deps " "}}`
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", format, pattern).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		importPath, deps, _ := strings.Cut(strings.TrimSpace(line), " ")
		needed := strings.Fields(deps)
		for _, unwanted := range forbidden {
			at := slices.IndexFunc(needed, func(dep string) bool {
				return dep == unwanted || strings.HasPrefix(dep, unwanted+"/")
			})
			if at >= 0 {
				t.Errorf("%s needs %s", importPath, needed[at])
			}
		}
	}
}

// goFiles returns the paths of all Go files below dir, without what begins with a dot and without test data.
func goFiles(t *testing.T, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != dir && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
			return fs.SkipDir
		}
		if !entry.IsDir() && strings.HasSuffix(name, ".go") {
			files = append(files, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func importsOf(t *testing.T, path string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, spec := range file.Imports {
		unquoted, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, unquoted)
	}
	return paths
}
