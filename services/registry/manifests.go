package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

func (s *Service) manifest(w http.ResponseWriter, r *http.Request, name, reference string) error {
	switch r.Method {
	case http.MethodPut:
		return s.putManifest(w, r, name, reference)
	case http.MethodDelete:
		return s.deleteManifest(w, r, name, reference)
	default:
		return s.sendManifest(w, r, name, reference)
	}
}

func manifestUnknown(err error) error {
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return errManifestUnknown
	}
	return err
}

func (s *Service) sendManifest(w http.ResponseWriter, r *http.Request, name, reference string) error {
	db := s.DB.WithContext(r.Context())
	d, err := resolve(db, name, reference)
	if err != nil {
		return err
	}
	var m models.RegistryManifest
	if err := db.Where("repository = ? AND digest = ?", name, d.String()).Take(&m).Error; err != nil {
		return manifestUnknown(err)
	}
	h := w.Header()
	h.Set("Content-Type", m.MediaType)
	h.Set("Docker-Content-Digest", m.Digest)
	h.Set("Etag", `"`+m.Digest+`"`)
	if r.Method == http.MethodGet {
		tag := reference
		if isDigest(reference) {
			tag = ""
		}
		if err := s.countPull(r.Context(), name, tag, m.Digest); err != nil {
			return err
		}
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(m.Content))
	return nil
}

// push is one manifest on its way in.
type push struct {
	name   string
	digest digest.Digest
	tag    string   // empty for a push by digest
	more   []string // tags of a push by digest
	doc    *document
	body   []byte
}

func (s *Service) putManifest(w http.ResponseWriter, r *http.Request, name, reference string) error {
	p := &push{name: name}
	body, done, err := s.readManifest(w, r)
	if err != nil {
		return err
	}
	defer done()
	if err := p.read(r, reference, body); err != nil {
		return err
	}
	if err := s.storage().room(int64(len(p.body))); err != nil {
		return err
	}
	platforms, err := s.platforms(r.Context(), p)
	if err != nil {
		return err
	}
	err = s.DB.WithContext(r.Context()).Transaction(func(tx *gorm.DB) error {
		return s.store(r.Context(), tx, p, platforms)
	})
	if err != nil {
		return err
	}
	if p.doc.Subject != nil {
		w.Header().Set("OCI-Subject", p.doc.Subject.Digest.String())
	}
	for _, tag := range p.more {
		w.Header().Add("OCI-Tag", tag)
	}
	w.Header().Set("Location", "/v2/"+name+"/manifests/"+p.digest.String())
	w.Header().Set("Docker-Content-Digest", p.digest.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

// read checks what can be checked without the database. The digest is always
// that of the bytes that arrived.
func (p *push) read(r *http.Request, reference string, body []byte) (err error) {
	p.body = body
	if isDigest(reference) {
		if p.digest, err = parseDigest(reference); err != nil {
			return err
		}
		if p.digest.Algorithm().FromBytes(body) != p.digest {
			return errDigest
		}
		if p.more, err = askedTags(r); err != nil {
			return err
		}
	} else {
		p.tag, p.digest = reference, digest.FromBytes(body)
	}
	p.doc, err = readDocument(body, r.Header.Get("Content-Type"))
	return err
}

// askedTags returns the tags that a push by digest asks for
// (distribution specification, "Pushing Manifests", newer than 1.1).
func askedTags(r *http.Request) ([]string, error) {
	var tags []string
	for _, tag := range r.URL.Query()["tag"] {
		if !tagName.MatchString(tag) {
			return nil, errTag
		}
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	if len(tags) > maxTags {
		return nil, errTooManyTags
	}
	return tags, nil
}

// store writes the manifest and all that follows from it.
func (s *Service) store(ctx context.Context, tx *gorm.DB, p *push, platforms []string) error {
	if err := s.ensureRepository(tx, p.name); err != nil {
		return err
	}
	var repository models.RegistryRepository
	lock := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate})
	if err := lock.Where("name = ?", p.name).Take(&repository).Error; err != nil {
		return err
	}
	if err := checkBlobs(tx, p); err != nil {
		return err
	}
	children, err := children(tx, p)
	if err != nil {
		return err
	}
	row := s.row(ctx, p, platforms, children)
	if err := tx.Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "repository"}, {Name: "digest"}},
		DoUpdates: clause.AssignmentColumns([]string{"push_id", "media_type", "pushed_by", "pushed_by_name", "pushed_at"}),
	}).Create(&row).Error; err != nil {
		return err
	}
	if err := refer(tx, p); err != nil {
		return err
	}
	if err := takeOut(tx, p); err != nil {
		return fmt.Errorf("taking %s out of what is deleted: %w", p.title(), err)
	}
	if p.doc.Subject == nil {
		if err := tx.Model(&repository).UpdateColumn("push_id", row.PushID).Error; err != nil {
			return err
		}
	}
	for _, one := range p.tagged() {
		if err := s.announcePush(ctx, tx, one, repository); err != nil {
			return err
		}
	}
	return nil
}

// tagged returns the push as it is, or once for each of the tags that it asks for.
func (p *push) tagged() []*push {
	if len(p.more) == 0 {
		return []*push{p}
	}
	all := make([]*push, len(p.more))
	for i, tag := range p.more {
		one := *p
		one.tag = tag
		all[i] = &one
	}
	return all
}

// announcePush moves the tag and tells the audit log and open pages.
func (s *Service) announcePush(ctx context.Context, tx *gorm.DB, p *push, repository models.RegistryRepository) error {
	if p.tag != "" {
		if err := s.moveTag(ctx, tx, p); err != nil {
			return err
		}
	}
	if err := audit.Record(ctx, tx, audit.Entry{
		TeamID: repository.TeamID, Action: "image.push", Subject: "image:" + p.name, Name: p.title(),
		Detail: map[string]string{"digest": p.digest.String(), "tag": p.tag},
	}); err != nil {
		return err
	}
	return s.publishEvent(tx, repository, "image.pushed", map[string]string{
		"repository": p.name, "digest": p.digest.String(), "tag": p.tag,
	})
}

// title is what people call the push.
func (p *push) title() string {
	if p.tag != "" {
		return p.name + ":" + p.tag
	}
	return p.name + "@" + p.digest.String()
}

// publishEvent tells the pages of the repository, and of the app that it belongs to.
func (s *Service) publishEvent(tx *gorm.DB, repository models.RegistryRepository, kind string, data map[string]string) error {
	e := models.Event{TeamID: repository.TeamID, Kind: kind, Topic: "image:" + repository.Name, Data: data}
	_, app, _ := strings.Cut(repository.Name, "/")
	var apps []models.App
	if err := tx.Select("id").Where("team_id = ? AND name = ?", repository.TeamID, app).Find(&apps).Error; err != nil {
		return err
	}
	if len(apps) == 1 {
		e.Parent = "app:" + apps[0].ID
	}
	return events.Publish(tx, e)
}

func (s *Service) row(ctx context.Context, p *push, platforms []string, children []models.RegistryManifest) models.RegistryManifest {
	row := models.RegistryManifest{
		Repository: p.name, Digest: p.digest.String(), PushID: models.NewID(), MediaType: p.doc.MediaType,
		ArtifactType: p.doc.artifactType(), Annotations: p.doc.Annotations, Content: p.body,
		Platforms: platforms, ImageSize: p.doc.size(), PushedAt: s.DB.NowFunc(),
	}
	row.PushedBy, row.PushedByName = actor(ctx)
	if p.doc.Subject != nil {
		row.Subject = p.doc.Subject.Digest.String()
	}
	if p.doc.Config != nil {
		row.ConfigDigest = p.doc.Config.Digest.String()
	}
	for _, c := range children {
		row.ImageSize = add(row.ImageSize, c.ImageSize)
		row.Nesting = max(row.Nesting, c.Nesting+1)
		for _, name := range c.Platforms {
			if len(row.Platforms) < maxPlatforms && !slices.Contains(row.Platforms, name) {
				row.Platforms = append(row.Platforms, name)
			}
		}
	}
	return row
}

// actor is who pushes, for people: a person, a token, a build; nobody where Slipway itself does.
func actor(ctx context.Context) (id, name string) {
	p := models.PrincipalFrom(ctx)
	if p == nil || p.Kind == models.PrincipalSystem && p.ID == "" {
		return "", ""
	}
	if p.UserID != "" {
		return p.UserID, p.Name
	}
	return p.ID, p.Name
}

// refer writes down what the manifest needs.
func refer(tx *gorm.DB, p *push) error {
	var rows []models.RegistryReference
	seen := map[digest.Digest]bool{}
	for _, x := range slices.Concat(p.doc.blobs(), p.doc.Manifests) {
		if !seen[x.Digest] {
			seen[x.Digest] = true
			rows = append(rows, models.RegistryReference{Repository: p.name, Manifest: p.digest.String(), Child: x.Digest.String()})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return tx.Clauses(clause.OnConflict{DoNothing: true}).CreateInBatches(rows, 200).Error
}
