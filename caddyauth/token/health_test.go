package token

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/internal/jose"
	"github.com/caddyauth/callbacks/caddyauth/internal/jwks"
)

func TestTheNameOfAKeySetHoldsNoPasswordOrKey(t *testing.T) {
	for _, c := range []struct {
		config jwks.Config
		want   string
	}{
		{jwks.Config{File: "keys.json"}, "keys.json"},
		{jwks.Config{JWKS: "https://user:password@keys.example.com/set?key=secret#part"}, "https://keys.example.com/set"},
		{jwks.Config{Metadata: "https://example.com/.well-known/openid-configuration?"}, "https://example.com/.well-known/openid-configuration"},
		{jwks.Config{Issuer: "https://issuer.example.com"}, "https://issuer.example.com"},
		{jwks.Config{}, "keys"},
	} {
		if got := placeOf(c.config); got != c.want {
			t.Errorf("%s; want %s", got, c.want)
		}
	}
}

func TestTheHealthOfAKeySetFollowsItsFetches(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"keys":[]}`))
	}))
	defer server.Close()
	for _, c := range []struct {
		name, want string
		status     int
		asks       bool
	}{
		{"nobody asked", app.StateUnused, http.StatusOK, false},
		{"fetched", app.StateOK, http.StatusOK, true},
		{"never there", app.StateFailing, http.StatusInternalServerError, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			status = c.status
			set, err := jwks.New(jwks.Config{JWKS: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			defer set.Close()
			if c.asks {
				_, _ = set.Keys(t.Context(), &jose.Token{Algorithm: "ES256", KeyID: "one"})
			}
			if got := (&sharedSet{Set: set}).shown(); got.State != c.want || got.LastError.IsZero() != (c.want != app.StateFailing) {
				t.Errorf("%+v; want %s", got, c.want)
			}
		})
	}
}
