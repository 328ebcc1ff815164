package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"
	"gorm.io/gorm"
	"slipway.dev/models"
)

const (
	gateFreeze   = "Freeze"   // a maintainer may overrule it by saying why
	gateApproval = "Approval" // it is waited for
)

// gate is one of the environment's rules, and whether the image passes it.
func gate(name string, ok bool, format string, args ...any) Check {
	return Check{Name: name, OK: ok, Message: fmt.Sprintf(format, args...), Gate: true}
}

// gates looks at what the environment's protection says of the image now. An
// approval that is needed stops nothing yet: the deployment waits for it.
func (s *Service) gates(ctx context.Context, tx *gorm.DB, p *place, c *Choice, reason string) ([]Check, error) {
	rules := p.Environment.Protection
	var out []Check
	bad, err := badImage(tx, p.App.TeamID, c.Digest)
	if err != nil {
		return nil, err
	}
	if bad != nil {
		out = append(out, gate("Image marked bad", false, "%s marked this image as bad%s. Choose another one, or take the mark away.", bad.MarkedByName, because(bad.Reason)))
	}
	if len(rules.Branches) > 0 {
		b, err := s.builtOf(tx, p.App.ID, c, rules.Branches)
		if err != nil {
			return nil, err
		}
		out = append(out, branchGate(rules.Branches, b))
	}
	if rules.After != "" {
		after, err := s.orderGate(tx, p, c, rules.After)
		if err != nil {
			return nil, err
		}
		out = append(out, after)
	}
	if f, until, frozen := rules.Frozen(s.now()); frozen {
		out = append(out, s.freezeGate(ctx, p, f, until, reason))
	} else if len(rules.Freezes) > 0 {
		out = append(out, gate(gateFreeze, true, "None is on now."))
	}
	if rules.Approvals > 0 {
		out = append(out, gate(gateApproval, true, "It waits until %s of %s other than the one who asks %s approved it.",
			count(rules.Approvals, "maintainer", "maintainers"), p.Team.Name, haveHas(rules.Approvals)))
	}
	return out, nil
}

// gatesOf looks at what the environment's protection says by now of a deployment that was asked for before.
func (s *Service) gatesOf(ctx context.Context, tx *gorm.DB, p *place, d *models.Deployment) ([]Check, error) {
	all, err := s.gates(ctx, tx, p, &Choice{Image: imageOf(d), Build: d.Build}, "")
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(all, func(g Check) bool { return g.Name == gateFreeze && !g.OK }); i >= 0 {
		who, why, err := overruling(tx, p.Environment.Protection, d)
		if err != nil {
			return nil, err
		}
		if why != "" {
			all[i] = gate(gateFreeze, true, "%s deploys all the same: %s", who, why)
		}
	}
	return all, nil
}

// overruling returns which maintainer lets the deployment through a freeze, and why: one who asked for it or approved it
// while things were frozen already and said so. What was said before, such as that a build was good, was said of
// something else. Nothing: nobody does.
func overruling(tx *gorm.DB, rules models.Protection, d *models.Deployment) (who, why string, err error) {
	words := []models.Approval{{UserID: d.CreatedBy, UserName: d.CreatedByName, Comment: d.Reason, CreatedAt: d.CreatedAt}}
	for _, w := range append(words, d.Approvals...) {
		why := strings.TrimSpace(w.Comment)
		if _, _, during := rules.Frozen(w.CreatedAt); !during || why == "" {
			continue
		}
		if ok, err := maintains(tx, w.UserID, d.TeamID); ok || err != nil {
			return w.UserName, why, err
		}
	}
	return "", "", nil
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + strings.TrimRight(reason, ".")
}

func haveHas(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}

// builtOf is the build of the image that the branches let in, for several builds can make one image, of several
// branches; else the one that the image is known by.
func (s *Service) builtOf(tx *gorm.DB, appID string, c *Choice, globs []string) (*models.Build, error) {
	var all []models.Build
	err := tx.Where("app_id = ? AND image_digest = ? AND state = ? AND ref_kind = 'branch' AND NOT untrusted", appID, c.Digest, models.BuildSucceeded).
		Order("number DESC").Limit(100).Find(&all).Error
	if i := slices.IndexFunc(all, func(b models.Build) bool { return matches(globs, b.Ref) }); i >= 0 {
		return &all[i], err
	}
	return c.Build, err
}

// branchGate lets builds of the branches in.
func branchGate(globs []string, b *models.Build) Check {
	allowed := strings.Join(globs, ", ")
	switch {
	case b == nil:
		return gate("Branch", false, "Only builds of %s may be deployed here, and Slipway did not build this image.", allowed)
	case b.RefKind != "branch" || b.Untrusted || !matches(globs, b.Ref):
		return gate("Branch", false, "Only builds of %s may be deployed here, and build %s is of %s.", allowed, b.Title(), b.Ref)
	}
	return gate("Branch", true, "Build %s is of %s.", b.Title(), b.Ref)
}

func matches(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(g string) bool {
		ok, err := doublestar.Match(g, name)
		return ok && err == nil
	})
}

// orderGate lets in what has succeeded in the environment before.
func (s *Service) orderGate(tx *gorm.DB, p *place, c *Choice, after string) (Check, error) {
	var before models.Environment
	if err := tx.Select("id", "name").Limit(1).Find(&before, "id = ? AND team_id = ?", after, p.App.TeamID).Error; err != nil {
		return Check{}, err
	}
	if before.ID == "" {
		return gate("Order", true, "The environment that had to come first was deleted."), nil
	}
	var n int64
	err := tx.Model(&models.Deployment{}).Where("environment_id = ? AND app_id = ? AND image_digest = ? AND state IN ?", before.ID, p.App.ID, c.Digest,
		[]models.DeploymentState{models.DeploymentSucceeded, models.DeploymentRolledBack}).Limit(1).Count(&n).Error
	if err != nil {
		return Check{}, err
	}
	if n == 0 {
		return gate("Order", false, "This image has to succeed in %s first. Deploy it there, then promote it.", before.Name), nil
	}
	return gate("Order", true, "This image has succeeded in %s.", before.Name), nil
}

// freezeGate holds everybody back but maintainers who say why it can't wait.
func (s *Service) freezeGate(ctx context.Context, p *place, f models.Freeze, until time.Time, reason string) Check {
	end := until.UTC().Format("Mon 2 Jan 15:04 UTC")
	if zone, err := time.LoadLocation(f.Zone); err == nil && f.Zone != "" {
		end = until.In(zone).Format("Mon 2 Jan 15:04 MST")
	}
	who := models.PrincipalFrom(ctx)
	if reason != "" && who != nil && who.UserID != "" && who.RoleIn(p.App.TeamID).AtLeast(models.RoleMaintainer) {
		return gate(gateFreeze, true, "%s until %s; %s deploys all the same: %s", f.Name, end, who.Name, reason)
	}
	return gate(gateFreeze, false, "%s: nothing is deployed to %s until %s. A maintainer can deploy all the same and say why; a rollback is always possible.", f.Name, p.Environment.Name, end)
}

// closed returns the first gate that is closed, as an error; nil where all are open.
func closed(gates []Check) error {
	for _, g := range gates {
		if !g.OK {
			return models.Errorf(models.Conflict, "%s", g.Message)
		}
	}
	return nil
}

func badImage(tx *gorm.DB, teamID, digest string) (*models.BadImage, error) {
	var bad models.BadImage
	err := tx.Limit(1).Find(&bad, "team_id = ? AND digest = ?", teamID, digest).Error
	if bad.Digest == "" || err != nil {
		return nil, err
	}
	return &bad, nil
}
