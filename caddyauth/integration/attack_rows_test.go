package integration

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// rows reads testdata/attack-cases.tsv, this project's own list of attacks and of genuine requests beside them: a name,
// the surface that is attacked, how the request is made, the outcome that is expected, and why. The reason of a genuine
// request begins with CONTROL.
func rows(t *testing.T) (surfaces map[string]string, controls map[string]bool) {
	t.Helper()
	text, err := os.ReadFile("testdata/attack-cases.tsv")
	if err != nil {
		t.Fatal(err)
	}
	surfaces, controls = map[string]string{}, map[string]bool{}
	for line := range strings.Lines(string(text)) {
		columns := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(columns) != 5 || surfaces[columns[0]] != "" {
			t.Fatalf("not a row of five columns, or a name that stands twice: %q", line)
		}
		if columns[0] == "name" {
			continue
		}
		surfaces[columns[0]] = columns[1]
		if strings.HasPrefix(columns[4], "CONTROL") {
			controls[columns[0]] = true
		}
	}
	if len(surfaces) < 400 || len(controls) < 40 {
		t.Fatalf("%d rows, %d of them genuine: the list is cut", len(surfaces), len(controls))
	}
	return surfaces, controls
}

// says are the methods by which a test speaks.
var says = regexp.MustCompile("^(Error|Fatal|Log|Skip)f?$")

// An attack has its test where a text in a test file begins with the attack's name: that of a subtest or of a row in a
// table. What follows the name, as in `cf-order, in handle`, begins with another character than names are made of.
func TestReliabilityR26EveryAttackRowHasItsTest(t *testing.T) {
	surfaces, controls := rows(t)
	tested := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "attack_rows_test.go" {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if call, ok := node.(*ast.CallExpr); ok {
				if method, ok := call.Fun.(*ast.SelectorExpr); ok && says.MatchString(method.Sel.Name) {
					return false // what a test says when it fails is no test
				}
			}
			literal, ok := node.(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING {
				return true
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Errorf("%s: %v", path, err)
			}
			name := text
			if end := strings.IndexFunc(text, func(char rune) bool { return char != '-' && (char < 'a' || char > 'z') && (char < '0' || char > '9') }); end >= 0 {
				name = text[:end]
			}
			if surfaces[name] != "" {
				tested[name] = true
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	genuine := map[string]bool{} // the surfaces that have a test of what must pass
	for name := range controls {
		if tested[name] {
			genuine[surfaces[name]] = true
		}
	}
	for name, surface := range surfaces {
		if !tested[name] {
			t.Errorf("%s, of %s, has no test", name, surface)
		}
	}
	for _, surface := range surfaces {
		// These two have no genuine row of their own: their tests stand beside those of others.
		if !genuine[surface] && surface != "cb-jwt-alg" && surface != "cb-config" {
			t.Errorf("%s has no test of what must pass: a build that refuses everything would do", surface)
		}
	}
}
