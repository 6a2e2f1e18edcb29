package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// A signed message from its headers to the match: with a time and one signature, or with an id and a list of them, over
// ever longer bodies and with ever more secrets, all of which are tried. The floor is the HMAC alone.
func BenchmarkVerify(b *testing.B) {
	const secretText = "bench-secret-0123456789"
	for _, size := range []int{512, 64 << 10, 1 << 20} {
		body := []byte(strings.Repeat("x", size))
		b.Run(fmt.Sprintf("floor/%d bytes", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				mac := hmac.New(sha256.New, []byte(secretText))
				mac.Write(body)
				mac.Sum(nil)
			}
		})
		for name, spec := range map[string]Spec{"pairs": stripeLike(), "list": listLike()} {
			b.Run(fmt.Sprintf("%s/%d bytes", name, size), func(b *testing.B) { measure(b, spec, body, 1) })
		}
	}
	for _, secrets := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("pairs/%d secrets", secrets), func(b *testing.B) {
			measure(b, stripeLike(), []byte(strings.Repeat("x", 512)), secrets)
		})
	}
}

func measure(b *testing.B, spec Spec, body []byte, count int) {
	b.Helper()
	secrets := make([]string, count)
	for i := range secrets {
		secrets[i] = fmt.Sprintf("bench-secret-%010d", i)
	}
	v := verifier(b, spec, secrets...)
	signed, err := v.Sign(Message{Method: http.MethodPost}, body, Signer{Secret: []byte(secrets[count-1]), ID: "msg_1", Now: now})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		pending, err := v.Begin(Message{Method: http.MethodPost, Header: signed}, now)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := pending.Finish(body); err != nil {
			b.Fatal(err)
		}
	}
}
