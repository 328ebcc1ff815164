package deploy

import (
	"context"
	"net/url"
	"strings"
	"time"
	"unicode"

	"slipway.dev/models"
)

const (
	tellTime     = 20 * time.Second // for a provider to tell what it knows of a release
	maxResources = 500
	maxEvents    = 100
	maxText      = 2000 // bytes of what a provider says of one thing
)

// Tells says of which a deployment's target can tell: what it made, and what its provider says happened.
func (s *Service) Tells(ctx context.Context, d *models.Deployment) (resources, events bool) {
	if d.Environment == nil {
		return false, false
	}
	target, err := s.target(ctx, d.Environment.TargetID)
	if err != nil {
		return false, false
	}
	_, resources = target.(Ledger)
	_, events = target.(Reporter)
	return resources, events
}

// Resources lists what the target made for the deployment, with its app and its environment, where the target keeps a list.
func (s *Service) Resources(ctx context.Context, id string) ([]Resource, error) {
	d, target, err := s.onTarget(ctx, id)
	if err != nil {
		return nil, err
	}
	ledger, ok := target.(Ledger)
	if !ok {
		return nil, models.Errorf(models.Conflict, "The target of %s keeps no list of what it made: its instances are all.", d.Environment.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	found, err := ledger.Resources(ctx, d.ID)
	if err != nil {
		return nil, s.silent(ctx, d, err)
	}
	return tidyResources(found), nil
}

// Events lists what the target's provider says happened to the deployment, the newest first, where it tells.
func (s *Service) Events(ctx context.Context, id string) ([]Event, error) {
	d, target, err := s.onTarget(ctx, id)
	if err != nil {
		return nil, err
	}
	reporter, ok := target.(Reporter)
	if !ok {
		return nil, models.Errorf(models.Conflict, "The target of %s tells of no events.", d.Environment.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, tellTime)
	defer cancel()
	found, err := reporter.Events(ctx, d.ID)
	if err != nil {
		return nil, s.silent(ctx, d, err)
	}
	mask := s.maskerOf(d)
	found = found[:min(len(found), maxEvents)]
	for i := range found {
		found[i].Object, found[i].Text = oneLine(found[i].Object), mask.Mask(oneLine(found[i].Text))
	}
	return found, nil
}

// onTarget is a deployment and the target that it is on, for the team's viewers.
func (s *Service) onTarget(ctx context.Context, id string) (*models.Deployment, Target, error) {
	d, err := s.deployment(ctx, id, models.RoleViewer)
	if err != nil {
		return nil, nil, err
	}
	target, err := s.target(ctx, d.Environment.TargetID)
	return d, target, err
}

// silent says of a provider that gave no answer what people can read.
func (s *Service) silent(ctx context.Context, d *models.Deployment, err error) error {
	if ctx.Err() != nil {
		return &models.Error{Code: models.Unavailable, Message: "The provider of the target " + d.Environment.Target.Name + " did not answer within " + tellTime.String() + ". Try again later.", Err: err}
	}
	return forPeople(err)
}

// tidyResources leaves out what is no link to a page.
func tidyResources(found []Resource) []Resource {
	found = found[:min(len(found), maxResources)]
	for i := range found {
		found[i].Kind, found[i].Name, found[i].Link = oneLine(found[i].Kind), oneLine(found[i].Name), safeLink(found[i].Link)
	}
	return found
}

// oneLine is a provider's text without what a page can't show, of bounded length.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, text[:min(len(text), maxText)])
	return strings.ToValidUTF8(text, "")
}

// safeLink is the link where it is one that a page may have: https with a host and no login.
func safeLink(link string) string {
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return ""
	}
	return u.String()
}
