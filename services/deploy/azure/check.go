package azure

import (
	"context"
	"strings"

	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/azurelogin"
)

// platform is the only one that Container Apps has
// (https://learn.microsoft.com/azure/container-apps/containers#limitations).
const platform = "linux/amd64"

// Check signs in and looks at the Container Apps environment.
func (t *target) Check(ctx context.Context) (deploy.Info, error) {
	home, err := t.lookAround(ctx)
	if err != nil {
		return deploy.Info{}, err
	}
	p := home.Properties
	switch state := value(p.ProvisioningState); state {
	case aca.EnvironmentProvisioningStateSucceeded, "":
	case aca.EnvironmentProvisioningStateFailed, aca.EnvironmentProvisioningStateUpgradeFailed, aca.EnvironmentProvisioningStateCanceled, aca.EnvironmentProvisioningStateScheduledForDelete:
		return deploy.Info{}, deploy.Failf(deploy.StageTarget, nil, "The Container Apps environment %s is of no use (%s): %s Repair it in the Azure portal.", t.settings.environment, state, azurelogin.Sentence(deploy.Plain(value(p.DeploymentErrors))))
	default:
		return deploy.Info{}, deploy.Failf(deploy.StageTarget, nil, "The Container Apps environment %s is still being set up (%s). Try again in some minutes.", t.settings.environment, state)
	}
	info := deploy.Info{Version: "Azure Container Apps in " + value(home.Location), Platform: platform, Autoscales: true}
	profile, err := t.profile(home)
	if err != nil {
		return deploy.Info{}, err
	}
	// https://learn.microsoft.com/azure/container-apps/containers#allocations
	switch {
	case len(p.WorkloadProfiles) == 0:
		info.CPU, info.Memory = 2000, 4<<30
	case profile == "" || strings.EqualFold(profile, "Consumption"):
		info.CPU, info.Memory = 4000, 8<<30
	}
	return info, nil
}

// profile returns the type of the workload profile on which apps run; empty: the environment's own choice, which is Consumption.
func (t *target) profile(home *aca.ManagedEnvironment) (string, error) {
	var names []string
	for _, p := range home.Properties.WorkloadProfiles {
		if strings.EqualFold(value(p.Name), t.settings.profile) {
			return value(p.WorkloadProfileType), nil
		}
		names = append(names, value(p.Name))
	}
	switch {
	case t.settings.profile == "":
		return "", nil
	case len(names) == 0:
		return "", deploy.Failf(deploy.StageTarget, nil, "The Container Apps environment %s has no workload profiles. Leave the target's setting empty.", t.settings.environment)
	}
	return "", deploy.Failf(deploy.StageTarget, nil, "The Container Apps environment %s has no workload profile %s, but %s. Correct the target's settings.", t.settings.environment, t.settings.profile, strings.Join(names, ", "))
}
