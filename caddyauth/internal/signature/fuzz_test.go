package signature

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// FuzzHeader: whatever stands in a signature header, nothing panics, the work is bounded, and what is accepted holds
// the one right signature.
func FuzzHeader(f *testing.F) {
	for _, seed := range []string{"", "v1", "v1,", "v1,bad v2,x", "t=1,v1=", "t=1700000000,v1=00", ",,,", "====", strings.Repeat("v1=a,", 40)} {
		f.Add(seed)
	}
	right := Base64.encode(HMACSHA256.mac([]byte("key"), [][]byte{[]byte("m.1700000000.b")}))
	rightHex := HexLower.encode(HMACSHA256.mac([]byte("key"), [][]byte{[]byte("1700000000.b")}))
	f.Add("v1," + right)
	f.Add("t=1700000000,v1=" + rightHex)
	list, pairs := verifier(f, listLike(), "key"), verifier(f, stripeLike(), "key")
	f.Fuzz(func(t *testing.T, value string) {
		header := http.Header{"S": {value}, "I": {"m"}, "T": {"1700000000"}}
		if _, reason := check(list, Message{Header: header}, []byte("b"), now); reason == verdict.OK && !strings.Contains(value, "v1,"+right) {
			t.Errorf("a list without the signature is accepted")
		}
		if _, reason := check(pairs, Message{Header: header}, []byte("b"), now); reason == verdict.OK && !strings.Contains(value, "v1="+rightHex) {
			t.Errorf("pairs without the signature are accepted")
		}
	})
}

// FuzzText: a timestamp, a signature or a key has one way to be written: what is read is written as it was, or it is
// refused. Errors about keys do not hold them.
func FuzzText(f *testing.F) {
	for _, seed := range []string{
		"1700000000", "1700000000123", "-1", "1e400", "2023-11-14T22:13:20Z", "2023-11-14T22:13:20.5+01:00", "0", "00ff", "00FF", "0x00", "AAECAw==", "AAECAw", "AAECAx==",
		"AA\nECAw==", "_-8=", "_-8", "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "v1,whsec_AAECAw==", "whpk_A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=", "whsk_AA==",
		"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n",
		"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g==",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, unit := range []Unit{Seconds, Milliseconds} {
			if at, err := unit.Parse(text); err == nil && unit.Format(at) != text {
				t.Errorf("%s %q comes back as %q", unit, text, unit.Format(at))
			}
		}
		if at, err := EitherSeconds.Parse(text); err == nil && Seconds.Format(at) != text && Milliseconds.Format(at) != text {
			t.Errorf("either %q comes back as neither", text)
		}
		if at, err := RFC3339.Parse(text); err == nil {
			if _, err := time.Parse(time.RFC3339Nano, text); err != nil || at.IsZero() && !strings.HasPrefix(text, "0001") {
				t.Errorf("RFC 3339 %q is accepted", text)
			}
		}
		for _, encoding := range []Encoding{HexLower, Hex, Base64, Base64URL, Base64URLPad} {
			decoded, ok := encoding.decode(text)
			written := encoding.encode(decoded)
			switch {
			case encoding == Hex:
				written = strings.ToLower(written) // either case is one spelling of the bytes, which are what is compared
				text := strings.ToLower(text)
				ok = ok && written != text
			case encoding == Base64URLPad && strings.HasSuffix(text, "="):
				ok = ok && written != strings.TrimRight(text, "=")
			default:
				ok = ok && written != text
			}
			if ok {
				t.Errorf("%s %q comes back as %q", encoding, text, written)
			}
		}
		for _, form := range []KeyForm{TextKey, Base64Key, HexKey, StandardWebhooksKey, SPKIKey} {
			for _, algorithm := range []Algorithm{HMACSHA256, Ed25519, ECDSAP256, RSASHA256} {
				key, err := Spec{Key: form, Algorithm: algorithm}.DecodeKey(text)
				if err != nil && len(text) > 40 && strings.Contains(err.Error(), text) {
					t.Error("the error holds the key")
				}
				if err != nil || !algorithm.Public() {
					continue
				}
				public, err := parsePublic(algorithm, key)
				if err != nil || public == nil {
					t.Errorf("a key of %s that does not read a second time: %v", algorithm, err)
				}
			}
		}
	})
}

// FuzzForm: the form's signed text does not depend on the order of its fields.
func FuzzForm(f *testing.F) {
	for _, seed := range []string{"", "a=1&b=2", "b=2&a=1&a=0", "a=%2B&+=+", "a=1;b=2", "%zz", "&&=&", "a&a&a"} {
		f.Add(seed)
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}
	f.Fuzz(func(t *testing.T, body string) {
		got, err := formSorted(header, []byte(body))
		fields := strings.Split(body, "&")
		for i, j := 0, len(fields)-1; i < j; i, j = i+1, j-1 {
			fields[i], fields[j] = fields[j], fields[i]
		}
		turned, turnedErr := formSorted(header, []byte(strings.Join(fields, "&")))
		if string(got) != string(turned) || (err == nil) != (turnedErr == nil) {
			t.Errorf("%q gives %q, and from behind %q", body, got, turned)
		}
		_, _ = urlFormSorted("https://h/p?"+body, header, []byte(body))
	})
}

// FuzzTemplate: whatever template is accepted can sign and verify.
func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"{body}", "{method} {path}\n{body_sha256}", "{header.X}{url}", "{", "}", "{}", "{header.}", "{body}{body}", "{{body}}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, payload string) {
		spec := Spec{Header: "S", Encoding: Hex, Algorithm: HMACSHA256, Payload: payload}
		scheme, err := Compile(spec)
		if err != nil {
			return
		}
		m := Message{Method: "POST", URLs: []string{"http://h/p"}, Path: "/p", Header: http.Header{}}
		for _, part := range scheme.parts {
			if part.word == wordHeader {
				m.Header.Set(part.text, "x")
			}
		}
		added, err := scheme.Sign(m, nil, Signer{Secret: []byte("key"), Now: now})
		if err != nil {
			t.Fatal(err)
		}
		m.Header.Set("S", added.Get("S"))
		if _, reason := check(verifier(t, spec, "key"), m, nil, now); reason != verdict.OK {
			t.Errorf("%q signs what it refuses: %s", payload, reason)
		}
	})
}
