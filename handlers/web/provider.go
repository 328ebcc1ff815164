package web

import (
	"context"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"
	"golang.org/x/sync/errgroup"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	views "slipway.dev/views/deployments"
	"slipway.dev/views/environments"
	"slipway.dev/views/layout"
)

// Provider shows what the deployment's target made, and what its provider says happened. It is a page of its own, so
// that a slow provider keeps nobody from the deployment.
func (h *Deployments) Provider(c echo.Context) error {
	ctx := c.Request().Context()
	d, err := h.Deploy.Get(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	frame := deploymentFrame(d)
	frame.Title, frame.Window, frame.Reload = "What was made at the provider", "Provider of "+frame.Window, 0
	frame.Crumbs = append(frame.Crumbs, layout.Link{Label: d.Title(), Href: views.URL(*d)})
	p := h.page(c, frame)
	v := views.ProviderView{Deployment: *d, Curl: p.Curl("GET", "/api/v1/deployments/"+d.ID+"/resources", "").For("Read what was made"),
		EventsCurl: p.Curl("GET", "/api/v1/deployments/"+d.ID+"/events", "").For("Read the events")}
	if err := h.askProvider(ctx, &v); err != nil {
		return err
	}
	return Render(c, http.StatusOK, views.ProviderPage(p, v))
}

// askProvider fills in both lists, or why there is none; they are asked for at once.
func (h *Deployments) askProvider(ctx context.Context, v *views.ProviderView) error {
	var asked errgroup.Group
	asked.Go(func() error {
		made, err := h.Deploy.Resources(ctx, v.Deployment.ID)
		for _, r := range made {
			v.Resources = append(v.Resources, views.Resource(r))
		}
		v.NoList, err = told(err)
		return err
	})
	asked.Go(func() error {
		said, err := h.Deploy.Events(ctx, v.Deployment.ID)
		for _, e := range said {
			v.Events = append(v.Events, views.ProviderEvent(e))
		}
		v.NoEvents, err = told(err)
		return err
	})
	return asked.Wait()
}

// told is what a page says in place of what a target does not tell; other errors are the page's own.
func told(err error) (string, error) {
	why, ok := errors.AsType[*models.Error](err)
	if ok && (why.Code == models.Conflict || why.Code == models.Unavailable) {
		return why.Message, nil
	}
	return "", err
}

func costView(c deploy.Cost) views.Cost {
	out := views.Cost{Month: c.Month, PricesOf: c.PricesOf, Edited: c.Edited}
	for _, l := range c.Lines {
		out.Lines = append(out.Lines, views.CostLine(l))
	}
	return out
}

// cost is what runs costs in a month.
func (h *Environments) cost(ctx context.Context, environmentID string) (environments.Cost, error) {
	all, err := h.Deploy.EnvironmentCost(ctx, environmentID)
	out := environments.Cost{Apps: map[string]float64{}, Month: all.Month, PricesOf: all.PricesOf, Edited: all.Edited}
	for _, a := range all.Apps {
		out.Apps[a.AppID] = a.Month
	}
	return out, err
}
