package images

import (
	"context"
	"fmt"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// TagSort is an order of tags.
type TagSort string

// The orders of tags. External registries have only the names.
const (
	TagsNewest TagSort = "newest" // the one that moved last first
	TagsByName TagSort = "name"
	TagsBySize TagSort = "size" // the largest image first
)

// TagSorts are the orders that people may choose, the usual one first.
var TagSorts = []TagSort{TagsNewest, TagsByName, TagsBySize}

// TagQuery asks for tags of a repository.
type TagQuery struct {
	Registry   string // slug or id; empty: the embedded one
	Repository string
	Text       string  // that their names have in them, in any case
	Sort       TagSort // empty: newest; in external registries always name
	Page       models.Page
}

// Tags lists the tags of a repository: for each an image with this one tag. Of
// an external registry an image may lack its digest and size, where the
// registry was too slow to tell them.
func (s *Service) Tags(ctx context.Context, q TagQuery) (models.List[models.Image], error) {
	none := models.List[models.Image]{}
	who, err := readerFrom(ctx)
	if err != nil {
		return none, err
	}
	at, err := s.open(ctx, q.Registry, q.Repository)
	if err != nil {
		return none, err
	}
	if len(q.Text) > maxSearch {
		return none, models.InvalidField("q", "Search for at most %d characters.", maxSearch)
	}
	list, err := at.tags(ctx, q)
	if err != nil {
		return none, err
	}
	return list, s.originate(ctx, who, list.Items)
}

// tagRow is a tag with the size by which it may be sorted.
type tagRow struct {
	models.RegistryTag
	ImageSize int64
}

func (e embedded) tags(ctx context.Context, q TagQuery) (models.List[models.Image], error) {
	none := models.List[models.Image]{}
	rows, err := e.tagRows(ctx, q)
	if err != nil {
		return none, err
	}
	size := q.Page.Size()
	list := models.List[models.Image]{}
	if len(rows) > size {
		rows = rows[:size]
		list.Next = tagCursor(q.Sort, rows[size-1])
	}
	digests := make([]string, 0, len(rows))
	for _, r := range rows {
		digests = append(digests, r.Digest)
	}
	var manifests []models.RegistryManifest
	err = e.DB.WithContext(ctx).Select(columns).Where("repository = ? AND digest IN ?", e.name, digests).Find(&manifests).Error
	if err != nil {
		return none, fmt.Errorf("reading the images of the tags of %s: %w", e.name, err)
	}
	byDigest := map[string]models.Image{}
	for _, m := range manifests {
		byDigest[m.Digest] = e.imageOf(m, e.teamID)
	}
	for _, r := range rows {
		i := byDigest[r.Digest]
		i.Tags = []models.ImageTag{{Name: r.Name, MovedAt: r.MovedAt, MovedByName: r.MovedByName}}
		list.Items = append(list.Items, i)
	}
	return list, nil
}

// tagRows reads one row more than the page has, by an index in every order.
func (e embedded) tagRows(ctx context.Context, q TagQuery) ([]tagRow, error) {
	db := e.DB.WithContext(ctx).Table("registry_tags").Select("registry_tags.repository, registry_tags.name, registry_tags.digest, registry_tags.moved_by_name, registry_tags.moved_at").
		Where("registry_tags.repository = ?", e.name)
	if q.Text != "" {
		db = db.Where(`LOWER(registry_tags.name) LIKE ? ESCAPE '\'`, containing(q.Text))
	}
	db, err := orderTags(db, q)
	if err != nil {
		return nil, err
	}
	var rows []tagRow
	if err := db.Limit(q.Page.Size() + 1).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("listing the tags of %s: %w", e.name, err)
	}
	return rows, nil
}

func orderTags(db *gorm.DB, q TagQuery) (*gorm.DB, error) {
	after := q.Page.Cursor
	switch q.Sort {
	case TagsByName:
		column := inBytes(db, "registry_tags.name")
		if after != "" {
			db = db.Where(column+" > ?", after)
		}
		return db.Order(column), nil
	case TagsBySize:
		db = db.Select("registry_tags.repository, registry_tags.name, registry_tags.digest, registry_tags.moved_by_name, registry_tags.moved_at, registry_manifests.image_size").
			Joins("JOIN registry_manifests ON registry_manifests.repository = registry_tags.repository AND registry_manifests.digest = registry_tags.digest")
		if after != "" {
			size, digest, name, ok := cutSizeCursor(after)
			if !ok {
				return nil, badCursor()
			}
			db = db.Where("(registry_manifests.image_size, registry_manifests.digest, registry_tags.name) < (?, ?, ?)", size, digest, name)
		}
		return db.Order("registry_manifests.image_size DESC, registry_manifests.digest DESC, registry_tags.name DESC"), nil
	case TagsNewest, "":
		if after != "" {
			raw, name, _ := strings.Cut(after, "|")
			moved, err := time.Parse(time.RFC3339Nano, raw)
			if err != nil {
				return nil, badCursor()
			}
			db = db.Where("(registry_tags.moved_at, registry_tags.name) < (?, ?)", moved.UTC(), name)
		}
		return db.Order("registry_tags.moved_at DESC, registry_tags.name DESC"), nil
	}
	return nil, models.InvalidField("sort", "Tags are sorted by newest, name or size.")
}

// tagCursor says where in the order the row stands.
func tagCursor(sort TagSort, r tagRow) string {
	switch sort {
	case TagsByName:
		return r.Name
	case TagsBySize:
		return fmt.Sprintf("%d|%s|%s", r.ImageSize, r.Digest, r.Name)
	}
	return r.MovedAt.UTC().Format(time.RFC3339Nano) + "|" + r.Name
}

func cutSizeCursor(cursor string) (size int64, digest, name string, ok bool) {
	parts := strings.SplitN(cursor, "|", 3)
	if len(parts) != 3 {
		return 0, "", "", false
	}
	_, err := fmt.Sscanf(parts[0], "%d", &size)
	return size, parts[1], parts[2], err == nil
}

func badCursor() error {
	return models.InvalidField("cursor", "This is no place in the list. Begin without a cursor.")
}

// inBytes orders a column of names by their bytes, in which prefixes stand
// together. SQLite has no other order; on PostgreSQL it is one of several.
func inBytes(db *gorm.DB, column string) string {
	if db.Name() == "postgres" {
		return column + ` COLLATE "C"`
	}
	return column
}

// containing is the pattern of LIKE for names that have the text in them.
func containing(text string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(strings.ToLower(text)) + "%"
}

func isDigest(reference string) bool { return strings.Contains(reference, ":") }

// Untagged lists the images of a repository of the embedded registry that no
// tag names, the one pushed last first. Parts of other images, and what is
// about one, are not among them.
func (s *Service) Untagged(ctx context.Context, repository string, page models.Page) (models.List[models.Image], error) {
	return s.imagesIn(ctx, repository, page, untagged)
}

// untagged narrows a list of images to those that no tag names.
func untagged(q *gorm.DB) *gorm.DB {
	return q.Where("NOT EXISTS (SELECT 1 FROM registry_tags n WHERE n.repository = registry_manifests.repository AND n.digest = registry_manifests.digest)")
}

// Named returns the digest that the tag of a repository names at this moment.
func (s *Service) Named(ctx context.Context, registry, repository, tag string) (digest string, err error) {
	if _, err := readerFrom(ctx); err != nil {
		return "", err
	}
	at, err := s.open(ctx, registry, repository)
	if err != nil {
		return "", err
	}
	if !tagText.MatchString(tag) {
		return "", models.Errorf(models.NotFound, "No such image.")
	}
	c, err := at.manifest(ctx, tag)
	return c.digest, err
}
