package retention

import (
	"fmt"
	"regexp"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/registry"
)

const cacheTag = "buildcache" // of the build cache beside an app's images

// use says that something outside of the repository's rules needs a manifest or what a tag names.
type use struct {
	Digest string
	Tag    string
	kind   models.RetentionKind
	text   string
}

// uses finds everything that needs a manifest of the repository, the weightiest first.
func (s *Service) uses(db *gorm.DB, repository models.RegistryRepository, st *state, rollbacks int) ([]use, error) {
	var all []use
	for _, find := range []func() ([]use, error){
		func() ([]use, error) { return serving(db, repository.Name) },
		func() ([]use, error) { return ran(db, repository.Name, rollbacks) },
		func() ([]use, error) { return building(db, repository) },
		func() ([]use, error) { return s.protected(db, repository.Name, st) },
		func() ([]use, error) { return restorable(db, repository.Name) },
		func() ([]use, error) { return bases(db, repository.Name) },
	} {
		found, err := find()
		if err != nil {
			return nil, fmt.Errorf("looking for what uses images of %s: %w", repository.Name, err)
		}
		all = append(all, found...)
	}
	return append(all, use{Tag: cacheTag, kind: models.KeptCache, text: "builds read their cache from it"}), nil
}

// inRepository are the digests of the repository: an image counts as used wherever it was deployed from.
const inRepository = "IN (SELECT digest FROM registry_manifests WHERE repository = ?)"

// place is where an image runs or ran.
type place struct{ Digest, App, Environment, State string }

// serving finds what runs, what is about to, and what has not gone yet.
func serving(db *gorm.DB, name string) ([]use, error) {
	var places []place
	err := db.Raw(`SELECT deployments.image_digest AS digest, apps.name AS app, environments.name AS environment, deployments.state FROM deployments
		JOIN apps ON apps.id = deployments.app_id JOIN environments ON environments.id = deployments.environment_id
		WHERE deployments.image_digest `+inRepository+` AND `+registry.Serving+` ORDER BY environments.position, environments.name`, name).Scan(&places).Error
	var out []use
	for _, p := range places {
		u := use{Digest: p.Digest, kind: models.KeptRuns, text: p.App + " runs it in " + p.Environment}
		if !models.DeploymentState(p.State).Ended() {
			u.kind, u.text = models.KeptPending, "a deployment of "+p.App+" to "+p.Environment+" is "+p.State
		}
		out = append(out, u)
	}
	return out, err
}

// ran finds what the last deployments of each app and environment ran. The same
// image deployed twice counts once, so that restarts push nothing out.
func ran(db *gorm.DB, name string, rollbacks int) ([]use, error) {
	var places []place
	err := db.Raw(`SELECT x.digest, apps.name AS app, environments.name AS environment FROM (
			SELECT image_digest AS digest, app_id, environment_id,
				ROW_NUMBER() OVER (PARTITION BY app_id, environment_id ORDER BY MAX(id) DESC) AS place
			FROM deployments WHERE state IN ('succeeded', 'rolled_back')
				AND app_id IN (SELECT app_id FROM deployments WHERE image_digest `+inRepository+`)
			GROUP BY app_id, environment_id, image_digest) x
		JOIN apps ON apps.id = x.app_id JOIN environments ON environments.id = x.environment_id
		WHERE x.place <= ? ORDER BY environments.position, environments.name`, name, rollbacks).Scan(&places).Error
	var out []use
	for _, p := range places {
		out = append(out, use{Digest: p.Digest, kind: models.KeptRollback, text: p.App + " ran it in " + p.Environment + " and can go back to it"})
	}
	return out, err
}

// building finds what builds that have not ended name: the image that they made, and their own tag.
func building(db *gorm.DB, repository models.RegistryRepository) ([]use, error) {
	_, app, _ := strings.Cut(repository.Name, "/")
	var builds []models.Build
	err := db.Select("builds.number", "builds.state", "builds.image_digest").Joins("JOIN apps ON apps.id = builds.app_id").
		Where("builds.team_id = ? AND builds.state IN ?", repository.TeamID, []models.BuildState{models.BuildWaiting, models.BuildQueued, models.BuildRunning}).
		Where("builds.image_digest <> '' OR apps.name = ?", app).Find(&builds).Error
	var out []use
	for _, b := range builds {
		text := "build " + b.Title() + " is " + string(b.State)
		if b.ImageDigest != "" {
			out = append(out, use{Digest: b.ImageDigest, kind: models.KeptBuild, text: text})
		}
		out = append(out, use{Tag: fmt.Sprintf("build-%d", b.Number), kind: models.KeptBuild, text: text})
	}
	return out, err
}

// protected asks which tags may not be deleted.
func (s *Service) protected(db *gorm.DB, name string, st *state) ([]use, error) {
	why, err := s.Registry.KeptTags(db, name, st.allTags(name))
	var out []use
	for tag, reason := range why {
		if reason != "" {
			out = append(out, use{Tag: tag, kind: models.KeptProtected, text: reason})
		}
	}
	return out, err
}

// restorable finds what a deletion needs to be undone exactly: the images of deleted tags, and the platforms of deleted indexes.
func restorable(db *gorm.DB, name string) ([]use, error) {
	var digests []string
	err := db.Raw(`SELECT t.digest FROM registry_deleted_tags t JOIN registry_deletions d ON d.id = t.deletion_id
			WHERE t.repository = ? AND d.kind = 'tag'
		UNION SELECT x.child FROM registry_manifests m JOIN registry_deleted_references x ON x.child = m.digest AND x.repository = m.repository
			WHERE m.repository = ?`, name, name).Scan(&digests).Error
	var out []use
	for _, d := range digests {
		out = append(out, use{Digest: d, kind: models.KeptDeleted, text: "a deletion that can be undone needs it"})
	}
	return out, err
}

// bases finds images that a Dockerfile names: that of the newest build of each app.
func bases(db *gorm.DB, name string) ([]use, error) {
	var texts []string
	err := db.Raw(`SELECT f.text FROM build_dockerfiles f
		WHERE f.build_id IN (SELECT MAX(b.id) FROM builds b JOIN build_dockerfiles o ON o.build_id = b.id GROUP BY b.app_id)
		AND f.text LIKE ?`, "%/"+name+"%").Scan(&texts).Error
	if err != nil {
		return nil, err
	}
	named := regexp.MustCompile(`/` + regexp.QuoteMeta(name) + `(?::([A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(sha(?:256|512):[0-9a-f]+))?(?:\s|$)`)
	var out []use
	for _, text := range texts {
		for _, m := range named.FindAllStringSubmatch(text, 100) {
			u := use{Tag: m[1], Digest: m[2], kind: models.KeptBase, text: "a Dockerfile builds on it"}
			if u.Tag == "" && u.Digest == "" {
				u.Tag = "latest"
			}
			if u.Digest != "" {
				u.Tag = ""
			}
			out = append(out, u)
		}
	}
	return out, nil
}
