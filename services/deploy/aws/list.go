package aws

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

const (
	// fresh is how long a list counts as what runs now, and so much longer for
	// each service in it: workers ask every second, and AWS counts calls.
	fresh        = 4 * time.Second
	freshPerEach = 200 * time.Millisecond
)

// listing is the last list.
type listing struct {
	asking sync.Mutex // so that only one asks AWS
	all    []deploy.Instance
	until  time.Time
	writes int // that this process made; a list that was under way then is not kept
}

// changed says that this process changed something, so that the last list does not count any more.
func (t *target) changed() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listing.until = time.Time{}
	t.listing.writes++
}

// List returns the tasks of all releases' services, of which what other
// processes changed is seen some seconds later.
func (t *target) List(ctx context.Context) ([]deploy.Instance, error) {
	t.listing.asking.Lock()
	defer t.listing.asking.Unlock()
	t.mu.Lock()
	all, valid, writes := t.listing.all, time.Now().Before(t.listing.until), t.listing.writes
	t.mu.Unlock()
	if valid {
		return slices.Clone(all), nil
	}
	services, all, err := t.list(ctx, t.as(deploy.Subject{}))
	if err != nil {
		return nil, t.reached(t.explain(ctx, deploy.StageTarget, err, "list what runs"))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listing.writes == writes {
		t.listing.all, t.listing.until = all, time.Now().Add(fresh+time.Duration(services)*freshPerEach)
	}
	return slices.Clone(all), nil
}

// list asks for the services first: what is made between the two questions has its tasks behind it.
func (t *target) list(ctx context.Context, c *clients) (services int, all []deploy.Instance, err error) {
	own, err := t.ownServices(ctx, c, func(string) bool { return true })
	if err != nil || len(own) == 0 {
		return 0, []deploy.Instance{}, err
	}
	tasks, err := t.tasks(ctx, c, ecs.ListTasksInput{DesiredStatus: types.DesiredStatusRunning})
	if err != nil {
		return 0, nil, err
	}
	all, err = t.instances(ctx, c, slices.DeleteFunc(tasks, func(k types.Task) bool { return !serves(k) }))
	if err != nil {
		return 0, nil, err
	}
	for _, s := range own {
		if err := t.addHealth(ctx, c, s, all); err != nil {
			return 0, nil, err
		}
		release := read(s.Tags)[tagRelease]
		if !slices.ContainsFunc(all, func(i deploy.Instance) bool { return i.Release == release }) {
			all = append(all, taskless(s))
		}
	}
	return len(own), all, nil
}

// addHealth says of the service's instances what its load balancer finds.
func (t *target) addHealth(ctx context.Context, c *clients, s types.Service, all []deploy.Instance) error {
	if len(s.LoadBalancers) == 0 {
		return nil
	}
	found, err := t.healths(ctx, c, deref(s.LoadBalancers[0].TargetGroupArn))
	if err != nil && !missing(err) {
		return err
	}
	release := read(s.Tags)[tagRelease]
	for i := range all {
		one := &all[i]
		if one.Release != release || one.State != models.InstanceHealthy || found[one.Address].healthy {
			continue
		}
		one.State = models.InstanceStarting
		if a := found[one.Address].answer; a != "" {
			one.State, one.Message = models.InstanceFailing, "The load balancer's health check fails ("+a+"), so that no visitors come to it."
		}
	}
	return nil
}

// taskless is a service of which no task runs, so that its release is not taken for gone.
func taskless(s types.Service) deploy.Instance {
	tags := read(s.Tags)
	i := deploy.Instance{ID: deref(s.ServiceName), Release: tags[tagRelease], Replica: 1, Name: tags[tagApp], State: models.InstanceStarting, Message: "ECS has not made a task yet."}
	if len(s.Events) > 0 {
		i.Message = "No task of it runs. ECS says: " + deploy.Sentence(serviceWords.ReplaceAllString(deploy.Plain(deref(s.Events[0].Message)), ""))
	}
	if main := primaryOf(&s); main != nil && (main.RolloutState == types.DeploymentRolloutStateFailed || main.FailedTasks > 0) {
		i.State = models.InstanceFailing
	}
	return i
}

// ownServices are the target's services whose names are wanted.
func (t *target) ownServices(ctx context.Context, c *clients, wanted func(name string) bool) (own []types.Service, err error) {
	var names []string
	pages := ecs.NewListServicesPaginator(c.ecs, &ecs.ListServicesInput{Cluster: ptr(t.clusterName()), MaxResults: ptr(int32(100))})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if missing(err) {
			return []types.Service{}, nil // a cluster that is not there yet
		}
		if err != nil {
			return nil, err
		}
		for _, arn := range page.ServiceArns {
			if name := last(arn); strings.HasPrefix(name, "slipway-") && wanted(name) {
				names = append(names, name)
			}
		}
	}
	for chunk := range slices.Chunk(names, 10) { // as many as one call describes
		out, err := c.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: ptr(t.clusterName()), Services: chunk, Include: []types.ServiceField{types.ServiceFieldTags}})
		if err != nil {
			return nil, err
		}
		for _, s := range out.Services {
			if deref(s.Status) == active && read(s.Tags)[tagTarget] == t.id {
				own = append(own, s)
			}
		}
	}
	return own, nil
}

// find returns the release's service, or errGone.
func (t *target) find(ctx context.Context, c *clients, release string) (*types.Service, error) {
	own, err := t.ownServices(ctx, c, func(name string) bool { return strings.HasPrefix(name, mark(release)+"-") })
	if err != nil {
		return nil, err
	}
	for i := range own {
		if read(own[i].Tags)[tagRelease] == release {
			return &own[i], nil
		}
	}
	return nil, errGone
}

// families are those of the release: of its service, or of its task definitions where there is no service.
func (t *target) families(ctx context.Context, c *clients, release string) ([]string, error) {
	s, err := t.find(ctx, c, release)
	if err == nil {
		return []string{deref(s.ServiceName)}, nil
	}
	if !errors.Is(err, errGone) {
		return nil, err
	}
	out, err := c.ecs.ListTaskDefinitionFamilies(ctx, &ecs.ListTaskDefinitionFamiliesInput{FamilyPrefix: ptr(mark(release) + "-"), Status: types.TaskDefinitionFamilyStatusAll})
	if err != nil {
		return nil, err
	}
	return out.Families, nil
}
