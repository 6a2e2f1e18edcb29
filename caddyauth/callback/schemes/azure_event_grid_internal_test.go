package schemes

import (
	"encoding/json"
	"testing"
)

// Whatever the body: what is echoed is the plain code of the one validation event that any other reader sees there too.
func FuzzValidation(f *testing.F) {
	for _, body := range []string{
		`[{"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"512d38b6-c7b8-40c8-89fe-f46f9e9622b6"}}]`,
		`[{"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":7}}]`,
		`[{"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"a","validationCode":"b"}}]`,
		`[{"EventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"\u0022}"}}]`,
		`[{},{}]`, `{}`, `null`, ``,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		code, ok, err := validation(body)
		if !ok {
			return
		}
		var events []struct {
			EventType string
			Data      struct{ ValidationCode string }
		}
		if err != nil || json.Unmarshal(body, &events) != nil || len(events) != 1 {
			t.Fatalf("a code out of what is not one event: %v", err)
		}
		if !validationCode.MatchString(code) {
			t.Errorf("a code that is not plain: %q", code)
		}
	})
}
