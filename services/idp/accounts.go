package idp

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/limits"
)

const (
	maxUserName = 40
	inviteLife  = 7 * 24 * time.Hour
)

var (
	userName = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9._-]{0,38}[a-z0-9])?$`)
	email    = regexp.MustCompile(`^[^\s@<>"',;]{1,64}@[^\s@<>"',;]{1,189}$`)

	errInvite = models.Errorf(models.NotFound, "This link is used, replaced or too old. Ask an admin of this portal for a new one.")
)

// validUserName tells whether s can be a user name.
func validUserName(s string) bool { return userName.MatchString(s) }

// NewAccount is what is said of an account to make.
type NewAccount struct {
	UserName string `json:"user_name" form:"user_name"`
	Name     string `json:"name" form:"name"`
	Email    string `json:"email" form:"email"`
	Password string `json:"-" form:"password"`
	Again    string `json:"-" form:"password_again"`
}

// Prepare returns a checked account with the password hashed; Create stores it.
// Hashing takes a while, so it is no part of a transaction.
func (p *Provider) Prepare(in NewAccount) (*models.Account, error) {
	a, faults := in.account()
	if fault := passwordFault(in.Password, in.Again, a.UserName); fault != "" {
		faults["password"] = fault
	}
	if err := models.InvalidFields(faults); err != nil {
		return nil, err
	}
	a.PasswordHash = hash(in.Password)
	return a, nil
}

func passwordFault(password, again, userName string) string {
	if fault := checkPassword(password, userName); fault != "" {
		return fault
	}
	if password != again {
		return "The two passwords differ. Type them again."
	}
	return ""
}

// account returns the account without a password, and what is wrong with its fields.
func (in NewAccount) account() (*models.Account, map[string]string) {
	faults := map[string]string{}
	a := &models.Account{
		ID: models.NewID(), UserName: strings.ToLower(strings.TrimSpace(in.UserName)),
		Name: strings.TrimSpace(in.Name), Email: strings.TrimSpace(in.Email),
	}
	if a.Name == "" {
		a.Name = a.UserName
	}
	if !validUserName(a.UserName) {
		faults["user_name"] = fmt.Sprintf("Use 1 to %d letters, digits, dots, hyphens and underscores; begin and end with a letter or digit.", maxUserName)
	}
	if len(a.Name) > 100 || strings.ContainsFunc(a.Name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		faults["name"] = "Use at most 100 printable characters."
	}
	if a.Email != "" && (!email.MatchString(a.Email) || strings.ContainsFunc(a.Email, func(r rune) bool { return !unicode.IsPrint(r) })) {
		faults["email"] = "This is not an e-mail address."
	}
	return a, faults
}

// Create stores an account in tx.
func (p *Provider) Create(ctx context.Context, tx *gorm.DB, a *models.Account) error {
	err := tx.Create(a).Error
	if errors.Is(err, gorm.ErrDuplicatedKey) {
		return models.InvalidField("user_name", "The user name %s is taken. Choose another.", a.UserName)
	}
	if err != nil {
		return fmt.Errorf("making the account: %w", err)
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "account.create", Subject: "account:" + a.ID, Name: a.UserName})
}

// Add stores an account without a password in tx, and returns the token of the
// link with which its person sets one. The caller has checked that the principal is an admin.
func (p *Provider) Add(ctx context.Context, tx *gorm.DB, in NewAccount) (*models.Account, string, error) {
	a, faults := in.account()
	if err := models.InvalidFields(faults); err != nil {
		return nil, "", err
	}
	if err := p.Create(ctx, tx, a); err != nil {
		return nil, "", err
	}
	token, err := p.Invite(ctx, tx, a.ID)
	return a, token, err
}

// Invite makes a new one-time link in tx for setting the account's password,
// and earlier ones worthless. The caller has checked that the principal is an admin.
func (p *Provider) Invite(ctx context.Context, tx *gorm.DB, accountID string) (string, error) {
	var a models.Account
	if err := tx.Where("id = ?", accountID).Take(&a).Error; err != nil {
		return "", models.FromDB(err, "account")
	}
	if err := tx.Where("account_id = ? AND used_at IS NULL", accountID).Delete(&models.Invite{}).Error; err != nil {
		return "", fmt.Errorf("replacing invites: %w", err)
	}
	token, now := random(), tx.NowFunc()
	row := models.Invite{ID: models.NewID(), AccountID: accountID, Hash: digest(token), CreatedAt: now, ExpiresAt: now.Add(inviteLife)}
	if principal := models.PrincipalFrom(ctx); principal != nil {
		row.CreatedBy = principal.UserID
	}
	if err := tx.Create(&row).Error; err != nil {
		return "", fmt.Errorf("making the invite: %w", err)
	}
	return token, audit.Record(ctx, tx, audit.Entry{Action: "account.invite", Subject: "account:" + a.ID, Name: a.UserName})
}

// CheckInvite returns the account that the link is for, and uses nothing up.
func (p *Provider) CheckInvite(ctx context.Context, token string) (*models.Account, error) {
	if _, err := p.Handler(); err != nil {
		return nil, err
	}
	if !p.slow.invite.Allow(limits.Peer(models.RequestFrom(ctx).IP)) {
		return nil, errTooMany
	}
	var row models.Invite
	var a models.Account
	db := p.DB.WithContext(ctx)
	if err := db.Where("hash = ? AND used_at IS NULL AND expires_at > ?", digest(token), db.NowFunc()).Take(&row).Error; err != nil {
		return nil, orInvite(err)
	}
	if err := db.Where("id = ? AND disabled_at IS NULL", row.AccountID).Take(&a).Error; err != nil {
		return nil, orInvite(err)
	}
	return &a, nil
}

func orInvite(err error) error {
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return errInvite
	}
	return fmt.Errorf("reading the invite: %w", err)
}

// AcceptInvite uses the link up and sets the account's password. What must
// follow in the same transaction, such as signing the person out elsewhere, is the caller's.
func (p *Provider) AcceptInvite(ctx context.Context, token, password, again string, follow func(*gorm.DB, *models.Account) error) error {
	a, err := p.CheckInvite(ctx, token)
	if err != nil {
		return err
	}
	if fault := passwordFault(password, again, a.UserName); fault != "" {
		return models.InvalidField("password", "%s", fault)
	}
	hashed := hash(password)
	ctx = models.WithPrincipal(ctx, &models.Principal{Name: a.UserName})
	return p.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		used := tx.Model(&models.Invite{}).Where("hash = ? AND used_at IS NULL", digest(token)).UpdateColumn("used_at", tx.NowFunc())
		if used.Error != nil {
			return fmt.Errorf("using the invite: %w", used.Error)
		}
		if used.RowsAffected == 0 {
			return errInvite
		}
		if err := p.setPassword(ctx, tx, a, hashed); err != nil {
			return err
		}
		return follow(tx, a)
	})
}

// ChangePassword replaces the account's password by a new one for whoever
// knows the current one. What must follow in the same transaction is the caller's.
func (p *Provider) ChangePassword(ctx context.Context, accountID, current, password, again string, follow func(*gorm.DB, *models.Account) error) error {
	var a models.Account
	if err := p.DB.WithContext(ctx).Where("id = ?", accountID).Take(&a).Error; err != nil {
		return models.FromDB(err, "account")
	}
	if _, err := p.check(ctx, a.UserName, current); err != nil {
		if models.IsCode(err, models.Unauthorized) {
			return models.InvalidField("current", "This is not your current password.")
		}
		return err
	}
	if fault := passwordFault(password, again, a.UserName); fault != "" {
		return models.InvalidField("password", "%s", fault)
	}
	hashed := hash(password)
	return p.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := p.setPassword(ctx, tx, &a, hashed); err != nil {
			return err
		}
		return follow(tx, &a)
	})
}

func (p *Provider) setPassword(ctx context.Context, tx *gorm.DB, a *models.Account, hashed string) error {
	if err := tx.Model(a).Updates(map[string]any{"password_hash": hashed, "updated_at": tx.NowFunc()}).Error; err != nil {
		return fmt.Errorf("setting the password: %w", err)
	}
	if err := tx.Where("account_id = ?", a.ID).Delete(&models.Authorization{}).Error; err != nil {
		return fmt.Errorf("ending authorizations: %w", err)
	}
	return audit.Record(ctx, tx, audit.Entry{Action: "account.password", Subject: "account:" + a.ID, Name: a.UserName})
}

// SetDisabled lets nobody in with the account any more, or again, in tx.
func (p *Provider) SetDisabled(tx *gorm.DB, accountID string, disabled bool) error {
	var at *time.Time
	if disabled {
		now := tx.NowFunc()
		at = &now
		if err := tx.Where("account_id = ?", accountID).Delete(&models.Authorization{}).Error; err != nil {
			return fmt.Errorf("ending authorizations: %w", err)
		}
	}
	return tx.Model(&models.Account{}).Where("id = ?", accountID).UpdateColumn("disabled_at", at).Error
}
