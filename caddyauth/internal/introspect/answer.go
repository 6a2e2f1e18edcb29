package introspect

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/strictjson"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// Answer is what the server says of a token (RFC 7662 §2.2). What it does not say is empty, nil or the zero time.
type Answer struct {
	Active    bool
	Subject   string   // sub
	ClientID  string   // client_id
	Username  string   // username
	Issuer    string   // iss
	Scopes    []string // scope
	Audience  []string // aud
	Expires   time.Time
	NotBefore time.Time
	IssuedAt  time.Time
	Claims    strictjson.Value // all of the answer

	size int // of the document
}

// maxTime is the end of the year 9999: a later time is no time.
const maxTime = 253402300799

// parse reads an answer. What is no JSON object says nothing about the token: verdict.Unavailable. An object in which
// `active` is not plainly true, for it is absent, of another type, of another spelling or there twice, is an inactive
// token. An active one whose other members are of types that RFC 7662 does not give them is verdict.Unavailable too:
// guessing what they mean could be a yes too many, and the token may be good.
func parse(body []byte) (*Answer, error) {
	root, err := strictjson.Parse(body)
	if err != nil {
		if errors.Is(err, strictjson.ErrDuplicate) && json.Valid(body) {
			return &Answer{size: len(body)}, nil
		}
		return nil, malformed("is not JSON")
	}
	if root.Kind() != strictjson.Object {
		return nil, malformed("is not a JSON object")
	}
	member, _ := root.Get("active")
	if active, ok := member.Bool(); !ok || !active {
		return &Answer{size: len(body)}, nil
	}
	a := &Answer{Active: true, Claims: root, size: len(body)}
	for name, field := range map[string]*string{
		"sub": &a.Subject, "client_id": &a.ClientID, "username": &a.Username, "iss": &a.Issuer,
	} {
		if member, ok := root.Get(name); ok {
			if *field, ok = member.Text(); !ok {
				return nil, malformed("has a " + name + " that is not a string")
			}
		}
	}
	for name, field := range map[string]*time.Time{"exp": &a.Expires, "nbf": &a.NotBefore, "iat": &a.IssuedAt} {
		if member, ok := root.Get(name); ok {
			if *field, ok = instant(member); !ok {
				return nil, malformed("has a " + name + " that is not a time")
			}
		}
	}
	if member, ok := root.Get("aud"); ok && member.Kind() != strictjson.Null { // as Hydra writes that there is none
		if a.Audience, ok = texts(member); !ok {
			return nil, malformed("has an aud that is neither a string nor a list of strings")
		}
	}
	if member, ok := root.Get("scope"); ok {
		scopes, ok := texts(member)
		if !ok {
			return nil, malformed("has a scope that is neither a string nor a list of strings")
		}
		// RFC 6749 §3.3: tokens between spaces. Some servers send a list instead.
		for _, scope := range scopes {
			a.Scopes = append(a.Scopes, strings.FieldsFunc(scope, func(r rune) bool { return r == ' ' })...)
		}
	}
	return a, nil
}

// malformed is the refusal of an answer that nothing can be made of.
func malformed(how string) error {
	return verdict.Errorf(verdict.Unavailable, "the introspection answer %s", how)
}

// texts reads a string, or a list of strings.
func texts(v strictjson.Value) ([]string, bool) {
	if text, ok := v.Text(); ok {
		return []string{text}, true
	}
	if v.Kind() != strictjson.Array {
		return nil, false
	}
	all := []string{}
	for _, item := range v.Items() {
		text, ok := item.Text()
		if !ok {
			return nil, false
		}
		all = append(all, text)
	}
	return all, true
}

// instant reads a number of seconds since 1970.
func instant(v strictjson.Value) (time.Time, bool) {
	text, ok := v.Number()
	if !ok {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil || seconds < 0 || seconds > maxTime {
		return time.Time{}, false
	}
	whole, part := math.Modf(seconds)
	return time.Unix(int64(whole), int64(part*1e9)), true
}
