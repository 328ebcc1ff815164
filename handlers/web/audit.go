package web

import (
	"net/url"

	"github.com/labstack/echo/v4"
	"slipway.dev/views/components"
)

// auditActions are the choices of what the audit log shows, at the page's own address.
func auditActions(c echo.Context) []components.FilterLink {
	asked := c.QueryParam("action")
	var out []components.FilterLink
	for _, o := range []struct{ action, label string }{
		{"", "Everything"}, {"image.pull", "Pulls"}, {"image.push", "Pushes"}, {"image.tag", "Tags"}, {"image.delete", "Deleted images"},
		{"image.untag", "Deleted tags"}, {"image.settings", "Image settings"}, {"deployment.deploy", "Deployments"},
	} {
		q := url.Values{}
		if subject := c.QueryParam("subject"); subject != "" {
			q.Set("subject", subject)
		}
		if o.action != "" {
			q.Set("action", o.action)
		}
		at := url.URL{Path: c.Request().URL.Path, RawQuery: q.Encode()}
		out = append(out, components.FilterLink{Label: o.label, Href: at.String(), Current: o.action == asked})
	}
	return out
}
