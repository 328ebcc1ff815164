package catalog

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/events"
	"slipway.dev/services/git"
)

// sweepEvery is how often a worker removes mirrors that no repository has any more.
const sweepEvery = time.Hour

// refBatch is how many refs one INSERT holds, below the databases' limits of parameters.
const refBatch = 100

// fetchArgs asks for a repository to be read.
type fetchArgs struct {
	RepositoryID string `json:"repository_id"`
}

// Kind names the work.
func (fetchArgs) Kind() string { return "repository.fetch" }

// fetch reads a repository in the background. What a person can do something about is stored with the repository; only
// a fault of Slipway's own, or a worker that stops, makes the job run again.
func (s *Service) fetch(ctx context.Context, args fetchArgs) error {
	started := s.DB.WithContext(ctx).Model(&models.Repository{}).Where("id = ?", args.RepositoryID).
		Updates(map[string]any{"state": models.RepositoryFetching, "updated_at": s.DB.NowFunc()})
	if started.Error != nil || started.RowsAffected == 0 {
		return started.Error
	}
	err := s.Refresh(ctx, args.RepositoryID)
	var told *models.Error
	if errors.As(err, &told) && ctx.Err() == nil {
		return nil
	}
	return err
}

// Refresh reads a repository now, on this machine, and stores what it finds: branches, tags, Dockerfiles, or why it
// could not be read, which is returned too. It is for the work of builds and asks for no principal.
func (s *Service) Refresh(ctx context.Context, id string) error {
	var r models.Repository
	if err := s.DB.WithContext(ctx).Where("id = ?", id).Take(&r).Error; err != nil {
		return models.FromDB(err, "repository")
	}
	url := r.CloneURL
	found, err := s.read(ctx, &r)
	if err != nil {
		return errors.Join(err, s.failed(ctx, &r, err))
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return found.store(tx, &r, url) })
}

// found is what a fetch brings to store.
type found struct {
	refs        []models.Ref
	dockerfiles []models.DetectedDockerfile
}

// read fetches the repository and looks through its default branch; it fills in what the row learns from that.
func (s *Service) read(ctx context.Context, r *models.Repository) (*found, error) {
	remote, err := s.Remote(ctx, r)
	if err != nil {
		return nil, err
	}
	fetched, err := s.Git.Fetch(ctx, r.ID, remote)
	if err != nil {
		return nil, err
	}
	refs, err := s.Git.Refs(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	if err := chooseBranch(r, fetched.DefaultBranch); err != nil {
		return nil, err
	}
	found := &found{refs: refs}
	if head := branch(refs, r.DefaultBranch); head != nil {
		found.dockerfiles, err = s.detect(ctx, r, head.Commit)
	}
	now := s.DB.NowFunc()
	r.HostKey, r.FetchedAt, r.State, r.Error = fetched.HostKey, &now, models.RepositoryReady, ""
	return found, err
}

// chooseBranch takes over the default branch that the fetch has found. A name that was set by hand and never existed
// is a fault that its person should hear about; one that went away later is not.
func chooseBranch(r *models.Repository, fetched string) error {
	if r.DefaultBranch != "" && r.DefaultBranch != fetched && r.FetchedAt == nil && fetched != "" {
		return models.InvalidField("default_branch", "The repository has no branch %q. Its own default branch is %q.", r.DefaultBranch, fetched)
	}
	r.DefaultBranch = fetched
	return nil
}

func branch(refs []models.Ref, name string) *models.Ref {
	i := slices.IndexFunc(refs, func(r models.Ref) bool { return r.Kind == models.RefBranch && r.Name == name })
	if i < 0 {
		return nil
	}
	return &refs[i]
}

// store replaces what was known. A repository that got another address in the meantime, or is gone, is left alone: the
// fetch of the new address is queued.
func (f *found) store(tx *gorm.DB, r *models.Repository, url string) error {
	kept := tx.Model(&models.Repository{}).Where("id = ? AND clone_url = ?", r.ID, url).Updates(map[string]any{
		"default_branch": r.DefaultBranch, "host_key": r.HostKey, "fetched_at": r.FetchedAt, "state": r.State, "error": "", "updated_at": *r.FetchedAt,
	})
	if kept.Error != nil || kept.RowsAffected == 0 {
		return kept.Error
	}
	for _, old := range []any{&models.Ref{}, &models.DetectedDockerfile{}} {
		if err := tx.Where("repository_id = ?", r.ID).Delete(old).Error; err != nil {
			return err
		}
	}
	if len(f.refs) > 0 {
		if err := tx.CreateInBatches(f.refs, refBatch).Error; err != nil {
			return err
		}
	}
	if len(f.dockerfiles) > 0 {
		if err := tx.CreateInBatches(f.dockerfiles, refBatch).Error; err != nil {
			return err
		}
	}
	return events.Publish(tx, repositoryEvent(r, "repository.ready"))
}

// failed stores why a repository could not be read; a worker that is told to stop stores nothing.
func (s *Service) failed(ctx context.Context, r *models.Repository, cause error) error {
	var told *models.Error
	if ctx.Err() != nil || !errors.As(cause, &told) {
		return nil
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		row := tx.Model(&models.Repository{}).Where("id = ? AND clone_url = ?", r.ID, r.CloneURL).
			Updates(map[string]any{"state": models.RepositoryFailed, "error": sentence(told), "updated_at": tx.NowFunc()})
		if row.Error != nil || row.RowsAffected == 0 {
			return row.Error
		}
		return events.Publish(tx, repositoryEvent(r, "repository.failed"))
	})
}

// sentence is an error's message for people, or what it says about its one field.
func sentence(e *models.Error) string {
	if len(e.Fields) == 1 {
		for _, message := range e.Fields {
			return message
		}
	}
	return e.Message
}

func repositoryEvent(r *models.Repository, kind string) models.Event {
	return models.Event{TeamID: r.TeamID, Kind: kind, Topic: "repository:" + r.ID, Parent: "team:" + r.TeamID}
}

// sweep removes the mirrors of repositories that were deleted elsewhere.
func (s *Service) sweep(ctx context.Context) error {
	ids, err := s.Git.Mirrors()
	if err != nil || len(ids) == 0 {
		return err
	}
	var known []string
	if err := s.DB.WithContext(ctx).Model(&models.Repository{}).Where("id IN ?", ids).Pluck("id", &known).Error; err != nil {
		return err
	}
	for _, id := range ids {
		if slices.Contains(known, id) {
			continue
		}
		if err := s.Git.Remove(id); err != nil {
			slog.WarnContext(ctx, "a mirror could not be removed", "repository", id, "error", err)
		}
	}
	return nil
}

// Commits lists what a commit adds to another one, newest first; see git.Service.Log. Viewers may.
func (s *Service) Commits(ctx context.Context, repositoryID, from, to string, limit int) ([]git.Commit, bool, error) {
	if _, err := s.repository(ctx, repositoryID, models.RoleViewer); err != nil {
		return nil, false, err
	}
	return s.Git.Log(ctx, repositoryID, from, to, limit)
}
