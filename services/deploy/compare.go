package deploy

import (
	"context"
	"time"

	"slipway.dev/models"
)

// Comparison is how two deployments of an app differ, in the same environment or in two.
type Comparison struct {
	A, B        *models.Deployment // with App, Environment and Build
	Range       models.CommitRange // from A's commit to B's; empty where CommitsNote says why
	CommitsNote string
	Settings    []Difference
	Variables   []Change
	Secrets     []Change // by fingerprints of their values
}

// SameImage tells whether both run the same image.
func (c *Comparison) SameImage() bool { return c.A.ImageDigest == c.B.ImageDigest }

// SameConfig tells whether both run with the same settings, variables and secrets.
func (c *Comparison) SameConfig() bool {
	return len(c.Settings)+len(c.Variables)+len(c.Secrets) == 0
}

// Took is how long a deployment took; 0 while it goes on, or where it never began.
func Took(d *models.Deployment) time.Duration {
	if d.StartedAt == nil || d.FinishedAt == nil {
		return 0
	}
	return d.FinishedAt.Sub(*d.StartedAt)
}

// Compare says what changes from deployment a to deployment b of the same app. Values of variables are not told.
func (s *Service) Compare(ctx context.Context, a, b string) (*Comparison, error) {
	from, was, err := s.compared(ctx, a, "a")
	if err != nil {
		return nil, err
	}
	to, is, err := s.compared(ctx, b, "b")
	if err != nil {
		return nil, err
	}
	if from.AppID != to.AppID {
		return nil, models.InvalidField("b", "Deployments of one app can be compared; these are of %s and of %s.", from.App.Name, to.App.Name)
	}
	c := &Comparison{
		A: from, B: to, Settings: differences(from.Config, to.Config),
		Variables: compare(from.Config.Variables, to.Config.Variables), Secrets: compare(was, is),
	}
	s.commitsBetween(ctx, c)
	return c, nil
}

// compared is one of the two deployments, which the field names, and the fingerprints of its secrets, which are those of
// no environment: the ones that a deployment is known by differ between environments for one value too.
func (s *Service) compared(ctx context.Context, id, field string) (*models.Deployment, map[string]string, error) {
	if id == "" {
		return nil, nil, models.InvalidField(field, "Name the deployment.")
	}
	d, err := s.deployment(ctx, id, models.RoleViewer)
	if err != nil {
		return nil, nil, err
	}
	prints := map[string]string{}
	if len(d.Config.Secrets) > 0 {
		values, err := s.openValues(d)
		if err != nil {
			return nil, nil, err
		}
		for name := range d.Config.Secrets {
			prints[name] = s.fingerprint(d.TeamID, "", name, values[name])
		}
	}
	d.SealedSecrets = nil
	return d, prints, nil
}

// commitsBetween reads the commits from the repository. That they can't be read is no obstacle: a note says so.
func (s *Service) commitsBetween(ctx context.Context, c *Comparison) {
	r, ok := spanOf(c.A.App.RepositoryID, c.A, c.B)
	switch {
	case c.A.Build == nil || c.B.Build == nil:
		c.CommitsNote = "Slipway did not build both images, so their commits are not known."
		return
	case !ok:
		c.CommitsNote = "Both are of the same commit."
		return
	}
	between, err := s.Git.Between(ctx, r.RepositoryID, r.Base, r.Head, maxCommits)
	if err != nil {
		c.CommitsNote = "The commits could not be read from the repository."
		return
	}
	c.Range = models.CommitRange{RepositoryID: r.RepositoryID, Base: r.Base, Head: r.Head, Ahead: between.Ahead, Behind: between.Behind, Commits: changesOf(between.Commits)}
}
