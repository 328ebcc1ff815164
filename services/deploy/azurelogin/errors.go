package azurelogin

import (
	"encoding/json"
	"errors"
	"regexp"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// Code is the code of Azure's answer; empty: it was none.
func Code(err error) string {
	if answer := new(azcore.ResponseError); errors.As(err, &answer) {
		return answer.ErrorCode
	}
	return ""
}

// Status is the HTTP status of Azure's answer; 0: it was none.
func Status(err error) int {
	if answer := new(azcore.ResponseError); errors.As(err, &answer) {
		return answer.StatusCode
	}
	return 0
}

// Words returns the code and the message of an error's body, those of the innermost where there are several.
func Words(err error) (code, message string) {
	answer := new(azcore.ResponseError)
	if !errors.As(err, &answer) {
		return "", ""
	}
	code = answer.ErrorCode
	if answer.RawResponse == nil {
		return code, ""
	}
	body, failed := runtime.Payload(answer.RawResponse)
	if failed != nil {
		return code, ""
	}
	var out struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Details []struct {
				Code    string `json:"code"`
				Message string `json:"message"`
			} `json:"details"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &out) != nil {
		return code, ""
	}
	if out.Error.Code != "" {
		code = out.Error.Code
	}
	if d := out.Error.Details; len(d) > 0 && d[0].Message != "" && (out.Error.Message == "" || code == "DeploymentFailed") {
		return d[0].Code, d[0].Message
	}
	return code, out.Error.Message
}

// The words of Azure's own refusals.
var (
	deniedWords = regexp.MustCompile(`perform action '([^']+)'(?: over scope '([^']+)')?`)
	entraWords  = regexp.MustCompile(`AADSTS(\d+)(?:: ([^\r\n]*))?`)
)

// Lacks is the action that a refusal's text says may not be done, and the scope, where it names one.
func Lacks(text string) (action, scope string, ok bool) {
	m := deniedWords.FindStringSubmatch(text)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// Sentence makes Azure's words end like a sentence, and not go on for ever.
func Sentence(text string) string {
	if text = deploy.Sentence(text); text == "." {
		return "it gives no reason."
	}
	return text
}

// Refused says why nobody could sign in (https://learn.microsoft.com/entra/identity-platform/reference-error-codes), or why
// the portal made no token. It is nil for errors of another kind.
func Refused(err error) *deploy.Failure {
	told, signIn := new(deploy.Failure), new(azidentity.AuthenticationFailedError)
	if errors.As(err, &told) {
		return told
	}
	if own, ok := errors.AsType[*models.Error](err); ok {
		return deploy.Failf(deploy.StageTarget, err, "%s", own.Message)
	}
	var unsigned interface{ NonRetriable() } // as errors of credentials are
	if Status(err) != 0 || !errors.As(err, &signIn) && !errors.As(err, &unsigned) {
		return nil
	}
	text := deploy.Plain(err.Error())
	m := entraWords.FindStringSubmatch(text)
	if m == nil {
		if signIn.RawResponse == nil {
			return deploy.Failf(deploy.StageTarget, err, "Slipway could not sign in to Azure: %s", Sentence(text))
		}
		return deploy.Failf(deploy.StageTarget, err, "Microsoft Entra ID did not let Slipway sign in (HTTP %d).", signIn.RawResponse.StatusCode)
	}
	switch m[1] {
	case "7000215", "7000216":
		return deploy.Failf(deploy.StageTarget, err, "Microsoft Entra ID refuses the client secret (AADSTS%s). Enter the secret's value, not its id.", m[1])
	case "7000222":
		return deploy.Failf(deploy.StageTarget, err, "The client secret has expired (AADSTS7000222). Make another one for the application, and enter it.")
	case "700016":
		return deploy.Failf(deploy.StageTarget, err, "The tenant has no application with this client id (AADSTS700016). Check both in the target's settings.")
	case "90002", "900023":
		return deploy.Failf(deploy.StageTarget, err, "Microsoft Entra ID knows no such tenant (AADSTS%s). Check the target's settings.", m[1])
	case "70021", "700211", "700212", "700213", "700214":
		return deploy.Failf(deploy.StageTarget, err, "The application trusts no token of this portal (AADSTS%s): no federated credential of it has exactly this issuer, subject and audience. The target's page shows how to make it. Azure says: %s", m[1], Sentence(m[2]))
	case "501661", "700027", "50027", "50166":
		return deploy.Failf(deploy.StageTarget, err, "Microsoft Entra ID could not check the token of this portal (AADSTS%s). The portal's address has to be reachable from the internet over HTTPS. Azure says: %s", m[1], Sentence(m[2]))
	}
	return deploy.Failf(deploy.StageTarget, err, "Microsoft Entra ID does not let Slipway sign in (AADSTS%s): %s", m[1], Sentence(m[2]))
}
