package identity

import (
	"context"
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"

	"slipway.dev/services/deploy"
)

// stsVersion is the version of the API (AWS STS API Reference, "AssumeRoleWithWebIdentity").
const stsVersion = "2011-06-15"

// stsAnswer is what STS answers, well or not.
type stsAnswer struct {
	Code    string `xml:"Error>Code"`
	Message string `xml:"Error>Message"`
	KeyID   string `xml:"AssumeRoleWithWebIdentityResult>Credentials>AccessKeyId"`
}

func checkAmazon(ctx context.Context, c *check) error {
	const title = "Role"
	role, region := c.target.Settings["role"], c.target.Settings["region"]
	if role == "" {
		c.fail(title, "The target has no role. Run the commands, and enter the role's ARN in the target's settings.")
		return nil
	}
	if !roleARN.MatchString(role) || !regionForm.MatchString(region) {
		c.fail(title, "The target's role or region is none. Enter the role's ARN and the region's code in its settings.")
		return nil
	}
	ok, err := c.assume(ctx, title, role, region, deploy.Subject{})
	if err != nil || !ok {
		return err
	}
	c.pass(title, "AWS gives %s for tokens of the target.", role)
	const releases = "Role for releases"
	if ok, err = c.assume(ctx, releases, role, region, sample); err != nil || !ok {
		return err
	}
	c.pass(releases, "AWS gives it for tokens of the target's releases too.")
	return nil
}

// assume takes on the role with a token of the subject. What keeps it from that is a finding.
func (c *check) assume(ctx context.Context, title, role, region string, of deploy.Subject) (bool, error) {
	token, err := c.token(ctx, amazonAudience, of)
	if err != nil {
		return false, err
	}
	_, suffix := partition(region)
	at := c.at(c.Endpoints.AWS, "sts", "https://sts."+region+"."+suffix)
	form := url.Values{"Action": {"AssumeRoleWithWebIdentity"}, "Version": {stsVersion}, "RoleArn": {role}, "RoleSessionName": {"slipway-check"}, "WebIdentityToken": {token}, "DurationSeconds": {"900"}}
	status, body, ok := c.post(ctx, title, at+"/", form)
	if !ok {
		return false, nil
	}
	var answer stsAnswer
	if err := xml.Unmarshal(body, &answer); err != nil || status == http.StatusOK && answer.KeyID == "" {
		c.fail(title, "What answers at %s is not AWS STS (status %d). Look at the target's other address of the API.", at, status)
		return false, nil
	}
	if status == http.StatusOK {
		return true, nil
	}
	c.amazonRefusal(title, role, region, of, answer)
	return false, nil
}

// amazonRefusal says what is missing, by STS's code and, where one code stands for several things, what its message holds.
func (c *check) amazonRefusal(title, role, region string, of deploy.Subject, answer stsAnswer) {
	subject, _ := subjectOf(c.target.Name, of)
	account := roleARN.FindStringSubmatch(role)[1]
	said := func(words string) bool { return strings.Contains(strings.ToLower(answer.Message), words) }
	switch {
	case answer.Code == "InvalidIdentityToken" && said("no openidconnect provider"):
		c.fail(title, "The account %s does not know this portal. Run aws iam create-open-id-connect-provider with the URL %s, exactly as it is here.", account, c.Issuer())
	case answer.Code == "InvalidIdentityToken" && said("audience"):
		c.fail(title, "The audience does not match: the identity provider of the account %s lacks %s. Run aws iam add-client-id-to-open-id-connect-provider with that client id.", account, amazonAudience)
	case answer.Code == "InvalidIdentityToken" && said("thumbprint"):
		c.fail(title, "The certificate of %s is not the one that the account's identity provider names by its thumbprint. Remove the thumbprints, or enter those of the certificate's authority.", c.ExternalURL)
	case answer.Code == "IDPCommunicationError", answer.Code == "InvalidIdentityToken" && (said("verification key") || said("communicat") || said("configuration")):
		c.fail(title, "AWS can't read the portal's keys: %s has to be reached from the internet by HTTPS, with a certificate of a public authority.", c.ExternalURL+DiscoveryPath)
	case answer.Code == "InvalidIdentityToken":
		c.fail(title, "AWS does not take the token: its signature or its claims don't fit the identity provider of the account %s. Look whether its URL is %s, and that no other program signs as this issuer.", account, c.Issuer())
	case answer.Code == "AccessDenied" && of != (deploy.Subject{}):
		c.fail(title, "The subject does not match: the role's trust policy takes target:%s and not %s. Allow target:%s:* too, with StringLike; rollouts have such subjects.", c.target.Name, subject, c.target.Name)
	case answer.Code == "AccessDenied":
		c.fail(title, "AWS does not give %s. Either there is no such role, or the conditions of its trust policy don't match: the subject has to be %s, the audience %s, the provider oidc-provider/%s.", role, subject, amazonAudience, strings.TrimPrefix(strings.TrimPrefix(c.Issuer(), "https://"), "http://"))
	case answer.Code == "ExpiredTokenException", answer.Code == "ExpiredToken":
		c.fail(title, "The token has expired for AWS already. Set the clock of this machine right.")
	case answer.Code == "IDPRejectedClaim":
		c.fail(title, "AWS refuses the token's claims. Set the clock of this machine right, and look whether the identity provider's URL is %s.", c.Issuer())
	case answer.Code == "RegionDisabledException":
		c.fail(title, "STS is turned off for the region %s in the account %s. Turn it on in IAM, under Account settings.", region, account)
	case answer.Code == "Throttling", answer.Code == "ThrottlingException":
		c.fail(title, "AWS has too many calls at the moment. Try again in a minute.")
	default:
		c.fail(title, "AWS refuses the exchange (%s).", code(answer.Code))
	}
}
