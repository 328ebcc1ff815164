package auth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"slipway.dev/services/auth"
)

// fakeIssuer speaks OpenID Connect as a real one does, signs everyone in at
// once, and lies as a test tells it to.
type fakeIssuer struct {
	*httptest.Server
	t   *testing.T
	key *ecdsa.PrivateKey

	mu       sync.Mutex
	down     bool
	says     map[string]any         // claims of the person
	lie      func(c map[string]any) // changes the claims before signing
	sign     func(b []byte) string  // instead of the issuer's key
	answer   func(q url.Values)     // changes the callback's parameters
	noToken  bool                   // answers without an id_token
	userinfo map[string]any         // nil: no endpoint
	meta     func(m map[string]any) // changes the discovery document
	requests map[string]url.Values  // authorization requests, by code
	verifier string                 // that the last redemption brought
}

func newFakeIssuer(t *testing.T) *fakeIssuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeIssuer{t: t, key: key, says: map[string]any{"sub": "1", "name": "Grace", "email": "grace@corp.test", "email_verified": true}, requests: map[string]url.Values{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", f.discovery)
	mux.HandleFunc("GET /authorize", f.authorize)
	mux.HandleFunc("POST /token", f.token)
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	})
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(f.userinfo) })
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.down {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

// set changes what the issuer does from now on.
func (f *fakeIssuer) set(change func(*fakeIssuer)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakeIssuer) issuer(id string) *auth.Issuer {
	return &auth.Issuer{ID: id, Name: "Corp " + id, URL: f.URL, ClientID: "portal-" + id, ClientSecret: "s", Client: f.Client()}
}

func (f *fakeIssuer) discovery(w http.ResponseWriter, _ *http.Request) {
	m := map[string]any{
		"issuer": f.URL, "authorization_endpoint": f.URL + "/authorize", "token_endpoint": f.URL + "/token", "jwks_uri": f.URL + "/keys",
		"end_session_endpoint":                  f.URL + "/end",
		"id_token_signing_alg_values_supported": []string{"ES256", "HS256", "none"},
	}
	if f.userinfo != nil {
		m["userinfo_endpoint"] = f.URL + "/userinfo"
	}
	if f.meta != nil {
		f.meta(m)
	}
	json.NewEncoder(w).Encode(m)
}

func (f *fakeIssuer) authorize(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()
	code := rand.Text()
	f.requests[code] = asked
	q := url.Values{"code": {code}, "state": {asked.Get("state")}}
	if f.answer != nil {
		f.answer(q)
	}
	http.Redirect(w, r, asked.Get("redirect_uri")+"?"+q.Encode(), http.StatusFound)
}

func (f *fakeIssuer) token(w http.ResponseWriter, r *http.Request) {
	asked, ok := f.requests[r.FormValue("code")]
	delete(f.requests, r.FormValue("code"))
	f.verifier = r.FormValue("code_verifier")
	sum := sha256.Sum256([]byte(f.verifier))
	if !ok || asked.Get("code_challenge_method") != "S256" || base64.RawURLEncoding.EncodeToString(sum[:]) != asked.Get("code_challenge") {
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant"})
		return
	}
	claims := map[string]any{
		"iss": f.URL, "aud": asked.Get("client_id"), "nonce": asked.Get("nonce"),
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
	for k, v := range f.says {
		claims[k] = v
	}
	if f.lie != nil {
		f.lie(claims)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		f.t.Error(err)
	}
	sign := f.sign
	if sign == nil {
		sign = func(b []byte) string {
			return compact(f.t, jose.ES256, jose.JSONWebKey{Key: f.key, KeyID: "k1"}, b, nil)
		}
	}
	answer := map[string]any{"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": sign(body)}
	if f.noToken {
		delete(answer, "id_token")
	}
	json.NewEncoder(w).Encode(answer)
}

func compact(t *testing.T, alg jose.SignatureAlgorithm, key any, body []byte, opts *jose.SignerOptions) string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		t.Error(err)
		return ""
	}
	signed, err := signer.Sign(body)
	if err != nil {
		t.Error(err)
		return ""
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		t.Error(err)
	}
	return out
}
