package views_test

import (
	"time"

	"slipway.dev/models"
	"slipway.dev/views/admin"
)

// queueView is a queue with everything that it can show.
func queueView(now time.Time) admin.QueueView {
	earlier := now.Add(-4 * time.Minute)
	worker := func(id, host string, state models.WorkerState, change models.Worker) models.WorkerInfo {
		change.ID, change.Host, change.Version, change.Builds, change.StartedAt, change.SeenAt = id, host, "1.4.0", 4, earlier, now
		change.Draining = state == models.WorkerDraining
		return models.WorkerInfo{Worker: change, State: state, Running: 2}
	}
	behind := models.Wait{{Text: "2 builds go before this one: "}, {Text: "checkout-api #143", BuildID: "b1"}, {Text: " and 1 more; the workers are busy with 1 build, and the first of them ends within 12 minutes."}}
	return admin.QueueView{
		Board: models.Board{
			Total: 2,
			Waiting: []models.WaitingBuild{
				{ID: "b1", Name: "checkout-api #143", Team: "payments", Trigger: models.TriggerManual, QueuedAt: earlier, Front: true, Reason: models.Wait{{Text: "A worker takes this build in a moment."}}},
				{ID: "b2", Name: "search #12", Team: "search", Trigger: models.TriggerSchedule, QueuedAt: earlier, Reason: behind},
			},
			Running: []models.RunningBuild{
				{ID: "b3", Name: "checkout-api #142", Team: "payments", WorkerID: "w1", Host: "builder-1", StartedAt: &earlier},
				{ID: "b4", Name: "search #11", Team: "search", WorkerID: "gone", StartedAt: &earlier},
			},
			Limits: []models.TeamLimit{{Team: models.Team{ID: "t1", Slug: "payments", Name: "Payments", BuildLimit: 3}, Limit: 3, Running: 1}, {Team: models.Team{ID: "t2", Slug: "search", Name: "Search"}, Running: 1}},
		},
		Workers: []models.WorkerInfo{
			worker("w1", "builder-1", models.WorkerWorking, models.Worker{Labels: models.Labels{"arm64", "gpu"}, DiskFree: 41_000_000_000, DiskTotal: 100_000_000_000,
				EngineFree: 900_000_000, EngineTotal: 50_000_000_000, DiskFloor: 1_000_000_000, CacheSize: 18_400_000_000, CachePrunable: 2_100_000_000, PrunedAt: &earlier, PrunedBytes: 730_000_000}),
			worker("w2", "builder-2", models.WorkerDraining, models.Worker{PruneAskedAt: &earlier}),
			worker("w3", "builder-3", models.WorkerSilent, models.Worker{PruneError: "The engine could not be pruned. The worker's log says why."}),
		},
	}
}
