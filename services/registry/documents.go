package registry

import (
	"encoding/json"
	"io"
	"math"
	"mime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// The media types beside those of OCI.
const (
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig       = "application/vnd.docker.container.image.v1+json"
	artifactManifest   = "application/vnd.oci.artifact.manifest.v1+json" // of drafts of OCI 1.1
)

// document is a manifest or an index of OCI or Docker, or an artifact's manifest
// as drafts of OCI 1.1 had it, which has blobs in place of config and layers.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *v1.Descriptor    `json:"config"`
	Layers        []v1.Descriptor   `json:"layers"`
	Blobs         []v1.Descriptor   `json:"blobs"`
	Manifests     []v1.Descriptor   `json:"manifests"`
	Subject       *v1.Descriptor    `json:"subject"`
	Annotations   map[string]string `json:"annotations"`
}

// readDocument reads a pushed manifest and settles its media type.
func readDocument(body []byte, contentType string) (*document, error) {
	if err := checkJSON(body); err != nil {
		return nil, err
	}
	var d document
	if err := json.Unmarshal(body, &d); err != nil {
		return nil, manifestInvalid("The manifest is not the JSON of an image, an index or an artifact.")
	}
	if d.SchemaVersion != 2 && d.MediaType != artifactManifest { // which has none
		return nil, manifestInvalid("The manifest's schemaVersion has to be 2. Push with a Docker of 2016 or later.")
	}
	if err := d.settleType(contentType); err != nil {
		return nil, err
	}
	return &d, d.validate()
}

func (d *document) settleType(contentType string) error {
	if contentType == "" {
		contentType = d.MediaType
	}
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil || len(kind) > 255 {
		return manifestInvalid("The manifest needs a Content-Type.")
	}
	if d.MediaType != "" && d.MediaType != kind {
		return manifestInvalid("The Content-Type differs from the manifest's own mediaType.")
	}
	// It is answered to whoever opens the manifest, a browser too: nothing that one would show.
	if kind != "application/json" && !(strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")) {
		return manifestInvalid("The manifest's Content-Type has to be one of JSON: application/…+json.")
	}
	d.MediaType = kind
	return nil
}

func (d *document) validate() error {
	image := d.Config != nil || len(d.Layers)+len(d.Blobs) > 0
	// What one client takes for an image and another for an index could show
	// one and run the other.
	if image && len(d.Manifests) > 0 || image && d.isIndex() {
		return manifestInvalid("The manifest has to be an image or an index, not both.")
	}
	if d.isImage() && d.Config == nil {
		return manifestInvalid("The manifest says that it is an image's, and has no config.")
	}
	for _, x := range d.descriptors() {
		if x.Digest.Validate() != nil || x.Size < 0 {
			return manifestInvalid("The manifest names something by a digest or size that is not valid.")
		}
	}
	if kind := d.artifactType(); len(kind) > 255 || !printable(kind) {
		return manifestInvalid("The manifest's artifactType, or the mediaType of its config, is no media type.")
	}
	return nil
}

// printable tells whether the text is made of visible ASCII alone.
func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func (d *document) isIndex() bool {
	return d.MediaType == v1.MediaTypeImageIndex || d.MediaType == dockerManifestList
}

func (d *document) isImage() bool {
	return d.MediaType == v1.MediaTypeImageManifest || d.MediaType == dockerManifest
}

// descriptors returns everything that the manifest names.
func (d *document) descriptors() []v1.Descriptor {
	all := slices.Concat(d.blobs(), d.Manifests)
	if d.Subject != nil {
		all = append(all, *d.Subject)
	}
	return all
}

// blobs returns the config and the layers.
func (d *document) blobs() []v1.Descriptor {
	all := slices.Concat(d.Layers, d.Blobs)
	if d.Config != nil {
		all = append(all, *d.Config)
	}
	return all
}

// size is the sum of the image's compressed bytes, each blob once.
func (d *document) size() int64 {
	seen := map[digest.Digest]bool{}
	var sum int64
	for _, b := range d.blobs() {
		if !seen[b.Digest] {
			seen[b.Digest] = true
			sum = add(sum, b.Size)
		}
	}
	return sum
}

// add is the sum of two sizes, or the largest there is: layers that live
// elsewhere have the sizes that a manifest says, and an index of indexes counts
// an image once for each way to it.
func add(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// artifactType is what kind of thing the manifest is, where it is no plain image.
func (d *document) artifactType() string {
	if d.ArtifactType == "" && d.Config != nil {
		return d.Config.MediaType
	}
	return d.ArtifactType
}

// imageConfig tells whether the descriptor is the config of a container image.
func imageConfig(d *v1.Descriptor) bool {
	return d != nil && (d.MediaType == v1.MediaTypeImageConfig || d.MediaType == dockerConfig) && d.Size <= maxConfig
}

// platform reads the platform out of an image's config; empty where it says none.
func platform(config io.Reader) string {
	var p v1.Platform
	if err := json.NewDecoder(io.LimitReader(config, maxConfig)).Decode(&p); err != nil {
		return ""
	}
	return platformName(&p)
}

func platformName(p *v1.Platform) string {
	if p == nil || p.OS == "" || p.OS == "unknown" || p.Architecture == "" {
		return ""
	}
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	if len(name) > 64 || !printable(name) {
		return ""
	}
	return name
}
