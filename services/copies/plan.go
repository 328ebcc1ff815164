package copies

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"slipway.dev/services/distribution"
)

// What one copy may consist of. Real images are far below; what anybody pushed somewhere need not be.
const (
	maxManifests     = 2000
	maxManifestBytes = 64 << 20
	maxDepth         = 8 // of indexes within indexes
	maxBlobs         = 50_000
)

// limitError tells that an image is larger than a copy may be.
type limitError struct{ what string }

// Error says what there is too much of.
func (e *limitError) Error() string {
	return "the image has too many " + e.what + " to be copied."
}

// plan is what a copy consists of.
type plan struct {
	root      *distribution.Manifest
	manifests []*distribution.Manifest // those that others need before them
	blobs     []blob
	bytes     int64       // of the blobs
	tags      []taggedRef // that are set beside the image's own, such as those of signatures
	read      int         // bytes of manifests
}

// blob is one to copy.
type blob struct {
	v1.Descriptor
	owner digest.Digest // the manifest that it was first seen in
}

// taggedRef is a manifest of the plan that gets a tag.
type taggedRef struct {
	manifest *distribution.Manifest
	tag      string
}

// makePlan reads everything that the image consists of, manifests alone.
func (r *run) makePlan(ctx context.Context) (*plan, error) {
	p := &plan{}
	if err := r.walk(ctx, p, r.copy.Digest, 0); err != nil {
		return nil, err
	}
	p.root = p.manifests[len(p.manifests)-1]
	if r.copy.Referrers {
		if err := r.addReferrers(ctx, p); err != nil {
			return nil, err
		}
		if err := r.addSignatures(ctx, p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *plan) has(d digest.Digest) bool {
	return slices.ContainsFunc(p.manifests, func(m *distribution.Manifest) bool { return m.Digest == d })
}

// walk adds the manifest that the reference names, after those that it names.
func (r *run) walk(ctx context.Context, p *plan, reference string, depth int) error {
	if p.has(digest.Digest(reference)) {
		return nil
	}
	if depth > maxDepth {
		return &limitError{"indexes within indexes"}
	}
	source, err := r.source.repository(ctx)
	if err != nil {
		return err
	}
	m, err := source.Manifest(ctx, reference)
	if err != nil {
		return at(fmt.Errorf("reading the manifest %s: %w", reference, err), r.copy.Source, true)
	}
	r.moved()
	for _, child := range m.Manifests {
		if err := r.walk(ctx, p, child.Digest.String(), depth+1); err != nil {
			return err
		}
	}
	return p.add(m)
}

func (p *plan) add(m *distribution.Manifest) error {
	if p.read += len(m.Raw); p.read > maxManifestBytes || len(p.manifests) >= maxManifests {
		return &limitError{"manifests"}
	}
	p.manifests = append(p.manifests, m)
	for _, d := range m.Content() {
		if slices.ContainsFunc(p.blobs, func(b blob) bool { return b.Digest == d.Digest }) {
			continue
		}
		if len(p.blobs) >= maxBlobs {
			return &limitError{"layers"}
		}
		p.blobs = append(p.blobs, blob{d, m.Digest})
		p.bytes += d.Size
	}
	return nil
}

// addReferrers adds what is about the image, and what is about that.
func (r *run) addReferrers(ctx context.Context, p *plan) error {
	for k := 0; k < len(p.manifests); k++ { // what is added is looked at too
		source, err := r.source.repository(ctx)
		if err != nil {
			return err
		}
		found, err := source.Referrers(ctx, p.manifests[k].Digest)
		if err != nil {
			return at(fmt.Errorf("listing what is about %s: %w", p.manifests[k].Digest, err), r.copy.Source, true)
		}
		r.moved()
		for _, d := range found {
			if _, err := distribution.ParseDigest(d.Digest.String()); err != nil {
				return at(err, r.copy.Source, true)
			}
			if err := r.walk(ctx, p, d.Digest.String(), 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// signatureTags end the tags under which cosign keeps what is about an image.
var signatureTags = []string{".sig", ".att", ".sbom"}

// maxSigned is for how many manifests of an image such tags are looked for.
const maxSigned = 100

// addSignatures adds what is kept under tags made of the digests.
func (r *run) addSignatures(ctx context.Context, p *plan) error {
	for _, m := range p.manifests[:min(len(p.manifests), maxSigned)] {
		for _, end := range signatureTags {
			tag := distribution.ReferrersTag(m.Digest) + end
			source, err := r.source.repository(ctx)
			if err != nil {
				return err
			}
			found, err := source.Manifest(ctx, tag)
			r.moved()
			if distribution.Status(err) == http.StatusNotFound {
				continue
			}
			if err != nil {
				return at(fmt.Errorf("looking for %s: %w", tag, err), r.copy.Source, true)
			}
			if err := r.walk(ctx, p, found.Digest.String(), 1); err != nil {
				return err
			}
			p.tags = append(p.tags, taggedRef{found, tag})
		}
	}
	return nil
}
