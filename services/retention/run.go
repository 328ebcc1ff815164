package retention

import (
	"context"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
	"slipway.dev/services/jobs"
	"slipway.dev/services/registry"
)

const (
	ofATurn    = 200 // manifests that one transaction deletes
	dueOfALook = 100
)

// CleanUp is the job that carries out a run.
type CleanUp struct {
	RunID string `json:"run_id"`
}

// Kind names the job.
func (CleanUp) Kind() string { return "clean_up" }

// Start queues a clean-up of what the fingerprint's plan named; the team's
// maintainers may. Where the plan is another one by now, nothing is queued.
func (s *Service) Start(ctx context.Context, repository, fingerprint string) (*models.RetentionRun, error) {
	r, err := s.repository(ctx, repository, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	return s.start(ctx, r.Name, func(tx *gorm.DB, locked models.RegistryRepository) (*plan, error) {
		policy, err := effective(tx, locked.TeamID, locked.Name)
		if err != nil {
			return nil, err
		}
		if !policy.Set {
			return nil, models.Errorf(models.Conflict, "%s has no clean-up policy. Save one first.", locked.Name)
		}
		p, err := s.plan(tx, locked, policy.RetentionPolicy)
		if err != nil {
			return nil, err
		}
		if p.fingerprint() != fingerprint {
			return nil, models.Errorf(models.Conflict, "What would go has changed since you looked. Look at the list again, and run it then.")
		}
		return p, nil
	})
}

// start writes the run down with what its plan names, and queues its job.
func (s *Service) start(ctx context.Context, repository string, decide func(*gorm.DB, models.RegistryRepository) (*plan, error)) (run *models.RetentionRun, err error) {
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		r, err := lock(tx, repository)
		if err != nil {
			return err
		}
		var open int64
		unended := []models.RetentionState{models.RetentionQueued, models.RetentionRunning}
		if err := tx.Model(&models.RetentionRun{}).Where("repository = ? AND state IN ?", r.Name, unended).Count(&open).Error; err != nil {
			return err
		}
		if open > 0 {
			return models.Errorf(models.Conflict, "A clean-up of %s is under way. Wait for its end.", r.Name)
		}
		p, err := decide(tx, r)
		if err != nil {
			return err
		}
		run, err = s.insert(ctx, tx, r, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return run, nil
}

func (s *Service) insert(ctx context.Context, tx *gorm.DB, r models.RegistryRepository, p *plan) (*models.RetentionRun, error) {
	run := &models.RetentionRun{ID: models.NewID(), TeamID: r.TeamID, Repository: r.Name, State: models.RetentionQueued,
		Planned: int64(p.Goes), Bytes: p.Bytes, CreatedAt: s.DB.NowFunc()}
	run.StartedBy, run.StartedByName = actor(ctx)
	if err := tx.Create(run).Error; err != nil {
		return nil, fmt.Errorf("recording the clean-up: %w", err)
	}
	var items []models.RetentionItem
	for i, m := range p.manifests {
		if p.goes(i) {
			items = append(items, models.RetentionItem{RunID: run.ID, Digest: m.digest, Tags: tagNames(m), Outcome: models.OutcomePlanned})
		}
	}
	if len(items) > 0 {
		if err := tx.CreateInBatches(items, 500).Error; err != nil {
			return nil, fmt.Errorf("recording what the clean-up names: %w", err)
		}
	}
	if err := record(ctx, tx, run, "retention.run"); err != nil {
		return nil, err
	}
	return run, s.Jobs.Insert(ctx, tx, jobs.QueueDefault, CleanUp{RunID: run.ID})
}

func tagNames(m manifest) []string {
	out := make([]string, 0, len(m.tags))
	for _, t := range m.tags {
		out = append(out, t.name)
	}
	return out
}

// record writes what became of the run into the audit log, and tells open pages.
func record(ctx context.Context, tx *gorm.DB, run *models.RetentionRun, action string) error {
	detail := map[string]string{"state": string(run.State), "planned": fmt.Sprint(run.Planned), "deleted": fmt.Sprint(run.Deleted)}
	entry := audit.Entry{TeamID: run.TeamID, Action: action, Subject: "image:" + run.Repository, Name: run.Repository, Detail: detail}
	if err := audit.Record(ctx, tx, entry); err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: run.TeamID, Kind: "retention." + string(run.State), Topic: "image:" + run.Repository,
		Data: map[string]string{"repository": run.Repository, "run": run.ID}})
}

// RunDue queues the daily clean-up of every repository whose policy is switched
// on. The first is a day after the policy was saved. Any number of processes may do this.
func (s *Service) RunDue(ctx context.Context) error {
	before := s.DB.NowFunc().Add(-daily)
	var due []string
	err := s.DB.WithContext(ctx).Raw(`SELECT r.name FROM registry_repositories r
		JOIN retention_policies p ON p.team_id = r.team_id AND p.repository IN (r.name, '')
		WHERE p.enabled AND p.updated_at <= ? AND r.push_id <> '' AND (r.cleaned_at IS NULL OR r.cleaned_at <= ?)
		AND (p.repository = r.name OR NOT EXISTS (SELECT 1 FROM retention_policies o WHERE o.team_id = r.team_id AND o.repository = r.name))
		ORDER BY r.name LIMIT ?`, before, before, dueOfALook).Scan(&due).Error
	if err != nil {
		return fmt.Errorf("looking for repositories to clean up: %w", err)
	}
	for _, name := range due {
		_, err := s.start(ctx, name, func(tx *gorm.DB, r models.RegistryRepository) (*plan, error) { return s.due(tx, r, before) })
		if err != nil && !models.IsCode(err, models.Conflict) {
			return fmt.Errorf("queueing the clean-up of %s: %w", name, err)
		}
	}
	return nil
}

// due takes the repository's turn of today. Another process may have been quicker.
func (s *Service) due(tx *gorm.DB, r models.RegistryRepository, before time.Time) (*plan, error) {
	taken := models.Errorf(models.Conflict, "The clean-up of today is queued already.")
	if r.CleanedAt != nil && r.CleanedAt.After(before) {
		return nil, taken
	}
	policy, err := effective(tx, r.TeamID, r.Name)
	if err != nil {
		return nil, err
	}
	if !policy.Enabled {
		return nil, taken
	}
	if err := tx.Model(&models.RegistryRepository{}).Where("name = ?", r.Name).UpdateColumn("cleaned_at", s.DB.NowFunc()).Error; err != nil {
		return nil, err
	}
	return s.plan(tx, r, policy.RetentionPolicy)
}

// Clean carries out a run: turn by turn it plans anew and deletes what the run
// named and nothing keeps by now. It may begin again after a worker died.
func (s *Service) Clean(ctx context.Context, job CleanUp) error {
	for {
		done := false
		err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) (err error) {
			done, err = s.turn(ctx, tx, job.RunID)
			return err
		})
		if err != nil {
			return fmt.Errorf("cleaning up: %w", err)
		}
		if done {
			return s.afterRun(ctx, job.RunID)
		}
	}
}

// turn deletes some of what is left of the run. It returns true once nothing is.
func (s *Service) turn(ctx context.Context, tx *gorm.DB, id string) (done bool, err error) {
	var run models.RetentionRun
	if err := tx.Where("id = ?", id).Limit(1).Find(&run).Error; err != nil || run.ID == "" || run.FinishedAt != nil {
		return true, err
	}
	r, err := lock(tx, run.Repository)
	if err != nil {
		return false, err
	}
	if err := tx.Where("id = ?", id).Take(&run).Error; err != nil { // as it is under the lock
		return false, err
	}
	var left []models.RetentionItem
	if err := tx.Where("run_id = ? AND outcome = ?", id, models.OutcomePlanned).Order("digest").Find(&left).Error; err != nil {
		return false, err
	}
	run.State = models.RetentionRunning
	if len(left) == 0 {
		now := s.DB.NowFunc()
		run.State, run.FinishedAt = models.RetentionSucceeded, &now
		if err := record(ctx, tx, &run, "retention.end"); err != nil {
			return false, err
		}
	} else if err := s.deleteSome(ctx, tx, r, &run, left); err != nil {
		return false, err
	}
	return run.FinishedAt != nil, tx.Save(&run).Error
}

func (s *Service) deleteSome(ctx context.Context, tx *gorm.DB, r models.RegistryRepository, run *models.RetentionRun, left []models.RetentionItem) error {
	policy, err := effective(tx, r.TeamID, r.Name)
	if err != nil {
		return err
	}
	p, err := s.plan(tx, r, policy.RetentionPolicy)
	if err != nil {
		return err
	}
	if !policy.Set {
		p.keepAll("its policy was removed")
	}
	named := map[string]bool{}
	for _, item := range left {
		i, ok := p.places[item.Digest]
		if ok && p.goes(i) && slices.Equal(item.Tags, tagNames(p.manifests[i])) {
			named[item.Digest] = true
			continue
		}
		if err := spare(tx, run, item, p, i, ok); err != nil {
			return err
		}
	}
	for _, group := range p.groups(named) {
		if err := s.deleteGroup(ctx, tx, r, run, group); err != nil {
			return err
		}
	}
	return nil
}

// spare writes down why what the plan named does not go after all.
func spare(tx *gorm.DB, run *models.RetentionRun, item models.RetentionItem, p *plan, i int, there bool) error {
	why := "it is gone already"
	if there {
		if why = p.verdicts[i].text; why == "" {
			why = "its tags have changed"
		}
	}
	run.Spared++
	return tx.Model(&item).Select("outcome", "reason").Updates(models.RetentionItem{Outcome: models.OutcomeSpared, Reason: why}).Error
}

// groups are what goes in one deletion each: an image first, then its platforms
// and what is about them. Only what is named goes, and no more than a turn's worth.
func (p *plan) groups(named map[string]bool) [][]string {
	var out [][]string
	total := 0
	for _, heads := range []bool{true, false} { // first those that others go with
		for i, m := range p.manifests {
			if total < ofATurn && named[m.digest] && (m.alone() || !heads) {
				group := p.group(i, named)
				total += len(group)
				out = append(out, group)
			}
		}
	}
	return out
}

// group takes the manifest and what goes with it out of what is named.
func (p *plan) group(head int, named map[string]bool) []string {
	group, next := []string{}, []int{head}
	for len(next) > 0 {
		m := p.manifests[next[0]]
		next = next[1:]
		if named[m.digest] {
			delete(named, m.digest)
			group = append(group, m.digest)
			next = append(next, slices.Concat(m.children, m.about)...)
		}
	}
	return group
}

func (s *Service) deleteGroup(ctx context.Context, tx *gorm.DB, r models.RegistryRepository, run *models.RetentionRun, digests []string) error {
	d, err := s.Registry.Remove(ctx, tx, r, registry.Removal{Kind: models.DeletionImage, Name: digests[0], Digest: digests[0], Digests: digests, RunID: run.ID})
	if err != nil {
		return err
	}
	run.Deleted += d.Manifests
	run.Tags += d.Tags
	err = tx.Model(&models.RetentionItem{}).Where("run_id = ? AND digest IN ?", run.ID, digests).UpdateColumn("outcome", models.OutcomeDeleted).Error
	if err != nil {
		return err
	}
	return s.Registry.TellDeleted(ctx, tx, r, d)
}

// afterRun counts the repository anew, so that pages show what is left.
func (s *Service) afterRun(ctx context.Context, id string) error {
	var run models.RetentionRun
	if err := s.DB.WithContext(ctx).Where("id = ?", id).Limit(1).Find(&run).Error; err != nil || run.ID == "" {
		return err
	}
	return s.countFrees(ctx, run.TeamID, run.Repository)
}
