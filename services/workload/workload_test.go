package workload_test

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"slipway.dev/models"
	"slipway.dev/models/modelstest"
	"slipway.dev/services/registry"
	"slipway.dev/services/secrets"
	"slipway.dev/services/workload"
	"slipway.dev/services/workload/workloadtest"
)

// world is a portal's registry and exchange, and an issuer that the tests direct.
type world struct {
	*modelstest.World
	t        *testing.T
	db       *models.Database
	issuer   *workloadtest.Issuer
	registry *registry.Service
	service  *workload.Service
	host     string
	app2     *models.App // in the same repository
}

func newWorld(t *testing.T, db *models.Database) *world {
	t.Helper()
	w := &world{World: modelstest.Seed(t, db), t: t, db: db, issuer: workloadtest.New(t)}
	box, err := secrets.Load(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	w.registry = &registry.Service{DB: db, Box: box, Folder: t.TempDir(), Authenticate: func(context.Context, string, string) (*models.Principal, error) {
		return nil, models.Errorf(models.Unauthorized, "No.")
	}}
	mux := http.NewServeMux()
	mux.Handle("/v2/", w.registry)
	mux.HandleFunc("/registry/token", w.registry.Token)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	w.registry.External = server.URL
	w.host = strings.TrimPrefix(server.URL, "http://")
	w.service = &workload.Service{DB: db, External: server.URL, Issuers: []string{w.issuer.URL, "https://elsewhere.example.test"}, Registry: w.registry}
	w.registry.Reload = func(ctx context.Context, p *models.Principal) (*models.Principal, error) {
		if p.Kind == models.PrincipalWorkload {
			return w.service.Reload(ctx, p)
		}
		return p, nil
	}
	now := db.NowFunc()
	w.app2 = &models.App{ID: models.NewID(), TeamID: w.Team.ID, RepositoryID: w.Repository.ID, Name: "till", Dockerfile: "Dockerfile", Context: ".",
		Builder: models.BuilderActions, Health: models.HealthTCP, BuildTimeout: 60, CreatedAt: now, UpdatedAt: now}
	w.create(w.app2)
	w.trust(w.App.ID, "checkout", nil)
	return w
}

func (w *world) create(rows ...any) {
	w.t.Helper()
	for _, r := range rows {
		if err := w.db.Create(r).Error; err != nil {
			w.t.Fatal(err)
		}
	}
}

// trust makes the app trust runs of its file in the repository number 42.
func (w *world) trust(appID, name string, change func(*models.Workflow)) {
	w.t.Helper()
	now := w.db.NowFunc()
	row := &models.Workflow{AppID: appID, TeamID: w.Team.ID, Issuer: w.issuer.URL, Repository: "acme/shop", GitHubID: 42, Path: ".github/workflows/slipway-" + name + ".yml",
		Destination: models.DestinationPortal, Cache: models.WorkflowCacheActions, CreatedAt: now, UpdatedAt: now}
	if change != nil {
		change(row)
	}
	if err := w.db.Save(row).Error; err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) token(change map[string]any) string {
	return w.issuer.Token(w.service.External, change)
}

func (w *world) exchange(token string) (*workload.Answer, error) {
	return w.service.Exchange(w.t.Context(), workload.Request{GrantType: workload.GrantType, SubjectToken: token, SubjectTokenType: workload.TypeJWT})
}

func (w *world) granted(token string) string {
	w.t.Helper()
	a, err := w.exchange(token)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.AccessToken
}

// push pushes some image with the password.
func (w *world) push(repository, password string) error {
	w.t.Helper()
	img, err := random.Image(100, 1)
	if err != nil {
		w.t.Fatal(err)
	}
	ref, err := name.ParseReference(w.host+"/"+repository+":main", name.Insecure)
	if err != nil {
		w.t.Fatal(err)
	}
	return remote.Write(ref, img, remote.WithAuth(&authn.Basic{Username: "anyone", Password: password}), remote.WithContext(w.t.Context()))
}

func TestARunExchangesItsTokenAndPushesItsImage(t *testing.T) {
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		answer, err := w.exchange(w.token(nil))
		if err != nil {
			t.Fatal(err)
		}
		if answer.ExpiresIn > 15*time.Minute || answer.Scope != "repository:payments/checkout:pull,push" {
			t.Errorf("%s for %s", answer.Scope, answer.ExpiresIn)
		}
		if err := w.push("payments/checkout", answer.AccessToken); err != nil {
			t.Errorf("pushing its own image: %v", err)
		}
		for _, other := range []string{"payments/till", "payments/checkout/x", "search/checkout", "checkout"} {
			if err := w.push(other, answer.AccessToken); err == nil {
				t.Errorf("pushed %s", other)
			}
		}
		var x models.Exchange
		if err := db.Take(&x).Error; err != nil || !x.Granted || x.Repository != "acme/shop" || x.RunID != 1001 || x.Actor != "mira" {
			t.Errorf("%+v %v", x, err)
		}
		var entry models.AuditEntry
		if err := db.Where("action = ?", "workload.exchange").Take(&entry).Error; err != nil || entry.Detail["run"] != "1001" || entry.ActorKind != models.PrincipalWorkload {
			t.Errorf("%+v %v", entry, err)
		}
	})
}

// expect exchanges a token that must be refused, and looks at what that left.
func (w *world) expect(what, token, word string) {
	w.t.Helper()
	answer, err := w.exchange(token)
	if answer != nil || !models.IsCode(err, models.Invalid) {
		w.t.Errorf("%s: %v %v", what, answer, err)
		return
	}
	if word != "" && !strings.Contains(err.Error(), word) {
		w.t.Errorf("%s was refused because of something else: %v", what, err)
	}
	if strings.Contains(err.Error(), token) {
		w.t.Errorf("%s: the refusal repeats the token", what)
	}
	var granted int64
	if err := w.db.Model(&models.Exchange{}).Where("granted").Count(&granted).Error; err != nil || granted > 0 {
		w.t.Errorf("%s: %d exchanges were granted, %v", what, granted, err)
	}
}

func TestRunsThatTheAppDoesNotTrustAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	const other = "acme/shop/.github/workflows/other.yml@refs/heads/main"
	for what, c := range map[string]struct {
		change map[string]any
		word   string
	}{
		"another owner's repository of the same name": {map[string]any{"repository": "evil/shop", "repository_id": "43", "job_workflow_ref": "evil/shop/.github/workflows/slipway-checkout.yml@refs/heads/main"}, "No app"},
		"a repository that took over the name":        {map[string]any{"repository_id": "43"}, "No app"},
		"a fork":                                      {map[string]any{"repository": "fork/shop", "repository_id": "99"}, "No app"},
		"a pull request":                              {map[string]any{"event_name": "pull_request", "ref": "refs/pull/7/merge", "head_ref": "x", "base_ref": "main"}, "pull request"},
		"a pull request that claims a branch":         {map[string]any{"event_name": "pull_request"}, "pull_request"},
		"a pull request's target":                     {map[string]any{"event_name": "pull_request_target"}, "pull_request_target"},
		"a run with a head ref":                       {map[string]any{"head_ref": "feature"}, "pull request"},
		"a run after another workflow":                {map[string]any{"event_name": "workflow_run"}, "workflow_run"},
		"a comment":                                   {map[string]any{"event_name": "issue_comment"}, "issue_comment"},
		"another branch":                              {map[string]any{"ref": "refs/heads/feature", "job_workflow_ref": "acme/shop/.github/workflows/slipway-checkout.yml@refs/heads/feature"}, "default branch"},
		"a tag named like the branch":                 {map[string]any{"ref": "refs/tags/main"}, "default branch"},
		"a ref without a kind":                        {map[string]any{"ref": "main"}, "default branch"},
		"another file":                                {map[string]any{"job_workflow_ref": other}, "other.yml"},
		"a reusable workflow of somebody else":        {map[string]any{"job_workflow_ref": "evil/lib/.github/workflows/slipway-checkout.yml@refs/heads/main"}, "evil/lib"},
		"the file of another ref":                     {map[string]any{"job_workflow_ref": "acme/shop/.github/workflows/slipway-checkout.yml@refs/heads/evil"}, "evil"},
		"a file in another folder":                    {map[string]any{"job_workflow_ref": "acme/shop/x/.github/workflows/slipway-checkout.yml@refs/heads/main"}, "described"},
	} {
		w.expect(what, w.token(c.change), c.word)
	}
}

func TestAnEnvironmentAndPatternsOfRefsNarrowTheTrust(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.trust(w.App.ID, "checkout", func(w *models.Workflow) {
		w.Environment, w.Refs = "production", []string{"release/*", "refs/tags/v*"}
	})
	at := func(ref, environment string) map[string]any {
		return map[string]any{"ref": ref, "environment": environment, "job_workflow_ref": "acme/shop/.github/workflows/slipway-checkout.yml@" + ref}
	}
	w.expect("another environment", w.token(at("refs/heads/release/1", "staging")), "staging")
	w.expect("no environment", w.token(at("refs/heads/release/1", "")), "environment")
	w.expect("the default branch", w.token(at("refs/heads/main", "production")), "release/*")
	w.expect("a branch below", w.token(at("refs/heads/release/1/x", "production")), "release/*")
	w.expect("another tag", w.token(at("refs/tags/x1", "production")), "release/*")
	w.expect("a branch named like the tags", w.token(at("refs/heads/v1", "production")), "release/*")
	w.granted(w.token(at("refs/heads/release/1", "production")))
	w.granted(w.token(at("refs/tags/v1.2", "production")))
}

func TestForgedTokensAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	i, here := w.issuer, w.service.External
	good := func(change map[string]any) map[string]any { return i.Claims(here, change) }
	stranger := workloadtest.NewKey(t)
	own := jose.SigningKey{Algorithm: jose.RS256, Key: i.Key}
	kid := map[jose.HeaderKey]any{"kid": workloadtest.KeyID}
	now := time.Now()
	public, err := x509.MarshalPKIXPublicKey(i.Key.Public())
	if err != nil {
		t.Fatal(err)
	}
	pemKey := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	raw := w.token(nil)
	parts := strings.Split(raw, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))
	payload, err := json.Marshal(good(map[string]any{"repository_id": "43"}))
	if err != nil {
		t.Fatal(err)
	}
	for what, token := range map[string]string{
		"another audience":            i.Token("https://other.example.test", nil),
		"the audience with a slash":   i.Token(here+"/", nil),
		"several audiences":           i.Sign(good(map[string]any{"aud": []string{here, "https://other.example.test"}}), own, kid),
		"no audience":                 w.token(map[string]any{"aud": nil}),
		"another issuer":              w.token(map[string]any{"iss": "https://evil.example.test"}),
		"an issuer that did not sign": w.token(map[string]any{"iss": here}),
		"expired":                     w.token(map[string]any{"iat": now.Add(-10 * time.Minute).Unix(), "exp": now.Add(-time.Minute).Unix()}),
		"without an end":              w.token(map[string]any{"exp": nil}),
		"not valid yet":               w.token(map[string]any{"nbf": now.Add(3 * time.Minute).Unix()}),
		"from the future":             w.token(map[string]any{"iat": now.Add(3 * time.Minute).Unix()}),
		"living for a day":            w.token(map[string]any{"exp": now.Add(24 * time.Hour).Unix()}),
		"without an id":               w.token(map[string]any{"jti": nil}),
		"without a repository":        w.token(map[string]any{"repository_id": nil}),
		"a number that is none":       w.token(map[string]any{"repository_id": "42abc"}),
		"a negative number":           w.token(map[string]any{"repository_id": "-42"}),
		"signed by a stranger":        i.Sign(good(nil), jose.SigningKey{Algorithm: jose.RS256, Key: stranger}, kid),
		"an unknown key id":           i.Sign(good(nil), jose.SigningKey{Algorithm: jose.RS256, Key: stranger}, map[jose.HeaderKey]any{"kid": "key-2"}),
		"its own key in the header":   i.Sign(good(nil), jose.SigningKey{Algorithm: jose.RS256, Key: stranger}, map[jose.HeaderKey]any{"kid": workloadtest.Thumb(t, stranger), "jwk": jose.JSONWebKey{Key: stranger.Public(), Algorithm: "RS256"}}),
		"keys at its own address":     i.Sign(good(nil), jose.SigningKey{Algorithm: jose.RS256, Key: stranger}, map[jose.HeaderKey]any{"kid": workloadtest.KeyID, "jku": "http://127.0.0.1:9/keys"}),
		"HS256 with the public key":   i.Sign(good(nil), jose.SigningKey{Algorithm: jose.HS256, Key: pemKey}, kid),
		"no algorithm":                none + "." + parts[1] + ".",
		"no algorithm, signed":        none + "." + parts[1] + "." + parts[2],
		"changed after signing":       parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + parts[2],
		"without a signature":         parts[0] + "." + parts[1] + ".",
		"a text":                      "hello",
		"nothing between dots":        "..",
		"too long":                    raw + strings.Repeat("A", 20<<10),
	} {
		w.expect(what, token, "")
	}
	var kept int64
	if err := w.db.Model(&models.SpentToken{}).Count(&kept).Error; err != nil || kept != 0 {
		t.Errorf("%d tokens were spent, %v", kept, err)
	}
	w.granted(raw) // the one that all the others were made of
}

func TestClocksMayDifferALittle(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	now := time.Now()
	w.granted(w.token(map[string]any{"iat": now.Add(-5 * time.Minute).Unix(), "exp": now.Add(-10 * time.Second).Unix()}))
	w.granted(w.token(map[string]any{"iat": now.Add(15 * time.Second).Unix(), "nbf": now.Add(15 * time.Second).Unix()}))
}

func TestATokenIsExchangedOnce(t *testing.T) {
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		token := w.token(nil)
		results := make(chan error, 8)
		for range cap(results) {
			go func() { _, err := w.exchange(token); results <- err }()
		}
		good := 0
		for range cap(results) {
			err := <-results
			if err == nil {
				good++
			} else if !models.IsCode(err, models.Invalid) || !strings.Contains(err.Error(), "exchanged before") {
				t.Error(err)
			}
		}
		if good != 1 {
			t.Errorf("the token was exchanged %d times", good)
		}
		var refused models.Exchange
		if err := db.Where("NOT granted").Take(&refused).Error; err != nil || !strings.Contains(refused.Reason, "exchanged before") {
			t.Errorf("%+v %v", refused, err)
		}
	})
}

func TestTheTeamReadsWhyARunWasRefusedAndTheRunLearnsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	ask := func(appID string, change map[string]any) error {
		_, err := w.service.Exchange(t.Context(), workload.Request{GrantType: workload.GrantType, SubjectToken: w.token(change), SubjectTokenType: workload.TypeIDToken,
			Resource: []string{w.service.External + "/apps/" + appID}})
		return err
	}
	evil := map[string]any{"repository": "evil/shop", "repository_id": "43"}
	there, absent := ask(w.App.ID, evil), ask(models.NewID(), evil)
	if there == nil || absent == nil || there.Error() != absent.Error() {
		t.Errorf("the answers tell what exists: %v | %v", there, absent)
	}
	list, err := w.service.List(modelstest.As(t, w.db, w.Viewer), workload.Filter{AppID: w.App.ID})
	if err != nil || len(list.Items) != 1 || !strings.Contains(list.Items[0].Reason, "evil/shop with the number 43; trusted is acme/shop with the number 42") {
		t.Errorf("%+v %v", list.Items, err)
	}
	if _, err := w.service.List(modelstest.As(t, w.db, w.Stranger), workload.Filter{AppID: w.App.ID}); !models.IsCode(err, models.NotFound) {
		t.Errorf("a stranger: %v", err)
	}
	var entry models.AuditEntry
	if err := w.db.Where("action = ?", "workload.refuse").Take(&entry).Error; err != nil || entry.Detail["repository"] != "evil/shop" {
		t.Errorf("%+v %v", entry, err)
	}
}

func TestRefusalsDoNotFillTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	began, limited := time.Now(), false
	for n := 0; !limited; n++ {
		if time.Since(began) > 4*time.Minute {
			t.Fatalf("none of %d refusals said to wait", n)
		}
		ctx := models.WithRequest(t.Context(), models.Request{IP: "203.0.113.9"})
		_, err := w.service.Exchange(ctx, workload.Request{GrantType: workload.GrantType, SubjectToken: w.token(map[string]any{"ref": "refs/heads/x"}), SubjectTokenType: workload.TypeJWT})
		if limited = models.IsCode(err, models.TooMany); !limited && !models.IsCode(err, models.Invalid) {
			t.Fatalf("exchange %d: %v", n, err)
		}
	}
	most := 21 + int64(time.Since(began)/(10*time.Second)) // twenty at once, and one more each ten seconds
	var rows int64
	if err := w.db.Model(&models.Exchange{}).Count(&rows).Error; err != nil || rows > most {
		t.Errorf("%d rows are kept, want at most %d: %v", rows, most, err)
	}
}

func TestTwoAppsOfOneRepositoryAreToldApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.trust(w.app2.ID, "till", nil)
	till := map[string]any{"job_workflow_ref": "acme/shop/.github/workflows/slipway-till.yml@refs/heads/main"}
	if password := w.granted(w.token(till)); w.push("payments/till", password) != nil || w.push("payments/checkout", password) == nil {
		t.Error("the file of the one app made a credential of the other")
	}
	_, err := w.service.Exchange(t.Context(), workload.Request{GrantType: workload.GrantType, SubjectToken: w.token(till), SubjectTokenType: workload.TypeJWT,
		Resource: []string{w.service.External + "/apps/" + w.App.ID}})
	if !models.IsCode(err, models.Invalid) {
		t.Errorf("asking for the other app: %v", err)
	}
	w.trust(w.app2.ID, "checkout", nil) // both trust one file
	_, err = w.exchange(w.token(nil))
	if e, ok := err.(*models.Error); !ok || e.Fields["resource"] == "" {
		t.Errorf("which app is meant: %v", err)
	}
}

func TestACredentialEndsWithTheTrust(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func(*models.Workflow){
		"another repository": func(w *models.Workflow) { w.GitHubID = 43 },
		"other refs":         func(w *models.Workflow) { w.Refs = []string{"release/*"} },
		"another file":       func(w *models.Workflow) { w.Path = ".github/workflows/x.yml" },
		"an environment":     func(w *models.Workflow) { w.Environment = "production" },
		"nothing":            nil,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, modelstest.DB(t))
			password := w.granted(w.token(nil))
			if err := w.push("payments/checkout", password); err != nil {
				t.Fatal(err)
			}
			if change == nil {
				w.create(&models.Setting{Key: "x", UpdatedAt: w.db.NowFunc()})
				if err := w.db.Where("app_id = ?", w.App.ID).Delete(&models.Workflow{}).Error; err != nil {
					t.Fatal(err)
				}
			} else {
				w.trust(w.App.ID, "checkout", change)
			}
			if err := w.push("payments/checkout", password); err == nil {
				t.Error("the credential was still good")
			}
		})
	}
}

func TestARequestThatIsNoneOfRFC8693NamesTheParameter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	good := workload.Request{GrantType: workload.GrantType, SubjectTokenType: workload.TypeJWT, SubjectToken: w.token(nil)}
	for field, change := range map[string]func(*workload.Request){
		"grant_type":           func(r *workload.Request) { r.GrantType = "password" },
		"subject_token":        func(r *workload.Request) { r.SubjectToken = "" },
		"subject_token_type":   func(r *workload.Request) { r.SubjectTokenType = workload.TypeAccessToken },
		"requested_token_type": func(r *workload.Request) { r.RequestedTokenType = "urn:x" },
		"actor_token":          func(r *workload.Request) { r.ActorToken = "x" },
		"audience":             func(r *workload.Request) { r.Audience = []string{w.service.External, "other"} },
		"resource":             func(r *workload.Request) { r.Resource = []string{"https://evil.example.test/apps/" + w.App.ID} },
		"scope":                func(r *workload.Request) { r.Scope = "repository:payments/checkout:delete" },
	} {
		in := good
		change(&in)
		_, err := w.service.Exchange(t.Context(), in)
		e, ok := err.(*models.Error)
		if !ok || e.Fields[field] == "" {
			t.Errorf("%s: %v", field, err)
		}
	}
	good.Scope = "repository:payments/checkout:pull"
	answer, err := w.service.Exchange(t.Context(), good)
	if err != nil || w.push("payments/checkout", answer.AccessToken) == nil {
		t.Errorf("a credential to pull: %v", err)
	}
}

func TestAnIssuerThatIsDownIsAskedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modelstest.DB(t))
	w.issuer.Down.Store(true)
	if _, err := w.exchange(w.token(nil)); !models.IsCode(err, models.Unavailable) {
		t.Errorf("the issuer is down: %v", err)
	}
	w.issuer.Down.Store(false)
	w.granted(w.token(nil))
	w.issuer.Down.Store(true)
	w.granted(w.token(nil)) // its keys are known
}

func TestSpentTokensAreForgottenWhenTheyHaveExpired(t *testing.T) {
	modelstest.Each(t, func(t *testing.T, db *models.Database) {
		w := newWorld(t, db)
		w.granted(w.token(nil))
		w.create(&models.SpentToken{Issuer: "x", TokenID: "old", ExpiresAt: db.NowFunc().Add(-time.Hour)})
		if err := w.service.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		var rest []models.SpentToken
		if err := db.Find(&rest).Error; err != nil || len(rest) != 1 || rest[0].TokenID == "old" {
			t.Errorf("%+v %v", rest, err)
		}
	})
}
