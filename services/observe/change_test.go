package observe_test

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/observe"
	"slipway.dev/services/secrets/secretstest"
)

// herd is a target that adds instances and takes them away by itself, as clusters do, and numbers those that there are.
type herd struct {
	deploy.Target
	mu      sync.Mutex
	all     []string
	lines   map[string][]deploy.LogLine
	changed chan struct{} // closed when something changes
}

// change has one more line printed by each of the instances, or brings instances and takes them away.
func (h *herd) change(do func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do()
	close(h.changed)
	h.changed = make(chan struct{})
}

func (h *herd) prints(id, text string, at time.Time) {
	h.change(func() { h.lines[id] = append(h.lines[id], deploy.LogLine{At: at, Text: text}) })
}

// look returns what the instance has printed, whether it is there, and what says that something changed.
func (h *herd) look(id string) ([]deploy.LogLine, bool, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.lines[id]), slices.Contains(h.all, id), h.changed
}

func (h *herd) Logs(ctx context.Context, _ string, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []deploy.Instance
	for n, id := range h.all {
		found = append(found, deploy.Instance{ID: id, Replica: n + 1})
	}
	return deploy.Together(ctx, found, o, h.read)
}

// read follows one instance until it is gone.
func (h *herd) read(ctx context.Context, i deploy.Instance, o deploy.LogOptions) iter.Seq2[deploy.LogLine, error] {
	return func(yield func(deploy.LogLine, error) bool) {
		for seen := 0; ; {
			lines, there, changed := h.look(i.ID)
			for _, l := range lines[seen:] {
				l.Replica = i.Replica
				if l.At.After(o.After) && !yield(l, nil) {
					return
				}
			}
			if seen = len(lines); !there || !o.Follow {
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (h *herd) Close() error { return nil }

func TestInstancesThatComeAndGoAreHeardWhileOthersGoOn(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		s := newStage(t, db)
		h := &herd{lines: map[string][]deploy.LogLine{}, changed: make(chan struct{})}
		now := db.NowFunc()
		d := &models.Deployment{ID: models.NewID(), TeamID: s.Team.ID, AppID: s.App.ID, EnvironmentID: s.Environment.ID, Number: 1, State: models.DeploymentSucceeded, Active: true,
			Action: models.ActionDeploy, CreatedAt: now, StartedAt: &now, FinishedAt: &now}
		d.SealedSecrets = secretstest.Box().Seal("deployments/"+d.ID, []byte("{}"))
		s.must(db.Create(d).Error)
		are := func(ids ...string) { // as Reconcile finds them
			t.Helper()
			h.change(func() { h.all = ids })
			s.must(db.Delete(&models.Instance{}, "deployment_id = ? AND runtime_id NOT IN ?", d.ID, ids).Error)
			for _, id := range ids {
				var n int64
				if s.must(db.Model(&models.Instance{}).Where("deployment_id = ? AND runtime_id = ?", d.ID, id).Count(&n).Error); n == 0 {
					s.must(db.Create(&models.Instance{ID: models.NewID(), DeploymentID: d.ID, RuntimeID: id, State: models.InstanceHealthy, CreatedAt: now, UpdatedAt: now}).Error)
				}
			}
		}
		work := func() (stop func()) {
			_, stop = s.worker(func(o *observe.Service) {
				kind := o.Deploy.Kinds[0]
				kind.Open = func(deploy.Config) (deploy.Target, error) { return h, nil }
				o.Deploy.Kinds = []deploy.Kind{kind}
			})
			return stop
		}
		stop := work()
		second := func(n int) time.Time { return now.Add(time.Duration(n) * time.Second) }
		are("a")
		h.prints("a", "a says 1", second(1))
		s.until("the first", observe.Filter{}, has("a says 1"))
		are("a", "b")
		h.prints("b", "b says 1", second(5))
		s.until("what came later", observe.Filter{}, has("b says 1"))
		are("b", "c") // they have the numbers 1 and 2 at the target now
		h.prints("c", "c says 1", second(3))
		h.prints("b", "b says 2", second(6))
		s.until("the last", observe.Filter{}, func(lines []observe.Line) bool { return has("c says 1")(lines) && has("b says 2")(lines) })
		stop()
		work()
		h.prints("c", "c says 2", second(7))
		lines := s.until("what another worker heard", observe.Filter{}, has("c says 2"))
		got := texts(lines)
		slices.Sort(got)
		if want := []string{"a says 1", "b says 1", "b says 2", "c says 1", "c says 2"}; !slices.Equal(got, want) {
			t.Errorf("kept are %q", got)
		}
		numbers := map[string]int{}
		for _, l := range lines {
			if l.Text == "c says 2" { // of another worker, which counts anew
				continue
			}
			if n := cmp.Or(numbers[l.Text[:1]], l.Replica); n != l.Replica {
				t.Errorf("%s has the numbers %d and %d", l.Text[:1], n, l.Replica)
			}
			numbers[l.Text[:1]] = l.Replica
		}
		if numbers["a"] == numbers["b"] || numbers["b"] == numbers["c"] {
			t.Errorf("two instances have one number: %v", numbers)
		}
	})
}
