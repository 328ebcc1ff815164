package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"

	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

// actions are what Slipway's application has to be allowed in the resource
// group; docs/azure.md has a role with them. Jobs are for commands before the switch.
var actions = []string{
	"Microsoft.App/managedEnvironments/read",
	"Microsoft.App/managedEnvironments/join/action",
	"Microsoft.App/containerApps/read",
	"Microsoft.App/containerApps/write",
	"Microsoft.App/containerApps/delete",
	"Microsoft.App/containerApps/listSecrets/action",
	"Microsoft.App/containerApps/getAuthToken/action",
	"Microsoft.App/containerApps/revisions/read",
	"Microsoft.App/containerApps/revisions/activate/action",
	"Microsoft.App/containerApps/revisions/deactivate/action",
	"Microsoft.App/containerApps/revisions/replicas/read",
	"Microsoft.App/jobs/read",
	"Microsoft.App/jobs/write",
	"Microsoft.App/jobs/delete",
	"Microsoft.App/jobs/start/action",
	"Microsoft.App/jobs/getAuthToken/action",
	"Microsoft.App/jobs/executions/read",
}

// Inspect asks Azure which actions are allowed, whether the subscription uses
// Container Apps, and how much room is left, and looks at the size and the registry.
func (t *target) Inspect(ctx context.Context, r deploy.Release) ([]deploy.Check, error) {
	var out []deploy.Check
	for _, look := range []func(context.Context, deploy.Release) (deploy.Check, error){t.checkProvider, t.checkRights, t.checkQuota, t.checkName, t.checkHistory} {
		c, err := look(ctx, r)
		if f := new(deploy.Failure); errors.As(err, &f) && !passing(err) {
			c, err = deploy.Check{Name: c.Name, Message: f.Message}, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return append(out, t.checkSize(r), t.checkRegistry(r)), nil
}

// checkProvider looks whether the subscription uses Container Apps
// (https://learn.microsoft.com/rest/api/resources/providers/get).
func (t *target) checkProvider(ctx context.Context, _ deploy.Release) (deploy.Check, error) {
	c := deploy.Check{Name: "Resource provider"}
	var provider struct {
		RegistrationState string `json:"registrationState"`
	}
	err := t.ask(ctx, http.MethodGet, "/subscriptions/"+t.settings.Subscription+"/providers/Microsoft.App", "2021-04-01", &provider)
	switch {
	case azurelogin.Status(err) == http.StatusForbidden:
		c.OK, c.Message = true, "Azure does not let Slipway see whether Microsoft.App is registered."
	case err != nil:
		return c, t.explain(ctx, deploy.StageTarget, err)
	case provider.RegistrationState != "Registered":
		c.Message = "The subscription does not use Container Apps yet: its resource provider Microsoft.App is " + or(provider.RegistrationState, "NotRegistered") + ". Run az provider register --namespace Microsoft.App."
	default:
		c.OK, c.Message = true, "Microsoft.App is registered in the subscription."
	}
	return c, nil
}

// permission is what a role allows (https://learn.microsoft.com/rest/api/authorization/permissions/list-for-resource-group).
type permission struct {
	Actions    []string `json:"actions"`
	NotActions []string `json:"notActions"`
}

// allows tells whether the permission has the action. An asterisk stands for any text.
func (p permission) allows(action string) bool {
	return matches(p.Actions, action) && !matches(p.NotActions, action)
}

func matches(patterns []string, action string) bool {
	for _, p := range patterns {
		expression := "(?i)^" + strings.ReplaceAll(regexp.QuoteMeta(p), `\*`, ".*") + "$"
		if ok, err := regexp.MatchString(expression, action); ok && err == nil {
			return true
		}
	}
	return false
}

// checkRights asks which actions Slipway's application may do in the resource group.
func (t *target) checkRights(ctx context.Context, r deploy.Release) (deploy.Check, error) {
	c := deploy.Check{Name: "Permissions"}
	here, err := t.permissions(ctx, t.settings.GroupID())
	if err != nil {
		return c, err
	}
	there := here
	if t.settings.environmentGroup != t.settings.Group {
		if there, err = t.permissions(ctx, strings.TrimSuffix(t.settings.environmentID(), "/providers/Microsoft.App/managedEnvironments/"+t.settings.environment)); err != nil {
			return c, err
		}
	}
	missing := lacking(here, there)
	if t.settings.identity != "" {
		const assign = "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"
		group, _, _ := strings.Cut(t.settings.identity, "/providers/")
		own, err := t.permissions(ctx, group)
		if err != nil {
			return c, err
		}
		if !allowed(own, assign) {
			missing = append(missing, assign+" on "+path.Base(t.settings.identity))
		}
	}
	if len(missing) > 0 {
		c.Message = fmt.Sprintf("Azure does not let Slipway do %s. Give its application a role with that; %s", strings.Join(missing, ", "), neededRights)
		return c, nil
	}
	c.OK, c.Message = true, "Slipway's application may do all that a rollout needs in the resource group "+t.settings.Group+"."
	if !allowed(here, metricsRight) {
		c.Message += " It may not do " + metricsRight + ", so that CPU and memory of instances are not shown; give its application a role with that there to see them."
	}
	return c, nil
}

// lacking are the actions that neither the group of the apps nor that of their environment allows.
func lacking(here, there []permission) (missing []string) {
	for _, action := range actions {
		of := here
		if strings.HasPrefix(action, "Microsoft.App/managedEnvironments/") {
			of = there
		}
		if !allowed(of, action) {
			missing = append(missing, action)
		}
	}
	return missing
}

func allowed(all []permission, action string) bool {
	for _, p := range all {
		if p.allows(action) {
			return true
		}
	}
	return false
}

func (t *target) permissions(ctx context.Context, scope string) ([]permission, error) {
	var answer struct {
		Value []permission `json:"value"`
	}
	if err := t.ask(ctx, http.MethodGet, scope+"/providers/Microsoft.Authorization/permissions", "2022-04-01", &answer); err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err)
	}
	return answer.Value, nil
}

// checkQuota looks how many processors the environment may have yet.
func (t *target) checkQuota(ctx context.Context, r deploy.Release) (deploy.Check, error) {
	c := deploy.Check{Name: "Quota"}
	cpu, _ := size(r.Scale)
	need := cpu * float64(max(r.Scale.Replicas, 1))
	call, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	for pager := t.usages.NewListPager(t.settings.environmentGroup, t.settings.environment, nil); pager.More(); {
		page, err := pager.NextPage(call)
		if status := azurelogin.Status(err); status == http.StatusForbidden || status == http.StatusNotFound {
			c.OK, c.Message = true, "Azure does not let Slipway see how much the environment may have yet."
			return c, nil
		}
		if err != nil {
			return c, t.explain(ctx, deploy.StageTarget, err)
		}
		for _, u := range page.Value {
			if u.Name == nil || !strings.Contains(value(u.Name.Value), "ConsumptionCores") {
				continue
			}
			left := float64(value(u.Limit) - value(u.CurrentValue))
			if need > left {
				c.Message = fmt.Sprintf("The environment may have %g cores, of which %g are taken; the new version needs %g beside the old one. Ask for a higher quota in the Azure portal (Quotas), or lower the app's scale.", value(u.Limit), value(u.CurrentValue), need)
				return c, nil
			}
			c.OK, c.Message = true, fmt.Sprintf("%g of the environment's %g cores are free; the new version needs %g.", left, value(u.Limit), need)
			return c, nil
		}
	}
	c.OK, c.Message = true, "The environment does not say how much it may have yet."
	return c, nil
}

// checkName looks whether the name of the Container App is free, or this app's.
func (t *target) checkName(ctx context.Context, r deploy.Release) (deploy.Check, error) {
	c := deploy.Check{Name: "Container App"}
	app, err := t.own(ctx, deploy.StageCheck, r)
	if err != nil {
		return c, err
	}
	c.OK, c.Message = true, t.appName(r)+" is made in "+t.settings.Group+"."
	if app != nil {
		c.Message = t.appName(r) + " gets a revision beside the one that serves."
		if i := app.Properties.Configuration.Ingress; i != nil && value(i.TargetPort) != int32(r.Port) && value(i.TargetPort) != 0 {
			c.Message += fmt.Sprintf(" Its port changes from %d to %d, for all revisions at once: for a moment at the switch some requests may fail, and visitors can't move to it in steps.", value(i.TargetPort), r.Port)
		}
	}
	return c, nil
}

// checkSize says which pair of CPU and memory an instance gets.
func (t *target) checkSize(r deploy.Release) deploy.Check {
	return deploy.Check{Name: "Size", OK: true, Message: "Each instance gets " + sizeText(r.Scale) + ", the smallest pair of Azure's that has what the scale asks for."}
}

// checkRegistry looks whether Azure can pull from the image's registry for as long as the app runs.
func (t *target) checkRegistry(r deploy.Release) deploy.Check {
	c := deploy.Check{Name: "Registry"}
	host := serverOf(r.Image.Repository)
	name, _, _ := strings.Cut(host, ":")
	switch {
	case host == "":
		c.OK, c.Message = true, "The image is not known yet."
	case local(name):
		c.Message = fmt.Sprintf("Azure can't pull from %s, which is a name of this machine only. Give the target a registry that Azure reaches.", host)
	case t.byIdentity(r.Image.Repository):
		c.OK, c.Message = true, fmt.Sprintf("Azure pulls from %s as the managed identity %s.", host, path.Base(t.settings.identity))
	default:
		c.OK, c.Message = true, fmt.Sprintf("Azure pulls from %s with the login of Slipway's registry, which is renewed while the app runs.", host)
	}
	return c
}
