package registry

import (
	"context"
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

// stalled is how long an upload may bring no bytes before its connection is given up.
const stalled = time.Minute

func (s *Service) startUpload(w http.ResponseWriter, r *http.Request, name string) error {
	q := r.URL.Query()
	if mount := q.Get("mount"); mount != "" {
		d, err := parseDigest(mount)
		if err != nil {
			return err
		}
		ok, err := s.mount(r.Context(), name, q.Get("from"), d)
		if err != nil {
			return err
		}
		if ok {
			return blobCreated(w, name, d)
		}
	}
	if asked := q.Get("digest-algorithm"); asked != "" && !digest.Algorithm(asked).Available() {
		return errDigestFormat
	}
	var d digest.Digest
	if asked := q.Get("digest"); asked != "" {
		var err error
		if d, err = parseDigest(asked); err != nil {
			return err
		}
	}
	if r.ContentLength > s.maxBlob() {
		return errBlobSize
	}
	id, err := s.newUpload(r.Context(), name, r.ContentLength)
	if err != nil {
		return err
	}
	if d == "" {
		return uploadProgress(w, name, id, 0, http.StatusAccepted)
	}
	if err := s.finishUpload(w, r, name, id, d); err != nil { // the client does not know the upload to go on with it
		return errors.Join(err, s.dropUpload(r.Context(), id))
	}
	return nil
}

func (s *Service) newUpload(ctx context.Context, name string, size int64) (string, error) {
	up := models.RegistryUpload{ID: uuid.NewString(), Repository: name, TouchedAt: s.DB.NowFunc()}
	if err := s.createUpload(up.ID); err != nil {
		return "", err
	}
	if err := s.checkSpace(size); err != nil {
		return "", errors.Join(err, remove(s.uploadPath(up.ID)))
	}
	return up.ID, s.DB.WithContext(ctx).Create(&up).Error
}

func (s *Service) upload(w http.ResponseWriter, r *http.Request, name, id string) error {
	if uuid.Validate(id) != nil {
		return errUploadUnknown
	}
	switch r.Method {
	case http.MethodPatch:
		return s.appendChunk(w, r, name, id)
	case http.MethodPut:
		d, err := parseDigest(r.URL.Query().Get("digest"))
		if err != nil {
			return err
		}
		return s.finishUpload(w, r, name, id, d)
	case http.MethodDelete:
		return s.cancelUpload(w, r, name, id)
	default:
		up, err := s.findUpload(r.Context(), name, id)
		if err != nil {
			return err
		}
		return uploadProgress(w, name, id, up.Size, http.StatusNoContent)
	}
}

func (s *Service) findUpload(ctx context.Context, name, id string) (models.RegistryUpload, error) {
	var up models.RegistryUpload
	err := s.DB.WithContext(ctx).Where("id = ? AND repository = ?", id, name).Take(&up).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return up, errUploadUnknown
	}
	return up, err
}

func uploadProgress(w http.ResponseWriter, name, id string, size int64, status int) error {
	describeUpload(w, name, id, size)
	w.WriteHeader(status)
	return nil
}

func describeUpload(w http.ResponseWriter, name, id string, size int64) {
	w.Header().Set("Location", "/v2/"+name+"/blobs/uploads/"+id)
	w.Header().Set("Docker-Upload-UUID", id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(size-1, 0)))
}

func blobCreated(w http.ResponseWriter, name string, d digest.Digest) error {
	w.Header().Set("Location", "/v2/"+name+"/blobs/"+d.String())
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

// cancelUpload deletes the upload, also while another request writes to it:
// that one fails when it comes to its end.
func (s *Service) cancelUpload(w http.ResponseWriter, r *http.Request, name, id string) error {
	if _, err := s.findUpload(r.Context(), name, id); err != nil {
		return err
	}
	if err := s.dropUpload(r.Context(), id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) dropUpload(ctx context.Context, id string) error {
	ctx = context.WithoutCancel(ctx)
	return errors.Join(
		s.DB.WithContext(ctx).Delete(&models.RegistryUpload{}, "id = ?", id).Error,
		remove(s.uploadPath(id)))
}

// appendChunk adds the body to the upload. What arrived before a connection
// broke is kept, so that the client can go on from there.
func (s *Service) appendChunk(w http.ResponseWriter, r *http.Request, name, id string) error {
	f, err := s.openUpload(id)
	if err != nil {
		return err
	}
	defer f.Close()
	up, err := s.findUpload(r.Context(), name, id) // read under the lock
	if err != nil {
		return err
	}
	if err := checkRange(r, up.Size); err != nil {
		describeUpload(w, name, id, up.Size)
		return err
	}
	h, err := resume(up)
	if err != nil {
		return err
	}
	size, failed := s.receive(w, r, f, h, up.Size)
	if size > up.Size {
		if err := s.saveProgress(r.Context(), id, size, h); err != nil {
			return err
		}
	}
	if failed != nil {
		return failed
	}
	return uploadProgress(w, name, id, size, http.StatusAccepted)
}

func (s *Service) saveProgress(ctx context.Context, id string, size int64, h hash.Hash) error {
	state, err := h.(encoding.BinaryMarshaler).MarshalBinary()
	if err != nil {
		return err
	}
	saved := s.DB.WithContext(context.WithoutCancel(ctx)).Model(&models.RegistryUpload{}).Where("id = ?", id).
		UpdateColumns(map[string]any{"size": size, "state": state, "touched_at": s.DB.NowFunc()})
	if saved.Error == nil && saved.RowsAffected == 0 {
		return errUploadUnknown // canceled meanwhile
	}
	return saved.Error
}

// resume returns the SHA-256 over what the upload holds, without reading it again.
func resume(up models.RegistryUpload) (hash.Hash, error) {
	h := sha256.New()
	if up.Size == 0 {
		return h, nil
	}
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(up.State); err != nil {
		return nil, fmt.Errorf("resuming upload %s: %w", up.ID, err)
	}
	return h, nil
}

// checkRange refuses a chunk that says that it belongs elsewhere.
func checkRange(r *http.Request, size int64) error {
	header := r.Header.Get("Content-Range")
	if header == "" {
		return nil
	}
	from, to, ok := strings.Cut(strings.TrimPrefix(header, "bytes "), "-")
	start, err1 := strconv.ParseInt(from, 10, 64)
	end, err2 := strconv.ParseInt(to, 10, 64)
	if !ok || err1 != nil || err2 != nil || start != size || end < start {
		return errUploadRange
	}
	if r.ContentLength >= 0 && end-start+1 != r.ContentLength {
		return errUploadRange
	}
	return nil
}

// receive writes the body behind the first so many bytes of the file and into
// the hash. It returns how many bytes the file then has, also where it fails.
func (s *Service) receive(w http.ResponseWriter, r *http.Request, f *os.File, h hash.Hash, have int64) (int64, error) {
	if r.ContentLength > s.maxBlob()-have {
		return have, errBlobSize
	}
	if err := s.checkSpace(r.ContentLength); err != nil {
		return have, err
	}
	if err := f.Truncate(have); err != nil { // the tail that a crash left
		return have, err
	}
	if _, err := f.Seek(have, io.SeekStart); err != nil {
		return have, err
	}
	body := &patientReader{body: io.LimitReader(r.Body, s.maxBlob()-have+1), control: http.NewResponseController(w)}
	defer body.end()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(f, h)}, body, *buf)
	switch {
	case body.err != nil:
		return have + n, errUploadBroken
	case err != nil: // the file may hold less than the hash, so none of it counts
		return have, err
	case have+n > s.maxBlob():
		return have, errBlobSize
	}
	return have + n, nil
}

// patientReader reads a body for as long as bytes keep coming, whatever the server's own time limit says.
type patientReader struct {
	body    io.Reader
	control *http.ResponseController
	renewed time.Time
	err     error // why reading ended before the body's end
}

func (p *patientReader) Read(b []byte) (int, error) {
	if now := time.Now(); now.Sub(p.renewed) > time.Second {
		p.renewed = now
		_ = p.control.SetReadDeadline(now.Add(stalled))
		_ = p.control.SetWriteDeadline(now.Add(2 * stalled))
	}
	n, err := p.body.Read(b)
	if err != nil && err != io.EOF {
		p.err = err
	}
	return n, err
}

// end lets what follows take its time: a deadline would end the request, or
// the next one of the same connection.
func (p *patientReader) end() {
	_ = p.control.SetReadDeadline(time.Time{})
	_ = p.control.SetWriteDeadline(time.Time{})
}

// finishUpload takes the last bytes, compares the digest and makes the upload a
// blob of the repository.
//
// The blob's row is there before its file and its file before its link, so
// that a crash leaves nothing that is seen without content, and nothing that
// the collector does not find.
func (s *Service) finishUpload(w http.ResponseWriter, r *http.Request, name, id string, d digest.Digest) error {
	f, err := s.openUpload(id)
	if err != nil {
		return err
	}
	defer f.Close()
	up, err := s.findUpload(r.Context(), name, id)
	if err != nil {
		return err
	}
	if err := checkRange(r, up.Size); err != nil {
		describeUpload(w, name, id, up.Size)
		return err
	}
	size, sum, err := s.receiveLast(w, r, f, up, d.Algorithm())
	if err != nil {
		return err
	}
	if sum != d.Encoded() {
		return errors.Join(errDigest, s.dropUpload(r.Context(), id))
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := s.announce(r.Context(), d, size); err != nil {
		return err
	}
	if err := s.publish(id, d); err != nil {
		return err
	}
	err = s.DB.WithContext(r.Context()).Transaction(func(tx *gorm.DB) error {
		if err := s.link(tx, name, d); err != nil {
			return err
		}
		return tx.Delete(&models.RegistryUpload{}, "id = ?", id).Error
	})
	if err != nil {
		return err
	}
	return blobCreated(w, name, d)
}

// announce writes the blob's row, which takes it out of the collector's hands.
func (s *Service) announce(ctx context.Context, d digest.Digest, size int64) error {
	row := models.RegistryBlob{Digest: d.String(), Size: size, TouchedAt: s.DB.NowFunc()}
	return s.DB.WithContext(ctx).Clauses(clause.OnConflict{
		Columns:   []clause.Column{{Name: "digest"}},
		DoUpdates: clause.AssignmentColumns([]string{"size", "touched_at", "deleting_at"}),
	}).Create(&row).Error
}

// receiveLast takes the body of the closing request and returns the upload's size and its sum in the algorithm.
func (s *Service) receiveLast(w http.ResponseWriter, r *http.Request, f *os.File, up models.RegistryUpload, algorithm digest.Algorithm) (int64, string, error) {
	h, err := resume(up)
	if err != nil {
		return 0, "", err
	}
	if up.Size == 0 {
		h = algorithm.Hash()
	}
	size, err := s.receive(w, r, f, h, up.Size)
	if err != nil {
		return 0, "", err
	}
	if up.Size > 0 && algorithm != digest.SHA256 { // the running sum is of no use
		if h, err = rehash(f, algorithm); err != nil {
			return 0, "", err
		}
	}
	return size, hex.EncodeToString(h.Sum(nil)), nil
}

func rehash(f *os.File, algorithm digest.Algorithm) (hash.Hash, error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	h := algorithm.Hash()
	_, err := io.Copy(h, f)
	return h, err
}
