// Package awslogin signs in to an AWS account, with the portal's own tokens, an
// access key or what the machine has, and signs the few calls of services whose
// SDK takes minutes and gigabytes to compile. All kinds of targets on AWS share it.
package awslogin

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"slipway.dev/services/deploy"
)

const (
	// Audience is whom a token has to be for that AWS exchanges
	// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
	Audience = "sts.amazonaws.com"
	// Attempts bounds how often a call is made that AWS throttles or does not answer.
	Attempts = 5

	sessionTime = time.Hour // that the credentials of a role last
	renewAhead  = 5 * time.Minute
)

// Forms of what an admin enters.
var (
	// Region is a region's code.
	Region = regexp.MustCompile(`^[a-z]{2,3}(-[a-z]+)+-[0-9]{1,2}$`)
	// Role is a role's ARN; its groups are the account, the path and the name.
	Role = regexp.MustCompile(`^arn:aws[a-z-]*:iam::([0-9]{12}):role/([A-Za-z0-9+=,.@_/-]*/)?([A-Za-z0-9+=,.@_-]{1,64})$`)
	// Subnet is a subnet's id.
	Subnet = regexp.MustCompile(`^subnet-[0-9a-f]{8,17}$`)

	keys = regexp.MustCompile(`^[A-Z0-9]{16,128}$`)
)

// Login is how Slipway signs in to an account.
type Login struct {
	Target        string // its name, with which the subjects of its tokens begin
	Region        string
	Role          string // its ARN; empty: Slipway takes none
	KeyID, Secret string // of an access key; empty: a token of the portal takes the role, or the machine's own credentials are used
	Identity      deploy.Identity
	Endpoint      deploy.Endpoint
	Client        aws.HTTPClient
	Backoff       time.Duration // the longest time between two attempts of a call
}

// Read returns the login of a target's settings. Wrong gets a word for each field that is not as it should be. Client and
// Backoff are for the kind of target to say.
func Read(c deploy.Config, wrong map[string]string) Login {
	in := c.Settings
	l := Login{Target: c.Name, Region: in["region"], Role: in["role"], KeyID: in["access_key_id"], Secret: c.Secrets["secret_access_key"], Identity: c.Identity, Endpoint: deploy.Endpoint(strings.TrimSuffix(in["endpoint"], "/"))}
	if !Region.MatchString(l.Region) {
		wrong["region"] = "This is not a region, such as eu-central-1."
	}
	if l.Role != "" && !Role.MatchString(l.Role) {
		wrong["role"] = "This is not the ARN of a role, such as arn:aws:iam::123456789012:role/slipway."
	}
	if l.KeyID != "" && !keys.MatchString(l.KeyID) {
		wrong["access_key_id"] = "This is not an access key ID, such as AKIA…."
	}
	return l
}

// Partition is the part of AWS that the region belongs to, as ARNs name it, and the suffix of its addresses.
func Partition(region string) (name, suffix string) {
	switch {
	case strings.HasPrefix(region, "cn-"):
		return "aws-cn", "amazonaws.com.cn"
	case strings.HasPrefix(region, "us-gov-"):
		return "aws-us-gov", "amazonaws.com"
	}
	return "aws", "amazonaws.com"
}

// ByToken tells whether tokens of the portal sign in, each for a subject of its own. Else all subjects have the same
// credential.
func (l Login) ByToken() bool { return l.Identity != nil && l.KeyID == "" && l.Role != "" }

// Session calls AWS for one subject, with credentials of its own, which it gets when they are needed.
type Session struct {
	Config aws.Config // for the SDK's clients

	login Login
	kept  *aws.CredentialsCache
	again *retry.Standard
}

// Session returns what calls AWS for the subject: the zero one is the target as a whole.
func (l Login) Session(of deploy.Subject) *Session {
	again := func() *retry.Standard {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = Attempts, l.Backoff })
	}
	base := aws.Config{Region: l.Region, AppID: "slipway", HTTPClient: l.Client, Retryer: func() aws.Retryer { return again() }}
	kept := aws.NewCredentialsCache(l.provider(base, of), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = renewAhead })
	base.Credentials = kept
	base.APIOptions = append(base.APIOptions, renewal{kept}.add)
	return &Session{Config: base, login: l, kept: kept, again: again()}
}

// At is the address of a service in place of AWS's public one; nil: there is none.
func (l Login) At(service string) *string {
	if l.Endpoint == "" {
		return nil
	}
	return aws.String(l.Endpoint.Of(service))
}

// provider is where the subject's credentials come from. What a person can mend is a *deploy.Failure.
func (l Login) provider(base aws.Config, of deploy.Subject) aws.CredentialsProvider {
	own := machine(l.Region)
	if l.KeyID != "" {
		own = credentials.NewStaticCredentialsProvider(l.KeyID, l.Secret, "")
	}
	if l.Role == "" {
		return own
	}
	tokens := func() *sts.Client {
		return sts.NewFromConfig(base, func(o *sts.Options) { o.BaseEndpoint = l.At("sts") })
	}
	if !l.ByToken() {
		base.Credentials = aws.NewCredentialsCache(own)
		return l.told(stscreds.NewAssumeRoleProvider(tokens(), l.Role, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName, o.Duration = sessionName(of), sessionTime
		}).Retrieve)
	}
	base.Credentials = aws.AnonymousCredentials{}
	api := tokens()
	return l.told(func(ctx context.Context) (aws.Credentials, error) {
		return stscreds.NewWebIdentityRoleProvider(api, l.Role, bearer{ctx, l.Identity, of}, func(o *stscreds.WebIdentityRoleOptions) {
			o.RoleSessionName, o.Duration = sessionName(of), sessionTime
		}).Retrieve(ctx)
	})
}

// told says in words why AWS gives no credentials for the role.
func (l Login) told(retrieve aws.CredentialsProviderFunc) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		got, err := retrieve(ctx)
		return got, l.untrusted(err)
	})
}

// machine gives the credentials of the machine that Slipway runs on: variables, files, an instance's or a task's role.
func machine(region string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		found, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
		if err == nil {
			var got aws.Credentials
			if got, err = found.Credentials.Retrieve(ctx); err == nil {
				return got, nil
			}
		}
		return aws.Credentials{}, deploy.Failf(deploy.StageTarget, err, "The machine that Slipway runs on has no AWS credentials of its own. Enter a role or an access key in the target's settings.")
	})
}

// bearer gets the portal's token for one exchange.
type bearer struct {
	ctx      context.Context // of that one exchange: the SDK's interface passes none
	identity deploy.Identity
	of       deploy.Subject
}

// GetIdentityToken returns the token.
func (b bearer) GetIdentityToken() ([]byte, error) {
	token, err := b.identity(b.ctx, Audience, b.of)
	return []byte(token), noToken(err)
}

var strange = regexp.MustCompile(`[^\w+=,.@-]`)

// sessionName is how CloudTrail shows who called.
func sessionName(of deploy.Subject) string {
	name := "slipway"
	for _, part := range []string{of.Team, of.Environment, of.App} {
		if part != "" {
			name += "." + part
		}
	}
	name = strange.ReplaceAllString(name, "-")
	return name[:min(len(name), 64)]
}
