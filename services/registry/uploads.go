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
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
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
		return errors.Join(err, s.storage().drop(context.WithoutCancel(r.Context()), id))
	}
	return nil
}

func (s *Service) newUpload(ctx context.Context, name string, size int64) (string, error) {
	up := models.RegistryUpload{ID: uuid.NewString(), Repository: name, TouchedAt: s.DB.NowFunc()}
	return up.ID, s.storage().create(ctx, &up, size)
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
	return findUpload(s.DB.WithContext(ctx), name, id)
}

func findUpload(db *gorm.DB, name, id string) (models.RegistryUpload, error) {
	var up models.RegistryUpload
	err := db.Where("id = ? AND repository = ?", id, name).Take(&up).Error
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
	if err := s.storage().drop(context.WithoutCancel(r.Context()), id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// appendChunk adds the body to the upload. What arrived before a connection
// broke is kept, so that the client can go on from there.
func (s *Service) appendChunk(w http.ResponseWriter, r *http.Request, name, id string) error {
	up, err := s.storage().take(r.Context(), name, id)
	if err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context()) // what arrived is kept, whoever goes
	defer up.release(ctx)
	if err := checkRange(r, up.row().Size); err != nil {
		describeUpload(w, name, id, up.row().Size)
		return err
	}
	h, err := resume(up.row())
	if err != nil {
		return err
	}
	size, failed := s.receive(w, r, up, h)
	if size > up.row().Size {
		if err := up.keep(ctx, size, h); err != nil {
			return err
		}
	}
	if failed != nil {
		return failed
	}
	return uploadProgress(w, name, id, size, http.StatusAccepted)
}

// resume returns the SHA-256 over what the upload holds, without reading it again.
func resume(up *models.RegistryUpload) (hash.Hash, error) {
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

// receive writes the body behind what the upload has and into the hash, and
// keeps it part by part. It returns how many bytes the two then have, also where
// it fails; those beyond what is kept count once they are kept.
func (s *Service) receive(w http.ResponseWriter, r *http.Request, up upload, h hash.Hash) (int64, error) {
	have := up.row().Size
	if r.ContentLength > s.maxBlob()-have {
		return have, errBlobSize
	}
	if err := s.storage().room(r.ContentLength); err != nil {
		return have, err
	}
	body := &patientReader{body: io.LimitReader(r.Body, s.maxBlob()-have+1), control: http.NewResponseController(w)}
	defer body.end()
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	to := struct{ io.Writer }{io.MultiWriter(up, h)}
	for {
		n, err := io.CopyBuffer(to, io.LimitReader(body, partSize), *buf)
		switch {
		case body.err != nil:
			return have + n, brokenOff(body.err)
		case err != nil: // the upload may hold less than the hash, so none of it counts
			return have, err
		}
		if have += n; have > s.maxBlob() {
			return have, errBlobSize
		}
		if n < partSize {
			return have, nil
		}
		if err := up.keep(context.WithoutCancel(r.Context()), have, h); err != nil {
			return have, err
		}
	}
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
func (s *Service) finishUpload(w http.ResponseWriter, r *http.Request, name, id string, d digest.Digest) error {
	up, err := s.storage().take(r.Context(), name, id)
	if err != nil {
		return err
	}
	ctx := context.WithoutCancel(r.Context())
	defer up.release(ctx)
	if err := checkRange(r, up.row().Size); err != nil {
		describeUpload(w, name, id, up.row().Size)
		return err
	}
	size, sum, err := s.receiveLast(w, r, up, d.Algorithm())
	if err != nil {
		return err
	}
	if sum != d.Encoded() {
		return errors.Join(errDigest, s.storage().drop(ctx, id))
	}
	if err := up.publish(r.Context(), d, size, func(tx *gorm.DB) error { return s.link(tx, name, d) }); err != nil {
		return err
	}
	return blobCreated(w, name, d)
}

// receiveLast takes the body of the closing request and returns the upload's size and its sum in the algorithm.
func (s *Service) receiveLast(w http.ResponseWriter, r *http.Request, up upload, algorithm digest.Algorithm) (int64, string, error) {
	running, err := resume(up.row())
	if err != nil {
		return 0, "", err
	}
	h, whole := running, algorithm == digest.SHA256
	if !whole && up.row().Size == 0 && r.ContentLength >= 0 && r.ContentLength < partSize { // nothing is kept in between
		h, whole = algorithm.Hash(), true
	}
	size, err := s.receive(w, r, up, h)
	if err != nil {
		return 0, "", err
	}
	if !whole { // the running sum is of no use
		if h, err = rehash(r.Context(), up, size, running, algorithm); err != nil {
			return 0, "", err
		}
	}
	return size, hex.EncodeToString(h.Sum(nil)), nil
}

// rehash reads the upload again, for its sum in another algorithm than the one that is kept.
func rehash(ctx context.Context, up upload, size int64, running hash.Hash, algorithm digest.Algorithm) (hash.Hash, error) {
	if size > up.row().Size {
		if err := up.keep(ctx, size, running); err != nil {
			return nil, err
		}
	}
	content, err := up.content(ctx)
	if err != nil {
		return nil, err
	}
	defer content.Close()
	h := algorithm.Hash()
	_, err = io.Copy(h, content)
	return h, err
}
