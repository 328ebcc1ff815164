package registry

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
)

// Upstream brings what a repository below models.CachePrefix lacks. Its
// functions do nothing for repositories of which the cache knows no upstream.
type Upstream struct {
	// Tag makes sure that the tag is here and names what it names upstream. Where
	// that can't be known now and the tag is here, stale says so in a sentence.
	Tag func(ctx context.Context, repository, tag string) (stale string, err error)
	// Image makes sure that the manifest is here.
	Image func(ctx context.Context, repository string, d digest.Digest) error
	// Blob returns a blob that is not here, while it is stored, and its size.
	// Reading ends without an error only once the digest is known to be right.
	Blob func(ctx context.Context, repository string, d digest.Digest) (io.ReadCloser, int64, error)
}

// fetches tells whether the repository is one of the cache.
func (s *Service) fetches(name string) bool { return s.Upstream != nil && models.Cached(name) }

// cacheRights are everybody's to pull who has a login of their own, and an admin's to delete. Nobody pushes.
func cacheRights(p *models.Principal) []string {
	var out []string
	write := p.HasScope(models.ScopeRegistryWrite)
	if write || p.HasScope(models.ScopeRegistryRead) {
		out = append(out, Pull)
	}
	if p.Admin && write {
		out = append(out, Delete)
	}
	return out
}

func (s *Service) cachedManifest(w http.ResponseWriter, r *http.Request, name, reference string) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return s.manifest(w, r, name, reference)
	}
	if isDigest(reference) {
		d, err := parseDigest(reference)
		if err != nil {
			return err
		}
		if err := s.Upstream.Image(r.Context(), name, d); err != nil {
			return err
		}
		return s.sendManifest(w, r, name, reference)
	}
	if !tagName.MatchString(reference) {
		return errTag
	}
	stale, err := s.Upstream.Tag(r.Context(), name, reference)
	if err != nil {
		return err
	}
	if stale != "" {
		w.Header().Set("Warning", "110 - "+strconv.QuoteToASCII(stale))
	}
	return s.sendManifest(w, r, name, reference)
}

func (s *Service) cachedBlob(w http.ResponseWriter, r *http.Request, name string, d digest.Digest) error {
	var here int64
	err := s.DB.WithContext(r.Context()).Model(&models.RegistryLink{}).Where("repository = ? AND digest = ?", name, d.String()).Count(&here).Error
	if err != nil {
		return err
	}
	if here > 0 || r.Method == http.MethodDelete {
		return s.blob(w, r, name, d)
	}
	content, size, err := s.Upstream.Blob(r.Context(), name, d)
	if err != nil {
		return err
	}
	defer content.Close()
	body := &patientReader{body: content, control: http.NewResponseController(w)}
	defer body.end()
	first := bufio.NewReaderSize(body, 64<<10)
	if r.Method != http.MethodHead {
		if _, err := first.Peek(1); err != nil && err != io.EOF { // before anything is answered the reason can be
			return err
		}
	}
	h := w.Header()
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	if r.Method == http.MethodHead {
		return nil
	}
	if _, err := io.Copy(w, first); err != nil {
		// The client has a part already. It must not take it for the whole.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// StoreBlob stores a blob of a repository of the cache. It becomes visible only
// where the bytes have the digest. ctx acts for Slipway itself.
func (s *Service) StoreBlob(ctx context.Context, repository string, d digest.Digest, size int64, content io.Reader) error {
	address := "/v2/" + repository + "/blobs/uploads/?digest=" + url.QueryEscape(d.String())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, content)
	if err != nil {
		return err
	}
	r.ContentLength = size
	if err := s.startUpload(unheard{http.Header{}}, r, repository); err != nil {
		return fmt.Errorf("storing %s of %s: %w", d, repository, err)
	}
	return nil
}

// unheard is an answer that nobody waits for.
type unheard struct{ header http.Header }

func (u unheard) Header() http.Header         { return u.header }
func (u unheard) Write(b []byte) (int, error) { return len(b), nil }
func (u unheard) WriteHeader(int)             {}

// ShareBlob gives a repository of the cache a blob that another one of the cache has. It is false where none has it.
func (s *Service) ShareBlob(ctx context.Context, repository string, d digest.Digest) (bool, error) {
	var from []models.RegistryLink
	err := s.DB.WithContext(ctx).Where("digest = ? AND repository LIKE ?", d.String(), models.CachePrefix+"%").Limit(1).Find(&from).Error
	if err != nil || len(from) == 0 {
		return false, err
	}
	return s.mount(ctx, repository, from[0].Repository, d)
}

// StoreImage stores a manifest that was fetched for the cache, under the tag where it is not empty. Its
// blobs and the manifests that it names may come later.
func (s *Service) StoreImage(ctx context.Context, repository, tag string, d digest.Digest, mediaType string, raw []byte) error {
	p := &push{name: repository, tag: tag, digest: d, body: bytes.Clone(raw)}
	var err error
	if p.doc, err = readDocument(p.body, mediaType); err != nil {
		return err
	}
	platforms, err := s.platforms(ctx, p)
	if isMissing(err) {
		platforms, err = nil, nil // the config is not here
	}
	if err != nil {
		return err
	}
	for _, m := range p.doc.Manifests {
		if name := platformName(m.Platform); name != "" && len(platforms) < maxPlatforms {
			platforms = append(platforms, name)
		}
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return s.storeFetched(ctx, tx, p, platforms) })
}

func (s *Service) storeFetched(ctx context.Context, tx *gorm.DB, p *push, platforms []string) error {
	if err := s.ensureRepository(tx, p.name); err != nil {
		return err
	}
	var repository models.RegistryRepository
	lock := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate})
	if err := lock.Where("name = ?", p.name).Take(&repository).Error; err != nil {
		return err
	}
	row := s.row(ctx, p, platforms, nil)
	stored := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row)
	if stored.Error != nil {
		return stored.Error
	}
	if err := refer(tx, p); err != nil {
		return err
	}
	if p.tag != "" {
		if err := s.moveTag(ctx, tx, p); err != nil {
			return err
		}
	}
	if stored.RowsAffected == 0 {
		return nil
	}
	if err := tx.Model(&repository).UpdateColumn("push_id", row.PushID).Error; err != nil {
		return err
	}
	entry := audit.Entry{TeamID: repository.TeamID, Action: "cache.fetch", Subject: "image:" + p.name, Name: p.title(),
		Detail: map[string]string{"digest": p.digest.String(), "tag": p.tag}}
	if err := audit.Record(ctx, tx, entry); err != nil {
		return err
	}
	return s.publishEvent(tx, repository, "image.pushed", map[string]string{"repository": p.name, "digest": p.digest.String(), "tag": p.tag})
}

// EvictImage takes an image and its tags out of the cache, as part of tx. Its blobs go once no other image needs them.
func (s *Service) EvictImage(tx *gorm.DB, repository, d string) error {
	err := tx.Where("repository = ? AND digest = ?", repository, d).Delete(&models.RegistryManifest{}).Error // with its tags and references
	if err != nil {
		return err
	}
	return renewLatest(tx, repository)
}
