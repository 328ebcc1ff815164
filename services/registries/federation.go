package registries

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"slipway.dev/models"
)

// CloudCredential is what a cloud gives for a token of this portal: an access
// key with a session on AWS, an access token on Google and Azure.
type CloudCredential struct {
	Cloud string // aws, google or azure

	AccessKeyID, SecretAccessKey, SessionToken string

	AccessToken string
	Tenant      string // of Azure

	Expires time.Time
}

// The clouds, as CloudCredential names them.
const (
	cloudAWS    = "aws"
	cloudGoogle = "google"
	cloudAzure  = "azure"
)

const (
	azureUser = "00000000-0000-0000-0000-000000000000"
	// azureLife is how long a refresh token of a registry is used. Azure gives it three hours.
	azureLife   = 2 * time.Hour
	maxExchange = 64 << 10 // bytes of an answer
)

// federated returns the credential of the target that the registry names, which has to be one of the cloud.
func (s *Service) federated(ctx context.Context, r *models.Registry, cloud string) (CloudCredential, error) {
	if s.Federation == nil {
		return CloudCredential{}, refused(nil, "This Slipway gives no tokens of its own. Give the registry a key.")
	}
	got, err := s.Federation(ctx, r.Settings[fieldTarget], r.Settings[fieldAccount])
	if err != nil {
		return CloudCredential{}, err
	}
	if got.Cloud != cloud {
		return CloudCredential{}, refused(nil, "The target %s is in another cloud than the registry.", r.Settings[fieldTarget])
	}
	return got, nil
}

// loginAzure exchanges a token of Azure for a refresh token of the registry, which is a password for it alone
// (https://github.com/Azure/acr/blob/main/docs/AAD-OAuth.md).
func (s *Service) loginAzure(ctx context.Context, r *models.Registry, _ map[string]string) (login, error) {
	got, err := s.federated(ctx, r, cloudAzure)
	if err != nil {
		return login{}, err
	}
	at := "https://" + r.Host
	if s.Endpoints.ACR != "" {
		at = s.Endpoints.ACR
	}
	form := url.Values{"grant_type": {"access_token"}, "service": {r.Host}, "tenant": {got.Tenant}, "access_token": {got.AccessToken}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/oauth2/exchange", strings.NewReader(form.Encode()))
	if err != nil {
		return login{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := s.Guard.HTTPClient().Do(req)
	if err != nil {
		return login{}, refused(quiet(err), "The registry %s does not answer. Check the host, and that this machine reaches it.", r.Host)
	}
	defer res.Body.Close()
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	err = json.NewDecoder(io.LimitReader(res.Body, maxExchange)).Decode(&answer)
	if err != nil || res.StatusCode != http.StatusOK || answer.RefreshToken == "" {
		return login{}, refused(nil, "The registry %s does not take the application of the target %s (status %d). Give it AcrPull or AcrPush there.", r.Host, r.Settings[fieldTarget], res.StatusCode)
	}
	return login{user: azureUser, password: answer.RefreshToken, until: time.Now().Add(azureLife)}, nil
}
