// Package copies brings images from one registry to another, by their digests:
// whole indexes with all platforms, and on wish what is about them. A copy is a
// row and a job; whichever worker holds the row carries it, and another one goes
// on where a worker or a registry went away, without sending again what is there.
package copies

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/distribution"
	"slipway.dev/services/events"
	"slipway.dev/services/jobs"
	"slipway.dev/services/registries"
)

const (
	resolveWithin = 30 * time.Second
	sweepEvery    = time.Minute
)

// Service asks for copies and carries them.
type Service struct {
	DB         *models.Database
	Jobs       *jobs.Queue
	Registries *registries.Service
	// Standing returns the principal that asked for a copy as it is now, or Unauthorized where it is nobody any more.
	Standing func(ctx context.Context, p *models.Principal) (*models.Principal, error)

	Chunk int64         // bytes of a large blob that are sent at once; distribution's own where zero
	Stall time.Duration // how long no byte may move; 2 min where zero
	Pause time.Duration // before the first try after a failed one, then twice as long each time; 5 s where zero
}

// Job carries a copy.
type Job struct {
	CopyID string `json:"copy_id"`
}

// Kind names the job.
func (Job) Kind() string { return "copy" }

// Register names the work on copies to the queue.
func (s *Service) Register(q *jobs.Queue) {
	jobs.Register(q, s.Run)
	q.Every(sweepEvery, "looking for copies without a job", s.Sweep)
}

// Place is a repository in a registry; the empty id is the embedded registry.
type Place struct {
	RegistryID string
	Repository string // without the registry's host
}

// Input says what to copy where.
type Input struct {
	Source    Place
	Reference string // a tag or a digest
	Target    Place
	Tag       string // the image's tag at the target; empty: none
	Team      string // its slug; empty where one of the places is a team's own in the embedded registry
	Referrers bool   // also signatures, bills of materials and what else is about the image
}

var (
	tagPattern = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	tagHelp    = "A tag is made of at most 128 letters, digits, dots, hyphens and underscores and does not begin with a dot or hyphen."
)

// Create asks for a copy: of the digest that the reference names now. It is for
// those who may pull from the one and push to the other, as developers of the
// team that it is done for. The worker asks again.
func (s *Service) Create(ctx context.Context, in Input) (*models.Copy, error) {
	team, err := s.teamFor(ctx, in)
	if err != nil {
		return nil, err
	}
	if err := models.Authorize(ctx, team.ID, models.RoleDeveloper, "team"); err != nil {
		return nil, err
	}
	if err := validate(in); err != nil {
		return nil, err
	}
	c := newCopy(ctx, team, in)
	if err := s.resolve(ctx, c, in); err != nil {
		return nil, err
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return s.insert(ctx, tx, c) })
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Ensure is for what deploys: it asks for a copy of the image unless one to the
// same place is under way or was done, and returns it; whoever calls waits for
// its end by its events or asks again. It acts for the context's principal, as
// Create does, and takes no tag: the digest is what runs.
func (s *Service) Ensure(ctx context.Context, in Input) (*models.Copy, error) {
	team, err := s.teamFor(ctx, in)
	if err != nil {
		return nil, err
	}
	if err := models.Authorize(ctx, team.ID, models.RoleDeveloper, "team"); err != nil {
		return nil, err
	}
	var known []models.Copy
	err = s.DB.WithContext(ctx).Where("team_id = ? AND digest = ? AND source_registry = ? AND source_repository = ?", team.ID, in.Reference, in.Source.RegistryID, in.Source.Repository).
		Where("target_registry = ? AND target_repository = ? AND state IN ?", in.Target.RegistryID, in.Target.Repository, []models.CopyState{models.CopyQueued, models.CopyRunning, models.CopySucceeded}).
		Order("id DESC").Limit(1).Find(&known).Error
	if err != nil {
		return nil, fmt.Errorf("looking for a copy: %w", err)
	}
	if len(known) == 1 && (known[0].State != models.CopySucceeded || s.there(ctx, &known[0])) {
		return &known[0], nil
	}
	return s.Create(ctx, in)
}

// there tells whether what was copied is still at the target.
func (s *Service) there(ctx context.Context, c *models.Copy) bool {
	ctx, cancel := context.WithTimeout(asSlipway(ctx), resolveWithin)
	defer cancel()
	target, err := s.open(ctx, Place{c.Target.Registry, c.Target.Repository}, false)
	if err != nil {
		return false
	}
	ok, err := target.repository.HasManifest(ctx, digestOf(c))
	return err == nil && ok
}

func validate(in Input) error {
	wrong := map[string]string{}
	if !registries.ValidRepository(in.Source.Repository) {
		wrong["source"] = registries.RepositoryHelp
	}
	if !registries.ValidRepository(in.Target.Repository) {
		wrong["repository"] = registries.RepositoryHelp
	}
	if in.Target.RegistryID == "" && models.Cached(in.Target.Repository) {
		wrong["repository"] = "What is below " + models.CachePrefix + " is fetched by the cache; nothing can be pushed there."
	}
	if in.Tag != "" && !tagPattern.MatchString(in.Tag) {
		wrong["tag"] = tagHelp
	}
	if in.Reference == "" {
		wrong["reference"] = "Say which image: a tag or a digest."
	} else if !strings.Contains(in.Reference, ":") && !tagPattern.MatchString(in.Reference) {
		wrong["reference"] = tagHelp
	} else if _, err := distribution.ParseDigest(in.Reference); strings.Contains(in.Reference, ":") && err != nil {
		wrong["reference"] = "This is no SHA-256 or SHA-512 digest."
	}
	return models.InvalidFields(wrong)
}

// teamFor returns the team that the copy is done for: the owner of the target, the one that was named, or the owner of the source.
func (s *Service) teamFor(ctx context.Context, in Input) (*models.Team, error) {
	slug := in.Team
	for _, p := range []Place{in.Source, in.Target} {
		owner, _, ok := strings.Cut(p.Repository, "/")
		if p.RegistryID == "" && ok && !models.Cached(p.Repository) && (slug == "" || p == in.Target) {
			slug = owner
		}
	}
	if slug == "" {
		return nil, models.InvalidField("team", "Say for which team this is.")
	}
	var team models.Team
	if err := s.DB.WithContext(ctx).Where("slug = ?", slug).Take(&team).Error; err != nil {
		return nil, models.FromDB(err, "team")
	}
	return &team, nil
}

func newCopy(ctx context.Context, team *models.Team, in Input) *models.Copy {
	c := &models.Copy{
		ID: models.NewID(), TeamID: team.ID, Team: team, State: models.CopyQueued, TargetTag: in.Tag, Referrers: in.Referrers,
		Source: models.ImagePlaceName{Registry: in.Source.RegistryID, Repository: in.Source.Repository},
		Target: models.ImagePlaceName{Registry: in.Target.RegistryID, Repository: in.Target.Repository},
	}
	if !strings.Contains(in.Reference, ":") {
		c.SourceTag = in.Reference
	}
	p := models.PrincipalFrom(ctx) // Authorize has seen one
	c.AskedKind, c.AskedID, c.CreatedBy, c.CreatedByName = p.Kind, p.ID, p.UserID, p.Name
	return c
}

// resolve asks whether the principal may, opens both places and finds the digest that is copied.
func (s *Service) resolve(ctx context.Context, c *models.Copy, in Input) error {
	if _, err := s.Registries.Open(ctx, in.Source.RegistryID, in.Source.Repository, registries.Pull); err != nil {
		return err
	}
	if _, err := s.Registries.Open(ctx, in.Target.RegistryID, in.Target.Repository, registries.Pull, registries.Push); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(asSlipway(ctx), resolveWithin)
	defer cancel()
	source, err := s.open(ctx, in.Source, false)
	if err != nil {
		return tell(err, "source")
	}
	target, err := s.open(ctx, in.Target, true)
	if err != nil {
		return tell(err, "repository")
	}
	c.Source.Host, c.Target.Host = source.host(), target.host()
	m, err := source.repository.Manifest(ctx, in.Reference)
	if err != nil {
		return tell(&placeError{place: source.name(), own: in.Source.RegistryID == "", reading: true, err: err}, "reference")
	}
	c.Digest = m.Digest.String()
	return nil
}

// insert writes the copy with its audit entry, its event and its job.
func (s *Service) insert(ctx context.Context, tx *gorm.DB, c *models.Copy) error {
	c.CreatedAt = s.DB.NowFunc()
	if err := tx.Omit("Team").Create(c).Error; err != nil {
		return fmt.Errorf("asking for a copy: %w", err)
	}
	if err := s.record(ctx, tx, c, "copy.create"); err != nil {
		return err
	}
	return s.Jobs.Insert(ctx, tx, jobs.QueueCopies, Job{CopyID: c.ID})
}

// record writes the audit entry of what a person did, and the event.
func (s *Service) record(ctx context.Context, tx *gorm.DB, c *models.Copy, action string) error {
	err := audit.Record(ctx, tx, audit.Entry{TeamID: c.TeamID, Action: action, Subject: Topic(c.ID), Name: c.From(),
		Detail: map[string]string{"digest": c.Digest, "to": c.To()}})
	if err != nil {
		return err
	}
	return publish(tx, c, "copy."+string(c.State))
}

// Topic is the event topic of a copy.
func Topic(id string) string { return "copy:" + id }

// publish tells the pages of the copy and of its team.
func publish(tx *gorm.DB, c *models.Copy, kind string) error {
	return events.Publish(tx, models.Event{TeamID: c.TeamID, Kind: kind, Topic: Topic(c.ID), Parent: "copies",
		Data: map[string]string{"state": string(c.State), "digest": c.Digest}})
}
