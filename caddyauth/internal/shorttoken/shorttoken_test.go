package shorttoken

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/internal/secret"
	"github.com/caddyauth/callbacks/caddyauth/verdict"
)

const key = "caddyauth-test-secret-0123456789"

var (
	now     = time.Unix(1_799_999_999, 0)
	secrets = []secret.Value{secret.New("old", []byte("another secret")), secret.New("new", []byte(key))}
)

// vector is a token that other implementations make too.
type vector struct {
	Name, Secret, Mode, Subject, Stream, Token string
	Expires                                    int64
}

func vectors(t testing.TB) []vector {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestVectorsAreMintedAndVerified(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			want := Token{v.Mode, time.Unix(v.Expires, 0), v.Subject}
			minted, err := Mint([]byte(v.Secret), want, v.Stream)
			if err != nil || minted != v.Token {
				t.Fatalf("minted %q: %v", minted, err)
			}
			list := []secret.Value{secret.New("only", []byte(v.Secret))}
			got, label, err := Verify(v.Token, list, []string{"x", v.Stream}, v.Mode, want.Expires.Add(-time.Nanosecond))
			if err != nil || got != want || label != "only" {
				t.Errorf("verified as %+v by %q: %v", got, label, err)
			}
			if len(v.Token) > MaxBytes || strings.Trim(v.Token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~") != "" {
				t.Errorf("%d characters, or some that a URL encodes", len(v.Token))
			}
		})
	}
}

func TestWhatIsNotATokenForThisIsRefused(t *testing.T) {
	good, err := Mint([]byte(key), Token{"play", now.Add(time.Second), "alice"}, "live/cam1")
	if err != nil {
		t.Fatal(err)
	}
	signature := good[len(good)-22:]
	// The last character carries four bits of nothing: a lenient decoder takes sixteen spellings of one signature.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	other := good[:len(good)-1] + string(alphabet[strings.IndexByte(alphabet, good[len(good)-1])|1])
	for _, test := range []struct {
		name, token, stream, mode string
		now                       time.Time
		reason                    verdict.Reason
	}{
		{"the good one", good, "live/cam1", "play", now, ""},
		{"at its last moment", good, "live/cam1", "play", now.Add(time.Second - 1), ""},
		{"when it is over", good, "live/cam1", "play", now.Add(time.Second), verdict.Expired},
		{"for another stream", good, "live/cam2", "play", now, verdict.BadSignature},
		{"for the name without its app", good, "cam1", "play", now, verdict.BadSignature},
		{"for every stream", good, "", "play", now, verdict.BadSignature},
		{"for another mode", good, "live/cam1", "publish", now, verdict.BadClaim},
		{"with another mode written in", "publish" + good[4:], "live/cam1", "publish", now, verdict.BadSignature},
		{"with another expiry written in", strings.Replace(good, "1800000000", "1900000000", 1), "live/cam1", "play", now, verdict.BadSignature},
		{"with another subject written in", strings.Replace(good, "alice", "bob", 1), "live/cam1", "play", now, verdict.BadSignature},
		{"without its subject", strings.Replace(good, ".alice", "", 1), "live/cam1", "play", now, verdict.BadSignature},
		{"with another spelling of its signature", other, "live/cam1", "play", now, verdict.BadSignature},
		{"with a shorter signature", good[:len(good)-1], "live/cam1", "play", now, verdict.BadCredential},
		{"with padding", good + "==", "live/cam1", "play", now, verdict.BadCredential},
		{"with a newline behind it", good + "\n", "live/cam1", "play", now, verdict.BadCredential},
		{"with a newline within", good[:len(good)-1] + "\n", "live/cam1", "play", now, verdict.BadSignature},
		{"with a space before it", " " + good, "live/cam1", "play", now, verdict.BadCredential},
		{"of no characters", "", "live/cam1", "play", now, verdict.BadCredential},
		{"of a signature alone", signature, "live/cam1", "play", now, verdict.BadCredential},
		{"without expiry", "play." + signature, "live/cam1", "play", now, verdict.BadCredential},
		{"with an expiry of zero", "play.0." + signature, "live/cam1", "play", now, verdict.BadCredential},
		{"with a leading zero", "play.01800000000." + signature, "live/cam1", "play", now, verdict.BadCredential},
		{"with a sign", "play.+1800000000." + signature, "live/cam1", "play", now, verdict.BadCredential},
		{"with an expiry of 12 digits", "play.180000000000." + signature, "live/cam1", "play", now, verdict.BadCredential},
		{"with an empty subject", "play.1800000000.." + signature, "live/cam1", "play", now, verdict.BadCredential},
		{"with a subject that a URL encodes", "play.1800000000.a%20b." + signature, "live/cam1", "play", now, verdict.BadCredential},
		{"with a newline in its subject", "play.1800000000.a\nb." + signature, "live/cam1", "play", now, verdict.BadCredential},
		{"of a mode in capitals", "Play" + good[4:], "live/cam1", "play", now, verdict.BadCredential},
		{"that is too long", "play.1800000000." + strings.Repeat("a", 60) + "." + signature, "live/cam1", "play", now, verdict.BadCredential},
		{"that is a JWT", "eyJhbGciOiJub25lIn0.e30.", "live/cam1", "play", now, verdict.BadCredential},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, label, err := Verify(test.token, secrets, []string{test.stream}, test.mode, test.now)
			switch {
			case test.reason == "" && (err != nil || label != "new"):
				t.Errorf("refused: %v", err)
			case test.reason != "" && verdict.Of(err).Reason != test.reason:
				t.Errorf("%v, should be %s", err, test.reason)
			}
		})
	}
}

// A subject is of the characters that no URL encodes, each of which is signed, and no others.
func TestSubjects(t *testing.T) {
	for char := range 256 {
		subject := "x" + string([]byte{byte(char)}) + "x"
		plain := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~", byte(char)) >= 0
		minted, err := Mint([]byte(key), Token{"play", now.Add(time.Second), subject}, "live/cam1")
		if (err == nil) != plain {
			t.Errorf("%q: %v", subject, err)
		}
		if !plain {
			head := "play.1800000000." + subject
			minted = head + "." + sign([]byte(key), head, "live/cam1")
		}
		got, label, err := Verify(minted, secrets, []string{"live/cam1"}, "play", now)
		if plain && (err != nil || got.Subject != subject || label != "new") || !plain && verdict.Of(err).Reason != verdict.BadCredential {
			t.Errorf("%q: %+v by %q: %v", minted, got, label, err)
		}
	}
}

func TestWhatCannotBeMinted(t *testing.T) {
	good := Token{Mode: "play", Expires: now}
	for name, test := range map[string]struct {
		key    string
		token  Token
		stream string
	}{
		"without a secret":            {"", good, "a"},
		"for no mode":                 {key, Token{Expires: now}, "a"},
		"for two modes":               {key, Token{Mode: "play,publish", Expires: now}, "a"},
		"without an expiry":           {key, Token{Mode: "play"}, "a"},
		"for a stream with a newline": {key, good, "a\nb"},
		"with a space in the subject": {key, Token{"play", now, "a b"}, "a"},
		"with too long a subject":     {key, Token{"play", now, strings.Repeat("s", 48)}, "a"},
		"of more than 89 characters":  {key, Token{"publish", time.Unix(18_000_000_000, 0), strings.Repeat("s", 47)}, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			if minted, err := Mint([]byte(test.key), test.token, test.stream); err == nil {
				t.Errorf("minted %q", minted)
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Token, v.Stream, v.Mode)
	}
	f.Fuzz(func(t *testing.T, text, stream, mode string) {
		token, _, err := Verify(text, secrets, []string{stream}, mode, now)
		if err != nil {
			return
		}
		// What is accepted is exactly what would be minted: there is one way to write a token.
		minted, err := Mint([]byte(key), token, stream)
		if other, _ := Mint([]byte("another secret"), token, stream); other == text {
			minted = other
		}
		if minted != text || token.Mode != mode || !now.Before(token.Expires) {
			t.Errorf("accepted %q, which is minted as %q: %v", text, minted, err)
		}
	})
}
