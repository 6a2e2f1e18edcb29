package vonagesms

import (
	"encoding/hex"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

// The parameters of two vectors: the first made by hand from the vendor's description, the second by @vonage/sms 1.21.0.
func byHand() Parameters {
	return Parameters{
		"messageId": "0A0000000123ABCD1", "msisdn": "447700900001", "to": "447700900000",
		"text": "a=b&c", "keyword": "A=B&C", "timestamp": "1700000000",
	}
}

func bySDK() Parameters {
	return Parameters{
		"msisdn": "447700900001", "to": "447700900000", "messageId": "0A0000000123ABCD1",
		"text": "Hello & welcome=1", "type": "text", "timestamp": "1700000000",
	}
}

func TestVectors(t *testing.T) {
	for _, test := range []struct {
		name, method, key string
		parameters        Parameters
		want              string
	}{
		{"md5hash", "md5hash", "legacysecret", byHand(), "0168dae23c1fb068b46493e2b3e896d4"},
		{"md5", "md5", "legacysecret", byHand(), "1C762F733C007C1412A6729ED0DA7199"},
		{"sha1", "sha1", "legacysecret", byHand(), "CC39223EA1F9B2139CC6B25EEE76280004A538CE"},
		{"sha256", "sha256", "legacysecret", byHand(), "0A51373C77703F5A93C750F01C9E771670098789263054C9ABE1C46AB777B56A"},
		{"sha512", "sha512", "legacysecret", byHand(), "5D6F5DD973167042133B8DF9CD661000EC4B5B733C5C7293BDB4FBEF0C65F00CD9284531B3033C1C41559068D40C6811F42FE552DD8B148634CE7873BD0DBBAF"},
		{"vonage_sms_hmac_sha256", "sha256", "sigsecret", bySDK(), "d7f61a1397426426e1bf34891dbc46248acae864c10534c64559279ec1cd82d9"},
		{"vonage_sms_md5hash", "md5hash", "sigsecret", bySDK(), "17c737168ca53b3c2e67cc8b52350b2f"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := hex.EncodeToString(Sign(test.method, test.parameters.Base(), []byte(test.key))); !strings.EqualFold(got, test.want) {
				t.Errorf("Sign = %s; want %s", got, test.want)
			}
			for _, sig := range []string{test.want, strings.ToLower(test.want), strings.ToUpper(test.want)} {
				test.parameters[SignatureName] = sig
				label, err := Verify(test.method, test.parameters, []secret.Value{secret.New("old", []byte("other")), secret.New("new", []byte(test.key))})
				if label != "new" || err != nil {
					t.Errorf("Verify(%s) = %q, %v", sig, label, err)
				}
			}
		})
	}
}

func TestBase(t *testing.T) {
	if got, want := byHand().Base(), "&keyword=A_B_C&messageId=0A0000000123ABCD1&msisdn=447700900001&text=a_b_c&timestamp=1700000000&to=447700900000"; got != want {
		t.Errorf("Base = %q; want %q", got, want)
	}
	if got, want := (Parameters{"sig": "x", "b": "", "a": "ü %+", "B": "1"}).Base(), "&B=1&a=ü %+&b="; got != want {
		t.Errorf("Base = %q; want %q: sorted by byte, without sig, decoded, empty values kept", got, want)
	}
}

func TestVerifyRefuses(t *testing.T) {
	secrets := []secret.Value{secret.New("1", []byte("legacysecret"))}
	for _, test := range []struct {
		name, method string
		secrets      []secret.Value
		change       func(Parameters)
		want         verdict.Reason
	}{
		{"no sig", "md5hash", secrets, func(p Parameters) { delete(p, "sig") }, verdict.Missing},
		{"an empty sig", "md5hash", secrets, func(p Parameters) { p["sig"] = "" }, verdict.Missing},
		{"a sig that is not hex", "md5hash", secrets, func(p Parameters) { p["sig"] = strings.Repeat("g", 32) }, verdict.BadCredential},
		{"a sig cut short", "md5hash", secrets, func(p Parameters) { p["sig"] = p["sig"][:30] }, verdict.BadCredential},
		{"a sig of odd length", "md5hash", secrets, func(p Parameters) { p["sig"] += "0" }, verdict.BadCredential},
		{"a sig of a longer method", "sha256", secrets, func(Parameters) {}, verdict.BadCredential},
		{"a sig of another method of the same length", "md5", secrets, func(Parameters) {}, verdict.BadSignature},
		{"another secret", "md5hash", []secret.Value{secret.New("1", []byte("Legacysecret"))}, func(Parameters) {}, verdict.BadSignature},
		{"no secret", "md5hash", nil, func(Parameters) {}, verdict.BadSignature},
		{"a changed value", "md5hash", secrets, func(p Parameters) { p["to"] = "447700900009" }, verdict.BadSignature},
		{"a parameter more", "md5hash", secrets, func(p Parameters) { p["admin"] = "1" }, verdict.BadSignature},
		{"an empty parameter more", "md5hash", secrets, func(p Parameters) { p["admin"] = "" }, verdict.BadSignature},
		{"a parameter less", "md5hash", secrets, func(p Parameters) { delete(p, "keyword") }, verdict.BadSignature},
		{"a method that is not one", "none", secrets, func(Parameters) {}, verdict.Unavailable},
		{"an empty secret, and a sig made with it", "md5hash", []secret.Value{secret.New("1", nil)}, func(p Parameters) {
			p["sig"] = hex.EncodeToString(Sign("md5hash", p.Base(), nil))
		}, verdict.BadSignature},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := byHand()
			p["sig"] = "0168dae23c1fb068b46493e2b3e896d4"
			test.change(p)
			label, err := Verify(test.method, p, test.secrets)
			if label != "" || err == nil || verdict.Of(err).Reason != test.want {
				t.Errorf("%q, %v; want %s", label, err, test.want)
			}
		})
	}
}

func TestFromValues(t *testing.T) {
	for _, test := range []struct{ name, query, want string }{
		{"parameters are decoded", "text=a%26b+c&to=1", "&text=a_b c&to=1"},
		{"a value may be empty", "text=&to=1", "&text=&to=1"},
		{"one that stands twice is refused", "to=1&to=1", ""},
		{"a name that reads as two is refused", "a%3D1%26b=2", ""},
		{"an empty name is refused", "=1", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			values, err := url.ParseQuery(test.query)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, test.want)(FromValues(values))
		})
	}
}

func TestFromJSON(t *testing.T) {
	for _, test := range []struct{ name, body, want string }{
		{"texts and numbers", `{"to":"1","text":"a&b","n":1.50,"m":-2e3}`, "&m=-2e3&n=1.50&text=a_b&to=1"},
		{"escapes are decoded", `{"text":"\u00fc\n"}`, "&text=ü\n"},
		{"one that stands twice is refused", `{"to":"1","to":"2"}`, ""},
		{"a name that reads as two is refused", `{"a=1&b":"2"}`, ""},
		{"a list is refused", `{"to":["1"]}`, ""},
		{"an object inside is refused", `{"to":{"a":"1"}}`, ""},
		{"null is refused", `{"to":null}`, ""},
		{"true is refused", `{"to":true}`, ""},
		{"a list of messages is refused", `[{"to":"1"}]`, ""},
		{"a text is refused", `"to=1"`, ""},
		{"two objects are refused", `{"to":"1"}{"to":"2"}`, ""},
		{"nothing is refused", ``, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			expect(t, test.want)(FromJSON([]byte(test.body)))
		})
	}
}

// expect wants parameters with this base; malformed if it is empty.
func expect(t *testing.T, base string) func(Parameters, error) {
	return func(p Parameters, err error) {
		t.Helper()
		switch {
		case base == "" && (err == nil || verdict.Of(err).Reason != verdict.Malformed):
			t.Errorf("%v, %v; want malformed", p, err)
		case base != "" && (err != nil || p.Base() != base):
			t.Errorf("%q, %v; want %q", p.Base(), err, base)
		}
	}
}

func FuzzBase(f *testing.F) {
	f.Add("text=a%26b+c&to=1&sig=00")
	f.Add("a%3D1%26b=2")
	f.Add("=&&&=")
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		p, err := FromValues(values)
		if err != nil {
			return
		}
		// The list reads back in one way only: as many pairs as there are parameters, each with one `=`.
		base, signed := p.Base(), len(p)
		if _, present := p[SignatureName]; present {
			signed--
		}
		if strings.Count(base, "&") != signed || strings.Count(base, "=") != signed {
			t.Fatalf("%q has not %d pairs", base, signed)
		}
		for name, value := range p {
			if name != SignatureName && !strings.Contains(base+"&", "&"+name+"="+clean.Replace(value)+"&") {
				t.Fatalf("%q does not hold %q", base, name)
			}
		}
		if sum := Sign("sha256", base, []byte("key")); len(sum) != 32 {
			t.Fatal("no signature")
		}
	})
}

func FuzzFromJSON(f *testing.F) {
	f.Add([]byte(`{"to":"1","text":"a&b","n":1.50}`))
	f.Add([]byte(`{"a=1&b":"2"}`))
	f.Add([]byte(`{"to":{"a":"1"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := FromJSON(data)
		if err != nil {
			if verdict.Of(err).Reason != verdict.Malformed {
				t.Errorf("%v is not malformed", err)
			}
			return
		}
		for name := range p {
			if name == "" || strings.ContainsAny(name, "&=") {
				t.Errorf("the name %q was taken", name)
			}
		}
	})
}
