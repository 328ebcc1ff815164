package images

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
)

const (
	maxSearch  = 200  // characters
	maxExact   = 50   // images that are found by a digest or a commit
	maxServing = 2000 // places where images run that a search looks at
)

// Query asks for images of the embedded registry.
type Query struct {
	Text    string // words of a repository's name, the beginning of a tag, a digest or a commit; NAME:TAG too
	Team    string // slug; empty: all that the reader sees
	AppID   string // whose repository it is; empty: any
	Running bool   // only what serves now
	Page    models.Page
}

// search is a query that is understood: where to look, and what for.
type search struct {
	reader
	Query
	words   []string // that the repository's name has in it
	tag     string   // what the tag begins with; empty: no tag is looked for
	within  []string // words that the repository of the tag has in its name
	hex     string   // what the digest or the commit begins with; empty: neither is looked for
	serving map[spot]bool
}

// Search finds images over all that the reader may see. What the text may be
// is looked for in this order: a digest or a commit, the repositories that are
// called so (of each the image pushed last), and the tags that begin so.
// Without a text it lists what was pushed last to each repository. Every step
// reads by an index and pages on.
func (s *Service) Search(ctx context.Context, q Query) (models.List[models.Image], error) {
	none := models.List[models.Image]{}
	who, err := readerFrom(ctx)
	if err != nil {
		return none, err
	}
	if len(q.Text) > maxSearch {
		return none, models.InvalidField("q", "Search for at most %d characters.", maxSearch)
	}
	f, err := s.understand(ctx, who, q)
	if err != nil {
		return none, err
	}
	list, err := walk(ctx, q.Page, []stage{f.step(s.byDigest), f.step(s.byRepository), f.step(s.byTag)})
	if err != nil {
		return none, err
	}
	return list, s.complete(ctx, who, list.Items)
}

// stage is one way to find images: those after the cursor, at most so many, and
// the cursor behind them, which is empty at the end.
type stage func(ctx context.Context, after string, limit int) ([]models.Image, string, error)

func (f search) step(find func(context.Context, search, string, int) ([]models.Image, string, error)) stage {
	return func(ctx context.Context, after string, limit int) ([]models.Image, string, error) {
		return find(ctx, f, after, limit)
	}
}

// walk fills a page from one step after the other. A cursor is the step's number and the place in it.
func walk(ctx context.Context, page models.Page, steps []stage) (models.List[models.Image], error) {
	list := models.List[models.Image]{}
	first, after := 0, ""
	if page.Cursor != "" {
		raw, rest, _ := strings.Cut(page.Cursor, ":")
		n, err := strconv.Atoi(raw)
		if err != nil || n < 0 || n >= len(steps) {
			return list, badCursor()
		}
		first, after = n, rest
	}
	seen := map[string]bool{}
	for k := first; k < len(steps); k++ {
		if len(list.Items) >= page.Size() {
			list.Next = fmt.Sprintf("%d:", k)
			return list, nil
		}
		found, next, err := steps[k](ctx, after, page.Size()-len(list.Items))
		if err != nil {
			return list, err
		}
		for _, i := range found {
			if at := i.Repository + "@" + i.Digest; !seen[at] {
				seen[at] = true
				list.Items = append(list.Items, i)
			}
		}
		if after = ""; next != "" {
			list.Next = fmt.Sprintf("%d:%s", k, next)
			return list, nil
		}
	}
	return list, nil
}

var hexText = regexp.MustCompile(`^(?:sha256:|sha512:)?[0-9a-f]{4,128}$`)

// understand splits the text into what it may mean.
func (s *Service) understand(ctx context.Context, who reader, q Query) (search, error) {
	f := search{reader: who, Query: q}
	text := strings.TrimPrefix(strings.TrimSpace(q.Text), s.Registry.Host()+"/")
	if name, digest, found := strings.Cut(text, "@"); found { // NAME@DIGEST, as it is pasted from elsewhere
		text = cmp.Or(digest, name)
	}
	if lower := strings.ToLower(text); hexText.MatchString(lower) {
		f.hex = lower
	}
	if f.hex == "" || !isDigest(f.hex) {
		words := strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ':' || r == '\t' })
		for _, w := range words {
			f.words = append(f.words, strings.ToLower(w))
		}
		if n := len(words); n > 0 && tagText.MatchString(words[n-1]) {
			f.tag, f.within = words[n-1], f.words[:n-1]
		}
	}
	if !q.Running {
		return f, nil
	}
	rows, err := s.deployments(ctx, who, func(q *gorm.DB) *gorm.DB {
		return q.Where("deployments.active = ? AND deployments.stopped = ?", true, false).Limit(maxServing)
	})
	f.serving = map[spot]bool{}
	for _, d := range rows {
		f.serving[spot{s.local(d.Repository), d.Digest}] = true
	}
	return f, err
}

var tagText = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// repositories are the names of those where the search looks and whose names have all the words in them.
func (f search) repositories(db *gorm.DB, words []string) *gorm.DB {
	q := f.only(db.Model(&models.RegistryRepository{}).Select("registry_repositories.name").Where("registry_repositories.push_id <> ''"), "registry_repositories.team_id")
	if f.Team != "" {
		q = q.Where("registry_repositories.team_id IN (?)", db.Model(&models.Team{}).Select("id").Where("slug = ?", f.Team))
	}
	if f.AppID != "" {
		q = q.Where("registry_repositories.name IN (?)", db.Table("apps").Joins("JOIN teams ON teams.id = apps.team_id").
			Select("teams.slug || '/' || apps.name").Where("apps.id = ?", f.AppID))
	}
	if f.Running {
		q = q.Where("registry_repositories.name IN ?", f.servingRepositories())
	}
	for _, w := range words {
		q = q.Where(`registry_repositories.name LIKE ? ESCAPE '\'`, containing(w))
	}
	return q
}

func (f search) servingRepositories() []string {
	names := []string{}
	for at := range f.serving {
		names = append(names, at.repository)
	}
	return names
}

// runs tells whether the image may be shown where only what serves is asked for.
func (f search) runs(i models.Image) bool {
	return !f.Running || f.serving[spot{i.Repository, i.Digest}]
}

// byDigest finds the images whose digest begins so, and those that were built of a commit that begins so.
func (s *Service) byDigest(ctx context.Context, f search, _ string, _ int) ([]models.Image, string, error) {
	if f.hex == "" {
		return nil, "", nil
	}
	db := s.DB.WithContext(ctx)
	from, to := span(withAlgorithm(f.hex))
	var at []models.RegistryManifest
	q := db.Select(columns).Where("registry_manifests.digest >= ? AND registry_manifests.digest < ?", from, to)
	if err := q.Where("repository IN (?)", f.repositories(db, nil)).Order("digest").Limit(maxExact).Find(&at).Error; err != nil {
		return nil, "", fmt.Errorf("looking for a digest: %w", err)
	}
	if !isDigest(f.hex) {
		built, err := s.builtOf(ctx, f)
		if err != nil {
			return nil, "", err
		}
		at = append(at, built...)
	}
	out, err := s.imagesOf(ctx, at)
	return f.running(out), "", err
}

// withAlgorithm writes the beginning of a digest whole; SHA-256 goes without saying.
func withAlgorithm(hex string) string {
	if isDigest(hex) {
		return hex
	}
	return "sha256:" + hex
}

// builtOf finds the images of good builds of a commit that begins so.
func (s *Service) builtOf(ctx context.Context, f search) ([]models.RegistryManifest, error) {
	db := s.DB.WithContext(ctx)
	from, to := span(f.hex)
	digests := f.only(db.Model(&models.Build{}).Select("image_digest"), "team_id").
		Where(`builds."commit" >= ? AND builds."commit" < ? AND state = ?`, from, to, models.BuildSucceeded).Limit(maxExact)
	var rows []models.RegistryManifest
	err := db.Select(columns).Where("digest IN (?)", digests).Where("repository IN (?)", f.repositories(db, nil)).
		Order("push_id DESC").Limit(maxExact).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("looking for a commit: %w", err)
	}
	return rows, nil
}

// byRepository finds the image that was pushed last to each repository that is called so.
func (s *Service) byRepository(ctx context.Context, f search, after string, limit int) ([]models.Image, string, error) {
	if len(f.words) == 0 && f.hex != "" {
		return nil, "", nil
	}
	db := s.DB.WithContext(ctx)
	rows, err := models.Newest(f.repositories(db, f.words).Select("name", "team_id", "push_id"), models.Page{Cursor: after, Limit: limit}, "push_id",
		func(r models.RegistryRepository) string { return r.PushID })
	if err != nil {
		return nil, "", fmt.Errorf("looking for repositories: %w", err)
	}
	var names, pushes []string
	for _, r := range rows.Items {
		names, pushes = append(names, r.Name), append(pushes, r.PushID)
	}
	var at []models.RegistryManifest
	q := db.Select(columns).Where("repository IN ? AND push_id IN ?", names, pushes)
	if f.Running {
		q = db.Select(columns).Where("repository IN ? AND digest IN ?", names, f.servingDigests())
	}
	if err := q.Order("push_id DESC").Find(&at).Error; err != nil {
		return nil, "", fmt.Errorf("reading the latest images: %w", err)
	}
	out, err := s.imagesOf(ctx, at)
	return f.running(out), rows.Next, err
}

func (f search) servingDigests() []string {
	digests := []string{}
	for at := range f.serving {
		digests = append(digests, at.digest)
	}
	return digests
}

func (f search) running(images []models.Image) []models.Image {
	kept := images[:0]
	for _, i := range images {
		if f.runs(i) {
			kept = append(kept, i)
		}
	}
	return kept
}

// byTag finds the tags that begin so, in the order of their names.
func (s *Service) byTag(ctx context.Context, f search, after string, limit int) ([]models.Image, string, error) {
	if f.tag == "" {
		return nil, "", nil
	}
	db := s.DB.WithContext(ctx)
	from, to := span(f.tag)
	name, repository := inBytes(db, "registry_tags.name"), inBytes(db, "registry_tags.repository")
	q := db.Model(&models.RegistryTag{}).Where(name+" >= ? AND "+name+" < ?", from, to).
		Where("registry_tags.repository IN (?)", f.repositories(db, f.within))
	if f.Running {
		q = q.Where("registry_tags.digest IN ?", f.servingDigests())
	}
	if after != "" {
		lastName, lastRepository, _ := strings.Cut(after, "|")
		q = q.Where("("+name+", "+repository+") > (?, ?)", lastName, lastRepository)
	}
	var rows []models.RegistryTag
	if err := q.Order(name).Order(repository).Limit(limit + 1).Find(&rows).Error; err != nil {
		return nil, "", fmt.Errorf("looking for tags: %w", err)
	}
	next := ""
	if len(rows) > limit {
		rows = rows[:limit]
		next = rows[limit-1].Name + "|" + rows[limit-1].Repository
	}
	out, err := s.tagged(ctx, rows)
	return f.running(out), next, err
}

// tagged returns the images of the tags.
func (s *Service) tagged(ctx context.Context, tags []models.RegistryTag) ([]models.Image, error) {
	var names, digests []string
	for _, t := range tags {
		names, digests = append(names, t.Repository), append(digests, t.Digest)
	}
	var rows []models.RegistryManifest
	if err := s.DB.WithContext(ctx).Select(columns).Where("repository IN ? AND digest IN ?", names, digests).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading the images of tags: %w", err)
	}
	byPlace := map[spot]models.RegistryManifest{}
	for _, r := range rows {
		byPlace[spot{r.Repository, r.Digest}] = r
	}
	wanted := make([]models.RegistryManifest, 0, len(tags))
	for _, t := range tags {
		wanted = append(wanted, byPlace[spot{t.Repository, t.Digest}])
	}
	return s.imagesOf(ctx, wanted)
}

// imagesOf turns manifests into images that know who owns them.
func (s *Service) imagesOf(ctx context.Context, rows []models.RegistryManifest) ([]models.Image, error) {
	names := make([]string, 0, len(rows))
	for _, r := range rows {
		names = append(names, r.Repository)
	}
	var owners []models.RegistryRepository
	if err := s.DB.WithContext(ctx).Where("name IN ?", names).Find(&owners).Error; err != nil {
		return nil, fmt.Errorf("reading the owners of images: %w", err)
	}
	teams := map[string]string{}
	for _, o := range owners {
		teams[o.Name] = o.TeamID
	}
	out := make([]models.Image, 0, len(rows))
	for _, r := range rows {
		out = append(out, s.imageOf(r, teams[r.Repository]))
	}
	return out, nil
}

// span is the range of texts that begin so: from the first to what comes after the last.
func span(prefix string) (from, to string) {
	last := len(prefix) - 1
	return prefix, prefix[:last] + string(prefix[last]+1)
}
