package signature

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

var now = time.Unix(1700000000, 0)

// stripeLike is a Spec with everything that a pair grammar can have.
func stripeLike() Spec {
	return Spec{
		Header: "S", Grammar: Grammar{Separator: ",", Timestamp: "t", Signature: "v1"}, Encoding: HexLower,
		Algorithm: HMACSHA256, Key: TextKey, Payload: "{timestamp}.{body}",
		Time: Time{Unit: Seconds}, Tolerance: 5 * time.Minute,
	}
}

// listLike is a Spec with an id and a list of versions.
func listLike() Spec {
	return Spec{
		Header: "S", Grammar: Grammar{Prefix: "v1,", Separator: " ", List: true}, Encoding: Base64,
		Algorithm: HMACSHA256, Key: TextKey, Payload: "{id}.{timestamp}.{body}",
		Time: Time{Header: "T", Unit: Seconds}, Tolerance: 5 * time.Minute, ID: "I",
	}
}

func compiled(t testing.TB, spec Spec) *Scheme {
	t.Helper()
	s, err := Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func verifier(t testing.TB, spec Spec, secrets ...string) *Verifier {
	t.Helper()
	var values []secret.Value
	for i, text := range secrets {
		values = append(values, secret.New(fmt.Sprint(i+1), []byte(text)))
	}
	v, err := compiled(t, spec).Verifier(values)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func signed(t testing.TB, spec Spec, m Message, body []byte, by Signer) http.Header {
	t.Helper()
	if m.Header == nil {
		m.Header = make(http.Header)
	}
	added, err := compiled(t, spec).Sign(m, body, by)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range m.Header {
		added[name] = append(added[name], values...)
	}
	return added
}

func check(v *Verifier, m Message, body []byte, at time.Time) (Match, verdict.Reason) {
	pending, err := v.Begin(m, at)
	if err != nil {
		return Match{}, verdict.Of(err).Reason
	}
	match, err := pending.Finish(body)
	if err != nil {
		return Match{}, verdict.Of(err).Reason
	}
	return match, verdict.OK
}

func TestCompileRefusesWhatPretends(t *testing.T) {
	with := func(change func(*Spec)) Spec {
		spec := listLike()
		change(&spec)
		return spec
	}
	for name, spec := range map[string]Spec{
		"a timestamp that is not signed":          with(func(s *Spec) { s.Payload = "{id}.{body}" }),
		"a tolerance without a timestamp":         with(func(s *Spec) { s.Payload = "{id}.{body}"; s.Time = Time{} }),
		"a timestamp word without a timestamp":    with(func(s *Spec) { s.Time = Time{}; s.Tolerance = 0 }),
		"a timestamp without a tolerance":         with(func(s *Spec) { s.Tolerance = 0 }),
		"a negative tolerance":                    with(func(s *Spec) { s.Tolerance = -1 }),
		"a timestamp of no unit":                  with(func(s *Spec) { s.Time.Unit = "" }),
		"a timestamp in two places":               func() Spec { s := stripeLike(); s.Time.Header = "T"; return s }(),
		"a timestamp in no place":                 func() Spec { s := stripeLike(); s.Grammar.Timestamp = ""; return s }(),
		"a timestamp pair that is not used":       func() Spec { s := stripeLike(); s.Time = Time{}; s.Tolerance = 0; s.Payload = "{body}"; return s }(),
		"an id right before the body":             with(func(s *Spec) { s.Payload = "{timestamp}{id}{body}" }),
		"an id right behind the body":             with(func(s *Spec) { s.Payload = "{timestamp}.{body}{id}" }),
		"an id right before the form":             with(func(s *Spec) { s.Payload = "{timestamp}.{id}{form_sorted}" }),
		"an id that is not signed":                with(func(s *Spec) { s.Payload = "{timestamp}.{body}" }),
		"an id word without an id":                with(func(s *Spec) { s.ID = "" }),
		"an unknown word":                         with(func(s *Spec) { s.Payload = "{id}{timestamp}{bodies}" }),
		"an open brace":                           with(func(s *Spec) { s.Payload = "{id}{timestamp}{body" }),
		"a closing brace":                         with(func(s *Spec) { s.Payload = "{id}{timestamp}}{body}" }),
		"a word twice":                            with(func(s *Spec) { s.Payload = "{id}{timestamp}{body}{body}" }),
		"a payload of text alone":                 {Header: "S", Encoding: Hex, Algorithm: HMACSHA256, Payload: "hello"},
		"no payload":                              {Header: "S", Encoding: Hex, Algorithm: HMACSHA256},
		"no header":                               with(func(s *Spec) { s.Header = "" }),
		"a header that is none":                   with(func(s *Spec) { s.Header = "a b" }),
		"an id header that is none":               with(func(s *Spec) { s.ID = "a:b" }),
		"the signature header in its own payload": with(func(s *Spec) { s.Payload += "{header.s}" }),
		"an unknown encoding":                     with(func(s *Spec) { s.Encoding = "base32" }),
		"an unknown algorithm":                    with(func(s *Spec) { s.Algorithm = "md5" }),
		"a list without a separator":              with(func(s *Spec) { s.Grammar.Separator = "" }),
		"a separator without a list":              with(func(s *Spec) { s.Grammar.List = false }),
		"pairs with one name":                     func() Spec { s := stripeLike(); s.Grammar.Timestamp = "v1"; return s }(),
		"a second header that is none":            with(func(s *Spec) { s.Also = "a b" }),
		"the second header in the payload":        with(func(s *Spec) { s.Also = "Z"; s.Payload += "{header.z}" }),
		"a second header, and a timestamp beside": func() Spec { s := stripeLike(); s.Also = "Z"; return s }(),
		"pairs without a separator":               func() Spec { s := stripeLike(); s.Grammar.Separator = ""; return s }(),
	} {
		if _, err := Compile(spec); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	for _, spec := range []Spec{stripeLike(), listLike()} {
		if _, err := Compile(spec); err != nil {
			t.Errorf("a good Spec is refused: %v", err)
		}
	}
	if _, err := compiled(t, listLike()).Verifier(nil); err == nil {
		t.Error("a verifier without keys is accepted")
	}
	if _, err := compiled(t, listLike()).Verifier([]secret.Value{secret.New("1", nil)}); err == nil {
		t.Error("an empty key is accepted: whatever is signed with nothing would verify")
	}
}

func TestTimestampsHaveOneNarrowForm(t *testing.T) {
	for text, ok := range map[string]bool{
		"1700000000": true, "1": true, "999999999999": true,
		"": false, "0": false, "01700000000": false, "+1700000000": false, "-1700000000": false, " 1700000000": false,
		"1700000000 ": false, "1e9": false, "1e400": false, "0x10": false, "1700000000.0": false, "1_000": false,
		"1000000000000": false, "9223372036854775807": false, "99999999999999999999": false, "١٧": false, "-1": false,
	} {
		if _, err := Seconds.Parse(text); (err == nil) != ok {
			t.Errorf("seconds %q: accepted %v, want %v", text, err == nil, ok)
		}
	}
	for text, ok := range map[string]bool{
		"2023-11-14T22:13:20Z": true, "2023-11-14T22:13:20.123456789Z": true, "2023-11-14T22:13:20+01:00": true,
		"2023-11-14T2:13:20Z": false, "2023-11-14T22:13:20,5Z": false, "2023-11-14 22:13:20Z": false, "2023-11-14": false,
		"2023-11-14T22:13:20": false, "2023-11-14T22:13:20." + strings.Repeat("1", 30) + "Z": false,
	} {
		if _, err := RFC3339.Parse(text); (err == nil) != ok {
			t.Errorf("RFC 3339 %q: accepted %v, want %v", text, err == nil, ok)
		}
	}
	if at, err := Milliseconds.Parse("1700000000123"); err != nil || !at.Equal(time.UnixMilli(1700000000123)) {
		t.Errorf("milliseconds: %v, %v", at, err)
	}
	// Of what may be either, the number of digits tells which, as far as its time is after September 2001.
	for text, want := range map[string]time.Time{
		"1700000000": time.Unix(1700000000, 0), "999999999999": time.Unix(999999999999, 0),
		"1700000000123": time.UnixMilli(1700000000123), "1000000000000": time.UnixMilli(1000000000000),
	} {
		if at, err := EitherSeconds.Parse(text); err != nil || !at.Equal(want) {
			t.Errorf("either %q: %v, %v", text, at, err)
		}
	}
	for _, text := range []string{"", "0", "01700000000123", "+1700000000123", "1700000000123.5", "1700000000123456", " 1700000000"} {
		if _, err := EitherSeconds.Parse(text); err == nil {
			t.Errorf("either %q is accepted", text)
		}
	}
}

func TestFreshnessIsTwoSidedAndExactAtItsEdges(t *testing.T) {
	v := verifier(t, stripeLike(), "key")
	for offset, want := range map[time.Duration]verdict.Reason{
		0: verdict.OK, -300 * time.Second: verdict.OK, 300 * time.Second: verdict.OK, -299 * time.Second: verdict.OK, 299 * time.Second: verdict.OK,
		-301 * time.Second: verdict.Expired, 301 * time.Second: verdict.NotYetValid,
		-24 * 365 * 50 * time.Hour: verdict.Expired, 24 * 365 * 100 * time.Hour: verdict.NotYetValid,
	} {
		header := signed(t, stripeLike(), Message{}, []byte("b"), Signer{Secret: []byte("key"), Now: now.Add(offset)})
		if _, got := check(v, Message{Header: header}, []byte("b"), now); got != want {
			t.Errorf("%s: %s, want %s", offset, got, want)
		}
	}
}

func TestAnIDCannotShiftItsBoundary(t *testing.T) {
	v := verifier(t, listLike(), "key")
	// HMAC of "msg.1.1700000000.b": the id "msg" with the time "1.1700000000" would be the same text.
	for id, want := range map[string]verdict.Reason{
		"msg": verdict.OK, "msg.1": verdict.BadCredential, "m sg": verdict.BadCredential, "msgé": verdict.BadCredential,
		strings.Repeat("m", MaxIDBytes): verdict.OK, strings.Repeat("m", MaxIDBytes+1): verdict.BadCredential,
	} {
		mac := HMACSHA256.mac([]byte("key"), [][]byte{[]byte(id + ".1700000000.b")})
		header := http.Header{"I": {id}, "T": {"1700000000"}, "S": {"v1," + Base64.encode(mac)}}
		if _, got := check(v, Message{Header: header}, []byte("b"), now); got != want {
			t.Errorf("id %q: %s, want %s", id, got, want)
		}
	}
	adjacent := listLike()
	adjacent.Payload = "{id}{timestamp}{body}"
	for id, want := range map[string]bool{"a-B_9": true, "THDbSIv_dReXhJtqBV5rK7thj-0li-kBwJioPnChBc4=": true, "a:b": false, "a{b": false, `a"b`: false, "a.b": false, "a T": false} {
		if compiled(t, adjacent).allows(id) != want {
			t.Errorf("an id with nothing behind it may be %q: %v, want %v", id, !want, want)
		}
	}
}

func TestEverySignatureIsTriedWithEveryKey(t *testing.T) {
	body := []byte("b")
	good := func(key string) string {
		return signed(t, listLike(), Message{}, body, Signer{Secret: []byte(key), ID: "m", Now: now}).Get("S")
	}
	other := "v1," + Base64.encode(make([]byte, 32))
	v := verifier(t, listLike(), "old", "new")
	for name, test := range map[string]struct {
		value, key string
		want       verdict.Reason
	}{
		"the first of two":             {good("old") + " " + other, "1", verdict.OK},
		"the second of two":            {other + " " + good("new"), "2", verdict.OK},
		"among what cannot be one":     {"v1,bad v2,x " + good("old") + " v1,bad", "1", verdict.OK},
		"behind another version":       {"v1a,AAAA " + good("old"), "1", verdict.OK},
		"the last of sixteen":          {strings.Repeat(other+" ", 15) + good("new"), "2", verdict.OK},
		"the last of seventeen":        {strings.Repeat(other+" ", 16) + good("new"), "", verdict.BadCredential},
		"none":                         {other, "", verdict.BadSignature},
		"another version alone":        {"v2" + good("old")[2:], "", verdict.BadCredential},
		"of another key":               {good("stranger"), "", verdict.BadSignature},
		"no signature behind v1":       {"v1,", "", verdict.BadCredential},
		"v1 alone":                     {"v1", "", verdict.BadCredential},
		"a signature without its v1":   {good("old")[3:], "", verdict.BadCredential},
		"a MAC cut to sixteen bytes":   {"v1," + Base64.encode(HMACSHA256.mac([]byte("old"), [][]byte{[]byte("m.1700000000.b")})[:16]), "", verdict.BadCredential},
		"a MAC with a byte behind it":  {"v1," + Base64.encode(append(HMACSHA256.mac([]byte("old"), [][]byte{[]byte("m.1700000000.b")}), 0)), "", verdict.BadCredential},
		"a header beyond its bound":    {good("old") + " " + strings.Repeat("x", MaxHeaderBytes), "", verdict.BadCredential},
		"one with other padding bits":  {strings.Replace(good("old"), "=", "", 1), "", verdict.BadCredential},
		"a thousand of the right form": {strings.Repeat(other+" ", 1000), "", verdict.BadCredential},
	} {
		header := http.Header{"I": {"m"}, "T": {"1700000000"}, "S": {test.value}}
		match, got := check(v, Message{Header: header}, body, now)
		if got != test.want || match.Key.Label() != test.key {
			t.Errorf("%s: %s by key %q, want %s by %q", name, got, match.Key.Label(), test.want, test.key)
		}
	}
}

func TestPairs(t *testing.T) {
	body := []byte("b")
	sig := HexLower.encode(HMACSHA256.mac([]byte("key"), [][]byte{[]byte("1700000000.b")}))
	v := verifier(t, stripeLike(), "key")
	for value, want := range map[string]verdict.Reason{
		"t=1700000000,v1=" + sig:                                         verdict.OK,
		"t=1700000000, v1=" + sig:                                        verdict.OK,
		"v1=" + sig + ",t=1700000000":                                    verdict.OK,
		"t=1700000000,v1=00,v1=" + sig + ",v0=" + sig:                    verdict.OK,
		"t=1700000000,v0=" + sig:                                         verdict.BadCredential,
		"t=1700000000,V1=" + sig:                                         verdict.BadCredential,
		"t=1700000000,v1=" + strings.ToUpper(sig):                        verdict.BadCredential,
		"t=1700000000,t=1700000000,v1=" + sig:                            verdict.BadCredential,
		"t=1700000001,t=1700000000,v1=" + sig:                            verdict.BadCredential,
		"v1=" + sig:                                                      verdict.BadCredential,
		"t=1700000000":                                                   verdict.BadCredential,
		"t=,v1=" + sig:                                                   verdict.BadCredential,
		"t=1700000001,v1=" + sig:                                         verdict.BadSignature,
		"t=1700000000,v1=" + sig[:62]:                                    verdict.BadCredential,
		"t=1700000000,v1=" + sig + "0":                                   verdict.BadCredential,
		"t=1700000000;v1=" + sig:                                         verdict.BadCredential,
		"t=1700000000,v1=" + sig + ",":                                   verdict.BadCredential,
		"t=1700000000," + strings.Repeat("v1=00,", 900) + "v1=" + sig:    verdict.BadCredential,
		"t=1700000000,v1=" + sig + strings.Repeat(",x=1", MaxSignatures): verdict.BadCredential,
		"t": verdict.BadCredential, "=": verdict.BadCredential, ",": verdict.BadCredential, "t=1700000000,v1": verdict.BadCredential,
	} {
		if _, got := check(v, Message{Header: http.Header{"S": {value}}}, body, now); got != want {
			t.Errorf("%.60s: %s, want %s", value, got, want)
		}
	}
	for name, header := range map[string]http.Header{
		"absent": {}, "empty": {"S": {""}},
	} {
		if _, got := check(v, Message{Header: header}, body, now); got != verdict.Missing {
			t.Errorf("%s: %s", name, got)
		}
	}
	if _, got := check(v, Message{Header: http.Header{"S": {"t=1,v1=" + sig, "t=1,v1=" + sig}}}, body, now); got != verdict.Malformed {
		t.Errorf("two headers: %s", got)
	}
}

func TestEncodingsAreExact(t *testing.T) {
	raw := []byte{0xfb, 0xff, 0xbf, 0x01}
	for _, test := range []struct {
		encoding Encoding
		text     string
		ok       bool
	}{
		{HexLower, "fbffbf01", true},
		{HexLower, "FBffbf01", false},
		{HexLower, "fbffbf0", false},
		{HexLower, "", false},
		{HexLower, " fbffbf01", false},
		{Hex, "FBffbf01", true},
		{Hex, "0xfbffbf01", false},
		{Base64, "+/+/AQ==", true},
		{Base64, "+/+/AQ", false},
		{Base64, "-_-_AQ==", false},
		{Base64, "+/+/AR==", false},
		{Base64, "+/+/\nAQ==", false},
		{Base64, "+/+/AQ== ", false},
		{Base64URL, "-_-_AQ", true},
		{Base64URL, "-_-_AQ==", false},
		{Base64URL, "+/+/AQ", false},
		{Base64URL, "-_-_AR", false},
		{Base64URLPad, "-_-_AQ", true},
		{Base64URLPad, "-_-_AQ==", true},
		{Base64URLPad, "-_-_AQ=", false},
		{Base64URLPad, "+/+/AQ==", false},
	} {
		decoded, ok := test.encoding.decode(test.text)
		if ok != test.ok || ok && string(decoded) != string(raw) {
			t.Errorf("%s %q: accepted %v, want %v", test.encoding, test.text, ok, test.ok)
		}
	}
}

func TestPublicKeyAlgorithms(t *testing.T) {
	_, edPrivate, _ := ed25519.GenerateKey(rand.Reader)
	ecPrivate, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	rsaPrivate, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, _ := x509.MarshalPKIXPublicKey(&ecPrivate.PublicKey)
	rsaDER, _ := x509.MarshalPKIXPublicKey(&rsaPrivate.PublicKey)
	for _, test := range []struct {
		algorithm Algorithm
		by        Signer
		public    []byte
	}{
		{Ed25519, Signer{Private: edPrivate}, edPrivate.Public().(ed25519.PublicKey)},
		{ECDSAP256, Signer{Private: ecPrivate}, ecDER},
		{RSASHA256, Signer{Private: rsaPrivate}, rsaDER},
	} {
		spec := Spec{Header: "S", Encoding: Base64, Algorithm: test.algorithm, Payload: "{method} {body}"}
		header := signed(t, spec, Message{Method: "POST"}, []byte("b"), test.by)
		v, err := compiled(t, spec).Verifier([]secret.Value{secret.New("1", test.public)})
		if err != nil {
			t.Fatal(err)
		}
		if _, got := check(v, Message{Method: "POST", Header: header}, []byte("b"), now); got != verdict.OK {
			t.Errorf("%s: a genuine signature is %s", test.algorithm, got)
		}
		for name, m := range map[string]Message{"body": {Method: "POST"}, "method": {Method: "PUT"}} {
			m.Header = header
			body := []byte("b")
			if name == "body" {
				body = []byte("c")
			}
			if _, got := check(v, m, body, now); got != verdict.BadSignature {
				t.Errorf("%s: another %s is %s", test.algorithm, name, got)
			}
		}
		raw, _ := Base64.decode(header.Get("S"))
		for i := range raw {
			forged := append([]byte(nil), raw...)
			forged[i] ^= 1
			altered := http.Header{"S": {Base64.encode(forged)}}
			if _, got := check(v, Message{Method: "POST", Header: altered}, []byte("b"), now); got == verdict.OK {
				t.Fatalf("%s: a flipped bit in byte %d of the signature is accepted", test.algorithm, i)
			}
		}
		for _, other := range [][]byte{nil, []byte("short"), ecDER[1:], rsaDER[:20]} {
			if _, err := compiled(t, spec).Verifier([]secret.Value{secret.New("1", other)}); err == nil {
				t.Errorf("%s: something that is no key is accepted", test.algorithm)
			}
		}
	}
	for _, mixed := range []struct {
		algorithm Algorithm
		key       []byte
	}{{ECDSAP256, rsaDER}, {RSASHA256, ecDER}, {Ed25519, ecDER}} {
		spec := Spec{Header: "S", Encoding: Base64, Algorithm: mixed.algorithm, Payload: "{body}"}
		if _, err := compiled(t, spec).Verifier([]secret.Value{secret.New("1", mixed.key)}); err == nil {
			t.Errorf("%s takes a key of another kind", mixed.algorithm)
		}
	}
}

func TestABodyThatNobodySignedIsRefused(t *testing.T) {
	spec := Spec{Header: "S", Encoding: Hex, Algorithm: HMACSHA256, Payload: "{method} {path}"}
	header := signed(t, spec, Message{Method: "GET", Path: "/a"}, nil, Signer{Secret: []byte("key")})
	m := Message{Method: "GET", Path: "/a", Header: header}
	if _, got := check(verifier(t, spec, "key"), m, nil, now); got != verdict.OK {
		t.Errorf("without a body: %s", got)
	}
	if _, got := check(verifier(t, spec, "key"), m, []byte("b"), now); got != verdict.BodyMismatch {
		t.Errorf("with a body: %s", got)
	}
	spec.BodyUnsigned = true
	if _, got := check(verifier(t, spec, "key"), m, []byte("b"), now); got != verdict.OK {
		t.Errorf("with a body, unsigned on purpose: %s", got)
	}
}

func TestFormsAreReadWholeOrNotAtAll(t *testing.T) {
	form := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=UTF-8"}}
	for _, test := range []struct {
		header http.Header
		body   string
		want   string
		reason verdict.Reason
	}{
		{form, "b=2&a=1&b=1&b=2", "a1b1b2", verdict.OK},
		{form, "To=%2B1555&Body=a+b", "Bodya bTo+1555", verdict.OK},
		{form, "", "", verdict.OK},
		{http.Header{}, "", "", verdict.OK},
		{form, "a=1;b=2", "", verdict.Malformed},
		{form, "a=%zz", "", verdict.Malformed},
		{http.Header{}, "a=1", "", verdict.BodyMismatch},
		{http.Header{"Content-Type": {"application/json"}}, "a=1", "", verdict.BodyMismatch},
		{http.Header{"Content-Type": {"multipart/form-data; boundary=x"}}, "a=1", "", verdict.BodyMismatch},
		{http.Header{"Content-Type": {"application/x-www-form-urlencoded", "application/json"}}, "a=1", "", verdict.BodyMismatch},
		{http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-7"}}, "a=1", "", verdict.BodyMismatch},
	} {
		got, err := formSorted(test.header, []byte(test.body))
		reason := verdict.OK
		if err != nil {
			reason = verdict.Of(err).Reason
		}
		if string(got) != test.want || reason != test.reason {
			t.Errorf("%q as %v: %q, %s; want %q, %s", test.body, test.header["Content-Type"], got, reason, test.want, test.reason)
		}
	}
}

func TestPublicURLsAreTriedWithAndWithoutAPort(t *testing.T) {
	for base, want := range map[string]string{
		"https://h":      "https://h/p?q https://h:443/p?q",
		"https://h:443":  "https://h:443/p?q https://h/p?q",
		"http://h":       "http://h/p?q http://h:80/p?q",
		"http://h:8080":  "http://h:8080/p?q http://h/p?q",
		"https://[::1]":  "https://[::1]/p?q https://[::1]:443/p?q",
		"http://[::1]:8": "http://[::1]:8/p?q http://[::1]/p?q",
		"h":              "",
		"http://":        "",
	} {
		if got := strings.Join(PublicURLs(base, "/p?q"), " "); got != want {
			t.Errorf("%s: %s", base, got)
		}
	}
	for uri, want := range map[string]string{
		"/":   "https://h/ https://h:443/ https://h https://h:443",
		"/?q": "https://h/?q https://h:443/?q https://h?q https://h:443?q",
		"//":  "https://h// https://h:443//",
		"*":   "https://h* https://h:443*",
	} {
		if got := strings.Join(PublicURLs("https://h", uri), " "); got != want {
			t.Errorf("%s: %s", uri, got)
		}
	}
}

func TestKeyFormsAreDecodedAsSendersShowThem(t *testing.T) {
	for _, test := range []struct {
		form KeyForm
		text string
		want string
	}{
		{TextKey, "whsec_YWJj", "whsec_YWJj"},
		{StandardWebhooksKey, "whsec_YWJj", "abc"},
		{StandardWebhooksKey, "v1,whsec_YWJj", "abc"},
		{StandardWebhooksKey, "YWJj", "abc"},
		{Base64Key, "YWJj", "abc"},
		{HexKey, "616263", "abc"},
	} {
		got, err := Spec{Algorithm: HMACSHA256, Key: test.form}.DecodeKey(test.text)
		if err != nil || string(got) != test.want {
			t.Errorf("%s %s: %q, %v", test.form, test.text, got, err)
		}
	}
	for form, text := range map[KeyForm]string{Base64Key: "se cret", HexKey: "secret", StandardWebhooksKey: "whsec_secret!", SPKIKey: "secret"} {
		_, err := Spec{Algorithm: HMACSHA256, Key: form}.DecodeKey(text)
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", form, err)
		}
	}
}

func TestADigestNamesTheMessageAndNotItsSpelling(t *testing.T) {
	spec := Spec{Header: "S", Encoding: Hex, Algorithm: HMACSHA256, Payload: "{body}"}
	v := verifier(t, spec, "key")
	header := signed(t, spec, Message{}, []byte("b"), Signer{Secret: []byte("key")})
	lower, _ := check(v, Message{Header: header}, []byte("b"), now)
	upper, reason := check(v, Message{Header: http.Header{"S": {strings.ToUpper(header.Get("S"))}}}, []byte("b"), now)
	if reason != verdict.OK || lower.Digest != upper.Digest || strings.Contains(header.Get("S"), lower.Digest) {
		t.Errorf("%s: the digests are %s and %s", reason, lower.Digest, upper.Digest)
	}
}
