package dialects

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// This file has what the servers that speak JSON share.

// parseObject reads a body that is one JSON object of this media type. Members that are not known are nobody's business:
// newer versions of a server add some.
func parseObject(r *http.Request, body []byte, mediaType string) (*members, error) {
	if _, err := checkPost(r, mediaType, "utf-8"); err != nil {
		return nil, err
	}
	value, err := strictjson.Parse(body)
	if err != nil || value.Kind() != strictjson.Object {
		return nil, verdict.Errorf(verdict.Malformed, "the body is not one JSON object")
	}
	return &members{Value: value}, nil
}

// members reads the members of an object, and keeps the first error.
type members struct {
	strictjson.Value
	err error
}

// text gives a member that is a text; "" stands for one that is absent or null, as clients send it.
func (m *members) text(name string) string {
	value, ok := m.Get(name)
	if !ok || value.Kind() == strictjson.Null {
		return ""
	}
	text, ok := value.Text()
	if !ok && m.err == nil {
		m.err = verdict.Errorf(verdict.Malformed, "%s is not a text", name)
	}
	return text
}

// id gives a member that is a text, or a whole number as older versions of some servers send it.
func (m *members) id(name string) string {
	value, _ := m.Get(name)
	number, ok := value.Number()
	if !ok {
		return m.text(name)
	}
	if strings.ContainsAny(number, "-.eE") && m.err == nil {
		m.err = verdict.Errorf(verdict.Malformed, "%s is not a whole number", name)
	}
	return number
}

// object gives a member that is an object. One that is absent or null has no members.
func (m *members) object(name string) *members {
	value, ok := m.Get(name)
	if ok && value.Kind() != strictjson.Object && value.Kind() != strictjson.Null && m.err == nil {
		m.err = verdict.Errorf(verdict.Malformed, "%s is not an object", name)
	}
	return &members{Value: value}
}

// writeJSON writes an answer that is one JSON value, with nothing around it. URLs in it stay as they are.
func writeJSON(w http.ResponseWriter, status int, answer any) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answer); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	setAllow(w.Header(), status)
	w.WriteHeader(status)
	_, err := w.Write(bytes.TrimSuffix(body.Bytes(), []byte("\n")))
	return err
}
