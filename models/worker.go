package models

import (
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Worker is a process that takes jobs, when it last said so, and what it says
// of its machine. Sizes are bytes; those that can't be known are 0.
type Worker struct {
	ID            string `gorm:"primaryKey"`
	Host          string
	Version       string
	Builds        int    // builds at once
	Draining      bool   // takes nothing new
	Labels        Labels // what apps may ask for
	DiskFree      int64  // of the disk with the data folder
	DiskTotal     int64
	DiskFloor     int64 // below it no build begins
	EngineFree    int64 // of the disk with the Docker Engine's own folder
	EngineTotal   int64
	CacheSize     int64      // of the engine's build cache
	CachePrunable int64      // what pruning by the settings would free of it
	PruneAskedAt  *time.Time // when an admin asked for it last
	PrunedAt      *time.Time
	PrunedBytes   int64  // what the last pruning freed
	PruneError    string // why the last pruning failed, for people
	StartedAt     time.Time
	SeenAt        time.Time
}

// WorkerState is how a worker is.
type WorkerState string

// The states of a worker.
const (
	WorkerWorking  WorkerState = "working"
	WorkerDraining WorkerState = "draining" // takes nothing new and finishes what it has
	WorkerSilent   WorkerState = "silent"   // others take over what it had
)

// State tells how the worker is, given the time since which living workers have said something.
func (w *Worker) State(since time.Time) WorkerState {
	switch {
	case !w.SeenAt.After(since):
		return WorkerSilent
	case w.Draining:
		return WorkerDraining
	}
	return WorkerWorking
}

// Free is the smaller free space of the worker's disks, and whether any is known.
func (w *Worker) Free() (bytes int64, known bool) {
	switch {
	case w.DiskTotal == 0 && w.EngineTotal == 0:
		return 0, false
	case w.EngineTotal == 0:
		return w.DiskFree, true
	case w.DiskTotal == 0:
		return w.EngineFree, true
	}
	return min(w.DiskFree, w.EngineFree), true
}

// Low tells whether the worker has less free space than a build may begin with.
func (w *Worker) Low() bool {
	free, known := w.Free()
	return known && free < w.DiskFloor
}

// MaxLabels is how many labels a worker or an app may have.
const MaxLabels = 16

// Labels are names that workers have and apps ask for. They are stored sorted,
// without doubles, separated by commas.
type Labels []string

// NewLabels returns the labels in their stored order, or an Invalid error about the field.
func NewLabels(field string, names []string) (Labels, error) {
	var all Labels
	for _, name := range names {
		name = strings.TrimSpace(name)
		switch {
		case name == "":
			continue
		case !ValidName(name):
			return nil, InvalidField(field, "%q is not a label. %s", name, NameHelp)
		}
		all = append(all, name)
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) > MaxLabels {
		return nil, InvalidField(field, "At most %d labels, please.", MaxLabels)
	}
	return all, nil
}

// Has tells whether all of the others are among the labels.
func (l Labels) Has(others Labels) bool {
	return !slices.ContainsFunc(others, func(name string) bool { return !slices.Contains(l, name) })
}

// String lists the labels, separated by commas.
func (l Labels) String() string { return strings.Join(l, ",") }

// Value stores the labels.
func (l Labels) Value() (driver.Value, error) { return l.String(), nil }

// Scan reads stored labels.
func (l *Labels) Scan(stored any) error {
	var text string
	switch s := stored.(type) {
	case nil:
	case string:
		text = s
	case []byte:
		text = string(s)
	default:
		return fmt.Errorf("labels stored as %T", stored)
	}
	*l = nil
	if text != "" {
		*l = strings.Split(text, ",")
	}
	return nil
}
