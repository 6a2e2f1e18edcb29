package signature

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
)

func (e Encoding) check() error {
	switch e {
	case HexLower, Hex, Base64, Base64URL, Base64URLPad:
		return nil
	}
	return fmt.Errorf("the encoding %q is not known", string(e))
}

// decode gives the bytes of a signature, and false for everything that is not exactly of the encoding: stray bits,
// stray padding, line breaks and the other alphabet.
func (e Encoding) decode(text string) ([]byte, bool) {
	var decoded []byte
	var err error
	switch e {
	case HexLower:
		if strings.ContainsAny(text, "ABCDEF") {
			return nil, false
		}
		decoded, err = hex.DecodeString(text)
	case Hex:
		decoded, err = hex.DecodeString(text)
	default:
		// Go's decoder skips line breaks.
		if strings.ContainsAny(text, "\r\n") {
			return nil, false
		}
		switch {
		case e == Base64:
			decoded, err = base64.StdEncoding.Strict().DecodeString(text)
		case e == Base64URLPad && strings.HasSuffix(text, "="):
			decoded, err = base64.URLEncoding.Strict().DecodeString(text)
		default:
			decoded, err = base64.RawURLEncoding.Strict().DecodeString(text)
		}
	}
	return decoded, err == nil && len(decoded) > 0
}

func (e Encoding) encode(signature []byte) string {
	switch e {
	case Base64:
		return base64.StdEncoding.EncodeToString(signature)
	case Base64URL, Base64URLPad:
		return base64.RawURLEncoding.EncodeToString(signature)
	default:
		return hex.EncodeToString(signature)
	}
}
