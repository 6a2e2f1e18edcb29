package token

import (
	"net/url"
	"strconv"

	"github.com/caddyauth/callbacks/caddyauth/app"
	"github.com/caddyauth/callbacks/caddyauth/internal/jwks"
)

// placeOf names a key set for people: its file, or its URL without what could hold a password or a key.
func placeOf(config jwks.Config) string {
	if config.File != "" {
		return config.File
	}
	for _, text := range []string{config.JWKS, config.Metadata, config.Issuer} {
		if text == "" {
			continue
		}
		place, err := url.Parse(text)
		if err != nil {
			return "keys"
		}
		place.User, place.RawQuery, place.Fragment, place.ForceQuery = nil, "", "", false
		return place.String()
	}
	return "keys"
}

// shown is the state of the set as the inspector shows it.
func (s *sharedSet) shown() app.Health {
	health := s.Health()
	shown := app.Health{LastOK: health.LastSuccess.UTC()}
	if health.LastSuccess.IsZero() {
		shown.LastOK = health.LastSuccess
	}
	switch {
	case health.LastResult == "":
		shown.State, shown.Detail = app.StateUnused, "no token has asked for them yet"
		return shown
	case health.LastResult == jwks.OK:
		shown.State = app.StateOK
	case health.Loaded:
		shown.State, shown.LastError = app.StateStale, health.LastAttempt.UTC()
	default:
		shown.State, shown.LastError = app.StateFailing, health.LastAttempt.UTC()
	}
	if health.Loaded {
		shown.Detail = "usable keys: " + strconv.Itoa(health.Keys)
	}
	if health.Private > 0 {
		shown.Detail += ", and private ones are published"
	}
	if health.LastResult != jwks.OK {
		if shown.Detail != "" {
			shown.Detail += "; "
		}
		shown.Detail += "the last fetch failed: " + string(health.LastResult)
	}
	return shown
}
