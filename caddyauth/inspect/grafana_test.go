package inspect_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddyserver/caddy/v2"
)

// collected gives the label names of every metric of the contract, from a registry in which each has been counted.
func collected(t *testing.T) map[string][]string {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	shared := &app.App{StoreRaw: json.RawMessage(`{"store":"redis","url":"unix:///nowhere/at/all"}`)}
	if err := shared.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	m := shared.Metrics()
	m.Callback("vonage", verdict.OK, time.Millisecond)
	m.Stream("icecast", "play", "allow", "listeners", time.Millisecond)
	m.Sessions("icecast", 1)
	m.JWKSRefresh(true)
	m.SecretUsed("vonage", "1")
	if shared.Store().Leave(t.Context(), [32]byte{}, [32]byte{}) == nil {
		t.Fatal("a store that is nowhere works")
	}
	var registry prometheus.Gatherer = ctx.GetMetricsRegistry()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	labels := make(map[string][]string)
	for _, family := range families {
		name := family.GetName()
		if !strings.HasPrefix(name, "caddy_callback_auth_") && !strings.HasPrefix(name, "caddy_stream_auth_") && !strings.HasPrefix(name, "caddy_caddyauth_") {
			continue
		}
		labels[name] = []string{}
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels[name] = append(labels[name], label.GetName())
		}
	}
	return labels
}

func TestTheMetricsAreThoseOfTheReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string][]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `(caddy_\\w+)` \\| (.*?) \\|").FindAllStringSubmatch(string(text), -1) {
		for _, label := range regexp.MustCompile("`(\\w+)`").FindAllStringSubmatch(row[2], -1) {
			documented[row[1]] = append(documented[row[1]], label[1])
		}
	}
	have := collected(t)
	if len(have) != 8 || len(documented) != len(have) {
		t.Errorf("%d metrics, %d in the README", len(have), len(documented))
	}
	for name, labels := range have {
		slices.Sort(documented[name])
		slices.Sort(labels)
		if !slices.Equal(labels, documented[name]) {
			t.Errorf("%s%v; the README has %v", name, labels, documented[name])
		}
	}
}

// A query for a metric or a label that does not exist shows an empty panel, and nobody learns why.
func TestEveryQueryOfTheDashboardIsAboutMetricsThatExist(t *testing.T) {
	text, err := os.ReadFile("grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Title, UID    string
		SchemaVersion int
		Templating    struct {
			List []struct{ Name, Type, Definition string }
		}
		Panels []struct {
			ID      int
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ RefID, Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(text, &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.Title == "" || dashboard.UID == "" || dashboard.SchemaVersion == 0 || len(dashboard.Panels) == 0 {
		t.Fatalf("%+v", dashboard)
	}
	metrics := collected(t)
	used := make(map[string]bool)
	variables := make(map[string]bool)
	for _, variable := range dashboard.Templating.List {
		variables[variable.Name] = true
		if parts := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`).FindStringSubmatch(variable.Definition); variable.Type == "query" &&
			(parts == nil || !slices.Contains(metrics[parts[1]], parts[2])) {
			t.Errorf("variable %s: %s", variable.Name, variable.Definition)
		}
	}
	ids := make(map[int]bool)
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] || len(panel.Targets) == 0 || panel.GridPos.W == 0 || panel.GridPos.X+panel.GridPos.W > 24 {
			t.Errorf("panel %d %s: %+v", panel.ID, panel.Title, panel.GridPos)
		}
		ids[panel.ID] = true
		for _, target := range panel.Targets {
			checkQuery(t, panel.Title+": "+target.Expr, target.Expr, target.LegendFormat, metrics, variables, used)
		}
	}
	for name := range metrics {
		if !used[name] {
			t.Errorf("no panel shows %s", name)
		}
	}
}

func checkQuery(t *testing.T, where, query, legend string, metrics map[string][]string, variables, used map[string]bool) {
	t.Helper()
	for _, variable := range regexp.MustCompile(`\$(\w+)`).FindAllStringSubmatch(query, -1) {
		if !variables[variable[1]] && variable[1] != "__rate_interval" {
			t.Errorf("%s: no variable $%s", where, variable[1])
		}
	}
	if strings.Count(query, "(") != strings.Count(query, ")") || strings.Count(query, "{") != strings.Count(query, "}") {
		t.Errorf("%s: brackets", where)
	}
	names := regexp.MustCompile(`caddy_\w+`).FindAllString(query, -1)
	if names = slices.Compact(names); len(names) != 1 {
		t.Fatalf("%s: metrics %v", where, names)
	}
	name := names[0]
	// increase() alone sees no first use of a secret, and what looks unused is retired.
	if name == "caddy_caddyauth_secret_used_total" && !strings.Contains(query, "unless "+name) {
		t.Errorf("%s: a secret that was used once does not show", where)
	}
	labels, ok := metrics[name]
	if histogram, isBucket := strings.CutSuffix(name, "_bucket"); isBucket && !ok {
		name = histogram
		labels, ok = append(slices.Clone(metrics[name]), "le"), metrics[name] != nil
	}
	if !ok {
		t.Errorf("%s: no metric %s", where, name)
	}
	used[name] = true

	var asked []string
	for _, selector := range regexp.MustCompile(`(\w+)\s*[!=]~?"`).FindAllStringSubmatch(query, -1) {
		asked = append(asked, selector[1])
	}
	for _, reason := range regexp.MustCompile(`reason[!=]+"(\w+)"`).FindAllStringSubmatch(query, -1) {
		if !slices.Contains(verdict.Reasons(), verdict.Reason(reason[1])) {
			t.Errorf("%s: no reason %s", where, reason[1])
		}
	}
	for _, by := range regexp.MustCompile(`by \(([^)]*)\)`).FindAllStringSubmatch(query, -1) {
		grouped := strings.Split(by[1], ", ")
		asked = append(asked, grouped...)
		for _, shown := range regexp.MustCompile(`{{(\w+)}}`).FindAllStringSubmatch(legend, -1) {
			if !slices.Contains(grouped, shown[1]) {
				t.Errorf("%s: the legend shows %s, which the query does not keep", where, shown[1])
			}
		}
	}
	for _, label := range asked {
		if !slices.Contains(labels, label) {
			t.Errorf("%s: %s has no label %s", where, name, label)
		}
	}
}
