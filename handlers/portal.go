package handlers

import (
	"slipway.dev/handlers/sse"
	"slipway.dev/handlers/web"
)

// portal are the pages about what is built and what runs.
func (r *routes) portal(s Services, base *web.Base, streams *sse.Streams) {
	g := r.group(accessSignedIn)
	g.POST("/theme", base.SetTheme)
	g.POST("/keys", base.SetKeys)

	home := &web.Home{Base: base, Catalog: s.Catalog, Builds: s.Builds, Deploy: s.Deploy}
	g.GET("/", home.Page)
	search := &web.Search{Base: base, Catalog: s.Catalog, Builds: s.Builds, Deploy: s.Deploy, Images: s.Images}
	g.GET("/search", search.Page)

	repositories := &web.Repositories{Base: base, Catalog: s.Catalog, Builds: s.Builds, Forges: s.Forges}
	g.GET("/repositories", repositories.List)
	g.GET("/repositories/new", repositories.New)
	g.POST("/repositories", repositories.Create)
	g.GET("/repositories/:id", repositories.Page)
	g.POST("/repositories/:id", repositories.Update)
	g.POST("/repositories/:id/fetch", repositories.Fetch)
	g.POST("/repositories/:id/apps", repositories.CreateApps)
	g.POST("/repositories/:id/delete", repositories.Delete)

	apps := &web.Apps{Base: base, Catalog: s.Catalog, Builds: s.Builds, Images: s.Images, Deploy: s.Deploy, Registry: s.Registry, Registries: s.Registries}
	g.GET("/apps", apps.List)
	g.GET("/apps/:id", apps.Overview)
	g.GET("/apps/:id/builds", apps.BuildList)
	g.GET("/apps/:id/images", apps.ImageList)
	g.GET("/apps/:id/deployments", apps.Deployments)
	g.GET("/apps/:id/settings", apps.Settings)
	g.POST("/apps/:id/settings", apps.Update)
	g.POST("/apps/:id/triggers", apps.UpdateTriggers)
	g.GET("/apps/:id/build-settings", apps.BuildSettings)
	g.POST("/apps/:id/build-settings", apps.UpdateBuildSettings)
	g.POST("/apps/:id/build-secrets", apps.SetBuildSecret)
	g.POST("/apps/:id/build-secrets/:name/delete", apps.DeleteBuildSecret)
	g.POST("/apps/:id/delete", apps.Delete)

	runs := &web.Actions{Apps: apps, Workflows: s.Workflows, Workloads: s.Workloads}
	g.GET("/apps/:id/actions", runs.Page)
	g.POST("/apps/:id/actions", runs.Save)
	g.POST("/apps/:id/actions/pull-request", runs.Propose)
	g.POST("/apps/:id/actions/delete", runs.Delete)

	schedules := &web.Schedules{Apps: apps, Schedules: s.Schedules}
	g.GET("/apps/:id/schedules", schedules.List)
	g.POST("/apps/:id/schedules", schedules.Create)
	g.GET("/schedules/:id", schedules.Edit)
	g.POST("/schedules/:id", schedules.Update)
	g.POST("/schedules/:id/pause", schedules.Pause)
	g.POST("/schedules/:id/resume", schedules.Resume)
	g.POST("/schedules/:id/delete", schedules.Delete)

	builds := &web.Builds{Base: base, Catalog: s.Catalog, Builds: s.Builds, Deploy: s.Deploy, Forges: s.Forges, Events: s.Events, Streams: streams}
	g.GET("/builds", builds.List)
	g.GET("/apps/:id/builds/new", builds.New)
	g.POST("/apps/:id/builds", builds.Queue)
	g.GET("/builds/:id", builds.Page)
	g.GET("/builds/:id/log", builds.Log)
	g.GET("/builds/:id/log/lines", builds.LogLines)
	g.GET("/builds/:id/log.txt", builds.RawLog)
	g.GET("/builds/:id/dockerfile", builds.Dockerfile)
	g.POST("/builds/:id/cancel", builds.Cancel)
	g.POST("/builds/:id/approve", builds.Approve)
	g.POST("/builds/:id/retry", builds.Retry)

	environments := &web.Environments{Base: base, Catalog: s.Catalog, Deploy: s.Deploy, Previews: s.Previews, Visitors: s.Visitors}
	g.GET("/environments", environments.Board)
	g.GET("/environments/new", environments.New)
	g.POST("/environments", environments.Create)
	g.GET("/environments/:id", environments.Page)
	g.POST("/environments/:id/move", environments.Move)
	g.GET("/environments/:id/promote", environments.Promote)
	g.POST("/environments/:id/promote", environments.PromoteChosen)
	g.GET("/environments/:id/changes", environments.News)
	g.POST("/environments/:id/scale", environments.SetScale)
	g.GET("/environments/:id/protection", environments.Protection)
	g.POST("/environments/:id/protection", environments.Protect)
	g.POST("/environments/:id/freezes", environments.AddFreeze)
	g.POST("/environments/:id/freezes/:freeze/delete", environments.DeleteFreeze)
	g.POST("/environments/:id/automatic", environments.SetAuto)
	g.POST("/environments/:id/automatic/resume", environments.LiftHold)
	g.POST("/environments/:id/delete", environments.Delete)
	g.GET("/environments/:id/apps/:app/runtime", environments.Runtime)
	g.POST("/environments/:id/apps/:app/runtime", environments.SetRuntime)
	g.GET("/environments/:id/volumes", environments.Volumes)
	g.POST("/environments/:id/volumes/delete", environments.DeleteVolume)

	places := &web.Places{Base: base, Observe: s.Observe, Streams: streams}
	g.GET("/environments/:id/apps/:app", places.Usage)
	g.GET("/environments/:id/apps/:app/log", places.Log)
	g.GET("/environments/:id/apps/:app/log/lines", places.LogLines)
	g.GET("/environments/:id/apps/:app/log/stream", places.LogStream)
	g.GET("/environments/:id/apps/:app/log.txt", places.LogText)

	visits := &web.Visitors{Base: base, Catalog: s.Catalog, Deploy: s.Deploy, Visitors: s.Visitors, Certificates: s.Certificates}
	g.GET("/environments/:id/visitors/:app", visits.Place)
	g.POST("/environments/:id/addresses", visits.AddAddress)
	g.POST("/addresses/:id/remove", visits.RemoveAddress)
	g.POST("/environments/:id/limits/:app", visits.SetLimits)
	g.POST("/environments/:id/maintenance/:app", visits.StartMaintenance)
	g.POST("/environments/:id/maintenance/:app/end", visits.EndMaintenance)
	g.GET("/domains/:id", visits.Domain)
	g.POST("/domains/:id", visits.UpdateDomain)
	g.POST("/domains/:id/check", visits.CheckDomain)
	g.POST("/domains/:id/delete", visits.DeleteDomain)
	g.GET("/teams/:team/domains", visits.TeamDomains)
	g.POST("/teams/:team/certificates", visits.AddCertificate)
	g.POST("/certificates/:id/delete", visits.DeleteCertificate)

	variables := &web.Variables{Base: base, Catalog: s.Catalog, Deploy: s.Deploy}
	for _, at := range []string{"/environments/:id/variables", "/teams/:team/variables"} {
		g.GET(at, variables.Page)
		g.POST(at, variables.Set)
		g.POST(at+"/:variable/delete", variables.Delete)
		g.GET(at+"/text", variables.Text)
		g.POST(at+"/preview", variables.Preview)
		g.POST(at+"/import", variables.Import)
		g.GET(at+"/export", variables.Export)
		g.GET(at+"/history", variables.History)
		g.POST(at+"/forget", variables.Forget)
	}
	g.POST("/variable-changes/:id/undo", variables.Undo)

	deploy := &web.Deploy{Base: base, Catalog: s.Catalog, Builds: s.Builds, Deploy: s.Deploy}
	g.GET("/apps/:id/deploy", deploy.Form)
	g.GET("/apps/:id/compare", deploy.Compare)
	g.POST("/environments/:id/deployments", deploy.Create)

	deployments := &web.Deployments{Base: base, Deploy: s.Deploy, Streams: streams}
	g.GET("/deployments/:id", deployments.Page)
	g.GET("/deployments/:id/log", deployments.Log)
	g.GET("/deployments/:id/log.txt", deployments.RawLog)
	g.POST("/deployments/:id/cancel", deployments.Cancel)
	g.POST("/deployments/:id/everyone", deployments.SendEveryone)
	g.POST("/deployments/:id/approve", deployments.Approve)
	g.POST("/deployments/:id/reject", deployments.Reject)
	g.POST("/deployments/:id/bad", deployments.MarkBad)
	g.POST("/deployments/:id/good", deployments.UnmarkBad)
	g.POST("/deployments/:id/rollback", deployments.Rollback)
	g.POST("/deployments/:id/restart", deployments.Restart)
	g.GET("/deployments/:id/drift", deployments.Drift)
	g.GET("/deployments/:id/provider", deployments.Provider)
	g.POST("/deployments/:id/apply", deployments.ApplyAgain)
	g.POST("/deployments/:id/stop", deployments.Stop)
	g.POST("/deployments/:id/start", deployments.Start)

	previews := &web.Previews{Apps: apps, Previews: s.Previews, Forges: s.Forges}
	g.GET("/previews", previews.List)
	g.GET("/previews/:id", previews.Page)
	g.POST("/previews/:id/redeploy", previews.Redeploy)
	g.POST("/previews/:id/extend", previews.Extend)
	g.POST("/previews/:id/remove", previews.Remove)
	g.GET("/apps/:id/previews", previews.App)
	g.POST("/apps/:id/previews", previews.SetSettings)

	copying := &web.Copies{Base: base, Catalog: s.Catalog, Copies: s.Copies}
	g.GET("/copies", copying.List)
	g.GET("/copies/new", copying.New)
	g.POST("/copies", copying.Create)
	g.GET("/copies/:id", copying.Page)
	g.POST("/copies/:id/cancel", copying.Cancel)
	g.POST("/copies/:id/retry", copying.Retry)

	admin := r.group(accessAdmin)
	admin.GET("/admin/previews", previews.Limits)
	admin.POST("/admin/previews/:team", previews.SetLimit)
	cache := &web.Cache{Base: base, Cache: s.Cache, Registries: s.Registries}
	admin.GET("/admin/cache", cache.Page)
	admin.POST("/admin/cache", cache.Update)
	admin.POST("/admin/cache/clear", cache.Clear)
	admin.POST("/admin/cache/upstreams", cache.Add)
	admin.POST("/admin/cache/upstreams/:id", cache.Change)
	admin.POST("/admin/cache/upstreams/:id/delete", cache.Delete)

	admin.GET("/admin/domains", visits.SiteDomains)
	admin.POST("/admin/domains/:id/confirm", visits.ConfirmDomain)
	admin.POST("/admin/certificates", visits.AddCertificate)

	targets := &web.Targets{Base: base, Catalog: s.Catalog, Deploy: s.Deploy, Registries: s.Registries}
	admin.GET("/admin/targets", targets.List)
	admin.GET("/admin/targets/new", targets.New)
	admin.POST("/admin/targets", targets.Create)
	admin.GET("/admin/targets/:id", targets.Page)
	admin.POST("/admin/targets/:id", targets.Update)
	admin.GET("/admin/targets/:id/delete", targets.AskDelete)
	admin.POST("/admin/targets/:id/delete", targets.Delete)
	admin.POST("/admin/target-removals/:id/forget", targets.Forget)
	trust := &web.Trust{Base: base, Identity: s.Identity}
	admin.GET("/admin/targets/trust", trust.New)
	admin.GET("/admin/targets/:id/trust", trust.Page)
	admin.POST("/admin/targets/:id/trust/check", trust.Check)

	queue := &web.Queue{Base: base, Builds: s.Builds}
	admin.GET("/admin/queue", queue.Page)
	admin.POST("/admin/queue/builds/:id/front", queue.MoveToFront)
	admin.POST("/admin/queue/limits/:team", queue.SetLimit)
	admin.GET("/admin/workers/:id", queue.Worker)
	admin.POST("/admin/workers/:id", queue.UpdateWorker)
	admin.POST("/admin/workers/:id/drain", queue.Drain)
	admin.POST("/admin/workers/:id/resume", queue.Resume)
	admin.POST("/admin/workers/:id/prune", queue.Prune)

	registries := &web.Registries{Base: base, Catalog: s.Catalog, Registries: s.Registries}
	admin.GET("/admin/registries", registries.List)
	admin.GET("/admin/registries/new", registries.New)
	admin.POST("/admin/registries", registries.Create)
	admin.GET("/admin/registries/:id", registries.Page)
	admin.POST("/admin/registries/:id", registries.Update)
	admin.POST("/admin/registries/:id/check", registries.Check)
	admin.POST("/admin/registries/:id/grants", registries.Grant)
	admin.POST("/admin/registries/:id/delete", registries.Delete)
	store := &web.Registry{Base: base, Registry: s.Registry}
	admin.GET("/admin/registry", store.Page)
	admin.POST("/admin/registry/collections", store.Collect)

	engines := &web.Engines{Base: base, Engines: s.Engines}
	admin.GET("/admin/engines", engines.List)
	admin.GET("/admin/engines/new", engines.New)
	admin.POST("/admin/engines", engines.Create)
	admin.GET("/admin/engines/:id", engines.Page)
	admin.POST("/admin/engines/:id", engines.Update)
	admin.POST("/admin/engines/:id/check", engines.Check)
	admin.POST("/admin/engines/:id/delete", engines.Delete)
}
