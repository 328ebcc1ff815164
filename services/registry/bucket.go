package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
	"gorm.io/gorm"
	"slipway.dev/models"
)

// The objects of the bucket that have parts of blobs and uploads.
const partPrefix = "parts/"

// bucket keeps blobs and uploads as objects. What a request brings is one object
// or more, each under a name of its own, and a row says what it is a part of. An
// upload becomes a blob by its rows alone: nothing is copied, and no object ever
// changes, so that two processes can't get in each other's way.
//
// A blob without parts lies under the name that its file would have in a folder,
// so that a folder can be copied into a bucket.
type bucket struct{ *Service }

func (b bucket) create(ctx context.Context, up *models.RegistryUpload, _ int64) error {
	return b.DB.WithContext(ctx).Create(up).Error
}

// take makes this request the upload's holder, where it has none or one whose time is over.
func (b bucket) take(ctx context.Context, repository, id string) (upload, error) {
	u := &heldUpload{bucket: b, ctx: context.WithoutCancel(ctx), holder: models.NewID()}
	now := b.DB.NowFunc()
	err := b.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		taken := tx.Model(&models.RegistryUpload{}).Where("id = ? AND repository = ?", id, repository).
			Where("holder = '' OR held_until < ?", now).
			UpdateColumns(map[string]any{"holder": u.holder, "held_until": now.Add(b.lease())})
		if taken.Error != nil {
			return taken.Error
		}
		var err error
		if u.saved, err = findUpload(tx, repository, id); err != nil {
			return err
		}
		if taken.RowsAffected == 0 {
			return errUploadBusy
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	u.renewed = now
	return u, nil
}

func (b bucket) drop(ctx context.Context, id string) error {
	_, _, err := b.dropWhere(ctx, id, "1 = 1")
	return err
}

func (b bucket) expire(ctx context.Context, id string, before time.Time) (gone bool, freed int64, err error) {
	return b.dropWhere(ctx, id, "touched_at < ? AND (holder = '' OR held_until < ?)", before, b.DB.NowFunc())
}

// dropWhere deletes the upload if it is so, and marks its parts. Their bytes are counted when they are purged.
func (b bucket) dropWhere(ctx context.Context, id, where string, args ...any) (gone bool, freed int64, err error) {
	err = b.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		deleted := tx.Where("id = ?", id).Where(where, args...).Delete(&models.RegistryUpload{})
		if deleted.Error != nil || deleted.RowsAffected == 0 {
			return deleted.Error
		}
		gone = true
		return b.disown(tx, id)
	})
	return gone, 0, err
}

// disown marks the owner's parts. From then on they are the collector's.
func (b bucket) disown(tx *gorm.DB, owner string) error {
	return tx.Model(&models.RegistryPart{}).Where("owner = ?", owner).
		UpdateColumns(map[string]any{"owner": "", "deleting_at": b.DB.NowFunc()}).Error
}

// parts returns what the upload or the blob is made of, in order.
func (b bucket) parts(ctx context.Context, owner string) ([]models.RegistryPart, error) {
	var parts []models.RegistryPart
	if err := b.DB.WithContext(ctx).Where("owner = ?", owner).Order("start").Find(&parts).Error; err != nil {
		return nil, fmt.Errorf("reading what %s is made of: %w", owner, err)
	}
	return parts, nil
}

func (b bucket) open(ctx context.Context, d digest.Digest) (io.ReadSeekCloser, int64, error) {
	var row models.RegistryBlob
	if err := b.DB.WithContext(ctx).Where("digest = ?", d.String()).Take(&row).Error; err != nil {
		return nil, 0, blobUnknown(err)
	}
	parts, err := b.parts(ctx, d.String())
	if err != nil {
		return nil, 0, err
	}
	if len(parts) == 0 && row.Size > 0 {
		if parts, err = b.copied(ctx, d, row.Size); err != nil {
			return nil, 0, err
		}
	}
	return b.newContent(ctx, parts), row.Size, nil
}

// copied is the one object of a blob that came from a folder.
func (b bucket) copied(ctx context.Context, d digest.Digest, size int64) ([]models.RegistryPart, error) {
	ctx, cancel := context.WithTimeout(ctx, b.patience())
	defer cancel()
	there, err := b.Bucket.Attributes(ctx, blobName(d))
	if gcerrors.Code(err) == gcerrors.NotFound || err == nil && there.Size != size {
		return nil, errBlobUnknown
	}
	if err != nil {
		return nil, storageFault("looking for a blob in the bucket", err)
	}
	return []models.RegistryPart{{Name: blobName(d), Size: size}}, nil
}

// destroy marks the blob's parts and deletes its row: after it, a push of the same content brings parts of its own.
func (b bucket) destroy(ctx context.Context, d digest.Digest) (gone bool, freed int64, err error) {
	err = b.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var marked []models.RegistryBlob
		if err := lock(tx).Where("digest = ? AND deleting_at IS NOT NULL", d.String()).Find(&marked).Error; err != nil || len(marked) == 0 {
			return err
		}
		gone = true
		var parts int64
		if err := tx.Model(&models.RegistryPart{}).Where("owner = ?", d.String()).Count(&parts).Error; err != nil {
			return err
		}
		if parts == 0 { // it may have come from a folder
			now := b.DB.NowFunc()
			row := models.RegistryPart{Name: blobName(d), TouchedAt: now, DeletingAt: &now}
			if err := tx.Clauses(anew("name", "touched_at", "deleting_at")).Create(&row).Error; err != nil {
				return err
			}
		}
		if err := b.disown(tx, d.String()); err != nil {
			return err
		}
		return tx.Delete(&marked[0]).Error
	})
	return gone, 0, err
}

// orphans lists the bucket for objects that no row knows. A row is there before
// its object, so such an object is nobody's.
func (b bucket) orphans(ctx context.Context, before time.Time) error {
	list := b.Bucket.List(&blob.ListOptions{Prefix: partPrefix})
	for done := false; !done; {
		old := map[string]int64{}
		for len(old) < collectBatch && !done {
			o, err := list.Next(ctx)
			if errors.Is(err, io.EOF) {
				done = true
			} else if err != nil {
				return storageFault("listing the bucket", err)
			} else if o.ModTime.Before(before) {
				old[o.Key] = o.Size
			}
		}
		if err := b.markUnknown(ctx, old); err != nil {
			return err
		}
	}
	return nil
}

func (b bucket) markUnknown(ctx context.Context, old map[string]int64) error {
	var known []string
	if err := b.DB.WithContext(ctx).Model(&models.RegistryPart{}).Where("name IN ?", keys(old)).Pluck("name", &known).Error; err != nil {
		return err
	}
	for _, name := range known {
		delete(old, name)
	}
	now := b.DB.NowFunc()
	for name, size := range old {
		row := models.RegistryPart{Name: name, Size: size, TouchedAt: now, DeletingAt: &now}
		if err := b.DB.WithContext(ctx).Clauses(ignore()).Create(&row).Error; err != nil {
			return err
		}
	}
	return nil
}

// purge marks what requests left that died, and deletes the objects of all parts that are marked.
func (b bucket) purge(ctx context.Context, before time.Time, done func(bytes int64) error) error {
	left := b.DB.WithContext(ctx).Model(&models.RegistryPart{}).Where("owner = '' AND deleting_at IS NULL AND touched_at < ?", before).
		UpdateColumn("deleting_at", b.DB.NowFunc())
	if left.Error != nil {
		return left.Error
	}
	for {
		var parts []models.RegistryPart
		err := b.DB.WithContext(ctx).Where("owner = '' AND deleting_at IS NOT NULL").Order("touched_at").Limit(collectBatch).Find(&parts).Error
		if err != nil || len(parts) == 0 {
			return err
		}
		for _, p := range parts {
			size, err := b.purgePart(ctx, p)
			if err != nil {
				return err
			}
			if err := done(size); err != nil {
				return err
			}
		}
	}
}

// purgePart deletes the object and then its row, and returns how many bytes the object had.
func (b bucket) purgePart(ctx context.Context, p models.RegistryPart) (int64, error) {
	bounded, cancel := context.WithTimeout(ctx, b.patience())
	defer cancel()
	if p.Size == 0 { // nobody wrote down how large it is
		there, err := b.Bucket.Attributes(bounded, p.Name)
		if err != nil && gcerrors.Code(err) != gcerrors.NotFound {
			return 0, storageFault("looking at an object of the bucket", err)
		}
		if err == nil {
			p.Size = there.Size
		}
	}
	if err := b.Bucket.Delete(bounded, p.Name); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return 0, storageFault("deleting from the bucket", err)
	}
	return p.Size, b.DB.WithContext(ctx).Delete(&models.RegistryPart{}, "name = ?", p.Name).Error
}

func (b bucket) owner(ctx context.Context, installation string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, b.patience())
	defer cancel()
	data, err := b.Bucket.ReadAll(ctx, "owner")
	if gcerrors.Code(err) == gcerrors.NotFound {
		data = []byte(installation)
		err = b.Bucket.WriteAll(ctx, "owner", data, &blob.WriterOptions{ContentType: "text/plain"})
	}
	if err != nil {
		return "", storageFault("asking whose the bucket is", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// room is for a bucket to say, which does when it is full.
func (b bucket) room(int64) error { return nil }
