package deploy

import (
	"slices"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// Step is how a place differs from the one to its left, where something serves.
type Step struct {
	From      *models.Environment
	SameImage bool
	Commits   bool     // both images are of commits that Slipway knows, and they differ
	Counted   bool     // Ahead and Behind are known; where not, Note says why, or they are being counted
	Ahead     int      // commits that the left one has and this one has not
	Behind    int      // commits that this one has and the left one has not
	Note      string   // why they can't be counted
	Config    []string // the settings and the names of variables that differ; values and scales are each environment's own
	Promote   bool     // the left one's image is not older, and not on its way here: it can be promoted
}

// Counting tells whether the commits are known in a moment.
func (s Step) Counting() bool { return s.Commits && !s.Counted && s.Note == "" }

// fillSteps compares each place of the board with the one to its left.
func fillSteps(db *gorm.DB, b *Board) error {
	wanted := map[span]bool{}
	each := func(do func(key string, a *models.App, from *models.Environment, left, here Cell)) {
		for i := range b.Apps {
			for _, e := range b.Environments {
				from := b.left[e.ID]
				if from == nil || e.TeamID != b.Apps[i].TeamID {
					continue
				}
				if left := b.Cell(from.ID, b.Apps[i].ID); left.Active != nil {
					do(e.ID+"/"+b.Apps[i].ID, &b.Apps[i], from, left, b.Cell(e.ID, b.Apps[i].ID))
				}
			}
		}
	}
	each(func(_ string, a *models.App, _ *models.Environment, left, here Cell) {
		if r, ok := spanOf(a.RepositoryID, here.Active, left.Active); ok {
			wanted[r] = true
		}
	})
	known, err := ranges(db, wanted, false)
	if err != nil {
		return err
	}
	each(func(key string, a *models.App, from *models.Environment, left, here Cell) {
		here.Step = stepOf(a.RepositoryID, from, left, here, known)
		b.cells[key] = here
	})
	return nil
}

// stepOf says how here differs from the place to its left, in which something serves.
func stepOf(repositoryID string, from *models.Environment, left, here Cell, known map[span]models.CommitRange) *Step {
	s := &Step{From: from, Promote: true}
	if here.Active != nil {
		s.SameImage = here.Active.ImageDigest == left.Active.ImageDigest
		s.Config = unlike(here.Active.Config, left.Active.Config)
		s.count(repositoryID, left, here, known)
		s.Promote = !s.SameImage && !(s.Counted && s.Ahead == 0 && s.Behind > 0)
	}
	if here.Latest != nil && !here.Latest.State.Ended() && here.Latest.ImageDigest == left.Active.ImageDigest {
		s.Promote = false
	}
	return s
}

func (s *Step) count(repositoryID string, left, here Cell, known map[span]models.CommitRange) {
	r, ok := spanOf(repositoryID, here.Active, left.Active)
	if !ok {
		return
	}
	s.Commits = true
	if found, ok := known[r]; ok {
		s.Counted, s.Ahead, s.Behind, s.Note = found.Note == "", found.Ahead, found.Behind, found.Note
	}
}

// unlike names what of two configurations differs that is no matter of the
// environment: settings of the app as they were frozen, and variables and secrets that only one has.
func unlike(a, b models.DeploymentConfig) []string {
	a.Scale, b.Scale = models.Scale{}, models.Scale{}
	a.Gradual, b.Gradual = nil, nil
	var names []string
	for _, d := range differences(a, b) {
		names = append(names, d.Name)
	}
	for _, c := range append(compare(a.Variables, b.Variables), compare(a.Secrets, b.Secrets)...) {
		if c.Kind != "changed" && !slices.Contains(names, c.Name) {
			names = append(names, c.Name)
		}
	}
	return names
}
