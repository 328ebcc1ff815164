package images

import (
	"context"
	"slices"
	"strings"

	"slipway.dev/models"
)

const (
	maxReferrers = 50 // about one image that are shown
	maxLooked    = 20 // of those whose files are looked at
	maxParents   = 3  // indexes that are searched for attestations about an image of theirs
)

// fillReferrers finds what is attested about the image: artifacts that name it
// as their subject, what BuildKit put beside it into an index, and what cosign
// put under a tag made of its digest.
func (s *Service) fillReferrers(ctx context.Context, at place, p *models.ImagePassport, doc *document) error {
	found, err := at.referrers(ctx, p.Digest)
	if err = leaveOutAny(p, err, "what refers to the image"); err != nil {
		return err
	}
	for k := range found {
		found[k].About = p.Digest
	}
	beside, err := s.beside(ctx, at, p, doc)
	if err = leaveOutAny(p, err, "the attestations of the index"); err != nil {
		return err
	}
	found = append(found, beside...)
	if err := look(ctx, at, found[:min(len(found), maxLooked)]); err != nil {
		return err
	}
	for k := range found {
		found[k].Kind = nameOf(found[k])
	}
	p.Referrers = found[:min(len(found), maxReferrers)]
	return nil
}

// leaveOutAny is leaveOut where there may be no error.
func leaveOutAny(p *models.ImagePassport, err error, what string) error {
	if err == nil {
		return nil
	}
	return leaveOut(p, err, what)
}

// beside finds the attestations in the index, or of an image of a platform those in the indexes that hold it.
func (s *Service) beside(ctx context.Context, at place, p *models.ImagePassport, doc *document) ([]models.ImageReferrer, error) {
	all := doc.attestations()
	for _, parent := range p.Indexes[:min(len(p.Indexes), maxParents)] {
		c, err := at.manifest(ctx, parent)
		if err != nil {
			return nil, err
		}
		for _, a := range readDocument(c).attestations() {
			if a.Annotations[annotationReference] == p.Digest {
				all = append(all, a)
			}
		}
	}
	var out []models.ImageReferrer
	for _, a := range all {
		r := models.ImageReferrer{Digest: clip(a.Digest), About: clip(a.Annotations[annotationReference]), Size: a.Size, Via: ViaIndex}
		if !slices.ContainsFunc(out, func(o models.ImageReferrer) bool { return o.Digest == r.Digest }) {
			out = append(out, r)
		}
	}
	return out, nil
}

// look reads which files the artifacts hold. Those that can't be read stay without.
func look(ctx context.Context, at place, found []models.ImageReferrer) error {
	digests := make([]string, 0, len(found))
	for _, r := range found {
		digests = append(digests, r.Digest)
	}
	known, err := at.manifests(ctx, digests)
	if err != nil {
		return err
	}
	for k := range found {
		r := &found[k]
		c, ok := known[r.Digest]
		if !ok {
			continue
		}
		doc := readDocument(c)
		r.Files, r.Size = doc.files(), doc.size()
		if r.ArtifactType == "" || r.ArtifactType == emptyType || imageConfig(r.ArtifactType) {
			r.ArtifactType = clip(doc.artifactType())
		}
	}
	return nil
}

// nameOf says in words what the artifact is: all kinds of files that it holds.
func nameOf(r models.ImageReferrer) string {
	var words []string
	for _, f := range r.Files {
		if !slices.Contains(words, f.Kind) && len(words) < 4 {
			words = append(words, f.Kind)
		}
	}
	if k := kindOf(r.ArtifactType); k.document != models.DocumentOther && k.document != models.DocumentStatement || len(words) == 0 {
		return k.words
	}
	return strings.Join(words, ", ")
}

// schemeTags are the tags under which tools keep what is about a digest in
// registries that know no referrers: cosign's signature, attestations and bill
// of materials.
func schemeTags(digest string) []string {
	base := strings.Replace(digest, ":", "-", 1)
	return []string{base + ".sig", base + ".att", base + ".sbom"}
}

// schemed finds what is under the tags of cosign's scheme.
func (e embedded) schemed(ctx context.Context, digest string) ([]models.RegistryManifest, error) {
	named := e.DB.Model(&models.RegistryTag{}).Select("digest").Where("repository = ? AND name IN ?", e.name, schemeTags(digest))
	var rows []models.RegistryManifest
	err := e.DB.WithContext(ctx).Select(columnsOfReferrers).Where("repository = ? AND digest IN (?)", e.name, named).
		Order("push_id DESC").Limit(maxReferrers).Find(&rows).Error
	return rows, err
}

const columnsOfReferrers = "digest, push_id, artifact_type, annotations, image_size, pushed_by_name, pushed_at"
