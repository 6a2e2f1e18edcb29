package stream

import (
	"fmt"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// check refuses a place that there is not.
func (s Source) check(ability Ability) error {
	switch s.From {
	case "query", "field":
		if s.Name == "" {
			return fmt.Errorf("%s needs a name", s.From)
		}
	case "user", "password":
		if s.Name != "" {
			return fmt.Errorf("%s takes no name", s.From)
		}
		if !ability.Has(FeatureUser) {
			return fmt.Errorf("%s hands on no %s", ability.Server, s.From)
		}
	default:
		return fmt.Errorf("unknown place '%s'; there are query, field, user and password", s.From)
	}
	if s.Mode != "" && s.Mode != Publish && s.Mode != Play {
		return fmt.Errorf("'%s' is neither publish nor play", s.Mode)
	}
	return nil
}

// credential returns what q holds in the places for it, or "". Two that differ, and a place that can be read in two
// ways, are verdict.Malformed: the server, or the client's next request, might mean the other one.
func (t *Token) credential(q *Request) (string, error) {
	found := ""
	for _, source := range t.From {
		if source.Mode != "" && source.Mode != q.Mode {
			continue
		}
		value := ""
		switch source.From {
		case "query":
			if q.QueryErr != nil && found != "" {
				continue // nothing in it counts, and what counts is there
			}
			if q.QueryErr != nil {
				return "", verdict.Errorf(verdict.Malformed, "the client's query cannot be read without doubt")
			}
			values := q.Query[source.Name]
			if len(values) > 1 {
				return "", verdict.Errorf(verdict.Malformed, "%d query parameters named %s", len(values), source.Name)
			}
			if len(values) == 1 {
				value = values[0]
			}
		case "field":
			value = q.Fields[source.Name]
		case "user":
			value = q.User
		case "password":
			value = q.Password
		}
		switch {
		case value == "" || value == found:
		case found == "":
			found = value
		default:
			return "", verdict.Errorf(verdict.Malformed, "two different credentials in one request")
		}
	}
	return found, nil
}
