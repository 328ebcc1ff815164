package registry

import (
	"context"
	"encoding"
	"errors"
	"hash"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"gocloud.dev/blob"
	"gorm.io/gorm"
	"slipway.dev/models"
)

// bufferSize is how many bytes go to the bucket at once; S3 takes no less than 5 MiB.
const bufferSize = 8 << 20

// heldUpload is an upload of the bucket that this request holds, as its row
// says. The hold is a promise for a time, renewed while bytes arrive: another
// request that takes it once the time is over changes the holder, and what this
// one then writes down is refused.
type heldUpload struct {
	bucket
	ctx     context.Context // of what is done in between for Write, which has none
	saved   models.RegistryUpload
	holder  string
	renewed time.Time

	name    string // of the object that takes the bytes; empty while there is none
	watch   *watch
	object  *blob.Writer // nil once it is whole
	written int64
	ended   bool // the upload is no more
}

func (u *heldUpload) row() *models.RegistryUpload { return &u.saved }

// held narrows a query to the upload's row while this request holds it.
func (u *heldUpload) held(tx *gorm.DB) *gorm.DB {
	return tx.Model(&models.RegistryUpload{}).Where("id = ? AND holder = ?", u.saved.ID, u.holder)
}

// Write sends the bytes on to the bucket.
func (u *heldUpload) Write(b []byte) (n int, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	if err := u.renew(); err != nil {
		return 0, err
	}
	if u.object == nil {
		if err := u.begin(); err != nil {
			return 0, err
		}
	}
	err = u.watch.within(func() error {
		n, err = u.object.Write(b)
		return err
	})
	u.written += int64(n)
	if err != nil {
		return n, storageFault("writing to the bucket", err)
	}
	return n, nil
}

// begin starts an object, whose row is there before it.
func (u *heldUpload) begin() error {
	name := partPrefix + models.NewID()
	if err := u.DB.WithContext(u.ctx).Create(&models.RegistryPart{Name: name, TouchedAt: u.DB.NowFunc()}).Error; err != nil {
		return err
	}
	u.name, u.written, u.watch = name, 0, newWatch(u.ctx, u.patience())
	object, err := u.Bucket.NewWriter(u.watch.ctx, name, &blob.WriterOptions{
		BufferSize: bufferSize, MaxConcurrency: 1, ContentType: "application/octet-stream",
	})
	if err != nil {
		return storageFault("writing to the bucket", err)
	}
	u.object = object
	return nil
}

// renew says that this request goes on, a few times in each lease.
func (u *heldUpload) renew() error {
	now := u.DB.NowFunc()
	if now.Sub(u.renewed) < u.lease()/4 {
		return nil
	}
	u.renewed = now
	kept := u.held(u.DB.WithContext(u.ctx)).UpdateColumns(map[string]any{"held_until": now.Add(u.lease()), "touched_at": now})
	if kept.Error != nil {
		return kept.Error
	}
	if kept.RowsAffected == 0 {
		return errUploadUnknown // canceled, or taken by another request
	}
	return u.DB.WithContext(u.ctx).Model(&models.RegistryPart{}).Where("name = ?", u.name).UpdateColumn("touched_at", now).Error
}

// seal makes the object that is being written whole.
func (u *heldUpload) seal() error {
	if u.object == nil {
		return nil
	}
	err := u.watch.within(u.object.Close)
	u.object = nil
	u.watch.end()
	if err != nil {
		return storageFault("writing to the bucket", err)
	}
	return nil
}

func (u *heldUpload) keep(ctx context.Context, size int64, h hash.Hash) error {
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return err
	}
	if err := u.seal(); err != nil {
		return err
	}
	now := u.DB.NowFunc()
	err = u.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		kept := u.held(tx).UpdateColumns(map[string]any{"size": size, "state": state, "touched_at": now, "held_until": now.Add(u.lease())})
		if kept.Error != nil {
			return kept.Error
		}
		if kept.RowsAffected == 0 {
			return errUploadUnknown
		}
		return u.adopt(tx)
	})
	if err != nil {
		return err
	}
	u.saved.Size, u.saved.State, u.name, u.renewed = size, state, "", now
	return nil
}

// adopt makes the object a part of the upload.
func (u *heldUpload) adopt(tx *gorm.DB) error {
	if u.name == "" {
		return nil
	}
	adopted := tx.Model(&models.RegistryPart{}).Where("name = ? AND owner = '' AND deleting_at IS NULL", u.name).
		UpdateColumns(map[string]any{"owner": u.saved.ID, "start": u.saved.Size, "size": u.written})
	if adopted.Error == nil && adopted.RowsAffected == 0 {
		return errUploadUnknown // it took so long that the collector has it
	}
	return adopted.Error
}

func (u *heldUpload) content(ctx context.Context) (io.ReadCloser, error) {
	parts, err := u.parts(ctx, u.saved.ID)
	if err != nil {
		return nil, err
	}
	return u.newContent(ctx, parts), nil
}

// publish gives the upload's parts to the blob, or to the collector where another push brought the same.
func (u *heldUpload) publish(ctx context.Context, d digest.Digest, size int64, then func(tx *gorm.DB) error) error {
	if err := u.seal(); err != nil {
		return err
	}
	err := u.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		ended := u.held(tx).Delete(&models.RegistryUpload{})
		if ended.Error != nil {
			return ended.Error
		}
		if ended.RowsAffected == 0 {
			return errUploadUnknown
		}
		if err := u.adopt(tx); err != nil {
			return err
		}
		if err := u.announce(tx, d, size); err != nil { // its row is locked from here on
			return err
		}
		return errors.Join(u.give(tx, d), then(tx))
	})
	u.ended = err == nil
	return err
}

func (u *heldUpload) give(tx *gorm.DB, d digest.Digest) error {
	var there int64
	if err := tx.Model(&models.RegistryPart{}).Where("owner = ?", d.String()).Count(&there).Error; err != nil {
		return err
	}
	if there > 0 {
		return u.disown(tx, u.saved.ID)
	}
	return tx.Model(&models.RegistryPart{}).Where("owner = ?", u.saved.ID).UpdateColumn("owner", d.String()).Error
}

// release leaves what was not kept to the collector. Where the database does not answer, the lease ends by itself.
func (u *heldUpload) release(ctx context.Context) {
	if u.ended {
		return
	}
	if u.object != nil {
		u.watch.end() // an object whose context has ended is given up, not stored
		_ = u.object.Close()
	}
	db := u.DB.WithContext(ctx)
	if u.name != "" {
		_ = db.Model(&models.RegistryPart{}).Where("name = ? AND owner = ''", u.name).UpdateColumn("deleting_at", u.DB.NowFunc()).Error
	}
	_ = u.held(db).UpdateColumns(map[string]any{"holder": "", "held_until": nil}).Error
}
