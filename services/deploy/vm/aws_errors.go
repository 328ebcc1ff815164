package vm

import (
	"context"
	"errors"
	"net/url"
	"strings"

	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

// awsAPI calls the handful of operations of EC2 and Systems Manager that a machine needs.
type awsAPI struct{ *awslogin.Session }

func (a awsAPI) ec2(ctx context.Context, action string, in url.Values, out any) error {
	return failedCall("ec2:"+action, a.EC2(ctx, action, in, out))
}

func (a awsAPI) parameter(ctx context.Context, name string) (string, error) {
	value, err := a.Parameter(ctx, name)
	return value, failedCall("ssm:GetParameter", err)
}

// awsError is a call that AWS refused, or did not answer.
type awsError struct {
	permission string // that the call takes
	err        error
}

func (e *awsError) Error() string { return e.permission + ": " + e.err.Error() }
func (e *awsError) Unwrap() error { return e.err }

func failedCall(permission string, err error) error {
	none := new(awslogin.NoAnswer)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &none), awslogin.Faulty(err):
		err = &silence{err}
	case awslogin.Code(err) == "":
		return err
	}
	return &awsError{permission, err}
}

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
	code, text := awslogin.Code(err), awslogin.Text(err)
	if text != "" {
		text = deploy.Sentence(text)
	}
	switch {
	case awslogin.Denied(err):
		permission, _, named := awslogin.Lacks(awslogin.Text(err))
		if !named {
			permission = told.permission
		}
		return fail("The target's AWS credential lacks the permission %s. Add it to its policy, and deploy again.", permission)
	case code == "VcpuLimitExceeded" || strings.HasSuffix(code, "LimitExceeded") && code != "RequestLimitExceeded":
		return fail("The account's quota in %s does not allow another %s (%s). Have it raised under Service Quotas → Amazon EC2, choose a smaller size, or end machines that nobody needs.", e.region, e.size, code)
	case code == "InsufficientInstanceCapacity" || code == "InsufficientHostCapacity":
		return fail("Amazon EC2 has no %s free in the machine's zone now. Try again later, choose another size, or a subnet of another zone.", e.size)
	case awslogin.Throttled(err):
		return fail("Amazon EC2 takes no more requests of this account now (%s), though Slipway waited and asked %d times. Deploy again in a few minutes.", code, awslogin.Attempts)
	case awslogin.Unknown(err):
		return fail("AWS does not accept the target's credential (%s). Check the access key, its secret, and the clock of this machine.", code)
	case awslogin.Expired(err):
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
