package identity

import (
	"context"
	"encoding/xml"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

// stsVersion is the version of the API (AWS STS API Reference, "AssumeRoleWithWebIdentity").
const stsVersion = "2011-06-15"

// stsAnswer is what STS answers, well or not.
type stsAnswer struct {
	Code    string `xml:"Error>Code"`
	Message string `xml:"Error>Message"`

	KeyID   string    `xml:"AssumeRoleWithWebIdentityResult>Credentials>AccessKeyId"`
	Secret  string    `xml:"AssumeRoleWithWebIdentityResult>Credentials>SecretAccessKey"`
	Session string    `xml:"AssumeRoleWithWebIdentityResult>Credentials>SessionToken"`
	Expires time.Time `xml:"AssumeRoleWithWebIdentityResult>Credentials>Expiration"`
}

// shortest is the shortest session of a role, which a check asks for.
const shortest = 15 * time.Minute

func checkAmazon(ctx context.Context, c *check) error {
	const title, releases = "Role", "Role for releases"
	if _, err := c.assume(ctx, deploy.Subject{}, shortest); err != nil {
		return c.found(title, err)
	}
	c.pass(title, "AWS gives %s for tokens of the target.", c.target.Settings["role"])
	if _, err := c.assume(ctx, sample, shortest); err != nil {
		return c.found(releases, err)
	}
	c.pass(releases, "AWS gives it for tokens of the target's releases too.")
	return nil
}

func lendAmazon(ctx context.Context, c *check) (Credential, error) {
	return c.assume(ctx, deploy.Subject{}, lendTime)
}

// assume takes on the target's role with a token of the subject. What keeps it from that is a *lack.
func (c *check) assume(ctx context.Context, of deploy.Subject, session time.Duration) (Credential, error) {
	role, region := c.target.Settings["role"], c.target.Settings["region"]
	if role == "" {
		return Credential{}, lacking("The target has no role. Run the commands, and enter the role's ARN in the target's settings.")
	}
	if !awslogin.Role.MatchString(role) || !awslogin.Region.MatchString(region) {
		return Credential{}, lacking("The target's role or region is none. Enter the role's ARN and the region's code in its settings.")
	}
	token, err := c.token(ctx, awslogin.Audience, of)
	if err != nil {
		return Credential{}, err
	}
	_, suffix := awslogin.Partition(region)
	at := c.at(c.Endpoints.AWS, "sts", "https://sts."+region+"."+suffix)
	form := url.Values{"Action": {"AssumeRoleWithWebIdentity"}, "Version": {stsVersion}, "RoleArn": {role}, "RoleSessionName": {"slipway"},
		"WebIdentityToken": {token}, "DurationSeconds": {strconv.Itoa(int(session.Seconds()))}}
	status, body, err := c.post(ctx, at+"/", form)
	if err != nil {
		return Credential{}, err
	}
	var answer stsAnswer
	if err := xml.Unmarshal(body, &answer); err != nil || status == http.StatusOK && answer.KeyID == "" {
		return Credential{}, lacking("What answers at %s is not AWS STS (status %d). Look at the target's other address of the API.", at, status)
	}
	if status != http.StatusOK {
		return Credential{}, c.amazonRefusal(role, region, of, answer)
	}
	return Credential{AccessKeyID: answer.KeyID, SecretAccessKey: answer.Secret, SessionToken: answer.Session, Expires: answer.Expires}, nil
}

// amazonRefusal says what is missing, by STS's code and, where one code stands for several things, what its message holds.
func (c *check) amazonRefusal(role, region string, of deploy.Subject, answer stsAnswer) error {
	subject, _ := subjectOf(c.target.Name, of)
	account := awslogin.Role.FindStringSubmatch(role)[1]
	said := func(words string) bool { return strings.Contains(strings.ToLower(answer.Message), words) }
	switch {
	case answer.Code == "InvalidIdentityToken" && said("no openidconnect provider"):
		return lacking("The account %s does not know this portal. Run aws iam create-open-id-connect-provider with the URL %s, exactly as it is here.", account, c.Issuer())
	case answer.Code == "InvalidIdentityToken" && said("audience"):
		return lacking("The audience does not match: the identity provider of the account %s lacks %s. Run aws iam add-client-id-to-open-id-connect-provider with that client id.", account, awslogin.Audience)
	case answer.Code == "InvalidIdentityToken" && said("thumbprint"):
		return lacking("The certificate of %s is not the one that the account's identity provider names by its thumbprint. Remove the thumbprints, or enter those of the certificate's authority.", c.ExternalURL)
	case answer.Code == "IDPCommunicationError", answer.Code == "InvalidIdentityToken" && (said("verification key") || said("communicat") || said("configuration")):
		return lacking("AWS can't read the portal's keys: %s has to be reached from the internet by HTTPS, with a certificate of a public authority.", c.ExternalURL+DiscoveryPath)
	case answer.Code == "InvalidIdentityToken":
		return lacking("AWS does not take the token: its signature or its claims don't fit the identity provider of the account %s. Look whether its URL is %s, and that no other program signs as this issuer.", account, c.Issuer())
	case answer.Code == "AccessDenied" && of != (deploy.Subject{}):
		return lacking("The subject does not match: the role's trust policy takes target:%s and not %s. Allow target:%s:* too, with StringLike; rollouts have such subjects.", c.target.Name, subject, c.target.Name)
	case answer.Code == "AccessDenied":
		return lacking("AWS does not give %s. Either there is no such role, or the conditions of its trust policy don't match: the subject has to be %s, the audience %s, the provider oidc-provider/%s.", role, subject, awslogin.Audience, strings.TrimPrefix(strings.TrimPrefix(c.Issuer(), "https://"), "http://"))
	case answer.Code == "ExpiredTokenException", answer.Code == "ExpiredToken":
		return lacking("The token has expired for AWS already. Set the clock of this machine right.")
	case answer.Code == "IDPRejectedClaim":
		return lacking("AWS refuses the token's claims. Set the clock of this machine right, and look whether the identity provider's URL is %s.", c.Issuer())
	case answer.Code == "RegionDisabledException":
		return lacking("STS is turned off for the region %s in the account %s. Turn it on in IAM, under Account settings.", region, account)
	case answer.Code == "Throttling", answer.Code == "ThrottlingException":
		return lacking("AWS has too many calls at the moment. Try again in a minute.")
	default:
		return lacking("AWS refuses the exchange (%s).", code(answer.Code))
	}
}
