//go:build realclouds

// The test of this file needs an account of AWS, and runs on a machine of its VPC; make test-clouds selects it. Its
// variables name what is there:
//
//	SLIPWAY_TEST_AWS_REGION          such as eu-central-1
//	SLIPWAY_TEST_AWS_SUBNETS         ids, with commas between
//	SLIPWAY_TEST_AWS_SECURITY_GROUPS that let the load balancer, and this machine, to port 8080
//	SLIPWAY_TEST_AWS_EXECUTION_ROLE  an ARN
//	SLIPWAY_TEST_AWS_LISTENER        an ARN, and
//	SLIPWAY_TEST_AWS_DOMAIN          the domain that leads to it
//	SLIPWAY_TEST_AWS_IMAGE           the test server (services/dockertest) in ECR: REPOSITORY@sha256:…
//
// The credentials are those of the machine (AWS_PROFILE, AWS_ACCESS_KEY_ID, an instance's role).
package aws_test

import (
	"context"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/aws"
	"slipway.dev/services/deploy/deploytest"
)

func TestRealAccountDoesWhatEveryTargetMust(t *testing.T) {
	settings := map[string]string{"public_address": "true"}
	for variable, setting := range map[string]string{"REGION": "region", "SUBNETS": "subnets", "SECURITY_GROUPS": "security_groups", "EXECUTION_ROLE": "execution_role", "LISTENER": "listener", "DOMAIN": "domain"} {
		if settings[setting] = os.Getenv("SLIPWAY_TEST_AWS_" + variable); settings[setting] == "" {
			t.Fatalf("SLIPWAY_TEST_AWS_%s is not set: real_test.go says what it names", variable)
		}
	}
	repository, digest, ok := strings.Cut(os.Getenv("SLIPWAY_TEST_AWS_IMAGE"), "@")
	if !ok {
		t.Fatal("SLIPWAY_TEST_AWS_IMAGE is not a repository and a digest with an @ between")
	}
	at := deploy.Image{Repository: repository, Digest: digest}
	gone := at
	gone.Digest = "sha256:" + strings.Repeat("0", 64)
	deploytest.Run(t, deploytest.Suite{
		Open: func(t *testing.T) deploy.Target {
			target, err := aws.Kind().Open(deploy.Config{ID: models.NewID(), Name: "test", Settings: settings})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
				defer cancel()
				if err := target.(deploy.Destroyer).Destroy(ctx); err != nil {
					t.Error(err)
				}
				target.Close()
			})
			return target
		},
		Image: at, Gone: gone, Mixed: true, Always: true, Patience: 3 * time.Minute,
		From: deploy.Source{
			Credential: func(context.Context) (string, string, error) { return "", "", nil },
			Open: func(context.Context) (name.Repository, []remote.Option, error) {
				repository, err := name.NewRepository(repository)
				return repository, nil, err
			},
		},
		Routed: visitReal,
	})
}

// visitReal asks as a visitor, for as long as the load balancer takes to hear of a rule.
func visitReal(t *testing.T, url string) string {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/version", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err == nil && res.StatusCode == http.StatusOK {
				return strings.TrimSpace(string(body))
			}
		}
		if time.Now().After(end) {
			t.Fatalf("%s does not answer: %v", url, err)
		}
		<-time.After(time.Second)
	}
}
