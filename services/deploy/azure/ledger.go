package azure

import (
	"context"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"slipway.dev/services/deploy"
)

// portals are where people look at things, by the cloud.
var portals = map[string]string{
	cloud.AzureGovernment.ActiveDirectoryAuthorityHost: "https://portal.azure.us",
	cloud.AzureChina.ActiveDirectoryAuthorityHost:      "https://portal.azure.cn",
}

// link is the page of a resource in the Azure portal.
func (t *target) link(id string) string {
	if id == "" {
		return ""
	}
	portal := or(portals[t.settings.Cloud.ActiveDirectoryAuthorityHost], "https://portal.azure.com")
	at := ""
	if t.settings.Tenant != "" {
		at = "@" + t.settings.Tenant + "/"
	}
	return portal + "/#" + at + "resource" + id
}

// Resources lists what was made for the release: its revision in the app's Container App, and the job of its command.
func (t *target) Resources(ctx context.Context, release string) ([]deploy.Resource, error) {
	out := []deploy.Resource{}
	name, err := t.appOf(ctx, release)
	if err != nil {
		return nil, err
	}
	if name != "" {
		app, err := t.app(ctx, name)
		if err != nil && !missing(err) {
			return nil, t.explain(ctx, deploy.StageTarget, err)
		}
		if err == nil {
			id := value(app.ID)
			out = append(out, deploy.Resource{Kind: "Container App", Name: name, Link: t.link(id) + "/containerapp"},
				deploy.Resource{Kind: "Revision", Name: revisionOf(name, release), Link: t.link(id) + "/revisionManagement"})
		}
	}
	job, err := t.job(ctx, jobName(release))
	if missing(err) || err == nil && !t.owns(job.Tags) {
		return out, nil
	}
	if err != nil {
		return nil, t.explain(ctx, deploy.StageTarget, err)
	}
	return append(out, deploy.Resource{Kind: "Container Apps job", Name: jobName(release), Link: strings.TrimSuffix(t.link(value(job.ID)), "/")}), nil
}
