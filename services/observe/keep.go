package observe

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

const (
	// lookEvery is how often the collector looks what runs. It also calls those who hold a place's log.
	lookEvery = time.Second
	// claimMost is how many places a worker takes at once, so that several share them.
	claimMost = 20
)

// release is a deployment that has instances to listen to.
type release struct {
	ID            string
	Number        int64
	TeamID        string
	AppID         string
	EnvironmentID string
	TargetID      string
	Instances     int
	Newest        string // of its instances
}

// KeepLogs listens to all that runs and that no other worker listens to, and
// stores what it hears, until ctx ends. What was running stays so; the next
// worker goes on after the last line that was stored.
func (s *Service) KeepLogs(ctx context.Context) error {
	c := &collector{Service: s, keepers: map[string]*keeper{}}
	defer c.wait()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := c.look(ctx); err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "looking for logs to keep", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// collector has a keeper for each place that this worker holds.
type collector struct {
	*Service
	keepers map[string]*keeper // by the id of the place's log
}

func (c *collector) wait() {
	for _, k := range c.keepers {
		<-k.done
	}
}

// look hands each keeper what runs in its place, ends those that lost it, and takes places that nobody holds.
func (c *collector) look(ctx context.Context) error {
	running, err := c.running(ctx)
	if err != nil {
		return err
	}
	rows, err := c.rows(ctx, running)
	if err != nil {
		return err
	}
	alive, err := c.alive(ctx)
	if err != nil {
		return err
	}
	c.forget()
	claimed := 0
	for _, row := range rows {
		want := running[Place{row.EnvironmentID, row.AppID}]
		switch k := c.keepers[row.ID]; {
		case k != nil && row.Worker != c.Queue.WorkerID():
			k.cancel() // taken, or given up
		case k != nil:
			k.tell(want)
		case len(want) > 0 && claimed < claimMost && !alive[row.Worker]:
			claimed++
			if err := c.claim(ctx, row.ID, want); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget lets go of keepers that have ended.
func (c *collector) forget() {
	for id, k := range c.keepers {
		select {
		case <-k.done:
			delete(c.keepers, id)
		default:
		}
	}
}

// running are the deployments that have instances, by place.
func (c *collector) running(ctx context.Context) (map[Place][]release, error) {
	var all []release
	err := c.DB.WithContext(ctx).Model(&models.Deployment{}).
		Select("deployments.id, deployments.number, deployments.team_id, deployments.app_id, deployments.environment_id, environments.target_id, "+
			"(SELECT COUNT(*) FROM instances WHERE instances.deployment_id = deployments.id) AS instances, "+
			"(SELECT MAX(instances.id) FROM instances WHERE instances.deployment_id = deployments.id) AS newest").
		Joins("JOIN environments ON environments.id = deployments.environment_id").
		Where("deployments.retired_at IS NULL AND deployments.started_at IS NOT NULL AND ((deployments.active AND NOT deployments.stopped) OR deployments.state = ? OR deployments.drain_until IS NOT NULL)", models.DeploymentRunning).
		Scan(&all).Error
	if err != nil {
		return nil, fmt.Errorf("looking for what runs: %w", err)
	}
	places := map[Place][]release{}
	for _, r := range all {
		if r.Instances > 0 { // all of them are there once one is written down
			p := Place{r.EnvironmentID, r.AppID}
			places[p] = append(places[p], r)
		}
	}
	return places, nil
}

// rows are the logs of all places; one is made for a place that has none.
func (c *collector) rows(ctx context.Context, running map[Place][]release) (all []models.PlaceLog, err error) {
	db := c.DB.WithContext(ctx)
	if err := db.Select("id", "environment_id", "app_id", "worker").Find(&all).Error; err != nil {
		return nil, fmt.Errorf("reading the logs of places: %w", err)
	}
	known := make(map[Place]bool, len(all))
	for _, row := range all {
		known[Place{row.EnvironmentID, row.AppID}] = true
	}
	var made []models.PlaceLog
	for p, want := range running {
		if !known[p] {
			made = append(made, models.PlaceLog{ID: models.NewID(), TeamID: want[0].TeamID, EnvironmentID: p.EnvironmentID, AppID: p.AppID, NextLine: 1})
		}
	}
	if len(made) == 0 {
		return all, nil
	}
	err = db.Clauses(clause.OnConflict{DoNothing: true}).CreateInBatches(&made, 100).Error // another worker's row is found at the next look
	if err != nil {
		return nil, fmt.Errorf("making the logs of places: %w", err)
	}
	return c.rows(ctx, nil)
}

// alive are the workers whose places are not to be had.
func (c *collector) alive(ctx context.Context) (map[string]bool, error) {
	all, err := c.Queue.Workers(c.DB.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	alive := map[string]bool{}
	for _, w := range all {
		alive[w.ID] = w.ID != c.Queue.WorkerID()
	}
	return alive, nil
}

func (c *collector) claim(ctx context.Context, id string, want []release) error {
	mine := false
	err := c.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) (err error) {
		mine, err = c.Queue.Claim(ctx, tx, &models.PlaceLog{}, id)
		return err
	})
	if err != nil || !mine {
		return err
	}
	k := newKeeper(c.Service, id)
	working, cancel := context.WithCancel(ctx)
	k.cancel = cancel
	c.keepers[id] = k
	k.tell(want)
	go k.run(working)
	return nil
}
