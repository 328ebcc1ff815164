package web

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/catalog"
	"slipway.dev/services/registry"
	"slipway.dev/services/retention"
	"slipway.dev/views/cleanup"
	"slipway.dev/views/components"
	"slipway.dev/views/images"
	"slipway.dev/views/layout"
)

// CleanUp is the pages that keep the registry small: policies, clean-ups, and what images take.
type CleanUp struct {
	*Base
	Registry  *registry.Service
	Retention *retention.Service
	Catalog   *catalog.Service
}

// shownRuns is how many clean-ups stand beside a plan.
const shownRuns = 8

// maxRuleRows is how many lines a form of rules may send.
const maxRuleRows = 40

// Repository shows what a clean-up of the repository would do, and its policy.
func (h *CleanUp) Repository(c echo.Context) error {
	return h.repository(c, c.QueryParam("repository"), http.StatusOK, components.Form{}, nil)
}

// repository shows the page; the form is that of the policy, the error one of a run.
func (h *CleanUp) repository(c echo.Context, name string, status int, form components.Form, failed *models.Error) error {
	ctx := c.Request().Context()
	preview, err := h.Retention.Preview(ctx, name, retention.PreviewFilter{Page: cursor(c), Only: c.QueryParam("only")})
	if err != nil {
		return err
	}
	runs, err := h.Retention.Runs(ctx, name, models.Page{Limit: shownRuns})
	if err != nil {
		return err
	}
	mine := maintains(c, preview.Policy.TeamID)
	p := h.page(c, imagesPage(name, "clean-up"))
	if form.Err != nil || mine {
		p.Live = nil // a form is being filled in
	}
	v := cleanup.RepositoryView{Name: name, Preview: *preview, Only: c.QueryParam("only"), Runs: runs.Items, CanRun: mine, Err: failed,
		Policy: cleanup.PolicyForm{Action: "/images/clean-up", Repository: name, Policy: preview.Policy, Form: form, CanEdit: mine}}
	v.First, v.Next = pages(c, preview.Entries.Next)
	q := "?repository=" + url.QueryEscape(name)
	v.Curl = []components.CurlExample{
		p.Curl("GET", "/api/v1/retention-preview"+q, "").For("Preview"),
		p.Curl("PUT", "/api/v1/retention-policies"+q, `{"enabled": true, "rules": [{"tags": ["main", "v*"], "last": 20}, {"days": 14}]}`).For("Set the policy"),
		p.Curl("POST", "/api/v1/retention-runs", `{"repository": "`+name+`", "plan": "`+preview.Fingerprint+`"}`).For("Run"),
	}
	return Render(c, status, cleanup.Repository(p, v))
}

// imagesPage is the frame of a repository's page that keeps it small.
func imagesPage(name, current string) layout.Page {
	return layout.Page{Title: name, Nav: "images", Crumbs: []layout.Link{{Label: "Images", Href: "/images"}}, Tabs: images.RepositoryTabs(models.ImageRepository{Name: name}, current), Live: []string{"image:" + name}}
}

// maintains tells whether the reader is a maintainer of the team.
func maintains(c echo.Context, teamID string) bool {
	return models.PrincipalFrom(c.Request().Context()).RoleIn(teamID).AtLeast(models.RoleMaintainer)
}

// SetPolicy saves the repository's own policy.
func (h *CleanUp) SetPolicy(c echo.Context) error {
	name := c.FormValue("repository")
	in, err := policyInput(c)
	if err == nil {
		_, err = h.Retention.SetPolicy(c.Request().Context(), name, in)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.repository(c, name, problem.Of(c.Request().Context(), err).Status, form, nil)
	}
	notify(c, "Policy saved")
	return c.Redirect(http.StatusSeeOther, cleanup.URL(name))
}

// policyInput reads the lines of rules, without those that say no rule.
func policyInput(c echo.Context) (in retention.PolicyInput, err error) {
	rows, err := number(c, "rows")
	if err != nil || rows < 0 || rows > maxRuleRows {
		return in, models.InvalidField("rules", "Send at most %d lines.", maxRuleRows)
	}
	wrong := map[string]string{}
	whole := func(field, as string) int {
		n, err := number(c, field)
		if err != nil {
			wrong[as] = "Enter a whole number."
		}
		return n
	}
	for i := range rows {
		at := strconv.Itoa(i)
		kind := c.FormValue("kind-" + at)
		if kind == "" {
			continue
		}
		r := models.RetentionRule{Untagged: kind == "untagged", Last: whole("last-"+at, "rules."+at+".last"), Days: whole("days-"+at, "rules."+at+".days")}
		r.Tags = strings.FieldsFunc(c.FormValue("tags-"+at), func(r rune) bool { return r == ' ' || r == '\n' || r == '\t' })
		r.Tags = splitPatterns(strings.Join(r.Tags, ","))
		in.Rules = append(in.Rules, r)
	}
	age, back := whole("min_age_days", "min_age_days"), whole("rollbacks", "rollbacks")
	in.MinAgeDays, in.Rollbacks, in.Enabled = &age, &back, ticked(c, "enabled")
	return in, models.InvalidFields(wrong)
}

// splitPatterns splits at commas that stand outside of braces.
func splitPatterns(text string) []string {
	var out []string
	depth, begun := 0, 0
	for i, r := range text {
		switch {
		case r == '{':
			depth++
		case r == '}':
			depth--
		case r == ',' && depth <= 0:
			out = append(out, text[begun:i])
			begun = i + 1
		}
	}
	return append(out, text[begun:])
}

// Inherit has the repository follow its team's policy again.
func (h *CleanUp) Inherit(c echo.Context) error {
	name := c.FormValue("repository")
	if err := h.Retention.DropPolicy(c.Request().Context(), name); err != nil {
		return err
	}
	notify(c, name+" follows its team's policy again")
	return c.Redirect(http.StatusSeeOther, cleanup.URL(name))
}

// Run cleans the repository up: of what the page named, what nothing keeps by then.
func (h *CleanUp) Run(c echo.Context) error {
	name := c.FormValue("repository")
	run, err := h.Retention.Start(c.Request().Context(), name, c.FormValue("plan"))
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.repository(c, name, problem.Of(c.Request().Context(), err).Status, components.Form{}, form.Err)
	}
	notify(c, "Clean-up of "+name+" begins")
	return c.Redirect(http.StatusSeeOther, "/images/clean-up/runs/"+run.ID)
}

// ShowRun shows a clean-up: what its plan named, and what became of each.
func (h *CleanUp) ShowRun(c echo.Context) error {
	ctx := c.Request().Context()
	run, err := h.Retention.Run(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	items, err := h.Retention.Items(ctx, run.ID, cursor(c))
	if err != nil {
		return err
	}
	p := h.page(c, layout.Page{Title: "Clean-up", Nav: "images", State: string(run.State), Live: []string{"image:" + run.Repository},
		Crumbs: []layout.Link{{Label: "Images", Href: "/images"}, {Label: run.Repository, Href: "/images/" + run.Repository}, {Label: "Clean-up", Href: cleanup.URL(run.Repository)}}})
	v := cleanup.RunView{Run: *run, Items: items.Items, Curl: p.Curl("GET", "/api/v1/retention-runs/"+run.ID, "")}
	v.First, v.Next = pages(c, items.Next)
	return Render(c, http.StatusOK, cleanup.Run(p, v))
}
