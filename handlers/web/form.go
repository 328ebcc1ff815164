package web

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/a-h/templ"
	"github.com/labstack/echo/v4"
	"slipway.dev/models"
	"slipway.dev/services/auth"
	"slipway.dev/views/components"
)

// correctable are the failures that a person can do something about where they are: the form is shown again with what was typed.
var correctable = []models.Code{models.Invalid, models.Conflict, models.TooMany, models.Unavailable}

// again returns the form as it was sent, with what is wrong with it, and the
// error itself where no other input would help. Passwords and keys are not sent back.
func again(c echo.Context, err error) (components.Form, error) {
	e, ok := errors.AsType[*models.Error](err)
	if !ok || !slices.Contains(correctable, e.Code) {
		return components.Form{}, err
	}
	sent, formErr := c.FormParams()
	if formErr != nil {
		return components.Form{}, models.Errorf(models.Invalid, "The form could not be read.")
	}
	values := maps.Clone(sent)
	maps.DeleteFunc(values, func(name string, _ []string) bool {
		return strings.HasPrefix(name, "password") || name == "current" || name == "token" || name == "private_key"
	})
	return components.Form{Values: values, Err: e}, nil
}

// bind reads the form into the service's input.
func bind(c echo.Context, into any) error {
	if err := (&echo.DefaultBinder{}).BindBody(c, into); err != nil {
		return &models.Error{Code: models.Invalid, Message: "The form could not be read. Go back and send it again.", Err: err}
	}
	return nil
}

// cursor is the list's page that the address asks for.
func cursor(c echo.Context) models.Page { return models.Page{Cursor: c.QueryParam("cursor")} }

// pages are the addresses of a list's first and next page, empty where one is there or there is no more. The
// other parameters of the address stay.
func pages(c echo.Context, next string) (first, after string) {
	q := c.Request().URL.Query()
	at := func() string {
		if len(q) == 0 {
			return c.Request().URL.Path
		}
		return c.Request().URL.Path + "?" + q.Encode()
	}
	was := q.Get("cursor")
	if q.Del("cursor"); was != "" {
		first = at()
	}
	if next != "" {
		q.Set("cursor", next)
		after = at()
	}
	return first, after
}

// Back is the page of this portal that the form was on, or else the fallback.
func (b *Base) Back(r *http.Request, fallback string) string {
	path, ok := strings.CutPrefix(r.Referer(), b.ExternalURL)
	if !ok || !strings.HasPrefix(path, "/") {
		return fallback
	}
	if path = auth.LocalPath(path); path == "/" {
		return fallback
	}
	return path
}

// host is the external URL without its scheme: how images and logins name the portal.
func host(externalURL string) string {
	_, rest, _ := strings.Cut(externalURL, "://")
	return rest
}

// write answers with a page outside of the router.
func write(w http.ResponseWriter, r *http.Request, status int, page templ.Component) error {
	buf := templ.GetBuffer()
	defer templ.ReleaseBuffer(buf)
	if err := page.Render(r.Context(), buf); err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, err := buf.WriteTo(w)
	return err
}

// confirmed fails unless the name was typed into the field confirm.
func confirmed(c echo.Context, name string) error {
	if c.FormValue("confirm") != name {
		return models.InvalidField("confirm", "Type %s to confirm.", name)
	}
	return nil
}
