package google

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"google.golang.org/api/run/v2"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

const (
	probeEvery   = 2 * time.Second
	leastProbing = 10 * time.Second  // where a release says nothing
	mostProbing  = 240 * time.Second // that Cloud Run lets an instance start
	requestTime  = 15 * time.Minute  // of one request, a WebSocket too; Cloud Run ends it then
)

// template is the release's revision.
func (t *target) template(r deploy.Release, service string, of size) *run.GoogleCloudRunV2RevisionTemplate {
	labels := t.labels(r)
	labels[labelInstances] = strconv.Itoa(r.Scale.Replicas)
	return &run.GoogleCloudRunV2RevisionTemplate{
		Revision: revisionOf(service, r.ID), Labels: labels, ServiceAccount: t.settings.runAs,
		MaxInstanceRequestConcurrency: t.settings.concurrency, Timeout: seconds(requestTime),
		ExecutionEnvironment: "EXECUTION_ENVIRONMENT_GEN2", Scaling: t.scaling(r.Scale), VpcAccess: t.vpc(),
		Containers: []*run.GoogleCloudRunV2Container{{
			Image: r.Image.Ref(), Env: t.environment(r), StartupProbe: probe(r),
			Ports:     []*run.GoogleCloudRunV2ContainerPort{{ContainerPort: int64(r.Port)}},
			Resources: &run.GoogleCloudRunV2ResourceRequirements{Limits: of.limits(), CpuIdle: t.settings.sleeps, StartupCpuBoost: true, ForceSendFields: []string{"CpuIdle"}},
		}},
	}
}

// scaling is how many instances the revision has: all that were asked for from its
// start on, or none where they may sleep.
func (t *target) scaling(s models.Scale) *run.GoogleCloudRunV2RevisionScaling {
	out := &run.GoogleCloudRunV2RevisionScaling{MinInstanceCount: int64(s.Replicas), MaxInstanceCount: int64(max(s.Replicas, s.Max))}
	if t.settings.sleeps {
		out.MinInstanceCount = 0
	}
	return out
}

func (t *target) vpc() *run.GoogleCloudRunV2VpcAccess {
	if t.settings.network == "" {
		return nil
	}
	to := &run.GoogleCloudRunV2NetworkInterface{Network: t.settings.network, Subnetwork: t.settings.subnet}
	return &run.GoogleCloudRunV2VpcAccess{Egress: "PRIVATE_RANGES_ONLY", NetworkInterfaces: []*run.GoogleCloudRunV2NetworkInterface{to}}
}

// environment are the release's variables, its secrets by their place in Secret
// Manager. Cloud Run sets PORT by itself and refuses another one.
func (t *target) environment(r deploy.Release) []*run.GoogleCloudRunV2EnvVar {
	var out []*run.GoogleCloudRunV2EnvVar
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		switch {
		case name == "PORT":
		case slices.Contains(r.Plain, name) || r.Env[name] == "": // a secret can't be empty
			out = append(out, &run.GoogleCloudRunV2EnvVar{Name: name, Value: r.Env[name]})
		default:
			of := &run.GoogleCloudRunV2SecretKeySelector{Secret: secretOf(r.ID, name), Version: "1"}
			out = append(out, &run.GoogleCloudRunV2EnvVar{Name: name, ValueSource: &run.GoogleCloudRunV2EnvVarSource{SecretKeyRef: of}})
		}
	}
	return out
}

// probe is the app's health check while an instance starts: Cloud Run sends
// visitors to no instance before it passes
// (https://cloud.google.com/run/docs/configuring/healthchecks).
func probe(r deploy.Release) *run.GoogleCloudRunV2Probe {
	within := min(max(r.Patience, leastProbing), mostProbing)
	p := &run.GoogleCloudRunV2Probe{PeriodSeconds: int64(probeEvery / time.Second), TimeoutSeconds: int64(probeEvery / time.Second), FailureThreshold: int64(within / probeEvery)}
	if r.Health == models.HealthTCP {
		p.TcpSocket = &run.GoogleCloudRunV2TCPSocketAction{Port: int64(r.Port)}
		return p
	}
	p.HttpGet = &run.GoogleCloudRunV2HTTPGetAction{Path: r.HealthPath, Port: int64(r.Port)}
	return p
}

// seconds is a duration as Google's APIs write it.
func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int64(d/time.Second)) }
