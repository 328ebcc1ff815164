package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"
	"slipway.dev/services/deploy"
)

// awsAttempts bounds how often a call is made that is throttled or not answered.
const awsAttempts = 5

// awsAPI calls the handful of operations of EC2 and Systems Manager that a machine needs. The SDK's package for EC2
// takes gigabytes to compile; its signer and its rules for repeating are what counts.
type awsAPI struct {
	client      *http.Client
	region      string
	endpoint    string // for all services; empty: the public ones
	credentials *aws.CredentialsCache
	signer      *v4.Signer
	again       *retry.Standard
}

func newAWSAPI(client *http.Client, region, endpoint string, credentials aws.CredentialsProvider, slow time.Duration) *awsAPI {
	return &awsAPI{
		client: client, region: region, endpoint: endpoint, credentials: aws.NewCredentialsCache(credentials), signer: v4.NewSigner(),
		again: retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts, o.MaxBackoff = awsAttempts, slow }),
	}
}

// ec2 calls an operation of EC2's query protocol
// (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html) and decodes its XML.
func (a *awsAPI) ec2(ctx context.Context, action string, in url.Values, out any) error {
	form := url.Values{"Action": {action}, "Version": {"2016-11-15"}}
	for name, values := range in {
		form[name] = values
	}
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	return a.call(ctx, awsCall{service: "ec2", permission: "ec2:" + action, header: header, body: []byte(form.Encode())}, func(body []byte) error { return xml.Unmarshal(body, out) })
}

// parameter returns the value of a parameter of Systems Manager, such as AWS's public ones that name an image
// (https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html).
func (a *awsAPI) parameter(ctx context.Context, name string) (string, error) {
	body, err := json.Marshal(map[string]string{"Name": name})
	if err != nil {
		return "", err
	}
	var out struct{ Parameter struct{ Value string } }
	header := http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"AmazonSSM.GetParameter"}}
	err = a.call(ctx, awsCall{service: "ssm", permission: "ssm:GetParameter", header: header, body: body}, func(body []byte) error { return json.Unmarshal(body, &out) })
	return out.Parameter.Value, err
}

// awsCall is a request before it is signed.
type awsCall struct {
	service    string
	permission string // that it takes, such as ec2:RunInstances
	header     http.Header
	body       []byte
}

// call makes the request, again where AWS wants that, and once with fresh credentials where those it had have ended.
func (a *awsAPI) call(ctx context.Context, c awsCall, decode func([]byte) error) error {
	renewed := false
	for attempt := 1; ; attempt++ {
		body, err := a.once(ctx, c)
		var told smithy.APIError
		switch {
		case err == nil:
			if err := decode(body); err != nil {
				return fmt.Errorf("reading the answer to %s: %w", c.permission, err)
			}
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &told) && expired[told.ErrorCode()] && !renewed:
			renewed = true
			a.credentials.Invalidate()
			continue
		case attempt >= a.again.MaxAttempts() || !unanswered(err) && !a.again.IsErrorRetryable(err):
			return &awsError{c.permission, err}
		}
		delay, err := a.again.RetryDelay(attempt, err)
		if err != nil {
			return err
		}
		if err := deploy.WaitFor(ctx, delay); err != nil {
			return err
		}
	}
}

// expired are the errors that fresh credentials may help against.
var expired = map[string]bool{"ExpiredToken": true, "ExpiredTokenException": true, "RequestExpired": true}

func (a *awsAPI) once(ctx context.Context, c awsCall) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.address(c.service)+"/", bytes.NewReader(c.body))
	if err != nil {
		return nil, err
	}
	req.Header = c.header.Clone()
	req.Header.Set("User-Agent", "slipway")
	with, err := a.credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(c.body)
	if err := a.signer.SignHTTP(ctx, with, req, hex.EncodeToString(sum[:]), c.service, a.region, time.Now()); err != nil {
		return nil, err
	}
	res, err := a.client.Do(req)
	if err != nil {
		return nil, &silence{err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, answerMax))
	if err != nil {
		return nil, &silence{err}
	}
	if res.StatusCode/100 == 2 {
		return body, nil
	}
	return nil, awsRefusal(res.StatusCode, body)
}

func (a *awsAPI) address(service string) string {
	if a.endpoint != "" {
		return strings.ReplaceAll(a.endpoint, servicePlace, service)
	}
	domain := "amazonaws.com"
	if strings.HasPrefix(a.region, "cn-") {
		domain += ".cn"
	}
	return "https://" + service + "." + a.region + "." + domain
}

// awsRefusal reads the error of either protocol.
func awsRefusal(status int, body []byte) error {
	var query struct {
		Code    string `xml:"Errors>Error>Code"`
		Message string `xml:"Errors>Error>Message"`
	}
	var asJSON struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	e := &smithy.GenericAPIError{Fault: smithy.FaultClient}
	switch {
	case xml.Unmarshal(body, &query) == nil && query.Code != "":
		e.Code, e.Message = query.Code, query.Message
	case json.Unmarshal(body, &asJSON) == nil && asJSON.Type != "":
		e.Code, e.Message = asJSON.Type[strings.LastIndex(asJSON.Type, "#")+1:], asJSON.Message
	case status >= 500:
		return &silence{fmt.Errorf("HTTP %d", status)}
	default:
		e.Code = fmt.Sprintf("HTTP %d", status)
	}
	if e.Code == "InternalError" || e.Code == "Unavailable" || e.Code == "ServiceUnavailable" {
		return &silence{e}
	}
	return e
}
