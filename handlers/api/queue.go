package api

import (
	"context"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/builds"
)

// Queue is what waits for a worker and what runs.
type Queue struct {
	Waiting []QueuedBuild  `json:"waiting" nullable:"false" doc:"In the order they will be taken in, as far as it can be known; at most 100."`
	Total   int64          `json:"total" doc:"All builds that wait."`
	Running []CarriedBuild `json:"running" nullable:"false" doc:"The oldest first."`
	Limits  []TeamLimit    `json:"limits" nullable:"false" doc:"How many builds each team runs at once."`
}

// QueuedBuild is a build that waits.
type QueuedBuild struct {
	ID            string              `json:"id"`
	Name          string              `json:"name" example:"checkout #12"`
	Team          string              `json:"team" doc:"Slug."`
	Trigger       models.BuildTrigger `json:"trigger" enum:"manual,push,pull_request,schedule,forge"`
	QueuedAt      time.Time           `json:"queued_at"`
	Front         bool                `json:"front" doc:"An admin moved it to the front."`
	WaitingFor    string              `json:"waiting_for" doc:"Why it waits, behind what, and what would end it."`
	WaitingBehind []BuildName         `json:"waiting_behind" nullable:"false" doc:"The builds that waiting_for names."`
}

// CarriedBuild is a build that a worker carries.
type CarriedBuild struct {
	ID        string     `json:"id"`
	Name      string     `json:"name" example:"checkout #11"`
	Team      string     `json:"team" doc:"Slug."`
	WorkerID  string     `json:"worker_id"`
	Host      string     `json:"host" doc:"The worker's; empty where the worker is dead and another will take over."`
	StartedAt *time.Time `json:"started_at"`
}

// TeamLimit is how many builds of a team run at once.
type TeamLimit struct {
	Team    string `json:"team" doc:"Slug."`
	Builds  int    `json:"builds" doc:"The team's own limit; 0 where the settings decide."`
	Limit   int    `json:"limit" doc:"The limit that holds; 0: any number."`
	Running int    `json:"running"`
}

// NewTeamLimit sets a team's limit.
type NewTeamLimit struct {
	Builds int `json:"builds" minimum:"0" maximum:"1000" doc:"Builds at once; 0 leaves it to the settings."`
}

// Worker is a process that builds and deploys.
type Worker struct {
	ID            string             `json:"id"`
	Host          string             `json:"host"`
	Version       string             `json:"version"`
	State         models.WorkerState `json:"state" enum:"working,draining,silent"`
	Draining      bool               `json:"draining" doc:"It takes nothing new, and finishes what it has."`
	Builds        int                `json:"builds" doc:"Builds that it runs at once."`
	Running       int                `json:"running" doc:"Builds that it runs now."`
	Labels        []string           `json:"labels" nullable:"false" doc:"What apps may ask for."`
	Disk          *Disk              `json:"disk" doc:"The disk with the data folder; null while it is not known."`
	EngineDisk    *Disk              `json:"engine_disk" doc:"The disk with the Docker Engine's folder; null where it is not on the worker's machine."`
	DiskFloor     int64              `json:"disk_floor" doc:"With less free bytes no build begins."`
	Cache         int64              `json:"cache" doc:"Bytes of the engine's build cache."`
	CachePrunable int64              `json:"cache_prunable" doc:"Bytes that pruning by the settings would free of it, about."`
	PruneAskedAt  *time.Time         `json:"prune_asked_at" doc:"Since when a pruning is asked for."`
	PrunedAt      *time.Time         `json:"pruned_at"`
	PrunedBytes   int64              `json:"pruned_bytes" doc:"What the last pruning freed."`
	PruneError    string             `json:"prune_error,omitempty"`
	StartedAt     time.Time          `json:"started_at"`
	SeenAt        time.Time          `json:"seen_at"`
}

// Disk is how much of a disk is free. Sizes are bytes.
type Disk struct {
	Free  int64 `json:"free"`
	Total int64 `json:"total"`
}

// UpdateWorker is what an admin may change of a worker; what is absent stays as it is.
type UpdateWorker struct {
	Draining *bool     `json:"draining,omitempty" doc:"true: take nothing new; false: take jobs again."`
	Builds   *int      `json:"builds,omitempty" minimum:"1" maximum:"64" doc:"Builds at once."`
	Labels   *[]string `json:"labels,omitempty" maxItems:"16"`
}

func (a *API) queue() {
	const life = "Holds until the worker's process ends: one that starts again works as its settings say."
	get(a, "/queue", "get-queue", "What waits, what runs, and the limits of teams", a.getQueue, admin)
	put(a, "/queue/limits/{team}", "set-team-limit", "Set how many builds a team runs at once", a.setTeamLimit, admin)
	post(a, "/builds/{id}/front", "move-build-to-front", "Have a queued build go before all others", a.moveToFront, admin)
	get(a, "/workers", "list-workers", "The processes that build and deploy", a.listWorkers, admin)
	patch(a, "/workers/{id}", "update-worker", "Drain or resume a worker, change how much it takes", a.updateWorker, admin, about(life))
	post(a, "/workers/{id}/prune", "prune-worker", "Prune the build cache of a worker's engine", a.pruneWorker, admin, about("It happens within half a minute; pruned_at and pruned_bytes say what came of it."))
}

func (a *API) getQueue(ctx context.Context, _ *struct{}) (*answer[Queue], error) {
	b, err := a.Builds.Board(ctx)
	return replyWith(b, queueOf, err)
}

func (a *API) setTeamLimit(ctx context.Context, in *struct {
	Team string `path:"team" maxLength:"100"`
	Body NewTeamLimit
}) (*answer[TeamLimit], error) {
	l, err := a.Builds.SetTeamLimit(ctx, in.Team, in.Body.Builds)
	return replyWith(l, limitOf, err)
}

func (a *API) moveToFront(ctx context.Context, in *IDIn) (*answer[Build], error) {
	b, err := a.Builds.MoveToFront(ctx, in.ID)
	return replyWith(b, buildOf, err)
}

func (a *API) listWorkers(ctx context.Context, _ *struct{}) (*answer[List[Worker]], error) {
	all, err := a.Builds.Workers(ctx)
	if err != nil {
		return nil, err
	}
	return whole(all, workerOf), nil
}

func (a *API) updateWorker(ctx context.Context, in *struct {
	IDIn
	Body UpdateWorker
}) (*answer[Worker], error) {
	w, err := a.Builds.UpdateWorker(ctx, in.ID, builds.WorkerChange{Draining: in.Body.Draining, Builds: in.Body.Builds, Labels: in.Body.Labels})
	return replyWith(w, workerOf, err)
}

func (a *API) pruneWorker(ctx context.Context, in *IDIn) (*answer[Worker], error) {
	w, err := a.Builds.AskPrune(ctx, in.ID)
	return replyWith(w, workerOf, err)
}

func queueOf(b *models.Board) Queue {
	return Queue{
		Waiting: sliceOf(b.Waiting, func(w *models.WaitingBuild) QueuedBuild {
			return QueuedBuild{w.ID, w.Name, w.Team, w.Trigger, w.QueuedAt.UTC(), w.Front, w.Reason.String(), behind(w.Reason)}
		}),
		Total: b.Total,
		Running: sliceOf(b.Running, func(r *models.RunningBuild) CarriedBuild {
			return CarriedBuild{r.ID, r.Name, r.Team, r.WorkerID, r.Host, utc(r.StartedAt)}
		}),
		Limits: sliceOf(b.Limits, limitOf),
	}
}

func limitOf(l *models.TeamLimit) TeamLimit {
	return TeamLimit{l.Team.Slug, l.Team.BuildLimit, l.Limit, l.Running}
}

func workerOf(w *models.WorkerInfo) Worker {
	return Worker{
		ID: w.ID, Host: w.Host, Version: w.Version, State: w.State, Draining: w.Draining, Builds: w.Builds, Running: w.Running,
		Labels: append([]string{}, w.Labels...), Disk: diskOf(w.DiskFree, w.DiskTotal), EngineDisk: diskOf(w.EngineFree, w.EngineTotal), DiskFloor: w.DiskFloor,
		Cache: w.CacheSize, CachePrunable: w.CachePrunable, PruneAskedAt: utc(w.PruneAskedAt), PrunedAt: utc(w.PrunedAt), PrunedBytes: w.PrunedBytes,
		PruneError: w.PruneError, StartedAt: w.StartedAt.UTC(), SeenAt: w.SeenAt.UTC(),
	}
}

func diskOf(free, total int64) *Disk {
	if total == 0 {
		return nil
	}
	return &Disk{free, total}
}
