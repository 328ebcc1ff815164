package deploy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	units "github.com/docker/go-units"
	"slipway.dev/models"
	"slipway.dev/services/git"
)

// maxCommits is how many commits a plan names.
const maxCommits = 30

// Plan says what a deployment would change, and whether it can work.
type Plan struct {
	Environment *models.Environment
	App         *models.App
	Image       *Choice
	Current     *models.Deployment // what serves now; nil: nothing
	Commits     []git.Commit       // that the deployment brings, newest first
	More        bool               // there are more commits than these
	Back        bool               // the commits are taken away: the image is older than what runs
	CommitsNote string             // why no commits are shown
	Settings    []Difference
	Variables   []Change
	Secrets     []Change
	Scale       models.Scale
	Port        int
	Health      models.HealthKind
	HealthPath  string
	Cost        Cost   // in a month, with this scale
	CostBefore  Cost   // of what runs
	SizeBefore  int64  // of what runs; 0: not known, or not comparable
	URL         string // empty: the target gives the address with the first deployment
	Checks      []Check
	To          *models.Deployment      // of a rollback: what would run again
	Config      models.DeploymentConfig // that would be frozen
	ConfigHash  string                  // give it to Deploy, so that what is deployed is what was looked at
	Gradual     models.Gradual          // the steps in which visitors move; none: all at once
	AtOnce      string                  // why all move at once although the app's settings have steps
	Recreate    bool                    // one version at a time: nothing answers while the new one starts
}

// Change is a variable or a secret that differs from what runs. Values are not shown.
type Change struct {
	Name   string
	Kind   string               // added, removed, changed
	Origin models.VariableLevel // where the new value is set; empty where it is removed, and in what repeats a deployment
}

// Difference is a setting that differs from what runs.
type Difference struct {
	Name          string
	Before, After string // for people
}

// Check is one thing that was looked at before a deployment.
type Check struct {
	Name    string
	OK      bool
	Message string
	Gate    bool // a rule of the environment: nothing is deployed while it fails

	stage string // of a rollout that fails by it
}

// Ready tells whether every check passed.
func (p *Plan) Ready() bool {
	return !slices.ContainsFunc(p.Checks, func(c Check) bool { return !c.OK })
}

// Open tells whether no rule of the environment keeps the image out.
func (p *Plan) Open() bool {
	return !slices.ContainsFunc(p.Checks, func(c Check) bool { return c.Gate && !c.OK })
}

// Plan looks at what Deploy with the same input would change. It changes nothing.
func (s *Service) Plan(ctx context.Context, in Input) (*Plan, error) {
	at, err := s.place(ctx, in.EnvironmentID, in.AppID, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	choice, err := s.choose(ctx, at, in)
	if err != nil {
		return nil, err
	}
	var next models.Deployment
	if _, err := s.configure(s.DB.WithContext(ctx), &next, at, choice); err != nil {
		return nil, err
	}
	p, err := s.plan(ctx, at, choice, next.Config, next.ConfigHash)
	if err != nil {
		return nil, err
	}
	if err := s.addOrigins(ctx, p); err != nil {
		return nil, err
	}
	if err := s.planSwitch(p, models.ActionDeploy); err != nil {
		return nil, err
	}
	gates, err := s.gates(ctx, s.DB.WithContext(ctx), at, choice, in.Reason)
	p.Checks = append(gates, p.Checks...)
	return p, err
}

// PlanRollback looks at what Rollback to the deployment would change.
func (s *Service) PlanRollback(ctx context.Context, id string) (*Plan, error) {
	d, err := s.deployment(ctx, id, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	at, err := s.place(ctx, d.EnvironmentID, d.AppID, models.RoleViewer)
	if err != nil {
		return nil, err
	}
	choice := &Choice{Image: Image{Repository: d.ImageRepository, Digest: d.ImageDigest}, Tag: d.ImageTag, Build: d.Build}
	if d.Build != nil {
		choice.Size = d.Build.ImageSize
	}
	p, err := s.plan(ctx, at, choice, d.Config, d.ConfigHash)
	if err != nil {
		return nil, err
	}
	p.To = d
	if err := s.planSwitch(p, models.ActionRollback); err != nil {
		return nil, err
	}
	bad, err := badImage(s.DB.WithContext(ctx), d.TeamID, d.ImageDigest)
	if bad != nil {
		p.Checks = append(p.Checks, gate("Image marked bad", false, "%s marked this image as bad%s.", bad.MarkedByName, because(bad.Reason)))
	}
	return p, err
}

// plan compares what would run with what runs.
func (s *Service) plan(ctx context.Context, at *place, choice *Choice, config models.DeploymentConfig, hash string) (*Plan, error) {
	url, err := s.willServeAt(s.DB.WithContext(ctx), at)
	if err != nil {
		return nil, err
	}
	p := &Plan{
		Environment: at.Environment, App: at.App, Image: choice, URL: url, Config: config, ConfigHash: hash, Recreate: config.Recreate,
		Port: config.Port, Health: config.Health, HealthPath: config.HealthPath,
	}
	if p.Current, err = s.current(ctx, at); err != nil {
		return nil, err
	}
	var before models.DeploymentConfig
	if p.Current != nil {
		before = p.Current.Config
		if p.Current.Build != nil && choice.Build != nil { // builds count the manifest too, so that they alone compare
			p.SizeBefore, choice.Size = p.Current.Build.ImageSize, choice.Build.ImageSize
		}
	}
	if p.Current != nil {
		p.Settings = differences(before, config)
	}
	p.Scale = config.Scale
	p.Variables, p.Secrets = compare(before.Variables, config.Variables), compare(before.Secrets, config.Secrets)
	if err := s.compareCosts(ctx, p, before.Scale); err != nil {
		return nil, err
	}
	s.compareCommits(ctx, p)
	return p, s.check(ctx, p, at)
}

// current returns what serves in the place.
func (s *Service) current(ctx context.Context, at *place) (*models.Deployment, error) {
	var d models.Deployment
	err := s.DB.WithContext(ctx).Omit("sealed_secrets").Preload("Build").Where("environment_id = ? AND app_id = ? AND active", at.Environment.ID, at.App.ID).Limit(1).Find(&d).Error
	if d.ID == "" || err != nil {
		return nil, err
	}
	return &d, nil
}

// compare lists the names whose values differ, in their order.
func compare(before, after map[string]string) (out []Change) {
	names := map[string]bool{}
	for n := range before {
		names[n] = true
	}
	for n := range after {
		names[n] = true
	}
	for _, n := range slices.Sorted(maps.Keys(names)) {
		was, had := before[n]
		is, has := after[n]
		switch {
		case !had:
			out = append(out, Change{Name: n, Kind: "added"})
		case !has:
			out = append(out, Change{Name: n, Kind: "removed"})
		case was != is:
			out = append(out, Change{Name: n, Kind: "changed"})
		}
	}
	return out
}

// differences lists the settings that differ, in the order in which people ask for them.
func differences(before, after models.DeploymentConfig) (out []Difference) {
	add := func(name, was, is string) {
		if was != is {
			out = append(out, Difference{name, was, is})
		}
	}
	add("Instances", strconv.Itoa(before.Scale.OrOne().Replicas), strconv.Itoa(after.Scale.OrOne().Replicas))
	add("Instances at most", atMost(before.Scale), atMost(after.Scale))
	add("CPU of each", processors(before.Scale.CPU), processors(after.Scale.CPU))
	add("Memory of each", memory(before.Scale.Memory), memory(after.Scale.Memory))
	add("Port", strconv.Itoa(before.Port), strconv.Itoa(after.Port))
	add("Protocol", protocol(before.Protocol), protocol(after.Protocol))
	add("Health check", healthText(before), healthText(after))
	add("Volumes", volumesText(before.Volumes), volumesText(after.Volumes))
	add("Host paths", hostPathsText(before.HostPaths), hostPathsText(after.HostPaths))
	add("Network", networkText(before.HostNetwork), networkText(after.HostNetwork))
	add("After it ends", restartText(before.Runtime), restartText(after.Runtime))
	add("Versions at once", switchText(before.Recreate), switchText(after.Recreate))
	add("Visitors", before.Gradual.Words(), after.Gradual.Words())
	add("Command before the switch", or(strings.Join(before.Command, " "), "none"), or(strings.Join(after.Command, " "), "none"))
	return out
}

func atMost(s models.Scale) string {
	if !s.Autoscales() {
		return "no more"
	}
	return fmt.Sprintf("%d, from %d%% of CPU on", s.Max, s.CPUTarget)
}

func protocol(p models.Protocol) string {
	if p == models.ProtocolH2C {
		return "HTTP/2 (h2c)"
	}
	return "HTTP/1.1"
}

func processors(thousandths int64) string {
	if thousandths == 0 {
		return "no limit"
	}
	return strconv.FormatFloat(float64(thousandths)/1000, 'f', -1, 64)
}

func memory(bytes int64) string {
	if bytes == 0 {
		return "no limit"
	}
	return units.CustomSize("%.4g %s", float64(bytes), 1024, []string{"B", "KiB", "MiB", "GiB", "TiB"})
}

func healthText(c models.DeploymentConfig) string {
	switch c.Health {
	case models.HealthTCP:
		return "TCP"
	case models.HealthImage:
		return "HEALTHCHECK"
	}
	return "GET " + or(c.HealthPath, "/")
}

// compareCommits lists the commits between what runs and the image. That they
// can't be read is no obstacle: a note says so.
func (s *Service) compareCommits(ctx context.Context, p *Plan) {
	switch {
	case p.Image.Build == nil:
		p.CommitsNote = "Slipway did not build this image, so its commit is not known."
	case p.Current == nil:
		p.CommitsNote = "The first deployment here: there is nothing to compare with."
	case p.Current.Build == nil:
		p.CommitsNote = "Slipway did not build what runs now, so its commit is not known."
	case p.Current.Build.Commit == p.Image.Build.Commit:
		p.CommitsNote = "The same commit as what runs now."
	default:
		p.CommitsNote = s.readCommits(ctx, p, p.Current.Build.Commit, p.Image.Build.Commit)
	}
}

func (s *Service) readCommits(ctx context.Context, p *Plan, from, to string) (note string) {
	var err error
	if p.Commits, p.More, err = s.Git.Log(ctx, p.App.RepositoryID, from, to, maxCommits); err == nil && len(p.Commits) == 0 {
		p.Back = true
		p.Commits, p.More, err = s.Git.Log(ctx, p.App.RepositoryID, to, from, maxCommits)
	}
	if err != nil {
		return "The commits could not be read from the repository."
	}
	return ""
}

// check looks at what could stop the deployment.
func (s *Service) check(ctx context.Context, p *Plan, at *place) error {
	from := s.source(func(ctx context.Context) context.Context { return ctx }, p.App.TeamID, p.Image.Image, lookTTL)
	checks, err := s.preflight(ctx, subject{at, p.Image, from, p.Config})
	p.Checks = append(p.Checks, checks...)
	s.checkHealth(p, func(name string, ok bool, format string, args ...any) {
		p.Checks = append(p.Checks, Check{Name: name, OK: ok, Message: fmt.Sprintf(format, args...)})
	})
	return err
}

// planSwitch says in which steps visitors would move, or why all would at once, where the app's settings have steps.
func (s *Service) planSwitch(p *Plan, action models.DeploymentAction) error {
	if len(p.Config.Gradual) == 0 {
		return nil
	}
	kind, err := s.KindOf(p.Environment.Target.Kind)
	if err != nil {
		return err
	}
	message := "In steps: " + p.Config.Gradual.Words() + ". It can be sent to all at once, or canceled, at any time meanwhile."
	if p.AtOnce = atOnce(action, p.Config, p.Current, kind); p.AtOnce != "" {
		message = "All at once. " + p.AtOnce
	} else {
		p.Gradual = p.Config.Gradual
	}
	p.Checks = append(p.Checks, Check{Name: "Visitors", OK: true, Message: message})
	return nil
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// listOf are the first few of the ports, for people.
func listOf(ports []int) string {
	var out []string
	for _, p := range ports[:min(len(ports), 5)] {
		out = append(out, strconv.Itoa(p))
	}
	if len(ports) > len(out) {
		out = append(out, "…")
	}
	return strings.Join(out, ", ")
}

func (s *Service) checkHealth(p *Plan, add func(string, bool, string, ...any)) {
	switch {
	case p.To != nil || len(p.Image.Platforms) == 0:
		add("Port", true, "Port %d, as it was then.", p.Port)
		add("Health", true, "The same health check as then.")
		return
	case p.App.Port > 0:
		add("Port", true, "The app's settings say %d.", p.Port)
	case len(p.Image.Ports) > 1:
		add("Port", true, "The image says EXPOSE for %s; the lowest counts. Enter the port in the app's settings where it listens for visitors on another one.", listOf(p.Image.Ports))
	case len(p.Image.Ports) > 0:
		add("Port", true, "The image says EXPOSE %d.", p.Port)
	default:
		add("Port", true, "Neither the app's settings nor the image name a port; the app gets PORT=%d and has to listen there.", p.Port)
	}
	switch {
	case p.Health == models.HealthImage && !p.Image.HealthCheck:
		add("Health", false, noHealthCheck)
	case p.Health == models.HealthImage:
		add("Health", true, "The image's own HEALTHCHECK has to say healthy.")
	case p.Health == models.HealthTCP:
		add("Health", true, "Port %d has to accept connections.", p.Port)
	default:
		add("Health", true, "GET %s on port %d has to answer with a status from 200 to 399.", or(p.HealthPath, "/"), p.Port)
	}
	if p.Current == nil || p.Current.Stopped {
		add("Downtime", true, "Nothing serves here now.")
		return
	}
	if p.Recreate {
		add("Downtime", true, "From the end of deployment %s until this one is healthy: the app runs one version at a time. Visitors get a page that says so meanwhile. If this one fails, %s is started again.", p.Current.Title(), p.Current.Title())
		return
	}
	if shared := sharedVolumes(p.Current.Config, p.Config); shared != "" {
		add("Downtime", true, "None: the new version starts beside the old one. Both have %s at once until the switch; an app that can't bear that runs one version at a time.", shared)
		return
	}
	add("Downtime", true, "None: the new version starts beside the old one, which serves until then.")
}
