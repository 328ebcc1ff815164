package registries

import (
	"context"
	"encoding/base64"
	"errors"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/smithy-go"
	"slipway.dev/models"
)

// loginECR exchanges the access key for a login of 12 hours
// (https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html).
func (s *Service) loginECR(ctx context.Context, r *models.Registry, secret map[string]string) (login, error) {
	api, err := s.ecr(ctx, r, secret)
	if err != nil {
		return login{}, err
	}
	got, err := api.GetAuthorizationToken(ctx, &ecr.GetAuthorizationTokenInput{})
	if err != nil {
		return login{}, explainAWS(err, "get a login (ecr:GetAuthorizationToken)")
	}
	if len(got.AuthorizationData) == 0 || got.AuthorizationData[0].ExpiresAt == nil {
		return login{}, refused(nil, "Amazon ECR answered without a login.")
	}
	data := got.AuthorizationData[0]
	if at, err := url.Parse(aws.ToString(data.ProxyEndpoint)); err != nil || accountOf(at.Host) != accountOf(r.Host) {
		return login{}, refused(err, "The access key belongs to another account: its registry is %s, and this one is %s.", at.Host, r.Host)
	}
	text, err := base64.StdEncoding.DecodeString(aws.ToString(data.AuthorizationToken))
	user, password, ok := strings.Cut(string(text), ":")
	if err != nil || !ok {
		return login{}, refused(nil, "Amazon ECR answered with a login that can't be read.")
	}
	return login{user: user, password: password, until: *data.ExpiresAt}, nil
}

// ecr returns a client of the API of the registry's region.
func (s *Service) ecr(ctx context.Context, r *models.Registry, secret map[string]string) (*ecr.Client, error) {
	set := aws.Config{Region: regionOf(r.Host)}
	if r.Settings[fieldTarget] != "" {
		got, err := s.federated(ctx, r, cloudAWS)
		if err != nil {
			return nil, err
		}
		set.Credentials = credentials.NewStaticCredentialsProvider(got.AccessKeyID, got.SecretAccessKey, got.SessionToken)
	} else if r.Settings[fieldAmbient] == "true" {
		var err error
		if set, err = config.LoadDefaultConfig(ctx, config.WithRegion(set.Region)); err != nil {
			return nil, refused(err, "The machine has no AWS credentials of its own.")
		}
	} else {
		set.Credentials = credentials.NewStaticCredentialsProvider(r.Settings[fieldAccessKey], secret[fieldSecretKey], "")
	}
	return ecr.NewFromConfig(set, func(o *ecr.Options) {
		o.HTTPClient = s.Guard.HTTPClient()
		o.RetryMaxAttempts = 2
		if s.Endpoints.ECR != "" {
			o.BaseEndpoint = &s.Endpoints.ECR
		}
	}), nil
}

// ensure makes the repository where it is missing and the registry does not make it at the push.
func (s *Service) ensure(ctx context.Context, r *models.Registry, repository string) error {
	key := r.ID + " " + repository
	s.mu.Lock()
	known := s.made[key]
	s.mu.Unlock()
	if known || r.Kind != KindECR {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	secret, err := s.openSecrets(r)
	if err != nil {
		return err
	}
	api, err := s.ecr(ctx, r, secret)
	if err != nil {
		return err
	}
	if err := ensureECR(ctx, api, repository); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made == nil || len(s.made) > 10_000 {
		s.made = map[string]bool{}
	}
	s.made[key] = true
	return nil
}

// ensureECR looks for the repository and makes it. A key that may do neither
// may still push to a repository that is there: the push says so.
func ensureECR(ctx context.Context, api *ecr.Client, repository string) error {
	_, err := api.DescribeRepositories(ctx, &ecr.DescribeRepositoriesInput{RepositoryNames: []string{repository}})
	missing := new(types.RepositoryNotFoundException)
	if err == nil || !errors.As(err, &missing) && !deniedAWS(err) {
		return explainAWS(err, "look for the repository (ecr:DescribeRepositories)")
	}
	_, err = api.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: &repository})
	exists := new(types.RepositoryAlreadyExistsException)
	if errors.As(err, &exists) || missing.Message == nil && deniedAWS(err) {
		return nil
	}
	return explainAWS(err, "make the repository "+repository+" (ecr:CreateRepository)")
}

func deniedAWS(err error) bool {
	var e smithy.APIError
	return errors.As(err, &e) && strings.Contains(e.ErrorCode(), "AccessDenied")
}

// explainAWS says what the key may not do. AWS's own text may repeat what was sent, so that only the code is shown.
func explainAWS(err error, what string) error {
	var e smithy.APIError
	switch {
	case err == nil:
		return nil
	case deniedAWS(err):
		return refused(err, "The AWS credential may not %s. Add the right to its policy.", what)
	case errors.As(err, &e):
		return refused(err, "Amazon ECR refused to %s: %s. Check the access key, its secret, and the clock of this machine.", what, e.ErrorCode())
	}
	return refused(err, "Amazon ECR does not answer, so that Slipway can't %s. Try again later.", what)
}

// regionOf is the region in a registry's host.
func regionOf(host string) string {
	kind, err := KindOf(KindECR)
	if err != nil {
		return ""
	}
	if m := kind.host.FindStringSubmatch(host); m != nil {
		return m[3]
	}
	return ""
}

// accountOf is the account's number in a registry's host.
func accountOf(host string) string {
	account, _, _ := strings.Cut(host, ".")
	return account
}
