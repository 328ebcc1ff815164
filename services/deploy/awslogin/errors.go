package awslogin

import (
	"errors"
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
	throttledCodes = []string{"Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException", "RequestLimitExceeded", "RequestThrottled", "EC2ThrottledException"}
	serverCodes    = []string{"ServerException", "ServiceUnavailable", "ServiceUnavailableException", "InternalFailure", "InternalServiceError", "InternalError", "Unavailable", "InternalServerError"}
)

// Code is what AWS calls the error; empty where it is none of its own.
func Code(err error) string {
	if told, ok := errors.AsType[smithy.APIError](err); ok {
		return told.ErrorCode()
	}
	return ""
}

// Text is what AWS says of the error, on one line; empty where it is none of its own.
func Text(err error) string {
	if told, ok := errors.AsType[smithy.APIError](err); ok {
		return deploy.Plain(told.ErrorMessage())
	}
	return ""
}

// Denied tells whether the credential may not do what was asked for.
func Denied(err error) bool { return slices.Contains(deniedCodes, Code(err)) }

// Expired tells whether the credential has ended, so that a fresh one may help.
func Expired(err error) bool { return slices.Contains(expiredCodes, Code(err)) }

// Unknown tells whether AWS does not know the credential, or its signature is wrong.
func Unknown(err error) bool { return slices.Contains(unknownCodes, Code(err)) }

// Throttled tells whether AWS wants fewer calls.
func Throttled(err error) bool { return slices.Contains(throttledCodes, Code(err)) }

// Faulty tells whether AWS failed by a fault of its own.
func Faulty(err error) bool { return slices.Contains(serverCodes, Code(err)) }

// NoAnswer is a call that AWS did not answer.
type NoAnswer struct{ Err error }

// Error says what kept the answer away.
func (n *NoAnswer) Error() string { return "no answer: " + n.Err.Error() }

// Unwrap is what kept the answer away.
func (n *NoAnswer) Unwrap() error { return n.Err }

// The words of AWS's own refusals.
var deniedWords = regexp.MustCompile(`not authorized to perform:? ([\w-]+:\w+)(?: on resource: (\S+))?`)

// Lacks is the permission that a refusal names, which may be another one than the call's own, and the resource, where it
// names one.
func Lacks(text string) (permission, resource string, ok bool) {
	m := deniedWords.FindStringSubmatch(text)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// noToken says that there is no token of the portal; an error in words stays as it is.
func noToken(err error) error {
	if told := new(deploy.Failure); err == nil || errors.As(err, &told) {
		return err
	}
	return deploy.Failf(deploy.StageTarget, err, "The portal could not make the token by which AWS knows it. Look into the server's log, and try again.")
}

// untrusted says why AWS gives no credentials for the role; other errors stay as they are.
func (l Login) untrusted(err error) error {
	told, code, text := new(deploy.Failure), Code(err), Text(err)
	switch {
	case err == nil, errors.As(err, &told):
		return err
	case code == "":
		return &NoAnswer{err}
	case strings.Contains(text, "No OpenIDConnect provider found"):
		return deploy.Failf(deploy.StageTarget, err, "The AWS account does not know this portal as an identity provider: %s Add it in IAM, with the audience %s; docs/aws.md shows how.", deploy.Sentence(text), Audience)
	case code == "IDPCommunicationError":
		return deploy.Failf(deploy.StageTarget, err, "AWS could not reach this portal to prove its token. Its external URL has to be public, with HTTPS.")
	case Denied(err), code == "InvalidIdentityToken", code == "IDPRejectedClaim":
		return deploy.Failf(deploy.StageTarget, err, "AWS does not give Slipway the role %s: %s Its trust policy has to allow this portal's tokens (sts:AssumeRoleWithWebIdentity) with the audience %s and subjects that begin with target:%s; docs/aws.md shows it.", l.Role, deploy.Sentence(text), Audience, l.Target)
	}
	return err
}
