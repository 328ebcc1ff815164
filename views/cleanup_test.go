package views_test

import (
	"strings"
	"testing"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/admin"
	"slipway.dev/views/cleanup"
	"slipway.dev/views/components"
	pictures "slipway.dev/views/images"
	"slipway.dev/views/layout"
	"slipway.dev/views/teams"
)

const shopImages = "payments/checkout-api"

var cleanUpPolicy = models.EffectivePolicy{Set: true, RetentionPolicy: models.RetentionPolicy{
	TeamID: "t1", Repository: shopImages, Enabled: true, MinAgeDays: 1, Rollbacks: 10, UpdatedByName: "Mira Kovač", UpdatedAt: now,
	Rules: []models.RetentionRule{{Tags: []string{"main", "v*"}, Last: 20}, {Tags: []string{"pr-*"}, Days: 14}, {Untagged: true, Days: 7}},
}}

// cleanUpSamples are the pages that keep the registry small.
func cleanUpSamples() []sample {
	p := testPage(shopImages)
	p.Nav, p.Tabs, p.Crumbs = "images", pictures.RepositoryTabs(models.ImageRepository{Name: shopImages}, "clean-up"), []layout.Link{{Label: "Images", Href: "/images"}}
	curl := []components.CurlExample{p.Curl("GET", "/api/v1/retention-preview?repository=payments%2Fcheckout-api", "").For("Preview")}
	repository := cleanup.RepositoryView{Name: shopImages, Preview: cleanUpPreview(), CanRun: true, Next: "/images/clean-up?cursor=x", Curl: curl,
		Runs: []models.RetentionRun{
			{ID: "run2", Repository: shopImages, State: models.RetentionRunning, Planned: 412, Deleted: 200, CreatedAt: now.Add(-time.Minute), StartedByName: "Mira Kovač"},
			{ID: "run1", Repository: shopImages, State: models.RetentionSucceeded, Planned: 12, Deleted: 11, Tags: 14, Spared: 1, CreatedAt: now.Add(-26 * time.Hour), FinishedAt: before(26 * time.Hour)},
		},
		Policy: cleanup.PolicyForm{Action: "/images/clean-up", Repository: shopImages, Policy: cleanUpPolicy, CanEdit: true}}
	none := cleanup.RepositoryView{Name: shopImages, Policy: cleanup.PolicyForm{Repository: shopImages}, Preview: models.RetentionPreview{Repository: shopImages}, Curl: curl}
	run := testPage("Clean-up")
	run.Nav, run.State = "images", "succeeded"
	runView := cleanup.RunView{Run: repository.Runs[1], Curl: curl[0], Items: []models.RetentionItem{
		{Digest: aDigest("a"), Tags: []string{"pr-41", "build-311"}, Outcome: models.OutcomeDeleted},
		{Digest: aDigest("b"), Tags: []string{}, Outcome: models.OutcomeSpared, Reason: "checkout-api runs it in staging"},
	}}
	return append([]sample{
		{"clean-up", cleanup.Repository(p, repository)},
		{"clean-up-none", cleanup.Repository(p, none)},
		{"clean-up-run", cleanup.Run(run, runView)},
	}, deletionSamples()...)
}

func deletionSamples() []sample {
	p := testPage(shopImages)
	p.Nav, p.Tabs, p.Notice, p.Undo = "images", pictures.RepositoryTabs(models.ImageRepository{Name: shopImages}, "deleted"), "Deleted "+shopImages+":v1.2", "/images/deleted/d1/restore"
	v := cleanup.DeletedView{Repository: shopImages, CanEdit: true, Next: "/images/deleted?cursor=x", Curl: []components.CurlExample{p.Curl("GET", "/api/v1/deleted-images?repository=x", "")},
		Items: []models.RegistryDeletion{
			{ID: "d1", Repository: shopImages, Kind: models.DeletionTag, Name: "v1.2", Digest: aDigest("a"), Tags: 1, DeletedByName: "Mira Kovač", DeletedAt: now.Add(-time.Minute), ExpiresAt: now.Add(7 * 24 * time.Hour)},
			{ID: "d2", Repository: shopImages, Kind: models.DeletionImage, Digest: aDigest("b"), Manifests: 4, Tags: 2, Size: 84_200_000, RunID: "run1", DeletedAt: now.Add(-26 * time.Hour), ExpiresAt: now.Add(6 * 24 * time.Hour)},
		}}
	ask := testPage("Delete the image 9f86d081884c?")
	ask.Nav = "images"
	question := cleanup.DeleteView{DeletionForecast: models.DeletionForecast{Repository: shopImages, Kind: models.DeletionImage, Digest: aDigest("a"), Tags: []string{"v1.2", "main"}, TagCount: 2, Manifests: 4, Undo: 7 * 24 * time.Hour}, Curl: v.Curl[0]}
	refused := question
	refused.Forbidden = "The image runs in production. Deploy another one there first."
	whole := cleanup.DeleteView{DeletionForecast: models.DeletionForecast{Repository: shopImages, Kind: models.DeletionRepository, Tags: []string{"v1.2"}, TagCount: 400, Manifests: 900, Undo: time.Hour}, Curl: v.Curl[0]}
	team := teams.Header{Team: *payments, CanEdit: true}.Frame(testPage("Payments"), "images")
	total := models.ImageUsage{Team: "payments", Quota: 10_000_000_000, OwnQuota: true, Growth: 1_200_000_000, GrowthOf: 30 * 24 * time.Hour,
		RegistryUsage: models.RegistryUsage{TeamID: "t1", Bytes: 9_800_000_000, Tags: 1204, Images: 611, DeletedBytes: 310_000_000, FreesBytes: 2_400_000_000, CountedAt: now.Add(-9 * time.Minute)}}
	one := total
	one.Repository, one.Bytes, one.Quota = shopImages, 6_100_000_000, 0
	small := models.ImageUsage{Team: "search", RegistryUsage: models.RegistryUsage{TeamID: "t2", Bytes: 420_000_000, Tags: 12, Images: 7, CountedAt: now}}
	usage := cleanup.TeamView{Team: *payments, Usage: models.TeamImageUsage{Total: total, Repositories: models.List[models.ImageUsage]{Items: []models.ImageUsage{one}}}, Curl: v.Curl,
		Policy: cleanup.PolicyForm{Action: "/teams/payments/image-policy", Policy: cleanUpPolicy, CanEdit: true}}
	site := testPage("Admin")
	site.Nav, site.Tabs = "admin", admin.Tabs("images")
	return []sample{
		{"deleted", cleanup.Deleted(p, v)},
		{"deleted-empty", cleanup.Deleted(p, cleanup.DeletedView{Repository: shopImages})},
		{"delete-image", cleanup.Delete(ask, question)},
		{"delete-image-runs", cleanup.Delete(ask, refused)},
		{"delete-repository", cleanup.Delete(ask, whole)},
		{"team-images", cleanup.Team(team, usage)},
		{"admin-images", cleanup.Site(site, cleanup.SiteView{Items: []models.ImageUsage{total, small}, Default: 50_000_000_000, Curl: v.Curl})},
	}
}

func cleanUpPreview() models.RetentionPreview {
	entry := func(tag, digest string, age time.Duration, kind models.RetentionKind, reason string) models.RetentionEntry {
		return models.RetentionEntry{Tag: tag, Digest: aDigest(digest), PushedAt: now.Add(-age), Size: 48_200_000, Goes: kind == "", Kind: kind, Reason: reason}
	}
	const day = 24 * time.Hour
	goes := entry("pr-41", "c", 40*day, "", "")
	goes.Frees = 12_300_000
	return models.RetentionPreview{Repository: shopImages, Policy: cleanUpPolicy, Fingerprint: "0123", Manifests: 1204, Goes: 412, GoesTags: 380, Bytes: 2_400_000_000,
		Entries: models.List[models.RetentionEntry]{Items: []models.RetentionEntry{
			entry("main", "a", time.Hour, models.KeptRuns, "checkout-api runs it in production"),
			entry("v1.9", "b", 3*day, models.KeptRule, "rule 1: keep the newest 20 images tagged main or v*"),
			goes,
			entry("", "d", 41*day, models.KeptAbout, "it is about 9f86d081884c"),
			entry("", "e", 60*day, "", ""),
		}}}
}

func aDigest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

func TestAPreviewSaysWhatGoesAndWhatKeepsTheRest(t *testing.T) {
	t.Parallel()
	page := render(t, cleanUpSamples()[0])
	for _, text := range []string{"412 manifests of 1,204 would go, with 380 tags", "2.40 GB", "checkout-api runs it in production", "12.3 MB are its own", "nothing keeps it"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q", text)
		}
	}
	if empty := render(t, cleanUpSamples()[1]); !strings.Contains(empty, "No policy: nothing is cleaned up here.") || strings.Contains(empty, "Run now") {
		t.Error("without a policy something is offered")
	}
}
