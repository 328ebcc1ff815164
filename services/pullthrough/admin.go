package pullthrough

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
	"slipway.dev/services/outbound"
)

// Presets are public registries that are offered for the cache.
var Presets = []string{"docker.io", "ghcr.io", "quay.io", "mcr.microsoft.com"}

const (
	maxFresh    = 30 * 24 * 3600 // seconds
	maxKeepDays = 3650
	maxMaxBytes = 1 << 50
)

// Overview is the cache as admins see it.
type Overview struct {
	Settings
	Bytes        int64 // of its images' blobs
	Images       int64
	Repositories int64
	Upstreams    []models.CacheUpstream
}

// Overview returns the cache's state; for admins.
func (s *Service) Overview(ctx context.Context) (*Overview, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	o := &Overview{}
	var err error
	if o.Settings, err = s.settings(ctx); err != nil {
		return nil, err
	}
	if o.Bytes, err = s.used(ctx); err != nil {
		return nil, err
	}
	db := s.DB.WithContext(ctx)
	err = errors.Join(
		db.Model(&models.CacheImage{}).Count(&o.Images).Error,
		db.Model(&models.CacheRepository{}).Count(&o.Repositories).Error,
		db.Order("host").Find(&o.Upstreams).Error)
	if err != nil {
		return nil, fmt.Errorf("reading the cache: %w", err)
	}
	return o, nil
}

// Repository is one of the cache, with what it takes.
type Repository struct {
	models.CacheRepository
	Images int64
	Bytes  int64
}

// Repositories lists what is in the cache, by name; for admins.
func (s *Service) Repositories(ctx context.Context, page models.Page) (models.List[Repository], error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return models.List[Repository]{}, err
	}
	q := s.DB.WithContext(ctx).Table("cache_repositories").Select(`cache_repositories.*,
		(SELECT COUNT(*) FROM cache_images i WHERE i.repository = cache_repositories.name) AS images,
		(SELECT COALESCE(SUM(b.size), 0) FROM registry_links l JOIN registry_blobs b ON b.digest = l.digest WHERE l.repository = cache_repositories.name) AS bytes`)
	if page.Cursor != "" {
		q = q.Where("name > ?", page.Cursor)
	}
	var rows []Repository
	if err := q.Order("name").Limit(page.Size() + 1).Scan(&rows).Error; err != nil {
		return models.List[Repository]{}, fmt.Errorf("listing the cache: %w", err)
	}
	list := models.List[Repository]{Items: rows}
	if len(rows) > page.Size() {
		list.Items = rows[:page.Size()]
		list.Next = list.Items[page.Size()-1].Name
	}
	return list, nil
}

// UpstreamInput is what an admin says of an upstream: a host without a login, or a connected registry with its own.
type UpstreamInput struct {
	Host         string `json:"host,omitempty" form:"host" doc:"First part of its images' names. It is used without a login." example:"docker.io"`
	RegistryID   string `json:"registry_id,omitempty" form:"registry_id" doc:"A connected registry instead of a host: its login is used, and everybody who signs in can read what it fetches."`
	Enabled      bool   `json:"enabled" form:"enabled" doc:"Turned off, nothing is fetched from it; what is here is served."`
	FreshSeconds int64  `json:"fresh_seconds,omitempty" form:"fresh_seconds" doc:"How long what a tag names is not looked up anew; 6 hours where 0."`
}

// AddUpstream lets the cache fetch from a registry; for admins.
func (s *Service) AddUpstream(ctx context.Context, in UpstreamInput) (*models.CacheUpstream, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	now := s.DB.NowFunc()
	u := &models.CacheUpstream{ID: models.NewID(), Host: strings.ToLower(strings.TrimSpace(in.Host)), RegistryID: in.RegistryID, CreatedAt: now}
	if err := s.place(ctx, u); err != nil {
		return nil, err
	}
	return u, s.save(ctx, u, in, "cache.upstream.create")
}

// UpdateUpstream turns an upstream on or off and says how long its tags are good; for admins.
func (s *Service) UpdateUpstream(ctx context.Context, id string, in UpstreamInput) (*models.CacheUpstream, error) {
	u, err := s.upstream(ctx, id)
	if err != nil {
		return nil, err
	}
	return u, s.save(ctx, u, in, "cache.upstream.update")
}

func (s *Service) upstream(ctx context.Context, id string) (*models.CacheUpstream, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	var u models.CacheUpstream
	if err := s.DB.WithContext(ctx).Where("id = ?", id).Take(&u).Error; err != nil {
		return nil, models.FromDB(err, "upstream")
	}
	return &u, nil
}

var prefixPattern = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*$`)

// place finds the upstream's host and what stands for it in names.
func (s *Service) place(ctx context.Context, u *models.CacheUpstream) error {
	if u.RegistryID != "" {
		var r models.Registry
		if err := s.DB.WithContext(ctx).Select("host").Where("id = ?", u.RegistryID).Take(&r).Error; err != nil {
			if models.IsCode(models.FromDB(err, "registry"), models.NotFound) {
				return models.InvalidField("registry_id", "There is no such registry.")
			}
			return err
		}
		u.Host = r.Host
	}
	host := u.Host
	if h, port, err := net.SplitHostPort(host); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return models.InvalidField("host", "The port has to be a number from 1 to 65535.")
		}
		host = h
	}
	u.Prefix = strings.ReplaceAll(u.Host, ":", "-")
	switch {
	case outbound.CheckHost(host) != nil, !prefixPattern.MatchString(u.Prefix), !strings.ContainsAny(u.Host, ".:"):
		return models.InvalidField("host", "Give a host name such as docker.io or registry.example.com:5000.")
	case strings.EqualFold(u.Host, s.Registry.Host()):
		return models.InvalidField("host", "This is Slipway's own registry.")
	}
	return nil
}

// save writes the upstream, and makes the team that the cache's repositories belong to with the first.
func (s *Service) save(ctx context.Context, u *models.CacheUpstream, in UpstreamInput, action string) error {
	if in.FreshSeconds < 0 || in.FreshSeconds > maxFresh {
		return models.InvalidField("fresh_seconds", "Use 0 to %d seconds.", maxFresh)
	}
	u.Enabled, u.FreshSeconds, u.UpdatedAt = in.Enabled, in.FreshSeconds, s.DB.NowFunc()
	u.Error, u.ErrorAt, u.QuietUntil = "", nil, nil
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := s.ensureTeam(tx); err != nil {
			return err
		}
		if err := tx.Save(u).Error; err != nil {
			if errors.Is(err, gorm.ErrDuplicatedKey) {
				return models.InvalidField("host", "The cache has %s already.", u.Host)
			}
			return err
		}
		return changed(ctx, tx, u, action)
	})
}

func changed(ctx context.Context, tx *gorm.DB, u *models.CacheUpstream, action string) error {
	err := audit.Record(ctx, tx, audit.Entry{Action: action, Subject: "cache:" + u.ID, Name: u.Host,
		Detail: map[string]string{"enabled": strconv.FormatBool(u.Enabled), "registry": u.RegistryID}})
	if err != nil {
		return err
	}
	return events.Publish(tx, models.Event{Kind: action, Topic: "cache", Parent: "cache"})
}

// ensureTeam makes the team without members that owns what is cached.
func (s *Service) ensureTeam(tx *gorm.DB) error {
	now := s.DB.NowFunc()
	team := models.Team{ID: models.CacheTeamID, Slug: models.CacheSlug, Name: "Base images (cache)", CreatedAt: now}
	if err := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&team).Error; err != nil {
		return err
	}
	var own int64
	if err := tx.Model(&models.Team{}).Where("id = ?", models.CacheTeamID).Count(&own).Error; err != nil {
		return err
	}
	if own == 0 {
		return models.Errorf(models.Conflict, "There is a team with the slug %q, whose images have the names that the cache would need. The cache can't be turned on here.", models.CacheSlug)
	}
	return nil
}

// DeleteUpstream forgets an upstream with all that was cached from it; for admins.
func (s *Service) DeleteUpstream(ctx context.Context, id string) error {
	u, err := s.upstream(ctx, id)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var names []string
		if err := tx.Model(&models.CacheRepository{}).Where("upstream_id = ?", id).Order("name").Pluck("name", &names).Error; err != nil {
			return err
		}
		for _, name := range names {
			if err := s.clear(ctx, tx, name); err != nil {
				return err
			}
		}
		if err := tx.Delete(&models.CacheUpstream{}, "id = ?", id).Error; err != nil {
			return err
		}
		return changed(ctx, tx, u, "cache.upstream.delete")
	})
}

// Clear takes all images of a repository out of the cache; for admins. They are fetched again when they are pulled.
func (s *Service) Clear(ctx context.Context, repository string) error {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := s.clear(ctx, tx, repository); err != nil {
			return err
		}
		err := audit.Record(ctx, tx, audit.Entry{TeamID: models.CacheTeamID, Action: "cache.clear", Subject: "image:" + repository, Name: repository})
		if err != nil {
			return err
		}
		return events.Publish(tx, models.Event{Kind: "cache.clear", Topic: "cache", Parent: "cache"})
	})
}

// UpdateSettings bounds the cache; for admins.
func (s *Service) UpdateSettings(ctx context.Context, in Settings) (*Settings, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	wrong := map[string]string{}
	if in.MaxBytes < 1<<20 || in.MaxBytes > maxMaxBytes {
		wrong["max_bytes"] = "The cache needs at least 1 MB."
	}
	if in.KeepDays < 1 || in.KeepDays > maxKeepDays {
		wrong["keep_days"] = fmt.Sprintf("Use 1 to %d days.", maxKeepDays)
	}
	if err := models.InvalidFields(wrong); err != nil {
		return nil, err
	}
	text, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	row := models.Setting{Key: settingKey, Value: string(text), UpdatedAt: s.DB.NowFunc()}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error; err != nil {
			return err
		}
		err := audit.Record(ctx, tx, audit.Entry{Action: "cache.update", Subject: "cache", Name: "cache of base images",
			Detail: map[string]string{"max_bytes": strconv.FormatInt(in.MaxBytes, 10), "keep_days": strconv.Itoa(in.KeepDays)}})
		if err != nil {
			return err
		}
		return events.Publish(tx, models.Event{Kind: "cache.update", Topic: "cache", Parent: "cache"})
	})
	return &in, err
}

// Offered are the presets that the cache does not have yet.
func (o *Overview) Offered() []string {
	return slices.DeleteFunc(slices.Clone(Presets), func(host string) bool {
		return slices.ContainsFunc(o.Upstreams, func(u models.CacheUpstream) bool { return u.Host == host })
	})
}

// Fresh is how long what the upstream's tags name is not looked up anew.
func Fresh(u models.CacheUpstream) time.Duration { return freshFor(u) }
