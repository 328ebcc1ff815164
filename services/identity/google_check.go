package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/googlelogin"
)

const (
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693 §2.1
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"   // RFC 8693 §3
	typeJWT       = "urn:ietf:params:oauth:token-type:jwt"            // RFC 8693 §3
)

// tokenAnswer is what a token endpoint answers (RFC 6749 §5).
type tokenAnswer struct {
	AccessToken string `json:"access_token"`
	Seconds     int    `json:"expires_in"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func (a tokenAnswer) credential() Credential {
	return Credential{AccessToken: a.AccessToken, Expires: time.Now().Add(time.Duration(a.Seconds) * time.Second)}
}

func checkGoogle(ctx context.Context, c *check) error {
	const title, releases, account = "Provider", "Provider for releases", "Service account"
	access, err := c.exchange(ctx, deploy.Subject{})
	if err != nil {
		return c.found(title, err)
	}
	c.pass(title, "Google takes tokens of the target.")
	if _, err := c.exchange(ctx, sample); err == nil {
		c.pass(releases, "Google takes tokens of the target's releases too.")
	} else if err = c.found(releases, err); err != nil {
		return err
	}
	email := c.target.Settings["service_account"]
	if email == "" {
		c.note(account, "The target acts as no service account: the provider's principals need the rights themselves.")
		return nil
	}
	if _, err := c.impersonate(ctx, email, access.AccessToken, 5*time.Minute); err != nil {
		return c.found(account, err)
	}
	c.pass(account, "Tokens of the target may act as %s.", email)
	return nil
}

func lendGoogle(ctx context.Context, c *check) (Credential, error) {
	access, err := c.exchange(ctx, deploy.Subject{})
	if email := c.target.Settings["service_account"]; err == nil && email != "" {
		return c.impersonate(ctx, email, access.AccessToken, lendTime)
	}
	return access, err
}

// exchange exchanges a token of the subject at the target's provider
// (https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token). What keeps it from that is a *lack.
func (c *check) exchange(ctx context.Context, of deploy.Subject) (Credential, error) {
	provider := c.target.Settings["workload_provider"]
	if !googlelogin.Provider.MatchString(provider) {
		return Credential{}, lacking("The target has no workload identity provider. Run the commands, and enter its name in the target's settings: projects/…/locations/global/workloadIdentityPools/…/providers/….")
	}
	token, err := c.token(ctx, "https://iam.googleapis.com/"+provider, of)
	if err != nil {
		return Credential{}, err
	}
	at := c.at(c.Endpoints.Google, "sts", "https://sts.googleapis.com")
	form := url.Values{"grant_type": {exchangeGrant}, "audience": {"//iam.googleapis.com/" + provider}, "scope": {googlelogin.Scope},
		"requested_token_type": {typeAccess}, "subject_token": {token}, "subject_token_type": {typeJWT}}
	status, body, err := c.post(ctx, at+"/v1/token", form)
	if err != nil {
		return Credential{}, err
	}
	var answer tokenAnswer
	if err := json.Unmarshal(body, &answer); err != nil || status == http.StatusOK && answer.AccessToken == "" {
		return Credential{}, lacking("What answers at %s is not Google's token service (status %d). Look at the target's other address of the API.", at, status)
	}
	if status != http.StatusOK {
		return Credential{}, c.googleRefusal(provider, of, answer)
	}
	return answer.credential(), nil
}

// googleRefusal says what is missing, by the code and what the description holds.
func (c *check) googleRefusal(provider string, of deploy.Subject, answer tokenAnswer) error {
	subject, _ := subjectOf(c.target.Name, of)
	said := func(words string) bool { return strings.Contains(strings.ToLower(answer.Description), words) }
	switch {
	case answer.Error == "invalid_target":
		return lacking("Google knows no provider %s, or it is turned off. Run the commands, with the project's number and not its id.", provider)
	case answer.Error == "unauthorized_client":
		return lacking("The subject does not match: the provider's attribute condition refuses %s. It has to be assertion.target == \"%s\".", subject, c.target.Name)
	case said("connecting to the given credential's issuer"), said("fetch") && said("key"), said("discovery"):
		return lacking("Google can't read the portal's keys: %s has to be reached from the internet by HTTPS. Where it can't be, upload the keys: check “Google can't reach this portal” in the form.", c.ExternalURL+DiscoveryPath)
	case said("audience"):
		return lacking("The audience does not match: the provider has to allow https://iam.googleapis.com/%s.", provider)
	case said("issuer"):
		return lacking("The issuer does not match: the provider has to name %s, exactly as it is here.", c.Issuer())
	case said("127 bytes"), said("size of mapped attribute"):
		return lacking("The names are too long for the provider's attribute mapping. Map google.subject as the commands do.")
	case said("attribute"):
		return lacking("The provider's attribute mapping does not fit the tokens. Map the attributes as the commands do.")
	case said("signature"), said("jwk"), said("kid"), said("key"):
		return lacking("Google does not know the key that signed the token. Where keys were uploaded, upload them again; else Google gets the new ones within an hour.")
	case said("expired"), said("stale"), said("issued"):
		return lacking("Google takes the token for expired or not valid yet. Set the clock of this machine right.")
	default:
		return lacking("Google refuses the exchange (%s). Look whether the provider's issuer is %s and its audience https://iam.googleapis.com/%s.", code(answer.Error), c.Issuer(), provider)
	}
}

// impersonate asks for a token of the service account
// (https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateAccessToken).
func (c *check) impersonate(ctx context.Context, account, access string, life time.Duration) (Credential, error) {
	if !googlelogin.Account.MatchString(account) {
		return Credential{}, lacking("The target's service account is none. Enter its e-mail address in the target's settings.")
	}
	at := c.at(c.Endpoints.GoogleIAM, "iamcredentials", "https://iamcredentials.googleapis.com")
	body, err := json.Marshal(map[string]any{"scope": []string{googlelogin.Scope}, "lifetime": fmt.Sprintf("%ds", int(life.Seconds()))})
	if err != nil {
		return Credential{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/v1/projects/-/serviceAccounts/"+url.PathEscape(account)+":generateAccessToken", bytes.NewReader(body))
	if err != nil {
		return Credential{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+access)
	status, text, err := c.ask(req)
	if err != nil {
		return Credential{}, lacking("%s", unreachable(at, err))
	}
	return c.accountToken(account, at, status, text)
}

// accountAnswer is what generateAccessToken answers.
type accountAnswer struct {
	AccessToken string    `json:"accessToken"`
	Expires     time.Time `json:"expireTime"`
	Error       struct {
		Status  string                    `json:"status"`
		Details []struct{ Reason string } `json:"details"`
	} `json:"error"`
}

func (c *check) accountToken(account, at string, status int, text []byte) (Credential, error) {
	var answer accountAnswer
	parsed := json.Unmarshal(text, &answer) == nil
	off := slices.ContainsFunc(answer.Error.Details, func(d struct{ Reason string }) bool { return d.Reason == "SERVICE_DISABLED" })
	switch {
	case status == http.StatusOK && answer.AccessToken != "":
		return Credential{AccessToken: answer.AccessToken, Expires: answer.Expires}, nil
	case !parsed || status == http.StatusOK:
		return Credential{}, lacking("What answers at %s is not Google's API for credentials (status %d).", at, status)
	case off:
		return Credential{}, lacking("The IAM Service Account Credentials API is off in the project. Run gcloud services enable iamcredentials.googleapis.com.")
	case status == http.StatusNotFound:
		return Credential{}, lacking("There is no service account %s. Run the commands, or correct it in the target's settings.", account)
	case status == http.StatusForbidden:
		return Credential{}, lacking("Tokens of the target may not act as %s: the permission iam.serviceAccounts.getAccessToken is missing. Give roles/iam.workloadIdentityUser on the account to the principals with attribute.target/%s.", account, c.target.Name)
	}
	return Credential{}, lacking("Google gives no token of %s (%s).", account, code(answer.Error.Status))
}
