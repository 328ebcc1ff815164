package vm

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// stsAudience is whom a token has to be for that AWS exchanges
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
const stsAudience = "sts.amazonaws.com"

// awsFields are the settings by which AWS knows the portal.
func awsFields() []deploy.Field {
	return []deploy.Field{
		{Name: "region", Label: "Region", Example: "eu-central-1", Required: true},
		{Name: "role", Label: "Role", Example: "arn:aws:iam::123456789012:role/slipway",
			Help: "That trusts this portal as an OpenID Connect provider: no key is stored. Empty: the access key below; without one, what the portal's own machine has, such as its instance role."},
		{Name: "access_key_id", Label: "Access key ID", Example: "AKIA…"},
		{Name: "secret_access_key", Label: "Secret access key", Secret: true, Help: "Of the access key."},
	}
}

// awsLogin returns where credentials come from, by the settings.
func awsLogin(c deploy.Config, client *http.Client, s settings, region string) (aws.CredentialsProvider, error) {
	role, key, secret := c.Settings["role"], c.Settings["access_key_id"], c.Secrets["secret_access_key"]
	switch {
	case role != "" && !strings.HasPrefix(role, "arn:"):
		return nil, models.InvalidField("role", "This is not the ARN of a role, such as arn:aws:iam::123456789012:role/slipway.")
	case role != "":
		return &webIdentity{role: role, identity: c.Identity, sts: sts.New(sts.Options{Region: region, HTTPClient: client, BaseEndpoint: orNil(strings.ReplaceAll(s.endpoint, servicePlace, "sts"))})}, nil
	case key != "" && secret == "":
		return nil, models.InvalidField("secret_access_key", "The access key needs its secret.")
	case key != "":
		return credentials.NewStaticCredentialsProvider(key, secret, ""), nil
	}
	return ambient(region), nil
}

func orNil(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// webIdentity exchanges the portal's own tokens for credentials of a role.
type webIdentity struct {
	role     string
	identity deploy.Identity
	sts      *sts.Client
}

// Retrieve makes a token and exchanges it.
func (w *webIdentity) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if w.identity == nil {
		return aws.Credentials{}, deploy.Failf(deploy.StageTarget, nil, "The target has a role, but this portal is no issuer of identity tokens. Give it an address with https, or use an access key.")
	}
	token, err := w.identity(ctx, stsAudience, deploy.Subject{})
	if err != nil {
		return aws.Credentials{}, err
	}
	out, err := w.sts.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: &w.role, RoleSessionName: aws.String("slipway"), WebIdentityToken: &token})
	if told, ok := errors.AsType[smithy.APIError](err); ok {
		return aws.Credentials{}, deploy.Failf(deploy.StageTarget, err, "AWS does not let this portal take the role %s: %s. Check that the account has this portal as an OpenID Connect provider with the audience %s, and that the role's trust policy (sts:AssumeRoleWithWebIdentity) names this target.", w.role, told.ErrorCode(), stsAudience)
	}
	if err != nil {
		return aws.Credentials{}, &silence{err}
	}
	if out.Credentials == nil || out.Credentials.Expiration == nil {
		return aws.Credentials{}, errors.New("aws: the role has no credentials")
	}
	return aws.Credentials{
		AccessKeyID: aws.ToString(out.Credentials.AccessKeyId), SecretAccessKey: aws.ToString(out.Credentials.SecretAccessKey),
		SessionToken: aws.ToString(out.Credentials.SessionToken), CanExpire: true, Expires: *out.Credentials.Expiration,
	}, nil
}

// ambient is what the portal's own machine has: variables, files, an instance's or a task's role. It looks when it is asked.
func ambient(region string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		found, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
		if err == nil {
			var got aws.Credentials
			if got, err = found.Credentials.Retrieve(ctx); err == nil {
				return got, nil
			}
		}
		return aws.Credentials{}, deploy.Failf(deploy.StageTarget, err, "The portal's own machine has no AWS credentials. Give the target a role or an access key, or the machine an instance role.")
	})
}
