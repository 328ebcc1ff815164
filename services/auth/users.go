package auth

import (
	"context"
	"fmt"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/events"
	"slipway.dev/services/idp"
)

// UserFilter narrows the list of users.
type UserFilter struct {
	models.Page
	Query string `query:"q"` // the beginning of a name or an e-mail address
}

// Users returns everyone who ever signed in or was invited, newest first. It is for admins.
func (s *Service) Users(ctx context.Context, f UserFilter) (models.List[models.User], error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return models.List[models.User]{}, err
	}
	q := s.DB.WithContext(ctx)
	if text := printable(f.Query, 100); text != "" {
		like := beginning(text)
		q = q.Where(`(LOWER(name) LIKE ? ESCAPE '\' OR LOWER(email) LIKE ? ESCAPE '\')`, like, like)
	}
	return models.Newest(q, f.Page, "id", func(u models.User) string { return u.ID })
}

// beginning returns the pattern of texts that begin so.
func beginning(text string) string {
	return strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(strings.ToLower(text)) + "%"
}

// User returns one user. People read themselves, admins everyone.
func (s *Service) User(ctx context.Context, id string) (*models.User, error) {
	p := models.PrincipalFrom(ctx)
	if p == nil {
		return nil, errSignIn
	}
	if (p.UserID != id || !p.HasScope(models.ScopeRead)) && models.AuthorizeAdmin(ctx) != nil {
		return nil, models.Errorf(models.NotFound, "No such user.")
	}
	var user models.User
	if err := s.DB.WithContext(ctx).Where("id = ?", id).Take(&user).Error; err != nil {
		return nil, models.FromDB(err, "user")
	}
	return &user, nil
}

// SetAdmin makes the user a site admin or takes that away. The last admin stays one.
func (s *Service) SetAdmin(ctx context.Context, id string, admin bool) error {
	action := "user.revoke_admin"
	if admin {
		action = "user.make_admin"
	}
	return s.changeUser(ctx, id, action, func(tx *gorm.DB, user *models.User) error {
		if !admin {
			if err := keepAdmin(tx, user); err != nil {
				return err
			}
		}
		return tx.Model(user).UpdateColumn("admin", admin).Error
	})
}

// SetDisabled lets the user in no more, or again: sessions end, tokens stop
// working, sign-ins are refused. The last admin stays enabled.
func (s *Service) SetDisabled(ctx context.Context, id string, disabled bool) error {
	action := "user.enable"
	if disabled {
		action = "user.disable"
	}
	return s.changeUser(ctx, id, action, func(tx *gorm.DB, user *models.User) error {
		if !disabled {
			return s.enable(tx, user)
		}
		if err := keepAdmin(tx, user); err != nil {
			return err
		}
		if err := tx.Model(user).UpdateColumn("disabled_at", tx.NowFunc()).Error; err != nil {
			return err
		}
		if err := tx.Where("user_id = ?", user.ID).Delete(&models.Session{}).Error; err != nil {
			return err
		}
		if s.local(user) {
			return s.Accounts.SetDisabled(tx, user.Subject, true)
		}
		return nil
	})
}

func (s *Service) enable(tx *gorm.DB, user *models.User) error {
	if err := tx.Model(user).UpdateColumn("disabled_at", nil).Error; err != nil {
		return err
	}
	if s.local(user) {
		return s.Accounts.SetDisabled(tx, user.Subject, false)
	}
	return nil
}

// changeUser lets an admin change a user, in one transaction with its audit entry and event.
func (s *Service) changeUser(ctx context.Context, id, action string, change func(*gorm.DB, *models.User) error) error {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var user models.User
		if err := tx.Where("id = ?", id).Take(&user).Error; err != nil {
			return models.FromDB(err, "user")
		}
		if err := change(tx, &user); err != nil {
			return err
		}
		return recordUser(ctx, tx, &user, action, "user.updated", nil)
	})
}

// keepAdmin fails where the user is the last admin who can sign in. It locks
// the admins, so that two of them can't remove each other at once.
func keepAdmin(tx *gorm.DB, user *models.User) error {
	if !user.Admin || user.DisabledAt != nil {
		return nil
	}
	var admins []string
	err := tx.Model(&models.User{}).Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate}).Where("admin AND disabled_at IS NULL").Pluck("id", &admins).Error
	if err != nil {
		return fmt.Errorf("counting admins: %w", err)
	}
	if len(admins) <= 1 {
		return models.Errorf(models.Conflict, "%s is the only admin. Make somebody else an admin first.", user.Name)
	}
	return nil
}

// local tells whether the user signs in with an account at the embedded provider.
func (s *Service) local(user *models.User) bool {
	return s.Accounts != nil && user.Issuer == s.Accounts.Issuer()
}

// HasPassword tells whether the user's password is kept here, so that it can be changed here.
func (s *Service) HasPassword(user *models.User) bool { return s.local(user) }

// Invitation is a new person, and the path of the link that lets them in. It can't be shown again.
type Invitation struct {
	User *models.User
	Path string
}

// Invite makes an account and a user for a person, and the one-time link with
// which they set their password. They can be put into teams at once.
func (s *Service) Invite(ctx context.Context, in idp.NewAccount) (*Invitation, error) {
	if err := s.mayInvite(ctx); err != nil {
		return nil, err
	}
	made := &Invitation{}
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		account, token, err := s.Accounts.Add(ctx, tx, in)
		if err != nil {
			return err
		}
		made.User = &models.User{
			ID: models.NewID(), Issuer: s.Accounts.Issuer(), Subject: account.ID,
			Email: account.Email, Name: account.Name, CreatedAt: tx.NowFunc(),
		}
		made.Path = invitePath(token)
		if err := tx.Create(made.User).Error; err != nil {
			return fmt.Errorf("making the user: %w", err)
		}
		return recordUser(ctx, tx, made.User, "user.invite", "user.created", nil)
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// InviteAgain makes a new link for a person with an account here, who lost the
// first one or forgot the password. Earlier links stop working.
func (s *Service) InviteAgain(ctx context.Context, id string) (*Invitation, error) {
	if err := s.mayInvite(ctx); err != nil {
		return nil, err
	}
	made := &Invitation{}
	err := s.changeUser(ctx, id, "user.invite", func(tx *gorm.DB, user *models.User) error {
		if !s.local(user) {
			return models.Errorf(models.Conflict, "%s signs in elsewhere; the password is not kept here.", user.Name)
		}
		if user.DisabledAt != nil {
			return models.Errorf(models.Conflict, "%s is disabled. Enable the account first.", user.Name)
		}
		token, err := s.Accounts.Invite(ctx, tx, user.Subject)
		made.User, made.Path = user, invitePath(token)
		return err
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

func invitePath(token string) string { return "/invites/" + token }

func (s *Service) mayInvite(ctx context.Context) error {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return err
	}
	if s.Accounts == nil {
		return models.Errorf(models.Conflict, "This portal keeps no accounts of its own; people sign in elsewhere.")
	}
	return nil
}

// CheckInvite returns the account that an invite's token is for, and uses nothing up.
func (s *Service) CheckInvite(ctx context.Context, token string) (*models.Account, error) {
	if s.Accounts == nil {
		return nil, models.Errorf(models.NotFound, "No such page.")
	}
	return s.Accounts.CheckInvite(ctx, token)
}

// AcceptInvite sets the password of the account that the invite is for, uses
// the invite up, and ends the sessions that an earlier password began.
func (s *Service) AcceptInvite(ctx context.Context, token, password, again string) error {
	if s.Accounts == nil {
		return models.Errorf(models.NotFound, "No such page.")
	}
	return s.Accounts.AcceptInvite(ctx, token, password, again, s.endOthers(""))
}

// ChangePassword is for the text fields of a person who changes their password.
type ChangePassword struct {
	Current  string `json:"-" form:"current"`
	Password string `json:"-" form:"password"`
	Again    string `json:"-" form:"password_again"`
}

// ChangePassword replaces the principal's own password and ends their other sessions.
func (s *Service) ChangePassword(ctx context.Context, in ChangePassword) error {
	p := models.PrincipalFrom(ctx)
	if p == nil || p.Kind != models.PrincipalSession {
		return errSignIn
	}
	user, err := s.User(ctx, p.UserID)
	if err != nil {
		return err
	}
	if !s.local(user) {
		return models.Errorf(models.Conflict, "Your password is not kept here. Change it where you sign in.")
	}
	return s.Accounts.ChangePassword(ctx, user.Subject, in.Current, in.Password, in.Again, s.endOthers(p.ID))
}

// endOthers returns what ends the sessions of an account's user, but for the one to keep.
func (s *Service) endOthers(keep string) func(*gorm.DB, *models.Account) error {
	return func(tx *gorm.DB, a *models.Account) error {
		var user models.User
		if err := tx.Where("issuer = ? AND subject = ?", s.Accounts.Issuer(), a.ID).Take(&user).Error; err != nil {
			return models.FromDB(err, "user")
		}
		if err := tx.Where("user_id = ? AND id <> ?", user.ID, keep).Delete(&models.Session{}).Error; err != nil {
			return fmt.Errorf("ending sessions: %w", err)
		}
		return events.Publish(tx, models.Event{Kind: "session.ended", Topic: "user:" + user.ID})
	}
}
