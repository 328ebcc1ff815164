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
	items := repositoryImages()
	own := models.ImageRepository{Host: registryHost, Name: "payments/checkout-api", App: &checkout, Latest: &items[0], Tags: 143, Size: 3_812_004_113, Running: slices.Concat(items[0].Running, items[1].Running)}
	outside := models.ImageRepository{Host: registryHost, Name: "payments/base/debian-with-tools", Latest: &items[3], Tags: 1, Size: 51_002_114}
	own.Pulls = models.ImagePulls{Times: 1312, LastAt: now.Add(-3 * time.Minute), LastBy: "deployment #31 of checkout-api to production"}
	own.Public = true
	curl := list.Curl("GET", "/api/v1/image-repositories", "")
	teams := []models.Team{{Slug: "payments", Name: "Payments"}, {Slug: "search", Name: "Search"}}
	two := list
	two.Tabs = pictures.Tabs(elsewhere, "")
	hits := pictures.ListView{Host: registryHost, Filter: pictures.Filter{Text: "checkout", Teams: teams}, Found: items, Elsewhere: []models.ImageRepository{otherRepository()}, Curl: curl}
	return slices.Concat([]sample{
		{"images", pictures.List(list, pictures.ListView{Items: []models.ImageRepository{own, outside}, Host: registryHost, Filter: pictures.Filter{Teams: teams}, Curl: curl})},
		{"images-empty", pictures.List(list, pictures.ListView{Host: registryHost, Curl: curl})},
		{"images-none", pictures.List(list, pictures.ListView{Host: registryHost, Filter: pictures.Filter{Team: "search", Running: true}, Curl: curl})},
		{"images-search", pictures.List(two, hits)},
		{"images-search-none", pictures.List(two, pictures.ListView{Host: registryHost, Filter: pictures.Filter{Text: "nothing"}, Curl: curl})},
		passportSample("image", passport()),
		passportSample("image-bare", models.ImagePassport{Image: items[3], Content: []byte(`{"schemaVersion":2}`)}),
		passportSample("image-artifact", artifact()),
		imageSettingsSample("image-settings", pictures.SettingsView{Name: own.Name, Team: *payments, CanEdit: true}),
		imageSettingsSample("image-settings-public", pictures.SettingsView{Name: own.Name, Team: *payments, CanEdit: true, Public: true, Pull: models.AnonymousYes, Own: []string{"v*", "["},
			Form: components.Form{Err: models.InvalidField("immutable_tags", "\"[\" is no pattern of tags.").(*models.Error)}}),
		imageSettingsSample("image-settings-seen", pictures.SettingsView{Name: own.Name, Team: *payments, Patterns: []string{"v*"}}),
		tagSample("image-tag", ""),
		tagSample("image-tag-immutable", "mai*"),
		{"image-tag-add", pictures.AddTag(testPage("Add a tag"), pictures.AddTagView{Repository: own.Name, Digest: digestOf("8d41c0be77f2a911"), Patterns: []string{"v*"}, Curl: curl})},
	}, repositorySamples(own, items), externalSamples(), documentSamples())
}

var elsewhere = []models.Registry{{Slug: "github", Name: "GitHub packages", Host: "ghcr.io"}, {Slug: "house", Name: "House", Host: "registry.acme.example:5000"}}

func otherRepository() models.ImageRepository {
	return models.ImageRepository{Registry: "github", Host: "ghcr.io", Name: "acme/checkout", App: &checkout, Running: []models.ImageDeployment{serving("d2", staging, time.Hour)}}
}

// repositorySamples are the pages of one repository.
func repositorySamples(own models.ImageRepository, items []models.Image) []sample {
	page := func(r models.ImageRepository, current string) layout.Page {
		p := testPage(r.Name)
		p.Nav, p.Crumbs = "images", []layout.Link{{Label: "Images", Href: "/images"}}
		p.Meta, p.Tabs = pictures.RepositoryMeta(r), pictures.RepositoryTabs(r, current)
		return p
	}
	var tags []models.Image
	for _, i := range items {
		for k := range i.Tags {
			one := i
			one.Tags = i.Tags[k : k+1]
			tags = append(tags, one)
		}
	}
	at := page(own, "")
	sorts := []components.FilterLink{{Label: "Newest", Href: "?sort=newest", Current: true}, {Label: "Name", Href: "?sort=name"}, {Label: "Largest", Href: "?sort=size"}}
	view := pictures.RepositoryView{ImageRepository: own, Items: tags, Sorts: sorts, CanDeploy: true, Next: "/images/x?cursor=y", Curl: at.Curl("GET", "/api/v1/registries/embedded/tags?repository=payments%2Fcheckout-api", "")}
	none, empty, untagged := view, view, view
	none.Items, none.Text = nil, "v9"
	empty.Items = nil
	untagged.Items = items[2:3]
	other := otherRepository()
	made := now.Add(-30 * time.Hour)
	outside := pictures.RepositoryView{ImageRepository: other, Curl: view.Curl, Items: []models.Image{
		{Registry: "github", Host: "ghcr.io", Repository: "acme/checkout", Digest: digestOf("8d41c0be77f2a911"), Size: 48_213_004, Platforms: []string{"linux/amd64", "linux/arm64"}, MadeAt: &made, Tags: []models.ImageTag{{Name: "1.4.0"}}},
		{Registry: "github", Host: "ghcr.io", Repository: "acme/checkout", Tags: []models.ImageTag{{Name: "1.4.1"}}},
	}}
	return []sample{
		{"image-repository", pictures.Repository(at, view)},
		{"image-repository-none", pictures.Repository(at, none)},
		{"image-repository-empty", pictures.Repository(at, empty)},
		{"image-untagged", pictures.Untagged(page(own, "untagged"), untagged)},
		{"image-repository-outside", pictures.Repository(page(other, ""), outside)},
	}
}

// externalSamples are the repositories of other registries.
func externalSamples() []sample {
	p := testPage("Images")
	p.Nav, p.Tabs = "images", pictures.Tabs(elsewhere, "github")
	curl := p.Curl("GET", "/api/v1/registries/github/repositories", "")
	v := pictures.ExternalView{Registry: pictures.Registry{Slug: "github", Name: "GitHub packages", Host: "ghcr.io"}, Items: []models.ImageRepository{otherRepository()},
		Prefixes: []string{"acme"}, Problem: "GitHub Container Registry gives no list of repositories.", Curl: curl, OpenCurl: curl.For("Open by name")}
	empty := v
	empty.Items, empty.Prefixes, empty.Problem = nil, nil, "Nothing answers at ghcr.io: the connection was refused. Check the port, and that the registry runs."
	empty.Form = components.Form{Err: &models.Error{Code: models.Invalid, Message: "Some fields need attention.", Fields: map[string]string{"repository": "There is no repository acme/x."}}}
	return []sample{{"images-external", pictures.External(p, v)}, {"images-external-empty", pictures.External(p, empty)}}
}

// documentSamples are attestations, and files that were opened.
func documentSamples() []sample {
	v := pictures.ImageView{ImagePassport: passport(), CanDeploy: true}
	page := func(tab string) layout.Page {
		p := testPage(v.Repository + ":" + pictures.Name(v.Image))
		p.Nav, p.Meta, p.Tabs = "images", pictures.Meta(v), pictures.ImageTabs(v.ImagePassport, tab)
		return p
	}
	bare := pictures.ImageView{ImagePassport: models.ImagePassport{Image: v.Image}}
	opened := func(d models.ImageDocument, text string) sample {
		d.Image, d.Digest, d.Size, d.MediaType, d.Content = v.Image, digestOf("cc33"), 12_113, "application/vnd.in-toto+json", []byte(`{"_type":"https://in-toto.io/Statement/v0.1"}`)
		p := testPage(d.Title)
		p.Nav, p.Meta, p.Crumbs = "images", pictures.DocumentMeta(d), []layout.Link{{Label: "Images", Href: "/images"}}
		return sample{"image-document-" + string(d.Kind), pictures.Document(p, pictures.DocumentView{ImageDocument: d, At: "/images/x", Text: text, Curl: p.Curl("GET", "/api/v1/images/x", ""), Next: "/images/x?cursor=50"})}
	}
	said := &models.Statement{PredicateType: "https://slsa.dev/provenance/v1", Subjects: []models.Material{{URI: "pkg:docker/checkout@main", Digest: v.Digest}}}
	started := now.Add(-time.Hour)
	packages := models.List[models.Package]{Items: []models.Package{{Name: "apt", Version: "2.6.1", License: "GPL-2.0-or-later AND MIT", PURL: "pkg:deb/debian/apt@2.6.1"}, {Name: "busybox", Version: "1:1.35.0-4"}}}
	layer := testPage("Layer 0123456789ab")
	layer.Nav = "images"
	return []sample{
		{"image-attestations", pictures.Attestations(page("attestations"), v)},
		{"image-attestations-none", pictures.Attestations(page("attestations"), bare)},
		{"image-manifest", pictures.Manifest(page("manifest"), v)},
		{"image-layer", pictures.Sharing(layer, pictures.SharingView{Items: repositoryImages(), Curl: layer.Curl("GET", "/api/v1/images/x", "")})},
		opened(models.ImageDocument{Kind: models.DocumentProvenance, Title: "Provenance (SLSA 1)", Statement: said, Signed: true, Provenance: &models.Provenance{Builder: "https://localhost:8080/builders/buildkit", Source: "https://git.acme.example/payments/checkout.git",
			Commit: "9f3c2ab41be0d4c07e511aa0b81d9aa5d20c9e03", EntryPoint: "Dockerfile", StartedAt: &started, FinishedAt: &now, Parameters: []models.Parameter{{Name: "target", Value: "prod"}},
			Materials: []models.Material{{URI: "pkg:docker/debian@12?platform=linux%2Famd64", Digest: "sha256:" + strings.Repeat("ab", 32)}}}}, ""),
		opened(models.ImageDocument{Kind: models.DocumentSBOM, Title: "SBOM (SPDX)", Packages: packages, Total: 212}, "apt"),
		opened(models.ImageDocument{Kind: models.DocumentSignature, Title: "Signature (cosign)", Signature: map[string]string{"dev.cosignproject.cosign/signature": strings.Repeat("MEUCIQ", 16)}}, ""),
	}
}

// artifact is one that is no container image.
func artifact() models.ImagePassport {
	i := repositoryImages()[3]
	i.Platforms = nil
	file := models.ImageFile{Digest: digestOf("dd44"), MediaType: "application/vnd.cncf.helm.chart.content.v1.tar+gzip", Kind: "Helm chart", Size: 8_113}
	return models.ImagePassport{Image: i, ArtifactType: "application/vnd.cncf.helm.config.v1+json", Kind: "Helm chart", Subject: digestOf("aa11"), Files: []models.ImageFile{file}, Layers: []models.ImageLayer{{Digest: file.Digest, Size: file.Size}}}
}

func imageSettingsSample(name string, v pictures.SettingsView) sample {
	p := testPage(v.Name)
	p.Nav, p.Crumbs, p.Tabs = "images", []layout.Link{{Label: "Images", Href: "/images"}}, pictures.RepositoryTabs(models.ImageRepository{Name: v.Name}, "settings")
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
	v := pictures.ImageView{ImagePassport: passport, CanDeploy: true, CanTag: true, CanDelete: true}
	p := testPage(passport.Repository + ":" + pictures.Name(passport.Image))
	p.Nav, p.Meta, p.Tabs = "images", pictures.Meta(v), pictures.ImageTabs(passport, "")
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
		i := models.Image{Host: registryHost, Repository: "payments/checkout-api", Digest: digestOf(digest), Platforms: []string{"linux/amd64"}, Size: size, PushedAt: now.Add(-age), App: &checkout, Build: b}
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
			l.Digest, l.Shared = digestOf("0123456789abcdef"), int(size%101)
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
		Base:     &models.ImageBase{Name: "docker.io/library/debian:12", Digest: digestOf("77aa")},
		Platform: "linux/amd64", Shown: digestOf("aa11"),
		Files: []models.ImageFile{{Digest: digestOf("ee55"), MediaType: "application/vnd.oci.image.config.v1+json", Kind: "Image configuration", Size: 2_113}},
		Referrers: []models.ImageReferrer{
			{Digest: digestOf("cc33"), Kind: "SBOM (SPDX)", About: items[0].Digest, Via: "subject", ArtifactType: "application/spdx+json", Size: 12_113, PushedAt: now.Add(-time.Minute), PushedByName: "Mira Kovač", Files: []models.ImageFile{{Digest: digestOf("cc34"), Kind: "SBOM (SPDX)"}}},
			{Digest: digestOf("cc35"), Kind: "SBOM (SPDX), Provenance (SLSA 1)", About: digestOf("bb22"), Via: "index", Size: 80_113, Files: []models.ImageFile{{Digest: digestOf("cc36"), Kind: "SBOM (SPDX)"}, {Digest: digestOf("cc37"), Kind: "Provenance (SLSA 1)"}}},
			{Digest: digestOf("cc38"), Kind: "Signature (cosign)", About: items[0].Digest, Via: "tag", Size: 242},
		},
	}
	return p
}
