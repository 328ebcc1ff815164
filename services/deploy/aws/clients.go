package aws

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"slipway.dev/services/deploy"
)

const (
	attempts    = 5               // of a call that AWS throttles or does not answer
	maxBackoff  = 5 * time.Second // between them
	maxClients  = 1000            // subjects whose credentials are kept
	audience    = "sts.amazonaws.com"
	sessionTime = time.Hour // that the credentials of a role last
)

// clients call AWS for one subject, with credentials of its own.
type clients struct {
	ecs     *ecs.Client
	logs    *cloudwatchlogs.Client
	elb     *elasticloadbalancingv2.Client
	secrets *secretsmanager.Client
	sts     *sts.Client
	kept    *aws.CredentialsCache // for calls that are signed here
}

// as returns what calls AWS for the subject: the zero one is the target as a whole.
func (t *target) as(of deploy.Subject) *clients {
	if t.identity == nil || t.settings.key != "" || t.settings.role == "" {
		of = deploy.Subject{} // the credential is the same for all
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if have := t.clients[of]; have != nil {
		return have
	}
	if len(t.clients) >= maxClients {
		clear(t.clients)
	}
	c := t.connect(of)
	t.clients[of] = c
	return c
}

func (t *target) connect(of deploy.Subject) *clients {
	base := aws.Config{
		Region: t.settings.region, AppID: "slipway",
		HTTPClient: t.http,
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = attempts, maxBackoff })
		},
	}
	kept := aws.NewCredentialsCache(t.provider(base, of), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = 5 * time.Minute })
	base.Credentials = kept
	base.APIOptions = append(base.APIOptions, renewal{kept}.add)
	at := func(service string) *string {
		if t.settings.endpoint == "" {
			return nil
		}
		return ptr(t.endpoint(service))
	}
	return &clients{
		kept:    kept,
		ecs:     ecs.NewFromConfig(base, func(o *ecs.Options) { o.BaseEndpoint = at("ecs") }),
		logs:    cloudwatchlogs.NewFromConfig(base, func(o *cloudwatchlogs.Options) { o.BaseEndpoint = at("logs") }),
		elb:     elasticloadbalancingv2.NewFromConfig(base, func(o *elasticloadbalancingv2.Options) { o.BaseEndpoint = at("elasticloadbalancing") }),
		secrets: secretsmanager.NewFromConfig(base, func(o *secretsmanager.Options) { o.BaseEndpoint = at("secretsmanager") }),
		sts:     sts.NewFromConfig(base, func(o *sts.Options) { o.BaseEndpoint = at("sts") }),
	}
}

// endpoint is the address of a service where it is not AWS's public one.
func (t *target) endpoint(service string) string {
	return strings.ReplaceAll(t.settings.endpoint, "{service}", service)
}

// provider is where the subject's credentials come from.
func (t *target) provider(base aws.Config, of deploy.Subject) aws.CredentialsProvider {
	s := t.settings
	var own aws.CredentialsProvider = machine(s.region)
	if s.key != "" {
		own = credentials.NewStaticCredentialsProvider(s.key, t.secret, "")
	}
	if s.role == "" {
		return own
	}
	if s.key == "" && t.identity != nil {
		base.Credentials = aws.AnonymousCredentials{}
		api := t.tokenService(base)
		return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			return stscreds.NewWebIdentityRoleProvider(api, s.role, bearer{ctx, t.identity, of}, func(o *stscreds.WebIdentityRoleOptions) {
				o.RoleSessionName, o.Duration = sessionName(of), sessionTime
			}).Retrieve(ctx)
		})
	}
	base.Credentials = aws.NewCredentialsCache(own)
	return stscreds.NewAssumeRoleProvider(t.tokenService(base), s.role, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName, o.Duration = sessionName(of), sessionTime
	})
}

func (t *target) tokenService(base aws.Config) *sts.Client {
	return sts.NewFromConfig(base, func(o *sts.Options) {
		if t.settings.endpoint != "" {
			o.BaseEndpoint = ptr(t.endpoint("sts"))
		}
	})
}

// machine gives the credentials of the machine that Slipway runs on.
func machine(region string) aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		found, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
		if err != nil {
			return aws.Credentials{}, errors.Join(errNoCredentials, err)
		}
		got, err := found.Credentials.Retrieve(ctx)
		if err != nil {
			return aws.Credentials{}, errors.Join(errNoCredentials, err)
		}
		return got, nil
	})
}

var (
	errNoCredentials = errors.New("the machine has no AWS credentials of its own")
	errNoToken       = errors.New("the portal gave no token")
)

// bearer gets the portal's token for one exchange.
type bearer struct {
	ctx      context.Context // of that one exchange: the SDK's interface passes none
	identity deploy.Identity
	of       deploy.Subject
}

// GetIdentityToken returns the token.
func (b bearer) GetIdentityToken() ([]byte, error) {
	token, err := b.identity(b.ctx, audience, b.of)
	if err != nil {
		return nil, errors.Join(errNoToken, err)
	}
	return []byte(token), nil
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

// renewal gets new credentials once where AWS says that those of a call have
// expired, as those of a role do when its sessions are revoked.
type renewal struct{ kept *aws.CredentialsCache }

func (r renewal) add(stack *middleware.Stack) error {
	return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("slipway.Renewal", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		again := in
		if req, ok := in.Request.(*smithyhttp.Request); ok {
			again.Request = req.Clone()
		}
		out, meta, err := next.HandleFinalize(ctx, in)
		if !expired(err) {
			return out, meta, err
		}
		r.kept.Invalidate()
		if req, ok := again.Request.(*smithyhttp.Request); ok {
			if failed := req.RewindStream(); failed != nil {
				return out, meta, errors.Join(err, failed)
			}
		}
		return next.HandleFinalize(ctx, again)
	}), middleware.Before)
}
