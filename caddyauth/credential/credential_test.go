package credential_test

import (
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/credential"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// parse reads one line of a Caddyfile.
func parse(line string) (credential.Secret, error) {
	d := caddyfile.NewTestDispenser(line)
	d.Next()
	return credential.Parse(d)
}

func TestASecondSecretIsNoLabel(t *testing.T) {
	const second = "another-secret-in-the-place-of-a-label"
	t.Setenv("CADDYAUTH_NEXT", second)
	for name, label := range map[string]string{
		"a placeholder":   "{env.CADDYAUTH_NEXT}",
		"a part of one":   "next-{env.CADDYAUTH_NEXT}",
		"an unquoted one": second + second,
		"a line break":    "a\nb",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parse("secret one \"" + label + "\"")
			if err == nil {
				t.Error("the Caddyfile takes it")
			} else if strings.Contains(err.Error(), second) || !strings.Contains(err.Error(), "Testfile:1") {
				t.Errorf("the error is %v", err)
			}
			if _, err = credential.Resolve("secret", []credential.Secret{{Value: "one", Label: label}}, nil); err == nil || strings.Contains(err.Error(), second) {
				t.Errorf("in JSON: %v", err)
			}
		})
	}
	if s, err := parse("secret one next"); err != nil || s.Label != "next" {
		t.Errorf("CONTROL: %+v, %v", s, err)
	}
}

func TestWhatEverybodyMayReadIsNoSecret(t *testing.T) {
	for name, value := range map[string]string{
		"a public key":       "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----",
		"an RSA public key":  "\n-----BEGIN RSA PUBLIC KEY-----\nMIIBCgKCAQEA\n-----END RSA PUBLIC KEY-----\n",
		"a certificate":      "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
		"a key in SSH's way": "ssh-rsa AAAAB3NzaC1yc2E= user@host",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := credential.Resolve("secret", []credential.Secret{{Value: value}}, nil); err == nil || strings.Contains(err.Error(), "BEGIN") {
				t.Errorf("the error is %v", err)
			}
			if _, err := credential.Resolve("public_key", []credential.Secret{{Value: value}}, nil); err != nil {
				t.Errorf("as what it is: %v", err)
			}
		})
	}
}

// FuzzText: what comes out is never empty, and no error holds the value.
func FuzzText(f *testing.F) {
	for _, seed := range []string{"", "a", "{env.CADDYAUTH_UNSET}", "{env.CADDYAUTH_SET}", "x{env.CADDYAUTH_UNSET}", `\{a\}`, "{", "}", "{}", "{{}}", "{file./does/not/exist}", "a{b}c", "{$X}"} {
		f.Add(seed)
	}
	f.Setenv("CADDYAUTH_SET", "a value that no error shows")
	f.Fuzz(func(t *testing.T, value string) {
		if strings.Contains(value, "{file.") || strings.Contains(value, "{system.") {
			return // not what is on this machine
		}
		text, err := credential.Text("option", value)
		switch {
		case err == nil && text == "":
			t.Errorf("%q comes to nothing", value)
		case err != nil && strings.Contains(err.Error(), "no error shows"):
			t.Errorf("the error of %q: %v", value, err)
		case err != nil && len(value) > 20 && !strings.Contains(value, "{") && strings.Contains(err.Error(), value):
			t.Errorf("the error holds the value: %v", err)
		}
	})
}
