package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/catalog"
)

// Team owns repositories and environments.
type Team struct {
	ID        string      `json:"id"`
	Slug      string      `json:"slug" example:"payments"`
	Name      string      `json:"name" example:"Payments"`
	Role      models.Role `json:"role" enum:"viewer,developer,maintainer" doc:"Yours in the team."`
	CreatedAt time.Time   `json:"created_at"`
}

// Member is a user's role in a team.
type Member struct {
	UserID    string      `json:"user_id"`
	Name      string      `json:"name"`
	Email     string      `json:"email,omitempty"`
	Role      models.Role `json:"role" enum:"viewer,developer,maintainer"`
	CreatedAt time.Time   `json:"created_at"`
}

// Person is a user as maintainers of teams see them.
type Person struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Email string `json:"email,omitempty"`
}

// TeamIn is a call about one team.
type TeamIn struct {
	Team string `path:"team" maxLength:"100" doc:"The team's slug."`
}

func (a *API) teams() {
	get(a, "/teams", "list-teams", "Teams that you are in", a.listTeams)
	post(a, "/teams", "create-team", "Create a team", a.createTeam, status(http.StatusCreated), repeatable, about("You become its first maintainer."))
	get(a, "/teams/{team}", "get-team", "A team", a.getTeam)
	patch(a, "/teams/{team}", "update-team", "Rename a team", a.updateTeam)
	get(a, "/teams/{team}/members", "list-members", "A team's members", a.listMembers)
	put(a, "/teams/{team}/members/{user}", "set-member", "Give a user a role in a team", a.setMember)
	remove(a, "/teams/{team}/members/{user}", "remove-member", "Take a user out of a team", a.removeMember)
	get(a, "/teams/{team}/users", "find-users", "Find people to add to a team", a.findUsers)
}

func (a *API) listTeams(ctx context.Context, in *PageIn) (*answer[List[Team]], error) {
	l, err := a.Catalog.Teams(ctx, catalog.TeamFilter{Page: in.page()})
	if err != nil {
		return nil, err
	}
	return listOf(l, func(t *models.Team) Team { return teamOf(ctx, t) }), nil
}

func (a *API) createTeam(ctx context.Context, in *struct{ Body catalog.NewTeam }) (*answer[Team], error) {
	t, err := a.Catalog.CreateTeam(ctx, in.Body)
	if err != nil {
		return nil, err
	}
	made := teamOf(ctx, t)
	made.Role = models.RoleMaintainer // the principal was read before there was the team
	return reply(made), nil
}

func (a *API) getTeam(ctx context.Context, in *TeamIn) (*answer[Team], error) {
	t, err := a.Catalog.Team(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	return reply(teamOf(ctx, t)), nil
}

func (a *API) updateTeam(ctx context.Context, in *struct {
	TeamIn
	Body catalog.UpdateTeam
}) (*answer[Team], error) {
	t, err := a.Catalog.UpdateTeam(ctx, in.Team, in.Body)
	if err != nil {
		return nil, err
	}
	return reply(teamOf(ctx, t)), nil
}

func (a *API) listMembers(ctx context.Context, in *TeamIn) (*answer[List[Member]], error) {
	members, err := a.Catalog.Members(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	return whole(members, memberOf), nil
}

func (a *API) setMember(ctx context.Context, in *struct {
	TeamIn
	User string `path:"user" maxLength:"100" doc:"The user's id."`
	Body catalog.SetMember
}) (*answer[Member], error) {
	m, err := a.Catalog.SetMember(ctx, in.Team, in.User, in.Body)
	if err != nil {
		return nil, err
	}
	return reply(memberOf(m)), nil
}

func (a *API) removeMember(ctx context.Context, in *struct {
	TeamIn
	User string `path:"user" maxLength:"100" doc:"The user's id."`
}) error {
	return a.Catalog.RemoveMember(ctx, in.Team, in.User)
}

func (a *API) findUsers(ctx context.Context, in *struct {
	TeamIn
	Text string `query:"q" maxLength:"100" doc:"Beginning of a name or an e-mail address."`
}) (*answer[List[Person]], error) {
	users, err := a.Catalog.FindUsers(ctx, in.Team, in.Text)
	if err != nil {
		return nil, err
	}
	return whole(users, func(u *models.User) Person { return Person{u.ID, u.Name, u.Email} }), nil
}

func teamOf(ctx context.Context, t *models.Team) Team {
	return Team{ID: t.ID, Slug: t.Slug, Name: t.Name, Role: models.PrincipalFrom(ctx).RoleIn(t.ID), CreatedAt: t.CreatedAt.UTC()}
}

func memberOf(m *models.Member) Member {
	out := Member{UserID: m.UserID, Role: m.Role, CreatedAt: m.CreatedAt.UTC()}
	if m.User != nil {
		out.Name, out.Email = m.User.Name, m.User.Email
	}
	return out
}

// slugOf is the team's slug where it was read along.
func slugOf(t *models.Team) string {
	if t == nil {
		return ""
	}
	return t.Slug
}

// teamID finds a team of the principal's by its slug; empty stays empty.
func (a *API) teamID(ctx context.Context, slug string) (string, error) {
	if slug == "" {
		return "", nil
	}
	t, err := a.Catalog.Team(ctx, slug)
	if err != nil {
		return "", err
	}
	return t.ID, nil
}
