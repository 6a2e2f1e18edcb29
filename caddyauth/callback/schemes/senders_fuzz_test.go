package schemes

import (
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// signedParts are the parts of a signature header that have one spelling: the signature, and a time beside it.
var signedParts = regexp.MustCompile(`[A-Za-z0-9+/_-]{20,}|[0-9]{10,}`)

// FuzzSenders: whatever stands in the headers of any named sender, what is accepted holds the signature and the time that
// were signed, and the signed header beside them as it was sent.
func FuzzSenders(f *testing.F) {
	type sender struct {
		vector
		callback.Scheme
		carrier, beside string
	}
	var senders []sender
	for _, v := range vectors(f) {
		one := sender{vector: v, Scheme: mustLoad(f, v.Sender, v.Options...)}
		header := v.request().Header
		for _, place := range one.Traits().Places {
			if one.carrier == "" && header.Get(place.Header) != "" {
				one.carrier = place.Header
			}
		}
		for _, name := range slices.Sorted(maps.Keys(header)) {
			if name != http.CanonicalHeaderKey(one.carrier) && name != "Content-Type" {
				one.beside = name
			}
		}
		if v.Sender == "gitlab" || one.carrier == "" {
			continue // a secret as it is: there is no grammar
		}
		which := byte(len(senders))
		senders = append(senders, one)
		f.Add(which, header.Get(one.carrier), header.Get(one.beside))
		f.Add(which, "x, "+header.Get(one.carrier)+" ,"+header.Get(one.carrier), " "+header.Get(one.beside))
	}
	f.Fuzz(func(t *testing.T, which byte, value, beside string) {
		one := senders[int(which)%len(senders)]
		r := one.request()
		genuine := r.Header.Get(one.carrier)
		r.Header.Set(one.carrier, value)
		if one.beside != "" {
			r.Header.Set(one.beside, beside)
		}
		got := send(one, r, one.Body, time.Unix(one.Now, 0))
		switch {
		case got.Reason == verdict.Unavailable:
			t.Errorf("%s: %q cannot be decided", one.Name, value)
		case !got.OK():
			return
		}
		for _, part := range signedParts.FindAllString(genuine, -1) {
			text := value
			if strings.Trim(part, "0123456789abcdef") == "" { // hexadecimal, which some take in either case
				text = strings.ToLower(value)
			}
			if !strings.Contains(text, part) {
				t.Errorf("%s: accepted %q, which lacks %s", one.Name, value, part)
			}
		}
		if one.beside != "" && beside != one.request().Header.Get(one.beside) {
			t.Errorf("%s: %s is %q, which is not what was signed", one.Name, one.beside, beside)
		}
	})
}
