package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jwk "github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// keyServer publishes ES256 keys. What it answers can be changed, to what broken issuers answer.
type keyServer struct {
	*httptest.Server
	fetched atomic.Int64
	private map[string]*ecdsa.PrivateKey // by key id

	mu     sync.Mutex
	answer http.HandlerFunc
}

// newKeyServer publishes the key `one`; `two` and `three` exist.
func newKeyServer(t *testing.T) *keyServer {
	t.Helper()
	k := &keyServer{private: make(map[string]*ecdsa.PrivateKey)}
	for _, id := range []string{"one", "two", "three"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		k.private[id] = key
	}
	k.publish("one")
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		k.fetched.Add(1)
		k.mu.Lock()
		answer := k.answer
		k.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(k.Close)
	return k
}

// serve makes it answer so from now on.
func (k *keyServer) serve(answer http.HandlerFunc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.answer = answer
}

// publish makes it answer with these keys.
func (k *keyServer) publish(ids ...string) {
	var set jwk.JSONWebKeySet
	for _, id := range ids {
		set.Keys = append(set.Keys, jwk.JSONWebKey{Key: k.private[id].Public(), KeyID: id})
	}
	document, err := json.Marshal(set)
	if err != nil {
		panic(err)
	}
	k.serve(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(document) })
}

// token is a good one, signed by that key. It holds for a hundred days, whatever the clock of the request says.
func (k *keyServer) token(id string, change map[string]any) string {
	claims := jwt.MapClaims{"aud": "us", "sub": "sender", "exp": time.Now().Add(100 * 24 * time.Hour).Unix()}
	for name, value := range change {
		claims[name] = value
	}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["kid"] = id
	text, err := token.SignedString(k.private[id])
	if err != nil {
		panic(err) // this is called from many goroutines
	}
	return text
}
