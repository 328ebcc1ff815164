package azure

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// graceSeconds is how long a replica may take to end by itself. Azure knows one time for a revision's whole life.
const graceSeconds = 30

// The pairs of CPU and memory that Azure has go in quarters of a processor with
// half a gibibyte each (https://learn.microsoft.com/azure/container-apps/containers#allocations).
const (
	quarterCPU    = 250       // thousandths of a processor
	quarterMemory = 512 << 20 // bytes
	usual         = 2         // quarters, where the scale has no limits
)

// quarters is the smallest pair that has what the scale asks for.
func quarters(s models.Scale) int64 {
	if s.CPU == 0 && s.Memory == 0 {
		return usual
	}
	return max((s.CPU+quarterCPU-1)/quarterCPU, (s.Memory+quarterMemory-1)/quarterMemory, 1)
}

// size is how Azure writes the pair.
func size(s models.Scale) (cpu float64, memory string) {
	n := quarters(s)
	return float64(n) / 4, strconv.FormatFloat(float64(n)/2, 'f', -1, 64) + "Gi"
}

// sizeText says the pair to people.
func sizeText(s models.Scale) string {
	cpu, memory := size(s)
	return fmt.Sprintf("%g vCPU and %siB", cpu, strings.Replace(memory, "Gi", " G", 1))
}

// container is what runs the image. Values that are empty stand in the open: Azure keeps no empty secrets.
func container(r deploy.Release, image string) *aca.Container {
	cpu, memory := size(r.Scale)
	c := &aca.Container{Name: to.Ptr(containerName), Image: &image, Resources: &aca.ContainerResources{CPU: &cpu, Memory: &memory}}
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		v := &aca.EnvironmentVar{Name: to.Ptr(name)}
		if secret(r, name) {
			v.SecretRef = to.Ptr(secretOf(r.ID, name))
		} else {
			v.Value = to.Ptr(r.Env[name])
		}
		c.Env = append(c.Env, v)
	}
	c.Env = append(c.Env, &aca.EnvironmentVar{Name: to.Ptr(releaseVariable), Value: to.Ptr(r.ID)})
	return c
}

// secret tells whether the variable is kept as a secret.
func secret(r deploy.Release, name string) bool {
	return r.Env[name] != "" && !slices.Contains(r.Plain, name)
}

// secrets are those of the release.
func secrets(r deploy.Release) (all []*aca.Secret) {
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		if secret(r, name) {
			all = append(all, &aca.Secret{Name: to.Ptr(secretOf(r.ID, name)), Value: to.Ptr(r.Env[name])})
		}
	}
	return all
}

// template is the release's revision. Port is the one that the app's ingress
// leads to now: Azure probes it by itself unless there is a probe of the kind.
func template(r deploy.Release, port int32) *aca.Template {
	c := container(r, r.Image.Ref())
	c.Probes = []*aca.ContainerAppProbe{readiness(r)}
	if port != int32(r.Port) {
		c.Probes = append(c.Probes, startup(r))
	}
	return &aca.Template{
		RevisionSuffix: to.Ptr(suffixOf(r.ID)), Containers: []*aca.Container{c}, Scale: scale(r.Scale),
		TerminationGracePeriodSeconds: to.Ptr[int64](graceSeconds),
	}
}

// readiness keeps visitors from a replica that is not well. There is no liveness
// probe: an app that is slow for a while is not ended for it.
func readiness(r deploy.Release) *aca.ContainerAppProbe {
	p := &aca.ContainerAppProbe{Type: to.Ptr(aca.TypeReadiness), InitialDelaySeconds: to.Ptr[int32](1), PeriodSeconds: to.Ptr[int32](3), TimeoutSeconds: to.Ptr[int32](3), FailureThreshold: to.Ptr[int32](3)}
	if r.Health == models.HealthTCP {
		p.TCPSocket = &aca.ContainerAppProbeTCPSocket{Port: to.Ptr(int32(r.Port))}
		return p
	}
	p.HTTPGet = &aca.ContainerAppProbeHTTPGet{Port: to.Ptr(int32(r.Port)), Path: to.Ptr(r.HealthPath), Scheme: to.Ptr(aca.SchemeHTTP)}
	return p
}

// startup takes the place of Azure's own startup probe, which asks the port that visitors come to. It gives the app five minutes.
func startup(r deploy.Release) *aca.ContainerAppProbe {
	return &aca.ContainerAppProbe{Type: to.Ptr(aca.TypeStartup), InitialDelaySeconds: to.Ptr[int32](1), PeriodSeconds: to.Ptr[int32](30), TimeoutSeconds: to.Ptr[int32](3), FailureThreshold: to.Ptr[int32](10),
		TCPSocket: &aca.ContainerAppProbeTCPSocket{Port: to.Ptr(int32(r.Port))}}
}

// scale never lets the app go to sleep: it has as many replicas as asked for, and more by its CPU where it may.
func scale(s models.Scale) *aca.Scale {
	n := int32(max(s.Replicas, 1))
	out := &aca.Scale{MinReplicas: to.Ptr(n), MaxReplicas: to.Ptr(n)}
	if s.Autoscales() {
		out.MaxReplicas = to.Ptr(int32(s.Max))
		out.Rules = []*aca.ScaleRule{{Name: to.Ptr("cpu"), Custom: &aca.CustomScaleRule{Type: to.Ptr("cpu"), Metadata: map[string]*string{
			"type": to.Ptr("Utilization"), "value": to.Ptr(strconv.Itoa(s.CPUTarget))}}}}
	}
	return out
}
