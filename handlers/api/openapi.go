package api

import (
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"
)

// describe makes the OpenAPI document, with the full path of each call and
// without huma's own form of errors, which is never sent.
func (a *API) describe() {
	doc := *a.huma.OpenAPI()
	doc.Paths = map[string]*huma.PathItem{}
	for path, item := range a.huma.OpenAPI().Paths {
		doc.Paths[Prefix+path] = item
	}
	for _, name := range []string{"ErrorModel", "ErrorDetail"} {
		delete(doc.Components.Schemas.Map(), name)
	}
	a.spec, _ = json.MarshalIndent(&doc, "", " ") // plain data: can't fail
}

// Describe answers with the OpenAPI document.
func (a *API) Describe(c echo.Context) error {
	return c.Blob(http.StatusOK, "application/openapi+json;version=3.1", a.spec)
}
