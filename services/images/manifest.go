package images

import (
	"encoding/json"
	"strings"

	"slipway.dev/models"
)

// The annotations that are understood (OCI image specification, and BuildKit's for its attestations).
const (
	annotationTitle         = "org.opencontainers.image.title"
	annotationBaseName      = "org.opencontainers.image.base.name"
	annotationBaseDigest    = "org.opencontainers.image.base.digest"
	annotationReference     = "vnd.docker.reference.digest"
	annotationReferenceType = "vnd.docker.reference.type"
	annotationPredicate     = "in-toto.io/predicate-type"
)

// The media types of indexes.
const (
	ociIndex   = "application/vnd.oci.image.index.v1+json"
	dockerList = "application/vnd.docker.distribution.manifest.list.v2+json"
	inToto     = "application/vnd.in-toto+json"
	emptyType  = "application/vnd.oci.empty.v1+json"
)

// document is what is read of a manifest or an index of OCI or Docker.
type document struct {
	mediaType    string
	ArtifactType string            `json:"artifactType"`
	Config       *descriptor       `json:"config"`
	Layers       []descriptor      `json:"layers"`
	Manifests    []descriptor      `json:"manifests"`
	Subject      *descriptor       `json:"subject"`
	Annotations  map[string]string `json:"annotations"`
}

type descriptor struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Platform     *platform         `json:"platform"`
	Annotations  map[string]string `json:"annotations"`
}

type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// name is the platform as people write it; empty for none, and for BuildKit's unknown/unknown.
func (p *platform) name() string {
	if p == nil || p.OS == "" || p.OS == "unknown" {
		return ""
	}
	return strings.Trim(strings.Join([]string{p.OS, p.Architecture, p.Variant}, "/"), "/")
}

// readDocument reads a manifest. What is no manifest reads as an empty one:
// anybody may have pushed anything, and its page shows it as it is.
func readDocument(c content) *document {
	d := &document{}
	if err := json.Unmarshal(c.bytes, d); err != nil {
		d = &document{}
	}
	d.mediaType = c.mediaType
	return d
}

func (d *document) isIndex() bool {
	return d.mediaType == ociIndex || d.mediaType == dockerList || len(d.Manifests) > 0
}

func (d *document) subject() string {
	if d.Subject == nil {
		return ""
	}
	return clip(d.Subject.Digest)
}

// artifactType is what kind of thing it is, where it is no plain image: as it
// says, or as its config does, or else its first file.
func (d *document) artifactType() string {
	if d.ArtifactType != "" {
		return d.ArtifactType
	}
	if d.Config != nil && d.Config.MediaType != emptyType && !imageConfig(d.Config.MediaType) {
		return d.Config.MediaType
	}
	if len(d.Layers) > 0 {
		return d.Layers[0].MediaType
	}
	return ""
}

// images are the manifests of an index without BuildKit's attestations.
func (d *document) images() []descriptor {
	var out []descriptor
	for _, m := range d.Manifests {
		if !m.attests() && len(out) < maxPlatforms {
			out = append(out, m)
		}
	}
	return out
}

// attestations are the manifests that BuildKit puts into an index beside those that they are about.
func (d *document) attestations() []descriptor {
	var out []descriptor
	for _, m := range d.Manifests {
		if m.attests() && len(out) < maxPlatforms {
			out = append(out, m)
		}
	}
	return out
}

func (d descriptor) attests() bool {
	return d.Annotations[annotationReferenceType] == "attestation-manifest"
}

// attests tells whether the manifest holds nothing but in-toto statements, as BuildKit's attestations do.
func (d *document) attests() bool {
	for _, l := range d.Layers {
		if l.MediaType != inToto {
			return false
		}
	}
	return len(d.Layers) > 0
}

// size is the sum of the compressed bytes, each blob once.
func (d *document) size() int64 {
	var sum int64
	seen := map[string]bool{}
	for _, b := range d.blobs() {
		if !seen[b.Digest] {
			seen[b.Digest] = true
			sum += b.Size
		}
	}
	return sum
}

// blobs are the config and the layers.
func (d *document) blobs() []descriptor {
	all := d.Layers
	if d.Config != nil {
		all = append(all[:len(all):len(all)], *d.Config)
	}
	return all
}

// base is the image that this one was built on, where its annotations or its labels say so.
func base(d *document, c config) *models.ImageBase {
	for _, m := range []map[string]string{d.Annotations, c.Config.Labels} {
		if m[annotationBaseName] != "" || m[annotationBaseDigest] != "" {
			return &models.ImageBase{Name: clip(m[annotationBaseName]), Digest: clip(m[annotationBaseDigest])}
		}
	}
	return nil
}
