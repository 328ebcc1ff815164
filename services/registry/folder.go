package registry

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// folder keeps each blob and each upload as a file. An upload becomes a blob by
// its new name. All processes of the registry have the same folder.
type folder struct{ *Service }

// blobPath is where the blob's content is. The digest was parsed, so its parts hold letters and digits alone.
func (f folder) blobPath(d digest.Digest) string { return filepath.Join(f.Folder, blobName(d)) }

// blobName is the blob's path below the folder, with slashes.
func blobName(d digest.Digest) string {
	return "blobs/" + d.Algorithm().String() + "/" + d.Encoded()[:2] + "/" + d.Encoded()
}

func (f folder) uploadPath(id string) string { return filepath.Join(f.Folder, "uploads", id) }

func (f folder) create(ctx context.Context, up *models.RegistryUpload, size int64) error {
	if err := f.makeFolder(filepath.Join(f.Folder, "uploads")); err != nil {
		return err
	}
	file, err := os.OpenFile(f.uploadPath(up.ID), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(file.Close(), f.room(size)); err != nil {
		return errors.Join(err, remove(f.uploadPath(up.ID)))
	}
	return f.DB.WithContext(ctx).Create(up).Error
}

// take locks the upload's file: the lock of a process ends with it.
func (f folder) take(ctx context.Context, repository, id string) (upload, error) {
	file, err := f.lockUpload(id)
	if err != nil {
		return nil, err
	}
	up := &uploadFile{folder: f, File: file}
	if up.saved, err = f.findUpload(ctx, repository, id); err != nil { // read under the lock
		return nil, errors.Join(err, file.Close())
	}
	if err := up.resume(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return up, nil
}

// lockUpload opens the upload's file and keeps every other request, of this
// process or another, from it until it is closed.
func (f folder) lockUpload(id string) (*os.File, error) {
	file, err := os.OpenFile(f.uploadPath(id), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errUploadUnknown
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errUploadBusy
		}
		return nil, fmt.Errorf("locking an upload: %w", err)
	}
	return file, nil
}

func (f folder) drop(ctx context.Context, id string) error {
	return errors.Join(
		f.DB.WithContext(ctx).Delete(&models.RegistryUpload{}, "id = ?", id).Error,
		remove(f.uploadPath(id)))
}

func (f folder) expire(ctx context.Context, id string, before time.Time) (gone bool, freed int64, err error) {
	file, err := f.lockUpload(id)
	if errors.Is(err, errUploadBusy) {
		return false, 0, nil
	}
	if err == nil {
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return false, 0, err
		}
		freed = info.Size()
	} else if !errors.Is(err, errUploadUnknown) {
		return false, 0, err
	}
	deleted := f.DB.WithContext(ctx).Delete(&models.RegistryUpload{}, "id = ? AND touched_at < ?", id, before)
	if deleted.Error != nil || deleted.RowsAffected == 0 { // somebody went on with it
		return false, 0, deleted.Error
	}
	return true, freed, remove(f.uploadPath(id))
}

func (f folder) open(_ context.Context, d digest.Digest) (io.ReadSeekCloser, int64, error) {
	file, err := os.Open(f.blobPath(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, errBlobUnknown
	}
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, info.Size(), nil
}

// destroy deletes the file under its row's lock, so that a push of the same
// content comes before, and saves it, or after, and stores it anew. After a crash
// in between, the next run finds the row and no file, and goes on.
func (f folder) destroy(ctx context.Context, d digest.Digest) (gone bool, freed int64, err error) {
	err = f.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var marked []models.RegistryBlob
		if err := lock(tx).Where("digest = ? AND deleting_at IS NOT NULL", d.String()).Find(&marked).Error; err != nil || len(marked) == 0 {
			return err
		}
		if err := remove(f.blobPath(d)); err != nil {
			return err
		}
		gone, freed = true, marked[0].Size
		return tx.Delete(&marked[0]).Error
	})
	return gone, freed, err
}

// orphans looks for files without a row. A file of a blob gets one, so that what
// deletes it is destroy, which a push of the same content stops.
func (f folder) orphans(ctx context.Context, before time.Time) error {
	return f.eachFolder(func(algorithm digest.Algorithm, path string) error {
		files, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		for chunk := range slices.Chunk(files, collectBatch) {
			if err := f.orphansOf(ctx, algorithm, chunk, before); err != nil {
				return err
			}
		}
		return nil
	})
}

// eachFolder visits the folders that blobs lie in.
func (f folder) eachFolder(visit func(algorithm digest.Algorithm, path string) error) error {
	folders, err := filepath.Glob(filepath.Join(f.Folder, "blobs", "*", "??"))
	if err != nil {
		return err
	}
	for _, path := range folders {
		if err := visit(digest.Algorithm(filepath.Base(filepath.Dir(path))), path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (f folder) orphansOf(ctx context.Context, algorithm digest.Algorithm, files []os.DirEntry, before time.Time) error {
	found := map[string]os.DirEntry{}
	for _, file := range files {
		if d := digest.NewDigestFromEncoded(algorithm, file.Name()); d.Validate() == nil {
			found[d.String()] = file
		}
	}
	return f.unknownBlobs(ctx, keys(found), func(d string) error {
		info, err := found[d].Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !info.ModTime().Before(before) {
			return err
		}
		return f.condemnOrphan(ctx, d, info.Size(), before)
	})
}

// purge deletes files of uploads that a crash left without a row.
func (f folder) purge(ctx context.Context, before time.Time, done func(bytes int64) error) error {
	files, err := os.ReadDir(filepath.Join(f.Folder, "uploads"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, file := range files {
		info, err := file.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.ModTime().Before(before) {
			continue
		}
		if err != nil {
			return err
		}
		var known int64
		if err := f.DB.WithContext(ctx).Model(&models.RegistryUpload{}).Where("id = ?", file.Name()).Count(&known).Error; err != nil {
			return err
		}
		if known > 0 {
			continue
		}
		if err := errors.Join(remove(f.uploadPath(file.Name())), done(info.Size())); err != nil {
			return err
		}
	}
	return nil
}

func (f folder) owner(_ context.Context, installation string) (string, error) {
	path := filepath.Join(f.Folder, "owner")
	data, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return strings.TrimSpace(string(data)), err
	}
	if err := f.makeFolder(f.Folder); err != nil {
		return "", err
	}
	return installation, os.WriteFile(path, []byte(installation+"\n"), 0o600)
}

// room fails where so many more bytes would leave too little of the disk to the rest of Slipway.
func (f folder) room(more int64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(f.Folder, &st); err != nil {
		return fmt.Errorf("asking for the free space of %s: %w", f.Folder, err)
	}
	free := st.Bavail * uint64(st.Bsize)
	reserve := f.MinFree
	if reserve <= 0 {
		reserve = defaultMinFree
	}
	if free < uint64(reserve)+uint64(max(more, 0)) && free < math.MaxInt64 {
		return errDiskFull
	}
	return nil
}

// makeFolder makes the folder and those above it, each on the disk in the one above it.
func (f folder) makeFolder(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err := f.makeFolder(filepath.Dir(path)); err != nil {
			return err
		}
		return f.makeFolder(path)
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// remove deletes a file that may be gone already.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// uploadFile is an upload's file, locked.
type uploadFile struct {
	folder
	*os.File
	saved models.RegistryUpload
}

func (u *uploadFile) row() *models.RegistryUpload { return &u.saved }

// resume goes to the end of what is kept and cuts off the tail that a crash left.
func (u *uploadFile) resume() error {
	info, err := u.Stat()
	if err != nil {
		return err
	}
	if info.Size() < u.saved.Size { // lost with the machine's power; the row has it, the disk has not
		return errUploadUnknown
	}
	if err := u.Truncate(u.saved.Size); err != nil {
		return err
	}
	_, err = u.Seek(u.saved.Size, io.SeekStart)
	return err
}

func (u *uploadFile) keep(ctx context.Context, size int64, h hash.Hash) error {
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return err
	}
	kept := u.DB.WithContext(ctx).Model(&models.RegistryUpload{}).Where("id = ?", u.saved.ID).
		UpdateColumns(map[string]any{"size": size, "state": state, "touched_at": u.DB.NowFunc()})
	if kept.Error == nil && kept.RowsAffected == 0 {
		return errUploadUnknown // canceled meanwhile
	}
	u.saved.Size, u.saved.State = size, state
	return kept.Error
}

func (u *uploadFile) content(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(u.File, 0, u.saved.Size)), nil
}

// publish announces the blob, renames the file and ends the upload, in this
// order. The file is on the disk, name and all, before the blob can be seen.
func (u *uploadFile) publish(ctx context.Context, d digest.Digest, size int64, then func(tx *gorm.DB) error) error {
	if err := u.Sync(); err != nil {
		return err
	}
	if err := u.announce(u.DB.WithContext(ctx), d, size); err != nil {
		return err
	}
	if err := u.rename(d); err != nil {
		return err
	}
	return u.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := then(tx); err != nil {
			return err
		}
		return tx.Delete(&models.RegistryUpload{}, "id = ?", u.saved.ID).Error
	})
}

func (u *uploadFile) rename(d digest.Digest) error {
	path := u.blobPath(d)
	if err := u.makeFolder(filepath.Dir(path)); err != nil {
		return err
	}
	err := os.Rename(u.uploadPath(u.saved.ID), path)
	if errors.Is(err, fs.ErrNotExist) { // canceled meanwhile
		return errUploadUnknown
	}
	if err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func (u *uploadFile) release(context.Context) { u.Close() }

// anew is the clause that overwrites the columns of the row that has the same key.
func anew(key string, columns ...string) clause.OnConflict {
	return clause.OnConflict{Columns: []clause.Column{{Name: key}}, DoUpdates: clause.AssignmentColumns(columns)}
}
