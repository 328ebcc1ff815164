// Package googlelogin signs in to a project of Google Cloud, with the portal's own
// tokens, a service account's key or what the machine has. All kinds of targets on
// Google Cloud share it.
package googlelogin

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"golang.org/x/oauth2/google/externalaccount"
	"slipway.dev/services/deploy"
)

// Scope is that of the access tokens: what they may do is a matter of roles.
const Scope = "https://www.googleapis.com/auth/cloud-platform"

const (
	tokenTime = 30 * time.Second // for a token to be made or exchanged
	public    = "https://{service}.googleapis.com"
)

// Forms of what an admin enters.
var (
	// Project is a project's id.
	Project = regexp.MustCompile(`^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$`)
	// Account is the address of a service account.
	Account = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*@[a-z0-9.-]+\.gserviceaccount\.com$`)
	// Provider is the full name of a workload identity provider; its groups are the project's number, the pool and the provider.
	Provider = regexp.MustCompile(`^projects/([0-9]+)/locations/global/workloadIdentityPools/([a-z0-9-]+)/providers/([a-z0-9-]+)$`)
)

// Fields are the settings by which Google knows the portal.
func Fields() []deploy.Field {
	return []deploy.Field{
		{Group: "How Slipway signs in", Name: "workload_provider", Label: "Workload identity provider", Example: "projects/123456789012/locations/global/workloadIdentityPools/slipway/providers/portal",
			Help: "Slipway signs in with short-lived tokens of its own, and no key is stored. Empty, and no key below: the account of the machine that Slipway runs on (application default credentials, or the metadata server)."},
		{Name: "service_account", Label: "Account of Slipway", Example: "slipway@acme-apps.iam.gserviceaccount.com",
			Help: "The service account that the provider's tokens are exchanged for. Empty: the provider's principals have the rights themselves."},
		{Name: "key", Label: "Service account key", Secret: true, Lines: 6, Help: "The JSON file of a key. Only where there is no workload identity provider."},
	}
}

// Login is how Slipway signs in to a project.
type Login struct {
	Project  string // its id
	Provider string // of workload identities; empty: the key below
	Account  string // that the provider's tokens are exchanged for; empty: none
	Key      string // the JSON of a service account's key; empty, and no provider: what the machine has
	Identity deploy.Identity
	Endpoint deploy.Endpoint // empty: Google's public addresses
}

// Read returns the login of a target's settings. Wrong gets a word for each field that is not as it should be.
func Read(c deploy.Config, wrong map[string]string) Login {
	in := c.Settings
	l := Login{Project: in["project"], Provider: in["workload_provider"], Account: in["service_account"], Key: c.Secrets["key"], Identity: c.Identity, Endpoint: deploy.Endpoint(strings.TrimRight(in["endpoint"], "/"))}
	if !Project.MatchString(l.Project) {
		wrong["project"] = "This is not a project's id."
	}
	if l.Provider != "" && !Provider.MatchString(l.Provider) {
		wrong["workload_provider"] = "This is not the full name of a provider: projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER."
	}
	if l.Account != "" && !Account.MatchString(l.Account) {
		wrong["service_account"] = "This is not the email of a service account."
	}
	if l.Key != "" && l.Provider == "" {
		if _, err := google.JWTConfigFromJSON([]byte(l.Key), Scope); err != nil {
			wrong["key"] = "This is not the JSON of a service account's key."
		}
	}
	return l
}

// At is the address of one of Google's services, with a slash at its end.
func (l Login) At(service string) string {
	if l.Endpoint == "" {
		return deploy.Endpoint(public).Of(service) + "/"
	}
	return l.Endpoint.Of(service) + "/"
}

// Stay follows no redirect: a token and a key are for the host that was asked alone.
func Stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// Tokens are access tokens for calls of one subject. They are safe for concurrent use.
type Tokens struct {
	login Login
	of    deploy.Subject
	by    http.RoundTripper

	mu     sync.Mutex
	source oauth2.TokenSource
}

// Tokens returns access tokens for calls of the subject, which are fetched by the way when they are needed.
func (l Login) Tokens(of deploy.Subject, by http.RoundTripper) *Tokens {
	return &Tokens{login: l, of: of, by: by}
}

// Token returns a token that is good for a while. Why there is none is a *deploy.Failure, or an ordinary error where
// Google does not answer.
func (t *Tokens) Token() (*oauth2.Token, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.source == nil {
		from, err := t.from()
		if err != nil {
			return nil, err
		}
		t.source = oauth2.ReuseTokenSource(nil, from)
	}
	token, err := t.source.Token()
	return token, t.login.refused(err)
}

// Forget drops the token that there is, as one that Google does not know any more.
func (t *Tokens) Forget() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.source = nil
}

// from is where tokens come from: the portal's own tokens exchanged at Google's (workload identity federation,
// https://cloud.google.com/iam/docs/workload-identity-federation), the key, or whatever account the machine has.
func (t *Tokens) from() (oauth2.TokenSource, error) {
	l := t.login
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Transport: t.by, Timeout: tokenTime, CheckRedirect: Stay})
	switch {
	case l.Provider != "" && l.Identity == nil:
		return nil, deploy.Failf(deploy.StageTarget, nil, "The target signs in by a workload identity provider, and this Slipway gives no tokens of its own. Set its external URL to an HTTPS address, or give the target a key.")
	case l.Provider != "":
		return l.federated(ctx, t.of)
	case l.Key != "":
		key, err := google.JWTConfigFromJSON([]byte(l.Key), Scope)
		if err != nil {
			return nil, deploy.Failf(deploy.StageTarget, nil, "The service account key can't be read. Enter a new one.") // the cause may repeat it
		}
		key.TokenURL = l.At("oauth2") + "token" // the key goes to Google, wherever its file says that tokens come from
		key.Audience = key.TokenURL
		return key.TokenSource(ctx), nil
	}
	found, err := google.FindDefaultCredentials(ctx, Scope)
	if err != nil {
		return nil, deploy.Failf(deploy.StageTarget, err, "The target has no key and no workload identity provider, and the machine that Slipway runs on has no Google account of its own.")
	}
	return found.TokenSource, nil
}

func (l Login) federated(ctx context.Context, of deploy.Subject) (oauth2.TokenSource, error) {
	config := externalaccount.Config{
		Audience:             "//iam.googleapis.com/" + l.Provider,
		SubjectTokenType:     "urn:ietf:params:oauth:token-type:jwt",
		TokenURL:             l.At("sts") + "v1/token",
		Scopes:               []string{Scope},
		SubjectTokenSupplier: supplier{l.Identity, "https://iam.googleapis.com/" + l.Provider, of},
	}
	if l.Account != "" {
		config.ServiceAccountImpersonationURL = l.At("iamcredentials") + "v1/projects/-/serviceAccounts/" + l.Account + ":generateAccessToken"
	}
	return externalaccount.NewTokenSource(ctx, config)
}

// supplier gives the portal's own token to the exchange. Its audience is the
// provider's name, which a provider accepts where nothing else was set.
type supplier struct {
	identity deploy.Identity
	audience string
	of       deploy.Subject
}

// SubjectToken makes a token that is exchanged at once.
func (s supplier) SubjectToken(ctx context.Context, _ externalaccount.SupplierOptions) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, tokenTime)
	defer cancel()
	return s.identity(ctx, s.audience, s.of)
}
