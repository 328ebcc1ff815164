package hooks

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// plan is what a delivery leads to.
type plan struct {
	state   models.DeliveryState
	summary string
	message string
	learn   map[string]string // ids at the forge, by repository
	steps   []step
}

// step is what a delivery leads to for one app, or for a repository as a whole.
type step struct {
	outcome models.DeliveryOutcome
	build   *builds.Triggered // to queue
	cancel  string            // the ref of the pull request whose builds are to be canceled
	closed  int64             // its number
	by      string            // the delivery that said so
}

// Work carries a delivery to its end: understand it, look at the repositories that it is about, and then, in one
// transaction, queue and cancel builds and write down what came of it. Work that is repeated finds the delivery handled.
func (s *Service) Work(ctx context.Context, args Args) error {
	d, body, err := s.load(ctx, args.DeliveryID)
	if models.IsCode(err, models.NotFound) || err == nil && d.State != models.DeliveryReceived {
		return nil
	}
	if err != nil {
		return err
	}
	ctx = models.WithPrincipal(ctx, models.System("webhook of "+d.Connection.Name))
	p, err := s.plan(ctx, d, body)
	if told := new(models.Error); errors.As(err, &told) && ctx.Err() == nil {
		p = &plan{state: models.DeliveryFailed, message: told.Message}
	} else if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return s.conclude(ctx, tx, d, p) })
}

// load reads a delivery with its connection, and its body as it arrived.
func (s *Service) load(ctx context.Context, id string) (*models.Delivery, []byte, error) {
	var d models.Delivery
	if err := s.DB.WithContext(ctx).Preload("Connection").Where("id = ?", id).Take(&d).Error; err != nil {
		return nil, nil, models.FromDB(err, "delivery")
	}
	body, err := unpack(d.Body)
	return &d, body, err
}

// plan decides what the delivery leads to. It changes nothing but mirrors, and what is known of runs at the forge.
func (s *Service) plan(ctx context.Context, d *models.Delivery, body []byte) (*plan, error) {
	e, err := parse(d.Connection.Kind, d.Event, body)
	if err != nil {
		return nil, err
	}
	p := &plan{state: models.DeliveryIgnored, summary: e.summary(), learn: map[string]string{}}
	switch e.kind {
	case eventPing:
		p.state, p.message = models.DeliveryHandled, "The forge reaches Slipway, and its secret is right."
		return p, nil
	case eventRun:
		if s.Runs == nil {
			p.message = "Slipway does nothing with events of this kind."
			return p, nil
		}
		p.state = models.DeliveryHandled
		p.message, err = s.Runs(ctx, d.ConnectionID, d.Event, body)
		return p, err
	case eventOther:
		p.message = "Slipway does nothing with events of this kind."
		return p, nil
	}
	found, why, err := s.repositories(ctx, d, e)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		p.message = why
	}
	for i := range found {
		steps, err := s.forRepository(ctx, d, e, &found[i])
		if err != nil {
			return nil, err
		}
		p.steps = append(p.steps, steps...)
		if found[i].ExternalID == "" && e.repo.id != "" {
			p.learn[found[i].ID] = e.repo.id
		}
	}
	// Transactions hold apps in one order, so that two never wait for each other.
	slices.SortStableFunc(p.steps, func(a, b step) int { return cmp.Compare(a.outcome.AppID, b.outcome.AppID) })
	return p, nil
}

// conclude does what was planned, unless somebody has done so already.
func (s *Service) conclude(ctx context.Context, tx *gorm.DB, d *models.Delivery, p *plan) error {
	now := s.DB.NowFunc()
	mine := tx.Model(&models.Delivery{}).Where("id = ? AND state = ?", d.ID, models.DeliveryReceived)
	taken := mine.Updates(map[string]any{"state": p.state, "summary": p.summary, "message": p.message, "handled_at": now})
	if taken.Error != nil || taken.RowsAffected == 0 {
		return taken.Error
	}
	for id, external := range p.learn {
		err := tx.Model(&models.Repository{}).Where("id = ? AND connection_id = ? AND external_id = ''", id, d.ConnectionID).Update("external_id", external).Error
		if err != nil {
			return err
		}
	}
	d.State = p.state
	for i, st := range p.steps {
		if err := s.take(ctx, tx, &st); err != nil {
			return err
		}
		st.outcome.DeliveryID, st.outcome.Seq = d.ID, i+1
		if err := tx.Create(&st.outcome).Error; err != nil {
			return err
		}
		if did := st.outcome.Kind; did != models.OutcomeIgnored && did != models.OutcomeSuperseded {
			d.State = models.DeliveryHandled
		}
	}
	if d.State != p.state {
		if err := tx.Model(&models.Delivery{}).Where("id = ?", d.ID).Update("state", d.State).Error; err != nil {
			return err
		}
	}
	return publish(tx, d)
}

// take does one step and says in its outcome what came of it.
func (s *Service) take(ctx context.Context, tx *gorm.DB, st *step) error {
	switch {
	case st.cancel != "":
		return s.cancelPull(ctx, tx, st)
	case st.build == nil:
		return nil
	}
	b, superseded, err := s.Builds.QueueTriggered(ctx, tx, *st.build)
	if err != nil {
		return err
	}
	st.outcome.BuildID = b.ID
	switch {
	case superseded:
		st.outcome.Kind, st.outcome.Message = models.OutcomeSuperseded, "superseded by build "+b.Title()
	case b.State == models.BuildWaiting:
		st.outcome.Kind, st.outcome.Message = models.OutcomeWaiting, "build "+b.Title()+" waits for approval: from a fork"
	default:
		st.outcome.Kind, st.outcome.Message = models.OutcomeQueued, "queued build "+b.Title()
	}
	return nil
}

func (s *Service) cancelPull(ctx context.Context, tx *gorm.DB, st *step) error {
	n, err := s.Builds.CancelPullRequest(ctx, tx, st.outcome.AppID, st.cancel, "The pull request was closed.")
	if err != nil {
		return err
	}
	switch st.outcome.Kind = models.OutcomeCanceled; n {
	case 0:
		st.outcome.Kind, st.outcome.Message = models.OutcomeIgnored, "ignored: the pull request was closed, and no build of it waits"
	case 1:
		st.outcome.Message = "canceled the build that waited: the pull request was closed"
	default:
		st.outcome.Message = "canceled the builds that waited: the pull request was closed"
	}
	return s.endPull(ctx, tx, st)
}

// endPull ends what runs of a pull request that was closed.
func (s *Service) endPull(ctx context.Context, tx *gorm.DB, st *step) error {
	if s.PullClosed == nil {
		return nil
	}
	ended, err := s.PullClosed(ctx, tx, st.outcome.AppID, st.closed, st.by)
	switch {
	case err != nil || !ended:
		return err
	case st.outcome.Kind == models.OutcomeIgnored:
		st.outcome.Kind, st.outcome.Message = models.OutcomeCanceled, "removes the preview: the pull request was closed"
	default:
		st.outcome.Message += ", and its preview is removed"
	}
	return nil
}
