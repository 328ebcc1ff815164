package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"slipway.dev/migrations"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/secrets/secretstest"
)

// cabinet is variables without anything that runs.
type cabinet struct {
	*modelstest.World
	t       *testing.T
	db      *models.Database
	service *deploy.Service
	ctx     context.Context // acts for the developer
}

func newCabinet(t *testing.T, db *models.Database) *cabinet {
	t.Helper()
	c := &cabinet{World: modelstest.Seed(t, db), t: t, db: db, service: &deploy.Service{DB: db, Box: secretstest.Box()}}
	c.ctx = modelstest.As(t, db, c.Developer)
	return c
}

func (c *cabinet) team() deploy.Scope        { return deploy.Scope{TeamID: c.Team.ID} }
func (c *cabinet) environment() deploy.Scope { return deploy.Scope{EnvironmentID: c.Environment.ID} }
func (c *cabinet) app() deploy.Scope {
	return deploy.Scope{EnvironmentID: c.Environment.ID, AppID: c.App.ID}
}

func variable(at deploy.Scope, name, value string) deploy.VariableInput {
	return deploy.VariableInput{TeamID: at.TeamID, EnvironmentID: at.EnvironmentID, AppID: at.AppID, Name: name, Value: value}
}

func (c *cabinet) set(at deploy.Scope, name, value string) *models.Variable {
	c.t.Helper()
	v, err := c.service.SetVariable(c.ctx, variable(at, name, value))
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

func (c *cabinet) keep(at deploy.Scope, name, value string) *models.Variable {
	c.t.Helper()
	in := variable(at, name, value)
	in.Secret = true
	v, err := c.service.SetVariable(c.ctx, in)
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

// counts is what counts there: name → value or fingerprint, level and what it overrides.
func (c *cabinet) counts(at deploy.Scope) map[string]string {
	c.t.Helper()
	list, err := c.service.Settings(c.ctx, deploy.SettingFilter{Scope: at})
	if err != nil {
		c.t.Fatal(err)
	}
	out := map[string]string{}
	for _, x := range list.Items {
		text := x.Value + x.Fingerprint + " " + string(x.Level())
		for _, o := range x.Overrides {
			text += " over " + string(o.Level())
		}
		out[x.Name] = text
		if len(x.Sealed) > 0 {
			c.t.Errorf("%s came with its sealed value", x.Name)
		}
	}
	return out
}

// changes are the changes there, newest first.
func (c *cabinet) changes(at deploy.Scope, name string) []models.VariableChange {
	c.t.Helper()
	list, err := c.service.VariableChanges(c.ctx, deploy.ChangeFilter{Scope: at, Name: name, Page: models.Page{Limit: 100}})
	if err != nil {
		c.t.Fatal(err)
	}
	return list.Items
}

func (c *cabinet) undo(id string) error {
	_, err := c.service.UndoVariableChange(c.ctx, id, nil)
	return err
}

// audited counts the entries of the action.
func (c *cabinet) audited(action string) (n int64) {
	c.t.Helper()
	if err := c.db.Model(&models.AuditEntry{}).Where("action = ?", action).Count(&n).Error; err != nil {
		c.t.Fatal(err)
	}
	return n
}

func TestAnAppGetsTheNearestValueAndOneSeesWhereItComesFrom(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		c := newCabinet(t, db)
		c.set(c.team(), "REGION", "eu")
		c.set(c.team(), "LEVEL", "info")
		c.set(c.environment(), "LEVEL", "warn")
		c.set(c.app(), "LEVEL", "debug")
		c.set(c.environment(), "ONLY", "here")
		shared := c.keep(c.team(), "TOKEN", "s3cret")
		if got := c.counts(c.app()); got["LEVEL"] != "debug app over environment over team" || got["REGION"] != "eu team" || got["ONLY"] != "here environment" {
			t.Errorf("the app gets %v", got)
		}
		if got := c.counts(c.environment()); got["LEVEL"] != "warn environment over team" || len(got) != 4 {
			t.Errorf("every app gets %v", got)
		}
		if got := c.counts(c.team()); got["LEVEL"] != "info team" || len(got) != 3 {
			t.Errorf("the team has %v", got)
		}
		inherited := c.counts(c.app())["TOKEN"]
		if strings.HasPrefix(inherited, shared.Fingerprint) {
			t.Error("the fingerprint tells that another environment has the same secret")
		}
		own := c.keep(c.environment(), "TOKEN", "s3cret")
		if now := c.counts(c.app())["TOKEN"]; !strings.HasPrefix(now, own.Fingerprint) || !strings.HasPrefix(inherited, own.Fingerprint) {
			t.Errorf("the same secret at another level is %s after %s", now, inherited)
		}
		first, err := c.service.Settings(c.ctx, deploy.SettingFilter{Scope: c.app(), Page: models.Page{Limit: 2}})
		if err != nil || len(first.Items) != 2 || first.Next != "ONLY" {
			t.Fatalf("the first page is %+v (%v)", first, err)
		}
		rest, err := c.service.Settings(c.ctx, deploy.SettingFilter{Scope: c.app(), Page: models.Page{Cursor: first.Next, Limit: 2}, Query: "tok"})
		if err != nil || len(rest.Items) != 1 || rest.Items[0].Name != "TOKEN" || rest.Next != "" {
			t.Errorf("the rest is %+v (%v)", rest, err)
		}
		var seen []string
		for f := (deploy.VariableFilter{Scope: c.environment(), Page: models.Page{Limit: 2}}); ; {
			list, err := c.service.Variables(c.ctx, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range list.Items {
				seen = append(seen, v.Name)
			}
			if f.Cursor = list.Next; f.Cursor == "" {
				break
			}
		}
		if fmt.Sprint(seen) != "[LEVEL ONLY TOKEN LEVEL]" {
			t.Errorf("the environment's own are %v", seen)
		}
	})
}

func TestWhatIsNotRolledOutIsKnownUntilItIs(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		c := newCabinet(t, db)
		runs := c.runs(models.DeploymentConfig{Variables: map[string]string{"LEVEL": "info", "OLD": "1"}, Secrets: map[string]string{}})
		c.set(c.team(), "LEVEL", "info")
		c.set(c.environment(), "OLD", "1")
		if late, err := c.service.NotRolledOut(c.ctx, c.team()); err != nil || len(late) != 0 {
			t.Fatalf("what runs is as it is set, and yet %+v (%v)", late, err)
		}
		level := c.set(c.team(), "LEVEL", "debug")
		token := c.keep(c.app(), "TOKEN", "x")
		old, err := c.service.Variable(c.ctx, c.environment(), "OLD")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.service.DeleteVariable(c.ctx, c.environment(), old.ID, &old.Revision); err != nil {
			t.Fatal(err)
		}
		for _, at := range []deploy.Scope{c.team(), c.environment(), c.app()} {
			late, err := c.service.NotRolledOut(c.ctx, at)
			if err != nil || len(late) != 1 {
				t.Fatalf("in %+v: %+v (%v)", at, late, err)
			}
			got := late[0]
			if fmt.Sprint(got.Variables) != "[{LEVEL changed } {OLD removed }]" || fmt.Sprint(got.Secrets) != "[{TOKEN added }]" {
				t.Errorf("in %+v: %v and %v", at, got.Variables, got.Secrets)
			}
			if got.SetBy["LEVEL"] != level.ID || got.SetBy["TOKEN"] != token.ID || got.SetBy["OLD"] != "" || got.Deployment.App == nil || got.Deployment.SealedSecrets != nil {
				t.Errorf("in %+v: %+v", at, got)
			}
		}
		if err := db.Model(runs).Update("stopped", true).Error; err != nil {
			t.Fatal(err)
		}
		if late, err := c.service.NotRolledOut(c.ctx, c.environment()); err != nil || len(late) != 0 {
			t.Errorf("an app that is stopped: %+v (%v)", late, err)
		}
	})
}

// runs records that the app runs with the configuration.
func (c *cabinet) runs(config models.DeploymentConfig) *models.Deployment {
	c.t.Helper()
	d := &models.Deployment{ID: models.NewID(), TeamID: c.Team.ID, AppID: c.App.ID, EnvironmentID: c.Environment.ID, Number: 90, State: models.DeploymentSucceeded, Active: true,
		ImageDigest: "sha256:" + strings.Repeat("1", 64), Action: models.ActionDeploy, Config: config, CreatedAt: c.db.NowFunc()}
	if err := c.db.Create(d).Error; err != nil {
		c.t.Fatal(err)
	}
	return d
}

func TestThePlanSaysWhereAValueComesFrom(t *testing.T) {
	t.Parallel()
	s := newStage(t, modelstest.DB(t))
	s.built(2, "VERSION=1")
	for _, in := range []deploy.VariableInput{{TeamID: s.Team.ID, Name: "REGION", Value: "eu"}, {EnvironmentID: s.Environment.ID, Name: "LEVEL", Value: "1"},
		{EnvironmentID: s.Environment.ID, AppID: s.App.ID, Name: "KEY", Value: "k", Secret: true}} {
		if _, err := s.service.SetVariable(s.ctx, in); err != nil {
			t.Fatal(err)
		}
	}
	plan, err := s.service.Plan(s.ctx, deploy.Input{EnvironmentID: s.Environment.ID, AppID: s.App.ID})
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(plan.Variables, plan.Secrets) != "[{LEVEL added environment} {REGION added team}] [{KEY added app}]" {
		t.Errorf("the plan says %v and %v", plan.Variables, plan.Secrets)
	}
}

func TestEveryChangeIsKnownAndCanBeTakenBack(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		c := newCabinet(t, db)
		for _, at := range []deploy.Scope{c.team(), c.environment(), c.app()} {
			c.set(at, "LEVEL", "info")
			c.set(at, "LEVEL", "info") // nothing new
			c.set(at, "LEVEL", "debug")
			v := c.keep(at, "KEY", "canary-one")
			c.keep(at, "KEY", "canary-two")
			if _, err := c.service.DeleteVariable(c.ctx, at, v.ID, nil); err != nil {
				t.Fatal(err)
			}
			level, key := c.changes(at, "LEVEL"), c.changes(at, "KEY")
			if at.AppID == "" && at.EnvironmentID != "" { // an environment's history has that of its apps
				level, key = level[:2], key[:3]
			}
			if len(level) != 2 || level[0].Before.Value != "info" || level[0].After.Value != "debug" || level[0].ChangedByName != c.Developer.Name || level[0].Now != level[0].ID || level[1].Before.Set {
				t.Fatalf("the changes are %+v", level)
			}
			if len(key) != 3 || key[0].After.Set || key[0].Now != "" || !key[0].Before.Secret || key[0].Before.Value != "" || key[0].Before.Fingerprint == key[1].Before.Fingerprint || key[0].Sealed != nil {
				t.Fatalf("the changes of the secret are %+v", key)
			}
			if err := errors.Join(c.undo(key[0].ID), c.undo(level[0].ID)); err != nil {
				t.Fatal(err)
			}
			if got := c.counts(at); !strings.HasPrefix(got["KEY"], key[1].After.Fingerprint) && at.EnvironmentID != "" || !strings.HasPrefix(got["LEVEL"], "info") {
				t.Errorf("put back it is %v", got)
			}
			if got := c.opened(at, "KEY"); got != "canary-two" {
				t.Errorf("the secret that was put back is %q", got)
			}
			if err := c.undo(key[1].ID); err != nil { // an older one: the value before it
				t.Fatal(err)
			}
			if got := c.opened(at, "KEY"); got != "canary-one" {
				t.Errorf("the older secret is %q", got)
			}
			back := c.changes(at, "KEY")[0]
			if back.UndoOf == nil || *back.UndoOf != key[1].ID {
				t.Errorf("the undo is %+v", back)
			}
			if err := c.undo(back.ID); err != nil || c.opened(at, "KEY") != "canary-two" {
				t.Errorf("an undo taken back gives %q (%v)", c.opened(at, "KEY"), err)
			}
			if err := c.undo(level[1].ID); err != nil { // it was made: it goes
				t.Fatal(err)
			}
			if err := c.undo(level[1].ID); !models.IsCode(err, models.Conflict) {
				t.Errorf("what is gone already: %v", err)
			}
			if got := c.counts(at)["LEVEL"]; strings.HasSuffix(got, c.levelOf(at)) {
				t.Errorf("what was made is still %q", got)
			}
		}
		if set, gone := c.audited("secret.set"), c.audited("secret.delete"); set != 15 || gone != 3 {
			t.Errorf("the audit log has %d and %d", set, gone)
		}
		c.nowhere("canary-")
	})
}

func (c *cabinet) levelOf(at deploy.Scope) string {
	v := models.Variable{EnvironmentID: at.EnvironmentID, AppID: at.AppID}
	return string(v.Level())
}

// opened is the secret's value, as a deployment gets it.
func (c *cabinet) opened(at deploy.Scope, name string) string {
	c.t.Helper()
	v, err := c.service.Variable(c.ctx, at, name)
	if err != nil {
		c.t.Fatal(err)
	}
	if err := c.db.First(v, "id = ?", v.ID).Error; err != nil {
		c.t.Fatal(err)
	}
	plain, err := c.service.Box.Open("variables/"+v.ID, v.Sealed)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(plain)
}

// nowhere fails where the text is stored in the open.
func (c *cabinet) nowhere(secret string) {
	c.t.Helper()
	for _, rows := range []any{&[]models.Variable{}, &[]models.VariableChange{}, &[]models.AuditEntry{}, &[]models.Event{}} {
		if err := c.db.Find(rows).Error; err != nil {
			c.t.Fatal(err)
		}
		if strings.Contains(fmt.Sprintf("%+v", rows), secret) {
			c.t.Errorf("%T holds the secret in the open", rows)
		}
	}
}

func TestWhatBecomesASecretLeavesTheHistory(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		c := newCabinet(t, db)
		c.set(c.environment(), "KEY", "canary-one")
		c.set(c.environment(), "KEY", "canary-two")
		c.keep(c.environment(), "KEY", "canary-two")
		c.nowhere("canary-")
		all := c.changes(c.environment(), "KEY")
		if len(all) != 3 || !all[0].Before.Secret || !all[1].Before.Secret || all[1].Before.Fingerprint == all[1].After.Fingerprint {
			t.Fatalf("the changes are %+v", all)
		}
		if err := c.undo(all[1].ID); err != nil || c.opened(c.environment(), "KEY") != "canary-one" {
			t.Errorf("put back: %v", err)
		}
		v, err := c.service.Variable(c.ctx, c.environment(), "KEY")
		if err != nil || !v.Secret {
			t.Errorf("it came back as %+v (%v)", v, err)
		}
		c.set(c.team(), "OTHER", "canary-three")
		other, err := c.service.Variable(c.ctx, c.team(), "OTHER")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.service.DeleteVariable(c.ctx, c.team(), other.ID, nil); err != nil {
			t.Fatal(err)
		}
		c.keep(c.team(), "OTHER", "canary-three") // after it was gone
		c.nowhere("canary-")
	})
}

func TestFormerValuesAreKeptForAWhileAndForgottenWhereAPersonSaysSo(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		c := newCabinet(t, db)
		for n := range 23 {
			c.set(c.team(), "N", fmt.Sprint("value-", n))
		}
		all := c.changes(c.team(), "N")
		if len(all) != 23 || all[19].ForgottenAt != nil || all[20].ForgottenAt == nil || all[20].Before.Value != "" || !all[19].CanUndo() || all[20].CanUndo() {
			t.Fatalf("of %d changes the 20th is %+v, the 21st %+v", len(all), all[19], all[20])
		}
		if err := c.undo(all[20].ID); !models.IsCode(err, models.Conflict) || !strings.Contains(err.Error(), "forgotten") {
			t.Errorf("what was forgotten: %v", err)
		}
		c.keep(c.environment(), "KEY", "one")
		c.keep(c.environment(), "KEY", "two")
		c.keep(c.app(), "KEY", "three")
		c.keep(c.app(), "KEY", "four")
		if _, err := c.service.ForgetVariables(c.ctx, c.environment(), ""); !models.IsCode(err, models.Denied) {
			t.Errorf("a developer forgets: %v", err)
		}
		maintainer := modelstest.As(t, db, c.Maintainer)
		if n, err := c.service.ForgetVariables(maintainer, c.app(), "KEY"); err != nil || n != 2 {
			t.Fatalf("forgot %d (%v)", n, err)
		}
		sealed := func() (n int64) {
			if err := db.Model(&models.VariableChange{}).Where("sealed IS NOT NULL").Count(&n).Error; err != nil {
				t.Fatal(err)
			}
			return n
		}
		if sealed() != 1 {
			t.Errorf("%d former secrets are left, want the environment's", sealed())
		}
		if n, err := c.service.ForgetVariables(maintainer, c.environment(), ""); err != nil || n != 2 || sealed() != 0 {
			t.Errorf("forgot %d (%v), %d are left", n, err, sealed())
		}
		if got := c.opened(c.app(), "KEY"); got != "four" || c.audited("variable.forget") != 2 {
			t.Errorf("the secret itself is %q", got)
		}

		month := func(n int) { // of age
			old := db.NowFunc().AddDate(0, -n, 0)
			if err := db.Model(&models.VariableChange{}).Where("1 = 1").UpdateColumn("created_at", old).Error; err != nil {
				t.Fatal(err)
			}
			if err := c.service.PruneVariableChanges(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		month(2)
		if all := c.changes(c.team(), "N"); !all[0].CanUndo() {
			t.Error("after two months the former value is gone")
		}
		month(4)
		if all := c.changes(c.team(), "N"); len(all) != 23 || all[0].CanUndo() {
			t.Error("after four months the former value is kept")
		}
		month(15)
		if all := c.changes(c.team(), "N"); len(all) != 0 || !strings.HasPrefix(c.counts(c.team())["N"], "value-22") {
			t.Errorf("after more than a year %d changes are left", len(all))
		}
	})
}

func TestTwoPeopleDoNotOverwriteEachOther(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		c := newCabinet(t, db)
		none, in := "", variable(c.environment(), "LEVEL", "1")
		in.Revision = &none
		first, err := c.service.SetVariable(c.ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.service.SetVariable(c.ctx, variable(c.environment(), "LEVEL", "2")); err != nil {
			t.Fatal(err)
		}
		for what, in := range map[string]deploy.VariableInput{"made twice": in, "changed twice": {EnvironmentID: c.Environment.ID, Name: "LEVEL", Value: "3", Revision: &first.Revision},
			"gone meanwhile": {EnvironmentID: c.Environment.ID, Name: "GONE", Value: "3", Revision: &first.Revision}} {
			if _, err := c.service.SetVariable(c.ctx, in); !models.IsCode(err, models.Conflict) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if _, err := c.service.DeleteVariable(c.ctx, c.environment(), first.ID, &first.Revision); !models.IsCode(err, models.Conflict) {
			t.Errorf("deleting what was changed: %v", err)
		}
		now, err := c.service.Variable(c.ctx, c.environment(), "LEVEL")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.service.UndoVariableChange(c.ctx, c.changes(c.environment(), "LEVEL")[0].ID, &first.Revision); !models.IsCode(err, models.Conflict) {
			t.Errorf("putting back over what was changed: %v", err)
		}
		var group sync.WaitGroup
		errs := make([]error, 6)
		for n := range errs {
			group.Go(func() {
				_, errs[n] = c.service.SetVariable(c.ctx, deploy.VariableInput{EnvironmentID: c.Environment.ID, Name: "LEVEL", Value: fmt.Sprint("at once ", n), Revision: &now.Revision})
			})
		}
		group.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !models.IsCode(err, models.Conflict) {
				t.Error(err)
			}
		}
		if won != 1 || len(c.changes(c.environment(), "LEVEL")) != 3 {
			t.Errorf("%d of %d at once have won", won, len(errs))
		}
	})
}

func TestALevelHoldsSoManyVariablesAndSoMuchOfThem(t *testing.T) {
	t.Parallel()
	c := newCabinet(t, modelstest.DB(t))
	var text strings.Builder
	for n := range 300 {
		fmt.Fprintf(&text, "N%d=1\n", n)
	}
	for _, at := range []deploy.Scope{c.team(), c.environment(), c.app()} {
		if _, err := c.service.ImportVariables(c.ctx, deploy.ImportInput{Scope: at, Text: text.String()}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.service.SetVariable(c.ctx, variable(at, "MORE", "1")); !models.IsCode(err, models.Conflict) {
			t.Errorf("one more: %v", err)
		}
		for n := range 8 {
			_, err := c.service.SetVariable(c.ctx, variable(at, fmt.Sprint("N", n), strings.Repeat("x", 32<<10)))
			if wrong := new(models.Error); (n == 7) != (errors.As(err, &wrong) && wrong.Fields["value"] != "") {
				t.Errorf("the %d. large one: %v", n+1, err)
			}
		}
	}
	for field, in := range map[string]deploy.VariableInput{
		"name": variable(c.environment(), "1X", "1"), "value": variable(c.environment(), "X", strings.Repeat("x", 32<<10+1)), "app_id": variable(deploy.Scope{TeamID: c.Team.ID, AppID: c.App.ID}, "X", "1"),
	} {
		_, err := c.service.SetVariable(c.ctx, in)
		if wrong := new(models.Error); !errors.As(err, &wrong) || wrong.Fields[field] == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
	for _, value := range []string{"\xff\xfe", "a\x00b"} { // a deployment could not freeze it as it is
		in := variable(c.environment(), "X", value)
		for _, in.Secret = range []bool{false, true} {
			if _, err := c.service.SetVariable(c.ctx, in); !models.IsCode(err, models.Invalid) {
				t.Errorf("%q: %v", value, err)
			}
		}
	}
	for _, name := range []string{"", "A-B", "PORT", "SLIPWAY_X", strings.Repeat("x", 129)} {
		if _, err := c.service.SetVariable(c.ctx, variable(c.environment(), name, "1")); !models.IsCode(err, models.Invalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestVariablesOfBeforeKeepTheirValuesWhenTheDatabaseIsUpgraded(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		c := newCabinet(t, db)
		c.set(c.environment(), "LEVEL", "info")
		key := c.keep(c.app(), "KEY", "s3cret")
		c.set(c.team(), "REGION", "eu")
		p, err := migrations.New(db.SQL, db.Dialect())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.DownTo(t.Context(), 26); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := c.counts(c.app())
		if len(got) != 2 || got["LEVEL"] != "info environment" || got["KEY"] != key.Fingerprint+" app" || c.opened(c.app(), "KEY") != "s3cret" {
			t.Errorf("after the upgrade it is %v", got)
		}
		v, err := c.service.Variable(c.ctx, c.environment(), "LEVEL")
		if err != nil || v.Revision == "" || v.TeamID != c.Team.ID || v.Size != 4 {
			t.Errorf("it is %+v (%v)", v, err)
		}
	})
}
