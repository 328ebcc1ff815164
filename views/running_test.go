package views_test

import (
	"time"

	"slipway.dev/models"
	"slipway.dev/views/admin"
	"slipway.dev/views/components"
	"slipway.dev/views/deployments"
	"slipway.dev/views/environments"
	"slipway.dev/views/layout"
	"slipway.dev/views/observe"
	"slipway.dev/views/variables"
	"slipway.dev/views/visitors"
)

// aDeployment is one of a build in staging, with what it has in the state.
func aDeployment(state models.DeploymentState) models.Deployment {
	b := aBuild(142, models.BuildSucceeded, "Round totals half up", "main", "Mira Kovač", time.Hour, 1, 2, 3)
	d := models.Deployment{
		ID: "d-" + string(state), TeamID: "t1", AppID: "a1", EnvironmentID: "e2", Number: 31, State: state, Action: models.ActionDeploy, CreatedByName: "Mira Kovač",
		ImageRepository: "localhost:8080/payments/checkout-api", ImageDigest: "sha256:9f3c2ab41be0d4c07e511aa0b81d9aa5d20c9e039f3c2ab41be0d4c07e511aa0", ImageTag: "main",
		Config: models.DeploymentConfig{Port: 8080, Health: models.HealthHTTP, HealthPath: "/healthz", Variables: map[string]string{"LOG_LEVEL": "info"}, Secrets: map[string]string{"API_KEY": "1f"}},
		URL:    "http://checkout-api-staging.localhost:8080", CreatedAt: now.Add(-time.Hour), StartedAt: before(time.Hour), App: &checkout, Environment: &staging, Build: &b,
		Phases: []models.DeploymentPhase{
			{Seq: 1, Name: "pull", State: models.StepSucceeded, Message: "The engine has the image already.", StartedAt: before(time.Hour), FinishedAt: before(59 * time.Minute)},
			{Seq: 2, Name: "start", State: models.StepSucceeded, StartedAt: before(59 * time.Minute), FinishedAt: before(58 * time.Minute)},
			{Seq: 3, Name: "health", State: models.StepSucceeded, Detail: []string{"  0.02 s  GET :8080/healthz → connection refused", "  0.31 s  GET :8080/healthz → HTTP 200"}, StartedAt: before(58 * time.Minute), FinishedAt: before(57 * time.Minute)},
		},
		Instances: []models.Instance{{ID: "i1", Name: "slipway-payments-checkout-api-staging-0b81d9aa5d20", Address: "127.0.0.1:32801", State: models.InstanceHealthy, StartedAt: before(time.Hour), Restarts: 1}},
	}
	if state.Ended() {
		d.FinishedAt = before(57 * time.Minute)
	}
	return d
}

func deploymentSample(name string, d models.Deployment, change func(*deployments.PageView)) sample {
	p := testPage("checkout-api #142 in staging")
	p.State, p.Meta, p.Nav, p.Live = deployments.State(d), deployments.Meta(d), "environments", []string{"deployment:" + d.ID}
	v := deployments.PageView{Deployment: d, CanDeploy: true, Curl: p.Curl("POST", "/api/v1/deployments/d/rollback", ""), LogCurl: p.Curl("GET", "/api/v1/deployments/d/logs", ""),
		Log: components.LogView{ID: "log", Title: "Log of the app", Raw: "/raw", Lines: components.Lines(1, []string{"listening on 8080", "\x1b[32mGET /healthz\x1b[0m"})}}
	if change != nil {
		change(&v)
	}
	return sample{name, deployments.Page(p, v)}
}

func driftSample(name string, d models.Deployment, rows ...deployments.Drift) sample {
	p := testPage("What runs and what was deployed")
	v := deployments.DriftView{Deployment: d, Rows: rows, CanApply: true, Curl: p.Curl("GET", "/api/v1/deployments/d/drift", ""), ApplyCurl: p.Curl("POST", "/api/v1/deployments/d/apply", "")}
	return sample{name, deployments.DriftPage(p, v)}
}

// placePage is the frame of a page about checkout-api in staging.
func placePage(title, tab string) layout.Page {
	p := testPage(title)
	p.Nav, p.Tabs = "environments", observe.Tabs("e2", checkout.ID, tab, true)
	return p
}

// placeSamples are the pages about what runs at a place and what it printed.
func placeSamples(serving models.Deployment) []sample {
	from := now.Add(-time.Hour)
	var cpu, memory []observe.Value
	for n := range 60 {
		at := from.Add(time.Duration(n)*time.Minute + time.Second)
		cpu, memory = append(cpu, observe.Value{At: at, N: int64(120 + n%7*40)}), append(memory, observe.Value{At: at, N: int64(96+n/3) << 20})
	}
	charts := []observe.Chart{
		observe.NewChart(observe.ChartInput{Title: "CPU", Unit: observe.CPU, From: from, Until: now, Series: [][]observe.Value{cpu}, Limit: 1500, Marks: []observe.Mark{{At: from.Add(20 * time.Minute), Said: "#31 began to serve"}}}),
		observe.NewChart(observe.ChartInput{Title: "Memory", Unit: observe.Memory, From: from, Until: now, Series: [][]observe.Value{memory}, Limit: 256 << 20}),
	}
	gone := serving.Instances[0]
	gone.ID, gone.Name, gone.State = "i0", "slipway-payments-checkout-api-staging-77aa01fe2b40", models.InstanceStopped
	usage := observe.UsageView{Environment: staging, App: checkout, Charts: charts, Switches: []observe.Switch{{At: from.Add(20 * time.Minute), Deployment: serving}},
		Instances: []observe.Instance{{Instance: serving.Instances[0], Deployment: serving, Charts: charts}, {Instance: gone, Deployment: serving, Gone: true, Charts: charts}}}
	log := observe.LogView{Environment: staging, App: checkout, Filter: observe.LogFilter{Text: "total"}, Deployments: []models.Deployment{serving}, Before: 7, After: 9, Lines: []observe.Line{
		{N: 8, At: now, Deployment: 31, Replica: 1, Stream: "stdout", Text: "rounds the total of order 4711"}, {N: 9, At: now, Deployment: 31, Replica: 2, Stream: "stderr", Text: "error: no total"}}}
	frame := func(tab string, serves *models.Deployment) layout.Page {
		p := testPage("checkout-api in staging")
		f := observe.Frame(staging, checkout, serves, tab, true)
		p.Nav, p.Meta, p.Crumbs, p.Tabs = f.Nav, f.Meta, f.Crumbs, f.Tabs
		return p
	}
	return []sample{
		{"place", observe.Usage(frame("instances", &serving), usage)}, {"place-empty", observe.Usage(frame("instances", nil), observe.UsageView{Environment: staging, App: checkout})},
		{"place-log", observe.Log(frame("log", &serving), log)}, {"place-log-empty", observe.Log(frame("log", nil), observe.LogView{Environment: staging, App: checkout})},
	}
}

// runningSamples are the pages about what runs.
func runningSamples() []sample {
	serving := aDeployment(models.DeploymentSucceeded)
	serving.Active = true
	failed := aDeployment(models.DeploymentFailed)
	code := 7
	failed.Error = &models.DeploymentError{Stage: "health", Message: "The app did not become healthy in time.", ExitCode: &code, Logs: []string{"panic: no database", "exit status 2"}}
	failed.Phases[2].State = models.StepFailed
	waiting := aDeployment(models.DeploymentPending)
	waiting.Phases, waiting.Instances = nil, nil
	approval := aDeployment(models.DeploymentWaiting)
	cells := []environments.Cell{{Environment: dev}, {Environment: staging, Serving: &serving, Latest: &failed, State: "healthy", Ready: 1, Wanted: 1}, {Environment: prod, Latest: &waiting, State: "deploying", Phase: "pull"}}
	behind := []environments.Cell{{Environment: dev, Serving: &serving, State: "failing", Ready: 1, Wanted: 3, Reason: "The container ended with exit code 3: no database.", Held: "Deployment #31 went back to #29.", Closed: true},
		{Environment: staging, Serving: &serving, State: "healthy", Latest: &approval, Ready: 2, Wanted: 2, Step: &environments.Step{From: "development", Words: "3 commits behind development, 1 ahead", Compare: "/x", Config: []string{"Port", "LOG_LEVEL"}, Promote: "/y"}},
		{Environment: prod, Step: &environments.Step{From: "staging", Promote: "/z"}}}
	first := aDeployment(models.DeploymentRolledBack)
	first.Number = 30
	second := checkout
	second.ID, second.Name = "a2", "mail"
	columns := []environments.Column{{Environment: dev}, {Environment: staging, Index: 1, From: "development"}, {Environment: prod, Index: 2, Last: true, From: "staging", Frozen: "Weekend: nothing is deployed until Mon 8 Jan 08:00 UTC"}}
	board := environments.TeamBoard{Team: *payments, Columns: columns, CanDeploy: true, CanMove: true, Rows: []environments.Row{{App: checkout, Cells: cells}, {App: second, Cells: behind}}}
	stage := staging
	stage.Team, stage.Target = payments, &models.Target{ID: "x", Name: "local", Kind: "docker"}
	page := testPage("staging")
	page.Meta = environments.Meta(stage)
	approval.Approvals = []models.Approval{{UserName: "Ada", Comment: "Looks good", CreatedAt: now}}
	plan := &deployments.Plan{
		Image: "#142", Digest: serving.ImageDigest, Build: serving.Build, Current: &serving, Size: 48_200_000, Before: 47_000_000, URL: serving.URL, Ready: false, ConfigHash: "x",
		Commits: []models.ChangeCommit{{ID: serving.Build.Commit, Subject: "Round totals half up (#12)", Author: "Mira Kovač", Time: now}}, Repository: checkout.Repository,
		Variables: []deployments.Change{{Name: "LOG_LEVEL", Kind: "added", Origin: models.LevelTeam}, {Name: "OLD", Kind: "removed"}}, Secrets: []deployments.Change{{Name: "API_KEY", Kind: "changed"}},
		Settings: []deployments.Difference{{Name: "Instances", Before: "1", After: "3"}},
		Checks:   []deployments.Check{{Name: "Target", OK: true, Message: "local answers: Docker Engine 28.5."}, {Name: "Platform", Message: "The image is made for linux/arm64, the target is linux/amd64."}},
	}
	tagged := *plan
	tagged.Tag, tagged.Build, tagged.Image = "main", nil, "main@9f3c2ab41be0"
	deploy := testPage("Deploy checkout-api")
	envs := []components.FilterLink{{Label: "development", Href: "/a"}, {Label: "staging", Href: "/b", Current: true}}
	choices := []deployments.Choice{{Build: *serving.Build, Href: "/x", Current: true}, {Build: *serving.Build, Href: "/y", Serving: true}}
	frozen := *plan
	frozen.Frozen, frozen.Checks = true, append([]deployments.Check{{Name: "Freeze", Message: "Weekend: nothing is deployed to staging until Mon 8 Jan 08:00 CET. A maintainer can deploy all the same and say why; a rollback is always possible.", Gate: true}}, plan.Checks...)
	plan.Open = true
	back := *plan
	back.RollbackTo, back.Back = &serving, true
	plan.Cost = aCost()
	return append(append(placeSamples(serving), cloudSamples(stage, serving, cells[1])...), []sample{
		{"environments", environments.Board(testPage("Environments"), environments.BoardView{Teams: []environments.TeamBoard{board}, CanMake: true})},
		{"environments-none", environments.Board(testPage("Environments"), environments.BoardView{Filter: environments.Filter{Text: "xyz", Differs: true}})},
		{"environment-promote", environments.Promote(testPage("Promote to production"), promoteSample(serving, failed))},
		{"environment-promote-none", environments.Promote(testPage("Promote to production"), environments.PromoteView{From: staging, Environment: prod})},
		{"environment-promoted", environments.Promoted(testPage("Promotion to production"), environments.PromotedView{Results: []environments.PromotedApp{{App: checkout, Deployment: &waiting}, {App: second, Refused: "Weekend: nothing is deployed to production."}}})},
		{"environment-changes", environments.News(testPage("What's new in staging"), environments.NewsView{Environment: stage, Apps: []models.App{checkout, second}, Items: []environments.NewsItem{
			{Deployment: serving, Words: "2 commits", Commits: plan.Commits, More: true, Compare: "/x"}, {Deployment: first, Words: "The first one here."}}})},
		{"environment-changes-none", environments.News(testPage("What's new in staging"), environments.NewsView{Environment: stage})},
		{"deployments-compare", deployments.Compare(testPage("Compare deployments"), compareSample(failed, serving))},
		{"deployments-compare-none", deployments.Compare(testPage("Compare deployments"), deployments.CompareView{App: checkout})},
		{"deploy-promote", deployments.New(deploy, deployments.NewView{App: checkout, Environments: envs, Environment: &stage, Choices: choices, Plan: plan, CanDeploy: true,
			Origin: &deployments.Origin{Deployment: serving, Settings: []deployments.Difference{{Name: "Instances", Before: "1", After: "3"}}, OnlyThere: []string{"FEATURE_X"}, OnlyHere: []string{"PAGER_KEY"}, Compare: "/x"}})},
		{"environments-empty", environments.Board(testPage("Environments"), environments.BoardView{CanMake: true})},
		{"environment", environments.Page(page, environments.PageView{
			Environment: stage, Cells: []environments.AppCell{{App: checkout, Cell: cells[1], Scale: models.Scale{Replicas: 3, CPU: 500, Memory: 256 << 20}}}, History: []models.Deployment{failed, serving, aDeployment(models.DeploymentRolledBack)}, CanChange: true, CanDelete: true, KeepsData: true, From: "development",
			Addresses: []environments.AppAddresses{{App: checkout, Own: "checkout-stage.apps.example.com", Maintenance: true, Others: []visitors.Address{{Address: models.Address{Host: "shop.example.com", Path: "/api"}, Domain: &models.Domain{}}}}},
			Variables: environments.VariablesView{Variables: 4, Secrets: 2, Inherited: 3, Late: []variables.Late{lateApp()}},
		})},
		{"environment-protected", environments.Page(page, environments.PageView{
			Environment: stage, CanChange: true, CanDelete: true,
			Cells: []environments.AppCell{{App: checkout, Cell: cells[1], Scale: models.Scale{Replicas: 1}, Auto: &models.AutoDeploy{Branch: "main", HeldAt: &now, HeldByName: "Mira Kovač", HeldWhy: "Deployment #31 went back to #29."}}},
			Rules: environments.Rules(models.Protection{Approvals: 1, Branches: []string{"main", "release/**"}, After: "x", Freezes: []models.Freeze{{Name: "Weekend", Zone: "Europe/Berlin", FromDay: 5, FromTime: "16:00", ToDay: 1, ToTime: "08:00"}}}, "dev"),
		})},
		{"environment-protection", environments.Protection(testPage("Protection of production"), environments.ProtectionView{
			Environment: models.Environment{ID: "e9", Name: "production", Protection: models.Protection{Approvals: 1, Branches: []string{"main", "release/**"}, Freezes: []models.Freeze{{Name: "Weekend", Zone: "Europe/Berlin", FromDay: 5, FromTime: "16:00", ToDay: 1, ToTime: "08:00"}}}}, Others: []models.Environment{stage},
		})},
		{"environment-runtime", environments.Runtime(placePage("checkout-api in staging", "settings"), environments.RuntimeView{
			Environment: stage, App: checkout, KeepsData: true, CanHost: true, Splits: true, Serving: serving.ImageDigest,
			Runtime: models.Runtime{Volumes: []models.VolumeMount{{Name: "uploads", Path: "/data"}, {Name: "seed", Path: "/seed", ReadOnly: true}}, HostPaths: []models.HostPath{{Source: "/srv/data/shop", Path: "/shop"}}, Restart: models.RestartOnFailure, RestartMax: 5, Gradual: models.Gradual{{Percent: 10, Minutes: 5}, {Percent: 50, Minutes: 10}}},
			Curl:    testPage("x").Curl("PUT", "/api/v1/environments/e1/runtimes/a1", `{"restart": "never"}`),
		})},
		{"environment-volumes", environments.Volumes(testPage("Volumes of staging"), environments.VolumesView{Environment: stage, CanDelete: true, Volumes: []environments.Volume{
			{ID: "v1", App: checkout.Name, AppID: "a1", Name: "uploads", Size: 48_200_000, Users: []string{"#12", "#13"}, Mounted: true}, {ID: "v2", AppID: "a2", Name: "old-uploads", Size: -1}}})},
		{"environment-volumes-empty", environments.Volumes(testPage("Volumes of staging"), environments.VolumesView{Environment: stage})},
		{"environment-new", environments.New(testPage("New environment"), environments.NewView{Teams: []environments.TeamTargets{{Team: *payments, Targets: []models.Target{*stage.Target}}}})},
		{"deploy", deployments.New(deploy, deployments.NewView{App: checkout, Environments: envs, Environment: &stage, Choices: choices, Plan: plan, CanDeploy: true})},
		{"deploy-back", deployments.New(deploy, deployments.NewView{App: checkout, Environments: envs, Environment: &stage, Choices: choices, Plan: &back, CanDeploy: true})},
		{"deploy-tag", deployments.New(deploy, deployments.NewView{App: checkout, Environments: envs, Environment: &stage, Choices: choices, Plan: &tagged, CanDeploy: true})},
		{"deploy-frozen", deployments.New(deploy, deployments.NewView{App: checkout, Environments: envs, Environment: &stage, Choices: choices, Plan: &frozen, CanDeploy: true, CanOverride: true})},
		{"deploy-nowhere", deployments.New(deploy, deployments.NewView{App: checkout})},
		deploymentSample("deployment", serving, func(v *deployments.PageView) { v.Earlier = &failed }),
		deploymentSample("deployment-failed", failed, func(v *deployments.PageView) { v.Earlier = &serving }),
		deploymentSample("deployment-approval", approval, func(v *deployments.PageView) {
			v.Reason, v.CanDecide = "It waits until 2 maintainers of Payments other than Mira Kovač approve it. Approved so far: Ada.", true
			v.Bad = &models.BadImage{MarkedByName: "Ada", Reason: "Loses orders."}
		}),
		deploymentSample("deployment-shift", shiftSample(), func(v *deployments.PageView) {
			v.Answers = "Of 1240 answers of the new version 0.2% were errors (5xx, or none came), of 1305 of what serves beside it 0.1%."
			v.ShiftCurl = testPage("x").Curl("POST", "/api/v1/deployments/d/everyone", "").For("Send everyone now")
		}),
		deploymentSample("deployment-waiting", waiting, func(v *deployments.PageView) { v.Reason = "Deployment #30 is under way in the same place." }),
		{"targets", admin.Targets(testPage("Admin"), admin.TargetsView{Targets: []admin.TargetRow{{Target: *stage.Target, State: "reachable", Message: "Docker Engine 28.5 on linux/amd64"}, {Target: models.Target{ID: "y", Name: "lab", Kind: "docker", AllTeams: true}, State: "unreachable", Message: "The Docker Engine at tcp://lab:2375 does not answer."}}})},
		driftSample("drift-none", serving),
		driftSample("drift", serving, deployments.Drift{Object: "Deployment checkout-3fa9c01b22de", Field: "spec.replicas", Want: "2", Have: "5"}, deployments.Drift{Object: "Ingress checkout", Want: "there", Have: "gone"}),
		{"target-kinds", admin.TargetKinds(testPage("New target"), admin.TargetKindsView{Kinds: []admin.TargetKind{{Name: "docker", Title: "Docker Engine", Help: "Containers on a Docker Engine that this machine reaches."}, {Name: "docker-ssh", Title: "Docker over SSH", Help: "Containers on any machine that has Docker and an SSH server."}}})},
		{"target-ssh", admin.Target(testPage("vm-1"), admin.TargetView{Target: models.Target{ID: "z", Name: "vm-1", Kind: "docker-ssh", AllTeams: true, Settings: map[string]string{"host": "slipway@203.0.113.7", "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOx8mVg3dFf1o1uQ2Zl1lO0l3Vw4kQ4b2m1xq0Zy7hBz slipway"}}, CloudInit: "#cloud-config\npackage_update: true\npackages:\n    - docker.io\n    - iptables\nusers:\n    - default\n    - name: slipway\n      groups:\n        - docker\n      shell: /bin/sh\n      lock_passwd: true\n      ssh_authorized_keys:\n        - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOx8mVg3dFf1o1uQ2Zl1lO0l3Vw4kQ4b2m1xq0Zy7hBz slipway\n", KindTitle: "Docker over SSH", KindHelp: "Containers on any machine that has Docker and an SSH server.", State: "unreachable", Message: "The machine 203.0.113.7:22 shows the host key SHA256:0VSmf2nM3mYbZ0uZb2gC5nJq8V1sB7f4y5l6k7j8h9g (ssh-ed25519). Compare it with what ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub prints there, and write it into the field Host key.", Fields: []admin.TargetField{{Name: "host", Label: "Machine", Help: "user@host or user@host:port.", Example: "slipway@203.0.113.7", Required: true}, {Name: "private_key", Label: "Private key", Help: "In OpenSSH's format, without a passphrase. Empty: Slipway makes a key pair for this target.", Secret: true, Lines: 6}, {Name: "public_key", Label: "Public key", Help: "Append this line to ~/.ssh/authorized_keys of the user.", Made: true}, {Name: "host_key", Label: "Host key", Example: "SHA256:…", Help: "The machine's identity."}}})},
		{"queue", admin.Queue(testPage("Admin"), queueView(now))},
		{"queue-empty", admin.Queue(testPage("Admin"), admin.QueueView{})},
		{"worker", admin.Worker(testPage("builder-1"), admin.WorkerView{Worker: queueView(now).Workers[0]})},
		{"target", admin.Target(testPage("local"), admin.TargetView{Target: *stage.Target, KindTitle: "Docker Engine", KindHelp: "Containers.", Teams: []models.Team{*payments}, State: "reachable", Message: "Docker Engine 28.5", Fields: []admin.TargetField{{Name: "host", Label: "Engine address", Help: "Where the engine listens.", Example: "unix:///var/run/docker.sock"}}})},
	}...)
}

// shiftSample is a deployment to which visitors move.
func shiftSample() models.Deployment {
	d := aDeployment(models.DeploymentRunning)
	until := now.Add(4 * time.Minute)
	d.Config.Gradual = models.Gradual{{Percent: 10, Minutes: 5}, {Percent: 50, Minutes: 10}, {Percent: 90, Minutes: 60}}
	d.Shift = models.Shift{Step: 2, Percent: 50, Until: &until}
	d.Phases = append(d.Phases, models.DeploymentPhase{Seq: 4, Name: "shift", State: models.StepRunning, Message: "50% of the visitors go to the new version for 10 minutes.", StartedAt: before(9 * time.Minute)})
	return d
}

func promoteSample(serving, failed models.Deployment) environments.PromoteView {
	other := checkout
	other.ID, other.Name = "a2", "mail"
	return environments.PromoteView{From: staging, Environment: prod, Total: 2, CanDeploy: true, CanOverride: true, Items: []environments.PromoteItem{
		{App: checkout, Now: &failed, Source: serving, Details: "/x", Words: []string{"3 commits", "Instances 1 → 3", "LOG_LEVEL added"}, Ready: true, Hash: "x", Warnings: []string{"Platform: The image is made for linux/arm64, the target is linux/amd64."}},
		{App: other, Source: serving, Details: "/y", Words: []string{"The first deployment here: there is nothing to compare with."}, Refused: "Weekend: nothing is deployed to production until Mon 8 Jan 08:00 CET.", Frozen: true},
	}}
}

func compareSample(a, b models.Deployment) deployments.CompareView {
	b.Config.Scale.Replicas = 3
	b.ImageDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	return deployments.CompareView{App: checkout, Choices: []models.Deployment{b, a}, A: a.ID, B: b.ID, Comparison: &deployments.Comparison{
		A: a, B: b, Settings: []deployments.Difference{{Name: "Instances", Before: "1", After: "3"}}, Variables: []deployments.Change{{Name: "NEW", Kind: "added"}, {Name: "OLD", Kind: "removed"}},
		Secrets: []deployments.Change{{Name: "API_KEY", Kind: "changed"}},
		Range:   models.CommitRange{Ahead: 3, Behind: 1, Commits: []models.ChangeCommit{{ID: b.Build.Commit, Subject: "Merge pull request #12 from acme/round", Author: "Mira Kovač", Time: now}}},
	}}
}
