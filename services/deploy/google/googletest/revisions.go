package googletest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/api/logging/v2"
	"google.golang.org/api/run/v2"
	"slipway.dev/services/deploy"
)

// revision is a revision with its containers.
type revision struct {
	run.GoogleCloudRunV2Revision
	decided chan struct{} // closed once it is ready, or never will be
	once    sync.Once
	ctx     context.Context
	stop    context.CancelFunc
	up      []*instance // that passed their probe
	turn    int
}

// newRevision makes the revision of the service's template.
func (c *Cloud) newRevision(s *service) *revision {
	t := s.Template
	r := &revision{decided: make(chan struct{})}
	r.ctx, r.stop = context.WithCancel(c.ctx)
	r.GoogleCloudRunV2Revision = run.GoogleCloudRunV2Revision{
		Name: s.Name + "/revisions/" + t.Revision, Labels: t.Labels, CreateTime: now(), Containers: t.Containers, Scaling: t.Scaling, ServiceAccount: t.ServiceAccount,
		Conditions: []*run.GoogleCloudRunV2Condition{{Type: "Ready", State: pending, LastTransitionTime: now(), Message: "Deploying revision."}},
	}
	return r
}

func (r *revision) ready() *run.GoogleCloudRunV2Condition { return r.Conditions[0] }

func (r *revision) name() string { return r.Name[strings.LastIndexByte(r.Name, '/')+1:] }

// decide says how the revision came out.
func (c *Cloud) decide(r *revision, of run.GoogleCloudRunV2Condition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.once.Do(func() {
		of.Type, of.LastTransitionTime = "Ready", now()
		r.Conditions = []*run.GoogleCloudRunV2Condition{&of}
		close(r.decided)
	})
}

// start runs the revision's instances, as many as it has at least.
func (c *Cloud) start(s *service, r *revision) {
	c.mu.Lock()
	var next *refusal
	if len(c.refused) > 0 {
		next, c.refused = &c.refused[0], c.refused[1:]
	}
	k := r.Containers[0]
	image, known := c.images[k.Image]
	count := int(max(1, r.Scaling.MinInstanceCount))
	name := s.Name[strings.LastIndexByte(s.Name, '/')+1:]
	c.mu.Unlock()
	of := &logging.MonitoredResource{Type: "cloud_run_revision", Labels: map[string]string{"project_id": Project, "location": Region, "service_name": name, "configuration_name": name, "revision_name": r.name()}}
	env, err := c.environment(k)
	switch {
	case next != nil:
		for _, text := range next.said {
			c.write("varlog%2Fsystem", "ERROR", text, time.Now(), of, "")
		}
		c.decide(r, next.of)
		return
	case !known:
		c.decide(r, run.GoogleCloudRunV2Condition{State: failed, Reason: "CONTAINER_MISSING", Message: "Image '" + k.Image + "' not found."})
		return
	case err != nil:
		c.decide(r, run.GoogleCloudRunV2Condition{State: failed, Reason: "SECRETS_ACCESS_CHECK_FAILED", Message: err.Error()})
		return
	}
	env = append(env, fmt.Sprintf("PORT=%d", k.Ports[0].ContainerPort), "K_SERVICE="+name, "K_REVISION="+r.name())
	waits := sync.WaitGroup{}
	for range count {
		waits.Add(1)
		c.work.Go(func() {
			first := sync.OnceFunc(waits.Done)
			defer first()
			for r.ctx.Err() == nil {
				if !c.live(r, image, env, of, first) {
					return
				}
			}
		})
	}
	c.work.Go(func() {
		waits.Wait()
		c.decide(r, run.GoogleCloudRunV2Condition{State: succeeded}) // unless one failed
	})
}

// live is one instance's life. It tells whether another one takes its place.
func (c *Cloud) live(r *revision, image string, env []string, of *logging.MonitoredResource, healthy func()) (again bool) {
	i, err := c.run(r.ctx, image, nil, env, r.Containers[0], of)
	if err != nil {
		c.decide(r, run.GoogleCloudRunV2Condition{State: failed, RevisionReason: "HEALTH_CHECK_CONTAINER_ERROR", Message: "Application exec likely failed: " + err.Error()})
		return false
	}
	defer i.remove()
	if !c.probe(r.ctx, i, r.Containers[0].StartupProbe, of) {
		if r.ctx.Err() == nil {
			c.decide(r, run.GoogleCloudRunV2Condition{State: failed, RevisionReason: "HEALTH_CHECK_CONTAINER_ERROR",
				Message: "The user-provided container failed the configured startup probe checks. Logs for this revision might contain more information."})
		}
		return false
	}
	c.mu.Lock()
	r.up = append(r.up, i)
	c.mu.Unlock()
	healthy()
	select {
	case <-r.ctx.Done():
	case <-i.ended:
	}
	c.mu.Lock()
	for n, has := range r.up {
		if has == i {
			r.up = append(r.up[:n:n], r.up[n+1:]...)
			break
		}
	}
	c.mu.Unlock()
	i.drain()
	return true
}

// probe asks the instance until it is healthy, ends, or has failed too often.
func (c *Cloud) probe(ctx context.Context, i *instance, p *run.GoogleCloudRunV2Probe, of *logging.MonitoredResource) bool {
	kind, path, answer := "HTTP", "", ""
	if p.TcpSocket != nil {
		kind = "TCP"
	}
	failures := int64(0)
	for healthy := false; !healthy; {
		ask, cancel := context.WithTimeout(ctx, time.Duration(p.TimeoutSeconds)*time.Second)
		if p.TcpSocket != nil {
			answer, healthy = deploy.Prober{}.TCP(ask, fmt.Sprintf("%s:%d", i.ip, p.TcpSocket.Port))
		} else {
			path = fmt.Sprintf(" path %q", p.HttpGet.Path)
			answer, healthy = deploy.Prober{}.HTTP(ask, fmt.Sprintf("%s:%d", i.ip, p.HttpGet.Port), p.HttpGet.Path)
		}
		cancel()
		if healthy {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-i.ended:
			failures = p.FailureThreshold
		case <-time.After(time.Duration(p.PeriodSeconds) * time.Second / speed):
			failures++
		}
		if failures >= p.FailureThreshold {
			break
		}
	}
	text := fmt.Sprintf("STARTUP %s probe failed %d times consecutively for container \"app-1\" on port 8080%s. The instance was not started.", kind, failures, path)
	if !strings.HasPrefix(answer, "HTTP") {
		text += " Connection failed with status ERROR_CONNECTION_FAILED."
	}
	c.write("varlog%2Fsystem", "ERROR", text, time.Now(), of, i.id)
	return false
}

// environment are the container's variables, opened.
func (c *Cloud) environment(k *run.GoogleCloudRunV2Container) (out []string, err error) {
	for _, e := range k.Env {
		value := e.Value
		if e.ValueSource != nil {
			of, ok := e.ValueSource.SecretKeyRef, false
			if value, ok = c.value(of.Secret, of.Version); !ok {
				return nil, refuse(403, "PERMISSION_DENIED", "Permission denied on secret: projects/%s/secrets/%s/versions/%s for Revision service account %s.", Number, of.Secret, of.Version, RunAs)
			}
		}
		out = append(out, e.Name+"="+value)
	}
	return out, nil
}
