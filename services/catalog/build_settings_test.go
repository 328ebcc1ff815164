package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/catalog"
	"slipway.dev/services/git/gittest"
)

func TestBuildSettingsThatSteerTheEngineOrMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	argument := func(name, value string) models.BuildSettings {
		return models.BuildSettings{Arguments: []models.BuildArgument{{Name: name, Value: value}}}
	}
	for field, tests := range map[string][]models.BuildSettings{
		"arguments": {
			argument("BUILDKIT_SYNTAX", "evil/frontend"), argument("buildkit_cache_mount_ns", "other"), argument("BUILDKIT_SANDBOX_HOSTNAME", "x"),
			argument("-x", ""), argument("a b", ""), argument("", "x"), argument("A=B", "x"), argument("A", "x\ny"), argument("A", strings.Repeat("x", 9<<10)),
			{Arguments: []models.BuildArgument{{Name: "A"}, {Name: "A"}}}, {Arguments: make([]models.BuildArgument, 101)},
		},
		"target":    {{Target: "-x"}, {Target: "a b"}, {Target: "$(touch /tmp/pwn)"}, {Target: strings.Repeat("x", 200)}},
		"platforms": {{Platforms: []string{"windows/amd64"}}, {Platforms: []string{"linux"}}, {Platforms: []string{"linux/amd64", "linux/amd64"}}, {Platforms: []string{"linux/amd64,linux/arm64"}}, {Platforms: make([]string, 9)}},
		"cache":     {{Cache: "s3"}},
	} {
		for _, s := range tests {
			_, err := w.catalog.UpdateApp(w.as["developer"], w.App.ID, catalog.UpdateApp{Build: &s})
			wantField(t, err, field, "")
		}
	}
	good := models.BuildSettings{Arguments: []models.BuildArgument{{Name: "VERSION", Value: "1.2 $(x) \"y\""}}, Target: "prod", Platforms: []string{"linux/amd64", "linux/arm/v7"}, Cache: models.CacheRegistry, Provenance: true, SBOM: true}
	app, err := w.catalog.UpdateApp(w.as["developer"], w.App.ID, catalog.UpdateApp{Build: &good})
	if err != nil || app.BuildSettings.Arguments[0] != good.Arguments[0] || len(app.BuildSettings.Platforms) != 2 || !app.BuildSettings.SBOM {
		t.Errorf("the settings are %+v, error %v", app.BuildSettings, err)
	}
	port := 9090
	if app, err = w.catalog.UpdateApp(w.as["developer"], w.App.ID, catalog.UpdateApp{Port: &port}); err != nil || app.BuildSettings.Target != "prod" {
		t.Errorf("a change of something else left %+v, error %v", app.BuildSettings, err)
	}
}

func TestArgumentsThatAreNamedLikeSecretsAreWarnedOf(t *testing.T) {
	t.Parallel()
	for name, secret := range map[string]bool{
		"NPM_TOKEN": true, "DB_PASSWORD": true, "APIKEY": true, "AWS_SECRET_ACCESS_KEY": true, "token": true,
		"VERSION": false, "PUBLIC_KEY": false, "KEYBOARD": false, "AUTHOR": false,
	} {
		s := models.BuildSettings{Arguments: []models.BuildArgument{{Name: name, Value: "x"}}}
		if warned := len(s.Warnings()) > 0; warned != secret {
			t.Errorf("%s is warned of: %v", name, warned)
		}
	}
}

func TestTheStagesOfADockerfileAreOffered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	repo := gittest.New(t).Repository(t, "stages.git", gittest.Files{"Dockerfile": "FROM scratch AS build\nFROM scratch\nFROM build AS prod\n"})
	r := w.settled(t, w.register(t, catalog.NewRepository{Name: "stages", CloneURL: repo.URL}).ID)
	app, err := w.catalog.CreateApp(w.as["developer"], catalog.NewApp{RepositoryID: r.ID, Name: "stages"})
	if err != nil {
		t.Fatal(err)
	}
	if names, err := w.catalog.Stages(w.as["viewer"], app.ID); err != nil || !slices.Equal(names, []string{"build", "1", "prod"}) {
		t.Errorf("the stages are %q, error %v", names, err)
	}
	if names, err := w.catalog.Stages(w.as["viewer"], w.App.ID); err != nil || len(names) != 0 {
		t.Errorf("those of a repository that was never fetched are %q, error %v", names, err)
	}
	_, err = w.catalog.Stages(w.as["stranger"], app.ID)
	wantCode(t, "a stranger", err, models.NotFound)
}
