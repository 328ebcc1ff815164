package vm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"golang.org/x/oauth2/google/externalaccount"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

const googleScope = "https://www.googleapis.com/auth/cloud-platform"

// googleFields are the settings by which Google knows the portal.
func googleFields() []deploy.Field {
	return []deploy.Field{
		{Name: "project", Label: "Project", Example: "acme-apps", Required: true, Help: "The project's id, not its number."},
		{Name: "zone", Label: "Zone", Example: "europe-west1-b", Required: true},
		{Name: "workload_provider", Label: "Workload identity provider", Example: "projects/123456789012/locations/global/workloadIdentityPools/slipway/providers/portal",
			Help: "Slipway signs in with short-lived tokens of its own, and no key is stored. Empty, and no key below: the account of the machine that Slipway runs on."},
		{Name: "service_account", Label: "Account of Slipway", Example: "slipway@acme-apps.iam.gserviceaccount.com",
			Help: "The service account that the provider's tokens are exchanged for. Empty: the provider's principals have the rights themselves."},
		{Name: "key", Label: "Service account key", Secret: true, Lines: 6, Help: "The JSON file of a key. Only where there is no workload identity provider."},
	}
}

var (
	projects  = regexp.MustCompile(`^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$`)
	zones     = regexp.MustCompile(`^([a-z]+(-[a-z]+)+\d+)-[a-z]$`)
	accounts  = regexp.MustCompile(`^[a-z0-9-]+@[a-z0-9.-]+\.gserviceaccount\.com$`)
	providers = regexp.MustCompile(`^projects/\d+/locations/global/workloadIdentityPools/[a-z0-9-]+/providers/[a-z0-9-]+$`)
)

// googleHost is the address of a service of Google's.
func googleHost(endpoint deploy.Endpoint, service string) string {
	if endpoint == "" {
		endpoint = "https://{service}.googleapis.com"
	}
	return endpoint.Of(service)
}

// googleLogin returns how a source of access tokens is made, by the settings.
func googleLogin(c deploy.Config, client *http.Client, s settings) (func() (oauth2.TokenSource, error), error) {
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, client)
	provider, account, key := c.Settings["workload_provider"], c.Settings["service_account"], c.Secrets["key"]
	wrong := map[string]string{}
	if provider != "" && !providers.MatchString(provider) {
		wrong["workload_provider"] = "This is not the full name of a provider: projects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER."
	}
	if account != "" && !accounts.MatchString(account) {
		wrong["service_account"] = "This is not the email of a service account."
	}
	if err := models.InvalidFields(wrong); err != nil {
		return nil, err
	}
	switch {
	case provider != "":
		return func() (oauth2.TokenSource, error) { return federated(ctx, c, s, provider, account) }, nil
	case key != "":
		read, err := google.JWTConfigFromJSON([]byte(key), googleScope)
		if err != nil {
			return nil, models.InvalidField("key", "This is not the JSON of a service account's key.")
		}
		read.TokenURL = googleHost(s.endpoint, "oauth2") + "/token" // the key goes to Google, wherever its file says that tokens come from
		read.Audience = read.TokenURL
		return func() (oauth2.TokenSource, error) { return read.TokenSource(ctx), nil }, nil
	}
	return func() (oauth2.TokenSource, error) {
		found, err := google.FindDefaultCredentials(ctx, googleScope)
		if err != nil {
			return nil, deploy.Failf(deploy.StageTarget, err, "The target has no key and no workload identity provider, and the machine that Slipway runs on has no Google account of its own.")
		}
		return found.TokenSource, nil
	}, nil
}

// federated exchanges the portal's own tokens (https://cloud.google.com/iam/docs/workload-identity-federation).
func federated(ctx context.Context, c deploy.Config, s settings, provider, account string) (oauth2.TokenSource, error) {
	if c.Identity == nil {
		return nil, deploy.Failf(deploy.StageTarget, nil, "The target signs in by a workload identity provider, but this portal is no issuer of identity tokens. Give it an address with https, or give the target a key.")
	}
	config := externalaccount.Config{
		Audience: "//iam.googleapis.com/" + provider, SubjectTokenType: "urn:ietf:params:oauth:token-type:jwt",
		TokenURL: googleHost(s.endpoint, "sts") + "/v1/token", Scopes: []string{googleScope},
		SubjectTokenSupplier: supplier{c.Identity, "https://iam.googleapis.com/" + provider},
	}
	if account != "" {
		config.ServiceAccountImpersonationURL = googleHost(s.endpoint, "iamcredentials") + "/v1/projects/-/serviceAccounts/" + account + ":generateAccessToken"
	}
	return externalaccount.NewTokenSource(ctx, config)
}

// supplier gives the portal's own token to the exchange. Its audience is the provider's name, which a provider accepts
// where nothing else was set.
type supplier struct {
	identity deploy.Identity
	audience string
}

// SubjectToken makes a token that is exchanged at once.
func (s supplier) SubjectToken(ctx context.Context, _ externalaccount.SupplierOptions) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	return s.identity(ctx, s.audience, deploy.Subject{})
}

// exchangeStatus is how externalaccount tells of a refusal, for which it has no type.
var exchangeStatus = regexp.MustCompile(`oauth2/google: status code (\d)\d\d: `)

// noToken says why no access token could be had. An answer's text may repeat what was sent, so that only its code is shown.
func noToken(err error) error {
	failed, answer := new(deploy.Failure), new(oauth2.RetrieveError)
	switch found := exchangeStatus.FindStringSubmatch(err.Error()); {
	case errors.As(err, &failed):
		return failed
	case errors.As(err, &answer) && answer.Response != nil && answer.Response.StatusCode < 500:
		return deploy.Failf(deploy.StageTarget, nil, "Google refused the service account's key (%s). Make a new key, and check that the account is enabled.", answer.Response.Status)
	case found != nil && found[1] == "4":
		return deploy.Failf(deploy.StageTarget, nil, "Google does not accept this portal's token. Check that the workload identity provider trusts this portal's address as its issuer, that its condition lets the target in, and that its principals may act as the service account (roles/iam.workloadIdentityUser).")
	}
	return &silence{errors.New("no access token")}
}

// googleError is an error of Google's REST services (https://cloud.google.com/apis/design/errors), or of an operation.
type googleError struct {
	status int
	reason string // such as quotaExceeded, or QUOTA_EXCEEDED
	text   string
}

func (e *googleError) Error() string { return e.reason + ": " + e.text }

func readGoogleError(status int, body []byte) error {
	var in struct {
		Error struct {
			Message string
			Status  string
			Errors  []struct{ Reason string }
		}
	}
	e := &googleError{status: status}
	if json.Unmarshal(body, &in) == nil {
		e.reason, e.text = in.Error.Status, in.Error.Message
		if len(in.Error.Errors) > 0 {
			e.reason = in.Error.Errors[0].Reason
		}
	}
	if len(e.text) > 300 {
		e.text = e.text[:300] + "…"
	}
	e.text = strings.ToValidUTF8(e.text, "")
	return e
}
