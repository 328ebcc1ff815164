package views_test

import (
	"time"

	"slipway.dev/models"
	"slipway.dev/views/admin"
	"slipway.dev/views/apps"
	"slipway.dev/views/builds"
	"slipway.dev/views/components"
)

const sampleDockerfile = `FROM golang:1.26 AS builder
WORKDIR /src
ARG NPM_TOKEN
COPY go.mod go.sum ./
RUN go mod download
COPY . .
MAINTAINER payments@acme.example

RUN CGO_ENABLED=0 go build -trimpath \
      -o /out/api ./cmd/api

FROM scratch
COPY --from=builder /out/api /api
`

// buildingSamples are the pages about how apps are built, and on what.
func buildingSamples() []sample {
	failed := sampleBuilds()[3]
	failed.EngineName = "fast"
	file := &models.BuildDockerfile{Path: "Dockerfile", Text: sampleDockerfile, Findings: []models.Finding{
		{Line: 3, Rule: "SecretsUsedInArgOrEnv", Message: `ARG "NPM_TOKEN" looks like a secret. Values of ARG and ENV stay readable in the image's history; use a build secret (RUN --mount=type=secret).`, URL: "https://docs.docker.com/go/dockerfile/rule/secrets-used-in-arg-or-env/"},
		{Line: 7, Rule: "MaintainerDeprecated", Message: "Maintainer instruction is deprecated in favor of using label", URL: "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/"},
	}}
	page := testPage("Split cart totals into their own service")
	page.State, page.Nav, page.Meta = "failed", "builds", builds.Meta(failed)
	set := header()
	set.App.BuildSettings = models.BuildSettings{
		Arguments: []models.BuildArgument{{Name: "VERSION", Value: "1.2"}, {Name: "NPM_TOKEN", Value: "x"}}, Target: "prod", Platforms: []string{"linux/amd64", "linux/arm64"},
		Cache: models.CacheRegistry, Provenance: true, SBOM: true,
	}
	secrets := []models.BuildSecret{
		{ID: "s1", Name: "npm", Kind: models.BuildSecretMount, Fingerprint: "1f2e3d4c5b6a7988", Branches: []string{"main", "release/*"}, UpdatedBy: "Mira Kovač", UpdatedAt: now},
		{ID: "s2", Name: "default", Kind: models.BuildSecretSSH, Fingerprint: "99aabbccddeeff00", Public: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGeneratedForTheSample", UpdatedAt: now.Add(-time.Hour)},
	}
	settings := appPage("settings")
	bad := components.Form{Values: map[string][]string{"arguments": {"no equals sign"}}, Err: models.InvalidField("arguments", "Write each argument as NAME=value; a line has no equals sign.").(*models.Error)}
	engine := models.BuildEngine{ID: "g1", Name: "fast", Address: "tcp://buildkit.acme.example:1234", MaxBuilds: 8, Enabled: true, Version: "buildkitd v0.34.2",
		Platforms: []string{"linux/arm64", "linux/amd64"}, Labels: map[string]string{"org.mobyproject.buildkit.worker.executor": "oci"}, CheckedAt: before(20 * time.Second)}
	lost := models.BuildEngine{ID: "g2", Name: "old", Address: "tcp://old.acme.example:1234", MaxBuilds: 2, Enabled: true, Error: "The build engine old does not answer: nothing listens at its address. When an admin has it running again, retry the build.", CheckedAt: before(time.Minute)}
	local := models.BuildEngine{Name: "Docker Engine on build-1", Address: "unix:///var/run/docker.sock", Enabled: true, Version: "Docker 28.5.2", Platforms: []string{"linux/amd64"}}
	list := testPage("Admin")
	list.Nav, list.Tabs = "admin", admin.Tabs("engines")
	store := testPage("Admin")
	store.Nav, store.Tabs = "admin", admin.Tabs("registry")
	return []sample{
		{"build-findings", builds.Page(page, builds.PageView{Build: failed, File: file, CanBuild: true, Log: components.LogView{ID: "log", Title: "Log", Lines: logLines(), Raw: "/builds/b/log.txt"}})},
		{"build-settings", apps.BuildSettings(settings, apps.BuildSettingsView{Header: set, Stages: []string{"builder", "1"}, Secrets: secrets,
			Curl: settings.Curl("PATCH", "/api/v1/apps/a1", `{"build": {"target": "prod"}}`), SecretCurl: settings.Curl("PUT", "/api/v1/apps/a1/build-secrets/npm", `{"value": "…"}`).For("Set one")})},
		{"build-settings-empty", apps.BuildSettings(settings, apps.BuildSettingsView{Header: header()})},
		{"build-settings-wrong", apps.BuildSettings(settings, apps.BuildSettingsView{Header: header(), Form: bad})},
		{"engines", admin.Engines(list, admin.EnginesView{Engines: []admin.EngineRow{{Engine: engine, Running: 3}, {Engine: lost}, {Engine: local, Fixed: true, Running: 1}}, Curl: settings.Curl("GET", "/api/v1/engines", "")})},
		{"registry-storage", admin.Storage(store, admin.StorageView{Storage: models.RegistryStorage{Bucket: true, Place: "s3://slipway-layers/registry", Blobs: 12345, Bytes: 48_123_456_789, Uploads: 2, UploadBytes: 73_000_000},
			Runs: []models.RegistryCollection{{Running: true, StartedAt: now, Bytes: 1 << 20, Blobs: 2},
				{StartedAt: now.Add(-time.Hour), FinishedAt: &now, Bytes: 3 << 30, Blobs: 41, Uploads: 1},
				{StartedAt: now.Add(-5 * time.Hour), FinishedAt: &now, Error: "The storage of the layers could not be reached. The next run goes on; the worker's log says more."}},
			Next: "?cursor=x", Curl: settings.Curl("POST", "/api/v1/registry/collections", "")})},
		{"registry-storage-empty", admin.Storage(store, admin.StorageView{Storage: models.RegistryStorage{Place: "/var/lib/slipway/registry"}})},
		{"engines-empty", admin.Engines(list, admin.EnginesView{})},
		{"engine", admin.Engine(testPage("fast"), admin.EngineView{EngineRow: admin.EngineRow{Engine: engine, Running: 3}})},
		{"engine-lost", admin.Engine(testPage("old"), admin.EngineView{EngineRow: admin.EngineRow{Engine: lost}})},
		{"engine-new", admin.Engine(testPage("New build engine"), admin.EngineView{EngineRow: admin.EngineRow{Engine: models.BuildEngine{MaxBuilds: 4, Enabled: true}}})},
	}
}
