package azure

import (
	"context"

	"slipway.dev/services/deploy"
)

// Keeps lists the Container Apps and jobs that carry the target's tag.
func (t *target) Keeps(ctx context.Context) ([]deploy.Resource, error) {
	all, err := t.ownApps(ctx)
	if err != nil {
		return nil, err
	}
	out := []deploy.Resource{}
	for _, app := range all {
		out = append(out, deploy.Resource{Kind: "Container App", Name: value(app.Name), Link: t.link(value(app.ID)) + "/containerapp"})
	}
	jobs, err := t.ownJobs(ctx)
	return append(out, jobs...), err
}

// ownJobs are the jobs that this target made.
func (t *target) ownJobs(ctx context.Context) (out []deploy.Resource, err error) {
	call, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	for pager := t.jobs.NewListByResourceGroupPager(t.settings.Group, nil); pager.More(); {
		page, err := pager.NextPage(call)
		if err != nil {
			return nil, t.explain(ctx, deploy.StageTarget, err)
		}
		for _, job := range page.Value {
			if t.owns(job.Tags) {
				out = append(out, deploy.Resource{Kind: "Container Apps job", Name: value(job.Name), Link: t.link(value(job.ID))})
			}
		}
	}
	return out, nil
}

// Destroy deletes the Container Apps and jobs that carry the target's tag. The
// environment and the resource group are not Slipway's.
func (t *target) Destroy(ctx context.Context) error {
	all, err := t.ownApps(ctx)
	if err != nil {
		return err
	}
	for _, app := range all {
		if err := t.removeApp(ctx, *app.Name); err != nil {
			return err
		}
	}
	left, err := t.ownJobs(ctx)
	if err != nil {
		return err
	}
	for _, job := range left {
		if err := t.deleteJob(ctx, job.Name); err != nil {
			return err
		}
	}
	return nil
}
