package distribution

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
)

// HasBlob tells whether the repository has the blob.
func (r *Repository) HasBlob(ctx context.Context, d digest.Digest) (bool, error) {
	answer, err := r.ask(ctx, http.MethodHead, r.address("blobs", d.String()), nil, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return false, err
	}
	defer done(answer)
	return answer.StatusCode == http.StatusOK, nil
}

// Blob opens the blob from the byte on, which must not be behind its end. What
// is read is not compared with the digest here.
func (r *Repository) Blob(ctx context.Context, d digest.Digest, from int64) (io.ReadCloser, error) {
	header := map[string]string{"Accept-Encoding": "identity"}
	if from > 0 {
		header["Range"] = fmt.Sprintf("bytes=%d-", from)
	}
	answer, err := r.ask(ctx, http.MethodGet, r.address("blobs", d.String()), header, http.StatusOK, http.StatusPartialContent)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode == http.StatusOK && from > 0 { // it knows no ranges
		if _, err := io.CopyN(io.Discard, answer.Body, from); err != nil {
			answer.Body.Close()
			return nil, fmt.Errorf("reading %s up to byte %d: %w", d, from, err)
		}
	}
	return answer.Body, nil
}

// Mount gives the repository a blob of another repository of the same registry.
// It is false where the registry would rather have it sent.
func (r *Repository) Mount(ctx context.Context, d digest.Digest, from string) (bool, error) {
	q := url.Values{"mount": {d.String()}, "from": {from}}
	answer, err := r.ask(ctx, http.MethodPost, r.address("blobs", "uploads", "")+"?"+q.Encode(), nil, http.StatusCreated, http.StatusAccepted)
	if err != nil {
		if s := Status(err); s >= 400 && s < 500 && s != http.StatusTooManyRequests {
			return false, nil
		}
		return false, err
	}
	defer done(answer)
	if answer.StatusCode == http.StatusCreated {
		return true, nil
	}
	return false, r.drop(ctx, answer)
}

// drop gives up the upload that the answer began.
func (r *Repository) drop(ctx context.Context, answer *http.Response) error {
	location, err := locationOf(answer)
	if err != nil {
		return err
	}
	ended, err := r.ask(ctx, http.MethodDelete, location, nil, http.StatusNoContent, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return nil // the registry forgets it by itself
	}
	done(ended)
	return nil
}

// locationOf is where an upload goes on.
func locationOf(answer *http.Response) (string, error) {
	location := answer.Header.Get("Location")
	if location == "" {
		return "", fmt.Errorf("%s answered without saying where the upload goes on", answer.Request.URL.Host)
	}
	u, err := answer.Request.URL.Parse(location)
	if err != nil {
		return "", fmt.Errorf("where the upload goes on: %w", err)
	}
	return u.String(), nil
}
