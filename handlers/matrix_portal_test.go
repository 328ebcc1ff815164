package handlers

// portalRoutes are the pages about what is built and what runs.
var portalRoutes = map[string]entry{
	"POST /theme": {need: needPrincipal, body: "theme=dark", status: 303},
	"POST /keys":  {need: needPrincipal, body: "keys=off", status: 303},
	"GET /":       {need: needPrincipal},
	"GET /search": {need: needPrincipal, url: "/search?q=che"},

	"GET /repositories":             {need: needPrincipal},
	"GET /repositories/new":         {need: needPrincipal},
	"POST /repositories":            {need: needMaintainer, body: "team={team}&name=new&clone_url=https%3A%2F%2Fgit.example.test%2Fnew.git", status: 303},
	"GET /repositories/:id":         {need: needViewer, url: "/repositories/{repository}"},
	"POST /repositories/:id":        {need: needMaintainer, url: "/repositories/{repository}", body: "clone_url=https%3A%2F%2Fgit.example.test%2Fshop.git&was_kind=none&credential_kind=none", status: 303},
	"POST /repositories/:id/fetch":  {need: needDeveloper, url: "/repositories/{repository}/fetch", status: 303},
	"POST /repositories/:id/apps":   {need: needDeveloper, url: "/repositories/{repository}/apps", body: "pick=0&name-0=other&dockerfile-0=Dockerfile", status: 303},
	"POST /repositories/:id/delete": {need: needMaintainer, url: "/repositories/{empty repository}/delete", body: "confirm=empty", status: 303},

	"GET /apps":                 {need: needPrincipal},
	"GET /apps/:id":             {need: needViewer, url: "/apps/{app}"},
	"GET /apps/:id/builds":      {need: needViewer, url: "/apps/{app}/builds"},
	"GET /apps/:id/images":      {need: needViewer, url: "/apps/{app}/images"},
	"GET /apps/:id/deployments": {need: needViewer, url: "/apps/{app}/deployments"},
	"GET /apps/:id/settings":    {need: needDeveloper, url: "/apps/{app}/settings"},
	"POST /apps/:id/settings":   {need: needDeveloper, url: "/apps/{app}/settings", body: "name=checkout&dockerfile=Dockerfile&context=.&port=8080&health=tcp&build_timeout=600", status: 303},
	"POST /apps/:id/delete":     {need: needMaintainer, url: "/apps/{app}/delete", body: "confirm=checkout", status: 409},

	"GET /builds":              {need: needPrincipal},
	"GET /apps/:id/builds/new": {need: needDeveloper, url: "/apps/{app}/builds/new"},
	"POST /apps/:id/builds":    {need: needDeveloper, url: "/apps/{app}/builds", body: "ref=main", status: 303},
	"GET /builds/:id":          {need: needViewer, url: "/builds/{build}"},
	"GET /builds/:id/log":      {need: needViewer, url: "/builds/{ended build}/log"},
	"GET /builds/:id/log.txt":  {need: needViewer, url: "/builds/{build}/log.txt"},
	"POST /builds/:id/cancel":  {need: needDeveloper, url: "/builds/{build}/cancel", status: 303},
	"POST /builds/:id/retry":   {need: needDeveloper, url: "/builds/{ended build}/retry", status: 303},
}
