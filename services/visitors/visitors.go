// Package visitors says how visitors reach apps: at which host names and
// paths, within which limits, and when not at all. What it stores takes effect
// in every proxy at once (package proxy), without a deployment.
package visitors

import (
	"context"
	"net"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// Service keeps addresses, domains, limits and maintenance.
type Service struct {
	DB *models.Database
	// Resolver looks up the records that prove domains; the system's where nil.
	Resolver *net.Resolver
	Portal   string // the portal's own host, without port: no app answers there
	Apps     string // the domain below which every place has a host name of its own

	// Front says of environments on a kind of target whether it sends visitors itself, so that they never come to the
	// proxies, and whether it takes the teams' own hosts then. Nil: all come to the proxies.
	Front func(kind string) (itself, domains bool)
	// Changed, where set, is called in the transaction in which it changes where visitors of the team's hosts are sent:
	// those of one place, or of any of the team's where environmentID is empty.
	Changed func(ctx context.Context, tx *gorm.DB, teamID, environmentID, appID string) error
}

func (s *Service) now() time.Time { return s.DB.NowFunc() }

func (s *Service) resolver() *net.Resolver {
	if s.Resolver != nil {
		return s.Resolver
	}
	return net.DefaultResolver
}

// place is an app in an environment of the same team.
type place struct {
	models.Environment
	App models.App
}

// place returns the place where the principal has the role in its team.
func (s *Service) place(ctx context.Context, environmentID, appID string, role models.Role) (*place, error) {
	var p place
	db := s.DB.WithContext(ctx)
	if err := db.First(&p.Environment, "id = ?", environmentID).Error; err != nil {
		return nil, models.FromDB(err, "environment")
	}
	if err := models.Authorize(ctx, p.TeamID, role, "environment"); err != nil {
		return nil, err
	}
	if err := db.Limit(1).Find(&p.App, "id = ? AND team_id = ?", appID, p.TeamID).Error; err != nil {
		return nil, err
	}
	if p.App.ID == "" {
		return nil, models.InvalidField("app_id", "The environment's team has no such app.")
	}
	return &p, nil
}

// stage is place for its team's maintainers, of those whose visitors people may lead.
func (s *Service) stage(ctx context.Context, environmentID, appID string) (*place, error) {
	p, err := s.place(ctx, environmentID, appID, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	return p, p.OfPeople()
}

// environment returns the environment where the principal may look at it.
func (s *Service) environment(ctx context.Context, id string) (*models.Environment, error) {
	var e models.Environment
	if err := s.DB.WithContext(ctx).First(&e, "id = ?", id).Error; err != nil {
		return nil, models.FromDB(err, "environment")
	}
	return &e, models.Authorize(ctx, e.TeamID, models.RoleViewer, "environment")
}

// changed records what was done to the place and tells the proxies and the pages.
func (p *place) changed(ctx context.Context, tx *gorm.DB, what, name string, detail map[string]string) error {
	if detail == nil {
		detail = map[string]string{}
	}
	detail["environment"], detail["app"] = p.Name, p.App.Name
	subject := "environment:" + p.Environment.ID
	if err := audit.Record(ctx, tx, audit.Entry{TeamID: p.TeamID, Action: what, Subject: subject, Name: name, Detail: detail}); err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: p.TeamID, Kind: kind(what), Topic: subject, Parent: "team:" + p.TeamID})
}

// kind is the event of an action; proxies look anew after each.
func kind(action string) string { return models.VisitorEvents + action }

// actor is who the context acts for, for people.
func actor(ctx context.Context) string {
	if who := models.PrincipalFrom(ctx); who != nil {
		return who.Name
	}
	return ""
}
