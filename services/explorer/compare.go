package explorer

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/layers"
)

// maxCommits is how many commits a comparison names.
const maxCommits = 30

// CompareQuery asks what differs between two images.
type CompareQuery struct {
	A, B     Reference
	Platform string // of indexes; empty: the first of A that B has too
	Path     string // the directory whose changed files are listed
	Change   string // added, changed or removed: only that
	Search   string
	Flat     bool
	BySize   bool
	Page     models.Page
}

// Compare tells what became of A in B: layers, configuration, commits, and the
// files. The files are compared by a job; until it has ended Making tells how far it is.
func (s *Service) Compare(ctx context.Context, q CompareQuery) (*models.ImageComparison, error) {
	op, err := change(q.Change)
	if err != nil {
		return nil, err
	}
	a, b, err := s.pair(ctx, q)
	if err != nil {
		return nil, err
	}
	out := &models.ImageComparison{A: a.passport, B: b.passport, IndexA: a.index, IndexB: b.index}
	compareLayers(out, a.layers, b.layers)
	compareSettings(out)
	s.compareCommits(ctx, out)
	if len(a.layers) == 0 || len(b.layers) == 0 {
		return out, nil
	}
	x, making, err := s.index(ctx, comparisonRow(a, b), Args{Images: []Reference{a.reference, b.reference}, Team: audience(ctx, b.passport)})
	if err != nil || x == nil {
		out.Making = making
		return out, err
	}
	return out, listChanges(ctx, out, x, q, op)
}

// listChanges fills in what differs between the files.
func listChanges(ctx context.Context, out *models.ImageComparison, x *layers.Index, q CompareQuery, op models.FileOp) (err error) {
	out.Files, out.Notice = x.Tally(2), x.Report.Notice
	out.BytesA, out.BytesB = x.Bytes-out.Files.Bytes+out.Files.Before, x.Bytes
	if out.Below, err = below(ctx, x); err != nil {
		return err
	}
	if out.Entry, err = x.Get(ctx, layers.Clean(q.Path)); err != nil {
		return err
	}
	list, err := x.List(ctx, layers.Query{Dir: q.Path, Layer: 2, Change: op, Search: q.Search, Deep: q.Flat, BySize: q.BySize, Page: q.Page})
	out.Items, out.Next, out.Total = list.Items, list.Next, list.Total
	return err
}

// below is the deepest directory that holds at least nine tenths of all changes.
func below(ctx context.Context, x *layers.Index) (string, error) {
	all, dir := x.Tally(2).Files(), "/"
	for all > 0 {
		next := ""
		q := layers.Query{Dir: dir, Layer: 2, BySize: true, Page: models.Page{Limit: models.MaxLimit}}
		list, err := x.List(ctx, q)
		if err != nil {
			return "", err
		}
		for _, e := range list.Items {
			if e.Tally(2).Files()*10 >= all*9 {
				next = e.Path
			}
		}
		if next == "" {
			return dir, nil
		}
		dir = next
	}
	return dir, nil
}

// pair finds both images, of one platform where they have several.
func (s *Service) pair(ctx context.Context, q CompareQuery) (a, b *image, err error) {
	if a, err = s.image(ctx, q.A, q.Platform); err != nil {
		return nil, nil, about("a", err)
	}
	platform := q.Platform
	if platform == "" && a.passport.Config != nil {
		platform = a.passport.Config.Platform
	}
	b, err = s.image(ctx, q.B, platform)
	if models.IsCode(err, models.Invalid) && q.Platform == "" { // B has other platforms
		b, err = s.image(ctx, q.B, "")
	}
	return a, b, about("b", err)
}

// about says which of the two images an error is about.
func about(field string, err error) error {
	if models.IsCode(err, models.NotFound) {
		return models.InvalidField(field, "There is no such image, or you may not see it.")
	}
	return err
}

func compareLayers(out *models.ImageComparison, a, b []models.FileLayer) {
	in := func(all []models.FileLayer) map[string]bool {
		set := map[string]bool{}
		for _, l := range all {
			set[l.Digest] = true
		}
		return set
	}
	inA, inB := in(a), in(b)
	for _, l := range a {
		if !inB[l.Digest] {
			out.OnlyA = append(out.OnlyA, l)
		}
	}
	for _, l := range b {
		if inA[l.Digest] {
			out.Shared = append(out.Shared, l)
		} else {
			out.OnlyB = append(out.OnlyB, l)
		}
	}
}

// compareSettings compares the configurations, and the platforms where both are indexes.
func compareSettings(out *models.ImageComparison) {
	a, b := settings(out.A.Config), settings(out.B.Config)
	out.Settings = differences(a.all, b.all)
	out.Environment = differences(a.environment, b.environment)
	out.Labels = differences(a.labels, b.labels)
	if out.IndexA != nil && out.IndexB != nil {
		platforms := func(p *models.ImagePassport) map[string]string {
			set := map[string]string{}
			for _, i := range p.Images {
				if i.Platform != "" {
					set[i.Platform] = i.Platform
				}
			}
			return set
		}
		out.Platforms = differences(platforms(out.IndexA), platforms(out.IndexB))
	}
}

// config is a configuration as names with values.
type config struct{ all, environment, labels map[string]string }

func settings(c *models.ImageConfig) config {
	if c == nil {
		return config{}
	}
	words := func(args []string) string {
		if len(args) == 0 {
			return ""
		}
		raw, _ := json.Marshal(args) // strings: can't fail
		return string(raw)
	}
	all := map[string]string{
		"Platform": c.Platform, "Entrypoint": words(c.Entrypoint), "Command": words(c.Cmd), "User": c.User, "Folder": c.WorkingDir,
		"Ports": strings.Join(c.ExposedPorts, ", "), "Volumes": strings.Join(c.Volumes, ", "), "Stop signal": c.StopSignal, "Health check": words(c.Healthcheck),
	}
	maps.DeleteFunc(all, func(_, v string) bool { return v == "" })
	environment := map[string]string{}
	for _, e := range c.Env {
		name, value, _ := strings.Cut(e, "=")
		environment[name] = value
	}
	return config{all, environment, c.Labels}
}

// differences lists what was added, changed and removed, by name.
func differences(a, b map[string]string) (out []models.SettingChange) {
	names := maps.Clone(a)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		before, inA := a[name]
		after, inB := b[name]
		c := models.SettingChange{Name: name, Before: before, After: after, Op: models.FileChanged}
		switch {
		case inA && inB && before == after:
			continue
		case !inA:
			c.Op = models.FileAdded
		case !inB:
			c.Op = models.FileRemoved
		}
		out = append(out, c)
	}
	return out
}

// compareCommits lists the commits between the builds that made the images,
// where both are of one repository. That they can't be read is no obstacle: a note says so.
func (s *Service) compareCommits(ctx context.Context, out *models.ImageComparison) {
	a, b := buildOf(out.IndexA, out.A), buildOf(out.IndexB, out.B)
	switch {
	case a == nil || b == nil:
		out.CommitsNote = "Slipway did not build both images, so what lies between their commits is not known."
	case a.AppID != b.AppID:
		out.CommitsNote = "The images are of different apps."
	case a.Commit == b.Commit:
		out.CommitsNote = "Both were built from the same commit."
	default:
		out.CommitsNote = s.readCommits(ctx, out, a, b)
	}
}

func buildOf(index, image *models.ImagePassport) *models.Build {
	if index != nil && index.Build != nil {
		return index.Build
	}
	return image.Build
}

func (s *Service) readCommits(ctx context.Context, out *models.ImageComparison, a, b *models.Build) (note string) {
	var app models.App
	if err := s.DB.WithContext(ctx).Select("id", "team_id", "repository_id").Where("id = ?", b.AppID).Take(&app).Error; err != nil {
		return "The app that built them is no more."
	}
	if models.Authorize(ctx, app.TeamID, models.RoleViewer, "app") != nil {
		return "The commits are those of a team that you are not in."
	}
	list, more, err := s.Git.Log(ctx, app.RepositoryID, a.Commit, b.Commit, maxCommits)
	if err == nil && len(list) == 0 {
		out.Back = true
		list, more, err = s.Git.Log(ctx, app.RepositoryID, b.Commit, a.Commit, maxCommits)
	}
	if err != nil {
		return "The commits could not be read: this server has no copy of the repository that holds both."
	}
	out.More = more
	for _, c := range list {
		out.Commits = append(out.Commits, models.ChangeCommit{ID: c.ID, Subject: c.Subject, Author: c.Author, Email: c.Email, Time: c.Time})
	}
	return ""
}
