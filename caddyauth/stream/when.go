package stream

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // small container images know no time zones, and getHours("Europe/Berlin") would come to no answer

	"cel.dev/cel-go/cel"
	celast "cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
	"cel.dev/cel-go/interpreter"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// The bounds of an expression: its length in characters, how deep it nests, and what evaluating it may cost. The cost
// is CEL's own count of steps, weighted by the length of texts; this much is some milliseconds.
const (
	maxWhenCharacters = 4096
	maxWhenDepth      = 50
	maxWhenCost       = 20_000
)

// whenType is the type of the variable `stream`.
const whenType = "caddyauth.Stream"

// expression is a compiled `when`.
type expression struct {
	program cel.Program
	source  *celast.SourceInfo
	fields  []whenField // those it uses
	appless bool        // the server has no apps: stream.app is empty, and known to be
}

// subject is what an expression looks at.
type whenSubject struct {
	*Request
	subject string
	claims  map[string]any
	appless bool
}

// whenField is a field of the variable `stream`.
type whenField struct {
	name    string
	kind    *cel.Type
	feature Feature // that the server must have; empty: every one has it
	token   bool    // whether it comes out of a valid token
	// get gives the value, or nil for what is not known: to look at it is an error then, and has() is false.
	get func(whenSubject) any
}

// whenFields are the fields of `stream`.
var whenFields = []whenField{
	{name: "app", kind: cel.StringType, feature: FeatureApp, get: func(s whenSubject) any {
		if s.appless {
			return ""
		}
		return told(s.App)
	}},
	{name: "name", kind: cel.StringType, get: func(s whenSubject) any { return s.Name }},
	{name: "mode", kind: cel.StringType, get: func(s whenSubject) any { return string(s.Mode) }},
	{name: "transport", kind: cel.StringType, feature: FeatureTransport, get: func(s whenSubject) any { return told(s.Transport) }},
	{name: "ip", kind: cel.StringType, feature: FeatureIP, get: func(s whenSubject) any {
		if !s.IP.IsValid() {
			return nil
		}
		return s.IP.String()
	}},
	{name: "origin", kind: cel.StringType, feature: FeatureOrigin, get: func(s whenSubject) any { return s.Origin }},
	{name: "agent", kind: cel.StringType, feature: FeatureAgent, get: func(s whenSubject) any { return s.Agent }},
	{name: "user", kind: cel.StringType, feature: FeatureUser, get: func(s whenSubject) any { return s.User }},
	{name: "subject", kind: cel.StringType, token: true, get: func(s whenSubject) any { return s.subject }},
	{name: "claims", kind: cel.MapType(cel.StringType, cel.DynType), token: true, get: func(s whenSubject) any { return s.claims }},
	{name: "query", kind: cel.MapType(cel.StringType, cel.StringType), get: func(s whenSubject) any {
		if s.QueryErr != nil {
			return nil
		}
		return single(s.Query)
	}},
	{name: "metadata", kind: cel.DynType, get: func(s whenSubject) any { return s.Metadata }},
	{name: "listeners", kind: cel.IntType, feature: FeatureListeners, get: func(s whenSubject) any { return counted(s.Listeners) }},
	{name: "listened_24h", kind: cel.DurationType, feature: FeatureListened, get: func(s whenSubject) any { return counted(s.Listened24h) }},
	{name: "listened_7d", kind: cel.DurationType, feature: FeatureListened, get: func(s whenSubject) any { return counted(s.Listened7d) }},
}

// told is nil for a text that the server left out.
func told(text string) any {
	if text == "" {
		return nil
	}
	return text
}

// counted is nil for a counter that the server did not report.
func counted[T any](counter *T) any {
	if counter == nil {
		return nil
	}
	return *counter
}

// single gives the parameters that stand once. One that stands twice could be read in two ways, and is left out.
func single(query url.Values) map[string]string {
	once := make(map[string]string, len(query))
	for name, values := range query {
		if len(values) == 1 {
			once[name] = values[0]
		}
	}
	return once
}

// whenProvider knows the type of `stream` beside CEL's own.
type whenProvider struct{ *types.Registry }

// FindStructType implements types.Provider.
func (p whenProvider) FindStructType(name string) (*types.Type, bool) {
	if name == whenType {
		return types.NewTypeTypeWithParam(types.NewObjectType(whenType)), true
	}
	return p.Registry.FindStructType(name)
}

// FindStructFieldNames implements types.Provider.
func (p whenProvider) FindStructFieldNames(name string) ([]string, bool) {
	if name != whenType {
		return p.Registry.FindStructFieldNames(name)
	}
	names := make([]string, len(whenFields))
	for i, field := range whenFields {
		names[i] = field.name
	}
	return names, true
}

// FindStructFieldType implements types.Provider.
func (p whenProvider) FindStructFieldType(name, fieldName string) (*types.FieldType, bool) {
	if name != whenType {
		return p.Registry.FindStructFieldType(name, fieldName)
	}
	for _, field := range whenFields {
		if field.name == fieldName {
			return &types.FieldType{
				Type: field.kind,
				IsSet: func(target any) bool {
					s, ok := target.(whenSubject)
					return ok && field.get(s) != nil
				},
				GetFrom: func(target any) (any, error) {
					if s, ok := target.(whenSubject); ok {
						if value := field.get(s); value != nil {
							return value, nil
						}
					}
					return nil, fmt.Errorf("stream.%s is not known", field.name)
				},
			}, true
		}
	}
	return nil, false
}

// whenEnv is what all expressions are compiled in. It is made when the first one is.
var whenEnv = sync.OnceValues(func() (*cel.Env, error) {
	registry, err := types.NewRegistry()
	if err != nil {
		return nil, err
	}
	return cel.NewEnv(
		cel.CustomTypeProvider(whenProvider{registry}),
		ext.Strings(), ext.Network(),
		cel.Variable("stream", cel.ObjectType(whenType)),
		cel.Variable("now", cel.TimestampType),
		cel.ParserExpressionSizeLimit(maxWhenCharacters),
		cel.ParserRecursionLimit(maxWhenDepth),
	)
})

// compileWhen compiles an expression for a server that is able to do what ability says. Its errors show the place.
func compileWhen(text string, ability Ability) (*expression, error) {
	env, err := whenEnv()
	if err != nil {
		return nil, err
	}
	tree, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	if !tree.OutputType().IsExactType(cel.BoolType) {
		return nil, fmt.Errorf("the expression is of the type %s, and must be bool: %s", tree.OutputType(), text)
	}
	program, err := env.Program(tree,
		cel.EvalOptions(cel.OptOptimize), cel.OptimizeRegex(interpreter.MatchesRegexOptimization),
		cel.CostLimit(maxWhenCost), cel.InterruptCheckFrequency(100))
	if err != nil {
		return nil, err
	}
	fields, whole := usedFields(tree.NativeRep())
	if whole {
		return nil, fmt.Errorf("stream stands without a field in it, such as stream.name: %s", text)
	}
	w := &expression{program: program, source: tree.NativeRep().SourceInfo(), fields: fields, appless: ability.NoApps}
	for _, field := range w.fields {
		if field.feature == FeatureApp && ability.NoApps {
			continue
		}
		if field.feature != "" && !ability.Has(field.feature) {
			return nil, fmt.Errorf("%s does not tell %s, which stream.%s is", ability.Server, field.feature, field.name)
		}
	}
	return w, nil
}

// usedFields are the fields of `stream` that an expression looks at. whole reports that it also takes `stream` without
// one, as `[stream].exists(s, …)` does: by another name it could look at any field, without its being known here.
func usedFields(tree *celast.AST) (used []whenField, whole bool) {
	isStream := func(node celast.Expr) bool {
		return node.Kind() == celast.IdentKind && strings.TrimPrefix(node.AsIdent(), ".") == "stream"
	}
	selected := make(map[int64]bool) // the identifiers that a field was taken of, which are visited after that
	celast.PreOrderVisit(tree.Expr(), celast.NewExprVisitor(func(node celast.Expr) {
		if isStream(node) && !selected[node.ID()] {
			whole = true
		}
		if node.Kind() != celast.SelectKind || !isStream(node.AsSelect().Operand()) {
			return
		}
		selection := node.AsSelect()
		selected[selection.Operand().ID()] = true
		i := slices.IndexFunc(whenFields, func(field whenField) bool { return field.name == selection.FieldName() })
		if i >= 0 && !slices.ContainsFunc(used, func(field whenField) bool { return field.name == selection.FieldName() }) {
			used = append(used, whenFields[i])
		}
	}))
	return used, whole
}

// asksToken reports whether the expression looks at what only a valid token says.
func (w *expression) asksToken() bool {
	return slices.ContainsFunc(w.fields, func(field whenField) bool { return field.token })
}

// errWhen is the error of an expression that comes to neither true nor false.
var errWhen = errors.New("the expression comes to no answer")

// holds evaluates the expression. An error says where in it there was no answer; it holds nothing of the request.
func (w *expression) holds(ctx context.Context, s whenSubject, now time.Time) (bool, error) {
	if s.claims == nil {
		s.claims = map[string]any{}
	}
	s.appless = w.appless
	value, _, err := w.program.ContextEval(ctx, map[string]any{"stream": s, "now": now})
	if ctx.Err() != nil {
		return false, verdict.Errorf(verdict.Unavailable, "the expression was not done in time")
	}
	var fault *types.Err
	switch {
	case errors.As(err, &fault) && fault.NodeID() > 0:
		place := w.source.GetStartLocation(fault.NodeID())
		return false, fmt.Errorf("%w at %d:%d", errWhen, place.Line(), place.Column()+1)
	case err != nil:
		return false, errWhen // its cost is over the limit, say
	}
	truth, ok := value.Value().(bool)
	if !ok {
		return false, errWhen
	}
	return truth, nil
}
