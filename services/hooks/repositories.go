package hooks

import (
	"context"
	"fmt"
	"strings"

	"slipway.dev/models"
	"slipway.dev/services/git"
)

// repositories finds those of the connection that the event is about: by the id at the forge, where it is known, and
// else by the clone URL. Where there is none it says why.
func (s *Service) repositories(ctx context.Context, d *models.Delivery, e *event) (found []models.Repository, why string, err error) {
	var all []models.Repository
	err = s.DB.WithContext(ctx).Where("connection_id = ? AND team_id = ?", d.ConnectionID, d.TeamID).Order("id").Find(&all).Error
	if err != nil {
		return nil, "", err
	}
	why = fmt.Sprintf("No repository of this connection has the URL of %s.", first(e.repo.name, "the one in the payload"))
	for _, r := range all {
		switch known := r.ExternalID != "" && e.repo.id != ""; {
		case known && r.ExternalID == e.repo.id, !known && sameURL(r.CloneURL, e.repo.urls):
			found = append(found, r)
		case known && sameURL(r.CloneURL, e.repo.urls):
			why = fmt.Sprintf("Another repository is at the URL of %s now: its id at the forge is %s, but Slipway knows it as %s. Register it anew if that is right.",
				r.Name, e.repo.id, r.ExternalID)
		}
	}
	return found, why, nil
}

// sameURL tells whether one of the addresses is that of the clone URL, whatever the way to get there.
func sameURL(clone string, urls []string) bool {
	want, ok := whereabouts(clone)
	for _, u := range urls {
		if at, valid := whereabouts(u); ok && valid && at == want {
			return true
		}
	}
	return false
}

// whereabouts is an address without scheme, user, port and .git, in lower case, as forges tell repositories apart.
func whereabouts(url string) (string, bool) {
	a, err := git.ParseAddress(url)
	if err != nil {
		return "", false
	}
	path := strings.TrimSuffix(strings.Trim(a.Path, "/"), ".git")
	return strings.ToLower(a.Host + "/" + path), true
}
