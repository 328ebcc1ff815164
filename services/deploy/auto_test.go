package deploy_test

import (
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/deploy"
)

func TestAnotherBranchIsDeployedFromItsNextBuildOn(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		p := newPipeline(t, db)
		developer := modelstest.As(t, db, p.Developer)
		set := func(branch string) *models.AutoDeploy {
			t.Helper()
			row, err := p.service.SetAuto(developer, deploy.AutoInput{EnvironmentID: p.stages[0].ID, AppID: p.App.ID, Branch: branch})
			if err != nil {
				t.Fatal(err)
			}
			return row
		}
		first := set("main")
		b := p.build(p.App, "aa")
		if same := set("main"); same.BuildNumber != first.BuildNumber || !same.SeenAt.Equal(first.SeenAt) {
			t.Errorf("set to what it was already it has seen %+v", same)
		}
		if other := set("release/**"); other.BuildNumber != b.Number || other.Branch != "release/**" {
			t.Errorf("of another branch it is %+v", other)
		}
	})
}
