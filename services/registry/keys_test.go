package registry_test

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/registry"
)

func TestATokenOfTheOldKeyIsGoodUntilItsEndAndThatOfADeletedKeyIsNot(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
		login, admin := f.token(t, f.Viewer, models.ScopeRegistryRead), modelstest.As(t, db, f.Admin)
		list := func(access string) int {
			return f.ask(t, http.MethodGet, "/v2/payments/checkout/tags/list", "", bearer(access)).status
		}
		old := f.access(t, login, "repository:payments/checkout:pull")
		if err := f.registry.RotateKeys(admin, false); err != nil {
			t.Fatal(err)
		}
		fresh := f.access(t, login, "repository:payments/checkout:pull")
		if got := []int{list(old), list(fresh)}; fmt.Sprint(got) != "[200 200]" {
			t.Errorf("after the rotation: %v", got)
		}
		keys, err := f.registry.Keys(admin)
		if err != nil || len(keys) != 2 || keys[0].RetiredAt != nil || keys[1].GoodUntil == nil || keys[1].GoodUntil.Before(time.Now().Add(24*time.Hour)) {
			t.Fatalf("the keys are %+v, %v", keys, err)
		}
		if keyOf(t, old) != keys[1].ID || keyOf(t, fresh) != keys[0].ID {
			t.Error("the new key does not sign")
		}
		past := db.NowFunc().Add(-25 * time.Hour)
		if err := db.Model(&models.SigningKey{}).Where("id = ?", keys[1].ID).Update("retired_at", past).Error; err != nil {
			t.Fatal(err)
		}
		if err := f.registry.RotateOldKeys(t.Context()); err != nil {
			t.Fatal(err)
		}
		if keys, err := f.registry.Keys(admin); err != nil || len(keys) != 1 {
			t.Errorf("after all that it signed has expired: %+v, %v", keys, err)
		}
		if got := []int{list(old), list(fresh)}; fmt.Sprint(got) != "[401 200]" {
			t.Errorf("after the old key was deleted: %v", got)
		}
		if err := f.registry.RotateKeys(admin, true); err != nil {
			t.Fatal(err)
		}
		if list(fresh) != 401 {
			t.Error("a key that may have leaked is still believed")
		}
		if err := f.registry.RotateKeys(modelstest.As(t, db, f.Maintainer), false); !models.IsCode(err, models.Denied) {
			t.Errorf("a maintainer rotates: %v", err)
		}
	})
}

func keyOf(t *testing.T, token string) string {
	t.Helper()
	return header(t, token)["kid"].(string)
}

func TestProcessesAgreeOnTheKeyThatSigns(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db, func(s *registry.Service) { s.KeyFresh = time.Nanosecond })
		first := f.registry
		second := f.process(t, func(s *registry.Service) { s.KeyFresh = time.Nanosecond })
		login := f.token(t, f.Viewer, models.ScopeRegistryRead)
		before := keyOf(t, f.access(t, login, ""))
		old := db.NowFunc().Add(-registry.KeyLife - time.Hour)
		if err := db.Model(&models.SigningKey{}).Where("use = ?", "registry").Update("created_at", old).Error; err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		for _, s := range []*registry.Service{first, second, first, second} {
			both.Go(func() {
				if err := s.RotateOldKeys(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		here := keyOf(t, f.access(t, login, ""))
		f.registry = second
		there := keyOf(t, f.access(t, login, ""))
		if here != there || here == before {
			t.Errorf("one signs with %s, the other with %s, before it was %s", here, there, before)
		}
		var keys int64
		if err := db.Model(&models.SigningKey{}).Where("use = ?", "registry").Count(&keys).Error; err != nil || keys != 2 {
			t.Errorf("there are %d keys, %v", keys, err)
		}
	})
}

func TestACredentialEndsWithTheBuildOrDeploymentThatItWasMadeFor(t *testing.T) {
	t.Parallel()
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		f := serve(t, db)
		f.push(t, "payments/checkout:main", 1, f.writer(t, f.Developer))
		d := &models.Deployment{ID: models.NewID(), TeamID: f.Team.ID, AppID: f.App.ID, EnvironmentID: f.Environment.ID, Number: 1,
			State: models.DeploymentRunning, Action: models.ActionDeploy, CreatedAt: db.NowFunc()}
		if err := db.Create(d).Error; err != nil {
			t.Fatal(err)
		}
		if err := db.Model(f.Build).Update("state", models.BuildRunning).Error; err != nil {
			t.Fatal(err)
		}
		for subject, end := range map[string]func() error{
			"build:" + f.Build.ID: func() error { return db.Model(f.Build).Update("state", models.BuildSucceeded).Error },
			"deployment:" + d.ID:  func() error { return db.Model(d).Update("state", models.DeploymentFailed).Error },
		} {
			ctx := models.WithPrincipal(t.Context(), models.SystemFor(subject, subject))
			_, password, err := f.registry.Credential(ctx, "payments/checkout", []string{registry.Pull}, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			access := f.access(t, password, "repository:payments/checkout:pull,push")
			ask := func() (get, post, sign int) {
				get = f.ask(t, http.MethodGet, "/v2/payments/checkout/manifests/main", "", bearer(access)).status
				post = f.ask(t, http.MethodPost, "/v2/payments/checkout/blobs/uploads/", "", bearer(access)).status
				sign = f.ask(t, http.MethodGet, "/registry/token", "", func(r *http.Request) { r.SetBasicAuth("x", password) }).status
				return get, post, sign
			}
			if get, post, sign := ask(); get != 200 || post != 401 || sign != 200 {
				t.Errorf("%s while it runs: %d %d %d", subject, get, post, sign)
			}
			if err := end(); err != nil {
				t.Fatal(err)
			}
			if get, post, sign := ask(); get != 401 || post != 401 || sign != 401 {
				t.Errorf("%s after its end: %d %d %d", subject, get, post, sign)
			}
		}
		if _, _, err := f.registry.Credential(models.WithPrincipal(t.Context(), models.System("worker")), "payments/checkout", []string{registry.Pull}, 25*time.Hour); err == nil {
			t.Error("a credential outlives the key that signs it")
		}
	})
}
