package registry

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"gorm.io/gorm"
	"slipway.dev/models"
)

// An answer about referrers holds so many of them, and about so many bytes of
// their annotations; the rest is on the next page.
const (
	maxReferrers   = 500
	maxAnnotations = 2 << 20
)

// referrer is a manifest about another one, without its content.
type referrer struct {
	Digest       string
	MediaType    string
	ArtifactType string
	Annotations  string
	Size         int64
}

// referrers lists the manifests whose subject the digest is.
func (s *Service) referrers(w http.ResponseWriter, r *http.Request, name string, d digest.Digest) error {
	q := r.URL.Query()
	if !printable(q.Get("last") + q.Get("artifactType")) {
		return errLast
	}
	query := s.DB.WithContext(r.Context()).Model(&models.RegistryManifest{}).
		Select("digest, media_type, artifact_type, COALESCE(annotations, '') AS annotations, LENGTH(content) AS size").
		Where("repository = ? AND subject = ? AND digest > ?", name, d.String(), q.Get("last"))
	if kind := q.Get("artifactType"); kind != "" {
		query = query.Where("artifact_type = ?", kind)
		w.Header().Set("OCI-Filters-Applied", "artifactType")
	}
	found, more, err := readReferrers(query)
	if err != nil {
		return err
	}
	if more {
		q.Set("last", found[len(found)-1].Digest.String())
		w.Header().Set("Link", fmt.Sprintf(`<%s>; rel="next"`, (&url.URL{Path: r.URL.Path, RawQuery: q.Encode()}).String()))
	}
	index := v1.Index{MediaType: v1.MediaTypeImageIndex, Manifests: found}
	index.SchemaVersion = 2
	w.Header().Set("Content-Type", v1.MediaTypeImageIndex)
	return json.NewEncoder(w).Encode(index)
}

// readReferrers reads one page, and whether there is another.
func readReferrers(query *gorm.DB) (found []v1.Descriptor, more bool, err error) {
	found = []v1.Descriptor{}
	rows, err := query.Order("digest").Limit(maxReferrers + 1).Rows()
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	bytes := 0
	for rows.Next() {
		var m referrer
		if err := rows.Scan(&m.Digest, &m.MediaType, &m.ArtifactType, &m.Annotations, &m.Size); err != nil {
			return nil, false, err
		}
		if len(found) == maxReferrers || len(found) > 0 && bytes+len(m.Annotations) > maxAnnotations {
			return found, true, nil
		}
		bytes += len(m.Annotations)
		x := v1.Descriptor{MediaType: m.MediaType, Digest: digest.Digest(m.Digest), Size: m.Size, ArtifactType: m.ArtifactType}
		if m.Annotations != "" {
			if err := json.Unmarshal([]byte(m.Annotations), &x.Annotations); err != nil {
				return nil, false, err
			}
		}
		found = append(found, x)
	}
	return found, false, rows.Err()
}
