package web

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"
	"slipway.dev/handlers/download"
	"slipway.dev/handlers/problem"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
	"slipway.dev/views/components"
	"slipway.dev/views/variables"
)

// Text shows the variables of the place as lines to edit.
func (h *Variables) Text(c echo.Context) error {
	at, err := h.place(c)
	if err != nil {
		return err
	}
	return h.text(c, http.StatusOK, variables.TextView{Place: at})
}

func (h *Variables) text(c echo.Context, status int, v variables.TextView) error {
	ctx := c.Request().Context()
	if err := models.Authorize(ctx, v.Team.ID, models.RoleDeveloper, "team"); err != nil {
		return err
	}
	var err error
	if v.Text, err = h.Deploy.Dotenv(ctx, scopeOf(v.Place), false); err != nil {
		return err
	}
	p := h.frame(c, v.Place, "Edit as text")
	p.Live = nil
	call := "/api/v1/teams/" + v.Team.Slug
	if v.Environment != nil {
		call = "/api/v1/environments/" + v.Environment.ID
	}
	v.Curl = p.Curl("POST", call+"/variables", `{"text": "LOG_LEVEL=debug\n", "dry_run": true}`)
	return Render(c, status, variables.Text(p, v))
}

// Preview shows what the text would change.
func (h *Variables) Preview(c echo.Context) error {
	ctx := c.Request().Context()
	at, err := h.place(c)
	if err != nil {
		return err
	}
	in := deploy.ImportInput{Scope: scopeOf(at), Text: unixLines(c.FormValue("text")), Secrets: c.FormValue("secrets") != "", Delete: c.FormValue("delete") != ""}
	seen, err := h.Deploy.PreviewImport(ctx, in)
	if err != nil {
		return h.textAgain(c, at, in, err)
	}
	v := variables.PreviewView{Place: at, Same: seen.Same, Sealed: seen.Sealed}
	for _, change := range seen.Changes {
		v.Changes = append(v.Changes, variables.Change(change))
	}
	p := h.frame(c, at, "What changes")
	p.Live = nil
	return Render(c, http.StatusOK, variables.Preview(p, v))
}

// textAgain shows the text again with what is wrong with it, unless it may hold a secret.
func (h *Variables) textAgain(c echo.Context, at variables.Place, in deploy.ImportInput, err error) error {
	form, fault := again(c, err)
	if fault != nil {
		return fault
	}
	holds, err2 := h.mayHoldSecrets(c, at, in)
	if err2 != nil {
		return err2
	}
	if holds {
		form.Values.Del("text")
		form.Err = &models.Error{Code: form.Err.Code, Message: "Some lines need attention. A text with secrets is not sent back: go back in the browser, or paste it again.", Fields: form.Err.Fields}
	}
	return h.text(c, problem.Of(c.Request().Context(), err).Status, variables.TextView{Place: at, Form: form})
}

// mayHoldSecrets tells whether the text gives secrets, or names what is one.
func (h *Variables) mayHoldSecrets(c echo.Context, at variables.Place, in deploy.ImportInput) (bool, error) {
	if in.Secrets {
		return true, nil
	}
	f := deploy.SettingFilter{Scope: scopeOf(at), Page: models.Page{Limit: models.MaxLimit}}
	for {
		list, err := h.Deploy.Settings(c.Request().Context(), f)
		if err != nil {
			return true, err
		}
		for _, x := range list.Items {
			if x.Secret && namesInText(in.Text, x.Name) {
				return true, nil
			}
		}
		if f.Cursor = list.Next; f.Cursor == "" {
			return false, nil
		}
	}
}

// namesInText tells whether a line of the text that is no comment has the name in it.
func namesInText(text, name string) bool {
	for line := range strings.Lines(text) {
		if strings.Contains(line, name) && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			return true
		}
	}
	return false
}

// Import does what a preview has shown.
func (h *Variables) Import(c echo.Context) error {
	at, err := h.place(c)
	if err != nil {
		return err
	}
	done, err := h.Deploy.ApplyImport(c.Request().Context(), scopeOf(at), c.FormValue("sealed"))
	if err != nil {
		form, fault := again(c, err)
		if fault != nil {
			return fault
		}
		return h.text(c, problem.Of(c.Request().Context(), err).Status, variables.TextView{Place: at, Form: components.Form{Err: form.Err}})
	}
	notify(c, components.Count(len(done.Changes), "variable", "variables")+" changed")
	return c.Redirect(http.StatusSeeOther, at.URL(""))
}

// Export is what counts in the place as a .env file, without secrets.
func (h *Variables) Export(c echo.Context) error {
	at, err := h.place(c)
	if err != nil {
		return err
	}
	text, err := h.Deploy.Dotenv(c.Request().Context(), scopeOf(at), true)
	if err != nil {
		return err
	}
	download.Headers(c.Response().Header(), strings.ReplaceAll(at.Name(), " ", "-")+".env", int64(len(text)))
	return c.Blob(http.StatusOK, echo.MIMEOctetStream, []byte(text))
}
