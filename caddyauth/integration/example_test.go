package integration

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

// Media servers take 200 for yes, and Caddy answers 200 where no route fits.
func TestInTheExampleAMisspeltHookAllowsNobody(t *testing.T) {
	text, err := os.ReadFile("../../Caddyfile.example")
	if err != nil {
		t.Fatal(err)
	}
	gate, _, found := strings.Cut(string(text), "# The receiver:")
	if !found {
		t.Fatal("the example has no receiver")
	}
	bed := testbed.New(t, strings.ReplaceAll(gate, "127.0.0.1:8081", "RECEIVER"))
	for _, path := range []string{"/", "/hook", "/hooks/antmeda", "/hooks/icecast/", "/hooks/zlm", "/hls"} {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1:8080"+path, http.NoBody)
		if got := bed.Do(t, r); got.Status != http.StatusNotFound || len(got.Received) > 0 {
			t.Errorf("%s: %d, received %v", path, got.Status, got.Received)
		}
	}
}
