package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/views/components"
	views "slipway.dev/views/deployments"
	"slipway.dev/views/environments"
	"slipway.dev/views/layout"
)

// boardApps is how many apps a page of the board has: with three or four environments, what a person reads and what a
// page may weigh.
const boardApps = 25

// Board shows what runs where.
func (h *Environments) Board(c echo.Context) error {
	ctx := c.Request().Context()
	teams, err := h.teams(ctx)
	if err != nil {
		return err
	}
	shown := environments.Filter{Text: strings.TrimSpace(c.QueryParam("q")), Team: c.QueryParam("team"), Differs: c.QueryParam("differs") != "", Unhealthy: c.QueryParam("unhealthy") != "", Teams: teams}
	f := deploy.BoardFilter{Page: models.Page{Cursor: c.QueryParam("cursor"), Limit: boardApps}, Text: shown.Text, Differs: shown.Differs, Unhealthy: shown.Unhealthy}
	if shown.Team != "" {
		i := slices.IndexFunc(teams, func(t models.Team) bool { return t.Slug == shown.Team })
		if i < 0 {
			return models.Errorf(models.NotFound, "No such team.")
		}
		f.TeamID = teams[i].ID
	}
	b, err := h.Deploy.Board(ctx, f)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Environments", Nav: "environments", Live: []string{"environments"}})
	v := environments.BoardView{Filter: shown, Curl: p.Curl("GET", "/api/v1/board"+boardQuery(shown), "").For("Read the board"),
		MakeCurl: p.Curl("POST", "/api/v1/environments", `{"team": "payments", "name": "staging"}`)}
	v.First, v.Next = pages(c, b.Next)
	who := models.PrincipalFrom(ctx)
	for _, t := range teams {
		v.CanMake = v.CanMake || who.RoleIn(t.ID).AtLeast(models.RoleMaintainer)
		if team := teamBoard(b, t); len(team.Columns) > 0 && (len(team.Rows) > 0 || f.Text == "" && !f.Differs && !f.Unhealthy) {
			team.CanDeploy, team.CanMove = who.RoleIn(t.ID).AtLeast(models.RoleDeveloper), who.RoleIn(t.ID).AtLeast(models.RoleMaintainer)
			v.Teams = append(v.Teams, team)
		}
	}
	return Render(c, http.StatusOK, environments.Board(p, v))
}

// boardQuery is the filter as the API takes it.
func boardQuery(f environments.Filter) string {
	q := url.Values{}
	for name, value := range map[string]string{"q": f.Text, "team": f.Team} {
		if value != "" {
			q.Set(name, value)
		}
	}
	for name, on := range map[string]bool{"differs": f.Differs, "unhealthy": f.Unhealthy} {
		if on {
			q.Set(name, "true")
		}
	}
	if len(q) == 0 {
		return ""
	}
	return "?" + q.Encode()
}

// teamBoard is the part of the board that is the team's.
func teamBoard(b *deploy.Board, t models.Team) environments.TeamBoard {
	board := environments.TeamBoard{Team: t}
	stages := b.Stages(t.ID)
	for i, e := range stages {
		column := environments.Column{Environment: e, Index: i, Last: i == len(stages)-1}
		if i > 0 {
			column.From = stages[i-1].Name
		}
		if f, frozen := b.Frozen(e.ID); frozen {
			column.Frozen = fmt.Sprintf("%s: nothing is deployed until %s", f.Name, f.Until.UTC().Format("Mon 2 Jan 15:04 UTC"))
		}
		board.Columns = append(board.Columns, column)
	}
	for _, a := range b.Apps {
		if a.TeamID != t.ID {
			continue
		}
		row := environments.Row{App: a}
		for _, e := range stages {
			row.Cells = append(row.Cells, cellOf(b, e, a))
		}
		board.Rows = append(board.Rows, row)
	}
	return board
}

// cellOf is an app in an environment; attempts that are history are left out.
func cellOf(b *deploy.Board, e models.Environment, a models.App) environments.Cell {
	cell := b.Cell(e.ID, a.ID)
	out := environments.Cell{Environment: e, Serving: cell.Active, Latest: cell.Latest, State: stageState(cell), Phase: cell.Phase, Closed: cell.Closed}
	if cell.Active != nil {
		health := deploy.HealthOf(cell.Active)
		out.State, out.Ready, out.Wanted, out.Reason = string(health.State), health.Ready, health.Wanted, health.Reason
		if cell.Latest != nil && cell.Latest.State.Ended() && cell.Latest.State != models.DeploymentFailed {
			out.Latest = nil
		}
	}
	if cell.Held != nil {
		out.Held = cell.Held.HeldWhy
	}
	if cell.Step != nil {
		out.Step = stepView(b, e, a, cell)
	}
	return out
}

// stepView says in words how the place differs from the one to its left.
func stepView(b *deploy.Board, e models.Environment, a models.App, cell deploy.Cell) *environments.Step {
	left := b.Cell(cell.Step.From.ID, a.ID).Active
	out := &environments.Step{From: cell.Step.From.Name, Config: cell.Step.Config}
	if cell.Active != nil {
		out.Words = stepWords(*cell.Step)
		out.Compare = views.CompareURL(a.ID, cell.Active.ID, left.ID)
	}
	if cell.Step.Promote {
		out.Promote = "/apps/" + a.ID + "/deploy?" + url.Values{"environment": {e.ID}, "image": {left.ImageDigest}, "from": {left.EnvironmentID}}.Encode()
	}
	return out
}

// stepWords says how far the place is behind the one to its left.
func stepWords(s deploy.Step) string {
	from := s.From.Name
	switch {
	case s.SameImage:
		return "same image as " + from
	case s.Counting():
		return "counting commits…"
	case s.Counted && s.Ahead > 0 && s.Behind > 0:
		return fmt.Sprintf("%s behind %s, %d ahead", components.Count(s.Ahead, "commit", "commits"), from, s.Behind)
	case s.Counted && s.Behind > 0:
		return components.Count(s.Behind, "commit", "commits") + " ahead of " + from
	case s.Counted && s.Ahead > 0:
		return components.Count(s.Ahead, "commit", "commits") + " behind " + from
	}
	return "another image than " + from
}

// Move puts the environment elsewhere on its team's board.
func (h *Environments) Move(c echo.Context) error {
	position, err := strconv.Atoi(c.FormValue("position"))
	if err != nil || position < 0 {
		return models.InvalidField("position", "Say where on the board, from 0.")
	}
	if err := h.Deploy.MoveEnvironment(c.Request().Context(), c.Param("id"), position); err != nil {
		return err
	}
	notify(c, "Moved")
	return c.Redirect(http.StatusSeeOther, h.Back(c.Request(), "/environments"))
}

// Promote shows all that can be promoted to the environment, and what each would bring.
func (h *Environments) Promote(c echo.Context) error {
	return h.promote(c, http.StatusOK, c.QueryParam("from"), components.Form{})
}

func (h *Environments) promote(c echo.Context, status int, from string, form components.Form) error {
	ctx := c.Request().Context()
	e, err := h.Deploy.Environment(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	found, err := h.Deploy.Promotions(ctx, deploy.PromotionFilter{EnvironmentID: e.ID, FromID: from, Page: cursor(c)})
	if err != nil {
		return err
	}
	role := models.PrincipalFrom(ctx).RoleIn(e.TeamID)
	v := environments.PromoteView{From: *found.From, Environment: *e, Total: found.Total, Form: form, CanDeploy: role.AtLeast(models.RoleDeveloper)}
	for _, i := range found.Items {
		item := promoteItem(e.ID, i)
		v.CanOverride = v.CanOverride || item.Frozen && role.AtLeast(models.RoleMaintainer)
		v.Items = append(v.Items, item)
	}
	v.First, v.Next = pages(c, found.Next)
	p := h.page(c, layout.Page{Title: "Promote to " + e.Name, Lead: "What " + found.From.Name + " runs and " + e.Name + " does not.", Nav: "environments",
		Crumbs: []layout.Link{{Label: "Environments", Href: "/environments"}, {Label: e.Name, Href: environments.URL(*e)}}})
	v.Curl = p.Curl("POST", "/api/v1/environments/"+e.ID+"/promotions", `{"from_id": "`+found.From.ID+`", "apps": [{"app_id": "APP"}]}`)
	return Render(c, status, environments.Promote(p, v))
}

// promoteItem is an app that can be promoted to the environment, as the page takes it.
func promoteItem(environmentID string, i deploy.PromotionItem) environments.PromoteItem {
	out := environments.PromoteItem{App: i.App, Source: *i.Source, Refused: i.Refused,
		Details: "/apps/" + i.App.ID + "/deploy?" + url.Values{"environment": {environmentID}, "image": {i.Source.ImageDigest}, "from": {i.Source.EnvironmentID}}.Encode()}
	if i.Plan == nil {
		return out
	}
	p := i.Plan
	out.Now, out.Ready, out.Hash = p.Current, p.Ready(), p.ConfigHash
	out.Words = planWords(p)
	closed := 0
	for _, check := range p.Checks {
		switch {
		case check.OK:
		case check.Gate:
			closed++
			out.Frozen = check.Name == "Freeze"
		default:
			out.Warnings = append(out.Warnings, check.Name+": "+check.Message)
		}
	}
	out.Frozen = out.Frozen && closed == 1
	return out
}

// planWords says in a few words what a plan changes.
func planWords(p *deploy.Plan) (words []string) {
	switch {
	case p.CommitsNote != "":
		words = append(words, p.CommitsNote)
	case p.More:
		words = append(words, fmt.Sprintf("more than %d commits", len(p.Commits)))
	case p.Back:
		words = append(words, components.Count(len(p.Commits), "commit is", "commits are")+" taken back")
	default:
		words = append(words, components.Count(len(p.Commits), "commit", "commits"))
	}
	for _, d := range p.Settings {
		words = append(words, d.Name+" "+d.Before+" → "+d.After)
	}
	for _, change := range append(slices.Clone(p.Variables), p.Secrets...) {
		words = append(words, change.Name+" "+change.Kind)
	}
	return words
}

// PromoteChosen deploys each app that was ticked, and says what became of it.
func (h *Environments) PromoteChosen(c echo.Context) error {
	ctx := c.Request().Context()
	form, err := c.FormParams()
	if err != nil {
		return models.Errorf(models.Invalid, "The form could not be read.")
	}
	in := deploy.PromoteInput{EnvironmentID: c.Param("id"), FromID: form.Get("from"), Reason: form.Get("reason")}
	for _, id := range form["app"] {
		in.Apps = append(in.Apps, deploy.PromoteApp{AppID: id, Digest: form.Get("image-" + id), ConfigHash: form.Get("hash-" + id)})
	}
	results, err := h.Deploy.Promote(ctx, in)
	if err != nil {
		return h.promoteAgain(c, in.FromID, err)
	}
	e, err := h.Deploy.Environment(ctx, in.EnvironmentID)
	if err != nil {
		return err
	}
	v := environments.PromotedView{}
	for _, r := range results {
		v.Results = append(v.Results, environments.PromotedApp(r))
	}
	p := h.page(c, layout.Page{Title: "Promotion to " + e.Name, Nav: "environments",
		Crumbs: []layout.Link{{Label: "Environments", Href: "/environments"}, {Label: e.Name, Href: environments.URL(*e)}}})
	return Render(c, http.StatusOK, environments.Promoted(p, v))
}

// promoteAgain shows the form again, with what is wrong.
func (h *Environments) promoteAgain(c echo.Context, from string, err error) error {
	form, fault := again(c, err)
	if fault != nil {
		return fault
	}
	return h.promote(c, problem.Of(c.Request().Context(), err).Status, from, form)
}
