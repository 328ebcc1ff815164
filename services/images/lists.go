package images

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
)

// topLevel leaves out what is part of another image or about one: the platforms
// of an index, attestations, signatures; the manifest that a build pushes before
// it pushes the same image again with its annotations; and what BuildKit keeps
// for itself. Anything else that has a tag is always shown.
const topLevel = `registry_manifests.artifact_type <> 'application/vnd.buildkit.cacheconfig.v0' AND
	(EXISTS (SELECT 1 FROM registry_tags t WHERE t.repository = registry_manifests.repository AND t.digest = registry_manifests.digest)
	OR (registry_manifests.subject = ''
		AND NOT EXISTS (SELECT 1 FROM registry_references r WHERE r.repository = registry_manifests.repository AND r.child = registry_manifests.digest)
		AND NOT EXISTS (SELECT 1 FROM registry_references own
			JOIN registry_references other ON other.repository = own.repository AND other.child = own.child
			JOIN registry_manifests n ON n.repository = other.repository AND n.digest = other.manifest
			WHERE own.repository = registry_manifests.repository AND own.manifest = registry_manifests.digest AND n.push_id > registry_manifests.push_id)
		AND NOT EXISTS (SELECT 1 FROM registry_manifests n WHERE n.repository = registry_manifests.repository AND n.push_id > registry_manifests.push_id
			AND n.config_digest = registry_manifests.config_digest AND n.config_digest <> '')))`

// maxTags bounds what one page reads of tags; an image has a handful.
const maxTags = 5000

// columns are those of a manifest that lists need: all but the content.
const columns = "repository, digest, push_id, media_type, platforms, image_size, pushed_by_name, pushed_at"

// Repositories lists the repositories that the reader may see, the one pushed to last first.
func (s *Service) Repositories(ctx context.Context, page models.Page) (models.List[models.ImageRepository], error) {
	return s.FindRepositories(ctx, Query{Page: page})
}

// FindRepositories lists the repositories of the embedded registry that the
// query is about and whose names have all words of its text in them, the one pushed to last first.
func (s *Service) FindRepositories(ctx context.Context, query Query) (models.List[models.ImageRepository], error) {
	none := models.List[models.ImageRepository]{}
	who, err := readerFrom(ctx)
	if err != nil {
		return none, err
	}
	f, err := s.understand(ctx, who, query)
	if err != nil {
		return none, err
	}
	q := f.repositories(s.DB.WithContext(ctx), f.words).Select("registry_repositories.*")
	rows, err := models.Newest(q, query.Page, "push_id", func(r models.RegistryRepository) string { return r.PushID })
	if err != nil {
		return none, fmt.Errorf("listing repositories: %w", err)
	}
	list := models.List[models.ImageRepository]{Next: rows.Next, Items: make([]models.ImageRepository, 0, len(rows.Items))}
	for _, r := range rows.Items {
		list.Items = append(list.Items, s.embeddedRepository(r))
	}
	return list, s.describe(ctx, who, list.Items)
}

func (s *Service) embeddedRepository(r models.RegistryRepository) models.ImageRepository {
	return models.ImageRepository{Host: s.Registry.Host(), Name: r.Name, TeamID: r.TeamID, PushID: r.PushID}
}

// Repository returns what the list of repositories shows of one.
func (s *Service) Repository(ctx context.Context, name string) (*models.ImageRepository, error) {
	who, err := readerFrom(ctx)
	if err != nil {
		return nil, err
	}
	row, err := s.repository(ctx, name)
	if err != nil {
		return nil, err
	}
	one := []models.ImageRepository{s.embeddedRepository(row)}
	if err := s.describe(ctx, who, one); err != nil {
		return nil, err
	}
	if one[0].Pulls, err = s.pulls(ctx, name, ""); err != nil {
		return nil, err
	}
	return &one[0], nil
}

// repository finds the repository and authorizes the reader.
func (s *Service) repository(ctx context.Context, name string) (row models.RegistryRepository, err error) {
	if err := s.DB.WithContext(ctx).Where("name = ?", name).Take(&row).Error; err != nil {
		return row, models.FromDB(err, "image repository")
	}
	return row, models.Authorize(ctx, row.TeamID, models.RoleViewer, "image repository")
}

// Images lists the images of a repository, the one pushed last first.
func (s *Service) Images(ctx context.Context, repository string, page models.Page) (models.List[models.Image], error) {
	return s.imagesIn(ctx, repository, page, nil)
}

// imagesIn are the images of a repository that the reader may see; narrow, where set, leaves some out.
func (s *Service) imagesIn(ctx context.Context, repository string, page models.Page, narrow func(*gorm.DB) *gorm.DB) (models.List[models.Image], error) {
	none := models.List[models.Image]{}
	who, err := readerFrom(ctx)
	if err != nil {
		return none, err
	}
	row, err := s.repository(ctx, repository)
	if err != nil {
		return none, err
	}
	return s.images(ctx, who, row.Name, row.TeamID, page, narrow)
}

// ForApp lists the images of the app's repository, the one pushed last first.
// There are none before the first build or push.
func (s *Service) ForApp(ctx context.Context, appID string, page models.Page) (models.List[models.Image], error) {
	none := models.List[models.Image]{}
	who, err := readerFrom(ctx)
	if err != nil {
		return none, err
	}
	var app models.App
	if err := s.DB.WithContext(ctx).Preload("Team").Where("id = ?", appID).Take(&app).Error; err != nil {
		return none, models.FromDB(err, "app")
	}
	if err := models.Authorize(ctx, app.TeamID, models.RoleViewer, "app"); err != nil {
		return none, err
	}
	name, err := s.RepositoryOf(ctx, &app)
	if err != nil {
		return none, err
	}
	return s.images(ctx, who, name, app.TeamID, page, nil)
}

// images lists the images of a repository that the reader is known to see; narrow may be nil.
func (s *Service) images(ctx context.Context, who reader, name, teamID string, page models.Page, narrow func(*gorm.DB) *gorm.DB) (models.List[models.Image], error) {
	none := models.List[models.Image]{}
	q := s.DB.WithContext(ctx).Select(columns).Where("repository = ?", name).Where(topLevel)
	if narrow != nil {
		q = narrow(q)
	}
	rows, err := models.Newest(q, page, "push_id", func(m models.RegistryManifest) string { return m.PushID })
	if err != nil {
		return none, fmt.Errorf("listing the images of %s: %w", name, err)
	}
	list := models.List[models.Image]{Next: rows.Next, Items: make([]models.Image, 0, len(rows.Items))}
	for _, m := range rows.Items {
		list.Items = append(list.Items, s.imageOf(m, teamID))
	}
	return list, s.complete(ctx, who, list.Items)
}

func (s *Service) imageOf(m models.RegistryManifest, teamID string) models.Image {
	return models.Image{
		Host: s.Registry.Host(), Repository: m.Repository, Digest: m.Digest, TeamID: teamID, PushID: m.PushID, MediaType: m.MediaType,
		Platforms: m.Platforms, Size: m.ImageSize, PushedAt: m.PushedAt, PushedByName: m.PushedByName,
	}
}

// spot is an image of a repository, which is named as builds and deployments
// name it, but that the embedded registry's host is left out.
type spot struct{ repository, digest string }

// spotOf is where the image is.
func (s *Service) spotOf(i models.Image) spot { return spot{s.local(i.FullName()), i.Digest} }

// complete fills in the tags, apps, builds and deployments of images of the
// embedded registry, with one query for each.
func (s *Service) complete(ctx context.Context, who reader, images []models.Image) error {
	if len(images) == 0 {
		return nil
	}
	var names, digests []string
	for _, i := range images {
		names, digests = append(names, i.Repository), append(digests, i.Digest)
	}
	tags, err := s.tagsOf(ctx, names, digests)
	if err != nil {
		return err
	}
	for k := range images {
		images[k].Tags = tags[spot{images[k].Repository, images[k].Digest}]
	}
	return s.originate(ctx, who, images)
}

// originate fills in the apps, builds and deployments of images of any
// registry, with one query for each.
func (s *Service) originate(ctx context.Context, who reader, images []models.Image) error {
	var names, digests []string
	for _, i := range images {
		if i.Digest != "" {
			names, digests = append(names, s.local(i.FullName())), append(digests, i.Digest)
		}
	}
	if len(digests) == 0 {
		return nil
	}
	apps, err := s.apps(ctx, who, names)
	if err != nil {
		return err
	}
	builds, err := s.latestBuilds(ctx, who, digests)
	if err != nil {
		return err
	}
	running, err := s.running(ctx, who, digests)
	if err != nil {
		return err
	}
	for k := range images {
		i := &images[k]
		at := s.spotOf(*i)
		i.App, i.Build, i.Running = apps[at.repository], builds[at], running[at]
	}
	return nil
}

func (s *Service) tagsOf(ctx context.Context, names, digests []string) (map[spot][]models.ImageTag, error) {
	var rows []models.RegistryTag
	err := s.DB.WithContext(ctx).Where("repository IN ? AND digest IN ?", names, digests).Order("moved_at DESC, name").Limit(maxTags).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the tags of images: %w", err)
	}
	out := map[spot][]models.ImageTag{}
	for _, t := range rows {
		at := spot{t.Repository, t.Digest}
		out[at] = append(out[at], models.ImageTag{Name: t.Name, MovedAt: t.MovedAt, MovedByName: t.MovedByName})
	}
	return out, nil
}

// apps returns the app of each repository that has one. In the embedded
// registry a repository is called TEAM/APP; which one an app has in an external
// registry stands in the app.
func (s *Service) apps(ctx context.Context, who reader, names []string) (map[string]*models.App, error) {
	var wanted []string
	for _, name := range names {
		if _, rest, ok := strings.Cut(name, "/"); ok {
			wanted = append(wanted, rest)
		}
	}
	var rows []models.App
	err := who.only(s.DB.WithContext(ctx).Preload("Team"), "team_id").Where("name IN ? OR image_repository IN ?", wanted, wanted).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the apps of images: %w", err)
	}
	hosts, err := s.hosts(ctx, rows)
	if err != nil {
		return nil, err
	}
	out := map[string]*models.App{}
	for k := range rows {
		out[rows[k].Team.Slug+"/"+rows[k].Name] = &rows[k]
		if host := hosts[rows[k].RegistryID]; host != "" {
			out[host+"/"+rows[k].ImageRepository] = &rows[k]
		}
	}
	return out, nil
}

// hosts returns the hosts of the apps' external registries, by id.
func (s *Service) hosts(ctx context.Context, apps []models.App) (map[string]string, error) {
	var ids []string
	for _, a := range apps {
		if a.RegistryID != "" {
			ids = append(ids, a.RegistryID)
		}
	}
	out := map[string]string{}
	if len(ids) == 0 {
		return out, nil
	}
	var rows []models.Registry
	if err := s.DB.WithContext(ctx).Select("id", "host").Where("id IN ?", ids).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("reading the registries of apps: %w", err)
	}
	for _, r := range rows {
		out[r.ID] = r.Host
	}
	return out, nil
}

// latestBuilds returns the newest good build of each image.
func (s *Service) latestBuilds(ctx context.Context, who reader, digests []string) (map[spot]*models.Build, error) {
	newest := who.only(s.DB.WithContext(ctx).Model(&models.Build{}), "team_id").Select("MAX(id)").
		Where("image_digest IN ? AND state = ?", digests, models.BuildSucceeded).Group("image_repository, image_digest")
	rows, err := s.builds(s.DB.WithContext(ctx).Where("id IN (?)", newest))
	if err != nil {
		return nil, err
	}
	out := map[spot]*models.Build{}
	for k := range rows {
		out[spot{s.local(rows[k].ImageRepository), rows[k].ImageDigest}] = &rows[k]
	}
	return out, nil
}

// builds reads what lists show of builds, newest first.
func (s *Service) builds(q *gorm.DB) ([]models.Build, error) {
	var rows []models.Build
	err := q.Select("id", "team_id", "app_id", "number", "state", "ref", "ref_kind", "commit", "commit_subject", "commit_author",
		"created_by_name", "queued_at", "started_at", "finished_at", "image_repository", "image_digest", "created_at").
		Order("id DESC").Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the builds of images: %w", err)
	}
	return rows, nil
}

// running returns where each image serves now.
func (s *Service) running(ctx context.Context, who reader, digests []string) (map[spot][]models.ImageDeployment, error) {
	rows, err := s.deployments(ctx, who, func(q *gorm.DB) *gorm.DB {
		return q.Where("deployments.active = ? AND deployments.image_digest IN ?", true, digests)
	})
	if err != nil {
		return nil, err
	}
	out := map[spot][]models.ImageDeployment{}
	for _, d := range rows {
		at := spot{s.local(d.Repository), d.Digest}
		out[at] = append(out[at], d)
	}
	return out, nil
}

// deployments reads deployments for the page of an image, by environment where they serve and newest first where they served.
func (s *Service) deployments(ctx context.Context, who reader, which func(*gorm.DB) *gorm.DB) ([]models.ImageDeployment, error) {
	q := s.DB.WithContext(ctx).Table("deployments").
		Select(`deployments.id AS deployment_id, deployments.number, deployments.app_id, apps.name AS app_name,
			deployments.environment_id, environments.name AS environment_name, deployments.state, deployments.active,
			deployments.stopped, deployments.image_repository AS repository, deployments.image_digest AS digest,
			deployments.url, deployments.created_by_name, deployments.created_at`).
		Joins("JOIN apps ON apps.id = deployments.app_id").
		Joins("JOIN environments ON environments.id = deployments.environment_id")
	var rows []models.ImageDeployment
	err := which(who.only(q, "deployments.team_id")).
		Order("deployments.active DESC, environments.position, deployments.id DESC").Scan(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading where images run: %w", err)
	}
	return rows, nil
}

// describe fills in what the list of repositories shows of each, with one query for each kind of fact.
func (s *Service) describe(ctx context.Context, who reader, repositories []models.ImageRepository) error {
	if len(repositories) == 0 {
		return nil
	}
	var names, pushes, spellings []string
	for _, r := range repositories {
		names, pushes = append(names, r.Name), append(pushes, r.PushID)
		spellings = append(spellings, s.full(r.Name)...)
	}
	latest, err := s.latest(ctx, who, names, pushes)
	if err != nil {
		return err
	}
	tags, err := s.sums(ctx, "SELECT repository, COUNT(*) AS sum FROM registry_tags WHERE repository IN ? GROUP BY repository", names)
	if err != nil {
		return err
	}
	sizes, err := s.sizes(ctx, names, pushes)
	if err != nil {
		return err
	}
	serving, err := s.deployments(ctx, who, func(q *gorm.DB) *gorm.DB {
		return q.Where("deployments.active = ? AND deployments.image_repository IN ?", true, spellings)
	})
	if err != nil {
		return err
	}
	apps, err := s.apps(ctx, who, names)
	if err != nil {
		return err
	}
	public, err := s.Registry.Public(ctx, names)
	if err != nil {
		return err
	}
	running := map[string][]models.ImageDeployment{}
	for _, d := range serving {
		running[s.local(d.Repository)] = append(running[s.local(d.Repository)], d)
	}
	for k := range repositories {
		r := &repositories[k]
		r.Public = slices.Contains(public, r.Name)
		r.Tags, r.Size, r.Running, r.Latest, r.App = tags[r.Name], sizes[r.Name], running[r.Name], latest[r.Name], apps[r.Name]
		if r.Latest != nil {
			r.Latest.TeamID = r.TeamID
		}
	}
	return nil
}

// sizes returns the bytes that the blobs of each repository take. To add them
// up takes as long as there are layers, so the sums are remembered until the next push, or for half a minute.
func (s *Service) sizes(ctx context.Context, names, pushes []string) (map[string]int64, error) {
	key := strings.Join(append(append([]string{"sizes"}, names...), pushes...), "\n")
	return remember(&s.recent, key, func() (map[string]int64, error) {
		return s.sums(ctx, "SELECT l.repository, CAST(SUM(b.size) AS BIGINT) AS sum FROM registry_links l JOIN registry_blobs b ON b.digest = l.digest WHERE l.repository IN ? GROUP BY l.repository", names)
	})
}

// latest returns the image that was pushed last to each repository.
func (s *Service) latest(ctx context.Context, who reader, names, pushes []string) (map[string]*models.Image, error) {
	var rows []models.RegistryManifest
	err := s.DB.WithContext(ctx).Select(columns).Where("repository IN ? AND push_id IN ?", names, pushes).Find(&rows).Error
	if err != nil {
		return nil, fmt.Errorf("reading the latest images: %w", err)
	}
	images := make([]models.Image, 0, len(rows))
	for _, m := range rows {
		images = append(images, s.imageOf(m, ""))
	}
	if err := s.complete(ctx, who, images); err != nil {
		return nil, err
	}
	out := map[string]*models.Image{}
	for k := range images {
		out[images[k].Repository] = &images[k]
	}
	return out, nil
}

// sums runs a query for a number for each repository.
func (s *Service) sums(ctx context.Context, query string, names []string) (map[string]int64, error) {
	var rows []struct {
		Repository string
		Sum        int64
	}
	if err := s.DB.WithContext(ctx).Raw(query, names).Scan(&rows).Error; err != nil {
		return nil, fmt.Errorf("counting the images of repositories: %w", err)
	}
	out := map[string]int64{}
	for _, r := range rows {
		out[r.Repository] = r.Sum
	}
	return out, nil
}
