package api

import (
	"context"
	"net/http"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/auth"
	"slipway.dev/services/idp"
)

// User is a person who signs in.
type User struct {
	ID          string     `json:"id"`
	Issuer      string     `json:"issuer"`
	Subject     string     `json:"subject"`
	Name        string     `json:"name"`
	Email       string     `json:"email"`
	Admin       bool       `json:"admin"`
	Disabled    bool       `json:"disabled"`
	LastLoginAt *time.Time `json:"last_login_at"`
	CreatedAt   time.Time  `json:"created_at"`
}

// UpdateUser is what an admin may change of a user; what is absent stays as it is.
type UpdateUser struct {
	Admin    *bool `json:"admin,omitempty"`
	Disabled *bool `json:"disabled,omitempty" doc:"Ends the user's sessions and tokens."`
}

// Session is one browser that is signed in.
type Session struct {
	ID         string    `json:"id"`
	UserAgent  string    `json:"user_agent"`
	IP         string    `json:"ip"`
	Current    bool      `json:"current" doc:"Whether it is this one."`
	CreatedAt  time.Time `json:"created_at"`
	LastSeenAt time.Time `json:"last_seen_at"`
	ExpiresAt  time.Time `json:"expires_at"`
}

// Invite lets a person in who has an account at the embedded provider.
type Invite struct {
	User User   `json:"user"`
	URL  string `json:"url" doc:"The one-time link with which they set their password. It can't be shown again."`
}

// NewInvite is what is said of a person to invite.
type NewInvite struct {
	UserName string `json:"user_name"`
	Name     string `json:"name,omitempty"`
	Email    string `json:"email,omitempty"`
}

func (a *API) users() {
	get(a, "/users", "list-users", "Everyone who signed in or was invited", a.listUsers, admin)
	get(a, "/users/{id}", "get-user", "A user", a.getUser, about("You may read yourself; admins everyone."))
	patch(a, "/users/{id}", "update-user", "Make a user an admin, disable or enable them", a.updateUser, admin)
	get(a, "/users/{id}/sessions", "list-sessions", "Where a user is signed in", a.listSessions, about("Your own from a session; admins everyone's."))
	remove(a, "/users/{id}/sessions", "end-sessions", "Sign a user out everywhere", a.endSessions)
	remove(a, "/users/{id}/sessions/{session}", "end-session", "Sign a user out in one browser", a.endSession)
	post(a, "/users", "invite-user", "Invite a person", a.inviteUser, admin, status(http.StatusCreated),
		about("The answer holds a one-time link. So that it is stored nowhere, this call takes no Idempotency-Key."))
	post(a, "/users/{id}/invite", "invite-user-again", "Make a new link for a person who lost theirs or the password", a.inviteAgain, admin)
}

func (a *API) listUsers(ctx context.Context, in *struct {
	PageIn
	Text string `query:"q" maxLength:"100" doc:"Beginning of a name or an e-mail address."`
}) (*answer[List[User]], error) {
	l, err := a.Auth.Users(ctx, auth.UserFilter{Page: in.page(), Query: in.Text})
	if err != nil {
		return nil, err
	}
	return listOf(l, userOf), nil
}

func (a *API) getUser(ctx context.Context, in *IDIn) (*answer[User], error) {
	u, err := a.Auth.User(ctx, in.ID)
	return replyWith(u, userOf, err)
}

func (a *API) updateUser(ctx context.Context, in *struct {
	IDIn
	Body UpdateUser
}) (*answer[User], error) {
	if in.Body.Admin != nil {
		if err := a.Auth.SetAdmin(ctx, in.ID, *in.Body.Admin); err != nil {
			return nil, err
		}
	}
	if in.Body.Disabled != nil {
		if err := a.Auth.SetDisabled(ctx, in.ID, *in.Body.Disabled); err != nil {
			return nil, err
		}
	}
	return a.getUser(ctx, &in.IDIn)
}

func (a *API) listSessions(ctx context.Context, in *IDIn) (*answer[List[Session]], error) {
	sessions, err := a.Auth.Sessions(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	current := models.PrincipalFrom(ctx).ID
	return whole(sessions, func(s *models.Session) Session {
		return Session{s.ID, s.UserAgent, s.IP, s.ID == current, s.CreatedAt.UTC(), s.LastSeenAt.UTC(), s.ExpiresAt.UTC()}
	}), nil
}

func (a *API) endSessions(ctx context.Context, in *IDIn) error { return a.Auth.EndAll(ctx, in.ID) }

func (a *API) endSession(ctx context.Context, in *struct {
	IDIn
	Session string `path:"session" maxLength:"100"`
}) error {
	return a.Auth.EndSession(ctx, in.ID, in.Session)
}

func (a *API) inviteUser(ctx context.Context, in *struct{ Body NewInvite }) (*answer[Invite], error) {
	made, err := a.Auth.Invite(ctx, idp.NewAccount{UserName: in.Body.UserName, Name: in.Body.Name, Email: in.Body.Email})
	return replyWith(made, a.inviteOf, err)
}

func (a *API) inviteAgain(ctx context.Context, in *IDIn) (*answer[Invite], error) {
	made, err := a.Auth.InviteAgain(ctx, in.ID)
	return replyWith(made, a.inviteOf, err)
}

func (a *API) inviteOf(i *auth.Invitation) Invite {
	return Invite{User: userOf(i.User), URL: a.Auth.ExternalURL + i.Path}
}

func userOf(u *models.User) User {
	return User{u.ID, u.Issuer, u.Subject, u.Name, u.Email, u.Admin, u.DisabledAt != nil, utc(u.LastLoginAt), u.CreatedAt.UTC()}
}
