package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
)

const (
	// quotaFresh is how long a process believes what it counted. A push of
	// another process within it is seen only afterwards.
	quotaFresh = 2 * time.Second
	// roomy is more than all processes together take within quotaFresh: with
	// less left, every blob is counted exactly, one after the other.
	roomy = 4 << 30
	// maxQuotaTeams bounds what a process remembers.
	maxQuotaTeams = 1000
)

// fullAdvice is how every message about a used-up quota ends, so that a builder finds it in what its engine says.
const fullAdvice = "delete images or ask an admin"

// quotas remembers for a moment what each team may have and has.
type quotas struct {
	mu    sync.Mutex
	teams map[string]account
}

// account is a team's quota and what it has used of it.
type account struct {
	team  string // id
	limit int64  // 0: none
	used  int64  // counted only where there is a limit
	at    time.Time
}

func (q *quotas) get(slug string, now time.Time) (account, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	a, ok := q.teams[slug]
	return a, ok && now.Sub(a.at) < quotaFresh
}

func (q *quotas) put(slug string, a account) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.teams == nil || len(q.teams) >= maxQuotaTeams {
		q.teams = map[string]account{}
	}
	q.teams[slug] = a
}

// forget has everything counted anew.
func (q *quotas) forget() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.teams = nil
}

// add has the team use more by now, until it is counted anew.
func (q *quotas) add(slug string, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if a, ok := q.teams[slug]; ok {
		a.used += bytes
		q.teams[slug] = a
	}
}

// account returns what the team may have and has, as it was at most quotaFresh ago.
func (s *Service) account(db *gorm.DB, slug string) (account, error) {
	if a, ok := s.quotas.get(slug, time.Now()); ok {
		return a, nil
	}
	return s.count(db, slug)
}

// count reads the team's quota, and where it has one what it uses now. The cache
// of base images has a limit of its own, and not that of every team.
func (s *Service) count(db *gorm.DB, slug string) (account, error) {
	var row struct {
		ID    string
		Bytes int64
	}
	a := account{at: time.Now()}
	err := db.Raw(`SELECT t.id, COALESCE(own.bytes, every.bytes, -1) AS bytes FROM teams t
		LEFT JOIN registry_quota own ON own.team_id = t.id
		LEFT JOIN registry_quota every ON every.team_id = '' AND t.id <> ? WHERE t.slug = ?`, models.CacheTeamID, slug).Scan(&row).Error
	if err != nil {
		return a, fmt.Errorf("reading the quota of %s: %w", slug, err)
	}
	a.team, a.limit = row.ID, max(row.Bytes, 0)
	if a.limit > 0 {
		if a.used, err = teamBytes(db, a.team); err != nil {
			return a, err
		}
	}
	s.quotas.put(slug, a)
	return a, nil
}

// teamBytes is what the team's repositories take: every blob that they have or
// that can be restored, once. A blob that other teams have too counts for each of
// them. What the last image that needed it left behind does not count.
func teamBytes(db *gorm.DB, teamID string) (bytes int64, err error) {
	err = db.Raw(`SELECT CAST(COALESCE(SUM(b.size), 0) AS BIGINT) FROM registry_blobs b WHERE b.digest IN (
		SELECT l.digest FROM registry_links l JOIN registry_repositories r ON r.name = l.repository
			WHERE r.team_id = ? AND (l.released_at IS NULL
				OR EXISTS (SELECT 1 FROM registry_references x WHERE x.repository = l.repository AND x.child = l.digest))
		UNION SELECT x.child FROM registry_deleted_references x JOIN registry_deletions d ON d.id = x.deletion_id WHERE d.team_id = ?)`,
		teamID, teamID).Scan(&bytes).Error
	if err != nil {
		return 0, fmt.Errorf("counting the images of a team: %w", err)
	}
	return bytes, nil
}

// admit refuses what a used-up quota forbids, before any byte is taken, and cuts
// uploads off where they would go beyond it.
func (s *Service) admit(r *http.Request, c call) error {
	upload := c.what == callUploads || c.what == callUpload && (r.Method == http.MethodPatch || r.Method == http.MethodPut)
	if !upload && (c.what != callManifest || r.Method != http.MethodPut) {
		return nil
	}
	slug, _ := teamSlug(c.name)
	db := s.DB.WithContext(r.Context())
	a, err := s.account(db, slug)
	if err != nil || a.limit == 0 {
		return err
	}
	held, err := s.held(db, c) // by the upload that goes on
	if err != nil {
		return err
	}
	more := held
	if upload {
		more += max(r.ContentLength, 0)
	}
	if a.used+more > a.limit { // as it was a moment ago: look once more
		if a, err = s.count(db, slug); err != nil {
			return err
		}
	}
	if a.limit > 0 && a.used+more > a.limit {
		return full(slug, a)
	}
	if a.limit > 0 && upload {
		r.Body = &boundedBody{ReadCloser: r.Body, left: a.limit - a.used - held, full: full(slug, a)}
	}
	return nil
}

// held is how many bytes the upload has that the call goes on with. Others that
// arrive at the same time are not counted: what is too much of them ends in settle.
func (s *Service) held(db *gorm.DB, c call) (bytes int64, err error) {
	if c.what != callUpload {
		return 0, nil
	}
	err = db.Raw("SELECT COALESCE(SUM(size), 0) FROM registry_uploads WHERE repository = ? AND id = ?", c.name, c.reference).Scan(&bytes).Error
	if err != nil {
		return 0, fmt.Errorf("reading the size of an upload: %w", err)
	}
	return bytes, nil
}

// settle counts the team's blobs once more where its quota is nearly used up,
// with the one that tx has just linked: of several pushes at once those that
// come too late are refused here. What is refused is collected later.
func (s *Service) settle(tx *gorm.DB, name string, d digest.Digest) error {
	slug, _ := teamSlug(name)
	a, err := s.account(tx, slug)
	if err != nil || a.limit == 0 {
		return err
	}
	var blob models.RegistryBlob
	if err := tx.Select("size").Where("digest = ?", d.String()).Take(&blob).Error; err != nil {
		return err
	}
	s.quotas.add(slug, blob.Size)
	if a.limit-a.used-blob.Size > roomy {
		return nil
	}
	// One after the other: whoever holds the team's row counts what all before it linked.
	if err := tx.Model(&models.Team{}).Where("id = ?", a.team).UpdateColumn("build_limit", gorm.Expr("build_limit")).Error; err != nil {
		return fmt.Errorf("holding the team: %w", err)
	}
	now, err := s.count(tx, slug)
	if err != nil || now.used <= now.limit {
		return err
	}
	s.quotas.forget() // this blob does not stay
	return full(slug, account{limit: now.limit, used: now.used - blob.Size})
}

// boundedBody is a body of which no more may arrive than the quota has room for.
type boundedBody struct {
	io.ReadCloser
	left int64
	full error
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, b.full
	}
	return n, err
}

// brokenOff is why a body ended before its end: the quota's refusal, or a connection that broke.
func brokenOff(err error) error {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	return errUploadBroken
}

// full says that the quota is used up, in the words that docker push shows.
func full(slug string, a account) error {
	return &problem{http.StatusForbidden, "DENIED", fmt.Sprintf("team %s has used %s; %s", slug, usedOf(a.used, a.limit), fullAdvice)}
}

// usedOf writes "9.8 of 10 GB".
func usedOf(used, limit int64) string {
	unit, name := int64(1), "B"
	for _, u := range []struct {
		size int64
		name string
	}{{1e3, "kB"}, {1e6, "MB"}, {1e9, "GB"}, {1e12, "TB"}} {
		if limit >= u.size {
			unit, name = u.size, u.name
		}
	}
	write := func(n int64) string { return strconv.FormatFloat(float64(n*10/unit)/10, 'f', -1, 64) }
	return write(used) + " of " + write(limit) + " " + name
}

// SetQuota sets how many bytes of images a team may have; below 0 any number.
// Without a team it is the number of every team that has none of its own; where
// bytes is nil, a team has that again, and all teams have no limit. Admins may.
func (s *Service) SetQuota(ctx context.Context, team string, bytes *int64) error {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return err
	}
	if bytes != nil && *bytes == 0 {
		return models.InvalidField("bytes", "Use a number above 0, or none for no limit.")
	}
	var row models.Team
	if team != "" {
		if err := s.DB.WithContext(ctx).Where("slug = ?", team).Take(&row).Error; err != nil {
			return models.FromDB(err, "team")
		}
	}
	_, name := actor(ctx)
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Where("team_id = ?", row.ID).Delete(&models.RegistryQuota{}).Error; err != nil {
			return err
		}
		detail := map[string]string{"bytes": "as every team"}
		if bytes != nil {
			detail["bytes"] = strconv.FormatInt(*bytes, 10)
			if err := tx.Create(&models.RegistryQuota{TeamID: row.ID, Bytes: max(*bytes, -1), UpdatedByName: name, UpdatedAt: s.DB.NowFunc()}).Error; err != nil {
				return err
			}
		}
		subject := "team:" + row.ID
		if row.ID == "" {
			subject = "registry"
		}
		return audit.Record(ctx, tx, audit.Entry{TeamID: row.ID, Action: "registry.quota", Subject: subject, Name: team, Detail: detail})
	})
	s.quotas.forget()
	return err
}

// DefaultQuota is how many bytes of images every team may have that has no number of its own; 0: any number. Admins may ask.
func (s *Service) DefaultQuota(ctx context.Context) (int64, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return 0, err
	}
	var row models.RegistryQuota
	if err := s.DB.WithContext(ctx).Where("team_id = ''").Limit(1).Find(&row).Error; err != nil {
		return 0, fmt.Errorf("reading the quota: %w", err)
	}
	return max(row.Bytes, 0), nil
}
