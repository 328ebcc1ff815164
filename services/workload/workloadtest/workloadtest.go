// Package workloadtest is an issuer of CI tokens that signs real ones: with
// discovery and keys at HTTP level, as GitHub's has, and able to misbehave.
package workloadtest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"slipway.dev/models"
)

// Issuer signs tokens until the test ends.
type Issuer struct {
	URL  string
	Key  *rsa.PrivateKey
	Down atomic.Bool  // answers 503
	Asks atomic.Int64 // of its keys

	t testing.TB
}

// KeyID is the id of the issuer's key.
const KeyID = "key-1"

// New starts an issuer.
func New(t testing.TB) *Issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	i := &Issuer{Key: key, t: t}
	server := httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(server.Close)
	i.URL = server.URL
	return i
}

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	if i.Down.Load() {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/.well-known/jwks", "response_types_supported": []string{"id_token"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
	case "/.well-known/jwks":
		i.Asks.Add(1)
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.Key.Public(), KeyID: KeyID, Algorithm: "RS256", Use: "sig"}}})
	default:
		http.NotFound(w, r)
	}
}

// Claims are a good token's for the audience: of a job in acme/shop, number
// 42, that a push to main started. Change changes some; nil removes one.
func (i *Issuer) Claims(audience string, change map[string]any) map[string]any {
	now := time.Now()
	c := map[string]any{
		"iss": i.URL, "aud": audience, "sub": "repo:acme/shop:ref:refs/heads/main", "jti": models.NewID(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(),
		"repository": "acme/shop", "repository_id": "42", "repository_owner": "acme", "repository_owner_id": "7", "repository_visibility": "private",
		"ref": "refs/heads/main", "ref_type": "branch", "sha": "0123456789abcdef0123456789abcdef01234567", "event_name": "push", "head_ref": "", "base_ref": "",
		"workflow": "Build checkout", "workflow_ref": "acme/shop/.github/workflows/slipway-checkout.yml@refs/heads/main",
		"job_workflow_ref": "acme/shop/.github/workflows/slipway-checkout.yml@refs/heads/main",
		"run_id":           "1001", "run_number": "9", "run_attempt": "1", "actor": "mira", "actor_id": "3", "runner_environment": "github-hosted",
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

// Token signs a good token with the changes.
func (i *Issuer) Token(audience string, change map[string]any) string {
	return i.Sign(i.Claims(audience, change), jose.SigningKey{Algorithm: jose.RS256, Key: i.Key}, map[jose.HeaderKey]any{"kid": KeyID})
}

// Sign signs the claims with any key and any headers.
func (i *Issuer) Sign(claims map[string]any, key jose.SigningKey, header map[jose.HeaderKey]any) string {
	i.t.Helper()
	options := &jose.SignerOptions{ExtraHeaders: header}
	signer, err := jose.NewSigner(key, options.WithType("JWT"))
	if err != nil {
		i.t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		i.t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		i.t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return text
}

// NewKey is a key that the issuer does not know.
func NewKey(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Thumb is a key's id by its thumbprint (RFC 7638).
func Thumb(t testing.TB, key *rsa.PrivateKey) string {
	t.Helper()
	sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum)
}
