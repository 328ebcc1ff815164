package views_test

import (
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/components"
	"slipway.dev/views/variables"
)

// lateApp runs with other values than are set.
func lateApp() variables.Late {
	return variables.Late{App: checkout, Environment: staging, Digest: "sha256:" + strings.Repeat("9", 64),
		Changes: []variables.LateChange{{Name: "LOG_LEVEL", Kind: "changed"}, {Name: "REGION", Kind: "added"}, {Name: "OLD_FLAG", Kind: "removed"}}}
}

func ofTeam(id, name, value string) models.Variable {
	return models.Variable{ID: id, TeamID: "t1", Name: name, Value: value, Revision: "c-" + id, UpdatedBy: "Ada Byron", UpdatedAt: now.Add(-26 * time.Hour)}
}

func ofStaging(id, name, value string) models.Variable {
	v := ofTeam(id, name, value)
	v.EnvironmentID, v.UpdatedBy, v.UpdatedAt = "e2", "Mira Kovač", now.Add(-4*time.Minute)
	return v
}

func ofCheckout(id, name, value string) models.Variable {
	v := ofStaging(id, name, value)
	v.AppID = "a1"
	return v
}

func secret(v models.Variable) models.Variable {
	v.Secret, v.Value, v.Fingerprint = true, "", "1f2e3d4c5b6a7980"
	return v
}

func variableRows() []variables.Row {
	return []variables.Row{
		{Variable: secret(ofCheckout("v1", "API_KEY", "")), Overrides: []models.Variable{secret(ofTeam("v9", "API_KEY", ""))}},
		{Variable: ofStaging("v2", "DATABASE_URL", "postgres://checkout@db.staging.acme.example:5432/checkout?sslmode=verify-full&application_name=checkout-api")},
		{Variable: ofStaging("v3", "EMPTY", "")},
		{Variable: ofStaging("v4", "LOG_LEVEL", "debug"), Overrides: []models.Variable{ofTeam("v8", "LOG_LEVEL", "info")}, Late: 1},
		{Variable: ofTeam("v5", "REGION", "eu-central-1"), Late: 1},
		{Variable: secret(ofTeam("v6", "SENTRY_DSN", ""))},
	}
}

func variableChanges() []models.VariableChange {
	id, long := "c2", strings.Repeat("long-", 60)
	of := func(c models.VariableChange) models.VariableChange {
		c.TeamID, c.EnvironmentID, c.ChangedByName, c.CreatedAt = "t1", "e2", "Mira Kovač", now.Add(-5*time.Minute)
		return c
	}
	return []models.VariableChange{
		of(models.VariableChange{ID: "c5", Name: "LOG_LEVEL", UndoOf: &id, Before: models.VariableState{Set: true, Value: "debug"}, After: models.VariableState{Set: true, Value: "info"}, Now: "c5"}),
		of(models.VariableChange{ID: "c4", Name: "API_KEY", AppID: "a1", App: &checkout, Before: models.VariableState{Set: true, Secret: true, Fingerprint: "1f2e3d4c5b6a7980"}}),
		of(models.VariableChange{ID: "c3", Name: "API_KEY", AppID: "a1", App: &checkout, Before: models.VariableState{Set: true, Secret: true, Fingerprint: "aa2e3d4c5b6a7980"}, After: models.VariableState{Set: true, Secret: true, Fingerprint: "1f2e3d4c5b6a7980"}}),
		of(models.VariableChange{ID: "c2", Name: "LOG_LEVEL", Before: models.VariableState{Set: true, Value: long}, After: models.VariableState{Set: true, Value: "debug"}, Now: "c5"}),
		of(models.VariableChange{ID: "c1", Name: "LOG_LEVEL", Before: models.VariableState{Set: true}, After: models.VariableState{Set: true}, ForgottenAt: &now, Now: "c5"}),
		of(models.VariableChange{ID: "c0", Name: "LOG_LEVEL", After: models.VariableState{Set: true, Value: "warn"}, Now: "c5"}),
	}
}

// variableSamples are the pages about variables and secrets.
func variableSamples() []sample {
	stage := staging
	everyApp := variables.Place{Team: *payments, Environment: &stage, Apps: []models.App{checkout}, CanChange: true, CanForget: true}
	oneApp := everyApp
	oneApp.App = &checkout
	team := variables.Place{Team: *payments, CanChange: true, CanForget: true}
	p := testPage("Variables of staging")
	curl := []components.CurlExample{p.Curl("PUT", "/api/v1/environments/e2/variables/LOG_LEVEL", `{"value": "debug"}`).For("Set a variable")}
	rows := variableRows()
	wrong := components.Form{Values: map[string][]string{"name": {"LOG_LEVEL"}, "value": {"trace"}},
		Err: &models.Error{Code: models.Conflict, Message: "LOG_LEVEL was changed since you looked, by Ada Byron. Look again."}}
	badText := components.Form{Values: map[string][]string{"text": {"LOG_LEVEL=debug\nhello"}},
		Err: &models.Error{Code: models.Invalid, Message: "Some fields need attention.", Fields: map[string]string{"text": "Line 2: This is not NAME=value."}}}
	return []sample{
		{"variables", variables.Page(p, variables.View{Place: oneApp, Rows: rows, Late: []variables.Late{lateApp()}, Curl: curl})},
		{"variables-empty", variables.Page(p, variables.View{Place: everyApp})},
		{"variables-not-found", variables.Page(p, variables.View{Place: everyApp, Query: "nothing"})},
		{"variables-team", variables.Page(p, variables.View{Place: team, Rows: rows[4:], Curl: curl})},
		{"variables-viewer", variables.Page(p, variables.View{Place: variables.Place{Team: *payments, Environment: &stage}, Rows: rows, Late: []variables.Late{lateApp()}})},
		{"variables-edit", variables.Page(p, variables.View{Place: everyApp, Rows: rows[1:], Edit: variables.Edit{Name: "LOG_LEVEL", Set: &rows[3].Variable, Inherited: &rows[3].Overrides[0], Form: wrong}, Curl: curl})},
		{"variables-override", variables.Page(p, variables.View{Place: everyApp, Rows: rows[1:], Edit: variables.Edit{Name: "SENTRY_DSN", Inherited: &rows[5].Variable}})},
		{"variables-history", variables.History(testPage("History of staging"), variables.HistoryView{Place: everyApp, Changes: variableChanges(), Next: "/next", Curl: curl})},
		{"variables-history-empty", variables.History(testPage("History of Payments"), variables.HistoryView{Place: team})},
		{"variables-text", variables.Text(testPage("Edit as text"), variables.TextView{Place: everyApp, Form: badText})},
		{"variables-preview", variables.Preview(testPage("What changes"), variables.PreviewView{Place: everyApp, Same: 3, Sealed: "x", Changes: []variables.Change{
			{Name: "API_KEY", Kind: "changed", Secret: true}, {Name: "LOG_LEVEL", Kind: "changed", Before: "info", After: "debug"}, {Name: "OLD_FLAG", Kind: "removed", Before: "1"}}})},
		{"variables-preview-same", variables.Preview(testPage("What changes"), variables.PreviewView{Place: team, Same: 1})},
	}
}

func TestAFormOfAVariableChangesOnlyWhatWasLookedAt(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"variables-edit": `name="revision" value="c-v4"`, "variables-override": `name="revision" value=""`, "variables-empty": `name="revision" value=""`,
		"variables-history": `name="revision" value="c5"`} {
		if html := drawnSample(t, name); !strings.Contains(html, want) {
			t.Errorf("%s does not say what was looked at", name)
		}
	}
	if html := drawnSample(t, "variables-edit"); !strings.Contains(html, "data-keep") || !strings.Contains(html, "trace") {
		t.Error("the form would be drawn anew under somebody's hands")
	}
}

func drawnSample(t *testing.T, name string) string {
	t.Helper()
	for _, s := range variableSamples() {
		if s.name == name {
			return drawn(t, s.page).String()
		}
	}
	t.Fatalf("no sample %s", name)
	return ""
}
