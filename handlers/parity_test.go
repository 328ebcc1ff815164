package handlers

import (
	"slices"
	"strings"
	"testing"
)

// twins are the calls of the API that do what the forms of the pages do.
var twins = map[string]string{
	"POST /repositories":            "POST /api/v1/repositories",
	"POST /repositories/:id":        "PATCH /api/v1/repositories/:id",
	"POST /repositories/:id/fetch":  "POST /api/v1/repositories/:id/fetch",
	"POST /repositories/:id/apps":   "POST /api/v1/apps",
	"POST /repositories/:id/delete": "DELETE /api/v1/repositories/:id",

	"POST /deliveries/:id/redeliver": "POST /api/v1/deliveries/:id/redeliver",

	"POST /teams/:team/connections": "POST /api/v1/connections",
	"POST /connections/:id":         "PATCH /api/v1/connections/:id",
	"POST /connections/:id/secret":  "POST /api/v1/connections/:id/secret",
	"POST /connections/:id/check":   "POST /api/v1/connections/:id/check",
	"POST /connections/:id/delete":  "DELETE /api/v1/connections/:id",

	"POST /apps/:id/settings": "PATCH /api/v1/apps/:id",
	"POST /apps/:id/triggers": "PATCH /api/v1/apps/:id",
	"POST /apps/:id/delete":   "DELETE /api/v1/apps/:id",
	"POST /apps/:id/builds":   "POST /api/v1/apps/:id/builds",

	"POST /apps/:id/actions":              "PUT /api/v1/apps/:id/workflow",
	"POST /apps/:id/actions/pull-request": "POST /api/v1/apps/:id/workflow/pull-request",
	"POST /apps/:id/actions/delete":       "DELETE /api/v1/apps/:id/workflow",

	"POST /apps/:id/schedules":   "POST /api/v1/apps/:id/schedules",
	"POST /schedules/:id":        "PATCH /api/v1/schedules/:id",
	"POST /schedules/:id/pause":  "PATCH /api/v1/schedules/:id",
	"POST /schedules/:id/resume": "PATCH /api/v1/schedules/:id",
	"POST /schedules/:id/delete": "DELETE /api/v1/schedules/:id",

	"POST /images/clean-up":            "PUT /api/v1/retention-policies",
	"POST /images/clean-up/inherit":    "DELETE /api/v1/retention-policies",
	"POST /images/clean-up/run":        "POST /api/v1/retention-runs",
	"POST /images/deleted/:id/restore": "POST /api/v1/deleted-images/:id/restore",
	"POST /images/deleted/:id/purge":   "DELETE /api/v1/deleted-images/:id",
	"POST /images/delete/tag":          "DELETE /api/v1/image-tags",
	"POST /images/delete/image":        "DELETE /api/v1/images/:digest",
	"POST /images/delete/repository":   "DELETE /api/v1/image-repositories",
	"POST /teams/:team/image-policy":   "PUT /api/v1/teams/:team/retention-policy",
	"POST /admin/images/quota":         "PUT /api/v1/image-quota",
	"POST /admin/images/quota/:team":   "PUT /api/v1/teams/:team/image-quota",

	"POST /builds/:id/cancel":  "POST /api/v1/builds/:id/cancel",
	"POST /builds/:id/approve": "POST /api/v1/builds/:id/approve",
	"POST /builds/:id/retry":   "POST /api/v1/builds/:id/retry",

	"POST /environments":                                "POST /api/v1/environments",
	"POST /environments/:id/move":                       "PATCH /api/v1/environments/:id",
	"POST /environments/:id/promote":                    "POST /api/v1/environments/:id/promotions",
	"POST /environments/:id/delete":                     "DELETE /api/v1/environments/:id",
	"POST /environments/:id/variables":                  "PUT /api/v1/environments/:id/variables/:name",
	"POST /environments/:id/addresses":                  "POST /api/v1/environments/:id/addresses",
	"POST /addresses/:id/remove":                        "DELETE /api/v1/addresses/:id",
	"POST /environments/:id/limits/:app":                "PUT /api/v1/environments/:id/limits/:app_id",
	"POST /environments/:id/maintenance/:app":           "PUT /api/v1/environments/:id/maintenance/:app_id",
	"POST /environments/:id/maintenance/:app/end":       "DELETE /api/v1/environments/:id/maintenance/:app_id",
	"POST /domains/:id":                                 "PATCH /api/v1/domains/:id",
	"POST /domains/:id/check":                           "POST /api/v1/domains/:id/check",
	"POST /domains/:id/delete":                          "DELETE /api/v1/domains/:id",
	"POST /admin/domains/:id/confirm":                   "POST /api/v1/domains/:id/confirm",
	"POST /teams/:team/certificates":                    "POST /api/v1/certificates",
	"POST /admin/certificates":                          "POST /api/v1/certificates",
	"POST /certificates/:id/delete":                     "DELETE /api/v1/certificates/:id",
	"POST /environments/:id/variables/preview":          "POST /api/v1/environments/:id/variables",
	"POST /environments/:id/variables/import":           "POST /api/v1/environments/:id/variables",
	"POST /environments/:id/variables/forget":           "POST /api/v1/variable-changes/forget",
	"POST /teams/:team/variables":                       "PUT /api/v1/teams/:team/variables/:name",
	"POST /teams/:team/variables/:variable/delete":      "DELETE /api/v1/teams/:team/variables/:name",
	"POST /teams/:team/variables/preview":               "POST /api/v1/teams/:team/variables",
	"POST /teams/:team/variables/import":                "POST /api/v1/teams/:team/variables",
	"POST /teams/:team/variables/forget":                "POST /api/v1/variable-changes/forget",
	"POST /variable-changes/:id/undo":                   "POST /api/v1/variable-changes/:id/undo",
	"POST /environments/:id/protection":                 "PUT /api/v1/environments/:id/protection",
	"POST /environments/:id/freezes":                    "POST /api/v1/environments/:id/freezes",
	"POST /environments/:id/freezes/:freeze/delete":     "DELETE /api/v1/environments/:id/freezes/:freeze",
	"POST /environments/:id/automatic":                  "PUT /api/v1/environments/:id/automatic/:app_id",
	"POST /environments/:id/automatic/resume":           "POST /api/v1/environments/:id/automatic/:app_id/resume",
	"POST /environments/:id/scale":                      "PUT /api/v1/environments/:id/scales/:app_id",
	"POST /environments/:id/apps/:app/runtime":          "PUT /api/v1/environments/:id/runtimes/:app_id",
	"POST /environments/:id/volumes/delete":             "DELETE /api/v1/environments/:id/volumes/:name",
	"POST /environments/:id/variables/:variable/delete": "DELETE /api/v1/environments/:id/variables/:name",
	"POST /environments/:id/deployments":                "POST /api/v1/environments/:id/deployments",

	"POST /previews/:id/redeploy": "POST /api/v1/previews/:id/redeploy",
	"POST /previews/:id/extend":   "POST /api/v1/previews/:id/extend",
	"POST /previews/:id/remove":   "DELETE /api/v1/previews/:id",
	"POST /apps/:id/previews":     "PUT /api/v1/apps/:id/preview-settings",
	"POST /admin/previews/:team":  "PUT /api/v1/preview-limits/:team",

	"POST /deployments/:id/cancel":   "POST /api/v1/deployments/:id/cancel",
	"POST /deployments/:id/approve":  "POST /api/v1/deployments/:id/approve",
	"POST /deployments/:id/reject":   "POST /api/v1/deployments/:id/reject",
	"POST /deployments/:id/bad":      "PUT /api/v1/bad-images/:digest",
	"POST /deployments/:id/good":     "DELETE /api/v1/bad-images/:digest",
	"POST /deployments/:id/rollback": "POST /api/v1/deployments/:id/rollback",
	"POST /deployments/:id/apply":    "POST /api/v1/deployments/:id/apply",
	"POST /deployments/:id/restart":  "POST /api/v1/deployments/:id/restart",
	"POST /deployments/:id/everyone": "POST /api/v1/deployments/:id/everyone",
	"POST /deployments/:id/stop":     "POST /api/v1/deployments/:id/stop",
	"POST /deployments/:id/start":    "POST /api/v1/deployments/:id/start",

	"POST /admin/targets":                    "POST /api/v1/targets",
	"POST /admin/targets/:id":                "PUT /api/v1/targets/:id",
	"POST /admin/targets/:id/delete":         "DELETE /api/v1/targets/:id",
	"POST /admin/target-removals/:id/forget": "DELETE /api/v1/target-removals/:id",
	"POST /admin/targets/:id/check":          "POST /api/v1/targets/:id/check",

	"POST /admin/targets/:id/trust/check": "POST /api/v1/targets/:id/trust/check",

	"POST /copies":            "POST /api/v1/copies",
	"POST /copies/:id/cancel": "POST /api/v1/copies/:id/cancel",
	"POST /copies/:id/retry":  "POST /api/v1/copies/:id/retry",

	"POST /admin/cache":                      "PATCH /api/v1/cache",
	"POST /admin/cache/clear":                "POST /api/v1/cache/clear",
	"POST /admin/cache/upstreams":            "POST /api/v1/cache/upstreams",
	"POST /admin/cache/upstreams/:id":        "PUT /api/v1/cache/upstreams/:id",
	"POST /admin/cache/upstreams/:id/delete": "DELETE /api/v1/cache/upstreams/:id",

	"POST /admin/registries":            "POST /api/v1/registries",
	"POST /admin/registries/:id":        "PATCH /api/v1/registries/:id",
	"POST /admin/registries/:id/check":  "POST /api/v1/registries/:id/check",
	"POST /admin/registries/:id/grants": "PUT /api/v1/registries/:id/grants",
	"POST /admin/registries/:id/delete": "DELETE /api/v1/registries/:id",

	"POST /admin/queue/builds/:id/front": "POST /api/v1/builds/:id/front",
	"POST /admin/queue/limits/:team":     "PUT /api/v1/queue/limits/:team",
	"POST /admin/workers/:id":            "PATCH /api/v1/workers/:id",
	"POST /admin/workers/:id/drain":      "PATCH /api/v1/workers/:id",
	"POST /admin/workers/:id/resume":     "PATCH /api/v1/workers/:id",
	"POST /admin/workers/:id/prune":      "POST /api/v1/workers/:id/prune",

	"POST /tokens":            "POST /api/v1/tokens",
	"POST /tokens/:id/revoke": "DELETE /api/v1/tokens/:id",

	"POST /teams":                            "POST /api/v1/teams",
	"POST /teams/:team/members/:user":        "PUT /api/v1/teams/:team/members/:user",
	"POST /teams/:team/members/:user/remove": "DELETE /api/v1/teams/:team/members/:user",
	"POST /teams/:team/settings":             "PATCH /api/v1/teams/:team",
	"POST /teams/:team/image-settings":       "PATCH /api/v1/teams/:team/image-settings",

	"POST /image-settings":      "PATCH /api/v1/image-repositories/settings",
	"POST /image-tags":          "POST /api/v1/image-tags",
	"POST /admin/keys/registry": "POST /api/v1/registry/keys/rotate",
	"POST /admin/keys/issuer":   "POST /api/v1/targets/trust/keys/rotate",

	"POST /teams/:team/tokens": "POST /api/v1/tokens",

	"POST /apps/:id/build-settings":             "PATCH /api/v1/apps/:id",
	"POST /apps/:id/build-secrets":              "PUT /api/v1/apps/:id/build-secrets/:name",
	"POST /apps/:id/build-secrets/:name/delete": "DELETE /api/v1/apps/:id/build-secrets/:name",
	"POST /admin/registry/collections":          "POST /api/v1/registry/collections",

	"POST /admin/engines":            "POST /api/v1/engines",
	"POST /images/open":              "POST /api/v1/registries/:id/repositories",
	"POST /admin/engines/:id":        "PUT /api/v1/engines/:id",
	"POST /admin/engines/:id/check":  "POST /api/v1/engines/:id/check",
	"POST /admin/engines/:id/delete": "DELETE /api/v1/engines/:id",

	"POST /admin/users":                           "POST /api/v1/users",
	"POST /admin/users/:id/admin":                 "PATCH /api/v1/users/:id",
	"POST /admin/users/:id/admin/revoke":          "PATCH /api/v1/users/:id",
	"POST /admin/users/:id/disable":               "PATCH /api/v1/users/:id",
	"POST /admin/users/:id/enable":                "PATCH /api/v1/users/:id",
	"POST /admin/users/:id/invite":                "POST /api/v1/users/:id/invite",
	"POST /admin/users/:id/sessions/end":          "DELETE /api/v1/users/:id/sessions",
	"POST /admin/users/:id/sessions/:session/end": "DELETE /api/v1/users/:id/sessions/:session",

	"POST /account/sessions/end":          "DELETE /api/v1/users/:id/sessions",
	"POST /account/sessions/:session/end": "DELETE /api/v1/users/:id/sessions/:session",
}

// ofBrowsers are what only a browser can mean: its own session, its passwords, and how it shows pages.
var ofBrowsers = []string{
	"POST /logout", "POST /setup/:token", "POST /invites/:token", "POST /account/password", "POST /theme", "POST /keys",
}

// ofRuns are what only a run of a CI system can mean; no page has it.
var ofRuns = []string{"POST /oauth/token"}

// ofForges are what forges send; their signature is what lets them in.
var ofForges = []string{"POST /hooks/:id"}

// ownNeeds are the forms whose call serves others too, and asks for less or more by what it is given.
var ownNeeds = []string{"POST /account/sessions/end", "POST /account/sessions/:session/end", "POST /teams/:team/tokens", "POST /admin/certificates"}

func TestWhatABrowserCanDoTheAPICanDoForTheSamePeople(t *testing.T) {
	t.Parallel()
	registered := routesOf(newFixture(t))
	for _, route := range registered {
		method, path, _ := strings.Cut(route, " ")
		if method == "GET" || strings.HasPrefix(path, "/api/") || slices.Contains(slices.Concat(ofBrowsers, ofForges, ofRuns), route) {
			continue
		}
		twin := twins[route]
		if !slices.Contains(registered, twin) {
			t.Errorf("%q has no call in the API that does the same", route)
			continue
		}
		if page, call := matrix[route].need, matrix[twin].need; page != call && !slices.Contains(ownNeeds, route) {
			t.Errorf("%q is for every %s, %q for every %s", route, page, twin, call)
		}
	}
}

func TestTheAPIIsAccountableForEveryWrite(t *testing.T) {
	t.Parallel()
	f := newFull(t)
	cookie, _ := f.caller(admin)
	changed := f.watch()
	for _, route := range routesOf(f.fixture) {
		e, ok := matrix[route]
		a := f.request(route, e)
		if !ok || a.method == "GET" || e.need == needNothing || slices.Contains(ofBrowsers, route) || slices.Contains(ofRuns, route) {
			continue
		}
		a.cookie = cookie
		entries := f.entries()
		w := f.send(a)
		told := f.entries() > entries
		if changed() && w.Code < 400 && !told {
			t.Errorf("%s changed something, and the audit log knows nothing of it", route)
		}
	}
}

// entries is how much the audit log knows.
func (f *full) entries() (n int64) {
	f.t.Helper()
	f.must(f.db.Table("audit_entries").Count(&n).Error)
	return n
}
