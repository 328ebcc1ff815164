package vmtest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"slipway.dev/models"
)

// What a Compute knows from the start.
const (
	Project  = "acme-apps"
	Zone     = "europe-test1-b"
	Provider = "projects/123456789012/locations/global/workloadIdentityPools/slipway/providers/portal"
	Account  = "slipway@acme-apps.iam.gserviceaccount.com"
)

// Compute speaks the REST API of Google's Compute Engine, and as much of its neighbours as gives and checks access
// tokens: OAuth, the token service, the credentials of service accounts, and the test of permissions.
type Compute struct {
	*machines
	URL string // with the place for the service's name

	key        *rsa.PrivateKey
	tokens     map[string]time.Time // access tokens and their end
	instances  map[string]*gceInstance
	firewalls  map[string]*gceFirewall
	operations map[string]*gceOperation
	requests   map[string]string // operations by request id
	lacks      []string          // permissions
	used       float64           // of the quota of addresses
}

type gceInstance struct {
	Name        string            `json:"name"`
	Status      string            `json:"status"`
	MachineType string            `json:"machineType"`
	Labels      map[string]string `json:"labels"`
	Tags        struct {
		Items []string `json:"items"`
	} `json:"tags"`
	Disks []struct {
		Boot             bool `json:"boot"`
		AutoDelete       bool `json:"autoDelete"`
		InitializeParams struct {
			SourceImage string            `json:"sourceImage"`
			DiskSizeGb  string            `json:"diskSizeGb"`
			DiskType    string            `json:"diskType"`
			Labels      map[string]string `json:"labels"`
		} `json:"initializeParams"`
	} `json:"disks"`
	NetworkInterfaces []struct {
		Subnetwork    string `json:"subnetwork"`
		NetworkIP     string `json:"networkIP"`
		AccessConfigs []struct {
			Type  string `json:"type"`
			Name  string `json:"name"`
			NatIP string `json:"natIP"`
		} `json:"accessConfigs"`
	} `json:"networkInterfaces"`
	Metadata struct {
		Items []struct {
			Key   string `json:"key"`
			Value string `json:"value"`
		} `json:"items"`
	} `json:"metadata"`
}

type gceFirewall struct {
	Name         string   `json:"name"`
	Description  string   `json:"description"`
	Network      string   `json:"network"`
	Direction    string   `json:"direction"`
	SourceRanges []string `json:"sourceRanges"`
	TargetTags   []string `json:"targetTags"`
	Allowed      []struct {
		IPProtocol string   `json:"IPProtocol"`
		Ports      []string `json:"ports"`
	} `json:"allowed"`
}

type gceOperation struct {
	Name   string `json:"name"`
	Zone   string `json:"zone,omitempty"`
	Status string `json:"status"`
	Error  any    `json:"error,omitempty"`
	end    func()
}

// NewCompute starts one that ends with the test.
func NewCompute(t testing.TB) *Compute {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	c := &Compute{machines: newMachines(t), key: key, tokens: map[string]time.Time{}, instances: map[string]*gceInstance{}, firewalls: map[string]*gceFirewall{}, operations: map[string]*gceOperation{}, requests: map[string]string{}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.URL = server.URL + "/{service}"
	return c
}

// Key is the JSON of the account's key. Where it says that tokens come from is a trap.
func (c *Compute) Key() string {
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	text, err := json.Marshal(map[string]string{"type": "service_account", "client_email": Account, "private_key_id": "1", "token_uri": "http://192.0.2.1/steal",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))})
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// Foreign adds an instance and a firewall rule that are somebody else's; named as the target's own where it has an id.
func (c *Compute) Foreign(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := "foreign"
	if id != "" {
		name = "slipway-" + id
	}
	c.instances[name] = &gceInstance{Name: name, Status: "RUNNING"}
	c.firewalls[name] = &gceFirewall{Name: name}
}

// Instances are the instances' names.
func (c *Compute) Instances() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.instances))
}

// Firewalls are the firewall rules' names, with where each lets SSH in from.
func (c *Compute) Firewalls() (out []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(c.firewalls)) {
		out = append(out, name+" "+strings.Join(c.firewalls[name].SourceRanges, ","))
	}
	return out
}

// Set gives all instances the status; an empty one deletes them.
func (c *Compute) Set(status string) {
	c.mu.Lock()
	var ended []string
	for name, i := range c.instances {
		i.Status = status
		ended = append(ended, i.NetworkInterfaces[0].NetworkIP)
		if status == "" {
			delete(c.instances, name)
		}
	}
	c.mu.Unlock()
	for _, address := range ended {
		c.halt(address)
	}
}

// Lack has the account lack permissions.
func (c *Compute) Lack(permissions ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lacks = permissions
}

// Expire ends all access tokens.
func (c *Compute) Expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for token := range c.tokens {
		c.tokens[token] = time.Time{}
	}
}

func (c *Compute) issue() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	token := models.NewID()
	c.tokens[token] = time.Now().Add(time.Hour)
	return token
}

func (c *Compute) signedIn(r *http.Request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")].After(time.Now())
}

const computeAt = "/compute/compute/v1/projects/" + Project

// route is a call of the API.
type route struct {
	name, method string
	path         *regexp.Regexp
	do           func(c *Compute, r *http.Request, name string) (any, *Fault)
}

var computeRoutes = []route{
	{"instances.get", "GET", regexp.MustCompile(`^/zones/` + Zone + `/instances/([^/]+)$`), (*Compute).getInstance},
	{"instances.insert", "POST", regexp.MustCompile(`^/zones/` + Zone + `/instances()$`), (*Compute).insertInstance},
	{"instances.delete", "DELETE", regexp.MustCompile(`^/zones/` + Zone + `/instances/([^/]+)$`), (*Compute).deleteInstance},
	{"firewalls.get", "GET", regexp.MustCompile(`^/global/firewalls/([^/]+)$`), (*Compute).getFirewall},
	{"firewalls.insert", "POST", regexp.MustCompile(`^/global/firewalls()$`), (*Compute).insertFirewall},
	{"firewalls.patch", "PATCH", regexp.MustCompile(`^/global/firewalls/([^/]+)$`), (*Compute).patchFirewall},
	{"firewalls.delete", "DELETE", regexp.MustCompile(`^/global/firewalls/([^/]+)$`), (*Compute).deleteFirewall},
	{"operations.wait", "POST", regexp.MustCompile(`^/(?:global|zones/` + Zone + `)/operations/([^/]+)/wait$`), (*Compute).wait},
	{"subnetworks.get", "GET", regexp.MustCompile(`^/regions/europe-test1/subnetworks/([^/]+)$`), (*Compute).subnet},
	{"regions.get", "GET", regexp.MustCompile(`^/regions/(europe-test1)$`), (*Compute).region},
}

// ServeHTTP answers a call of any of the services.
func (c *Compute) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if c.login(w, r) {
		return
	}
	if !c.signedIn(r) {
		refuseGoogle(w, &Fault{Status: 401, Code: "authError", Message: "Request had invalid authentication credentials."})
		return
	}
	path, ok := strings.CutPrefix(r.URL.Path, computeAt)
	if strings.HasSuffix(r.URL.Path, ":testIamPermissions") {
		c.permissions(w, r)
		return
	}
	at := slices.IndexFunc(computeRoutes, func(x route) bool { return x.method == r.Method && x.path.MatchString(path) })
	if !ok || at < 0 {
		refuseGoogle(w, &Fault{Status: 404, Code: "notFound", Message: r.Method + " " + r.URL.Path})
		return
	}
	call := computeRoutes[at]
	f := c.fault(call.name)
	if f != nil && !f.Done {
		refuseGoogle(w, f)
		return
	}
	out, refused := call.do(c, r, call.path.FindStringSubmatch(path)[1])
	if f == nil {
		f = refused
	}
	if f != nil {
		refuseGoogle(w, f)
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}

func refuseGoogle(w http.ResponseWriter, f *Fault) {
	if f.Status == 0 {
		hangUp(w)
		return
	}
	w.WriteHeader(f.Status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": f.Status, "message": f.Message, "errors": []any{map[string]string{"reason": f.Code, "message": f.Message, "domain": "global"}}}})
}

// login answers calls for access tokens.
func (c *Compute) login(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case r.URL.Path == "/oauth2/token":
		if c.assertion(r.PostFormValue("assertion")) {
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": c.issue(), "token_type": "Bearer", "expires_in": 3600})
			return true
		}
		w.WriteHeader(400)
		_, _ = w.Write([]byte(`{"error":"invalid_grant"}`))
	case r.URL.Path == "/sts/v1/token":
		if c.fault("token") == nil && r.PostFormValue("subject_token") == Token && r.PostFormValue("audience") == "//iam.googleapis.com/"+Provider {
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": c.issue(), "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600})
			return true
		}
		w.WriteHeader(400)
		_, _ = w.Write([]byte(`{"error":"invalid_grant","error_description":"` + r.PostFormValue("subject_token") + `"}`))
	case strings.HasSuffix(r.URL.Path, "/serviceAccounts/"+Account+":generateAccessToken") && c.signedIn(r):
		_ = json.NewEncoder(w).Encode(map[string]any{"accessToken": c.issue(), "expireTime": time.Now().Add(time.Hour).UTC().Format(time.RFC3339)})
	default:
		return false
	}
	return true
}

// assertion checks a JWT by the account's key (RFC 7523).
func (c *Compute) assertion(text string) bool {
	token, err := jose.ParseSigned(text, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return false
	}
	payload, err := token.Verify(&c.key.PublicKey)
	var claims struct {
		Iss, Aud string
		Exp      int64
	}
	return err == nil && json.Unmarshal(payload, &claims) == nil && claims.Iss == Account && strings.HasSuffix(claims.Aud, "/oauth2/token") && claims.Exp > time.Now().Unix()
}

func (c *Compute) permissions(w http.ResponseWriter, r *http.Request) {
	var in struct{ Permissions []string }
	if r.URL.Path != "/cloudresourcemanager/v1/projects/"+Project+":testIamPermissions" || decode(r, &in) != nil {
		refuseGoogle(w, &Fault{Status: 403, Code: "forbidden"})
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	has := slices.DeleteFunc(in.Permissions, func(p string) bool { return slices.Contains(c.lacks, p) })
	_ = json.NewEncoder(w).Encode(map[string]any{"permissions": has})
}
