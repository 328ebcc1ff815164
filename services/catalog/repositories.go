package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/git"
	"slipway.dev/services/jobs"
)

// NewRepository is what registers a repository.
type NewRepository struct {
	Team          string     `json:"team" form:"team" doc:"Slug of the team that will own it."`
	Name          string     `json:"name,omitempty" form:"name" doc:"Name in the team; taken from the address where empty."`
	CloneURL      string     `json:"clone_url" form:"clone_url" doc:"https://, http://, ssh:// or user@host:path; the path of a folder where an administrator allows it."`
	DefaultBranch string     `json:"default_branch,omitempty" form:"default_branch" doc:"The remote's own where empty."`
	Credential    Credential `json:"credential,omitzero"`
	ConnectionID  *string    `json:"connection_id,omitempty" form:"connection_id" doc:"The team's connection to the forge. Absent: the one with the address's host, where there is exactly one; empty: none."`
}

// UpdateRepository is what may change of a repository; what is absent stays as it is.
type UpdateRepository struct {
	Name          *string    `json:"name,omitempty" form:"name"`
	CloneURL      *string    `json:"clone_url,omitempty" form:"clone_url" doc:"Another host or port needs its credential given again."`
	DefaultBranch *string    `json:"default_branch,omitempty" form:"default_branch" doc:"Empty: the remote's own."`
	Credential    Credential `json:"credential,omitzero" doc:"Absent: stays as it is."`
	ConnectionID  *string    `json:"connection_id,omitempty" form:"connection_id" doc:"The team's connection to the forge; empty: none."`
	ForgetHostKey bool       `json:"forget_host_key,omitempty" form:"forget_host_key" doc:"Take the SSH host key that the server shows at the next fetch."`
}

// RepositoryFilter narrows the list of repositories.
type RepositoryFilter struct {
	models.Page
	Team string `query:"team" form:"team" doc:"Slug of a team."`
}

// CheckRepository is a repository to look at before it is registered.
type CheckRepository struct {
	Team       string     `json:"team" form:"team"`
	CloneURL   string     `json:"clone_url" form:"clone_url"`
	Credential Credential `json:"credential,omitzero"`
}

// Checked is what the look at a repository shows.
type Checked struct {
	Name          string // proposed
	DefaultBranch string // empty: the repository has no commit yet
	Branches      []string
	Tags          []string
}

// Repositories lists the repositories of the principal's teams with their teams, newest first.
func (s *Service) Repositories(ctx context.Context, f RepositoryFilter) (models.List[models.Repository], error) {
	q, err := visible(ctx, s.DB.WithContext(ctx).Preload("Team"), "repositories.team_id")
	if err == nil {
		q, err = s.inTeam(ctx, q, "repositories.team_id", f.Team)
	}
	if err != nil {
		return models.List[models.Repository]{}, err
	}
	return models.Newest(q, f.Page, "repositories.id", func(r models.Repository) string { return r.ID })
}

// Repository returns a repository with its team, its branches and tags (newest commit first), and the Dockerfiles that
// were found in it.
func (s *Service) Repository(ctx context.Context, id string) (*models.Repository, error) {
	r, err := s.repository(ctx, id, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	newest := func(q *gorm.DB) *gorm.DB { return q.Order("committed_at DESC, kind, name") }
	shown := func(q *gorm.DB) *gorm.DB { return q.Omit("secrets", "webhook_secret") }
	byPath := func(q *gorm.DB) *gorm.DB { return q.Order("path") }
	err = s.DB.WithContext(ctx).Preload("Team").Preload("Connection", shown).Preload("Refs", newest).Preload("DetectedDockerfiles", byPath).Take(r).Error
	return r, models.FromDB(err, "repository")
}

// Refs returns the branches and tags of a repository as its last fetch saw them, newest commit first.
func (s *Service) Refs(ctx context.Context, id string) ([]models.Ref, error) {
	if _, err := s.repository(ctx, id, models.RoleViewer); err != nil {
		return nil, err
	}
	var refs []models.Ref
	err := s.DB.WithContext(ctx).Where("repository_id = ?", id).Order("committed_at DESC, kind, name").Find(&refs).Error
	return refs, err
}

func (s *Service) repository(ctx context.Context, id string, role models.Role) (*models.Repository, error) {
	var r models.Repository
	if err := s.DB.WithContext(ctx).Where("id = ?", id).Take(&r).Error; err != nil {
		return nil, models.FromDB(err, "repository")
	}
	if err := models.Authorize(ctx, r.TeamID, role, "repository"); err != nil {
		return nil, err
	}
	return &r, nil
}

// CheckRepository looks at a repository without registering it; a team's maintainers may. What can't be read is an
// error that says why, in git's words and ours.
func (s *Service) CheckRepository(ctx context.Context, in CheckRepository) (*Checked, error) {
	if _, err := s.team(ctx, in.Team, models.RoleMaintainer); err != nil {
		return nil, err
	}
	r := &models.Repository{ID: models.NewID(), CloneURL: strings.TrimSpace(in.CloneURL)}
	address, err := parseAddress(ctx, r.CloneURL)
	if err != nil {
		return nil, err
	}
	if err := s.setCredential(r, address, in.Credential); err != nil {
		return nil, err
	}
	remote, err := s.Remote(ctx, r)
	if err != nil {
		return nil, err
	}
	probe, err := s.Git.Check(ctx, remote)
	if err != nil {
		return nil, atInput(err, r.CredentialKind)
	}
	return &Checked{Name: label(address.Name()), DefaultBranch: probe.DefaultBranch, Branches: probe.Branches, Tags: probe.Tags}, nil
}

// atInput moves git's word about the credential to the field in which a person would correct it.
func atInput(err error, kind models.CredentialKind) error {
	var told *models.Error
	if !errors.As(err, &told) || told.Fields["credential"] == "" {
		return err
	}
	field := map[models.CredentialKind]string{models.CredentialToken: "credential_token", models.CredentialSSH: "credential_private_key"}[kind]
	if field == "" {
		field = "credential_kind"
	}
	return &models.Error{Code: told.Code, Message: told.Message, Fields: map[string]string{field: told.Fields["credential"]}, Err: told.Err}
}

// parseAddress checks the form of a clone URL, and that only an admin names a folder of this machine.
func parseAddress(ctx context.Context, raw string) (git.Address, error) {
	address, err := git.ParseAddress(raw)
	if err != nil {
		return address, err
	}
	if address.Scheme == git.Local && models.AuthorizeAdmin(ctx) != nil {
		return address, models.Errorf(models.Denied, "Only a site admin can register a folder of Slipway's own machine.")
	}
	return address, nil
}

// RegisterRepository registers a repository for a team, whose maintainers may, and has it read in the background.
func (s *Service) RegisterRepository(ctx context.Context, in NewRepository) (*models.Repository, error) {
	team, err := s.team(ctx, in.Team, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	r := &models.Repository{ID: models.NewID(), TeamID: team.ID, Name: strings.TrimSpace(in.Name), CloneURL: strings.TrimSpace(in.CloneURL),
		DefaultBranch: strings.TrimSpace(in.DefaultBranch), State: models.RepositoryPending}
	if p := models.PrincipalFrom(ctx); p != nil {
		r.CreatedBy = p.UserID
	}
	address, err := parseAddress(ctx, r.CloneURL)
	if r.Name == "" {
		r.Name = label(address.Name())
	}
	wrong := checkRepository(r)
	if err != nil && in.Name == "" {
		delete(wrong, "name") // it would have come from the address
	}
	if err := wrong.take(err); err != nil {
		return nil, err
	}
	if err == nil {
		r.CloneURL = address.String()
		if err := wrong.take(s.setCredential(r, address, in.Credential)); err != nil {
			return nil, err
		}
		if err := wrong.take(s.connect(ctx, r, address, in.ConnectionID)); err != nil {
			return nil, err
		}
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	err = s.commit(ctx, repositoryChange(r, "repository.register"), func(tx *gorm.DB) error {
		if err := tx.Create(r).Error; err != nil {
			return taken(err, "name", "The team has a repository named %q already. Give this one another name.", r.Name)
		}
		return s.Jobs.Insert(ctx, tx, jobs.QueueDefault, fetchArgs{RepositoryID: r.ID})
	})
	if err != nil {
		return nil, err
	}
	r.Team = team
	return r, nil
}

func checkRepository(r *models.Repository) faults {
	wrong := faults{}
	if !models.ValidName(r.Name) {
		wrong.add("name", models.NameHelp)
	}
	if r.DefaultBranch != "" && !git.ValidRef(r.DefaultBranch) {
		wrong.add("default_branch", "%q is not the name of a branch.", r.DefaultBranch)
	}
	return wrong
}

// UpdateRepository changes a repository and has it read again; its team's maintainers may. An address on another host
// needs its credential given anew, for whoever may edit the address must not learn the secret.
func (s *Service) UpdateRepository(ctx context.Context, id string, in UpdateRepository) (*models.Repository, error) {
	r, err := s.repository(ctx, id, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	wrong, err := s.edit(ctx, r, in)
	if err == nil {
		err = wrong.err()
	}
	if err != nil {
		return nil, err
	}
	r.State = models.RepositoryPending
	err = s.commit(ctx, repositoryChange(r, "repository.update"), func(tx *gorm.DB) error {
		if err := tx.Select("name", "clone_url", "default_branch", "credential_kind", "credential_user", "credential_secret",
			"credential_public", "host_key", "connection_id", "external_id", "state", "updated_at").Updates(r).Error; err != nil {
			return taken(err, "name", "The team has a repository named %q already. Give this one another name.", r.Name)
		}
		return s.Jobs.Insert(ctx, tx, jobs.QueueDefault, fetchArgs{RepositoryID: r.ID})
	})
	if err != nil {
		return nil, err
	}
	return s.Repository(ctx, id)
}

func (s *Service) edit(ctx context.Context, r *models.Repository, in UpdateRepository) (faults, error) {
	before, err := git.ParseAddress(r.CloneURL)
	if err != nil {
		return nil, err
	}
	set(&r.Name, in.Name)
	set(&r.CloneURL, in.CloneURL)
	set(&r.DefaultBranch, in.DefaultBranch)
	wrong := checkRepository(r)
	address := before
	if r.CloneURL != before.String() {
		if address, err = parseAddress(ctx, r.CloneURL); err != nil {
			return wrong, wrong.take(err)
		}
		r.CloneURL = address.String()
	}
	moved := !address.SameHost(before)
	if moved || in.ForgetHostKey {
		r.HostKey = ""
	}
	if err := wrong.take(s.reconnect(ctx, r, before, address, in.ConnectionID)); err != nil {
		return wrong, err
	}
	switch {
	case in.Credential.given():
		return wrong, wrong.take(s.setCredential(r, address, in.Credential))
	case moved && r.CredentialKind != models.CredentialNone:
		wrong.add("credential_kind", "The address names another host: give its credential too. The old one is not sent there.")
	case moved:
		return wrong, wrong.take(s.setCredential(r, address, Credential{}))
	}
	return wrong, nil
}

func set(field, value *string) {
	if value != nil {
		*field = strings.TrimSpace(*value)
	}
}

// FetchRepository has a repository read again; developers of its team may. One that waits to be read or is being read
// stays as it is.
func (s *Service) FetchRepository(ctx context.Context, id string) (*models.Repository, error) {
	r, err := s.repository(ctx, id, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	err = s.commit(ctx, repositoryChange(r, "repository.fetch"), func(tx *gorm.DB) error {
		return s.queueFetch(ctx, tx, r)
	})
	if err != nil {
		return nil, err
	}
	return s.Repository(ctx, id)
}

// queueFetch queues a fetch unless one is due or running; after stuckAfter it takes that one for lost.
func (s *Service) queueFetch(ctx context.Context, tx *gorm.DB, r *models.Repository) error {
	now := tx.NowFunc()
	moved := tx.Model(&models.Repository{}).
		Where("id = ? AND (state NOT IN ? OR updated_at < ?)", r.ID, []models.RepositoryState{models.RepositoryPending, models.RepositoryFetching}, now.Add(-stuckAfter)).
		Updates(map[string]any{"state": models.RepositoryPending, "updated_at": now})
	if moved.Error != nil || moved.RowsAffected == 0 {
		return moved.Error
	}
	return s.Jobs.Insert(ctx, tx, jobs.QueueDefault, fetchArgs{RepositoryID: r.ID})
}

// stuckAfter is longer than any fetch may take.
const stuckAfter = 20 * time.Minute

// DeleteRepository deletes a repository with its apps, their builds and deployments; its team's maintainers may. What
// runs of it is stopped.
func (s *Service) DeleteRepository(ctx context.Context, id string) error {
	r, err := s.repository(ctx, id, models.RoleMaintainer)
	if err != nil {
		return err
	}
	var apps []models.App
	if err := s.DB.WithContext(ctx).Where("repository_id = ?", id).Order("name").Find(&apps).Error; err != nil {
		return err
	}
	err = s.commit(ctx, repositoryChange(r, "repository.delete"), func(tx *gorm.DB) error {
		for i := range apps {
			if err := s.deleteApp(ctx, tx, &apps[i]); err != nil {
				return err
			}
		}
		return tx.Delete(&models.Repository{}, "id = ?", id).Error
	})
	if err != nil {
		return err
	}
	if err := s.Git.Remove(id); err != nil {
		slog.WarnContext(ctx, "a deleted repository's mirror stays for now", "repository", id, "error", err)
	}
	return nil
}

func repositoryChange(r *models.Repository, action string) change {
	detail := map[string]string{"clone_url": r.CloneURL, "credential": string(r.CredentialKind)}
	if r.ConnectionID != nil {
		detail["connection"] = *r.ConnectionID
	}
	return change{team: r.TeamID, action: action, subject: "repository:" + r.ID, parent: "team:" + r.TeamID, name: r.Name, detail: detail}
}

// label makes a name out of any text: lower-case letters, digits and single hyphens, at most 40 of them.
func label(text string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	name := b.String()
	return strings.Trim(name[:min(len(name), 40)], "-")
}

// numbered is the name with a number behind it that makes it another one.
func numbered(name string, n int) string {
	suffix := fmt.Sprintf("-%d", n)
	return strings.TrimRight(name[:min(len(name), 40-len(suffix))], "-") + suffix
}
