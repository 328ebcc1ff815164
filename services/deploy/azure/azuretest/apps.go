package azuretest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
)

// app is a Container App. Its model has the values of its secrets, which only listSecrets shows.
type app struct {
	model     aca.ContainerApp
	revisions []*revision
	door      *httptest.Server
	state     aca.ContainerAppProvisioningState
	written   time.Time
	events    []event
}

func (a *app) close() {
	for _, r := range a.revisions {
		r.rest()
		r.door.Close()
	}
	a.door.Close()
}

func (a *app) revision(name string) *revision {
	for _, r := range a.revisions {
		if r.name == name {
			return r
		}
	}
	return nil
}

func (s *Server) appRoutes(on func(pattern, action string, do http.HandlerFunc)) {
	const path, action = provider + "/containerApps", "Microsoft.App/containerApps"
	on("GET "+path, action+"/read", s.listApps)
	on("PUT "+path+"/{app}", action+"/write", s.putApp)
	on("GET "+path+"/{app}", action+"/read", s.withApp(func(w http.ResponseWriter, _ *http.Request, a *app) { answer(w, http.StatusOK, s.shown(a)) }))
	on("PATCH "+path+"/{app}", action+"/write", s.withApp(s.patchApp))
	on("DELETE "+path+"/{app}", action+"/delete", s.deleteApp)
	on("POST "+path+"/{app}/listSecrets", action+"/listSecrets/action", s.withApp(func(w http.ResponseWriter, _ *http.Request, a *app) {
		out := aca.SecretsCollection{Value: []*aca.ContainerAppSecret{}}
		for _, secret := range a.model.Properties.Configuration.Secrets {
			out.Value = append(out.Value, &aca.ContainerAppSecret{Name: secret.Name, Value: secret.Value})
		}
		answer(w, http.StatusOK, out)
	}))
	on("POST "+path+"/{app}/getAuthtoken", action+"/getAuthToken/action", func(w http.ResponseWriter, r *http.Request) {
		s.streamToken(w, s.streamPath("containerApps", r.PathValue("app")))
	})
	on("GET "+path+"/{app}/providers/Microsoft.Insights/metrics", "Microsoft.Insights/metrics/read", s.metrics)
	on("GET "+path+"/{app}/revisions", action+"/revisions/read", s.withApp(func(w http.ResponseWriter, _ *http.Request, a *app) {
		out := aca.RevisionCollection{Value: []*aca.Revision{}}
		for _, rev := range a.revisions {
			out.Value = append(out.Value, s.shownRevision(a, rev))
		}
		answer(w, http.StatusOK, out)
	}))
	on("GET "+path+"/{app}/revisions/{revision}", action+"/revisions/read", s.withRevision(func(w http.ResponseWriter, _ *http.Request, a *app, rev *revision) {
		answer(w, http.StatusOK, s.shownRevision(a, rev))
	}))
	on("POST "+path+"/{app}/revisions/{revision}/activate", action+"/revisions/activate/action", s.withRevision(func(w http.ResponseWriter, _ *http.Request, a *app, rev *revision) {
		if !rev.active {
			s.wake(a, rev)
		}
		w.WriteHeader(http.StatusOK)
	}))
	on("POST "+path+"/{app}/revisions/{revision}/deactivate", action+"/revisions/deactivate/action", s.withRevision(s.deactivate))
	on("GET "+path+"/{app}/revisions/{revision}/replicas", action+"/revisions/replicas/read", s.withRevision(func(w http.ResponseWriter, _ *http.Request, a *app, rev *revision) {
		out := aca.ReplicaCollection{Value: []*aca.Replica{}}
		for _, replica := range rev.replicas {
			out.Value = append(out.Value, s.shownReplica(s.streamPath("containerApps", *a.model.Name)+"/revisions/"+rev.name, replica))
		}
		answer(w, http.StatusOK, out)
	}))
	on("GET "+path+"/{app}/revisions/{revision}/replicas/{replica}", action+"/revisions/replicas/read", s.withRevision(func(w http.ResponseWriter, r *http.Request, a *app, rev *revision) {
		for _, replica := range rev.replicas {
			if replica.name == r.PathValue("replica") {
				answer(w, http.StatusOK, s.shownReplica(s.streamPath("containerApps", *a.model.Name)+"/revisions/"+rev.name, replica))
				return
			}
		}
		refuse(w, http.StatusNotFound, "ReplicaNotFound", "The replica was not found.")
	}))
}

// withApp calls do with the app of the path, locked.
func (s *Server) withApp(do func(http.ResponseWriter, *http.Request, *app)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		a := s.apps[r.PathValue("app")]
		if a == nil {
			refuse(w, http.StatusNotFound, "ResourceNotFound", "The Resource 'Microsoft.App/containerApps/%s' under resource group '%s' was not found.", r.PathValue("app"), Group)
			return
		}
		do(w, r, a)
	}
}

func (s *Server) withRevision(do func(http.ResponseWriter, *http.Request, *app, *revision)) http.HandlerFunc {
	return s.withApp(func(w http.ResponseWriter, r *http.Request, a *app) {
		rev := a.revision(r.PathValue("revision"))
		if rev == nil {
			refuse(w, http.StatusNotFound, "RevisionNotFound", "The revision '%s' was not found.", r.PathValue("revision"))
			return
		}
		do(w, r, a, rev)
	})
}

func (s *Server) listApps(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := aca.ContainerAppCollection{Value: []*aca.ContainerApp{}}
	for _, a := range s.apps {
		shown := s.shown(a)
		out.Value = append(out.Value, &shown)
	}
	answer(w, http.StatusOK, out)
}

// shown is the app as a reader gets it: without the values of its secrets.
func (s *Server) shown(a *app) aca.ContainerApp {
	var out aca.ContainerApp
	_ = convert(a.model, &out)
	for _, secret := range out.Properties.Configuration.Secrets {
		secret.Value = nil
	}
	p := out.Properties
	p.ProvisioningState = to.Ptr(a.state)
	p.EventStreamEndpoint = to.Ptr(s.URL() + s.streamPath("containerApps", *out.Name) + "/eventstream")
	p.Configuration.Ingress.Fqdn = to.Ptr(hostOf(a.door))
	for _, rev := range a.revisions {
		p.LatestRevisionName, p.LatestRevisionFqdn = to.Ptr(rev.name), to.Ptr(hostOf(rev.door))
		if rev.healthy() {
			p.LatestReadyRevisionName = to.Ptr(rev.name)
		}
	}
	out.SystemData = &aca.SystemData{LastModifiedAt: to.Ptr(a.written)}
	return out
}

// hostOf is where a door is. It has a port, for all of this Azure is on one machine.
func hostOf(door *httptest.Server) string { return strings.TrimPrefix(door.URL, "https://") }

func (s *Server) putApp(w http.ResponseWriter, r *http.Request) {
	var want aca.ContainerApp
	if _, err := read(r, &want); err != nil {
		refuse(w, http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: %v.", err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("app")
	a := s.apps[name]
	if a != nil && a.state != aca.ContainerAppProvisioningStateSucceeded && a.state != aca.ContainerAppProvisioningStateFailed {
		refuse(w, http.StatusConflict, "ContainerAppOperationInProgress", "Cannot modify a container app '%s' because there is an ongoing provisioning operation in progress.", name)
		return
	}
	if s.Provider != "Registered" {
		refuse(w, http.StatusConflict, "MissingSubscriptionRegistration", "The subscription is not registered to use namespace 'Microsoft.App'. See https://aka.ms/rps-not-found for how to register subscriptions.")
		return
	}
	fresh := a == nil
	if fresh {
		a = &app{}
	}
	if code, text := s.valid(name, &want, a); code != "" {
		refuse(w, http.StatusBadRequest, code, "%s", text)
		return
	}
	if fresh {
		a.door = httptest.NewTLSServer(s.visitors(func() *revision { return s.chosen(a) }, a))
		s.apps[name] = a
	}
	want.Name, want.ID, want.Type = to.Ptr(name), to.Ptr("/subscriptions/"+s.Subscription+"/resourceGroups/"+Group+"/providers/Microsoft.App/containerapps/"+name), to.Ptr("Microsoft.App/containerApps")
	a.model = want
	s.write(a)
	rev := s.make(a)
	id := s.begin(func() (string, string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if a.state == aca.ContainerAppProvisioningStateInProgress {
			a.state = aca.ContainerAppProvisioningStateSucceeded
		}
		if rev.broken != "" {
			a.state = aca.ContainerAppProvisioningStateFailed
			return "ContainerAppOperationError", "Failed to provision revision for container app '" + name + "'. Error details: " + rev.broken
		}
		return "", ""
	}, func() any { return nil })
	w.Header().Set("Azure-AsyncOperation", s.at("Statuses", id))
	status := http.StatusOK
	if fresh {
		status = http.StatusCreated
	}
	answer(w, status, s.shown(a))
}

// write notes that the app is being changed.
func (s *Server) write(a *app) {
	a.state, a.written = aca.ContainerAppProvisioningStateInProgress, time.Now().UTC()
}

func (s *Server) patchApp(w http.ResponseWriter, r *http.Request, a *app) {
	var patch aca.ContainerApp
	body, err := read(r, &patch)
	if err != nil {
		refuse(w, http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid: %v.", err)
		return
	}
	if a.state == aca.ContainerAppProvisioningStateInProgress || a.state == aca.ContainerAppProvisioningStateDeleting {
		refuse(w, http.StatusConflict, "ContainerAppOperationInProgress", "Cannot modify a container app '%s' because there is an ongoing provisioning operation in progress.", *a.model.Name)
		return
	}
	var have, change any
	_ = convert(a.model, &have)
	_ = json.Unmarshal(body, &change)
	var merged aca.ContainerApp
	if err := convert(merge(have, change), &merged); err != nil {
		refuse(w, http.StatusBadRequest, "InvalidRequestContent", "%v", err)
		return
	}
	if code, text := s.valid(*a.model.Name, &merged, a); code != "" {
		refuse(w, http.StatusBadRequest, code, "%s", text)
		return
	}
	a.model = merged
	s.write(a)
	s.accepted(w, s.begin(func() (string, string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if a.state == aca.ContainerAppProvisioningStateInProgress {
			a.state = aca.ContainerAppProvisioningStateSucceeded
		}
		return "", ""
	}, func() any { s.mu.Lock(); defer s.mu.Unlock(); return s.shown(a) }))
}

func (s *Server) deleteApp(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.PathValue("app")
	a := s.apps[name]
	if a == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if a.state == aca.ContainerAppProvisioningStateInProgress || a.state == aca.ContainerAppProvisioningStateDeleting {
		refuse(w, http.StatusConflict, "ContainerAppOperationInProgress", "Cannot delete a container app '%s' because there is an ongoing provisioning operation in progress.", name)
		return
	}
	a.state = aca.ContainerAppProvisioningStateDeleting
	s.accepted(w, s.begin(func() (string, string) {
		s.mu.Lock()
		delete(s.apps, name)
		for _, rev := range a.revisions {
			s.rest(rev)
		}
		s.mu.Unlock()
		a.close()
		return "", ""
	}, nil))
}

func (s *Server) deactivate(w http.ResponseWriter, _ *http.Request, a *app, rev *revision) {
	for _, t := range a.model.Properties.Configuration.Ingress.Traffic {
		if value(t.RevisionName) == rev.name && value(t.Weight) > 0 {
			refuse(w, http.StatusBadRequest, "RevisionInUse", "The revision '%s' has traffic and can't be deactivated.", rev.name)
			return
		}
	}
	s.rest(rev)
	w.WriteHeader(http.StatusOK)
}

// Apps are the Container Apps as they are stored, with the values of their secrets, by name.
func (s *Server) Apps() map[string]aca.ContainerApp {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]aca.ContainerApp{}
	for name, a := range s.apps {
		var model aca.ContainerApp
		_ = convert(a.model, &model)
		out[name] = model
	}
	return out
}

// Seed puts a Container App there that somebody else made.
func (s *Server) Seed(name string, tags map[string]*string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &app{state: aca.ContainerAppProvisioningStateSucceeded, model: aca.ContainerApp{Name: to.Ptr(name), ID: to.Ptr("/subscriptions/" + s.Subscription + "/resourceGroups/" + Group + "/providers/Microsoft.App/containerapps/" + name), Location: to.Ptr(Location), Tags: tags,
		Properties: &aca.ContainerAppProperties{Configuration: &aca.Configuration{Ingress: &aca.Ingress{}}}}}
	a.door = httptest.NewTLSServer(s.visitors(func() *revision { return nil }, a))
	s.apps[name] = a
}

// Lose takes a Container App away behind everybody's back.
func (s *Server) Lose(name string) {
	s.mu.Lock()
	a := s.apps[name]
	delete(s.apps, name)
	s.mu.Unlock()
	if a != nil {
		a.close()
	}
}
