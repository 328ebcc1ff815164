package web

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/catalog"
	"slipway.dev/services/certificates"
	"slipway.dev/services/deploy"
	"slipway.dev/services/visitors"
	"slipway.dev/views/admin"
	"slipway.dev/views/components"
	"slipway.dev/views/layout"
	"slipway.dev/views/observe"
	"slipway.dev/views/teams"
	views "slipway.dev/views/visitors"
)

// Visitors is the pages about how visitors reach apps.
type Visitors struct {
	*Base
	Catalog      *catalog.Service
	Deploy       *deploy.Service
	Visitors     *visitors.Service
	Certificates *certificates.Service
}

// Place shows how visitors reach an app in an environment.
func (h *Visitors) Place(c echo.Context) error {
	return h.place(c, http.StatusOK, c.Param("app"), views.PlaceView{})
}

func (h *Visitors) place(c echo.Context, status int, appID string, v views.PlaceView) error {
	ctx := c.Request().Context()
	e, err := h.Deploy.Environment(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	limits, err := h.Visitors.Limits(ctx, e.ID, appID)
	if models.IsCode(err, models.Invalid) {
		return models.Errorf(models.NotFound, "No such app.")
	}
	if err != nil {
		return err
	}
	app, err := h.Catalog.App(ctx, appID)
	if err != nil {
		return err
	}
	v.Environment, v.App, v.Limits = *e, *app, *limits
	v.CanChange = models.PrincipalFrom(ctx).RoleIn(e.TeamID).AtLeast(models.RoleMaintainer)
	if v.Maintenance, err = h.Visitors.Maintenance(ctx, e.ID, appID); err != nil {
		return err
	}
	own, err := h.Visitors.Own(ctx, e.ID)
	if err != nil {
		return err
	}
	front, err := h.Visitors.FrontOf(ctx, e.ID)
	if err != nil {
		return err
	}
	v.Front = views.Front{Target: front.Target, Domains: front.Domains}
	if v.Own = own[appID]; front.Itself() {
		v.OwnURL = front.URLs[appID]
	} else if v.Own != "" {
		v.OwnURL = h.Deploy.Apps.URL(v.Own)
	}
	all, err := located(ctx, h.Visitors, *e)
	if err != nil {
		return err
	}
	v.Addresses = all[appID]
	frame := observe.Settings(*e, *app, "addresses", mayChange(c, e.TeamID))
	frame.Window, frame.Live = "Addresses of "+frame.Title, []string{"environment:" + e.ID}
	p := h.page(c, frame)
	at := "/api/v1/environments/" + e.ID
	v.AddressCurl = p.Curl("POST", at+"/addresses", `{"app_id": "`+app.ID+`", "host": "shop.example.com", "path": "/api"}`).For("Add an address")
	v.LimitsCurl = p.Curl("PUT", at+"/limits/"+app.ID, `{"connect": 10, "first_byte": 120, "idle": 600, "body": 1073741824}`).For("Set the limits")
	v.MaintenanceCurl = p.Curl("PUT", at+"/maintenance/"+app.ID, `{"message": "Back at noon."}`).For("Start maintenance")
	return Render(c, status, views.Place(p, v))
}

// located are the addresses of the environment's apps with their domains, by app.
func located(ctx context.Context, s *visitors.Service, e models.Environment) (map[string][]views.Address, error) {
	rows, err := s.Addresses(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	front, err := s.FrontOf(ctx, e.ID)
	if err != nil {
		return nil, err
	}
	domains, err := s.DomainsOf(ctx, e.TeamID, rows)
	out := map[string][]views.Address{}
	for _, a := range rows {
		out[a.AppID] = append(out[a.AppID], views.Address{Address: a, Domain: domains[a.Host], Target: front.Target, LeadsTo: front.LeadsTo(a.AppID)})
	}
	return out, err
}

// AddAddress sends visitors of a host and path to an app.
func (h *Visitors) AddAddress(c echo.Context) error {
	in := visitors.AddressInput{EnvironmentID: c.Param("id"), AppID: c.FormValue("app_id"), Host: c.FormValue("host"), Path: c.FormValue("path"), Strip: c.FormValue("strip") != ""}
	a, err := h.Visitors.AddAddress(c.Request().Context(), in)
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.place(c, problem.Of(c.Request().Context(), err).Status, in.AppID, views.PlaceView{AddressForm: form})
	}
	notify(c, a.Text()+" added")
	return c.Redirect(http.StatusSeeOther, views.PlaceURL(in.EnvironmentID, in.AppID))
}

// RemoveAddress sends visitors there no longer.
func (h *Visitors) RemoveAddress(c echo.Context) error {
	if err := h.Visitors.RemoveAddress(c.Request().Context(), c.Param("id")); err != nil {
		return err
	}
	notify(c, "Address removed")
	return c.Redirect(http.StatusSeeOther, h.Back(c.Request(), "/environments"))
}

// SetLimits bounds the requests to an app.
func (h *Visitors) SetLimits(c echo.Context) error {
	l := models.PlaceLimits{EnvironmentID: c.Param("id"), AppID: c.Param("app")}
	err := limits(c, &l)
	if err == nil {
		_, err = h.Visitors.SetLimits(c.Request().Context(), l)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.place(c, problem.Of(c.Request().Context(), err).Status, l.AppID, views.PlaceView{LimitsForm: form})
	}
	notify(c, "Limits saved")
	return c.Redirect(http.StatusSeeOther, views.PlaceURL(l.EnvironmentID, l.AppID)+"#limits")
}

// limits reads what the form says: seconds and MiB, empty for the default.
func limits(c echo.Context, to *models.PlaceLimits) error {
	wrong := map[string]string{}
	for field, set := range map[string]func(float64){
		"connect": func(n float64) { to.Connect = int64(n) }, "first_byte": func(n float64) { to.FirstByte = int64(n) },
		"idle": func(n float64) { to.Idle = int64(n) }, "body": func(n float64) { to.Body = int64(n * (1 << 20)) },
	} {
		text := strings.TrimSpace(c.FormValue(field))
		if text == "" {
			continue
		}
		n, err := strconv.ParseFloat(text, 64)
		if err != nil || n < -1 || n > 1e9 {
			wrong[field] = "This is not a number that makes sense here."
			continue
		}
		set(n)
	}
	if to.Body < 0 {
		to.Body = -1
	}
	return models.InvalidFields(wrong)
}

// StartMaintenance keeps visitors away from an app, and tells the code once.
func (h *Visitors) StartMaintenance(c echo.Context) error {
	ctx := c.Request().Context()
	in := visitors.MaintenanceInput{EnvironmentID: c.Param("id"), AppID: c.Param("app"), Message: c.FormValue("message"), Allow: strings.Split(c.FormValue("allow"), "\n"), NewCode: c.FormValue("new_code") != ""}
	var err error
	if text := c.FormValue("ends_at"); text != "" {
		at, wrong := time.Parse("2006-01-02T15:04", text)
		if wrong != nil {
			err = models.InvalidField("ends_at", "This is not a date and time.")
		}
		in.EndsAt = &at
	}
	code := ""
	if err == nil {
		_, code, err = h.Visitors.StartMaintenance(ctx, in)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.place(c, problem.Of(ctx, err).Status, in.AppID, views.PlaceView{MaintenanceForm: form})
	}
	if code != "" {
		c.Response().Header().Set("Cache-Control", "no-store")
		return h.place(c, http.StatusOK, in.AppID, views.PlaceView{Code: code})
	}
	notify(c, "Saved")
	return c.Redirect(http.StatusSeeOther, views.PlaceURL(in.EnvironmentID, in.AppID)+"#maintenance")
}

// EndMaintenance lets visitors in again.
func (h *Visitors) EndMaintenance(c echo.Context) error {
	err := h.Visitors.EndMaintenance(c.Request().Context(), c.Param("id"), c.Param("app"))
	if models.IsCode(err, models.Conflict) {
		err = nil // it ended by itself meanwhile
	}
	if err != nil {
		return err
	}
	notify(c, "Visitors reach the app again")
	return c.Redirect(http.StatusSeeOther, views.PlaceURL(c.Param("id"), c.Param("app")))
}

// Domain shows one domain.
func (h *Visitors) Domain(c echo.Context) error {
	return h.domain(c, http.StatusOK, components.Form{})
}

func (h *Visitors) domain(c echo.Context, status int, form components.Form) error {
	ctx := c.Request().Context()
	d, err := h.Visitors.Domain(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	who := models.PrincipalFrom(ctx)
	v := views.DomainView{Domain: *d, Form: form, Places: map[string]string{}, CanChange: who.RoleIn(d.TeamID).AtLeast(models.RoleMaintainer), CanConfirm: who.Admin}
	rows, err := h.Visitors.DomainAddresses(ctx, d.ID)
	if err != nil {
		return err
	}
	b, err := h.Deploy.Board(ctx, deploy.BoardFilter{TeamID: d.TeamID, Whole: true})
	if err != nil {
		return err
	}
	for _, e := range b.Environments {
		for _, a := range b.Apps {
			v.Places[e.ID+"/"+a.ID] = a.Name + " in " + e.Name
		}
	}
	fronts := map[string]visitors.Front{}
	for _, a := range rows {
		front, ok := fronts[a.EnvironmentID]
		if !ok {
			if front, err = h.Visitors.FrontOf(ctx, a.EnvironmentID); err != nil {
				return err
			}
			fronts[a.EnvironmentID] = front
		}
		v.Addresses = append(v.Addresses, views.Address{Address: a, Domain: d, Target: front.Target, LeadsTo: front.LeadsTo(a.AppID)})
	}
	if d.Proven() {
		shown, err := h.Certificates.For(ctx, d.TeamID, d.Host)
		if err != nil {
			return err
		}
		v.Certificate, v.Order = shown.Certificate, shown.Order
	}
	p := h.page(c, layout.Page{Title: d.Host, Nav: "teams", Live: []string{"domain:" + d.ID},
		Crumbs: []layout.Link{{Label: "Teams", Href: "/teams"}, {Label: d.Team.Name, Href: teams.URL(*d.Team)}, {Label: "Domains", Href: teams.URL(*d.Team) + "/domains"}}})
	v.Curl = p.Curl("PATCH", "/api/v1/domains/"+d.ID, `{"redirect": true, "hsts": 86400}`)
	v.CheckCurl = p.Curl("POST", "/api/v1/domains/"+d.ID+"/check", "")
	return Render(c, status, views.Domain(p, v))
}

// changeDomain does something to the domain, and shows it again where that is refused.
func (h *Visitors) changeDomain(c echo.Context, done string, change func(context.Context, string) error) error {
	if err := change(c.Request().Context(), c.Param("id")); err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.domain(c, problem.Of(c.Request().Context(), err).Status, form)
	}
	if done != "" {
		notify(c, done)
	}
	return c.Redirect(http.StatusSeeOther, "/domains/"+c.Param("id"))
}

// UpdateDomain sets how visitors of the domain come to https.
func (h *Visitors) UpdateDomain(c echo.Context) error {
	return h.changeDomain(c, "Saved", func(ctx context.Context, id string) error {
		redirect := c.FormValue("redirect") != ""
		hsts, err := strconv.ParseInt(c.FormValue("hsts"), 10, 64)
		if err != nil {
			return models.InvalidField("hsts", "This is not a number.")
		}
		_, err = h.Visitors.UpdateDomain(ctx, id, visitors.DomainInput{Redirect: &redirect, HSTS: &hsts})
		return err
	})
}

// CheckDomain looks the domain's record up now.
func (h *Visitors) CheckDomain(c echo.Context) error {
	return h.changeDomain(c, "", func(ctx context.Context, id string) error {
		_, err := h.Visitors.CheckDomain(ctx, id)
		return err
	})
}

// ConfirmDomain takes an admin's word for the domain.
func (h *Visitors) ConfirmDomain(c echo.Context) error {
	return h.changeDomain(c, "Confirmed", func(ctx context.Context, id string) error {
		_, err := h.Visitors.ConfirmDomain(ctx, id)
		return err
	})
}

// DeleteDomain deletes the domain and its addresses.
func (h *Visitors) DeleteDomain(c echo.Context) error {
	ctx := c.Request().Context()
	d, err := h.Visitors.Domain(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if err = confirmed(c, d.Host); err == nil {
		err = h.Visitors.DeleteDomain(ctx, d.ID)
	}
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.domain(c, problem.Of(ctx, err).Status, form)
	}
	notify(c, d.Host+" deleted")
	return c.Redirect(http.StatusSeeOther, teams.URL(*d.Team)+"/domains")
}

// TeamDomains lists the domains and certificates of a team.
func (h *Visitors) TeamDomains(c echo.Context) error {
	return h.list(c, http.StatusOK, components.Form{})
}

// SiteDomains lists the domains of all teams and the certificates of the whole site.
func (h *Visitors) SiteDomains(c echo.Context) error {
	return h.list(c, http.StatusOK, components.Form{})
}

// list shows the domains and certificates of the team that the address names, or of the whole site.
func (h *Visitors) list(c echo.Context, status int, form components.Form) error {
	ctx := c.Request().Context()
	v := views.ListView{Form: form, CanChange: true}
	p := h.page(c, layout.Page{})
	teamID, query := "", ""
	if slug := c.Param("team"); slug != "" {
		team, err := h.Catalog.Team(ctx, slug)
		if err != nil {
			return err
		}
		header := teams.Header{Team: *team, CanEdit: models.PrincipalFrom(ctx).RoleIn(team.ID).AtLeast(models.RoleMaintainer)}
		p = header.Frame(p, "domains")
		teamID, v.TeamSlug, v.CanChange, query = team.ID, team.Slug, header.CanEdit, "?team="+team.Slug
		v.AddCurl = p.Curl("POST", "/api/v1/certificates", `{"team": "`+team.Slug+`", "chain": "-----BEGIN CERTIFICATE-----…", "key": "-----BEGIN PRIVATE KEY-----…"}`)
	} else {
		p.Title, p.Window, p.Nav, p.Tabs = "Admin", "Domains", "admin", admin.Tabs("domains")
		v.AddCurl = p.Curl("POST", "/api/v1/certificates", `{"chain": "-----BEGIN CERTIFICATE-----…", "key": "-----BEGIN PRIVATE KEY-----…"}`)
	}
	domains, err := h.Visitors.Domains(ctx, visitors.DomainFilter{Page: cursor(c), TeamID: teamID})
	if err != nil {
		return err
	}
	given, err := h.Certificates.List(ctx, certificates.Filter{Page: models.Page{Limit: models.MaxLimit}, TeamID: teamID})
	if err != nil {
		return err
	}
	v.Domains, v.Certificates = domains.Items, given.Items
	v.DomainsFirst, v.DomainsNext = pages(c, domains.Next)
	v.Curl = p.Curl("GET", "/api/v1/domains"+query, "")
	return Render(c, status, views.List(p, v))
}

// AddCertificate keeps a certificate that somebody gives to a team, or an admin to the whole site.
func (h *Visitors) AddCertificate(c echo.Context) error {
	ctx := c.Request().Context()
	in := certificates.Input{Chain: c.FormValue("chain"), Key: c.FormValue("private_key")}
	back := "/admin/domains"
	if slug := c.Param("team"); slug != "" {
		team, err := h.Catalog.Team(ctx, slug)
		if err != nil {
			return err
		}
		in.TeamID, back = team.ID, teams.URL(*team)+"/domains"
	}
	_, err := h.Certificates.Add(ctx, in)
	if err != nil {
		if e, ok := err.(*models.Error); ok && e.Fields["key"] != "" { // the form's name for it
			e.Fields["private_key"] = e.Fields["key"]
			delete(e.Fields, "key")
		}
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.list(c, problem.Of(ctx, err).Status, form)
	}
	notify(c, "Certificate added")
	return c.Redirect(http.StatusSeeOther, back+"#certificates")
}

// DeleteCertificate deletes a certificate.
func (h *Visitors) DeleteCertificate(c echo.Context) error {
	if err := h.Certificates.Delete(c.Request().Context(), c.Param("id")); err != nil {
		return err
	}
	notify(c, "Certificate deleted")
	return c.Redirect(http.StatusSeeOther, h.Back(c.Request(), "/environments"))
}
