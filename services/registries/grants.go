package registries

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"slipway.dev/models"
)

// may tells whether the principal is allowed the action on the repository: an
// admin and Slipway itself everywhere, others by the grants of their teams.
func may(p *models.Principal, r *models.Registry, repository, action string) error {
	if p == nil {
		return models.Errorf(models.Unauthorized, "Sign in first.")
	}
	if err := scoped(p, action); err != nil {
		return err
	}
	if p.Admin {
		return nil
	}
	var best models.RegistryAccess
	var low bool
	for id, role := range p.Teams {
		access := accessOf(id, r, repository)
		if access.Allows(action) && !role.AtLeast(roleFor(action)) {
			low = true
			continue
		}
		if access.Allows(action) {
			return nil
		}
		best = max(best, access)
	}
	switch {
	case low:
		return models.Errorf(models.Denied, "Pushing to %s needs a developer of a team that may push there.", r.Name)
	case knows(p, r):
		return denied(r, repository, action, best)
	}
	return models.Errorf(models.NotFound, "No such registry.")
}

// teamMay tells whether the team is granted the action on the repository.
func teamMay(teamID string, r *models.Registry, repository, action string) error {
	if access := accessOf(teamID, r, repository); !access.Allows(action) {
		return denied(r, repository, action, access)
	}
	return nil
}

// TeamMay tells whether the team is granted the action on the repository of the
// registry; an error says what is missing. A registry that is not granted at all is NotFound.
func (s *Service) TeamMay(ctx context.Context, teamID, registryID, repository, action string) error {
	r, err := s.registry(ctx, registryID)
	if err != nil {
		return err
	}
	if r.AllTeams == models.RegistryNone && !slices.ContainsFunc(r.Grants, func(g models.RegistryGrant) bool { return g.TeamID == teamID }) {
		return models.Errorf(models.NotFound, "No such registry.")
	}
	return teamMay(teamID, r, repository, action)
}

func denied(r *models.Registry, repository, action string, has models.RegistryAccess) error {
	if has == models.RegistryPull {
		return models.Errorf(models.Denied, "The team may pull %s/%s and not push there. An admin can grant it under Registries.", r.Host, repository)
	}
	return models.Errorf(models.Denied, "The team may not %s %s/%s. An admin can grant it under Registries.", action, r.Host, repository)
}

func roleFor(action string) models.Role {
	if action == Push {
		return models.RoleDeveloper
	}
	return models.RoleViewer
}

// scoped tells whether the principal's token may do the action at all.
func scoped(p *models.Principal, action string) error {
	enough := []models.Scope{models.ScopeWrite, models.ScopeRegistryWrite}
	if action == Pull {
		enough = append(enough, models.ScopeRead, models.ScopeRegistryRead)
	}
	if action != Pull && action != Push {
		return fmt.Errorf("registries know no action %q", action)
	}
	if slices.ContainsFunc(enough, p.HasScope) {
		return nil
	}
	return models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", enough[len(enough)-1])
}

// accessOf is the most that the team may do with the repository.
func accessOf(teamID string, r *models.Registry, repository string) models.RegistryAccess {
	access := r.AllTeams
	for _, g := range r.Grants {
		if g.TeamID == teamID && g.Covers(repository) {
			access = max(access, g.Access) // "" < pull < push
		}
	}
	return access
}

// knows tells whether the principal may know that the registry is there.
func knows(p *models.Principal, r *models.Registry) bool {
	if p.Admin {
		return true
	}
	if r.AllTeams != models.RegistryNone {
		return len(p.Teams) > 0
	}
	return slices.ContainsFunc(r.Grants, func(g models.RegistryGrant) bool { return p.Teams[g.TeamID] != "" })
}

// cleanPrefix is the prefix as grants keep it, and whether it can be one.
func cleanPrefix(text string) (string, bool) {
	text = strings.Trim(strings.TrimSuffix(strings.TrimSpace(text), "*"), "/")
	return text, text == "" || ValidRepository(text)
}
