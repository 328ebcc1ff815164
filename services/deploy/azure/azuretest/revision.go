package azuretest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
)

// revision is one template of an app, and what runs of it.
type revision struct {
	name     string
	template *aca.Template
	made     time.Time
	active   bool
	broken   string
	replicas []*replica
	door     *httptest.Server
	turn     atomic.Int64
	cancel   context.CancelFunc
	running  sync.WaitGroup // of its replicas
}

// rest ends what runs of the revision.
func (r *revision) rest() {
	r.active = false
	if r.cancel != nil {
		r.cancel()
	}
}

func (s *Server) rest(r *revision) {
	r.rest()
	r.replicas = nil
}

func (r *revision) healthy() bool {
	for _, replica := range r.replicas {
		if !replica.ready {
			return false
		}
	}
	return r.active && len(r.replicas) > 0
}

// make makes the revision of the app's template, unless it is there.
func (s *Server) make(a *app) *revision {
	t := a.model.Properties.Template
	name := *a.model.Name + "--" + *t.RevisionSuffix
	if rev := a.revision(name); rev != nil {
		return rev
	}
	var template aca.Template
	_ = convert(t, &template)
	rev := &revision{name: name, template: &template, made: time.Now().UTC(), broken: s.Broken}
	rev.door = httptest.NewTLSServer(s.visitors(func() *revision { return rev }, a))
	a.revisions = append(a.revisions, rev)
	s.happen(a, rev.name, "", "Normal", "RevisionCreation", "Creating new revision: "+rev.name)
	s.wake(a, rev)
	return rev
}

// wake runs the revision's replicas.
func (s *Server) wake(a *app, rev *revision) {
	ctx, cancel := context.WithCancel(s.ctx)
	rev.active, rev.cancel, rev.replicas = true, cancel, nil
	if rev.broken != "" {
		return
	}
	values := map[string]string{}
	for _, secret := range a.model.Properties.Configuration.Secrets {
		values[*secret.Name] = value(secret.Value)
	}
	port := value(a.model.Properties.Configuration.Ingress.TargetPort)
	for range max(value(rev.template.Scale.MinReplicas), 1) {
		r := &replica{name: fmt.Sprintf("%s-%08x-%05x", rev.name, rand.Uint32(), rand.IntN(1<<20)), revision: rev.name, made: time.Now().UTC(), container: rev.template.Containers[0], state: aca.ContainerAppContainerRunningStateWaiting, details: "Container is waiting with reason: ContainerCreating"}
		r.login = loginOf(*r.container.Image, a.model.Properties.Configuration.Registries, values)
		r.env = environment(r.container, values)
		r.happen = func(kind, reason, text string) { s.happen(a, rev.name, r.name, kind, reason, text) }
		rev.replicas = append(rev.replicas, r)
		rev.running.Add(1)
		s.beside(func() {
			defer rev.running.Done()
			s.run(ctx, r, port)
		})
	}
}

// environment is what the container gets.
func environment(c *aca.Container, secrets map[string]string) (out []string) {
	for _, e := range c.Env {
		v := value(e.Value)
		if e.SecretRef != nil {
			v = secrets[*e.SecretRef]
		}
		out = append(out, *e.Name+"="+v)
	}
	return out
}

func (s *Server) shownRevision(a *app, rev *revision) *aca.Revision {
	p := &aca.RevisionProperties{
		Active: to.Ptr(rev.active), CreatedTime: to.Ptr(rev.made), Fqdn: to.Ptr(hostOf(rev.door)), Template: rev.template, Replicas: to.Ptr(int32(len(rev.replicas))),
		ProvisioningState: to.Ptr(aca.RevisionProvisioningStateProvisioned), HealthState: to.Ptr(aca.RevisionHealthStateNone), RunningState: to.Ptr(aca.RevisionRunningState("Activating")), TrafficWeight: to.Ptr[int32](0),
	}
	for _, t := range a.model.Properties.Configuration.Ingress.Traffic {
		if value(t.RevisionName) == rev.name {
			p.TrafficWeight = t.Weight
		}
	}
	switch {
	case !rev.active:
		p.ProvisioningState, p.RunningState = to.Ptr(aca.RevisionProvisioningStateDeprovisioned), to.Ptr(aca.RevisionRunningStateStopped)
	case rev.broken != "":
		p.ProvisioningState, p.RunningState, p.ProvisioningError = to.Ptr(aca.RevisionProvisioningStateFailed), to.Ptr(aca.RevisionRunningStateFailed), to.Ptr(rev.broken)
	case rev.healthy():
		p.HealthState, p.RunningState = to.Ptr(aca.RevisionHealthStateHealthy), to.Ptr(aca.RevisionRunningState("RunningAtMaxScale"))
	}
	return &aca.Revision{ID: to.Ptr(*a.model.ID + "/revisions/" + rev.name), Name: to.Ptr(rev.name), Type: to.Ptr("Microsoft.App/containerapps/revisions"), Properties: p}
}

func (s *Server) shownReplica(path string, r *replica) *aca.Replica {
	running := aca.ContainerAppReplicaRunningStateNotRunning
	if r.ready {
		running = aca.ContainerAppReplicaRunningStateRunning
	}
	c := &aca.ReplicaContainer{Name: r.container.Name, ContainerID: to.Ptr(r.id), Ready: to.Ptr(r.ready), Started: to.Ptr(r.started), RestartCount: to.Ptr(r.restarts), RunningState: to.Ptr(r.state), RunningStateDetails: to.Ptr(r.details)}
	if r.id != "" {
		c.LogStreamEndpoint = to.Ptr(s.URL() + path + "/replicas/" + r.name + "/containers/" + *r.container.Name + "/logstream")
	}
	return &aca.Replica{Name: to.Ptr(r.name), Properties: &aca.ReplicaProperties{CreatedTime: to.Ptr(r.made), RunningState: to.Ptr(running), Containers: []*aca.ReplicaContainer{c}}}
}

// chosen is the revision that a visitor of the app gets, by the weights.
func (s *Server) chosen(a *app) *revision {
	n := rand.Int32N(100)
	for _, t := range a.model.Properties.Configuration.Ingress.Traffic {
		if n -= value(t.Weight); n < 0 {
			return a.revision(value(t.RevisionName))
		}
	}
	return nil
}

// visitors is the ingress: it leads each request to a replica that is ready, in turn.
func (s *Server) visitors(of func() *revision, a *app) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		rev := of()
		address := ""
		if rev != nil {
			var ready []*replica
			for _, replica := range rev.replicas {
				if replica.ready {
					ready = append(ready, replica)
				}
			}
			if len(ready) > 0 {
				address = net.JoinHostPort(ready[int(rev.turn.Add(1))%len(ready)].ip, strconv.Itoa(int(value(a.model.Properties.Configuration.Ingress.TargetPort))))
			}
		}
		s.mu.Unlock()
		if address == "" {
			http.Error(w, "no healthy upstream", http.StatusServiceUnavailable)
			return
		}
		httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: address}).ServeHTTP(w, r)
	})
}
