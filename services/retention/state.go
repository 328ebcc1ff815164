package retention

import (
	"fmt"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/registry"
)

// manifest is what a plan knows of one manifest of the repository. Others are named by their place in the list.
type manifest struct {
	digest   string
	subject  string
	cache    bool // of BuildKit
	pushedAt time.Time
	size     int64
	tags     []tag
	children []int // images of an index
	parents  []int
	about    []int // what is about it: signatures and the like
	subjects []int // what it is about
	blobs    []int
}

type tag struct {
	name    string
	movedAt time.Time
}

type blob struct {
	size      int64
	elsewhere bool // another repository has it too, or something deleted that can be restored
	needed    int  // manifests of the repository that need it
}

// state is a repository as it is at one moment, the image pushed last first.
type state struct {
	manifests []manifest
	places    map[string]int // by digest
	blobs     []blob
}

const cacheType = "application/vnd.buildkit.cacheconfig.v0"

// read reads the repository with four queries, however much it holds.
func read(db *gorm.DB, name string) (*state, error) {
	s := &state{places: map[string]int{}}
	for _, part := range []func(*gorm.DB, string) error{s.readManifests, s.readTags, s.readBlobs} {
		if err := part(db, name); err != nil {
			return nil, fmt.Errorf("reading what %s holds: %w", name, err)
		}
	}
	s.attach()
	return s, nil
}

func (s *state) readManifests(db *gorm.DB, name string) error {
	rows, err := db.Raw(`SELECT digest, subject, artifact_type, pushed_at, image_size FROM registry_manifests
		WHERE repository = ? ORDER BY push_id DESC`, name).Rows()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var m manifest
		var kind string
		if err := rows.Scan(&m.digest, &m.subject, &kind, &m.pushedAt, &m.size); err != nil {
			return err
		}
		m.cache = kind == cacheType
		s.places[m.digest] = len(s.manifests)
		s.manifests = append(s.manifests, m)
	}
	return rows.Err()
}

func (s *state) readTags(db *gorm.DB, name string) error {
	rows, err := db.Raw("SELECT name, digest, moved_at FROM registry_tags WHERE repository = ? ORDER BY name", name).Rows()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var t tag
		var digest string
		if err := rows.Scan(&t.name, &digest, &t.movedAt); err != nil {
			return err
		}
		if at, ok := s.places[digest]; ok {
			s.manifests[at].tags = append(s.manifests[at].tags, t)
		}
	}
	return rows.Err()
}

// readBlobs reads the layers' sizes, whether something else has them too, and what needs what.
func (s *state) readBlobs(db *gorm.DB, name string) error {
	rows, err := db.Raw(`SELECT l.digest, b.size,
			EXISTS (SELECT 1 FROM registry_links o WHERE o.digest = l.digest AND o.repository <> l.repository)
			OR EXISTS (SELECT 1 FROM registry_deleted_references x WHERE x.child = l.digest)
		FROM registry_links l JOIN registry_blobs b ON b.digest = l.digest WHERE l.repository = ?`, name).Rows()
	if err != nil {
		return err
	}
	defer rows.Close()
	blobs := map[string]int{}
	for rows.Next() {
		var b blob
		var digest string
		if err := rows.Scan(&digest, &b.size, &b.elsewhere); err != nil {
			return err
		}
		blobs[digest] = len(s.blobs)
		s.blobs = append(s.blobs, b)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return s.readReferences(db, name, blobs)
}

func (s *state) readReferences(db *gorm.DB, name string, blobs map[string]int) error {
	rows, err := db.Raw("SELECT manifest, child FROM registry_references WHERE repository = ?", name).Rows()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var parent, child string
		if err := rows.Scan(&parent, &child); err != nil {
			return err
		}
		from, ok := s.places[parent]
		if !ok {
			continue
		}
		if to, ok := s.places[child]; ok {
			s.manifests[from].children = append(s.manifests[from].children, to)
			s.manifests[to].parents = append(s.manifests[to].parents, from)
		} else if at, ok := blobs[child]; ok {
			s.manifests[from].blobs = append(s.manifests[from].blobs, at)
			s.blobs[at].needed++
		}
	}
	return rows.Err()
}

// attach joins what is about a manifest with it: by its subject, or by a tag such as sha256-….sig.
func (s *state) attach() {
	for i := range s.manifests {
		m := &s.manifests[i]
		subjects := []string{m.subject}
		for _, t := range m.tags {
			subjects = append(subjects, registry.AttachedTo(t.name))
		}
		for _, digest := range subjects {
			if of, ok := s.places[digest]; ok && of != i {
				m.subjects = append(m.subjects, of)
				s.manifests[of].about = append(s.manifests[of].about, i)
			}
		}
	}
}

// named are the manifest's tags that people gave it.
func (s *state) named(m manifest) []tag {
	var out []tag
	for _, t := range m.tags {
		if of := registry.AttachedTo(t.name); of != "" {
			if _, ok := s.places[of]; ok {
				continue
			}
		}
		out = append(out, t)
	}
	return out
}

// alone tells whether the manifest stands for itself: it is no part of another and not about one.
func (m manifest) alone() bool { return len(m.parents) == 0 && len(m.subjects) == 0 }

// allTags are the repository's tags as the registry knows them.
func (s *state) allTags(name string) []models.RegistryTag {
	var out []models.RegistryTag
	for _, m := range s.manifests {
		for _, t := range m.tags {
			out = append(out, models.RegistryTag{Repository: name, Name: t.name, Digest: m.digest, MovedAt: t.movedAt})
		}
	}
	return out
}
