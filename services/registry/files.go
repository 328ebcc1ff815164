package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"

	"github.com/opencontainers/go-digest"
)

// blobPath is where the blob's content is. The digest was parsed, so its parts hold letters and digits alone.
func (s *Service) blobPath(d digest.Digest) string {
	return filepath.Join(s.Folder, "blobs", d.Algorithm().String(), d.Encoded()[:2], d.Encoded())
}

func (s *Service) uploadPath(id string) string { return filepath.Join(s.Folder, "uploads", id) }

// createUpload makes the empty file of a new upload.
func (s *Service) createUpload(id string) error {
	if err := s.makeFolder(filepath.Join(s.Folder, "uploads")); err != nil {
		return err
	}
	f, err := os.OpenFile(s.uploadPath(id), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// openUpload opens the upload's file and keeps every other request, of this
// process or another, from writing to it until the file is closed.
func (s *Service) openUpload(id string) (*os.File, error) {
	f, err := os.OpenFile(s.uploadPath(id), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errUploadUnknown
	}
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errUploadBusy
		}
		return nil, fmt.Errorf("locking an upload: %w", err)
	}
	return f, nil
}

// publish makes the upload's file the blob's. It is on the disk, name and all, when publish returns.
func (s *Service) publish(id string, d digest.Digest) error {
	path := s.blobPath(d)
	folder := filepath.Dir(path)
	if err := s.makeFolder(folder); err != nil {
		return err
	}
	err := os.Rename(s.uploadPath(id), path)
	if errors.Is(err, fs.ErrNotExist) { // canceled meanwhile
		return errUploadUnknown
	}
	if err != nil {
		return err
	}
	return syncFolder(folder)
}

// makeFolder makes the folder and those above it, each on the disk in the one above it.
func (s *Service) makeFolder(path string) error {
	err := os.Mkdir(path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		if err := s.makeFolder(filepath.Dir(path)); err != nil {
			return err
		}
		return s.makeFolder(path)
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

// checkSpace fails where so many more bytes would leave too little of the disk
// to the rest of Slipway.
func (s *Service) checkSpace(more int64) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(s.Folder, &st); err != nil {
		return fmt.Errorf("asking for the free space of %s: %w", s.Folder, err)
	}
	free := st.Bavail * uint64(st.Bsize)
	reserve := s.MinFree
	if reserve <= 0 {
		reserve = defaultMinFree
	}
	if free < uint64(reserve)+uint64(max(more, 0)) && free < math.MaxInt64 {
		return errDiskFull
	}
	return nil
}
