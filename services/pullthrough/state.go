package pullthrough

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/distribution"
	"slipway.dev/services/outbound"
)

// touchEvery is how old the note of a pull gets before it is written anew.
const touchEvery = time.Minute

// seen writes the repository down.
func (s *Service) seen(ctx context.Context, from *source) error {
	now := s.DB.NowFunc()
	row := models.CacheRepository{Name: from.repository, UpstreamID: from.upstream.ID, PulledAt: now, CreatedAt: now}
	return s.DB.WithContext(ctx).Clauses(clause.OnConflict{DoNothing: true}).Create(&row).Error
}

// pulled counts a pull of the image, with the upstream's help or without.
func (s *Service) pulled(ctx context.Context, from *source, d digest.Digest, hit bool) error {
	now := s.DB.NowFunc()
	column := "misses"
	if hit {
		column = "hits"
	}
	db := s.DB.WithContext(ctx)
	err := db.Model(&models.CacheRepository{}).Where("name = ?", from.repository).
		UpdateColumns(map[string]any{column: gorm.Expr(column + " + 1"), "pulled_at": now}).Error
	if err != nil {
		return fmt.Errorf("counting a pull from the cache: %w", err)
	}
	var noted int64
	err = db.Model(&models.CacheImage{}).Where("repository = ? AND digest = ? AND pulled_at > ?", from.repository, d.String(), now.Add(-touchEvery)).Count(&noted).Error
	if err != nil || noted > 0 {
		return err
	}
	row := models.CacheImage{Repository: from.repository, Digest: d.String(), PulledAt: now}
	return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error
}

// checked notes that the tag was looked up.
func (s *Service) checked(ctx context.Context, from *source, tag string) error {
	row := models.CacheTag{Repository: from.repository, Name: tag, CheckedAt: s.DB.NowFunc()}
	return errors.Join(s.DB.WithContext(ctx).Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error, s.answered(ctx, from))
}

// answered forgets what went wrong with the upstream before.
func (s *Service) answered(ctx context.Context, from *source) error {
	db := s.DB.WithContext(ctx)
	if from.upstream.Error != "" || from.upstream.QuietUntil != nil {
		err := db.Model(&models.CacheUpstream{}).Where("id = ?", from.upstream.ID).UpdateColumns(map[string]any{"error": "", "error_at": nil, "quiet_until": nil}).Error
		if err != nil {
			return err
		}
	}
	return db.Model(&models.CacheRepository{}).Where("name = ? AND error <> ''", from.repository).UpdateColumns(map[string]any{"error": "", "error_at": nil}).Error
}

// quiet refuses while the upstream is to be left alone.
func quiet(from *source, now time.Time) error {
	until := from.upstream.QuietUntil
	if until == nil || !until.After(now) {
		return nil
	}
	return models.Errorf(models.Unavailable, "%s Slipway asks it again in %d seconds.", from.upstream.Error, int(until.Sub(now).Seconds())+1)
}

// failed writes down what went wrong and returns it in words for people.
func (s *Service) failed(ctx context.Context, from *source, reference string, err error) error {
	told := explain(from, reference, err)
	if ctx.Err() != nil { // whoever asked is gone; it says nothing about the upstream
		return told
	}
	now := s.DB.NowFunc()
	db := s.DB.WithContext(ctx)
	columns := map[string]any{"error": told.Message, "error_at": now}
	stored := db.Model(&models.CacheRepository{}).Where("name = ?", from.repository).UpdateColumns(columns).Error
	switch told.Code {
	case models.TooMany:
		columns["quiet_until"] = now.Add(quietLimited)
	case models.Unavailable:
		columns["quiet_until"] = now.Add(quietAfter)
	case models.NotFound, models.TooLarge:
		return errors.Join(told, stored) // of this image alone
	}
	stored = errors.Join(stored, db.Model(&models.CacheUpstream{}).Where("id = ?", from.upstream.ID).UpdateColumns(columns).Error)
	if stored != nil {
		return errors.Join(told, stored)
	}
	return told
}

// said is the message of a failure for people.
func said(err error) string {
	if e, ok := errors.AsType[*models.Error](err); ok {
		return e.Message
	}
	return "Slipway could not read it."
}

// explain says what went wrong with the upstream.
func explain(from *source, reference string, err error) *models.Error {
	if known, ok := errors.AsType[*models.Error](err); ok {
		return known
	}
	host, image := from.upstream.Host, from.image(reference)
	out := &models.Error{Err: err, Code: models.Unavailable}
	status := distribution.Status(err)
	switch {
	case status == http.StatusNotFound:
		out.Code, out.Message = models.NotFound, fmt.Sprintf("%s has no %s.", host, image)
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		out.Code, out.Message = models.NotFound, fmt.Sprintf("%s has no %s, or does not let Slipway read it.", host, image)
	case status == http.StatusTooManyRequests:
		out.Code, out.Message = models.TooMany, fmt.Sprintf("%s limits how often images are fetched from it.", host)
	case wrong(err):
		out.Message = fmt.Sprintf("%s sent something else than %s: %s. Nothing of it was kept.", host, image, err)
	case refused(err):
		out.Message = err.Error() + "."
	case status != 0:
		out.Message = fmt.Sprintf("%s answers with an error (HTTP %d).", host, status)
	case errors.Is(err, errStalled), errors.Is(err, context.DeadlineExceeded):
		out.Message = host + " is too slow."
	default:
		out.Message = host + " can't be reached, or broke the connection."
	}
	return out
}

func wrong(err error) bool {
	if _, ok := errors.AsType[*distribution.DigestError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*distribution.FormError](err); ok {
		return true
	}
	_, ok := errors.AsType[*distribution.SizeError](err)
	return ok
}

func refused(err error) bool {
	_, ok := errors.AsType[*outbound.RefusedError](err)
	return ok
}
