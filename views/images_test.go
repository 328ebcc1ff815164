package views_test

import (
	"slices"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/components"
	pictures "slipway.dev/views/images"
	"slipway.dev/views/layout"
)

const registryHost = "localhost:8080"

// imageSamples are the pages about images.
func imageSamples() []sample {
	list := testPage("Images")
	list.Nav = "images"
	one := testPage("payments/checkout-api")
	one.Nav, one.Crumbs = "images", []layout.Link{{Label: "Images", Href: "/images"}}
	items := repositoryImages()
	own := models.ImageRepository{Name: "payments/checkout-api", App: &checkout, Latest: &items[0], Tags: 143, Size: 3_812_004_113, Running: slices.Concat(items[0].Running, items[1].Running)}
	own.Pulls = models.ImagePulls{Times: 1312, LastAt: now.Add(-3 * time.Minute), LastBy: "deployment #31 of checkout-api to production"}
	own.Public = true
	one.Meta, one.Tabs = pictures.RepositoryMeta(own), pictures.RepositoryTabs(own.Name, "images")
	outside := models.ImageRepository{Name: "payments/base/debian-with-tools", Latest: &items[3], Tags: 1, Size: 51_002_114}
	view := pictures.RepositoryView{Name: own.Name, App: &checkout, Items: items, Host: registryHost, CanDeploy: true, Next: "/images/x?cursor=y", Curl: one.Curl("GET", "/api/v1/images?repository=payments%2Fcheckout-api", "")}
	curl := list.Curl("GET", "/api/v1/image-repositories", "")
	return []sample{
		imageSettingsSample("image-settings", pictures.SettingsView{Name: own.Name, Team: *payments, CanEdit: true}),
		imageSettingsSample("image-settings-public", pictures.SettingsView{Name: own.Name, Team: *payments, CanEdit: true, Public: true, Pull: models.AnonymousYes, Own: []string{"v*", "["},
			Form: components.Form{Err: models.InvalidField("immutable_tags", "\"[\" is no pattern of tags.").(*models.Error)}}),
		imageSettingsSample("image-settings-seen", pictures.SettingsView{Name: own.Name, Team: *payments, Patterns: []string{"v*"}}),
		tagSample("image-tag", ""),
		tagSample("image-tag-immutable", "mai*"),
		{"image-tag-add", pictures.AddTag(testPage("Add a tag"), pictures.AddTagView{Repository: own.Name, Digest: digestOf("8d41c0be77f2a911"), Patterns: []string{"v*"}, Curl: curl})},
		{"images", pictures.List(list, pictures.ListView{Items: []models.ImageRepository{own, outside}, Host: registryHost, Curl: curl})},
		{"images-empty", pictures.List(list, pictures.ListView{Host: registryHost, Curl: curl})},
		{"image-repository", pictures.Repository(one, view)},
		passportSample("image", passport()),
		passportSample("image-bare", models.ImagePassport{Image: items[3], Content: []byte(`{"schemaVersion":2}`)}),
	}
}

func imageSettingsSample(name string, v pictures.SettingsView) sample {
	p := testPage(v.Name)
	p.Nav, p.Crumbs, p.Tabs = "images", []layout.Link{{Label: "Images", Href: "/images"}}, pictures.RepositoryTabs(v.Name, "settings")
	v.Curl = p.Curl("PATCH", "/api/v1/image-repositories/settings?repository=payments%2Fcheckout-api", `{"immutable_tags": ["v*"]}`)
	return sample{name, pictures.Settings(p, v)}
}

// tagSample is a tag that was made, moved, deleted and made again.
func tagSample(name, pattern string) sample {
	items := repositoryImages()
	event := func(digest, previous, by string, age time.Duration) models.RegistryTagEvent {
		return models.RegistryTagEvent{ID: digest + previous, Repository: "payments/checkout-api", Tag: "main", Digest: digest, Previous: previous, ActorName: by, CreatedAt: now.Add(-age)}
	}
	a, b, c := items[0].Digest, items[1].Digest, items[3].Digest
	v := pictures.TagView{Pattern: pattern, CanMove: true, TagHistory: models.TagHistory{Repository: "payments/checkout-api", Tag: "main", Digest: a, Moves: []models.TagMove{
		{RegistryTagEvent: event(a, b, "build #142 of checkout-api", 4*time.Minute), Kept: true, Build: items[0].Build, Places: items[0].Running},
		{RegistryTagEvent: event(b, "", "Mira Kovač", 26*time.Hour), Kept: true, Build: items[1].Build, Places: items[1].Running},
		{RegistryTagEvent: event("", c, "", 40*time.Hour)},
		{RegistryTagEvent: event(c, "", "token ci of team payments", 200*time.Hour)},
	}}}
	p := testPage("payments/checkout-api:main")
	p.Nav, p.Meta = "images", pictures.TagMeta(v)
	p.Crumbs = []layout.Link{{Label: "Images", Href: "/images"}, {Label: "payments/checkout-api", Href: "/images/payments/checkout-api"}}
	v.Curl = p.Curl("GET", "/api/v1/image-tags/moves?repository=payments%2Fcheckout-api&tag=main", "")
	return sample{name, pictures.Tag(p, v)}
}

func passportSample(name string, passport models.ImagePassport) sample {
	v := pictures.ImageView{ImagePassport: passport, Host: registryHost, CanDeploy: true, CanTag: true}
	p := testPage(passport.Repository + ":" + pictures.Name(passport.Image))
	p.Nav, p.Meta = "images", pictures.Meta(v)
	p.Crumbs = []layout.Link{{Label: "Images", Href: "/images"}, {Label: passport.Repository, Href: "/images/" + passport.Repository}}
	v.Curl = p.Curl("GET", "/api/v1/images/"+passport.Digest, "")
	return sample{name, pictures.Image(p, v)}
}

func digestOf(c string) string { return "sha256:" + strings.Repeat(c, 64/len(c)) }

func serving(id string, e models.Environment, age time.Duration) models.ImageDeployment {
	return models.ImageDeployment{DeploymentID: id, Number: 31, AppID: "a1", AppName: "checkout-api", EnvironmentID: e.ID, EnvironmentName: e.Name, State: models.DeploymentSucceeded,
		Active: true, URL: "http://checkout-api-" + e.Name + ".localhost:8080", CreatedByName: "Mira Kovač", CreatedAt: now.Add(-age)}
}

func repositoryImages() []models.Image {
	list := sampleBuilds()
	image := func(digest string, age time.Duration, size int64, b *models.Build, tags ...string) models.Image {
		i := models.Image{Repository: "payments/checkout-api", Digest: digestOf(digest), Platforms: []string{"linux/amd64"}, Size: size, PushedAt: now.Add(-age), App: &checkout, Build: b}
		for _, t := range tags {
			i.Tags = append(i.Tags, models.ImageTag{Name: t, MovedAt: i.PushedAt})
		}
		return i
	}
	items := []models.Image{
		image("8d41c0be77f2a911", 4*time.Minute, 48_213_004, &list[1], "main", "build-142", "9f3c2ab", "latest", "nightly", "weekly"),
		image("11ba7e9f4403cd62", 26*time.Hour, 47_998_113, &list[4], "build-139", "c07e511"),
		image("77ab03aa7fe4b0d4", 50*time.Hour, 47_100_020, &list[2]),
		image("03aa7fe4b0d477ab", 200*time.Hour, 51_002_114, nil, "from-ci"),
	}
	items[0].Running = []models.ImageDeployment{serving("d1", dev, 4*time.Minute)}
	items[1].Running = []models.ImageDeployment{serving("d2", staging, time.Hour), serving("d3", prod, 28*time.Hour)}
	items[1].Platforms = []string{"linux/amd64", "linux/arm64"}
	items[3].PushedByName = "token ci of team payments"
	return items
}

func passport() models.ImagePassport {
	items, list := repositoryImages(), sampleBuilds()
	old := serving("d9", staging, 90*time.Hour)
	old.Active = false
	created := now.Add(-5 * time.Minute)
	layer := func(instruction string, size int64) models.ImageLayer {
		l := models.ImageLayer{Instruction: instruction, Size: size}
		if size > 0 {
			l.Digest = digestOf("0123456789abcdef")
		}
		return l
	}
	p := models.ImagePassport{
		Image: items[0], Content: []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","layers":[]}`),
		Annotations: map[string]string{"org.opencontainers.image.source": "https://git.acme.example/payments/checkout.git", "org.opencontainers.image.revision": "9f3c2ab41be0d4c07e511aa0b81d9aa5d20c9e03"},
		Builds:      []models.Build{list[1]}, Deployments: []models.ImageDeployment{serving("d1", dev, 4*time.Minute), old},
		Moves:  []models.RegistryTagEvent{{Tag: "main", Digest: items[0].Digest, Previous: items[1].Digest, CreatedAt: now.Add(-4 * time.Minute)}, {Tag: "build-142", Digest: items[0].Digest, ActorName: "Mira Kovač", CreatedAt: now.Add(-4 * time.Minute)}},
		Images: []models.ImagePlatform{{Platform: "linux/amd64", Digest: digestOf("aa11"), Size: 48_213_004}, {Platform: "linux/arm64", Digest: digestOf("bb22"), Size: 46_113_004}},
		Config: &models.ImageConfig{Platform: "linux/amd64", Created: &created, User: "65532", WorkingDir: "/srv", Entrypoint: []string{"/api"}, Cmd: []string{"--port", "8080"},
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "PORT=8080", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
			ExposedPorts: []string{"8080/tcp"}, Labels: map[string]string{"org.opencontainers.image.title": "checkout-api"}},
		Layers: []models.ImageLayer{
			layer("ADD rootfs.tar.gz /", 28_200_113), layer("ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 0), layer("RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates tzdata && rm -rf /var/lib/apt/lists/*", 4_100_220),
			layer("WORKDIR /srv", 94), layer("COPY /out/api /api", 15_912_577), layer("USER 65532", 0), layer(`ENTRYPOINT ["/api"]`, 0),
		},
		Referrers: []models.ImageReferrer{{Digest: digestOf("cc33"), ArtifactType: "application/spdx+json", Size: 12_113}},
	}
	return p
}
