package proxy

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

const (
	beatEvery  = time.Second
	countEvery = 300 * time.Millisecond // how often the open requests of what drains are written
	forgetting = time.Minute            // after it, a silent proxy's row goes
	drainTime  = 30 * time.Second       // of what has no deadline of its own
)

// Run follows the routes until ctx ends: end it after the last request.
func (s *Service) Run(ctx context.Context) error {
	s.self = models.Proxy{ID: models.NewID()}
	s.held, s.told = map[string]bool{}, map[string]bool{}
	s.open, s.ended = map[*backend]bool{}, make(chan *backend)
	s.serving, s.shown = map[version]*backend{}, map[string]*shown{}
	s.leads = map[string]bool{}
	pulse, stop := context.WithCancel(ctx)
	defer stop()
	go s.news.beat(pulse)
	changes := s.Events.Subscribe(ctx)
	s.must(ctx, "registering the proxy", s.beat(ctx))
	s.must(ctx, "reading the routes", s.refresh(ctx))
	beat, count := time.NewTicker(beatEvery), time.NewTicker(countEvery)
	defer beat.Stop()
	defer count.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.leave(ctx)
		case e := <-changes:
			if !matters(e) {
				continue
			}
			s.must(ctx, "reading the routes", s.refresh(ctx))
		case <-beat.C:
			s.must(ctx, "saying that the proxy lives", s.beat(ctx))
			s.must(ctx, "reading the routes", s.refresh(ctx))
			s.must(ctx, "letting go of a deployment", s.tidy(ctx))
			s.must(ctx, "counting answers", s.report(ctx))
		case <-count.C:
			s.must(ctx, "counting open requests", s.count(ctx))
		case b := <-s.ended:
			delete(s.open, b)
			s.must(ctx, "letting go of a deployment", s.tidy(ctx))
		}
	}
}

// must logs what the next round tries again.
func (s *Service) must(ctx context.Context, what string, err error) {
	if err != nil && ctx.Err() == nil {
		slog.WarnContext(ctx, "the proxy has trouble", "work", what, "error", err)
	}
}

// matters tells whether the event can have changed a route.
func matters(e models.Event) bool {
	if strings.HasPrefix(e.Kind, models.VisitorEvents) {
		return true
	}
	return strings.HasPrefix(e.Topic, "deployment:") && slices.Contains([]string{"deployment.switched", "deployment.stopped", "deployment.paused", "deployment.instances", "deployment.shifted"}, e.Kind)
}

// beat says that this proxy lives. Where its row is gone, because it was silent
// for long, it comes back with all that it holds.
func (s *Service) beat(ctx context.Context) error {
	s.self.SeenAt = s.DB.NowFunc()
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		r := tx.Model(&models.Proxy{}).Where("id = ?", s.self.ID).Update("seen_at", s.self.SeenAt)
		if r.Error != nil {
			return r.Error
		}
		if r.RowsAffected == 0 {
			if err := s.join(tx); err != nil {
				return err
			}
		}
		return tx.Delete(&models.Proxy{}, "seen_at < ?", s.self.SeenAt.Add(-forgetting)).Error
	})
}

func (s *Service) join(tx *gorm.DB) error {
	if err := tx.Create(&s.self).Error; err != nil {
		return err
	}
	for id := range s.held {
		if err := tx.Create(&models.ProxyHold{ProxyID: s.self.ID, DeploymentID: id, Serving: s.told[id]}).Error; err != nil {
			return err
		}
	}
	for b := range s.open {
		b.tally.written = models.Tally{Answers: -1}
	}
	return nil
}

// leave takes this proxy's row and holds away.
func (s *Service) leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	for b := range s.open {
		b.kill()
	}
	return s.DB.WithContext(ctx).Delete(&models.Proxy{}, "id = ?", s.self.ID).Error
}

// refresh takes over the routes as they are. What it has not held yet it holds
// first and then looks again: a deployment that is replaced in between was not
// used, and one that is replaced later is known to be held.
func (s *Service) refresh(ctx context.Context) error {
	for {
		began := time.Now()
		found, err := s.read(ctx)
		if err != nil {
			return err
		}
		fresh := s.notHeld(found.rows)
		if len(fresh) == 0 {
			err := s.use(ctx, found)
			s.news.taken(began)
			return errors.Join(err, s.tell(ctx))
		}
		if err := s.hold(ctx, fresh); err != nil {
			return err
		}
	}
}

func (s *Service) notHeld(rows []row) (ids []string) {
	for _, r := range rows {
		if len(r.Addresses) > 0 && !s.held[r.DeploymentID] {
			ids = append(ids, r.DeploymentID)
		}
		if r.splits() && !s.held[r.Next.DeploymentID] {
			ids = append(ids, r.Next.DeploymentID)
		}
	}
	return ids
}

func (s *Service) hold(ctx context.Context, ids []string) error {
	var holds []models.ProxyHold
	for _, id := range ids {
		holds = append(holds, models.ProxyHold{ProxyID: s.self.ID, DeploymentID: id})
	}
	if err := s.DB.WithContext(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&holds).Error; err != nil {
		return err
	}
	for _, id := range ids {
		s.held[id] = true
	}
	return nil
}

// tell says of each deployment, once, that requests go to it now, and not only those of a share of the visitors: its
// rollout waits for that.
func (s *Service) tell(ctx context.Context) error {
	var news []string
	for b := range s.open {
		if !b.draining.Load() && s.leads[b.deployment] && !s.told[b.deployment] {
			news = append(news, b.deployment)
		}
	}
	if len(news) == 0 {
		return nil
	}
	err := s.DB.WithContext(ctx).Model(&models.ProxyHold{}).Where("proxy_id = ? AND deployment_id IN ?", s.self.ID, news).Update("serving", true).Error
	if err != nil {
		return err
	}
	for _, id := range news {
		s.told[id] = true
	}
	return nil
}

// use replaces the table; backends that are not in the new one drain.
func (s *Service) use(ctx context.Context, found *findings) error {
	kept := map[*backend]bool{}
	places := map[placeKey]*place{}
	serving, leads := map[version]*backend{}, map[string]bool{}
	for i := range found.rows {
		r := &found.rows[i]
		key := placeKey{r.EnvironmentID, r.AppID}
		limits := found.limits[key].WithDefaults()
		p := &place{stopped: r.Stopped, paused: r.Paused, known: r.DeploymentID != "", preview: r.Kind == models.EnvironmentPreview, body: limits.Body, maintenance: found.maintenance[key]}
		if len(r.Addresses) > 0 {
			p.backend = s.backendFor(key, r, limits)
			p.backend.tally.since(r.Next.DeploymentID)
			serving[version{key, r.DeploymentID}], kept[p.backend], leads[r.DeploymentID] = p.backend, true, true
		}
		if r.splits() {
			p.next, p.share = s.backendFor(key, r.next(), limits), shareOf(r.Next)
			p.next.tally.since(r.Next.DeploymentID)
			serving[version{key, r.Next.DeploymentID}], kept[p.next] = p.next, true
		}
		places[key] = p
	}
	s.table.Store(found.table(s, places))
	s.serving, s.leads = serving, leads
	for b := range s.open {
		if !kept[b] && !b.draining.Load() {
			if err := s.startDrain(ctx, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// backendFor returns the backend of the row's deployment that serves the place already, with the limits as they are now,
// or a new one.
func (s *Service) backendFor(key placeKey, r *row, limits models.PlaceLimits) *backend {
	b := s.serving[version{key, r.DeploymentID}]
	if b == nil || b.protocol != r.Protocol || !slices.Equal(b.addresses, r.Addresses) {
		b = s.newBackend(r, limits)
		s.open[b] = true
		return b
	}
	b.limit(limits)
	return b
}

// startDrain lets a backend that gets no new requests drain until its deployment's deadline.
func (s *Service) startDrain(ctx context.Context, b *backend) error {
	b.draining.Store(true)
	var d models.Deployment
	err := s.DB.WithContext(ctx).Select("id", "drain_until").Limit(1).Find(&d, "id = ?", b.deployment).Error
	deadline := time.Now().Add(drainTime)
	if d.DrainUntil != nil {
		deadline = *d.DrainUntil
	}
	go func() {
		b.drain(deadline)
		select {
		case s.ended <- b:
		case <-ctx.Done():
		}
	}()
	return err
}

// tidy lets go of the deployments that no backend is of any more.
func (s *Service) tidy(ctx context.Context) error {
	used := map[string]bool{}
	for b := range s.open {
		used[b.deployment] = true
	}
	for id := range s.held {
		if used[id] {
			continue
		}
		if err := s.DB.WithContext(ctx).Delete(&models.ProxyHold{}, "proxy_id = ? AND deployment_id = ?", s.self.ID, id).Error; err != nil {
			return err
		}
		delete(s.held, id)
		delete(s.told, id)
	}
	return nil
}

// count writes how many requests are open to what drains, for those who wait.
func (s *Service) count(ctx context.Context) error {
	for b := range s.open {
		if !b.draining.Load() {
			continue
		}
		err := s.DB.WithContext(ctx).Model(&models.ProxyHold{}).Where("proxy_id = ? AND deployment_id = ?", s.self.ID, b.deployment).Update("in_flight", b.inFlight.Load()).Error
		if err != nil {
			return err
		}
	}
	return nil
}
