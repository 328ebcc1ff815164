package main_test

import (
	"context"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"slipway.dev/cmd/slipway/slipwaytest"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/git/gittest"
)

// place is an app in an environment whose images come from outside, so that tests of rollouts build nothing.
type place struct {
	*world
	app string
}

func newPlace(t *testing.T, p *slipwaytest.Portal) *place {
	t.Helper()
	w := &world{Portal: p, git: gittest.New(t)}
	w.Team(t, "acme")
	w.live = w.Environment(t, "acme", "live")
	return &place{w, w.app(t, "shop", gittest.Files{"Dockerfile": "FROM scratch\n"}, nil).ID}
}

// push puts an image of the test server with the variables into the portal's registry.
func (p *place) push(t *testing.T, tag string, env ...string) {
	t.Helper()
	ref, err := name.ParseReference("localhost:" + p.Port + "/acme/shop:" + tag)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, dockertest.App(t, env...), remote.WithAuth(&authn.Basic{Username: "token", Password: p.Token})); err != nil {
		t.Fatal(err)
	}
}

// begin asks for a deployment of the tag.
func (p *place) begin(t *testing.T, tag string) slipwaytest.Deployment {
	t.Helper()
	return slipwaytest.Post[slipwaytest.Deployment](t, p.Client, "/api/v1/environments/"+p.live.ID+"/deployments", map[string]string{"app_id": p.app, "tag": tag})
}

// succeeds waits until the deployment has.
func (p *place) succeeds(t *testing.T, d slipwaytest.Deployment) slipwaytest.Deployment {
	t.Helper()
	if d = p.DeploymentEnd(t, d.ID); d.State != "succeeded" {
		t.Fatalf("the deployment is %s: %+v", d.State, d.Error)
	}
	return d
}

func TestNoRequestFailsDuringRolloutsAndRestartsOfThePortal(t *testing.T) {
	t.Parallel()
	p := newPlace(t, slipwaytest.StartHeld(t, nil))
	p.rollsUnderLoad(t, func(rounds int) bool { return rounds < 1 })
}

// TestSoakNoRequestFailsDuringRolloutsAndRestartsOfThePortal goes on for as long as SLIPWAY_TEST_SOAK says, and for twenty rollouts at least.
func TestSoakNoRequestFailsDuringRolloutsAndRestartsOfThePortal(t *testing.T) {
	soak, err := time.ParseDuration(os.Getenv("SLIPWAY_TEST_SOAK"))
	if err != nil {
		return // its short form is the test above
	}
	p := newPlace(t, slipwaytest.StartHeld(t, nil))
	end := time.Now().Add(soak)
	p.rollsUnderLoad(t, func(rounds int) bool { return rounds < 7 || time.Now().Before(end) })
}

// rollsUnderLoad deploys, rolls back and restarts the portal, also in the middle of a rollout, while requests come.
func (p *place) rollsUnderLoad(t *testing.T, more func(rounds int) bool) {
	t.Helper()
	p.push(t, "one", "VERSION=1")
	p.push(t, "two", "VERSION=2")
	p.push(t, "slow", "VERSION=3", "START_DELAY=2s")
	first := p.succeeds(t, p.begin(t, "one"))
	sees(t, first.URL, "version 1")
	var refused []func() int64
	for range 3 {
		refused = append(refused, watch(t, first.URL))
	}
	refused = append(refused, watch(t, first.URL+"/slow?ms=300"))
	for rounds := 0; more(rounds); rounds++ {
		second := p.succeeds(t, p.begin(t, "two"))
		p.Restart(t)
		sees(t, first.URL, "version 2")
		back := slipwaytest.Post[slipwaytest.Deployment](t, p.Client, "/api/v1/deployments/"+first.ID+"/rollback", nil)
		first = p.succeeds(t, back)
		sees(t, first.URL, "version 1")
		third := p.begin(t, "slow")
		awaitContainer(t, third.ID)
		p.Restart(t)
		p.succeeds(t, third)
		sees(t, first.URL, "version 3")
		awaitGone(t, second.ID, first.ID)
	}
	for _, ended := range refused {
		if n := ended(); n != 0 {
			t.Errorf("%d requests failed", n)
		}
	}
}

// awaitGone waits until nothing runs for the deployments any more.
func awaitGone(t *testing.T, deployments ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for _, d := range deployments {
		slipwaytest.Until(ctx, t, "the containers of the deployment are gone", func() bool { return containers(t, d) == 0 })
	}
}

func TestADeploymentOutlivesThePortalThatCarriesIt(t *testing.T) {
	t.Parallel()
	p := newPlace(t, slipwaytest.Start(t, slipwaytest.Settings{"WORKER_DEAD_AFTER": "5s"}))
	p.push(t, "one", "VERSION=1")
	p.push(t, "two", "VERSION=2", "START_DELAY=10s") // longer than the kill takes
	first := p.succeeds(t, p.begin(t, "one"))
	second := p.begin(t, "two")
	awaitContainer(t, second.ID)
	p.Kill()
	if n := containers(t, first.ID); n != 1 {
		t.Errorf("without the portal %d containers of the app run", n)
	}
	p.Begin(t)
	p.succeeds(t, second)
	sees(t, first.URL, "version 2")
	if n := containers(t, second.ID); n != 1 {
		t.Errorf("the deployment has %d containers, want 1", n)
	}
	awaitGone(t, first.ID)
}

func TestAPortalThatGotNoTimeForLongSendsNobodyToWhatIsGone(t *testing.T) {
	t.Parallel()
	portal := slipwaytest.Start(t, slipwaytest.Settings{"DATABASE_URL": modelstest.PostgresURL(t), "WORKERS": "false"})
	portal.Worker(t)
	p := newPlace(t, portal)
	p.push(t, "one", "VERSION=1")
	p.push(t, "two", "VERSION=2", "START_DELAY=4s")
	first := p.succeeds(t, p.begin(t, "one"))
	sees(t, first.URL, "version 1") // and keeps the connection
	second := p.begin(t, "two")
	awaitContainer(t, second.ID)
	p.Freeze()
	awaitGone(t, first.ID) // once the portal counts as gone, long before it does anything again
	var asked sync.WaitGroup
	for range 20 {
		asked.Go(func() {
			status, body, err := slipwaytest.Request(t.Context(), first.URL)
			if err != nil || status != http.StatusOK || body != "version 2\n\n" {
				t.Errorf("a request that came while the portal had no time got %d %q, %v", status, body, err)
			}
		})
	}
	<-time.After(100 * time.Millisecond) // so that they wait; those that come later must be answered as well
	p.Thaw()
	asked.Wait()
	p.succeeds(t, second)
}
