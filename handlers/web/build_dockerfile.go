package web

import (
	"net/http"

	"github.com/labstack/echo/v4"
	views "slipway.dev/views/builds"
	"slipway.dev/views/layout"
)

// Dockerfile shows the file that the build used.
func (h *Builds) Dockerfile(c echo.Context) error {
	ctx := c.Request().Context()
	b, file, err := h.Builds.Dockerfile(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	v := views.DockerfileView{Build: *b, File: *file}
	frame := buildFrame(b)
	frame.Title, frame.Window, frame.Reload, frame.State = b.Dockerfile, b.Dockerfile+" of "+b.Title(), 0, ""
	frame.Crumbs = append(frame.Crumbs, layout.Link{Label: b.Title(), Href: "/builds/" + b.ID})
	p := h.page(c, frame)
	v.Curl = p.Curl("GET", "/api/v1/builds/"+b.ID+"/dockerfile", "").For("Read the file")
	return Render(c, http.StatusOK, views.Dockerfile(p, v))
}
