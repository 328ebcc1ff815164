package pullthrough

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"slipway.dev/models"
	"slipway.dev/services/distribution"
)

const maxConfig = 4 << 20 // bytes of a config that is fetched with its manifest

// Tag makes sure that the tag is here and, where it was not looked up for a
// while, names what it names upstream. Where the upstream can't be asked now and
// the tag is here, stale says so.
func (s *Service) Tag(ctx context.Context, repository, tag string) (stale string, err error) {
	from, err := s.find(ctx, repository)
	if errors.Is(err, errNone) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	unlock, err := s.asking.lock(ctx, repository+":"+tag)
	if err != nil {
		return "", err
	}
	defer unlock()
	have, fresh, err := s.known(ctx, from, tag)
	if err != nil {
		return "", err
	}
	if fresh {
		return "", s.pulled(ctx, from, have, true)
	}
	err = s.refresh(ctx, from, tag, have)
	if err == nil {
		return "", nil
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if have == "" || models.IsCode(err, models.NotFound) {
		return "", err
	}
	if err := s.pulled(ctx, from, have, true); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s could not be looked up at its registry; this is what it was before. %s", from.image(tag), said(err)), nil
}

// known returns the digest that the tag has here, empty where it has none, and whether it need not be looked up.
func (s *Service) known(ctx context.Context, from *source, tag string) (have digest.Digest, fresh bool, err error) {
	var rows []struct {
		Digest    string
		CheckedAt *time.Time
	}
	err = s.DB.WithContext(ctx).Table("registry_tags").Select("registry_tags.digest, cache_tags.checked_at").
		Joins("LEFT JOIN cache_tags ON cache_tags.repository = registry_tags.repository AND cache_tags.name = registry_tags.name").
		Where("registry_tags.repository = ? AND registry_tags.name = ?", from.repository, tag).Limit(1).Scan(&rows).Error
	if err != nil {
		return "", false, fmt.Errorf("reading a tag of the cache: %w", err)
	}
	if len(rows) == 0 {
		return "", false, nil
	}
	at := rows[0].CheckedAt
	return digest.Digest(rows[0].Digest), at != nil && s.DB.NowFunc().Sub(*at) < freshFor(from.upstream), nil
}

func freshFor(u models.CacheUpstream) time.Duration {
	if u.FreshSeconds > 0 {
		return time.Duration(u.FreshSeconds) * time.Second
	}
	return defaultFresh
}

// refresh looks up what the tag names, and fetches it where it is something new.
// Where something is here the upstream is asked by HEAD, which those that limit pulls don't count.
func (s *Service) refresh(ctx context.Context, from *source, tag string, have digest.Digest) error {
	if err := quiet(from, s.DB.NowFunc()); err != nil {
		return err
	}
	within := askWithin
	if have != "" {
		within = askAgain
	}
	ask, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	there, err := s.open(ask, from)
	if err != nil {
		return s.failed(ctx, from, tag, err)
	}
	if have != "" {
		now, err := there.Head(ask, tag)
		if err != nil {
			return s.failed(ctx, from, tag, err)
		}
		if now == have {
			return errors.Join(s.checked(ctx, from, tag), s.pulled(ctx, from, have, true))
		}
	}
	m, err := there.Manifest(ask, tag)
	if err != nil {
		return s.failed(ctx, from, tag, err)
	}
	if err := s.store(ctx, from, tag, m); err != nil {
		return s.failed(ctx, from, tag, err)
	}
	return s.checked(ctx, from, tag)
}

// Image makes sure that the manifest with the digest is here. Once it is, its upstream is not asked again.
func (s *Service) Image(ctx context.Context, repository string, d digest.Digest) error {
	from, err := s.find(ctx, repository)
	if errors.Is(err, errNone) {
		return nil
	}
	if err != nil {
		return err
	}
	unlock, err := s.asking.lock(ctx, repository+"@"+d.String())
	if err != nil {
		return err
	}
	defer unlock()
	var here int64
	if err := s.DB.WithContext(ctx).Model(&models.RegistryManifest{}).Where("repository = ? AND digest = ?", repository, d.String()).Count(&here).Error; err != nil {
		return err
	}
	if here > 0 {
		return s.pulled(ctx, from, d, true)
	}
	if err := quiet(from, s.DB.NowFunc()); err != nil {
		return err
	}
	ask, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	there, err := s.open(ask, from)
	if err != nil {
		return s.failed(ctx, from, d.String(), err)
	}
	m, err := there.Manifest(ask, d.String())
	if err != nil {
		return s.failed(ctx, from, d.String(), err)
	}
	if err := s.store(ctx, from, "", m); err != nil {
		return s.failed(ctx, from, d.String(), err)
	}
	return nil
}

// store keeps a manifest that was fetched, with the config of an image, without which little can be said about it.
func (s *Service) store(ctx context.Context, from *source, tag string, m *distribution.Manifest) error {
	ctx = models.WithPrincipal(ctx, models.System("cache"))
	if err := s.seen(ctx, from); err != nil {
		return err
	}
	if imageConfig(m.Config) {
		if err := s.fetchConfig(ctx, from, m.Config); err != nil {
			return err
		}
	}
	if err := s.Registry.StoreImage(ctx, from.repository, tag, m.Digest, m.MediaType, m.Raw); err != nil {
		return err
	}
	return errors.Join(s.pulled(ctx, from, m.Digest, false), s.answered(ctx, from))
}

func imageConfig(d *v1.Descriptor) bool {
	const docker = "application/vnd.docker.container.image.v1+json"
	return d != nil && (d.MediaType == v1.MediaTypeImageConfig || d.MediaType == docker) && d.Size <= maxConfig
}

// fetchConfig brings the config here and waits for it.
func (s *Service) fetchConfig(ctx context.Context, from *source, config *v1.Descriptor) error {
	here, err := s.has(ctx, from, config.Digest)
	if here || err != nil {
		return err
	}
	f := s.fly(from, config.Digest, config.Size)
	defer f.leave()
	if _, err := io.Copy(io.Discard, f.reader(ctx)); err != nil {
		return err
	}
	return f.wait(ctx)
}
