package views_test

import (
	"time"

	"slipway.dev/models"
	"slipway.dev/views/admin"
	"slipway.dev/views/apps"
	"slipway.dev/views/components"
	"slipway.dev/views/teams"
)

// registrySamples are the pages about external registries.
func registrySamples() []sample {
	good := models.Registry{ID: "r1", Name: "GitHub", Kind: "ghcr", Host: "ghcr.io", Settings: map[string]string{"username": "acme-bot"}, CheckRepository: "acme/shop", CheckedAt: before(3 * time.Minute),
		Checks: []models.RegistryCheck{
			{Step: "reach", Result: models.CheckPassed, Message: "ghcr.io answers over TLS and is a registry."},
			{Step: "login", Result: models.CheckPassed, Message: "The registry takes the credential."},
			{Step: "pull", Result: models.CheckPassed, Message: "Images of acme/shop can be pulled."},
			{Step: "push", Result: models.CheckFailed, Message: "The credential may not push to acme/shop: 403 Forbidden.", Help: "Give it the right to push. A classic personal access token with read:packages to pull, and write:packages to push."},
		},
		Grants: []models.RegistryGrant{
			{RegistryID: "r1", TeamID: "t1", Prefix: "acme", Access: models.RegistryPush, Team: &models.Team{ID: "t1", Name: "Payments", Slug: "payments"}},
			{RegistryID: "r1", TeamID: "t2", Access: models.RegistryPull, Team: &models.Team{ID: "t2", Name: "Search", Slug: "search"}},
		}}
	hub := models.Registry{ID: "r2", Name: "Docker Hub", Kind: "dockerhub", Host: "docker.io", AllTeams: models.RegistryPull, CheckedAt: before(time.Hour),
		Checks: []models.RegistryCheck{{Step: "reach", Result: models.CheckPassed, Message: "docker.io answers over TLS and is a registry. Its logins come from auth.docker.io."}, {Step: "login", Result: models.CheckNotTried, Message: "There is no credential: the registry is used as anybody may."}}}
	kind := admin.RegistryKind{Name: "ghcr", Title: "GitHub Container Registry", Host: "ghcr.io"}
	fields := []admin.RegistryField{{Name: "username", Label: "User name", Example: "octocat", Help: "Of the account that the token belongs to."}, {Name: "password", Label: "Token", Secret: true, Help: "Such as ghp_…."}}
	help := "A classic personal access token with read:packages to pull, and write:packages to push. Leave both empty for public images."
	list := testPage("Admin")
	list.Nav, list.Tabs = "admin", admin.Tabs("registries")
	all := []models.Team{{ID: "t1", Name: "Payments", Slug: "payments"}, {ID: "t2", Name: "Search", Slug: "search"}}
	wrong := components.Form{Values: map[string][]string{"host": {"registry.gitlab.com"}}, Err: models.InvalidField("realm", "registry.gitlab.com gets its logins from another host, gitlab.com. The credential will be sent there: enter that host here if it belongs to the registry.").(*models.Error)}
	outside := header()
	outside.App.RegistryID, outside.App.ImageRepository, outside.App.Registry = "r1", "acme/shop", &good
	team := teams.Header{Team: all[0]}
	curl := list.Curl("GET", "/api/v1/registries", "")
	return []sample{
		{"registries", admin.Registries(list, admin.RegistriesView{Registries: []models.Registry{good, hub, {ID: "r3", Name: "New", Kind: "generic", Host: "registry.acme.example:5000"}}, Curl: curl})},
		{"registries-empty", admin.Registries(list, admin.RegistriesView{})},
		{"registry-kinds", admin.RegistryKinds(testPage("Connect a registry"), admin.RegistryKindsView{Kinds: []admin.RegistryKind{kind, {Name: "harbor", Title: "Harbor", Host: "harbor.example.com"}}})},
		{"registry", admin.Registry(testPage("GitHub"), admin.RegistryView{Registry: good, Kind: kind, KindHelp: help, Fields: fields, Teams: all, Curl: curl, GrantCurl: curl,
			Uses: []admin.RegistryUse{{AppID: "a1", App: "shop", Team: "payments", Repository: "acme/shop"}}})},
		{"registry-new", admin.Registry(testPage("Connect a registry"), admin.RegistryView{Registry: models.Registry{Kind: "gar"}, Kind: admin.RegistryKind{Name: "gar", Title: "Google Artifact Registry"}, KindHelp: help, Example: "europe-west3-docker.pkg.dev",
			Fields: []admin.RegistryField{{Name: "key", Label: "Service account key", Secret: true, Long: true, Help: "The JSON file's text."}, {Name: "default_credentials", Label: "Use the machine's own credentials", Switch: true, Help: "Instead of a key."}}})},
		{"registry-wrong", admin.Registry(testPage("Connect a registry"), admin.RegistryView{Registry: models.Registry{Kind: "generic"}, Kind: admin.RegistryKind{Name: "generic", Title: "Any OCI registry"}, KindHelp: help, Fields: fields, Form: wrong})},
		{"team-registries", teams.Registries(team.Frame(testPage("Payments"), "registries"), teams.RegistriesView{Header: team, Curl: curl,
			Registries: []teams.GrantedRegistry{{Registry: good, Access: good.Grants[:1]}, {Registry: hub, Access: []models.RegistryGrant{{Access: models.RegistryPull}}}}})},
		{"team-registries-empty", teams.Registries(team.Frame(testPage("Payments"), "registries"), teams.RegistriesView{Header: team, Curl: curl})},
		{"build-settings-outside", apps.BuildSettings(appPage("settings"), apps.BuildSettingsView{Header: outside, Embedded: "slipway.acme.example/payments/checkout", Registries: []models.Registry{good}})},
	}
}
