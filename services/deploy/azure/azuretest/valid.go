package azuretest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
)

var (
	names    = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
	suffixes = regexp.MustCompile(`^[a-z]([a-z0-9-]*[a-z0-9])?$`)
)

// valid looks at what Azure would not take, and tells with which code and message it refuses it.
func (s *Server) valid(name string, want *aca.ContainerApp, a *app) (code, text string) {
	p := want.Properties
	switch {
	case len(name) < 2 || len(name) > 32 || !names.MatchString(name) || strings.Contains(name, "--"):
		return "ContainerAppInvalidName", fmt.Sprintf("Invalid ContainerApp name '%s'. A name must consist of lower case alphanumeric characters or '-', start with a letter, end with an alphanumeric character and cannot have '--'. The length must not be more than 32 characters.", name)
	case value(want.Location) != Location:
		return "LocationNotAvailableForResourceType", "The provided location is not available."
	case p == nil || p.Configuration == nil || p.Template == nil || value(p.EnvironmentID) != s.environmentID():
		return "ManagedEnvironmentNotFound", "The Managed Environment does not exist."
	case len(p.Template.Containers) != 1 || value(p.Configuration.ActiveRevisionsMode) != aca.ActiveRevisionsModeMultiple || p.Configuration.Ingress == nil:
		return "InvalidParameterValueInContainerTemplate", "This Azure knows one container, several active revisions, and an ingress."
	case !suffixes.MatchString(value(p.Template.RevisionSuffix)) || len(name)+2+len(*p.Template.RevisionSuffix) > 54:
		return "ContainerAppInvalidRevisionSuffix", "The revision suffix is invalid."
	}
	if code, text := validContainer(p.Template.Containers[0], p.Configuration.Secrets, p.Configuration.Registries); code != "" {
		return code, text
	}
	for _, rev := range a.revisions {
		if rev.active {
			if code, text := validContainer(rev.template.Containers[0], p.Configuration.Secrets, nil); code != "" {
				return code, text
			}
		}
		if own := name + "--" + *p.Template.RevisionSuffix; rev.name == own && !equal(rev.template, p.Template) {
			return "RevisionWithSuffixExists", fmt.Sprintf("Revision with suffix '%s' already exists.", *p.Template.RevisionSuffix)
		}
	}
	total := int32(0)
	for _, t := range p.Configuration.Ingress.Traffic {
		total += value(t.Weight)
		rev := a.revision(value(t.RevisionName))
		if !value(t.LatestRevision) && (rev == nil || !rev.active) && value(t.RevisionName) != name+"--"+*p.Template.RevisionSuffix {
			return "ContainerAppInvalidTraffic", fmt.Sprintf("Traffic is sent to the revision '%s', which does not exist or is not active.", value(t.RevisionName))
		}
	}
	if total != 100 {
		return "ContainerAppInvalidTraffic", "The weights of the traffic have to add up to 100."
	}
	return "", ""
}

func equal(a, b any) bool {
	one, _ := json.Marshal(a)
	two, _ := json.Marshal(b)
	return string(one) == string(two)
}

// validContainer looks at a container and at what it refers to.
func validContainer(c *aca.Container, secrets []*aca.Secret, registries []*aca.RegistryCredentials) (code, text string) {
	known := map[string]bool{}
	for _, secret := range secrets {
		if value(secret.Value) == "" && value(secret.KeyVaultURL) == "" {
			return "ContainerAppSecretInvalid", fmt.Sprintf("The secret '%s' has no value.", value(secret.Name))
		}
		known[value(secret.Name)] = true
	}
	for _, e := range c.Env {
		if e.SecretRef != nil && !known[*e.SecretRef] {
			return "ContainerAppSecretRefNotFound", fmt.Sprintf("SecretRef '%s' defined for container '%s' not found.", *e.SecretRef, value(c.Name))
		}
	}
	for _, l := range registries {
		if l.PasswordSecretRef != nil && !known[*l.PasswordSecretRef] {
			return "ContainerAppRegistrySecretNotFound", fmt.Sprintf("The password secret '%s' of the registry '%s' was not found.", *l.PasswordSecretRef, value(l.Server))
		}
	}
	pairs := []string{}
	for n := 1; n <= 16; n++ {
		pairs = append(pairs, fmt.Sprintf("%g %gGi", float64(n)/4, float64(n)/2))
	}
	if c.Resources == nil || !slices.Contains(pairs, fmt.Sprintf("%g %s", value(c.Resources.CPU), value(c.Resources.Memory))) {
		return "ContainerAppInvalidResourceTotal", "The total requested CPU and memory resources for this application is invalid. Total CPU and memory for all containers defined in a Container App must add up to one of the following CPU - Memory combinations: [cpu: 0.25, memory: 0.5Gi]; …"
	}
	for _, probe := range c.Probes {
		if n := value(probe.FailureThreshold); n < 1 || n > 10 || value(probe.InitialDelaySeconds) < 1 || value(probe.PeriodSeconds) < 1 {
			return "InvalidParameterValueInContainerTemplate", "The probe is invalid."
		}
	}
	return "", ""
}
