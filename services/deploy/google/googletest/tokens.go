package googletest

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"slipway.dev/services/deploy"
)

const (
	// Provider is a workload identity provider that trusts the issuer of Identity.
	Provider = "projects/" + Number + "/locations/global/workloadIdentityPools/slipway/providers/portal"
	// Account is the account that tokens of the provider are exchanged for.
	Account = "slipway@acme-apps.iam.gserviceaccount.com"

	issuer = "https://slipway.example.com"
)

// tokens are the access tokens that the APIs take, with whom each speaks for.
type tokens struct {
	valid   map[string]string
	refused bool // the provider and the key's account are not trusted
	subject string
}

// Identity is a portal whose tokens the provider trusts.
func (c *Cloud) Identity() deploy.Identity {
	key := c.key()
	return func(_ context.Context, audience string, of deploy.Subject) (string, error) {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, nil)
		if err != nil {
			return "", err
		}
		subject := "target:google"
		if of != (deploy.Subject{}) {
			subject += ":team:" + of.Team + ":environment:" + of.Environment + ":app:" + of.App
		}
		at := time.Now()
		return jwt.Signed(signer).Claims(jwt.Claims{Issuer: issuer, Subject: subject, Audience: jwt.Audience{audience}, IssuedAt: jwt.NewNumericDate(at), Expiry: jwt.NewNumericDate(at.Add(5 * time.Minute))}).Serialize()
	}
}

// Key is the JSON of a key of the account.
func (c *Cloud) Key() string {
	der, err := x509.MarshalPKCS8PrivateKey(c.key())
	if err != nil {
		c.t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	out, err := json.Marshal(map[string]string{"type": "service_account", "project_id": Project, "private_key_id": "1", "private_key": string(text), "client_email": Account, "token_uri": "https://attacker.example.com/token"})
	if err != nil {
		c.t.Fatal(err)
	}
	return string(out)
}

// newKey is what the portal and the account sign with: one for all tests, because making one takes its time.
var newKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func (c *Cloud) key() *rsa.PrivateKey {
	key, err := newKey()
	if err != nil {
		c.t.Fatal(err)
	}
	return key
}

// Expire makes all access tokens that were given so far worthless.
func (c *Cloud) Expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens.valid = map[string]string{}
}

// Distrust refuses tokens of the portal and of the key.
func (c *Cloud) Distrust() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens.refused = true
}

// Subject is whom the portal's token spoke for that was exchanged last.
func (c *Cloud) Subject() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tokens.subject
}

func (s *tokens) check(req *http.Request) error {
	value, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if who := s.valid[value]; !ok || who == "" {
		return refuse(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
	} else if who == "federated" && !strings.HasPrefix(req.URL.Path, "/iamcredentials/") {
		return refuse(403, "PERMISSION_DENIED", "The principal itself has no rights here.")
	}
	return nil
}

func (s *tokens) give(who string) string {
	value := rand.Text()
	s.valid[value] = who
	return value
}

func (c *Cloud) tokenRoutes(mux *http.ServeMux) {
	mux.HandleFunc("POST /sts/v1/token", c.exchange)
	mux.HandleFunc("POST /oauth2/token", c.assert)
	c.verbs(mux, "POST /iamcredentials/v1/projects/-/serviceAccounts/{name}", map[string]method{"generateAccessToken": {"iam.serviceAccounts.getAccessToken", c.impersonate}})
}

// exchange is the token service's (RFC 8693, https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token).
func (c *Cloud) exchange(w http.ResponseWriter, req *http.Request) {
	ok := req.PostFormValue("grant_type") == "urn:ietf:params:oauth:grant-type:token-exchange" &&
		req.PostFormValue("audience") == "//iam.googleapis.com/"+Provider &&
		req.PostFormValue("subject_token_type") == "urn:ietf:params:oauth:token-type:jwt"
	claims := c.verify(req.PostFormValue("subject_token"), issuer, "https://iam.googleapis.com/"+Provider)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !ok || claims == nil || c.tokens.refused {
		deny(w)
		return
	}
	c.tokens.subject = claims.Subject
	respond(w, map[string]any{"access_token": c.tokens.give("federated"), "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600}, nil)
}

// assert is the token endpoint for keys (RFC 7523).
func (c *Cloud) assert(w http.ResponseWriter, req *http.Request) {
	claims := c.verify(req.PostFormValue("assertion"), Account, c.server.URL+"/oauth2/token")
	c.mu.Lock()
	defer c.mu.Unlock()
	if req.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || claims == nil || c.tokens.refused {
		deny(w)
		return
	}
	respond(w, map[string]any{"access_token": c.tokens.give(Account), "token_type": "Bearer", "expires_in": 3600}, nil)
}

func deny(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusBadRequest)
	_, _ = w.Write([]byte(`{"error":"invalid_grant","error_description":"The token is not accepted."}`))
}

// verify returns the claims of a token that the key signed for the audience.
func (c *Cloud) verify(text, by, audience string) *jwt.Claims {
	token, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return nil
	}
	var claims jwt.Claims
	if token.Claims(&c.key().PublicKey, &claims) != nil {
		return nil
	}
	if claims.Validate(jwt.Expected{Issuer: by, AnyAudience: jwt.Audience{audience}, Time: time.Now()}) != nil {
		return nil
	}
	return &claims
}

// impersonate is the credentials API's (https://cloud.google.com/iam/docs/reference/credentials/rest).
func (c *Cloud) impersonate(q *call) (any, error) {
	var ask struct {
		Scope     []string `json:"scope"`
		Lifetime  string   `json:"lifetime"`
		Delegates []string `json:"delegates"`
	}
	if err := q.into(&ask); err != nil {
		return nil, err
	}
	if q.PathValue("name") != Account {
		return nil, refuse(404, "NOT_FOUND", "Not found; Gaia id not found for email %s", q.PathValue("name"))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return map[string]any{"accessToken": c.tokens.give(Account), "expireTime": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)}, nil
}
