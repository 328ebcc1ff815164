package registry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// renewEvery is how old the note that a blob is wanted gets before it is
// written anew: often enough for any grace, rarely enough to cost nothing.
const renewEvery = time.Minute

// slowestClient is the bytes a second below which a download is given up.
const slowestClient = 16 << 10

func (s *Service) blob(w http.ResponseWriter, r *http.Request, name string, d digest.Digest) error {
	switch r.Method {
	case http.MethodHead:
		// The client may now leave out the upload, so the blob is wanted.
		if err := s.want(r.Context(), name, d); err != nil {
			return err
		}
		return s.sendBlob(w, r, d)
	case http.MethodDelete:
		return s.deleteBlob(w, r, name, d)
	default:
		if err := s.has(r.Context(), name, d); err != nil {
			return err
		}
		return s.sendBlob(w, r, d)
	}
}

// want makes the blob safe from the collector for another grace.
func (s *Service) want(ctx context.Context, name string, d digest.Digest) error {
	db := s.DB.WithContext(ctx)
	var link models.RegistryLink
	if err := db.Where("repository = ? AND digest = ?", name, d.String()).Take(&link).Error; err != nil {
		return blobUnknown(err)
	}
	now := s.DB.NowFunc()
	if now.Sub(link.TouchedAt) < min(renewEvery, s.grace()/4) {
		return nil
	}
	renewed := db.Model(&models.RegistryLink{}).Where("repository = ? AND digest = ?", name, d.String()).
		UpdateColumns(map[string]any{"touched_at": now, "released_at": nil})
	if renewed.Error == nil && renewed.RowsAffected == 0 { // collected since it was read
		return errBlobUnknown
	}
	return renewed.Error
}

func blobUnknown(err error) error {
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return errBlobUnknown
	}
	return err
}

// has fails where the repository has no such blob.
func (s *Service) has(ctx context.Context, name string, d digest.Digest) error {
	var link models.RegistryLink
	return blobUnknown(s.DB.WithContext(ctx).Where("repository = ? AND digest = ?", name, d.String()).Take(&link).Error)
}

// openBlob opens the content of a blob that the repository has, and returns its size in bytes.
func (s *Service) openBlob(ctx context.Context, name string, d digest.Digest) (io.ReadSeekCloser, int64, error) {
	if err := s.has(ctx, name, d); err != nil {
		return nil, 0, err
	}
	return s.storage().open(ctx, d)
}

// sendBlob answers the blob, which the repository is known to have.
func (s *Service) sendBlob(w http.ResponseWriter, r *http.Request, d digest.Digest) error {
	f, size, err := s.storage().open(r.Context(), d)
	if err != nil {
		return err
	}
	defer f.Close()
	longest := time.Minute + time.Duration(size/slowestClient)*time.Second
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(longest))
	defer control.SetWriteDeadline(time.Time{}) // the connection may serve other requests
	h := w.Header()
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Etag", `"`+d.String()+`"`)
	h.Set("Cache-Control", "private, max-age=31536000, immutable")
	return serveContent(w, r, f)
}

// deleteBlob takes the blob out of the repository, unless an image needs it; the
// collector deletes it once no repository has it.
func (s *Service) deleteBlob(w http.ResponseWriter, r *http.Request, name string, d digest.Digest) error {
	err := s.DB.WithContext(r.Context()).Transaction(func(tx *gorm.DB) error {
		var link models.RegistryLink
		lock := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate})
		if err := lock.Where("repository = ? AND digest = ?", name, d.String()).Take(&link).Error; err != nil {
			return blobUnknown(err)
		}
		var needed int64
		err := tx.Model(&models.RegistryReference{}).Where("repository = ? AND child = ?", name, d.String()).Count(&needed).Error
		if err != nil {
			return err
		}
		if needed > 0 {
			return errBlobNeeded
		}
		return tx.Delete(&link).Error
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// mount gives the repository a blob that another one has. ok is false where the other has it not.
func (s *Service) mount(ctx context.Context, name, from string, d digest.Digest) (ok bool, err error) {
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Where("repository = ? AND digest = ?", from, d.String()).Take(&models.RegistryLink{}).Error; err != nil {
			return err
		}
		if err := s.link(tx, name, d); err != nil {
			return err
		}
		ok = true
		return nil
	})
	if errors.Is(err, gorm.ErrRecordNotFound) || errors.Is(err, errBlobUnknown) {
		return false, nil
	}
	return ok, err
}

// link gives the repository a stored blob and makes it safe from the collector,
// which locks the same row, for another grace.
func (s *Service) link(tx *gorm.DB, name string, d digest.Digest) error {
	now := s.DB.NowFunc()
	touched := tx.Model(&models.RegistryBlob{}).Where("digest = ? AND deleting_at IS NULL", d.String()).UpdateColumn("touched_at", now)
	if touched.Error != nil {
		return touched.Error
	}
	if touched.RowsAffected == 0 {
		return errBlobUnknown
	}
	if err := s.ensureRepository(tx, name); err != nil {
		return err
	}
	err := tx.Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "repository"}, {Name: "digest"}},
		DoUpdates: clause.Assignments(map[string]any{"touched_at": now, "released_at": nil}),
	}).Create(&models.RegistryLink{Repository: name, Digest: d.String(), TouchedAt: now}).Error
	if err != nil {
		return err
	}
	return s.settle(tx, name, d)
}

// ensureRepository makes the repository's row with the first thing that is pushed to it.
func (s *Service) ensureRepository(tx *gorm.DB, name string) error {
	slug, _ := teamSlug(name)
	ids, err := s.teamIDs.find(tx, []string{slug})
	if err != nil {
		return err
	}
	id, ok := ids[slug]
	if !ok {
		return models.Errorf(models.NotFound, "No team is called %q.", slug)
	}
	row := models.RegistryRepository{Name: name, TeamID: id, CreatedAt: s.DB.NowFunc()}
	return tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error
}
