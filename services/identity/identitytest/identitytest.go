// Package identitytest is the token services of three clouds for tests: they
// speak AWS STS, Google's Security Token Service with its IAM credentials, and
// Microsoft Entra ID at the wire, and believe a token only where its issuer's own
// keys, read over HTTP, say so.
package identitytest

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
)

// Trust is what a cloud was told of an issuer.
type Trust struct {
	Issuer    string
	Audiences []string
	Subjects  []string // patterns as of path.Match
}

// Clouds answers all three at one address, at the paths that each has.
type Clouds struct {
	URL string

	mu       sync.Mutex
	aws      Trust
	role     string
	google   Trust
	provider string
	account  string   // that may be acted as
	callers  []string // targets that may act as it
	azure    Trust
	tenant   string
	client   string
	canned   *canned
	tokens   []string
}

type canned struct {
	status int
	body   string
}

// New serves the clouds until the test ends.
func New(t testing.TB) *Clouds {
	t.Helper()
	c := &Clouds{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", c.sts)
	mux.HandleFunc("POST /v1/token", c.googleToken)
	mux.HandleFunc("POST /v1/projects/-/serviceAccounts/{call}", c.accessToken)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", c.entra)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.canned != nil {
			w.WriteHeader(c.canned.status)
			fmt.Fprint(w, c.canned.body)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	c.URL = server.URL
	return c
}

// AWS sets what the account of the role trusts.
func (c *Clouds) AWS(role string, of Trust) { c.set(func() { c.role, c.aws = role, of }) }

// Google sets what the provider trusts, and which targets may act as the account.
func (c *Clouds) Google(provider string, of Trust, account string, callers ...string) {
	c.set(func() { c.provider, c.google, c.account, c.callers = provider, of, account, callers })
}

// Azure sets what the application trusts.
func (c *Clouds) Azure(tenant, client string, of Trust) {
	c.set(func() { c.tenant, c.client, c.azure = tenant, client, of })
}

// Say has every call answered with the status and body, whatever it asks. Status 0 ends that.
func (c *Clouds) Say(status int, body string) {
	c.set(func() {
		c.canned = &canned{status, body}
		if status == 0 {
			c.canned = nil
		}
	})
}

// Tokens returns the tokens that were sent.
func (c *Clouds) Tokens() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.tokens)
}

func (c *Clouds) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

var (
	errIssuer   = errors.New("issuer")
	errKeys     = errors.New("keys")
	errAudience = errors.New("audience")
	errToken    = errors.New("token")
)

// claims are what the clouds read.
type claims struct {
	Target string `json:"target"`
}

// verify believes the token as a cloud does: by the discovery document and the keys of the issuer that it was told.
func (c *Clouds) verify(ctx context.Context, raw string, of Trust) (*oidc.IDToken, claims, error) {
	c.tokens = append(c.tokens, raw)
	if of.Issuer == "" {
		return nil, claims{}, errIssuer
	}
	issuer, err := oidc.NewProvider(ctx, of.Issuer)
	if err != nil {
		return nil, claims{}, errKeys
	}
	token, err := issuer.Verifier(&oidc.Config{SkipClientIDCheck: true, SupportedSigningAlgs: []string{oidc.RS256}}).Verify(ctx, raw)
	if err != nil {
		return nil, claims{}, errToken
	}
	if !slices.ContainsFunc(token.Audience, func(a string) bool { return slices.Contains(of.Audiences, a) }) {
		return nil, claims{}, errAudience
	}
	var said claims
	if err := token.Claims(&said); err != nil {
		return nil, claims{}, errToken
	}
	return token, said, nil
}

func (t Trust) matches(subject string) bool {
	return slices.ContainsFunc(t.Subjects, func(pattern string) bool {
		ok, err := path.Match(pattern, subject)
		return ok && err == nil
	})
}

// sts answers AssumeRoleWithWebIdentity (AWS STS API Reference).
func (c *Clouds) sts(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code, message string) {
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		type fault struct {
			Type, Code, Message string
		}
		xml.NewEncoder(w).Encode(struct {
			XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
			Error     fault
			RequestId string
		}{Error: fault{"Sender", code, message}, RequestId: "0"})
	}
	if r.PostFormValue("Action") != "AssumeRoleWithWebIdentity" || r.PostFormValue("Version") != "2011-06-15" || r.PostFormValue("RoleSessionName") == "" {
		refuse(http.StatusBadRequest, "ValidationError", "This is no such call.")
		return
	}
	if r.Header.Get("Authorization") != "" {
		refuse(http.StatusForbidden, "IncompleteSignature", "The call is not to be signed.")
		return
	}
	token, _, err := c.verify(r.Context(), r.PostFormValue("WebIdentityToken"), c.aws)
	switch {
	case errors.Is(err, errIssuer):
		refuse(http.StatusBadRequest, "InvalidIdentityToken", "No OpenIDConnect provider found in your account for https://issuer.example")
	case errors.Is(err, errKeys):
		refuse(http.StatusBadRequest, "InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity documentation for requirements")
	case errors.Is(err, errAudience):
		refuse(http.StatusBadRequest, "InvalidIdentityToken", "Incorrect token audience")
	case err != nil:
		refuse(http.StatusBadRequest, "InvalidIdentityToken", "The web identity token provided could not be validated")
	case r.PostFormValue("RoleArn") != c.role || !c.aws.matches(token.Subject):
		refuse(http.StatusForbidden, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
	default:
		w.Header().Set("Content-Type", "text/xml")
		fmt.Fprint(w, `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials>`+
			`<AccessKeyId>ASIAFAKE</AccessKeyId><SecretAccessKey>SECRET-OF-THE-SESSION</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2030-01-01T00:00:00Z</Expiration>`+
			`</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`)
	}
}

// tell answers as token endpoints do (RFC 6749 §5).
func tell(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func refusal(code, description string) map[string]any {
	return map[string]any{"error": code, "error_description": description}
}

// googleToken answers the exchange (RFC 8693).
func (c *Clouds) googleToken(w http.ResponseWriter, r *http.Request) {
	if r.PostFormValue("grant_type") != "urn:ietf:params:oauth:grant-type:token-exchange" || r.PostFormValue("subject_token_type") != "urn:ietf:params:oauth:token-type:jwt" ||
		r.PostFormValue("requested_token_type") != "urn:ietf:params:oauth:token-type:access_token" || r.PostFormValue("scope") == "" {
		tell(w, http.StatusBadRequest, refusal("invalid_request", "A parameter is wrong."))
		return
	}
	if r.PostFormValue("audience") != "//iam.googleapis.com/"+c.provider {
		tell(w, http.StatusBadRequest, refusal("invalid_target", `The target service indicated by the "audience" parameters is invalid.`))
		return
	}
	token, said, err := c.verify(r.Context(), r.PostFormValue("subject_token"), c.google)
	switch {
	case errors.Is(err, errIssuer):
		tell(w, http.StatusBadRequest, refusal("invalid_grant", "The issuer in ID Token does not match the expected ones."))
	case errors.Is(err, errKeys):
		tell(w, http.StatusBadRequest, refusal("invalid_grant", "Error connecting to the given credential's issuer."))
	case errors.Is(err, errAudience):
		tell(w, http.StatusBadRequest, refusal("invalid_grant", "The audience in ID Token does not match the expected audience."))
	case err != nil:
		tell(w, http.StatusBadRequest, refusal("invalid_grant", "Invalid JWT signature."))
	case !c.google.matches(token.Subject):
		tell(w, http.StatusUnauthorized, refusal("unauthorized_client", "The given credential is rejected by the attribute condition."))
	default:
		tell(w, http.StatusOK, map[string]any{"access_token": "federated " + said.Target, "token_type": "Bearer", "expires_in": 3600})
	}
}

// accessToken answers generateAccessToken.
func (c *Clouds) accessToken(w http.ResponseWriter, r *http.Request) {
	account, ok := strings.CutSuffix(r.PathValue("call"), ":generateAccessToken")
	caller, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer federated ")
	switch {
	case !ok || !bearer:
		tell(w, http.StatusUnauthorized, map[string]any{"error": map[string]any{"code": 401, "status": "UNAUTHENTICATED"}})
	case account != c.account:
		tell(w, http.StatusNotFound, map[string]any{"error": map[string]any{"code": 404, "status": "NOT_FOUND"}})
	case !slices.Contains(c.callers, caller):
		tell(w, http.StatusForbidden, map[string]any{"error": map[string]any{"code": 403, "status": "PERMISSION_DENIED", "message": "Permission 'iam.serviceAccounts.getAccessToken' denied"}})
	default:
		tell(w, http.StatusOK, map[string]any{"accessToken": "SECRET-OF-THE-SESSION", "expireTime": "2030-01-01T00:00:00Z"})
	}
}

// entra answers the client credentials grant with an assertion (RFC 7523).
func (c *Clouds) entra(w http.ResponseWriter, r *http.Request) {
	refuse := func(code, aadsts, text string) {
		tell(w, http.StatusBadRequest, refusal(code, "AADSTS"+aadsts+": "+text+" Trace ID: 0 Timestamp: 2026-01-01 00:00:00Z"))
	}
	if r.PostFormValue("grant_type") != "client_credentials" || r.PostFormValue("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || !strings.HasSuffix(r.PostFormValue("scope"), "/.default") {
		refuse("invalid_request", "900144", "A parameter is missing.")
		return
	}
	if r.PathValue("tenant") != c.tenant {
		refuse("invalid_request", "90002", "Tenant not found.")
		return
	}
	if r.PostFormValue("client_id") != c.client {
		refuse("unauthorized_client", "700016", "Application was not found in the directory.")
		return
	}
	token, _, err := c.verify(r.Context(), r.PostFormValue("client_assertion"), c.azure)
	switch {
	case errors.Is(err, errIssuer):
		refuse("invalid_client", "700211", "No matching federated identity record found for presented assertion issuer.")
	case errors.Is(err, errKeys):
		refuse("invalid_client", "50166", "Request to External OIDC endpoint failed.")
	case errors.Is(err, errAudience):
		refuse("invalid_client", "700212", "No matching federated identity record found for presented assertion audience.")
	case err != nil:
		refuse("invalid_client", "700027", "Client assertion contains an invalid signature.")
	case !slices.Contains(c.azure.Subjects, token.Subject): // letter by letter
		refuse("invalid_client", "700213", "No matching federated identity record found for presented assertion subject.")
	default:
		tell(w, http.StatusOK, map[string]any{"access_token": "SECRET-OF-THE-SESSION", "token_type": "Bearer", "expires_in": 3599})
	}
}
