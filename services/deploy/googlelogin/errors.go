package googlelogin

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"golang.org/x/oauth2"
	"slipway.dev/services/deploy"
)

// deniedWords are those of Google's refusals, where an answer has no details.
var deniedWords = regexp.MustCompile(`(?:Required|[Pp]ermission):? '?([a-z]+\.[A-Za-z]+\.[A-Za-z]+)'?`)

// Lacks is the permission that a refusal's text names; empty where it names none.
func Lacks(text string) string {
	if m := deniedWords.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// exchangeWords are how externalaccount tells of a refusal, for which it has no type.
var exchangeWords = regexp.MustCompile(`(?s)oauth2/google: status code (\d+): (.*)$`)

// refused says why no access token could be had. An answer's text may repeat what
// was sent, so that only its code is shown.
func (l Login) refused(err error) error {
	told, answer := new(deploy.Failure), new(oauth2.RetrieveError)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &told):
		return told
	case errors.As(err, &answer) && answer.Response != nil && answer.Response.StatusCode >= 500:
		return fmt.Errorf("google: no access token: status %d", answer.Response.StatusCode)
	case errors.As(err, &answer):
		code := refusal(answer.Body)
		if code == "" {
			code = "without a reason"
		}
		return deploy.Failf(deploy.StageTarget, nil, "Google refused the service account's key (%s). Make a new key, and check that the account is enabled.", code)
	}
	m := exchangeWords.FindStringSubmatch(err.Error())
	switch {
	case m == nil:
		return fmt.Errorf("google: no access token: %w", err)
	case m[1][0] == '5' || m[1] == "429":
		return fmt.Errorf("google: no access token: status %s", m[1])
	}
	if code := refusal([]byte(m[2])); code != "" {
		return deploy.Failf(deploy.StageTarget, nil, "Google does not accept Slipway's token (%s). Check that the provider %s trusts this portal's address as its issuer, and that its condition lets the token's subject in.", code, l.Provider)
	}
	return deploy.Failf(deploy.StageTarget, nil, "Google does not let Slipway act as %s (status %s): the permission iam.serviceAccounts.getAccessToken is missing. Grant the principals of the provider %s roles/iam.workloadIdentityUser on that account.", l.Account, m[1], l.Provider)
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
