package aws_test

import (
	"errors"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/aws"
	"slipway.dev/services/deploy/aws/awstest"
)

func TestSettingsThatCanNotBeAreRefused(t *testing.T) {
	good := map[string]string{"region": "eu-central-1", "subnets": "subnet-0a1b2c3d", "execution_role": awstest.ExecutionRole, "public_address": "true"}
	open := func(change map[string]string) error {
		in := map[string]string{}
		for name, value := range good {
			in[name] = value
		}
		for name, value := range change {
			in[name] = value
		}
		_, err := aws.Kind().Open(deploy.Config{ID: "t", Settings: in})
		return err
	}
	if err := open(nil); err != nil {
		t.Fatal(err)
	}
	listener := "arn:aws:elasticloadbalancing:eu-central-1:123456789012:listener/app/apps/50dc6c495c0c9188/f2f7dc8efc522ab2"
	for field, changes := range map[string][]map[string]string{
		"region":             {{"region": "Frankfurt"}, {"region": "eu-central-1.evil.example"}},
		"role":               {{"role": "admin"}},
		"execution_role":     {{"execution_role": "arn:aws:iam::1:role/x"}},
		"task_role":          {{"task_role": "x"}},
		"access_key_id":      {{"access_key_id": "akia/x"}},
		"secret_access_key":  {{"access_key_id": "AKIATESTTESTTEST"}},
		"subnets":            {{"subnets": "vpc-0a1b2c3d"}},
		"security_groups":    {{"security_groups": "default"}},
		"launch":             {{"launch": "SPOT"}},
		"architecture":       {{"architecture": "amd64"}},
		"cluster":            {{"cluster": "a b"}, {"launch": "EC2", "listener": listener, "domain": "apps.test", "public_address": ""}},
		"listener":           {{"listener": "arn:aws:x"}, {"launch": "EC2", "cluster": "c", "public_address": ""}},
		"domain":             {{"listener": listener}, {"domain": "-x", "listener": listener}, {"domain": strings.Repeat("abcdefghi.", 7) + "test", "listener": listener}},
		"public_address":     {{"public_address": ""}, {"launch": "EC2", "cluster": "c"}},
		"container_insights": {{"container_insights": "true", "cluster": "c"}},
		"log_days":           {{"log_days": "31"}, {"log_days": "always"}},
		"endpoint":           {{"endpoint": "http://example.com"}, {"endpoint": "https://user:password@example.com"}, {"endpoint": "https://{service}.example.com?x=1"}, {"endpoint": "gopher://localhost"}},
	} {
		for _, change := range changes {
			if wrong, ok := errors.AsType[*models.Error](open(change)); !ok || wrong.Fields[field] == "" {
				t.Errorf("%s: %v gives %v", field, change, wrong)
			}
		}
	}
}
