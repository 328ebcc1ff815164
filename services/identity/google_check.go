package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"slipway.dev/services/deploy"
)

const (
	googleScope   = "https://www.googleapis.com/auth/cloud-platform"
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693 §2.1
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"   // RFC 8693 §3
	typeJWT       = "urn:ietf:params:oauth:token-type:jwt"            // RFC 8693 §3
)

// tokenAnswer is what a token endpoint answers (RFC 6749 §5).
type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func checkGoogle(ctx context.Context, c *check) error {
	const title = "Provider"
	m := providerForm.FindStringSubmatch(c.target.Settings["workload_provider"])
	if m == nil {
		c.fail(title, "The target has no workload identity provider. Run the commands, and enter its name in the target's settings: projects/…/locations/global/workloadIdentityPools/…/providers/….")
		return nil
	}
	access, err := c.exchange(ctx, title, m[1], deploy.Subject{})
	if err != nil || access == "" {
		return err
	}
	c.pass(title, "Google takes tokens of the target.")
	const releases = "Provider for releases"
	if again, err := c.exchange(ctx, releases, m[1], sample); err != nil {
		return err
	} else if again != "" {
		c.pass(releases, "Google takes tokens of the target's releases too.")
	}
	account := c.target.Settings["service_account"]
	if account == "" {
		c.note("Service account", "The target acts as no service account: the provider's principals need the rights themselves.")
		return nil
	}
	return c.impersonate(ctx, account, access)
}

// exchange exchanges a token of the subject (https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token).
// Where there is none in return, a finding says why.
func (c *check) exchange(ctx context.Context, title, provider string, of deploy.Subject) (access string, err error) {
	token, err := c.token(ctx, "https://iam.googleapis.com/"+provider, of)
	if err != nil {
		return "", err
	}
	at := c.at(c.Endpoints.Google, "sts", "https://sts.googleapis.com")
	form := url.Values{"grant_type": {exchangeGrant}, "audience": {"//iam.googleapis.com/" + provider}, "scope": {googleScope},
		"requested_token_type": {typeAccess}, "subject_token": {token}, "subject_token_type": {typeJWT}}
	status, body, ok := c.post(ctx, title, at+"/v1/token", form)
	if !ok {
		return "", nil
	}
	var answer tokenAnswer
	if err := json.Unmarshal(body, &answer); err != nil || status == http.StatusOK && answer.AccessToken == "" {
		c.fail(title, "What answers at %s is not Google's token service (status %d). Look at the target's other address of the API.", at, status)
		return "", nil
	}
	if status != http.StatusOK {
		c.googleRefusal(title, provider, of, answer)
	}
	return answer.AccessToken, nil
}

// googleRefusal says what is missing, by the code and what the description holds.
func (c *check) googleRefusal(title, provider string, of deploy.Subject, answer tokenAnswer) {
	subject, _ := subjectOf(c.target.Name, of)
	said := func(words string) bool { return strings.Contains(strings.ToLower(answer.Description), words) }
	switch {
	case answer.Error == "invalid_target":
		c.fail(title, "Google knows no provider %s, or it is turned off. Run the commands, with the project's number and not its id.", provider)
	case answer.Error == "unauthorized_client":
		c.fail(title, "The subject does not match: the provider's attribute condition refuses %s. It has to be assertion.target == \"%s\".", subject, c.target.Name)
	case said("connecting to the given credential's issuer"), said("fetch") && said("key"), said("discovery"):
		c.fail(title, "Google can't read the portal's keys: %s has to be reached from the internet by HTTPS. Where it can't be, upload the keys: check “Google can't reach this portal” in the form.", c.ExternalURL+DiscoveryPath)
	case said("audience"):
		c.fail(title, "The audience does not match: the provider has to allow https://iam.googleapis.com/%s.", provider)
	case said("issuer"):
		c.fail(title, "The issuer does not match: the provider has to name %s, exactly as it is here.", c.Issuer())
	case said("127 bytes"), said("size of mapped attribute"):
		c.fail(title, "The names are too long for the provider's attribute mapping. Map google.subject as the commands do.")
	case said("attribute"):
		c.fail(title, "The provider's attribute mapping does not fit the tokens. Map the attributes as the commands do.")
	case said("signature"), said("jwk"), said("kid"), said("key"):
		c.fail(title, "Google does not know the key that signed the token. Where keys were uploaded, upload them again; else Google gets the new ones within an hour.")
	case said("expired"), said("stale"), said("issued"):
		c.fail(title, "Google takes the token for expired or not valid yet. Set the clock of this machine right.")
	default:
		c.fail(title, "Google refuses the exchange (%s). Look whether the provider's issuer is %s and its audience https://iam.googleapis.com/%s.", code(answer.Error), c.Issuer(), provider)
	}
}

// impersonate asks for a token of the service account
// (https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken).
func (c *check) impersonate(ctx context.Context, account, access string) error {
	const title = "Service account"
	if !emailForm.MatchString(account) {
		c.fail(title, "The target's service account is none. Enter its e-mail address in the target's settings.")
		return nil
	}
	at := c.at(c.Endpoints.GoogleIAM, "iamcredentials", "https://iamcredentials.googleapis.com")
	body, err := json.Marshal(map[string]any{"scope": []string{googleScope}, "lifetime": "300s"})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/v1/projects/-/serviceAccounts/"+url.PathEscape(account)+":generateAccessToken", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+access)
	status, text, err := c.ask(req)
	if err != nil {
		c.fail(title, "%s", unreachable(at, err))
		return nil
	}
	var answer struct {
		AccessToken string `json:"accessToken"`
		Error       struct {
			Status  string                    `json:"status"`
			Details []struct{ Reason string } `json:"details"`
		} `json:"error"`
	}
	parsed := json.Unmarshal(text, &answer) == nil
	reason := ""
	for _, d := range answer.Error.Details {
		if d.Reason != "" {
			reason = d.Reason
		}
	}
	switch {
	case status == http.StatusOK && answer.AccessToken != "":
		c.pass(title, "Tokens of the target may act as %s.", account)
	case !parsed || status == http.StatusOK:
		c.fail(title, "What answers at %s is not Google's API for credentials (status %d).", at, status)
	case reason == "SERVICE_DISABLED":
		c.fail(title, "The IAM Service Account Credentials API is off in the project. Run gcloud services enable iamcredentials.googleapis.com.")
	case status == http.StatusNotFound:
		c.fail(title, "There is no service account %s. Run the commands, or correct it in the target's settings.", account)
	case status == http.StatusForbidden:
		c.fail(title, "Tokens of the target may not act as %s: the permission iam.serviceAccounts.getAccessToken is missing. Give roles/iam.workloadIdentityUser on the account to the principals with attribute.target/%s.", account, c.target.Name)
	default:
		c.fail(title, "Google gives no token of %s (%s).", account, code(answer.Error.Status))
	}
	return nil
}
