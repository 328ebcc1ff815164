package registry

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// maxPage is the most names that one answer lists.
const maxPage = 1000

// catalog lists the repositories that the caller may pull from.
func (s *Service) catalog(w http.ResponseWriter, r *http.Request) error {
	p := models.PrincipalFrom(r.Context())
	query := s.DB.WithContext(r.Context()).Model(&models.RegistryRepository{}).Where("push_id <> ''")
	if ids, all := p.TeamIDs(); !all {
		query = query.Where("team_id IN ?", ids)
	}
	if !p.HasScope(models.ScopeRegistryRead) && !p.HasScope(models.ScopeRegistryWrite) {
		query = query.Where("1 = 0")
	}
	if t := tokenFrom(r.Context()); t.Limited {
		query = query.Where("name IN ?", t.repositories())
	}
	names, err := listNames(w, r, query)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, map[string]any{"repositories": names})
}

// repositories returns the names that the token was made for.
func (t *token) repositories() []string {
	names := []string{}
	for _, a := range t.Access {
		if slices.Contains(a.Actions, Pull) {
			names = append(names, a.Name)
		}
	}
	return names
}

// listNames runs the query for a page of names, in the order of their bytes, and links the next page.
func listNames(w http.ResponseWriter, r *http.Request, query *gorm.DB) ([]string, error) {
	n, err := pageSize(r)
	if err != nil {
		return nil, err
	}
	column := "name"
	if query.Name() == "postgres" {
		column = `name COLLATE "C"`
	}
	last := r.URL.Query().Get("last")
	if len(last) > maxName || strings.ContainsFunc(last, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil, errLast
	}
	names := []string{}
	err = query.Where(column+" > ?", last).Order(column).Limit(n+1).Pluck("name", &names).Error
	if err != nil {
		return nil, err
	}
	if len(names) > n {
		names = names[:n]
		if n > 0 {
			w.Header().Set("Link", fmt.Sprintf(`<%s?n=%d&last=%s>; rel="next"`, r.URL.Path, n, url.QueryEscape(names[n-1])))
		}
	}
	return names, nil
}

func pageSize(r *http.Request) (int, error) {
	raw := r.URL.Query().Get("n")
	if raw == "" {
		return maxPage, nil
	}
	n, err := strconv.Atoi(raw)
	if err != nil || n < 0 {
		return 0, errPageSize
	}
	return min(n, maxPage), nil
}
