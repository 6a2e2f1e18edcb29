package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// need skips a test whose real programs are not installed, and names them. With CADDYAUTH_REAL=require, as .ci/run sets
// it, the test fails instead.
func need(t *testing.T, programs ...string) {
	t.Helper()
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			missing(t, program)
		}
	}
}

// needPackages returns the directory in which testdata/npm/package.json is installed: CADDYAUTH_NPM says where.
func needPackages(t *testing.T, packages ...string) string {
	t.Helper()
	dir := os.Getenv("CADDYAUTH_NPM")
	for _, name := range packages {
		if _, err := os.Stat(filepath.Join(dir, "node_modules", filepath.FromSlash(name), "package.json")); dir == "" || err != nil {
			missing(t, "npm package "+name+" (CADDYAUTH_NPM)")
		}
	}
	return dir
}

func missing(t *testing.T, program string) {
	t.Helper()
	if os.Getenv("CADDYAUTH_REAL") == "require" {
		t.Fatalf("not installed: %s", program)
	}
	t.Skipf("not installed: %s", program)
}
