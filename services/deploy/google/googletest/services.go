package googletest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/api/run/v2"
)

const (
	byRevision = "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION"
	succeeded  = "CONDITION_SUCCEEDED"
	failed     = "CONDITION_FAILED"
	pending    = "CONDITION_RECONCILING"
)

// service is a service with its revisions and its addresses.
type service struct {
	run.GoogleCloudRunV2Service
	policy    *run.GoogleIamV1Policy
	revisions map[string]*revision
	doors     map[string]*door // by tags; "" is the service's own
}

var (
	serviceNames = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,47}[a-z0-9])?$`)
	tagNames     = regexp.MustCompile(`^[a-z][a-z0-9-]*[a-z0-9]$`)
	reserved     = regexp.MustCompile(`^(PORT|K_.*|CLOUD_RUN_.*)$`)
)

func (c *Cloud) path(name string) string {
	return "projects/" + Project + "/locations/" + Region + "/services/" + name
}

func (c *Cloud) createService(q *call) (any, error) {
	in := &run.GoogleCloudRunV2Service{}
	if err := q.into(in); err != nil {
		return nil, err
	}
	name := q.URL.Query().Get("serviceId")
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.services[name] != nil {
		return nil, refuse(409, "ALREADY_EXISTS", "Resource '%s' already exists.", name)
	}
	s := &service{revisions: map[string]*revision{}, doors: map[string]*door{}, policy: &run.GoogleIamV1Policy{Etag: "0"}}
	s.GoogleCloudRunV2Service = *in
	s.Name, s.CreateTime = c.path(name), now()
	if err := check(s, name); err != nil {
		return nil, err
	}
	c.services[name] = s
	c.changed(name, s)
	return c.operation(), nil
}

func (c *Cloud) patchService(q *call) (any, error) {
	in := &run.GoogleCloudRunV2Service{}
	if err := q.into(in); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	name := q.PathValue("name")
	s, err := c.service(name)
	if err != nil {
		return nil, err
	}
	if in.Etag != "" && in.Etag != s.Etag {
		return nil, refuse(409, "ABORTED", "Conflict for resource '%s': version '%s' was specified but current version is '%s'.", name, in.Etag, s.Etag)
	}
	was := s.GoogleCloudRunV2Service
	for _, field := range strings.Split(q.URL.Query().Get("updateMask"), ",") {
		switch field {
		case "template":
			s.Template = in.Template
		case "traffic":
			s.Traffic = in.Traffic
		case "labels":
			s.Labels = in.Labels
		case "ingress":
			s.Ingress = in.Ingress
		default:
			return nil, refuse(400, "INVALID_ARGUMENT", "update_mask: %q is not known.", field)
		}
	}
	if err := check(s, name); err != nil {
		s.GoogleCloudRunV2Service = was
		return nil, err
	}
	c.changed(name, s)
	return c.operation(), nil
}

// check refuses what Cloud Run would.
func check(s *service, name string) error {
	bad := func(format string, args ...any) error { return refuse(400, "INVALID_ARGUMENT", format, args...) }
	if !serviceNames.MatchString(name) || s.Template == nil || len(s.Template.Containers) != 1 {
		return bad("service_id: %q, or the template, is not valid.", name)
	}
	r := s.Template.Revision
	if !strings.HasPrefix(r, name+"-") || len(r) > 63 {
		return bad("template.revision: %q has to begin with the service's name.", r)
	}
	if s.Template.ServiceAccount != RunAs {
		return refuse(403, "PERMISSION_DENIED", "Permission 'iam.serviceaccounts.actAs' denied on service account %s (or it may not exist).", s.Template.ServiceAccount)
	}
	if err := checkContainer(s.Template.Containers[0], true); err != nil {
		return err
	}
	percent := int64(0)
	for _, e := range s.Traffic {
		percent += e.Percent
		if e.Type != byRevision || e.Revision == "" {
			return bad("traffic: a target of the type %q with the revision %q is not valid.", e.Type, e.Revision)
		}
		if e.Revision != r && s.revisions[e.Revision] == nil {
			return bad("traffic: the revision %q is not found.", e.Revision)
		}
		if e.Tag != "" && (!tagNames.MatchString(e.Tag) || len(e.Tag)+len(name) > 46) {
			return bad("traffic tag '%s' and service name '%s' together are too long.", e.Tag, name)
		}
	}
	if percent != 100 {
		return bad("traffic: the percentages add up to %d.", percent)
	}
	return nil
}

func checkContainer(k *run.GoogleCloudRunV2Container, serves bool) error {
	for _, e := range k.Env {
		if reserved.MatchString(e.Name) {
			return refuse(400, "INVALID_ARGUMENT", "template.containers[0].env: The following reserved env names were provided: %s. These values are automatically set by the system.", e.Name)
		}
	}
	if k.Resources == nil || !slices.Contains([]string{"1", "2", "4", "6", "8"}, k.Resources.Limits["cpu"]) {
		return refuse(400, "INVALID_ARGUMENT", "Invalid value specified for cpu.")
	}
	var memory int
	if _, err := fmt.Sscanf(k.Resources.Limits["memory"], "%dMi", &memory); err != nil || memory < 512 || memory > 32<<10 {
		return refuse(400, "INVALID_ARGUMENT", "Invalid value specified for memory: %s.", k.Resources.Limits["memory"])
	}
	if p := k.StartupProbe; serves && (p == nil || p.PeriodSeconds*p.FailureThreshold > 240 || p.TimeoutSeconds > p.PeriodSeconds || len(k.Ports) != 1) {
		return refuse(400, "INVALID_ARGUMENT", "The startup probe or the port is not valid.")
	}
	return nil
}

// changed begins to make the service what it should be.
func (c *Cloud) changed(name string, s *service) {
	s.Generation++
	s.Etag, s.UpdateTime, s.Reconciling = fmt.Sprint(c.number()), now(), true
	s.TerminalCondition = &run.GoogleCloudRunV2Condition{Type: "Ready", State: pending}
	c.work.Go(func() { c.reconcile(name, s) })
}

// reconcile makes the service's revision, and then its traffic.
func (c *Cloud) reconcile(name string, s *service) {
	c.mu.Lock()
	r, fresh := s.revisions[s.Template.Revision], false
	if r == nil {
		r, fresh = c.newRevision(s), true
		s.revisions[s.Template.Revision] = r
		s.LatestCreatedRevision = r.Name
	}
	generation := s.Generation
	c.mu.Unlock()
	if fresh {
		c.route(s, name, false) // its tag gets an address while it starts
		c.start(s, r)
	}
	select {
	case <-r.decided:
	case <-c.ctx.Done():
		return
	}
	c.route(s, name, true)
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.Generation != generation {
		return // a later change says how it ends
	}
	end := *r.ready()
	s.TerminalCondition = &end
	if end.State == failed {
		s.TerminalCondition = &run.GoogleCloudRunV2Condition{Type: "Ready", State: failed, Reason: "REVISION_FAILED", Message: "Revision '" + s.Template.Revision + "' is not ready and cannot serve traffic. " + end.Message}
	} else {
		s.LatestReadyRevision = r.Name
	}
	s.ObservedGeneration, s.Reconciling = generation, false
}

// route gives the service's traffic its addresses, and then its visitors.
func (c *Cloud) route(s *service, name string, visitors bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.doors[""] == nil {
		s.doors[""] = c.newDoor(s, "")
		s.Uri = s.doors[""].url()
	}
	var out []*run.GoogleCloudRunV2TrafficTargetStatus
	for _, e := range s.Traffic {
		one := &run.GoogleCloudRunV2TrafficTargetStatus{Type: e.Type, Revision: e.Revision, Percent: e.Percent, Tag: e.Tag}
		if e.Tag != "" {
			if s.doors[e.Tag] == nil {
				s.doors[e.Tag] = c.newDoor(s, e.Tag)
			}
			one.Uri = s.doors[e.Tag].url()
		}
		out = append(out, one)
	}
	if visitors || len(s.TrafficStatuses) == 0 {
		s.TrafficStatuses = out
		return
	}
	for _, e := range out { // beside what there was
		if !slices.ContainsFunc(s.TrafficStatuses, func(has *run.GoogleCloudRunV2TrafficTargetStatus) bool { return has.Tag == e.Tag }) {
			e.Percent = 0
			s.TrafficStatuses = append(s.TrafficStatuses, e)
		}
	}
}

func (c *Cloud) service(name string) (*service, error) {
	if s := c.services[name]; s != nil {
		return s, nil
	}
	return nil, refuse(404, "NOT_FOUND", "Resource '%s' of kind 'SERVICE' in region '%s' in project '%s' does not exist.", name, Region, Project)
}

// seen is the service as an answer has it.
func seen[T any](v T) json.RawMessage {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return out
}

func (c *Cloud) getService(q *call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.service(q.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return seen(&s.GoogleCloudRunV2Service), nil
}

func (c *Cloud) listServices(*call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &run.GoogleCloudRunV2ListServicesResponse{}
	for _, s := range c.services {
		out.Services = append(out.Services, &s.GoogleCloudRunV2Service)
	}
	return seen(out), nil
}

func (c *Cloud) deleteService(q *call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := q.PathValue("name")
	s, err := c.service(name)
	if err != nil {
		return nil, err
	}
	s.DeleteTime = now()
	for _, r := range s.revisions {
		r.stop()
	}
	c.work.Go(func() {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-c.ctx.Done():
		}
		c.mu.Lock()
		delete(c.services, name)
		c.mu.Unlock()
		s.close()
	})
	return c.operation(), nil
}

func (s *service) close() {
	for _, d := range s.doors {
		d.server.Close()
	}
}

func (c *Cloud) getPolicy(q *call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.service(q.PathValue("name"))
	if err != nil {
		return nil, err
	}
	return seen(s.policy), nil
}

func (c *Cloud) setPolicy(q *call) (any, error) {
	in := &run.GoogleIamV1SetIamPolicyRequest{}
	if err := q.into(in); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s, err := c.service(q.PathValue("name"))
	if err != nil {
		return nil, err
	}
	if in.Policy == nil || in.Policy.Etag != s.policy.Etag {
		return nil, refuse(409, "ABORTED", "There were concurrent policy changes. Please retry the whole read-modify-write.")
	}
	s.policy = in.Policy
	s.policy.Etag = fmt.Sprint(c.number())
	return seen(s.policy), nil
}

// Public tells whether everybody may visit the service.
func (s *service) public() bool {
	for _, b := range s.policy.Bindings {
		if b.Role == "roles/run.invoker" && slices.Contains(b.Members, "allUsers") {
			return true
		}
	}
	return false
}

func (c *Cloud) listRevisions(q *call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &run.GoogleCloudRunV2ListRevisionsResponse{}
	for name, s := range c.services {
		if of := q.PathValue("name"); of != "-" && of != name {
			continue
		}
		for _, r := range s.revisions {
			out.Revisions = append(out.Revisions, &r.GoogleCloudRunV2Revision)
		}
	}
	return seen(out), nil
}

func (c *Cloud) revision(q *call) (*service, *revision, error) {
	s, err := c.service(q.PathValue("name"))
	if err != nil {
		return nil, nil, err
	}
	if r := s.revisions[q.PathValue("revision")]; r != nil {
		return s, r, nil
	}
	return nil, nil, refuse(404, "NOT_FOUND", "Resource '%s' of kind 'REVISION' does not exist.", q.PathValue("revision"))
}

func (c *Cloud) getRevision(q *call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, r, err := c.revision(q)
	if err != nil {
		return nil, err
	}
	return seen(&r.GoogleCloudRunV2Revision), nil
}

// deleteRevision deletes retired revisions alone.
func (c *Cloud) deleteRevision(q *call) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s, r, err := c.revision(q)
	if err != nil {
		return nil, err
	}
	name := q.PathValue("revision")
	used := slices.ContainsFunc(s.Traffic, func(e *run.GoogleCloudRunV2TrafficTarget) bool { return e.Revision == name })
	if used || r.Name == s.LatestCreatedRevision || slices.ContainsFunc(s.TrafficStatuses, func(e *run.GoogleCloudRunV2TrafficTargetStatus) bool { return e.Revision == name }) {
		return nil, refuse(400, "FAILED_PRECONDITION", "The revision '%s' is not retired and cannot be deleted.", name)
	}
	r.stop()
	delete(s.revisions, name)
	return c.operation(), nil
}
