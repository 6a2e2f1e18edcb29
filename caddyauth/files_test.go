package caddyauth_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// root is the top of the repository, seen from this package.
const root = ".."

func TestTopLevelHoldsWhatTheContractNamesAndNothingElse(t *testing.T) {
	want := []string{
		"Caddyfile.example", "LICENSE", "README.md", "caddyauth", "cmd", "go.mod", "go.sum", "xcaddy.json",
	}

	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var have []string
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, ".") || name == "caddy" && !entry.IsDir() {
			continue // dot-files, and what `go build ./cmd/caddy` leaves behind, which Git ignores
		}
		have = append(have, name)
	}
	if !slices.Equal(have, want) {
		t.Errorf("top level:\n have %q\n want %q", have, want)
	}
}

// module is what `go mod edit -json` says of go.mod.
type module struct {
	Module  struct{ Path string }
	Go      string
	Require []struct {
		Path, Version string
		Indirect      bool
	}
	Toolchain        string
	Replace, Exclude []any
	Tool, Retract    []any
	Ignore, Godebug  []any
}

func readModule(t *testing.T) module {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", filepath.Join(root, "go.mod")).Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod module
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	return mod
}

func (m module) version(t *testing.T, path string) string {
	t.Helper()
	for _, require := range m.Require {
		if require.Path == path {
			return require.Version
		}
	}
	t.Fatalf("go.mod does not require %s", path)
	return ""
}

// Whoever requires this module gets its `go` and `tool` lines too, and its `replace` lines are silently void there.
func TestGoModAsksNothingOfThoseWhoBuildThePluginIn(t *testing.T) {
	mod := readModule(t)
	if mod.Module.Path != "github.com/caddyauth/callbacks" || mod.Go != "1.26.0" {
		t.Errorf("module %s, go %s", mod.Module.Path, mod.Go)
	}
	if mod.Toolchain != "" {
		t.Errorf("toolchain %s", mod.Toolchain)
	}
	if n := len(mod.Replace) + len(mod.Exclude) + len(mod.Tool) + len(mod.Retract) + len(mod.Ignore) + len(mod.Godebug); n > 0 {
		t.Errorf("%d replace, exclude, tool, retract, ignore or godebug lines", n)
	}
}

func TestXcaddyJSONIsTheBuildThatGoModDescribes(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(root, "xcaddy.json"))
	if err != nil {
		t.Fatal(err)
	}

	// The part of xcaddy.Builder that the file may use. A relative replacement would not survive the Builder, which
	// hands it to `go mod edit` inside a temporary directory.
	var build struct {
		CaddyVersion string `json:"caddy_version"`
		Plugins      []struct {
			ModulePath string `json:"module_path"`
		} `json:"plugins"`
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&build); err != nil {
		t.Fatal(err)
	}
	if decoder.More() {
		t.Error("something follows the JSON object")
	}

	mod := readModule(t)
	if want := mod.version(t, "github.com/caddyserver/caddy/v2"); build.CaddyVersion != want {
		t.Errorf("caddy_version %s, go.mod has %s", build.CaddyVersion, want)
	}
	if len(build.Plugins) != 1 || build.Plugins[0].ModulePath != mod.Module.Path+"/caddyauth" {
		t.Errorf("plugins %+v", build.Plugins)
	}
}

func TestLicenseIsApache2(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "LICENSE"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"Apache License", "Version 2.0, January 2004", "END OF TERMS AND CONDITIONS"} {
		if !bytes.Contains(text, []byte(part)) {
			t.Errorf("LICENSE lacks %q", part)
		}
	}
}

// xcaddy's generated main and ours are to stay the same program.
func TestCommandIsStockCaddyAndThePlugin(t *testing.T) {
	path := filepath.Join(root, "cmd", "caddy", "main.go")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if lines := bytes.Count(data, []byte("\n")); lines > 20 {
		t.Errorf("main.go has %d lines", lines)
	}
	want := []string{
		"github.com/caddyauth/callbacks/caddyauth", "github.com/caddyserver/caddy/v2/cmd",
		"github.com/caddyserver/caddy/v2/modules/standard", "time/tzdata",
	}
	have := importsOf(t, path)
	slices.Sort(have)
	if !slices.Equal(have, want) {
		t.Errorf("main.go imports %q, want %q", have, want)
	}
}

func TestNothingIsLeftOpenInTheCode(t *testing.T) {
	// Put together here, so that this file does not find itself.
	marks := regexp.MustCompile(`\b(` + strings.Join([]string{"TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"}, "|") + `)\b`)
	for _, path := range goFiles(t, root) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for number, line := range strings.Split(string(data), "\n") {
			if marks.MatchString(line) {
				t.Errorf("%s:%d: %s", path, number+1, strings.TrimSpace(line))
			}
		}
	}
}
