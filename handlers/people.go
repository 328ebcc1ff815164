package handlers

import (
	"slipway.dev/handlers/web"
)

// people are the pages about who may come in and what they may do.
func (r *routes) people(s Services, base *web.Base) {
	open, signedIn, admin := r.group(accessOpen), r.group(accessSignedIn), r.group(accessAdmin)

	if s.Auth.Accounts != nil {
		s.Auth.Accounts.Page = base.Password
	}
	login := &web.Login{Base: base, Auth: s.Auth}
	open.GET("/login", login.Page)
	open.GET("/login/:issuer", login.Begin)
	open.GET("/login/:issuer/callback", login.Callback)
	open.POST("/logout", login.Logout)
	open.GET("/setup/:token", login.SetupForm)
	open.POST("/setup/:token", login.Setup)
	open.GET("/setup/:token/with/:issuer", login.SetupWith)
	open.GET("/invites/:token", login.InviteForm)
	open.POST("/invites/:token", login.AcceptInvite)

	account := &web.Account{Base: base, Auth: s.Auth}
	signedIn.GET("/account", account.Page)
	signedIn.POST("/account/password", account.ChangePassword)
	signedIn.POST("/account/sessions/end", account.EndAll)
	signedIn.POST("/account/sessions/:session/end", account.EndSession)

	tokens := &web.Tokens{Base: base, Auth: s.Auth}
	signedIn.GET("/tokens", tokens.List)
	signedIn.POST("/tokens", tokens.Create)
	signedIn.POST("/tokens/:id/revoke", tokens.Revoke)

	pictures := &web.Images{Base: base, Images: s.Images, Catalog: s.Catalog}
	signedIn.GET("/images", pictures.List)
	signedIn.POST("/images/open", pictures.Open)
	signedIn.GET("/images/*", pictures.Show)
	signedIn.POST("/image-settings", pictures.SaveSettings)
	signedIn.POST("/image-tags", pictures.SetTag)
	cleanUp := &web.CleanUp{Base: base, Registry: s.Registry, Retention: s.Retention, Catalog: s.Catalog}
	signedIn.GET("/images/clean-up", cleanUp.Repository)
	signedIn.POST("/images/clean-up", cleanUp.SetPolicy)
	signedIn.POST("/images/clean-up/inherit", cleanUp.Inherit)
	signedIn.POST("/images/clean-up/run", cleanUp.Run)
	signedIn.GET("/images/clean-up/runs/:id", cleanUp.ShowRun)
	signedIn.GET("/images/deleted", cleanUp.Deleted)
	signedIn.POST("/images/deleted/:id/restore", cleanUp.Restore)
	signedIn.POST("/images/deleted/:id/purge", cleanUp.Purge)
	signedIn.GET("/images/delete", cleanUp.AskDelete)
	signedIn.POST("/images/delete/tag", cleanUp.DeleteTag)
	signedIn.POST("/images/delete/image", cleanUp.DeleteImage)
	signedIn.POST("/images/delete/repository", cleanUp.DeleteRepository)
	signedIn.GET("/teams/:team/images", cleanUp.Team)
	signedIn.POST("/teams/:team/image-policy", cleanUp.SetTeamPolicy)
	admin.GET("/admin/images", cleanUp.Site)
	admin.POST("/admin/images/quota", cleanUp.SetQuota)
	admin.POST("/admin/images/quota/:team", cleanUp.SetQuota)
	inside := &web.ImageFiles{Base: base, Explorer: s.Explorer}
	signedIn.GET("/images/files", inside.Show)
	signedIn.GET("/images/file", inside.Download)
	signedIn.GET("/images/compare", inside.Compare)

	teams := &web.Teams{Base: base, Auth: s.Auth, Catalog: s.Catalog, Audit: s.Audit, Images: s.Registry, External: s.Registries}
	signedIn.GET("/teams", teams.List)
	signedIn.GET("/teams/new", teams.New)
	signedIn.POST("/teams", teams.Create)
	signedIn.GET("/teams/:team", teams.Members)
	signedIn.POST("/teams/:team/members/:user", teams.SetMember)
	signedIn.POST("/teams/:team/members/:user/remove", teams.RemoveMember)
	signedIn.GET("/teams/:team/registries", teams.Registries)
	signedIn.GET("/teams/:team/tokens", teams.Tokens)
	signedIn.POST("/teams/:team/tokens", teams.CreateToken)
	connections := &web.Connections{Base: base, Catalog: s.Catalog, Forges: s.Forges}
	signedIn.GET("/teams/:team/connections", connections.List)
	signedIn.GET("/teams/:team/connections/new", connections.New)
	signedIn.POST("/teams/:team/connections", connections.Create)
	signedIn.GET("/connections/:id", connections.Page)
	signedIn.POST("/connections/:id", connections.Update)
	signedIn.POST("/connections/:id/secret", connections.RotateSecret)
	signedIn.POST("/connections/:id/check", connections.Check)
	signedIn.POST("/connections/:id/delete", connections.Delete)
	deliveries := &web.Deliveries{Base: base, Catalog: s.Catalog, Hooks: s.Hooks}
	signedIn.GET("/teams/:team/deliveries", deliveries.List)
	signedIn.GET("/deliveries/:id", deliveries.Page)
	signedIn.POST("/deliveries/:id/redeliver", deliveries.Redeliver)
	signedIn.GET("/teams/:team/audit", teams.AuditLog)
	signedIn.GET("/teams/:team/settings", teams.Settings)
	signedIn.POST("/teams/:team/settings", teams.Update)
	signedIn.POST("/teams/:team/image-settings", teams.UpdateImageSettings)

	admins := &web.Admin{Base: base, Auth: s.Auth, Audit: s.Audit}
	admin.GET("/admin", admins.Home)
	admin.GET("/admin/users", admins.Users)
	admin.GET("/admin/users/new", admins.NewUser)
	admin.POST("/admin/users", admins.Invite)
	admin.GET("/admin/users/:id", admins.User)
	admin.POST("/admin/users/:id/admin", admins.MakeAdmin)
	admin.POST("/admin/users/:id/admin/revoke", admins.RevokeAdmin)
	admin.POST("/admin/users/:id/disable", admins.Disable)
	admin.POST("/admin/users/:id/enable", admins.Enable)
	admin.POST("/admin/users/:id/invite", admins.InviteAgain)
	admin.POST("/admin/users/:id/sessions/end", admins.EndSessions)
	admin.POST("/admin/users/:id/sessions/:session/end", admins.EndSession)
	admin.GET("/admin/audit", admins.AuditLog)

	keys := &web.Keys{Base: base, Registry: s.Registry, Identity: s.Identity}
	admin.GET("/admin/keys", keys.List)
	admin.POST("/admin/keys/registry", keys.RotateRegistry)
	admin.POST("/admin/keys/issuer", keys.RotateIssuer)
}
