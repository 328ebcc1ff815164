package api

import (
	"context"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

// VariableChange says who changed which variable, from what to what.
type VariableChange struct {
	ID            string               `json:"id"`
	Name          string               `json:"name" doc:"Of the variable."`
	Level         models.VariableLevel `json:"level" enum:"team,environment,app"`
	EnvironmentID string               `json:"environment_id"`
	AppID         string               `json:"app_id"`
	Before        *VariableState       `json:"before" doc:"Null: there was none."`
	After         *VariableState       `json:"after" doc:"Null: it was deleted."`
	UndoOf        *string              `json:"undo_of" doc:"The change that this one took back."`
	CanUndo       bool                 `json:"can_undo" doc:"Whether what was before can be put back."`
	ForgottenAt   *time.Time           `json:"forgotten_at" doc:"Since when its values are gone for good."`
	By            string               `json:"by" doc:"A name, for people."`
	Revision      string               `json:"revision" doc:"That the variable has now; empty: there is none."`
	CreatedAt     time.Time            `json:"created_at"`
}

// VariableState is a variable before or after a change. A secret's value is never shown.
type VariableState struct {
	Value       string `json:"value,omitempty"`
	Secret      bool   `json:"secret"`
	Fingerprint string `json:"fingerprint,omitempty" doc:"Of a secret: changes whenever the value does."`
}

// UndoVariableChange says what was looked at.
type UndoVariableChange struct {
	Revision *string `json:"revision,omitempty" doc:"That the variable had then; empty: there was none. Where it is another by now, 409 is answered."`
}

// ForgetVariables says which former values go for good.
type ForgetVariables struct {
	Team          string `json:"team,omitempty" maxLength:"100" doc:"Slug of the team whose own variables are meant; else name an environment."`
	EnvironmentID string `json:"environment_id,omitempty" maxLength:"100"`
	AppID         string `json:"app_id,omitempty" maxLength:"100" doc:"Empty: of the environment with all its apps."`
	Name          string `json:"name,omitempty" maxLength:"200" doc:"Of the variable; empty: all."`
}

// ForgottenVariables says of how many changes the values went.
type ForgottenVariables struct {
	Changes int64 `json:"changes"`
}

func (a *API) variableChanges() {
	get(a, "/environments/{id}/variable-changes", "list-variable-changes", "Who changed which variable of an environment, newest first", a.listVariableChanges)
	get(a, "/teams/{team}/variable-changes", "list-team-variable-changes", "Who changed which variable of a team, newest first", a.listTeamVariableChanges)
	post(a, "/variable-changes/{id}/undo", "undo-variable-change", "Put back what was before a change", a.undoVariableChange,
		about("The former value of a secret too, without showing it. It is a change of its own."))
	post(a, "/variable-changes/forget", "forget-variables", "Remove former values of variables for good", a.forgetVariables,
		about("Who changed what stays known. Deployments keep the values that they ran with."))
}

func (a *API) listVariableChanges(ctx context.Context, in *struct {
	IDIn
	PageIn
	AppIn
	Name string `query:"name" maxLength:"200" doc:"Of the variable."`
}) (*answer[List[VariableChange]], error) {
	return a.changesOf(ctx, deploy.ChangeFilter{Page: in.page(), Scope: deploy.Scope{EnvironmentID: in.ID, AppID: in.AppID}, Name: in.Name})
}

func (a *API) listTeamVariableChanges(ctx context.Context, in *struct {
	TeamIn
	PageIn
	Name string `query:"name" maxLength:"200" doc:"Of the variable."`
}) (*answer[List[VariableChange]], error) {
	at, err := a.teamScope(ctx, in.Team)
	if err != nil {
		return nil, err
	}
	return a.changesOf(ctx, deploy.ChangeFilter{Page: in.page(), Scope: at, Name: in.Name})
}

func (a *API) changesOf(ctx context.Context, f deploy.ChangeFilter) (*answer[List[VariableChange]], error) {
	list, err := a.Deploy.VariableChanges(ctx, f)
	if err != nil {
		return nil, err
	}
	return listOf(list, variableChangeOf), nil
}

func (a *API) undoVariableChange(ctx context.Context, in *struct {
	IDIn
	Body *UndoVariableChange
}) (*answer[VariableChange], error) {
	var revision *string
	if in.Body != nil {
		revision = in.Body.Revision
	}
	c, err := a.Deploy.UndoVariableChange(ctx, in.ID, revision)
	return replyWith(c, variableChangeOf, err)
}

func (a *API) forgetVariables(ctx context.Context, in *struct{ Body ForgetVariables }) (*answer[ForgottenVariables], error) {
	at, err := a.teamScope(ctx, in.Body.Team)
	if err != nil {
		return nil, err
	}
	at.EnvironmentID, at.AppID = in.Body.EnvironmentID, in.Body.AppID
	n, err := a.Deploy.ForgetVariables(ctx, at, in.Body.Name)
	return replyWith(&n, func(n *int64) ForgottenVariables { return ForgottenVariables{*n} }, err)
}

func variableChangeOf(c *models.VariableChange) VariableChange {
	return VariableChange{ID: c.ID, Name: c.Name, Level: c.Level(), EnvironmentID: c.EnvironmentID, AppID: c.AppID, Before: variableStateOf(c.Before), After: variableStateOf(c.After),
		UndoOf: c.UndoOf, CanUndo: c.CanUndo(), ForgottenAt: utc(c.ForgottenAt), By: c.ChangedByName, Revision: c.Now, CreatedAt: c.CreatedAt.UTC()}
}

func variableStateOf(s models.VariableState) *VariableState {
	if !s.Set {
		return nil
	}
	return &VariableState{s.Value, s.Secret, s.Fingerprint}
}
