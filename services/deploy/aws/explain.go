package aws

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
	"slipway.dev/services/deploy"
)

// The codes by which the services say the same, each in its own way
// (https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html).
var (
	deniedCodes    = []string{"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}
	expiredCodes   = []string{"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
	unknownCodes   = []string{"UnrecognizedClientException", "InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidSignatureException", "AuthFailure", "IncompleteSignature", "InvalidAccessKeyId"}
	throttledCodes = []string{"Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException", "RequestLimitExceeded", "RequestThrottled"}
	quotaCodes     = []string{"LimitExceededException", "LimitExceeded", "ServiceQuotaExceededException", "AttributeLimitExceededException", "TooManyRules", "TooManyTargetGroups", "TooManyTargets", "TooManyUniqueTargetGroupsPerLoadBalancer", "TargetGroupAssociationLimit"}
	serverCodes    = []string{"ServerException", "ServiceUnavailable", "ServiceUnavailableException", "InternalFailure", "InternalServiceError", "InternalError", "Unavailable", "InternalServerError"}
)

// code is what AWS calls the error; empty where it is none of its own.
func code(err error) string {
	var e smithy.APIError
	if !errors.As(err, &e) {
		return ""
	}
	return e.ErrorCode()
}

func message(err error) string {
	var e smithy.APIError
	if !errors.As(err, &e) {
		return ""
	}
	return deploy.Plain(e.ErrorMessage())
}

func is(err error, codes []string) bool { return slices.Contains(codes, code(err)) }

func expired(err error) bool { return err != nil && is(err, expiredCodes) }
func denied(err error) bool  { return err != nil && is(err, deniedCodes) }

// missing tells whether what was asked for is not there.
func missing(err error) bool {
	switch code(err) {
	case "ResourceNotFoundException", "ServiceNotFoundException", "ServiceNotActiveException", "ClusterNotFoundException", "TargetGroupNotFound", "RuleNotFound", "ListenerNotFound", "LoadBalancerNotFound", "NoSuchEntity":
		return true
	}
	return false
}

// passing tells whether the error may be gone in a moment: no answer, too many calls, a fault of AWS.
func passing(err error) bool {
	if told := new(deploy.Failure); err == nil || errors.As(err, &told) || errors.Is(err, errNoCredentials) || errors.Is(err, errNoToken) {
		return false
	}
	return code(err) == "" || is(err, throttledCodes) || is(err, serverCodes)
}

// explain says in words why AWS did not do something, such as "make the service".
// What may be gone in a moment stays an ordinary error.
func (t *target) explain(ctx context.Context, stage string, err error, what string) error {
	if told := new(deploy.Failure); err == nil || errors.As(err, &told) {
		return err
	}
	switch {
	case errors.Is(err, errNoToken):
		return deploy.Failf(deploy.StageTarget, err, "The portal could not make the token by which AWS knows it. Look into the server's log, and try again.")
	case errors.Is(err, errNoCredentials):
		return deploy.Failf(deploy.StageTarget, err, "The machine that Slipway runs on has no AWS credentials of its own. Enter a role or an access key in the target's settings.")
	case context.Cause(ctx) != nil && code(err) == "":
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			return deploy.Failf(deploy.StageTimeout, err, "AWS did not %s in time. Try again.", what)
		}
		return context.Cause(ctx)
	case code(err) == "", is(err, serverCodes):
		return fmt.Errorf("aws: %s: %w", what, err)
	}
	return t.refused(stage, err, what)
}

// refused says why AWS refuses.
func (t *target) refused(stage string, err error, what string) *deploy.Failure {
	text := message(err)
	switch {
	case strings.Contains(text, "sts:AssumeRole"), code(err) == "InvalidIdentityToken", code(err) == "IDPRejectedClaim", code(err) == "IDPCommunicationError":
		return t.untrusted(err, text)
	case denied(err):
		return deploy.Failf(deploy.StageTarget, err, "%s", t.forbidden(what, text))
	case expired(err):
		return deploy.Failf(deploy.StageTarget, err, "The AWS credential has expired, and a new one too. Look whether the clock of this machine is right, or enter another access key.")
	case is(err, unknownCodes):
		return deploy.Failf(deploy.StageTarget, err, "AWS does not know the credential (%s). Look whether the access key is active, its secret is right, the region %s is enabled, and the clock of this machine is right.", code(err), t.settings.region)
	case is(err, throttledCodes):
		return deploy.Failf(deploy.StageTarget, err, "AWS takes no more calls of the account at the moment, so that Slipway can't %s. Wait a minute, and try again.", what)
	case is(err, quotaCodes), strings.Contains(text, "limit exceeded"), strings.Contains(text, "reached the limit"), strings.Contains(text, "limit on the number"):
		return deploy.Failf(stage, err, "A quota of the account is used up, so that Slipway can't %s: %s Remove what is not used any more, or ask for more under Service Quotas in AWS's console.", what, deploy.Sentence(text))
	case strings.Contains(text, "service linked role"):
		return deploy.Failf(deploy.StageTarget, err, "ECS has no role of its own in this account yet. Make it once: aws iam create-service-linked-role --aws-service-name ecs.amazonaws.com. Then try again.")
	case strings.Contains(text, "Capacity is unavailable"):
		return deploy.Failf(stage, err, "AWS has no capacity on Fargate left in these zones now. Try again later, or add subnets of other zones to the target's settings.")
	}
	return deploy.Failf(stage, err, "AWS refuses to %s (%s): %s", what, code(err), deploy.Sentence(text))
}

// The words of AWS's own refusals.
var deniedWords = regexp.MustCompile(`not authorized to perform:? ([\w-]+:\w+)(?: on resource: (\S+))?`)

// forbidden names the permission that is missing.
func (t *target) forbidden(what, text string) string {
	m := deniedWords.FindStringSubmatch(text)
	if m == nil {
		return fmt.Sprintf("AWS does not let Slipway %s. Give its credential the permissions that docs/aws.md lists: %s", what, deploy.Sentence(text))
	}
	on := ""
	if m[2] != "" && m[2] != "*" {
		on = " on " + m[2]
	}
	why := "Add it to the policy of its credential"
	if strings.Contains(text, "explicit deny") {
		why = "A policy denies it explicitly, such as one of the organization: ask its admin"
	}
	return fmt.Sprintf("AWS does not let Slipway %s: the permission %s%s is missing. %s; docs/aws.md lists all.", what, m[1], on, why)
}

// untrusted says why AWS gives no credentials for the role.
func (t *target) untrusted(err error, text string) *deploy.Failure {
	if strings.Contains(text, "No OpenIDConnect provider found") {
		return deploy.Failf(deploy.StageTarget, err, "The AWS account does not know this portal as an identity provider: %s Add it in IAM, with the audience %s; docs/aws.md shows how.", deploy.Sentence(text), audience)
	}
	if code(err) == "IDPCommunicationError" {
		return deploy.Failf(deploy.StageTarget, err, "AWS could not reach this portal to prove its token. Its external URL has to be public, with HTTPS.")
	}
	return deploy.Failf(deploy.StageTarget, err, "AWS does not give Slipway the role %s: %s Its trust policy has to allow this portal's tokens with the audience %s and subjects that begin with target:%s; docs/aws.md shows it.", t.settings.role, deploy.Sentence(text), audience, t.name)
}

// reached turns an error without an answer into words, for a person who waits for it.
func (t *target) reached(err error) error {
	if told := new(deploy.Failure); err == nil || errors.As(err, &told) || code(err) != "" && !is(err, serverCodes) {
		return err
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return deploy.Failf(deploy.StageTarget, err, "AWS does not answer in %s. Look whether this machine reaches it, and whether the region is right.", t.settings.region)
}
