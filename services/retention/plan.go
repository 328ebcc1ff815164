package retention

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// verdict is why a manifest stays; the zero one lets it go.
type verdict struct {
	kind models.RetentionKind
	text string
}

// plan is what a policy does to a repository at one moment.
type plan struct {
	*state
	verdicts []verdict // of each manifest
	frees    []int64   // bytes that nothing but this manifest holds
	tally
}

// tally is a plan in numbers.
type tally struct {
	Manifests int
	Goes      int   // manifests
	GoesTags  int   // and the tags that go with them
	Bytes     int64 // that are free once what goes is gone for good
}

// plan decides about every manifest of the repository. It is the only place that does.
func (s *Service) plan(db *gorm.DB, repository models.RegistryRepository, policy models.RetentionPolicy) (*plan, error) {
	st, err := read(db, repository.Name)
	if err != nil {
		return nil, err
	}
	used, err := s.uses(db, repository, st, policy.Rollbacks)
	if err != nil {
		return nil, err
	}
	p := &plan{state: st, verdicts: make([]verdict, len(st.manifests)), frees: make([]int64, len(st.manifests))}
	now := s.DB.NowFunc()
	p.keepUsed(used)
	p.keepByRules(policy, now)
	p.keepYoung(policy, now)
	p.spread()
	p.count()
	return p, nil
}

// keep gives the manifest its first reason to stay.
func (p *plan) keep(i int, kind models.RetentionKind, text string) bool {
	if p.verdicts[i].kind != "" {
		return false
	}
	p.verdicts[i] = verdict{kind, text}
	return true
}

func (p *plan) keepUsed(used []use) {
	tags := map[string]int{}
	for i, m := range p.manifests {
		for _, t := range m.tags {
			tags[t.name] = i
		}
	}
	for _, u := range used {
		i, ok := p.places[u.Digest]
		if u.Digest == "" {
			i, ok = tags[u.Tag]
		}
		if ok {
			p.keep(i, u.kind, u.text)
		}
	}
}

// keepByRules lets each rule choose among all images, so that the order of rules does not matter.
func (p *plan) keepByRules(policy models.RetentionPolicy, now time.Time) {
	for n, rule := range policy.Rules {
		since := now.AddDate(0, 0, -rule.Days)
		found := 0
		for i, m := range p.manifests {
			if !p.about(rule, m) {
				continue
			}
			found++
			always := rule.Last == 0 && rule.Days == 0
			if always || found <= rule.Last || rule.Days > 0 && m.pushedAt.After(since) {
				p.keep(i, models.KeptRule, fmt.Sprintf("rule %d: %s", n+1, rule.Sentence()))
			}
		}
	}
}

// about tells whether the rule is about the manifest.
func (p *plan) about(rule models.RetentionRule, m manifest) bool {
	if rule.Untagged {
		return len(m.tags) == 0 && m.alone()
	}
	return slices.ContainsFunc(p.named(m), func(t tag) bool { return matches(rule, t.name) })
}

// keepYoung keeps what was pushed, or got a name, within the minimum age.
func (p *plan) keepYoung(policy models.RetentionPolicy, now time.Time) {
	since := now.AddDate(0, 0, -policy.MinAgeDays)
	for i, m := range p.manifests {
		young := m.pushedAt.After(since) || slices.ContainsFunc(m.tags, func(t tag) bool { return t.movedAt.After(since) })
		if policy.MinAgeDays > 0 && young {
			p.keep(i, models.KeptYoung, fmt.Sprintf("it is younger than %s", count(policy.MinAgeDays, "day")))
		}
	}
}

// spread keeps what belongs to what stays: the images of an index, the index of
// an image that is used, and signatures and the like of both.
func (p *plan) spread() {
	var next []int
	needed := make([]bool, len(p.manifests)) // by something that runs, ran or is built
	for i, v := range p.verdicts {
		if v.kind != "" {
			next = append(next, i)
			needed[i] = slices.Contains([]models.RetentionKind{models.KeptRuns, models.KeptPending, models.KeptRollback, models.KeptBuild}, v.kind)
		}
	}
	for len(next) > 0 {
		i := next[0]
		next = next[1:]
		m, why := p.manifests[i], p.verdicts[i]
		for _, c := range m.children {
			if p.keep(c, models.KeptPart, "it is a part of "+short(m.digest)) {
				next = append(next, c)
			}
		}
		for _, a := range m.about {
			if p.keep(a, models.KeptAbout, "it is about "+short(m.digest)) {
				next = append(next, a)
			}
		}
		if needed[i] {
			for _, parent := range m.parents {
				if kept := p.keep(parent, models.KeptPart, "its image "+short(m.digest)+" stays: "+why.text); kept || !needed[parent] {
					needed[parent] = true
					next = append(next, parent)
				}
			}
		}
		if why.kind == models.KeptYoung {
			for _, of := range m.subjects {
				if p.keep(of, models.KeptAbout, "what is about it is young") {
					next = append(next, of)
				}
			}
		}
	}
}

// count finds what goes and how many bytes that frees: those of blobs that
// nothing which stays needs, here or in another repository.
func (p *plan) count() {
	p.Manifests = len(p.manifests)
	left := make([]int, len(p.blobs))
	for b := range p.blobs {
		left[b] = p.blobs[b].needed
	}
	for i, m := range p.manifests {
		if p.verdicts[i].kind != "" {
			continue
		}
		p.Goes++
		p.GoesTags += len(m.tags)
		for _, b := range m.blobs {
			if p.blobs[b].elsewhere {
				continue
			}
			if p.blobs[b].needed == 1 {
				p.frees[i] += p.blobs[b].size
			}
			if left[b]--; left[b] == 0 {
				p.Bytes += p.blobs[b].size
			}
		}
	}
}

// goes tells whether nothing keeps the manifest.
func (p *plan) goes(i int) bool { return p.verdicts[i].kind == "" }

// fingerprint names exactly what goes: two plans that would delete the same have the same.
func (p *plan) fingerprint() string {
	var digests []string
	for i, m := range p.manifests {
		if p.goes(i) {
			digests = append(digests, m.digest)
		}
	}
	slices.Sort(digests)
	sum := sha256.Sum256([]byte(strings.Join(digests, "\n")))
	return hex.EncodeToString(sum[:16])
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// short is what people read of a digest.
func short(digest string) string {
	_, hex, _ := strings.Cut(digest, ":")
	return hex[:min(12, len(hex))]
}
