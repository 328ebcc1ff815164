package retention

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// OfTeam tells what the team's images take; the team's viewers may.
func (s *Service) OfTeam(ctx context.Context, team string, page models.Page) (*models.TeamImageUsage, error) {
	t, err := s.team(ctx, team, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	db := s.DB.WithContext(ctx)
	total := []models.ImageUsage{{Team: t.Slug, RegistryUsage: models.RegistryUsage{TeamID: t.ID}}}
	if err := db.Where("team_id = ? AND repository = ''", t.ID).Limit(1).Find(&total[0].RegistryUsage).Error; err != nil {
		return nil, fmt.Errorf("reading what a team takes: %w", err)
	}
	total[0].TeamID = t.ID
	if err := s.complete(db, total); err != nil {
		return nil, err
	}
	q, err := after(db.Where("team_id = ? AND repository <> ''", t.ID), page, "repository")
	if err != nil {
		return nil, err
	}
	var rows []models.RegistryUsage
	if err := q.Order("bytes DESC, repository").Limit(page.Size() + 1).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading what repositories take: %w", err)
	}
	out := &models.TeamImageUsage{Total: total[0], Repositories: paged(rows, page, func(u models.RegistryUsage) string { return u.Repository })}
	return out, s.growth(db, out.Repositories.Items)
}

// OfSite tells what each team's images take, the largest first; admins may.
func (s *Service) OfSite(ctx context.Context, page models.Page) (models.List[models.ImageUsage], error) {
	none := models.List[models.ImageUsage]{}
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return none, err
	}
	db := s.DB.WithContext(ctx)
	q, err := after(db.Where("repository = ''"), page, "team_id")
	if err != nil {
		return none, err
	}
	var rows []models.RegistryUsage
	if err := q.Order("bytes DESC, team_id").Limit(page.Size() + 1).Find(&rows).Error; err != nil {
		return none, fmt.Errorf("reading what teams take: %w", err)
	}
	list := paged(rows, page, func(u models.RegistryUsage) string { return u.TeamID })
	return list, s.complete(db, list.Items)
}

// after narrows the list to what comes after the page's cursor: bytes, a slash, and the name.
func after(q *gorm.DB, page models.Page, column string) (*gorm.DB, error) {
	if page.Cursor == "" {
		return q, nil
	}
	size, name, _ := strings.Cut(page.Cursor, "/")
	bytes, err := strconv.ParseInt(size, 10, 64)
	if err != nil {
		return nil, models.InvalidField("cursor", "Use the cursor that the page before answered.")
	}
	return q.Where("bytes < ? OR (bytes = ? AND "+column+" > ?)", bytes, bytes, name), nil
}

func paged(rows []models.RegistryUsage, page models.Page, name func(models.RegistryUsage) string) models.List[models.ImageUsage] {
	list := models.List[models.ImageUsage]{Items: make([]models.ImageUsage, 0, len(rows))}
	for i, r := range rows {
		if i == page.Size() {
			last := rows[i-1]
			list.Next = strconv.FormatInt(last.Bytes, 10) + "/" + name(last)
			break
		}
		list.Items = append(list.Items, models.ImageUsage{RegistryUsage: r})
	}
	return list
}

// complete fills in the names, quotas and growth of teams, with one query for each.
func (s *Service) complete(db *gorm.DB, list []models.ImageUsage) error {
	var ids []string
	for _, u := range list {
		ids = append(ids, u.TeamID)
	}
	var teams []models.Team
	if err := db.Select("id", "slug").Where("id IN ?", ids).Find(&teams).Error; err != nil {
		return fmt.Errorf("reading the teams of a count: %w", err)
	}
	var quotas []models.RegistryQuota
	if err := db.Where("team_id IN ?", append(ids, "")).Find(&quotas).Error; err != nil {
		return fmt.Errorf("reading quotas: %w", err)
	}
	slugs, limits := map[string]string{}, map[string]int64{}
	for _, t := range teams {
		slugs[t.ID] = t.Slug
	}
	for _, q := range quotas {
		limits[q.TeamID] = q.Bytes
	}
	for i := range list {
		u := &list[i]
		u.Team = slugs[u.TeamID]
		limit, own := limits[u.TeamID]
		if !own {
			limit = limits[""]
		}
		u.Quota, u.OwnQuota = max(limit, 0), own
	}
	return s.growth(db, list)
}

// growth compares each count with the one of 30 days ago, or the oldest since then.
func (s *Service) growth(db *gorm.DB, list []models.ImageUsage) error {
	if len(list) == 0 {
		return nil
	}
	var teams, repositories []string
	for _, u := range list {
		teams, repositories = append(teams, u.TeamID), append(repositories, u.Repository)
	}
	var days []models.RegistryUsageDay
	err := db.Raw(`SELECT d.* FROM registry_usage_days d WHERE d.team_id IN ? AND d.repository IN ? AND d.day = (
		SELECT MIN(o.day) FROM registry_usage_days o WHERE o.team_id = d.team_id AND o.repository = d.repository AND o.day >= ?)`,
		teams, repositories, monthAgo(s.DB.NowFunc())).Scan(&days).Error
	if err != nil {
		return fmt.Errorf("reading earlier counts: %w", err)
	}
	for i := range list {
		u := &list[i]
		for _, d := range days {
			if d.TeamID == u.TeamID && d.Repository == u.Repository {
				u.Growth = u.Bytes - d.Bytes
				if at, err := time.Parse(time.DateOnly, d.Day); err == nil {
					u.GrowthOf = u.CountedAt.Sub(at).Truncate(daily)
				}
			}
		}
	}
	return nil
}
