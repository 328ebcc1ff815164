package aws

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"
)

const maxAnswer = 4 << 20 // bytes

// api is a service of which so few calls are made that its SDK, which takes
// minutes and gigabytes to compile, would be out of proportion. Its protocol is
// a form in a POST and XML back
// (https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html).
type api struct{ name, version string }

var (
	ec2 = api{"ec2", "2016-11-15"}
	iam = api{"iam", "2010-05-08"}
)

// ask makes a call and reads the answer into out. Credentials that have expired are renewed once.
func (t *target) ask(ctx context.Context, c *clients, of api, action string, form url.Values, out any) error {
	form.Set("Action", action)
	form.Set("Version", of.version)
	err := t.askOnce(ctx, c, of, form, out)
	if !expired(err) {
		return err
	}
	c.kept.Invalidate()
	return t.askOnce(ctx, c, of, form, out)
}

func (t *target) askOnce(ctx context.Context, c *clients, of api, form url.Values, out any) error {
	address, region := t.addressOf(of)
	body := form.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("aws: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	credential, err := c.kept.Retrieve(ctx)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(body))
	if err := v4.NewSigner().SignHTTP(ctx, credential, req, hex.EncodeToString(sum[:]), of.name, region, time.Now()); err != nil {
		return fmt.Errorf("aws: %w", err)
	}
	res, err := t.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return refusal(res.StatusCode, text)
	}
	return xml.Unmarshal(text, out)
}

// addressOf is where the service answers, and the region that its calls are signed for: IAM has one for all.
func (t *target) addressOf(of api) (address, region string) {
	region = t.settings.region
	if of == iam {
		region = "us-east-1"
		switch {
		case strings.HasPrefix(t.settings.region, "cn-"):
			region = "cn-north-1"
		case strings.HasPrefix(t.settings.region, "us-gov-"):
			region = "us-gov-west-1"
		}
	}
	switch {
	case t.settings.endpoint != "":
		return t.endpoint(of.name) + "/", region
	case strings.HasPrefix(region, "cn-"):
		return fmt.Sprintf("https://%s.%s.amazonaws.com.cn/", of.name, region), region
	case of == iam && region == "us-gov-west-1":
		return "https://iam.us-gov.amazonaws.com/", region
	case of == iam:
		return "https://iam.amazonaws.com/", region
	}
	return fmt.Sprintf("https://%s.%s.amazonaws.com/", of.name, region), region
}

// refusal reads an answer that says why not; EC2 wraps it in a list.
func refusal(status int, text []byte) error {
	var said struct {
		One struct {
			Code    string `xml:"Code"`
			Message string `xml:"Message"`
		} `xml:"Error"`
		All []struct {
			Code    string `xml:"Code"`
			Message string `xml:"Message"`
		} `xml:"Errors>Error"`
	}
	if err := xml.Unmarshal(text, &said); err != nil || said.One.Code == "" && len(said.All) == 0 {
		return &smithy.GenericAPIError{Code: http.StatusText(status), Message: "The answer can't be read."}
	}
	if len(said.All) > 0 {
		said.One = said.All[0]
	}
	return &smithy.GenericAPIError{Code: said.One.Code, Message: said.One.Message}
}

// numbered adds a list to a form: Name.1, Name.2, …
func numbered(form url.Values, name string, values []string) url.Values {
	for i, v := range values {
		form.Set(fmt.Sprintf("%s.%d", name, i+1), v)
	}
	return form
}
