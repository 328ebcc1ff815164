package views_test

import (
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/views/account"
	"slipway.dev/views/admin"
	"slipway.dev/views/components"
	"slipway.dev/views/connections"
	"slipway.dev/views/deliveries"
	"slipway.dev/views/layout"
	"slipway.dev/views/signin"
	"slipway.dev/views/teams"
	"slipway.dev/views/tokens"
)

const (
	corp  = "https://login.acme.example"
	local = "https://slipway.acme.example/idp"
	phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1"
	linux = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
)

var (
	mira  = models.User{ID: "u1", Issuer: corp, Subject: "00u1", Email: "mira.kovac@acme.example", Name: "Mira Kovač", Admin: true, LastLoginAt: before(2 * time.Hour), CreatedAt: now.AddDate(0, -4, 0)}
	jonas = models.User{ID: "u2", Issuer: local, Subject: "0190a", Email: "jonas@acme.example", Name: "Jonas Weiß", LastLoginAt: before(26 * time.Hour), CreatedAt: now.AddDate(0, -2, 0)}
	ana   = models.User{ID: "u3", Issuer: corp, Subject: "00u3", Name: "Ana Lima", DisabledAt: before(time.Hour), CreatedAt: now.AddDate(0, -1, 0)}
)

// plain is a page for somebody who is not signed in.
func plain(title string) layout.Page { return layout.Page{Title: title, Assets: assets} }

func peopleSamples() []sample {
	ways := []signin.Way{{Name: "Acme", Href: "/login/acme"}, {Name: "GitLab", Href: "/login/gitlab"}, {Name: "Slipway account", Href: "/login/local", Here: true}}
	refused := models.Errorf(models.Unauthorized, "The answer of Acme could not be trusted, so you are not signed in. Sign in again.").(*models.Error)
	weak := components.Form{
		Values: map[string][]string{"name": {"Mira Kovač"}, "user_name": {"mira"}},
		Err:    models.InvalidField("password", "Use at least 12 characters; a few words in a row are good.").(*models.Error),
	}
	return append([]sample{
		{"login", signin.Login(plain("Sign in"), signin.LoginView{Ways: ways, Host: "slipway.acme.example"})},
		{"login-refused", signin.Login(plain("Sign in"), signin.LoginView{Ways: ways, Host: "slipway.acme.example", Err: refused})},
		{"login-out", signin.Login(plain("Sign in"), signin.LoginView{Ways: ways[2:], Host: "slipway.acme.example", Out: true, Elsewhere: corp + "/end"})},
		{"login-new", signin.Login(plain("Sign in"), signin.LoginView{Ways: ways[2:], Host: "localhost:8080", NotSetUp: true})},
		{"password", signin.Password(plain("Sign in"), signin.PasswordView{Action: "/idp/login", Request: "x"})},
		{"password-wrong", signin.Password(plain("Sign in"), signin.PasswordView{Action: "/idp/login", Request: "x", UserName: "mira", Error: "The user name or the password is wrong."})},
		{"password-stale", signin.Password(plain("Sign in"), signin.PasswordView{Error: "This sign-in was begun in another browser, or too long ago. Begin again at the portal."})},
		{"setup", signin.Setup(plain("Set up Slipway"), signin.SetupView{Action: "/setup/x", Local: true, Ways: ways[:1]})},
		{"setup-weak", signin.Setup(plain("Set up Slipway"), signin.SetupView{Action: "/setup/x", Local: true, Form: weak})},
		{"invite", signin.Invite(plain("Welcome to Slipway"), signin.InviteView{Action: "/invites/x", UserName: "jonas", Name: "Jonas Weiß"})},
	}, insideSamples()...)
}

var (
	connection = models.Connection{ID: "c1", TeamID: "t1", Kind: models.ForgeGitHub, Name: "github.com", BaseURL: "https://github.com", Credential: models.ConnectionApp, Settings: map[string]string{"app_id": "123456"}, CreatedAt: now.AddDate(0, 0, -9)}
	forge      = connections.Kind{
		Name: models.ForgeGitHub, Title: "GitHub", Help: "github.com, or GitHub Enterprise at an address of its own", BaseURL: "https://github.com",
		Steps: []string{"Open the repository's Settings → Webhooks → Add webhook.", "Paste the address as Payload URL and the secret as Secret, and choose the content type application/json."},
		Credentials: []connections.Credential{
			{Kind: models.ConnectionNone, Title: "None", Help: "Slipway receives webhooks and sends nothing back"},
			{Kind: models.ConnectionToken, Title: "Token", Help: "an access token", Fields: []connections.Field{{Name: "token", Label: "Access token", Help: "Fine-grained.", Secret: true}}},
			{Kind: models.ConnectionApp, Title: "GitHub App", Help: "an app of your organization", Fields: []connections.Field{{Name: "app_id", Label: "App ID"}, {Name: "private_key", Label: "Private key", Help: "Whole.", Secret: true, Long: true}}},
		},
	}
	noToken = components.Form{Values: map[string][]string{"credential": {"token"}}, Err: models.InvalidField("token", "Access token is needed.").(*models.Error)}
)

var (
	filters  = []components.FilterLink{{Label: "All", Href: "/", Current: true}, {Label: "Handled", Href: "/?state=handled"}, {Label: "Ignored", Href: "/?state=ignored"}, {Label: "Failed", Href: "/?state=failed"}}
	webhooks = []models.Delivery{
		{ID: "d1", Event: "push", State: models.DeliveryHandled, Summary: "push to main by mira in acme/checkout", Size: 7213, SHA256: "8d41c0be77f2a9118d41c0be77f2a9118d41c0be77f2a9118d41c0be77f2a911", CreatedAt: now.Add(-time.Minute), Connection: &connection,
			Headers: map[string]string{"X-GitHub-Event": "push", "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958", "User-Agent": "GitHub-Hookshot/044aadd"},
			Outcomes: []models.DeliveryOutcome{
				{Seq: 1, Kind: models.OutcomeQueued, AppID: "a1", App: "checkout-api", RepositoryID: "r1", Repository: "checkout", BuildID: "b1", Message: "queued build #144"},
				{Seq: 2, Kind: models.OutcomeIgnored, AppID: "a2", App: "checkout-web", RepositoryID: "r1", Repository: "checkout", Message: "ignored: no file of the app's paths changed"},
				{Seq: 3, Kind: models.OutcomeWaiting, AppID: "a3", App: "checkout-docs", RepositoryID: "r1", Repository: "checkout", BuildID: "b2", Message: "build #7 waits for approval: from a fork"},
			}},
		{ID: "d2", Event: "star", State: models.DeliveryIgnored, Message: "Slipway does nothing with events of this kind.", CreatedAt: now.Add(-time.Hour), Connection: &connection},
		{ID: "d3", Event: "push", State: models.DeliveryFailed, Message: "The payload is a form. Choose the content type application/json at the forge.", CreatedAt: now.Add(-26 * time.Hour), Connection: &connection, RedeliveryOf: "d0", RedeliveredBy: "Jonas Weiß"},
	}
)

func deliveryPage(d models.Delivery) layout.Page {
	p := testPage(deliveries.Title(d))
	p.State, p.Meta, p.Crumbs = string(d.State), deliveries.Meta(d), deliveries.Crumbs(*payments)
	return p
}

func insideSamples() []sample {
	sessions := []models.Session{
		{ID: "s1", UserAgent: linux, IP: "198.51.100.7", CreatedAt: now.Add(-2 * time.Hour), LastSeenAt: now.Add(-time.Minute)},
		{ID: "s2", UserAgent: phone, IP: "2001:db8:85a3::8a2e:370:7334", CreatedAt: now.AddDate(0, 0, -3), LastSeenAt: now.Add(-9 * time.Hour)},
	}
	in30, gone := now.AddDate(0, 0, 30), now.AddDate(0, 0, -1)
	list := tokens.View{
		Tokens: []models.Token{
			{ID: "k1", Name: "release pipeline", Hint: "slp_4fQz", Scopes: []models.Scope{"read", "write"}, ExpiresAt: &in30, LastUsedAt: before(5 * time.Minute)},
			{ID: "k2", Name: "laptop", Hint: "slp_9xKd", Scopes: []models.Scope{"registry:read", "registry:write"}, ExpiresAt: &gone},
		},
		Scopes: []models.Scope{"read", "write", "registry:read", "registry:write", "admin"}, Host: "slipway.acme.example", Action: "/tokens",
	}
	made := list
	made.Made, made.Secret = &list.Tokens[0], "slp_4fQzR8mJ2vT5yN7wB3kH6pL9sD1gF0aXcEuYiOqW2Zt"
	teamTokens := list
	teamTokens.Team, teamTokens.Action = true, "/teams/payments/tokens"
	header := teams.Header{Team: *payments, CanEdit: true}
	members := []models.Member{{UserID: "u1", Role: models.RoleMaintainer, User: &mira}, {UserID: "u2", Role: models.RoleDeveloper, User: &jonas}, {UserID: "u3", Role: models.RoleViewer, User: &ana}}
	entries := []models.AuditEntry{
		{ID: "1", ActorName: "Mira Kovač", Action: "member.set", Subject: "team:t1", Name: "Jonas Weiß", IP: "198.51.100.7", Detail: map[string]string{"role": "developer"}, CreatedAt: now.Add(-time.Minute)},
		{ID: "3", ActorName: "build 12 of checkout-service", Action: "image.push", Subject: "image:payments/checkout-service", Name: "payments/checkout-service@sha256:" + strings.Repeat("87c7aa86", 8), IP: "2001:db8:85a3:8d3:1319:8a2e:370:7348", Times: 3, LastAt: &now, CreatedAt: now.Add(-time.Minute),
			Detail: map[string]string{"config": strings.Repeat("a16ec31e", 8), "digest": "sha256:" + strings.Repeat("87c7aa86", 8), "environment": "production", "reason": ""}},
		{ID: "2", ActorName: "", Action: "idp.rotate", Subject: "signing_key:01HX", CreatedAt: now.AddDate(0, 0, -1)},
	}
	adminPage := func(current string) layout.Page {
		p := testPage("Admin")
		p.Nav, p.Tabs = "admin", admin.Tabs(current)
		return p
	}
	p := testPage("")
	curl := p.Curl("GET", "/api/v1/users", "")
	return []sample{
		{"account", account.Page(testPage("Your account"), account.View{User: mira, Issuer: "Acme", Sessions: sessions, Current: "s1", HasPassword: true, Curl: curl})},
		{"tokens", tokens.Page(testPage("Tokens"), list)},
		{"tokens-made", tokens.Page(testPage("Tokens"), made)},
		{"tokens-empty", tokens.Page(testPage("Tokens"), tokens.View{Scopes: list.Scopes})},
		{"teams", teams.List(testPage("Teams"), teams.ListView{Teams: []models.Team{*payments, {ID: "t2", Slug: "search", Name: "Search"}}, Roles: map[string]models.Role{"t1": models.RoleMaintainer}})},
		{"teams-empty", teams.List(testPage("Teams"), teams.ListView{Curl: curl})},
		{"team-new", teams.New(testPage("New team"), teams.NewView{Curl: curl})},
		{"team", teams.Members(header.Frame(testPage(""), "members"), teams.MembersView{Header: header, Members: members, Me: "u1", Query: "a", Found: []models.User{{ID: "u9", Name: "Aiko Tan", Email: "aiko@acme.example", Issuer: corp}}, Curl: curl})},
		{"team-viewer", teams.Members(teams.Header{Team: *payments}.Frame(testPage(""), "members"), teams.MembersView{Header: teams.Header{Team: *payments}, Members: members})},
		{"team-tokens", teams.Tokens(header.Frame(testPage(""), "tokens"), teams.TokensView{Header: header, Tokens: teamTokens})},
		{"team-connections", connections.List(header.Frame(testPage(""), "connections"), connections.ListView{Header: header, Connections: []models.Connection{connection, {ID: "c2", Kind: models.ForgeGeneric, Name: "deploy script", Credential: models.ConnectionNone, CreatedAt: now}}, Kinds: []connections.Kind{forge}, Curl: curl})},
		{"team-connections-empty", connections.List(header.Frame(testPage(""), "connections"), connections.ListView{Header: header, Curl: curl})},
		{"connection-kinds", connections.New(testPage("New connection"), connections.NewView{Header: header, Kinds: []connections.Kind{forge, {Name: models.ForgeGitea, Title: "Gitea or Forgejo", Help: "a Gitea, a Forgejo, Codeberg"}}})},
		{"connection-new", connections.New(testPage("Connect GitHub"), connections.NewView{Header: header, Kind: &forge, Form: noToken, Curl: curl})},
		{"connection", connections.Page(testPage("github.com"), connections.PageView{Team: *payments, Connection: connection, Kind: forge, HookURL: "https://slipway.acme.example/hooks/c1", Repositories: []models.Repository{*shop}, Curl: curl, SecretCurl: curl})},
		{"connection-checked", connections.Page(testPage("github.com"), connections.PageView{Team: *payments, Connection: connection, Kind: forge, HookURL: "https://slipway.acme.example/hooks/c1", Curl: curl, SecretCurl: curl, CheckCurl: curl,
			Trouble:  "GitHub does not let the credential write commit statuses. Give the token access to the repository, with “Commit statuses: Read and write”.",
			Findings: []connections.Finding{{Name: "Credential", Verdict: "pass", Text: "GitHub accepts it."}, {Name: "Commit statuses", Verdict: "fail", Text: "Give the token “Commit statuses: Read and write” for the repository."}, {Name: "Pull requests", Verdict: "unknown", Text: "No repository uses the connection yet, so there is nothing to try it on."}}})},
		{"connection-made", connections.Page(testPage("github.com"), connections.PageView{Team: *payments, Connection: connection, Kind: forge, HookURL: "https://slipway.acme.example/hooks/c1", Secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", Curl: curl, SecretCurl: curl})},
		{"team-deliveries", deliveries.List(header.Frame(testPage(""), "deliveries"), deliveries.ListView{Header: header, Deliveries: webhooks, Filters: filters, Of: "one repository", All: "/teams/payments/deliveries", Next: "/teams/payments/deliveries?cursor=x", Curl: curl})},
		{"team-deliveries-empty", deliveries.List(header.Frame(testPage(""), "deliveries"), deliveries.ListView{Header: header, Filters: filters, Curl: curl})},
		{"delivery", deliveries.Page(deliveryPage(webhooks[0]), deliveries.PageView{Delivery: webhooks[0], Payload: "{\n  \"ref\": \"refs/heads/main\",\n  \"after\": \"9f3c2ab41be0d4c07e511aa0b81d9aa5d20c9e03\"\n}", Cut: true, CanRedeliver: true, Curl: curl})},
		{"delivery-failed", deliveries.Page(deliveryPage(webhooks[2]), deliveries.PageView{Delivery: webhooks[2], Payload: "payload=%7B%7D", CanRedeliver: true, Curl: curl})},
		{"team-audit", teams.Audit(header.Frame(testPage(""), "audit"), teams.AuditView{Header: header, Entries: entries})},
		{"team-settings", teams.Settings(header.Frame(testPage(""), "settings"), teams.SettingsView{Header: header, Curl: curl})},
		{"admin-users", admin.Users(adminPage("users"), admin.UsersView{Users: []models.User{mira, jonas, ana}, CanInvite: true, Next: "/admin/users?cursor=x", Curl: curl})},
		{"admin-user", admin.User(testPage("Jonas Weiß"), admin.UserView{User: jonas, Issuer: "Slipway account", Here: true, Sessions: sessions})},
		{"admin-user-link", admin.User(testPage("Jonas Weiß"), admin.UserView{User: jonas, Issuer: "Slipway account", Here: true, Link: "https://slipway.acme.example/invites/Z5bXqk1Tt0"})},
		{"admin-invite", admin.Invite(testPage("Add person"), admin.InviteView{})},
		{"admin-invited", admin.Invite(testPage("Add person"), admin.InviteView{Made: &jonas, Link: "https://slipway.acme.example/invites/Z5bXqk1Tt0"})},
		{"admin-audit", admin.Audit(adminPage("audit"), admin.AuditView{Entries: entries, Subject: "team:t1", Actions: []components.FilterLink{{Label: "Everything", Href: "/admin/audit", Current: true}, {Label: "Pulls", Href: "/admin/audit?action=image.pull"}}})},
		{"admin-keys", admin.Keys(adminPage("keys"), admin.KeysView{
			Registry: admin.KeySet{ID: "registry", Title: "The registry", About: "They sign what docker login gets.", Asks: "The new key signs from now on.", Leaked: "They are deleted.", Curl: curl,
				Keys: []admin.Key{{ID: "0198c0de-7a11-7b22-8c33-0123456789ab", CreatedAt: now}, {ID: "0197a0de-7a11-7b22-8c33-0123456789ab", CreatedAt: now.Add(-30 * 24 * time.Hour), RetiredAt: &now, GoodUntil: &now}}},
			Clouds: admin.KeySet{ID: "issuer", Title: "The issuer for clouds", About: "They sign tokens for clouds.", Asks: "The new key is published now.", Leaked: "They are deleted.", Curl: curl,
				Keys: []admin.Key{{ID: "0198c0de-7a11-7b22-8c33-0123456789ac", CreatedAt: now, SignsFrom: &now}, {ID: "0198c0de-7a11-7b22-8c33-0123456789ad", CreatedAt: now}, {ID: "0198c0de-7a11-7b22-8c33-0123456789ae", CreatedAt: now, RetiredAt: &now}}},
			Issuer: "https://slipway.acme.example/identity", Public: "https://slipway.acme.example/identity/keys",
		})},
		{"admin-keys-empty", admin.Keys(adminPage("keys"), admin.KeysView{Registry: admin.KeySet{ID: "registry", Title: "The registry", Curl: curl}, Clouds: admin.KeySet{ID: "issuer", Title: "The issuer for clouds", Curl: curl}})},
		{"admin-audit-empty", admin.Audit(adminPage("audit"), admin.AuditView{})},
	}
}
