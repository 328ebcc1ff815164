package workload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
	"slipway.dev/services/limits"
	"slipway.dev/services/registry"
)

// The identifiers of RFC 8693.
const (
	GrantType       = "urn:ietf:params:oauth:grant-type:token-exchange"
	TypeJWT         = "urn:ietf:params:oauth:token-type:jwt"
	TypeIDToken     = "urn:ietf:params:oauth:token-type:id_token"
	TypeAccessToken = "urn:ietf:params:oauth:token-type:access_token"
)

// Request is a token exchange as the client sends it (RFC 8693 §2.1).
type Request struct {
	GrantType          string
	SubjectToken       string
	SubjectTokenType   string
	RequestedTokenType string   // empty, or TypeAccessToken
	ActorToken         string   // must be empty: nobody acts for a run
	Audience           []string // empty, or the portal
	Resource           []string // the app's page, where the workflow file alone does not tell which app
	Scope              string   // empty for all, or repository:TEAM/APP:pull,push
}

// Answer is what the client gets (RFC 8693 §2.2).
type Answer struct {
	AccessToken string // the password for docker login, and the bearer token for reporting
	ExpiresIn   time.Duration
	Scope       string
}

// Exchange proves a run's token and returns a credential of the app's
// repository of images. Both that it was granted and why it was refused are
// written down for the app's team. A token can be exchanged once.
//
// Errors about what the client sent are Invalid, with the parameter as the
// field; Unavailable means that the issuer did not answer.
func (s *Service) Exchange(ctx context.Context, in Request) (*Answer, error) {
	s.open()
	if !s.tries.Allow(limits.Peer(models.RequestFrom(ctx).IP)) {
		return nil, models.Errorf(models.TooMany, "Too many exchanges came from this address. Wait a minute.")
	}
	if err := s.validate(in); err != nil {
		return nil, err
	}
	c, err := s.verify(ctx, in.SubjectToken)
	if err != nil {
		return nil, err
	}
	x := c.exchange(s.DB.NowFunc())
	app, err := s.choose(ctx, in, c, x)
	if err != nil {
		return nil, err
	}
	name := app.Team.Slug + "/" + app.Name
	actions, err := scopeActions(in.Scope, name)
	if err != nil {
		return nil, err
	}
	if err := s.grant(ctx, c, x, app); err != nil {
		return nil, err
	}
	_, password, err := s.Registry.Credential(models.WithPrincipal(ctx, principal(x, app)), name, actions, CredentialLife)
	if err != nil {
		return nil, err
	}
	return &Answer{AccessToken: password, ExpiresIn: CredentialLife, Scope: "repository:" + name + ":" + strings.Join(actions, ",")}, nil
}

func (s *Service) validate(in Request) error {
	wrong := map[string]string{}
	if in.GrantType != GrantType {
		wrong["grant_type"] = "Use " + GrantType + "."
	}
	if in.SubjectToken == "" {
		wrong["subject_token"] = "Send the run's OpenID Connect token."
	}
	if in.SubjectTokenType != TypeJWT && in.SubjectTokenType != TypeIDToken {
		wrong["subject_token_type"] = "Use " + TypeJWT + " or " + TypeIDToken + "."
	}
	if in.RequestedTokenType != "" && in.RequestedTokenType != TypeAccessToken {
		wrong["requested_token_type"] = "Only " + TypeAccessToken + " can be asked for."
	}
	if in.ActorToken != "" {
		wrong["actor_token"] = "Nobody acts for a run here: leave it out."
	}
	if slices.ContainsFunc(in.Audience, func(a string) bool { return a != s.External }) {
		wrong["audience"] = "The only audience here is " + s.External + "."
	}
	if len(in.Resource) > 1 {
		wrong["resource"] = "Name one app."
	}
	return models.InvalidFields(wrong)
}

// exchange is the attempt that the claims describe.
func (c *claims) exchange(now time.Time) *models.Exchange {
	return &models.Exchange{
		ID: models.NewID(), Issuer: c.issuer, Repository: clip(c.Repository), GitHubID: int64(c.GitHubID), Ref: clip(c.Ref), Commit: clip(c.Commit),
		Event: clip(c.Event), Workflow: clip(c.Workflow), Environment: clip(c.Environment), Actor: clip(c.Actor),
		RunID: int64(c.RunID), RunAttempt: max(int64(c.RunAttempt), 1), CreatedAt: now,
	}
}

// clip keeps a claim to a sensible length, in one line.
func clip(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xFFFD {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
	if runes := []rune(text); len(runes) > maxClaim {
		return string(runes[:maxClaim])
	}
	return text
}

// candidate is an app that might trust the run.
type candidate struct {
	app *models.App
	models.Workflow
}

// choose finds the one app that trusts the run. Who is not trusted by any app
// learns nothing about what there is.
func (s *Service) choose(ctx context.Context, in Request, c *claims, x *models.Exchange) (*models.App, error) {
	named, err := s.named(in)
	if err != nil {
		return nil, err
	}
	all, err := s.candidates(ctx, x, named)
	if err != nil {
		return nil, err
	}
	var trusted []candidate
	for _, one := range all {
		if s.reason(one, c, x) == "" {
			trusted = append(trusted, one)
		}
	}
	switch {
	case len(trusted) == 1:
		return trusted[0].app, nil
	case len(trusted) > 1:
		return nil, models.InvalidField("resource", "Several apps trust this run. Name the one: %s/apps/ID.", s.External)
	case len(all) == 0:
		return nil, s.refuseStranger(ctx, x, named)
	}
	nearest := all[0]
	for _, one := range all {
		if sameFile(&one.Workflow, x) {
			nearest = one
			break
		}
	}
	return nil, s.refuse(ctx, nearest.app, x, s.reason(nearest, c, x))
}

func (s *Service) reason(one candidate, c *claims, x *models.Exchange) string {
	if c.HeadRef != "" || c.BaseRef != "" {
		return "The run belongs to a pull request, which may bring code of anyone."
	}
	return refuse(&one.Workflow, one.app.Repository.DefaultBranch, x)
}

// named is the id of the app that the request names; empty where it names none.
func (s *Service) named(in Request) (string, error) {
	if len(in.Resource) == 0 {
		return "", nil
	}
	id, ok := strings.CutPrefix(in.Resource[0], s.External+"/apps/")
	if !ok || id == "" || len(id) > 64 || strings.Contains(id, "/") {
		return "", models.InvalidField("resource", "Name an app by the address of its page: %s/apps/ID.", s.External)
	}
	return id, nil
}

// candidates are the apps whose workflow is of the run's repository, or the named one of them.
func (s *Service) candidates(ctx context.Context, x *models.Exchange, named string) ([]candidate, error) {
	db := s.DB.WithContext(ctx)
	q := db.Where("github_id = ? AND issuer = ?", x.GitHubID, x.Issuer)
	if named != "" {
		q = q.Where("app_id = ?", named)
	}
	var rows []models.Workflow
	if err := q.Order("app_id").Limit(100).Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("looking for apps that trust a run: %w", err)
	}
	ids := make([]string, 0, len(rows))
	for _, w := range rows {
		ids = append(ids, w.AppID)
	}
	var apps []models.App
	if err := db.Preload("Team").Preload("Repository").Where("id IN ?", ids).Order("id").Find(&apps).Error; err != nil {
		return nil, fmt.Errorf("reading the apps that trust a run: %w", err)
	}
	out := make([]candidate, 0, len(apps))
	for i := range apps {
		w := rows[slices.IndexFunc(rows, func(w models.Workflow) bool { return w.AppID == apps[i].ID })]
		out = append(out, candidate{&apps[i], w})
	}
	return out, nil
}

// grant writes down in one transaction that the token is spent and the exchange granted.
func (s *Service) grant(ctx context.Context, c *claims, x *models.Exchange, app *models.App) error {
	expires := x.CreatedAt.Add(CredentialLife)
	x.TeamID, x.AppID, x.Granted, x.ExpiresAt = app.TeamID, app.ID, true, &expires
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Create(&models.SpentToken{Issuer: c.issuer, TokenID: c.TokenID, ExpiresAt: c.expires}).Error; err != nil {
			return err
		}
		return s.record(ctx, tx, x, app, "workload.exchange")
	})
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return s.refuse(ctx, app, x, "The token was exchanged before. Each exchange needs a token of its own.")
	}
	if err != nil {
		return fmt.Errorf("granting an exchange: %w", err)
	}
	return nil
}

// refuse writes down why the app did not trust the run, and returns it for the client.
func (s *Service) refuse(ctx context.Context, app *models.App, x *models.Exchange, reason string) error {
	x.ID, x.TeamID, x.AppID, x.Granted, x.ExpiresAt, x.Reason = models.NewID(), app.TeamID, app.ID, false, nil, reason
	if s.refusals.Allow(app.ID) {
		err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return s.record(ctx, tx, x, app, "workload.refuse") })
		if err != nil {
			return fmt.Errorf("writing down a refusal: %w", err)
		}
	}
	return wrongToken("%s", reason)
}

// refuseStranger refuses a run of a repository that no app trusts. Where it
// named an app, that app's team reads of it; the client learns nothing.
func (s *Service) refuseStranger(ctx context.Context, x *models.Exchange, named string) error {
	slog.InfoContext(ctx, "a run of a repository that no app trusts asked for a credential", "repository", x.Repository, "number", x.GitHubID, "run", x.RunID)
	refusal := wrongToken("No app of this portal trusts runs of the repository %s with the number %d in this way.", x.Repository, x.GitHubID)
	if named == "" {
		return refusal
	}
	var app models.App
	var w models.Workflow
	db := s.DB.WithContext(ctx)
	err := db.Where("app_id = ?", named).Take(&w).Error
	if err == nil {
		err = db.Preload("Team").Preload("Repository").Where("id = ?", named).Take(&app).Error
	}
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return refusal
	}
	if err != nil {
		return fmt.Errorf("reading the app that a run named: %w", err)
	}
	if err := s.refuse(ctx, &app, x, refuse(&w, app.Repository.DefaultBranch, x)); !models.IsCode(err, models.Invalid) {
		return err
	}
	return refusal
}

func (s *Service) record(ctx context.Context, tx *gorm.DB, x *models.Exchange, app *models.App, action string) error {
	if err := tx.Create(x).Error; err != nil {
		return err
	}
	detail := map[string]string{
		"repository": x.Repository, "repository_id": fmt.Sprint(x.GitHubID), "ref": x.Ref, "workflow": x.Workflow,
		"run": fmt.Sprint(x.RunID), "event": x.Event, "actor": x.Actor,
	}
	if x.Reason != "" {
		detail["reason"] = x.Reason
	}
	ctx = models.WithPrincipal(ctx, principal(x, app))
	err := audit.Record(ctx, tx, audit.Entry{TeamID: app.TeamID, Action: action, Subject: "app:" + app.ID, Name: app.Name, Detail: detail})
	if err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: x.TeamID, Kind: action, Topic: "exchange:" + x.ID, Parent: "app:" + x.AppID})
}

// scopeActions reads what the scope asks for on the repository of images: pull and push where it is empty.
func scopeActions(scope, repository string) ([]string, error) {
	all := []string{registry.Pull, registry.Push}
	if scope == "" {
		return all, nil
	}
	asked, ok := strings.CutPrefix(scope, "repository:"+repository+":")
	actions := strings.Split(asked, ",")
	if !ok || slices.ContainsFunc(actions, func(a string) bool { return !slices.Contains(all, a) }) {
		return nil, models.InvalidField("scope", "A run of this app can have repository:%s:pull,push and nothing else.", repository)
	}
	return actions, nil
}
