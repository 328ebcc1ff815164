package registry

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/limits"
)

const (
	pullsEvery = time.Second      // how often pulls are written down
	pullsMost  = 5000             // different ones that wait for it; then the next pull writes them
	pullsBatch = 200              // in one transaction
	lastPulls  = 10 * time.Second // for the last ones, when the process ends
)

// pulls are those that are not written down yet. A pull answers at once and is
// counted in memory; once a second all of them become one transaction.
type pulls struct {
	mu      sync.Mutex
	waiting map[pullKey]*pulled
}

// pullKey is who pulled what, within an hour.
type pullKey struct {
	kind                    models.PrincipalKind
	actor, from             string
	repository, digest, tag string
	hour                    int64 // since 1970
}

// pulled is how often.
type pulled struct {
	times       int64
	first, last time.Time
	actor       models.Principal
	request     models.Request
}

// countPull remembers that the context's principal got the manifest, by the tag
// or, where that is empty, by its digest. What Slipway itself reads to show it to people is no pull.
func (s *Service) countPull(ctx context.Context, name, tag, digest string) error {
	p := models.PrincipalFrom(ctx)
	if p == nil || p.Kind == models.PrincipalSystem && p.ID == "" {
		return nil
	}
	now, request := s.DB.NowFunc(), models.RequestFrom(ctx)
	key := pullKey{p.Kind, cmp.Or(p.UserID, p.ID), request.IP, name, digest, tag, now.Unix() / 3600}
	if p.Kind == models.PrincipalAnonymous {
		key.from = limits.Peer(request.IP)
	}
	if s.pulls.add(key, pulled{1, now, now, *p, request}) < pullsMost {
		return nil
	}
	return s.FlushPulls(ctx)
}

// add counts and returns how many different pulls wait.
func (w *pulls) add(key pullKey, p pulled) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting == nil {
		w.waiting = map[pullKey]*pulled{}
	}
	if have, ok := w.waiting[key]; ok {
		have.times += p.times
		if p.first.Before(have.first) {
			have.first = p.first
		}
		if p.last.After(have.last) {
			have.last = p.last
		}
	} else {
		w.waiting[key] = &p
	}
	return len(w.waiting)
}

// take empties what waits.
func (w *pulls) take() map[pullKey]*pulled {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.waiting
	w.waiting = nil
	return out
}

// RunPulls writes pulls down every second until ctx ends, and then the last ones.
func (s *Service) RunPulls(ctx context.Context) {
	tick := time.NewTicker(pullsEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			s.flushOrWarn(ctx)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastPulls)
	defer cancel()
	s.flushOrWarn(ctx)
}

func (s *Service) flushOrWarn(ctx context.Context) {
	if err := s.FlushPulls(ctx); err != nil && ctx.Err() == nil {
		slog.WarnContext(ctx, "pulls of images are written down later", "error", err)
	}
}

// FlushPulls writes down the pulls that wait. What can't be written waits for the next time.
func (s *Service) FlushPulls(ctx context.Context) error {
	waiting := s.pulls.take()
	keys := make([]pullKey, 0, len(waiting))
	for k := range waiting {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b pullKey) int { // everyone locks in the same order
		return cmp.Or(strings.Compare(a.repository, b.repository), strings.Compare(a.digest, b.digest), strings.Compare(a.merge(), b.merge()))
	})
	for len(keys) > 0 {
		batch := keys[:min(pullsBatch, len(keys))]
		if err := s.writePulls(ctx, batch, waiting); err != nil {
			for _, k := range keys {
				s.pulls.add(k, *waiting[k])
			}
			return err
		}
		keys = keys[len(batch):]
	}
	return nil
}

func (s *Service) writePulls(ctx context.Context, keys []pullKey, all map[pullKey]*pulled) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		teams, err := teamsOf(tx, keys)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if err := writePull(tx, teams[k.repository], k, *all[k]); err != nil {
				return err
			}
		}
		return nil
	})
}

// teamsOf returns the team of each repository.
func teamsOf(tx *gorm.DB, keys []pullKey) (map[string]string, error) {
	var names []string
	for _, k := range keys {
		names = append(names, k.repository)
	}
	var rows []models.RegistryRepository
	if err := tx.Select("name", "team_id").Where("name IN ?", slices.Compact(names)).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading the teams of what was pulled: %w", err)
	}
	out := map[string]string{}
	for _, r := range rows {
		out[r.Name] = r.TeamID
	}
	return out, nil
}

// merge is what makes two pulls the same.
func (k pullKey) merge() string {
	return strings.Join([]string{"image.pull", string(k.kind), k.actor, k.from, k.repository, k.digest, k.tag}, " ")
}

func writePull(tx *gorm.DB, teamID string, k pullKey, p pulled) error {
	name := k.repository + "@" + k.digest
	if k.tag != "" {
		name = k.repository + ":" + k.tag
	}
	err := audit.RecordOften(tx, audit.Often{
		Entry: audit.Entry{TeamID: teamID, Action: "image.pull", Subject: "image:" + k.repository, Name: name,
			Detail: map[string]string{"digest": k.digest, "tag": k.tag}},
		Actor: p.actor, Request: p.request, Key: k.merge(), Times: p.times, First: p.first, Last: p.last,
	})
	if err != nil {
		return err
	}
	row := models.RegistryPulls{Repository: k.repository, Digest: k.digest, Pulls: p.times, LastAt: p.last, LastBy: p.actor.Name}
	return tx.Clauses(clause.OnConflict{
		Columns: []clause.Column{{Name: "repository"}, {Name: "digest"}},
		DoUpdates: clause.Assignments(map[string]any{
			"pulls": gorm.Expr("registry_pulls.pulls + excluded.pulls"), "last_at": p.last, "last_by": p.actor.Name,
		}),
	}).Create(&row).Error
}
