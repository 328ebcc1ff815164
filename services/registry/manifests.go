package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
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

// resolve returns the digest that a tag or digest of the repository means.
func resolve(db *gorm.DB, name, reference string) (digest.Digest, error) {
	if isDigest(reference) {
		return parseDigest(reference)
	}
	var tag models.RegistryTag
	err := db.Where("repository = ? AND name = ?", name, reference).Take(&tag).Error
	return digest.Digest(tag.Digest), manifestUnknown(err)
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
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(m.Content))
	return nil
}

// push is one manifest on its way in.
type push struct {
	name   string
	digest digest.Digest
	tag    string // empty for a push by digest
	doc    *document
	body   []byte
}

func (s *Service) putManifest(w http.ResponseWriter, r *http.Request, name, reference string) error {
	p, err := readPush(w, r, name, reference)
	if err != nil {
		return err
	}
	if err := s.checkSpace(int64(len(p.body))); err != nil {
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
	w.Header().Set("Location", "/v2/"+name+"/manifests/"+p.digest.String())
	w.Header().Set("Docker-Content-Digest", p.digest.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

// readPush reads and checks what can be checked without the database. The
// digest is always that of the bytes that arrived.
func readPush(w http.ResponseWriter, r *http.Request, name, reference string) (*push, error) {
	reader := &patientReader{body: io.LimitReader(r.Body, maxManifest+1), control: http.NewResponseController(w)}
	defer reader.end()
	body, err := io.ReadAll(reader)
	if err != nil {
		return nil, errUploadBroken
	}
	if len(body) > maxManifest {
		return nil, errManifestSize
	}
	p := &push{name: name, body: body}
	if isDigest(reference) {
		if p.digest, err = parseDigest(reference); err != nil {
			return nil, err
		}
		if p.digest.Algorithm().FromBytes(body) != p.digest {
			return nil, errDigest
		}
	} else {
		if !tagName.MatchString(reference) {
			return nil, errTag
		}
		p.tag, p.digest = reference, digest.FromBytes(body)
	}
	p.doc, err = readDocument(body, r.Header.Get("Content-Type"))
	return p, err
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
	if p.doc.Subject == nil {
		if err := tx.Model(&repository).UpdateColumn("push_id", row.PushID).Error; err != nil {
			return err
		}
	}
	return s.announcePush(ctx, tx, p, repository)
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
		row.ImageSize += c.ImageSize
		for _, name := range c.Platforms {
			if !slices.Contains(row.Platforms, name) {
				row.Platforms = append(row.Platforms, name)
			}
		}
	}
	return row
}

// actor is who pushes, for people; nobody where Slipway itself does.
func actor(ctx context.Context) (id, name string) {
	p := models.PrincipalFrom(ctx)
	if p == nil || p.Kind == models.PrincipalSystem {
		return "", ""
	}
	if p.UserID != "" {
		return p.UserID, p.Name
	}
	return p.ID, p.Name
}

// checkBlobs makes sure that the repository has the config and the layers, and
// keeps the collector from them until the manifest is stored.
func checkBlobs(tx *gorm.DB, p *push) error {
	var want []string
	for _, b := range p.doc.blobs() {
		if len(b.URLs) == 0 { // others live elsewhere
			want = append(want, b.Digest.String())
		}
	}
	slices.Sort(want) // everyone locks in the same order
	want = slices.Compact(want)
	var links []models.RegistryLink
	err := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthShare}).
		Where("repository = ? AND digest IN ?", p.name, want).Order("digest").Find(&links).Error
	if err != nil {
		return fmt.Errorf("looking for the layers of %s: %w", p.title(), err)
	}
	if len(links) != len(want) {
		return errManifestBlob
	}
	return nil
}

// children returns the manifests that an index names, all of which the repository must have.
func children(tx *gorm.DB, p *push) ([]models.RegistryManifest, error) {
	var want []string
	for _, m := range p.doc.Manifests {
		want = append(want, m.Digest.String())
	}
	slices.Sort(want)
	want = slices.Compact(want)
	var rows []models.RegistryManifest
	err := tx.Select("repository", "digest", "platforms", "image_size").
		Where("repository = ? AND digest IN ?", p.name, want).Find(&rows).Error
	if err != nil {
		return nil, err
	}
	if len(rows) != len(want) {
		return nil, errManifestBlob
	}
	slices.SortStableFunc(rows, func(a, b models.RegistryManifest) int { return p.doc.place(a.Digest) - p.doc.place(b.Digest) })
	return rows, nil
}

// place is where in the index the manifest stands.
func (d *document) place(child string) int {
	return slices.IndexFunc(d.Manifests, func(m v1.Descriptor) bool { return m.Digest.String() == child })
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

// platforms reads the platform of an image out of its config.
func (s *Service) platforms(ctx context.Context, p *push) ([]string, error) {
	if !imageConfig(p.doc.Config) {
		return nil, nil
	}
	f, _, err := s.openBlob(ctx, p.name, p.doc.Config.Digest)
	if errors.Is(err, errBlobUnknown) {
		return nil, errManifestBlob
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if name := platform(f); name != "" {
		return []string{name}, nil
	}
	return nil, nil
}
