package catalog

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/google/shlex"
	"gorm.io/gorm"
	"slipway.dev/models"
)

// The time limits of a build, in seconds.
const (
	defaultBuildTimeout = 30 * 60
	minBuildTimeout     = 10
	maxBuildTimeout     = 4 * 60 * 60
)

// maxNewApps is how many apps one call may create.
const maxNewApps = 50

// NewApp is what makes an app. What is empty is taken from the Dockerfile that was found at the path, or has a default.
type NewApp struct {
	RepositoryID string             `json:"repository_id" form:"repository_id"`
	Name         string             `json:"name,omitempty" form:"name" doc:"A DNS label: it becomes part of image names and addresses. Empty: as proposed."`
	Dockerfile   string             `json:"dockerfile,omitempty" form:"dockerfile" doc:"Path from the top of the repository; Dockerfile where empty."`
	Context      string             `json:"context,omitempty" form:"context" doc:"Folder that the build gets; as proposed, or the Dockerfile's own, where empty."`
	Builder      models.BuilderKind `json:"builder,omitempty" form:"builder" enum:"buildkit,github-actions" doc:"buildkit, which is the default, or github-actions."`
	Port         int                `json:"port,omitempty" form:"port" doc:"What the container listens on. 0: as proposed, or what the image exposes."`
	Health       models.HealthKind  `json:"health,omitempty" form:"health" enum:"http,tcp,image" doc:"Empty: http where there is a health_path, tcp otherwise."`
	HealthPath   string             `json:"health_path,omitempty" form:"health_path" doc:"Path that answers 2xx or 3xx when the app is well."`
	Protocol     models.Protocol    `json:"protocol,omitempty" form:"protocol" enum:",h2c" doc:"What the app speaks on its port: HTTP/1.1 where empty, or h2c, HTTP/2 without TLS as gRPC servers do."`
	Command      string             `json:"release_command,omitempty" form:"release_command" maxLength:"1000" doc:"Arguments with which the image runs once before a new version takes over, such as a migration of the database."`
	BuildTimeout int                `json:"build_timeout,omitempty" form:"build_timeout" doc:"Seconds that a build may take; 1800 where 0."`
	WorkerLabels []string           `json:"worker_labels,omitempty" form:"worker_labels" maxItems:"16" doc:"Only workers that have all of these labels build it."`

	Build models.BuildSettings `json:"build,omitzero" form:"-"`

	RegistryID      string `json:"registry_id,omitempty" form:"registry_id" doc:"An external registry that the team is granted; its images go there. Empty: the portal's own."`
	ImageRepository string `json:"image_repository,omitempty" form:"image_repository" doc:"In that registry, without its host." example:"acme/shop"`
}

// UpdateApp is what may change of an app; what is absent stays as it is.
type UpdateApp struct {
	Name         *string             `json:"name,omitempty" form:"name" doc:"Only while the app has no builds: images carry the name."`
	Dockerfile   *string             `json:"dockerfile,omitempty" form:"dockerfile"`
	Context      *string             `json:"context,omitempty" form:"context"`
	Builder      *models.BuilderKind `json:"builder,omitempty" form:"builder" enum:"buildkit,github-actions" doc:"What runs the builds from now on."`
	Port         *int                `json:"port,omitempty" form:"port"`
	Health       *models.HealthKind  `json:"health,omitempty" form:"health" enum:"http,tcp,image"`
	HealthPath   *string             `json:"health_path,omitempty" form:"health_path"`
	Protocol     *models.Protocol    `json:"protocol,omitempty" form:"protocol" enum:",h2c" doc:"Counts from the next deployment on."`
	Command      *string             `json:"release_command,omitempty" form:"release_command" maxLength:"1000"`
	BuildTimeout *int                `json:"build_timeout,omitempty" form:"build_timeout"`
	Triggers     *UpdateTriggers     `json:"triggers,omitempty" doc:"What builds it by itself."`
	WorkerLabels *[]string           `json:"worker_labels,omitempty" form:"worker_labels" maxItems:"16"`

	Build *models.BuildSettings `json:"build,omitempty" form:"-" doc:"All of the build settings; what is absent in it is emptied."`

	RegistryID      *string `json:"registry_id,omitempty" form:"registry_id" doc:"Where images go from the next build on: an external registry that the team is granted, or empty for the portal's own."`
	ImageRepository *string `json:"image_repository,omitempty" form:"image_repository" doc:"In the external registry, without its host." example:"acme/shop"`
}

// AppFilter narrows the list of apps.
type AppFilter struct {
	models.Page
	Team         string `query:"team" form:"team" doc:"Slug of a team."`
	RepositoryID string `query:"repository_id" form:"repository_id"`
	Text         string `query:"q" form:"q" doc:"Beginning of the name."`
}

// Apps lists the apps of the principal's teams with team and repository, newest first.
func (s *Service) Apps(ctx context.Context, f AppFilter) (models.List[models.App], error) {
	q, err := visible(ctx, s.DB.WithContext(ctx).Preload("Team").Preload("Repository").Preload("Registry", shownOfRegistry), "apps.team_id")
	if err == nil {
		q, err = s.inTeam(ctx, q, "apps.team_id", f.Team)
	}
	if err != nil {
		return models.List[models.App]{}, err
	}
	if f.RepositoryID != "" {
		q = q.Where("apps.repository_id = ?", f.RepositoryID)
	}
	if f.Text != "" {
		q = q.Where("apps.name LIKE ? ESCAPE '!'", likePrefix(f.Text))
	}
	return models.Newest(q, f.Page, "apps.id", func(a models.App) string { return a.ID })
}

// App returns an app with its team and repository.
func (s *Service) App(ctx context.Context, id string) (*models.App, error) {
	return s.app(ctx, id, models.RoleViewer)
}

func (s *Service) app(ctx context.Context, id string, role models.Role) (*models.App, error) {
	var app models.App
	if err := s.DB.WithContext(ctx).Preload("Team").Preload("Repository").Preload("Registry", shownOfRegistry).Where("id = ?", id).Take(&app).Error; err != nil {
		return nil, models.FromDB(err, "app")
	}
	if err := models.Authorize(ctx, app.TeamID, role, "app"); err != nil {
		return nil, err
	}
	return &app, nil
}

// CreateApp makes an app of a Dockerfile; developers of the repository's team may.
func (s *Service) CreateApp(ctx context.Context, in NewApp) (*models.App, error) {
	app, err := s.newApp(ctx, in)
	if err != nil {
		return nil, err
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return insertApp(ctx, tx, app) })
	if err != nil {
		return nil, err
	}
	return s.App(ctx, app.ID)
}

// CreateApps makes several apps or none of them. The faults of the app with index 1 are about the fields name-1,
// dockerfile-1 and so on.
func (s *Service) CreateApps(ctx context.Context, in []NewApp) ([]models.App, error) {
	if len(in) == 0 || len(in) > maxNewApps {
		return nil, models.Errorf(models.Invalid, "Choose 1 to %d Dockerfiles to make apps of.", maxNewApps)
	}
	wrong := faults{}
	apps := make([]models.App, 0, len(in))
	for i, one := range in {
		app, err := s.newApp(ctx, one)
		if err := wrong.take(indexed(err, i)); err != nil {
			return nil, err
		}
		if app != nil {
			apps = append(apps, *app)
		}
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		for i := range apps {
			if err := insertApp(ctx, tx, &apps[i]); err != nil {
				return indexed(err, i)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return apps, nil
}

// indexed puts the index of a list's item behind the fields of an error.
func indexed(err error, i int) error {
	told, ok := err.(*models.Error)
	if !ok || len(told.Fields) == 0 {
		return err
	}
	fields := make(map[string]string, len(told.Fields))
	for field, message := range told.Fields {
		fields[fmt.Sprintf("%s-%d", field, i)] = message
	}
	return &models.Error{Code: told.Code, Message: told.Message, Fields: fields, Err: told.Err}
}

// newApp is the app that the input asks for, completed by what was found in the repository, and checked.
func (s *Service) newApp(ctx context.Context, in NewApp) (*models.App, error) {
	r, err := s.repository(ctx, in.RepositoryID, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	app := &models.App{ID: models.NewID(), TeamID: r.TeamID, RepositoryID: r.ID, Name: strings.TrimSpace(in.Name), Dockerfile: cleanPath(in.Dockerfile, "Dockerfile"),
		Builder: in.Builder, Port: in.Port, Health: in.Health, HealthPath: strings.TrimSpace(in.HealthPath), Protocol: in.Protocol, ReleaseCommand: strings.TrimSpace(in.Command), BuildTimeout: in.BuildTimeout,
		WorkerLabels: in.WorkerLabels, BuildSettings: in.Build, Triggers: models.DefaultTriggers(), RegistryID: strings.TrimSpace(in.RegistryID), ImageRepository: in.ImageRepository}
	if p := models.PrincipalFrom(ctx); p != nil {
		app.CreatedBy = p.UserID
	}
	var proposal models.DetectedDockerfile
	if err := s.DB.WithContext(ctx).Where("repository_id = ? AND path = ?", r.ID, app.Dockerfile).Limit(1).Find(&proposal).Error; err != nil {
		return nil, err
	}
	complete(app, proposal, in.Context)
	if err := checkApp(app); err != nil {
		return app, err
	}
	return app, s.checkDestination(ctx, app)
}

func complete(app *models.App, proposal models.DetectedDockerfile, folder string) {
	if folder == "" {
		folder = proposal.Context
	}
	app.Context = cleanPath(folder, path.Dir(app.Dockerfile))
	if app.Name == "" {
		app.Name = proposal.Name
	}
	if app.Port == 0 {
		app.Port = proposal.Port
	}
	if app.Builder == "" {
		app.Builder = models.BuilderBuildKit
	}
	if app.BuildTimeout == 0 {
		app.BuildTimeout = defaultBuildTimeout
	}
	if app.Health == "" {
		app.Health = models.HealthTCP
		if app.HealthPath != "" {
			app.Health = models.HealthHTTP
		}
	}
}

func insertApp(ctx context.Context, tx *gorm.DB, app *models.App) error {
	if err := tx.Create(app).Error; err != nil {
		return taken(err, "name", "The team has an app named %q already.", app.Name)
	}
	return record(ctx, tx, appChange(app, "app.create"))
}

// cleanPath is a path of a repository in its shortest form; what leads out of it keeps its dots and is refused later.
func cleanPath(name, fallback string) string {
	name = strings.TrimSpace(name)
	if name == "" {
		name = fallback
	}
	return path.Clean(strings.TrimPrefix(name, "./"))
}

func checkApp(app *models.App) error {
	wrong := faults{}
	if !models.ValidName(app.Name) {
		wrong.add("name", models.NameHelp)
	}
	if !validPath(app.Dockerfile) || app.Dockerfile == "." {
		wrong.add("dockerfile", "Use the path of a file in the repository, such as services/api/Dockerfile.")
	}
	if !validPath(app.Context) {
		wrong.add("context", "Use the path of a folder in the repository, such as services/api, or . for all of it.")
	}
	if app.Builder != models.BuilderBuildKit && app.Builder != models.BuilderActions {
		wrong.add("builder", "There is no builder %q. Use %s or %s.", app.Builder, models.BuilderBuildKit, models.BuilderActions)
	}
	if app.Port < 0 || app.Port > 65535 {
		wrong.add("port", "A port is a number from 1 to 65535, or 0 for what the image exposes.")
	}
	if app.BuildTimeout < minBuildTimeout || app.BuildTimeout > maxBuildTimeout {
		wrong.add("build_timeout", "A build may take %d to %d seconds.", minBuildTimeout, maxBuildTimeout)
	}
	labels, err := models.NewLabels("worker_labels", app.WorkerLabels)
	if e, ok := errors.AsType[*models.Error](err); ok {
		wrong.add("worker_labels", "%s", e.Fields["worker_labels"])
	}
	app.WorkerLabels = labels
	checkHealth(app, wrong)
	if app.Protocol != models.ProtocolHTTP1 && app.Protocol != models.ProtocolH2C {
		wrong.add("protocol", "Leave it empty for HTTP/1.1, or choose h2c.")
	}
	if words, err := shlex.Split(app.ReleaseCommand); err != nil || len(app.ReleaseCommand) > 1000 || app.ReleaseCommand != "" && len(words) == 0 {
		wrong.add("release_command", "This is not a command: is a quote left open?")
	}
	checkTriggers(&app.Triggers, wrong)
	if err := wrong.take(app.BuildSettings.Validate()); err != nil {
		return err
	}
	return wrong.err()
}

func checkHealth(app *models.App, wrong faults) {
	if !slices.Contains([]models.HealthKind{models.HealthHTTP, models.HealthTCP, models.HealthImage}, app.Health) {
		wrong.add("health", "Choose http, tcp or image.")
	}
	if app.Health == models.HealthHTTP && app.HealthPath == "" {
		wrong.add("health_path", "Enter the path to ask for, such as /healthz.")
	}
	if app.HealthPath != "" && !validHealthPath(app.HealthPath) {
		wrong.add("health_path", "Use a path that begins with a slash, without spaces, such as /healthz.")
	}
}

// validPath tells whether a clean path stays in the repository and can't be read as an option.
func validPath(name string) bool {
	return len(name) <= 255 && !path.IsAbs(name) && name != ".." && !strings.HasPrefix(name, "../") && !strings.HasPrefix(name, "-") &&
		!strings.ContainsFunc(name, unicode.IsControl) && !strings.Contains(name, "\\")
}

func validHealthPath(text string) bool {
	return len(text) <= 255 && strings.HasPrefix(text, "/") && !strings.HasPrefix(text, "//") &&
		!strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' || r == '\\' })
}

// UpdateApp changes an app; developers of its team may.
func (s *Service) UpdateApp(ctx context.Context, id string, in UpdateApp) (*models.App, error) {
	app, err := s.app(ctx, id, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	if in.Name != nil && strings.TrimSpace(*in.Name) != app.Name && app.BuildCount > 0 {
		return nil, models.InvalidField("name", "This app has builds, whose images carry its name: it stays.")
	}
	before := *app
	in.apply(app)
	if err := checkApp(app); err != nil {
		return nil, err
	}
	if app.RegistryID != before.RegistryID || app.ImageRepository != before.ImageRepository { // a grant that was taken back stops builds, not other changes
		if err := s.checkDestination(ctx, app); err != nil {
			return nil, err
		}
	}
	err = s.commit(ctx, appChange(app, "app.update"), func(tx *gorm.DB) error {
		err := tx.Model(&models.App{ID: app.ID}).Select("name", "dockerfile", "context", "builder", "port", "health", "health_path", "protocol", "release_command", "build_timeout", "worker_labels", "build_settings", "registry_id", "image_repository",
			"trigger_push", "trigger_branches", "trigger_tags", "trigger_paths", "trigger_skip_markers", "trigger_pull_requests").Updates(app).Error
		return taken(err, "name", "The team has an app named %q already.", app.Name)
	})
	if err != nil {
		return nil, err
	}
	return s.App(ctx, id)
}

func (in UpdateApp) apply(app *models.App) {
	set(&app.Name, in.Name)
	set(&app.HealthPath, in.HealthPath)
	set(&app.ReleaseCommand, in.Command)
	if in.Protocol != nil {
		app.Protocol = *in.Protocol
	}
	if in.Dockerfile != nil {
		app.Dockerfile = cleanPath(*in.Dockerfile, "Dockerfile")
	}
	if in.Context != nil {
		app.Context = cleanPath(*in.Context, ".")
	}
	if in.Builder != nil {
		app.Builder = *in.Builder
	}
	if in.Port != nil {
		app.Port = *in.Port
	}
	if in.Health != nil {
		app.Health = *in.Health
	}
	if in.BuildTimeout != nil {
		app.BuildTimeout = *in.BuildTimeout
	}
	in.Triggers.apply(&app.Triggers)
	if in.WorkerLabels != nil {
		app.WorkerLabels = *in.WorkerLabels
	}
	if in.Build != nil {
		app.BuildSettings = *in.Build
	}
	set(&app.RegistryID, in.RegistryID)
	set(&app.ImageRepository, in.ImageRepository)
}

// DeleteApp deletes an app with its builds, their logs and its deployments; maintainers of its team may. What runs of
// it is stopped. Images stay in the registry.
func (s *Service) DeleteApp(ctx context.Context, id string) error {
	app, err := s.app(ctx, id, models.RoleMaintainer)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return s.deleteApp(ctx, tx, app) })
}

func (s *Service) deleteApp(ctx context.Context, tx *gorm.DB, app *models.App) error {
	if err := idle(tx, app); err != nil {
		return err
	}
	if err := s.unload(ctx, tx, app); err != nil {
		return err
	}
	for _, owner := range []any{&models.Build{}, &models.Deployment{}} {
		ids := tx.Model(owner).Select("id").Where("app_id = ?", app.ID)
		if err := tx.Where("id IN (?)", ids).Delete(&models.LogStream{}).Error; err != nil {
			return err
		}
	}
	for _, owned := range []any{&models.Variable{}, &models.VariableChange{}} {
		if err := tx.Where("app_id = ?", app.ID).Delete(owned).Error; err != nil {
			return err
		}
	}
	if err := tx.Delete(&models.App{}, "id = ?", app.ID).Error; err != nil {
		return err
	}
	return record(ctx, tx, appChange(app, "app.delete"))
}

// idle refuses to delete an app that a worker works on right now.
func idle(tx *gorm.DB, app *models.App) error {
	var builds, deployments int64
	if err := tx.Model(&models.Build{}).Where("app_id = ? AND state IN ?", app.ID, []models.BuildState{models.BuildQueued, models.BuildRunning}).Count(&builds).Error; err != nil {
		return err
	}
	if err := tx.Model(&models.Deployment{}).Where("app_id = ? AND state IN ?", app.ID, models.UnendedDeployments).Count(&deployments).Error; err != nil {
		return err
	}
	if builds+deployments > 0 {
		return models.Errorf(models.Conflict, "%s has builds or deployments that are not over. Cancel them or wait for them, then delete it.", app.Name)
	}
	return nil
}

func (s *Service) unload(ctx context.Context, tx *gorm.DB, app *models.App) error {
	if s.Unload != nil {
		return s.Unload(ctx, tx, app)
	}
	var running []string
	err := tx.Model(&models.Deployment{}).Joins("JOIN environments ON environments.id = deployments.environment_id").
		Where("deployments.app_id = ? AND deployments.active AND NOT deployments.stopped", app.ID).Order("environments.name").Pluck("environments.name", &running).Error
	if err != nil {
		return err
	}
	if len(running) > 0 {
		return models.Errorf(models.Conflict, "%s runs in %s. Stop it there first.", app.Name, strings.Join(running, ", "))
	}
	return tx.Where("app_id = ?", app.ID).Delete(&models.Route{}).Error
}

func appChange(app *models.App, action string) change {
	return change{team: app.TeamID, action: action, subject: "app:" + app.ID, parent: "team:" + app.TeamID, name: app.Name,
		detail: map[string]string{"repository": app.RepositoryID, "dockerfile": app.Dockerfile, "context": app.Context, "builder": string(app.Builder)}}
}
