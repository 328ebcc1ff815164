package identity

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

const assertionJWT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 §2.2

// entra are the addresses of Entra ID and the audience of the API, by the API's host
// (https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud).
var entra = map[string][2]string{
	"management.azure.com":         {"https://login.microsoftonline.com", "https://management.azure.com"},
	"management.usgovcloudapi.net": {"https://login.microsoftonline.us", "https://management.core.usgovcloudapi.net"},
	"management.chinacloudapi.cn":  {"https://login.chinacloudapi.cn", "https://management.core.chinacloudapi.cn"},
}

// aadsts finds the code of an error in its description
// (https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
var aadsts = regexp.MustCompile(`AADSTS([0-9]{4,9})\b`)

func checkAzure(ctx context.Context, c *check) error {
	const title = "Application"
	if _, err := lendAzure(ctx, c); err != nil {
		return c.found(title, err)
	}
	c.pass(title, "Entra ID takes tokens of the target for the application %s.", c.target.Settings["client_id"])
	return nil
}

// lendAzure signs in as the target's application (RFC 7523 §2.2). What keeps it from that is a *lack.
func lendAzure(ctx context.Context, c *check) (Credential, error) {
	tenant, client := c.target.Settings["tenant_id"], c.target.Settings["client_id"]
	switch {
	case client == "":
		return Credential{}, lacking("The target has no application. Run the commands, and enter the application's id in the target's settings.")
	case !azurelogin.GUID.MatchString(client) || !azurelogin.GUID.MatchString(tenant) && !azurelogin.Domain.MatchString(tenant):
		return Credential{}, lacking("The target's tenant or application is none. Enter their ids in its settings.")
	}
	token, err := c.token(ctx, azurelogin.Audience, deploy.Subject{})
	if err != nil {
		return Credential{}, err
	}
	authority, resource := c.entra()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {resource + "/.default"}, "client_assertion_type": {assertionJWT}, "client_assertion": {token}}
	status, body, err := c.post(ctx, authority+"/"+url.PathEscape(tenant)+"/oauth2/v2.0/token", form)
	if err != nil {
		return Credential{}, err
	}
	var answer tokenAnswer
	if err := json.Unmarshal(body, &answer); err != nil || status == http.StatusOK && answer.AccessToken == "" {
		return Credential{}, lacking("What answers at %s is not Microsoft Entra ID (status %d). Look at the target's address for signing in.", authority, status)
	}
	if status != http.StatusOK {
		return Credential{}, c.azureRefusal(tenant, client, answer)
	}
	got := answer.credential()
	got.Tenant = tenant
	return got, nil
}

// entra returns the address of Entra ID, and the API that a token is asked for.
func (c *check) entra() (authority, resource string) {
	known := entra["management.azure.com"]
	if u, err := url.Parse(c.target.Settings["endpoint"]); err == nil {
		if own, ok := entra[strings.ToLower(u.Host)]; ok {
			known = own
		}
	}
	authority, resource = known[0], known[1]
	if other := c.target.Settings["authority"]; other != "" {
		authority = other
	}
	if c.Endpoints.Azure != "" {
		authority = c.Endpoints.Azure
	}
	return strings.TrimRight(authority, "/"), resource
}

// azureRefusal says what is missing, by Entra ID's code.
func (c *check) azureRefusal(tenant, client string, answer tokenAnswer) error {
	number := ""
	if m := aadsts.FindStringSubmatch(answer.Description); m != nil {
		number = m[1]
	}
	subject := "target:" + c.target.Name
	switch number {
	case "700213", "7002138", "70021":
		return lacking("The subject does not match: the application has no federated credential with the subject %s and the issuer %s. Run az ad app federated-credential create. Entra ID compares them letter by letter, and takes some minutes to know a new one.", subject, c.Issuer())
	case "700212":
		return lacking("The audience does not match: the federated credential has to name %s.", azurelogin.Audience)
	case "700211":
		return lacking("The issuer does not match: the federated credential has to name %s, exactly as it is here.", c.Issuer())
	case "700016":
		return lacking("The tenant %s has no application %s. Correct the two in the target's settings, or run az ad app create and az ad sp create.", tenant, client)
	case "7000229", "500113":
		return lacking("The application %s has no service principal in the tenant. Run az ad sp create.", client)
	case "7000112":
		return lacking("The application %s is turned off in Entra ID. Turn it on.", client)
	case "90002", "900021", "900023":
		return lacking("There is no tenant %s. Correct it in the target's settings.", tenant)
	case "700024":
		return lacking("Entra ID takes the token for expired or not valid yet. Set the clock of this machine right.")
	case "50166", "90061", "501661", "5001661", "700027", "500082":
		return lacking("Entra ID can't read the portal's keys, or does not know the one that signed: %s has to be reached from the internet by HTTPS. New keys are known after a few minutes.", c.ExternalURL+DiscoveryPath)
	case "7000215", "7000222":
		return lacking("Entra ID speaks of a client secret, which this check does not send. Look at the target's address for signing in.")
	case "53003", "53000", "530003":
		return lacking("A policy for conditional access of the tenant keeps the application from signing in. Allow it there.")
	case "":
		return lacking("Entra ID refuses the token (%s).", code(answer.Error))
	default:
		return lacking("Entra ID refuses the token (AADSTS%s).", number)
	}
}
