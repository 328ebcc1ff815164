package aws

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/awslogin"
)

// nameAgain is how long Secrets Manager may take to let go of the name of a
// secret that was deleted, such as that of a version that is started again.
const nameAgain = time.Minute

// hidden are the variables that only the app may see. An empty one hides nothing, and ECS takes none.
func hidden(r deploy.Release) map[string]string {
	out := map[string]string{}
	for name, value := range r.Env {
		if value != "" && !slices.Contains(r.Plain, name) {
			out[name] = value
		}
	}
	return out
}

// ensureSecret puts the release's secrets into one secret of Secrets Manager, so
// that nobody reads them in a task definition. It returns the secret's ARN; "" where there are none.
func (t *target) ensureSecret(ctx context.Context, c *clients, stage string, r deploy.Release) (string, error) {
	values := hidden(r)
	if len(values) == 0 {
		return "", nil
	}
	text, err := json.Marshal(values)
	if err != nil {
		return "", err
	}
	name := t.secretName(r.ID)
	in := &secretsmanager.CreateSecretInput{Name: &name, SecretString: ptr(string(text)), Tags: secretTags(t.tagsOf(r)), Description: ptr("Secrets of " + r.App + " in " + r.Environment + ", for one release of Slipway")}
	patience, cancel := context.WithTimeout(ctx, nameAgain)
	defer cancel()
	for p := new(pace); ; {
		out, err := c.secrets.CreateSecret(ctx, in)
		if err == nil {
			return deref(out.ARN), nil
		}
		if there := new(types.ResourceExistsException); errors.As(err, &there) {
			return t.ownSecret(ctx, c, stage, name)
		}
		going := new(types.InvalidRequestException)
		if !errors.As(err, &going) || !strings.Contains(awslogin.Text(err), "scheduled for deletion") || p.wait(patience) != nil {
			return "", t.explain(ctx, stage, err, "keep the app's secrets")
		}
	}
}

// ownSecret returns the ARN of the secret that is there, if it is this target's.
func (t *target) ownSecret(ctx context.Context, c *clients, stage, name string) (string, error) {
	have, err := c.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		return "", t.explain(ctx, stage, err, "look for the app's secrets")
	}
	if !slices.ContainsFunc(have.Tags, func(one types.Tag) bool { return deref(one.Key) == tagTarget && deref(one.Value) == t.id }) {
		return "", deploy.Failf(stage, nil, "There is a secret %s that is not this target's, so it is not touched. Remove it, and deploy again.", name)
	}
	return deref(have.ARN), nil
}

// removeSecret deletes the release's secrets for good.
func (t *target) removeSecret(ctx context.Context, c *clients, release string) error {
	name := t.secretName(release)
	have, err := c.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &name})
	if missing(err) || err == nil && have.DeletedDate != nil {
		return nil
	}
	if err == nil && !slices.ContainsFunc(have.Tags, func(one types.Tag) bool { return deref(one.Key) == tagTarget && deref(one.Value) == t.id }) {
		return nil // somebody else's
	}
	if err == nil {
		_, err = c.secrets.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: &name, ForceDeleteWithoutRecovery: ptr(true)})
	}
	if missing(err) {
		return nil
	}
	return t.explain(ctx, deploy.StageTarget, err, "remove the app's secrets")
}
