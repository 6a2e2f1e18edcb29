package caddyauth_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	_ "github.com/caddyauth/callbacks/caddyauth"
	"github.com/google/go-cmp/cmp"

	"github.com/caddyserver/caddy/v2"
)

// moduleIDs are the modules of this plugin: the table of the contract, one entry a module.
var moduleIDs = []string{
	"admin.api.caddyauth",
	"caddyauth",
	"caddyauth.stores.memory",
	"caddyauth.stores.redis",
	"http.callback_auth.schemes.adyen",
	"http.callback_auth.schemes.agora",
	"http.callback_auth.schemes.any",
	"http.callback_auth.schemes.api_key",
	"http.callback_auth.schemes.azure_call_automation",
	"http.callback_auth.schemes.azure_event_grid",
	"http.callback_auth.schemes.basic",
	"http.callback_auth.schemes.bunny_stream",
	"http.callback_auth.schemes.cloudflare_stream",
	"http.callback_auth.schemes.daily",
	"http.callback_auth.schemes.discord",
	"http.callback_auth.schemes.dropbox",
	"http.callback_auth.schemes.elevenlabs",
	"http.callback_auth.schemes.getstream",
	"http.callback_auth.schemes.github",
	"http.callback_auth.schemes.gitlab",
	"http.callback_auth.schemes.gitlab_signing",
	"http.callback_auth.schemes.grafana",
	"http.callback_auth.schemes.hmac",
	"http.callback_auth.schemes.ip_range",
	"http.callback_auth.schemes.jaas_8x8",
	"http.callback_auth.schemes.jwt",
	"http.callback_auth.schemes.line",
	"http.callback_auth.schemes.linear",
	"http.callback_auth.schemes.livekit",
	"http.callback_auth.schemes.messagebird",
	"http.callback_auth.schemes.meta",
	"http.callback_auth.schemes.mux",
	"http.callback_auth.schemes.oauth2",
	"http.callback_auth.schemes.ovenmediaengine",
	"http.callback_auth.schemes.paddle",
	"http.callback_auth.schemes.plivo",
	"http.callback_auth.schemes.plivo_v2",
	"http.callback_auth.schemes.retell",
	"http.callback_auth.schemes.sendgrid",
	"http.callback_auth.schemes.shopify",
	"http.callback_auth.schemes.sinch",
	"http.callback_auth.schemes.slack",
	"http.callback_auth.schemes.square",
	"http.callback_auth.schemes.standard_webhooks",
	"http.callback_auth.schemes.stripe",
	"http.callback_auth.schemes.telnyx",
	"http.callback_auth.schemes.twilio",
	"http.callback_auth.schemes.twitch",
	"http.callback_auth.schemes.vercel",
	"http.callback_auth.schemes.vonage",
	"http.callback_auth.schemes.vonage_sms",
	"http.callback_auth.schemes.webex",
	"http.callback_auth.schemes.whereby",
	"http.callback_auth.schemes.workos",
	"http.callback_auth.schemes.x",
	"http.callback_auth.schemes.zoom",
	"http.handlers.callback_auth",
	"http.handlers.stream_auth",
	"http.stream_auth.dialects.antmedia",
	"http.stream_auth.dialects.http",
	"http.stream_auth.dialects.icecast",
	"http.stream_auth.dialects.mediamtx",
	"http.stream_auth.dialects.nginx_rtmp",
	"http.stream_auth.dialects.node_media_server",
	"http.stream_auth.dialects.ovenmediaengine",
	"http.stream_auth.dialects.radiomast",
	"http.stream_auth.dialects.srs",
	"http.stream_auth.dialects.zlmediakit",
}

func TestModulesOfThisPluginAreExactlyTheTable(t *testing.T) {
	// Whose a module is, its Go type says: an ID may be wrong.
	var have []string
	for _, id := range caddy.Modules() {
		info, err := caddy.GetModule(id)
		if err != nil {
			t.Fatal(err)
		}
		made := reflect.TypeOf(info.New())
		if made.Kind() != reflect.Pointer {
			continue // one of Caddy's own
		}
		if home := made.Elem().PkgPath(); strings.HasPrefix(home, modulePath+"/") && home != testbedPath {
			have = append(have, id)
		}
	}
	slices.Sort(have)
	if diff := cmp.Diff(moduleIDs, have); diff != "" {
		t.Errorf("modules (- table, + registered):\n%s", diff)
	}
}

// caddyserver.com/docs is made by a scanner that reads the source without running it. What it cannot read is missing
// there, and a type that is a module but not registered, or the reverse, loses the whole package. These tests hold its
// rules (caddyserver/moduledoc).
func TestDocumentationScannerUnderstandsEveryPackage(t *testing.T) {
	for dir, files := range parsePackages(t) {
		t.Run(filepath.ToSlash(dir), func(t *testing.T) {
			modules := make(map[string]bool) // by type: has a CaddyModule method
			registered := make(map[string]bool)
			for _, file := range files {
				inspectModules(t, file, modules, registered)
			}
			for name := range modules {
				if !registered[name] {
					t.Errorf("%s has a CaddyModule method and is not registered by caddy.RegisterModule(%s{}) in its package", name, name)
				}
			}
			for name := range registered {
				if !modules[name] {
					t.Errorf("%s is registered and has no CaddyModule method in its package", name)
				}
			}
		})
	}
}

func TestEveryConfigFieldHasACommentAboveIt(t *testing.T) {
	for dir, files := range parsePackages(t) {
		t.Run(filepath.ToSlash(dir), func(t *testing.T) {
			for _, file := range files {
				ast.Inspect(file.ast, func(node ast.Node) bool {
					if declared, ok := node.(*ast.TypeSpec); ok {
						if structure, ok := declared.Type.(*ast.StructType); ok && declared.Name.IsExported() {
							inspectFields(t, file, declared.Name.Name, structure)
						}
					}
					return true
				})
			}
		})
	}
}

// parsedFile is one Go file with what is needed to name a place in it.
type parsedFile struct {
	ast  *ast.File
	fset *token.FileSet
}

func (f parsedFile) at(node ast.Node) token.Position { return f.fset.Position(node.Pos()) }

// parsePackages returns the files of every package of the plugin but its tests, by directory.
func parsePackages(t *testing.T) map[string][]parsedFile {
	t.Helper()
	packages := make(map[string][]parsedFile)
	for _, path := range goFiles(t, ".") {
		if strings.HasSuffix(path, "_test.go") || filepath.Dir(path) == "testbed" {
			continue // not in the plugin
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		packages[filepath.Dir(path)] = append(packages[filepath.Dir(path)], parsedFile{ast: file, fset: fset})
	}
	return packages
}

func inspectModules(t *testing.T, file parsedFile, modules, registered map[string]bool) {
	t.Helper()
	ast.Inspect(file.ast, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.FuncDecl:
			if node.Name.Name != "CaddyModule" || node.Recv == nil {
				return true
			}
			receiver := node.Recv.List[0].Type
			if pointer, ok := receiver.(*ast.StarExpr); ok {
				receiver = pointer.X
			}
			name, ok := receiver.(*ast.Ident)
			if !ok {
				t.Errorf("%s: the scanner cannot read this receiver", file.at(node))
				return true
			}
			modules[name.Name] = true
			if id := literalID(node.Body); id == "" {
				t.Errorf("%s: CaddyModule of %s is not one return of a literal with a literal ID", file.at(node), name.Name)
			} else if !slices.Contains(moduleIDs, id) {
				t.Errorf("%s: %s is not in the table", file.at(node), id)
			}

		case *ast.CallExpr:
			if !isSelector(node.Fun, "caddy", "RegisterModule") {
				return true
			}
			if name := registeredType(node); name == "" {
				t.Errorf("%s: register with caddy.RegisterModule(T{}) or (new(T))", file.at(node))
			} else {
				registered[name] = true
			}
		}
		return true
	})
}

// literalID returns the ID in a body that is nothing but the return of a composite literal which spells it; else "".
func literalID(body *ast.BlockStmt) string {
	if body == nil || len(body.List) != 1 {
		return ""
	}
	statement, ok := body.List[0].(*ast.ReturnStmt)
	if !ok || len(statement.Results) != 1 {
		return ""
	}
	literal, ok := statement.Results[0].(*ast.CompositeLit)
	if !ok {
		return ""
	}
	for _, element := range literal.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		if key, ok := pair.Key.(*ast.Ident); !ok || key.Name != "ID" {
			continue
		}
		if value, ok := pair.Value.(*ast.BasicLit); ok && value.Kind == token.STRING {
			id, err := strconv.Unquote(value.Value)
			if err == nil {
				return id
			}
		}
	}
	return ""
}

// registeredType returns T of RegisterModule(T{}) and RegisterModule(new(T)); else "".
func registeredType(call *ast.CallExpr) string {
	if len(call.Args) != 1 {
		return ""
	}
	var named ast.Expr
	switch arg := call.Args[0].(type) {
	case *ast.CompositeLit:
		named = arg.Type
	case *ast.CallExpr:
		if function, ok := arg.Fun.(*ast.Ident); ok && function.Name == "new" && len(arg.Args) == 1 {
			named = arg.Args[0]
		}
	}
	if name, ok := named.(*ast.Ident); ok {
		return name.Name
	}
	return ""
}

func inspectFields(t *testing.T, file parsedFile, typeName string, structure *ast.StructType) {
	t.Helper()
	for _, field := range structure.Fields.List {
		var tag reflect.StructTag
		if field.Tag != nil {
			unquoted, err := strconv.Unquote(field.Tag.Value)
			if err != nil {
				t.Fatal(err)
			}
			tag = reflect.StructTag(unquoted)
		}
		jsonName, _, _ := strings.Cut(tag.Get("json"), ",")
		if jsonName == "" || jsonName == "-" {
			continue
		}
		if len(field.Names) != 1 {
			t.Errorf("%s: %s: one field a line", file.at(field), typeName)
			continue
		}
		if field.Doc.Text() == "" {
			t.Errorf("%s: %s.%s has no comment above it", file.at(field), typeName, field.Names[0].Name)
		}
		// A decision is written and never read: no configuration has one.
		if typeName != "Decision" && !strings.Contains(tag.Get("json"), ",omitempty") && !strings.Contains(tag.Get("json"), ",omitzero") {
			t.Errorf("%s: %s.%s is written even where it is empty", file.at(field), typeName, field.Names[0].Name)
		}
		if holdsRawMessage(field.Type) && !strings.Contains(tag.Get("caddy"), "namespace=") {
			t.Errorf("%s: %s.%s: the scanner takes json.RawMessage for a guest module, and it names no namespace",
				file.at(field), typeName, field.Names[0].Name)
		}
	}
}

func holdsRawMessage(expr ast.Expr) bool {
	found := false
	ast.Inspect(expr, func(node ast.Node) bool {
		if selector, ok := node.(*ast.SelectorExpr); ok && isSelector(selector, "json", "RawMessage") {
			found = true
		}
		return true
	})
	return found
}

func isSelector(expr ast.Expr, pkg, name string) bool {
	selector, ok := expr.(*ast.SelectorExpr)
	if !ok || selector.Sel.Name != name {
		return false
	}
	x, ok := selector.X.(*ast.Ident)
	return ok && x.Name == pkg
}
