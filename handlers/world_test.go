package handlers

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/fnv"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/auth"
	"slipway.dev/services/builds"
	"slipway.dev/services/builds/buildtest"
	"slipway.dev/services/catalog"
	"slipway.dev/services/certificates"
	"slipway.dev/services/deploy"
	"slipway.dev/services/engines"
	"slipway.dev/services/explorer"
	"slipway.dev/services/forges"
	"slipway.dev/services/idp"
	"slipway.dev/services/pullthrough"
	"slipway.dev/services/registries"
	"slipway.dev/services/retention"
	"slipway.dev/services/visitors"
)

// canary is planted wherever a secret is kept; no answer may hold it.
const canary = "CANARY-7f3a"

// full is a fixture with one of everything that a route can be about. Its
// places are what the routes of the matrix name in braces.
type full struct {
	*fixture
	places map[string]string
}

func newFull(t testing.TB) *full {
	t.Helper()
	f := &full{fixture: newFixture(t), places: map[string]string{}}
	f.places["app"], f.places["repository"], f.places["environment"], f.places["target"] = f.App.ID, f.Repository.ID, f.Environment.ID, f.Target.ID
	f.places["team id"], f.places["team"], f.places["viewer"], f.places["stranger"], f.places["build"] = f.Team.ID, f.Team.Slug, f.Viewer.ID, f.Stranger.ID, f.Build.ID
	f.addQueue()
	f.addSources()
	f.addImage()
	f.addFiles()
	f.addDeployments()
	f.addSpare()
	f.addSecrets()
	f.addBuilding()
	f.addPeople()
	f.addCopies()
	f.addPreview()
	f.addVisitors()
	return f
}

// addVisitors makes a domain with an address, a certificate, and maintenance.
func (f *full) addVisitors() {
	f.t.Helper()
	maintainer := modelstest.As(f.t, f.db, f.Maintainer)
	a, err := f.s.Visitors.AddAddress(maintainer, visitors.AddressInput{EnvironmentID: f.Environment.ID, AppID: f.App.ID, Host: "shop.example.org"})
	f.must(err)
	var d models.Domain
	f.must(f.db.Take(&d).Error)
	f.must(f.db.Model(&d).Update("note", hostile).Error)
	_, _, err = f.s.Visitors.StartMaintenance(maintainer, visitors.MaintenanceInput{EnvironmentID: f.places["guarded environment"], AppID: f.App.ID, Message: hostile})
	f.must(err)
	chain, key := pair(f.t, "shop.example.org")
	c, err := f.s.Certificates.Add(maintainer, certificates.Input{TeamID: f.Team.ID, Chain: chain, Key: key})
	f.must(err)
	f.places["address"], f.places["domain"], f.places["certificate"] = a.ID, d.ID, c.ID
	lines := strings.NewReplacer("\n", `\n`)
	f.places["host chain json"], f.places["host key json"] = lines.Replace(chain), lines.Replace(key)
	f.places["host chain form"], f.places["host key form"] = url.QueryEscape(chain), url.QueryEscape(key)
}

// pair makes a certificate of the host, and its key.
func pair(t testing.TB, host string) (chain, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	text, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: text}))
}

// addCopies makes a copy that waits, one that failed, and a cache with a repository.
func (f *full) addCopies() {
	f.t.Helper()
	now := f.db.NowFunc()
	from := models.ImagePlaceName{Host: f.host, Repository: "payments/checkout"}
	waiting := &models.Copy{ID: models.NewID(), TeamID: f.Team.ID, State: models.CopyQueued, Source: from, SourceTag: hostile, Digest: f.places["digest"],
		Target: models.ImagePlaceName{Host: f.host, Repository: "payments/other"}, Note: hostile, AskedKind: models.PrincipalSession, CreatedByName: hostile, CreatedAt: now}
	failed := *waiting
	failed.ID, failed.State, failed.Error, failed.FinishedAt = models.NewID(), models.CopyFailed, hostile, &now
	f.create(waiting, &failed)
	f.places["copy"], f.places["failed copy"], f.places["host"] = waiting.ID, failed.ID, f.host
	admin := modelstest.As(f.t, f.db, f.Admin)
	u, err := f.s.Cache.AddUpstream(admin, pullthrough.UpstreamInput{Host: "registry.example.test", Enabled: true})
	f.must(err)
	f.create(&models.CacheRepository{Name: u.Repository("acme/base"), UpstreamID: u.ID, Error: hostile, ErrorAt: &now, PulledAt: now, CreatedAt: now})
	f.places["upstream"], f.places["cached"] = u.ID, u.Repository("acme/base")
}

func (f *full) create(rows ...any) {
	f.t.Helper()
	for _, r := range rows {
		if err := f.db.Create(r).Error; err != nil {
			f.t.Fatalf("creating %T: %v", r, err)
		}
	}
}

// addQueue makes a worker, and a build that waits and that no other route is about.
func (f *full) addQueue() {
	f.t.Helper()
	now := f.db.NowFunc()
	f.create(&models.Worker{ID: models.NewID(), Host: "builder-1", Builds: 2, StartedAt: now, SeenAt: now.Add(time.Hour)})
	var w models.Worker
	f.must(f.db.Take(&w).Error)
	queued := *f.Build
	queued.ID, queued.Number, queued.Trigger = models.NewID(), 100, models.TriggerSchedule
	f.create(&queued, &models.LogStream{ID: queued.ID, Kind: "build"})
	f.places["worker"], f.places["queued build"] = w.ID, queued.ID
}

// addSources makes what the last fetch saw, and a repository without apps.
func (f *full) addSources() {
	now := f.db.NowFunc()
	f.create(&models.Ref{RepositoryID: f.Repository.ID, Kind: models.RefBranch, Name: "main", Commit: f.Build.Commit, CommittedAt: now})
	f.create(&models.LogStream{ID: f.Build.ID, Kind: "build"})
	empty := &models.Repository{ID: models.NewID(), TeamID: f.Team.ID, Name: "empty", CloneURL: "https://git.example.test/empty.git",
		CredentialKind: models.CredentialNone, State: models.RepositoryReady, CreatedAt: now, UpdatedAt: now}
	f.create(empty)
	f.places["empty repository"] = empty.ID
	next := now.Add(time.Hour)
	nightly := &models.Schedule{ID: models.NewID(), TeamID: f.Team.ID, AppID: f.App.ID, Cron: "0 2 * * *", TimeZone: "UTC", Enabled: true, NextAt: &next, CreatedAt: now, UpdatedAt: now}
	f.create(nightly)
	f.places["schedule"] = nightly.ID
	f.create(&models.Workflow{AppID: f.App.ID, TeamID: f.Team.ID, Issuer: "https://issuer.example.test", Repository: "acme/shop", GitHubID: 42, Path: ".github/workflows/slipway-checkout.yml",
		Destination: models.DestinationPortal, Cache: models.WorkflowCacheActions, CreatedAt: now, UpdatedAt: now})
	f.create(&models.Exchange{ID: models.NewID(), TeamID: f.Team.ID, AppID: f.App.ID, Issuer: "https://issuer.example.test", Repository: "evil/shop", GitHubID: 43, RunID: 7, Event: "push",
		Reason: "The run is of another repository.", CreatedAt: now})
}

// addImage pushes an image as a build would, and records the build.
func (f *full) addImage() {
	f.t.Helper()
	ctx := models.WithPrincipal(f.t.Context(), models.System("worker"))
	user, password, err := f.s.Registry.Credential(ctx, "payments/checkout", []string{"pull", "push"}, time.Minute)
	if err != nil {
		f.t.Fatal(err)
	}
	image, err := random.Image(64, 1)
	if err != nil {
		f.t.Fatal(err)
	}
	ref, err := name.ParseReference(f.host+"/payments/checkout:main", name.Insecure)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithAuth(&authn.Basic{Username: user, Password: password})); err != nil {
		f.t.Fatal(err)
	}
	d, err := image.Digest()
	if err != nil {
		f.t.Fatal(err)
	}
	f.places["digest"] = d.String()
	now := f.db.NowFunc()
	built := &models.Build{ID: models.NewID(), TeamID: f.Team.ID, AppID: f.App.ID, Number: 2, State: models.BuildSucceeded, Ref: "main", RefKind: "branch",
		Commit: f.Build.Commit, Dockerfile: "Dockerfile", Context: ".", TimeoutSeconds: 60, QueuedAt: now, StartedAt: &now, FinishedAt: &now, CreatedAt: now,
		ImageRepository: f.host + "/payments/checkout", ImageDigest: d.String(), ImageTags: []string{"main"}}
	f.create(built, &models.LogStream{ID: built.ID, Kind: "build", Closed: true})
	f.places["ended build"] = built.ID
	f.must(f.db.Model(f.App).Updates(map[string]any{"build_count": 2, "deployment_count": 7}).Error)
}

// badDigest is of an image that is marked as bad.
const badDigest = "sha256:bad0bad0bad0bad0bad0bad0bad0bad0bad0bad0bad0bad0bad0bad0bad0bad0"

// addSpare makes a repository of images with a policy, of which something was deleted and cleaned up.
func (f *full) addSpare() {
	f.t.Helper()
	now := f.db.NowFunc()
	push := func(tag, content string) string {
		d := "sha256:" + strings.Repeat(content, 64)
		f.create(&models.RegistryManifest{Repository: "payments/spare", Digest: d, PushID: models.NewID(), MediaType: "application/vnd.oci.image.manifest.v1+json",
			Content: []byte(`{"schemaVersion":2}`), PushedAt: now.AddDate(0, -1, 0), PushedByName: hostile},
			&models.RegistryTag{Repository: "payments/spare", Name: tag, Digest: d, MovedAt: now.AddDate(0, -1, 0)})
		return d
	}
	f.create(&models.RegistryRepository{Name: "payments/spare", TeamID: f.Team.ID, PushID: "1", CreatedAt: now})
	f.places["spare digest"] = push("v1", "a")
	push("v2", "b")
	gone := push("v3", "c")
	maintainer := modelstest.As(f.t, f.db, f.Maintainer)
	d, err := f.s.Registry.DeleteImage(maintainer, "payments/spare", gone)
	f.must(err)
	f.places["deletion"] = d.ID
	_, err = f.s.Retention.SetPolicy(maintainer, "payments/spare", retention.PolicyInput{Rules: []models.RetentionRule{{Last: 1}}})
	f.must(err)
	p, err := f.s.Retention.Preview(maintainer, "payments/spare", retention.PreviewFilter{})
	f.must(err)
	f.places["plan"] = p.Fingerprint
	run := &models.RetentionRun{ID: models.NewID(), TeamID: f.Team.ID, Repository: "payments/spare", State: models.RetentionSucceeded, StartedByName: hostile, CreatedAt: now, FinishedAt: &now}
	f.create(run, &models.RetentionItem{RunID: run.ID, Digest: gone, Tags: []string{"v3"}, Outcome: models.OutcomeSpared, Reason: hostile})
	f.places["run"] = run.ID
	f.must(f.s.Retention.Count(f.t.Context()))
}

// addFiles lists the files of the image, and compares it with itself.
func (f *full) addFiles() {
	f.t.Helper()
	ctx := models.WithPrincipal(f.t.Context(), models.System("test"))
	at := explorer.Reference{Repository: "payments/checkout", Name: f.places["digest"]}
	files, err := f.s.Explorer.Files(ctx, explorer.Query{At: at})
	f.must(err)
	f.must(f.s.Explorer.Make(ctx, explorer.Args{ID: files.Making.ID, Images: []explorer.Reference{at}, Team: f.Team.ID}))
	compared, err := f.s.Explorer.Compare(ctx, explorer.CompareQuery{A: at, B: at})
	f.must(err)
	f.must(f.s.Explorer.Make(ctx, explorer.Args{ID: compared.Making.ID, Images: []explorer.Reference{at, at}, Team: f.Team.ID}))
	files, err = f.s.Explorer.Files(ctx, explorer.Query{At: at})
	f.must(err)
	f.places["file"] = files.Items[0].Path
}

// addDeployments makes one that serves, one before it, one that waits, and one that is stopped.
func (f *full) addDeployments() {
	now := f.db.NowFunc()
	stage := &models.Environment{ID: models.NewID(), TeamID: f.Team.ID, TargetID: f.Target.ID, Name: "stage", Position: 1, CreatedAt: now, UpdatedAt: now}
	spare := &models.Environment{ID: models.NewID(), TeamID: f.Team.ID, TargetID: f.Target.ID, Name: "spare", Position: 2, CreatedAt: now, UpdatedAt: now}
	guarded := &models.Environment{ID: models.NewID(), TeamID: f.Team.ID, TargetID: f.Target.ID, Name: "guarded", Position: 3, CreatedAt: now, UpdatedAt: now,
		Protection: models.Protection{Freezes: []models.Freeze{{Name: "Once", Start: &time.Time{}, End: &time.Time{}}}}}
	f.create(stage, spare, guarded)
	f.places["guarded environment"], f.places["freeze"] = guarded.ID, guarded.Protection.Freezes[0].Key()
	f.create(&models.AutoDeploy{EnvironmentID: guarded.ID, AppID: f.App.ID, Branch: "main", SeenAt: now, HeldAt: &now, UpdatedAt: now},
		&models.BadImage{TeamID: f.Team.ID, Digest: badDigest, Reason: "loses orders", MarkedByName: "Mira", CreatedAt: now})
	f.places["empty environment"] = spare.ID
	target, err := f.s.Deploy.Kinds[0].Open(deploy.Config{ID: f.Target.ID})
	f.must(err)
	f.must(target.Start(f.t.Context(), deploy.Release{EnvironmentID: f.Environment.ID, AppID: f.App.ID, Runtime: models.Runtime{Volumes: []models.VolumeMount{{Name: "uploads", Path: "/data"}}}}))
	for i, d := range []struct {
		place       string
		environment string
		change      models.Deployment
	}{
		{"old deployment", f.Environment.ID, models.Deployment{State: models.DeploymentSucceeded}},
		{"deployment", f.Environment.ID, models.Deployment{State: models.DeploymentSucceeded, Active: true}},
		{"pending deployment", f.Environment.ID, models.Deployment{State: models.DeploymentPending}},
		{"waiting deployment", guarded.ID, models.Deployment{State: models.DeploymentWaiting}},
		{"shifting deployment", stage.ID, models.Deployment{State: models.DeploymentRunning, Shift: models.Shift{Step: 1, Percent: 10}}},
		{"bad deployment", guarded.ID, models.Deployment{State: models.DeploymentSucceeded, ImageDigest: badDigest}},
		{"stopped deployment", stage.ID, models.Deployment{State: models.DeploymentSucceeded, Active: true, Stopped: true}},
	} {
		row := d.change
		row.ID, row.TeamID, row.AppID, row.EnvironmentID, row.Number = models.NewID(), f.Team.ID, f.App.ID, d.environment, int64(i+1)
		row.ImageRepository, row.Action, row.CreatedAt = f.host+"/payments/checkout", models.ActionDeploy, now
		if row.ImageDigest == "" {
			row.ImageDigest = f.places["digest"]
		}
		row.Config = models.DeploymentConfig{Port: 8080, Health: models.HealthTCP, Variables: map[string]string{}, Secrets: map[string]string{}}
		row.SealedSecrets = f.s.Deploy.Box.Seal("deployments/"+row.ID, []byte(`{"KEY":"`+canary+`"}`))
		f.create(&row)
		f.places[d.place] = row.ID
	}
}

// addSecrets plants the canary in every place that keeps a secret.
func (f *full) addSecrets() {
	f.t.Helper()
	maintainer, admin := modelstest.As(f.t, f.db, f.Maintainer), modelstest.As(f.t, f.db, f.Admin)
	f.addVariables(maintainer)
	r, err := f.s.Catalog.RegisterRepository(maintainer, catalog.NewRepository{Team: "payments", Name: "private", CloneURL: "https://git.example.test/private.git",
		Credential: catalog.Credential{User: "bot", Token: canary}})
	f.must(err)
	f.places["private repository"] = r.ID
	c, _, err := f.s.Forges.Create(maintainer, forges.NewConnection{Team: "payments", Kind: models.ForgeGitHub, Credential: models.ConnectionToken,
		Settings: map[string]string{forges.FieldToken: canary}})
	f.must(err)
	f.places["connection"] = c.ID
	f.addDelivery(c.ID)
	t, err := f.s.Deploy.CreateTarget(admin, deploy.TargetInput{Name: "other", Kind: "docker", Settings: map[string]string{"host": "h", "key": canary}})
	f.must(err)
	f.places["unused target"] = t.ID
	left := models.TargetRemoval{ID: models.NewID(), Name: "gone", Kind: "docker", Settings: map[string]string{"host": "h"}, CreatedAt: f.db.NowFunc(), UpdatedAt: f.db.NowFunc()}
	f.must(f.db.Create(&left).Error)
	f.places["removal"] = left.ID
	cloud, err := f.s.Deploy.CreateTarget(admin, deploy.TargetInput{Name: "cloud", Kind: "still-aws", Settings: map[string]string{"region": "eu-central-1", "role": "arn:aws:iam::123456789012:role/slipway"}})
	f.must(err)
	f.places["cloud target"] = cloud.ID
	_, err = f.s.Identity.KeyList(admin) // the first look at the keys makes one
	f.must(err)
	f.addRegistries(admin)
}

// addVariables makes a secret of the environment and one of the team, each with one that it was before, and one that is gone.
func (f *full) addVariables(maintainer context.Context) {
	f.t.Helper()
	for place, in := range map[string]deploy.VariableInput{"variable": {EnvironmentID: f.Environment.ID, Name: "KEY"}, "team variable": {TeamID: f.Team.ID, Name: "KEY"}} {
		in.Secret, in.Value = true, canary+" of before"
		_, err := f.s.Deploy.SetVariable(maintainer, in)
		f.must(err)
		in.Value = canary
		v, err := f.s.Deploy.SetVariable(maintainer, in)
		f.must(err)
		f.places[place], f.places["variable change"] = v.ID, v.Revision
	}
	gone, err := f.s.Deploy.SetVariable(maintainer, deploy.VariableInput{EnvironmentID: f.Environment.ID, AppID: f.App.ID, Name: "GONE", Value: canary, Secret: true})
	f.must(err)
	_, err = f.s.Deploy.DeleteVariable(maintainer, deploy.Scope{EnvironmentID: f.Environment.ID}, gone.ID, nil)
	f.must(err)
	_, err = f.s.Deploy.SetVariable(maintainer, deploy.VariableInput{EnvironmentID: f.Environment.ID, Name: "GREETING", Value: hostile})
	f.must(err)
}

// addRegistries makes one that the team may push to and one that nobody uses; the tests reach neither.
func (f *full) addRegistries(admin context.Context) {
	f.t.Helper()
	for place, host := range map[string]string{"registry": "registry.test", "unused registry": "other.test"} {
		r, err := f.s.Registries.Create(admin, registries.Input{Name: "Registry " + host, Kind: registries.KindGeneric, Host: host,
			Settings: map[string]string{"username": "robot", "password": canary}})
		f.must(err)
		f.places[place] = r.ID
	}
	f.must(f.s.Registries.Grant(admin, f.places["registry"], registries.GrantInput{TeamID: f.Team.ID, Access: models.RegistryPush}))
}

// addDelivery makes a webhook that arrived, and a build of a fork's pull request that waits for approval.
func (f *full) addDelivery(connection string) {
	f.t.Helper()
	now := f.db.NowFunc()
	var body bytes.Buffer
	w := gzip.NewWriter(&body)
	_, err := w.Write([]byte(`{"zen":"` + hostile + `"}`))
	f.must(errors.Join(err, w.Close()))
	waiting := &models.Build{ID: models.NewID(), TeamID: f.Team.ID, AppID: f.App.ID, Number: 3, State: models.BuildWaiting, Ref: "refs/pull/7/head", RefKind: models.RefPullRequest, Untrusted: true,
		Commit: f.Build.Commit, Dockerfile: "Dockerfile", Context: ".", TimeoutSeconds: 60, QueuedAt: now, CreatedAt: now, Trigger: models.TriggerPullRequest,
		PullRequest: models.PullRequest{Number: 7, Title: hostile, URL: "javascript:alert(1)//", Source: hostile, Fork: true}, CreatedByName: hostile}
	d := &models.Delivery{ID: models.NewID(), TeamID: f.Team.ID, ConnectionID: connection, ExternalID: "1", Fingerprint: "1", Event: hostile, Headers: map[string]string{hostile: hostile}, Body: body.Bytes(),
		State: models.DeliveryHandled, Summary: hostile, CreatedAt: now, HandledAt: &now}
	f.create(waiting, &models.LogStream{ID: waiting.ID, Kind: "build"}, d,
		&models.DeliveryOutcome{DeliveryID: d.ID, Seq: 1, Kind: models.OutcomeWaiting, RepositoryID: f.Repository.ID, Repository: hostile, AppID: f.App.ID, App: hostile, BuildID: waiting.ID, Message: hostile})
	f.must(f.db.Model(f.App).Update("build_count", 3).Error)
	f.places["delivery"], f.places["waiting build"] = d.ID, waiting.ID
}

// addBuilding makes a build secret, an engine and the Dockerfile of a build.
func (f *full) addBuilding() {
	f.t.Helper()
	_, err := f.s.Builds.SetSecret(modelstest.As(f.t, f.db, f.Developer), f.App.ID, "npm", builds.SecretInput{Value: canary})
	f.must(err)
	c := buildtest.NewCertificates(f.t)
	for name, pem := range map[string][]byte{"ca": c.CA, "cert": c.ClientCert, "key": c.ClientKey} {
		f.places[name] = strings.ReplaceAll(string(pem), "\n", `\n`)
		f.places[name+" form"] = url.QueryEscape(string(pem))
	}
	e, err := f.s.Engines.Create(modelstest.As(f.t, f.db, f.Admin), engines.EngineInput{Name: "fast", Address: "tcp://fast.test:1234",
		CA: string(c.CA) + canary, Cert: string(c.ClientCert), Key: string(c.ClientKey) + canary, Enabled: true})
	f.must(err)
	f.places["engine"] = e.ID
	f.create(&models.BuildDockerfile{BuildID: f.Build.ID, Path: "Dockerfile", Text: "FROM scratch\n", Findings: []models.Finding{{Line: 1, Rule: "Rule", Message: "Think."}}})
}

// addPeople makes an invited person, a session, and tokens.
func (f *full) addPeople() {
	f.t.Helper()
	maintainer := modelstest.As(f.t, f.db, f.Maintainer)
	team, _, err := f.s.Auth.CreateToken(maintainer, auth.NewToken{Name: "ci", Scopes: []models.Scope{models.ScopeRead}, TeamID: f.Team.ID, Role: models.RoleViewer})
	f.must(err)
	f.places["team token"] = team.ID
	own, _, err := f.s.Auth.CreateToken(maintainer, auth.NewToken{Name: "own", Scopes: []models.Scope{models.ScopeRead}})
	f.must(err)
	f.places["own token"] = own.ID
	made, err := f.s.Auth.Invite(modelstest.As(f.t, f.db, f.Admin), idp.NewAccount{UserName: "invited", Name: "Invited", Email: "invited@example.test"})
	f.must(err)
	f.places["invited"] = made.User.ID
	f.places["invite"] = strings.TrimPrefix(made.Path, "/invites/")
	f.places["session"] = digest(f.cookie(f.Maintainer).Value)
	f.places["maintainer"] = f.Maintainer.ID
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// fill replaces each {place} in s.
func (f *full) fill(s string) string {
	for name, value := range f.places {
		s = strings.ReplaceAll(s, "{"+name+"}", value)
	}
	return s
}

// tables are all tables but the queue's and the migrations' own.
func (f *full) tables() []string {
	f.t.Helper()
	var names []string
	err := f.db.Raw("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'river_%' AND name NOT LIKE 'sqlite_%' AND name NOT LIKE 'goose_%' ORDER BY name").Scan(&names).Error
	f.must(err)
	return append(names, "river_job")
}

// unseen are columns that change when something is only looked at.
var unseen = []string{"last_seen_at", "last_used_at"}

// state is a fingerprint of all that is stored.
func (f *full) state() string {
	f.t.Helper()
	h := fnv.New64a()
	for _, table := range f.tables() {
		rows, err := f.db.SQL.QueryContext(f.t.Context(), "SELECT * FROM "+table)
		f.must(err)
		f.must(hashRows(h, table, rows))
	}
	return fmt.Sprintf("%x", h.Sum64())
}

// writes counts the rows that were ever written: where it stays, so does the
// state, and where it does not, the state may still be the same.
func (f *full) writes() (n int64) {
	f.t.Helper()
	f.must(f.db.SQL.QueryRowContext(f.t.Context(), "SELECT total_changes()").Scan(&n))
	return n
}

// watch returns a function that tells whether what is stored has changed, and brings it back.
func (f *full) watch() (changed func() bool) {
	f.t.Helper()
	restore, state, written := f.snapshot(), f.state(), f.writes()
	return func() bool {
		f.t.Helper()
		if f.writes() == written {
			return false
		}
		same := f.state() == state
		if !same {
			restore()
		}
		written = f.writes()
		return !same
	}
}

func hashRows(h interface{ Write([]byte) (int, error) }, table string, rows *sql.Rows) error {
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return err
	}
	for rows.Next() {
		values := make([]any, len(columns))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			return err
		}
		for i, c := range columns {
			if !slices.Contains(unseen, c) {
				fmt.Fprintf(h, "%s.%s=%v\n", table, c, *values[i].(*any))
			}
		}
	}
	return rows.Err()
}

// snapshot keeps the database as it is now; the returned function brings it back.
func (f *full) snapshot() func() {
	f.t.Helper()
	path := f.t.(*testing.T).TempDir() + "/snapshot.db"
	f.exec("VACUUM INTO '" + path + "'")
	tables := f.tables()
	return func() {
		f.t.Helper()
		script := []string{"ATTACH DATABASE '" + path + "' AS before", "PRAGMA foreign_keys = OFF"} // a connection that broke off has neither
		for _, t := range tables {
			script = append(script, "DELETE FROM main."+t, "INSERT INTO main."+t+" SELECT * FROM before."+t)
		}
		f.exec(append(script, "PRAGMA foreign_keys = ON", "DETACH DATABASE before")...)
	}
}

func (f *full) exec(statements ...string) {
	f.t.Helper()
	conn, err := f.db.SQL.Conn(context.Background())
	f.must(err)
	defer conn.Close()
	for _, s := range statements {
		if _, err := conn.ExecContext(context.Background(), s); err != nil {
			f.t.Fatalf("%s: %v", s, err)
		}
	}
}
