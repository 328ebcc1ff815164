package handlers

import (
	"net/url"
	"strings"
	"testing"
)

func TestWhatGoesOnlyByItsNameSaysAtTheFieldThatTheNameIsMissing(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	for _, path := range []string{
		"/environments/" + f.places["empty environment"] + "/delete",
		"/domains/" + f.places["domain"] + "/delete",
		"/apps/" + f.places["app"] + "/delete",
		"/repositories/" + f.places["repository"] + "/delete",
	} {
		code, page := f.posts(path, f.Admin, url.Values{"confirm": {"something else"}})
		_, field, _ := strings.Cut(page, `name="confirm"`)
		field, _, _ = strings.Cut(field, ">")
		if code != 422 || !strings.Contains(page, " to confirm.") || !strings.Contains(field, "aria-invalid") {
			t.Errorf("%s: %d, the field is %q", path, code, field)
		}
	}
}
