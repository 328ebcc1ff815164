package deploy

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Retire is the job that ends the instances of a deployment that a person stopped.
type Retire struct {
	DeploymentID string `json:"deployment_id"`
}

// Kind names the job.
func (Retire) Kind() string { return "deployment.retire" }

const (
	graceTime = 10 * time.Second // between a polite and a hard end of an instance
	keepLines = 500              // of an instance's log when it goes
	askEvery  = 40 * time.Millisecond
	// listenTime bounds how long an instance is kept for its log to open.
	listenTime = 5 * time.Second
)

// draining are the deployments to the same place that serve no new requests and still have instances.
func draining(tx *gorm.DB, d *models.Deployment) *gorm.DB {
	return tx.Model(&models.Deployment{}).Where("environment_id = ? AND app_id = ? AND drain_until IS NOT NULL AND retired_at IS NULL AND (stopped OR NOT active)", d.EnvironmentID, d.AppID)
}

// RetireStopped lets a stopped deployment drain and removes its instances.
func (s *Service) RetireStopped(ctx context.Context, job Retire) error {
	var d models.Deployment
	if err := s.DB.WithContext(ctx).Preload("Environment").Limit(1).Find(&d, "id = ?", job.DeploymentID).Error; err != nil {
		return err
	}
	if d.ID == "" || d.RetiredAt != nil || d.DrainUntil == nil {
		return nil
	}
	if _, err := s.drained(ctx, &d, func(string) {}); err != nil {
		return err
	}
	return s.retire(ctx, &d, graceTime)
}

// retireOthers lets what served before drain, and stops it.
func (r *rollout) retireOthers(ctx context.Context) error {
	var old []models.Deployment
	if err := draining(r.DB.WithContext(ctx), r.d).Preload("Environment").Where("id <> ?", r.d.ID).Find(&old).Error; err != nil {
		return err
	}
	if len(old) == 0 {
		return nil
	}
	err := r.phase(ctx, "drain", func(ctx context.Context, say func(string)) error {
		for i := range old {
			cut, err := r.drained(ctx, &old[i], say)
			if err != nil {
				return err
			}
			if cut > 0 {
				say(fmt.Sprintf("%s still open at the deadline; they were cut.", connections(cut)))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.phase(ctx, "stop", func(ctx context.Context, _ func(string)) error {
		for i := range old {
			if err := r.retire(ctx, &old[i], graceTime); err != nil {
				return err
			}
		}
		return nil
	})
}

// drained waits until no living proxy sends requests to the deployment any
// more, or its deadline has passed. It returns how many were open then.
func (s *Service) drained(ctx context.Context, d *models.Deployment, say func(string)) (cut int, err error) {
	for tick := time.NewTicker(askEvery); ; {
		holds, open, err := s.holds(ctx, d.ID)
		if err != nil || holds == 0 {
			tick.Stop()
			return 0, err
		}
		if s.now().After(d.DrainUntil.Add(time.Second)) {
			tick.Stop()
			return open, nil
		}
		if open > 0 {
			say(connections(open) + " to the old version still open.")
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return 0, context.Cause(ctx)
		case <-tick.C:
		}
	}
}

func connections(n int) string {
	if n == 1 {
		return "1 request is"
	}
	return fmt.Sprintf("%d requests are", n)
}

// holds counts the living proxies that may still send requests to the deployment, and their open requests.
func (s *Service) holds(ctx context.Context, id string) (proxies, open int, err error) {
	var sum struct{ Proxies, Open int }
	err = s.DB.WithContext(ctx).Model(&models.ProxyHold{}).Select("COUNT(*) AS proxies, COALESCE(SUM(in_flight), 0) AS open").
		Joins("JOIN proxies ON proxies.id = proxy_holds.proxy_id").
		Where("proxy_holds.deployment_id = ? AND proxies.seen_at > ?", id, s.now().Add(-models.ProxySilence)).Scan(&sum).Error
	return sum.Proxies, sum.Open, err
}

// retire removes the instances of a deployment that serves nobody, giving each the time to end by itself.
func (s *Service) retire(ctx context.Context, d *models.Deployment, grace time.Duration) error {
	if err := s.unsplit(ctx, d); err != nil {
		return err
	}
	if err := s.removeKeepingLogs(ctx, d, grace); err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		r := tx.Model(&models.Deployment{}).Where("id = ? AND retired_at IS NULL", d.ID).Update("retired_at", s.now())
		if r.Error != nil || r.RowsAffected == 0 {
			return r.Error
		}
		return publish(tx, d, "deployment.retired")
	})
}

// removeKeepingLogs removes the deployment's instances and keeps what they said
// last, their words at the end included.
func (s *Service) removeKeepingLogs(ctx context.Context, d *models.Deployment, grace time.Duration) error {
	target, err := s.target(ctx, d.Environment.TargetID)
	if err != nil {
		return err
	}
	if s.Heard != nil {
		s.Heard(ctx, d)
	}
	lines, err := s.removeAndListen(ctx, target, d, grace)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		gone := models.Instance{State: models.InstanceStopped, LastLogs: lines, UpdatedAt: s.now()}
		err := tx.Model(&models.Instance{}).Where("deployment_id = ?", d.ID).Select("state", "address", "message", "updated_at").Updates(&gone).Error
		if err != nil {
			return err
		}
		if len(lines) == 0 {
			return nil // what was kept before stays
		}
		first := tx.Session(&gorm.Session{NewDB: true}).Model(&models.Instance{}).Select("MIN(id)").Where("deployment_id = ?", d.ID) // the words of all, kept once
		return tx.Model(&models.Instance{}).Where("id IN (?)", first).Select("last_logs").Updates(&gone).Error
	})
}

// removeAndListen removes the instances and returns their last lines. Those that
// get no time to end are heard before, the others while they end.
func (s *Service) removeAndListen(ctx context.Context, target Target, d *models.Deployment, grace time.Duration) ([]string, error) {
	if grace == 0 {
		lines := s.tail(ctx, target, d, LogOptions{})
		return lines, target.Remove(ctx, d.ID, 0)
	}
	var talking int64 // instances that may still say something
	if err := s.DB.WithContext(ctx).Model(&models.Instance{}).Where("deployment_id = ? AND address <> ''", d.ID).Count(&talking).Error; err != nil {
		return nil, err
	}
	reading, stop := context.WithCancel(ctx)
	defer stop()
	kept, listening := make(chan []string, 1), make(chan struct{})
	listens := sync.OnceFunc(func() { close(listening) })
	var opened atomic.Int64
	go func() {
		kept <- s.tail(reading, target, d, LogOptions{Follow: true, Opened: func() {
			if opened.Add(1) >= talking {
				listens()
			}
		}})
		listens() // nothing is there to listen to
	}()
	select { // an instance that ends before anybody listens takes its words along
	case <-listening:
	case <-time.After(listenTime):
	}
	err := target.Remove(ctx, d.ID, grace)
	wait := time.AfterFunc(listenTime, stop) // the log of what is gone ends by itself
	defer wait.Stop()
	return <-kept, err
}

// tail returns the last lines of the deployment's instances, with Follow once they have ended.
func (s *Service) tail(ctx context.Context, target Target, d *models.Deployment, o LogOptions) (lines []string) {
	mask := s.maskerOf(d)
	o.Tail = keepLines
	for line, err := range target.Logs(ctx, d.ID, o) {
		if err != nil {
			break
		}
		text := mask.Mask(clean(line.Text))
		if d.Config.Scale.Replicas > 1 {
			text = fmt.Sprintf("[%d] %s", line.Replica, text)
		}
		if lines = append(lines, short(text)); len(lines) > keepLines {
			lines = lines[1:]
		}
	}
	return lines
}
