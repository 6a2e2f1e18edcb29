package caddyauth_test

import (
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// Caddy cleans up what could not be provisioned too: however far Provision came, Cleanup must cope, and give up nothing
// that another config holds.
func TestWhatWasNeverProvisionedCanBeCleanedUp(t *testing.T) {
	for _, id := range moduleIDs {
		info, err := caddy.GetModule(id)
		if err != nil {
			t.Fatal(err)
		}
		module, ok := info.New().(caddy.CleanerUpper)
		if !ok {
			continue
		}
		t.Run(id, func(t *testing.T) {
			for range 2 {
				if err := module.Cleanup(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
