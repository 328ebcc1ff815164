package web

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/builds"
	"slipway.dev/services/catalog"
	"slipway.dev/services/forges"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
	"slipway.dev/views/repositories"
)

// Repositories is the pages about repositories.
type Repositories struct {
	*Base
	Catalog *catalog.Service
	Builds  *builds.Service
	Forges  *forges.Service
}

// List shows the repositories of the reader's teams.
func (h *Repositories) List(c echo.Context) error {
	ctx := c.Request().Context()
	list, err := h.Catalog.Repositories(ctx, catalog.RepositoryFilter{Page: cursor(c), Team: c.QueryParam("team")})
	if err != nil {
		return err
	}
	v := repositories.ListView{Repositories: list.Items}
	if v.Apps, err = h.Catalog.CountApps(ctx, list.Items); err != nil {
		return err
	}
	teams, err := h.teams(ctx)
	if err != nil {
		return err
	}
	v.CanMake = len(teams) > 0
	v.First, v.Next = pages(c, list.Next)
	p := h.page(c, layout.Page{Title: "Repositories", Nav: "repositories", Live: []string{"repositories"}})
	v.Curl = registerCurl(p)
	return Render(c, http.StatusOK, repositories.List(p, v))
}

func registerCurl(p layout.Page) components.CurlExample {
	return p.Curl("POST", "/api/v1/repositories", `{"team": "payments", "name": "checkout", "clone_url": "https://git.example.com/payments/checkout.git"}`)
}

// teams are those in which the reader may register repositories.
func (h *Repositories) teams(ctx context.Context) ([]models.Team, error) {
	list, err := h.Catalog.Teams(ctx, catalog.TeamFilter{Page: models.Page{Limit: models.MaxLimit}})
	var own []models.Team
	for _, t := range list.Items {
		if models.PrincipalFrom(ctx).RoleIn(t.ID).AtLeast(models.RoleMaintainer) {
			own = append(own, t)
		}
	}
	return own, err
}

// New is the form that registers a repository.
func (h *Repositories) New(c echo.Context) error {
	return h.form(c, http.StatusOK, components.Form{})
}

func (h *Repositories) form(c echo.Context, status int, form components.Form) error {
	teams, err := h.teams(c.Request().Context())
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Register a repository", Nav: "repositories", Crumbs: []layout.Link{{Label: "Repositories", Href: "/repositories"}}})
	return Render(c, status, repositories.New(p, repositories.NewView{Form: form, Teams: teams, Curl: registerCurl(p)}))
}

// Create registers a repository. Its page shows what is found in it.
func (h *Repositories) Create(c echo.Context) error {
	in := catalog.NewRepository{
		Team: c.FormValue("team"), Name: c.FormValue("name"), CloneURL: strings.TrimSpace(c.FormValue("clone_url")),
		DefaultBranch: c.FormValue("default_branch"), Credential: credential(c),
	}
	r, err := h.Catalog.RegisterRepository(c.Request().Context(), in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.form(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	return c.Redirect(http.StatusSeeOther, repositories.URL(*r))
}

// credential reads the fields about access. "None" is left open, so that an SSH address gets a deploy key by itself.
func credential(c echo.Context) catalog.Credential {
	kind := models.CredentialKind(c.FormValue("credential_kind"))
	switch kind {
	case models.CredentialToken:
		return catalog.Credential{Kind: kind, User: c.FormValue("credential_user"), Token: c.FormValue("credential_token")}
	case models.CredentialSSH:
		return catalog.Credential{Kind: kind, PrivateKey: c.FormValue("credential_private_key")}
	}
	return catalog.Credential{}
}

// Page shows one repository, and the apps that its Dockerfiles could become.
func (h *Repositories) Page(c echo.Context) error {
	return h.show(c, http.StatusOK, repositories.PageView{})
}

// show adds the repository to a view that may hold forms with faults.
func (h *Repositories) show(c echo.Context, status int, v repositories.PageView) error {
	ctx := c.Request().Context()
	r, err := h.Catalog.Repository(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	list, err := h.Catalog.Apps(ctx, catalog.AppFilter{RepositoryID: r.ID, Page: models.Page{Limit: models.MaxLimit}})
	if err != nil {
		return err
	}
	role := models.PrincipalFrom(ctx).RoleIn(r.TeamID)
	v.Repository, v.Apps, v.Proposals = *r, list.Items, proposals(r, list.Items)
	v.CanBuild, v.CanEdit = role.AtLeast(models.RoleDeveloper), role.AtLeast(models.RoleMaintainer)
	if v.CanEdit {
		connections, err := h.Forges.List(ctx, forges.ConnectionFilter{Team: r.Team.Slug, Page: models.Page{Limit: models.MaxLimit}})
		if err != nil {
			return err
		}
		v.Connections = connections.Items
	}
	p := h.page(c, layout.Page{
		Title: r.Name, State: string(r.State), Nav: "repositories", Meta: repositories.Meta(*r),
		Crumbs: []layout.Link{{Label: "Repositories", Href: "/repositories"}}, Live: []string{"repository:" + r.ID},
	})
	if r.State == models.RepositoryPending || r.State == models.RepositoryFetching {
		p.Reload = 3
	}
	v.AppCurl = p.Curl("POST", "/api/v1/apps", `{"repository_id": "`+r.ID+`", "name": "checkout", "dockerfile": "Dockerfile"}`).For("Create an app")
	return Render(c, status, repositories.Page(p, v))
}

// proposals are the Dockerfiles that were found, with the app of each where there is one.
func proposals(r *models.Repository, list []models.App) []repositories.Proposal {
	byPath := map[string]*models.App{}
	for i := range list {
		byPath[list[i].Dockerfile] = &list[i]
	}
	var out []repositories.Proposal
	for _, d := range r.DetectedDockerfiles {
		out = append(out, repositories.Proposal{Dockerfile: d, Taken: byPath[d.Path]})
	}
	return out
}

// again shows the page with a form that needs attention; put puts the form where it belongs.
func (h *Repositories) again(c echo.Context, err error, put func(v *repositories.PageView, f components.Form)) error {
	form, fault := again(c, err)
	if fault != nil {
		return fault
	}
	var v repositories.PageView
	put(&v, form)
	return h.show(c, problem.Of(c.Request().Context(), err).Status, v)
}

// Update changes the repository's address and access, and has it read again.
func (h *Repositories) Update(c echo.Context) error {
	url, branch := strings.TrimSpace(c.FormValue("clone_url")), c.FormValue("default_branch")
	in := catalog.UpdateRepository{CloneURL: &url, DefaultBranch: &branch, ForgetHostKey: c.FormValue("forget_host_key") != ""}
	if sent, err := c.FormParams(); err == nil && sent.Has("connection_id") {
		connection := sent.Get("connection_id")
		in.ConnectionID = &connection
	}
	if cred := credential(c); cred.Token != "" || cred.PrivateKey != "" || cred.Kind == models.CredentialSSH && c.FormValue("was_kind") != string(models.CredentialSSH) {
		in.Credential = cred
	} else if c.FormValue("credential_kind") == string(models.CredentialNone) && c.FormValue("was_kind") != string(models.CredentialNone) {
		in.Credential = catalog.Credential{Kind: models.CredentialNone}
	}
	r, err := h.Catalog.UpdateRepository(c.Request().Context(), c.Param("id"), in)
	if err != nil {
		return h.again(c, err, func(v *repositories.PageView, f components.Form) { v.Edit = f })
	}
	notify(c, "Saved; the repository is read again")
	return c.Redirect(http.StatusSeeOther, repositories.URL(*r))
}

// Fetch has the repository read again.
func (h *Repositories) Fetch(c echo.Context) error {
	r, err := h.Catalog.FetchRepository(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	return c.Redirect(http.StatusSeeOther, repositories.URL(*r))
}

// CreateApps makes apps of the proposals that were picked, and builds them where that was asked for.
func (h *Repositories) CreateApps(c echo.Context) error {
	ctx := c.Request().Context()
	picked, in, err := picks(c)
	var made []models.App
	if err == nil {
		made, err = h.Catalog.CreateApps(ctx, in)
	}
	if err != nil {
		return h.again(c, renumber(err, picked), func(v *repositories.PageView, f components.Form) { v.Form = f })
	}
	if c.FormValue("build") != "" {
		return h.buildAll(c, made)
	}
	return c.Redirect(http.StatusSeeOther, firstOf(c, made))
}

// buildAll queues a build of each app and leads to the first build where there is one app.
func (h *Repositories) buildAll(c echo.Context, made []models.App) error {
	to := firstOf(c, made)
	for _, a := range made {
		b, err := h.Builds.Queue(c.Request().Context(), builds.QueueInput{AppID: a.ID})
		if err != nil {
			notify(c, "Made; the build of "+a.Name+" could not start: "+problem.Of(c.Request().Context(), err).Detail)
			return c.Redirect(http.StatusSeeOther, to)
		}
		if len(made) == 1 {
			to = "/builds/" + b.ID
		}
	}
	notify(c, components.Count(len(made), "app", "apps")+" made, building")
	return c.Redirect(http.StatusSeeOther, to)
}

// firstOf is the one app that was made, or the list of apps.
func firstOf(c echo.Context, made []models.App) string {
	if len(made) == 1 {
		return "/apps/" + made[0].ID
	}
	return "/apps"
}

// maxPicks is how many apps one form makes.
const maxPicks = 100

// picks reads the proposals that were picked, by the numbers that their fields carry.
func picks(c echo.Context) (numbers []string, in []catalog.NewApp, err error) {
	sent, err := c.FormParams()
	if err != nil || len(sent["pick"]) == 0 || len(sent["pick"]) > maxPicks {
		return nil, nil, models.Errorf(models.Invalid, "Pick at least one Dockerfile.")
	}
	for _, n := range sent["pick"] {
		port, err := number(c, "port-"+n)
		if err != nil {
			return nil, nil, err
		}
		in = append(in, catalog.NewApp{
			RepositoryID: c.Param("id"), Name: c.FormValue("name-" + n), Dockerfile: c.FormValue("dockerfile-" + n), Context: c.FormValue("context-" + n), Port: port,
		})
	}
	return sent["pick"], in, nil
}

// renumber makes faults that count the apps made name the fields of the form.
func renumber(err error, picked []string) error {
	e, ok := err.(*models.Error)
	if !ok || len(e.Fields) == 0 {
		return err
	}
	fields := map[string]string{}
	for field, message := range e.Fields {
		name, index, _ := strings.Cut(field, "-")
		if i, err := strconv.Atoi(index); err == nil && i < len(picked) {
			field = name + "-" + picked[i]
		}
		fields[field] = message
	}
	return &models.Error{Code: e.Code, Message: e.Message, Fields: fields, Err: e.Err}
}

// Delete forgets the repository, after its name was typed.
func (h *Repositories) Delete(c echo.Context) error {
	ctx := c.Request().Context()
	r, err := h.Catalog.Repository(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if err = confirmed(c, r.Name); err == nil {
		err = h.Catalog.DeleteRepository(ctx, r.ID)
	}
	if err != nil {
		return h.again(c, err, func(v *repositories.PageView, f components.Form) { v.Delete = f })
	}
	notify(c, "Repository "+r.Name+" deleted")
	return c.Redirect(http.StatusSeeOther, "/repositories")
}
