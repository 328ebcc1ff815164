// Package catalog knows what there is: teams and their members, the repositories that they register, and the apps in
// them. It reads repositories in the background and offers an app for every Dockerfile that it finds.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
	"slipway.dev/services/git"
	"slipway.dev/services/jobs"
	"slipway.dev/services/registries"
	"slipway.dev/services/secrets"
)

// Service holds the rules of the catalog. Every method that takes a context from a request authorizes its principal.
type Service struct {
	DB      *gorm.DB
	Git     *git.Service
	Secrets *secrets.Box
	Jobs    *jobs.Queue
	// Registries are the external ones that apps' images may go to; nil: none.
	Registries *registries.Service
	// Unload, where set, takes part in the transaction that deletes an app and has what runs of it stopped. Without it
	// an app that runs can't be deleted.
	Unload func(ctx context.Context, tx *gorm.DB, app *models.App) error
}

// Register names the catalog's work to the queue; without it no repository can be registered.
func (s *Service) Register(q *jobs.Queue) {
	jobs.Register(q, s.fetch)
	q.Every(sweepEvery, "removing the mirrors of deleted repositories", s.sweep)
}

// change is what a state change leaves behind beside the change itself.
type change struct {
	team    string
	action  string // of the audit entry and the event: repository.register
	subject string // the event's topic too: repository:ID
	parent  string
	name    string
	detail  map[string]string
}

// commit runs the work with its audit entry and its event in one transaction.
func (s *Service) commit(ctx context.Context, c change, work func(tx *gorm.DB) error) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := work(tx); err != nil {
			return err
		}
		return record(ctx, tx, c)
	})
}

func record(ctx context.Context, tx *gorm.DB, c change) error {
	err := audit.Record(ctx, tx, audit.Entry{TeamID: c.team, Action: c.action, Subject: c.subject, Name: c.name, Detail: c.detail})
	if err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: c.team, Kind: c.action, Topic: c.subject, Parent: c.parent})
}

// visible narrows a query to the teams that the principal belongs to; an admin sees all.
func visible(ctx context.Context, q *gorm.DB, column string) (*gorm.DB, error) {
	p := models.PrincipalFrom(ctx)
	if p == nil {
		return nil, models.Errorf(models.Unauthorized, "Sign in first.")
	}
	if !p.HasScope(models.ScopeRead) {
		return nil, models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", models.ScopeRead)
	}
	if ids, all := p.TeamIDs(); !all {
		q = q.Where(column+" IN ?", ids)
	}
	return q, nil
}

// inTeam narrows a query to one team, by slug, that the principal must belong to.
func (s *Service) inTeam(ctx context.Context, q *gorm.DB, column, slug string) (*gorm.DB, error) {
	if slug == "" {
		return q, nil
	}
	team, err := s.team(ctx, slug, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	return q.Where(column+" = ?", team.ID), nil
}

// taken turns a broken uniqueness into a conflict about the field.
func taken(err error, field, format string, args ...any) error {
	if !errors.Is(err, gorm.ErrDuplicatedKey) {
		return err
	}
	message := fmt.Sprintf(format, args...)
	return &models.Error{Code: models.Conflict, Message: message, Fields: map[string]string{field: message}}
}

// faults collects what is wrong with the fields of an input.
type faults map[string]string

func (f faults) add(field, format string, args ...any) {
	if _, told := f[field]; !told {
		f[field] = fmt.Sprintf(format, args...)
	}
}

// take adds the fields of an Invalid error; any other error is returned.
func (f faults) take(err error) error {
	var told *models.Error
	if err == nil || !errors.As(err, &told) || told.Code != models.Invalid {
		return err
	}
	maps.Copy(f, told.Fields)
	return nil
}

func (f faults) err() error { return models.InvalidFields(f) }
