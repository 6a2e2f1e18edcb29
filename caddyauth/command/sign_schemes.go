package command

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyauth/callbacks/caddyauth/callback/schemes"
	"github.com/golang-jwt/jwt/v5"
)

func (s *signing) signVonage(r *http.Request, body []byte, by schemes.Signing) error {
	key := []byte(by.Secret)
	switch s.secretEncoding {
	case "", "text":
	case "base64":
		var err error
		if key, err = base64.StdEncoding.DecodeString(by.Secret); err != nil {
			return errors.New("the secret is not base64")
		}
	default:
		return fmt.Errorf("--secret-encoding is %q: it is text or base64", s.secretEncoding)
	}
	payload := body
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		object, ok := schemes.VonageQuery(r.URL.RawQuery)
		if !ok {
			return errors.New("the query of the URL cannot be signed: a name stands twice, or it does not parse")
		}
		payload = object
	}
	digest := sha256.Sum256(payload)
	claims := jwt.MapClaims{"iss": "Vonage", "iat": by.Now.Unix(), "jti": by.ID, "payload_hash": hex.EncodeToString(digest[:])}
	if s.account != "" {
		claims["api_key"] = s.account
	}
	token, err := s.token(jwt.SigningMethodHS256, claims, key)
	if err != nil {
		return err
	}
	r.Header.Set(cmp.Or(s.header, "Authorization"), "Bearer "+token)
	return nil
}

func (s *signing) signJWT(r *http.Request, body []byte, by schemes.Signing) error {
	if s.query != "" && (s.header != "" || s.prefix != "") {
		return errors.New("a jwt is either in a --header, with or without a --prefix, or in the --query")
	}
	var key any = []byte(by.Secret)
	algorithm := s.algorithm
	if by.PrivateKey != "" {
		var err error
		if key, algorithm, err = privateKey(by.PrivateKey, algorithm); err != nil {
			return err
		}
	} else if algorithm == "" {
		algorithm = "HS256"
	}
	method := jwt.GetSigningMethod(algorithm)
	if method == nil || algorithm == "none" {
		return fmt.Errorf("--algorithm: %q is unknown", algorithm)
	}
	if symmetric := strings.HasPrefix(algorithm, "HS"); symmetric && by.PrivateKey != "" {
		return fmt.Errorf("--algorithm: %s signs with a secret, and not with --private-key-file", algorithm)
	} else if !symmetric && by.PrivateKey == "" {
		return fmt.Errorf("--algorithm: %s signs with a private key: give --private-key-file", algorithm)
	}
	claims := jwt.MapClaims{"iat": by.Now.Unix(), "exp": by.Now.Add(5 * time.Minute).Unix(), "jti": by.ID}
	if s.bodyHash != "" {
		name, encoding, _ := strings.Cut(s.bodyHash, "=")
		sum := sha256.Sum256(body)
		switch encoding {
		case "hex":
			claims[name] = hex.EncodeToString(sum[:])
		case "base64":
			claims[name] = base64.StdEncoding.EncodeToString(sum[:])
		default:
			return errors.New("--body-hash is name=hex or name=base64")
		}
	}
	token, err := s.token(method, claims, key)
	if err != nil {
		return err
	}
	if s.query != "" {
		addQuery(r, s.query, token)
		return nil
	}
	header, prefix := s.header, s.prefix
	if header == "" {
		header = "Authorization"
	}
	if prefix == "" && http.CanonicalHeaderKey(header) == "Authorization" {
		prefix = "Bearer"
	}
	r.Header.Set(header, strings.TrimLeft(prefix+" "+token, " "))
	return nil
}

// addQuery puts a parameter behind the query as it is.
func addQuery(r *http.Request, name, value string) {
	pair := url.QueryEscape(name) + "=" + url.QueryEscape(value)
	if r.URL.RawQuery != "" {
		pair = r.URL.RawQuery + "&" + pair
	}
	r.URL.RawQuery = pair
}

// token signs claims, with those of --claim over them.
func (s *signing) token(method jwt.SigningMethod, claims jwt.MapClaims, key any) (string, error) {
	more, err := parseClaims(s.claims)
	if err != nil {
		return "", err
	}
	maps.Copy(claims, more)
	return jwt.NewWithClaims(method, claims).SignedString(key)
}

func (s *signing) signBasic(r *http.Request, _ []byte, by schemes.Signing) error {
	if s.user == "" {
		return errors.New("basic needs --user")
	}
	r.SetBasicAuth(s.user, by.Secret)
	return nil
}

func (s *signing) signAPIKey(r *http.Request, _ []byte, by schemes.Signing) error {
	switch {
	case (s.header == "") == (s.query == ""):
		return errors.New("api_key needs --header or --query")
	case s.header != "":
		r.Header.Set(s.header, by.Secret)
	default:
		addQuery(r, s.query, by.Secret)
	}
	return nil
}

func (s *signing) signHMAC(r *http.Request, body []byte, by schemes.Signing) error {
	if s.header == "" {
		return errors.New("hmac needs --header")
	}
	scheme := schemes.HMAC{
		SecretEncoding: s.secretEncoding, Header: s.header, Algorithm: s.algorithm, Encoding: s.encoding,
		Prefix: s.prefix, Separator: s.separator, SignaturePair: s.pair, Payload: s.payload, IDHeader: s.idHeader,
	}
	if s.tsHeader != "" || s.tsPair != "" {
		scheme.Timestamp = &schemes.HMACTimestamp{Header: s.tsHeader, Pair: s.tsPair, Unit: s.tsUnit}
	} else if s.tsUnit != "" {
		return errors.New("--timestamp-unit needs --timestamp-header or --timestamp-pair")
	}
	return scheme.Sign(r, body, by)
}
