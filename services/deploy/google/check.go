package google

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/api/googleapi"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// right is a role and what Slipway needs of it. docs/google-cloud.md grants the same.
type right struct {
	role        string
	permissions []string
}

var rights = []right{
	{"roles/run.admin", []string{
		"run.services.create", "run.services.get", "run.services.list", "run.services.update", "run.services.delete", "run.services.getIamPolicy", "run.services.setIamPolicy",
		"run.revisions.get", "run.revisions.list", "run.revisions.delete",
		"run.jobs.create", "run.jobs.get", "run.jobs.run", "run.jobs.delete", "run.executions.list", "run.executions.cancel", "run.tasks.list"}},
	{"roles/secretmanager.admin", []string{"secretmanager.secrets.create", "secretmanager.secrets.get", "secretmanager.secrets.list", "secretmanager.secrets.delete", "secretmanager.versions.add", "secretmanager.versions.list"}},
	{"roles/logging.viewer", []string{"logging.logEntries.list"}},
}

// actAs is what Slipway needs on the apps' account.
const actAs = "iam.serviceAccounts.actAs"

// Check lists the region's services, for which there is a project, a region and a credential.
func (t *target) Check(ctx context.Context) (deploy.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	a, err := t.whole()
	if err != nil {
		return deploy.Info{}, err
	}
	if _, err := a.Projects.Locations.Services.List(t.settings.location()).PageSize(1).Context(ctx).Do(); err != nil {
		return deploy.Info{}, t.explain(ctx, deploy.StageTarget, err, "services")
	}
	return deploy.Info{Version: "Cloud Run in " + t.settings.region, Platform: "linux/amd64", CPU: mostCPU, Memory: mostMemory, Autoscales: true}, nil
}

// Inspect asks Google which of the needed permissions Slipway's account has, and
// looks at the image's registry and at what becomes of the scale.
func (t *target) Inspect(ctx context.Context, r deploy.Release) ([]deploy.Check, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	a, err := t.as(r.Subject())
	if err != nil {
		return failing("Credential", err)
	}
	out := []deploy.Check{}
	for _, ask := range []func(context.Context, *api) (deploy.Check, error){t.mayDeploy, t.mayActAs, t.checkMetrics} {
		c, err := ask(ctx, a)
		if err != nil {
			return failing("Permissions", err)
		}
		out = append(out, c)
	}
	registry := deploy.Check{Name: "Registry", OK: true, Message: "Cloud Run pulls from " + strings.SplitN(r.Image.Repository, "/", 2)[0] + "."}
	if f := foreign(r.Image); f != nil {
		registry.OK, registry.Message = false, f.Message
	}
	return append(out, registry, t.instancesCheck(r), t.visitorsCheck(r)), nil
}

// failing makes a check of a failure; other errors are the connection's.
func failing(name string, err error) ([]deploy.Check, error) {
	if f, ok := err.(*deploy.Failure); ok {
		return []deploy.Check{{Name: name, Message: f.Message}}, nil
	}
	return nil, err
}

func (t *target) mayDeploy(ctx context.Context, a *api) (deploy.Check, error) {
	var all []string
	for _, r := range rights {
		all = append(all, r.permissions...)
	}
	has, err := t.granted(ctx, a, t.settings.At("cloudresourcemanager")+"v3/projects/"+t.settings.Project+":testIamPermissions", all)
	if isOff(err) {
		return deploy.Check{Name: "Permissions", OK: true, Message: "Not looked at: the API cloudresourcemanager.googleapis.com is off in the project."}, nil
	}
	if err != nil {
		return deploy.Check{}, t.explain(ctx, deploy.StageTarget, err, "permissions")
	}
	var missing []string
	for _, r := range rights {
		lacks := slices.DeleteFunc(slices.Clone(r.permissions), func(p string) bool { return slices.Contains(has, p) })
		if len(lacks) > 0 {
			missing = append(missing, strings.Join(lacks, ", ")+" ("+r.role+")")
		}
	}
	if len(missing) > 0 {
		return deploy.Check{Name: "Permissions", Message: fmt.Sprintf("Slipway's account lacks in the project %s: %s. Grant it the roles.", t.settings.Project, strings.Join(missing, "; "))}, nil
	}
	return deploy.Check{Name: "Permissions", OK: true, Message: "Slipway's account has all permissions that a rollout needs in the project " + t.settings.Project + "."}, nil
}

func (t *target) mayActAs(ctx context.Context, a *api) (deploy.Check, error) {
	has, err := t.granted(ctx, a, t.settings.At("iam")+"v1/projects/-/serviceAccounts/"+t.settings.runAs+":testIamPermissions", []string{actAs})
	switch {
	case isOff(err):
		return deploy.Check{Name: "Account of the apps", OK: true, Message: "Not looked at: the API iam.googleapis.com is off in the project."}, nil
	case isGone(err):
		return deploy.Check{Name: "Account of the apps", Message: "There is no service account " + t.settings.runAs + ". Make it, or correct the target's settings."}, nil
	case err != nil:
		return deploy.Check{}, t.explain(ctx, deploy.StageTarget, err, "account of the apps")
	case !slices.Contains(has, actAs):
		return deploy.Check{Name: "Account of the apps", Message: t.denied("", actAs, "")}, nil
	}
	return deploy.Check{Name: "Account of the apps", OK: true, Message: "Apps run as " + t.settings.runAs + "."}, nil
}

// granted asks which of the permissions the caller has (https://cloud.google.com/iam/docs/testing-permissions).
func (t *target) granted(ctx context.Context, a *api, url string, permissions []string) ([]string, error) {
	type body struct {
		Permissions []string `json:"permissions"`
	}
	ask, err := json.Marshal(body{permissions})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(ask))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := a.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if err := googleapi.CheckResponse(res); err != nil {
		return nil, err
	}
	var has body
	err = json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&has)
	return has.Permissions, err
}

// instancesCheck says what Cloud Run makes of the scale.
func (t *target) instancesCheck(r deploy.Release) deploy.Check {
	of, err := sizeOf(r.Scale)
	if f, ok := err.(*deploy.Failure); ok {
		return deploy.Check{Name: "Instances", Message: f.Message}
	}
	s := t.scaling(r.Scale)
	text := fmt.Sprintf("Each gets %s, and %d requests at once. ", of, t.settings.concurrency)
	switch {
	case s.MinInstanceCount == 0:
		text += fmt.Sprintf("Up to %d run; without visitors none.", s.MaxInstanceCount)
	case s.MaxInstanceCount > s.MinInstanceCount:
		text += fmt.Sprintf("From %d to %d run, by the requests that come.", s.MinInstanceCount, s.MaxInstanceCount)
	default:
		text += fmt.Sprintf("%d run.", s.MinInstanceCount)
	}
	return deploy.Check{Name: "Instances", OK: true, Message: text}
}

// visitorsCheck says who gets to the app, and how its health is looked at.
func (t *target) visitorsCheck(r deploy.Release) deploy.Check {
	if r.Health == models.HealthImage {
		return deploy.Check{Name: "Health check", Message: "Cloud Run does not run an image's HEALTHCHECK. Choose an HTTP path or the TCP port in the app's settings."}
	}
	if !t.settings.reachable() {
		return deploy.Check{Name: "Visitors", OK: true, Message: "Slipway itself is no visitor of the app: Cloud Run's startup probe alone says whether it is healthy."}
	}
	return deploy.Check{Name: "Visitors", OK: true, Message: "Anybody may visit. Cloud Run's startup probe says whether the app is healthy, and Slipway asks it from outside before the switch."}
}
