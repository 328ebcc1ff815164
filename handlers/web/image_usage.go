package web

import (
	"math"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/views/admin"
	"slipway.dev/views/cleanup"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
	"slipway.dev/views/teams"
)

// Team shows what a team's images take, and the policy that its repositories inherit.
func (h *CleanUp) Team(c echo.Context) error { return h.team(c, http.StatusOK, components.Form{}) }

func (h *CleanUp) team(c echo.Context, status int, form components.Form) error {
	ctx := c.Request().Context()
	team, err := h.Catalog.Team(ctx, c.Param("team"))
	if err != nil {
		return err
	}
	usage, err := h.Retention.OfTeam(ctx, team.Slug, cursor(c))
	if err != nil {
		return err
	}
	policy, err := h.Retention.TeamPolicy(ctx, team.Slug)
	if err != nil {
		return err
	}
	header := teams.Header{Team: *team, CanEdit: maintains(c, team.ID)}
	p := header.Frame(h.page(c, layout.Page{}), "images")
	v := cleanup.TeamView{Team: *team, Usage: *usage,
		Policy: cleanup.PolicyForm{Action: teams.URL(*team) + "/image-policy", Policy: *policy, Form: form, CanEdit: header.CanEdit}}
	v.First, v.Next = pages(c, usage.Repositories.Next)
	at := "/api/v1/teams/" + team.Slug
	v.Curl = []components.CurlExample{
		p.Curl("GET", at+"/image-usage", "").For("Read"),
		p.Curl("PUT", at+"/retention-policy", `{"enabled": true, "rules": [{"last": 50}]}`).For("Set the policy"),
	}
	return Render(c, status, cleanup.Team(p, v))
}

// SetTeamPolicy saves the policy that the team's repositories inherit.
func (h *CleanUp) SetTeamPolicy(c echo.Context) error {
	in, err := policyInput(c)
	if err == nil {
		_, err = h.Retention.SetTeamPolicy(c.Request().Context(), c.Param("team"), in)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.team(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	notify(c, "Policy saved")
	return c.Redirect(http.StatusSeeOther, "/teams/"+c.Param("team")+"/images")
}

// Site shows what each team's images take.
func (h *CleanUp) Site(c echo.Context) error { return h.site(c, http.StatusOK, components.Form{}) }

func (h *CleanUp) site(c echo.Context, status int, form components.Form) error {
	ctx := c.Request().Context()
	list, err := h.Retention.OfSite(ctx, cursor(c))
	if err != nil {
		return err
	}
	every, err := h.Registry.DefaultQuota(ctx)
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Admin", Nav: "admin", Tabs: admin.Tabs("images")})
	v := cleanup.SiteView{Items: list.Items, Form: form, FormTeam: c.Param("team"), Default: every}
	v.First, v.Next = pages(c, list.Next)
	v.Curl = []components.CurlExample{
		p.Curl("GET", "/api/v1/image-usage", "").For("Read"),
		p.Curl("PUT", "/api/v1/image-quota", `{"bytes": 50000000000}`).For("Set the quota of every team"),
		p.Curl("PUT", "/api/v1/teams/TEAM/image-quota", `{"bytes": 100000000000}`).For("Set a team's quota"),
	}
	return Render(c, status, cleanup.Site(p, v))
}

// SetQuota sets a team's quota, or without a team that of every team.
func (h *CleanUp) SetQuota(c echo.Context) error {
	bytes, err := gigabytes(c.FormValue("gigabytes"))
	if err == nil {
		err = h.Registry.SetQuota(c.Request().Context(), c.Param("team"), bytes)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.site(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	notify(c, "Quota saved")
	return c.Redirect(http.StatusSeeOther, "/admin/images")
}

// gigabytes reads a quota: a number, none for no limit, or nothing.
func gigabytes(text string) (*int64, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil, nil //nolint:nilnil // as every team
	}
	if text == "none" {
		return new(int64(-1)), nil
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || n < 0.000_001 || n > 1e9 {
		return nil, models.InvalidField("gigabytes", "Enter a number of gigabytes above 0, such as 50, none for no limit, or nothing.")
	}
	return new(int64(n * 1e9)), nil
}
