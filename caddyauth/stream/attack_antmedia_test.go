package stream_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/caddyauth/callbacks/caddyauth/testbed"
)

func TestAttacksOnAntMedia(t *testing.T) {
	bed := testbed.New(t, site(
		handle("/ams", "antmedia", "token {\nstatic good\n}\nallow {\ntoken valid\n}")+
			handle("/jwt", "antmedia", jwtToken+"allow {\ntoken valid\n}")+
			handle("/address", "antmedia", jwtToken+"allow {\nip 192.0.2.7\ntoken valid\n}")))
	do := func(t *testing.T, path, members string) testbed.Result {
		t.Helper()
		return bed.Do(t, antMedia(path, members))
	}
	post := func(t *testing.T, contentType, body string) testbed.Result {
		t.Helper()
		return bed.Do(t, hook("/ams", contentType, body))
	}
	const good = `"appName":"live","streamId":"cam1","mode":"play","token":"good"`

	t.Run("am-publish-valid", func(t *testing.T) {
		for _, mode := range []string{"live", "publish"} {
			allowed(t, do(t, "/ams", `"appName":"live","name":"cam1","streamId":"cam1","mode":"`+mode+`","token":"good","queryParams":"{token=good}"`))
		}
		// The shape of a real one: a byte of ISO-8859-1 in the name, no charset, appName null.
		allowed(t, post(t, "application/json", "{\"appName\":null,\"name\":\"r\xe9gie1\",\"streamId\":\"r\xe9gie1\",\"mode\":\"live\",\"token\":\"good\"}"))
		allowed(t, do(t, "/ams", `"appName":"live","name":"cam1","streamId":"cam1","mode":"live","queryParams":"{token=good, a=b}"`))
		token := mint(t, map[string]any{"mode": "publish"})
		allowed(t, do(t, "/jwt", `"appName":"live","name":"cam1","streamId":"cam1","mode":"live","token":"`+token+`"`))
		denied(t, do(t, "/jwt", `"appName":"live","name":"cam1","streamId":"cam1","mode":"live","token":"`+mint(t, nil)+`"`), http.StatusForbidden)
		denied(t, do(t, "/jwt", `"appName":"live","name":"cam1","streamId":"cam1","mode":"play","token":"`+token+`"`), http.StatusForbidden)
	})
	t.Run("am-play-valid", func(t *testing.T) {
		allowed(t, do(t, "/ams", `"streamId":"cam1","mode":"play","appName":"live","origin":"https://www.example.com","token":"good",`+
			`"subscriberCode":"","subscriberId":null,"metaData":{"name":"alice","tags":[1,2]},"ipAddress":"192.0.2.7"`))
	})
	t.Run("am-metadata-string", func(t *testing.T) {
		for _, metadata := range []string{`"{\"a\":1}"`, `"text"`, `{"a":{"b":null}}`, `null`, `""`, `[1]`} {
			allowed(t, do(t, "/ams", good+`,"metaData":`+metadata))
		}
	})
	t.Run("am-token-types", func(t *testing.T) {
		for _, token := range []string{"null", `""`} {
			denied(t, do(t, "/ams", `"appName":"live","streamId":"cam1","mode":"play","token":`+token), http.StatusForbidden)
		}
		for _, token := range []string{"0", "123", "true", "[]", `["good"]`, `{"t":"good"}`} {
			denied(t, do(t, "/ams", `"appName":"live","streamId":"cam1","mode":"play","token":`+token), http.StatusBadRequest)
		}
	})
	t.Run("am-streamid-types", func(t *testing.T) {
		for _, id := range []string{"null", `""`, "5", "true", `["a"]`, `{"$ne":""}`} {
			denied(t, do(t, "/ams", `"appName":"live","mode":"play","token":"good","streamId":`+id), http.StatusBadRequest)
		}
		denied(t, do(t, "/ams", `"appName":"live","mode":"play","token":"good"`), http.StatusBadRequest)
		denied(t, do(t, "/ams", `"appName":"live","mode":"play","token":"good","name":"cam1"`), http.StatusBadRequest)
	})
	t.Run("am-name-mismatch", func(t *testing.T) {
		token := mint(t, map[string]any{"stream": "a"})
		denied(t, do(t, "/jwt", `"appName":"live","name":"a","streamId":"b","mode":"play","token":"`+token+`"`), http.StatusBadRequest)
		denied(t, do(t, "/jwt", `"appName":"live","name":"b","streamId":"a","mode":"play","token":"`+token+`"`), http.StatusBadRequest)
		denied(t, do(t, "/jwt", `"appName":"live","name":["a"],"streamId":"a","mode":"play","token":"`+token+`"`), http.StatusBadRequest)
		allowed(t, do(t, "/jwt", `"appName":"live","name":"a","streamId":"a","mode":"play","token":"`+token+`"`))
	})
	t.Run("am-mode-unknown", func(t *testing.T) {
		for _, mode := range []string{`"record"`, `"append"`, `"admin"`, `""`, "null", "[]", "1"} {
			denied(t, do(t, "/ams", `"appName":"live","streamId":"cam1","token":"good","mode":`+mode), http.StatusBadRequest)
		}
		denied(t, do(t, "/ams", `"appName":"live","streamId":"cam1","token":"good"`), http.StatusBadRequest)
	})
	t.Run("am-mode-case", func(t *testing.T) {
		for _, mode := range []string{"PLAY", "Play", "play "} {
			denied(t, do(t, "/ams", `"appName":"live","streamId":"cam1","token":"good","mode":"`+mode+`"`), http.StatusBadRequest)
		}
	})
	t.Run("am-dup-streamid", func(t *testing.T) {
		for _, ids := range [][2]string{{"mine", "victim"}, {"victim", "mine"}} {
			token := mint(t, map[string]any{"stream": "mine"})
			denied(t, do(t, "/jwt", fmt.Sprintf(`"streamId":%q,"appName":"live","mode":"play","token":%q,"streamId":%q`, ids[0], token, ids[1])), http.StatusBadRequest)
			denied(t, do(t, "/jwt", fmt.Sprintf(`"streamId":%q,"appName":"live","mode":"play","token":%q,"stream\u0049d":%q`, ids[0], token, ids[1])), http.StatusBadRequest)
		}
	})
	t.Run("a printed query that can be read in two ways is no reason to refuse the token beside it", func(t *testing.T) {
		for _, printed := range []string{"{token=good, title=a, b}", "{a=b=c}", "null", "{"} {
			allowed(t, do(t, "/ams", good+fmt.Sprintf(`,"queryParams":%q`, printed)))
			denied(t, do(t, "/ams", `"appName":"live","streamId":"cam1","mode":"play","token":"bad",`+fmt.Sprintf(`"queryParams":%q`, printed)), http.StatusForbidden)
			denied(t, do(t, "/ams", `"appName":"live","streamId":"cam1","mode":"play","token":"",`+fmt.Sprintf(`"queryParams":%q`, printed)), http.StatusBadRequest)
		}
	})
	t.Run("am-proto-keys", func(t *testing.T) {
		allowed(t, do(t, "/ams", good+`,"__proto__":{"mode":"publish"},"constructor":"x"`))
		denied(t, do(t, "/ams", `"appName":"live","streamId":"cam1","mode":"play","__proto__":{"token":"good"}`), http.StatusForbidden)
		denied(t, do(t, "/ams", `"appName":"live","streamId":"cam1","mode":"play","Token":"good"`), http.StatusForbidden)
		var many strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&many, `,"m%d":%d`, i, i)
		}
		allowed(t, do(t, "/ams", good+many.String()))
	})
	t.Run("am-ip-mismatch", func(t *testing.T) {
		address := func(t *testing.T, path, bound, address string) testbed.Result {
			t.Helper()
			token := mint(t, map[string]any{"ip": bound})
			return do(t, path, fmt.Sprintf(`"appName":"live","streamId":"cam1","mode":"play","token":%q,"ipAddress":%s`, token, address))
		}
		allowed(t, address(t, "/jwt", "192.0.2.7", `"192.0.2.7"`))
		allowed(t, address(t, "/jwt", "192.0.2.7", `"::ffff:192.0.2.7"`))
		allowed(t, address(t, "/address", "::ffff:192.0.2.7", `"192.0.2.7"`))
		for _, other := range []string{`"192.0.2.8"`, `"127.0.0.1"`, `""`, "null"} {
			denied(t, address(t, "/jwt", "192.0.2.7", other), http.StatusForbidden)
		}
		for _, malformed := range []string{`["192.0.2.7"]`, `"192.0.2"`, `"192.0.2.7, 192.0.2.8"`, "1", `"192.0.2.7 "`} {
			denied(t, address(t, "/jwt", "192.0.2.7", malformed), http.StatusBadRequest)
		}
		denied(t, do(t, "/jwt", `"appName":"live","streamId":"cam1","mode":"play","token":"`+mint(t, map[string]any{"ip": []any{"192.0.2.7"}})+`","ipAddress":"192.0.2.7"`), http.StatusForbidden)
		denied(t, do(t, "/address", `"appName":"live","streamId":"cam1","mode":"play","token":"`+mint(t, nil)+`"`), http.StatusForbidden)
	})
	t.Run("am-metadata-huge", func(t *testing.T) {
		denied(t, do(t, "/ams", good+`,"metaData":"`+strings.Repeat("x", 5<<20)+`"`), http.StatusRequestEntityTooLarge)
		denied(t, do(t, "/ams", good+`,"metaData":`+strings.Repeat("[", 9_999)+strings.Repeat("]", 9_999)), http.StatusBadRequest)
	})
	t.Run("am-json-trailing", func(t *testing.T) {
		for _, tail := range []string{"x", "{" + good + "}", "\x00", ",", "]"} {
			denied(t, post(t, "application/json", "{"+good+"}"+tail), http.StatusBadRequest)
		}
		allowed(t, post(t, "application/json", "{"+good+"}\r\n"))
	})
	t.Run("am-json-suite-n", func(t *testing.T) {
		for name, body := range suite(t, "n_") {
			t.Run(name, func(t *testing.T) { denied(t, post(t, "application/json", body), 400, 413) })
		}
	})
	t.Run("am-json-suite-i", func(t *testing.T) {
		for name, body := range suite(t, "i_") {
			t.Run(name, func(t *testing.T) { denied(t, post(t, "application/json", body), 400, 413) })
		}
	})
	t.Run("am-json-bom-utf16", func(t *testing.T) {
		body := "{" + good + "}"
		var little, big []byte
		for _, unit := range utf16.Encode([]rune(body)) {
			little = append(little, byte(unit), byte(unit>>8))
			big = append(big, byte(unit>>8), byte(unit))
		}
		for _, encoded := range []string{
			"\xef\xbb\xbf" + body, string(little), string(big), "\xff\xfe" + string(little), "\xfe\xff" + string(big),
		} {
			denied(t, post(t, "application/json", encoded), http.StatusBadRequest)
			denied(t, post(t, "application/json; charset=utf-8", encoded), http.StatusBadRequest)
		}
		// ISO-8859-1 is what Ant Media Server sends (seen in its source), so it is read where nothing else is named.
		latin := strings.Replace(body, "cam1", "r\xe9gie1", 1)
		denied(t, post(t, "application/json; charset=utf-8", latin), http.StatusBadRequest)
		allowed(t, post(t, "application/json", latin))
	})
	t.Run("am-json-depth", func(t *testing.T) {
		for _, depth := range []int{9_999, 30_000, 100_000} {
			denied(t, post(t, "application/json", strings.Repeat("[", depth)), 400, 413)
		}
	})
	t.Run("am-content-type-params", func(t *testing.T) {
		for _, contentType := range []string{"application/json; charset=utf-8", "application/json;charset=UTF-8", `Application/JSON; charset="utf-8"`, "application/json"} {
			allowed(t, post(t, contentType, "{"+good+"}"))
		}
		for _, contentType := range []string{"", "text/plain", "text/json", "application/json; charset=utf-16", "application/x-www-form-urlencoded", "application/jsonx", "application/json, text/plain"} {
			denied(t, post(t, contentType, "{"+good+"}"), http.StatusUnsupportedMediaType)
		}
	})
	t.Run("a hook is a POST", func(t *testing.T) {
		for _, method := range []string{"GET", "PUT", "HEAD", "DELETE", "OPTIONS"} {
			r := antMedia("/ams", good)
			r.Method = method
			result := bed.Do(t, r)
			denied(t, result, http.StatusMethodNotAllowed)
			if got := result.Header.Get("Allow"); got != "POST" {
				t.Errorf("Allow is %q", got)
			}
		}
	})
}

// suite gives the files of JSONTestSuite whose name begins with prefix; internal/strictjson/testdata says where they
// are from.
func suite(t *testing.T, prefix string) map[string]string {
	t.Helper()
	data, err := os.ReadFile("../internal/strictjson/testdata/jsontestsuite.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Repeated map[string]struct {
			Text, Tail string
			Times      int
		}
		Files map[string]string
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	bodies := make(map[string]string)
	for name, text := range file.Files {
		body, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		bodies[name] = string(body)
	}
	for name, r := range file.Repeated {
		bodies[name] = strings.Repeat(r.Text, r.Times) + r.Tail
	}
	for name := range bodies {
		if !strings.HasPrefix(name, prefix) {
			delete(bodies, name)
		}
	}
	if len(bodies) < 30 {
		t.Fatalf("only %d files begin with %s", len(bodies), prefix)
	}
	return bodies
}
