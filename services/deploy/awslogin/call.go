package awslogin

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
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"slipway.dev/services/deploy"
)

const (
	callTime  = 30 * time.Second // for one attempt of a call
	maxAnswer = 4 << 20          // bytes
)

// EC2 makes a call of EC2's query protocol, a form in a POST and XML back, and reads the answer into out
// (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html).
func (s *Session) EC2(ctx context.Context, action string, form url.Values, out any) error {
	return s.query(ctx, "ec2", "2016-11-15", action, form, out)
}

// IAM makes a call of IAM's query protocol, and reads the answer into out
// (https://docs.aws.amazon.com/IAM/latest/APIReference/programming.html).
func (s *Session) IAM(ctx context.Context, action string, form url.Values, out any) error {
	return s.query(ctx, "iam", "2010-05-08", action, form, out)
}

func (s *Session) query(ctx context.Context, service, version, action string, form url.Values, out any) error {
	all := url.Values{"Action": {action}, "Version": {version}}
	maps.Copy(all, form)
	header := http.Header{"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"}}
	body, err := s.call(ctx, service, header, []byte(all.Encode()))
	if err != nil {
		return err
	}
	if err := xml.Unmarshal(body, out); err != nil {
		return fmt.Errorf("aws: the answer to %s: %w", action, err)
	}
	return nil
}

// Parameter returns the value of a parameter of Systems Manager, such as AWS's public ones that name an image
// (https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameter.html).
func (s *Session) Parameter(ctx context.Context, name string) (string, error) {
	in, err := json.Marshal(map[string]string{"Name": name})
	if err != nil {
		return "", err
	}
	header := http.Header{"Content-Type": {"application/x-amz-json-1.1"}, "X-Amz-Target": {"AmazonSSM.GetParameter"}}
	body, err := s.call(ctx, "ssm", header, in)
	if err != nil {
		return "", err
	}
	var out struct{ Parameter struct{ Value string } }
	if err := json.Unmarshal(body, &out); err != nil {
		return "", fmt.Errorf("aws: the answer to GetParameter: %w", err)
	}
	return out.Parameter.Value, nil
}

// call makes the request, again where AWS wants that, and once with fresh credentials where those it had have ended.
func (s *Session) call(ctx context.Context, service string, header http.Header, in []byte) ([]byte, error) {
	renewed := false
	for attempt := 1; ; attempt++ {
		out, err := s.once(ctx, service, header, in)
		none := new(NoAnswer)
		switch {
		case err == nil:
			return out, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case Expired(err) && !renewed:
			renewed = true
			s.kept.Invalidate()
			continue
		case attempt >= Attempts || !errors.As(err, &none) && !Faulty(err) && !s.again.IsErrorRetryable(err):
			return nil, err
		}
		delay, failed := s.again.RetryDelay(attempt, err)
		if failed != nil {
			return nil, failed
		}
		if err := deploy.WaitFor(ctx, delay); err != nil {
			return nil, err
		}
	}
}

func (s *Session) once(ctx context.Context, service string, header http.Header, in []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	address, region := s.login.addressOf(service)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/", bytes.NewReader(in))
	if err != nil {
		return nil, err
	}
	req.Header = header.Clone()
	req.Header.Set("User-Agent", "slipway")
	with, err := s.kept.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(in)
	if err := v4.NewSigner().SignHTTP(ctx, with, req, hex.EncodeToString(sum[:]), service, region, time.Now()); err != nil {
		return nil, err
	}
	res, err := s.login.Client.Do(req)
	if err != nil {
		return nil, &NoAnswer{err}
	}
	defer res.Body.Close()
	out, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, &NoAnswer{err}
	}
	if res.StatusCode/100 == 2 {
		return out, nil
	}
	return nil, refusal(res.StatusCode, out)
}

// iam is one for all regions of a partition: the region that its calls are signed for, and its host.
var iam = map[string][2]string{"aws": {"us-east-1", "iam.amazonaws.com"}, "aws-cn": {"cn-north-1", "iam.cn-north-1.amazonaws.com.cn"}, "aws-us-gov": {"us-gov-west-1", "iam.us-gov.amazonaws.com"}}

// addressOf is where the service answers, and the region that its calls are signed for.
func (l Login) addressOf(service string) (address, region string) {
	partition, suffix := Partition(l.Region)
	region, host := l.Region, service+"."+l.Region+"."+suffix
	if service == "iam" {
		region, host = iam[partition][0], iam[partition][1]
	}
	if l.Endpoint != "" {
		return l.Endpoint.Of(service), region
	}
	return "https://" + host, region
}

// refusal reads an answer that says why not: EC2 wraps it in a list, and Systems Manager answers with JSON.
func refusal(status int, text []byte) error {
	type reason struct{ Code, Message string }
	var asXML struct {
		One reason   `xml:"Error"`
		All []reason `xml:"Errors>Error"`
	}
	var asJSON struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	var said reason
	if xml.Unmarshal(text, &asXML) == nil {
		said = append(asXML.All, asXML.One)[0]
	} else if json.Unmarshal(text, &asJSON) == nil {
		said = reason{asJSON.Type[strings.LastIndex(asJSON.Type, "#")+1:], asJSON.Message}
	}
	switch {
	case said.Code == "" && status >= 500:
		return &NoAnswer{fmt.Errorf("HTTP %d", status)}
	case said.Code == "":
		said.Code = fmt.Sprintf("HTTP %d", status)
	}
	return &smithy.GenericAPIError{Code: said.Code, Message: said.Message, Fault: smithy.FaultClient}
}

// renewal gets new credentials once where AWS says that those of a call of the SDK's
// have expired, as those of a role do when its sessions are revoked.
type renewal struct{ kept *aws.CredentialsCache }

func (r renewal) add(stack *middleware.Stack) error {
	return stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("slipway.Renewal", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		again := in
		if req, ok := in.Request.(*smithyhttp.Request); ok {
			again.Request = req.Clone()
		}
		out, meta, err := next.HandleFinalize(ctx, in)
		if !Expired(err) {
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
