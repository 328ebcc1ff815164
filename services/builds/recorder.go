package builds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/events"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
)

const (
	stepsEvery  = 250 * time.Millisecond // between two writes of steps
	eventsEvery = 500 * time.Millisecond // between two events about them
	maxSteps    = 1000
	maxInputs   = 100 // of one step
	maxWarnings = 50
	maxFindings = 200
)

// recorder turns a builder's events into rows, log lines and events, some times a second at most.
type recorder struct {
	svc  *Service
	b    *models.Build
	log  *logs.Writer
	mask *logs.Masker
	quit chan struct{}
	done chan struct{}

	mu      sync.Mutex
	steps   map[string]*step
	dirty   map[string]bool
	warn    []string
	file    *models.BuildDockerfile // that is not stored yet
	told    time.Time               // when the last event was published
	untold  bool
	stopped bool
}

type step struct {
	models.BuildStep
	began   time.Time // of the interval that is open
	spent   time.Duration
	clipped bool
}

func newRecorder(s *Service, b *models.Build, log *logs.Writer, mask *logs.Masker) *recorder {
	r := &recorder{svc: s, b: b, log: log, mask: mask, quit: make(chan struct{}), done: make(chan struct{}), steps: map[string]*step{}, dirty: map[string]bool{}}
	go r.run()
	return r
}

// emit takes an event of the builder. It never waits for the database.
func (r *recorder) emit(e Event) {
	if len(e.Output) > 0 {
		r.log.Write(e.Step, e.Stream, e.At, e.Output)
		r.clipping(e)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Warning != "" {
		r.addWarning(e.Warning)
	}
	if e.File != nil {
		r.file = r.shownFile(e.File)
	}
	if e.State != "" && !r.stopped {
		r.change(e)
	}
}

// shownFile is the Dockerfile as the build keeps it, secrets masked.
func (r *recorder) shownFile(f *models.BuildDockerfile) *models.BuildDockerfile {
	kept := models.BuildDockerfile{BuildID: r.b.ID, Path: f.Path, Text: r.mask.Mask(f.Text)}
	for _, finding := range f.Findings[:min(len(f.Findings), maxFindings)] {
		finding.Message = r.shown(finding.Message, 500)
		kept.Findings = append(kept.Findings, finding)
	}
	return &kept
}

func (r *recorder) change(e Event) {
	s := r.steps[e.Step]
	if s == nil {
		if len(r.steps) == maxSteps {
			return
		}
		s = &step{BuildStep: models.BuildStep{BuildID: r.b.ID, ID: e.Step, Seq: len(r.steps) + 1, State: models.StepPending}}
		r.steps[e.Step] = s
	}
	if e.Name != "" {
		s.Name, s.Stage, s.Line = r.shown(e.Name, 500), r.shown(e.Stage, 100), e.Line
	}
	if len(e.Inputs) > 0 {
		s.Inputs = e.Inputs[:min(len(e.Inputs), maxInputs)]
	}
	at := e.At.UTC().Truncate(time.Microsecond)
	switch e.State {
	case models.StepPending:
	case models.StepRunning:
		s.begin(at, r.log)
	default:
		s.end(e, at, r.shown(e.Error, 2000), r.log)
	}
	r.dirty[e.Step] = true
}

func (s *step) begin(at time.Time, log *logs.Writer) {
	if s.StartedAt == nil {
		s.StartedAt = &at
		if !internal(s.Name) {
			log.Print(s.ID, "%s", s.Name)
		}
	}
	s.began, s.State, s.FinishedAt = at, models.StepRunning, nil
}

func (s *step) end(e Event, at time.Time, failure string, log *logs.Writer) {
	if !s.began.IsZero() {
		s.spent += max(at.Sub(s.began), 0)
		s.began = time.Time{}
	}
	s.DurationMS = s.spent.Milliseconds()
	s.FinishedAt, s.State, s.Error = &at, e.State, failure
	s.Cached = e.State == models.StepCached
	log.EndStep(s.ID)
	switch {
	case internal(s.Name):
	case s.Cached:
		log.Print(s.ID, "CACHED")
	default:
		log.Print(s.ID, "%s %.1fs", map[models.StepState]string{
			models.StepSucceeded: "DONE", models.StepFailed: "FAILED", models.StepCanceled: "CANCELED"}[e.State], s.spent.Seconds())
	}
}

// internal tells the engine's own small steps, which need no lines in the log.
func internal(name string) bool { return strings.HasPrefix(name, "[internal]") }

// shown makes a text of the build fit for a column: masked, one line, not too long.
func (r *recorder) shown(text string, limit int) string {
	text = strings.ToValidUTF8(strings.ReplaceAll(r.mask.Mask(text), "\x00", ""), "\uFFFD")
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return text
}

// clipping warns where the engine left out output. Its limit is its own
// setting and can't be changed from here.
func (r *recorder) clipping(e Event) {
	if !strings.Contains(string(e.Output), "[output clipped, log limit") {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.steps[e.Step]; s != nil && !s.clipped {
		s.clipped = true
		r.addWarning(fmt.Sprintf("“%s” printed more than the engine passes on, so its log has gaps.", s.Name))
	}
}

func (r *recorder) addWarning(text string) {
	text = r.shown(text, 500)
	if len(r.warn) < maxWarnings && !slices.Contains(r.warn, text) {
		r.warn = append(r.warn, text)
	}
}

func (r *recorder) warnings() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.warn)
}

// lastRunning returns the id of the step that began last of those that ran when the recorder was stopped.
func (r *recorder) lastRunning() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var last *step
	for _, s := range r.steps {
		if s.StartedAt != nil && (last == nil || s.rank() > last.rank() || s.rank() == last.rank() && s.StartedAt.After(*last.StartedAt)) {
			last = s
		}
	}
	if last == nil {
		return ""
	}
	return last.ID
}

// rank orders steps by how likely a build hung in them.
func (s *step) rank() int {
	return map[models.StepState]int{models.StepRunning: 2, models.StepCanceled: 1, models.StepFailed: 1}[s.State]
}

func (r *recorder) run() {
	defer close(r.done)
	tick := time.NewTicker(stepsEvery)
	defer tick.Stop()
	for {
		select {
		case <-r.quit:
			return
		case <-tick.C:
			ctx, cancel := context.WithTimeout(context.Background(), lastWords)
			if err := r.flush(ctx); err != nil {
				slog.Warn("the steps of a build can't be stored just now", "build", r.b.ID, "error", err)
			}
			cancel()
		}
	}
}

// flush stores the steps that changed while this worker holds the build.
func (r *recorder) flush(ctx context.Context) error {
	r.mu.Lock()
	idle := len(r.dirty) == 0 && !r.untold && r.file == nil
	r.mu.Unlock()
	if idle {
		return nil
	}
	err := r.svc.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		held := r.svc.Jobs.Held(tx.Model(&models.Build{}), r.b.ID).Update("worker", r.svc.Jobs.WorkerID())
		if held.Error != nil {
			return held.Error
		}
		if held.RowsAffected == 0 {
			return jobs.ErrTaken
		}
		if err := r.write(tx); err != nil {
			return err
		}
		return r.tell(tx)
	})
	if errors.Is(err, jobs.ErrTaken) {
		return nil // the work's context ends in a moment
	}
	return err
}

// writeAll stores all steps in tx, also those that a transaction wrote which may not have committed.
func (r *recorder) writeAll(tx *gorm.DB) error {
	r.mu.Lock()
	for id := range r.steps {
		r.dirty[id] = true
	}
	r.mu.Unlock()
	return r.write(tx)
}

// write stores the changed steps in tx, and the Dockerfile.
func (r *recorder) write(tx *gorm.DB) error {
	if err := r.writeFile(tx); err != nil {
		return err
	}
	rows := r.changed()
	if len(rows) == 0 {
		return nil
	}
	if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).CreateInBatches(&rows, 100).Error; err != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, s := range rows {
			r.dirty[s.ID] = true
		}
		return fmt.Errorf("storing the steps of a build: %w", err)
	}
	return nil
}

func (r *recorder) writeFile(tx *gorm.DB) error {
	r.mu.Lock()
	file := r.file
	r.mu.Unlock()
	if file == nil {
		return nil
	}
	if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(file).Error; err != nil {
		return fmt.Errorf("storing the Dockerfile of a build: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == file {
		r.file = nil
	}
	return nil
}

func (r *recorder) changed() (rows []models.BuildStep) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.dirty {
		rows = append(rows, r.steps[id].BuildStep)
	}
	r.untold = r.untold || len(rows) > 0
	clear(r.dirty)
	return rows
}

// tell publishes that steps changed, unless it was said a moment ago.
func (r *recorder) tell(tx *gorm.DB) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.untold || time.Since(r.told) < eventsEvery {
		return nil
	}
	r.untold, r.told = false, time.Now()
	return events.Publish(tx, event(r.b, "build.step"))
}

// stop ends the regular writes and gives steps that are still open an end.
func (r *recorder) stop(ctx context.Context, open models.StepState) {
	close(r.quit)
	<-r.done
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
	now := r.svc.DB.NowFunc()
	for id, s := range r.steps {
		switch s.State {
		case models.StepRunning:
			s.end(Event{State: open}, now, "", r.log)
		case models.StepPending:
			s.State = models.StepCanceled
		default:
			continue
		}
		r.dirty[id] = true
	}
}
