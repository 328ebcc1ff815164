package deploy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"slipway.dev/models"
)

const (
	plansOnPage = 20  // of a promotion: each asks the registry and the target
	plansAtOnce = 4   // of those
	maxPromoted = 100 // in one call

	plansTime = 20 * time.Second // for all plans of a page
)

// PromotionFilter says from where to where.
type PromotionFilter struct {
	models.Page
	EnvironmentID string // that apps are promoted to
	FromID        string // empty: the environment to its left
}

// Promotion is all that can be promoted from one environment to another of its team.
type Promotion struct {
	From, To *models.Environment
	Items    []PromotionItem // in the order of the apps' names, at most 20
	Total    int             // of all pages
	Next     string
}

// PromotionItem is an app whose image in the one environment is not that of the other.
type PromotionItem struct {
	App     models.App
	Source  *models.Deployment // what serves there
	Step    Step
	Plan    *Plan  // nil where Refused says why there is none
	Refused string // why it can't be promoted; empty: it can be
}

// Promotions looks at what promoting would bring, app by app. It changes nothing.
func (s *Service) Promotions(ctx context.Context, f PromotionFilter) (*Promotion, error) {
	p, b, err := s.promotion(ctx, f.EnvironmentID, f.FromID, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	var ahead []PromotionItem
	for _, a := range b.Apps {
		if item, ok := b.promotable(p, a); ok {
			ahead = append(ahead, item)
		}
	}
	p.Total = len(ahead)
	slices.SortFunc(ahead, func(a, b PromotionItem) int { return strings.Compare(a.App.Name, b.App.Name) }) // as the cursor compares; PostgreSQL may have another order
	ahead = slices.DeleteFunc(ahead, func(i PromotionItem) bool { return f.Cursor != "" && i.App.Name <= f.Cursor })
	size := plansOnPage
	if f.Limit > 0 {
		size = min(f.Limit, plansOnPage)
	}
	if len(ahead) > size {
		ahead = ahead[:size]
		p.Next = ahead[size-1].App.Name
	}
	p.Items = ahead
	return p, s.planAll(ctx, p)
}

// promotion finds both environments and what runs in them.
func (s *Service) promotion(ctx context.Context, toID, fromID string, role models.Role) (*Promotion, *Board, error) {
	to, err := s.stage(ctx, toID, role)
	if err != nil {
		return nil, nil, err
	}
	b, err := s.Board(ctx, BoardFilter{TeamID: to.TeamID, Whole: true})
	if err != nil {
		return nil, nil, err
	}
	p := &Promotion{To: to}
	if fromID == "" {
		left, ok := b.Left(to.ID)
		if !ok {
			return nil, nil, models.Errorf(models.Conflict, "%s is the first environment of the board, so nothing is promoted to it. Choose one to its right.", to.Name)
		}
		p.From = left
		return p, b, nil
	}
	i := slices.IndexFunc(b.Environments, func(e models.Environment) bool { return e.ID == fromID && e.ID != to.ID })
	if i < 0 {
		return nil, nil, models.InvalidField("from_id", "Choose another environment of the same team.")
	}
	p.From = &b.Environments[i]
	return p, b, nil
}

// promotable is the app where what serves in the one environment is not what the other one has or gets already.
func (b *Board) promotable(p *Promotion, a models.App) (PromotionItem, bool) {
	left, here := b.Cell(p.From.ID, a.ID), b.Cell(p.To.ID, a.ID)
	if left.Active == nil {
		return PromotionItem{}, false
	}
	step := here.Step
	if step == nil || step.From.ID != p.From.ID {
		step = stepOf(a.RepositoryID, p.From, left, here, nil)
	}
	return PromotionItem{App: a, Source: left.Active, Step: *step}, step.Promote
}

// planAll makes the plans, a few at a time. What a slow registry or target leaves no time for says so.
func (s *Service) planAll(ctx context.Context, p *Promotion) error {
	limited, cancel := context.WithTimeout(ctx, plansTime)
	defer cancel()
	group, limited := errgroup.WithContext(limited)
	group.SetLimit(plansAtOnce)
	for i := range p.Items {
		item := &p.Items[i]
		group.Go(func() error {
			plan, err := s.Plan(limited, inputOf(p.To.ID, item.Source))
			if told := new(models.Error); errors.As(err, &told) {
				item.Refused = told.Message
				return nil
			}
			if errors.Is(limited.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
				item.Refused = "The registry or the target is too slow to look at all apps now. Open this one alone, or try again."
				return nil
			}
			if err == nil {
				item.take(plan)
			}
			return err
		})
	}
	return group.Wait()
}

// take adds the plan, and which rule is against it.
func (i *PromotionItem) take(plan *Plan) {
	i.Plan = plan
	for _, c := range plan.Checks {
		if c.Gate && !c.OK {
			i.Refused = c.Message
			return
		}
	}
}

// inputOf asks for the very image of a deployment.
func inputOf(environmentID string, d *models.Deployment) Input {
	in := Input{EnvironmentID: environmentID, AppID: d.AppID}
	if d.BuildID != nil {
		in.BuildID = *d.BuildID
	} else {
		in.Image = d.ImageRepository + "@" + d.ImageDigest
	}
	return in
}

// PromoteInput says what to promote.
type PromoteInput struct {
	EnvironmentID string
	FromID        string // empty: the environment to the left
	Apps          []PromoteApp
	Reason        string // why it is asked for; a maintainer's is needed during a freeze
}

// PromoteApp is one app to promote, and what was looked at.
type PromoteApp struct {
	AppID      string
	Digest     string // that served in the environment it comes from; empty: whichever does
	ConfigHash string // of the plan; empty: any
}

// Promoted is what became of one app.
type Promoted struct {
	App        models.App
	Deployment *models.Deployment // nil where it was refused
	Refused    string             // why
}

// Promote deploys what serves in one environment to another one of the team: for each app a deployment of its own, of the
// very digest. What is refused says why and keeps nothing else back.
func (s *Service) Promote(ctx context.Context, in PromoteInput) ([]Promoted, error) {
	p, b, err := s.promotion(ctx, in.EnvironmentID, in.FromID, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	switch {
	case len(in.Apps) == 0:
		return nil, models.InvalidField("apps", "Choose at least one app.")
	case len(in.Apps) > maxPromoted:
		return nil, models.InvalidField("apps", "At most %d apps at once.", maxPromoted)
	case len(strings.TrimSpace(in.Reason)) > maxReason:
		return nil, models.InvalidField("reason", "At most %d bytes.", maxReason)
	}
	var out []Promoted
	done := map[string]bool{}
	for _, chosen := range in.Apps {
		i := slices.IndexFunc(b.Apps, func(a models.App) bool { return a.ID == chosen.AppID })
		if i < 0 {
			return nil, models.InvalidField("apps", "The environment's team has no app %s.", chosen.AppID)
		}
		if done[chosen.AppID] {
			continue
		}
		done[chosen.AppID] = true
		result := Promoted{App: b.Apps[i]}
		result.Deployment, err = s.promote(ctx, p, b, chosen, in.Reason)
		if told := new(models.Error); errors.As(err, &told) {
			result.Refused = told.Message
		} else if err != nil {
			return nil, err
		}
		out = append(out, result)
	}
	return out, nil
}

// promote deploys one app, unless its place has or gets that image already.
func (s *Service) promote(ctx context.Context, p *Promotion, b *Board, chosen PromoteApp, reason string) (*models.Deployment, error) {
	left, here := b.Cell(p.From.ID, chosen.AppID), b.Cell(p.To.ID, chosen.AppID)
	switch {
	case left.Active == nil:
		return nil, models.Errorf(models.Conflict, "Nothing serves in %s, so there is nothing to promote.", p.From.Name)
	case chosen.Digest != "" && chosen.Digest != left.Active.ImageDigest:
		return nil, models.Errorf(models.Conflict, "%s runs another image than when you looked. Look at what changes, and promote again.", p.From.Name)
	case here.Active != nil && here.Active.ImageDigest == left.Active.ImageDigest && (here.Latest == nil || here.Latest.State.Ended()):
		return nil, models.Errorf(models.Conflict, "%s runs this image already.", p.To.Name)
	case here.Latest != nil && !here.Latest.State.Ended() && here.Latest.ImageDigest == left.Active.ImageDigest:
		return nil, models.Errorf(models.Conflict, "Deployment %s of this image is %s already.", here.Latest.Title(), sayState(here.Latest.State))
	}
	input := inputOf(p.To.ID, left.Active)
	input.ConfigHash, input.Reason = chosen.ConfigHash, reason
	return s.Deploy(ctx, input)
}

// Origin is where an image is promoted from, and how what runs there differs from what would run.
type Origin struct {
	Deployment *models.Deployment // with Environment; what serves there
	Settings   []Difference       // there, and as it would be
	OnlyThere  []string           // variables and secrets that only what serves there has
	OnlyHere   []string           // variables and secrets that only what would run has
}

// Origin compares a plan with what serves in another environment of the team. Where that does not run the plan's image
// the error says so.
func (s *Service) Origin(ctx context.Context, p *Plan, environmentID string) (*Origin, error) {
	e, err := s.stage(ctx, environmentID, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	d, err := s.current(ctx, &place{Environment: e, App: p.App})
	if err != nil {
		return nil, err
	}
	if d == nil || d.ImageDigest != p.Image.Digest {
		return nil, models.Errorf(models.Conflict, "%s does not run this image any more.", e.Name)
	}
	d.Environment = e
	o := &Origin{Deployment: d, Settings: differences(d.Config, p.Config)}
	for _, c := range append(compare(d.Config.Variables, p.Config.Variables), compare(d.Config.Secrets, p.Config.Secrets)...) {
		switch c.Kind {
		case "added":
			o.OnlyHere = append(o.OnlyHere, c.Name)
		case "removed":
			o.OnlyThere = append(o.OnlyThere, c.Name)
		}
	}
	return o, nil
}
