package vm

import (
	"errors"
	"regexp"
	"strings"

	"github.com/aws/smithy-go"
	"slipway.dev/services/deploy"
)

// awsError is a call that failed.
type awsError struct {
	permission string // that the call takes
	err        error
}

func (e *awsError) Error() string { return e.permission + ": " + e.err.Error() }
func (e *awsError) Unwrap() error { return e.err }

// awsCode is the code of AWS's error; empty where it is none.
func awsCode(err error) string {
	if told, ok := errors.AsType[smithy.APIError](err); ok {
		return told.ErrorCode()
	}
	return ""
}

// missing is the permission in the text of a refusal, which may be another one than the call's own, such as ec2:CreateTags.
var missing = regexp.MustCompile(`not authorized to perform: ([a-z0-9-]{1,40}:[A-Za-z]{1,60})`)

// explain turns an error of a call into a *deploy.Failure that says what to do.
func (e *ec2) explain(err error) error {
	failed, told := new(deploy.Failure), new(awsError)
	if err == nil || errors.As(err, &failed) || !errors.As(err, &told) {
		return err
	}
	fail := func(format string, args ...any) error { return deploy.Failf(deploy.StageTarget, err, format, args...) }
	if unanswered(err) {
		return fail("Amazon EC2's API in %s does not answer. What was made is kept; deploy again once it does.", e.region)
	}
	code, text := awsCode(err), awsText(err)
	switch {
	case code == "UnauthorizedOperation" || strings.HasPrefix(code, "AccessDenied"):
		permission := told.permission
		if named := missing.FindStringSubmatch(text); named != nil {
			permission = named[1]
		}
		return fail("The target's AWS credential lacks the permission %s. Add it to its policy, and deploy again.", permission)
	case code == "VcpuLimitExceeded" || strings.HasSuffix(code, "LimitExceeded") && code != "RequestLimitExceeded":
		return fail("The account's quota in %s does not allow another %s (%s). Have it raised under Service Quotas → Amazon EC2, choose a smaller size, or end machines that nobody needs.", e.region, e.size, code)
	case code == "InsufficientInstanceCapacity" || code == "InsufficientHostCapacity":
		return fail("Amazon EC2 has no %s free in the machine's zone now. Try again later, choose another size, or a subnet of another zone.", e.size)
	case e.throttled(err):
		return fail("Amazon EC2 takes no more requests of this account now (%s), though Slipway waited and asked %d times. Deploy again in a few minutes.", code, awsAttempts)
	case code == "AuthFailure" || code == "InvalidClientTokenId" || code == "UnrecognizedClientException" || code == "SignatureDoesNotMatch" || code == "InvalidSignatureException" || code == "IncompleteSignature":
		return fail("AWS does not accept the target's credential (%s). Check the access key, its secret, and the clock of this machine.", code)
	case expired[code]:
		return fail("The target's AWS credential has expired, and a fresh one was refused too (%s). Check the role and the clock of this machine.", code)
	case code == "OptInRequired":
		return fail("The account is not signed up for Amazon EC2 in %s, or for the image. Accept its terms in AWS Marketplace, or enable the region.", e.region)
	case code == "InvalidSubnetID.NotFound" || code == "InvalidSubnet":
		return fail("There is no subnet %s in %s. Check the target's setting.", e.subnet, e.region)
	case strings.HasPrefix(code, "InvalidAMIID") || code == "ParameterNotFound":
		return fail("There is no image %s in %s. Check the target's setting.", e.image, e.region)
	case code == "InvalidInstanceType" || code == "Unsupported":
		return fail("Amazon EC2 has no machine of the size %s for this image in the machine's zone. %s", e.size, text)
	}
	return fail("Amazon EC2 refused %s: %s. %s", told.permission, code, text)
}

// throttled tells whether AWS wanted fewer requests.
func (e *ec2) throttled(err error) bool {
	switch awsCode(err) {
	case "RequestLimitExceeded", "Throttling", "ThrottlingException", "EC2ThrottledException":
		return true
	}
	return false
}

// awsText is what AWS says of its error, bounded.
func awsText(err error) string {
	told, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return ""
	}
	text := told.ErrorMessage()
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return strings.ToValidUTF8(text, "")
}
