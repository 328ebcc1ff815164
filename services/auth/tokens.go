package auth

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/events"
)

// TokenPrefix begins every token, so that scanners for leaked secrets know one when they see it.
const TokenPrefix = "slp_"

const (
	tokenRandom   = 40 // base-62 digits, 238 bits
	tokenChecksum = 6
	tokenHint     = len(TokenPrefix) + 4

	// DefaultTokenDays is how long a token lives where nobody says; MaxTokenDays is the most one can ask for.
	DefaultTokenDays = 90
	MaxTokenDays     = 366
	maxTokens        = 100 // of one person or team that are still good

	bootstrapSetting = "bootstrap"
)

var errToken = models.Errorf(models.Unauthorized, "This token is not valid: it is unknown, expired or revoked. Make a new one in the portal.")

const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// newSecret returns a token's text: a prefix, random digits and their checksum.
func newSecret() string {
	b := make([]byte, tokenRandom)
	for i := range b {
		n, err := rand.Int(rand.Reader, big.NewInt(int64(len(digits))))
		if err != nil {
			panic(err) // crypto/rand does not fail
		}
		b[i] = digits[n.Int64()]
	}
	return TokenPrefix + string(b) + checksum(string(b))
}

func checksum(s string) string {
	sum := crc32.ChecksumIEEE([]byte(s))
	out := make([]byte, tokenChecksum)
	for i := range out {
		out[i] = digits[sum%uint32(len(digits))]
		sum /= uint32(len(digits))
	}
	return string(out)
}

// wellFormed tells whether the text can be a token, so that the database is not asked about anything else.
func wellFormed(token string) bool {
	body, ok := strings.CutPrefix(token, TokenPrefix)
	if !ok || len(body) != tokenRandom+tokenChecksum {
		return false
	}
	return checksum(body[:tokenRandom]) == body[tokenRandom:]
}

// NewToken is what a person says of a token to make. Without a team it is a personal one.
type NewToken struct {
	Name   string         `json:"name" form:"name"`
	Scopes []models.Scope `json:"scopes" form:"scopes"`
	Days   int            `json:"days" form:"days"` // until it expires; 0 for DefaultTokenDays
	TeamID string         `json:"team_id" form:"team_id"`
	Role   models.Role    `json:"role" form:"role"` // in the team, for a team's token
}

// CreateToken makes a token and returns it with its text, which can't be read
// again. A personal token belongs to the principal; a team's is made by its
// maintainers. Nobody can make a token that may do more than they may.
func (s *Service) CreateToken(ctx context.Context, in NewToken) (*models.Token, string, error) {
	p := models.PrincipalFrom(ctx)
	if p == nil {
		return nil, "", errSignIn
	}
	if err := mayCreate(ctx, p, in); err != nil {
		return nil, "", err
	}
	if err := in.validate(p); err != nil {
		return nil, "", err
	}
	token := s.newToken(p, in)
	secret := newSecret()
	token.Hash, token.Hint = digest(secret), secret[:tokenHint]
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := withinLimits(tx, p, token); err != nil {
			return err
		}
		return saveToken(ctx, tx, token)
	})
	if err != nil {
		return nil, "", err
	}
	return token, secret, nil
}

func mayCreate(ctx context.Context, p *models.Principal, in NewToken) error {
	if in.TeamID != "" {
		return models.Authorize(ctx, in.TeamID, models.RoleMaintainer, "team")
	}
	if p.UserID == "" {
		return models.Errorf(models.Denied, "A token that stands for no person can't make personal tokens. Make one for a team: set team_id.")
	}
	if !p.HasScope(models.ScopeWrite) {
		return models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", models.ScopeWrite)
	}
	return nil
}

// TokenScopes returns the scopes that the principal may give to a personal or a team's token.
func TokenScopes(p *models.Principal, team bool) []models.Scope {
	all := []models.Scope{models.ScopeRead, models.ScopeWrite, models.ScopeRegistryRead, models.ScopeRegistryWrite}
	if p.Admin && !team {
		all = append(all, models.ScopeAdmin)
	}
	return slices.DeleteFunc(all, func(scope models.Scope) bool { return !p.HasScope(scope) })
}

func (in *NewToken) validate(p *models.Principal) error {
	faults := map[string]string{}
	in.Name = strings.TrimSpace(in.Name)
	if in.Name == "" || in.Name != printable(in.Name, 100) {
		faults["name"] = "Say in 1 to 100 characters what the token is for."
	}
	if len(in.Scopes) == 0 {
		faults["scopes"] = "Choose at least one."
	}
	allowed := TokenScopes(p, in.TeamID != "")
	for _, scope := range in.Scopes {
		if !slices.Contains(allowed, scope) {
			faults["scopes"] = fmt.Sprintf("You can't give the scope %q.", printable(string(scope), 40))
		}
	}
	if in.Days < 0 || in.Days > MaxTokenDays {
		faults["days"] = fmt.Sprintf("Choose 1 to %d days.", MaxTokenDays)
	}
	if in.TeamID != "" && !in.Role.Valid() {
		faults["role"] = "Choose viewer, developer or maintainer."
	}
	return models.InvalidFields(faults)
}

func (s *Service) newToken(p *models.Principal, in NewToken) *models.Token {
	now := s.DB.NowFunc()
	days := in.Days
	if days == 0 {
		days = DefaultTokenDays
	}
	expires := now.Add(time.Duration(days) * 24 * time.Hour)
	scopes := slices.Clone(in.Scopes)
	slices.Sort(scopes)
	t := &models.Token{
		ID: models.NewID(), Kind: models.TokenPersonal, UserID: &p.UserID, Name: in.Name,
		Scopes: slices.Compact(scopes), CreatedBy: p.UserID, CreatedAt: now, ExpiresAt: &expires,
	}
	if in.TeamID != "" {
		t.Kind, t.UserID, t.TeamID, t.Role = models.TokenTeam, nil, &in.TeamID, in.Role
	}
	return t
}

// withinLimits keeps the number of tokens bounded, and a token's life within that of the token that makes it.
func withinLimits(tx *gorm.DB, p *models.Principal, t *models.Token) error {
	var count int64
	q := tx.Model(&models.Token{}).Where("revoked_at IS NULL AND expires_at > ?", t.CreatedAt)
	if t.TeamID != nil {
		q = q.Where("team_id = ?", *t.TeamID)
	} else {
		q = q.Where("user_id = ?", *t.UserID)
	}
	if err := q.Count(&count).Error; err != nil {
		return fmt.Errorf("counting tokens: %w", err)
	}
	if count >= maxTokens {
		return models.Errorf(models.Conflict, "There are %d tokens already. Revoke some that are not needed.", count)
	}
	if p.Kind != models.PrincipalToken {
		return nil
	}
	var parent models.Token
	if err := tx.Where("id = ?", p.ID).Take(&parent).Error; err != nil {
		return models.FromDB(err, "token")
	}
	if parent.ExpiresAt != nil && t.ExpiresAt.After(*parent.ExpiresAt) {
		t.ExpiresAt = parent.ExpiresAt
	}
	return nil
}

func saveToken(ctx context.Context, tx *gorm.DB, t *models.Token) error {
	if err := tx.Create(t).Error; err != nil {
		return fmt.Errorf("making the token: %w", err)
	}
	return recordToken(ctx, tx, t, "token.create", "token.created")
}

func recordToken(ctx context.Context, tx *gorm.DB, t *models.Token, action, event string) error {
	team := ""
	if t.TeamID != nil {
		team = *t.TeamID
	}
	detail := map[string]string{"kind": string(t.Kind), "hint": t.Hint, "scopes": joinScopes(t.Scopes)}
	if err := audit.Record(ctx, tx, audit.Entry{TeamID: team, Action: action, Subject: "token:" + t.ID, Name: t.Name, Detail: detail}); err != nil {
		return err
	}
	return events.Publish(tx, models.Event{TeamID: team, Kind: event, Topic: "token:" + t.ID})
}

func joinScopes(scopes []models.Scope) string {
	var b strings.Builder
	for i, scope := range scopes {
		if i > 0 {
			b.WriteString(" ")
		}
		b.WriteString(string(scope))
	}
	return b.String()
}

// TokenFilter chooses whose tokens to list: a team's, or else the principal's own.
type TokenFilter struct {
	models.Page
	TeamID string `query:"team_id"`
}

// Tokens returns the tokens that were not revoked, newest first. A team's are for its maintainers.
func (s *Service) Tokens(ctx context.Context, f TokenFilter) (models.List[models.Token], error) {
	p := models.PrincipalFrom(ctx)
	if p == nil {
		return models.List[models.Token]{}, errSignIn
	}
	q := s.DB.WithContext(ctx).Where("revoked_at IS NULL")
	switch {
	case f.TeamID != "":
		if err := models.Authorize(ctx, f.TeamID, models.RoleMaintainer, "team"); err != nil {
			return models.List[models.Token]{}, err
		}
		q = q.Where("team_id = ?", f.TeamID)
	case p.HasScope(models.ScopeRead):
		q = q.Where("user_id = ? AND kind = ?", p.UserID, models.TokenPersonal)
	default:
		return models.List[models.Token]{}, models.Errorf(models.Denied, "This token lacks the scope %q. Make a token that has it.", models.ScopeRead)
	}
	return models.Newest(q, f.Page, "id", func(t models.Token) string { return t.ID })
}

// RevokeToken makes the token worthless at once. People revoke their own, maintainers their team's, admins every one.
func (s *Service) RevokeToken(ctx context.Context, id string) error {
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var t models.Token
		if err := tx.Where("id = ? AND revoked_at IS NULL", id).Take(&t).Error; err != nil {
			return models.FromDB(err, "token")
		}
		if err := mayRevoke(ctx, &t); err != nil {
			return err
		}
		if err := tx.Model(&t).UpdateColumn("revoked_at", tx.NowFunc()).Error; err != nil {
			return fmt.Errorf("revoking the token: %w", err)
		}
		return recordToken(ctx, tx, &t, "token.revoke", "token.revoked")
	})
}

func mayRevoke(ctx context.Context, t *models.Token) error {
	p := models.PrincipalFrom(ctx)
	switch {
	case p == nil:
		return errSignIn
	case t.TeamID != nil:
		return models.Authorize(ctx, *t.TeamID, models.RoleMaintainer, "token")
	case t.UserID != nil && *t.UserID == p.UserID && p.HasScope(models.ScopeWrite):
		return nil
	case models.AuthorizeAdmin(ctx) == nil:
		return nil
	}
	return models.Errorf(models.NotFound, "No such token.")
}

// EnsureBootstrap makes the bootstrap token of a new installation and writes it
// to the file, readable by its owner alone, so that automation can begin
// without a browser. It does so once: a token that was revoked does not come back.
func (s *Service) EnsureBootstrap(ctx context.Context, file string) error {
	ctx = models.WithPrincipal(ctx, models.System("slipway"))
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		mark := models.Setting{Key: bootstrapSetting, Value: "made", UpdatedAt: tx.NowFunc()}
		done := tx.Clauses(clause.OnConflict{DoNothing: true}).Create(&mark)
		if done.Error != nil {
			return fmt.Errorf("marking the bootstrap token: %w", done.Error)
		}
		if done.RowsAffected == 0 {
			return nil
		}
		secret := newSecret()
		t := &models.Token{
			ID: models.NewID(), Kind: models.TokenBootstrap, Name: "bootstrap token", Hash: digest(secret), Hint: secret[:tokenHint],
			Scopes:    []models.Scope{models.ScopeAdmin, models.ScopeRead, models.ScopeRegistryRead, models.ScopeRegistryWrite, models.ScopeWrite},
			CreatedAt: tx.NowFunc(),
		}
		if err := saveToken(ctx, tx, t); err != nil {
			return err
		}
		return writeSecret(file, secret) // last: without the file there is no token
	})
}

// writeSecret puts the text into the file in one step, so that whoever waits for the file never reads half of it.
func writeSecret(file, text string) error {
	temp := filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".new")
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("writing the bootstrap token: %w", err)
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("writing the bootstrap token: %w", err)
	}
	_, err = f.WriteString(text + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(temp, file)
	}
	if err != nil {
		os.Remove(temp)
		return fmt.Errorf("writing the bootstrap token: %w", err)
	}
	return nil
}
