// Package explorer shows what is in images: the files of each layer and of the
// whole, the content of a file, and what differs between two images.
//
// A layer is read once, by a job, into an index that is kept as a blob (see
// package layers); the image's index is made of those of its layers, and so is
// that of a comparison. Pages and calls of the API read indexes alone, so they
// are quick however large the image is. Any number of processes may ask for the
// same index at once: its row says who makes it.
//
// Who may see an image is decided by whoever finds it: every method asks Find
// first, with the principal of the context, and reads only layers that the
// found image names.
package explorer

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"gocloud.dev/blob"
	"slipway.dev/models"
	"slipway.dev/services/git"
	"slipway.dev/services/jobs"
	"slipway.dev/services/layers"
)

// Service is the file explorer.
type Service struct {
	DB    *models.Database
	Jobs  *jobs.Queue
	Blobs *blob.Bucket // where indexes are kept
	Git   *git.Service

	// Find returns the image that the reference names, or a NotFound error where
	// there is none that the context's principal may see.
	Find func(ctx context.Context, at Reference) (*models.ImagePassport, error)
	// OpenBlob opens a blob of an image's repository and returns its size in
	// bytes; the caller closes it. The registry is a slug, empty for the embedded one.
	OpenBlob func(ctx context.Context, registry, repository, digest string) (io.ReadCloser, int64, error)

	Limits   layers.Limits
	Patience time.Duration // how long a request waits for an index that is being made; 1.5 s where zero

	slots chan struct{} // how many indexes this process makes at once
}

// Reference names an image.
type Reference struct {
	Registry   string // the slug of its registry; empty: the embedded one
	Repository string // such as payments/checkout; empty, with a digest of the embedded registry: any that has it
	Name       string // a digest or a tag
}

// String is the reference as people write it, such as payments/checkout:main.
func (r Reference) String() string {
	switch {
	case r.Repository == "":
		return r.Name
	case r.IsDigest():
		return r.Repository + "@" + r.Name
	}
	return r.Repository + ":" + r.Name
}

// IsDigest tells whether the image is named by its digest.
func (r Reference) IsDigest() bool { return strings.Contains(r.Name, ":") }

// Parse reads a reference as String writes it. It fails with an Invalid error about the field.
func Parse(field, text string) (Reference, error) {
	text = strings.TrimSpace(text)
	repository, digest, found := strings.Cut(text, "@")
	if found && repository != "" && strings.Contains(digest, ":") {
		return Reference{Repository: repository, Name: digest}, nil
	}
	if i := strings.LastIndexByte(text, ':'); !found && i > 0 && i < len(text)-1 && !strings.Contains(text[i:], "/") {
		if strings.Contains(text[:i], "/") {
			return Reference{Repository: text[:i], Name: text[i+1:]}, nil
		}
		return Reference{Name: text}, nil
	}
	return Reference{}, models.InvalidField(field, "Name an image by its tag or digest, such as payments/checkout:main or payments/checkout@sha256:….")
}

// image is an image whose files can be listed: one for one platform.
type image struct {
	reference Reference
	passport  *models.ImagePassport
	index     *models.ImagePassport // the index that it is part of; nil: none was asked for
	layers    []models.FileLayer
}

// image finds the image. Of an index it is the image of the platform, the first where the platform is empty.
func (s *Service) image(ctx context.Context, at Reference, platform string) (*image, error) {
	found, err := s.Find(ctx, at)
	if err != nil {
		return nil, err
	}
	i := &image{passport: found}
	if len(found.Images) > 0 {
		child, err := childOf(found, platform)
		if err != nil {
			return nil, err
		}
		i.index = found
		if i.passport, err = s.Find(ctx, Reference{found.Registry, found.Repository, child}); err != nil {
			return nil, err
		}
	}
	i.reference = Reference{i.passport.Registry, i.passport.Repository, i.passport.Digest}
	return i, i.readLayers()
}

func childOf(index *models.ImagePassport, platform string) (digest string, err error) {
	for _, c := range index.Images {
		if c.Platform != "" && cmp.Or(platform, c.Platform) == c.Platform {
			return c.Digest, nil
		}
	}
	return "", models.InvalidField("platform", "The image has no platform %q.", platform)
}

// maxLayers is how many layers an image may have for its files to be listed; engines allow 128.
const maxLayers = 500

// readLayers reads the layers out of the manifest, and what made each out of the passport.
func (i *image) readLayers() error {
	var doc struct {
		Layers []struct {
			MediaType string `json:"mediaType"`
			Digest    string `json:"digest"`
			Size      int64  `json:"size"`
		} `json:"layers"`
	}
	if err := json.Unmarshal(i.passport.Content, &doc); err != nil {
		return models.Errorf(models.Conflict, "The image's manifest can't be read.")
	}
	if len(doc.Layers) > maxLayers {
		return models.Errorf(models.Conflict, "The image has more than %d layers; no engine runs it, and its files are not listed.", maxLayers)
	}
	for k, l := range doc.Layers {
		i.layers = append(i.layers, models.FileLayer{Number: k + 1, Digest: l.Digest, MediaType: l.MediaType, Size: l.Size})
	}
	k := 0
	for _, l := range i.passport.Layers {
		if k < len(i.layers) && l.Digest == i.layers[k].Digest {
			i.layers[k].Instruction = cmp.Or(l.Instruction, l.Comment)
			k++
		}
	}
	return nil
}

// id is the id of the image's index. Images of the same layers share it.
func (i *image) id() string {
	digests := []string{strconv.Itoa(layers.Format)}
	for _, l := range i.layers {
		digests = append(digests, l.Digest)
	}
	return "image:" + sum(digests...)
}

// top is the digest of the image's last layer.
func (i *image) top() string {
	if len(i.layers) == 0 {
		return ""
	}
	return i.layers[len(i.layers)-1].Digest
}

func (i *image) size() (n int64) {
	for _, l := range i.layers {
		n += l.Size
	}
	return n
}

func sum(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%s\n", p)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
