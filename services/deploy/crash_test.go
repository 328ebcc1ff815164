package deploy_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/deploy/docker"
	"slipway.dev/services/dockertest"
	"slipway.dev/services/jobs"
	"slipway.dev/services/registry"
	"slipway.dev/services/secrets/secretstest"
)

// boundaries are where a worker can die between two steps of a rollout, in their order.
var boundaries = []string{
	"claim", "pull", "pulled", "command", "commanded", "start", "started", "health", "healthy",
	"switch", "switched", "succeed", "drain", "stop", "stopped",
}

// watched is a target that tells how far a rollout has come.
type watched struct {
	deploy.Target
	reach func(boundary string)
}

// watch has the targets of the kind tell how far a rollout has come.
func watch(k deploy.Kind, reach func(boundary string)) deploy.Kind {
	open := k.Open
	k.Open = func(c deploy.Config) (deploy.Target, error) {
		reach("claim") // what has it opens its target
		t, err := open(c)
		if err != nil {
			return nil, err
		}
		return watched{t, reach}, nil
	}
	return k
}

func (w watched) Fetch(ctx context.Context, image deploy.Image, from deploy.Source, say func(string)) error {
	w.reach("pull")
	if err := w.Target.Fetch(ctx, image, from, say); err != nil {
		return err
	}
	w.reach("pulled")
	return nil
}

func (w watched) Run(ctx context.Context, r deploy.Release, say func(string)) error {
	w.reach("command")
	if err := w.Target.Run(ctx, r, say); err != nil {
		return err
	}
	w.reach("commanded")
	return nil
}

func (w watched) Start(ctx context.Context, r deploy.Release) error {
	w.reach("start")
	if err := w.Target.Start(ctx, r); err != nil {
		return err
	}
	w.reach("started")
	return nil
}

func (w watched) Wait(ctx context.Context, r deploy.Release, say func(string)) ([]deploy.Instance, error) {
	w.reach("health")
	found, err := w.Target.Wait(ctx, r, say)
	if err != nil {
		return nil, err
	}
	w.reach("healthy")
	return found, nil
}

func (w watched) List(ctx context.Context) ([]deploy.Instance, error) {
	w.reach("look")
	return w.Target.List(ctx)
}

func (w watched) Remove(ctx context.Context, release string, grace time.Duration) error {
	w.reach("stop")
	if err := w.Target.Remove(ctx, release, grace); err != nil {
		return err
	}
	w.reach("stopped")
	return nil
}

// watchDatabase tells of the boundaries that only the database sees.
func watchDatabase(db *models.Database, reach func(boundary string)) error {
	err := db.Callback().Update().After("gorm:update").Register("watch", func(tx *gorm.DB) {
		d, ok := tx.Statement.Dest.(*models.Deployment)
		switch {
		case ok && d.Shift.Percent > 0 && d.ID == "":
			reach("step") // not committed
		case ok && d.Active && d.State == models.DeploymentRunning:
			reach("switch") // not committed
		case ok && d.Active && d.State == models.DeploymentSucceeded:
			reach("succeed") // not committed
		case ok && d.State == models.DeploymentFailed:
			reach("fail") // not committed
		}
	})
	if err != nil {
		return err
	}
	return db.Callback().Query().Before("gorm:query").Register("watch", func(tx *gorm.DB) {
		switch tx.Statement.Model.(type) {
		case *models.Proxy:
			reach("switched")
		case *models.ProxyHold:
			reach("drain")
		}
	})
}

// workerVariable has the test program be a worker that stops at a boundary, to be
// killed there. It holds the boundary, the database's URL and the registry's.
// A boundary such as stop@2 is where it comes to stop the second time.
const workerVariable = "SLIPWAY_TEST_DEPLOY_WORKER"

// killedMinute is how long a minute of a gradual switch lasts to a worker that is killed, and to those after it.
const killedMinute = 10 * time.Second

func TestMain(m *testing.M) {
	if what := os.Getenv(workerVariable); what != "" {
		parts := strings.SplitN(what, " ", 3)
		log.Fatal(beWorker(parts[0], parts[1], parts[2]))
	}
	os.Exit(m.Run())
}

func beWorker(at, database, external string) error {
	db, err := models.Open(context.Background(), database)
	if err != nil {
		return err
	}
	box := secretstest.Box()
	stops, times, left := strings.Cut(at, "@")
	var mu sync.Mutex
	until, _ := strconv.Atoi(times)
	if !left {
		until = 1
	}
	reach := func(boundary string) {
		mu.Lock()
		if boundary == stops {
			until--
		}
		here := boundary == stops && until == 0
		mu.Unlock()
		if here {
			fmt.Println("at", at)
			select {} // until it is killed
		}
	}
	service := newService(db, box, &registry.Service{DB: db, Box: box, External: external})
	service.Kinds, service.Minute = []deploy.Kind{watch(docker.Kind(""), reach)}, killedMinute
	if err := watchDatabase(db, reach); err != nil {
		return err
	}
	q, err := jobs.New(db, jobs.Config{Deployments: 1, DeadAfter: time.Hour})
	if err != nil {
		return err
	}
	service.Queue = q
	jobs.Register(q, service.Roll)
	if err := q.Start(context.Background()); err != nil {
		return err
	}
	select {}
}

// kill starts a worker in a process of its own and kills it (SIGKILL) when it has
// come to the boundary. Afterwards it counts as dead.
func (s *stage) kill(boundary, database string) {
	s.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerVariable+"="+strings.Join([]string{boundary, database, s.service.Registry.External}, " "))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	late := time.AfterFunc(3*time.Minute, func() { cmd.Process.Kill() })
	defer late.Stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "at "+boundary+"\n" {
		s.t.Errorf("the worker said %q (%v), not that it is at %s", line, err, boundary)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if err := s.db.Where("1 = 1").Delete(&models.Worker{}).Error; err != nil { // as if its time had passed
		s.t.Fatal(err)
	}
}

func TestARolloutEndsTrueWhereverItsWorkerIsKilled(t *testing.T) {
	t.Parallel()
	modelstest.EachURL(t, func(t *testing.T, url string) {
		s := newStage(t, modelstest.Open(t, url))
		if err := s.db.Model(s.App).Update("release_command", "say VERSION").Error; err != nil {
			t.Fatal(err)
		}
		stop := s.worker()
		s.built(2, "VERSION=2")
		s.succeeded(s.deploy(deploy.Input{}).ID)
		stop()
		for n, boundary := range boundaries {
			version := fmt.Sprint(n + 3)
			s.built(int64(n+3), "VERSION="+version)
			d := s.deploy(deploy.Input{})
			s.kill(boundary, url)
			if got := s.answer("/version"); got != version && got != fmt.Sprint(n+2) {
				t.Errorf("killed at %s, the route answers %q", boundary, got)
			}
			before := s.get(d.ID).Instances
			stop := s.worker()
			s.hasEnded(d.ID, boundary, version, before)
			stop()
		}
	})
}

// hasEnded checks all that is there of a deployment whose first worker was killed.
func (s *stage) hasEnded(id, boundary, version string, before []models.Instance) {
	s.t.Helper()
	d := s.until(id, "done", func(d *models.Deployment) bool {
		open := func(p models.DeploymentPhase) bool { return p.State == models.StepRunning }
		return d.State == models.DeploymentSucceeded && d.Attempt > 1 && d.Phases[len(d.Phases)-1].Name == "stop" && !slices.ContainsFunc(d.Phases, open)
	})
	old := s.until(*d.PreviousID, "retired", func(d *models.Deployment) bool { return d.RetiredAt != nil })
	if got := s.answer("/version"); got != version || old.Active || old.State != models.DeploymentSucceeded {
		s.t.Errorf("killed at %s, the route answers %q and the former one is %s", boundary, got, old.State)
	}
	if d.Error != nil || len(d.Instances) != 1 || d.Instances[0].State != models.InstanceHealthy {
		s.t.Errorf("killed at %s, the error is %+v, the instances %+v", boundary, d.Error, d.Instances)
	}
	if len(before) > 0 && d.Instances[0].RuntimeID != before[0].RuntimeID {
		s.t.Errorf("killed at %s, the instance that ran was not kept", boundary)
	}
	for _, p := range d.Phases {
		if p.State == models.StepFailed {
			s.t.Errorf("killed at %s, the phase %s is %s", boundary, p.Name, p.State)
		}
	}
	var ends int64
	if err := s.db.Model(&models.Event{}).Where("topic = ? AND kind = 'deployment.succeeded'", "deployment:"+id).Count(&ends).Error; err != nil || ends != 1 {
		s.t.Errorf("killed at %s, the end was published %d times, %v", boundary, ends, err)
	}
	all, err := dockertest.Engine(s.t).ContainerList(s.t.Context(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "slipway.target="+s.Target.ID))})
	if err != nil {
		s.t.Fatal(err)
	}
	if len(all) != 2 { // the instance, and what ran its command
		s.t.Errorf("killed at %s, there are the containers %+v", boundary, all)
	}
}
