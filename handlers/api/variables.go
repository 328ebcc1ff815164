package api

import (
	"context"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// Variable is a value that instances get as an environment variable. A secret's is never shown.
type Variable struct {
	ID            string               `json:"id"`
	Name          string               `json:"name"`
	Level         models.VariableLevel `json:"level" enum:"team,environment,app" doc:"Where it is set: for every environment of the team, for every app of an environment, or for one app there. The nearest to the app wins."`
	EnvironmentID string               `json:"environment_id" doc:"Empty: every environment of the team."`
	AppID         string               `json:"app_id" doc:"Empty: every app gets it."`
	Value         string               `json:"value,omitempty"`
	Secret        bool                 `json:"secret"`
	Fingerprint   string               `json:"fingerprint,omitempty" doc:"Of a secret: changes whenever the value does."`
	Revision      string               `json:"revision" doc:"Changes with every change. Send it along to change only what you have looked at."`
	UpdatedBy     string               `json:"updated_by"`
	UpdatedAt     time.Time            `json:"updated_at"`
}

// VariableSetting is a variable that counts somewhere, and what it overrides.
type VariableSetting struct {
	Variable
	Overrides    []Variable `json:"overrides" nullable:"false" doc:"What would count without it, the nearest to the app first."`
	NotRolledOut []string   `json:"not_rolled_out" nullable:"false" doc:"Ids of the apps that run with another value than this."`
}

// SetVariable is the value of a variable or a secret.
type SetVariable struct {
	AppID    string  `json:"app_id,omitempty" doc:"Empty: for every app of the environment."`
	Value    string  `json:"value"`
	Secret   bool    `json:"secret,omitempty" doc:"Encrypted at rest, and never shown again."`
	Revision *string `json:"revision,omitempty" doc:"Of the variable that was looked at; empty: there was none. Where it is another by now, 409 is answered and nothing is set."`
}

// SetTeamVariable is the value of a team's variable or secret.
type SetTeamVariable struct {
	Value    string  `json:"value"`
	Secret   bool    `json:"secret,omitempty" doc:"Encrypted at rest, and never shown again."`
	Revision *string `json:"revision,omitempty" doc:"Of the variable that was looked at; empty: there was none."`
}

// ImportVariables is variables as the lines of a .env file.
type ImportVariables struct {
	AppID   string `json:"app_id,omitempty" doc:"Empty: for every app. Not for a team."`
	Text    string `json:"text" example:"LOG_LEVEL=debug"`
	Secrets bool   `json:"secrets,omitempty" doc:"Names that are new become secrets; others stay what they are."`
	Delete  bool   `json:"delete,omitempty" doc:"Variables that the text does not name are deleted; secrets stay."`
	DryRun  bool   `json:"dry_run,omitempty" doc:"Only tell what would change."`
	Plan    string `json:"plan,omitempty" doc:"As a dry run answered it. Where something else is set by now, 409 is answered and nothing is set."`
}

// VariableImport is what an import changes, or would change.
type VariableImport struct {
	Changes []VariableImportChange `json:"changes" nullable:"false"`
	Same    int                    `json:"same" doc:"Names that stay as they are."`
	Plan    string                 `json:"plan"`
}

// VariableImportChange is one name that an import changes. Values of secrets are left out.
type VariableImportChange struct {
	Name   string `json:"name"`
	Change string `json:"change" enum:"added,changed,removed"`
	Secret bool   `json:"secret"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

func (a *API) variables() {
	get(a, "/environments/{id}/variables", "list-variables", "Variables that are set in an environment, and the names of secrets", a.listVariables,
		about("What the environment inherits from its team is not among them: see settings."))
	get(a, "/environments/{id}/settings", "list-settings", "What an app gets in an environment, and where it comes from", a.listSettings,
		about("The nearest to the app wins: its own in the environment, then the environment's, then the team's."))
	put(a, "/environments/{id}/variables/{name}", "set-variable", "Set a variable or a secret", a.setVariable,
		about("What runs keeps its values until the next deployment."))
	remove(a, "/environments/{id}/variables/{name}", "delete-variable", "Delete a variable or a secret", a.deleteVariable)
	post(a, "/environments/{id}/variables", "import-variables", "Set variables as the lines of a .env file, all or none", a.importVariables)
	get(a, "/teams/{team}/variables", "list-team-variables", "Variables of every environment of a team", a.listTeamVariables)
	put(a, "/teams/{team}/variables/{name}", "set-team-variable", "Set a variable or a secret of every environment of a team", a.setTeamVariable)
	remove(a, "/teams/{team}/variables/{name}", "delete-team-variable", "Delete a variable or a secret of a team", a.deleteTeamVariable)
	post(a, "/teams/{team}/variables", "import-team-variables", "Set a team's variables as the lines of a .env file, all or none", a.importTeamVariables)
	a.variableChanges()
}

// AppIn narrows a call about an environment to an app.
type AppIn struct {
	AppID string `query:"app_id" maxLength:"100" doc:"An app; empty: every app."`
}

func (a *API) listVariables(ctx context.Context, in *struct {
	IDIn
	PageIn
	AppIn
}) (*answer[List[Variable]], error) {
	return variablesOf(a.Deploy.Variables(ctx, deploy.VariableFilter{Page: in.page(), Scope: deploy.Scope{EnvironmentID: in.ID, AppID: in.AppID}}))
}

func (a *API) listTeamVariables(ctx context.Context, in *struct {
	TeamIn
	PageIn
}) (*answer[List[Variable]], error) {
	at, err := a.teamScope(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	return variablesOf(a.Deploy.Variables(ctx, deploy.VariableFilter{Page: in.page(), Scope: at}))
}

func variablesOf(list models.List[models.Variable], err error) (*answer[List[Variable]], error) {
	if err != nil {
		return nil, err
	}
	return listOf(list, variableOf), nil
}

// teamScope names the variables of the team.
func (a *API) teamScope(ctx context.Context, slug string) (deploy.Scope, error) {
	id, err := a.teamID(ctx, slug)
	return deploy.Scope{TeamID: id}, err
}

func (a *API) listSettings(ctx context.Context, in *struct {
	IDIn
	PageIn
	AppIn
	Query string `query:"q" maxLength:"200" doc:"Part of the name."`
}) (*answer[List[VariableSetting]], error) {
	at := deploy.Scope{EnvironmentID: in.ID, AppID: in.AppID}
	list, err := a.Deploy.Settings(ctx, deploy.SettingFilter{Page: in.page(), Scope: at, Query: in.Query})
	if err != nil {
		return nil, err
	}
	late, err := a.Deploy.NotRolledOut(ctx, at)
	if err != nil {
		return nil, err
	}
	return listOf(list, func(x *deploy.Setting) VariableSetting {
		out := VariableSetting{Variable: variableOf(&x.Variable), Overrides: sliceOf(x.Overrides, variableOf), NotRolledOut: []string{}}
		for _, n := range late {
			if n.Waits(&x.Variable) {
				out.NotRolledOut = append(out.NotRolledOut, n.Deployment.AppID)
			}
		}
		return out
	}), nil
}

func (a *API) setVariable(ctx context.Context, in *struct {
	IDIn
	Name string `path:"name" maxLength:"200"`
	Body SetVariable
}) (*answer[Variable], error) {
	v, err := a.Deploy.SetVariable(ctx, deploy.VariableInput{
		EnvironmentID: in.ID, AppID: in.Body.AppID, Name: in.Name, Value: in.Body.Value, Secret: in.Body.Secret, Revision: in.Body.Revision,
	})
	return replyWith(v, variableOf, err)
}

func (a *API) setTeamVariable(ctx context.Context, in *struct {
	TeamIn
	Name string `path:"name" maxLength:"200"`
	Body SetTeamVariable
}) (*answer[Variable], error) {
	at, err := a.teamScope(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	v, err := a.Deploy.SetVariable(ctx, deploy.VariableInput{TeamID: at.TeamID, Name: in.Name, Value: in.Body.Value, Secret: in.Body.Secret, Revision: in.Body.Revision})
	return replyWith(v, variableOf, err)
}

func (a *API) deleteVariable(ctx context.Context, in *struct {
	IDIn
	Name     string `path:"name" maxLength:"200"`
	AppID    string `query:"app_id" maxLength:"100" doc:"The app whose variable it is; empty: that of every app."`
	Revision string `query:"revision" maxLength:"100" doc:"Of the variable that was looked at: where it is another by now, 409 is answered."`
}) error {
	return a.unsetVariable(ctx, deploy.Scope{EnvironmentID: in.ID, AppID: in.AppID}, in.Name, in.Revision)
}

func (a *API) deleteTeamVariable(ctx context.Context, in *struct {
	TeamIn
	Name     string `path:"name" maxLength:"200"`
	Revision string `query:"revision" maxLength:"100" doc:"Of the variable that was looked at: where it is another by now, 409 is answered."`
}) error {
	at, err := a.teamScope(ctx, in.Team)
	if err != nil {
		return err
	}
	return a.unsetVariable(ctx, at, in.Name, in.Revision)
}

func (a *API) unsetVariable(ctx context.Context, at deploy.Scope, name, revision string) error {
	v, err := a.Deploy.Variable(ctx, at, name)
	if err != nil {
		return err
	}
	_, err = a.Deploy.DeleteVariable(ctx, at, v.ID, given(revision))
	return err
}

// given is the text where there is one.
func given(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func (a *API) importVariables(ctx context.Context, in *struct {
	IDIn
	Body ImportVariables
}) (*answer[VariableImport], error) {
	return a.takeVariables(ctx, deploy.Scope{EnvironmentID: in.ID, AppID: in.Body.AppID}, in.Body)
}

func (a *API) importTeamVariables(ctx context.Context, in *struct {
	TeamIn
	Body ImportVariables
}) (*answer[VariableImport], error) {
	at, err := a.teamScope(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	at.AppID = in.Body.AppID
	return a.takeVariables(ctx, at, in.Body)
}

func (a *API) takeVariables(ctx context.Context, at deploy.Scope, body ImportVariables) (*answer[VariableImport], error) {
	in := deploy.ImportInput{Scope: at, Text: body.Text, Secrets: body.Secrets, Delete: body.Delete, Plan: body.Plan}
	take := a.Deploy.ImportVariables
	if body.DryRun {
		take = a.Deploy.PreviewImport
	}
	done, err := take(ctx, in)
	return replyWith(done, variableImportOf, err)
}

func variableImportOf(i *deploy.Import) VariableImport {
	return VariableImport{Same: i.Same, Plan: i.Plan, Changes: sliceOf(i.Changes, func(c *deploy.ImportChange) VariableImportChange {
		return VariableImportChange{c.Name, c.Kind, c.Secret, c.Before, c.After}
	})}
}

func variableOf(v *models.Variable) Variable {
	return Variable{ID: v.ID, Name: v.Name, Level: v.Level(), EnvironmentID: v.EnvironmentID, AppID: v.AppID, Value: v.Value, Secret: v.Secret,
		Fingerprint: v.Fingerprint, Revision: v.Revision, UpdatedBy: v.UpdatedBy, UpdatedAt: v.UpdatedAt.UTC()}
}
