package google

import (
	"context"
	"encoding/base64"
	"slices"
	"sync"

	"google.golang.org/api/secretmanager/v1"
	"slipway.dev/services/deploy"
)

// together is how many calls for secrets go on at once.
const together = 8

// secretOf is the name of a variable's secret. Each release has secrets of its
// own, with one version: they go with it, and no release sees another's.
func secretOf(release, variable string) string { return jobOf(release) + "-" + variable }

// putSecrets makes the release's secrets in Secret Manager, in its region alone.
func (t *target) putSecrets(ctx context.Context, a *api, r deploy.Release) error {
	var mu sync.Mutex
	var failed error
	var work sync.WaitGroup
	slots := make(chan struct{}, together)
	for name, value := range r.Env {
		if name == "PORT" || value == "" || slices.Contains(r.Plain, name) {
			continue
		}
		work.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := t.putSecret(ctx, a, r, name, value); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed = err
			}
		})
	}
	work.Wait()
	return failed
}

func (t *target) putSecret(ctx context.Context, a *api, r deploy.Release, name, value string) error {
	in := &secretmanager.Secret{Labels: t.labels(r), Replication: &secretmanager.Replication{UserManaged: &secretmanager.UserManaged{Replicas: []*secretmanager.Replica{{Location: t.settings.region}}}}}
	id := secretOf(r.ID, name)
	path := "projects/" + t.settings.Project + "/secrets/" + id
	_, err := a.secrets.Projects.Secrets.Create("projects/"+t.settings.Project, in).SecretId(id).Context(ctx).Do()
	if isConflict(err) { // a worker before this one came so far
		there, err := a.secrets.Projects.Secrets.Get(path).Context(ctx).Do()
		if err == nil && !t.mine(there.Labels) {
			return deploy.Failf(deploy.StageStart, nil, "The project has a secret %s that Slipway did not make. Remove or rename it, and deploy again.", id)
		}
		if err != nil {
			return t.explain(ctx, deploy.StageStart, err, "secret "+id)
		}
		has, err := a.secrets.Projects.Secrets.Versions.List(path).PageSize(1).Context(ctx).Do()
		if err != nil {
			return t.explain(ctx, deploy.StageStart, err, "versions of the secret "+id)
		}
		if len(has.Versions) > 0 {
			return nil
		}
	} else if err != nil {
		return t.explain(ctx, deploy.StageStart, err, "secret "+id)
	}
	payload := &secretmanager.AddSecretVersionRequest{Payload: &secretmanager.SecretPayload{Data: base64.StdEncoding.EncodeToString([]byte(value))}}
	if _, err := a.secrets.Projects.Secrets.AddVersion(path, payload).Context(ctx).Do(); err != nil {
		return t.explain(ctx, deploy.StageStart, err, "version of the secret "+id)
	}
	return nil
}

// secretsOf lists the release's secrets.
func (t *target) secretsOf(ctx context.Context, a *api, release string) (out []*secretmanager.Secret, err error) {
	filter := "labels." + labelTarget + "=" + t.ID + " AND labels." + labelRelease + "=" + release
	err = a.secrets.Projects.Secrets.List("projects/"+t.settings.Project).Filter(filter).PageSize(500).Pages(ctx, func(p *secretmanager.ListSecretsResponse) error {
		for _, s := range p.Secrets {
			if t.mine(s.Labels) && s.Labels[labelRelease] == release {
				out = append(out, s)
			}
		}
		return nil
	})
	return out, err
}

// dropSecrets deletes the release's secrets with what they hold.
func (t *target) dropSecrets(ctx context.Context, a *api, release string) error {
	all, err := t.secretsOf(ctx, a, release)
	if isOff(err) {
		return nil // a project without Secret Manager has none
	}
	if err != nil {
		return t.explain(ctx, deploy.StageTarget, err, "secrets")
	}
	for _, s := range all {
		if _, err := a.secrets.Projects.Secrets.Delete(s.Name).Context(ctx).Do(); err != nil && !isGone(err) {
			return t.explain(ctx, deploy.StageTarget, err, "secret "+last(s.Name))
		}
	}
	return nil
}
