package catalog

import (
	"context"

	"slipway.dev/models"
	"slipway.dev/services/git"
)

// connect gives the repository the connection that was asked for, which must be one of its team and of its address's
// host. Where nothing was asked it takes the team's only one with that host; an empty id is none.
func (s *Service) connect(ctx context.Context, r *models.Repository, a git.Address, asked *string) error {
	r.ConnectionID, r.ExternalID = nil, ""
	if asked != nil && *asked == "" {
		return nil
	}
	var all []models.Connection
	if err := s.DB.WithContext(ctx).Omit("secrets", "webhook_secret").Where("team_id = ?", r.TeamID).Order("id").Find(&all).Error; err != nil {
		return err
	}
	if asked == nil {
		return connectByHost(r, a, all)
	}
	for i := range all {
		if all[i].ID != *asked {
			continue
		}
		if all[i].BaseURL != "" && !all[i].Serves(a.Host) {
			return models.InvalidField("connection_id", "%s is a connection to %s, but the repository is at %s.", all[i].Name, all[i].Host(), a.Host)
		}
		r.ConnectionID = &all[i].ID
		return nil
	}
	return models.InvalidField("connection_id", "The team has no such connection.")
}

func connectByHost(r *models.Repository, a git.Address, all []models.Connection) error {
	for i := range all {
		if !all[i].Serves(a.Host) {
			continue
		}
		if r.ConnectionID != nil { // two: it is for people to choose
			r.ConnectionID = nil
			return nil
		}
		r.ConnectionID = &all[i].ID
	}
	return nil
}

// reconnect keeps the repository's connection true to its address. Another path on the same host is another
// repository at the forge, so that its id there must be learned anew.
func (s *Service) reconnect(ctx context.Context, r *models.Repository, before, after git.Address, asked *string) error {
	if after.String() != before.String() {
		r.ExternalID = ""
	}
	if asked != nil && r.ConnectionID != nil && *asked == *r.ConnectionID && after.Host == before.Host {
		return nil
	}
	if asked == nil && after.Host == before.Host {
		return nil
	}
	return s.connect(ctx, r, after, asked)
}
