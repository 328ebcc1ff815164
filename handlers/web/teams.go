package web

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/auth"
	"slipway.dev/services/catalog"
	"slipway.dev/services/registries"
	"slipway.dev/services/registry"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
	"slipway.dev/views/teams"
	"slipway.dev/views/tokens"
)

// Teams is the pages about teams.
type Teams struct {
	*Base
	Auth    *auth.Service
	Catalog *catalog.Service
	Audit   *audit.Service
	Images  *registry.Service // what the team says of its images

	External *registries.Service
}

// List shows the reader's teams.
func (h *Teams) List(c echo.Context) error {
	ctx := c.Request().Context()
	list, err := h.Catalog.Teams(ctx, catalog.TeamFilter{Page: cursor(c)})
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Teams", Nav: "teams"})
	v := teams.ListView{Teams: list.Items, Roles: models.PrincipalFrom(ctx).Teams, Curl: newTeamCurl(p)}
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, teams.List(p, v))
}

func newTeamCurl(p layout.Page) components.CurlExample {
	return p.Curl("POST", "/api/v1/teams", `{"slug": "payments", "name": "Payments"}`)
}

// New is the form that makes a team.
func (h *Teams) New(c echo.Context) error { return h.form(c, http.StatusOK, components.Form{}) }

func (h *Teams) form(c echo.Context, status int, form components.Form) error {
	p := h.page(c, layout.Page{Title: "Create a team", Nav: "teams", Crumbs: []layout.Link{{Label: "Teams", Href: "/teams"}}})
	return Render(c, status, teams.New(p, teams.NewView{Form: form, Curl: newTeamCurl(p)}))
}

// Create makes a team.
func (h *Teams) Create(c echo.Context) error {
	in := catalog.NewTeam{Slug: c.FormValue("slug"), Name: c.FormValue("name")}
	team, err := h.Catalog.CreateTeam(c.Request().Context(), in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.form(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	notify(c, "Team "+team.Name+" created")
	return c.Redirect(http.StatusSeeOther, teams.URL(*team))
}

// header reads the team that the address names.
func (h *Teams) header(c echo.Context) (teams.Header, error) {
	ctx := c.Request().Context()
	team, err := h.Catalog.Team(ctx, c.Param("team"))
	if err != nil {
		return teams.Header{}, err
	}
	return teams.Header{Team: *team, CanEdit: models.PrincipalFrom(ctx).RoleIn(team.ID).AtLeast(models.RoleMaintainer)}, nil
}

// Members shows the team's members, and whom a maintainer looks for.
func (h *Teams) Members(c echo.Context) error { return h.members(c, http.StatusOK, components.Form{}) }

func (h *Teams) members(c echo.Context, status int, form components.Form) error {
	ctx := c.Request().Context()
	header, err := h.header(c)
	if err != nil {
		return err
	}
	v := teams.MembersView{Header: header, Me: models.PrincipalFrom(ctx).UserID, Query: c.QueryParam("q"), Form: form}
	if v.Members, err = h.Catalog.Members(ctx, header.Team.Slug); err != nil {
		return err
	}
	if v.Found, err = h.found(c, v); err != nil {
		return err
	}
	p := header.Frame(h.page(c, layout.Page{Live: []string{"team:" + header.Team.ID}}), "members")
	v.Curl = p.Curl("PUT", "/api/v1/teams/"+header.Team.Slug+"/members/USER_ID", `{"role": "developer"}`)
	return Render(c, status, teams.Members(p, v))
}

// found are the people who answer to the search and are no members yet.
func (h *Teams) found(c echo.Context, v teams.MembersView) ([]models.User, error) {
	if v.Query == "" || !v.CanEdit {
		return nil, nil
	}
	users, err := h.Catalog.FindUsers(c.Request().Context(), v.Team.Slug, v.Query)
	return slices.DeleteFunc(users, func(u models.User) bool {
		return slices.ContainsFunc(v.Members, func(m models.Member) bool { return m.UserID == u.ID })
	}), err
}

// SetMember gives a person a role in the team.
func (h *Teams) SetMember(c echo.Context) error {
	in := catalog.SetMember{Role: models.Role(c.FormValue("role"))}
	member, err := h.Catalog.SetMember(c.Request().Context(), c.Param("team"), c.Param("user"), in)
	if err != nil {
		return h.membersAgain(c, err)
	}
	notify(c, member.User.Name+" is a "+string(member.Role)+" now")
	return c.Redirect(http.StatusSeeOther, "/teams/"+c.Param("team"))
}

// RemoveMember takes a person out of the team.
func (h *Teams) RemoveMember(c echo.Context) error {
	if err := h.Catalog.RemoveMember(c.Request().Context(), c.Param("team"), c.Param("user")); err != nil {
		return h.membersAgain(c, err)
	}
	notify(c, "Member removed")
	return c.Redirect(http.StatusSeeOther, "/teams/"+c.Param("team"))
}

func (h *Teams) membersAgain(c echo.Context, err error) error {
	form, fault := again(c, err)
	if fault != nil {
		return fault
	}
	return h.members(c, problem.Of(c.Request().Context(), err).Status, form)
}

// Tokens shows the team's tokens.
func (h *Teams) Tokens(c echo.Context) error { return h.tokens(c, http.StatusOK, tokens.View{}) }

func (h *Teams) tokens(c echo.Context, status int, v tokens.View) error {
	header, err := h.header(c)
	if err != nil {
		return err
	}
	if v, err = tokensView(c, h.Base, h.Auth, header.Team.ID, v); err != nil {
		return err
	}
	p := header.Frame(h.page(c, layout.Page{}), "tokens")
	v.Action = teams.URL(header.Team) + "/tokens"
	v.Curl = p.Curl("POST", "/api/v1/tokens", `{"team": "`+header.Team.Slug+`", "role": "developer", "name": "release pipeline", "scopes": ["read", "write"]}`)
	return Render(c, status, teams.Tokens(p, teams.TokensView{Header: header, Tokens: v}))
}

// CreateToken makes a token of the team and shows its text, this once.
func (h *Teams) CreateToken(c echo.Context) error {
	var in auth.NewToken
	if err := bind(c, &in); err != nil {
		return err
	}
	header, err := h.header(c)
	if err != nil {
		return err
	}
	in.TeamID = header.Team.ID
	v, status, err := makeToken(c, h.Auth, in)
	if err != nil {
		return err
	}
	return h.tokens(c, status, v)
}

// AuditLog shows what was done in the team.
func (h *Teams) AuditLog(c echo.Context) error {
	header, err := h.header(c)
	if err != nil {
		return err
	}
	list, err := h.Audit.List(c.Request().Context(), audit.Filter{Page: cursor(c), TeamID: header.Team.ID, Subject: c.QueryParam("subject"), Action: c.QueryParam("action")})
	if err != nil {
		return err
	}
	v := teams.AuditView{Header: header, Entries: list.Items, Actions: auditActions(c)}
	v.First, v.Next = pages(c, list.Next)
	return Render(c, http.StatusOK, teams.Audit(header.Frame(h.page(c, layout.Page{}), "audit"), v))
}

// Settings is the form of the team's name.
func (h *Teams) Settings(c echo.Context) error {
	return h.settings(c, http.StatusOK, components.Form{}, components.Form{})
}

// settings shows the form of the name and that of images, each as it was sent.
func (h *Teams) settings(c echo.Context, status int, form, images components.Form) error {
	header, err := h.header(c)
	if err != nil {
		return err
	}
	if err := models.Authorize(c.Request().Context(), header.Team.ID, models.RoleMaintainer, "team"); err != nil {
		return err
	}
	p := header.Frame(h.page(c, layout.Page{}), "settings")
	v := teams.SettingsView{Header: header, Form: form, Images: images,
		Curl:       p.Curl("PATCH", "/api/v1/teams/"+header.Team.Slug, `{"name": "Payments"}`),
		ImagesCurl: p.Curl("PATCH", "/api/v1/teams/"+header.Team.Slug+"/image-settings", `{"immutable_tags": ["v*"]}`)}
	return Render(c, status, teams.Settings(p, v))
}

// Update changes the team's name.
func (h *Teams) Update(c echo.Context) error {
	in := catalog.UpdateTeam{Name: c.FormValue("name")}
	if _, err := h.Catalog.UpdateTeam(c.Request().Context(), c.Param("team"), in); err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.settings(c, problem.Of(c.Request().Context(), err).Status, form, components.Form{})
	}
	notify(c, "Settings saved")
	return c.Redirect(http.StatusSeeOther, "/teams/"+c.Param("team")+"/settings")
}

// UpdateImageSettings changes what the team's image repositories do where they say nothing.
func (h *Teams) UpdateImageSettings(c echo.Context) error {
	ctx := c.Request().Context()
	open, patterns := c.FormValue("anonymous_pull") != "", lines(c.FormValue("immutable_tags"))
	in := registry.ChangeTeamSettings{AnonymousPull: &open, ImmutableTags: &patterns}
	if _, err := h.Images.UpdateTeamSettings(ctx, c.Param("team"), in); err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.settings(c, problem.Of(ctx, err).Status, components.Form{}, form)
	}
	notify(c, "Image settings saved")
	return c.Redirect(http.StatusSeeOther, "/teams/"+c.Param("team")+"/settings")
}

// Registries shows the external registries that the team may use.
func (h *Teams) Registries(c echo.Context) error {
	header, err := h.header(c)
	if err != nil {
		return err
	}
	granted, err := h.External.Granted(c.Request().Context(), header.Team.ID)
	if err != nil {
		return err
	}
	v := teams.RegistriesView{Header: header}
	for _, g := range granted {
		v.Registries = append(v.Registries, teams.GrantedRegistry{Registry: g.Registry, Access: g.Access})
	}
	p := header.Frame(h.page(c, layout.Page{}), "registries")
	v.Curl = p.Curl("GET", "/api/v1/registries?team="+header.Team.Slug, "")
	return Render(c, http.StatusOK, teams.Registries(p, v))
}
