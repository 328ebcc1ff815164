package deploy

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/jobs"
)

// ApprovalInput is a person's word on a deployment that waits for it.
type ApprovalInput struct {
	Digest     string // of the image that was looked at; empty: whichever it is
	ConfigHash string // of the configuration that was looked at; empty: whichever it is
	Comment    string
}

// Approve says that the deployment may begin. Nobody approves what they asked
// for themselves, and only people do. It is a word on the deployment's image,
// configuration and environment, which never change: another image or
// configuration is another deployment, which waits for a word of its own.
func (s *Service) Approve(ctx context.Context, id string, in ApprovalInput) (*models.Deployment, error) {
	return s.decide(ctx, id, in, func(tx *gorm.DB, d *models.Deployment, p *place, who *models.Principal) error {
		row := &models.Approval{DeploymentID: d.ID, UserID: who.UserID, UserName: who.Name, Comment: in.Comment, Digest: d.ImageDigest, ConfigHash: d.ConfigHash, CreatedAt: s.now()}
		if err := tx.Create(row).Error; err != nil {
			if models.IsCode(models.FromDB(err, "approval"), models.Conflict) {
				return models.Errorf(models.Conflict, "You approved deployment %s already.", d.Title())
			}
			return err
		}
		by, err := approvals(tx, d) // also those that came while this one was on its way
		if err != nil {
			return err
		}
		gates, err := s.gatesOf(ctx, tx, p, d)
		if err != nil {
			return err
		}
		if err := closed(gates); err != nil {
			return err
		}
		if err := record(ctx, tx, d, p, "deployment.approve", in.Comment); err != nil {
			return err
		}
		if len(by) < p.Environment.Protection.Approvals {
			return publish(tx, d, "deployment.approved")
		}
		return s.goAhead(ctx, tx, d)
	})
}

// goAhead has a deployment that waited for approval begin.
func (s *Service) goAhead(ctx context.Context, tx *gorm.DB, d *models.Deployment) error {
	if err := d.Move(models.DeploymentPending); err != nil {
		return err
	}
	if err := tx.Model(d).Select("state").Updates(d).Error; err != nil {
		return err
	}
	if err := publish(tx, d, "deployment.pending"); err != nil {
		return err
	}
	return s.Queue.Insert(ctx, tx, jobs.QueueDeployments, Rollout{DeploymentID: d.ID})
}

// approvals reads the words on the deployment and returns whose hold: on this very image and configuration, by
// others than who asked for it, who are maintainers still.
func approvals(tx *gorm.DB, d *models.Deployment) (by []string, err error) {
	if err := tx.Order("created_at, user_id").Find(&d.Approvals, "deployment_id = ?", d.ID).Error; err != nil {
		return nil, err
	}
	for _, a := range d.Approvals {
		if a.Digest != d.ImageDigest || a.ConfigHash != d.ConfigHash || a.UserID == d.CreatedBy {
			continue
		}
		still, err := maintains(tx, a.UserID, d.TeamID)
		if err != nil {
			return nil, err
		}
		if still {
			by = append(by, a.UserName)
		}
	}
	return by, nil
}

// Reject ends a deployment that waits for approval.
func (s *Service) Reject(ctx context.Context, id string, in ApprovalInput) (*models.Deployment, error) {
	return s.decide(ctx, id, in, func(tx *gorm.DB, d *models.Deployment, p *place, who *models.Principal) error {
		now := s.now()
		d.FinishedAt, d.Error = &now, &models.DeploymentError{Stage: "rejected", Message: who.Name + " did not approve it" + because(in.Comment) + "."}
		if err := d.Move(models.DeploymentCanceled); err != nil {
			return err
		}
		if err := tx.Model(d).Select("state", "finished_at", "error").Updates(d).Error; err != nil {
			return err
		}
		if err := record(ctx, tx, d, p, "deployment.reject", in.Comment); err != nil {
			return err
		}
		return publish(tx, d, "deployment.canceled")
	})
}

// decide runs what a maintainer says of the deployment while it waits and is what they looked at.
func (s *Service) decide(ctx context.Context, id string, in ApprovalInput, do func(*gorm.DB, *models.Deployment, *place, *models.Principal) error) (*models.Deployment, error) {
	d, err := s.deployment(ctx, id, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	p, err := s.place(ctx, d.EnvironmentID, d.AppID, models.RoleMaintainer)
	if err != nil {
		return nil, err
	}
	who := models.PrincipalFrom(ctx)
	switch {
	case len(in.Comment) > maxReason:
		return nil, models.InvalidField("comment", "At most %d bytes.", maxReason)
	case who == nil || who.UserID == "":
		return nil, models.Errorf(models.Denied, "Only a person can approve or reject a deployment.")
	case in.Digest != "" && in.Digest != d.ImageDigest, in.ConfigHash != "" && in.ConfigHash != d.ConfigHash:
		return nil, models.Errorf(models.Conflict, "Deployment %s is of another image or configuration than you looked at. Look again.", d.Title())
	case who.UserID == d.CreatedBy:
		return nil, models.Errorf(models.Denied, "You asked for deployment %s yourself. Another maintainer of %s decides on it.", d.Title(), p.Team.Name)
	}
	wrote, err := s.wrote(ctx, who, d)
	if err != nil {
		return nil, err
	}
	if wrote {
		return nil, models.Errorf(models.Denied, "The commit of deployment %s is yours. Another maintainer of %s decides on it.", d.Title(), p.Team.Name)
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := holdApp(tx, d.AppID); err != nil {
			return err
		}
		if err := tx.Select("state").First(d, "id = ?", id).Error; err != nil {
			return models.FromDB(err, "deployment")
		}
		if d.State != models.DeploymentWaiting {
			return models.Errorf(models.Conflict, "Deployment %s is %s and waits for no approval.", d.Title(), sayState(d.State))
		}
		return do(tx, d, p, who)
	})
	return d, err
}

// wrote tells whether the commit that is to be deployed has the person's e-mail address, where no person asked for the
// deployment: a push did, or a team's token. Where the commit can't be read nobody is known to have written it.
func (s *Service) wrote(ctx context.Context, who *models.Principal, d *models.Deployment) (bool, error) {
	if d.CreatedBy != "" || d.Build == nil {
		return false, nil
	}
	var user models.User
	if err := s.DB.WithContext(ctx).Limit(1).Find(&user, "id = ?", who.UserID).Error; err != nil || user.Email == "" {
		return false, err
	}
	commit, err := s.Git.Commit(ctx, d.App.RepositoryID, d.Build.Commit)
	if err != nil {
		slog.InfoContext(ctx, "the author of a commit that is to be approved is not known", "deployment", d.ID, "error", err)
		return false, nil
	}
	return strings.EqualFold(commit.Email, user.Email), nil
}

func record(ctx context.Context, tx *gorm.DB, d *models.Deployment, p *place, action, comment string) error {
	return audit.Record(ctx, tx, audit.Entry{TeamID: d.TeamID, Action: action, Subject: "deployment:" + d.ID, Name: p.App.Name + " " + d.Title(),
		Detail: map[string]string{"environment": p.Environment.Name, "digest": d.ImageDigest, "config": d.ConfigHash, "comment": comment}})
}

// waitsFor says whose approval a deployment waits for.
func (s *Service) waitsFor(d *models.Deployment) string {
	needed := d.Environment.Protection.Approvals
	if needed == 0 {
		return "No approval is needed any more, but something else stands in its way. Deploy again: the answer says what."
	}
	text := fmt.Sprintf("It waits until %s of %s other than %s approves it.", count(needed, "maintainer", "maintainers"), d.Environment.Team.Name, or(d.CreatedByName, "the one who asked"))
	if needed > 1 {
		text = strings.Replace(text, "approves", "approve", 1)
	}
	if len(d.Approvals) == 0 {
		return text
	}
	var names []string
	for _, a := range d.Approvals {
		names = append(names, a.UserName)
	}
	return text + " Approved so far: " + strings.Join(names, ", ") + "."
}
