package retention

import (
	"context"
	"slices"
	"strings"
	"time"

	"slipway.dev/models"
)

// Entry is one tag, or one manifest without a tag, and what becomes of it.
type Entry struct {
	Tag      string // empty: the manifest has none
	Digest   string
	PushedAt time.Time
	Size     int64 // compressed bytes of the image
	Frees    int64 // bytes that nothing but this manifest holds; 0 where it stays
	Goes     bool
	Kind     Kind   // what keeps it
	Reason   string // the rule or the reference that keeps it, for people
}

// Preview is what a clean-up would do now: a dry run.
type Preview struct {
	Repository  string
	Policy      Effective
	Fingerprint string // names what goes; Start takes it
	Manifests   int
	Goes        int // manifests
	GoesTags    int
	Bytes       int64
	Entries     models.List[Entry]
}

// PreviewFilter narrows a dry run's list.
type PreviewFilter struct {
	models.Page
	Only string // goes or stays; empty: both
}

// Preview tells what a clean-up of the repository would do now, under the policy
// that counts for it or under the one given; the team's viewers may.
func (s *Service) Preview(ctx context.Context, repository string, f PreviewFilter, instead *PolicyInput) (*Preview, error) {
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
	if instead != nil {
		if err := policy.replace(*instead); err != nil {
			return nil, err
		}
	}
	out := &Preview{Repository: r.Name, Policy: *policy}
	if !policy.Set {
		policy.Rules = []models.RetentionRule{{}, {Untagged: true}} // without a policy nothing goes
	}
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
		p.keep(i, KindRule, why)
	}
	p.Goes, p.GoesTags, p.Bytes = 0, 0, 0
	clear(p.frees)
}

func (e *Effective) replace(in PolicyInput) error {
	e.Rules, e.Set = tidy(in.Rules), true
	if in.MinAgeDays != nil {
		e.MinAgeDays = *in.MinAgeDays
	}
	if in.Rollbacks != nil {
		e.Rollbacks = *in.Rollbacks
	}
	return check(e.RetentionPolicy)
}

// page is one page of the entries, the image pushed last first. The cursor names
// the last entry of the page before; where that is gone the list begins anew.
func (p *plan) page(f PreviewFilter) models.List[Entry] {
	list := models.List[Entry]{Items: []Entry{}}
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

func (p *plan) entries(i int) []Entry {
	m, v := p.manifests[i], p.verdicts[i]
	e := Entry{Digest: m.digest, PushedAt: m.pushedAt, Size: m.size, Frees: p.frees[i], Goes: p.goes(i), Kind: v.kind, Reason: v.text}
	if len(m.tags) == 0 {
		return []Entry{e}
	}
	out := make([]Entry, 0, len(m.tags))
	for _, t := range m.tags {
		e.Tag = t.name
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Tag, b.Tag) })
	return out
}
