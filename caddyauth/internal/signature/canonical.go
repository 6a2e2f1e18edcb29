package signature

import (
	"cmp"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// pair is one name and value of a form or a query.
type pair struct{ name, value string }

// pairs reads a query or a form into sorted pairs. What does not parse entirely is verdict.Malformed: the receiver
// might understand more of it than we would have checked.
func pairs(encoded string) ([]pair, error) {
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return nil, verdict.Errorf(verdict.Malformed, "the query or the form does not parse")
	}
	var sorted []pair
	for name, list := range values {
		for _, value := range list {
			sorted = append(sorted, pair{name, value})
		}
	}
	slices.SortFunc(sorted, func(a, b pair) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
	})
	return sorted, nil
}

// form reads the body as a form. Any other body is not covered by a signature over form fields, unless it is empty.
func form(header http.Header, body []byte) ([]pair, error) {
	if len(body) == 0 {
		return nil, nil
	}
	types := header.Values("Content-Type")
	if len(types) != 1 {
		return nil, verdict.Errorf(verdict.BodyMismatch, "a body of %d content types, where only a form is signed", len(types))
	}
	media, params, err := mime.ParseMediaType(types[0])
	if err != nil || media != "application/x-www-form-urlencoded" {
		return nil, verdict.Errorf(verdict.BodyMismatch, "the body is not the kind of form that is signed")
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return nil, verdict.Errorf(verdict.BodyMismatch, "the form is not in UTF-8")
	}
	return pairs(string(body))
}

// formSorted is Twilio's form: names and values one after the other, each pair once.
func formSorted(header http.Header, body []byte) ([]byte, error) {
	fields, err := form(header, body)
	if err != nil {
		return nil, err
	}
	return joined(slices.Compact(fields), "", ""), nil
}

// urlFormSorted is the URL and form of Plivo's V3 signature: the query decoded and sorted; on a request with a form, a
// dot behind a query that is not empty, and then the form's names and values.
func urlFormSorted(address string, header http.Header, body []byte) ([]byte, error) {
	base, query, _ := strings.Cut(address, "?")
	parameters, err := pairs(query)
	if err != nil {
		return nil, err
	}
	fields, err := form(header, body)
	if err != nil {
		return nil, err
	}
	signed := []byte(base)
	if len(parameters) > 0 || len(fields) > 0 {
		signed = append(signed, '?')
	}
	signed = append(signed, joined(parameters, "=", "&")...)
	if len(parameters) > 0 && len(fields) > 0 {
		signed = append(signed, '.')
	}
	return append(signed, joined(fields, "", "")...), nil
}

func joined(list []pair, equals, and string) []byte {
	var text []byte
	for i, p := range list {
		if i > 0 {
			text = append(text, and...)
		}
		text = append(text, p.name...)
		text = append(text, equals...)
		text = append(text, p.value...)
	}
	return text
}

// urlBase is a URL without its query.
func urlBase(address string) string {
	base, _, _ := strings.Cut(address, "?")
	return base
}

// PublicURLs gives the spellings under which a sender may have signed a URL: as it is, and without its port or, where it
// has none, with the default one. Senders disagree on that port, and proxies add and take it. A URL without a path is
// called with the path `/` (RFC 3986 §6.2.3), and may be signed without. base is `scheme://host[:port]`; uri is the path
// and query as they arrived.
func PublicURLs(base, uri string) []string {
	scheme, host, ok := strings.Cut(base, "://")
	if !ok || host == "" {
		return nil
	}
	other := host
	// In an IPv6 address, the port stands behind the bracket.
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		other = host[:colon]
	} else if strings.EqualFold(scheme, "https") || scheme == "wss" {
		other += ":443"
	} else {
		other += ":80"
	}
	other = scheme + "://" + other
	spellings := []string{base + uri, other + uri}
	if bare, ok := strings.CutPrefix(uri, "/"); ok && (bare == "" || bare[0] == '?') {
		spellings = append(spellings, base+bare, other+bare)
	}
	return spellings
}
