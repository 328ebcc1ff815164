package images

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/registries"
)

const (
	callTime     = 20 * time.Second // for one answer of a registry
	detailsTime  = 8 * time.Second  // for what a page says of its tags
	maxAtOnce    = 8                // calls to one registry for one page
	maxTagNames  = 20_000           // of one repository that are read
	maxTagsShown = 25               // on a page, for each takes several calls
	maxConfig    = 4 << 20          // bytes of a config that are read
	maxKept      = 1 << 20          // bytes of a manifest or config that is kept
)

// external reads a repository of an external registry over the distribution API.
type external struct {
	*Service
	remote   *registries.Remote
	registry *models.Registry
	name     string
}

// openExternal lets the reader in where a grant of theirs covers the repository.
func (s *Service) openExternal(ctx context.Context, registry, repository string) (place, error) {
	r, err := s.registryNamed(ctx, registry)
	if err != nil {
		return place{}, err
	}
	way, err := s.Registries.Open(ctx, r.ID, repository, registries.Pull)
	if err != nil {
		return place{}, err
	}
	return place{source: external{s, way, r, repository}, registry: r, host: r.Host, repository: repository}, nil
}

// registryNamed finds the external registry by its slug or id. Who may use it is looked up by who calls.
func (s *Service) registryNamed(ctx context.Context, registry string) (*models.Registry, error) {
	if s.Registries == nil {
		return nil, models.Errorf(models.NotFound, "No such registry.")
	}
	var r models.Registry
	err := s.DB.WithContext(ctx).Omit("secrets").Preload("Grants").Where("slug = ? OR id = ?", registry, registry).Take(&r).Error
	return &r, models.FromDB(err, "registry")
}

// key is under what an answer about the repository is remembered.
func (e external) key(parts ...string) string {
	return strings.Join(append([]string{e.registry.ID, e.registry.UpdatedAt.String(), e.name}, parts...), "\n")
}

// options are the client's, for calls that end with ctx.
func (e external) options(ctx context.Context) []remote.Option {
	return append(e.remote.Options(), remote.WithContext(ctx))
}

func (e external) manifest(ctx context.Context, reference string) (content, error) {
	if isDigest(reference) {
		return e.kept(ctx, reference, func(ctx context.Context) (content, error) {
			return e.fetch(ctx, reference)
		})
	}
	return e.fetch(ctx, reference)
}

// fetch asks the registry for a manifest; the client checks it against its digest.
func (e external) fetch(ctx context.Context, reference string) (content, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var d *remote.Descriptor
	var err error
	if isDigest(reference) {
		if !validDigest(reference) {
			return content{}, models.Errorf(models.NotFound, "No such image.")
		}
		d, err = remote.Get(e.remote.Repository.Digest(reference), e.options(ctx)...)
	} else {
		d, err = remote.Get(e.remote.Repository.Tag(reference), e.options(ctx)...)
	}
	if err != nil {
		return content{}, e.remote.Explain(err)
	}
	return content{string(d.MediaType), d.Digest.String(), d.Manifest}, nil
}

// kept returns what has the digest: what was read before, or else what read
// finds, which is kept, for it never changes.
func (e external) kept(ctx context.Context, digest string, read func(context.Context) (content, error)) (content, error) {
	var rows []models.RegistryDocument
	db := e.DB.WithContext(ctx)
	err := db.Where("registry_id = ? AND repository = ? AND digest = ?", e.registry.ID, e.name, digest).Limit(1).Find(&rows).Error
	if err != nil {
		return content{}, fmt.Errorf("looking for what was read of %s: %w", e.remote.Name(), err)
	}
	if len(rows) == 1 {
		return content{rows[0].MediaType, digest, rows[0].Content}, nil
	}
	c, err := read(ctx)
	if err != nil || len(c.bytes) > maxKept {
		return c, err
	}
	row := models.RegistryDocument{RegistryID: e.registry.ID, Repository: e.name, Digest: digest, MediaType: c.mediaType,
		Content: c.bytes, Size: int64(len(c.bytes)), ReadAt: e.DB.NowFunc()}
	if err := db.Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error; err != nil {
		return content{}, fmt.Errorf("keeping what was read of %s: %w", e.remote.Name(), err)
	}
	return c, nil
}

// each runs the function for every digest, several at once, and keeps what succeeds.
func each[T any](digests []string, read func(digest string) (T, error)) map[string]T {
	var mu sync.Mutex
	out := map[string]T{}
	var g errgroup.Group
	g.SetLimit(maxAtOnce)
	for _, d := range digests {
		g.Go(func() error {
			if v, err := read(d); err == nil {
				mu.Lock()
				defer mu.Unlock()
				out[d] = v
			}
			return nil
		})
	}
	_ = g.Wait()
	return out
}

func (e external) manifests(ctx context.Context, digests []string) (map[string]content, error) {
	ctx, cancel := context.WithTimeout(ctx, detailsTime)
	defer cancel()
	return each(digests, func(digest string) (content, error) { return e.manifest(ctx, digest) }), nil
}

func (e external) children(ctx context.Context, digests []string) (map[string]child, error) {
	known, err := e.manifests(ctx, digests)
	out := map[string]child{}
	for digest, c := range known {
		if doc := readDocument(c); !doc.isIndex() {
			out[digest] = child{size: doc.size()}
		}
	}
	return out, err
}

func (e external) blob(ctx context.Context, digest string) (io.ReadCloser, int64, error) {
	if !validDigest(digest) {
		return nil, 0, models.Errorf(models.NotFound, "No such blob.")
	}
	layer, err := remote.Layer(e.remote.Repository.Digest(digest), e.options(ctx)...)
	if err != nil {
		return nil, 0, e.remote.Explain(err)
	}
	size, err := layer.Size()
	if err != nil {
		return nil, 0, e.remote.Explain(err)
	}
	r, err := layer.Compressed()
	return r, size, e.remote.Explain(err)
}

func (e external) config(ctx context.Context, digest string) ([]byte, error) {
	c, err := e.kept(ctx, digest, func(ctx context.Context) (content, error) {
		ctx, cancel := context.WithTimeout(ctx, callTime)
		defer cancel()
		r, _, err := e.blob(ctx, digest)
		if err != nil {
			return content{}, err
		}
		defer r.Close()
		b, err := readAtMost(r, maxConfig)
		return content{"", digest, b}, e.remote.Explain(err)
	})
	return c.bytes, err
}

// readAtMost reads all, and fails where that is more than the limit.
func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(r, limit+1))
	if err == nil && n > limit {
		err = models.Errorf(models.TooLarge, "It is larger than the %d MiB that are read of such a file.", limit>>20)
	}
	return b.Bytes(), err
}

func (e external) referrers(ctx context.Context, digest string) ([]models.ImageReferrer, error) {
	found, err := remember(&e.recent, e.key("referrers", digest), func() ([]models.ImageReferrer, error) {
		return e.askReferrers(ctx, digest)
	})
	return slices.Clone(found), err
}

func (e external) askReferrers(ctx context.Context, digest string) ([]models.ImageReferrer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	index, err := remote.Referrers(e.remote.Repository.Digest(digest), e.options(ctx)...)
	if err != nil {
		return nil, e.remote.Explain(err)
	}
	raw, err := index.RawManifest()
	if err != nil {
		return nil, e.remote.Explain(err)
	}
	var out []models.ImageReferrer
	var list document
	if err := json.Unmarshal(raw, &list); err != nil {
		list = document{}
	}
	for _, d := range list.Manifests[:min(len(list.Manifests), maxReferrers)] {
		out = append(out, models.ImageReferrer{Digest: clip(d.Digest), ArtifactType: clip(d.ArtifactType), Size: d.Size, Via: ViaSubject, Annotations: clipMap(d.Annotations)})
	}
	for _, tagged := range each(schemeTags(digest), func(tag string) (models.ImageReferrer, error) {
		d, err := remote.Head(e.remote.Repository.Tag(tag), e.options(ctx)...)
		if err != nil {
			return models.ImageReferrer{}, err
		}
		return models.ImageReferrer{Digest: d.Digest.String(), Via: ViaTag}, nil
	}) {
		out = append(out, tagged)
	}
	slices.SortStableFunc(out, func(a, b models.ImageReferrer) int { return strings.Compare(a.Via+a.Digest, b.Via+b.Digest) })
	return out, nil
}

// validDigest tells whether the text is a digest that can be asked for.
func validDigest(text string) bool {
	_, err := digest.Parse(text)
	return err == nil
}
