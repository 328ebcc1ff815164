package workflows

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aymanbagabas/go-udiff"
	"github.com/google/go-github/v88/github"
	"gorm.io/gorm"
	"slipway.dev/models"
)

// maxFile is the longest workflow file that is read, in bytes.
const maxFile = 256 << 10

// Comparison is the workflow's file as the repository has it, beside Slipway's.
type Comparison struct {
	There bool   // on the default branch
	Same  bool   // as Slipway would write it
	Diff  string // unified, from the repository's to Slipway's; empty where they are the same
}

// Compare reads the file on the repository's default branch; the team's viewers
// may. It fails with Conflict where Slipway may not ask GitHub.
func (s *Service) Compare(ctx context.Context, appID string) (*Comparison, error) {
	d, err := s.Get(ctx, appID)
	if err != nil {
		return nil, err
	}
	client, err := s.GitHub(ctx, d.App.Repository)
	if err != nil {
		return nil, err
	}
	text, _, err := s.read(ctx, client, d, "")
	if err != nil {
		return nil, err
	}
	c := &Comparison{There: text != "", Same: text == d.File}
	if !c.Same {
		c.Diff = udiff.Unified("in the repository", "by Slipway", text, d.File)
	}
	return c, nil
}

// read returns the file's text and its blob at the branch, the default one
// where empty. Both are empty where there is no such file.
func (s *Service) read(ctx context.Context, client *github.Client, d *Detail, branch string) (text, sha string, err error) {
	owner, name, _ := splitName(d.Repository)
	file, _, res, err := client.Repositories.GetContents(ctx, owner, name, d.Path, &github.RepositoryContentGetOptions{Ref: branch})
	if res != nil && res.StatusCode == http.StatusNotFound {
		return "", "", nil
	}
	if err != nil {
		return "", "", explain(err, "read "+d.Path+" of "+d.Repository)
	}
	if file == nil || file.GetSize() > maxFile {
		return "", "", models.Errorf(models.Conflict, "%s of %s is no file that Slipway could compare. Look at it at GitHub.", d.Path, d.Repository)
	}
	text, err = file.GetContent()
	if err != nil {
		return "", "", fmt.Errorf("reading %s of %s: %w", d.Path, d.Repository, err)
	}
	return text, file.GetSHA(), nil
}

// Propose opens a pull request with the file, or brings the open one up to
// date; the team's developers may. It returns the pull request's address.
// Doing it again changes nothing.
func (s *Service) Propose(ctx context.Context, appID string) (string, error) {
	app, err := s.app(ctx, appID, models.RoleDeveloper)
	if err != nil {
		return "", err
	}
	d, err := s.detail(ctx, app)
	if err != nil {
		return "", err
	}
	client, err := s.GitHub(ctx, app.Repository)
	if err != nil {
		return "", err
	}
	text, _, err := s.read(ctx, client, d, "")
	if err != nil {
		return "", err
	}
	if text == d.File {
		return "", models.Errorf(models.Conflict, "The default branch of %s has this very file already. There is nothing to propose.", d.Repository)
	}
	p := &proposal{Service: s, Detail: d, client: client, branch: "slipway/" + app.Name + "-workflow", update: text != ""}
	url, err := p.open(ctx)
	if err != nil {
		return "", err
	}
	return url, s.remember(ctx, app, url)
}

func (s *Service) remember(ctx context.Context, app *models.App, url string) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Model(&models.Workflow{}).Where("app_id = ?", app.ID).Update("pull_url", url).Error; err != nil {
			return fmt.Errorf("remembering a pull request: %w", err)
		}
		return record(ctx, tx, app, "workflow.propose", map[string]string{"pull_request": url})
	})
}

// proposal is a pull request in the making.
type proposal struct {
	*Service
	*Detail
	client *github.Client
	branch string
	owner  string
	name   string
	base   string
	update bool // of a file that is there
}

// open is a branch, a commit on it, and a pull request; each only where it is missing.
func (p *proposal) open(ctx context.Context) (string, error) {
	p.owner, p.name, _ = splitName(p.Repository)
	repo, _, err := p.client.Repositories.Get(ctx, p.owner, p.name)
	if err != nil {
		return "", explain(err, "read the repository "+p.Repository)
	}
	if repo.GetID() != p.GitHubID {
		return "", models.Errorf(models.Conflict, "%s is now another repository (number %d, not %d). Correct the settings first.", p.Repository, repo.GetID(), p.GitHubID)
	}
	p.base = repo.GetDefaultBranch()
	url, err := p.opened(ctx)
	if err != nil {
		return "", err
	}
	if err := p.prepareBranch(ctx, url != ""); err != nil {
		return "", err
	}
	if err := p.commit(ctx); err != nil || url != "" {
		return url, err
	}
	return p.request(ctx)
}

// opened is the address of the open pull request; empty where there is none.
func (p *proposal) opened(ctx context.Context) (string, error) {
	open, _, err := p.client.PullRequests.List(ctx, p.owner, p.name, &github.PullRequestListOptions{State: "open", Head: p.owner + ":" + p.branch})
	if err != nil {
		return "", explain(err, "list pull requests of "+p.Repository)
	}
	for _, pull := range open {
		if pull.GetHead().GetRef() == p.branch {
			return pull.GetHTMLURL(), nil
		}
	}
	return "", nil
}

// prepareBranch makes the branch from the default one. What an ended pull request left behind is moved there.
func (p *proposal) prepareBranch(ctx context.Context, inUse bool) error {
	_, res, err := p.client.Git.GetRef(ctx, p.owner, p.name, "heads/"+p.branch)
	missing := res != nil && res.StatusCode == http.StatusNotFound
	if err != nil && !missing {
		return explain(err, "read the branches of "+p.Repository)
	}
	if inUse && !missing {
		return nil
	}
	base, _, err := p.client.Git.GetRef(ctx, p.owner, p.name, "heads/"+p.base)
	if err != nil {
		return explain(err, "read the branch "+p.base)
	}
	if missing {
		_, _, err = p.client.Git.CreateRef(ctx, p.owner, p.name, github.CreateRef{Ref: "refs/heads/" + p.branch, SHA: base.GetObject().GetSHA()})
	} else {
		_, _, err = p.client.Git.UpdateRef(ctx, p.owner, p.name, "heads/"+p.branch, github.UpdateRef{SHA: base.GetObject().GetSHA(), Force: github.Ptr(true)})
	}
	if err != nil {
		return explain(err, "make the branch "+p.branch)
	}
	return nil
}

func (p *proposal) commit(ctx context.Context) error {
	text, sha, err := p.read(ctx, p.client, p.Detail, p.branch)
	if err != nil {
		return err
	}
	if text == p.File {
		return nil
	}
	options := &github.RepositoryContentFileOptions{Message: github.Ptr(p.title()), Content: []byte(p.File), Branch: github.Ptr(p.branch)}
	if sha != "" {
		options.SHA = github.Ptr(sha)
	}
	if _, _, err := p.client.Repositories.CreateFile(ctx, p.owner, p.name, p.Path, options); err != nil {
		return explain(err, "write "+p.Path+" (a GitHub App needs the permission Workflows for it)")
	}
	return nil
}

func (p *proposal) title() string {
	if p.update {
		return "Update the workflow that builds " + p.App.Name
	}
	return "Build " + p.App.Name + " with GitHub Actions"
}

func (p *proposal) request(ctx context.Context) (string, error) {
	body := fmt.Sprintf("This workflow builds %s and pushes it as `%s`. It stores no password: each run proves to %s which run it is.\n\nThe app in Slipway: %s/apps/%s",
		p.App.Name, p.Image, p.External, p.External, p.App.ID)
	pull, _, err := p.client.PullRequests.Create(ctx, p.owner, p.name, &github.NewPullRequest{
		Title: github.Ptr(p.title()), Head: github.Ptr(p.branch), Base: github.Ptr(p.base), Body: github.Ptr(body),
	})
	if err != nil {
		return "", explain(err, "open a pull request")
	}
	if pull.GetHTMLURL() == "" {
		return "", errors.New("GitHub opened a pull request without an address")
	}
	return pull.GetHTMLURL(), nil
}
