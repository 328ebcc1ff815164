package registries

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// Input is what an admin says of a registry. A secret that is left empty stays as it is, as long as the host does.
type Input struct {
	Name            string                `json:"name" form:"name"`
	Slug            string                `json:"slug" form:"slug"` // from the name where empty; it stays once it is chosen
	Kind            string                `json:"kind" form:"kind"` // it stays
	Host            string                `json:"host" form:"host"`
	PlainHTTP       bool                  `json:"plain_http" form:"plain_http"`
	Realm           string                `json:"realm" form:"realm"` // another host that may have the credential to give tokens for it
	Settings        map[string]string     `json:"settings"`           // by the names of the kind's fields, secrets among them
	AllTeams        models.RegistryAccess `json:"all_teams" form:"all_teams"`
	CheckRepository string                `json:"check_repository" form:"check_repository"`
}

// List returns all registries with their grants, for admins.
func (s *Service) List(ctx context.Context) ([]models.Registry, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	var all []models.Registry
	return all, s.DB.WithContext(ctx).Omit("secrets").Preload("Grants").Order("name").Find(&all).Error
}

// Get returns a registry with its grants and their teams, without its credential, for admins.
func (s *Service) Get(ctx context.Context, id string) (*models.Registry, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	var r models.Registry
	q := s.DB.WithContext(ctx).Omit("secrets").Preload("Grants", func(tx *gorm.DB) *gorm.DB { return tx.Order("team_id, prefix") }).Preload("Grants.Team")
	if err := q.First(&r, "id = ?", id).Error; err != nil {
		return nil, models.FromDB(err, "registry")
	}
	return &r, nil
}

// Create connects a registry and checks it. It is kept whatever the check says,
// so that a registry which is away for an hour can be connected too.
func (s *Service) Create(ctx context.Context, in Input) (*models.Registry, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	r := &models.Registry{ID: models.NewID(), Kind: in.Kind, Slug: strings.TrimSpace(in.Slug)}
	if r.Slug == "" {
		r.Slug = slugOf(in.Name)
	}
	if !models.ValidName(r.Slug) {
		return nil, models.InvalidField("slug", models.NameHelp)
	}
	return s.save(ctx, r, in, "registry.create")
}

// Update changes a registry and checks it anew; its kind and slug stay.
func (s *Service) Update(ctx context.Context, id string, in Input) (*models.Registry, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	r, err := s.registry(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.save(ctx, r, in, "registry.update")
}

func (s *Service) save(ctx context.Context, r *models.Registry, in Input, action string) (*models.Registry, error) {
	if err := s.fill(r, in); err != nil {
		return nil, err
	}
	if err := s.confirmRealm(ctx, r); err != nil {
		return nil, err
	}
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Omit("Grants").Save(r).Error; err != nil {
			return models.FromDB(err, "registry")
		}
		return record(ctx, tx, r, action, map[string]string{"kind": r.Kind, "host": r.Host})
	})
	if err != nil {
		return nil, err
	}
	s.forget(r.ID)
	if _, err := s.Check(ctx, r.ID); err != nil {
		return nil, err
	}
	return s.Get(ctx, r.ID)
}

// record writes the audit entry and the event of a change.
func record(ctx context.Context, tx *gorm.DB, r *models.Registry, action string, detail map[string]string) error {
	if err := audit.Record(ctx, tx, audit.Entry{Action: action, Subject: "registry:" + r.ID, Name: r.Name, Detail: detail}); err != nil {
		return err
	}
	return events.Publish(tx, models.Event{Kind: action, Topic: "registry:" + r.ID, Parent: "registries"})
}

// fill checks the input and puts it into the registry, secrets sealed.
func (s *Service) fill(r *models.Registry, in Input) error {
	kind, err := KindOf(r.Kind)
	if err != nil {
		return models.InvalidField("kind", "Choose a kind of registry.")
	}
	host, err := kind.hostOf(in.Host)
	if err != nil {
		return err
	}
	kept := map[string]string{}
	if host == r.Host && in.PlainHTTP == r.PlainHTTP { // a credential is not taken along to another place
		if kept, err = s.openSecrets(r); err != nil {
			return err
		}
	}
	name := strings.TrimSpace(in.Name)
	wrong := map[string]string{}
	if name == "" || len(name) > 80 || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		wrong["name"] = "Use 1 to 80 characters."
	}
	if !in.AllTeams.Valid() {
		wrong["all_teams"] = "Choose pull, push, or nothing."
	}
	repository := strings.Trim(strings.TrimSpace(in.CheckRepository), "/")
	if repository = strings.TrimPrefix(repository, host+"/"); repository != "" && !ValidRepository(repository) {
		wrong["check_repository"] = RepositoryHelp
	}
	realm := ""
	if strings.TrimSpace(in.Realm) != "" {
		if realm, err = cleanHost(in.Realm); err != nil {
			wrong["realm"] = "Give the host alone, such as auth.example.com."
		}
	}
	settings, secret := kind.split(in.Settings, kept, wrong)
	if err := models.InvalidFields(wrong); err != nil {
		return err
	}
	r.Name, r.Host, r.PlainHTTP, r.Realm, r.AllTeams, r.CheckRepository = name, host, in.PlainHTTP, realm, in.AllTeams, repository
	r.Settings = settings
	return s.sealSecrets(r, secret)
}

// split sorts the values of the kind's fields into those that may be shown and those that may not.
func (k Kind) split(given, kept, wrong map[string]string) (settings, secret map[string]string) {
	settings, secret = map[string]string{}, map[string]string{}
	for _, f := range k.Fields {
		value, to := strings.TrimSpace(given[f.Name]), settings
		if f.Secret {
			to = secret
			if value == "" {
				value = kept[f.Name]
			}
		}
		if f.Switch && value != "" {
			value = "true"
		}
		if len(value) > 16<<10 || strings.ContainsRune(value, 0) || !f.Long && strings.ContainsAny(value, "\r\n") {
			wrong[f.Name] = "This is too long, or not one line of text."
		}
		if value != "" {
			to[f.Name] = value
		}
	}
	k.complete(settings, secret, wrong)
	return settings, secret
}

// complete checks that a credential is whole, or that there is none where the kind can do without.
func (k Kind) complete(settings, secret, wrong map[string]string) {
	missing := func(value, field, message string) {
		if value == "" && wrong[field] == "" {
			wrong[field] = message
		}
	}
	if settings[fieldAmbient] == "true" {
		clear(secret)
		delete(settings, fieldAccessKey)
		delete(settings, fieldTarget)
		delete(settings, fieldAccount)
		return
	}
	if settings[fieldTarget] != "" {
		clear(secret)
		delete(settings, fieldAccessKey)
		delete(settings, fieldUser)
		if k.Name == KindGAR {
			missing(settings[fieldAccount], fieldAccount, "Name the service account that pulls and pushes.")
		}
		return
	}
	delete(settings, fieldAccount)
	switch k.Name {
	case KindECR:
		missing(settings[fieldAccessKey], fieldAccessKey, "Give an access key, or use the machine's own credentials.")
		missing(secret[fieldSecretKey], fieldSecretKey, "Give the access key's secret: it is asked for anew where the host changes.")
	case KindGAR:
		missing(secret[fieldServiceKP], fieldServiceKP, "Give the key, or use the machine's own credentials. It is asked for anew where the host changes.")
		if secret[fieldServiceKP] != "" && !googleKey(secret[fieldServiceKP]) {
			wrong[fieldServiceKP] = "This is not the JSON of a service account's key."
		}
	default:
		if settings[fieldUser] != "" {
			missing(secret[fieldPassword], fieldPassword, "Give the password or token: it is asked for anew where the host changes.")
		}
		if settings[fieldUser] == "" && secret[fieldPassword] != "" {
			missing("", fieldUser, "Give the user name that the password belongs to. To use the registry without a login, save once without both.")
		}
	}
	if pem := settings[fieldCA]; pem != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(pem)) {
		wrong[fieldCA] = "This is not a certificate in PEM."
	}
}

// slugOf makes a slug from a name.
func slugOf(text string) string {
	parts := strings.FieldsFunc(strings.ToLower(text), func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') })
	return strings.Trim(strings.Join(parts, "-")[:min(40, len(strings.Join(parts, "-")))], "-")
}

// Use is what makes use of a registry, and keeps it from being removed.
type Use struct {
	AppID, App, Team string
	Repository       string
}

// UsedBy lists apps whose images go to the registry, at most 100, for admins.
func (s *Service) UsedBy(ctx context.Context, id string) ([]Use, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	var apps []models.App
	err := s.DB.WithContext(ctx).Preload("Team").Where("registry_id = ?", id).Order("id").Limit(100).Find(&apps).Error
	var out []Use
	for _, a := range apps {
		out = append(out, Use{AppID: a.ID, App: a.Name, Team: a.Team.Slug, Repository: a.ImageRepository})
	}
	return out, err
}

// Delete forgets a registry, its credential and its grants. Images there stay.
// It is a Conflict while the images of an app go there, or a target pulls from it.
func (s *Service) Delete(ctx context.Context, id string) error {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return err
	}
	r, err := s.registry(ctx, id)
	if err != nil {
		return err
	}
	defer s.forget(id)
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var apps []string
		if err := tx.Model(&models.App{}).Where("registry_id = ?", id).Order("name").Limit(5).Pluck("name", &apps).Error; err != nil {
			return err
		}
		if len(apps) > 0 {
			return models.Errorf(models.Conflict, "The images of %s go to %s. Choose another registry in the build settings of these apps first.", strings.Join(apps, ", "), r.Name)
		}
		if err := targetsPullFrom(tx, r); err != nil {
			return err
		}
		if err := tx.Delete(&models.Registry{}, "id = ?", id).Error; err != nil {
			return fmt.Errorf("deleting a registry: %w", err)
		}
		return record(ctx, tx, r, "registry.delete", map[string]string{"kind": r.Kind, "host": r.Host})
	})
}

// targetsPullFrom is a Conflict while a target pulls from the registry, or what runs came from there.
func targetsPullFrom(tx *gorm.DB, r *models.Registry) error {
	var targets []models.Target
	if err := tx.Omit("secrets").Order("name").Find(&targets).Error; err != nil {
		return err
	}
	for _, t := range targets {
		if t.Settings[models.TargetRegistry] == r.ID {
			return models.Errorf(models.Conflict, "The target %s pulls from %s. Choose another registry in its settings first.", t.Name, r.Name)
		}
	}
	var runs []string
	err := tx.Model(&models.Deployment{}).Joins("JOIN apps ON apps.id = deployments.app_id").Where("copied_registry = ? AND active", r.ID).
		Order("apps.name").Limit(5).Pluck("apps.name", &runs).Error
	if err == nil && len(runs) > 0 {
		return models.Errorf(models.Conflict, "What runs of %s was copied to %s. Deploy it again from elsewhere first.", strings.Join(runs, ", "), r.Name)
	}
	return err
}

// GrantInput lets a team use the repositories of a registry that begin with a prefix.
type GrantInput struct {
	TeamID string                `json:"team_id" form:"team_id"`
	Prefix string                `json:"prefix" form:"prefix"` // such as acme; empty: all
	Access models.RegistryAccess `json:"access" form:"access"`
}

// Grant sets what a team may do in the repositories of the prefix; no access takes the grant back.
func (s *Service) Grant(ctx context.Context, id string, in GrantInput) error {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return err
	}
	r, err := s.registry(ctx, id)
	if err != nil {
		return err
	}
	prefix, ok := cleanPrefix(in.Prefix)
	switch {
	case !ok:
		return models.InvalidField("prefix", RepositoryHelp)
	case !in.Access.Valid():
		return models.InvalidField("access", "Choose pull or push.")
	}
	var team models.Team
	if err := s.DB.WithContext(ctx).Where("id = ? OR slug = ?", in.TeamID, in.TeamID).First(&team).Error; err != nil {
		if models.IsCode(models.FromDB(err, "team"), models.NotFound) {
			return models.InvalidField("team_id", "There is no such team.")
		}
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		row := models.RegistryGrant{RegistryID: id, TeamID: team.ID, Prefix: prefix, Access: in.Access}
		if err := tx.Delete(&models.RegistryGrant{}, "registry_id = ? AND team_id = ? AND prefix = ?", id, team.ID, prefix).Error; err != nil {
			return err
		}
		action := "registry.revoke"
		if in.Access != models.RegistryNone {
			action = "registry.grant"
			if err := tx.Create(&row).Error; err != nil {
				return models.FromDB(err, "grant")
			}
		}
		return record(ctx, tx, r, action, map[string]string{"team": team.Slug, "prefix": prefix, "access": string(in.Access)})
	})
}

// Granted is a registry as a team may use it.
type Granted struct {
	models.Registry
	Access []models.RegistryGrant // what the team may do where; a grant to every team has no prefix
}

// Granted lists the registries that the team may use, without their credentials.
func (s *Service) Granted(ctx context.Context, teamID string) ([]Granted, error) {
	if err := models.Authorize(ctx, teamID, models.RoleViewer, "team"); err != nil {
		return nil, err
	}
	var all []models.Registry
	mine := s.DB.Session(&gorm.Session{NewDB: true}).Model(&models.RegistryGrant{}).Select("registry_id").Where("team_id = ?", teamID)
	err := s.DB.WithContext(ctx).Omit("secrets", "settings").Preload("Grants", "team_id = ?", teamID).
		Where("all_teams <> '' OR id IN (?)", mine).Order("name").Find(&all).Error
	if err != nil {
		return nil, err
	}
	out := make([]Granted, 0, len(all))
	for _, r := range all {
		g := Granted{Registry: r, Access: r.Grants}
		if r.AllTeams != models.RegistryNone {
			g.Access = slices.Insert(slices.Clone(r.Grants), 0, models.RegistryGrant{RegistryID: r.ID, TeamID: teamID, Access: r.AllTeams})
		}
		g.Grants = nil
		out = append(out, g)
	}
	return out, nil
}
