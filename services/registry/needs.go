package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
)

const (
	maxNesting   = 8   // of indexes inside of each other
	maxPlatforms = 100 // that an index is known by
)

// checkBlobs makes sure that the repository has the config and the layers, and
// keeps the collector from them until the manifest is stored.
func checkBlobs(tx *gorm.DB, p *push) error {
	var want []v1.Descriptor
	for _, b := range p.doc.blobs() {
		if len(b.URLs) == 0 { // others live elsewhere, and are never fetched
			want = append(want, b)
		}
	}
	return holdBlobs(tx, p, want)
}

// holdBlobs makes sure that the repository has the blobs, in the sizes that the
// manifest says.
func holdBlobs(tx *gorm.DB, p *push, want []v1.Descriptor) error {
	digests := digestsOf(want) // everyone locks in the same order
	var links []models.RegistryLink
	err := tx.Clauses(clause.Locking{Strength: clause.LockingStrengthShare}).Select("digest").
		Where("repository = ? AND digest IN ?", p.name, digests).Order("digest").Find(&links).Error
	if err != nil {
		return fmt.Errorf("looking for the layers of %s: %w", p.title(), err)
	}
	if len(links) != len(digests) {
		return missing(digests, links, func(l models.RegistryLink) string { return l.Digest })
	}
	return checkSizes(tx.Model(&models.RegistryBlob{}).Select("digest, size").Where("digest IN ?", digests), want)
}

// missing names the first that was not found.
func missing[T any](want []string, found []T, digestOf func(T) string) error {
	have := make(map[string]bool, len(found))
	for _, f := range found {
		have[digestOf(f)] = true
	}
	i := slices.IndexFunc(want, func(d string) bool { return !have[d] })
	return errMissing(want[max(i, 0)])
}

// checkSizes compares the sizes that the query finds with those of the descriptors.
func checkSizes(query *gorm.DB, said []v1.Descriptor) error {
	var rows []struct {
		Digest string
		Size   int64
	}
	if err := query.Scan(&rows).Error; err != nil {
		return err
	}
	sizes := make(map[string]int64, len(rows))
	for _, row := range rows {
		sizes[row.Digest] = row.Size
	}
	for _, d := range said {
		if size, ok := sizes[d.Digest.String()]; ok && size != d.Size {
			return errSize(d.Digest.String(), d.Size, size)
		}
	}
	return nil
}

// digestsOf returns the digests of the descriptors, each once and in order.
func digestsOf(all []v1.Descriptor) []string {
	digests := make([]string, len(all))
	for i, d := range all {
		digests[i] = d.Digest.String()
	}
	slices.Sort(digests)
	return slices.Compact(digests)
}

// children returns the manifests that an index names, in its order. The
// repository must have all that it names: manifests, or blobs, which the indexes
// that BuildKit keeps its cache in are made of.
func children(tx *gorm.DB, p *push) ([]models.RegistryManifest, error) {
	digests := digestsOf(p.doc.Manifests)
	if len(digests) == 0 {
		return nil, nil
	}
	var rows []models.RegistryManifest
	named := tx.Model(&models.RegistryManifest{}).Where("repository = ? AND digest IN ?", p.name, digests)
	if err := named.Session(&gorm.Session{}).Select("digest", "platforms", "image_size", "nesting").Find(&rows).Error; err != nil {
		return nil, err
	}
	place := make(map[string]int, len(digests))
	for i, m := range slices.Backward(p.doc.Manifests) {
		place[m.Digest.String()] = i
	}
	slices.SortFunc(rows, func(a, b models.RegistryManifest) int { return place[a.Digest] - place[b.Digest] })
	for _, row := range rows {
		if row.Nesting >= maxNesting {
			return nil, manifestInvalid(fmt.Sprintf("Indexes may be at most %d deep inside of each other.", maxNesting))
		}
		delete(place, row.Digest)
	}
	loose := slices.DeleteFunc(slices.Clone(p.doc.Manifests), func(d v1.Descriptor) bool { _, ok := place[d.Digest.String()]; return !ok })
	if err := holdBlobs(tx, p, loose); err != nil {
		return nil, err
	}
	return rows, checkSizes(named.Session(&gorm.Session{}).Select("digest, LENGTH(content) AS size"), p.doc.Manifests)
}

// platforms reads the platform of an image out of its config.
func (s *Service) platforms(ctx context.Context, p *push) ([]string, error) {
	if !imageConfig(p.doc.Config) {
		return nil, nil
	}
	if p.doc.Config.Size > smallManifest && len(p.body) < smallManifest { // a larger one has its place already
		done, err := s.large.take(ctx)
		if err != nil {
			return nil, err
		}
		defer done()
	}
	f, _, err := s.openBlob(ctx, p.name, p.doc.Config.Digest)
	if errors.Is(err, errBlobUnknown) {
		return nil, errMissing(p.doc.Config.Digest.String())
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if name := platform(io.LimitReader(f, p.doc.Config.Size)); name != "" {
		return []string{name}, nil
	}
	return nil, nil
}

// resolve returns the digest that a tag or digest of the repository means.
func resolve(db *gorm.DB, name, reference string) (digest.Digest, error) {
	if isDigest(reference) {
		return parseDigest(reference)
	}
	var tag models.RegistryTag
	err := db.Where("repository = ? AND name = ?", name, reference).Take(&tag).Error
	return digest.Digest(tag.Digest), manifestUnknown(err)
}
