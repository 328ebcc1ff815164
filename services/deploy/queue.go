package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/google/shlex"
	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
	"slipway.dev/services/jobs"
)

// Input says what to deploy and where. At most one of Image, BuildID and Tag is
// set; none means the app's newest good build. Beside a Tag, Image may be the
// digest that it named when it was looked at: where it names another one by now, nothing is deployed.
type Input struct {
	EnvironmentID string `json:"-" param:"id" form:"-"`
	AppID         string `json:"app_id" form:"app_id"`
	Image         string `json:"image" form:"image"`
	BuildID       string `json:"build_id" form:"build_id"`
	Tag           string `json:"tag" form:"tag"`
	ConfigHash    string `json:"config_hash" form:"config_hash"` // of the plan that was looked at; empty: any
	Reason        string `json:"reason" form:"reason"`           // why it is asked for; a maintainer's is needed during a freeze

	preview bool // of a pull request, by Slipway itself
}

// place is where a deployment goes: an app in an environment of the same team.
type place struct {
	Environment *models.Environment
	App         *models.App
	Team        *models.Team
}

func (s *Service) place(ctx context.Context, environmentID, appID string, role models.Role) (*place, error) {
	e, err := s.environment(ctx, environmentID, role)
	if err != nil {
		return nil, err
	}
	var app models.App
	if err := s.DB.WithContext(ctx).Preload("Repository").First(&app, "id = ? AND team_id = ?", appID, e.TeamID).Error; err != nil {
		if models.IsCode(models.FromDB(err, "app"), models.NotFound) {
			return nil, models.InvalidField("app_id", "The environment's team has no such app.")
		}
		return nil, err
	}
	return &place{e, &app, e.Team}, nil
}

// Deploy asks for a deployment: the image is known by its digest from here on,
// and the configuration is frozen. Where another deployment of the app to the
// environment is under way it waits; those that waited before are superseded.
//
// What the environment's protection refuses is not deployed; where it asks for
// approval the deployment waits.
func (s *Service) Deploy(ctx context.Context, in Input) (*models.Deployment, error) {
	return s.deploy(ctx, in, func(*gorm.DB, *models.Deployment) error { return nil })
}

// deploy is Deploy, with more to do in the same transaction before the deployment is stored.
func (s *Service) deploy(ctx context.Context, in Input, also func(*gorm.DB, *models.Deployment) error) (*models.Deployment, error) {
	if in.Reason = strings.TrimSpace(in.Reason); len(in.Reason) > maxReason {
		return nil, models.InvalidField("reason", "At most %d bytes.", maxReason)
	}
	p, err := s.place(ctx, in.EnvironmentID, in.AppID, models.RoleDeveloper)
	if err != nil {
		return nil, err
	}
	if err := p.Environment.OfPeople(); err != nil && !in.preview {
		return nil, err
	}
	c, err := s.choose(ctx, p, in)
	if err != nil {
		return nil, err
	}
	d := s.newDeployment(ctx, p, models.ActionDeploy)
	d.ImageRepository, d.ImageDigest, d.ImageTag, d.Reason = c.Repository, c.Digest, c.Tag, in.Reason
	if c.Build != nil {
		d.BuildID = &c.Build.ID
	}
	err = s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := s.freeze(tx, d, p, c); err != nil {
			return err
		}
		if in.ConfigHash != "" && in.ConfigHash != d.ConfigHash {
			return models.Errorf(models.Conflict, "The image or the configuration of %s changed since you looked. Look at what changes, and deploy again.", p.Environment.Name)
		}
		gates, err := s.gates(ctx, tx, p, c, in.Reason)
		if err != nil {
			return err
		}
		if err := closed(gates); err != nil {
			return err
		}
		if p.Environment.Protection.Approvals > 0 {
			d.State = models.DeploymentWaiting
		}
		if err := also(tx, d); err != nil {
			return err
		}
		return s.insert(ctx, tx, d, p)
	})
	if err != nil {
		return nil, err
	}
	d.App, d.Environment = p.App, p.Environment // whoever asked is told their names
	return d, nil
}

func (s *Service) newDeployment(ctx context.Context, p *place, action models.DeploymentAction) *models.Deployment {
	d := &models.Deployment{
		ID: models.NewID(), TeamID: p.App.TeamID, AppID: p.App.ID, EnvironmentID: p.Environment.ID, State: models.DeploymentPending,
		Action: action,
	}
	if who := models.PrincipalFrom(ctx); who != nil {
		d.CreatedBy, d.CreatedByName = who.UserID, who.Name
	}
	return d
}

// freeze puts the configuration as it is now into the deployment.
func (s *Service) freeze(tx *gorm.DB, d *models.Deployment, p *place, c *Choice) error {
	values, err := s.configure(tx, d, p, c)
	if err != nil {
		return err
	}
	return s.sealValues(d, values)
}

// configure fills in the deployment's configuration and returns its opened secrets.
func (s *Service) configure(tx *gorm.DB, d *models.Deployment, p *place, c *Choice) (map[string]string, error) {
	from, err := s.origin(tx, p, c)
	if err != nil {
		return nil, err
	}
	all, err := s.settings(tx, from.Environment, p.App.ID)
	if err != nil {
		return nil, err
	}
	scale, err := scaleOf(tx, from.Environment.ID, p.App.ID)
	if err != nil {
		return nil, err
	}
	var runtime models.Runtime // a preview keeps nothing and gets nothing of the host
	if p.Environment.Kind == models.EnvironmentStage {
		if runtime, err = runtimeOf(tx, p.Environment.ID, p.App.ID); err != nil {
			return nil, err
		}
	}
	command, err := shlex.Split(p.App.ReleaseCommand)
	if err != nil {
		return nil, models.Errorf(models.Conflict, "The command before the switch of %s can't be read: %v. Change it in the app's settings.", p.App.Name, err)
	}
	d.Config = models.DeploymentConfig{
		Command: command, Protocol: p.App.Protocol,
		Port: c.port(p.App), Health: p.App.Health, HealthPath: p.App.HealthPath, Scale: scale,
		Variables: map[string]string{}, Secrets: map[string]string{},
		Runtime: runtime,
	}
	values := map[string]string{}
	for _, v := range all {
		if !v.Secret {
			d.Config.Variables[v.Name] = v.Value
			continue
		}
		if !from.Secrets {
			continue // a preview of code that may not have them
		}
		if values[v.Name], err = s.valueOf(&v.Variable); err != nil {
			return nil, err
		}
		d.Config.Secrets[v.Name] = v.Fingerprint
	}
	d.ConfigHash, err = hashOf(c.Digest, d.Config)
	return values, err
}

// hashOf names an image with its configuration; maps are written in the order of their keys.
func hashOf(digest string, c models.DeploymentConfig) (string, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(append([]byte(digest+"\n"), text...))
	return hex.EncodeToString(sum[:]), nil
}

func (s *Service) sealValues(d *models.Deployment, values map[string]string) error {
	plain, err := json.Marshal(values)
	if err != nil {
		return err
	}
	d.SealedSecrets = s.Box.Seal("deployments/"+d.ID, plain)
	return nil
}

func (s *Service) openValues(d *models.Deployment) (map[string]string, error) {
	plain, err := s.Box.Open("deployments/"+d.ID, d.SealedSecrets)
	if err != nil {
		return nil, err
	}
	values := map[string]string{}
	return values, json.Unmarshal(plain, &values)
}

// insert gives the deployment its number and its address, and commits it with
// its audit entry, its event and its job.
func (s *Service) insert(ctx context.Context, tx *gorm.DB, d *models.Deployment, p *place) error {
	if err := lockApp(tx, d.AppID); err != nil {
		return err
	}
	if err := s.Registry.Hold(ctx, tx, d.ImageRepository, d.ImageDigest); err != nil { // no clean-up takes it from here on
		return err
	}
	err := tx.Model(&models.App{}).Where("id = ?", d.AppID).Select("deployment_count").Scan(&d.Number).Error
	if err != nil {
		return err
	}
	if d.URL, err = s.address(tx, p); err != nil {
		return err
	}
	if err := tx.Create(d).Error; err != nil {
		return fmt.Errorf("recording the deployment: %w", err)
	}
	if err := s.supersede(tx, d); err != nil {
		return err
	}
	entry := audit.Entry{TeamID: d.TeamID, Action: "deployment." + string(d.Action), Subject: "deployment:" + d.ID, Name: p.App.Name + " " + d.Title(),
		Detail: map[string]string{"environment": p.Environment.Name, "digest": d.ImageDigest, "tag": d.ImageTag, "config": d.ConfigHash, "reason": d.Reason}}
	if err := audit.Record(ctx, tx, entry); err != nil {
		return err
	}
	if err := publish(tx, d, "deployment."+string(d.State)); err != nil || d.State == models.DeploymentWaiting {
		return err
	}
	return s.Queue.Insert(ctx, tx, jobs.QueueDeployments, Rollout{DeploymentID: d.ID})
}

// lockApp counts the app's deployments up and holds the app's row until the
// transaction ends, so that of two that look for a turn one waits for the other.
func lockApp(tx *gorm.DB, appID string) error {
	return tx.Model(&models.App{}).Where("id = ?", appID).UpdateColumn("deployment_count", gorm.Expr("deployment_count + 1")).Error
}

// holdApp holds the app's row without changing it.
func holdApp(tx *gorm.DB, appID string) error {
	return tx.Model(&models.App{}).Where("id = ?", appID).UpdateColumn("deployment_count", gorm.Expr("deployment_count")).Error
}

// supersede ends the deployments to the same place that have not begun.
func (s *Service) supersede(tx *gorm.DB, d *models.Deployment) error {
	var waiting []models.Deployment
	err := tx.Where("environment_id = ? AND app_id = ? AND state IN ? AND id <> ?", d.EnvironmentID, d.AppID, []models.DeploymentState{models.DeploymentWaiting, models.DeploymentPending}, d.ID).Find(&waiting).Error
	if err != nil {
		return err
	}
	for _, w := range waiting {
		why := &models.DeploymentError{Stage: "superseded", Message: fmt.Sprintf("Deployment %s was asked for before this one had begun.", d.Title())}
		now := s.now()
		w.State, w.FinishedAt, w.Error = models.DeploymentCanceled, &now, why
		if err := tx.Model(&w).Select("state", "finished_at", "error").Updates(&w).Error; err != nil {
			return err
		}
		if err := publish(tx, &w, "deployment.canceled"); err != nil {
			return err
		}
	}
	return nil
}

// publish tells the pages of the deployment, of its app and of its environment.
func publish(tx *gorm.DB, d *models.Deployment, kind string) error {
	data := map[string]string{"state": string(d.State), "app_id": d.AppID, "environment_id": d.EnvironmentID}
	if err := events.Publish(tx, models.Event{TeamID: d.TeamID, Kind: kind, Topic: "deployment:" + d.ID, Parent: "app:" + d.AppID, Data: data}); err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: d.TeamID, Kind: kind, Topic: "environment:" + d.EnvironmentID, Parent: "team:" + d.TeamID, Data: data})
}
