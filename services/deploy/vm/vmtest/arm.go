package vmtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
)

// What an ARM knows from the start.
const (
	Subscription = "6a1f0c52-1111-2222-3333-444455556666"
	Tenant       = "f3d1c9b7-1111-2222-3333-444455556666"
	ClientID     = "0b5e7a94-1111-2222-3333-444455556666"
	ClientSecret = "the secret of the application"
	Location     = "testeurope"
)

const armGroup = "/subscriptions/" + Subscription + "/resourceGroups/apps"

// ARM speaks Azure Resource Manager's protocol over HTTPS, with its long operations, for the parts of a virtual machine,
// and Entra ID's for its tokens.
type ARM struct {
	*machines
	URL    string
	Client *http.Client // that trusts it

	tokens     map[string]time.Time
	resources  map[string]*armResource
	operations map[string]*armOperation
	actions    []string // that the account may do
	cores      int      // that are used, of 10
}

// armResource is a resource by its path.
type armResource struct {
	ID         string            `json:"id"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Properties map[string]any    `json:"properties"`

	uses    []string // paths of other resources
	address string
}

// armOperation is work that goes on.
type armOperation struct {
	polls int
	fault *Fault
	end   func()
}

// NewARM starts one that ends with the test.
func NewARM(t testing.TB) *ARM {
	a := &ARM{machines: newMachines(t), tokens: map[string]time.Time{}, resources: map[string]*armResource{}, operations: map[string]*armOperation{}, actions: []string{"Microsoft.Compute/*", "Microsoft.Network/*"}}
	server := httptest.NewTLSServer(a)
	t.Cleanup(server.Close)
	a.URL, a.Client = server.URL, server.Client()
	return a
}

// Resources are the paths of the resources below their group's providers.
func (a *ARM) Resources() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.resources))
}

// LetIn is where the security groups let SSH in from.
func (a *ARM) LetIn() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for path, r := range a.resources {
		if strings.Contains(path, "networkSecurityGroups") {
			return fmt.Sprint(r.Properties["from"])
		}
	}
	return ""
}

// Foreign adds a security group of the target's name that is somebody else's.
func (a *ARM) Foreign(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.resources["Microsoft.Network/networkSecurityGroups/slipway-"+id] = &armResource{Tags: map[string]string{"owner": "another"}}
}

// Power gives all machines the power state.
func (a *ARM) Power(state string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for path, r := range a.resources {
		if strings.Contains(path, "virtualMachines") {
			r.Properties["power"] = state
		}
	}
}

// Allow has the account do these actions alone.
func (a *ARM) Allow(actions ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.actions = actions
}

// UseUp leaves nothing of the quota of processors.
func (a *ARM) UseUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cores = 10
}

// Expire ends all tokens.
func (a *ARM) Expire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for token := range a.tokens {
		a.tokens[token] = time.Time{}
	}
}

// ServeHTTP answers a call of Entra ID's or of Resource Manager's.
func (a *ARM) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/"+Tenant+"/") {
		a.entra(w, r)
		return
	}
	a.mu.Lock()
	live := a.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")].After(time.Now())
	a.mu.Unlock()
	switch {
	case !live:
		refuseARM(w, &Fault{Status: 401, Code: "ExpiredAuthenticationToken", Message: "The access token expiry is in the past."})
	case r.URL.Query().Get("api-version") == "":
		refuseARM(w, &Fault{Status: 400, Code: "MissingApiVersionParameter"})
	case strings.Contains(r.URL.Path, "/operations/"):
		a.poll(w, r)
	case r.URL.Path == armGroup:
		answerARM(w, 200, map[string]string{"id": armGroup, "location": Location})
	case !strings.HasPrefix(r.URL.Path, armGroup+"/") && strings.Contains(r.URL.Path, "/resourceGroups/"):
		refuseARM(w, &Fault{Status: 404, Code: "ResourceGroupNotFound", Message: "Resource group could not be found."})
	case r.URL.Path == armGroup+"/providers/Microsoft.Authorization/permissions":
		a.mu.Lock()
		defer a.mu.Unlock()
		answerARM(w, 200, map[string]any{"value": []any{map[string]any{"actions": a.actions, "notActions": []string{}}}})
	case strings.HasSuffix(r.URL.Path, "/locations/"+Location+"/usages"):
		a.mu.Lock()
		defer a.mu.Unlock()
		answerARM(w, 200, map[string]any{"value": []any{map[string]any{"name": map[string]string{"value": "cores"}, "currentValue": a.cores, "limit": 10}}})
	default:
		a.resource(w, r, strings.TrimPrefix(r.URL.Path, armGroup+"/providers/"))
	}
}

func answerARM(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuseARM(w http.ResponseWriter, f *Fault) {
	if f.Status == 0 {
		hangUp(w)
		return
	}
	answerARM(w, f.Status, map[string]any{"error": map[string]string{"code": f.Code, "message": f.Message}})
}

// entra serves the tenant's endpoint for tokens
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).
func (a *ARM) entra(w http.ResponseWriter, r *http.Request) {
	at := a.URL + "/" + Tenant
	if strings.HasSuffix(r.URL.Path, "/openid-configuration") {
		answerARM(w, 200, map[string]string{"authorization_endpoint": at + "/oauth2/v2.0/authorize", "token_endpoint": at + "/oauth2/v2.0/token", "issuer": at + "/v2.0"})
		return
	}
	proven := r.PostFormValue("client_secret") == ClientSecret || r.PostFormValue("client_assertion") == Token
	if r.PostFormValue("client_id") != ClientID || !proven || a.fault("token") != nil {
		why := "AADSTS7000215: Invalid client secret provided."
		if r.PostFormValue("client_assertion") != "" {
			why = "AADSTS700213: No matching federated identity record found for presented assertion subject."
		}
		answerARM(w, 401, map[string]string{"error": "invalid_client", "error_description": why})
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	token := models.NewID()
	a.tokens[token] = time.Now().Add(time.Hour)
	answerARM(w, 200, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600})
}
