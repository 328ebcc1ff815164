package proxy

import (
	"context"
	"net/http"
	"sync/atomic"

	"slipway.dev/models"
)

// tally counts how a version answers, for whoever moves visitors to it, or from it.
type tally struct {
	beside  string // the deployment to which visitors move; empty: to none. Run's goroutine alone knows it
	written models.Tally
	answers atomic.Int64
	errors  atomic.Int64
}

// add counts an answer with the status.
func (t *tally) add(status int) {
	t.answers.Add(1)
	if status >= http.StatusInternalServerError {
		t.errors.Add(1)
	}
}

// since begins anew where visitors move to another deployment than before.
func (t *tally) since(beside string) {
	if t.beside == beside {
		return
	}
	t.beside, t.written = beside, models.Tally{Answers: -1} // what was written of the time before has to go
	t.errors.Store(0)                                       // first, so that there are never more errors than answers
	t.answers.Store(0)
}

func (t *tally) sum() models.Tally {
	errors := t.errors.Load()
	return models.Tally{Answers: t.answers.Load(), Errors: errors}
}

// report writes how the versions answer between which visitors are divided.
func (s *Service) report(ctx context.Context) error {
	for b := range s.open {
		now := b.tally.sum()
		if b.tally.beside == "" || b.draining.Load() || now == b.tally.written {
			continue
		}
		err := s.DB.WithContext(ctx).Model(&models.ProxyHold{}).Where("proxy_id = ? AND deployment_id = ?", s.self.ID, b.deployment).
			Updates(map[string]any{"answers": now.Answers, "errors": now.Errors}).Error
		if err != nil {
			return err
		}
		b.tally.written = now
	}
	return nil
}
