package copies

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"slipway.dev/models"
	"slipway.dev/services/distribution"
)

const (
	blobsAtOnce = 3 // of one copy
	blobTries   = 3 // within one try of the copy, each going on where the one before broke off
)

// sendBlobs brings every blob that is not at the target there.
func (r *run) sendBlobs(ctx context.Context, p *plan) error {
	complete, err := r.complete(ctx, p)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(blobsAtOnce)
	for _, b := range p.blobs {
		if complete[b.owner] {
			r.progress.there(b)
			continue
		}
		group.Go(func() error { return r.sendBlob(ctx, b) })
	}
	return group.Wait()
}

// complete are the images that the target has already: it has their blobs too, for it would not have taken them without.
// An index says nothing of that kind.
func (r *run) complete(ctx context.Context, p *plan) (map[digest.Digest]bool, error) {
	have := map[digest.Digest]bool{}
	for _, m := range p.manifests {
		if m.IsIndex() {
			continue
		}
		target, err := r.target.repository(ctx)
		if err != nil {
			return nil, err
		}
		ok, err := target.HasManifest(ctx, m.Digest)
		if err != nil {
			return nil, at(err, r.copy.Target, false)
		}
		r.moved()
		have[m.Digest] = ok
	}
	return have, nil
}

// sendBlob brings one blob to the target: by finding it there, by a mount, or by sending what is missing of it.
func (r *run) sendBlob(ctx context.Context, b blob) error {
	target, err := r.target.repository(ctx)
	if err != nil {
		return err
	}
	have, err := target.HasBlob(ctx, b.Digest)
	if err != nil {
		return at(err, r.copy.Target, false)
	}
	r.moved()
	if !have && mounts(r.copy) {
		if have, err = target.Mount(ctx, b.Digest, r.copy.Source.Repository); err != nil {
			return at(err, r.copy.Target, false)
		}
	}
	if have {
		r.progress.there(b)
		return r.forget(ctx, b.Digest)
	}
	if err := r.push(ctx, b); err != nil {
		return err
	}
	r.progress.sent(b)
	return r.forget(ctx, b.Digest)
}

// push sends the blob, and goes on a few times where the connection breaks.
func (r *run) push(ctx context.Context, b blob) error {
	upload := r.uploads.get(b.Digest)
	save := func() error {
		if upload.Offset == b.Size || upload.Whole { // the rest is one request, or nothing could be gone on with
			return nil
		}
		return r.saveUpload(ctx, b.Digest, upload)
	}
	var err error
	for range blobTries {
		var target *distribution.Repository
		if target, err = r.target.repository(ctx); err != nil {
			return err
		}
		err = target.Push(ctx, b.Digest, b.Size, r.read(b.Digest), upload, save, func(at int64) { r.progress.at(b, at) })
		if _, forged := errors.AsType[*distribution.DigestError](err); forged {
			err = at(err, r.copy.Source, true)
		}
		err = at(err, r.copy.Target, false)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if _, temporary := explain(err); !temporary {
			return err
		}
	}
	return err
}

// read opens the blob at the source; its failures are known as the source's.
func (r *run) read(d digest.Digest) distribution.Source {
	return func(ctx context.Context, from int64) (io.ReadCloser, error) {
		source, err := r.source.repository(ctx)
		if err != nil {
			return nil, err
		}
		content, err := source.Blob(ctx, d, from)
		if err != nil {
			return nil, at(fmt.Errorf("reading %s: %w", d, err), r.copy.Source, true)
		}
		return &sourceReader{content, r.copy.Source}, nil
	}
}

// sourceReader says of each failure that it is the source's.
type sourceReader struct {
	io.ReadCloser
	place models.ImagePlaceName
}

func (s *sourceReader) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	if err != nil && err != io.EOF {
		err = at(err, s.place, true)
	}
	return n, err
}

// putManifests stores the manifests, those that others need first, and the image's own tag last.
func (r *run) putManifests(ctx context.Context, p *plan) error {
	put := func(m *distribution.Manifest, reference string) error {
		target, err := r.target.repository(ctx)
		if err != nil {
			return err
		}
		r.moved()
		return at(target.Put(ctx, m, reference), r.copy.Target, false)
	}
	for _, m := range p.manifests {
		if err := put(m, m.Digest.String()); err != nil {
			return fmt.Errorf("storing the manifest %s: %w", m.Digest, err)
		}
	}
	for _, t := range p.tags {
		if err := put(t.manifest, t.tag); err != nil {
			return r.tagRefused(err, t.tag)
		}
	}
	if r.copy.TargetTag == "" {
		return nil
	}
	return r.tagRefused(put(p.root, r.copy.TargetTag), r.copy.TargetTag)
}

// tagRefused says that the image is there and only its tag was refused, as for a tag that may not move.
func (r *run) tagRefused(err error, tag string) error {
	status := distribution.Status(err)
	if status < 400 || status >= 500 || status == 429 {
		return err
	}
	text, _ := explain(err)
	return &models.Error{Code: models.Conflict, Err: err,
		Message: fmt.Sprintf("The image is at the target under its digest, but the tag %s was not set. %s", tag, text)}
}

// saveUpload writes down how far the upload is, so that another worker can go on with it.
func (r *run) saveUpload(ctx context.Context, d digest.Digest, u *distribution.Upload) error {
	raw, err := json.Marshal(u)
	if err != nil {
		return err
	}
	return r.saveUploads(ctx, r.uploads.set(d, raw))
}

// forget takes the upload out of what is written down.
func (r *run) forget(ctx context.Context, d digest.Digest) error {
	if all, had := r.uploads.drop(d); had {
		return r.saveUploads(ctx, all)
	}
	return nil
}

func (r *run) saveUploads(ctx context.Context, all map[string]json.RawMessage) error {
	held := r.Jobs.Held(r.DB.WithContext(ctx).Model(&models.Copy{}), r.copy.ID).Select("Uploads").Updates(&models.Copy{Uploads: all})
	if held.Error == nil && held.RowsAffected == 0 {
		return errNotOurs
	}
	return held.Error
}

var errNotOurs = errors.New("another worker has the copy")
