package distribution

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// The media types of Docker, beside those of OCI.
const (
	dockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	dockerManifestList = "application/vnd.docker.distribution.manifest.list.v2+json"
)

// Accept are the media types that are asked for, as a header.
var Accept = strings.Join([]string{v1.MediaTypeImageIndex, dockerManifestList, v1.MediaTypeImageManifest, dockerManifest}, ", ")

// Manifest is a manifest, an index or an artifact as its registry keeps it.
type Manifest struct {
	Digest    digest.Digest
	MediaType string
	Raw       []byte
	Document
}

// Document is what moving a manifest needs to know of it.
type Document struct {
	Type         string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType"`
	Config       *v1.Descriptor    `json:"config"`
	Layers       []v1.Descriptor   `json:"layers"`
	Blobs        []v1.Descriptor   `json:"blobs"` // of the artifact manifests of early versions
	Manifests    []v1.Descriptor   `json:"manifests"`
	Subject      *v1.Descriptor    `json:"subject"`
	Annotations  map[string]string `json:"annotations"`
}

// IsIndex tells whether the manifest names other manifests.
func (m *Manifest) IsIndex() bool {
	return m.MediaType == v1.MediaTypeImageIndex || m.MediaType == dockerManifestList
}

// Content are the blobs that the manifest needs and a registry keeps: the
// config and the layers, each once, without those that live elsewhere by their URLs.
func (m *Manifest) Content() []v1.Descriptor {
	var out []v1.Descriptor
	all := slices.Concat(m.Layers, m.Blobs)
	if m.Config != nil {
		all = append(all, *m.Config)
	}
	for _, d := range all {
		if len(d.URLs) == 0 && !slices.ContainsFunc(out, func(x v1.Descriptor) bool { return x.Digest == d.Digest }) {
			out = append(out, d)
		}
	}
	return out
}

// Descriptor is how an index names the manifest.
func (m *Manifest) Descriptor() v1.Descriptor {
	kind := m.ArtifactType
	if kind == "" && m.Config != nil {
		kind = m.Config.MediaType
	}
	return v1.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Raw)), ArtifactType: kind, Annotations: m.Annotations}
}

// Manifest reads the manifest that the tag or digest names. Its digest is that
// of the bytes that arrived; where another one was asked for it fails with *DigestError.
func (r *Repository) Manifest(ctx context.Context, reference string) (*Manifest, error) {
	answer, err := r.ask(ctx, http.MethodGet, r.address("manifests", reference), map[string]string{"Accept": Accept}, http.StatusOK)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, MaxManifest+1))
	if err != nil {
		return nil, fmt.Errorf("reading the manifest %s: %w", reference, err)
	}
	if len(raw) > MaxManifest {
		return nil, &SizeError{"the manifest " + reference, MaxManifest}
	}
	return ReadManifest(raw, answer.Header.Get("Content-Type"), reference)
}

// ReadManifest reads the bytes of a manifest that was asked for by the tag or digest.
func ReadManifest(raw []byte, contentType, reference string) (*Manifest, error) {
	m := &Manifest{Raw: raw, Digest: digest.FromBytes(raw)}
	if strings.Contains(reference, ":") {
		want, err := ParseDigest(reference)
		if err != nil {
			return nil, err
		}
		if m.Digest = want.Algorithm().FromBytes(raw); m.Digest != want {
			return nil, &DigestError{Want: want, Got: m.Digest}
		}
	}
	if err := json.Unmarshal(raw, &m.Document); err != nil {
		return nil, &FormError{Reference: reference, Reason: "it is not the JSON of an image, an index or an artifact"}
	}
	m.MediaType = m.Type
	if kind, _, err := mime.ParseMediaType(contentType); err == nil && m.MediaType == "" {
		m.MediaType = kind
	}
	return m, m.check(reference)
}

// FormError tells that something is no manifest that can be moved.
type FormError struct{ Reference, Reason string }

// Error says what is wrong with it.
func (e *FormError) Error() string { return fmt.Sprintf("the manifest %s: %s", e.Reference, e.Reason) }

// check makes sure that every digest can be part of an address and every size be counted.
func (m *Manifest) check(reference string) error {
	all := slices.Concat(m.Layers, m.Blobs, m.Manifests)
	for _, one := range []*v1.Descriptor{m.Config, m.Subject} {
		if one != nil {
			all = append(all, *one)
		}
	}
	for _, d := range all {
		if _, err := ParseDigest(d.Digest.String()); err != nil || d.Size < 0 {
			return &FormError{reference, "it names something by a digest or size that is not valid"}
		}
	}
	image := m.Config != nil || len(m.Layers) > 0
	if image && (len(m.Manifests) > 0 || m.IsIndex()) || len(m.Manifests) > 0 && !m.IsIndex() {
		return &FormError{reference, "it is an image and an index at once"}
	}
	return nil
}

// ParseDigest reads a digest of an algorithm that can be computed here.
func ParseDigest(text string) (digest.Digest, error) {
	d, err := digest.Parse(text)
	if err != nil || !d.Algorithm().Available() {
		return "", &FormError{text, "this is no SHA-256 or SHA-512 digest"}
	}
	return d, nil
}

// Head returns the digest that a tag names now, empty where the registry does
// not say it without the manifest.
func (r *Repository) Head(ctx context.Context, reference string) (digest.Digest, error) {
	answer, err := r.ask(ctx, http.MethodHead, r.address("manifests", reference), map[string]string{"Accept": Accept}, http.StatusOK)
	if err != nil {
		return "", err
	}
	defer done(answer)
	d, err := ParseDigest(answer.Header.Get("Docker-Content-Digest"))
	if err != nil {
		return "", nil
	}
	return d, nil
}

// HasManifest tells whether the repository has the manifest.
func (r *Repository) HasManifest(ctx context.Context, d digest.Digest) (bool, error) {
	answer, err := r.ask(ctx, http.MethodHead, r.address("manifests", d.String()), map[string]string{"Accept": Accept}, http.StatusOK, http.StatusNotFound)
	if err != nil {
		return false, err
	}
	defer done(answer)
	return answer.StatusCode == http.StatusOK, nil
}

// Put stores the manifest under the tag or digest. Where it is about another
// manifest, and the registry does not keep count of such, it is added to the
// tag that stands for the list (specification, "Referrers Tag Schema").
func (r *Repository) Put(ctx context.Context, m *Manifest, reference string) error {
	answer, err := r.send(ctx, http.MethodPut, r.address("manifests", reference), bytes.NewReader(m.Raw), int64(len(m.Raw)),
		map[string]string{"Content-Type": m.MediaType}, http.StatusCreated, http.StatusOK, http.StatusAccepted)
	if err != nil {
		return err
	}
	done(answer)
	if m.Subject == nil || answer.Header.Get("OCI-Subject") != "" {
		return nil
	}
	return r.addReferrer(ctx, m)
}

// addReferrer writes the manifest into the list of its subject's referrers.
func (r *Repository) addReferrer(ctx context.Context, m *Manifest) error {
	tag := ReferrersTag(m.Subject.Digest)
	index := v1.Index{MediaType: v1.MediaTypeImageIndex}
	index.SchemaVersion = 2
	have, err := r.Manifest(ctx, tag)
	switch {
	case err == nil && have.IsIndex():
		index.Manifests = have.Manifests
	case err != nil && Status(err) != http.StatusNotFound:
		return err
	}
	if slices.ContainsFunc(index.Manifests, func(d v1.Descriptor) bool { return d.Digest == m.Digest }) {
		return nil
	}
	index.Manifests = append(index.Manifests, m.Descriptor())
	raw, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return r.Put(ctx, &Manifest{MediaType: index.MediaType, Raw: raw, Digest: digest.FromBytes(raw)}, tag)
}

// ReferrersTag is the tag under which registries without the referrers API list what is about a manifest.
func ReferrersTag(d digest.Digest) string { return d.Algorithm().String() + "-" + d.Encoded() }

// maxReferrers is how many manifests about one image are moved with it.
const maxReferrers = 500

// Referrers lists the manifests about the digest: by the API, or by the tag that stands for it.
func (r *Repository) Referrers(ctx context.Context, d digest.Digest) ([]v1.Descriptor, error) {
	var found []v1.Descriptor
	for next := r.address("referrers", d.String()); next != "" && len(found) < maxReferrers; {
		answer, err := r.ask(ctx, http.MethodGet, next, map[string]string{"Accept": v1.MediaTypeImageIndex}, http.StatusOK)
		if slices.Contains([]int{http.StatusNotFound, http.StatusBadRequest, http.StatusMethodNotAllowed}, Status(err)) {
			return r.listedReferrers(ctx, d)
		}
		if err != nil {
			return nil, err
		}
		page, err := readIndex(answer)
		if err != nil {
			return nil, err
		}
		found = append(found, page...)
		if next, err = r.nextPage(answer); err != nil {
			return nil, err
		}
	}
	return found[:min(len(found), maxReferrers)], nil
}

func readIndex(answer *http.Response) ([]v1.Descriptor, error) {
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, MaxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > MaxManifest {
		return nil, &SizeError{"a list of referrers", MaxManifest}
	}
	var index v1.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return nil, &FormError{"of referrers", "it is not JSON"}
	}
	return index.Manifests, nil
}

// nextPage is the address in the answer's Link header, which has to be on the same registry.
func (r *Repository) nextPage(answer *http.Response) (string, error) {
	link := answer.Header.Get("Link")
	from, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(link), "<"), ">")
	if link == "" || !ok || !strings.Contains(rest, `rel="next"`) {
		return "", nil
	}
	u, err := answer.Request.URL.Parse(from)
	if err != nil {
		return "", err
	}
	if u.Host != answer.Request.URL.Host {
		return "", errors.New("a list goes on at another host")
	}
	return u.String(), nil
}

func (r *Repository) listedReferrers(ctx context.Context, d digest.Digest) ([]v1.Descriptor, error) {
	m, err := r.Manifest(ctx, ReferrersTag(d))
	if Status(err) == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return m.Manifests[:min(len(m.Manifests), maxReferrers)], nil
}
