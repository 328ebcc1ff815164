package builds

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

const (
	// patience is how long builds that nobody clicked wait behind those of
	// people; after that they count as people's, so that none waits for ever.
	patience = 15 * time.Minute
	// fewPlaces and allPlaces are how many builds of each team, trigger and set
	// of labels are read: a worker needs the first ones, a list needs them all.
	fewPlaces = 10
	allPlaces = 1000
)

// waiting is a queued build, as far as its place in the queue needs it.
type waiting struct {
	ID       string
	TeamID   string
	Team     string // its slug
	AppID    string
	App      string
	Number   int64
	Trigger  models.BuildTrigger
	QueuedAt time.Time
	FrontAt  *time.Time
	Labels   models.Labels
	Builder  models.BuilderKind
}

// name is what people call the build.
func (w *waiting) name() string { return fmt.Sprintf("%s #%d", w.App, w.Number) }

// The classes of builds, in the order they are taken in.
const (
	classFront  = iota // moved to the front by an admin
	classPeople        // asked for by a person, or waiting for longer than patience
	classPushes
	classSchedules
)

func (w *waiting) class(now time.Time) int {
	switch {
	case w.FrontAt != nil:
		return classFront
	case w.Trigger == models.TriggerManual, now.Sub(w.QueuedAt) > patience:
		return classPeople
	case w.Trigger == models.TriggerSchedule:
		return classSchedules
	}
	return classPushes
}

// carrying is a running build and who carries it.
type carrying struct {
	ID             string
	TeamID         string
	Worker         string
	App            string
	Number         int64
	StartedAt      *time.Time
	TimeoutSeconds int
	Labels         models.Labels // that its app asks for
}

// line is the queue at one moment: who waits, what runs, and who works.
type line struct {
	now     time.Time
	workers []models.Worker // that live
	running []carrying
	waiting []waiting
	limits  map[string]int // builds at once, by team; teams without a limit are not in it
	lost    []carrying     // of those that run: nobody carries them any more
	total   int64          // of queued builds, also those that were not read
}

// line reads the queue in tx, without the builds that run elsewhere: they wait for no turn. Of each team, trigger and set of labels it reads that many builds.
func (s *Service) line(tx *gorm.DB, places int) (*line, error) {
	l := &line{now: s.DB.NowFunc()}
	var err error
	if l.workers, err = s.Jobs.Workers(tx); err != nil {
		return nil, err
	}
	err = tx.Table("builds").Joins("JOIN apps ON apps.id = builds.app_id").Where("builds.state = ? AND builds.builder NOT IN ?", models.BuildRunning, s.remotes()).Order("builds.id").
		Select("builds.id, builds.team_id, builds.worker, builds.number, builds.started_at, builds.timeout_seconds, apps.name AS app, apps.worker_labels AS labels").Find(&l.running).Error
	if err != nil {
		return nil, fmt.Errorf("reading the running builds: %w", err)
	}
	if err := s.readWaiting(tx, l, places); err != nil {
		return nil, err
	}
	if l.limits, err = s.teamLimits(tx); err != nil {
		return nil, err
	}
	l.findLost(s.Jobs.WorkerID(), &s.carried)
	return l, nil
}

// readWaiting reads the builds that may be next. Only queued ones may: a build
// that waits for anything else has a state of its own.
func (s *Service) readWaiting(tx *gorm.DB, l *line, places int) error {
	err := tx.Model(&models.Build{}).Where("state = ? AND builder NOT IN ?", models.BuildQueued, s.remotes()).Count(&l.total).Error
	if err != nil || l.total == 0 {
		return err
	}
	placed := tx.Session(&gorm.Session{NewDB: true}).Table("builds").Where("builds.state = ? AND builds.builder NOT IN ?", models.BuildQueued, s.remotes()).
		Joins("JOIN apps ON apps.id = builds.app_id").Joins("JOIN teams ON teams.id = builds.team_id").
		Select(`builds.id, builds.team_id, teams.slug AS team, builds.app_id, apps.name AS app, builds.number, builds."trigger", builds.queued_at,
			builds.front_at, apps.worker_labels AS labels, builds.builder,
			ROW_NUMBER() OVER (PARTITION BY builds.team_id, builds."trigger", builds.front_at IS NULL, apps.worker_labels, builds.builder ORDER BY builds.front_at DESC, builds.id) AS place`)
	if err := tx.Table("(?) AS placed", placed).Where("place <= ?", places).Order("id").Find(&l.waiting).Error; err != nil {
		return fmt.Errorf("reading the queued builds: %w", err)
	}
	return nil
}

// teamLimits returns how many builds the teams run at once.
func (s *Service) teamLimits(tx *gorm.DB) (map[string]int, error) {
	q := tx.Model(&models.Team{}).Select("id", "build_limit")
	if s.TeamBuilds == 0 {
		q = q.Where("build_limit > 0")
	}
	var teams []models.Team
	if err := q.Find(&teams).Error; err != nil {
		return nil, fmt.Errorf("reading the limits of teams: %w", err)
	}
	limits := make(map[string]int, len(teams))
	for _, t := range teams {
		limits[t.ID] = cmp.Or(t.BuildLimit, s.TeamBuilds)
	}
	return limits, nil
}

// findLost finds the running builds whose worker is dead, or is this one and does not know of them.
func (l *line) findLost(self string, mine *carried) {
	for _, b := range l.running {
		if b.Worker == self {
			if !mine.has(b.ID) {
				l.lost = append(l.lost, b)
			}
		} else if l.worker(b.Worker) == nil {
			l.lost = append(l.lost, b)
		}
	}
}

func (l *line) worker(id string) *models.Worker {
	i := slices.IndexFunc(l.workers, func(w models.Worker) bool { return w.ID == id })
	if i < 0 {
		return nil
	}
	return &l.workers[i]
}

// busy is how many builds the worker carries.
func (l *line) busy(workerID string) (n int) {
	for _, b := range l.running {
		if b.Worker == workerID {
			n++
		}
	}
	return n
}

// byTeam is how many builds of each team run.
func (l *line) byTeam() map[string]int {
	running := map[string]int{}
	for _, b := range l.running {
		running[b.TeamID]++
	}
	return running
}

// before tells whether a is taken before b, given how many builds of each team
// run: by class, then the team with the fewest running builds, then the older.
func (l *line) before(a, b *waiting, running map[string]int) bool {
	newer := func(x, y *time.Time) int {
		if x == nil || y == nil {
			return 0
		}
		return y.Compare(*x)
	}
	return cmp.Or(
		cmp.Compare(a.class(l.now), b.class(l.now)),
		newer(a.FrontAt, b.FrontAt),
		cmp.Compare(running[a.TeamID], running[b.TeamID]),
		cmp.Compare(a.ID, b.ID)) < 0
}

// full tells whether the team runs as many builds as it may.
func (l *line) full(team string, running map[string]int) bool {
	limit, limited := l.limits[team]
	return limited && running[team] >= limit
}

// obstacle is why a worker may not run a build now.
type obstacle int

const (
	nothing     obstacle = iota
	atTeamLimit          // the build's team runs as many as it may
	isDraining           // the worker takes nothing new
	lacksLabels          // the app asks for labels that the worker does not have
	isBusy               // the worker runs as many as it may
	lacksDisk            // the worker's disk is nearly full, and another worker's is not
)

// mayRun decides whether the worker may run the build now, given how many builds
// of each team run. This is the one place that decides it: what a worker or its
// engine lacks is asked here.
func (l *line) mayRun(w *models.Worker, b *waiting, running map[string]int) obstacle {
	if o := l.could(w, b); o != nothing {
		return o
	}
	switch {
	case l.full(b.TeamID, running):
		return atTeamLimit
	case l.busy(w.ID) >= w.Builds:
		return isBusy
	case w.Low() && l.roomElsewhere(w, b):
		return lacksDisk
	}
	return nothing
}

// could decides whether the worker may run the build once it has nothing else to do.
func (l *line) could(w *models.Worker, b *waiting) obstacle {
	switch {
	case !w.Labels.Has(b.Labels):
		return lacksLabels
	case w.Draining:
		return isDraining
	}
	return nothing
}

// roomElsewhere tells whether another worker could run the build and has the disk for it.
func (l *line) roomElsewhere(than *models.Worker, b *waiting) bool {
	return slices.ContainsFunc(l.workers, func(w models.Worker) bool {
		return w.ID != than.ID && l.could(&w, b) == nothing && !w.Low()
	})
}

// orphan is the first lost build that the worker may run, empty where there is none.
func (l *line) orphan(w *models.Worker) string {
	for _, b := range l.lost {
		if w.Labels.Has(b.Labels) {
			return b.ID
		}
	}
	return ""
}

// next is the build that the worker should take now, nil where it may take none.
func (l *line) next(w *models.Worker) *waiting {
	running := l.byTeam()
	var best *waiting
	for i := range l.waiting {
		b := &l.waiting[i]
		if (best == nil || l.before(b, best, running)) && l.mayRun(w, b, running) == nothing {
			best = b
		}
	}
	return best
}

// order is the order in which the builds will be taken, as far as it can be
// known: each that is taken counts for its team, and those that nobody may run
// now come last.
func (l *line) order() []*waiting {
	running := l.byTeam()
	teams := map[string][]*waiting{}
	var blocked []*waiting
	for i := range l.waiting {
		b := &l.waiting[i]
		if l.capable(b) == 0 {
			blocked = append(blocked, b)
			continue
		}
		teams[b.TeamID] = append(teams[b.TeamID], b)
	}
	for _, own := range teams {
		slices.SortFunc(own, func(a, b *waiting) int { return l.compare(a, b, running) })
	}
	var order []*waiting
	for {
		team := l.turnOf(teams, running)
		if team == "" {
			break
		}
		order = append(order, teams[team][0])
		teams[team] = teams[team][1:]
		running[team]++
	}
	for _, own := range teams {
		blocked = append(blocked, own...)
	}
	slices.SortFunc(blocked, func(a, b *waiting) int { return l.compare(a, b, nil) })
	return append(order, blocked...)
}

func (l *line) compare(a, b *waiting, running map[string]int) int {
	if l.before(a, b, running) {
		return -1
	}
	return 1
}

// turnOf is the team whose first build is next, empty where all are at their limit or done.
func (l *line) turnOf(teams map[string][]*waiting, running map[string]int) (next string) {
	for team, own := range teams {
		if len(own) == 0 || l.full(team, running) {
			continue
		}
		if next == "" || l.before(own[0], teams[next][0], running) {
			next = team
		}
	}
	return next
}

// capable is how many workers could run the build.
func (l *line) capable(b *waiting) (n int) {
	for i := range l.workers {
		if l.could(&l.workers[i], b) == nothing {
			n++
		}
	}
	return n
}
