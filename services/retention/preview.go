package retention

import (
	"context"
	"slices"
	"strings"

	"slipway.dev/models"
)

// PreviewFilter narrows a dry run's list.
type PreviewFilter struct {
	models.Page
	Only string // goes or stays; empty: both
}

// Preview tells what a clean-up of the repository would do now; the team's viewers may.
func (s *Service) Preview(ctx context.Context, repository string, f PreviewFilter) (*models.RetentionPreview, error) {
	r, err := s.repository(ctx, repository, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	if !slices.Contains([]string{"", "goes", "stays"}, f.Only) {
		return nil, models.InvalidField("only", "Use goes or stays, or leave it out.")
	}
	db := s.DB.WithContext(ctx)
	policy, err := effective(db, r.TeamID, r.Name)
	if err != nil {
		return nil, err
	}
	out := &models.RetentionPreview{Repository: r.Name, Policy: *policy}
	p, err := s.plan(db, r, policy.RetentionPolicy)
	if err != nil {
		return nil, err
	}
	if !out.Policy.Set {
		p.keepAll("there is no policy")
	}
	out.Fingerprint, out.Manifests, out.Goes, out.GoesTags, out.Bytes = p.fingerprint(), p.Manifests, p.Goes, p.GoesTags, p.Bytes
	out.Entries = p.page(f)
	return out, nil
}

// keepAll lets nothing go.
func (p *plan) keepAll(why string) {
	for i := range p.verdicts {
		p.keep(i, models.KeptRule, why)
	}
	p.Goes, p.GoesTags, p.Bytes = 0, 0, 0
	clear(p.frees)
}

// page is one page of the entries, the image pushed last first. The cursor names
// the last entry of the page before; where that is gone the list begins anew.
func (p *plan) page(f PreviewFilter) models.List[models.RetentionEntry] {
	list := models.List[models.RetentionEntry]{Items: []models.RetentionEntry{}}
	afterDigest, afterTag, _ := strings.Cut(f.Cursor, "/")
	start, skip := 0, f.Cursor != ""
	if skip {
		at, ok := p.places[afterDigest]
		if start, skip = at, ok; !ok {
			start = 0
		}
	}
	for i := start; i < len(p.manifests); i++ {
		if f.Only != "" && p.goes(i) != (f.Only == "goes") {
			continue
		}
		for _, e := range p.entries(i) {
			if skip && e.Digest == afterDigest && e.Tag <= afterTag {
				continue
			}
			if len(list.Items) == f.Size() {
				last := list.Items[len(list.Items)-1]
				list.Next = last.Digest + "/" + last.Tag
				return list
			}
			list.Items = append(list.Items, e)
		}
	}
	return list
}

func (p *plan) entries(i int) []models.RetentionEntry {
	m, v := p.manifests[i], p.verdicts[i]
	e := models.RetentionEntry{Digest: m.digest, PushedAt: m.pushedAt, Size: m.size, Frees: p.frees[i], Goes: p.goes(i), Kind: v.kind, Reason: v.text}
	if len(m.tags) == 0 {
		return []models.RetentionEntry{e}
	}
	out := make([]models.RetentionEntry, 0, len(m.tags))
	for _, t := range m.tags {
		e.Tag = t.name
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b models.RetentionEntry) int { return strings.Compare(a.Tag, b.Tag) })
	return out
}
