package azuretest

import (
	"crypto"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"
)

// Trust is a federated credential of the application: tokens of the issuer, by
// its key, with exactly this subject.
type Trust struct {
	Issuer, Subject string
	Key             crypto.PublicKey
}

// exchange is the audience of such tokens.
const exchange = "api://AzureADTokenExchange"

// entra serves the tenant's token endpoint
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).
func (s *Server) entra(mux *http.ServeMux) {
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		at := s.URL() + "/" + r.PathValue("tenant")
		answer(w, http.StatusOK, map[string]any{"authorization_endpoint": at + "/oauth2/v2.0/authorize", "token_endpoint": at + "/oauth2/v2.0/token", "issuer": at + "/v2.0"})
	})
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.signIn)
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f := r.PostForm
	code, text := "", ""
	switch assertion := f.Get("client_assertion"); {
	case r.PathValue("tenant") != s.Tenant:
		code, text = "90002", "Tenant '"+r.PathValue("tenant")+"' not found."
	case f.Get("client_id") != s.ClientID:
		code, text = "700016", "Application with identifier '"+f.Get("client_id")+"' was not found in the directory."
	case f.Get("grant_type") != "client_credentials" || !strings.Contains(f.Get("scope"), "/.default"):
		code, text = "900144", "The request body must contain the right grant_type and scope."
	case assertion != "" && f.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
		code, text = "900144", "The request body must contain the right client_assertion_type."
	case assertion != "":
		code, text = s.trusts(assertion)
	case f.Get("client_secret") != s.Secret:
		code, text = "7000215", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID."
	}
	if code != "" {
		answer(w, http.StatusUnauthorized, map[string]any{"error": "invalid_client", "error_description": "AADSTS" + code + ": " + text + " Trace ID: 0", "error_codes": []string{code}})
		return
	}
	token := "entra-" + uuid.NewString()
	s.mu.Lock()
	s.tokens[token], s.scopes[token] = true, scopeOf(f.Get("scope"))
	s.signIns++
	s.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": 3600, "ext_expires_in": 3600, "access_token": token})
}

// trusts tells with which error a token of somebody else's is refused.
func (s *Server) trusts(assertion string) (code, text string) {
	token, err := jwt.ParseSigned(assertion, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return "50027", "JWT token is invalid or malformed."
	}
	var claims jwt.Claims
	if s.Trust.Key == nil || token.Claims(s.Trust.Key, &claims) != nil {
		return "700027", "Client assertion failed signature validation."
	}
	switch {
	case claims.Issuer != s.Trust.Issuer:
		return "700211", "No matching federated identity record found for presented assertion issuer '" + claims.Issuer + "'."
	case claims.Subject != s.Trust.Subject:
		return "700213", "No matching federated identity record found for presented assertion subject '" + claims.Subject + "'."
	case !claims.Audience.Contains(exchange):
		return "700212", "No matching federated identity record found for presented assertion audience."
	}
	return "", ""
}

// scopeOf is what a token is asked for, of scopes that have others beside it.
func scopeOf(all string) string {
	for _, one := range strings.Fields(all) {
		if strings.HasSuffix(one, "/.default") {
			return one
		}
	}
	return ""
}
