package command

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyauth/callbacks/caddyauth/callback/schemes"
	"github.com/caddyauth/callbacks/caddyauth/internal/vonagesms"
)

// signVonageSMS signs the parameters of a GET.
func (s *signing) signVonageSMS(r *http.Request, body []byte, by schemes.Signing) error {
	if s.method != "" && s.method != http.MethodGet {
		return fmt.Errorf("vonage_sms sends a GET or a POST, not %s", s.method)
	}
	if len(body) > 0 {
		return errors.New("the parameters of a GET of vonage_sms are in the query of the URL, not in the --body")
	}
	r.Method = http.MethodGet
	parameters, err := vonagesms.FromValues(r.URL.Query())
	if err != nil {
		return err
	}
	if err := s.signParameters(parameters, by); err != nil {
		return err
	}
	r.URL.RawQuery = encode(parameters)
	return nil
}

// signVonageSMSBody makes of a form, or of a flat JSON object, what a POST has: the same with its timestamp and signature.
func (s *signing) signVonageSMSBody(r *http.Request, body []byte, by schemes.Signing) ([]byte, error) {
	if r.URL.RawQuery != "" || len(body) == 0 {
		return nil, errors.New("the parameters of a POST of vonage_sms are in the --body, and not in the query of the URL")
	}
	media, _, err := mime.ParseMediaType(s.contentType)
	if err != nil || (media != "application/json" && media != "application/x-www-form-urlencoded") {
		return nil, errors.New("the body of vonage_sms is a form or JSON: see --content-type")
	}
	if media == "application/json" {
		parameters, err := vonagesms.FromJSON(body)
		if err != nil {
			return nil, err
		}
		if err := s.signParameters(parameters, by); err != nil {
			return nil, err
		}
		return signedJSON(body, parameters)
	}
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errors.New("the form does not parse")
	}
	parameters, err := vonagesms.FromValues(values)
	if err != nil {
		return nil, err
	}
	if err := s.signParameters(parameters, by); err != nil {
		return nil, err
	}
	return []byte(encode(parameters)), nil
}

// signedJSON writes body, a flat object, with the timestamp and signature of parameters. Its numbers stay as they are written.
func signedJSON(body []byte, parameters vonagesms.Parameters) ([]byte, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil {
		return nil, errors.New("the body is not a JSON object")
	}
	for _, name := range []string{vonagesms.TimestampName, vonagesms.SignatureName} {
		object[name] = json.RawMessage(strconv.Quote(parameters[name])) // digits of a number, or of hex
	}
	return json.Marshal(object)
}

// signParameters gives parameters a timestamp and the signature of all, in place of those they have.
func (s *signing) signParameters(parameters vonagesms.Parameters, by schemes.Signing) error {
	method := cmp.Or(s.algorithm, vonagesms.Methods()[0])
	if !slices.Contains(vonagesms.Methods(), method) {
		return fmt.Errorf("--algorithm is none of %s", strings.Join(vonagesms.Methods(), ", "))
	}
	parameters[vonagesms.TimestampName] = strconv.FormatInt(by.Now.Unix(), 10)
	parameters[vonagesms.SignatureName] = hex.EncodeToString(vonagesms.Sign(method, parameters.Base(), []byte(by.Secret)))
	return nil
}

// encode writes parameters as a query or a form.
func encode(parameters vonagesms.Parameters) string {
	values := make(url.Values, len(parameters))
	for name, value := range parameters {
		values.Set(name, value)
	}
	return values.Encode()
}
