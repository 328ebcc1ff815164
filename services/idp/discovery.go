package idp

import (
	"encoding/json"
	"net/http"
)

var scopes = []string{"openid", "profile", "email"}

// metadata is what the provider says of itself (OpenID Connect Discovery 1.0
// §3): what it does and nothing else, so that nobody relies on a gap.
type metadata struct {
	Issuer           string   `json:"issuer"`
	Authorization    string   `json:"authorization_endpoint"`
	Token            string   `json:"token_endpoint"`
	Userinfo         string   `json:"userinfo_endpoint"`
	Keys             string   `json:"jwks_uri"`
	Scopes           []string `json:"scopes_supported"`
	ResponseTypes    []string `json:"response_types_supported"`
	ResponseModes    []string `json:"response_modes_supported"`
	GrantTypes       []string `json:"grant_types_supported"`
	SubjectTypes     []string `json:"subject_types_supported"`
	Algorithms       []string `json:"id_token_signing_alg_values_supported"`
	ClientAuth       []string `json:"token_endpoint_auth_methods_supported"`
	Challenges       []string `json:"code_challenge_methods_supported"`
	Claims           []string `json:"claims_supported"`
	SendsIssuer      bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207
	RequestParameter bool     `json:"request_parameter_supported"`
	RequestURI       bool     `json:"request_uri_parameter_supported"`
	ClaimsParameter  bool     `json:"claims_parameter_supported"`
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	at := p.Issuer()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(metadata{
		Issuer: at, Authorization: at + "/authorize", Token: at + "/oauth/token", Userinfo: at + "/userinfo", Keys: at + "/keys",
		Scopes: scopes, ResponseTypes: []string{"code"}, ResponseModes: []string{"query"}, GrantTypes: []string{"authorization_code"},
		SubjectTypes: []string{"public"}, Algorithms: []string{string(algorithm)}, ClientAuth: []string{"client_secret_basic"},
		Challenges: []string{"S256"}, SendsIssuer: true,
		Claims: []string{"iss", "sub", "aud", "azp", "exp", "iat", "auth_time", "nonce", "at_hash", "amr", "name", "preferred_username", "email", "email_verified"},
	})
}
