package google

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"golang.org/x/oauth2/google/externalaccount"
	"slipway.dev/services/deploy"
)

const (
	scope     = "https://www.googleapis.com/auth/cloud-platform"
	tokenTime = 30 * time.Second // for a token to be made or exchanged
)

// source returns where access tokens for calls of the subject come from: the
// portal's own tokens exchanged at Google's (workload identity federation,
// https://cloud.google.com/iam/docs/workload-identity-federation), the key, or
// whatever account the machine has.
func (t *target) source(of deploy.Subject) (oauth2.TokenSource, error) {
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Transport: t.base, Timeout: tokenTime, CheckRedirect: stay})
	s := t.settings
	switch {
	case s.provider != "" && t.Identity == nil:
		return nil, deploy.Failf(deploy.StageTarget, nil, "The target signs in by a workload identity provider, and this Slipway gives no tokens of its own. Set its external URL to an HTTPS address, or give the target a key.")
	case s.provider != "":
		return t.federated(ctx, of)
	case s.key != "":
		key, err := google.JWTConfigFromJSON([]byte(s.key), scope)
		if err != nil {
			return nil, deploy.Failf(deploy.StageTarget, nil, "The service account key can't be read. Enter a new one.") // the cause may repeat it
		}
		key.TokenURL = s.at("oauth2") + "token" // the key goes to Google, wherever its file says that tokens come from
		key.Audience = key.TokenURL
		return key.TokenSource(ctx), nil
	}
	found, err := google.FindDefaultCredentials(ctx, scope)
	if err != nil {
		return nil, deploy.Failf(deploy.StageTarget, err, "The target has no key and no workload identity provider, and the machine that Slipway runs on has no Google account of its own.")
	}
	return found.TokenSource, nil
}

// stay follows no redirect: a token and a key are for the host that was asked alone.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (t *target) federated(ctx context.Context, of deploy.Subject) (oauth2.TokenSource, error) {
	s := t.settings
	config := externalaccount.Config{
		Audience:             "//iam.googleapis.com/" + s.provider,
		SubjectTokenType:     "urn:ietf:params:oauth:token-type:jwt",
		TokenURL:             s.at("sts") + "v1/token",
		Scopes:               []string{scope},
		SubjectTokenSupplier: supplier{t.Identity, "https://iam.googleapis.com/" + s.provider, of},
	}
	if s.account != "" {
		config.ServiceAccountImpersonationURL = s.at("iamcredentials") + "v1/projects/-/serviceAccounts/" + s.account + ":generateAccessToken"
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

// exchangeWords are how externalaccount tells of a refusal, for which it has no type.
var exchangeWords = regexp.MustCompile(`(?s)oauth2/google: status code (\d+): (.*)$`)

// refusedToken says why no access token could be had. An answer's text may repeat
// what was sent, so that only its code is shown.
func (t *target) refusedToken(err error) error {
	if told := new(deploy.Failure); errors.As(err, &told) {
		return told
	}
	if answer := new(oauth2.RetrieveError); errors.As(err, &answer) {
		if answer.Response != nil && answer.Response.StatusCode >= 500 {
			return fmt.Errorf("google: no access token: status %d", answer.Response.StatusCode)
		}
		return deploy.Failf(deploy.StageTarget, nil, "Google refused the service account's key (%s). Make a new key, and check that the account is enabled.", or(refusal(answer.Body), "without a reason"))
	}
	m := exchangeWords.FindStringSubmatch(err.Error())
	switch {
	case m == nil:
		return fmt.Errorf("google: no access token: %w", err)
	case m[1][0] == '5' || m[1] == "429":
		return fmt.Errorf("google: no access token: status %s", m[1])
	}
	if code := refusal([]byte(m[2])); code != "" {
		return deploy.Failf(deploy.StageTarget, nil, "Google does not accept Slipway's token (%s). Check that the provider %s trusts this portal's address as its issuer, and that its condition lets the token's subject in.", code, t.settings.provider)
	}
	return deploy.Failf(deploy.StageTarget, nil, "Google does not let Slipway act as %s (status %s): the permission iam.serviceAccounts.getAccessToken is missing. Grant the principals of the provider %s roles/iam.workloadIdentityUser on that account.", t.settings.account, m[1], t.settings.provider)
}

// refusal is the code in an answer of a token service (RFC 6749 §5.2, RFC 8693
// §2.2.2); empty for an answer of another API, whose error is an object.
func refusal(body []byte) string {
	var answer struct {
		Error json.RawMessage `json:"error"`
	}
	var code string
	if json.Unmarshal(body, &answer) != nil || json.Unmarshal(answer.Error, &code) != nil {
		return ""
	}
	switch code {
	case "invalid_grant", "invalid_client", "invalid_target", "invalid_request", "unauthorized_client", "invalid_scope", "access_denied":
		return code
	}
	return "without a reason"
}
