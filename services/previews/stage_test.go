package previews_test

import (
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
	"slipway.dev/services/previews"
	"slipway.dev/services/visitors"
)

func TestPeopleSetNothingOnAPreviewsEnvironment(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.built(1, "one")
		w.tend()
		e, app, ctx := *w.of(1).EnvironmentID, w.App.ID, w.as["maintainer"]
		visits := &visitors.Service{DB: db, Portal: "portal.example.com", Apps: "localhost"}
		refused := map[string]error{
			"moving it": w.deploy.MoveEnvironment(ctx, e, 0), "deleting it": w.deploy.DeleteEnvironment(ctx, e),
			"no automatic deployments": w.deploy.UnsetAuto(ctx, e, app), "lifting a hold": w.deploy.LiftHold(ctx, e, app),
		}
		_, refused["how it runs"] = w.deploy.SetRuntime(ctx, deploy.RuntimeInput{EnvironmentID: e, AppID: app, Runtime: models.Runtime{Restart: models.RestartNever}})
		_, refused["its scale"] = w.deploy.SetScale(ctx, deploy.ScaleInput{EnvironmentID: e, AppID: app, Scale: models.Scale{Replicas: 1, CPU: 100, Max: 3}})
		_, refused["automatic deployments"] = w.deploy.SetAuto(ctx, deploy.AutoInput{EnvironmentID: e, AppID: app, Branch: "main"})
		_, refused["its protection"] = w.deploy.Protect(ctx, e, models.Protection{Approvals: 1})
		_, refused["a freeze"] = w.deploy.AddFreeze(ctx, e, models.Freeze{Name: "night"})
		_, refused["what promoting to it brings"] = w.deploy.Promotions(ctx, deploy.PromotionFilter{EnvironmentID: e, FromID: w.Environment.ID})
		_, refused["promoting to it"] = w.deploy.Promote(ctx, deploy.PromoteInput{EnvironmentID: e, FromID: w.Environment.ID, Apps: []deploy.PromoteApp{{AppID: app}}})
		_, refused["an address"] = visits.AddAddress(ctx, visitors.AddressInput{EnvironmentID: e, AppID: app, Host: "shop.example.com"})
		_, refused["limits"] = visits.SetLimits(ctx, models.PlaceLimits{EnvironmentID: e, AppID: app, Body: 1 << 20})
		_, _, refused["maintenance"] = visits.StartMaintenance(ctx, visitors.MaintenanceInput{EnvironmentID: e, AppID: app})
		for what, err := range refused {
			wantCode(t, what, err, models.Conflict)
		}
		_, err := w.deploy.Promote(ctx, deploy.PromoteInput{EnvironmentID: w.Environment.ID, FromID: e, Apps: []deploy.PromoteApp{{AppID: app}}})
		wantCode(t, "promoting from it", err, models.Invalid)
		_, err = w.deploy.Protect(ctx, w.Environment.ID, models.Protection{After: e})
		wantCode(t, "a stage that comes after it", err, models.Invalid)
		_, err = visits.AddAddress(ctx, visitors.AddressInput{EnvironmentID: w.Environment.ID, AppID: app, Host: "pr-1-checkout.localhost", Path: "/api"})
		wantCode(t, "a path of its host name", err, models.Invalid)
		var domains int64
		if w.must(db.Model(&models.Domain{}).Count(&domains).Error); domains != 0 {
			t.Errorf("%d domains came of it", domains)
		}
	})
}

func TestAPreviewKeepsNothingAndGetsNothingOfTheHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	wishes := models.Runtime{Recreate: true, HostNetwork: true, Volumes: []models.VolumeMount{{Name: "data", Path: "/data"}}, HostPaths: []models.HostPath{{Source: "/srv", Path: "/srv"}}}
	w.must(w.db.Create(&models.AppRuntime{EnvironmentID: w.Environment.ID, AppID: w.App.ID, Runtime: wishes}).Error)
	w.set(previews.SettingsInput{Enabled: true, TemplateID: w.Environment.ID})
	w.built(1, "one")
	w.tend()
	p := w.of(1)
	if r := p.Deployment.Config.Runtime; len(r.Volumes)+len(r.HostPaths) > 0 || r.HostNetwork || r.Recreate {
		t.Errorf("it takes %+v from its template", r)
	}
	w.must(w.db.Create(&models.AppRuntime{EnvironmentID: *p.EnvironmentID, AppID: w.App.ID, Runtime: wishes}).Error)
	w.built(1, "two")
	w.tend()
	if r := w.of(1).Deployment.Config.Runtime; len(r.Volumes)+len(r.HostPaths) > 0 || r.HostNetwork {
		t.Errorf("it takes %+v of what was written for it", r)
	}
}

func TestPreviewsAreInNoListOfStages(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.works()
	w.set(previews.SettingsInput{Enabled: true, TemplateID: w.Environment.ID})
	w.built(1, "one")
	w.until(1, "ready", func(p *models.Preview) bool { return p.Status() == "ready" })
	ctx := w.as["developer"]
	_, err := w.deploy.SetVariable(ctx, deploy.VariableInput{TeamID: w.Team.ID, Name: "LEVEL", Value: "debug"})
	w.must(err)
	if late, err := w.deploy.NotRolledOut(ctx, deploy.Scope{TeamID: w.Team.ID}); err != nil || len(late) != 0 {
		t.Errorf("not rolled out are %+v, %v", late, err)
	}
	b, err := w.deploy.Board(ctx, deploy.BoardFilter{TeamID: w.Team.ID})
	if err != nil || len(b.Environments) != 1 || b.Environments[0].ID != w.Environment.ID {
		t.Errorf("the board has %+v, %v", b.Environments, err)
	}
	all, err := w.deploy.Environments(ctx, deploy.EnvironmentFilter{TeamID: w.Team.ID})
	if err != nil || len(all) != 1 {
		t.Errorf("the environments are %+v, %v", all, err)
	}
}
