package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/catalog"
	"slipway.dev/services/git"
)

// Repository is a registered git repository.
type Repository struct {
	ID            string                 `json:"id"`
	Team          string                 `json:"team" doc:"The owner's slug."`
	TeamID        string                 `json:"team_id"`
	Name          string                 `json:"name"`
	CloneURL      string                 `json:"clone_url"`
	DefaultBranch string                 `json:"default_branch"`
	Credential    RepositoryCredential   `json:"credential"`
	ConnectionID  string                 `json:"connection_id" doc:"The team's connection to the forge; empty: none."`
	State         models.RepositoryState `json:"state" enum:"pending,fetching,ready,failed"`
	Error         string                 `json:"error,omitempty" doc:"Why the last fetch failed."`
	FetchedAt     *time.Time             `json:"fetched_at"`
	CreatedAt     time.Time              `json:"created_at"`
	UpdatedAt     time.Time              `json:"updated_at"`
	Dockerfiles   []Dockerfile           `json:"dockerfiles,omitempty" doc:"What the last fetch found on the default branch; not in lists."`
}

// RepositoryCredential is what can be shown of how a repository is read.
type RepositoryCredential struct {
	Kind      models.CredentialKind `json:"kind" enum:"none,token,ssh"`
	User      string                `json:"user,omitempty"`
	PublicKey string                `json:"public_key,omitempty" doc:"Add it to the repository as a deploy key."`
	HostKey   string                `json:"host_key,omitempty" doc:"The SSH host key that was pinned at first contact."`
}

// Dockerfile is one that was found, with the app that Slipway proposes for it.
type Dockerfile struct {
	Path    string `json:"path"`
	Name    string `json:"name" doc:"The proposed app name."`
	Context string `json:"context"`
	Port    int    `json:"port"`
}

// Ref is a branch or tag as the last fetch saw it.
type Ref struct {
	Kind        models.RefKind `json:"kind" enum:"branch,tag"`
	Name        string         `json:"name"`
	Commit      string         `json:"commit"`
	Subject     string         `json:"subject"`
	Author      string         `json:"author"`
	CommittedAt time.Time      `json:"committed_at"`
}

// Commit is one commit of a repository.
type Commit struct {
	ID      string    `json:"id"`
	Subject string    `json:"subject"`
	Author  string    `json:"author"`
	Email   string    `json:"email"`
	Time    time.Time `json:"time"`
}

// RemoteRepository is what a look at a repository shows before it is registered.
type RemoteRepository struct {
	Name          string   `json:"name" doc:"The proposed name."`
	DefaultBranch string   `json:"default_branch" doc:"Empty: the repository has no commit yet."`
	Branches      []string `json:"branches" nullable:"false"`
	Tags          []string `json:"tags" nullable:"false"`
}

func (a *API) repositories() {
	get(a, "/repositories", "list-repositories", "Repositories of your teams", a.listRepositories)
	post(a, "/repositories", "register-repository", "Register a repository", a.registerRepository, status(http.StatusCreated), repeatable,
		about("It is fetched and its Dockerfiles are found in the background; follow its state."))
	post(a, "/repositories/check", "check-repository", "Look at a repository without registering it", a.checkRepository)
	get(a, "/repositories/{id}", "get-repository", "A repository, with the Dockerfiles found in it", a.getRepository)
	patch(a, "/repositories/{id}", "update-repository", "Change a repository", a.updateRepository)
	remove(a, "/repositories/{id}", "delete-repository", "Delete a repository with its apps, builds and deployments; what runs is stopped", a.deleteRepository)
	post(a, "/repositories/{id}/fetch", "fetch-repository", "Fetch a repository now", a.fetchRepository, status(http.StatusAccepted), repeatable)
	get(a, "/repositories/{id}/refs", "list-refs", "Branches and tags, newest commit first", a.listRefs)
	get(a, "/repositories/{id}/commits", "list-commits", "What a commit adds to another one, newest first", a.listCommits)
}

func (a *API) listRepositories(ctx context.Context, in *struct {
	PageIn
	Team string `query:"team" maxLength:"100" doc:"Slug of a team."`
}) (*answer[List[Repository]], error) {
	l, err := a.Catalog.Repositories(ctx, catalog.RepositoryFilter{Page: in.page(), Team: in.Team})
	if err != nil {
		return nil, err
	}
	return listOf(l, repositoryOf), nil
}

func (a *API) registerRepository(ctx context.Context, in *struct{ Body catalog.NewRepository }) (*answer[Repository], error) {
	r, err := a.Catalog.RegisterRepository(ctx, in.Body)
	return replyWith(r, repositoryOf, err)
}

func (a *API) checkRepository(ctx context.Context, in *struct{ Body catalog.CheckRepository }) (*answer[RemoteRepository], error) {
	c, err := a.Catalog.CheckRepository(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	return reply(RemoteRepository{c.Name, c.DefaultBranch, append([]string{}, c.Branches...), append([]string{}, c.Tags...)}), nil
}

func (a *API) getRepository(ctx context.Context, in *IDIn) (*answer[Repository], error) {
	r, err := a.Catalog.Repository(ctx, in.ID)
	return replyWith(r, repositoryOf, err)
}

func (a *API) updateRepository(ctx context.Context, in *struct {
	IDIn
	Body catalog.UpdateRepository
}) (*answer[Repository], error) {
	r, err := a.Catalog.UpdateRepository(ctx, in.ID, in.Body)
	return replyWith(r, repositoryOf, err)
}

func (a *API) deleteRepository(ctx context.Context, in *IDIn) error {
	return a.Catalog.DeleteRepository(ctx, in.ID)
}

func (a *API) fetchRepository(ctx context.Context, in *IDIn) (*answer[Repository], error) {
	r, err := a.Catalog.FetchRepository(ctx, in.ID)
	return replyWith(r, repositoryOf, err)
}

func (a *API) listRefs(ctx context.Context, in *IDIn) (*answer[List[Ref]], error) {
	refs, err := a.Catalog.Refs(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return whole(refs, func(r *models.Ref) Ref {
		return Ref{r.Kind, r.Name, r.Commit, r.Subject, r.Author, r.CommittedAt.UTC()}
	}), nil
}

func (a *API) listCommits(ctx context.Context, in *struct {
	IDIn
	From  string `query:"from" maxLength:"64" doc:"The commit that is there already; empty: from the beginning."`
	To    string `query:"to" maxLength:"64" required:"true" doc:"The commit to look at."`
	Limit int    `query:"limit" minimum:"1" maximum:"100" default:"50"`
}) (*answer[List[Commit]], error) {
	commits, _, err := a.Catalog.Commits(ctx, in.ID, in.From, in.To, in.Limit)
	if err != nil {
		return nil, err
	}
	return whole(commits, func(c *git.Commit) Commit { return Commit{c.ID, c.Subject, c.Author, c.Email, c.Time.UTC()} }), nil
}

func repositoryOf(r *models.Repository) Repository {
	out := Repository{
		ID: r.ID, Team: slugOf(r.Team), TeamID: r.TeamID, Name: r.Name, CloneURL: r.CloneURL, DefaultBranch: r.DefaultBranch,
		Credential: RepositoryCredential{r.CredentialKind, r.CredentialUser, r.CredentialPublic, r.HostKey},
		State:      r.State, Error: r.Error, FetchedAt: utc(r.FetchedAt), CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
	if r.ConnectionID != nil {
		out.ConnectionID = *r.ConnectionID
	}
	for _, d := range r.DetectedDockerfiles {
		out.Dockerfiles = append(out.Dockerfiles, Dockerfile{d.Path, d.Name, d.Context, d.Port})
	}
	return out
}
