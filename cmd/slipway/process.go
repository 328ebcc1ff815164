package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"gocloud.dev/blob"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"slipway.dev/handlers"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/auth"
	"slipway.dev/services/blobs"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/buildkit"
	"slipway.dev/services/catalog"
	"slipway.dev/services/certificates"
	"slipway.dev/services/copies"
	"slipway.dev/services/deploy"
	"slipway.dev/services/engines"
	"slipway.dev/services/events"
	"slipway.dev/services/explorer"
	"slipway.dev/services/forges"
	"slipway.dev/services/git"
	"slipway.dev/services/hooks"
	"slipway.dev/services/idempotency"
	"slipway.dev/services/identity"
	"slipway.dev/services/idp"
	"slipway.dev/services/images"
	"slipway.dev/services/jobs"
	"slipway.dev/services/logs"
	"slipway.dev/services/observe"
	"slipway.dev/services/outbound"
	"slipway.dev/services/previews"
	"slipway.dev/services/proxy"
	"slipway.dev/services/pullthrough"
	"slipway.dev/services/registries"
	"slipway.dev/services/registry"
	"slipway.dev/services/retention"
	"slipway.dev/services/schedules"
	"slipway.dev/services/secrets"
	"slipway.dev/services/visitors"
	"slipway.dev/services/workflows"
	"slipway.dev/services/workload"
)

const (
	externalSetting = "external_url" // where workers find the portal's URL
)

// process is what every running Slipway has, whether it serves or only works:
// the database and all services on it. This file is the only place where they
// are put together.
type process struct {
	settings *settings
	external string // the portal's URL

	db     *models.Database
	box    *secrets.Box
	queue  *jobs.Queue
	events *events.Service
	audit  *audit.Service
	guard  *outbound.Guard
	git    *git.Service
	logs   *logs.Service
	bucket *blob.Bucket // of what is written once and whole

	accounts  *idp.Provider // nil where the embedded provider is off
	auth      *auth.Service
	catalog   *catalog.Service
	registry  *registry.Service
	others    *registries.Service // the external registries, and the door to all
	copies    *copies.Service
	cache     *pullthrough.Service
	images    *images.Service
	retention *retention.Service
	explorer  *explorer.Service
	engines   *engines.Service
	storage   *buildkit.Storage // of the local Docker Engine; nil where it builds nothing
	builds    *builds.Service
	deploy    *deploy.Service
	observe   *observe.Service
	previews  *previews.Service
	identity  *identity.Service
	workloads *workload.Service
	workflows *workflows.Service
	forges    *forges.Service
	hooks     *hooks.Service
	proxy     *proxy.Service // nil in a process that only works
	visitors  *visitors.Service
	keys      *idempotency.Service

	certificates *certificates.Service

	schedules *schedules.Service

	working    bool // takes jobs
	cancel     context.CancelFunc
	background sync.WaitGroup
	closers    []func() error // in the order of opening
}

// openDatabase opens the configured database, whose folder it makes for SQLite.
func openDatabase(ctx context.Context, s *settings) (*models.Database, error) {
	if err := os.MkdirAll(s.Data, 0o700); err != nil {
		return nil, fmt.Errorf("making the data folder: %w", err)
	}
	return models.Open(ctx, s.DatabaseURL)
}

// newProcess puts the services of a process together on the migrated database. close must be called.
func newProcess(ctx context.Context, s *settings, db *models.Database, external string) (*process, error) {
	p := &process{settings: s, db: db, external: external}
	if err := errors.Join(p.openLeaves(ctx), p.openServices(ctx)); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.registerJobs()
	return p, nil
}

func (p *process) openLeaves(ctx context.Context) (err error) {
	s := p.settings
	if p.box, err = secrets.Load(s.KeyFile); err != nil {
		return err
	}
	p.queue, err = jobs.New(p.db, jobs.Config{Builds: s.Builds, Deployments: s.Deployments, Others: 8, Version: version, Labels: s.WorkerLabels, DeadAfter: s.WorkerDeadAfter})
	if err != nil {
		return err
	}
	packed, err := p.openBlobs(ctx, "blobs")
	if err != nil {
		return err
	}
	p.bucket = packed
	p.logs = &logs.Service{DB: p.db, Blobs: packed}
	p.events = &events.Service{DB: p.db.DB}
	p.audit = &audit.Service{DB: p.db.DB}
	p.keys = &idempotency.Service{DB: p.db.DB}
	p.guard = &outbound.Guard{Allow: s.OutboundAllow}
	gitProxy := &outbound.Proxy{Guard: p.guard}
	if err := gitProxy.Listen(); err != nil {
		return fmt.Errorf("starting the proxy for git: %w", err)
	}
	p.closers = append(p.closers, gitProxy.Close)
	p.git = &git.Service{Dir: filepath.Join(s.Data, "git"), Guard: p.guard, Proxy: gitProxy, LocalRoots: s.LocalRepositories}
	return nil
}

// openBlobs opens the folder or bucket of the name, below the place that is configured.
func (p *process) openBlobs(ctx context.Context, name string) (*blob.Bucket, error) {
	bucket, err := blobs.Open(ctx, blobs.Below(p.settings.Blobs, name))
	if err != nil {
		return nil, err
	}
	p.closers = append(p.closers, bucket.Close)
	return bucket, nil
}

func (p *process) openRegistry(ctx context.Context) (err error) {
	const name = "registry"
	place := blobs.Below(p.settings.Blobs, name)
	p.registry = &registry.Service{
		DB: p.db, Box: p.box, Jobs: p.queue, Folder: place, Place: blobs.Name(place), External: p.external, Undo: p.settings.ImageUndo,
		Authenticate: func(ctx context.Context, _, token string) (*models.Principal, error) {
			return p.auth.AuthenticateToken(ctx, token)
		},
		Reload: p.auth.Reload,
	}
	if blobs.IsBucket(place) {
		p.registry.Bucket, err = p.openBlobs(ctx, name)
	}
	return err
}

func (p *process) openServices(ctx context.Context) error {
	p.catalog = &catalog.Service{DB: p.db.DB, Git: p.git, Secrets: p.box, Jobs: p.queue}
	p.forges = &forges.Service{DB: p.db.DB, Box: p.box, ExternalURL: p.external, Client: p.guard.HTTPClient()}
	p.openAuth()
	if err := p.openRegistry(ctx); err != nil {
		return err
	}
	p.others = &registries.Service{DB: p.db, Box: p.box, Guard: p.guard, Embedded: p.registry}
	p.copies = &copies.Service{DB: p.db, Jobs: p.queue, Registries: p.others, Standing: p.auth.Standing}
	p.cache = &pullthrough.Service{DB: p.db, Registry: p.registry, Registries: p.others, Guard: p.guard, Scratch: filepath.Join(p.settings.Data, "cache")}
	p.registry.Upstream = p.cache.Upstream()
	p.closers = append(p.closers, p.cache.Close)
	p.closers = append(p.closers, p.others.Close)
	p.catalog.Registries = p.others
	p.openWorkloads()
	p.images = &images.Service{DB: p.db.DB, Registry: p.registry, Registries: p.others}
	p.retention = &retention.Service{DB: p.db, Registry: p.registry, Jobs: p.queue}
	p.explorer = &explorer.Service{DB: p.db, Jobs: p.queue, Blobs: p.bucket, Git: p.git, Find: explorer.Registries{Images: p.images}.Find, OpenBlob: p.images.OpenBlob}
	return errors.Join(p.openBuilds(), p.openDeploy(), p.openVisitors())
}

func (p *process) openAuth() {
	p.auth = &auth.Service{DB: p.db.DB, Box: p.box, ExternalURL: p.external}
	if p.settings.IDP {
		p.accounts = &idp.Provider{DB: p.db.DB, Box: p.box, ExternalURL: p.external, RedirectURI: auth.LocalRedirect(p.external)}
		p.auth.Accounts = p.accounts
		p.auth.Issuers = append(p.auth.Issuers, auth.Local(p.accounts))
	}
	for _, i := range p.settings.OIDCIssuers {
		p.auth.Issuers = append(p.auth.Issuers, &auth.Issuer{
			ID: i.ID, Name: i.Name, Domains: i.Domains, URL: i.Issuer,
			ClientID: i.ClientID, ClientSecret: i.ClientSecret, Scopes: i.Scopes, Client: p.guard.HTTPClient(),
		})
	}
}

func (p *process) openBuilds() error {
	if err := p.openEngines(); err != nil {
		return err
	}
	p.builds = &builds.Service{
		DB: p.db, Jobs: p.queue, Git: p.git, Logs: p.logs, Box: p.box, Registry: p.registry, Registries: p.others, CheckTags: p.registry.CheckTags, Remote: p.catalog.Remote,
		Builders:  map[models.BuilderKind]builds.Builder{models.BuilderBuildKit: p.engines},
		Dir:       filepath.Join(p.settings.Data, "builds"),
		PlainHTTP: strings.HasPrefix(p.external, "http://"),

		TeamBuilds: p.settings.TeamBuilds, QueueLimit: p.settings.QueueTimeout, DiskFloor: int64(p.settings.DiskFloor),
		CacheLimits: builds.CacheLimits{Size: int64(p.settings.BuildCacheSize), Age: p.settings.BuildCacheAge},
	}
	p.builds.Bases = p.bases
	if p.storage != nil {
		p.builds.Engine = p.storage
	}
	p.openWorkflows()
	p.schedules = &schedules.Service{DB: p.db, Builds: p.builds}
	p.hooks = &hooks.Service{DB: p.db, Jobs: p.queue, Forges: p.forges, Builds: p.builds, Git: p.git, Remote: p.catalog.Remote, Refresh: p.catalog.Refresh, Runs: p.workflows.Webhook, Elsewhere: p.workflows.Elsewhere}
	return nil
}

// bases are the base images that builds take from the cache.
func (p *process) bases(ctx context.Context) (builds.Bases, error) {
	hosts, err := p.cache.Hosts(ctx)
	if err != nil || len(hosts) == 0 {
		return builds.Bases{}, err
	}
	login := func(ctx context.Context) (string, string, error) { return p.registry.Bases(ctx, time.Hour) }
	return builds.Bases{Host: p.registry.Host(), Under: hosts, Credential: login, Check: p.cache.Check}, nil
}

func (p *process) openDeploy() error {
	u, err := url.Parse(p.external)
	if err != nil {
		return err
	}
	p.deploy = &deploy.Service{
		DB: p.db, Queue: p.queue, Box: p.box, Registry: p.registry, Registries: p.others, Git: p.git, Kinds: targets(p.settings),
		Apps: deploy.Address{Scheme: u.Scheme, Domain: p.settings.AppsDomain, Port: u.Port()}, Refresh: p.catalog.Refresh,
	}
	p.deploy.Copies = p.copies
	p.closers = append(p.closers, p.deploy.Close)
	p.identity = &identity.Service{DB: p.db, Box: p.box, ExternalURL: p.external, Deploy: p.deploy, Guard: p.guard}
	p.deploy.Identity = p.identity.For
	p.others.Federation = func(ctx context.Context, target, account string) (registries.CloudCredential, error) {
		got, err := p.identity.Credential(ctx, target, account)
		return registries.CloudCredential(got), err
	}
	p.openPreviews()
	p.observe = &observe.Service{DB: p.db, Queue: p.queue, Logs: p.logs, Deploy: p.deploy, KeepSize: int64(p.settings.KeptLogSize), KeepAge: p.settings.KeptLogAge}
	p.deploy.Heard = p.observe.Heard
	return nil
}

// openPreviews has the previews of pull requests follow what happens to builds, pull requests and apps.
func (p *process) openPreviews() {
	p.previews = &previews.Service{DB: p.db, Deploy: p.deploy, ExternalURL: p.external, TeamLimit: p.settings.TeamPreviews, Comment: p.forges.NoteComment}
	p.forges.CommentText = p.previews.CommentText
	p.hooks.PullClosed = p.previews.PullClosed
	p.catalog.Unload = p.previews.Unload
	p.builds.Changed = func(tx *gorm.DB, b *models.Build) error {
		if err := p.forges.BuildChanged(tx, b); err != nil {
			return err
		}
		return p.previews.BuildChanged(tx, b)
	}
}

// registerJobs names the work that this process can do, and what it does regularly while it takes jobs.
func (p *process) registerJobs() {
	p.catalog.Register(p.queue)
	p.builds.Register(p.queue)
	p.registry.Register(p.queue)
	p.schedules.Register(p.queue)
	p.retention.Register(p.queue)
	p.forges.Register(p.queue)
	p.copies.Register(p.queue)
	p.hooks.Register(p.queue)
	p.previews.Register(p.queue)
	p.explorer.Register(p.queue)
	jobs.Register(p.queue, p.deploy.Roll)
	jobs.Register(p.queue, p.deploy.RetireStopped)
	jobs.Register(p.queue, p.deploy.RemoveReleases)
	jobs.Register(p.queue, p.deploy.Restore)
	jobs.Register(p.queue, p.deploy.KeepDomains)
	jobs.Register(p.queue, p.deploy.DestroyTarget)
	p.queue.Every(time.Minute, "looking at build engines", p.engines.CheckAll)
	p.queue.Every(deploy.AutoEvery, "deploying good builds", p.deploy.DeployGoodBuilds)
	p.queue.Every(deploy.CountEvery, "counting commits", p.deploy.CountCommits)
	p.queue.Every(deploy.CountOldEvery, "counting commits of earlier deployments", p.deploy.CountOldCommits)
	p.queue.Every(deploy.ReconcileEvery, "looking at what runs", p.deploy.Reconcile)
	p.queue.Every(observe.MeasureEvery, "measuring what runs", p.observe.Measure)
	p.queue.Every(time.Second, "keeping what instances print", p.observe.KeepLogs)
	p.queue.Every(time.Minute, "forgetting what instances took", p.observe.PruneUsage)
	p.queue.Every(time.Minute, "forgetting old logs of instances", p.observe.PruneLogs)
	p.queue.Every(deploy.RenewEvery, "renewing what clusters pull images with", p.deploy.RenewCredentials)
	p.queue.Every(deploy.DomainsEvery, "telling clusters which domains lead to them", p.deploy.KeepAllDomains)
	p.queue.Every(deploy.SweepTargetsEvery, "looking for deleted targets without a job", p.deploy.SweepTargets)
	p.queue.Every(visitors.CheckEvery, "looking for the records of domains", p.visitors.CheckDomains)
	p.queue.Every(certificates.OrderEvery, "ordering certificates", p.certificates.OrderAll)
	p.queue.Every(time.Minute, "packing logs", p.logs.Sweep)
	p.queue.Every(time.Hour, "forgetting old events", p.events.Prune)
	p.queue.Every(time.Hour, "forgetting ended sessions", p.auth.Prune)
	p.queue.Every(time.Hour, "forgetting answers to repeated calls", p.keys.Prune)
	p.queue.Every(time.Hour, "collecting what no image needs", p.registry.Collect)
	p.queue.Every(time.Hour, "replacing old keys of the registry", p.registry.RotateOldKeys)
	p.queue.Every(time.Hour, "replacing old keys of the issuer for clouds", p.identity.RotateOld)
	p.queue.Every(time.Hour, "evicting base images that nobody pulls", p.cache.Sweep)
	p.queue.Every(time.Hour, "forgetting what was read of registries", p.images.Trim)
	p.queue.Every(time.Hour, "forgetting tokens of runs", p.workloads.Prune)
	p.queue.Every(time.Hour, "forgetting former variables", p.deploy.PruneVariableChanges)
	if p.accounts != nil {
		p.queue.Every(time.Hour, "forgetting ended sign-ins", p.accounts.Prune)
		p.queue.Every(time.Hour, "replacing old signing keys", p.accounts.RotateOld)
	}
}

// services is what the handlers call.
func (p *process) services() handlers.Services {
	return handlers.Services{
		Auth: p.auth, Events: p.events, Audit: p.audit, Idempotency: p.keys,
		Catalog: p.catalog, Builds: p.builds, Engines: p.engines, Images: p.images, Explorer: p.explorer, Retention: p.retention, Deploy: p.deploy, Observe: p.observe, Previews: p.previews, Identity: p.identity, Forges: p.forges, Schedules: p.schedules,
		Workloads: p.workloads, Workflows: p.workflows, Hooks: p.hooks,
		Accounts: p.accounts, Registry: p.registry, Registries: p.others, Copies: p.copies, Cache: p.cache, Proxy: p.proxy, Visitors: p.visitors, Certificates: p.certificates,
	}
}

// start begins the background work of the process, with jobs where asked.
func (p *process) start(ctx context.Context, workers bool) error {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	p.cancel = cancel
	p.background.Go(func() { p.events.Run(ctx) })
	p.background.Go(func() { p.registry.RunPulls(ctx) })
	if p.proxy != nil {
		p.background.Go(func() {
			if err := p.proxy.Run(ctx); err != nil {
				slog.Error("the proxy ended", "error", err)
			}
		})
	}
	if !workers {
		return nil
	}
	p.working = true
	return p.queue.Start(ctx)
}

// stop ends the background work; jobs go back to the queue.
func (p *process) stop() error {
	var err error
	if p.working {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTime)
		defer cancel()
		err = p.queue.Stop(ctx)
	}
	p.cancel()
	return err
}

// remember tells workers on other machines where the portal is.
func (p *process) remember(ctx context.Context) error {
	row := models.Setting{Key: externalSetting, Value: p.external, UpdatedAt: p.db.NowFunc()}
	return p.db.WithContext(ctx).Clauses(clause.OnConflict{UpdateAll: true}).Create(&row).Error
}

// close closes what newProcess opened, the last first.
func (p *process) close() error {
	p.background.Wait()
	var faults []error
	for _, c := range slices.Backward(p.closers) {
		faults = append(faults, c())
	}
	return errors.Join(faults...)
}
